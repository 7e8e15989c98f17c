// Which ports the gate takes, and where their calls go.
#include "egress/gate_ports.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace sluice::egress {
namespace {

constexpr const char* first_gateway = "first.gw.svc";
constexpr const char* second_gateway = "second.gw.svc";

class GatePorts : public testing::Test {
 protected:
  GatePorts() {
    settings_.gateways = {gateway(first_gateway, "10.0.0.1:15443"), gateway(second_gateway, "10.0.0.2:15443")};
  }

  static settings::GatewayTarget gateway(const std::string& name, const std::string& address,
                                         settings::Transport transport = settings::Transport::proxy) {
    return {name, {*Endpoint::parse(address)}, transport};
  }
  void registers(const std::string& host, std::uint16_t port, Protocol protocol, const char* addresses = nullptr) {
    Service service;
    service.namespace_name = "app";
    service.name = host;
    service.hosts = {host};
    service.ports = {{port, port, protocol, "port"}};
    if (addresses != nullptr) service.addresses = {*Cidr::parse(addresses)};
    objects_.services.push_back(service);
  }
  // A rule of a VirtualService for `host`: calls on `port` (nullopt: on any) go to the gateway, on its port.
  void routes(const std::string& host, std::optional<std::uint16_t> port, const std::string& to,
              std::uint16_t to_port = 0, bool tls = true) {
    VirtualService rules;
    rules.object = {"app", host + to, 0};
    rules.hosts = {host};
    rules.gateways = {mesh_gateway};
    ConnectionRule rule;
    ConnectionMatch match;
    if (tls) match.sni_hosts = {host};
    match.port = port;
    rule.matches = {match};
    rule.destinations = {{to, "", to_port, 0}};
    (tls ? rules.tls : rules.tcp).push_back(rule);
    objects_.virtual_services.push_back(rules);
  }

  std::optional<kernel::PortEntry> entry(std::uint16_t port) const {
    for (const auto& one : port_entries(*Snapshot::compile(objects_), settings_)) {
      if (one.rule.port == port) return one;
    }
    return std::nullopt;
  }
  // "relay", "gate to GATEWAY" with "port N" when its addresses have none, and "asks" when servers may speak first.
  std::string way(std::uint16_t port) const {
    const auto found = entry(port);
    if (!found) return "not registered";
    if (!found->gated) return "relay";
    const auto number = gateway_default_port(found->gateway);
    return "gate to " + std::to_string(gateway_index(found->gateway)) +
           (number != 0 ? " port " + std::to_string(number) : "") + (found->opaque ? ", asks" : "");
  }

  PolicyObjects objects_;
  settings::Egress settings_;
};

TEST_F(GatePorts, tls_and_opaque_tcp_of_one_gateway_are_gated) {
  registers("api.example.com", 443, Protocol::https);
  registers("tls.example.com", 8443, Protocol::tls);
  registers("db.example.com", 5432, Protocol::tcp, "203.0.113.0/24");
  registers("mongo.example.com", 27017, Protocol::mongo, "203.0.113.0/24");
  EXPECT_EQ(way(443), "gate to 0");
  EXPECT_EQ(way(8443), "gate to 0");
  EXPECT_EQ(way(5432), "gate to 0, asks");
  EXPECT_EQ(way(27017), "gate to 0, asks");
  EXPECT_EQ(way(22), "not registered");
}

TEST_F(GatePorts, the_rule_is_that_of_the_policy) {
  registers("db.example.com", 5432, Protocol::tcp, "203.0.113.0/24");
  registers("api.example.com", 443, Protocol::tls);
  EXPECT_FALSE(entry(5432)->rule.any_address);
  EXPECT_EQ(entry(5432)->rule.addresses, std::vector<Cidr>{*Cidr::parse("203.0.113.0/24")});
  EXPECT_TRUE(entry(443)->rule.any_address);
}

TEST_F(GatePorts, a_port_with_http_is_relayed) {
  registers("web.example.com", 80, Protocol::http);
  registers("rpc.example.com", 81, Protocol::grpc);
  registers("two.example.com", 82, Protocol::http2);
  registers("api.example.com", 443, Protocol::tls);
  registers("odd.example.com", 443, Protocol::http);
  for (const int port : {80, 81, 82, 443}) EXPECT_EQ(way(static_cast<std::uint16_t>(port)), "relay") << port;
}

TEST_F(GatePorts, tls_beside_tcp_is_gated_and_asks) {
  registers("api.example.com", 443, Protocol::tls);
  registers("tunnel.example.com", 443, Protocol::tcp, "203.0.113.7");
  EXPECT_EQ(way(443), "gate to 0, asks");
}

TEST_F(GatePorts, a_route_to_another_gateway_beside_the_default_one_is_two) {
  registers("api.example.com", 443, Protocol::tls);
  routes("api.example.com", 443, second_gateway);
  EXPECT_EQ(way(443), "relay") << "a call of another name goes to the first one";
  settings_.unrouted = settings::Unrouted::deny;
  EXPECT_EQ(way(443), "gate to 1");
}

TEST_F(GatePorts, two_gateways_on_one_port_are_relayed_and_others_are_not) {
  settings_.unrouted = settings::Unrouted::deny;
  registers("one.example.com", 443, Protocol::tls);
  registers("two.example.com", 443, Protocol::tls);
  registers("two.example.org", 8443, Protocol::tls);
  routes("one.example.com", 443, first_gateway);
  routes("two.example.com", 443, second_gateway);
  routes("two.example.org", 8443, second_gateway);
  EXPECT_EQ(way(443), "relay");
  EXPECT_EQ(way(8443), "gate to 1");
}

TEST_F(GatePorts, a_rule_without_a_port_holds_for_every_port) {
  registers("one.example.com", 443, Protocol::tls);
  registers("one.example.com", 8443, Protocol::tls);
  routes("one.example.com", std::nullopt, second_gateway);
  EXPECT_EQ(way(443), "relay");
  EXPECT_EQ(way(8443), "relay");
}

TEST_F(GatePorts, a_rule_of_a_wildcard_holds_for_the_names_in_it) {
  settings_.unrouted = settings::Unrouted::deny;
  registers("*.example.com", 443, Protocol::tls);
  routes("api.example.com", 443, first_gateway);
  routes("*.api.example.com", 443, second_gateway);
  EXPECT_EQ(way(443), "relay");
}

TEST_F(GatePorts, a_rule_of_another_host_or_port_counts_for_nothing) {
  registers("one.example.com", 443, Protocol::tls);
  registers("one.example.com", 8443, Protocol::tls);
  routes("one.example.org", 443, second_gateway);
  routes("one.example.com", 8443, second_gateway);
  EXPECT_EQ(way(443), "gate to 0");
  EXPECT_EQ(way(8443), "relay");
}

TEST_F(GatePorts, a_rule_that_leads_to_no_gateway_leads_nowhere_else) {
  registers("api.example.com", 443, Protocol::tls);
  routes("api.example.com", 443, "other.example.org");
  EXPECT_EQ(way(443), "gate to 0");
  settings_.unrouted = settings::Unrouted::deny;
  EXPECT_EQ(way(443), "relay") << "there is no gateway at all, and the relay says why";
}

TEST_F(GatePorts, a_gateway_that_is_reached_by_tls_is_relayed) {
  settings_.gateways[0].transport = settings::Transport::tls;
  registers("api.example.com", 443, Protocol::tls);
  EXPECT_EQ(way(443), "relay");
}

TEST_F(GatePorts, raw_is_gated) {
  settings_.gateways[0].transport = settings::Transport::raw;
  registers("api.example.com", 443, Protocol::tls);
  EXPECT_EQ(way(443), "gate to 0");
}

TEST_F(GatePorts, unrouted_names_that_are_dialled_directly_are_relayed) {
  settings_.unrouted = settings::Unrouted::direct;
  registers("api.example.com", 443, Protocol::tls);
  EXPECT_EQ(way(443), "relay");
}

TEST_F(GatePorts, with_datapath_relay_nothing_is_gated) {
  settings_.datapath = settings::Datapath::relay;
  registers("api.example.com", 443, Protocol::tls);
  registers("db.example.com", 5432, Protocol::tcp, "203.0.113.0/24");
  EXPECT_EQ(way(443), "relay");
  EXPECT_EQ(way(5432), "relay");
}

TEST_F(GatePorts, a_gateway_without_ports_is_called_on_that_of_the_route_or_the_call) {
  settings_.unrouted = settings::Unrouted::deny;
  settings_.gateways[0] = {first_gateway, {Endpoint{*IpAddress::parse("10.0.0.1"), 0}}, settings::Transport::raw};
  registers("one.example.com", 443, Protocol::tls);
  registers("one.example.com", 8443, Protocol::tls);
  routes("one.example.com", 443, first_gateway);
  routes("one.example.com", 8443, first_gateway, 9443);
  EXPECT_EQ(way(443), "gate to 0 port 443");
  EXPECT_EQ(way(8443), "gate to 0 port 9443");
}

TEST_F(GatePorts, two_ports_of_one_gateway_without_ports_are_two_ways) {
  settings_.unrouted = settings::Unrouted::deny;
  settings_.gateways[0] = {first_gateway, {Endpoint{*IpAddress::parse("10.0.0.1"), 0}}, settings::Transport::raw};
  registers("one.example.com", 443, Protocol::tls);
  registers("two.example.com", 443, Protocol::tls);
  routes("one.example.com", 443, first_gateway, 9443);
  routes("two.example.com", 443, first_gateway);
  EXPECT_EQ(way(443), "relay");
  settings_.gateways[0].addresses[0].port = 15443;
  EXPECT_EQ(way(443), "gate to 0") << "with a port of its own the route's says nothing";
}

TEST_F(GatePorts, a_rule_for_bytes_that_are_no_tls_counts_too) {
  registers("db.example.com", 5432, Protocol::tcp, "203.0.113.0/24");
  routes("db.example.com", 5432, second_gateway, 0, false);
  EXPECT_EQ(way(5432), "relay");
}

TEST_F(GatePorts, numbers_say_which_gateway_and_port) {
  for (const std::size_t index : {0, 1, 4095}) {
    for (const std::uint16_t port : {std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{65535}}) {
      EXPECT_EQ(gateway_index(gateway_number(index, port)), index);
      EXPECT_EQ(gateway_default_port(gateway_number(index, port)), port);
    }
  }
}

}  // namespace
}  // namespace sluice::egress
