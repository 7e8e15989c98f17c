#include "relay/http2_upstream.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>

namespace sluice::relay {
namespace {

constexpr auto as_result = boost::asio::as_tuple(boost::asio::use_awaitable);
constexpr std::size_t io_bytes = 16UL * 1024;
constexpr std::int32_t window_bytes = 256 * 1024;

nghttp2_nv view(const Field& field) {
  // nghttp2 copies what it is given.
  return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.first.data())),
          reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.second.data())), field.first.size(),
          field.second.size(), NGHTTP2_NV_FLAG_NONE};
}

std::vector<nghttp2_nv> views(const std::vector<Field>& fields) {
  std::vector<nghttp2_nv> list;
  list.reserve(fields.size());
  for (const auto& field : fields) list.push_back(view(field));
  return list;
}

}  // namespace

struct Http2Upstream::Callbacks {
  static Http2Upstream& self(void* user) { return *static_cast<Http2Upstream*>(user); }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_bytes,
                       const std::uint8_t* value, std::size_t value_bytes, std::uint8_t, void* user) {
    auto& upstream = self(user);
    if (frame->hd.stream_id != upstream.stream_id_ || !upstream.answer_) return 0;
    const bool added = upstream.answer_->add_field({reinterpret_cast<const char*>(name), name_bytes},
                                                   {reinterpret_cast<const char*>(value), value_bytes});
    return added ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }

  static int on_invalid_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t*, std::size_t,
                               const std::uint8_t*, std::size_t, std::uint8_t, void*) {
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }

  static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    auto& upstream = self(user);
    if (frame->hd.stream_id != upstream.stream_id_ || !upstream.answer_) return 0;
    const bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS) {
      if (upstream.answer_->end_fields(end)) return 0;
      return ::nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_PROTOCOL_ERROR);
    }
    if (frame->hd.type == NGHTTP2_DATA && end) upstream.answer_->end();
    return 0;
  }

  static int on_data(nghttp2_session* session, std::uint8_t, std::int32_t stream_id, const std::uint8_t* data,
                     std::size_t size, void* user) {
    auto& upstream = self(user);
    if (stream_id == upstream.stream_id_ && upstream.answer_) {
      upstream.answer_->add_content({data, size});
    } else {
      ::nghttp2_session_consume(session, stream_id, size);
    }
    return 0;
  }

  static int on_close(nghttp2_session*, std::int32_t stream_id, std::uint32_t, void* user) {
    auto& upstream = self(user);
    if (stream_id == upstream.stream_id_) upstream.stream_closed_ = true;
    return 0;
  }

  // A nghttp2_data_source_read_callback.
  static ssize_t read_content(nghttp2_session* session, std::int32_t stream_id, std::uint8_t* buffer, std::size_t size,
                              std::uint32_t* flags, nghttp2_data_source*, void* user) {
    auto& upstream = self(user);
    const auto count = std::min(size, upstream.content_.size());
    if (count == 0 && !upstream.body_->done()) return NGHTTP2_ERR_DEFERRED;
    if (count > 0) std::memcpy(buffer, upstream.content_.data(), count);
    upstream.content_ = upstream.content_.subspan(count);
    if (!upstream.content_.empty() || !upstream.body_->done()) return static_cast<ssize_t>(count);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (const auto trailers = views(upstream.body_->trailers()); !trailers.empty()) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      if (::nghttp2_submit_trailer(session, stream_id, trailers.data(), trailers.size()) != 0) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
      }
    }
    return static_cast<ssize_t>(count);
  }

  static nghttp2_session* make_session(Http2Upstream* upstream) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_option* options = nullptr;
    nghttp2_session* session = nullptr;
    if (::nghttp2_session_callbacks_new(&callbacks) != 0 || ::nghttp2_option_new(&options) != 0) throw std::bad_alloc();
    ::nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    ::nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
    ::nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    ::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    ::nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    // Content is acknowledged when the client took it: a slow client slows the server down.
    ::nghttp2_option_set_no_auto_window_update(options, 1);
    const int made = ::nghttp2_session_client_new2(&session, callbacks, upstream, options);
    ::nghttp2_session_callbacks_del(callbacks);
    ::nghttp2_option_del(options);
    if (made != 0) throw std::bad_alloc();
    return session;
  }
};

void Http2Upstream::FreeSession::operator()(nghttp2_session* session) const {
  ::nghttp2_session_del(session);
}

Http2Upstream::Http2Upstream(std::unique_ptr<net::Stream> inner)
    : inner_(std::move(inner)),
      session_(Callbacks::make_session(this)),
      changed_(inner_->socket().get_executor(), boost::asio::steady_timer::time_point::max()) {
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window_bytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, wire::max_head_bytes},
  };
  failed_ = ::nghttp2_submit_settings(session_.get(), NGHTTP2_FLAG_NONE, settings, std::size(settings)) != 0 ||
            ::nghttp2_session_set_local_window_size(session_.get(), NGHTTP2_FLAG_NONE, 0, window_bytes) != 0;
}

Http2Upstream::~Http2Upstream() = default;

void Http2Upstream::fail() {
  failed_ = true;
  changed_.cancel();
}

bool Http2Upstream::has_ended() const {
  return failed_ || (stream_closed_ && answer_ && !answer_->complete());
}

net::Task<bool> Http2Upstream::flush() {
  // Whoever sends already takes along what has come up since.
  if (sending_) co_return !failed_;
  sending_ = true;
  std::vector<std::uint8_t> batch;
  while (!failed_) {
    const std::uint8_t* bytes = nullptr;
    const auto size = ::nghttp2_session_mem_send(session_.get(), &bytes);
    if (size < 0) failed_ = true;
    if (size > 0) batch.insert(batch.end(), bytes, bytes + size);
    if (batch.empty() || failed_) break;
    if (size > 0 && batch.size() < io_bytes) continue;
    const bool sent = co_await inner_->write_all(batch);
    if (!sent) failed_ = true;
    batch.clear();
  }
  sending_ = false;
  changed_.cancel();
  co_return !failed_;
}

net::Task<void> Http2Upstream::progress() {
  if (reading_) {
    co_await changed_.async_wait(as_result);
    co_return;
  }
  reading_ = true;
  const auto input = co_await inner_->wait_input();
  if (input != net::Input::bytes) failed_ = true;
  if (!failed_) {
    std::vector<std::uint8_t> buffer(io_bytes);
    const auto got = co_await inner_->read_some(buffer);
    const auto* size = std::get_if<std::size_t>(&got);
    failed_ = failed_ || !size || *size == 0 || ::nghttp2_session_mem_recv(session_.get(), buffer.data(), *size) < 0;
  }
  reading_ = false;
  changed_.cancel();
  // Acknowledgements, or why nghttp2 ends the connection. Content is left to the uploader: a server that takes none of
  // it now may be waiting for us to read.
  if (!uploading_) co_await flush();
  if (::nghttp2_session_want_read(session_.get()) == 0) fail();
}

bool Http2Upstream::begin_request(ByteSpan& bytes) {
  const auto before = head_.size();
  head_.append(reinterpret_cast<const char*>(bytes.data()), std::min(bytes.size(), wire::max_head_bytes));
  const ByteSpan all(reinterpret_cast<const std::uint8_t*>(head_.data()), head_.size());
  const auto parsed = wire::parse_request_head(all);
  if (std::holds_alternative<wire::NeedMore>(parsed)) {
    bytes = {};
    return true;
  }
  const auto* head = std::get_if<wire::RequestHead>(&parsed);
  if (!head || !stream_closed_ || (answer_ && !answer_->complete())) return false;
  bytes = bytes.subspan(head->wire_bytes - before);
  const auto fields = to_http2(*head, all);
  body_.emplace(head->framing);
  answer_.emplace(head->method, head->minor_version);
  head_.clear();
  nghttp2_data_provider content{{}, Callbacks::read_content};
  const auto list = views(fields);
  stream_id_ = ::nghttp2_submit_request(session_.get(), nullptr, list.data(), list.size(),
                                        body_->done() ? nullptr : &content, nullptr);
  stream_closed_ = false;
  return stream_id_ > 0;
}

net::Task<bool> Http2Upstream::upload(ByteSpan content) {
  uploading_ = true;
  content_ = content;
  ::nghttp2_session_resume_data(session_.get(), stream_id_);
  for (;;) {
    co_await flush();
    if (content_.empty() || failed_ || stream_closed_) break;
    // Only when nobody sends it is certain that the rest has to wait for the server's word.
    if (sending_)
      co_await changed_.async_wait(as_result);
    else
      co_await progress();
  }
  uploading_ = false;
  const bool sent = content_.empty() && !failed_;
  content_ = {};
  co_return sent;
}

net::Task<bool> Http2Upstream::write_all(ByteSpan bytes) {
  while (!bytes.empty()) {
    if (failed_) co_return false;
    if (!body_ || body_->done()) {
      if (!begin_request(bytes)) {
        fail();
        co_return false;
      }
      co_await flush();
      continue;
    }
    const auto content = body_->next(bytes);
    if (!content) {
      fail();
      co_return false;
    }
    if (content->empty() && !body_->done()) co_return true;
    const bool sent = co_await upload(*content);
    if (!sent) co_return false;
  }
  co_return !failed_;
}

net::Task<void> Http2Upstream::finish_writing() {
  co_return;
}

net::Task<net::IoResult> Http2Upstream::read_some(std::span<std::uint8_t> buffer) {
  const auto input = co_await wait_input();
  if (input == net::Input::end) co_return std::size_t{0};
  if (input == net::Input::broken) co_return make_error_code(boost::asio::error::connection_reset);
  std::size_t content = 0;
  const auto size = answer_->take(buffer, content);
  if (content > 0) ::nghttp2_session_consume(session_.get(), stream_id_, content);
  co_await flush();
  co_return size;
}

net::Task<net::Input> Http2Upstream::wait_input() {
  for (;;) {
    if (answer_ && answer_->has_bytes()) co_return net::Input::bytes;
    if (answer_ && answer_->ends_connection()) co_return net::Input::end;
    if (has_ended()) co_return net::Input::broken;
    co_await progress();
  }
}

bool Http2Upstream::is_quiet() {
  const bool answered = !answer_ || (answer_->complete() && !answer_->has_bytes());
  return !failed_ && stream_closed_ && answered && inner_->is_quiet() &&
         ::nghttp2_session_check_request_allowed(session_.get()) != 0;
}

}  // namespace sluice::relay
