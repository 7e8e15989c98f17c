// TLS over a TCP connection (RFC 8446) without coroutines, begun by either side. No early data: it could be replayed.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "net/channel.h"
#include "tls/context.h"
#include "tls/stream.h"

namespace sluice::tls {

// The stream ends with close_notify alone: a connection that ends without is broken.
class TlsChannel final : public net::Channel {
 public:
  // Takes a connection that a client has opened. Null when memory is exhausted, or `context` has read no certificates.
  static std::unique_ptr<TlsChannel> accept(const Context& context, net::Socket socket, net::Buffers& buffers);
  // Begins with the server at the other end; an error says why it cannot.
  static Result<std::unique_ptr<TlsChannel>> connect(const Context& context, net::Socket socket,
                                                     const ConnectOptions& options, net::Buffers& buffers);
  ~TlsChannel() override;

  // To be called first, and for each event until it is done or broken.
  net::Io handshake();

  net::Io read(std::span<std::uint8_t> buffer, std::size_t& size) override;
  net::Io flush() override;
  std::size_t queued() const override;
  void finish() override;
  bool is_encrypted() const override { return true; }

  // Of the handshake: the protocol that was agreed on, empty: none; "TLSv1.3".
  std::string alpn() const;
  std::string_view version() const;
  // This connection goes on with an earlier one's session.
  bool resumed() const;
  // What broke it, for records; empty: nothing did.
  const std::string& failure() const;

 private:
  struct State;
  TlsChannel(std::shared_ptr<Loaded> loaded, net::Socket socket, net::Buffers& buffers);

  bool begin();
  net::Io settle(int result);
  net::Io fail(std::string why);
  net::Io flush_records();

  std::unique_ptr<State> state_;
};

}  // namespace sluice::tls
