#include "wire/proxy_v2.h"

#include <algorithm>
#include <array>
#include <span>

#include "wire/host_name.h"

namespace sluice::wire {
namespace {

constexpr std::array<std::uint8_t, 12> signature = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                                    0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
constexpr std::size_t fixed_bytes = signature.size() + 4;  // up to and with the length field
constexpr std::uint8_t version_2_proxy = 0x21;
constexpr std::uint8_t tcp_over_ipv4 = 0x11;
constexpr std::uint8_t tcp_over_ipv6 = 0x21;
constexpr std::uint8_t crc32c_type = 0x03;
constexpr std::size_t max_text_bytes = 255;

// The types with a text that we know, and where it goes. The custom numbers are ours and stay as they are.
struct TextType {
  std::uint8_t type;
  std::string ProxyHeader::* field;
};
constexpr std::array<TextType, 7> text_types = {{{0x02, &ProxyHeader::authority},
                                                 {0xe0, &ProxyHeader::node},
                                                 {0xe1, &ProxyHeader::pod_namespace},
                                                 {0xe2, &ProxyHeader::pod_name},
                                                 {0xe3, &ProxyHeader::service_account},
                                                 {0xe4, &ProxyHeader::rule},
                                                 {0xe5, &ProxyHeader::connection_id}}};

void append_u16(std::vector<std::uint8_t>& out, std::size_t value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8));
  out.push_back(static_cast<std::uint8_t>(value));
}

void append(std::vector<std::uint8_t>& out, std::span<const std::uint8_t> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

constexpr std::array<std::uint32_t, 256> make_crc32c_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ ((value & 1) != 0 ? 0x82f63b78U : 0U);
    table[i] = value;
  }
  return table;
}

// CRC-32C (RFC 3720 appendix B.4) of `bytes` with the four bytes at `hole` taken as zeros.
std::uint32_t crc32c_with_hole(ByteSpan bytes, std::size_t hole) {
  static constexpr auto table = make_crc32c_table();
  std::uint32_t crc = ~0U;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::uint8_t byte = i >= hole && i < hole + 4 ? 0 : bytes[i];
    crc = table[(crc ^ byte) & 0xff] ^ crc >> 8;
  }
  return ~crc;
}

bool is_printable(ByteSpan text) {
  return std::all_of(text.begin(), text.end(), [](std::uint8_t c) { return c >= 0x20 && c < 0x7f; });
}

// Empty: no fault.
std::string_view read_addresses(ByteReader& reader, bool ipv6, ProxyHeader& header) {
  const std::size_t size = ipv6 ? 16 : 4;
  const auto source = IpAddress::from_bytes(reader.take(size));
  const auto destination = IpAddress::from_bytes(reader.take(size));
  if (!source || !destination) return "addresses";
  header.source = {*source, reader.u16()};
  header.destination = {*destination, reader.u16()};
  return {};
}

std::string_view read_text(ByteSpan value, std::string& field) {
  if (!field.empty()) return "a repeated type";
  if (value.empty() || value.size() > max_text_bytes || !is_printable(value)) return "text";
  field.assign(value.begin(), value.end());
  return {};
}

// `whole` is the header from its first byte, which the checksum covers.
std::string_view read_values(ByteReader reader, ByteSpan whole, ProxyHeader& header) {
  bool checked = false;
  while (!reader.at_end()) {
    const auto type = reader.u8();
    auto value = reader.vector16();
    if (value.failed()) return "type-length-value";
    if (type == crc32c_type) {
      if (checked) return "a repeated type";
      if (value.remaining() != 4) return "checksum";
      checked = true;
      const auto hole = static_cast<std::size_t>(value.rest().data() - whole.data());
      if (value.u32() != crc32c_with_hole(whole, hole)) return "checksum";
      continue;
    }
    const auto* known = std::find_if(text_types.begin(), text_types.end(), [&](auto& t) { return t.type == type; });
    if (known == text_types.end()) continue;
    if (const auto fault = read_text(value.rest(), header.*known->field); !fault.empty()) return fault;
  }
  if (header.authority.empty()) return {};
  auto name = normalise_host(header.authority);
  if (!name) return "authority";
  header.authority = std::move(*name);
  return {};
}

ProxyResult parse_complete(ByteSpan whole) {
  ParsedProxyHeader parsed{.header = {}, .wire_bytes = whole.size()};
  ByteReader reader(whole);
  reader.take(signature.size() + 1);
  const bool ipv6 = reader.u8() == tcp_over_ipv6;
  reader.u16();
  if (const auto fault = read_addresses(reader, ipv6, parsed.header); !fault.empty()) return Malformed{fault};
  if (const auto fault = read_values(reader, whole, parsed.header); !fault.empty()) return Malformed{fault};
  return parsed;
}

}  // namespace

std::vector<std::uint8_t> encode_proxy_header(const ProxyHeader& header) {
  const bool ipv4 = header.source.address.is_v4() && header.destination.address.is_v4();
  std::vector<std::uint8_t> out(signature.begin(), signature.end());
  out.push_back(version_2_proxy);
  out.push_back(ipv4 ? tcp_over_ipv4 : tcp_over_ipv6);
  append_u16(out, 0);
  for (const auto* endpoint : {&header.source, &header.destination}) {
    append(out, ipv4 ? endpoint->address.native() : std::span<const std::uint8_t>(endpoint->address.bytes()));
  }
  append_u16(out, header.source.port);
  append_u16(out, header.destination.port);
  for (const auto& [type, field] : text_types) {
    const auto text = std::string_view(header.*field).substr(0, max_text_bytes);
    if (text.empty()) continue;
    out.push_back(type);
    append_u16(out, text.size());
    out.insert(out.end(), text.begin(), text.end());
  }
  const auto length = out.size() - fixed_bytes;
  out[fixed_bytes - 2] = static_cast<std::uint8_t>(length >> 8);
  out[fixed_bytes - 1] = static_cast<std::uint8_t>(length);
  return out;
}

ProxyResult parse_proxy_header(ByteSpan bytes) {
  const auto shown = std::min(bytes.size(), signature.size());
  if (!std::equal(bytes.begin(), bytes.begin() + shown, signature.begin())) return NotProxy{};
  ByteReader reader(bytes.subspan(shown));
  // The fields that rule the rest are judged as they come.
  if (reader.at_end()) return NeedMore{};
  if (reader.u8() != version_2_proxy) return Malformed{"version and command"};
  if (reader.at_end()) return NeedMore{};
  const auto family = reader.u8();
  if (family != tcp_over_ipv4 && family != tcp_over_ipv6) return Malformed{"family and protocol"};
  if (reader.remaining() < 2) return NeedMore{};
  const std::size_t length = reader.u16();
  const std::size_t addresses_bytes = family == tcp_over_ipv6 ? 36 : 12;
  if (length < addresses_bytes || fixed_bytes + length > max_proxy_header_bytes) return Malformed{"length"};
  if (reader.remaining() < length) return NeedMore{};
  return parse_complete(bytes.first(fixed_bytes + length));
}

}  // namespace sluice::wire
