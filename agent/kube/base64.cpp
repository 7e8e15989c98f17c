#include "kube/base64.h"

#include <cstdint>

namespace sluice::kube {

std::optional<std::string> decode_base64(std::string_view text) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  std::uint32_t bits = 0;
  unsigned held = 0;
  std::size_t padding = 0;
  std::size_t count = 0;
  for (const char c : text) {
    if (c == '\n' || c == '\r' || c == ' ') continue;
    ++count;
    if (c == '=') {
      ++padding;
      continue;
    }
    const auto digit = digits.find(c);
    if (digit == std::string_view::npos || padding > 0) return std::nullopt;
    bits = (bits << 6) | static_cast<std::uint32_t>(digit);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    out += static_cast<char>((bits >> held) & 0xff);
  }
  if (padding > 2 || count % 4 != 0) return std::nullopt;
  return out;
}

}  // namespace sluice::kube
