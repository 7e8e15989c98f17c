// Moving bytes between two sockets in the kernel with splice(2), through pipes that a thread's connections share.
#pragma once

#include <cstdint>
#include <vector>

#include "base/fd.h"
#include "net/socket.h"

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

// Moves up to `limit` bytes from `from` to `to`, adding to `moved` as they are written.
net::Task<MoveEnd> move_bytes(net::Tcp::socket& from, net::Tcp::socket& to, std::uint64_t limit, PipePool& pipes,
                              std::uint64_t& moved);

}  // namespace sluice::relay
