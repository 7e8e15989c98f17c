#include "base/ip.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace sluice {
namespace {

constexpr std::array<std::uint8_t, 12> mapped_prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

// A decimal number of at most `max`, all of `text`.
std::optional<unsigned> parse_number(std::string_view text, unsigned max) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > max) return std::nullopt;
  return value;
}

// Enough for "[", an address of either family, "]:" and a port.
using TextRoom = std::array<char, INET6_ADDRSTRLEN + 16>;

char* put_number(char* at, unsigned number) {
  return std::to_chars(at, at + 5, number).ptr;
}

// Returns where the text ends.
char* put_address(char* at, const IpAddress& address) {
  const auto bytes = address.native();
  if (bytes.size() != 4) return at + std::strlen(::inet_ntop(AF_INET6, bytes.data(), at, INET6_ADDRSTRLEN));
  for (const auto byte : bytes) {
    at = put_number(at, byte);
    *at++ = '.';
  }
  return at - 1;
}

}  // namespace

std::optional<IpAddress> IpAddress::from_bytes(std::span<const std::uint8_t> bytes) {
  Bytes out{};
  if (bytes.size() == 4) {
    std::copy(mapped_prefix.begin(), mapped_prefix.end(), out.begin());
    std::copy(bytes.begin(), bytes.end(), out.begin() + 12);
  } else if (bytes.size() == 16) {
    std::copy(bytes.begin(), bytes.end(), out.begin());
  } else {
    return std::nullopt;
  }
  return IpAddress(out);
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  char buffer[INET6_ADDRSTRLEN];
  if (text.empty() || text.size() >= sizeof buffer || text.find('\0') != text.npos) return std::nullopt;
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  std::array<std::uint8_t, 16> raw{};
  if (::inet_pton(AF_INET, buffer, raw.data()) == 1) return from_bytes(std::span(raw).first(4));
  if (::inet_pton(AF_INET6, buffer, raw.data()) == 1) return from_bytes(raw);
  return std::nullopt;
}

bool IpAddress::is_v4() const {
  return std::equal(mapped_prefix.begin(), mapped_prefix.end(), bytes_.begin());
}

bool IpAddress::is_unspecified() const {
  const auto raw = native();
  return std::all_of(raw.begin(), raw.end(), [](std::uint8_t byte) { return byte == 0; });
}

std::span<const std::uint8_t> IpAddress::native() const {
  return is_v4() ? std::span(bytes_).subspan(12) : std::span(bytes_);
}

std::string IpAddress::to_string() const {
  TextRoom room;
  return {room.data(), put_address(room.data(), *this)};
}

std::optional<Cidr> Cidr::make(const IpAddress& address, unsigned length) {
  if (length > (address.is_v4() ? 32U : 128U)) return std::nullopt;
  Cidr cidr;
  cidr.address_ = address;
  cidr.mapped_length_ = length + (address.is_v4() ? 96 : 0);
  const auto& bytes = address.bytes();
  for (unsigned bit = cidr.mapped_length_; bit < 128; ++bit) {
    if ((bytes[bit / 8] >> (7 - bit % 8)) & 1) return std::nullopt;
  }
  return cidr;
}

std::optional<Cidr> Cidr::parse(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  if (slash == text.npos) return make(*address, address->is_v4() ? 32 : 128);
  const auto length = parse_number(text.substr(slash + 1), 128);
  return length ? make(*address, *length) : std::nullopt;
}

bool Cidr::contains(const IpAddress& address) const {
  // "::/0" is every IPv6 address, not every address.
  if (address_.is_v4() != address.is_v4()) return false;
  const auto& mine = address_.bytes();
  const auto& theirs = address.bytes();
  const unsigned whole = mapped_length_ / 8;
  if (std::memcmp(mine.data(), theirs.data(), whole) != 0) return false;
  const unsigned rest = mapped_length_ % 8;
  return rest == 0 || (mine[whole] ^ theirs[whole]) >> (8 - rest) == 0;
}

std::string Cidr::to_string() const {
  return address_.to_string() + "/" + std::to_string(length());
}

bool contains(std::span<const Cidr> ranges, const IpAddress& address) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const Cidr& range) { return range.contains(address); });
}

std::string Endpoint::to_string() const {
  TextRoom room;
  auto* at = room.data();
  const bool v4 = address.is_v4();
  if (!v4) *at++ = '[';
  at = put_address(at, address);
  if (!v4) *at++ = ']';
  *at++ = ':';
  return {room.data(), put_number(at, port)};
}

std::optional<Endpoint> Endpoint::parse(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == text.npos) return std::nullopt;
  auto host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = IpAddress::parse(host);
  const auto port = parse_number(text.substr(colon + 1), 65535);
  if (!address || !port || (host.find(':') != host.npos) != bracketed) return std::nullopt;
  return Endpoint{*address, static_cast<std::uint16_t>(*port)};
}

}  // namespace sluice

std::size_t std::hash<sluice::IpAddress>::operator()(const sluice::IpAddress& address) const noexcept {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  std::memcpy(&high, address.bytes().data(), 8);
  std::memcpy(&low, address.bytes().data() + 8, 8);
  return std::hash<std::uint64_t>{}(high * 0x9e3779b97f4a7c15ULL ^ low);
}
