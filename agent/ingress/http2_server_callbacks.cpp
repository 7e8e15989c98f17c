#include <algorithm>

#include "ingress/desk.h"
#include "ingress/http2_server_stream.h"

// What nghttp2 tells of a client's connection.
namespace sluice::ingress {
namespace {

constexpr std::size_t hopeless_heads = 4;  // a head of so many times the limit ends the connection
// How many WINDOW_UPDATEs a client may send for each DATA that it got.
constexpr std::size_t windows_per_data = 10;

}  // namespace

struct Http2Server::Callbacks {
  static Http2Server& self(void* user) { return *static_cast<Http2Server*>(user); }

  static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) self(user).open(frame->hd.stream_id);
    return 0;
  }

  // Of every frame of a known type, before nghttp2 makes anything of it.
  static int on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* head, void* user) {
    auto& server = self(user);
    switch (head->type) {
      case NGHTTP2_DATA:
      case NGHTTP2_HEADERS:
        return server.is_closed(head->stream_id) ? server.end_by(NGHTTP2_STREAM_CLOSED) : 0;
      case NGHTTP2_RST_STREAM:
      case NGHTTP2_CONTINUATION:
        return 0;
      case NGHTTP2_WINDOW_UPDATE:
        return server.takes_window() ? 0 : server.end_by(NGHTTP2_ENHANCE_YOUR_CALM);
      case NGHTTP2_PRIORITY:
        if (head->stream_id == 0) return server.end_by(NGHTTP2_PROTOCOL_ERROR);
        [[fallthrough]];
      default:
        return server.controls_.take() ? 0 : server.end_by(NGHTTP2_ENHANCE_YOUR_CALM);
    }
  }

  // What is wrong with a stream alone: it is reset, and what is on its way on it is passed over.
  static int on_invalid_frame(nghttp2_session*, const nghttp2_frame* frame, int, void* user) {
    auto& server = self(user);
    server.reset_until_ = std::max(server.reset_until_, frame->hd.stream_id);
    return server.resets_.take() ? 0 : server.end_by(NGHTTP2_ENHANCE_YOUR_CALM);
  }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_bytes,
                       const std::uint8_t* value, std::size_t value_bytes, std::uint8_t, void* user) {
    auto* stream = self(user).find(frame->hd.stream_id);
    if (stream == nullptr || stream->head.add(text_of(name, name_bytes), text_of(value, value_bytes))) return 0;
    // What is too large is answered with 431 as long as reading it costs no more than others do.
    const auto limit = self(user).connection_.desk().settings().ingress.max_head_bytes;
    return stream->head.bytes() / hopeless_heads > limit ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
  }

  static int on_invalid_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t*, std::size_t,
                               const std::uint8_t*, std::size_t, std::uint8_t, void*) {
    // Never passed over in silence: another parser may make something of it.
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }

  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    auto& server = self(user);
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
      case NGHTTP2_DATA: {
        auto* stream = server.find(frame->hd.stream_id);
        if (stream == nullptr) return 0;
        if (frame->hd.type == NGHTTP2_HEADERS) {
          server.end_head(*stream, ends);
        } else if (ends) {
          stream->end_request();
        } else if (frame->hd.length == 0) {
          return server.controls_.take() ? 0 : server.end_by(NGHTTP2_ENHANCE_YOUR_CALM);
        }
        return 0;
      }
      case NGHTTP2_PING:
        if (server.draining_ && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) server.end_streams();
        return 0;
      case NGHTTP2_RST_STREAM:
        return server.resets_.take() ? 0 : server.end_by(NGHTTP2_ENHANCE_YOUR_CALM);
      default:
        return 0;
    }
  }

  static int on_data(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                     std::size_t size, void* user) {
    if (auto* stream = self(user).find(id)) {
      stream->take({bytes, size});
    } else {
      ::nghttp2_session_consume(session, id, size);
    }
    return 0;
  }

  static int on_frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    auto& server = self(user);
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
      server.reset_until_ = std::max(server.reset_until_, frame->hd.stream_id);
    } else if (frame->hd.type == NGHTTP2_DATA) {
      server.spare_windows_ += windows_per_data;
    } else if (frame->hd.type == NGHTTP2_GOAWAY && server.draining_ && !server.last_told_) {
      // Not before: nghttp2 lets a PING overtake everything else.
      ::nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, nullptr);
    }
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!ends || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)) return 0;
    const auto* stream = server.find(frame->hd.stream_id);
    // RFC 9113 section 8.1: the answer is whole, and the rest of the request is not wanted.
    if (stream != nullptr && !stream->request_ended) {
      ::nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  static int send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* head, std::size_t length,
                       nghttp2_data_source* source, void* user) {
    static_cast<Http2Content*>(source->ptr)->send(self(user).connection_.channel(), head, length);
    return 0;
  }

  static int on_stream_close(nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
    if (auto* stream = self(user).find(id)) self(user).close(*stream);
    return 0;
  }

  static const nghttp2_session_callbacks& all() {
    static const auto callbacks = [] {
      nghttp2_session_callbacks* made = nullptr;
      ::nghttp2_session_callbacks_new(&made);
      ::nghttp2_session_callbacks_set_on_begin_headers_callback(made, on_begin_headers);
      ::nghttp2_session_callbacks_set_on_begin_frame_callback(made, on_begin_frame);
      ::nghttp2_session_callbacks_set_on_header_callback(made, on_header);
      ::nghttp2_session_callbacks_set_on_invalid_header_callback(made, on_invalid_header);
      ::nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(made, on_invalid_frame);
      ::nghttp2_session_callbacks_set_on_frame_recv_callback(made, on_frame);
      ::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, on_data);
      ::nghttp2_session_callbacks_set_on_frame_send_callback(made, on_frame_sent);
      ::nghttp2_session_callbacks_set_send_data_callback(made, send_data);
      ::nghttp2_session_callbacks_set_on_stream_close_callback(made, on_stream_close);
      return made;
    }();
    return *callbacks;
  }

  static const nghttp2_option& options() {
    static const auto* options = [] {
      auto* made = make_http2_options();
      ::nghttp2_option_set_max_settings(made, 32);
      ::nghttp2_option_set_max_outbound_ack(made, 100);
      return made;
    }();
    return *options;
  }
};

nghttp2_session* Http2Server::make_session() {
  nghttp2_session* made = nullptr;
  const auto done = ::nghttp2_session_server_new2(&made, &Callbacks::all(), this, &Callbacks::options());
  return done == 0 ? made : nullptr;
}

}  // namespace sluice::ingress
