#include "policy/http_path.h"

namespace sluice {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// RFC 3986 section 2.3
bool is_unreserved(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

// Takes one character off the front, decoded; nullopt: "%" without two hexadecimal digits.
struct Character {
  char value;
  bool encoded;
};
std::optional<Character> take(std::string_view& path) {
  if (path.front() != '%') {
    const Character plain{path.front(), false};
    path.remove_prefix(1);
    return plain;
  }
  if (path.size() < 3) return std::nullopt;
  const int high = hex_value(path[1]);
  const int low = hex_value(path[2]);
  if (high < 0 || low < 0) return std::nullopt;
  path.remove_prefix(3);
  return Character{static_cast<char>(high * 16 + low), true};
}

// Ends a path, or the line that it stands in.
bool ends_path(char c) {
  return c == '?' || c == '#' || static_cast<unsigned char>(c) <= ' ' || c == 0x7f;
}

// Nothing in it needs a closer look.
bool is_ordinary(std::string_view path) {
  char before = '\0';
  for (const char c : path) {
    if (ends_path(c) || c == '%' || c == '\\' || (c == '.' && before == '/')) return false;
    before = c;
  }
  return true;
}

}  // namespace

bool has_one_reading(std::string_view path) {
  if (is_ordinary(path)) return true;
  std::size_t dots = 0;
  bool only_dots = true;  // in this segment, so far
  const auto is_dot_segment = [&] { return only_dots && (dots == 1 || dots == 2); };
  while (!path.empty()) {
    const auto next = take(path);
    if (!next || next->value == '\0') return false;
    if (!next->encoded && (next->value == '\\' || ends_path(next->value))) return false;
    if (next->value == '/' || next->value == '\\') {
      if (is_dot_segment()) return false;
      dots = 0;
      only_dots = true;
    } else if (next->value == '.') {
      ++dots;
    } else {
      only_dots = false;
    }
  }
  return !is_dot_segment();
}

std::optional<std::string_view> canonical_path(std::string_view path, std::string& scratch) {
  if (!has_one_reading(path)) return std::nullopt;
  if (path.find('%') == path.npos) return path;
  scratch.clear();
  scratch.reserve(path.size());
  while (!path.empty()) {
    const auto rest = path;
    const auto next = take(path);
    if (next->encoded && !is_unreserved(next->value))
      scratch.append(rest.substr(0, 3));
    else
      scratch.push_back(next->value);
  }
  return scratch;
}

}  // namespace sluice
