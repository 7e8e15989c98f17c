// TLS over a TCP connection (RFC 8446), begun by either side. No early data: it could be replayed.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "net/stream.h"
#include "tls/context.h"

namespace sluice::tls {

// An established connection whose peer was verified as its context demands. The stream ends with close_notify alone: a
// connection that ends without is broken. After `broken` or a cancelled write nothing can be read or written any more.
class TlsStream final : public net::Stream {
 public:
  ~TlsStream() override;

  net::Task<net::IoResult> read_some(std::span<std::uint8_t> buffer) override;
  net::Task<net::Input> wait_input() override;
  net::Task<bool> write_all(ByteSpan bytes) override;
  net::Task<void> finish_writing() override;  // close_notify; TCP stays open both ways
  bool is_quiet() override;
  net::Socket& socket() override;
  bool is_plain() const override { return false; }

  // The protocol that was agreed on; empty: none.
  std::string alpn() const;
  // The URI names of the peer's verified certificate: a SPIFFE identity is exactly one. Empty without a certificate, or
  // when none was demanded.
  std::vector<std::string> peer_uris() const;
  // This connection goes on with an earlier one's session.
  bool resumed() const;
  // What broke the stream, for records; empty: nothing did.
  const std::string& failure() const;

 private:
  friend class Handshake;
  struct State;

  explicit TlsStream(std::unique_ptr<State> state);

  // Waits for more to read; false when the socket was cancelled or closed meanwhile.
  net::Task<bool> wait_readable();
  // Waits until the socket has taken what OpenSSL wrote; false when it broke or was cancelled.
  net::Task<bool> flush();

  std::unique_ptr<State> state_;
};

struct HandshakeError {
  bool timed_out = false;
  // "wrong identity: expected X, found Y", "certificate of Y: certificate has expired", "the peer refused: ..."
  std::string message;
};
using HandshakeResult = std::variant<std::unique_ptr<TlsStream>, HandshakeError>;

struct ConnectOptions {
  // SNI, unless it is an IP address or empty; verified when the context has no peer names.
  std::string server_name;
  std::vector<std::string> alpn;  // most wanted first; a server that chooses none of these is not refused
};

// Begins TLS on a connected socket, resuming a session of the same address and server name where there is one: one
// round trip either way. In TLS 1.3 a server may refuse the client's certificate after this has succeeded; the stream
// is broken then, and its failure() says so.
net::Task<HandshakeResult> connect(const Context& context, net::Socket socket, ConnectOptions options,
                                   net::Milliseconds timeout);
// Answers a client. A client that fails is told by alert, for which this may take a second longer than `timeout`.
net::Task<HandshakeResult> accept(const Context& context, net::Socket socket, net::Milliseconds timeout);

}  // namespace sluice::tls
