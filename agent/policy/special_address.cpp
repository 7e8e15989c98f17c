#include "policy/special_address.h"

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>

namespace sluice {
namespace {

// A prefix in network order; the bytes not given are zero.
struct Range {
  std::array<std::uint8_t, 16> network;
  unsigned length;
  std::string_view name;
};

// Each range stands before the wider one around it.
constexpr Range v4_ranges[] = {
    {{0, 0, 0, 0}, 32, "unspecified"},
    {{0}, 8, "this network"},
    {{10}, 8, "private"},
    {{100, 64}, 10, "shared (carrier-grade NAT)"},
    {{127}, 8, "loopback"},
    {{169, 254}, 16, "link-local"},
    {{172, 16}, 12, "private"},
    {{192, 0, 0}, 24, "IETF protocol assignments"},
    {{192, 88, 99}, 24, "6to4 relay anycast"},
    {{192, 168}, 16, "private"},
    {{198, 18}, 15, "benchmarking"},
    {{224}, 4, "multicast"},
    {{255, 255, 255, 255}, 32, "broadcast"},
    {{240}, 4, "reserved"},
};

constexpr Range v6_ranges[] = {
    {{}, 128, "unspecified"},
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 128, "loopback"},
    {{}, 96, "IPv4-compatible"},
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, "local-use NAT64"},
    {{0x01}, 64, "discard-only"},
    {{0xfc}, 7, "unique local"},
    {{0xfe, 0x80}, 10, "link-local"},
    {{0xfe, 0xc0}, 10, "site-local"},
    {{0xff}, 8, "multicast"},
    {{0x20, 0x01, 0x00, 0x02}, 48, "benchmarking"},
    {{0x20, 0x01, 0x00, 0x10}, 28, "ORCHID"},
};
constexpr Range global_unicast = {{0x20}, 3, ""};

constexpr Range nat64 = {{0x00, 0x64, 0xff, 0x9b}, 96, "NAT64"};
constexpr Range six_to_four = {{0x20, 0x02}, 16, "6to4"};
constexpr Range teredo = {{0x20, 0x01, 0x00, 0x00}, 32, "Teredo"};

bool contains(const Range& range, std::span<const std::uint8_t> address) {
  for (unsigned bit = 0; bit < range.length; bit += 8) {
    const unsigned kept = range.length - bit < 8 ? range.length - bit : 8;
    const unsigned differ = static_cast<unsigned>(range.network[bit / 8] ^ address[bit / 8]);
    if ((differ >> (8 - kept)) != 0) return false;
  }
  return true;
}

std::optional<std::string_view> find(std::span<const Range> ranges, std::span<const std::uint8_t> address) {
  for (const Range& range : ranges) {
    if (contains(range, address)) return range.name;
  }
  return std::nullopt;
}

std::optional<std::string_view> judge_embedded(std::span<const std::uint8_t> v6) {
  if (contains(nat64, v6)) return find(v4_ranges, v6.subspan(12, 4));
  if (contains(six_to_four, v6)) return find(v4_ranges, v6.subspan(2, 4));
  // RFC 4380 section 4: the server's address, and the client's with its bits inverted.
  if (const auto server = find(v4_ranges, v6.subspan(4, 4))) return server;
  std::array<std::uint8_t, 4> client{};
  for (std::size_t index = 0; index < client.size(); ++index)
    client[index] = static_cast<std::uint8_t>(~v6[12 + index]);
  return find(v4_ranges, client);
}

}  // namespace

std::optional<std::string_view> special_purpose(const IpAddress& address) {
  const auto bytes = address.native();
  if (address.is_v4()) return find(v4_ranges, bytes);
  for (const Range& carrier : {nat64, six_to_four, teredo}) {
    if (contains(carrier, bytes)) return judge_embedded(bytes);
  }
  if (const auto name = find(v6_ranges, bytes)) return name;
  return contains(global_unicast, bytes) ? std::nullopt : std::optional<std::string_view>("reserved");
}

}  // namespace sluice
