#include "serving/live.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>

namespace sluice::serving {
namespace {

const IpAddress pod_a = *IpAddress::parse("10.1.0.10");
const IpAddress pod_b = *IpAddress::parse("10.1.0.11");

// A connection to `host` on port 443.
class FakeCall final : public Live {
 public:
  explicit FakeCall(std::string host) : host_(std::move(host)) {}

  Flow flow() const override {
    Flow flow;
    flow.host = host_;
    return flow;
  }
  bool still_allowed(const Snapshot& snapshot) const override {
    return snapshot.decide({"default", pod_a, 443, Sniffed::tls, host_}).allowed();
  }
  void cut(std::string_view why) override { cut_by = why; }

  std::string cut_by;

 private:
  std::string host_;
};

std::shared_ptr<const Snapshot> allowing(std::vector<std::string> hosts) {
  Service service;
  service.namespace_name = "default";
  service.name = "entry";
  service.hosts = std::move(hosts);
  service.ports = {{443, 443, Protocol::tls, "tls"}};
  return Snapshot::compile({.services = {service}});
}

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::size_t plenty = 1000;

// A place for a connection of `source` at `now_ns`; nullopt when a limit is reached.
std::optional<LiveTable::Place> enter(LiveTable& table, Live& live, const IpAddress& source, std::uint64_t now_ns = 0) {
  auto admitted = table.admit(live, now_ns);
  auto* place = std::get_if<LiveTable::Place>(&admitted);
  if (!place || !place->claim(source, now_ns).empty()) return std::nullopt;
  return std::move(*place);
}

TEST(LiveTable, cuts_those_of_the_sources_that_are_gone) {
  LiveTable table({.connections = 4, .connections_per_source = 4, .rate = plenty, .rate_per_source = plenty});
  FakeCall of_a("a");
  FakeCall of_b("b");
  FakeCall of_nobody("c");
  const auto first = enter(table, of_a, pod_a);
  const auto second = enter(table, of_b, pod_b);
  const auto unclaimed = table.admit(of_nobody, 0);
  table.cut_of({pod_b}, "pod_gone");
  EXPECT_EQ(of_a.cut_by, "");
  EXPECT_EQ(of_b.cut_by, "pod_gone");
  EXPECT_EQ(of_nobody.cut_by, "");
}

TEST(LiveTable, admits_up_to_its_limit_and_again_when_a_place_is_free) {
  LiveTable table({.connections = 2, .connections_per_source = 2, .rate = plenty, .rate_per_source = plenty});
  FakeCall one("a");
  FakeCall two("b");
  FakeCall three("c");
  const auto first = enter(table, one, pod_a);
  auto second = enter(table, two, pod_b);
  EXPECT_TRUE(first && second);
  EXPECT_FALSE(enter(table, three, pod_a));
  second.reset();
  EXPECT_TRUE(enter(table, three, pod_a));
  EXPECT_EQ(table.size(), 1U);
}

TEST(LiveTable, lets_one_source_take_its_share_and_no_more) {
  LiveTable table({.connections = 10, .connections_per_source = 1, .rate = plenty, .rate_per_source = plenty});
  FakeCall one("a");
  FakeCall two("b");
  auto first = enter(table, one, pod_a);
  EXPECT_FALSE(enter(table, two, pod_a));
  EXPECT_TRUE(enter(table, two, pod_b));
  first.reset();
  EXPECT_TRUE(enter(table, two, pod_a));
}

TEST(LiveTable, counts_a_connection_before_its_source_is_known) {
  LiveTable table({.connections = 1, .connections_per_source = 1, .rate = plenty, .rate_per_source = plenty});
  FakeCall one("a");
  FakeCall two("b");
  const auto unknown = table.admit(one, 0);
  EXPECT_TRUE(std::holds_alternative<LiveTable::Place>(unknown));
  EXPECT_TRUE(std::holds_alternative<std::string_view>(table.admit(two, 0)));
  EXPECT_EQ(table.size(), 1U);
}

TEST(LiveTable, does_not_count_a_refused_admission) {
  LiveTable table({.connections = 2, .connections_per_source = 1, .rate = plenty, .rate_per_source = plenty});
  FakeCall one("a");
  FakeCall two("b");
  const auto first = enter(table, one, pod_a);
  for (int attempt = 0; attempt < 5; ++attempt) EXPECT_FALSE(enter(table, two, pod_a));
  EXPECT_EQ(table.size(), 1U);
  EXPECT_EQ(table.flows().size(), 1U);
}

TEST(LiveTable, admits_so_many_a_second_of_one_source_and_of_all) {
  LiveTable table({.connections = plenty, .connections_per_source = plenty, .rate = 5, .rate_per_source = 3});
  FakeCall call("a");
  const auto admitted = [&](const IpAddress& source, std::uint64_t now_ns) {
    int count = 0;
    for (int attempt = 0; attempt < 10; ++attempt) count += enter(table, call, source, now_ns) ? 1 : 0;
    return count;
  };
  EXPECT_EQ(admitted(pod_a, second_ns), 3) << "its own second's worth";
  EXPECT_EQ(admitted(pod_b, second_ns), 2) << "what is left for all; what the first pod tried in vain takes nothing";
  EXPECT_EQ(admitted(pod_b, 2 * second_ns), 3);
  EXPECT_EQ(admitted(pod_a, 2 * second_ns + second_ns / 5), 3) << "a fifth of a second brings one of five to all";
}

TEST(LiveTable, keeps_a_place_while_it_is_moved) {
  LiveTable table({.connections = 1, .connections_per_source = 1, .rate = plenty, .rate_per_source = plenty});
  FakeCall one("a");
  std::optional<LiveTable::Place> kept;
  {
    auto place = enter(table, one, pod_a);
    kept.emplace(std::move(*place));
  }
  EXPECT_EQ(table.size(), 1U);
  kept.reset();
  EXPECT_EQ(table.size(), 0U);
}

TEST(LiveTable, lists_the_flows_of_all) {
  LiveTable table({.connections = 2, .connections_per_source = 2, .rate = plenty, .rate_per_source = plenty});
  FakeCall one("a.example");
  FakeCall two("b.example");
  const auto first = enter(table, one, pod_a);
  const auto second = enter(table, two, pod_a);
  std::vector<std::string> hosts;
  for (const auto& flow : table.flows()) hosts.push_back(flow.host);
  std::sort(hosts.begin(), hosts.end());
  EXPECT_EQ(hosts, (std::vector<std::string>{"a.example", "b.example"}));
}

TEST(LiveTable, cuts_what_a_new_policy_does_not_allow_and_nothing_else) {
  LiveTable table({.connections = 2, .connections_per_source = 2, .rate = plenty, .rate_per_source = plenty});
  FakeCall stays("stays.example");
  FakeCall goes("goes.example");
  const auto first = enter(table, stays, pod_a);
  const auto second = enter(table, goes, pod_a);
  EXPECT_EQ(table.recheck(*allowing({"stays.example", "goes.example"})), 0U);
  EXPECT_EQ(table.recheck(*allowing({"stays.example"})), 1U);
  EXPECT_EQ(stays.cut_by, "");
  EXPECT_EQ(goes.cut_by, "policy_changed");
}

// Its place goes with the cut, as a call's does when its sockets close at once.
class SelfRemovingCall final : public Live {
 public:
  Flow flow() const override { return {}; }
  bool still_allowed(const Snapshot&) const override { return false; }
  void cut(std::string_view) override { place.reset(); }

  std::optional<LiveTable::Place> place;
};

TEST(LiveTable, survives_calls_that_leave_while_they_are_cut) {
  LiveTable table({.connections = 100, .connections_per_source = 100, .rate = plenty, .rate_per_source = plenty});
  std::vector<SelfRemovingCall> calls(50);
  for (auto& call : calls) call.place.emplace(*enter(table, call, pod_a));
  EXPECT_EQ(table.recheck(*allowing({})), 50U);
  EXPECT_EQ(table.size(), 0U);
}

TEST(LiveTable, cuts_all_for_the_reason_given) {
  LiveTable table({.connections = 2, .connections_per_source = 2, .rate = plenty, .rate_per_source = plenty});
  FakeCall one("a");
  FakeCall two("b");
  const auto first = enter(table, one, pod_a);
  const auto second = enter(table, two, pod_b);
  table.cut_all("draining");
  EXPECT_EQ(one.cut_by, "draining");
  EXPECT_EQ(two.cut_by, "draining");
}

}  // namespace
}  // namespace sluice::serving
