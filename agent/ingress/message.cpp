#include "ingress/message.h"

#include <algorithm>
#include <array>

#include "tls/random.h"
#include "wire/ascii.h"

namespace sluice::ingress {
namespace {

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
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

enum class Part : std::uint8_t { end_to_end, dropped, host, expect, connection, te, upgrade, content_length };

// Told apart by length first: most names are none of these.
Part part_of(std::string_view name) {
  const auto is = [&](std::string_view other) { return wire::equals_ignoring_case(name, other); };
  switch (name.size()) {
    case 2:
      return is("te") ? Part::te : Part::end_to_end;
    case 4:
      return is("host") ? Part::host : Part::end_to_end;
    case 6:
      return is("expect") ? Part::expect : Part::end_to_end;
    case 7:
      return is("upgrade") ? Part::upgrade : Part::end_to_end;
    case 10:
      if (is("connection")) return Part::connection;
      return is("keep-alive") ? Part::dropped : Part::end_to_end;
    case 14:
      if (is("content-length")) return Part::content_length;
      return is("http2-settings") ? Part::dropped : Part::end_to_end;
    case 16:
      return is("proxy-connection") ? Part::dropped : Part::end_to_end;
    case 17:
      return is("transfer-encoding") ? Part::dropped : Part::end_to_end;
    default:
      return Part::end_to_end;
  }
}

}  // namespace

std::string_view Arena::keep(std::string_view text) {
  auto* to = room(text.size());
  std::copy(text.begin(), text.end(), to);
  return {to, text.size()};
}

std::string_view Arena::lower(std::string_view text) {
  auto* to = room(text.size());
  std::transform(text.begin(), text.end(), to, wire::to_lower);
  return {to, text.size()};
}

char* Arena::room(std::size_t size) {
  if (size > block_bytes / 4) return large_.emplace_back(Block{std::make_unique<char[]>(size), size}).bytes.get();
  if (block_ < blocks_.size() && used_ + size > block_bytes) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) blocks_.push_back({std::make_unique<char[]>(block_bytes), block_bytes});
  auto* place = blocks_[block_].bytes.get() + used_;
  used_ += size;
  return place;
}

void Arena::clear() {
  large_.clear();
  if (blocks_.size() > 1) blocks_.resize(1);
  block_ = 0;
  used_ = 0;
}

void read_end_to_end(std::string_view lines, Fields& fields, HopFields& hop) {
  bool wants_upgrade = false;
  std::string_view upgrade;
  std::vector<std::string_view> named;  // what Connection lists, where it is more than the usual
  while (!lines.empty()) {
    const auto end = lines.find('\n');
    const auto line = lines.substr(0, end - 1);
    lines.remove_prefix(end + 1);
    const auto colon = line.find(':');
    const Field field{line.substr(0, colon), trim(line.substr(colon + 1))};
    switch (part_of(field.name)) {
      case Part::end_to_end:
        fields.push_back(field);
        break;
      case Part::dropped:
        break;
      case Part::host:
        hop.host = field.value;
        break;
      case Part::expect:
        hop.expects_continue = same_name(field.value, "100-continue");
        break;
      case Part::connection:
        // Most say no more than this.
        if (wire::equals_ignoring_case(field.value, "keep-alive") || wire::equals_ignoring_case(field.value, "close")) {
          break;
        }
        named.push_back(field.value);
        break;
      case Part::te:
        each_item(field.value, [&](std::string_view item) {
          hop.trailers = hop.trailers || wire::equals_ignoring_case(item, "trailers");
        });
        break;
      case Part::upgrade:
        upgrade = field.value;
        break;
      case Part::content_length:
        hop.content_length = field.value;
        break;
    }
  }
  // What it names may stand before it or behind.
  for (const auto list : named) {
    each_item(list, [&](std::string_view option) {
      wants_upgrade = wants_upgrade || same_name(option, "upgrade");
      std::erase_if(fields, [&](const Field& field) { return same_name(field.name, option); });
    });
  }
  if (wants_upgrade) hop.upgrade = upgrade;
}

bool is_end_to_end(std::string_view name) {
  return part_of(name) == Part::end_to_end;
}

bool may_trail(std::string_view name) {
  return part_of(name) == Part::end_to_end && !same_name(name, "trailer") && !same_name(name, "authorization");
}

HeaderFields to_owned(const Fields& fields, Arena& arena) {
  HeaderFields owned;
  owned.reserve(fields.size());
  for (const auto& field : fields) owned.emplace_back(arena.lower(field.name), field.value);
  return owned;
}

void to_views(const HeaderFields& owned, Fields& fields) {
  fields.clear();
  for (const auto& [name, value] : owned) {
    if (is_end_to_end(name)) fields.push_back({name, value});
  }
}

const Field* find_field(const Fields& fields, std::string_view name) {
  const auto found =
      std::find_if(fields.begin(), fields.end(), [&](const Field& field) { return same_name(field.name, name); });
  return found == fields.end() ? nullptr : &*found;
}

bool same_name(std::string_view left, std::string_view right) {
  return left.size() == right.size() && wire::equals_ignoring_case(left, right);
}

void Request::clear() {
  text.clear();
  method = authority = target = lines = {};
  fields.clear();
  hop = {};
  ends = expects_continue = is_encrypted = false;
}

void Request::ask_for_websocket() {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<std::uint8_t, 22> random{};
  tls::fill_random(random);
  // 16 bytes in base64: the last digit has two bits of them alone.
  for (std::size_t at = 0; at < random.size(); ++at) websocket_key[at] = digits[random[at] % 64];
  websocket_key[21] = digits[std::size_t{random[21]} % 4 * 16];
  websocket_key[22] = websocket_key[23] = '=';
  std::erase_if(fields, [](const Field& field) { return same_name(field.name, "sec-websocket-key"); });
  fields.push_back({"sec-websocket-key", {websocket_key.data(), websocket_key.size()}});
  method = "GET";
  hop.upgrade = "websocket";
  hop.content_length = {};
  ends = true;
}

bool Request::is_idempotent() const {
  constexpr std::array<std::string_view, 6> methods = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"};
  return std::find(methods.begin(), methods.end(), method) != methods.end();
}

std::string_view reason_phrase(unsigned status) {
  switch (status) {
    case 100:
      return "Continue";
    case 101:
      return "Switching Protocols";
    case 103:
      return "Early Hints";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 303:
      return "See Other";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 416:
      return "Range Not Satisfiable";
    case 421:
      return "Misdirected Request";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "";
  }
}

}  // namespace sluice::ingress
