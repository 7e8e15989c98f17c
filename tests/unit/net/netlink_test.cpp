// Each test has a network namespace of its own.
#include "net/netlink.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "base/fd.h"

namespace sluice::net {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::UnorderedElementsAre;

constexpr std::uint32_t mark = 0x51000000;
constexpr std::uint32_t mask = 0xff000000;
constexpr int event_timeout_ms = 2000;

// Runs a shell command in the current namespace; its output, or a failed test.
std::string run(const std::string& command) {
  std::string output;
  auto* pipe = ::popen(("exec 2>&1; " + command).c_str(), "r");
  if (pipe == nullptr) {
    ADD_FAILURE() << command << ": no shell";
    return output;
  }
  char buffer[4096];
  while (const auto count = std::fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, count);
  const int status = ::pclose(pipe);
  EXPECT_EQ(WEXITSTATUS(status), 0) << command << "\n" << output;
  return output;
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> result;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    line.erase(line.find_last_not_of(" \t") + 1);
    std::replace(line.begin(), line.end(), '\t', ' ');
    if (!line.empty()) result.push_back(line);
  }
  return result;
}

IpAddress ip(std::string_view text) {
  return *IpAddress::parse(text);
}

class Netlink : public ::testing::Test {
 protected:
  void SetUp() override {
    outside_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(outside_);
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "run as root";
    run("ip link set lo up");
  }
  void TearDown() override { ASSERT_EQ(::setns(outside_.get(), CLONE_NEWNET), 0); }

  NetlinkWatch::Handlers record() {
    return {.link_added = [this](const Link& link) { events.push_back("+" + link.name); },
            .link_removed = [this](unsigned ifindex) { events.push_back("-" + std::to_string(ifindex)); },
            .addresses_changed = [this] { ++address_changes; },
            .routes_changed = [this] { ++route_changes; }};
  }

  static std::unique_ptr<NetlinkWatch> open(NetlinkWatch::Handlers handlers) {
    auto watch = NetlinkWatch::open(std::move(handlers));
    EXPECT_TRUE(watch) << (watch ? "" : watch.error().message());
    return watch ? *std::move(watch) : nullptr;
  }

  // Dispatches until nothing waits. The first event must be there at once: the commands that cause it have ended.
  static void dispatch(NetlinkWatch& watch) {
    pollfd poll_fd{watch.fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&poll_fd, 1, event_timeout_ms), 1) << "no event";
    do {
      const auto done = watch.dispatch();
      ASSERT_TRUE(done) << done.error().message();
    } while (::poll(&poll_fd, 1, 0) == 1);
  }

  std::vector<std::string> events;
  int address_changes = 0;
  int route_changes = 0;

 private:
  UniqueFd outside_;
};

using NetlinkWatchTest = Netlink;

TEST_F(NetlinkWatchTest, links_that_exist_are_reported_by_open) {
  run("ip link add pod0 type veth peer name peer0");
  const auto watch = open(record());
  EXPECT_THAT(events, IsSupersetOf({"+lo", "+pod0", "+peer0"}));
}

TEST_F(NetlinkWatchTest, a_new_link_a_rename_and_a_removal_are_each_reported_once) {
  const auto watch = open(record());
  events.clear();
  run("ip link add pod0 type veth peer name peer0");
  dispatch(*watch);
  EXPECT_THAT(events, UnorderedElementsAre("+pod0", "+peer0"));

  const auto pod = *ifindex_of("pod0");
  const auto peer = *ifindex_of("peer0");
  events.clear();
  run("ip link set pod0 name pod1 && ip link set pod1 up && ip link set peer0 up && ip link set pod1 mtu 1400");
  dispatch(*watch);
  EXPECT_THAT(events, ElementsAre("+pod1"));

  events.clear();
  run("ip link del pod1");
  dispatch(*watch);
  EXPECT_THAT(events, UnorderedElementsAre("-" + std::to_string(pod), "-" + std::to_string(peer)));
}

TEST_F(NetlinkWatchTest, a_link_that_leaves_a_bridge_is_not_removed) {
  run("ip link add bridge0 type bridge && ip link add pod0 type veth peer name peer0");
  run("ip link set pod0 master bridge0");
  const auto watch = open(record());
  events.clear();
  run("ip link set pod0 nomaster");
  dispatch(*watch);
  EXPECT_THAT(events, IsEmpty());
}

TEST_F(NetlinkWatchTest, a_link_moved_to_another_namespace_is_removed) {
  run("ip link add pod0 type veth peer name peer0");
  const auto watch = open(record());
  const auto peer = *ifindex_of("peer0");
  events.clear();
  run("unshare -n sleep 60 & pid=$!; until [ \"$(readlink /proc/$pid/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; "
      "do :; done;"
      " ip link set peer0 netns $pid; code=$?; kill $pid; exit $code");
  dispatch(*watch);
  EXPECT_THAT(events, Contains("-" + std::to_string(peer)));
}

TEST_F(NetlinkWatchTest, links_of_other_namespaces_are_not_reported) {
  const auto watch = open(record());
  events.clear();
  run("unshare -n ip link add foreign0 type veth peer name foreign1");
  run("ip link add own0 type veth peer name own1");
  dispatch(*watch);
  EXPECT_THAT(events, UnorderedElementsAre("+own0", "+own1"));
}

TEST_F(NetlinkWatchTest, address_route_and_rule_changes_are_reported_once_a_dispatch) {
  run("ip link add pod0 type veth peer name peer0 && ip link set pod0 up && ip link set peer0 up");
  const auto watch = open(record());
  events.clear();
  ASSERT_TRUE(watch->dispatch());
  address_changes = route_changes = 0;
  run("ip address add 10.1.0.1/24 dev pod0 && ip -6 address add fd01::1/64 dev pod0 nodad");
  ASSERT_TRUE(watch->dispatch());
  EXPECT_EQ(address_changes, 1);
  for (const auto* change : {"ip route add 10.9.0.0/16 dev pod0", "ip -6 route add fd09::/64 dev pod0",
                             "ip rule add fwmark 1 table 9", "ip -6 rule del pref 32766"}) {
    route_changes = 0;
    run(change);
    ASSERT_TRUE(watch->dispatch());
    EXPECT_EQ(route_changes, 1) << change;
  }
  EXPECT_THAT(events, IsEmpty());
}

TEST_F(NetlinkWatchTest, lost_events_are_made_up_for_by_listing_anew) {
  run("ip link add gone0 type veth peer name gone1 && ip link add kept0 type veth peer name kept1");
  const auto gone = *ifindex_of("gone0");
  const auto watch = open(record());
  events.clear();
  const int tiny = 1;  // the kernel makes it its minimum, a few messages
  ASSERT_EQ(::setsockopt(watch->fd(), SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny), 0);

  // brief0 is announced before the buffer is full, its end after; late0 and the end of gone0 are lost, too.
  run("ip link add brief0 type veth peer name brief1; ip link add filler0 type veth peer name filler1;"
      "for i in $(seq 40); do ip link set filler0 mtu $((1300 + i)); done; ip link del brief0; ip link del gone0;"
      "ip link add late0 type veth peer name late1");
  address_changes = route_changes = 0;
  dispatch(*watch);

  EXPECT_THAT(events, IsSupersetOf({"-" + std::to_string(gone), std::string("+late0"), std::string("+kept0")}));
  EXPECT_EQ(address_changes, 1);
  EXPECT_EQ(route_changes, 1);
  const auto briefs =
      std::count_if(events.begin(), events.end(), [](const auto& e) { return e.starts_with("+brief"); });
  const auto removed = std::count_if(events.begin(), events.end(), [](const auto& e) { return e[0] == '-'; });
  EXPECT_GE(briefs, 1) << "was to be announced before the buffer was full, or its removal is not tested";
  EXPECT_EQ(removed, 2 + briefs) << "gone0, gone1 and what was announced of brief0, brief1";
}

TEST_F(NetlinkWatchTest, a_flood_of_links_loses_none) {
  const auto watch = open(record());
  events.clear();
  run("for i in $(seq 150); do echo link add pod$i type veth peer name peer$i; done | ip -batch -");
  dispatch(*watch);
  EXPECT_EQ(events.size(), 300U);
}

using NetlinkQueries = Netlink;

TEST_F(NetlinkQueries, local_addresses_are_ours_and_full_length) {
  run("ip link add pod0 type veth peer name peer0 && ip link set pod0 up && ip link set peer0 up");
  run("ip address add 10.1.0.1/24 dev pod0 && ip address add 10.2.0.1 peer 10.2.0.2 dev pod0");
  run("ip -6 address add fd01::1/64 dev pod0 nodad");
  const auto found = local_addresses();
  ASSERT_TRUE(found) << found.error().message();
  std::vector<std::string> text;
  for (const auto& cidr : *found) text.push_back(cidr.to_string());
  EXPECT_THAT(text, IsSupersetOf({"127.0.0.1/32", "::1/128", "10.1.0.1/32", "10.2.0.1/32", "fd01::1/128"}));
  EXPECT_THAT(text, ::testing::Not(Contains("10.2.0.2/32")));
}

TEST_F(NetlinkQueries, route_interface_follows_the_longest_prefix) {
  run("ip link add near0 type veth peer name far0 && ip link set near0 up && ip link set far0 up");
  run("ip address add 10.1.0.1/24 dev near0 && ip address add 10.2.0.1/24 dev far0");
  run("ip route add default via 10.1.0.9 && ip route add 198.51.100.0/24 dev far0");
  run("ip -6 address add fd01::1/64 dev near0 nodad && ip -6 route add 2001:db8::/32 dev far0");
  EXPECT_EQ(**route_interface(ip("203.0.113.1")), *ifindex_of("near0"));
  EXPECT_EQ(**route_interface(ip("198.51.100.1")), *ifindex_of("far0"));
  EXPECT_EQ(**route_interface(ip("2001:db8::1")), *ifindex_of("far0"));
  EXPECT_EQ(**route_interface(ip("10.1.0.1")), *ifindex_of("lo")) << "our own address";
}

TEST_F(NetlinkQueries, an_address_without_a_route_has_no_interface) {
  run("ip route add unreachable 192.0.2.0/25 && ip route add blackhole 192.0.2.128/25 && ip route add prohibit "
      "198.51.100.0/24 && ip -6 route add blackhole 2001:db8:1::/48 && ip -6 route add unreachable 2001:db8:2::/48");
  for (const auto* address :
       {"203.0.113.1", "192.0.2.1", "192.0.2.129", "198.51.100.1", "2001:db8::1", "2001:db8:1::1", "2001:db8:2::1"}) {
    const auto found = route_interface(ip(address));
    ASSERT_TRUE(found) << address << ": " << found.error().message();
    EXPECT_FALSE(*found) << address;
  }
}

TEST_F(NetlinkQueries, routed_addresses_are_the_pods_behind_that_interface) {
  run("ip link add pod0 type veth peer name in0 && ip link add pod1 type veth peer name in1");
  run("for link in pod0 in0 pod1 in1; do ip link set $link up; done");
  run("ip address add 169.254.1.1/32 dev pod0 && ip -6 address add fd00::1/128 dev pod0 nodad");
  run("ip route add 10.1.0.2/32 dev pod0 && ip route add 10.1.0.3/32 dev pod1 && ip route add 10.1.1.0/24 dev pod0");
  run("ip -6 route add fd01::2/128 dev pod0 && ip -6 route add fd01::3/128 dev pod1");
  run("ip route add 10.1.0.4/32 dev pod0 table 77");
  const auto found = routed_addresses(*ifindex_of("pod0"));
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_THAT(*found, UnorderedElementsAre(ip("10.1.0.2"), ip("fd01::2"), ip("10.1.0.4")));
}

TEST_F(NetlinkQueries, an_interface_that_does_not_exist_has_no_routed_addresses) {
  const auto found = routed_addresses(4000);
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_THAT(*found, IsEmpty());
  EXPECT_FALSE(ifindex_of("nowhere0"));
  EXPECT_FALSE(ifindex_of("a-name-longer-than-the-kernel-allows"));
  EXPECT_EQ(ifindex_of("lo"), 1U);
}

using RelayRoutes = Netlink;

std::string everything() {
  return run("for family in 4 6; do ip -$family rule show; ip -$family route show table all; done");
}

TEST_F(RelayRoutes, adding_twice_is_adding_once) {
  for (int i = 0; i < 2; ++i) {
    const auto done = add_relay_routes(mark, mask);
    ASSERT_TRUE(done) << done.error().message();
  }
  for (const std::string family : {"-4", "-6"}) {
    const auto rules = lines(run("ip " + family + " rule show"));
    ASSERT_GE(rules.size(), 4U);
    EXPECT_EQ(rules[0], "0: from all lookup local");
    EXPECT_EQ(rules[1], "100: from all fwmark 0x51000000/0xff000000 lookup 20942");
    EXPECT_EQ(rules[2], "101: from all fwmark 0x51000000/0xff000000 unreachable");
    EXPECT_THAT(rules[3], HasSubstr("32766: from all lookup main"));
    const auto routes = lines(run("ip " + family + " route show table 20942"));
    ASSERT_EQ(routes.size(), 1U);
    EXPECT_THAT(routes[0], HasSubstr("local default dev lo"));
  }
}

TEST_F(RelayRoutes, removing_leaves_nothing_and_may_be_repeated) {
  run("ip rule add fwmark 1 table 9 pref 100");
  const auto before = everything();
  ASSERT_TRUE(add_relay_routes(mark, mask));
  run("ip rule add fwmark 0x51000000/0xff000000 pref 100 lookup 20942 protocol 99");  // a duplicate from elsewhere
  ASSERT_NE(everything(), before);
  for (int i = 0; i < 2; ++i) {
    const auto done = remove_relay_routes(mark, mask);
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_EQ(everything(), before);
  }
}

TEST_F(RelayRoutes, what_someone_took_away_is_put_back) {
  ASSERT_TRUE(add_relay_routes(mark, mask));
  const auto whole = everything();
  for (const auto* damage : {"ip rule del pref 100", "ip -6 rule del pref 101", "ip route flush table 20942",
                             "ip -6 route flush table 20942", "ip route replace unreachable default table 20942"}) {
    run(damage);
    ASSERT_NE(everything(), whole) << damage;
    ASSERT_TRUE(add_relay_routes(mark, mask));
    EXPECT_EQ(everything(), whole) << damage;
  }
}

TEST_F(RelayRoutes, adding_what_is_there_causes_no_event) {
  ASSERT_TRUE(add_relay_routes(mark, mask));
  const auto watch = open(record());
  ASSERT_TRUE(add_relay_routes(mark, mask));
  ASSERT_TRUE(watch->dispatch());
  EXPECT_EQ(route_changes, 0);
  run("ip rule del pref 100");
  ASSERT_TRUE(watch->dispatch());
  EXPECT_EQ(route_changes, 1);
}

// What routing makes of a packet to `address` that arrives by pod0.
std::string route_of(const std::string& family, const std::string& address, const std::string& from,
                     const std::string& packet_mark) {
  return run("ip " + family + " route get " + address + " from " + from + " iif pod0 mark " + packet_mark + " || true");
}

TEST_F(RelayRoutes, marked_packets_are_delivered_locally_and_others_are_not) {
  run("ip link add pod0 type veth peer name in0 && ip link set pod0 up && ip link set in0 up");
  run("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up");
  run("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
  run("ip address add 10.1.0.1/24 dev pod0 && ip address add 10.2.0.1/24 dev up0 && ip route add default via 10.2.0.9");
  run("ip -6 address add fd01::1/64 dev pod0 nodad && ip -6 route add default dev up0");
  ASSERT_TRUE(add_relay_routes(mark, mask));
  EXPECT_THAT(route_of("-4", "203.0.113.1", "10.1.0.2", "0x51000007"), HasSubstr("local 203.0.113.1"));
  EXPECT_THAT(route_of("-6", "2001:db8::1", "fd01::2", "0x51000007"), HasSubstr("dev lo"));
  EXPECT_THAT(route_of("-4", "203.0.113.1", "10.1.0.2", "0x52000007"), HasSubstr("dev up0"));
  EXPECT_THAT(route_of("-6", "2001:db8::1", "fd01::2", "0x52000007"), HasSubstr("dev up0"));
}

TEST_F(RelayRoutes, marked_packets_never_reach_the_main_table_even_without_the_route) {
  run("ip link add pod0 type veth peer name in0 && ip link set pod0 up && ip link set in0 up");
  run("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
  run("ip address add 10.1.0.1/24 dev pod0 && ip route add default via 10.1.0.9");
  run("ip -6 address add fd01::1/64 dev pod0 nodad && ip -6 route add default dev pod0");
  ASSERT_TRUE(add_relay_routes(mark, mask));
  run("ip route flush table 20942 && ip -6 route flush table 20942");
  EXPECT_THAT(route_of("-4", "203.0.113.1", "10.1.0.2", "0x51000007"), HasSubstr("unreachable"));
  EXPECT_THAT(route_of("-6", "2001:db8::1", "fd01::2", "0x51000007"), HasSubstr("unreachable"));
}

TEST_F(RelayRoutes, a_lo_that_is_down_is_said_to_be) {
  run("ip link set lo down");
  const auto done = add_relay_routes(mark, mask);
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message(), HasSubstr("ip link set lo up"));
  run("ip link set lo up");
  EXPECT_TRUE(add_relay_routes(mark, mask));
}

TEST_F(RelayRoutes, ipv6_disabled_on_lo_leaves_ipv4_working_and_marked_ipv6_refused) {
  run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
  const auto done = add_relay_routes(mark, mask);
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_THAT(run("ip route show table 20942"), HasSubstr("local default dev lo"));
  EXPECT_THAT(run("ip -6 rule show"), HasSubstr("fwmark 0x51000000/0xff000000 unreachable"));
  ASSERT_TRUE(remove_relay_routes(mark, mask));
  EXPECT_THAT(run("ip -6 rule show"), ::testing::Not(HasSubstr("fwmark")));
}

}  // namespace
}  // namespace sluice::net
