#include "observe/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>

namespace sluice::observe {
namespace {

constexpr std::string_view replacement = "\xef\xbf\xbd";
constexpr std::string_view ellipsis = "\xe2\x80\xa6";

struct Character {
  std::size_t length = 1;  // bytes of the text that it takes
  std::uint32_t code = 0;
  bool valid = false;
};

constexpr std::uint8_t byte_at(std::string_view text, std::size_t index) {
  return static_cast<std::uint8_t>(text[index]);
}

// The first character of `text`, which is not empty. Overlong forms, surrogates and what exceeds U+10FFFF are invalid.
Character decode(std::string_view text) {
  const auto first = byte_at(text, 0);
  if (first < 0x80) return {1, first, true};
  std::size_t length = 0;
  if (first >= 0xc2 && first <= 0xdf) length = 2;
  if (first >= 0xe0 && first <= 0xef) length = 3;
  if (first >= 0xf0 && first <= 0xf4) length = 4;
  if (length == 0 || text.size() < length) return {};
  std::uint32_t code = first & (0xffU >> (length + 1));
  for (std::size_t index = 1; index < length; ++index) {
    const auto byte = byte_at(text, index);
    if ((byte & 0xc0) != 0x80) return {};
    code = code << 6 | (byte & 0x3fU);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  if (overlong || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff) return {};
  return {length, code, true};
}

// Controls, line separators, and the marks that reorder text: a record must look like what it is, also in a terminal.
bool is_treacherous(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x200b && code <= 0x200f) ||
         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

// Which bytes stand for themselves, by whether the text is quoted.
constexpr auto plain_bytes = [] {
  std::array<std::array<bool, 256>, 2> plain{};
  for (const int quoted : {0, 1}) {
    for (int byte = 0x20; byte < 0x7f; ++byte) plain[quoted][byte] = quoted == 0 || (byte != '"' && byte != '\\');
  }
  return plain;
}();

bool is_plain(char byte, bool quoted) {
  return plain_bytes[quoted ? 1 : 0][static_cast<std::uint8_t>(byte)];
}

void append_bounded(std::string& out, std::string_view text, std::size_t max_bytes, bool quoted) {
  const auto plain = std::find_if_not(text.begin(), text.end(), [&](char byte) { return is_plain(byte, quoted); });
  if (plain == text.end() && text.size() <= max_bytes) {
    out += text;
    return;
  }
  const auto start = out.size();
  auto cut = start;  // where the ellipsis still fits
  while (!text.empty()) {
    char escaped[8];
    std::string_view token;
    std::size_t taken = 1;
    if (is_plain(text[0], quoted)) {
      token = text.substr(0, 1);
    } else {
      const auto character = decode(text);
      taken = character.length;
      if (!character.valid) {
        token = replacement;
      } else if (is_treacherous(character.code)) {
        const auto end = fmt::format_to_n(escaped, sizeof escaped, "\\u{:04x}", character.code).out;
        token = {escaped, static_cast<std::size_t>(end - escaped)};
      } else if (quoted && (text[0] == '"' || text[0] == '\\')) {
        token = text[0] == '"' ? "\\\"" : "\\\\";
      } else {
        token = text.substr(0, taken);
      }
    }
    if (out.size() - start + token.size() > max_bytes) {
      out.resize(cut);
      out += ellipsis;
      return;
    }
    out += token;
    if (out.size() - start + ellipsis.size() <= max_bytes) cut = out.size();
    text.remove_prefix(taken);
  }
}

}  // namespace

void append_json_text(std::string& out, std::string_view text, std::size_t max_bytes) {
  out += '"';
  append_bounded(out, text, max_bytes, true);
  out += '"';
}

std::string printable(std::string_view text, std::size_t max_bytes) {
  std::string out;
  append_bounded(out, text, max_bytes, false);
  return out;
}

}  // namespace sluice::observe
