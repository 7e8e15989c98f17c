// What an ingress listens on and where requests go: one claim a test, in the words of Istio's objects.
#include "policy/ingress_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ingress.h"

namespace sluice {
namespace {

using test::gateway;
using test::Ingress;
using test::prefix;
using test::Server;
using test::to;
using test::Vs;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// "PORT BIND KIND: SERVERS"
std::vector<std::string> listeners(const Ingress& ingress) {
  std::vector<std::string> all;
  for (const auto& listener : ingress.routes().listeners()) {
    using Kind = IngressListener::Kind;
    std::string text = std::to_string(listener.port) + " " + std::string(listener.bind) + " " +
                       (listener.kind == Kind::tls    ? "tls:"
                        : listener.kind == Kind::http ? "http:"
                                                      : "tcp:");
    for (const auto& server : listener.servers) text += " " + std::string(server.name);
    all.push_back(std::move(text));
  }
  return all;
}

std::vector<std::string> skipped(const Ingress& ingress) {
  std::vector<std::string> all;
  for (const auto& one : ingress.routes().skipped()) all.push_back(one.server + ": " + one.why);
  return all;
}

TEST(IngressListeners, servers_of_one_port_and_bind_are_merged_across_gateways) {
  const Ingress ingress({gateway("infra/a", {Server::http({"a.org"}), Server::https({"a.org"})}, 1),
                         gateway("infra/b", {Server::http({"a.org"}), Server::https({"b.org"})}, 2),
                         gateway("infra/c", {Server::https({"a.org"}).bind("192.0.2.1")}, 3)});
  EXPECT_THAT(listeners(ingress),
              ElementsAre("80  http: infra/a servers[0] infra/b servers[0]",
                          "443  tls: infra/a servers[1] infra/b servers[1]", "443 192.0.2.1 tls: infra/c servers[0]"));
  EXPECT_THAT(skipped(ingress), IsEmpty());
}

TEST(IngressListeners, gateways_for_other_workloads_do_not_count) {
  auto other = gateway("infra/other", {Server::http({"a.org"})});
  other.selector = {{"istio", "egressgateway"}};
  auto all = gateway("infra/all", {Server::http({"a.org"}, 81)});
  all.selector.clear();
  EXPECT_THAT(listeners(Ingress({other, all})), ElementsAre("81  http: infra/all servers[0]"));
}

TEST(IngressListeners, what_istio_skips_silently_is_skipped_and_told) {
  const Ingress ingress(
      {gateway("infra/old", {Server::https({"a.org", "b.org"}), Server(9000, ServerProtocol::tcp, {"*"})}, 1),
       gateway("infra/new",
               {Server::https({"c.org", "b.org"}), Server::http({"d.org"}, 443),
                Server(9000, ServerProtocol::mongo, {"*"}), Server::https({"e.org"}, ServerTlsMode::istio_mutual),
                Server::https({"f.org"}, ServerTlsMode::auto_passthrough)},
               2)});
  EXPECT_THAT(listeners(ingress), ElementsAre("443  tls: infra/old servers[0]", "9000  tcp: infra/old servers[1]"));
  EXPECT_THAT(skipped(ingress), ElementsAre("infra/new servers[0]: infra/old servers[0] has b.org at port 443",
                                            "infra/new servers[1]: port 443 is taken for TLS by infra/old servers[0]",
                                            "infra/new servers[2]: port 9000 is taken for TCP by infra/old servers[1]",
                                            "infra/new servers[3]: its TLS mode is between proxies of a mesh",
                                            "infra/new servers[4]: its TLS mode is between proxies of a mesh"));
  EXPECT_EQ(ingress.routes().find_server(*ingress.at(443), "c.org"), nullptr) << "all of its hosts are";
}

TEST(IngressListeners, a_server_is_chosen_by_sni_exact_before_the_longest_wildcard) {
  const Ingress ingress({gateway("infra/in", {Server::https({"*.org"}), Server::https({"*.example.org", "x.net"}),
                                              Server::https({"a.example.org"})})});
  const auto chosen = [&](std::string_view sni) {
    const auto* server = ingress.routes().find_server(*ingress.at(443), sni);
    return server == nullptr ? "none" : std::string(server->name.substr(server->name.find(' ') + 1));
  };
  EXPECT_EQ(chosen("a.example.org"), "servers[2]");
  EXPECT_EQ(chosen("b.example.org"), "servers[1]");
  EXPECT_EQ(chosen("b.a.example.org"), "servers[1]");
  EXPECT_EQ(chosen("example.org"), "servers[0]");
  EXPECT_EQ(chosen("x.net"), "servers[1]");
  EXPECT_EQ(chosen("y.net"), "none");
  EXPECT_EQ(chosen(""), "none") << "a client without SNI meets a server for all hosts only";
  EXPECT_NE(Ingress({gateway("infra/in", {Server::https({"*"})})}).routes().find_server(*ingress.at(443), ""), nullptr);
}

TEST(IngressListeners, what_a_connection_holds_is_said_by_protocol_and_mode) {
  using Content = IngressServer::Content;
  const auto content = [](Server server) {
    return Ingress({gateway("infra/in", {std::move(server)})}).routes().listeners().front().servers.front().content;
  };
  EXPECT_EQ(content(Server::http({"*"})), Content::http);
  EXPECT_EQ(content(Server(80, ServerProtocol::grpc_web, {"*"})), Content::http);
  EXPECT_EQ(content(Server(80, ServerProtocol::tcp, {"*"})), Content::tcp);
  EXPECT_EQ(content(Server::https({"*"})), Content::http);
  EXPECT_EQ(content(Server::https({"*"}, ServerTlsMode::optional_mutual)), Content::http);
  EXPECT_EQ(content(Server::https({"*"}, ServerTlsMode::passthrough)), Content::passthrough);
  EXPECT_EQ(content(Server(443, ServerProtocol::tls, {"*"}).tls(ServerTlsMode::mutual)), Content::tcp);
}

// Requests

TEST(IngressRoutes, the_seeds_route_and_its_404s_each_with_its_reason) {
  const auto in = gateway("istio-system/my-ingress-gateway", {Server::https({"myapp.example.com"})});
  const auto bound = Vs("my-namespace/myapp-vs", {"myapp.example.com"}, {"istio-system/my-ingress-gateway"})
                         .http({}, "myapp-service.my-namespace.svc.cluster.local");
  EXPECT_EQ(Ingress({in}, {bound}).tls("myapp.example.com"),
            "my-namespace/myapp-vs http[0] -> myapp-service.my-namespace.svc.cluster.local");
  EXPECT_EQ(Ingress({in}, {}).tls("myapp.example.com"), "no VirtualService bound to this gateway");
  const auto elsewhere =
      Vs("my-namespace/myapp-vs", {"myapp.example.com"}, {"my-namespace/my-ingress-gateway"}).http({}, "x");
  EXPECT_EQ(Ingress({in}, {elsewhere}).tls("myapp.example.com"), "no VirtualService bound to this gateway");
  EXPECT_EQ(Ingress({in}, {bound}).tls_with("myapp.example.com", "other.example.com"), "no server");
  const auto narrow = Vs("my-namespace/myapp-vs", {"myapp.example.com"}, {"istio-system/my-ingress-gateway"})
                          .http({prefix("/api/")}, "x");
  EXPECT_EQ(Ingress({in}, {narrow}).tls("myapp.example.com"), "no route matched");
}

TEST(IngressRoutes, each_missing_piece_unbinds) {
  const auto none = "no VirtualService bound to this gateway";
  const auto in = gateway("infra/in", {Server::http({"a.org", "team/b.org"})});
  const auto vs = [] { return Vs("app/v", {"a.org", "b.org"}).http({}, "x"); };
  EXPECT_EQ(Ingress({in}, {vs()}).plain("a.org"), "app/v http[0] -> x");
  EXPECT_EQ(Ingress({in}, {vs()}).plain("b.org"), none) << "closed to namespace app";
  EXPECT_EQ(Ingress({in}, {Vs("team/v", {"b.org"}).http({}, "x")}).plain("b.org"), "team/v http[0] -> x");
  EXPECT_EQ(Ingress({in}, {vs().export_to({"app"})}).plain("a.org"), none) << "not exported to infra";
  EXPECT_EQ(Ingress({in}, {vs().export_to({"infra"})}).plain("a.org"), "app/v http[0] -> x");
  EXPECT_EQ(Ingress({in}, {Vs("app/v", {"a.org"}, {"mesh"}).http({}, "x")}).plain("a.org"), none);
  EXPECT_EQ(Ingress({in}, {Vs("app/v", {"c.org"}).http({}, "x")}).plain("a.org"), none);
  EXPECT_EQ(Ingress({in}, {Vs("app/v", {"a.org"}).tls({"a.org"}, "x")}).plain("a.org"), none) << "no http rules";
  EXPECT_EQ(Ingress({in}, {vs()}).plain("c.org"), "no server");
}

TEST(IngressRoutes, the_narrower_of_both_hosts_is_the_one_that_counts) {
  const auto wide = gateway("infra/in", {Server::http({"*.org"})});
  EXPECT_EQ(Ingress({wide}, {Vs("app/v", {"a.org"}).http({}, "x")}).plain("b.org"),
            "no VirtualService bound to this gateway");
  EXPECT_EQ(Ingress({wide}, {Vs("app/v", {"*.a.org"}).http({}, "x")}).plain("b.a.org"), "app/v http[0] -> x");
  const auto narrow = gateway("infra/in", {Server::http({"a.org"})});
  EXPECT_EQ(Ingress({narrow}, {Vs("app/v", {"*.org"}).http({}, "x")}).plain("a.org"), "app/v http[0] -> x");
  EXPECT_EQ(Ingress({narrow}, {Vs("app/v", {"*.org"}).http({}, "x")}).plain("b.org"), "no server");
}

TEST(IngressRoutes, the_most_specific_host_takes_the_request_and_no_other_is_asked) {
  const Ingress ingress(
      {gateway("infra/in", {Server::http({"*"})})},
      {Vs("app/exact", {"a.b.org"}).http({prefix("/only/")}, "exact"), Vs("app/long", {"*.b.org"}).http({}, "long"),
       Vs("app/short", {"*.org"}).http({}, "short"), Vs("app/all", {"*"}).http({}, "all")});
  EXPECT_EQ(ingress.plain("a.b.org", "/only/x"), "app/exact http[0] -> exact");
  EXPECT_EQ(ingress.plain("a.b.org", "/"), "no route matched");
  EXPECT_EQ(ingress.plain("c.b.org"), "app/long http[0] -> long");
  EXPECT_EQ(ingress.plain("b.org"), "app/short http[0] -> short");
  EXPECT_EQ(ingress.plain("x.net"), "app/all http[0] -> all");
  EXPECT_EQ(ingress.plain("192.0.2.1"), "app/all http[0] -> all");
}

TEST(IngressRoutes, virtual_services_of_one_host_are_asked_by_age_with_catch_all_rules_last) {
  const Ingress ingress({gateway("infra/in", {Server::http({"*"})})},
                        {Vs("app/young", {"a.org"}).created(2).http({prefix("/b/")}, "b").http({prefix("/")}, "late"),
                         Vs("app/old", {"a.org"})
                             .created(1)
                             .http({prefix("/a/")}, "a")
                             .http({}, "all")
                             .http({prefix("/never/")}, "never")});
  EXPECT_EQ(ingress.plain("a.org", "/a/x"), "app/old http[0] -> a");
  EXPECT_EQ(ingress.plain("a.org", "/b/x"), "app/young http[0] -> b");
  EXPECT_EQ(ingress.plain("a.org", "/c"), "app/old http[1] -> all");
  EXPECT_EQ(ingress.plain("a.org", "/never/"), "app/old http[1] -> all");
}

TEST(IngressRoutes, of_equal_age_the_smaller_name_goes_first) {
  const Ingress ingress(
      {gateway("infra/in", {Server::http({"*"})})},
      {Vs("app/z", {"a.org"}).http({prefix("/a/")}, "z"), Vs("app/a", {"a.org"}).http({prefix("/a/")}, "a")});
  EXPECT_EQ(ingress.plain("a.org", "/a/"), "app/a http[0] -> a");
}

TEST(IngressRoutes, a_match_may_be_for_one_port_or_gateway) {
  auto at_81 = prefix("/");
  at_81.port = 81;
  auto at_other = prefix("/");
  at_other.gateways = {{"infra/other"}};
  const std::vector<Gateway> gateways = {gateway("infra/in", {Server::http({"*"}), Server::http({"*"}, 81)}),
                                         gateway("infra/other", {Server::http({"*"}, 82)})};
  const Ingress ingress(gateways, {Vs("app/v", {"a.org"}).http({at_81}, "81").http({at_other}, "other")});
  const auto at = [&](std::uint16_t port) {
    return Ingress::text(ingress.route(port, "", "a.org", Ingress::request("a.org", "/", "http")));
  };
  EXPECT_EQ(at(80), "no VirtualService bound to this gateway") << "one without a rule here is none";
  EXPECT_EQ(at(81), "app/v http[0] -> 81");
  EXPECT_EQ(at(82), "app/v http[1] -> other");
}

TEST(IngressRoutes, rules_for_the_pods_of_a_mesh_are_none_for_strangers) {
  auto labelled = prefix("/");
  labelled.source_labels = {{"app", "billing"}};
  auto spaced = prefix("/");
  spaced.source_namespace = "team";
  auto own = prefix("/");
  own.source_labels = {{"istio", "ingressgateway"}};
  const auto in = gateway("infra/in", {Server::http({"*"})});
  EXPECT_EQ(Ingress({in}, {Vs("app/v", {"a.org"}).http({labelled, spaced}, "x").http({}, "rest")}).plain("a.org"),
            "app/v http[1] -> rest");
  EXPECT_EQ(Ingress({in}, {Vs("app/v", {"a.org"}).http({own}, "x")}).plain("a.org"), "app/v http[0] -> x");
}

TEST(IngressRoutes, the_scheme_is_that_of_the_connection) {
  HttpMatch secure;
  secure.scheme = StringMatch{StringMatch::Kind::exact, "https"};
  const Ingress ingress({gateway("infra/in", {Server::http({"*"}), Server::https({"*"})})},
                        {Vs("app/v", {"a.org"}).http({secure}, "secure").http({}, "plain")});
  EXPECT_EQ(ingress.plain("a.org"), "app/v http[1] -> plain");
  EXPECT_EQ(ingress.tls("a.org"), "app/v http[0] -> secure");
}

TEST(IngressRoutes, an_ambiguous_path_meets_no_rule_at_all) {
  const Ingress ingress({gateway("infra/in", {Server::http({"*"})})}, {Vs("app/v", {"a.org"}).http({}, "x")});
  EXPECT_EQ(ingress.plain("a.org", "/public/../admin"), "ambiguous path");
  EXPECT_EQ(ingress.plain("a.org", "/public%2f..%2fadmin"), "ambiguous path");
  EXPECT_EQ(ingress.plain("a.org", "/group%2Fproject"), "app/v http[0] -> x");
}

TEST(IngressRoutes, a_rule_with_an_answer_of_its_own_gives_it) {
  HttpRule redirect{.name = "moved", .matches = {prefix("/old/")}, .destinations = {}};
  redirect.redirect = HttpRedirect{.uri = "/new"};
  HttpRule direct{.name = "", .matches = {}, .destinations = {}};
  direct.direct_response = DirectResponse{503, "closed"};
  const Ingress ingress({gateway("infra/in", {Server::http({"*"})})},
                        {Vs("app/v", {"a.org"}).http(redirect).http(direct)});
  const auto moved = ingress.route(80, "", "a.org", Ingress::request("a.org", "/old/x", "http"));
  EXPECT_EQ(moved.kind, IngressRoute::Kind::redirect);
  EXPECT_EQ(moved.name, "app/v http[0] moved");
  EXPECT_EQ(moved.host, "a.org");
  ASSERT_NE(moved.match, nullptr);
  EXPECT_EQ(moved.actions->location(Ingress::request("a.org", "/old/x", "http"), moved.match, 80), "http://a.org/new");
  const auto closed = ingress.route(80, "", "a.org", Ingress::request("a.org", "/", "http"));
  EXPECT_EQ(closed.kind, IngressRoute::Kind::direct_response);
  EXPECT_EQ(closed.match, nullptr);
  EXPECT_EQ(closed.rule->direct_response->body, "closed");
  EXPECT_EQ(closed.virtual_service->object.to_string(), "app/v");
}

// httpsRedirect

TEST(HttpsRedirect, goes_for_every_host_of_the_server_with_and_without_a_virtual_service) {
  const Ingress ingress({gateway("infra/in", {Server::http({"a.org", "*.b.org"}).redirected()})},
                        {Vs("app/v", {"a.org", "x.b.org"}).http({}, "x")});
  EXPECT_EQ(ingress.plain("a.org"), "https");
  EXPECT_EQ(ingress.plain("x.b.org"), "https");
  EXPECT_EQ(ingress.plain("y.b.org"), "https") << "no VirtualService";
  EXPECT_EQ(ingress.plain("c.org"), "no server");
}

TEST(HttpsRedirect, of_one_server_is_for_its_hosts_and_wins_where_two_have_one) {
  const Ingress ingress(
      {gateway("infra/in", {Server::http({"a.org", "b.org"}), Server::http({"b.org", "c.org"}).redirected()})},
      {Vs("app/v", {"a.org", "b.org", "c.org"}).http({}, "x")});
  EXPECT_EQ(ingress.plain("a.org"), "app/v http[0] -> x");
  EXPECT_EQ(ingress.plain("b.org"), "https");
  EXPECT_EQ(ingress.plain("c.org"), "https");
}

// Connections that are used for another host than they were made for

TEST(Misdirected, a_host_that_another_server_would_have_met_is_sent_back_to_it) {
  const Ingress ingress(
      {gateway("infra/in", {Server::https({"*.org"}), Server::https({"secret.org"}, ServerTlsMode::mutual),
                            Server::https({"raw.org"}, ServerTlsMode::passthrough)})},
      {Vs("app/v", {"*.org"}).http({}, "x"), Vs("app/s", {"secret.org"}).http({}, "secret")});
  EXPECT_EQ(ingress.tls_with("a.org", "b.org"), "app/v http[0] -> x") << "one server for both";
  EXPECT_EQ(ingress.tls_with("a.org", "secret.org"), "misdirected request") << "past its client certificates";
  EXPECT_EQ(ingress.tls_with("a.org", "raw.org"), "misdirected request");
  EXPECT_EQ(ingress.tls_with("secret.org", "a.org"), "misdirected request");
  EXPECT_EQ(ingress.tls_with("a.org", "a.net"), "no server") << "there is nothing to be sent to";
}

// Connections that are relayed

TEST(IngressRelay, tls_that_passes_through_goes_by_sni) {
  const Ingress ingress({gateway("infra/in", {Server::https({"*.org"}, ServerTlsMode::passthrough)})},
                        {Vs("app/wide", {"*.org"}).created(1).tls({"*.org"}, "wide"),
                         Vs("app/exact", {"a.org"}).created(2).tls({"a.org"}, "exact"),
                         Vs("app/late", {"a.org"}).created(3).tls({"a.org"}, "late")});
  EXPECT_EQ(ingress.relayed(443, "a.org"), "app/exact tls[0] -> exact");
  EXPECT_EQ(ingress.relayed(443, "b.org"), "app/wide tls[0] -> wide");
  EXPECT_EQ(ingress.relayed(443, "b.net"), "no server");
  EXPECT_EQ(ingress.relayed(443, ""), "no server");
}

TEST(IngressRelay, each_missing_piece_unbinds) {
  const auto in = gateway("infra/in", {Server::https({"team/a.org", "b.org"}, ServerTlsMode::passthrough)});
  EXPECT_EQ(Ingress({in}, {}).relayed(443, "b.org"), "no VirtualService");
  EXPECT_EQ(Ingress({in}, {Vs("app/v", {"b.org"}).http({}, "x")}).relayed(443, "b.org"), "no VirtualService");
  EXPECT_EQ(Ingress({in}, {Vs("app/v", {"b.org"}, {"mesh"}).tls({"b.org"}, "x")}).relayed(443, "b.org"),
            "no VirtualService");
  const auto both = Vs("app/v", {"a.org", "b.org"}).tls({"a.org"}, "x");
  EXPECT_EQ(Ingress({in}, {both}).relayed(443, "a.org"), "no route") << "closed to namespace app";
  ConnectionMatch elsewhere;
  elsewhere.port = 444;
  elsewhere.sni_hosts = {"b.org"};
  VirtualService at_444 = Vs("app/v", {"b.org"}).tls({"b.org"}, "x");
  at_444.tls[0].matches[0].port = 444;
  EXPECT_EQ(Ingress({in}, {at_444}).relayed(443, "b.org"), "no route");
}

TEST(IngressRelay, tcp_goes_by_the_first_rule_that_matches) {
  ConnectionMatch other_port;
  other_port.port = 9001;
  const auto in = gateway("infra/in", {Server(9000, ServerProtocol::tcp, {"*"})});
  EXPECT_EQ(Ingress({in}, {Vs("app/v", {"db.org"}).created(2).tcp({}, "late"),
                           Vs("app/u", {"*.org"}).created(1).tcp({other_port}, "never").tcp({}, "first")})
                .relayed(9000),
            "app/u tcp[1] -> first");
  EXPECT_EQ(Ingress({in}, {}).relayed(9000), "no VirtualService");
  EXPECT_EQ(Ingress({in}, {Vs("app/v", {"db.org"}).tcp({other_port}, "x")}).relayed(9000), "no route");
}

TEST(IngressRelay, tls_that_ends_here_around_tcp_goes_by_tcp_rules) {
  const Ingress ingress(
      {gateway("infra/in", {Server(443, ServerProtocol::tls, {"db.org"}).tls(ServerTlsMode::simple)})},
      {Vs("app/v", {"db.org"}).tcp({}, "db")});
  EXPECT_EQ(ingress.relayed(443, "db.org"), "app/v tcp[0] -> db");
}

// Delegates

TEST(IngressRoutes, a_delegates_rules_are_named_with_both) {
  const Ingress ingress({gateway("infra/in", {Server::http({"*"})})},
                        {Vs("app/root", {"a.org"}).delegate({prefix("/shop/")}, "shop/rules").http({}, "rest"),
                         Vs("shop/rules", {}, {"mesh"}).http({prefix("/shop/cart/")}, "cart").http({}, "shop")});
  EXPECT_EQ(ingress.plain("a.org", "/shop/cart/1"), "app/root http[0] shop/rules http[0] -> cart");
  EXPECT_EQ(ingress.plain("a.org", "/shop/x"), "app/root http[0] shop/rules http[1] -> shop");
  EXPECT_EQ(ingress.plain("a.org", "/"), "app/root http[1] -> rest");
}

}  // namespace
}  // namespace sluice
