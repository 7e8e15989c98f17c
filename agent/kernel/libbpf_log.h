// What libbpf has to say about a failure (the verifier's log among it), for the error instead of standard error.
#pragma once

#include <bpf/libbpf.h>

#include <string_view>

#include "base/result.h"

namespace sluice::kernel {

// Collects libbpf's messages of this thread while it lives; those of other threads are dropped. One a thread at a time.
class LibbpfLog {
 public:
  LibbpfLog();
  ~LibbpfLog();
  LibbpfLog(const LibbpfLog&) = delete;
  LibbpfLog& operator=(const LibbpfLog&) = delete;

  // `what` failed with errno value `code`; the last messages are added.
  Error error(std::string_view what, int code) const;

 private:
  libbpf_print_fn_t previous_;
};

}  // namespace sluice::kernel
