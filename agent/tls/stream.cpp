#include "tls/stream.h"

#include <algorithm>
#include <system_error>

#include "base/ip.h"
#include "tls/loaded.h"
#include "tls/peer.h"
#include "tls/socket_bio.h"

namespace sluice::tls {
namespace {

constexpr std::size_t read_budget = 64UL * 1024;
constexpr net::Milliseconds linger{1000};

int clamp(std::size_t size) {
  return static_cast<int>(std::min<std::size_t>(size, 1UL << 30));
}

// "unknown ca" of "tlsv1 alert unknown ca".
std::string alert_name(const std::string& reason) {
  constexpr std::string_view mark = " alert ";
  const auto at = reason.find(mark);
  return at == std::string::npos ? reason : reason.substr(at + mark.size());
}

}  // namespace

struct TlsStream::State {
  State(std::shared_ptr<Loaded> from, net::Socket connection)
      : socket(std::move(connection)), loaded(std::move(from)), ssl(::SSL_new(loaded->context.get())) {
    bio_state.budget = read_budget;
  }

  net::Socket socket;
  SocketState bio_state{socket};
  PeerCheck check;
  SessionHome home;
  std::shared_ptr<Loaded> loaded;
  std::unique_ptr<SSL, Free<::SSL_free>> ssl;
  bool broken = false;
  std::string failure;
};

TlsStream::TlsStream(std::unique_ptr<State> state) : state_(std::move(state)) {}

TlsStream::~TlsStream() = default;

net::Socket& TlsStream::socket() {
  return state_->socket;
}

bool TlsStream::begin() {
  if (state_->broken) return false;
  ::ERR_clear_error();
  state_->bio_state.error = 0;
  return true;
}

TlsStream::Step TlsStream::settle(int result) {
  const auto error = ::SSL_get_error(state_->ssl.get(), result);
  if (error == SSL_ERROR_WANT_READ) return Step::wait;
  if (error == SSL_ERROR_ZERO_RETURN) return Step::end;
  if (!state_->check.failure.empty()) return fail(state_->check.failure);
  if (state_->bio_state.error != 0) return fail(std::system_category().message(state_->bio_state.error));
  const auto code = ::ERR_peek_last_error();
  const auto reason = ERR_GET_REASON(code);
  if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) return fail("cut off: the connection ended without close_notify");
  const bool alerted = ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET;
  return fail(alerted ? "the peer refused: " + alert_name(take_error()) : take_error());
}

TlsStream::Step TlsStream::fail(std::string why) {
  state_->broken = true;
  if (state_->failure.empty()) state_->failure = std::move(why);
  return Step::broken;
}

net::Task<bool> TlsStream::wait_readable() {
  // Who has used up the budget stopped before the socket was empty.
  const bool spent = state_->bio_state.budget == 0;
  state_->bio_state.budget = read_budget;
  if (spent) co_return co_await state_->socket.wait_turn();
  co_return co_await state_->socket.wait_readable();
}

net::Task<bool> TlsStream::flush() {
  for (;;) {
    if (!send_unsent(state_->bio_state)) {
      fail(std::system_category().message(state_->bio_state.error));
      co_return false;
    }
    if (state_->bio_state.unsent.empty()) co_return true;
    const bool ready = co_await state_->socket.wait_writable();
    if (!ready) co_return false;
  }
}

net::Task<net::IoResult> TlsStream::read_some(std::span<std::uint8_t> buffer) {
  while (begin()) {
    const int got = ::SSL_read(state_->ssl.get(), buffer.data(), clamp(buffer.size()));
    if (got > 0) co_return static_cast<std::size_t>(got);
    const auto step = settle(got);
    if (step == Step::end) co_return std::size_t{0};
    if (step == Step::broken) break;
    const bool ready = co_await wait_readable();
    if (!ready) co_return make_error_code(boost::asio::error::operation_aborted);
  }
  co_return make_error_code(boost::asio::error::connection_reset);
}

net::Task<net::Input> TlsStream::wait_input() {
  while (begin()) {
    std::uint8_t byte = 0;
    const int got = ::SSL_peek(state_->ssl.get(), &byte, 1);
    if (got > 0) co_return net::Input::bytes;
    const auto step = settle(got);
    if (step == Step::end) co_return net::Input::end;
    if (step == Step::broken) break;
    const bool ready = co_await wait_readable();
    if (!ready) break;
  }
  co_return net::Input::broken;
}

net::Task<bool> TlsStream::write_all(ByteSpan bytes) {
  while (!bytes.empty()) {
    if (!begin()) co_return false;
    const int put = ::SSL_write(state_->ssl.get(), bytes.data(), clamp(bytes.size()));
    if (put <= 0) {
      settle(put);
      fail("cut off within a write");
      co_return false;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    const bool sent = co_await flush();
    if (sent) continue;
    fail("cancelled within a write");
    co_return false;
  }
  co_return true;
}

net::Task<void> TlsStream::finish_writing() {
  if (!begin()) co_return;
  // 0 says that the peer's own close_notify has not come yet, as it need not.
  const int sent = ::SSL_shutdown(state_->ssl.get());
  if (sent < 0) settle(sent);
  co_await flush();
}

bool TlsStream::is_quiet() {
  if (!begin()) return false;
  state_->bio_state.budget = read_budget;
  std::uint8_t byte = 0;
  const int got = ::SSL_peek(state_->ssl.get(), &byte, 1);
  return got <= 0 && settle(got) == Step::wait;
}

std::string TlsStream::alpn() const {
  const unsigned char* chosen = nullptr;
  unsigned size = 0;
  ::SSL_get0_alpn_selected(state_->ssl.get(), &chosen, &size);
  return {reinterpret_cast<const char*>(chosen), size};
}

std::vector<std::string> TlsStream::peer_uris() const {
  const auto* certificate = ::SSL_get0_peer_certificate(state_->ssl.get());
  if (!certificate || !state_->loaded->verify) return {};
  return uri_names(certificate);
}

bool TlsStream::resumed() const {
  return ::SSL_session_reused(state_->ssl.get()) == 1;
}

const std::string& TlsStream::failure() const {
  return state_->failure;
}

// Makes a stream of a socket.
class Handshake {
 public:
  static net::Task<HandshakeResult> connect(std::shared_ptr<Loaded> loaded, net::Socket socket, ConnectOptions options,
                                            net::Milliseconds timeout) {
    auto stream = make(std::move(loaded), std::move(socket));
    if (!stream) co_return HandshakeError{false, "out of memory"};
    auto& state = *stream->state_;
    if (auto problem = prepare_client(state, options)) co_return HandshakeError{false, std::move(*problem)};
    const bool timed_out = co_await run(*stream, timeout);
    if (::SSL_is_init_finished(state.ssl.get()) != 1) co_return HandshakeError{timed_out, explain(state, timed_out)};
    SessionCache::give_back(state.ssl.get());
    co_return std::move(stream);
  }

  static net::Task<HandshakeResult> accept(std::shared_ptr<Loaded> loaded, net::Socket socket,
                                           net::Milliseconds timeout) {
    auto stream = make(std::move(loaded), std::move(socket));
    if (!stream) co_return HandshakeError{false, "out of memory"};
    auto& state = *stream->state_;
    ::SSL_set_accept_state(state.ssl.get());
    const bool timed_out = co_await run(*stream, timeout);
    if (::SSL_is_init_finished(state.ssl.get()) == 1) co_return std::move(stream);
    HandshakeError error{timed_out, explain(state, timed_out)};
    if (timed_out) co_return error;
    // What the client has sent since stays unread: closing at once would destroy the alert on its way.
    net::PlainStream plain(std::move(state.socket));
    co_await net::close_gently(plain, linger);
    co_return error;
  }

 private:
  static std::unique_ptr<TlsStream> make(std::shared_ptr<Loaded> loaded, net::Socket socket) {
    auto state = std::make_unique<TlsStream::State>(std::move(loaded), std::move(socket));
    auto bio = make_socket_bio(state->bio_state);
    if (!state->ssl || !bio) return nullptr;
    auto* owned = bio.release();
    ::SSL_set_bio(state->ssl.get(), owned, owned);
    ::SSL_set_ex_data(state->ssl.get(), peer_check_index(), &state->check);
    return std::unique_ptr<TlsStream>(new TlsStream(std::move(state)));
  }

  // Why it cannot begin.
  static std::optional<std::string> prepare_client(TlsStream::State& state, const ConnectOptions& options) {
    auto* ssl = state.ssl.get();
    const auto& name = options.server_name;
    ::SSL_set_connect_state(ssl);
    state.check.names = state.loaded->names;
    if (state.check.names.empty() && state.loaded->verify) {
      if (name.empty()) return "no name to verify the server by";
      state.check.names.push_back(name);
    }
    if (!name.empty() && !IpAddress::parse(name) && ::SSL_set_tlsext_host_name(ssl, name.c_str()) != 1) {
      return name + " cannot be a server name";
    }
    const auto alpn = encode_alpn(options.alpn);
    // Of all of OpenSSL's setters this one says 0 for success.
    if (!alpn.empty() && ::SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(alpn.data()),
                                               static_cast<unsigned>(alpn.size())) != 0) {
      return "the protocols cannot be offered";
    }
    boost::system::error_code error;
    state.home = {&state.loaded->sessions, net::to_endpoint(state.socket.remote_endpoint(error)).to_string() + name};
    SessionCache::attach(ssl, state.home);
    if (const auto session = state.loaded->sessions.take(state.home.peer)) ::SSL_set_session(ssl, session.get());
    return std::nullopt;
  }

  // Ends when the handshake has, either way; true: it was stopped for its time.
  static net::Task<bool> run(TlsStream& stream, net::Milliseconds timeout) {
    const net::Deadline deadline(stream.socket(), timeout);
    while (stream.begin()) {
      const int result = ::SSL_do_handshake(stream.state_->ssl.get());
      const auto step = result == 1 ? TlsStream::Step::end : stream.settle(result);
      if (step == TlsStream::Step::broken) break;
      const bool sent = co_await stream.flush();
      if (!sent || step == TlsStream::Step::end) break;
      const bool ready = co_await stream.wait_readable();
      if (!ready) break;
    }
    co_return deadline.expired();
  }

  static std::string explain(const TlsStream::State& state, bool timed_out) {
    if (timed_out) return "the TLS handshake took too long";
    return "TLS handshake: " + (state.failure.empty() ? "cancelled" : state.failure);
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
