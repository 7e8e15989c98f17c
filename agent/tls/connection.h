// One TLS connection, in coroutines (TlsStream) or without (TlsChannel). For this module's own files.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "tls/handles.h"
#include "tls/loaded.h"
#include "tls/peer.h"
#include "tls/socket_bio.h"
#include "tls/stream.h"

namespace sluice::tls {

// `socket` outlives it, and it stays where it is.
struct Connection {
  Connection(std::shared_ptr<Loaded> from, net::Socket& socket);

  bool is_made() const { return ssl != nullptr && ::SSL_get_rbio(ssl.get()) != nullptr; }
  // Makes it the client's side; why it cannot be.
  std::optional<std::string> prepare_client(const ConnectOptions& options);

  // Before each call into OpenSSL; false: it is broken.
  bool begin();
  // What a call into OpenSSL that did not succeed came to.
  enum class Step : std::uint8_t { wait, end, broken };
  Step settle(int result);
  Step fail(std::string why);

  std::string alpn() const;
  bool resumed() const { return ::SSL_session_reused(ssl.get()) == 1; }

  SocketState bio;
  std::unique_ptr<PeerCheck> check;   // null: the peer is not verified
  std::unique_ptr<SessionHome> home;  // null: a server's side
  std::shared_ptr<Loaded> loaded;
  std::unique_ptr<SSL, Free<::SSL_free>> ssl;
  bool broken = false;
  std::string failure;  // what broke it
};

}  // namespace sluice::tls
