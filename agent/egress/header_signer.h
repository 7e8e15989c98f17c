// Signs what gateways are told, with the newest key of this node.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file_version.h"
#include "base/published.h"
#include "base/result.h"
#include "settings/node_keys.h"
#include "wire/proxy_v2.h"

namespace sluice::egress {

// One for all workers.
class HeaderSigner {
 public:
  // `key_file`: egress.key_file (settings/node_keys.h). An error when there is no key to sign with.
  static Result<std::unique_ptr<HeaderSigner>> open(std::string key_file);

  // Thread-safe. The bytes to send, good for one connection: each call has a fresh nonce and the present time.
  std::vector<std::uint8_t> sign(const wire::ProxyHeader& header) const;

  // The rest belongs to the control loop's thread.

  // Reads the file again when it changed; to be called every second. Without a good file the key of before stays.
  void reload();
  // Why the file is not what is signed with; nullopt: it is.
  const std::optional<std::string>& wrong() const { return wrong_; }

 private:
  explicit HeaderSigner(std::string key_file) : key_file_(std::move(key_file)) {}

  const std::string key_file_;
  Published<settings::NodeKey> key_{nullptr};
  FileVersion version_;  // that was read last, good or bad
  std::optional<std::string> wrong_;
};

}  // namespace sluice::egress
