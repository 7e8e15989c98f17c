// An upstream that speaks HTTP/2 (RFC 9113), as a stream of HTTP/1.1 for relay_http(): requests in, answers out, one
// after the other.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>

#include "net/stream.h"
#include "relay/http2_message.h"

struct nghttp2_session;

namespace sluice::relay {

// `inner` is a connection on which the server has chosen "h2". Written must be whole requests as wire/http_head.h takes
// them, the next one when the answer is complete; read are answers. There is no upgrade: the wish for one is not passed
// on. A request that the server refuses or breaks off ends the stream as broken; what a server may make this hold is
// bounded by the flow-control window (256 KiB) and one head. finish_writing() says nothing, for requests say where they
// end. reset() and close() end the connection underneath.
class Http2Upstream final : public net::Stream {
 public:
  explicit Http2Upstream(std::unique_ptr<net::Stream> inner);
  ~Http2Upstream() override;

  net::Task<net::IoResult> read_some(std::span<std::uint8_t> buffer) override;
  net::Task<net::Input> wait_input() override;
  net::Task<bool> write_all(ByteSpan bytes) override;
  net::Task<void> finish_writing() override;
  // Also false when the server said anything since the last answer: whoever asks had better dial again.
  bool is_quiet() override;
  net::Socket& socket() override { return inner_->socket(); }
  bool is_plain() const override { return false; }

 private:
  struct Callbacks;  // nghttp2's
  struct FreeSession {
    void operator()(nghttp2_session* session) const;
  };

  bool begin_request(ByteSpan& bytes);
  net::Task<bool> upload(ByteSpan content);
  // Reads what comes next, or waits for whoever does.
  net::Task<void> progress();
  // Sends what nghttp2 has to say; false when the connection broke.
  net::Task<bool> flush();
  bool has_ended() const;
  void fail();

  std::unique_ptr<net::Stream> inner_;
  std::unique_ptr<nghttp2_session, FreeSession> session_;
  boost::asio::steady_timer changed_;  // never expires; cancelled when something has changed
  bool reading_ = false;               // somebody reads the connection
  bool sending_ = false;               // somebody writes it
  bool uploading_ = false;             // and looks after what else there is to send
  bool failed_ = false;

  // The request and its answer:
  std::string head_;  // until it is whole
  std::int32_t stream_id_ = 0;
  bool stream_closed_ = true;
  std::optional<BodyContent> body_;
  ByteSpan content_;  // given to nghttp2 bit by bit
  std::optional<Http1Answer> answer_;
};

}  // namespace sluice::relay
