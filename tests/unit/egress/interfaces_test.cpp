#include "egress/interfaces.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "egress/audit_mode.h"

namespace sluice::egress {
namespace {

settings::Interception patterns(std::vector<std::string> pods, std::vector<std::string> uplinks) {
  settings::Interception settings;
  settings.pod_interfaces = std::move(pods);
  settings.uplinks = std::move(uplinks);
  return settings;
}

TEST(Classify, tells_pods_uplinks_and_others_apart_by_name) {
  const auto settings = patterns({"veth*", "cali[0-9]*"}, {"eth?"});
  EXPECT_EQ(classify("veth1234", settings), InterfaceKind::pod);
  EXPECT_EQ(classify("cali0a", settings), InterfaceKind::pod);
  EXPECT_EQ(classify("calico", settings), InterfaceKind::other);
  EXPECT_EQ(classify("eth0", settings), InterfaceKind::uplink);
  EXPECT_EQ(classify("eth10", settings), InterfaceKind::other);
  EXPECT_EQ(classify("lo", settings), InterfaceKind::other);
}

TEST(Classify, says_when_the_patterns_contradict_each_other) {
  EXPECT_EQ(classify("veth0", patterns({"veth*"}, {"v*"})), InterfaceKind::both);
}

settings::AgentSettings with_gateway(const std::string& address) {
  settings::AgentSettings settings;
  settings.egress.gateways = {{.name = "gateway", .addresses = {{*IpAddress::parse(address), 15443}}}};
  settings.interception.internal_cidrs = {*Cidr::parse("10.0.0.0/8")};
  return settings;
}

bool contains(const std::vector<Cidr>& ranges, const std::string& range) {
  return std::find(ranges.begin(), ranges.end(), *Cidr::parse(range)) != ranges.end();
}

TEST(InternalRanges, are_those_of_the_settings_and_the_nodes_own_each_once) {
  const auto ranges = internal_ranges(with_gateway("10.9.9.9"),
                                      {*Cidr::parse("192.0.2.1"), *Cidr::parse("192.0.2.1"), *Cidr::parse("fe80::1")});
  EXPECT_EQ(ranges.size(), 3U);
  EXPECT_TRUE(contains(ranges, "10.0.0.0/8"));
  EXPECT_TRUE(contains(ranges, "192.0.2.1"));
  EXPECT_TRUE(contains(ranges, "fe80::1"));
}

TEST(InternalRanges, never_hold_the_gateway_not_even_as_an_address_of_the_node) {
  EXPECT_FALSE(contains(internal_ranges(with_gateway("192.0.2.1"), {*Cidr::parse("192.0.2.1")}), "192.0.2.1"));
  EXPECT_FALSE(contains(internal_ranges(with_gateway("fd00::1"), {*Cidr::parse("fd00::1")}), "fd00::1"));
}

TEST(InternalRanges, hold_nothing_of_a_guarded_range) {
  auto settings = with_gateway("10.9.9.9");
  settings.interception.guarded_cidrs = {*Cidr::parse("192.0.2.0/24")};
  const auto ranges = internal_ranges(settings, {*Cidr::parse("192.0.2.1"), *Cidr::parse("198.51.100.1")});
  EXPECT_FALSE(contains(ranges, "192.0.2.1"));
  EXPECT_TRUE(contains(ranges, "198.51.100.1"));
  EXPECT_TRUE(contains(ranges, "10.0.0.0/8"));
  EXPECT_TRUE(contains(guarded_ranges(settings), "192.0.2.0/24"));
  EXPECT_TRUE(contains(guarded_ranges(settings), "10.9.9.9"));
}

TEST(AuditMode, holds_for_the_node_or_for_the_namespaces_that_are_listed) {
  settings::Egress settings;
  EXPECT_FALSE(is_audited(settings, "a"));
  settings.audit_namespaces = {"a"};
  EXPECT_TRUE(is_audited(settings, "a"));
  EXPECT_FALSE(is_audited(settings, "b"));
  EXPECT_FALSE(is_audited(settings, ""));
  settings.mode = settings::Mode::audit;
  EXPECT_TRUE(is_audited(settings, "b"));
}

}  // namespace
}  // namespace sluice::egress
