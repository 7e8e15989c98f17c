// Which rule routes a call, and why the others do not: one claim a test, in the words of Istio's objects.
#include "policy/routing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace sluice {
namespace {

using testing::IsEmpty;

Destination to(std::string host, std::uint16_t port = 0, std::uint32_t weight = 0) {
  return {std::move(host), "", port, weight};
}

ConnectionMatch sni(std::vector<std::string> hosts) {
  ConnectionMatch match;
  match.sni_hosts = std::move(hosts);
  return match;
}

// A VirtualService written like the object it comes from.
class Vs {
 public:
  Vs(const std::string& name, std::vector<std::string> hosts) {
    const auto slash = name.find('/');
    service_.object = {name.substr(0, slash), name.substr(slash + 1), 0};
    service_.hosts = std::move(hosts);
    service_.gateways = {mesh_gateway};
  }
  Vs& gateways(std::vector<std::string> names) {
    service_.gateways = std::move(names);
    return *this;
  }
  Vs& created(std::int64_t seconds) {
    service_.object.created = seconds;
    return *this;
  }
  Vs& export_to(std::vector<std::string> namespaces) {
    service_.export_to = std::move(namespaces);
    return *this;
  }
  Vs& tls(ConnectionMatch match, std::vector<Destination> destinations) {
    service_.tls.push_back({{std::move(match)}, std::move(destinations)});
    return *this;
  }
  Vs& tls(std::vector<std::string> sni_hosts, const std::string& host) {
    return tls(sni(std::move(sni_hosts)), {to(host)});
  }
  Vs& tcp(std::vector<ConnectionMatch> matches, std::vector<Destination> destinations) {
    service_.tcp.push_back({std::move(matches), std::move(destinations)});
    return *this;
  }
  Vs& http(std::vector<HttpMatch> matches, std::vector<Destination> destinations) {
    return http({.name = "", .matches = std::move(matches), .destinations = std::move(destinations)});
  }
  Vs& http(HttpRule rule) {
    service_.http.push_back(std::move(rule));
    return *this;
  }
  operator VirtualService() const { return service_; }  // NOLINT(google-explicit-constructor)

 private:
  VirtualService service_;
};

Gateway gateway(const std::string& name, Labels selector, std::vector<ServerHost> hosts,
                ServerProtocol protocol = ServerProtocol::tls, std::uint16_t port = 443,
                std::optional<ServerTlsMode> tls = ServerTlsMode::passthrough) {
  const auto slash = name.find('/');
  GatewayServer server;
  server.port = port;
  server.protocol = protocol;
  if (tls) server.tls.emplace().mode = *tls;
  server.hosts = std::move(hosts);
  return {{name.substr(0, slash), name.substr(slash + 1), 0}, std::move(selector), {std::move(server)}};
}

// A call with everything that a test does not care about filled in.
class Call {
 public:
  explicit Call(RouteKind kind, std::string host = "api.example.com", std::uint16_t port = 443)
      : host_(std::move(host)), hosts_{host_} {
    query_.kind = kind;
    query_.pod_namespace = "app";
    query_.port = port;
    query_.destination = *IpAddress::parse("203.0.113.9");
  }
  Call& from(std::string_view namespace_name) {
    query_.pod_namespace = namespace_name;
    return *this;
  }
  Call& labels(Labels labels) {
    labels_ = std::move(labels);
    return *this;
  }
  Call& unknown_labels() {
    no_labels_ = true;
    return *this;
  }
  Call& pick(std::uint64_t pick) {
    query_.pick = pick;
    return *this;
  }
  Call& dialling(const char* address) {
    query_.destination = *IpAddress::parse(address);
    return *this;
  }
  Call& path(std::string_view path) {
    request_.path = path;
    return *this;
  }
  const RouteQuery& query() const {
    if (query_.kind != RouteKind::tcp) query_.host = host_;
    query_.service_hosts = &hosts_;
    query_.http = &request_;
    query_.pod_labels = no_labels_ ? nullptr : &labels_;
    return query_;
  }

 private:
  std::string host_;
  std::vector<std::string> hosts_;
  Labels labels_;
  bool no_labels_ = false;
  HttpRequest request_{"GET", "api.example.com", "/", "", ""};
  mutable RouteQuery query_;
};

Call tls_call(std::string host = "api.example.com", std::uint16_t port = 443) {
  return Call(RouteKind::tls, std::move(host), port);
}

// Where the call goes, in one line: "RULE -> HOST", "unrouted", "RULE refused: WHY".
std::string way(const Routing& routing, const Call& call) {
  const auto route = routing.route(call.query());
  if (route.kind == Route::Kind::unrouted) return "unrouted";
  if (route.kind == Route::Kind::refused) return route.rule + " refused: " + route.why;
  return route.rule + " -> " + route.destination->host;
}

class Mesh {
 public:
  Mesh(std::vector<VirtualService> services) : routing_({}, std::move(services), Vantage::mesh()) {}
  std::string operator()(const Call& call) const { return way(routing_, call); }

 private:
  Routing routing_;
};

TEST(MeshRouting, a_rule_for_the_sni_picks_its_destination) {
  const Mesh mesh({Vs("app/egress", {"api.example.com"}).tls({"api.example.com"}, "gateway")});
  EXPECT_EQ(mesh(tls_call()), "app/egress tls[0] -> gateway");
  EXPECT_EQ(mesh(tls_call("other.example.com")), "unrouted");
}

TEST(MeshRouting, without_mesh_among_its_gateways_a_virtual_service_routes_no_pod) {
  EXPECT_EQ(
      Mesh({Vs("app/e", {"api.example.com"}).gateways({"app/egress"}).tls({"api.example.com"}, "gateway")})(tls_call()),
      "unrouted");
  EXPECT_EQ(
      Mesh({Vs("app/e", {"api.example.com"}).gateways({"app/egress", "mesh"}).tls({"api.example.com"}, "gateway")})(
          tls_call()),
      "app/e tls[0] -> gateway");
}

TEST(MeshRouting, gateways_of_a_match_replace_those_of_the_virtual_service) {
  auto only_gateway = sni({"api.example.com"});
  only_gateway.gateways = {{"app/egress"}};
  auto only_mesh = sni({"api.example.com"});
  only_mesh.gateways = {{"mesh"}};
  const Mesh mesh({Vs("app/e", {"api.example.com"})
                       .gateways({"app/egress", "mesh"})
                       .tls(only_gateway, {to("origin")})
                       .tls(only_mesh, {to("gateway")})});
  EXPECT_EQ(mesh(tls_call()), "app/e tls[1] -> gateway");
}

TEST(MeshRouting, the_most_specific_sni_host_wins_over_the_order_of_rules_and_age) {
  const Mesh mesh(
      {Vs("app/old", {"*.example.com"}).created(1).tls({"*.example.com"}, "wide"),
       Vs("app/new", {"*.example.com"}).created(2).tls({"*.com"}, "wider").tls({"api.example.com"}, "exact")});
  EXPECT_EQ(mesh(tls_call()), "app/new tls[1] -> exact");
  EXPECT_EQ(mesh(tls_call("b.a.example.com")), "app/old tls[0] -> wide");
  EXPECT_EQ(mesh(tls_call("example.com")), "app/new tls[0] -> wider");
}

TEST(MeshRouting, of_equal_sni_hosts_the_oldest_virtual_service_wins_then_name_then_the_first_rule) {
  EXPECT_EQ(Mesh({Vs("app/a", {"api.example.com"}).created(2).tls({"api.example.com"}, "young"),
                  Vs("app/b", {"api.example.com"})
                      .created(1)
                      .tls({"api.example.com"}, "old")
                      .tls({"api.example.com"}, "late")})(tls_call()),
            "app/b tls[0] -> old");
  EXPECT_EQ(Mesh({Vs("app/z", {"api.example.com"}).tls({"api.example.com"}, "z"),
                  Vs("app/a", {"api.example.com"}).tls({"api.example.com"}, "a")})(tls_call()),
            "app/a tls[0] -> a");
}

TEST(MeshRouting, a_more_specific_rule_that_does_not_apply_hides_nothing) {
  auto other_port = sni({"api.example.com"});
  other_port.port = 8443;
  const Mesh mesh({Vs("app/e", {"*.example.com"}).tls(other_port, {to("exact")}).tls({"*.example.com"}, "wide")});
  EXPECT_EQ(mesh(tls_call()), "app/e tls[1] -> wide");
  EXPECT_EQ(mesh(tls_call("api.example.com", 8443)), "app/e tls[0] -> exact");
}

TEST(MeshRouting, export_to_hides_a_virtual_service_from_other_namespaces) {
  const Mesh mesh({Vs("team/e", {"api.example.com"}).export_to({"team"}).tls({"api.example.com"}, "gateway")});
  EXPECT_EQ(mesh(tls_call().from("team")), "team/e tls[0] -> gateway");
  EXPECT_EQ(mesh(tls_call().from("app")), "unrouted");
}

TEST(MeshRouting, source_labels_and_namespace_choose_pods) {
  auto labelled = sni({"api.example.com"});
  labelled.source_labels = {{"app", "billing"}, {"tier", "back"}};
  auto spaced = sni({"api.example.com"});
  spaced.source_namespace = "team";
  const Mesh mesh({Vs("app/e", {"api.example.com"}).tls(labelled, {to("labelled")}).tls(spaced, {to("spaced")})});
  EXPECT_EQ(mesh(tls_call().labels({{"app", "billing"}, {"tier", "back"}, {"x", "y"}})), "app/e tls[0] -> labelled");
  EXPECT_EQ(mesh(tls_call().labels({{"app", "billing"}})), "unrouted");
  EXPECT_EQ(mesh(tls_call().from("team")), "app/e tls[1] -> spaced");
  EXPECT_EQ(mesh(tls_call().unknown_labels()), "unrouted") << "a pod whose labels are unknown has none of them";
}

TEST(MeshRouting, destination_subnets_are_those_of_the_dialled_address) {
  auto near = sni({"api.example.com"});
  near.destination_subnets = {*Cidr::parse("203.0.113.0/24"), *Cidr::parse("2001:db8::/32")};
  const Mesh mesh({Vs("app/e", {"api.example.com"}).tls(near, {to("gateway")})});
  EXPECT_EQ(mesh(tls_call().dialling("203.0.113.200")), "app/e tls[0] -> gateway");
  EXPECT_EQ(mesh(tls_call().dialling("2001:db8::1")), "app/e tls[0] -> gateway");
  EXPECT_EQ(mesh(tls_call().dialling("198.51.100.1")), "unrouted");
}

TEST(MeshRouting, weights_are_shares_and_a_single_destination_has_everything) {
  const Mesh mesh({Vs("app/e", {"api.example.com", "one.example.com", "no.example.com"})
                       .tls(sni({"api.example.com"}), {to("a", 0, 75), to("never", 0, 0), to("b", 0, 25)})
                       .tls(sni({"one.example.com"}), {to("one", 0, 0)})
                       .tls(sni({"no.example.com"}), {to("x", 0, 0), to("y", 0, 0)})});
  unsigned a = 0;
  unsigned b = 0;
  for (std::uint64_t pick = 0; pick < 1000; ++pick) {
    const auto found = mesh(tls_call().pick(pick));
    a += found == "app/e tls[0] -> a";
    b += found == "app/e tls[0] -> b";
  }
  EXPECT_EQ(a, 750U);
  EXPECT_EQ(b, 250U);
  EXPECT_EQ(mesh(tls_call("one.example.com")), "app/e tls[1] -> one");
  EXPECT_EQ(mesh(tls_call("no.example.com")), "app/e tls[2] refused: every weight is 0");
}

TEST(MeshRouting, tcp_rules_route_by_the_services_host_and_by_port_and_subnet) {
  ConnectionMatch on_5432;
  on_5432.port = 5432;
  const Mesh mesh({Vs("app/db", {"db.example.com"}).tcp({on_5432}, {to("gateway", 5432)}),
                   Vs("app/all", {"*.example.com"}).tcp({}, {to("elsewhere")})});
  EXPECT_EQ(mesh(Call(RouteKind::tcp, "db.example.com", 5432)), "app/db tcp[0] -> gateway");
  EXPECT_EQ(mesh(Call(RouteKind::tcp, "db.example.com", 5433)), "app/all tcp[0] -> elsewhere");
  EXPECT_EQ(mesh(Call(RouteKind::tcp, "db.other.com", 5432)), "unrouted");
}

TEST(MeshRouting, a_tls_call_that_no_tls_rule_names_goes_by_tcp_rules) {
  const Mesh mesh({Vs("app/e", {"api.example.com"}).tls({"api.example.com"}, "named"),
                   Vs("app/t", {"other.example.com"}).tcp({}, {to("gateway")})});
  EXPECT_EQ(mesh(tls_call("other.example.com")), "app/t tcp[0] -> gateway");
  EXPECT_EQ(mesh(tls_call()), "app/e tls[0] -> named");
}

HttpMatch prefix(const std::string& value) {
  HttpMatch match;
  match.uri = StringMatch{StringMatch::Kind::prefix, value};
  return match;
}

Call http_call(std::string_view path) {
  return Call(RouteKind::http, "api.example.com", 80).path(path);
}

TEST(MeshRouting, the_first_http_rule_that_matches_wins_and_catch_all_rules_come_after_other_virtual_services) {
  const Mesh mesh(
      {Vs("app/e", {"api.example.com"}).created(1).http({}, {to("all")}).http({prefix("/a/")}, {to("a")}),
       Vs("app/f", {"api.example.com"}).created(2).http({prefix("/b/")}, {to("b")}).http({prefix("/")}, {to("late")})});
  EXPECT_EQ(mesh(http_call("/a/x")), "app/e http[0] -> all") << "behind a rule of its own that takes everything";
  EXPECT_EQ(mesh(http_call("/b/x")), "app/f http[0] -> b");
  EXPECT_EQ(mesh(http_call("/c")), "app/e http[0] -> all");
}

TEST(MeshRouting, a_rule_that_takes_everything_comes_before_other_virtual_services_where_a_match_of_it_fits_besides) {
  const Mesh mesh(
      {Vs("app/e", {"api.example.com"}).created(1).http({HttpMatch(), prefix("/a/")}, {to("both")}),
       Vs("app/f", {"api.example.com"}).created(2).http({prefix("/a/")}, {to("a")}).http({prefix("/b/")}, {to("b")})});
  EXPECT_EQ(mesh(http_call("/a/x")), "app/e http[0] -> both");
  EXPECT_EQ(mesh(http_call("/b/x")), "app/f http[1] -> b");
  EXPECT_EQ(mesh(http_call("/c")), "app/e http[0] -> both");
}

TEST(MeshRouting, a_request_that_no_rule_of_its_host_matches_is_refused_not_unrouted) {
  const Mesh mesh({Vs("app/e", {"api.example.com"}).http({prefix("/a/")}, {to("a")}),
                   Vs("app/wide", {"*.example.com"}).http({}, {to("wide")})});
  EXPECT_EQ(mesh(http_call("/b")), "app/e refused: none of its http rules matches the request");
  EXPECT_EQ(mesh(Call(RouteKind::http, "x.example.com", 80)), "app/wide http[0] -> wide");
}

TEST(MeshRouting, a_rule_that_would_alter_the_call_refuses_it) {
  HttpRule rule;
  rule.destinations = {to("a")};
  rule.rewrite = HttpRewrite{.uri = "/b", .authority = "", .regex = "", .substitution = ""};
  const Mesh mesh({Vs("app/e", {"api.example.com"}).http(rule)});
  EXPECT_EQ(mesh(http_call("/")), "app/e http[0] refused: rewrite is not done to outbound calls");
}

// The gateway's half

class AtGateway {
 public:
  AtGateway(const std::vector<Gateway>& gateways, std::vector<VirtualService> services)
      : routing_(gateways, std::move(services),
                 Vantage::gateway({{"istio", "egressgateway"}, {"pod", "x"}}, "istio-system")) {}
  std::string operator()(const Call& call) const { return way(routing_, call); }

 private:
  Routing routing_;
};

const Labels egress = {{"istio", "egressgateway"}};

Vs bound() {
  return Vs("app/e", {"api.example.com"}).gateways({"istio-system/egress"}).tls({"api.example.com"}, "api.example.com");
}

TEST(GatewayRouting, a_bound_rule_picks_the_destination) {
  const AtGateway here({gateway("istio-system/egress", egress, {{"*", "api.example.com"}})}, {bound()});
  EXPECT_EQ(here(tls_call()), "app/e tls[0] -> api.example.com");
  EXPECT_EQ(here(tls_call("api.example.com", 8443)), "unrouted") << "no server has that port";
}

TEST(GatewayRouting, each_missing_piece_unbinds) {
  const std::vector<VirtualService> services = {bound()};
  const auto at = [&](const Gateway& gateway) { return AtGateway({gateway}, services)(tls_call()); };
  EXPECT_EQ(at(gateway("istio-system/other", egress, {{"*", "api.example.com"}})), "unrouted") << "another name";
  EXPECT_EQ(at(gateway("app/egress", egress, {{"*", "api.example.com"}})), "unrouted") << "another namespace";
  EXPECT_EQ(at(gateway("istio-system/egress", {{"istio", "ingressgateway"}}, {{"*", "api.example.com"}})), "unrouted");
  EXPECT_EQ(at(gateway("istio-system/egress", egress, {{"*", "other.example.com"}})), "unrouted") << "another host";
  EXPECT_EQ(at(gateway("istio-system/egress", egress, {{"team", "api.example.com"}})), "unrouted") << "closed to app";
  EXPECT_EQ(at(gateway("istio-system/egress", egress, {{"app", "*"}})), "app/e tls[0] -> api.example.com");
  EXPECT_EQ(at(gateway("istio-system/egress", {}, {{"*", "*.example.com"}})), "app/e tls[0] -> api.example.com");
}

TEST(GatewayRouting, a_virtual_service_must_be_exported_to_the_gateways_namespace) {
  const auto one = gateway("istio-system/egress", egress, {{"*", "*"}});
  EXPECT_EQ(AtGateway({one}, {bound().export_to({"app"})})(tls_call()), "unrouted");
  EXPECT_EQ(AtGateway({one}, {bound().export_to({"istio-system"})})(tls_call()), "app/e tls[0] -> api.example.com");
}

TEST(GatewayRouting, servers_serve_the_rules_of_their_protocol_and_mode) {
  const auto at = [](ServerProtocol protocol, std::optional<ServerTlsMode> mode, RouteKind kind) {
    const auto vs = Vs("app/e", {"api.example.com"})
                        .gateways({"istio-system/egress"})
                        .tls({"api.example.com"}, "x")
                        .http({}, {to("x")})
                        .tcp({}, {to("x")});
    return AtGateway({gateway("istio-system/egress", egress, {{"*", "*"}}, protocol, 443, mode)}, {vs})(Call(kind));
  };
  using enum RouteKind;
  EXPECT_EQ(at(ServerProtocol::https, ServerTlsMode::passthrough, tls), "app/e tls[0] -> x");
  EXPECT_EQ(at(ServerProtocol::https, ServerTlsMode::simple, tls), "unrouted");
  EXPECT_EQ(at(ServerProtocol::https, ServerTlsMode::passthrough, http), "unrouted");
  EXPECT_EQ(at(ServerProtocol::http, std::nullopt, http), "app/e http[0] -> x");
  EXPECT_EQ(at(ServerProtocol::http, std::nullopt, tls), "unrouted");
  EXPECT_EQ(at(ServerProtocol::tcp, std::nullopt, tcp), "app/e tcp[0] -> x");
  EXPECT_EQ(at(ServerProtocol::https, ServerTlsMode::istio_mutual, http), "app/e http[0] -> x");
  EXPECT_EQ(at(ServerProtocol::tls, ServerTlsMode::istio_mutual, tls), "app/e tcp[0] -> x");
}

TEST(GatewayRouting, only_port_and_gateways_of_a_connection_match_count) {
  auto match = sni({"api.example.com"});
  match.port = 443;
  match.source_labels = {{"app", "billing"}};
  match.source_namespace = "elsewhere";
  match.destination_subnets = {*Cidr::parse("192.0.2.0/24")};
  const auto one = gateway("istio-system/egress", egress, {{"*", "*"}});
  const auto vs = Vs("app/e", {"api.example.com"}).gateways({"istio-system/egress"});
  EXPECT_EQ(AtGateway({one}, {Vs(vs).tls(match, {to("x")})})(tls_call()), "app/e tls[0] -> x");
  match.port = 444;
  EXPECT_EQ(AtGateway({one}, {Vs(vs).tls(match, {to("x")})})(tls_call()), "unrouted");
}

TEST(GatewayRouting, the_narrower_of_server_host_and_virtual_service_host_is_what_is_bound) {
  const AtGateway here({gateway("istio-system/egress", egress, {{"*", "a.example.com"}, {"*", "*.b.example.com"}})},
                       {Vs("app/e", {"*.example.com"}).gateways({"istio-system/egress"}).tls({"*.example.com"}, "x")});
  EXPECT_EQ(here(tls_call("a.example.com")), "app/e tls[0] -> x");
  EXPECT_EQ(here(tls_call("c.b.example.com")), "app/e tls[0] -> x");
  EXPECT_EQ(here(tls_call("c.example.com")), "unrouted");
}

// Why not

std::vector<std::string> misses(const Routing& routing, const Call& call) {
  std::vector<std::string> lines;
  for (const auto& miss : routing.misses(call.query())) lines.push_back(miss.rule + ": " + miss.why);
  return lines;
}

TEST(Misses, name_each_virtual_service_that_could_be_meant_and_what_it_lacks) {
  auto other_port = sni({"api.example.com"});
  other_port.port = 8443;
  ConnectionMatch no_sni;
  no_sni.port = 443;
  const Routing routing({},
                        {Vs("app/typo", {"api.exmaple.com"}).tls({"api.exmaple.com"}, "g"),
                         Vs("app/nomesh", {"api.example.com"}).gateways({"app/egress"}).tls({"api.example.com"}, "g"),
                         Vs("app/port", {"api.example.com"}).tls(other_port, {to("g")}),
                         Vs("app/nosni", {"api.example.com"}).tls(no_sni, {to("g")}),
                         Vs("app/hidden", {"api.example.com"}).export_to({"team"}).tls({"api.example.com"}, "g"),
                         Vs("app/http", {"api.example.com"}).http({}, {to("g")}),
                         Vs("app/alien", {"www.unrelated.org"}).tls({"www.unrelated.org"}, "g")},
                        Vantage::mesh());
  EXPECT_THAT(misses(routing, tls_call()),
              testing::UnorderedElementsAre(
                  "app/typo: hosts is api.exmaple.com: none of them matches",
                  "app/nomesh: gateways is app/egress: mesh is not among them, so no call from a pod follows it",
                  "app/port tls[0].match[0]: port is another", "app/nosni tls[0].match[0]: it has no sniHosts",
                  "app/hidden: exportTo does not hold namespace app", "app/http: it has no tls rule for this call"));
}

TEST(Misses, the_virtual_service_that_routes_is_none) {
  const Routing routing({}, {Vs("app/e", {"api.example.com"}).tls({"api.example.com"}, "g")}, Vantage::mesh());
  EXPECT_THAT(misses(routing, tls_call()), IsEmpty());
}

}  // namespace
}  // namespace sluice
