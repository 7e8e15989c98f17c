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

// The custom numbers are ours and stay as they are.
constexpr std::uint8_t gateway_port_type = 0xe7;
constexpr std::uint8_t hop_source_type = 0xe8;  // 16 bytes of address, IPv4 mapped, and the port
constexpr std::uint8_t seal_type = 0xe9;
constexpr std::uint8_t seal_version = 1;
constexpr std::size_t seal_bytes = 1 + 4 + 8 + 16 + header_mac_bytes;

// The types with a text that we know, and where it goes.
struct TextType {
  std::uint8_t type;
  std::string ProxyHeader::* field;
};
constexpr std::array<TextType, 8> text_types = {{{0x02, &ProxyHeader::authority},
                                                 {0xe0, &ProxyHeader::node},
                                                 {0xe1, &ProxyHeader::pod_namespace},
                                                 {0xe2, &ProxyHeader::pod_name},
                                                 {0xe3, &ProxyHeader::service_account},
                                                 {0xe4, &ProxyHeader::rule},
                                                 {0xe5, &ProxyHeader::connection_id},
                                                 {0xe6, &ProxyHeader::gateway}}};

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

const TextType* find_text_type(std::uint8_t type) {
  const auto* known = std::find_if(text_types.begin(), text_types.end(), [&](auto& t) { return t.type == type; });
  return known == text_types.end() ? nullptr : known;
}

// Each read_*: what is wrong; empty when nothing is.
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

std::string_view read_gateway_port(ByteReader value, std::uint16_t& port) {
  if (port != 0) return "a repeated type";
  if (value.remaining() != 2) return "gateway port";
  port = value.u16();
  return port == 0 ? "gateway port" : "";
}

std::string_view read_hop_source(ByteReader value, std::optional<Endpoint>& hop_source) {
  if (hop_source) return "a repeated type";
  if (value.remaining() != 18) return "hop source";
  const auto address = IpAddress::from_bytes(value.take(16));
  hop_source = Endpoint{*address, value.u16()};
  return {};
}

std::string_view read_checksum(ByteReader value, ByteSpan whole) {
  if (value.remaining() != 4) return "checksum";
  const auto hole = static_cast<std::size_t>(value.rest().data() - whole.data());
  return value.u32() == crc32c_with_hole(whole, hole) ? "" : "checksum";
}

// The caller has seen to it that nothing follows `value`.
std::string_view read_seal(ByteReader value, ByteSpan whole, std::optional<HeaderSeal>& seal) {
  if (value.remaining() != seal_bytes || value.u8() != seal_version) return "authentication";
  seal.emplace();
  auto& stamp = seal->stamp;
  std::ranges::copy(value.take(stamp.key_id.size()), stamp.key_id.begin());
  stamp.time_ms = std::uint64_t{value.u32()} << 32;
  stamp.time_ms |= value.u32();
  std::ranges::copy(value.take(stamp.nonce.size()), stamp.nonce.begin());
  seal->signed_bytes = whole.first(whole.size() - header_mac_bytes);
  std::ranges::copy(value.rest(), seal->mac.begin());
  return {};
}

// The type-length-values of `whole`, a header from its first byte, of which `reader` has the rest.
std::string_view read_values(ByteReader reader, ByteSpan whole, ParsedProxyHeader& parsed) {
  auto& header = parsed.header;
  bool checked = false;
  while (!reader.at_end()) {
    const auto type = reader.u8();
    const auto value = reader.vector16();
    if (value.failed()) return "type-length-value";
    std::string_view fault;
    if (type == crc32c_type) {
      fault = checked ? "a repeated type" : read_checksum(value, whole);
      checked = true;
    } else if (type == gateway_port_type) {
      fault = read_gateway_port(value, header.gateway_port);
    } else if (type == hop_source_type) {
      fault = read_hop_source(value, header.hop_source);
    } else if (type == seal_type) {
      fault = reader.at_end() ? read_seal(value, whole, parsed.seal) : "authentication before the end";
    } else if (const auto* text = find_text_type(type)) {
      fault = read_text(value.rest(), header.*text->field);
    }
    if (!fault.empty()) return fault;
  }
  if (header.authority.empty()) return {};
  auto name = normalise_host(header.authority);
  if (!name) return "authority";
  header.authority = std::move(*name);
  return {};
}

ProxyResult parse_complete(ByteSpan whole) {
  ParsedProxyHeader parsed{.header = {}, .wire_bytes = whole.size(), .seal = {}};
  ByteReader reader(whole);
  reader.take(signature.size() + 1);
  const bool ipv6 = reader.u8() == tcp_over_ipv6;
  reader.u16();
  if (const auto fault = read_addresses(reader, ipv6, parsed.header); !fault.empty()) return Malformed{fault};
  if (const auto fault = read_values(reader, whole, parsed); !fault.empty()) return Malformed{fault};
  return parsed;
}

void append_addresses(std::vector<std::uint8_t>& out, const ProxyHeader& header, bool ipv4) {
  for (const auto* endpoint : {&header.source, &header.destination}) {
    append(out, ipv4 ? endpoint->address.native() : std::span<const std::uint8_t>(endpoint->address.bytes()));
  }
  append_u16(out, header.source.port);
  append_u16(out, header.destination.port);
}

void append_values(std::vector<std::uint8_t>& out, const ProxyHeader& header) {
  for (const auto& [type, field] : text_types) {
    const auto text = std::string_view(header.*field).substr(0, max_text_bytes);
    if (text.empty()) continue;
    out.push_back(type);
    append_u16(out, text.size());
    out.insert(out.end(), text.begin(), text.end());
  }
  if (header.gateway_port != 0) {
    out.push_back(gateway_port_type);
    append_u16(out, 2);
    append_u16(out, header.gateway_port);
  }
  if (header.hop_source) {
    out.push_back(hop_source_type);
    append_u16(out, 18);
    append(out, header.hop_source->address.bytes());
    append_u16(out, header.hop_source->port);
  }
}

void append_seal(std::vector<std::uint8_t>& out, const HeaderStamp& stamp) {
  out.push_back(seal_type);
  append_u16(out, seal_bytes);
  out.push_back(seal_version);
  append(out, stamp.key_id);
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(stamp.time_ms >> shift));
  append(out, stamp.nonce);
  out.resize(out.size() + header_mac_bytes);
}

std::vector<std::uint8_t> encode(const ProxyHeader& header, const HeaderStamp* stamp) {
  const bool ipv4 = header.source.address.is_v4() && header.destination.address.is_v4();
  std::vector<std::uint8_t> out(signature.begin(), signature.end());
  out.push_back(version_2_proxy);
  out.push_back(ipv4 ? tcp_over_ipv4 : tcp_over_ipv6);
  append_u16(out, 0);
  append_addresses(out, header, ipv4);
  append_values(out, header);
  if (stamp != nullptr) append_seal(out, *stamp);
  const auto length = out.size() - fixed_bytes;
  out[fixed_bytes - 2] = static_cast<std::uint8_t>(length >> 8);
  out[fixed_bytes - 1] = static_cast<std::uint8_t>(length);
  return out;
}

}  // namespace

std::vector<std::uint8_t> encode_proxy_header(const ProxyHeader& header) {
  return encode(header, nullptr);
}

std::vector<std::uint8_t> encode_proxy_header(const ProxyHeader& header, const HeaderStamp& stamp) {
  return encode(header, &stamp);
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
