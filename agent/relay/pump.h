// Moving bytes one way between two TCP sockets without waiting: copied where they are few, which is a read and a write;
// in the kernel with splice(2) where they are many.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "net/socket.h"
#include "relay/pipe_pool.h"

namespace sluice::relay {

// How moving in one direction ended.
enum class MoveEnd : std::uint8_t {
  limit,          // as many bytes as were asked for
  end_of_stream,  // FIN
  read_failed,    // the source was reset, cancelled or broke
  write_failed,   // the destination was reset, cancelled or broke
  out_of_files,
};

// It holds a pipe or a buffer only while bytes are inside.
class Pump {
 public:
  static constexpr auto no_limit = std::numeric_limits<std::uint64_t>::max();

  // Moves up to `limit` bytes from `from` to `to`, adding to `moved` as they are written.
  Pump(const net::Socket& from, const net::Socket& to, PipePool& pipes, std::uint64_t& moved,
       std::uint64_t limit = no_limit)
      : from_(from), to_(to), pipes_(pipes), moved_(moved), limit_(limit) {}
  ~Pump() { give_back(); }
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  enum class Need : std::uint8_t {
    bytes,  // of the source
    room,   // in the destination
    turn,   // it has moved much: others first
    ended,  // nothing more: see end()
  };
  // Moves what can be moved now.
  Need run();
  // What the last run() came to.
  Need need() const { return need_; }
  MoveEnd end() const { return end_; }

  // To be called for each event of the source, edge-triggered, if it is called at all: a read that took all there was
  // needs no second one to say so then. `fin`: the source ends behind what it has; the last bytes then wait for the FIN
  // that follows them at once, and share its segment.
  void on_source_event(bool fin) {
    told_ = true;
    fin_ = fin_ || fin;
  }

 private:
  Need step();
  Need copy();
  Need fill();
  Need drain();
  Need flush();
  Need stop(MoveEnd end);
  void give_back();

  const net::Socket& from_;
  const net::Socket& to_;
  PipePool& pipes_;
  std::uint64_t& moved_;
  std::uint64_t limit_;

  std::vector<std::uint8_t> rest_;  // copied and not written yet
  std::optional<Pipe> pipe_;
  std::size_t inside_ = 0;  // of the pipe
  bool many_ = false;       // so many bytes came that it pays to splice
  bool told_ = false;
  bool fin_ = false;
  bool at_end_ = false;  // the source's end was read
  bool broken_ = false;  // that it broke was read, which is not told again
  Need need_ = Need::turn;
  MoveEnd end_ = MoveEnd::limit;
};

}  // namespace sluice::relay
