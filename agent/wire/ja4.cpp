#include "wire/ja4.h"

#include <algorithm>
#include <array>
#include <functional>

#include "base/sha256.h"
#include "wire/ascii.h"
#include "wire/client_hello.h"

namespace sluice::wire {
namespace {

constexpr std::uint16_t server_name_extension = 0x0000;
constexpr std::uint16_t alpn_extension = 0x0010;
constexpr std::string_view hex_digits = "0123456789abcdef";

std::string_view version_code(std::span<const std::uint16_t> versions) {
  if (versions.empty()) return "00";
  switch (*std::max_element(versions.begin(), versions.end())) {
    case 0x0304:
      return "13";
    case 0x0303:
      return "12";
    case 0x0302:
      return "11";
    case 0x0301:
      return "10";
    case 0x0300:
      return "s3";
    case 0x0002:
      return "s2";
    case 0xfeff:
      return "d1";
    case 0xfefd:
      return "d2";
    case 0xfefc:
      return "d3";
    default:
      return "00";
  }
}

void append_count(std::string& out, std::size_t count) {
  count = std::min<std::size_t>(count, 99);
  out += static_cast<char>('0' + count / 10);
  out += static_cast<char>('0' + count % 10);
}

// Its first and last character, or of its hexadecimal form when one of them is not alphanumeric.
void append_alpn(std::string& out, std::string_view alpn) {
  if (alpn.empty()) {
    out += "00";
  } else if (is_alphanumeric(alpn.front()) && is_alphanumeric(alpn.back())) {
    out += alpn.front();
    out += alpn.back();
  } else {
    out += hex_digits[static_cast<unsigned char>(alpn.front()) >> 4];
    out += hex_digits[static_cast<unsigned char>(alpn.back()) & 15];
  }
}

// Hashes "c02b,c02c,..." without building it.
class ListHash {
 public:
  void add(std::uint16_t value) {
    const std::array<char, 5> text = {separator_, hex_digits[value >> 12], hex_digits[value >> 8 & 15],
                                      hex_digits[value >> 4 & 15], hex_digits[value & 15]};
    hash_.update(std::string_view(text.data(), text.size()).substr(empty_ ? 1 : 0));
    separator_ = ',';
    empty_ = false;
  }
  // The next value begins a second list, if it comes.
  void begin_second_list() { separator_ = '_'; }
  void append_to(std::string& out) {
    constexpr std::size_t kept_bytes = 6;
    const auto digest = hash_.finish();
    out += empty_ ? "000000000000" : to_hex(std::span(digest).first(kept_bytes));
  }

 private:
  Sha256 hash_;
  char separator_ = ',';
  bool empty_ = true;
};

// The values without GREASE, in `room`, which is large enough for any list of a hello.
using ListRoom = std::array<std::uint16_t, max_hello_bytes / 2>;
std::span<std::uint16_t> read_list(ByteSpan list, ListRoom& room) {
  std::size_t count = 0;
  for (ByteReader reader(list); reader.remaining() >= 2;) {
    const auto value = reader.u16();
    if (!is_grease(value)) room[count++] = value;
  }
  return std::span(room).first(count);
}

}  // namespace

std::string ja4_fingerprint(const Ja4Facts& facts) {
  ListRoom room;
  const auto ciphers = read_list(facts.cipher_suites, room);
  std::sort(ciphers.begin(), ciphers.end());

  std::string out = "t";
  out += version_code(facts.versions);
  out += facts.has_server_name ? 'd' : 'i';
  append_count(out, ciphers.size());
  append_count(out, static_cast<std::size_t>(
                        std::count_if(facts.extensions.begin(), facts.extensions.end(), std::not_fn(is_grease))));
  append_alpn(out, facts.first_alpn);

  out += '_';
  ListHash cipher_hash;
  for (const auto cipher : ciphers) cipher_hash.add(cipher);
  cipher_hash.append_to(out);

  out += '_';
  ListHash extension_hash;
  for (const auto type : facts.extensions) {
    if (!is_grease(type) && type != server_name_extension && type != alpn_extension) extension_hash.add(type);
  }
  extension_hash.begin_second_list();
  for (const auto algorithm : read_list(facts.signature_algorithms, room)) extension_hash.add(algorithm);
  extension_hash.append_to(out);
  return out;
}

}  // namespace sluice::wire
