// A connection as two streams of bytes: TCP itself, or something inside it.
#pragma once

#include <vector>

#include "net/socket.h"

namespace sluice::net {

// What waits at the reading end of a stream.
enum class Input : std::uint8_t { bytes, end, broken };

// Belongs to one thread. One coroutine may read while another one writes; what either waits for ends, as broken, when
// the stream is cancelled, closed or reset. It must outlive its operations.
class Stream {
 public:
  Stream() = default;
  virtual ~Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Reads what is there, waiting for the first byte: the number of bytes, 0 at the end of the stream, or the error.
  virtual Task<IoResult> read_some(std::span<std::uint8_t> buffer) = 0;
  // Waits until there is something to read and leaves it there: waiting needs no buffer.
  virtual Task<Input> wait_input() = 0;
  // Writes all of it; false when the connection broke before.
  virtual Task<bool> write_all(ByteSpan bytes) = 0;
  // What of it is done without waiting, as net::try_read() and try_write() do; nothing of it, where that is not known.
  virtual std::optional<IoResult> try_read(std::span<std::uint8_t>) { return std::nullopt; }
  virtual bool try_write(ByteSpan&) { return true; }
  // Ends the written stream; the other one stays open. Errors do not matter: the peer is gone then.
  virtual Task<void> finish_writing() = 0;
  // True while a connection that nobody reads is open and silent: no byte, end or error is waiting.
  virtual bool is_quiet() = 0;

  // The connection underneath.
  virtual Socket& socket() = 0;
  // The bytes on socket() are those of the stream: they may be moved without this object.
  virtual bool is_plain() const = 0;

  bool is_open() { return socket().is_open(); }
  // Ends pending operations. What was being written is cut off anywhere: the stream takes no more then.
  void cancel() { socket().cancel(); }
  void close() { socket().close(); }
  // Ends the connection with RST, so that the peer learns at once that its data went nowhere.
  void reset() { net::reset(socket()); }
};

class PlainStream final : public Stream {
 public:
  // A connected, non-blocking socket.
  explicit PlainStream(Socket socket) : socket_(std::move(socket)) {}

  Task<IoResult> read_some(std::span<std::uint8_t> buffer) override;
  Task<Input> wait_input() override;
  Task<bool> write_all(ByteSpan bytes) override;
  std::optional<IoResult> try_read(std::span<std::uint8_t> buffer) override { return net::try_read(socket_, buffer); }
  bool try_write(ByteSpan& bytes) override { return net::try_write(socket_, bytes); }
  Task<void> finish_writing() override;
  bool is_quiet() override { return net::is_quiet(socket_); }
  Socket& socket() override { return socket_; }
  bool is_plain() const override { return true; }

 private:
  Socket socket_;
};

// Appends what is there without waiting: whether there was anything, false: the stream has ended or broken. nullopt: it
// has to be waited for.
std::optional<bool> try_append(Stream& stream, std::vector<std::uint8_t>& bytes);
// Appends what comes next, at most `max` bytes; false when the stream has ended or broken.
Task<bool> append_next(Stream& stream, std::vector<std::uint8_t>& bytes, std::size_t max);

// Closes after a last answer was written: the end of the stream, then at most `limit` of reading and discarding,
// because closing with unread bytes would send RST and destroy the answer on its way.
Task<void> close_gently(Stream& stream, Milliseconds limit);

}  // namespace sluice::net
