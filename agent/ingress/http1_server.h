// HTTP/1.1 (RFC 9112) with a client: one exchange after the other.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ingress/client_connection.h"
#include "ingress/exchange.h"
#include "ingress/server_codec.h"
#include "ingress/stream.h"
#include "relay/http2_message.h"

namespace sluice::ingress {

class Http1Server final : public ServerCodec, private ClientStream {
 public:
  explicit Http1Server(ClientConnection& connection) : connection_(connection) {}
  ~Http1Server() override;

  void on_input() override;
  bool produce() override { return connection_.channel().queued() > 0; }
  void on_room() override;
  void on_peer_end() override;
  void on_gone(std::string_view why) override;
  void on_late_head() override;
  bool on_late_content() override;
  void on_drain() override;
  void on_idle() override { connection_.finish(); }
  bool is_idle() const override { return exchange_ == nullptr && kept_.empty(); }
  bool awaits_client() const override;

 private:
  // ClientStream
  void send_interim(unsigned status, const Fields& fields) override;
  void send_head(const Answer& answer) override;
  void send_content(ByteSpan content) override;
  void send_end(const Fields& trailers) override;
  void abort() override;
  bool is_full() const override;
  void read_more() override;
  void release() override;

  bool wants_input() const;
  void take(ByteSpan bytes);
  // Each takes what it can of the front of `bytes`.
  bool take_head(ByteSpan& bytes);
  void take_content(ByteSpan& bytes);
  void begin(const wire::RequestHead& head, ByteSpan bytes);
  void refuse(unsigned status, std::string_view reason, std::string_view detail);
  void end_request();

  ClientConnection& connection_;
  std::vector<std::uint8_t> kept_;  // read, and not taken yet
  std::size_t looked_at_ = 0;       // of kept_, when a head was not whole
  Exchange* exchange_ = nullptr;
  std::optional<relay::BodyContent> body_;
  std::uint64_t content_bytes_ = 0;  // of the request, so far
  unsigned minor_version_ = 1;       // the request's
  bool is_head_request_ = false;
  bool request_ended_ = true;
  bool paused_ = false;   // the exchange takes no more content now
  bool closes_ = false;   // no request after this one
  bool chunked_ = false;  // the answer
  bool raw_ = false;      // upgraded: bytes both ways
  bool answer_begun_ = false;
  bool answer_ended_ = false;
};

}  // namespace sluice::ingress
