#include "wire/tcp_segment.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "tests/support/hello_builder.h"

namespace sluice::wire {
namespace {

using test::Bytes;
using test::operator+;
using test::to_bytes;
using test::u16;
using test::u8;

Bytes u32(std::uint32_t value) {
  return u16(value >> 16) + u16(value & 0xffff);
}

const Bytes macs = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
const Bytes ipv4_source = {10, 1, 2, 3};
const Bytes ipv4_destination = {192, 0, 2, 9};
const Bytes ipv6_source = {0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
const Bytes ipv6_destination = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9};
const Bytes timestamps_option = Bytes{1, 1, 8, 10} + u32(0x11223344) + u32(0x55667788);

// PSH and ACK from port 40000 to 443 with wrong checksum and an urgent pointer; `options` fill words.
Bytes tcp(const Bytes& options, const Bytes& payload) {
  const auto words = 5 + options.size() / 4;
  return u16(40000) + u16(443) + u32(0xfffffff0) + u32(0x01020304) + u16(words << 12 | 0x018) + u16(0xabcd) +
         u16(0xdead) + u16(7) + options + payload;
}
Bytes ipv4_frame(const Bytes& content, const Bytes& fragment = {0x40, 0}) {
  return macs + u16(0x0800) + Bytes{0x45, 0xba} + u16(20 + content.size()) + u16(77) + fragment + Bytes{61, 6} +
         u16(0xdead) + ipv4_source + ipv4_destination + content;
}
Bytes ipv6_frame(const Bytes& content) {
  return macs + u16(0x86dd) + u32(0x6ba12345) + u16(content.size()) + Bytes{6, 61} + ipv6_source + ipv6_destination +
         content;
}

// The one's complement sum of 16-bit words (RFC 1071), carries folded in at each step: 0xffff over what has its
// checksum in it.
std::uint32_t ones_sum(const Bytes& bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? static_cast<std::uint32_t>(bytes[i] * 256) : bytes[i];
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}

Bytes part(const Bytes& bytes, std::size_t from, std::size_t size) {
  return {bytes.begin() + from, bytes.begin() + from + size};
}
std::uint32_t ipv4_header_sum(const Bytes& frame) {
  return ones_sum(part(frame, 14, 20));
}
std::uint32_t tcp_sum_over_ipv4(const Bytes& frame) {
  const auto content = part(frame, 34, frame.size() - 34);
  return ones_sum(part(frame, 26, 8) + Bytes{0, 6} + u16(content.size()) + content);
}
std::uint32_t tcp_sum_over_ipv6(const Bytes& frame) {
  const auto content = part(frame, 54, frame.size() - 54);
  return ones_sum(part(frame, 22, 32) + u32(static_cast<std::uint32_t>(content.size())) + Bytes{0, 0, 0, 6} + content);
}

Bytes payload_of(const TcpSegment& segment) {
  return {segment.payload.begin(), segment.payload.end()};
}

void expect_same(const TcpSegment& left, const TcpSegment& right) {
  EXPECT_EQ(left.ethernet, right.ethernet);
  EXPECT_EQ(left.traffic_class, right.traffic_class);
  EXPECT_EQ(left.source, right.source);
  EXPECT_EQ(left.destination, right.destination);
  EXPECT_EQ(left.sequence, right.sequence);
  EXPECT_EQ(left.acknowledgement, right.acknowledgement);
  EXPECT_EQ(left.window, right.window);
  const auto flags = [](const TcpSegment& s) {
    return std::array{s.syn, s.fin, s.rst, s.psh, s.ack, s.ece, s.cwr, s.ae};
  };
  EXPECT_EQ(flags(left), flags(right));
  EXPECT_EQ(left.timestamps, right.timestamps);
  EXPECT_EQ(payload_of(left), payload_of(right));
}

TcpSegment segment(std::string_view source, std::string_view destination, const Bytes& payload) {
  TcpSegment segment;
  std::copy(macs.begin(), macs.end(), segment.ethernet.begin());
  segment.traffic_class = 0xb9;
  segment.source = *Endpoint::parse(source);
  segment.destination = *Endpoint::parse(destination);
  segment.ethernet[12] = segment.source.address.is_v4() ? 0x08 : 0x86;
  segment.ethernet[13] = segment.source.address.is_v4() ? 0x00 : 0xdd;
  segment.sequence = 0xdeadbeef;
  segment.acknowledgement = 0x01020304;
  segment.window = 0xfedc;
  segment.psh = segment.ack = true;
  segment.timestamps = TcpTimestamps{0xcafebabe, 0x0badf00d};
  segment.payload = payload;
  return segment;
}
TcpSegment ipv4_segment(const Bytes& payload) {
  return segment("10.1.2.3:40000", "192.0.2.9:443", payload);
}
TcpSegment ipv6_segment(const Bytes& payload) {
  return segment("[fd00::1]:40000", "[2001:db8::9]:443", payload);
}

TEST(ParseTcpFrame, AnIpv4FrameIsReadFieldByField) {
  const auto frame = ipv4_frame(tcp(timestamps_option, to_bytes("hello")));
  const auto parsed = parse_tcp_frame(frame);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(Bytes(parsed->ethernet.begin(), parsed->ethernet.end()), macs + u16(0x0800));
  EXPECT_EQ(parsed->traffic_class, 0xba);
  EXPECT_EQ(parsed->source.to_string(), "10.1.2.3:40000");
  EXPECT_EQ(parsed->destination.to_string(), "192.0.2.9:443");
  EXPECT_EQ(parsed->sequence, 0xfffffff0);
  EXPECT_EQ(parsed->acknowledgement, 0x01020304U);
  EXPECT_EQ(parsed->window, 0xabcd);
  EXPECT_TRUE(parsed->psh && parsed->ack);
  EXPECT_FALSE(parsed->syn || parsed->fin || parsed->rst || parsed->ece || parsed->cwr || parsed->ae);
  EXPECT_EQ(parsed->timestamps, (TcpTimestamps{0x11223344, 0x55667788}));
  EXPECT_EQ(payload_of(*parsed), to_bytes("hello"));
  EXPECT_EQ(parsed->payload.data(), frame.data() + frame.size() - 5) << "the payload is a view";
}

TEST(ParseTcpFrame, AnIpv6FrameIsReadFieldByField) {
  const auto frame = ipv6_frame(tcp({}, to_bytes("hello")));
  const auto parsed = parse_tcp_frame(frame);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->traffic_class, 0xba);
  EXPECT_EQ(parsed->source.to_string(), "[fd00::1]:40000");
  EXPECT_EQ(parsed->destination.to_string(), "[2001:db8::9]:443");
  EXPECT_EQ(parsed->sequence, 0xfffffff0);
  EXPECT_EQ(parsed->timestamps, std::nullopt);
  EXPECT_EQ(payload_of(*parsed), to_bytes("hello"));
}

TEST(ParseTcpFrame, EachFlagIsItsBit) {
  struct Row {
    unsigned bit;
    bool TcpSegment::* flag;
  };
  const std::vector<Row> rows = {{0x001, &TcpSegment::fin}, {0x002, &TcpSegment::syn}, {0x004, &TcpSegment::rst},
                                 {0x008, &TcpSegment::psh}, {0x010, &TcpSegment::ack}, {0x040, &TcpSegment::ece},
                                 {0x080, &TcpSegment::cwr}, {0x100, &TcpSegment::ae}};
  for (const auto& row : rows) {
    auto content = tcp({}, {});
    content[12] = static_cast<std::uint8_t>(0x50 | row.bit >> 8);
    content[13] = static_cast<std::uint8_t>(row.bit);
    const auto parsed = parse_tcp_frame(ipv4_frame(content));
    ASSERT_TRUE(parsed);
    for (const auto& other : rows) EXPECT_EQ((*parsed).*other.flag, other.bit == row.bit) << row.bit << other.bit;
    const auto written = build_tcp_frame(*parsed);
    EXPECT_EQ(part(written, 46, 2), part(content, 12, 2));
  }
}

TEST(ParseTcpFrame, ThePayloadEndsWhereTheIpHeaderSays) {
  for (const auto& frame : {ipv4_frame(tcp({}, to_bytes("x"))), ipv6_frame(tcp({}, to_bytes("x")))}) {
    const auto padded = frame + Bytes(5, 0);
    for (const auto& parsed : {parse_tcp_frame(padded), parse_cut_tcp_frame(padded)}) {
      ASSERT_TRUE(parsed);
      EXPECT_EQ(payload_of(*parsed), to_bytes("x"));
    }
  }
}

TEST(ParseTcpFrame, ATruncatedFrameIsRefusedAtEveryLength) {
  for (const auto& frame :
       {ipv4_frame(tcp(timestamps_option, to_bytes("hello"))), ipv6_frame(tcp(timestamps_option, to_bytes("hello")))}) {
    for (std::size_t size = 0; size < frame.size(); ++size) {
      EXPECT_FALSE(parse_tcp_frame(part(frame, 0, size))) << size;
    }
    EXPECT_TRUE(parse_tcp_frame(frame));
  }
}

TEST(ParseTcpFrame, ACutFrameGivesThePayloadThatIsThereOnceItsHeadersAre) {
  const auto payload = to_bytes("hello");
  for (const auto& frame : {ipv4_frame(tcp(timestamps_option, payload)), ipv6_frame(tcp(timestamps_option, payload))}) {
    const auto headers = frame.size() - payload.size();
    for (std::size_t size = 0; size <= frame.size(); ++size) {
      const auto cut = part(frame, 0, size);
      const auto parsed = parse_cut_tcp_frame(cut);
      ASSERT_EQ(parsed.has_value(), size >= headers) << size;
      if (!parsed) continue;
      EXPECT_EQ(payload_of(*parsed), part(payload, 0, size - headers));
    }
  }
}

TEST(ParseTcpFrame, WhatContradictsItselfOrIsSomethingElseIsRefused) {
  struct Row {
    const char* what;
    std::size_t at;
    std::uint8_t value;
  };
  const auto refuses = [](const Bytes& sound, const Row& row) {
    ASSERT_TRUE(parse_tcp_frame(sound) && parse_cut_tcp_frame(sound));
    auto frame = sound;
    frame[row.at] = row.value;
    EXPECT_FALSE(parse_tcp_frame(frame)) << row.what;
    EXPECT_FALSE(parse_cut_tcp_frame(frame)) << row.what;
  };
  const auto content = tcp(timestamps_option, to_bytes("hello"));
  for (const Row& row : std::vector<Row>{{"ARP", 13, 0x06},
                                         {"a VLAN tag", 12, 0x81},
                                         {"IPv4 in the type, version 6", 14, 0x65},
                                         {"IPv4 options", 14, 0x46},
                                         {"an IPv4 header too short", 14, 0x44},
                                         {"a length within the IP header", 17, 19},
                                         {"a length within the TCP header", 17, 51},
                                         {"More Fragments", 20, 0x20},
                                         {"a fragment offset, high bits", 20, 0x10},
                                         {"a fragment offset, low bits", 21, 0x01},
                                         {"UDP", 23, 17},
                                         {"a data offset too short", 46, 0x40},
                                         {"a data offset past the segment", 46, 0xf0}}) {
    refuses(ipv4_frame(content), row);
  }
  for (const Row& row : std::vector<Row>{{"IPv6 in the type, version 4", 14, 0x4b},
                                         {"a length within the TCP header", 19, 31},
                                         {"a hop-by-hop header", 20, 0},
                                         {"a fragment header", 20, 44},
                                         {"UDP", 20, 17},
                                         {"a data offset too short", 66, 0x40}}) {
    refuses(ipv6_frame(content), row);
  }
  EXPECT_TRUE(parse_tcp_frame(ipv4_frame(content, {0, 0}))) << "Don't Fragment may be absent";
}

TEST(ParseTcpFrame, AMappedAddressInAnIpv6HeaderIsRefused) {
  for (const std::size_t at : {22, 38}) {
    auto frame = ipv6_frame(tcp({}, {}));
    const Bytes mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3};
    std::copy(mapped.begin(), mapped.end(), frame.begin() + at);
    EXPECT_FALSE(parse_tcp_frame(frame)) << at;
  }
}

TEST(ParseTcpFrame, TimestampsAreFoundAmongOtherOptions) {
  const auto timestamps = Bytes{8, 10} + u32(1) + u32(2);
  for (const auto& options : {Bytes{1, 1} + timestamps, Bytes{2, 4, 5, 180, 4, 2} + timestamps + Bytes{1, 3, 3, 7},
                              timestamps + Bytes{1, 1, 1, 1, 5, 10} + u32(9) + u32(11), timestamps + Bytes{0, 3},
                              Bytes{254, 4, 9, 9} + timestamps + Bytes{0, 0}}) {
    const auto frame = ipv4_frame(tcp(options, to_bytes("x")));
    const auto parsed = parse_tcp_frame(frame);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->timestamps, (TcpTimestamps{1, 2}));
    EXPECT_EQ(payload_of(*parsed), to_bytes("x"));
  }
}

TEST(ParseTcpFrame, AMalformedListOfOptionsGivesNoTimestamps) {
  const auto timestamps = Bytes{8, 10} + u32(1) + u32(2);
  const std::vector<Bytes> lists = {{0, 0, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2},  // behind the end of the list
                                    {8, 9, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1},
                                    {8, 11, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1},
                                    {1, 1, 1, 8},
                                    {1, 1, 8, 10},
                                    {1, 8, 10, 0},
                                    {8, 10, 0, 0, 0, 1, 0, 0},
                                    {5, 0, 1, 1},
                                    {5, 1, 1, 1},
                                    timestamps + Bytes{5, 0},
                                    timestamps + Bytes{1, 5},
                                    timestamps + Bytes{5, 3},
                                    timestamps + timestamps};
  for (const auto& options : lists) {
    const auto frame = ipv4_frame(tcp(options, to_bytes("x")));
    const auto parsed = parse_tcp_frame(frame);
    ASSERT_TRUE(parsed) << "the segment is still read";
    EXPECT_EQ(parsed->timestamps, std::nullopt) << testing::PrintToString(options);
    EXPECT_EQ(payload_of(*parsed), to_bytes("x"));
  }
}

TEST(BuildTcpFrame, WhatIsWrittenIsReadBack) {
  for (const std::size_t size : {0, 1, 2, 517, 1448, 65000}) {
    Bytes payload(size);
    std::mt19937 random(3);
    for (auto& byte : payload) byte = static_cast<std::uint8_t>(random());
    for (auto sent : {ipv4_segment(payload), ipv6_segment(payload)}) {
      for (const bool with_timestamps : {true, false}) {
        if (!with_timestamps) sent.timestamps.reset();
        const auto frame = build_tcp_frame(sent);
        const auto read = parse_tcp_frame(frame);
        ASSERT_TRUE(read);
        expect_same(*read, sent);
      }
    }
  }
}

TEST(BuildTcpFrame, BothChecksumsAreComplete) {
  std::mt19937 random(5);
  for (std::size_t size = 0; size < 200; ++size) {
    Bytes payload(size);
    for (auto& byte : payload) byte = static_cast<std::uint8_t>(size % 3 == 0 ? 0xff : random());
    auto ipv4 = ipv4_segment(payload);
    auto ipv6 = ipv6_segment(payload);
    ipv4.sequence = ipv6.sequence = static_cast<std::uint32_t>(random());
    EXPECT_EQ(ipv4_header_sum(build_tcp_frame(ipv4)), 0xffffU);
    EXPECT_EQ(tcp_sum_over_ipv4(build_tcp_frame(ipv4)), 0xffffU);
    EXPECT_EQ(tcp_sum_over_ipv6(build_tcp_frame(ipv6)), 0xffffU);
  }
}

TEST(BuildTcpFrame, TheLargestPacketOfOnesHasItsChecksum) {
  const Bytes payload(65535 - 20 - 32, 0xff);
  EXPECT_EQ(tcp_sum_over_ipv4(build_tcp_frame(ipv4_segment(payload))), 0xffffU);
}

TEST(BuildTcpFrame, AFrameIsAsWrittenByHand) {
  auto frame = build_tcp_frame(ipv4_segment(to_bytes("x")));
  EXPECT_EQ(part(frame, 0, 14), macs + u16(0x0800));
  EXPECT_EQ(part(frame, 14, 10), (Bytes{0x45, 0xb9, 0, 53, 0, 0, 0x40, 0, 64, 6})) << "DF, TTL 64";
  EXPECT_EQ(part(frame, 26, 8), ipv4_source + ipv4_destination);
  const auto ports_and_numbers = u16(40000) + u16(443) + u32(0xdeadbeef) + u32(0x01020304);
  EXPECT_EQ(part(frame, 34, 16), ports_and_numbers + u16(0x8018) + u16(0xfedc));
  EXPECT_EQ(part(frame, 52, 2), u16(0)) << "the urgent pointer";
  const auto options = u32(0x0101080a) + u32(0xcafebabe) + u32(0x0badf00d);
  EXPECT_EQ(part(frame, 54, 13), options + to_bytes("x"));
  EXPECT_EQ(frame.size(), 67U);

  frame = build_tcp_frame(ipv6_segment(to_bytes("x")));
  EXPECT_EQ(part(frame, 0, 14), macs + u16(0x86dd));
  EXPECT_EQ(part(frame, 14, 8), (Bytes{0x6b, 0x90, 0, 0, 0, 33, 6, 64}));
  EXPECT_EQ(part(frame, 22, 32), ipv6_source + ipv6_destination);
  EXPECT_EQ(frame.size(), 87U);
}

TEST(BuildTcpFrame, TheEthernetTypeIsThatOfTheAddresses) {
  auto sent = ipv6_segment({});
  sent.ethernet[12] = 0x08;
  sent.ethernet[13] = 0x00;
  EXPECT_EQ(part(build_tcp_frame(sent), 0, 14), macs + u16(0x86dd));
}

TEST(BuildTcpFrame, AnUrgentPointerDoesNotComeThrough) {
  auto content = tcp({}, to_bytes("x"));
  content[13] |= 0x20;
  const auto frame = ipv4_frame(content);
  const auto written = build_tcp_frame(parse_tcp_frame(frame).value());
  EXPECT_EQ(written[47], 0x18);
  EXPECT_EQ(part(written, 52, 2), u16(0));
}

TEST(BuildTcpFrame, WhatNoPacketHoldsIsNotWritten) {
  const Bytes fits_ipv4(65535 - 20 - 32);
  const Bytes fits_ipv6(65535 - 32);
  EXPECT_FALSE(build_tcp_frame(ipv4_segment(fits_ipv4)).empty());
  EXPECT_TRUE(build_tcp_frame(ipv4_segment(fits_ipv4 + u8(0))).empty());
  EXPECT_FALSE(build_tcp_frame(ipv6_segment(fits_ipv6)).empty());
  EXPECT_TRUE(build_tcp_frame(ipv6_segment(fits_ipv6 + u8(0))).empty());
  EXPECT_TRUE(build_tcp_frame(segment("10.1.2.3:1", "[fd00::1]:2", {})).empty()) << "two families";
}

TEST(WriteTcpFrame, ItWritesNoByteTooManyAndNoneWhenItDoesNotFit) {
  const auto payload = to_bytes("hello");
  for (const auto& sent : {ipv4_segment(payload), ipv6_segment(payload)}) {
    const auto frame = build_tcp_frame(sent);
    for (std::size_t room = 0; room < frame.size() + 8; ++room) {
      Bytes buffer(frame.size() + 16, 0xee);
      const auto written = write_tcp_frame(sent, std::span(buffer).first(room));
      const auto expected = room < frame.size() ? Bytes{} : frame;
      ASSERT_EQ(written, expected.size()) << room;
      EXPECT_EQ(buffer, expected + Bytes(buffer.size() - expected.size(), 0xee)) << room;
    }
  }
}

// Frames with random bytes changed, and cut: whatever is read lies within the frame and can be written again.
TEST(ParseTcpFrame, WhateverComesIsReadWithinItsBounds) {
  std::mt19937 random(17);
  const std::vector<Bytes> seeds = {ipv4_frame(tcp(timestamps_option, to_bytes("hello"))),
                                    ipv6_frame(tcp(timestamps_option, to_bytes("hello"))),
                                    ipv4_frame(tcp(Bytes(40, 1), {}))};
  std::size_t read = 0;
  for (int round = 0; round < 200'000; ++round) {
    const auto& seed = seeds[random() % seeds.size()];
    // Memory of exactly this size, so that a sanitizer sees a read past it.
    Bytes frame = part(seed, 0, random() % 4 == 0 ? random() % (seed.size() + 1) : seed.size());
    for (auto changes = random() % 4; changes > 0 && !frame.empty(); --changes) {
      frame[random() % frame.size()] = static_cast<std::uint8_t>(random());
    }
    const auto whole = parse_tcp_frame(frame);
    const auto cut = parse_cut_tcp_frame(frame);
    ASSERT_TRUE(cut || !whole);
    if (!cut) continue;
    ++read;
    if (whole) expect_same(*whole, *cut);
    ASSERT_GE(cut->payload.data(), frame.data() + 54);
    ASSERT_LE(cut->payload.data() + cut->payload.size(), frame.data() + frame.size());
    const auto again_frame = build_tcp_frame(*cut);
    const auto again = parse_tcp_frame(again_frame);
    ASSERT_TRUE(again);
    expect_same(*again, *cut);
  }
  EXPECT_GT(read, 10'000U) << "the claim was about something";
}

TEST(SequenceNumbers, AreComparedModuloTheirRange) {
  EXPECT_TRUE(sequence_before(1, 2));
  EXPECT_FALSE(sequence_before(2, 1));
  EXPECT_FALSE(sequence_before(7, 7));
  EXPECT_TRUE(sequence_before(0xffffffff, 0));
  EXPECT_TRUE(sequence_before(0xfffffff0, 0x10));
  EXPECT_FALSE(sequence_before(0x10, 0xfffffff0));
  EXPECT_TRUE(sequence_before(0, 0x7fffffff));
  EXPECT_FALSE(sequence_before(0, 0x80000001));
  EXPECT_EQ(sequence_distance(0xfffffff0, 0x10), 32);
  EXPECT_EQ(sequence_distance(0x10, 0xfffffff0), -32);
  EXPECT_EQ(sequence_distance(5, 5), 0);
  EXPECT_EQ(sequence_distance(0, 0x7fffffff), std::numeric_limits<std::int32_t>::max());
}

}  // namespace
}  // namespace sluice::wire
