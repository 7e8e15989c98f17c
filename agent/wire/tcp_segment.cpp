#include "wire/tcp_segment.h"

#include <algorithm>
#include <concepts>

namespace sluice::wire {
namespace {

constexpr std::uint16_t type_ipv4 = 0x0800;
constexpr std::uint16_t type_ipv6 = 0x86dd;
constexpr std::uint8_t protocol_tcp = 6;
constexpr std::uint8_t hop_limit = 64;

constexpr std::size_t ethernet_bytes = 14;
constexpr std::size_t type_at = 12;  // in the Ethernet header
constexpr std::size_t ipv4_bytes = 20;
constexpr std::size_t ipv6_bytes = 40;
constexpr std::size_t tcp_bytes = 20;  // without options
constexpr std::size_t max_ip_length = 65535;

constexpr std::uint16_t dont_fragment = 0x4000;
constexpr std::uint16_t fragment_bits = 0x3fff;  // More Fragments and the offset

// The flags within the 16 bits of the TCP header that begin with the data offset.
struct Flag {
  unsigned bit;
  bool TcpSegment::* field;
};
constexpr std::array<Flag, 8> flags = {{{0x001, &TcpSegment::fin},
                                        {0x002, &TcpSegment::syn},
                                        {0x004, &TcpSegment::rst},
                                        {0x008, &TcpSegment::psh},
                                        {0x010, &TcpSegment::ack},
                                        {0x040, &TcpSegment::ece},
                                        {0x080, &TcpSegment::cwr},
                                        {0x100, &TcpSegment::ae}}};
constexpr unsigned data_offset_shift = 12;
constexpr std::size_t tcp_checksum_at = 16;

enum Option : std::uint8_t { end_of_options = 0, no_operation = 1, timestamps_option = 8 };
constexpr std::size_t timestamps_bytes = 10;
constexpr std::size_t padded_timestamps_bytes = 12;

// How many bytes follow the IP header, as it says; nullopt: not plain, or not TCP. Each moves `reader` past it.
std::optional<std::size_t> read_ipv4(ByteReader& reader, TcpSegment& segment) {
  const auto version_and_size = reader.u8();
  segment.traffic_class = reader.u8();
  const std::size_t total = reader.u16();
  reader.u16();
  const auto fragment = reader.u16();
  reader.u8();
  const auto protocol = reader.u8();
  reader.u16();
  const auto source = IpAddress::from_bytes(reader.take(4));
  const auto destination = IpAddress::from_bytes(reader.take(4));
  if (reader.failed() || version_and_size != 0x45 || (fragment & fragment_bits) != 0) return std::nullopt;
  if (protocol != protocol_tcp || total < ipv4_bytes) return std::nullopt;
  segment.source.address = *source;
  segment.destination.address = *destination;
  return total - ipv4_bytes;
}

std::optional<std::size_t> read_ipv6(ByteReader& reader, TcpSegment& segment) {
  const auto version_class_and_label = reader.u32();
  const std::size_t length = reader.u16();
  const auto next_header = reader.u8();
  reader.u8();
  const auto source = IpAddress::from_bytes(reader.take(16));
  const auto destination = IpAddress::from_bytes(reader.take(16));
  if (reader.failed() || version_class_and_label >> 28 != 6 || next_header != protocol_tcp) return std::nullopt;
  // A mapped address would be taken for IPv4 from here on.
  if (source->is_v4() || destination->is_v4()) return std::nullopt;
  segment.traffic_class = static_cast<std::uint8_t>(version_class_and_label >> 20);
  segment.source.address = *source;
  segment.destination.address = *destination;
  return length;
}

// nullopt also when the list is malformed anywhere before its end.
std::optional<TcpTimestamps> find_timestamps(ByteReader options) {
  std::optional<TcpTimestamps> found;
  while (!options.at_end()) {
    const auto kind = options.u8();
    if (kind == end_of_options) break;
    if (kind == no_operation) continue;
    const std::size_t size = options.u8();
    if (size < 2) return std::nullopt;
    ByteReader content(options.take(size - 2));
    if (options.failed()) return std::nullopt;
    if (kind != timestamps_option) continue;
    if (found || size != timestamps_bytes) return std::nullopt;
    found.emplace();
    found->value = content.u32();
    found->echo = content.u32();
  }
  return found;
}

unsigned flag_bits(const TcpSegment& segment) {
  unsigned bits = 0;
  for (const auto& [bit, field] : flags) bits |= segment.*field ? bit : 0;
  return bits;
}

// The TCP header with its options; its size, or nullopt when it is not all there.
std::optional<std::size_t> read_tcp(ByteReader& reader, TcpSegment& segment) {
  segment.source.port = reader.u16();
  segment.destination.port = reader.u16();
  segment.sequence = reader.u32();
  segment.acknowledgement = reader.u32();
  const auto offset_and_flags = reader.u16();
  segment.window = reader.u16();
  reader.u32();  // checksum and urgent pointer
  const std::size_t header_bytes = std::size_t{4} * (offset_and_flags >> data_offset_shift);
  if (reader.failed() || header_bytes < tcp_bytes) return std::nullopt;
  const auto options = reader.take(header_bytes - tcp_bytes);
  if (reader.failed()) return std::nullopt;
  for (const auto& [bit, field] : flags) segment.*field = (offset_and_flags & bit) != 0;
  segment.timestamps = find_timestamps(ByteReader(options));
  return header_bytes;
}

std::optional<TcpSegment> parse(ByteSpan frame, bool may_be_cut) {
  TcpSegment segment;
  ByteReader reader(frame);
  const auto ethernet = reader.take(ethernet_bytes);
  if (reader.failed()) return std::nullopt;
  std::ranges::copy(ethernet, segment.ethernet.begin());
  const auto type = ByteReader(ethernet.subspan(type_at)).u16();
  if (type != type_ipv4 && type != type_ipv6) return std::nullopt;
  const auto ip_payload_bytes = type == type_ipv4 ? read_ipv4(reader, segment) : read_ipv6(reader, segment);
  if (!ip_payload_bytes) return std::nullopt;
  const auto header_bytes = read_tcp(reader, segment);
  if (!header_bytes || *header_bytes > *ip_payload_bytes) return std::nullopt;
  const auto payload_bytes = *ip_payload_bytes - *header_bytes;
  if (payload_bytes > reader.remaining() && !may_be_cut) return std::nullopt;
  segment.payload = reader.take(std::min(payload_bytes, reader.remaining()));
  return segment;
}

// Puts numbers in network order one after the other. The caller has seen to it that they fit.
class Writer {
 public:
  explicit Writer(std::span<std::uint8_t> out) : out_(out) {}

  void put(std::span<const std::uint8_t> bytes) {
    std::ranges::copy(bytes, out_.begin());
    out_ = out_.subspan(bytes.size());
  }
  template <std::unsigned_integral Integer>
  void put(Integer value) {
    std::array<std::uint8_t, sizeof value> bytes{};
    for (std::size_t i = 0; i < sizeof value; ++i) {
      bytes[i] = static_cast<std::uint8_t>(value >> 8 * (sizeof value - 1 - i));
    }
    put(std::span<const std::uint8_t>(bytes));
  }

 private:
  std::span<std::uint8_t> out_;
};

// The sum of RFC 1071 before its carries are folded in; `bytes` begin at an even place of what is summed. What is
// summed here has less than 2^16 words, so no carry is lost.
std::uint32_t sum_words(ByteSpan bytes, std::uint32_t sum = 0) {
  std::size_t at = 0;
  for (; at + 1 < bytes.size(); at += 2) sum += static_cast<std::uint32_t>(bytes[at] << 8 | bytes[at + 1]);
  return at < bytes.size() ? sum + static_cast<std::uint32_t>(bytes[at] << 8) : sum;
}

void put_checksum(std::span<std::uint8_t> place, std::uint32_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  Writer(place).put(static_cast<std::uint16_t>(~sum));
}

void write_ipv4(const TcpSegment& segment, std::span<std::uint8_t> out, std::size_t tcp_length) {
  constexpr std::size_t checksum_at = 10;
  Writer writer(out);
  writer.put(std::uint8_t{0x45});
  writer.put(segment.traffic_class);
  writer.put(static_cast<std::uint16_t>(ipv4_bytes + tcp_length));
  writer.put(std::uint16_t{0});
  writer.put(dont_fragment);
  writer.put(hop_limit);
  writer.put(protocol_tcp);
  writer.put(std::uint16_t{0});
  writer.put(segment.source.address.native());
  writer.put(segment.destination.address.native());
  put_checksum(out.subspan(checksum_at), sum_words(out.first(ipv4_bytes)));
}

void write_ipv6(const TcpSegment& segment, std::span<std::uint8_t> out, std::size_t tcp_length) {
  Writer writer(out);
  writer.put(std::uint32_t{6} << 28 | std::uint32_t{segment.traffic_class} << 20);
  writer.put(static_cast<std::uint16_t>(tcp_length));
  writer.put(protocol_tcp);
  writer.put(hop_limit);
  writer.put(segment.source.address.native());
  writer.put(segment.destination.address.native());
}

// `out` is the TCP segment, all of it, whose place for the checksum is zero.
void put_tcp_checksum(const TcpSegment& segment, std::span<std::uint8_t> out) {
  // The pseudo-headers of both families (RFC 9293 section 3.1, RFC 8200 section 8.1) have the same sum.
  auto sum = static_cast<std::uint32_t>(protocol_tcp + out.size());
  sum = sum_words(segment.source.address.native(), sum);
  sum = sum_words(segment.destination.address.native(), sum);
  put_checksum(out.subspan(tcp_checksum_at), sum_words(out, sum));
}

// `out` is the TCP segment, all of it.
void write_tcp(const TcpSegment& segment, std::span<std::uint8_t> out) {
  const auto words = (out.size() - segment.payload.size()) / 4;
  Writer writer(out);
  writer.put(segment.source.port);
  writer.put(segment.destination.port);
  writer.put(segment.sequence);
  writer.put(segment.acknowledgement);
  writer.put(static_cast<std::uint16_t>(words << data_offset_shift | flag_bits(segment)));
  writer.put(segment.window);
  writer.put(std::uint32_t{0});
  if (segment.timestamps) {
    const std::array<std::uint8_t, 4> lead = {no_operation, no_operation, timestamps_option, timestamps_bytes};
    writer.put(lead);
    writer.put(segment.timestamps->value);
    writer.put(segment.timestamps->echo);
  }
  writer.put(segment.payload);
  put_tcp_checksum(segment, out);
}

// What the frame takes; 0: there is no such frame.
std::size_t frame_bytes(const TcpSegment& segment) {
  const bool ipv4 = segment.source.address.is_v4();
  if (ipv4 != segment.destination.address.is_v4()) return 0;
  const auto tcp_length = tcp_bytes + (segment.timestamps ? padded_timestamps_bytes : 0) + segment.payload.size();
  if ((ipv4 ? ipv4_bytes : 0) + tcp_length > max_ip_length) return 0;
  return ethernet_bytes + (ipv4 ? ipv4_bytes : ipv6_bytes) + tcp_length;
}

}  // namespace

std::optional<TcpSegment> parse_tcp_frame(ByteSpan frame) {
  return parse(frame, false);
}

std::optional<TcpSegment> parse_cut_tcp_frame(ByteSpan frame) {
  return parse(frame, true);
}

std::size_t write_tcp_frame(const TcpSegment& segment, std::span<std::uint8_t> out) {
  const auto size = frame_bytes(segment);
  if (size == 0 || size > out.size()) return 0;
  const bool ipv4 = segment.source.address.is_v4();
  const auto ip = out.first(size).subspan(ethernet_bytes);
  const auto tcp = ip.subspan(ipv4 ? ipv4_bytes : ipv6_bytes);
  std::ranges::copy(segment.ethernet, out.begin());
  Writer(out.subspan(type_at)).put(ipv4 ? type_ipv4 : type_ipv6);
  ipv4 ? write_ipv4(segment, ip, tcp.size()) : write_ipv6(segment, ip, tcp.size());
  write_tcp(segment, tcp);
  return size;
}

std::vector<std::uint8_t> build_tcp_frame(const TcpSegment& segment) {
  std::vector<std::uint8_t> frame(frame_bytes(segment));
  write_tcp_frame(segment, frame);
  return frame;
}

bool complete_tcp_checksum(std::span<std::uint8_t> frame) {
  const auto segment = parse_tcp_frame(frame);
  if (!segment) return false;
  const auto begin = ethernet_bytes + (segment->source.address.is_v4() ? ipv4_bytes : ipv6_bytes);
  const auto end = static_cast<std::size_t>(segment->payload.data() - frame.data()) + segment->payload.size();
  const auto tcp = frame.subspan(begin, end - begin);
  tcp[tcp_checksum_at] = 0;
  tcp[tcp_checksum_at + 1] = 0;
  put_tcp_checksum(*segment, tcp);
  return true;
}

}  // namespace sluice::wire
