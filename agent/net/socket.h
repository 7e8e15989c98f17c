// Sockets on the event loop: listening, dialling, and a deadline for whatever waits on one.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/ip.h"
#include "base/result.h"
#include "net/poller.h"
#include "net/timeout.h"

namespace sluice::net {

using Milliseconds = std::chrono::milliseconds;
template <typename T>
using Task = boost::asio::awaitable<T>;

// A non-blocking TCP socket on an event loop, which it is registered with when it is first waited for. Belongs to the
// loop's thread. One coroutine may wait to read while another one waits to write.
class Socket {
 public:
  explicit Socket(const boost::asio::any_io_executor& executor) : Socket(Poller::of(executor), UniqueFd()) {}
  Socket(Poller& poller, UniqueFd fd, const Endpoint& peer = {});
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  ~Socket();

  // Takes a descriptor, having had none.
  void open(UniqueFd fd, const Endpoint& peer);
  bool is_open() const;
  int native_handle() const;
  Poller& poller() const;
  boost::asio::io_context::executor_type get_executor() const { return poller().get_executor(); }
  boost::asio::ip::tcp::endpoint local_endpoint(boost::system::error_code& error) const;
  boost::asio::ip::tcp::endpoint remote_endpoint(boost::system::error_code& error) const;

  // The other end of a connection that was accepted or dialled, also of one that was reset before it was accepted or is
  // not there yet, which getpeername(2) does not tell. Unspecified: neither.
  const Endpoint& peer() const;

  // recv(2) without waiting.
  ssize_t receive(std::span<std::uint8_t> buffer);

  // Waits until reading, or writing, is worth another try. To be called after a try that found nothing (EAGAIN):
  // without one it may wait forever. False: cancelled, closed, or the kernel has no memory.
  Task<bool> wait_readable();
  Task<bool> wait_writable();
  // Lets everything else that is ready have its turn: for who goes on reading for long.
  Task<bool> wait_turn();
  // EPOLLERR or EPOLLHUP came during a wait.
  bool has_failed() const;
  // True now and then, to who reads without ever having to wait: time for wait_turn().
  bool has_read_for_long();
  // Lets the waits under way end with false, after this has returned.
  void cancel();
  // Cancels as well.
  void close();

  // Instead of waits: is told of everything that happens until the socket is closed, as epoll_wait(2) tells it.
  class Listener {
   public:
    // May destroy the socket.
    virtual void on_ready(Socket& socket, std::uint32_t events) = 0;
    // The loop is going, and nobody waits at the socket: who owns all this and belongs to nobody else goes now.
    virtual void abandon() {}

   protected:
    virtual ~Listener() = default;
  };
  // False when the kernel has no memory. What happened before is told as well. Socket and listener stay where they are.
  // What waits all the same is ended by close() or cancel() only.
  bool listen(Listener& listener);
  // From now on it is told when the socket takes more.
  bool listen_writable();
  // Nobody is told any more; the socket may be waited for again.
  void stop_listening();
  // Tells it, of no event, when everything else that is ready has had its turn.
  void listen_later();

 private:
  class State;
  std::unique_ptr<State> state_;
};

using Tcp = boost::asio::ip::tcp;

Endpoint to_endpoint(const boost::asio::ip::tcp::endpoint& endpoint);
boost::asio::ip::tcp::endpoint to_asio(const Endpoint& endpoint);

// Cancels every wait of `socket` when `timeout` has passed, once. Belongs to the socket's thread and must not outlive
// the socket.
class Deadline final : private Timeout {
 public:
  Deadline(Socket& socket, Milliseconds timeout);

  bool expired() const { return expired_; }

 private:
  void on_timeout() override;

  Socket& socket_;
  bool expired_ = false;
};

// Reads what is there, waiting for the first byte: the number of bytes, 0 at the end of the stream, or the error.
using IoResult = std::variant<std::size_t, boost::system::error_code>;
Task<IoResult> read_some(Socket& socket, std::span<std::uint8_t> buffer);
// Writes all of it; false when the connection broke before.
Task<bool> write_all(Socket& socket, ByteSpan bytes);
// What of it is done without waiting. nullopt: nothing is there to read.
std::optional<IoResult> try_read(Socket& socket, std::span<std::uint8_t> buffer);
// `bytes` then begins behind what was written; false when the connection broke.
bool try_write(Socket& socket, ByteSpan& bytes);

// True while a connection that nobody reads is open and silent: no byte, end or error is waiting.
bool is_quiet(const Socket& socket);

// Ends the connection with RST, so that the peer learns at once that its data went nowhere.
void reset(Socket& socket);
// Sends FIN; the other direction stays open. Errors do not matter: the peer is gone then.
void finish_writing(const Socket& socket);

}  // namespace sluice::net
