// Claims about what the agent writes into the maps, and that a failure leaves what was there.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "support/opened.h"

namespace sluice::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Ports = PinnedMap<sluice_port_key, sluice_port>;
using Destinations = PinnedMap<sluice_destination_key, std::uint8_t>;
using Internals = PinnedMap<sluice_internal_key, std::uint8_t>;

sluice_address kernel_address(const IpAddress& address) {
  sluice_address out{};
  std::copy(address.bytes().begin(), address.bytes().end(), out.bytes);
  return out;
}

kernel::PortEntry by_address(std::uint16_t port, std::initializer_list<const char*> addresses) {
  return test::by_address(port, cidrs(addresses));
}

class Tables : public ::testing::Test {
 protected:
  // What a packet of the pod would find.
  std::optional<sluice_port> entry(std::uint16_t number, std::uint8_t protocol = IPPROTO_TCP) const {
    return ports_.find({.generation = lab_.config().generation, .port = number, .protocol = protocol, .zero = 0});
  }
  std::optional<std::uint8_t> port(std::uint16_t number, std::uint8_t protocol = IPPROTO_TCP) const {
    const auto found = entry(number, protocol);
    return found ? std::optional(found->kind) : std::nullopt;
  }
  bool registers(const char* address, std::uint16_t number, std::uint8_t protocol = IPPROTO_TCP) const {
    const sluice_port_key key{.generation = lab_.config().generation, .port = number, .protocol = protocol, .zero = 0};
    const sluice_destination_key destination{
        .prefix_length = 64 + 128, .port = key, .address = kernel_address(*IpAddress::parse(address))};
    return destinations_.find(destination).has_value();
  }
  bool is_internal(const char* address) const {
    const auto kind = internals_.find({.prefix_length = 128, .address = kernel_address(*IpAddress::parse(address))});
    return kind == SLUICE_INTERNAL;
  }
  void expect_one_generation() const {
    const auto generation = lab_.config().generation;
    for (const auto& key : ports_.keys()) EXPECT_EQ(key.generation, generation);
    for (const auto& key : destinations_.keys()) EXPECT_EQ(key.port.generation, generation);
  }

  Lab lab_;
  std::unique_ptr<kernel::Interception> kernel_ = lab_.open();
  Ports ports_{lab_.map_pin("ports")};
  Destinations destinations_{lab_.map_pin("destinations")};
  Internals internals_{lab_.map_pin("internals")};
};

TEST_F(Tables, no_policy_is_generation_zero) {
  EXPECT_EQ(lab_.config().generation, 0U);
  EXPECT_EQ(lab_.config().abi_version, static_cast<std::uint32_t>(SLUICE_ABI_VERSION));
  EXPECT_EQ((lab_.map<std::uint32_t, std::uint64_t>("heartbeats").find(0)), 0U);
}

TEST_F(Tables, ports_are_found_by_number_and_address) {
  ASSERT_DONE(kernel_->set_ports({any_address(443), by_address(5432, {"203.0.113.0/24", "2001:db8::7"})}));
  EXPECT_EQ(port(443), SLUICE_PORT_ANY_ADDRESS);
  EXPECT_EQ(port(5432), SLUICE_PORT_BY_ADDRESS);
  EXPECT_EQ(port(443, IPPROTO_UDP), std::nullopt);
  EXPECT_TRUE(registers("203.0.113.200", 5432));
  EXPECT_TRUE(registers("2001:db8::7", 5432));
  EXPECT_FALSE(registers("2001:db8::8", 5432));
  EXPECT_FALSE(registers("203.0.114.1", 5432));
  EXPECT_FALSE(registers("203.0.113.200", 443));
}

TEST_F(Tables, a_gated_port_says_so_with_its_gateway) {
  auto gated = any_address(443);
  gated.gated = true;
  gated.gateway = 7;
  auto opaque = by_address(5432, {"203.0.113.0/24"});
  opaque.gated = true;
  opaque.opaque = true;
  opaque.gateway = 9 << 16 | 5432;
  ASSERT_DONE(kernel_->set_ports({gated, opaque, any_address(80)}));
  const auto expect = [&](std::uint16_t number, int way, int opaque_calls, std::uint32_t gateway) {
    const auto found = entry(number);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->way, way);
    EXPECT_EQ(found->opaque, opaque_calls);
    EXPECT_EQ(found->gateway, gateway);
  };
  expect(443, SLUICE_WAY_GATE, 0, 7);
  expect(5432, SLUICE_WAY_GATE, 1, 9 << 16 | 5432);
  expect(80, SLUICE_WAY_RELAY, 0, 0);
}

TEST_F(Tables, addresses_of_a_gateway_are_kept_by_family) {
  const PinnedMap<std::uint32_t, sluice_gateway> gateways(lab_.map_pin("gateways"));
  auto& flows = kernel_->flows();
  ASSERT_DONE(flows.set_gateway(7, {*Endpoint::parse("10.0.0.9:15443"), *Endpoint::parse("[fd00::9]:15444"),
                                    *Endpoint::parse("10.0.0.8:15445")}));
  ASSERT_DONE(flows.set_gateway(8, {*Endpoint::parse("10.0.0.7:1")}));
  const auto v4 = gateways.find(14).value();
  ASSERT_EQ(v4.count, 2U);
  EXPECT_EQ(std::memcmp(&v4.addresses[1], IpAddress::parse("10.0.0.8")->bytes().data(), 16), 0);
  EXPECT_EQ(v4.ports[1], 15445);
  const auto v6 = gateways.find(15).value();
  ASSERT_EQ(v6.count, 1U);
  EXPECT_EQ(std::memcmp(&v6.addresses[0], IpAddress::parse("fd00::9")->bytes().data(), 16), 0);
  EXPECT_EQ(v6.ports[0], 15444);
  EXPECT_EQ(gateways.find(17).value().count, 0U) << "none of IPv6";
  ASSERT_DONE(flows.keep_gateways({8}));
  EXPECT_THAT(gateways.keys(), ::testing::UnorderedElementsAre(16, 17));
}

TEST_F(Tables, a_gateway_has_no_more_addresses_than_fit) {
  std::vector<Endpoint> many;
  for (std::uint16_t port = 1; port <= SLUICE_GATEWAY_ADDRESSES + 3; ++port) {
    many.push_back({*IpAddress::parse("10.0.0.9"), port});
  }
  ASSERT_DONE(kernel_->flows().set_gateway(7, many));
  const PinnedMap<std::uint32_t, sluice_gateway> gateways(lab_.map_pin("gateways"));
  EXPECT_EQ(gateways.find(14).value().count, static_cast<std::uint32_t>(SLUICE_GATEWAY_ADDRESSES));
}

TEST_F(Tables, a_host_has_one_number_which_outlives_the_agent) {
  const auto number_of = [&](const std::string& host) { return *kernel_->flows().number_of(host); };
  const auto number = number_of("api.example.com");
  EXPECT_EQ(number_of(""), 0U);
  EXPECT_EQ(number_of("api.example.com"), number);
  EXPECT_NE(number_of("api.example.org"), number);
  EXPECT_FALSE(kernel_->flows().number_of(std::string(256, 'x')));
  kernel_.reset();
  kernel_ = lab_.open();
  EXPECT_EQ(kernel_->flows().host(number), "api.example.com");
  EXPECT_EQ(kernel_->flows().host(0), "");
  EXPECT_EQ(kernel_->flows().host(number + 2), "");
}

TEST_F(Tables, a_new_generation_leaves_nothing_of_the_old_one) {
  ASSERT_DONE(kernel_->set_ports({any_address(443), by_address(5432, {"203.0.113.0/24"})}));
  const auto before = lab_.config().generation;
  ASSERT_DONE(kernel_->set_ports({any_address(80)}));
  EXPECT_NE(lab_.config().generation, before);
  EXPECT_EQ(port(80), SLUICE_PORT_ANY_ADDRESS);
  EXPECT_EQ(port(443), std::nullopt);
  EXPECT_THAT(ports_.keys(), SizeIs(1));
  EXPECT_THAT(destinations_.keys(), IsEmpty());
}

TEST_F(Tables, leftovers_of_a_crashed_process_never_come_into_force) {
  ASSERT_DONE(kernel_->set_ports({any_address(443)}));
  kernel_.reset();
  // The predecessor died while it wrote the next generation.
  const sluice_port_key half{
      .generation = lab_.config().generation + 1, .port = 22, .protocol = IPPROTO_TCP, .zero = 0};
  sluice_port any{};
  any.kind = SLUICE_PORT_ANY_ADDRESS;
  ports_.put(half, any);
  kernel_ = lab_.open();
  ASSERT_DONE(kernel_->set_ports({any_address(443)}));
  EXPECT_EQ(port(22), std::nullopt);
  expect_one_generation();
}

TEST_F(Tables, a_table_that_does_not_fit_leaves_the_old_one_in_force) {
  ASSERT_DONE(kernel_->set_ports({any_address(443), by_address(5432, {"203.0.113.0/24"})}));
  const auto before = lab_.config().generation;
  auto huge = by_address(5432, {});
  for (std::uint32_t n = 0; n <= SLUICE_MAX_DESTINATIONS; ++n) {
    const std::array<std::uint8_t, 4> bytes = {100, static_cast<std::uint8_t>(n >> 16),
                                               static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n)};
    huge.rule.addresses.push_back(*Cidr::make(*IpAddress::from_bytes(bytes), 32));
  }
  const auto done = kernel_->set_ports({any_address(80), huge});
  ASSERT_FALSE(done.ok());
  EXPECT_THAT(done.error().message(), HasSubstr("destinations is full"));
  EXPECT_EQ(lab_.config().generation, before);
  EXPECT_EQ(port(443), SLUICE_PORT_ANY_ADDRESS);
  EXPECT_TRUE(registers("203.0.113.9", 5432));
  expect_one_generation();
  // The next one that fits is published.
  ASSERT_DONE(kernel_->set_ports({any_address(80)}));
  EXPECT_EQ(port(80), SLUICE_PORT_ANY_ADDRESS);
  expect_one_generation();
}

TEST_F(Tables, udp_rules_before_any_ports_leave_the_predecessors_table_in_force) {
  ASSERT_DONE(kernel_->set_ports({any_address(443)}));
  kernel_.reset();
  kernel_ = lab_.open();
  const auto before = lab_.config().generation;
  ASSERT_DONE(kernel_->set_udp_rules({{.addresses = *Cidr::parse("198.51.100.0/24"), .port = 123}}));
  EXPECT_EQ(lab_.config().generation, before);
  EXPECT_EQ(port(443), SLUICE_PORT_ANY_ADDRESS);
  ASSERT_DONE(kernel_->set_ports({any_address(80)}));
  EXPECT_TRUE(registers("198.51.100.1", 123, IPPROTO_UDP));
}

TEST_F(Tables, udp_rules_and_ports_change_apart) {
  ASSERT_DONE(kernel_->set_ports({any_address(443)}));
  ASSERT_DONE(kernel_->set_udp_rules({{.addresses = *Cidr::parse("198.51.100.0/24"), .port = 123}}));
  EXPECT_EQ(port(443), SLUICE_PORT_ANY_ADDRESS);
  EXPECT_EQ(port(123, IPPROTO_UDP), SLUICE_PORT_BY_ADDRESS);
  EXPECT_TRUE(registers("198.51.100.1", 123, IPPROTO_UDP));
  EXPECT_FALSE(registers("198.51.101.1", 123, IPPROTO_UDP));
  EXPECT_FALSE(registers("198.51.100.1", 123, IPPROTO_TCP));
  ASSERT_DONE(kernel_->set_ports({any_address(80)}));
  EXPECT_TRUE(registers("198.51.100.1", 123, IPPROTO_UDP));
  ASSERT_DONE(kernel_->set_udp_rules({}));
  EXPECT_EQ(port(123, IPPROTO_UDP), std::nullopt);
  EXPECT_EQ(port(80), SLUICE_PORT_ANY_ADDRESS);
  expect_one_generation();
}

TEST_F(Tables, internal_is_what_the_longest_prefix_says) {
  ASSERT_DONE(kernel_->set_internal(cidrs({"10.0.0.0/8", "fd00::/8"}), cidrs({"10.1.2.3", "fd00::7"})));
  EXPECT_TRUE(is_internal("10.9.9.9"));
  EXPECT_TRUE(is_internal("fd12::1"));
  EXPECT_FALSE(is_internal("10.1.2.3"));
  EXPECT_FALSE(is_internal("fd00::7"));
  EXPECT_FALSE(is_internal("203.0.113.1"));
  EXPECT_FALSE(is_internal("2001:db8::1"));
}

TEST_F(Tables, internal_ranges_are_replaced_as_a_whole) {
  ASSERT_DONE(kernel_->set_internal(cidrs({"10.0.0.0/8"}), cidrs({"10.1.2.3"})));
  ASSERT_DONE(kernel_->set_internal(cidrs({"10.0.0.0/9", "10.1.2.3"}), cidrs({"10.5.0.0/16"})));
  EXPECT_TRUE(is_internal("10.1.2.3"));
  EXPECT_FALSE(is_internal("10.200.0.1"));
  EXPECT_FALSE(is_internal("10.5.0.1"));
  EXPECT_THAT(internals_.keys(), SizeIs(3));
}

TEST_F(Tables, an_exception_wins_over_the_same_range) {
  ASSERT_DONE(kernel_->set_internal(cidrs({"10.1.0.0/16"}), cidrs({"10.1.0.0/16"})));
  EXPECT_FALSE(is_internal("10.1.0.1"));
}

TEST_F(Tables, internal_ranges_that_do_not_fit_leave_the_old_ones) {
  ASSERT_DONE(kernel_->set_internal(cidrs({"10.0.0.0/8"}), cidrs({"10.1.2.3"})));
  std::vector<Cidr> huge;
  for (std::uint32_t n = 0; n <= SLUICE_MAX_INTERNALS; ++n) {
    const std::array<std::uint8_t, 4> bytes = {172, 16, static_cast<std::uint8_t>(n >> 8),
                                               static_cast<std::uint8_t>(n)};
    huge.push_back(*Cidr::make(*IpAddress::from_bytes(bytes), 32));
  }
  const auto done = kernel_->set_internal(huge, {});
  ASSERT_FALSE(done.ok());
  EXPECT_THAT(done.error().message(), HasSubstr("internals is full"));
  EXPECT_TRUE(is_internal("10.9.9.9"));
  EXPECT_FALSE(is_internal("10.1.2.3"));
  EXPECT_FALSE(is_internal("172.16.0.1"));
  EXPECT_THAT(internals_.keys(), SizeIs(2));
}

TEST_F(Tables, inbound_replies_are_a_flag_that_leaves_the_rest_alone) {
  ASSERT_DONE(kernel_->set_ports({any_address(443)}));
  const auto before = lab_.config();
  ASSERT_DONE(kernel_->set_inbound_replies(true));
  EXPECT_EQ(lab_.config().flags, static_cast<std::uint32_t>(SLUICE_INBOUND_REPLIES));
  EXPECT_EQ(lab_.config().generation, before.generation);
  ASSERT_DONE(kernel_->set_inbound_replies(false));
  EXPECT_EQ(lab_.config().flags, 0U);
}

TEST_F(Tables, the_heartbeat_is_the_programs_clock) {
  kernel_->beat();
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const auto now_ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
  const auto beat_ns = lab_.map<std::uint32_t, std::uint64_t>("heartbeats").find(0).value();
  EXPECT_LE(beat_ns, now_ns);
  EXPECT_LT(now_ns - beat_ns, SLUICE_HEARTBEAT_LIMIT_NS);
}

UniqueFd listener(int family) {
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  must(fd && ::listen(fd.get(), 8) == 0, "listen");
  return fd;
}

TEST_F(Tables, listeners_are_counted_by_family) {
  const auto v4_a = listener(AF_INET);
  const auto v4_b = listener(AF_INET);
  const auto v6_a = listener(AF_INET6);
  const auto v6_b = listener(AF_INET6);
  const std::array<int, 2> v4 = {v4_a.get(), v4_b.get()};
  const std::array<int, 2> v6 = {v6_a.get(), v6_b.get()};
  const PinnedMap<std::uint32_t, std::uint64_t> map(lab_.map_pin("listeners"));
  const auto has = [&](std::uint32_t index) { return map.find(index).has_value(); };

  ASSERT_DONE(kernel_->set_listeners(v4, v6));
  EXPECT_EQ(lab_.config().listener_count, 2U);
  for (const std::uint32_t index : {0, 1, SLUICE_MAX_LISTENERS + 0, SLUICE_MAX_LISTENERS + 1}) EXPECT_TRUE(has(index));

  ASSERT_DONE(kernel_->set_listeners(std::span(v4).first(1), {}));
  EXPECT_EQ(lab_.config().listener_count, 1U);
  EXPECT_TRUE(has(0));
  for (const std::uint32_t index : {1, SLUICE_MAX_LISTENERS + 0, SLUICE_MAX_LISTENERS + 1}) EXPECT_FALSE(has(index));

  EXPECT_FALSE(kernel_->set_listeners(v4, std::span(v6).first(1)).ok());
  EXPECT_EQ(lab_.config().listener_count, 1U);
}

TEST_F(Tables, more_listeners_than_there_is_room_for_are_refused) {
  const auto socket = listener(AF_INET);
  const std::vector<int> many(SLUICE_MAX_LISTENERS + 1, socket.get());
  EXPECT_FALSE(kernel_->set_listeners(many, {}).ok());
}

TEST_F(Tables, a_closed_listener_leaves_by_itself) {
  auto socket = listener(AF_INET);
  const std::array<int, 1> v4 = {socket.get()};
  ASSERT_DONE(kernel_->set_listeners(v4, {}));
  const PinnedMap<std::uint32_t, std::uint64_t> map(lab_.map_pin("listeners"));
  EXPECT_TRUE(map.find(0).has_value());
  socket.reset();
  EXPECT_FALSE(map.find(0).has_value());
}

class Counts : public Tables {
 protected:
  void count(unsigned ifindex, sluice_reason reason, std::uint64_t total) const {
    lab_.map<sluice_denial_key, std::uint64_t>("denials").put({ifindex, reason}, total);
  }
  // The sum for an interface, whatever the reason.
  std::uint64_t taken(unsigned ifindex) const {
    std::uint64_t sum = 0;
    for (const auto& row : kernel_->take_counts()) {
      if (row.ifindex == ifindex) sum += row.count;
    }
    return sum;
  }
};

TEST_F(Counts, are_taken_once_by_interface_and_reason) {
  ip_command({"link", "add", "pod0", "type", "veth", "peer", "name", "eth0"});
  const auto pod = ifindex("pod0");
  ASSERT_DONE(kernel_->attach_pod(pod, "pod0"));
  count(pod, SLUICE_REASON_PORT_NOT_REGISTERED, 5);
  const auto counts = kernel_->take_counts();
  ASSERT_THAT(counts, SizeIs(1));
  EXPECT_EQ(counts[0].ifindex, pod);
  EXPECT_EQ(counts[0].reason, Reason::port_not_registered);
  EXPECT_EQ(counts[0].count, 5U);
  EXPECT_THAT(kernel_->take_counts(), IsEmpty());
  count(pod, SLUICE_REASON_PORT_NOT_REGISTERED, 12);
  EXPECT_EQ(taken(pod), 7U);
}

TEST_F(Counts, taken_by_a_predecessor_are_not_taken_again) {
  ip_command({"link", "add", "pod0", "type", "veth", "peer", "name", "eth0"});
  const auto pod = ifindex("pod0");
  ASSERT_DONE(kernel_->attach_pod(pod, "pod0"));
  count(pod, SLUICE_REASON_UDP_NOT_ALLOWED, 5);
  EXPECT_EQ(taken(pod), 5U);
  kernel_.reset();
  count(pod, SLUICE_REASON_UDP_NOT_ALLOWED, 6);
  kernel_ = lab_.open();
  EXPECT_EQ(taken(pod), 1U);
}

TEST_F(Counts, of_a_forgotten_interface_can_still_be_taken_and_are_gone_then) {
  ip_command({"link", "add", "pod0", "type", "veth", "peer", "name", "eth0"});
  const auto pod = ifindex("pod0");
  ASSERT_DONE(kernel_->attach_pod(pod, "pod0"));
  count(pod, SLUICE_REASON_UDP_NOT_ALLOWED, 5);
  EXPECT_EQ(taken(pod), 5U);
  count(pod, SLUICE_REASON_UDP_NOT_ALLOWED, 8);
  ASSERT_DONE(kernel_->forget(pod));
  EXPECT_EQ(taken(pod), 3U);
  EXPECT_THAT((lab_.map<sluice_denial_key, std::uint64_t>("denials").keys()), IsEmpty());
  EXPECT_THAT((lab_.map<sluice_denial_key, std::uint64_t>("denials_taken").keys()), IsEmpty());
  // An interface that gets the same number later counts from the beginning.
  count(pod, SLUICE_REASON_UDP_NOT_ALLOWED, 2);
  EXPECT_EQ(taken(pod), 2U);
}

}  // namespace
}  // namespace sluice::test
