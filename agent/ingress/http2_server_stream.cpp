#include "ingress/http2_server_stream.h"

#include <utility>

#include "ingress/desk.h"

namespace sluice::ingress {

Http2Server::Stream::Stream(Http2Server& server)
    : server_(server),
      head(server.connection_.desk().settings().ingress.max_head_bytes),
      content(server.connection_.channel().buffers()) {}

void Http2Server::Stream::reset(std::int32_t its_id) {
  id = its_id;
  exchange = nullptr;
  head.clear();
  content.clear();
  unconsumed_ = 0;
  received = 0;
  early_.clear();
  is_tunnel = holds_ = is_through_ = false;
  request_ended = head_ended = paused_ = answer_begun_ = answer_ended_ = false;
}

void Http2Server::Stream::send_interim(unsigned status, const Fields& fields) {
  auto& nv = begin_fields(status, fields);
  ::nghttp2_submit_headers(session(), NGHTTP2_FLAG_NONE, id, nullptr, nv.data(), nv.size(), nullptr);
  server_.connection_.flush_soon();
}

void Http2Server::Stream::send_head(const Answer& answer) {
  answer_begun_ = true;
  // What says that the bytes are the tunnel's now is 101 there and 2xx here; a server that answers 2xx by itself has
  // understood something else.
  if (is_tunnel ? answer.status / 100 == 2 : answer.status == 101) return abort();
  is_through_ = is_tunnel && answer.status == 101;
  auto& nv = begin_fields(is_through_ ? 200 : answer.status, *answer.fields);
  if (!answer.content_length.empty()) nv.add("content-length", answer.content_length);
  if (find_field(*answer.fields, "date") == nullptr) nv.add("date", server_.connection_.desk().date());
  const auto provider = content.provider();
  answer_ended_ = answer.ends;
  ::nghttp2_submit_response(session(), id, nv.data(), nv.size(), answer.ends ? nullptr : &provider);
  server_.connection_.flush_soon();
  // What was held has a turn of its own: the exchange is at telling this.
  server_.tunnel_begun_ = server_.tunnel_begun_ || is_through_;
}

void Http2Server::Stream::send_content(ByteSpan bytes) {
  content.add(bytes);
  go_on();
}

void Http2Server::Stream::send_end(const Fields& trailers) {
  answer_ended_ = true;
  content.end(trailers);
  go_on();
}

void Http2Server::Stream::abort() {
  answer_begun_ = true;
  answer_ended_ = false;
  ::nghttp2_submit_rst_stream(session(), NGHTTP2_FLAG_NONE, id, NGHTTP2_INTERNAL_ERROR);
  server_.connection_.flush_soon();
}

void Http2Server::Stream::read_more() {
  if (!std::exchange(paused_, false)) return;
  consume(std::exchange(unconsumed_, 0));
  server_.connection_.flush_soon();
}

void Http2Server::Stream::release() {
  exchange = nullptr;
  --server_.exchanges_;
  consume(std::exchange(unconsumed_, 0));
  paused_ = false;
  if (server_.exchanges_ == 0) server_.connection_.on_request_ended();
  server_.connection_.flush_soon();
}

void Http2Server::Stream::take(ByteSpan bytes) {
  ::nghttp2_session_consume_connection(session(), bytes.size());
  if (exchange == nullptr) return consume(bytes.size());
  if (holds_) return hold(bytes);
  received += bytes.size();
  const auto limit = server_.connection_.desk().settings().ingress.max_body_bytes;
  if (limit > 0 && received > limit && !is_tunnel) {
    exchange->on_client_error(413, "overloaded", "body too large");
    return consume(bytes.size());
  }
  pass_on(bytes);
}

void Http2Server::Stream::release_early() {
  if (!holds_ || !is_through_ || exchange == nullptr) return;
  holds_ = false;
  const auto bytes = std::exchange(early_, {});
  if (!bytes.empty()) pass_on(bytes);
  if (request_ended && exchange != nullptr) exchange->on_request_end({});
}

void Http2Server::Stream::end_request() {
  request_ended = true;
  if (exchange != nullptr && !holds_) exchange->on_request_end({});
}

Http2Fields& Http2Server::Stream::begin_fields(unsigned status, const Fields& fields) {
  digits_ = {static_cast<char>('0' + status / 100 % 10), static_cast<char>('0' + status / 10 % 10),
             static_cast<char>('0' + status % 10)};
  auto& nv = server_.fields_;
  nv.clear();
  nv.add(":status", {digits_.data(), digits_.size()});
  nv.add(fields);
  return nv;
}

void Http2Server::Stream::go_on() {
  if (content.take_deferred()) ::nghttp2_session_resume_data(session(), id);
  server_.connection_.flush_soon();
}

void Http2Server::Stream::pass_on(ByteSpan bytes) {
  paused_ = !exchange->on_request_content(bytes);
  if (paused_ && exchange != nullptr) {
    unconsumed_ += bytes.size();
  } else {
    consume(bytes.size());
  }
}

void Http2Server::Stream::consume(std::size_t size) {
  if (size > 0) ::nghttp2_session_consume_stream(session(), id, size);
}

}  // namespace sluice::ingress
