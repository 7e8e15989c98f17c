#include "wire/host_name.h"

#include <algorithm>
#include <charconv>

#include "base/ip.h"
#include "wire/ascii.h"

namespace sluice::wire {
namespace {

constexpr std::size_t max_name_bytes = 255;
constexpr std::size_t max_label_bytes = 63;

bool is_name_byte(char c) {
  return is_alphanumeric(c) || c == '-' || c == '_';
}

// Resolvers take "127.1", "0x7f.1" or "2130706433" for an address (inet_aton), and no top-level domain is a number:
// a name whose last label is one is an address in disguise.
bool ends_in_number(std::string_view name) {
  const auto label = name.substr(name.rfind('.') + 1);
  if (label.starts_with("0x")) return std::all_of(label.begin() + 2, label.end(), is_hex_digit);
  return std::all_of(label.begin(), label.end(), is_digit);
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  if (error != std::errc{} || stop != end || port == 0 || text.size() > 5) return std::nullopt;
  return port;
}

}  // namespace

std::optional<std::string> normalise_host(std::string_view name) {
  if (name.size() > max_name_bytes) return std::nullopt;
  if (name.ends_with('.')) name.remove_suffix(1);
  std::string host;
  host.reserve(name.size());
  std::size_t label_bytes = 0;
  for (const char c : name) {
    if (c == '.') {
      if (label_bytes == 0) return std::nullopt;
      label_bytes = 0;
    } else if (!is_name_byte(c) || ++label_bytes > max_label_bytes) {
      return std::nullopt;
    }
    host += to_lower(c);
  }
  if (label_bytes == 0 || ends_in_number(host)) return std::nullopt;
  return host;
}

std::optional<Authority> parse_authority(std::string_view text) {
  Authority authority;
  const bool bracketed = text.starts_with('[');
  const auto host_end = bracketed ? text.find(']') : text.find(':');
  if (bracketed && host_end == text.npos) return std::nullopt;
  const auto host = bracketed ? text.substr(1, host_end - 1) : text.substr(0, host_end);
  const auto rest = host_end == text.npos ? std::string_view() : text.substr(host_end + (bracketed ? 1 : 0));

  if (!rest.empty()) {
    if (rest.front() != ':') return std::nullopt;
    authority.port = parse_port(rest.substr(1));
    if (!authority.port) return std::nullopt;
  }
  if (const auto address = IpAddress::parse(host)) {
    // The brackets belong to IPv6 text and to nothing else.
    if ((host.find(':') != host.npos) != bracketed) return std::nullopt;
    authority.host = address->to_string();
    authority.is_ip = true;
    return authority;
  }
  auto name = bracketed ? std::nullopt : normalise_host(host);
  if (!name) return std::nullopt;
  authority.host = std::move(*name);
  return authority;
}

}  // namespace sluice::wire
