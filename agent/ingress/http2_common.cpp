#include "ingress/http2_common.h"

#include <algorithm>
#include <charconv>

namespace sluice::ingress {

nghttp2_option* make_http2_options() {
  nghttp2_option* made = nullptr;
  ::nghttp2_option_new(&made);
  ::nghttp2_option_set_no_auto_window_update(made, 1);
  ::nghttp2_option_set_no_closed_streams(made, 1);
  ::nghttp2_option_set_max_continuations(made, 8);
  return made;
}

void Http2Fields::add(std::string_view name, std::string_view value) {
  list_.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                   reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                   NGHTTP2_NV_FLAG_NONE});
}

void Http2Fields::add(const Fields& fields) {
  for (const auto& field : fields) add(field.name, field.value);
}

void Http2Content::add(ByteSpan content) {
  if (content.empty()) return;
  if (bytes_.capacity() == 0) bytes_ = buffers_.take();
  bytes_.insert(bytes_.end(), content.begin(), content.end());
}

void Http2Content::end(const Fields& trailers) {
  ended_ = true;
  for (const auto& field : trailers) trailers_.emplace_back(field.name, field.value);
}

void Http2Content::clear() {
  drop();
  trailers_.clear();
  ended_ = deferred_ = false;
}

void Http2Content::drop() {
  taken_ = 0;
  if (bytes_.capacity() > 0) buffers_.give_back(std::exchange(bytes_, {}));
}

nghttp2_data_provider Http2Content::provider() {
  const auto read = [](nghttp2_session* session, std::int32_t stream, std::uint8_t*, std::size_t length,
                       std::uint32_t* flags, nghttp2_data_source* source, void*) {
    return static_cast<Http2Content*>(source->ptr)->read(session, stream, length, *flags);
  };
  return {{.ptr = this}, read};
}

ssize_t Http2Content::read(nghttp2_session* session, std::int32_t stream, std::size_t length, std::uint32_t& flags) {
  const auto size = std::min(length, waiting());
  if (size == 0 && !ended_) {
    deferred_ = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (!ended_ || size < waiting()) return static_cast<ssize_t>(size);
  flags |= NGHTTP2_DATA_FLAG_EOF;
  if (trailers_.empty()) return static_cast<ssize_t>(size);
  flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
  Http2Fields fields;
  for (const auto& [name, value] : trailers_) fields.add(name, value);
  ::nghttp2_submit_trailer(session, stream, fields.data(), fields.size());
  return static_cast<ssize_t>(size);
}

void Http2Content::send(net::Channel& channel, const std::uint8_t* head, std::size_t length) {
  constexpr std::size_t head_bytes = 9;  // RFC 9113 section 4.1
  channel.write(ByteSpan(head, head_bytes));
  channel.write(ByteSpan(bytes_).subspan(taken_, length));
  taken_ += length;
  if (taken_ == bytes_.size()) {
    drop();
  } else if (taken_ >= net::Buffers::buffer_bytes) {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(std::exchange(taken_, 0)));
  }
}

void Http2Head::clear() {
  method.clear();
  scheme.clear();
  authority.clear();
  protocol.clear();
  path.clear();
  status = 0;
  bytes_ = 0;
  lines_.clear();
  cookies_.clear();
}

bool Http2Head::add(std::string_view name, std::string_view value) {
  bytes_ += name.size() + value.size() + 32;  // RFC 9113 section 6.5.2
  if (is_too_large()) return false;
  if (name == ":method") {
    method = value;
  } else if (name == ":scheme") {
    scheme = value;
  } else if (name == ":authority") {
    authority = value;
  } else if (name == ":protocol") {
    protocol = value;
  } else if (name == ":path") {
    path = value;
  } else if (name == ":status") {
    std::from_chars(value.data(), value.data() + value.size(), status);
  } else if (name == "cookie") {
    // RFC 9113 section 8.2.3: HTTP/1.1 has it in one piece.
    cookies_.append(cookies_.empty() ? "" : "; ").append(value);
  } else if (!name.starts_with(':')) {
    lines_.append(name).append(": ").append(value).append("\r\n");
  }
  return true;
}

const std::string& Http2Head::finish() {
  if (!cookies_.empty()) lines_.append("cookie: ").append(cookies_).append("\r\n");
  cookies_.clear();
  return lines_;
}

bool EventBudget::take() {
  const auto now = monotonic_ns();
  if (last_ns_ != 0) left_ = std::min(burst_, left_ + static_cast<double>(now - last_ns_) / 1e9 * per_second_);
  last_ns_ = now;
  if (left_ < 1) return false;
  left_ -= 1;
  return true;
}

bool send_frames(nghttp2_session& session, net::Channel& channel) {
  while (!channel.is_full()) {
    const std::uint8_t* bytes = nullptr;
    const auto size = ::nghttp2_session_mem_send(&session, &bytes);
    if (size < 0) return false;
    if (size == 0) return true;
    channel.write(ByteSpan(bytes, static_cast<std::size_t>(size)));
  }
  return true;
}

}  // namespace sluice::ingress
