#include "tls/stream.h"

#include <algorithm>
#include <system_error>

#include "tls/connection.h"

namespace sluice::tls {
namespace {

using Step = Connection::Step;
constexpr std::size_t read_budget = 64UL * 1024;
constexpr net::Milliseconds linger{1000};

int clamp(std::size_t size) {
  return static_cast<int>(std::min<std::size_t>(size, 1UL << 30));
}

}  // namespace

struct TlsStream::State {
  State(std::shared_ptr<Loaded> from, net::Socket its_socket)
      : socket(std::move(its_socket)), connection(std::move(from), socket) {
    connection.bio.budget = read_budget;
  }

  net::Socket socket;
  Connection connection;
};

TlsStream::TlsStream(std::unique_ptr<State> state) : state_(std::move(state)) {}

TlsStream::~TlsStream() = default;

net::Socket& TlsStream::socket() {
  return state_->socket;
}

net::Task<bool> TlsStream::wait_readable() {
  // Who has used up the budget stopped before the socket was empty.
  const bool spent = state_->connection.bio.budget == 0;
  state_->connection.bio.budget = read_budget;
  if (spent) co_return co_await state_->socket.wait_turn();
  co_return co_await state_->socket.wait_readable();
}

net::Task<bool> TlsStream::flush() {
  for (;;) {
    if (!send_unsent(state_->connection.bio)) {
      state_->connection.fail(std::system_category().message(state_->connection.bio.error));
      co_return false;
    }
    if (state_->connection.bio.unsent.empty()) co_return true;
    const bool ready = co_await state_->socket.wait_writable();
    if (!ready) co_return false;
  }
}

net::Task<net::IoResult> TlsStream::read_some(std::span<std::uint8_t> buffer) {
  while (state_->connection.begin()) {
    const int got = ::SSL_read(state_->connection.ssl.get(), buffer.data(), clamp(buffer.size()));
    if (got > 0) co_return static_cast<std::size_t>(got);
    const auto step = state_->connection.settle(got);
    if (step == Step::end) co_return std::size_t{0};
    if (step == Step::broken) break;
    const bool ready = co_await wait_readable();
    if (!ready) co_return make_error_code(boost::asio::error::operation_aborted);
  }
  co_return make_error_code(boost::asio::error::connection_reset);
}

net::Task<net::Input> TlsStream::wait_input() {
  while (state_->connection.begin()) {
    std::uint8_t byte = 0;
    const int got = ::SSL_peek(state_->connection.ssl.get(), &byte, 1);
    if (got > 0) co_return net::Input::bytes;
    const auto step = state_->connection.settle(got);
    if (step == Step::end) co_return net::Input::end;
    if (step == Step::broken) break;
    const bool ready = co_await wait_readable();
    if (!ready) break;
  }
  co_return net::Input::broken;
}

net::Task<bool> TlsStream::write_all(ByteSpan bytes) {
  while (!bytes.empty()) {
    if (!state_->connection.begin()) co_return false;
    const int put = ::SSL_write(state_->connection.ssl.get(), bytes.data(), clamp(bytes.size()));
    if (put <= 0) {
      state_->connection.settle(put);
      state_->connection.fail("cut off within a write");
      co_return false;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    const bool sent = co_await flush();
    if (sent) continue;
    state_->connection.fail("cancelled within a write");
    co_return false;
  }
  co_return true;
}

net::Task<void> TlsStream::finish_writing() {
  if (!state_->connection.begin()) co_return;
  // 0 says that the peer's own close_notify has not come yet, as it need not.
  const int sent = ::SSL_shutdown(state_->connection.ssl.get());
  if (sent < 0) state_->connection.settle(sent);
  co_await flush();
}

bool TlsStream::is_quiet() {
  if (!state_->connection.begin()) return false;
  state_->connection.bio.budget = read_budget;
  std::uint8_t byte = 0;
  const int got = ::SSL_peek(state_->connection.ssl.get(), &byte, 1);
  return got <= 0 && state_->connection.settle(got) == Step::wait;
}

std::string TlsStream::alpn() const {
  return state_->connection.alpn();
}

std::vector<std::string> TlsStream::peer_uris() const {
  const auto* certificate = ::SSL_get0_peer_certificate(state_->connection.ssl.get());
  if (!certificate || !state_->connection.loaded->verify) return {};
  return uri_names(certificate);
}

bool TlsStream::resumed() const {
  return state_->connection.resumed();
}

const std::string& TlsStream::failure() const {
  return state_->connection.failure;
}

// Makes a stream of a socket.
class Handshake {
 public:
  static net::Task<HandshakeResult> connect(std::shared_ptr<Loaded> loaded, net::Socket socket, ConnectOptions options,
                                            net::Milliseconds timeout) {
    auto stream = make(std::move(loaded), std::move(socket));
    if (!stream) co_return HandshakeError{false, "out of memory"};
    auto& connection = stream->state_->connection;
    if (auto problem = connection.prepare_client(options)) co_return HandshakeError{false, std::move(*problem)};
    const bool timed_out = co_await run(*stream, timeout);
    if (::SSL_is_init_finished(connection.ssl.get()) != 1) {
      co_return HandshakeError{timed_out, explain(connection, timed_out)};
    }
    SessionCache::give_back(connection.ssl.get());
    co_return std::move(stream);
  }

  static net::Task<HandshakeResult> accept(std::shared_ptr<Loaded> loaded, net::Socket socket,
                                           net::Milliseconds timeout) {
    auto stream = make(std::move(loaded), std::move(socket));
    if (!stream) co_return HandshakeError{false, "out of memory"};
    auto& state = *stream->state_;
    ::SSL_set_accept_state(state.connection.ssl.get());
    const bool timed_out = co_await run(*stream, timeout);
    if (::SSL_is_init_finished(state.connection.ssl.get()) == 1) co_return std::move(stream);
    HandshakeError error{timed_out, explain(state.connection, timed_out)};
    if (timed_out) co_return error;
    // What the client has sent since stays unread: closing at once would destroy the alert on its way.
    net::PlainStream plain(std::move(state.socket));
    co_await net::close_gently(plain, linger);
    co_return error;
  }

 private:
  static std::unique_ptr<TlsStream> make(std::shared_ptr<Loaded> loaded, net::Socket socket) {
    auto state = std::make_unique<TlsStream::State>(std::move(loaded), std::move(socket));
    if (!state->connection.is_made()) return nullptr;
    return std::unique_ptr<TlsStream>(new TlsStream(std::move(state)));
  }

  // Ends when the handshake has, either way; true: it was stopped for its time.
  static net::Task<bool> run(TlsStream& stream, net::Milliseconds timeout) {
    const net::Deadline deadline(stream.socket(), timeout);
    auto& connection = stream.state_->connection;
    while (connection.begin()) {
      const int result = ::SSL_do_handshake(connection.ssl.get());
      const auto step = result == 1 ? Step::end : connection.settle(result);
      if (step == Step::broken) break;
      const bool sent = co_await stream.flush();
      if (!sent || step == Step::end) break;
      const bool ready = co_await stream.wait_readable();
      if (!ready) break;
    }
    co_return deadline.expired();
  }

  static std::string explain(const Connection& connection, bool timed_out) {
    if (timed_out) return "the TLS handshake took too long";
    return "TLS handshake: " + (connection.failure.empty() ? "cancelled" : connection.failure);
  }
};

net::Task<HandshakeResult> connect(const Context& context, net::Socket socket, ConnectOptions options,
                                   net::Milliseconds timeout) {
  auto loaded = context.current();
  if (!loaded) co_return HandshakeError{false, "no certificates could be read yet"};
  co_return co_await Handshake::connect(std::move(loaded), std::move(socket), std::move(options), timeout);
}

net::Task<HandshakeResult> accept(const Context& context, net::Socket socket, net::Milliseconds timeout) {
  auto loaded = context.current();
  if (!loaded) co_return HandshakeError{false, "no certificates could be read yet"};
  co_return co_await Handshake::accept(std::move(loaded), std::move(socket), timeout);
}

}  // namespace sluice::tls
