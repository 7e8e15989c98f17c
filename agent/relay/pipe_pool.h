// Pipes for splice(2) and a buffer for copying, shared by a thread's connections.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/fd.h"

namespace sluice::relay {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

// Empty pipes for reuse. A connection holds a pipe only while bytes are inside it, so an idle connection has none.
// Belongs to one thread.
class PipePool {
 public:
  static constexpr int pipe_bytes = 256 * 1024;

  // A pipe, or nothing when the process is out of files.
  std::optional<Pipe> take();
  // Only empty pipes may come back.
  void give_back(Pipe pipe);

  // For whoever uses it before the next one does.
  std::span<std::uint8_t> buffer() { return buffer_; }

 private:
  std::vector<Pipe> idle_;
  std::array<std::uint8_t, 16UL * 1024> buffer_;
};

}  // namespace sluice::relay
