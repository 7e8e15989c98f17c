// A server that speaks HTTP/2 at the script's end of a connection: nghttp2, told what to answer.
#pragma once

#include <nghttp2/nghttp2.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "loop.h"

namespace sluice::relay {

class Http2Server {
 public:
  using Fields = std::vector<std::pair<std::string, std::string>>;

  struct Request {
    Fields fields;  // pseudo-header fields too, then trailers
    std::string body;
    bool ended = false;

    std::string field(const std::string& name) const {
      for (const auto& [key, value] : fields) {
        if (key == name) return value;
      }
      return "(none)";
    }
  };

  // Called when a request's head is there, and again when it has ended.
  using Answerer = std::function<void(Http2Server&, std::int32_t stream, const Request&)>;

  Http2Server(net::Socket& socket, Answerer answerer) : socket_(socket), answerer_(std::move(answerer)) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_option* options = nullptr;
    nghttp2_option_new(&options);
    nghttp2_option_set_max_send_header_block_length(options, 1UL << 20);
    nghttp2_session_server_new2(&session_, callbacks, this, options);
    nghttp2_option_del(options);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0);
  }
  ~Http2Server() { nghttp2_session_del(session_); }
  Http2Server(const Http2Server&) = delete;
  Http2Server& operator=(const Http2Server&) = delete;

  // Serves until the connection ends.
  net::Task<void> serve() {
    std::vector<std::uint8_t> buffer(65536);
    for (;;) {
      for (;;) {
        const std::uint8_t* bytes = nullptr;
        const auto size = nghttp2_session_mem_send(session_, &bytes);
        if (size <= 0) break;
        const bool sent = co_await net::write_all(socket_, {bytes, static_cast<std::size_t>(size)});
        if (!sent) co_return;
      }
      if (!raw_.empty()) co_await send(socket_, std::exchange(raw_, {}));
      const auto got = co_await net::read_some(socket_, buffer);
      const auto* size = std::get_if<std::size_t>(&got);
      if (!size || *size == 0) co_return;
      if (nghttp2_session_mem_recv(session_, buffer.data(), *size) < 0) co_return;
    }
  }

  void inform(std::int32_t stream, const Fields& fields) {
    const auto list = views(fields);
    nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream, nullptr, list.data(), list.size(), nullptr);
  }
  // A body of nullopt ends the answer with its head.
  void answer(std::int32_t stream, const Fields& fields, std::optional<std::string> body, Fields trailers = {}) {
    auto& out = out_[stream];
    out = {this, body.value_or(""), 0, std::move(trailers)};
    nghttp2_data_provider provider{{.ptr = &out}, read_body};
    const auto list = views(fields);
    nghttp2_submit_response(session_, stream, list.data(), list.size(), body ? &provider : nullptr);
  }
  void reset(std::int32_t stream, std::uint32_t code) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream, code);
  }
  void go_away() { nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, nullptr, 0); }
  void settings() { nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0); }
  // Bytes that nghttp2 would not send, after what it sends.
  void send_raw(std::string bytes) { raw_ += bytes; }

  std::map<std::int32_t, Request> requests;

 private:
  struct Out {
    Http2Server* server = nullptr;
    std::string body;
    std::size_t sent = 0;
    Fields trailers;
  };

  static std::vector<nghttp2_nv> views(const Fields& fields) {
    std::vector<nghttp2_nv> list;
    for (const auto& [name, value] : fields) {
      list.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                      reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                      NGHTTP2_NV_FLAG_NONE});
    }
    return list;
  }
  static std::string text(const std::uint8_t* bytes, std::size_t size) {
    return {reinterpret_cast<const char*>(bytes), size};
  }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_bytes,
                       const std::uint8_t* value, std::size_t value_bytes, std::uint8_t, void* user) {
    auto& request = static_cast<Http2Server*>(user)->requests[frame->hd.stream_id];
    request.fields.emplace_back(text(name, name_bytes), text(value, value_bytes));
    return 0;
  }
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t stream, const std::uint8_t* data, std::size_t size,
                     void* user) {
    static_cast<Http2Server*>(user)->requests[stream].body += text(data, size);
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    auto& server = *static_cast<Http2Server*>(user);
    const auto stream = frame->hd.stream_id;
    const bool head = frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    const bool ends = (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
                      (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (ends) server.requests[stream].ended = true;
    if (head || ends) server.answerer_(server, stream, server.requests[stream]);
    return 0;
  }
  static ssize_t read_body(nghttp2_session* session, std::int32_t stream, std::uint8_t* buffer, std::size_t size,
                           std::uint32_t* flags, nghttp2_data_source* source, void*) {
    auto& out = *static_cast<Out*>(source->ptr);
    const auto count = out.body.copy(reinterpret_cast<char*>(buffer), size, out.sent);
    out.sent += count;
    if (out.sent < out.body.size()) return static_cast<ssize_t>(count);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!out.trailers.empty()) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const auto list = views(out.trailers);
      nghttp2_submit_trailer(session, stream, list.data(), list.size());
    }
    return static_cast<ssize_t>(count);
  }

  net::Socket& socket_;
  Answerer answerer_;
  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, Out> out_;
  std::string raw_;
};

}  // namespace sluice::relay
