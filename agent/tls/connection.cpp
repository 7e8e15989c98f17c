#include "tls/connection.h"

#include <system_error>

#include "base/ip.h"

namespace sluice::tls {
namespace {

// "unknown ca" of "tlsv1 alert unknown ca".
std::string alert_name(const std::string& reason) {
  constexpr std::string_view mark = " alert ";
  const auto at = reason.find(mark);
  return at == std::string::npos ? reason : reason.substr(at + mark.size());
}

}  // namespace

Connection::Connection(std::shared_ptr<Loaded> from, net::Socket& socket)
    : bio{socket}, loaded(std::move(from)), ssl(::SSL_new(loaded->context.get())) {
  auto own_bio = make_socket_bio(bio);
  if (!ssl || !own_bio) return;
  auto* owned = own_bio.release();
  ::SSL_set_bio(ssl.get(), owned, owned);
  if (!loaded->verify) return;
  check = std::make_unique<PeerCheck>(PeerCheck{loaded->rules, ""});
  ::SSL_set_ex_data(ssl.get(), peer_check_index(), check.get());
}

std::optional<std::string> Connection::prepare_client(const ConnectOptions& options) {
  const auto& name = options.server_name;
  ::SSL_set_connect_state(ssl.get());
  if (check && check->rules.names.empty()) {
    if (name.empty()) return "no name to verify the server by";
    check->rules.names.push_back(name);
  }
  if (!name.empty() && !IpAddress::parse(name) && ::SSL_set_tlsext_host_name(ssl.get(), name.c_str()) != 1) {
    return name + " cannot be a server name";
  }
  const auto protocols = encode_alpn(options.alpn);
  // Of all of OpenSSL's setters this one says 0 for success.
  if (!protocols.empty() && ::SSL_set_alpn_protos(ssl.get(), reinterpret_cast<const unsigned char*>(protocols.data()),
                                                  static_cast<unsigned>(protocols.size())) != 0) {
    return "the protocols cannot be offered";
  }
  // A connection that is still to be dialled has no other end yet that the kernel would name.
  auto peer = bio.socket.peer();
  boost::system::error_code error;
  if (peer.port == 0) peer = net::to_endpoint(bio.socket.remote_endpoint(error));
  home = std::make_unique<SessionHome>(SessionHome{&loaded->sessions, peer.to_string() + name});
  SessionCache::attach(ssl.get(), *home);
  if (const auto session = loaded->sessions.take(home->peer)) ::SSL_set_session(ssl.get(), session.get());
  return std::nullopt;
}

bool Connection::begin() {
  if (broken) return false;
  ::ERR_clear_error();
  bio.error = 0;
  return true;
}

Connection::Step Connection::settle(int result) {
  const auto error = ::SSL_get_error(ssl.get(), result);
  if (error == SSL_ERROR_WANT_READ) return Step::wait;
  if (error == SSL_ERROR_ZERO_RETURN) return Step::end;
  if (check && !check->failure.empty()) return fail(check->failure);
  if (bio.error != 0) return fail(std::system_category().message(bio.error));
  const auto code = ::ERR_peek_last_error();
  const auto reason = ERR_GET_REASON(code);
  if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) return fail("cut off: the connection ended without close_notify");
  const bool alerted = ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET;
  return fail(alerted ? "the peer refused: " + alert_name(take_error()) : take_error());
}

Connection::Step Connection::fail(std::string why) {
  broken = true;
  if (failure.empty()) failure = std::move(why);
  return Step::broken;
}

std::string Connection::alpn() const {
  const unsigned char* chosen = nullptr;
  unsigned size = 0;
  ::SSL_get0_alpn_selected(ssl.get(), &chosen, &size);
  return {reinterpret_cast<const char*>(chosen), size};
}

}  // namespace sluice::tls
