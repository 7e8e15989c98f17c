// Which DestinationRule counts for a connection, and what of it.
#include "policy/destination_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace sluice {
namespace {

ClientTls client_tls(ClientTlsMode mode) {
  ClientTls tls;
  tls.mode = mode;
  return tls;
}

DestinationRule rule(const std::string& host, ClientTlsMode mode) {
  DestinationRule rule;
  rule.object = {"app", "rule-" + host, 0};
  rule.host = host;
  rule.policy.tls = client_tls(mode);
  return rule;
}

ClientTlsMode mode_of(const DestinationRules& rules, std::string_view host, std::uint16_t port = 443,
                      const std::string& subset = "", const PolicyScope& scope = {"app", "app"}) {
  const auto policy = rules.traffic_policy(host, port, subset, scope);
  return policy && policy->tls ? policy->tls->mode : ClientTlsMode::disable;
}

TEST(TrafficPolicy, the_most_specific_visible_rule_counts) {
  auto hidden = rule("api.example.com", ClientTlsMode::mutual);
  hidden.export_to = {"team"};
  const DestinationRules rules({rule("*.example.com", ClientTlsMode::simple), hidden}, Vantage::mesh());
  EXPECT_EQ(mode_of(rules, "api.example.com", 443, "", {"team", "app"}), ClientTlsMode::mutual);
  EXPECT_EQ(mode_of(rules, "api.example.com"), ClientTlsMode::simple);
  EXPECT_EQ(mode_of(rules, "api.other.com"), ClientTlsMode::disable);
}

TEST(TrafficPolicy, the_pods_namespace_has_its_say_before_the_services_and_others_have_none) {
  auto of_pods = rule("*.example.com", ClientTlsMode::mutual);
  of_pods.object.namespace_name = "team";
  auto of_strangers = rule("api.example.com", ClientTlsMode::disable);
  of_strangers.object.namespace_name = "evil";
  const DestinationRules rules({rule("api.example.com", ClientTlsMode::simple), of_pods, of_strangers},
                               Vantage::mesh());
  EXPECT_EQ(mode_of(rules, "api.example.com", 443, "", {"team", "app"}), ClientTlsMode::mutual);
  EXPECT_EQ(mode_of(rules, "api.example.com", 443, "", {"other", "app"}), ClientTlsMode::simple);
  EXPECT_EQ(mode_of(rules, "api.example.com", 443, "", {"other", "another"}), ClientTlsMode::disable);
}

TEST(TrafficPolicy, a_workload_selector_chooses_gateways_of_its_namespace) {
  auto one = rule("api.example.com", ClientTlsMode::simple);
  one.object.namespace_name = "istio-system";
  one.workload_selector = {{"istio", "egressgateway"}};
  const DestinationRules here({one}, Vantage::gateway({{"istio", "egressgateway"}}, "istio-system"));
  const DestinationRules other({one}, Vantage::gateway({{"istio", "ingressgateway"}}, "istio-system"));
  EXPECT_EQ(mode_of(here, "api.example.com"), ClientTlsMode::simple);
  EXPECT_EQ(mode_of(other, "api.example.com"), ClientTlsMode::disable);
}

TEST(TrafficPolicy, a_ports_policy_replaces_the_whole_and_a_subsets_fields_replace_theirs) {
  auto one = rule("api.example.com", ClientTlsMode::simple);
  one.policy.connect_timeout_ms = 5;
  one.port_policies[8443].connect_timeout_ms = 6;
  TrafficPolicy mutual;
  mutual.tls = client_tls(ClientTlsMode::mutual);
  one.subsets = {{"v1", {{"version", "v1"}}, mutual, {}}};
  const DestinationRules rules({one}, Vantage::mesh());
  EXPECT_FALSE(rules.traffic_policy("api.example.com", 8443, "", {"app", "app"})->tls);
  EXPECT_EQ(rules.traffic_policy("api.example.com", 8443, "", {"app", "app"})->connect_timeout_ms, 6U);
  EXPECT_EQ(mode_of(rules, "api.example.com", 443, "v1"), ClientTlsMode::mutual);
  EXPECT_EQ(rules.traffic_policy("api.example.com", 443, "v1", {"app", "app"})->connect_timeout_ms, 5U);
  EXPECT_FALSE(rules.traffic_policy("api.example.com", 443, "v2", {"app", "app"})) << "a subset that nobody defined";
  EXPECT_THAT(*rules.subset_labels("api.example.com", "v1", {"app", "app"}),
              testing::ElementsAre(testing::Pair("version", "v1")));
}

}  // namespace
}  // namespace sluice
