// By which gateway an allowed call goes, or why by none.
#include "egress/way.h"

#include <gtest/gtest.h>

namespace sluice::egress {
namespace {

class ChooseWay : public testing::Test {
 protected:
  ChooseWay() {
    service_.namespace_name = "app";
    service_.hosts = {"*.example.com"};
    service_.ports = {{443, 443, Protocol::tls, "tls"}};
    settings_.gateways = {{"first.gw.svc", {}, settings::Transport::proxy},
                          {"second.gw.svc", {}, settings::Transport::proxy}};
  }

  Route to(const std::string& host, std::uint16_t port = 0) {
    destination_ = {host, "", port, 0};
    Route route;
    route.kind = Route::Kind::routed;
    route.destination = &destination_;
    route.rule = "app/e tls[0]";
    return route;
  }
  // "gateway N port P by ROUTE", "direct by ROUTE", "nowhere: WHY"
  std::string way(const Route& route) const {
    const Request request{"app", *IpAddress::parse("203.0.113.9"), 443, Sniffed::tls, "api.example.com"};
    const auto chosen = choose_way(route, request, {Reason::registered, &service_, service_.ports.data()}, settings_);
    if (const auto* by = std::get_if<ByGateway>(&chosen)) {
      return "gateway " + std::to_string(by->gateway) + " port " + std::to_string(by->port) + " by " + by->route;
    }
    if (const auto* direct = std::get_if<Direct>(&chosen)) return "direct by " + direct->route;
    return "nowhere: " + std::get<NoWay>(chosen).detail;
  }

  Service service_;
  Destination destination_;
  settings::Egress settings_;
};

TEST_F(ChooseWay, a_rule_leads_to_the_gateway_that_its_destination_names) {
  EXPECT_EQ(way(to("second.gw.svc", 8443)), "gateway 1 port 8443 by app/e tls[0]");
  EXPECT_EQ(way(to("first.gw.svc")), "gateway 0 port 443 by app/e tls[0]")
      << "without a port: the one that was dialled";
}

TEST_F(ChooseWay, without_a_rule_the_settings_decide) {
  EXPECT_EQ(way({}), "gateway 0 port 443 by default");
  settings_.unrouted = settings::Unrouted::direct;
  EXPECT_EQ(way({}), "direct by default");
  settings_.unrouted = settings::Unrouted::deny;
  EXPECT_EQ(way({}), "nowhere: no VirtualService leads the call to a gateway, and egress.unrouted is deny");
}

TEST_F(ChooseWay, a_rule_that_leads_to_the_host_itself_leads_to_no_gateway) {
  EXPECT_EQ(way(to("api.example.com")), "gateway 0 port 443 by app/e tls[0]");
  settings_.unrouted = settings::Unrouted::deny;
  EXPECT_EQ(way(to("api.example.com")),
            "nowhere: no VirtualService leads the call to a gateway, and egress.unrouted is deny");
  EXPECT_EQ(way(to("*.example.com")), way({})) << "the service's own name for it";
}

TEST_F(ChooseWay, directly_a_rule_cannot_lead_to_another_port) {
  settings_.unrouted = settings::Unrouted::direct;
  EXPECT_EQ(way(to("api.example.com", 443)), "direct by app/e tls[0]");
  EXPECT_EQ(way(to("api.example.com", 8443)),
            "nowhere: app/e tls[0] leads to another port or a subset, which only a gateway does");
}

TEST_F(ChooseWay, a_rule_that_leads_elsewhere_or_nowhere_denies) {
  EXPECT_EQ(way(to("other.example.org")),
            "nowhere: app/e tls[0] leads to other.example.org, which is no gateway in egress.gateways");
  Route refused;
  refused.kind = Route::Kind::refused;
  refused.rule = "app/e http[0]";
  refused.why = "rewrite is not done to outbound calls";
  EXPECT_EQ(way(refused), "nowhere: app/e http[0]: rewrite is not done to outbound calls");
}

}  // namespace
}  // namespace sluice::egress
