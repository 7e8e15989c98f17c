#include "wire/http_head.h"

#include <algorithm>
#include <type_traits>

#include "wire/ascii.h"
#include "wire/field_lines.h"

namespace sluice::wire {
namespace {

constexpr std::size_t max_method_bytes = 32;
constexpr std::uint16_t http_port = 80;
constexpr std::uint16_t https_port = 443;

using Fault = std::string_view;
constexpr Fault no_fault;

std::string_view as_text(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Whether `bytes` may begin with a method and a space: all that is known before the first line is there.
bool may_begin_request(std::string_view bytes) {
  const auto* end =
      std::find_if_not(bytes.begin(), bytes.begin() + std::min(bytes.size(), max_method_bytes), is_token_char);
  if (end == bytes.end()) return true;
  return end != bytes.begin() && *end == ' ';
}

// "..." SP "HTTP/" DIGIT "." DIGIT, which HTTP/2's preface has too and SSH, SMTP and the like have not.
bool ends_in_version(std::string_view line) {
  constexpr std::string_view pattern = " HTTP/0.0";
  if (line.size() < pattern.size()) return false;
  const auto tail = line.substr(line.size() - pattern.size());
  return std::equal(tail.begin(), tail.end(), pattern.begin(),
                    [](char c, char p) { return p == '0' ? is_digit(c) : c == p; });
}

struct RequestLine {
  std::string_view method;
  std::string_view target;
  unsigned minor_version = 0;
};

Fault parse_request_line(std::string_view line, RequestLine& out) {
  const auto method_end = line.find(' ');
  const auto target_end = line.rfind(' ');
  const auto version = parse_http_version(line.substr(target_end + 1));
  if (!version) return "version";
  if (target_end <= method_end) return "target";
  out = {line.substr(0, method_end), line.substr(method_end + 1, target_end - method_end - 1), *version};
  // Methods are case-sensitive; a server that is not so careful must not find a tunnel here.
  if (equals_ignoring_case(out.method, "CONNECT")) return "method";
  const bool printable = std::all_of(out.target.begin(), out.target.end(), [](char c) { return c > ' ' && c < 0x7f; });
  // A fragment is never sent (RFC 9112 section 3.2), and those who see one disagree on what it hides.
  if (out.target.empty() || !printable || out.target.find('#') != out.target.npos) return "target";
  return no_fault;
}

std::string_view path_of(std::string_view origin_form) {
  const auto path = origin_form.substr(0, origin_form.find('?'));
  return path.empty() ? "/" : path;
}

// What a target in absolute-form says besides its path.
struct Absolute {
  Authority authority;
  std::uint16_t default_port = http_port;
};

// Where the authority begins; 0: the target has none of the schemes.
std::size_t read_scheme(std::string_view target, TargetScheme allowed, std::uint16_t& default_port) {
  constexpr std::string_view http = "http://";
  constexpr std::string_view https = "https://";
  default_port = http_port;
  if (equals_ignoring_case(target.substr(0, http.size()), http)) return http.size();
  if (allowed == TargetScheme::http || !equals_ignoring_case(target.substr(0, https.size()), https)) return 0;
  default_port = https_port;
  return https.size();
}

// Fills in target, path and, in absolute-form, what else it says.
Fault read_target(const RequestLine& line, TargetScheme allowed, RequestHead& head, std::optional<Absolute>& absolute) {
  const auto target = line.target;
  head.target = target;
  if (target.starts_with('/')) {
    head.path = path_of(target);
    return no_fault;
  }
  if (target == "*" && line.method == "OPTIONS") {
    head.path = target;
    return no_fault;
  }
  std::uint16_t default_port = 0;
  const auto scheme_bytes = read_scheme(target, allowed, default_port);
  if (scheme_bytes == 0) return "target";
  const auto rest = target.substr(scheme_bytes);
  const auto authority_end = std::min(rest.find_first_of("/?"), rest.size());
  auto authority = parse_authority(rest.substr(0, authority_end));
  if (!authority) return "target: authority";
  absolute = {*std::move(authority), default_port};
  head.path = path_of(rest.substr(authority_end));
  return no_fault;
}

bool is_same(const Absolute& absolute, const Authority& host) {
  const auto port = absolute.default_port;
  return absolute.authority.host == host.host && absolute.authority.port.value_or(port) == host.port.value_or(port);
}

bool keeps_alive(unsigned minor_version, const Fields& fields) {
  return !fields.close && (minor_version > 0 || fields.keep_alive);
}

RequestResult parse_complete(const HeadLines& lines, TargetScheme scheme) {
  RequestLine line;
  RequestHead head{};
  std::optional<Absolute> absolute;
  Fields fields;
  if (const auto fault = parse_request_line(lines.start_line, line); !fault.empty()) return Malformed{fault};
  if (const auto fault = read_target(line, scheme, head, absolute); !fault.empty()) return Malformed{fault};
  if (const auto fault = read_fields(lines.fields, Direction::request, line.minor_version, fields); !fault.empty()) {
    return Malformed{fault};
  }
  if (!fields.host || fields.host->empty()) return HostMissing{};
  auto host = parse_authority(*fields.host);
  if (!host) return Malformed{"Host"};
  if (absolute && !is_same(*absolute, *host)) return HostMismatch{};

  head.method = line.method;
  head.authority = std::move(absolute ? absolute->authority : *host);
  head.minor_version = line.minor_version;
  if (fields.chunked) head.framing = {Framing::Kind::chunked, 0};
  if (fields.content_length) head.framing = {Framing::Kind::length, *fields.content_length};
  head.keep_alive = keeps_alive(line.minor_version, fields);
  head.expects_continue = fields.expects_continue;
  head.upgrade = fields.upgrade;
  head.wire_bytes = lines.wire_bytes;
  return head;
}

// RFC 9112 section 6.3, for a status line and fields that are sound.
Framing response_framing(unsigned status, std::string_view request_method, const Fields& fields) {
  if (request_method == "HEAD" || status < 200 || status == 204 || status == 304) return {};
  if (fields.chunked) return {Framing::Kind::chunked, 0};
  if (fields.content_length) return {Framing::Kind::length, *fields.content_length};
  return {Framing::Kind::until_close, 0};
}

// HTTP-version SP 3DIGIT [ SP reason-phrase ]: the last space is often left out, which nothing can be hidden in.
Fault parse_status_line(std::string_view line, ResponseHead& head) {
  const auto version = parse_http_version(line.substr(0, line.find(' ')));
  if (!version) return "version";
  const auto rest = line.substr(std::min(line.size(), std::string_view("HTTP/1.1 ").size()));
  const auto digits = rest.substr(0, 3);
  const auto reason = rest.substr(digits.size());
  if (digits.size() != 3 || !std::all_of(digits.begin(), digits.end(), is_digit) || digits[0] == '0') return "status";
  if (!reason.empty() && reason[0] != ' ') return "status";
  if (!std::all_of(reason.begin(), reason.end(), is_value_char)) return "reason";
  head.minor_version = *version;
  head.status = static_cast<unsigned>((digits[0] - '0') * 100 + (digits[1] - '0') * 10 + (digits[2] - '0'));
  return no_fault;
}

ResponseResult parse_complete(const HeadLines& lines, std::string_view request_method) {
  ResponseHead head{};
  Fields fields;
  if (const auto fault = parse_status_line(lines.start_line, head); !fault.empty()) return Malformed{fault};
  if (const auto fault = read_fields(lines.fields, Direction::response, head.minor_version, fields); !fault.empty()) {
    return Malformed{fault};
  }
  head.framing = response_framing(head.status, request_method, fields);
  head.keep_alive = keeps_alive(head.minor_version, fields) && head.framing.kind != Framing::Kind::until_close;
  head.wire_bytes = lines.wire_bytes;
  return head;
}

// A head that is all there goes to `parse`, any other finding is the result.
template <typename Result, typename Parse>
Result conclude(const LinesResult& result, Parse parse) {
  const auto visitor = [&](const auto& found) -> Result {
    if constexpr (std::is_same_v<decltype(found), const HeadLines&>) {
      return parse(found);
    } else {
      return found;
    }
  };
  return std::visit(visitor, result);
}

}  // namespace

RequestResult parse_request_head(ByteSpan bytes, TargetScheme scheme) {
  const auto text = as_text(bytes);
  if (!may_begin_request(text)) return NotHttp{};
  if (const auto end = text.substr(0, max_head_bytes).find('\n'); end != text.npos) {
    const auto line = text.substr(0, end);
    if (!ends_in_version(line.ends_with('\r') ? line.substr(0, end - 1) : line)) return NotHttp{};
  }
  return conclude<RequestResult>(find_head(text),
                                 [&](const HeadLines& lines) { return parse_complete(lines, scheme); });
}

ResponseResult parse_response_head(ByteSpan bytes, std::string_view request_method) {
  constexpr std::string_view start = "HTTP/1.";
  const auto text = as_text(bytes);
  if (!start.starts_with(text.substr(0, start.size()))) return Malformed{"version"};
  return conclude<ResponseResult>(find_head(text),
                                  [&](const HeadLines& lines) { return parse_complete(lines, request_method); });
}

}  // namespace sluice::wire
