// Moving bytes between two streams: in the kernel with splice(2), through pipes that a thread's connections share, or
// through a buffer where one of them is not TCP itself.
#pragma once

#include <cstdint>
#include <vector>

#include "base/fd.h"
#include "net/stream.h"

namespace sluice::relay {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

// Empty pipes for reuse. A connection holds a pipe only while bytes are inside it, so an idle connection has none.
// Belongs to one thread.
class PipePool {
 public:
  // A pipe, or nothing when the process is out of files.
  std::optional<Pipe> take();
  // Only empty pipes may come back.
  void give_back(Pipe pipe);

 private:
  std::vector<Pipe> idle_;
};

// How moving in one direction ended.
enum class MoveEnd : std::uint8_t {
  limit,          // as many bytes as were asked for
  end_of_stream,  // FIN
  read_failed,    // the source was reset, cancelled or broke
  write_failed,   // the destination was reset, cancelled or broke
  out_of_files,
};

// Moves up to `limit` bytes from `from` to `to`, adding to `moved` as they are written. While it waits for bytes it
// holds neither pipe nor buffer.
net::Task<MoveEnd> move_bytes(net::Stream& from, net::Stream& to, std::uint64_t limit, PipePool& pipes,
                              std::uint64_t& moved);

}  // namespace sluice::relay
