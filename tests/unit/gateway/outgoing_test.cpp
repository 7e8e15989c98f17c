// Where a gateway sends an allowed call.
#include "gateway/outgoing.h"

#include <gtest/gtest.h>

namespace sluice::gateway {
namespace {

Service service(const std::string& name, std::vector<std::string> hosts, Protocol protocol, std::uint16_t port) {
  Service made;
  made.namespace_name = "app";
  made.name = name;
  made.hosts = std::move(hosts);
  made.ports = {{port, port, protocol, "port"}};
  made.resolution = Resolution::dns;
  return made;
}

VirtualService leading_to(const std::string& host, std::uint16_t port = 0, const std::string& subset = "") {
  VirtualService made;
  made.object = {"app", "e", 0};
  made.hosts = {"api.example.com"};
  made.gateways = {"istio-system/egress"};
  ConnectionMatch match;
  match.sni_hosts = {"api.example.com"};
  made.tls = {{{match}, {{host, subset, port, 0}}}};
  HttpRule rule;
  rule.destinations = {{host, subset, port, 0}};
  made.http = {rule};
  return made;
}

class ChooseOutgoing : public testing::Test {
 protected:
  ChooseOutgoing() {
    GatewayServer tls;
    tls.port = 443;
    tls.protocol = ServerProtocol::tls;
    tls.tls.emplace();
    tls.hosts = {{"*", "*"}};
    GatewayServer http;
    http.port = 80;
    http.hosts = {{"*", "*"}};
    objects_.gateways = {{{"istio-system", "egress", 0}, {}, {tls, http}}};
    objects_.services = {service("api", {"api.example.com"}, Protocol::tls, 443),
                         service("plain", {"api.example.com"}, Protocol::http, 80),
                         service("other", {"other.example.com"}, Protocol::tls, 8443)};
    auto hidden = service("hidden", {"hidden.example.com"}, Protocol::tls, 443);
    hidden.export_to = {"team"};
    objects_.services.push_back(hidden);
  }

  // "HOST:PORT by ROUTE", with " in TLS" when the gateway begins it, or "nowhere: WHY".
  std::string choose(Sniffed sniffed = Sniffed::tls, settings::Unrouted unrouted = settings::Unrouted::direct) const {
    const auto snapshot = Snapshot::compile(objects_, Vantage::gateway({}, "istio-system"));
    const std::uint16_t port = sniffed == Sniffed::tls ? 443 : 80;
    const Request request{"app", *IpAddress::parse("203.0.113.9"), port, sniffed, "api.example.com"};
    const auto verdict = snapshot->decide(request);
    const auto route = snapshot->route(request, verdict, {});
    const auto chosen = choose_outgoing(*snapshot, route, request, verdict, unrouted);
    if (const auto* none = std::get_if<NoOutgoing>(&chosen)) return "nowhere: " + none->detail;
    const auto& outgoing = std::get<Outgoing>(chosen);
    return outgoing.host + ":" + std::to_string(outgoing.port->number) + " by " + outgoing.route +
           (outgoing.origination() ? " in TLS" : "");
  }

  PolicyObjects objects_;
};

TEST_F(ChooseOutgoing, without_a_rule_goes_to_the_host_itself_or_nowhere) {
  EXPECT_EQ(choose(), "api.example.com:443 by default");
  EXPECT_EQ(choose(Sniffed::tls, settings::Unrouted::deny),
            "nowhere: no VirtualService routes the call at this gateway, and gateway.unrouted is deny");
}

TEST_F(ChooseOutgoing, a_rule_leads_to_the_service_that_its_destination_names) {
  objects_.virtual_services = {leading_to("api.example.com")};
  EXPECT_EQ(choose(Sniffed::tls, settings::Unrouted::deny), "api.example.com:443 by app/e tls[0]");
  objects_.virtual_services = {leading_to("other.example.com")};
  EXPECT_EQ(choose(), "other.example.com:8443 by app/e tls[0]") << "its only port";
}

TEST_F(ChooseOutgoing, a_destination_that_the_pod_may_not_use_is_none) {
  objects_.virtual_services = {leading_to("hidden.example.com")};
  EXPECT_EQ(choose(),
            "nowhere: app/e tls[0]: destination hidden.example.com is no service of namespace app with such a port");
  objects_.virtual_services = {leading_to("other.example.com", 443)};
  EXPECT_EQ(choose(),
            "nowhere: app/e tls[0]: destination other.example.com is no service of namespace app with such a port");
}

TEST_F(ChooseOutgoing, a_wildcard_destination_is_the_name_that_was_called) {
  objects_.services.push_back(service("wild", {"*.example.com"}, Protocol::tls, 443));
  objects_.virtual_services = {leading_to("*.example.com")};
  EXPECT_EQ(choose(), "api.example.com:443 by app/e tls[0]");
}

TEST_F(ChooseOutgoing, plain_calls_are_put_into_tls_by_destination_rule_and_tls_calls_stay) {
  DestinationRule rule;
  rule.object = {"app", "d", 0};
  rule.host = "api.example.com";
  rule.policy.tls = ClientTls();
  rule.policy.tls->mode = ClientTlsMode::simple;
  objects_.destination_rules = {rule};
  EXPECT_EQ(choose(Sniffed::http), "api.example.com:80 by default in TLS");
  EXPECT_EQ(choose(Sniffed::tls), "api.example.com:443 by default");
  objects_.destination_rules[0].policy.tls->mode = ClientTlsMode::disable;
  EXPECT_EQ(choose(Sniffed::http), "api.example.com:80 by default");
}

TEST_F(ChooseOutgoing, what_comes_in_the_clear_goes_to_a_port_for_tls_inside_tls_or_not_at_all) {
  objects_.virtual_services = {leading_to("other.example.com", 8443)};
  EXPECT_EQ(choose(Sniffed::http),
            "nowhere: app/e http[0]: port 8443 is for TLS, and no DestinationRule of other.example.com begins it");
  DestinationRule rule;
  rule.object = {"app", "d", 0};
  rule.host = "other.example.com";
  rule.port_policies[8443].tls = ClientTls();
  rule.port_policies[8443].tls->mode = ClientTlsMode::simple;
  objects_.destination_rules = {rule};
  EXPECT_EQ(choose(Sniffed::http), "other.example.com:8443 by app/e http[0] in TLS");
}

TEST_F(ChooseOutgoing, a_wildcard_destination_has_to_cover_the_name_that_was_called) {
  objects_.services.push_back(service("wild", {"*.example.org"}, Protocol::tls, 443));
  objects_.virtual_services = {leading_to("*.example.org")};
  EXPECT_EQ(choose(), "nowhere: app/e tls[0]: destination *.example.org does not cover api.example.com");
}

TEST_F(ChooseOutgoing, a_subset_that_nobody_defines_leads_nowhere) {
  objects_.virtual_services = {leading_to("api.example.com", 0, "v1")};
  EXPECT_EQ(choose(), "nowhere: app/e tls[0]: no DestinationRule of api.example.com has subset v1");
}

}  // namespace
}  // namespace sluice::gateway
