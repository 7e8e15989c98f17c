#include "wire/field_lines.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "wire/ascii.h"

namespace sluice::wire {
namespace {

using Fault = std::string_view;
constexpr Fault no_fault;

std::string_view trim(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// RFC 9110 section 5.6.1: calls `visit` for each non-empty element; stops at the first fault.
template <typename Visitor>
Fault for_each_element(std::string_view list, Visitor visit) {
  while (true) {
    const auto comma = list.find(',');
    const auto element = trim(list.substr(0, comma));
    if (!element.empty()) {
      if (const Fault fault = visit(element); !fault.empty()) return fault;
    }
    if (comma == list.npos) return no_fault;
    list.remove_prefix(comma + 1);
  }
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return is_token_char(c); });
}

class FieldReader {
 public:
  FieldReader(Direction direction, unsigned minor_version, Fields& fields)
      : direction_(direction), minor_version_(minor_version), fields_(fields) {}

  Fault read_line(std::string_view line) {
    const auto colon = line.find(':');
    if (colon == line.npos || !is_token(line.substr(0, colon))) return "field name";
    const auto value = trim(line.substr(colon + 1));
    if (!std::all_of(value.begin(), value.end(), [](char c) { return is_value_char(c); })) return "field value";
    const auto name = line.substr(0, colon);
    return direction_ == Direction::request ? read_request_field(name, value) : read_message_field(name, value);
  }

  // What can only be said when all fields are known.
  Fault finish() {
    if (fields_.chunked && fields_.content_length) return "Content-Length together with Transfer-Encoding";
    // RFC 9110 sections 7.8 and 10.1.1: neither exists in HTTP/1.0.
    fields_.upgrade = upgrade_option_ && upgrade_field_ && minor_version_ > 0;
    fields_.expects_continue = fields_.expects_continue && minor_version_ > 0;
    return no_fault;
  }

 private:
  // Servers name what they can do in Upgrade, h2c included: only a request asks for it.
  Fault read_request_field(std::string_view name, std::string_view value) {
    if (equals_ignoring_case(name, "host")) return read_host(value);
    if (equals_ignoring_case(name, "expect")) return read_expect(value);
    if (equals_ignoring_case(name, "upgrade")) return read_upgrade(value);
    return read_message_field(name, value);
  }

  Fault read_message_field(std::string_view name, std::string_view value) {
    if (equals_ignoring_case(name, "connection")) return read_connection(value);
    if (equals_ignoring_case(name, "content-length")) return read_content_length(value);
    if (equals_ignoring_case(name, "transfer-encoding")) return read_transfer_encoding(value);
    return no_fault;
  }

  Fault read_host(std::string_view value) {
    if (fields_.host) return "Host: a second one";
    fields_.host = value;
    return no_fault;
  }

  Fault read_expect(std::string_view value) {
    if (fields_.expects_continue || !equals_ignoring_case(value, "100-continue")) return "Expect";
    fields_.expects_continue = true;
    return no_fault;
  }

  Fault read_upgrade(std::string_view value) {
    return for_each_element(value, [this](std::string_view protocol) -> Fault {
      upgrade_field_ = true;
      return equals_ignoring_case(protocol.substr(0, protocol.find('/')), "h2c") ? "Upgrade: h2c" : no_fault;
    });
  }

  Fault read_connection(std::string_view value) {
    return for_each_element(value, [this](std::string_view option) -> Fault {
      if (!is_token(option)) return "Connection";
      // A recipient drops the fields that Connection names (RFC 9110 section 7.6.1): not these.
      for (const std::string_view kept : {"host", "content-length", "transfer-encoding"}) {
        if (equals_ignoring_case(option, kept)) return "Connection: a field that must stay";
      }
      fields_.close |= equals_ignoring_case(option, "close");
      fields_.keep_alive |= equals_ignoring_case(option, "keep-alive");
      upgrade_option_ |= equals_ignoring_case(option, "upgrade");
      return no_fault;
    });
  }

  Fault read_content_length(std::string_view value) {
    std::uint64_t length = 0;
    const auto* end = value.data() + value.size();
    const auto [stop, error] = std::from_chars(value.data(), end, length);
    if (error != std::errc{} || stop != end || length > std::numeric_limits<std::int64_t>::max()) {
      return "Content-Length";
    }
    if (fields_.content_length) return "Content-Length: a second one";
    fields_.content_length = length;
    return no_fault;
  }

  Fault read_transfer_encoding(std::string_view value) {
    if (minor_version_ == 0) return "Transfer-Encoding in HTTP/1.0";
    if (fields_.chunked) return "Transfer-Encoding: a second one";
    if (!equals_ignoring_case(value, "chunked")) return "Transfer-Encoding: not chunked alone";
    fields_.chunked = true;
    return no_fault;
  }

  Direction direction_;
  unsigned minor_version_;
  Fields& fields_;
  bool upgrade_option_ = false;
  bool upgrade_field_ = false;
};

}  // namespace

LinesResult find_head(std::string_view bytes) {
  const auto shown = bytes.substr(0, max_head_bytes);
  std::size_t start_line_end = 0;
  std::size_t lines = 0;
  for (std::size_t begin = 0;; ++lines) {
    const auto end = shown.find('\n', begin);
    if (end == shown.npos) break;
    if (end == begin || shown[end - 1] != '\r') return Malformed{"line end: no CR before LF"};
    if (lines == 0) start_line_end = end + 1;
    if (end == begin + 1) {
      if (lines == 0) return Malformed{"start line: empty"};
      const auto start_line = shown.substr(0, start_line_end - 2);
      return HeadLines{start_line, shown.substr(start_line_end, begin - start_line_end), end + 1};
    }
    if (lines > max_head_fields) return TooLarge{};
    begin = end + 1;
  }
  if (bytes.size() >= max_head_bytes) return TooLarge{};
  return NeedMore{};
}

std::string_view read_fields(std::string_view lines, Direction direction, unsigned minor_version, Fields& fields) {
  FieldReader reader(direction, minor_version, fields);
  while (!lines.empty()) {
    const auto end = lines.find('\n');
    if (const auto fault = reader.read_line(lines.substr(0, end - 1)); !fault.empty()) return fault;
    lines.remove_prefix(end + 1);
  }
  return reader.finish();
}

std::optional<unsigned> parse_http_version(std::string_view text) {
  if (text == "HTTP/1.1") return 1;
  if (text == "HTTP/1.0") return 0;
  return std::nullopt;
}

}  // namespace sluice::wire
