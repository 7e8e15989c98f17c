// Bytes of a connection without coroutines: tried at once, and again when the event loop tells. What is written in one
// turn of the loop goes out together. An idle connection holds no buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "net/socket.h"

namespace sluice::net {

// Memory that the channels of one thread share.
class Buffers {
 public:
  static constexpr std::size_t buffer_bytes = 32UL * 1024;

  // Empty, with room for buffer_bytes.
  std::vector<std::uint8_t> take();
  void give_back(std::vector<std::uint8_t> buffer);

  // For whoever reads, until the next one does.
  std::span<std::uint8_t> reading() { return reading_; }
  // Likewise for whoever encodes.
  std::vector<std::uint8_t>& scratch() { return scratch_; }

 private:
  std::vector<std::vector<std::uint8_t>> idle_;
  std::vector<std::uint8_t> reading_ = std::vector<std::uint8_t>(64UL * 1024);
  std::vector<std::uint8_t> scratch_;
};

enum class Io : std::uint8_t {
  done,
  wait,    // nothing more until the next event
  end,     // of the stream
  broken,  // reset, or not to be gone on with
};

// A connected socket that somebody listens to (Socket::listen), who passes every event to on_ready() first.
class Channel {
 public:
  Channel(Socket socket, Buffers& buffers) : socket_(std::move(socket)), buffers_(buffers) {}
  virtual ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // `events` as the listener is told them; 0: its turn came again.
  void on_ready(std::uint32_t events);
  // done: `size` bytes were read, at least one. Who reads much is told to wait now and then, and gets another turn.
  virtual Io read(std::span<std::uint8_t> buffer, std::size_t& size) = 0;

  // Keeps the bytes for flush().
  void write(ByteSpan bytes);
  void write(std::string_view text);
  // Sends what was written; wait: the socket has not taken all of it, and an event will tell when it takes more.
  virtual Io flush() = 0;
  // Written, and not with the kernel yet.
  virtual std::size_t queued() const { return out_.size() - sent_; }
  // So much that whoever produces more had better wait.
  bool is_full() const { return queued() >= Buffers::buffer_bytes; }
  // The end of the stream, behind what was flushed.
  virtual void finish() = 0;
  virtual bool is_encrypted() const = 0;

  Socket& socket() { return socket_; }
  // Nothing may be written, and nothing is left but to destroy the channel.
  Socket take_socket();
  Buffers& buffers() { return buffers_; }

 protected:
  // A turn's share of reading is used up: asks for another turn.
  Io pause_reading();
  // The socket takes no more: asks to be told.
  Io await_room();
  void drop_written();

  Socket socket_;
  Buffers& buffers_;
  std::vector<std::uint8_t> out_;
  std::size_t sent_ = 0;        // of out_
  std::size_t budget_ = 0;      // what may be read in this turn
  bool drained_ = false;        // the last read took all there was, and no event came since
  bool end_announced_ = false;  // the peer's end follows what is there
};

// TCP itself.
class PlainChannel final : public Channel {
 public:
  using Channel::Channel;

  Io read(std::span<std::uint8_t> buffer, std::size_t& size) override;
  Io flush() override;
  void finish() override { finish_writing(socket_); }
  bool is_encrypted() const override { return false; }
};

}  // namespace sluice::net
