// Contexts of the TLS that this process begins with upstreams, by what DestinationRules say of it.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "policy/routes.h"
#include "tls/context.h"

namespace sluice::tls {

// Safe for all threads.
class OriginationContexts {
 public:
  // The context for mode simple or mutual, whose files are read at its first use. The error says which field or file is
  // wrong; what was good once stays in use.
  Result<std::shared_ptr<const Context>> get(const ClientTls& tls);
  // Reads files that have changed, and forgets what nobody has asked for in ten minutes. Wanted every second, from one
  // thread.
  void reload();

 private:
  struct Entry {
    ClientTls tls;
    std::shared_ptr<ClientContext> context;
    std::string problem;
    unsigned unused_reloads = 0;
  };

  std::mutex mutex_;
  std::vector<Entry> entries_;  // as many as there are different DestinationRules
};

}  // namespace sluice::tls
