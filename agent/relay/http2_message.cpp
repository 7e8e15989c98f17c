#include "relay/http2_message.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "wire/ascii.h"

namespace sluice::relay {
namespace {

constexpr std::size_t chunk_bytes = 16UL * 1024;

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), wire::to_lower);
  return result;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Calls `take(name, value)` for each field line of text that was checked: "Name: value\r\n"...
template <typename Take>
void each_field(std::string_view lines, Take take) {
  while (!lines.empty()) {
    const auto end = lines.find("\r\n");
    const auto line = lines.substr(0, end);
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 2);
    const auto colon = line.find(':');
    if (colon != std::string_view::npos) take(lower(line.substr(0, colon)), trim(line.substr(colon + 1)));
  }
}

// Calls `take(item)` for each item of a comma-separated list.
template <typename Take>
void each_item(std::string_view list, Take take) {
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    if (const auto item = trim(list.substr(0, comma)); !item.empty()) take(item);
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
}

// RFC 9110 section 7.6.1 and RFC 9113 section 8.2.2: of one connection, or said otherwise in HTTP/2.
bool is_of_one_hop(std::string_view name) {
  constexpr std::array<std::string_view, 8> names = {"connection", "host",    "http2-settings",    "keep-alive",
                                                     "te",         "upgrade", "transfer-encoding", "proxy-connection"};
  return std::find(names.begin(), names.end(), name) != names.end();
}

// RFC 9110 section 6.5.1: what frames or routes a message cannot come behind it.
bool may_trail(std::string_view name) {
  return !name.empty() && name[0] != ':' && !is_of_one_hop(name) && name != "content-length" && name != "trailer";
}

// The path of an absolute-form target: "http://host/a?b" is "/a?b".
std::string path_of(const wire::RequestHead& head) {
  const auto scheme = head.target.find("://");
  if (head.target.starts_with('/') || scheme == std::string::npos) return head.target;
  const auto path = head.target.find_first_of("/?", scheme + 3);
  if (path == std::string::npos) return head.method == "OPTIONS" ? "*" : "/";
  return head.target[path] == '/' ? head.target.substr(path) : "/" + head.target.substr(path);
}

}  // namespace

std::vector<Field> to_http2(const wire::RequestHead& head, ByteSpan bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), head.wire_bytes);
  const auto start = text.find("\r\n") + 2;
  const auto lines = text.substr(start, text.size() - start - 2);
  std::string host;
  std::vector<std::string> of_connection;
  bool takes_trailers = false;
  each_field(lines, [&](const std::string& name, std::string_view value) {
    if (name == "host") host = value;
    if (name == "connection") each_item(value, [&](std::string_view item) { of_connection.push_back(lower(item)); });
    if (name == "te") each_item(value, [&](std::string_view item) { takes_trailers |= lower(item) == "trailers"; });
  });
  std::vector<Field> fields = {
      {":method", head.method}, {":scheme", "https"}, {":authority", std::move(host)}, {":path", path_of(head)}};
  each_field(lines, [&](std::string name, std::string_view value) {
    if (is_of_one_hop(name) || std::find(of_connection.begin(), of_connection.end(), name) != of_connection.end())
      return;
    fields.emplace_back(std::move(name), value);
  });
  if (takes_trailers) fields.emplace_back("te", "trailers");
  return fields;
}

std::optional<ByteSpan> BodyContent::next(ByteSpan& bytes) {
  while (!bytes.empty() && !reader_.done()) {
    if (const auto certain = reader_.certain_bytes(); certain > 0) {
      const auto run = bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(certain, bytes.size())));
      reader_.skip(run.size());
      bytes = bytes.subspan(run.size());
      return run;
    }
    if (reader_.consume(bytes.first(1)) != 1) return std::nullopt;
    note(static_cast<char>(bytes.front()));
    bytes = bytes.subspan(1);
  }
  return ByteSpan();
}

void BodyContent::note(char byte) {
  line_.push_back(byte);
  if (byte != '\n') return;
  if (last_chunk_) {
    each_field(line_, [this](std::string name, std::string_view value) {
      if (may_trail(name)) trailers_.emplace_back(std::move(name), value);
    });
  }
  // A size line that no content follows is that of the last chunk; an empty line ends the chunk before.
  last_chunk_ = last_chunk_ || (line_ != "\r\n" && reader_.certain_bytes() == 0);
  line_.clear();
}

bool Http1Answer::add_field(std::string_view name, std::string_view value) {
  if (lines_.size() + name.size() + value.size() > wire::max_head_bytes) return false;
  if (!std::all_of(value.begin(), value.end(), wire::is_value_char)) return false;
  if (name == ":status") {
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), status_);
    return error == std::errc() && value.size() == 3 && end == value.data() + 3 && status_ >= 100;
  }
  if (name.empty() || !std::all_of(name.begin(), name.end(), wire::is_token_char)) return false;
  if (is_of_one_hop(name)) return true;
  has_length_ |= name == "content-length";
  if (has_head_ && !may_trail(name)) return true;
  lines_.append(name).append(": ").append(value).append("\r\n");
  return true;
}

bool Http1Answer::end_fields(bool end_of_answer) {
  if (has_head_) {
    if (status_ != 0 || !end_of_answer) return false;
    trailers_ = std::move(lines_);
    end();
    return true;
  }
  // RFC 9113 section 8.6: there is no upgrade.
  if (status_ < 100 || status_ == 101 || (status_ < 200 && end_of_answer)) return false;
  // Interim heads that nobody has taken yet: so many and no more.
  if (out_.size() > wire::max_head_bytes) return false;
  out_.append("HTTP/1.1 ").append(std::to_string(status_)).append(" \r\n").append(lines_);
  if (status_ < 200)
    out_ += "\r\n";
  else
    end_head(end_of_answer);
  lines_.clear();
  has_length_ = false;
  status_ = 0;
  return true;
}

void Http1Answer::end_head(bool end_of_answer) {
  has_head_ = true;
  const bool bodyless = method_ == "HEAD" || status_ == 204 || status_ == 304;
  if (bodyless) {
    framing_ = Framing::none;
  } else if (has_length_) {
    framing_ = Framing::length;
  } else if (end_of_answer) {
    out_ += "content-length: 0\r\n";
  } else if (minor_version_ == 0) {
    framing_ = Framing::until_close;
    out_ += "connection: close\r\n";
  } else {
    framing_ = Framing::chunked;
    out_ += "transfer-encoding: chunked\r\n";
  }
  out_ += "\r\n";
  if (end_of_answer) end();
}

void Http1Answer::add_content(ByteSpan content) {
  if (framing_ == Framing::none) return;
  content_.append(reinterpret_cast<const char*>(content.data()), content.size());
}

void Http1Answer::end() {
  ended_ = true;
}

bool Http1Answer::has_bytes() const {
  return !out_.empty() || !content_.empty() || (ended_ && framing_ == Framing::chunked && !last_chunk_out_);
}

std::size_t Http1Answer::take(std::span<std::uint8_t> buffer, std::size_t& content) {
  if (out_.empty() && !content_.empty()) {
    const auto piece = std::string_view(content_).substr(content_taken_, chunk_bytes);
    std::array<char, 16> size{};
    const auto* end = std::to_chars(size.begin(), size.end(), piece.size(), 16).ptr;
    if (framing_ == Framing::chunked) out_.append(std::string_view(size.data(), end)).append("\r\n");
    out_ += piece;
    if (framing_ == Framing::chunked) out_ += "\r\n";
    content += piece.size();
    content_taken_ += piece.size();
    if (content_taken_ == content_.size()) {
      content_.clear();
      content_taken_ = 0;
    }
  } else if (out_.empty() && has_bytes()) {
    out_.append("0\r\n").append(trailers_).append("\r\n");
    last_chunk_out_ = true;
  }
  const auto count = std::min(buffer.size(), out_.size() - out_taken_);
  std::memcpy(buffer.data(), out_.data() + out_taken_, count);
  out_taken_ += count;
  if (out_taken_ == out_.size()) {
    out_.clear();
    out_taken_ = 0;
  }
  return count;
}

}  // namespace sluice::relay
