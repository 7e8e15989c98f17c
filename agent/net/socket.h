// Sockets on the event loop: listening, dialling, and a deadline for whatever waits on one.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>

#include "base/bytes.h"
#include "base/ip.h"
#include "base/result.h"

namespace sluice::net {

using Tcp = boost::asio::ip::tcp;
using Milliseconds = std::chrono::milliseconds;
template <typename T>
using Task = boost::asio::awaitable<T>;

Endpoint to_endpoint(const Tcp::endpoint& endpoint);
Tcp::endpoint to_asio(const Endpoint& endpoint);

struct ListenOptions {
  bool transparent = false;  // IP_TRANSPARENT: accepts connections to any address (needs CAP_NET_ADMIN)
  bool reuse_port = false;   // one listener a thread on the same port
};
// A listening socket; port 0 takes a free one. An IPv6 listener takes IPv6 only.
Result<Tcp::acceptor> listen(boost::asio::io_context& context, const Endpoint& endpoint, ListenOptions options);

// Why a dial failed, by what it means to the caller.
enum class DialFailure : std::uint8_t { refused, timeout, unreachable, local };
struct DialError {
  DialFailure kind = DialFailure::local;
  std::string message;  // "203.0.113.7:443: connection refused"
};
using DialResult = std::variant<Tcp::socket, DialError>;

// Connects within `timeout`. The socket has TCP_NODELAY.
Task<DialResult> dial(Endpoint destination, Milliseconds timeout);

// Cancels every pending operation of `socket` when `timeout` has passed; the operations then end with
// operation_aborted. Destroying or renewing it in time prevents that. Belongs to the socket's thread and must not
// outlive the socket.
class Deadline {
 public:
  Deadline(Tcp::socket& socket, Milliseconds timeout);
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  bool expired() const { return *expired_; }

 private:
  boost::asio::steady_timer timer_;
  std::shared_ptr<bool> expired_;
};

// Reads what is there, waiting for the first byte: the number of bytes, 0 at the end of the stream, or the error.
using IoResult = std::variant<std::size_t, boost::system::error_code>;
Task<IoResult> read_some(Tcp::socket& socket, std::span<std::uint8_t> buffer);
// Writes all of it; false when the connection broke before.
Task<bool> write_all(Tcp::socket& socket, ByteSpan bytes);

// The other end's address and port, also of a connection that was reset before it was accepted, which getpeername(2)
// does not tell any more.
std::optional<Endpoint> peer_of(Tcp::socket& socket);

// True while a connection that nobody reads is open and silent: no byte, end or error is waiting.
bool is_quiet(Tcp::socket& socket);

// Ends the connection with RST, so that the peer learns at once that its data went nowhere.
void reset(Tcp::socket& socket);
// Sends FIN; the other direction stays open. Errors do not matter: the peer is gone then.
void finish_writing(Tcp::socket& socket);

}  // namespace sluice::net
