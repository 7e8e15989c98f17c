// One request of a client that speaks HTTP/2. For the files of Http2Server.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "ingress/http2_server.h"

namespace sluice::ingress {

class Http2Server::Stream final : public ClientStream {
 public:
  explicit Stream(Http2Server& server);

  void reset(std::int32_t its_id);

  // ClientStream
  void send_interim(unsigned status, const Fields& fields) override;
  void send_head(const Answer& answer) override;
  void send_content(ByteSpan bytes) override;
  void send_end(const Fields& trailers) override;
  void abort() override;
  bool is_full() const override { return content.is_full(); }
  void read_more() override;
  void release() override;

  // What came of the request's content.
  void take(ByteSpan bytes);
  // Who asks for a tunnel is to wait for it; what comes before would be a request of its own to a server that makes
  // none of it. The window bounds it.
  void hold(ByteSpan bytes) { early_.insert(early_.end(), bytes.begin(), bytes.end()); }
  void release_early();
  void end_request();
  // Extended CONNECT (RFC 8441).
  void begin_tunnel() { is_tunnel = holds_ = true; }

 private:
  Http2Server& server_;

 public:
  std::int32_t id = 0;
  Exchange* exchange = nullptr;
  Http2Head head;
  Http2Content content;  // of the answer
  std::uint64_t received = 0;
  bool head_ended = false;
  bool request_ended = false;
  bool is_tunnel = false;

 private:
  nghttp2_session* session() const { return server_.session_.get(); }
  Http2Fields& begin_fields(unsigned status, const Fields& fields);
  void go_on();
  void pass_on(ByteSpan bytes);
  void consume(std::size_t size);

  std::size_t unconsumed_ = 0;
  std::vector<std::uint8_t> early_;  // of a tunnel, before it is there
  std::array<char, 3> digits_{};
  bool holds_ = false;       // early_, and the end behind it
  bool is_through_ = false;  // the tunnel is there
  bool paused_ = false;
  bool answer_begun_ = false;
  bool answer_ended_ = false;
};

}  // namespace sluice::ingress
