#include "net/resolver_name.h"

#include <algorithm>

namespace sluice::net {
namespace {

constexpr std::size_t max_name_bytes = 253;
constexpr std::size_t max_label_bytes = 63;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool is_label(std::string_view label) {
  return !label.empty() && label.size() <= max_label_bytes && std::all_of(label.begin(), label.end(), [](char c) {
    return is_digit(c) || is_letter(c) || c == '-' || c == '_';
  });
}

bool is_number(std::string_view label) {
  if (label.starts_with("0x") || label.starts_with("0X")) {
    return std::all_of(label.begin() + 2, label.end(), is_hex);
  }
  return std::all_of(label.begin(), label.end(), is_digit);
}

}  // namespace

Status check_host_name(std::string_view name) {
  if (name.size() > max_name_bytes) return Error("dns: the name is longer than 253 bytes");
  std::string_view last;
  for (std::size_t begin = 0; begin <= name.size(); begin += last.size() + 1) {
    last = name.substr(begin, name.find('.', begin) - begin);
    // Not echoed: these bytes may be anything.
    if (!is_label(last)) return Error("dns: not a host name");
  }
  if (is_number(last)) return Error("dns: " + std::string(name) + " is an address, not a host name");
  return Done{};
}

}  // namespace sluice::net
