#include "serving/destination.h"

#include <gtest/gtest.h>

#include <map>

namespace sluice::serving {
namespace {

const Endpoint dialled = *Endpoint::parse("203.0.113.7:443");

// A service whose only port is 443, and a verdict that allowed by it.
struct Entry {
  Service service;
  TargetQuery query(const std::string& host, const Endpoint& original, std::uint64_t pick) const {
    return {&service, &service.ports.front(), host, original, pick, "eu/a/1", nullptr};
  }
};

Entry entry(Resolution resolution, Protocol protocol, std::vector<std::string> hosts) {
  Entry made;
  made.service.namespace_name = "default";
  made.service.name = "entry";
  made.service.hosts = std::move(hosts);
  made.service.ports = {{443, 443, protocol, "tls"}};
  made.service.resolution = resolution;
  return made;
}

std::string text(const Target& target) {
  return (target.address ? target.address->to_string() : target.name) + ":" + std::to_string(target.port);
}

std::vector<std::string> plan(const Entry& from, const std::string& host, std::uint64_t pick = 0,
                              const Endpoint& original = dialled) {
  std::vector<std::string> texts;
  for (const auto& target : plan_targets(from.query(host, original, pick))) texts.push_back(text(target));
  return texts;
}

using Texts = std::vector<std::string>;

TEST(PlanTargets, dials_the_name_that_was_judged_whatever_the_pod_dialled) {
  for (const auto resolution : {Resolution::none, Resolution::dns, Resolution::dynamic_dns}) {
    EXPECT_EQ(plan(entry(resolution, Protocol::tls, {"*.example"}), "a.example"), Texts{"a.example:443"});
  }
}

TEST(PlanTargets, dials_the_target_port) {
  auto from = entry(Resolution::dns, Protocol::https, {"a.example"});
  from.service.ports.front().target_port = 8443;
  EXPECT_EQ(plan(from, "a.example"), Texts{"a.example:8443"});
}

TEST(PlanTargets, never_takes_a_name_from_the_client_as_an_address) {
  auto from = entry(Resolution::none, Protocol::http, {"127.0.0.1"});
  const auto targets = plan_targets(from.query("127.0.0.1", dialled, 0));
  ASSERT_EQ(targets.size(), 1U);
  EXPECT_EQ(targets.front().address, std::nullopt);
  EXPECT_EQ(targets.front().name, "127.0.0.1");
}

TEST(PlanTargets, dials_the_endpoints_by_name_and_by_address) {
  auto from = entry(Resolution::static_, Protocol::tls, {"a.example"});
  from.service.endpoints = {{"203.0.113.14", {}, 1, "", {}}, {"backend.example", {}, 1, "", {}}};
  EXPECT_EQ(plan(from, "a.example"), (Texts{"203.0.113.14:443", "backend.example:443"}));
  EXPECT_EQ(plan(from, "a.example", 1), (Texts{"backend.example:443", "203.0.113.14:443"}));
}

TEST(PlanTargets, dials_an_endpoint_on_its_port_of_the_ports_name) {
  auto from = entry(Resolution::static_, Protocol::tls, {"a.example"});
  from.service.endpoints = {{"203.0.113.14", {{"other", 1}, {"tls", 9443}}, 1, "", {}},
                            {"203.0.113.15", {{"other", 1}}, 1, "", {}}};
  EXPECT_EQ(plan(from, "a.example"), (Texts{"203.0.113.14:9443", "203.0.113.15:443"}));
}

TEST(PlanTargets, begins_with_each_endpoint_as_often_as_its_weight_says) {
  auto from = entry(Resolution::static_, Protocol::tls, {"a.example"});
  from.service.endpoints = {
      {"203.0.113.1", {}, 3, "", {}}, {"203.0.113.2", {}, 0, "", {}}, {"203.0.113.3", {}, 1, "", {}}};
  std::map<std::string, int> first;
  for (std::uint64_t pick = 0; pick < 400; ++pick) ++first[plan(from, "a.example", pick).front()];
  EXPECT_EQ(first, (std::map<std::string, int>{{"203.0.113.1:443", 300}, {"203.0.113.3:443", 100}}));
  EXPECT_EQ(plan(from, "a.example").size(), 2U) << "weight 0 is never dialled";
}

TEST(PlanTargets, takes_the_dialled_address_only_as_one_that_the_service_lists_or_one_to_be_guarded) {
  auto from = entry(Resolution::none, Protocol::tcp, {"db.example"});
  auto targets = plan_targets(from.query("", dialled, 0));
  ASSERT_EQ(targets.size(), 1U);
  EXPECT_TRUE(targets.front().is_original) << "nobody but the pod names it";
  from.service.addresses = {*Cidr::parse("203.0.113.0/24")};
  targets = plan_targets(from.query("", dialled, 0));
  ASSERT_EQ(targets.size(), 1U);
  EXPECT_FALSE(targets.front().is_original);
  from.service.addresses = {*Cidr::parse("198.51.100.0/24")};
  EXPECT_TRUE(plan_targets(from.query("", dialled, 0)).empty());
}

TEST(PlanTargets, begins_with_the_endpoints_nearest_to_its_locality) {
  auto from = entry(Resolution::static_, Protocol::tls, {"a.example"});
  from.service.endpoints = {{"203.0.113.1", {}, 1, "us/a", {}},
                            {"203.0.113.2", {}, 1, "eu/b/1", {}},
                            {"203.0.113.3", {}, 1, "eu/a/2", {}},
                            {"203.0.113.4", {}, 1, "eu/a/1", {}},
                            {"203.0.113.5", {}, 1, "", {}}};
  EXPECT_EQ(plan(from, "a.example"),
            (Texts{"203.0.113.4:443", "203.0.113.3:443", "203.0.113.2:443", "203.0.113.1:443", "203.0.113.5:443"}));
}

TEST(PlanTargets, of_a_subset_are_the_endpoints_with_its_labels) {
  auto from = entry(Resolution::static_, Protocol::tls, {"a.example"});
  from.service.endpoints = {{"203.0.113.1", {}, 1, "", {{"version", "v1"}}},
                            {"203.0.113.2", {}, 1, "", {{"version", "v2"}}}};
  const Labels v2 = {{"version", "v2"}};
  auto query = from.query("a.example", dialled, 0);
  query.subset = &v2;
  const auto targets = plan_targets(query);
  ASSERT_EQ(targets.size(), 1U);
  EXPECT_EQ(text(targets.front()), "203.0.113.2:443");
}

TEST(PlanTargets, dials_all_when_every_weight_is_zero) {
  auto from = entry(Resolution::static_, Protocol::tls, {"a.example"});
  from.service.endpoints = {{"203.0.113.1", {}, 0, "", {}}, {"203.0.113.2", {}, 0, "", {}}};
  EXPECT_EQ(plan(from, "a.example", 7).size(), 2U);
}

TEST(PlanTargets, dials_where_the_pod_did_for_a_service_by_address) {
  EXPECT_EQ(plan(entry(Resolution::none, Protocol::tcp, {"db.example"}), ""), Texts{"203.0.113.7:443"});
}

TEST(PlanTargets, has_nowhere_to_go_when_the_dialled_address_is_not_known) {
  const Endpoint unknown{IpAddress(), 443};
  EXPECT_EQ(plan(entry(Resolution::none, Protocol::tcp, {"db.example"}), "", 0, unknown), Texts{});
}

TEST(PlanTargets, dials_the_services_own_name_for_tcp_by_dns) {
  EXPECT_EQ(plan(entry(Resolution::dns, Protocol::tcp, {"db.example", "other.example"}), ""), Texts{"db.example:443"});
}

TEST(PlanTargets, has_nowhere_to_go_for_tcp_by_a_wildcard_or_a_static_service_without_endpoints) {
  EXPECT_EQ(plan(entry(Resolution::dns, Protocol::tcp, {"*.example"}), ""), Texts{});
  EXPECT_EQ(plan(entry(Resolution::static_, Protocol::tcp, {"db.example"}), ""), Texts{});
}

class Forbidden : public testing::Test {
 protected:
  std::optional<std::string> why(const std::string& address) const {
    return forbidden(*IpAddress::parse(address), service, settings);
  }

  Service service;
  settings::Outside settings;
};

TEST_F(Forbidden, refuses_names_that_resolve_inside) {
  for (const auto* address : {"10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "172.16.0.1", "0.0.0.0",
                              "224.0.0.1", "::1", "fe80::1", "fc00::1", "::", "100.64.0.1"}) {
    EXPECT_NE(why(address), std::nullopt) << address;
  }
}

TEST_F(Forbidden, lets_public_addresses_pass) {
  for (const auto* address : {"8.8.8.8", "2606:4700:4700::1111"}) EXPECT_EQ(why(address), std::nullopt) << address;
}

TEST_F(Forbidden, lets_the_services_own_addresses_pass) {
  service.addresses = {*Cidr::parse("10.0.0.0/24")};
  EXPECT_EQ(why("10.0.0.9"), std::nullopt);
  EXPECT_NE(why("10.0.1.9"), std::nullopt);
}

TEST_F(Forbidden, lets_pass_what_the_settings_permit) {
  settings.permitted_cidrs = {*Cidr::parse("192.168.0.0/16")};
  EXPECT_EQ(why("192.168.1.1"), std::nullopt);
  EXPECT_NE(why("10.0.0.1"), std::nullopt);
}

TEST_F(Forbidden, refuses_what_the_settings_forbid_even_of_services_inside_the_mesh) {
  settings.forbidden_cidrs = {*Cidr::parse("8.8.8.0/24")};
  EXPECT_EQ(why("8.8.8.8"), "the settings forbid it");
  service.location = Location::mesh_internal;
  EXPECT_EQ(why("8.8.8.8"), "the settings forbid it");
}

TEST_F(Forbidden, lets_services_inside_the_mesh_have_private_addresses) {
  service.location = Location::mesh_internal;
  EXPECT_EQ(why("10.0.0.1"), std::nullopt);
}

}  // namespace
}  // namespace sluice::serving
