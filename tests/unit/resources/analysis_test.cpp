// Every finding about objects that refer to each other: a world without any, and what one change to it makes of it.
#include "resources/analysis.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace sluice::resources {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::string_view api = R"(apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: shop}
spec:
  hosts: [api.example.com]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
)";
constexpr std::string_view exit_gateway = R"(apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: exit, namespace: istio-system}
spec:
  selector: {istio: egressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    tls: {mode: PASSTHROUGH}
    hosts: [api.example.com]
)";
constexpr std::string_view route = R"(apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api, namespace: shop}
spec:
  hosts: [api.example.com]
  gateways: [mesh, istio-system/exit]
  tls:
  - match: [{gateways: [mesh], port: 443, sniHosts: [api.example.com]}]
    route: [{destination: {host: egress.istio-system.svc.cluster.local}}]
  - match: [{gateways: [istio-system/exit], port: 443, sniHosts: [api.example.com]}]
    route: [{destination: {host: api.example.com}}]
)";

// One object, without its apiVersion.
std::string object(std::string_view kind, std::string_view name, std::string_view spec) {
  const auto slash = name.find('/');
  return fmt::format(
      "apiVersion: networking.istio.io/v1\nkind: {}\nmetadata: {{name: {}, namespace: {}, creationTimestamp: "
      "\"2026-01-01T00:00:00Z\"}}\nspec: {}\n",
      kind, name.substr(slash + 1), name.substr(0, slash), spec);
}
std::string entry(std::string_view name, std::string_view spec) {
  return object("ServiceEntry", name, spec);
}
std::string gateway(std::string_view name, std::string_view servers) {
  return object("Gateway", name, fmt::format("{{selector: {{istio: egressgateway}}, servers: [{}]}}", servers));
}
std::string virtual_service(std::string_view name, std::string_view spec) {
  return object("VirtualService", name, spec);
}
std::string rule(std::string_view spec) {
  return object("DestinationRule", "shop/rule", spec);
}

using Edit = std::pair<std::string, std::string>;

// The world with `edits` made in it, in file "w", and each of `more` in files "x0", "x1", ...
class Analysed {
 public:
  explicit Analysed(const std::vector<Edit>& edits = {}, const std::vector<std::string>& more = {}) {
    auto text = fmt::format("{}---\n{}---\n{}", api, exit_gateway, route);
    for (const auto& [from, to] : edits) {
      const auto at = text.find(from);
      EXPECT_NE(at, text.npos) << from;
      text.replace(at, from.size(), to);
    }
    add("w", text);
    for (std::size_t i = 0; i < more.size(); ++i) add(fmt::format("x{}", i), more[i]);
  }

  // "CODE FILE:LINE field"
  std::vector<std::string> found() const {
    std::vector<std::string> out;
    for (const auto& problem : analyze(registry_)) {
      out.push_back(fmt::format("{} {}:{} {}", problem.code, problem.file, problem.line, problem.field));
    }
    return out;
  }
  std::vector<Problem> problems() const { return analyze(registry_); }
  std::vector<Problem> of_reading() const { return registry_.problems(); }

 private:
  void add(const std::string& file, const std::string& text) {
    registry_.update_file(file, parse_documents(text, file));
    for (const auto& problem : registry_.problems()) {
      EXPECT_TRUE(problem.severity == Severity::warning) << problem.to_string();
    }
  }
  Registry registry_;
};

struct Row {
  std::string name;
  std::vector<Edit> edits;
  std::vector<std::string> more;
  std::vector<std::string> found;
};
void PrintTo(const Row& row, std::ostream* out) {
  *out << row.name;
}

class Finding : public testing::TestWithParam<Row> {};

TEST_P(Finding, is_what_the_change_makes) {
  const Analysed world(GetParam().edits, GetParam().more);
  EXPECT_THAT(world.found(), testing::ElementsAreArray(GetParam().found));
}

std::string name_of(const testing::TestParamInfo<Row>& row) {
  return row.param.name;
}

TEST(Analysis, of_a_host_that_is_registered_steered_and_let_out_finds_nothing) {
  EXPECT_THAT(Analysed().found(), IsEmpty());
}

const std::string unsteered = "SLU0008 w:5 spec.hosts[0]";
const std::string mesh_rule =
    "  - match: [{gateways: [mesh], port: 443, sniHosts: [api.example.com]}]\n"
    "    route: [{destination: {host: egress.istio-system.svc.cluster.local}}]\n";
const std::string exit_rule =
    "  - match: [{gateways: [istio-system/exit], port: 443, sniHosts: [api.example.com]}]\n"
    "    route: [{destination: {host: api.example.com}}]\n";

INSTANTIATE_TEST_SUITE_P(
    references, Finding,
    testing::Values(
        Row{"no_such_gateway",
            {{"mesh, istio-system/exit", "mesh, istio-system/exits"}, {"[istio-system/exit]", "[istio-system/exits]"}},
            {},
            {"IST0101 w:24 spec.gateways[1]", "IST0101 w:28 spec.tls[1].match[0].gateways[0]"}},
        Row{"no_such_destination",
            {{"host: api.example.com}", "host: api.example.org}"}},
            {},
            {"IST0101 w:29 spec.tls[1].route[0].destination.host"}},
        Row{"cluster_hosts_are_not_in_files", {{"host: egress.", "host: other."}}, {}, {}},
        Row{"destination_not_exported",
            {{"  resolution: DNS", "  resolution: DNS\n  exportTo: [other]"}},
            {},
            {"IST0101 w:30 spec.tls[1].route[0].destination.host"}},
        Row{"no_such_port",
            {{"host: api.example.com}", "host: api.example.com, port: {number: 444}}"}},
            {},
            {"IST0101 w:29 spec.tls[1].route[0].destination.port.number"}},
        Row{"port_that_is_there", {{"host: api.example.com}", "host: api.example.com, port: {number: 443}}"}}, {}, {}},
        Row{"port_of_an_entry_out_of_sight",
            {{"host: api.example.com}", "host: api.example.com, port: {number: 444}}"}},
            {entry("web/z",
                   "{hosts: [api.example.com], exportTo: [.], location: MESH_INTERNAL, ports: [{number: 444, "
                   "name: t, protocol: HTTPS}], resolution: DNS}")},
            {"IST0101 w:29 spec.tls[1].route[0].destination.port.number"}},
        Row{"registered_by_a_wildcard",
            {{"hosts: [api.example.com]", "hosts: [\"*.example.com\"]"}, {"resolution: DNS", "resolution: NONE"}},
            {},
            {}},
        Row{"no_such_subset",
            {{"host: api.example.com}", "host: api.example.com, subset: v1}"}},
            {rule("{host: api.example.com, subsets: [{name: v2}]}")},
            {"IST0101 w:29 spec.tls[1].route[0].destination.subset"}},
        Row{"subset_that_is_there",
            {{"host: api.example.com}", "host: api.example.com, subset: v1}"}},
            {rule("{host: api.example.com, subsets: [{name: v1}]}")},
            {}},
        Row{"port_left_open",
            {{"ports: [", "ports: [{number: 8443, name: other, protocol: TLS}, "},
             {"{gateways: [mesh], port: 443, ", "{gateways: [mesh], "}},
            {},
            {"IST0112 w:29 spec.tls[1].route[0].destination"}},
        Row{"host_that_is_not_registered",
            {{"spec:\n  hosts: [api.example.com]\n  gateways", "spec:\n  hosts: [api.example.com, b.org]\n  gateways"},
             {"hosts: [api.example.com]\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService",
              "hosts: [api.example.com, b.org]\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService"}},
            {},
            {"SLU0011 w:23 spec.hosts[1]"}},
        Row{"ingress_hosts_need_no_registration",
            {},
            {gateway("web/in", "{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com]}"),
             virtual_service("web/in",
                             "{hosts: [shop.example.com], gateways: [in], http: [{route: [{destination: "
                             "{host: shop}}]}]}")},
            {}}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    bindings, Finding,
    testing::Values(
        Row{"no_host_in_the_gateway",
            {{"    hosts: [api.example.com]", "    hosts: [api.example.org]"}},
            {},
            {"IST0132 w:23 spec.hosts"}},
        Row{"host_for_another_namespace",
            {{"    hosts: [api.example.com]", "    hosts: [other/api.example.com]"}},
            {},
            {"IST0132 w:23 spec.hosts"}},
        Row{"host_for_its_namespace",
            {{"    hosts: [api.example.com]", "    hosts: [\"shop/*.example.com\"]"}},
            {},
            {}},
        Row{"one_host_of_two",
            {{"spec:\n  hosts: [api.example.com]\n  gateways", "spec:\n  hosts: [api.example.com, b.org]\n  gateways"}},
            {entry("shop/b",
                   "{hosts: [b.org], location: MESH_INTERNAL, ports: [{number: 443, name: t, protocol: TLS}], "
                   "resolution: DNS}")},
            {"SLU0012 w:23 spec.hosts[1]"}},
        Row{"gateways_namespace_left_out",
            {{"  gateways: [mesh, istio-system/exit]", "  gateways: [mesh, istio-system/exit]\n  exportTo: [.]"}},
            {},
            {"SLU0016 w:25 spec.exportTo"}},
        Row{"gateways_namespace_included",
            {{"  gateways: [mesh, istio-system/exit]",
              "  gateways: [mesh, istio-system/exit]\n  exportTo: [., istio-system]"}},
            {},
            {}}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    steering, Finding,
    testing::Values(
        Row{"no_virtual_service", {{std::string(route), ""}}, {}, {unsteered}},
        Row{"port_that_no_rule_takes",
            {{"ports: [", "ports: [{number: 8443, name: other, protocol: TLS}, "},
             {"host: api.example.com}", "host: api.example.com, port: {number: 443}}"}},
            {},
            {unsteered}},
        Row{"mesh_rule_straight_out",
            {{"host: egress.istio-system.svc.cluster.local", "host: api.example.com"}},
            {},
            {unsteered}},
        Row{"sni_of_another_host",
            {{"spec:\n  hosts: [api.example.com]\n  gateways", "spec:\n  hosts: [\"*.example.com\"]\n  gateways"},
             {"port: 443, sniHosts: [api.example.com]", "port: 443, sniHosts: [b.example.com]"}},
            {},
            {unsteered}},
        Row{"mesh_internal_needs_no_gateway",
            {{std::string(route), ""}, {"  resolution: DNS", "  resolution: DNS\n  location: MESH_INTERNAL"}},
            {},
            {}},
        Row{"no_mesh",
            {{"gateways: [mesh, istio-system/exit]", "gateways: [istio-system/exit]"}, {mesh_rule, ""}},
            {},
            {unsteered, "SLU0009 w:24 spec.gateways"}},
        Row{"one_port_to_two_gateways",
            {},
            {entry("shop/other",
                   "{hosts: [other.example.org], ports: [{number: 443, name: https, protocol: HTTPS}], "
                   "resolution: DNS}"),
             gateway("istio-system/second",
                     "{port: {number: 8443, name: https, protocol: HTTPS}, hosts: [other.example.org], tls: {mode: "
                     "PASSTHROUGH}}"),
             virtual_service("shop/other",
                             "{hosts: [other.example.org], gateways: [mesh, istio-system/second], tls: [{match: "
                             "[{gateways: [mesh], port: 443, sniHosts: [other.example.org]}], route: [{destination: "
                             "{host: second.istio-system.svc.cluster.local}}]}, {match: [{gateways: "
                             "[istio-system/second], port: 8443, sniHosts: [other.example.org]}], route: "
                             "[{destination: {host: other.example.org}}]}]}")},
            {"SLU0019 x2:4 spec.tls[0].match[0]"}},
        Row{"mesh_in_another_virtual_service",
            {{"gateways: [mesh, istio-system/exit]", "gateways: [istio-system/exit]"}, {mesh_rule, ""}},
            {virtual_service("shop/mesh",
                             "{hosts: [api.example.com], tls: [{match: [{sniHosts: [api.example.com]}], "
                             "route: [{destination: {host: egress.istio-system.svc.cluster.local}}]}]}")},
            {}},
        Row{"no_gateway_half",
            {{"gateways: [mesh, istio-system/exit]", "gateways: [mesh]"}, {exit_rule, ""}},
            {},
            {"SLU0010 w:26 spec.tls[0].match[0]"}}),
    name_of);

const std::string http_in = "{port: {number: 443, name: https, protocol: HTTPS}, hosts: [in.example.com], tls: {mode: ";

INSTANTIATE_TEST_SUITE_P(
    servers, Finding,
    testing::Values(
        Row{"passthrough_with_http_rules",
            {},
            {gateway("web/in", http_in + "PASSTHROUGH}}"),
             virtual_service("web/in",
                             "{hosts: [in.example.com], gateways: [in], http: [{route: [{destination: {host: "
                             "shop}}]}]}")},
            {"SLU0014 x0:4 spec.servers[0]"}},
        Row{"passthrough_with_tls_rules",
            {},
            {gateway("web/in", http_in + "PASSTHROUGH}}"),
             virtual_service("web/in",
                             "{hosts: [in.example.com], gateways: [in], tls: [{match: [{sniHosts: "
                             "[in.example.com]}], route: [{destination: {host: shop}}]}]}")},
            {}},
        Row{"simple_with_tls_rules",
            {},
            {gateway("web/in", http_in + "SIMPLE, credentialName: c}}"),
             virtual_service("web/in",
                             "{hosts: [in.example.com], gateways: [in], tls: [{match: [{sniHosts: "
                             "[in.example.com]}], route: [{destination: {host: shop}}]}]}")},
            {"SLU0015 x0:4 spec.servers[0]"}},
        Row{"simple_with_http_rules",
            {},
            {gateway("web/in", http_in + "SIMPLE, credentialName: c}}"),
             virtual_service("web/in",
                             "{hosts: [in.example.com], gateways: [in], http: [{route: [{destination: {host: "
                             "shop}}]}]}")},
            {}},
        Row{"one_certificate_in_two_gateways",
            {},
            {gateway("web/a", http_in + "SIMPLE, credentialName: c}}"),
             gateway("web/b",
                     "{port: {number: 443, name: https, protocol: HTTPS}, hosts: [b.example.com], tls: {mode: "
                     "SIMPLE, credentialName: c}}")},
            {"IST0138 x1:4 spec.servers[0].tls"}},
        Row{"one_certificate_of_other_workloads",
            {},
            {gateway("web/a", http_in + "SIMPLE, credentialName: c}}"),
             object("Gateway", "web/b",
                    "{selector: {istio: other}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: "
                    "[b.example.com], tls: {mode: SIMPLE, credentialName: c}}]}")},
            {}},
        Row{"two_certificates",
            {},
            {gateway("web/a", http_in + "SIMPLE, credentialName: c}}"),
             gateway("web/b",
                     "{port: {number: 443, name: https, protocol: HTTPS}, hosts: [b.example.com], tls: {mode: "
                     "SIMPLE, credentialName: d}}")},
            {}},
        Row{"one_host_in_two_gateways",
            {},
            {gateway("web/b",
                     "{port: {number: 443, name: https, protocol: HTTPS}, hosts: [api.example.com], tls: "
                     "{mode: PASSTHROUGH}}")},
            {"IST0145 x0:4 spec.servers[0].hosts[0]"}},
        Row{"one_host_of_other_workloads",
            {{"istio: egressgateway", "istio: other"}},
            {gateway("web/b",
                     "{port: {number: 443, name: https, protocol: HTTPS}, hosts: [api.example.com], tls: "
                     "{mode: PASSTHROUGH}}")},
            {}},
        Row{"one_host_at_another_address",
            {},
            {gateway("web/b",
                     "{bind: 192.0.2.1, port: {number: 443, name: https, protocol: HTTPS}, hosts: "
                     "[api.example.com], tls: {mode: PASSTHROUGH}}")},
            {}},
        Row{"one_port_for_tls_and_http",
            {},
            {gateway("web/b", "{port: {number: 443, name: http, protocol: HTTP}, hosts: [b.example.com]}")},
            {"SLU0018 x0:4 spec.servers[0].port"}},
        Row{"one_host_in_two_servers",
            {{"    hosts: [api.example.com]",
              "    hosts: [api.example.com]\n  - port: {number: 443, name: again, protocol: TLS}\n    tls: {mode: "
              "PASSTHROUGH}\n    hosts: [b.org, api.example.com]"}},
            {},
            {"SLU0018 w:20 spec.servers[1].hosts[1]"}}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    conflicts, Finding,
    testing::Values(
        Row{"one_mesh_host_in_two",
            {},
            {virtual_service("web/z",
                             "{hosts: [api.example.com], tcp: [{route: [{destination: {host: "
                             "egress.istio-system.svc.cluster.local}}]}]}")},
            // The undated one is the older one.
            {"IST0109 x0:4 spec.hosts[0]"}},
        Row{"one_mesh_host_in_two_scopes",
            {{"  gateways: [mesh, istio-system/exit]",
              "  gateways: [mesh, istio-system/exit]\n  exportTo: [shop, istio-system]"}},
            {virtual_service("web/z",
                             "{hosts: [api.example.com], exportTo: [.], tcp: [{route: [{destination: {host: "
                             "egress.istio-system.svc.cluster.local}}]}]}")},
            {}},
        Row{"wildcard_in_a_narrower_scope",
            {},
            {virtual_service("web/z",
                             "{hosts: [\"*.example.com\"], exportTo: [.], tcp: [{route: [{destination: {host: "
                             "egress.istio-system.svc.cluster.local}}]}]}")},
            {"IST0109 x0:4 spec.hosts[0]"}},
        Row{"wildcard_in_the_same_scope",
            {},
            {virtual_service("web/z",
                             "{hosts: [\"*.example.com\"], tcp: [{route: [{destination: {host: "
                             "egress.istio-system.svc.cluster.local}}]}]}")},
            {}},
        Row{"one_sni_host_in_two",
            {},
            {virtual_service("web/z",
                             "{hosts: [api.example.com], gateways: [istio-system/exit], tls: [{match: "
                             "[{sniHosts: [api.example.com]}], route: [{destination: {host: "
                             "api.example.com}}]}]}")},
            {"SLU0013 x0:4 spec.tls[0].match[0].sniHosts[0]"}},
        Row{"one_sni_host_at_another_port",
            {},
            {virtual_service("web/z",
                             "{hosts: [api.example.com], gateways: [istio-system/exit], tls: [{match: [{port: "
                             "444, sniHosts: [api.example.com]}], route: [{destination: {host: "
                             "api.example.com}}]}]}")},
            {}},
        Row{"one_host_registered_twice",
            {},
            {entry("web/z",
                   "{hosts: [api.example.com], ports: [{number: 443, name: t, protocol: HTTPS}], resolution: DNS}")},
            {"SLU0017 x0:4 spec.hosts[0]"}},
        Row{"one_host_registered_twice_out_of_sight",
            {{"  resolution: DNS", "  resolution: DNS\n  exportTo: [shop]"}},
            {entry("web/z",
                   "{hosts: [api.example.com], exportTo: [.], location: MESH_INTERNAL, ports: [{number: 443, "
                   "name: t, protocol: HTTPS}], resolution: DNS}")},
            {}}),
    name_of);

const std::string to_x = "route: [{destination: {host: x}}]";

std::string gateway_for_web(const std::string& servers) {
  return object("Gateway", "web/in", fmt::format("{{selector: {{istio: ingressgateway}}, servers: [{}]}}", servers));
}
// A VirtualService of a website, with these http rules.
std::string website(const std::string& rules, const std::string& name = "web/site") {
  return virtual_service(name, fmt::format("{{hosts: [in.example.com], gateways: [in], http: [{}]}}", rules));
}
const std::string plain_http = "{port: {number: 80, name: http, protocol: HTTP}, hosts: [in.example.com]";
const std::string web_gateway = gateway_for_web(plain_http + "}");

INSTANTIATE_TEST_SUITE_P(
    ingress, Finding,
    testing::Values(
        Row{"whole",
            {},
            {web_gateway,
             website("{match: [{uri: {prefix: /a/}}], rewrite: {uri: /}, " + to_x + "}, {delegate: {name: rest}}"),
             virtual_service("web/rest", "{http: [{" + to_x + "}]}")},
            {}},
        Row{"delegate_is_not_there",
            {},
            {web_gateway, website("{delegate: {name: rest, namespace: other}}")},
            {"IST0101 x1:4 spec.http[0].delegate"}},
        Row{"delegate_has_hosts",
            {},
            {web_gateway, website("{delegate: {name: more}}"), website("{" + to_x + "}", "web/more")},
            {"SLU0020 x1:4 spec.http[0].delegate"}},
        Row{"delegates_in_a_circle",
            {},
            {web_gateway, website("{delegate: {name: a}}"), virtual_service("web/a", "{http: [{delegate: {name: b}}]}"),
             virtual_service("web/b", "{http: [{delegate: {name: a}}]}")},
            {"SLU0020 x1:4 spec.http[0].delegate"}},
        Row{"delegate_does_not_fit",
            {},
            {web_gateway, website("{match: [{uri: {prefix: /a}}], delegate: {name: rest}}"),
             virtual_service("web/rest", "{http: [{match: [{uri: {prefix: /b}}], " + to_x + "}]}")},
            {"SLU0020 x1:4 spec.http[0].delegate"}},
        Row{"delegate_that_nobody_names",
            {},
            {virtual_service("web/rest", "{http: [{" + to_x + "}]}")},
            {"SLU0021 x0:4 spec"}},
        Row{"mirror_is_not_there",
            {},
            {web_gateway, website("{" + to_x + ", mirror: {host: copy.example.org}}")},
            {"IST0101 x1:4 spec.http[0].mirror.host"}},
        Row{"second_mirror_is_not_there",
            {},
            {web_gateway,
             website("{" + to_x + ", mirrors: [{destination: {host: x}}, {destination: {host: copy.example.org}}]}")},
            {"IST0101 x1:4 spec.http[0].mirrors[1].destination.host"}},
        Row{"rewrite_doubles_a_slash",
            {},
            {web_gateway, website("{match: [{uri: {prefix: /a}}], rewrite: {uri: /}, " + to_x + "}")},
            {"SLU0022 x1:4 spec.http[0].rewrite.uri"}},
        Row{"rewrite_drops_a_slash",
            {},
            {web_gateway, website("{match: [{uri: {prefix: /a/}}], rewrite: {uri: /b}, " + to_x + "}")},
            {"SLU0022 x1:4 spec.http[0].rewrite.uri"}},
        Row{"rewrite_with_both_spellings",
            {},
            {web_gateway,
             website("{match: [{uri: {prefix: /a/}}, {uri: {prefix: /a}}], rewrite: {uri: /}, " + to_x + "}")},
            {}},
        Row{"credentials_for_every_website",
            {},
            {web_gateway,
             website("{corsPolicy: {allowOrigins: [{regex: \".*\"}], allowCredentials: true}, " + to_x + "}")},
            {"SLU0023 x1:4 spec.http[0].corsPolicy.allowCredentials"}},
        Row{"redirected_to_nothing",
            {},
            {gateway_for_web(plain_http + ", tls: {httpsRedirect: true}}"), website("{" + to_x + "}")},
            {"SLU0024 x0:4 spec.servers[0].tls.httpsRedirect"}},
        Row{"redirected_to_https",
            {},
            {gateway_for_web(plain_http + ", tls: {httpsRedirect: true}}, " + http_in + "SIMPLE, credentialName: c}}"),
             website("{" + to_x + "}")},
            {}},
        Row{"match_for_pods_at_a_gateway",
            {},
            {web_gateway, website("{match: [{sourceLabels: {a: b}}], " + to_x + "}")},
            {"SLU0025 x1:4 spec.http[0].match[0].sourceLabels"}},
        Row{"one_sni_for_two_namespaces",
            {},
            {gateway_for_web("{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a/in.example.com], tls: {mode: "
                             "SIMPLE, credentialName: c}}, {port: {number: 443, name: b, protocol: HTTPS}, hosts: "
                             "[b/in.example.com], tls: {mode: SIMPLE, credentialName: d}}")},
            {"SLU0018 x0:4 spec.servers[1].hosts[0]"}}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    rules, Finding,
    testing::Values(
        Row{"behind_a_catch_all",
            {},
            {virtual_service("web/z",
                             "{hosts: [z], http: [{" + to_x + "}, {match: [{uri: {prefix: /a}}], " + to_x + "}]}")},
            {"IST0130 x0:4 spec.http[1]"}},
        Row{"before_a_catch_all",
            {},
            {virtual_service("web/z",
                             "{hosts: [z], http: [{match: [{uri: {prefix: /a}}], " + to_x + "}, {" + to_x + "}]}")},
            {}},
        Row{"all_matches_taken",
            {},
            {virtual_service("web/z", "{hosts: [z], tcp: [{match: [{port: 1}], " + to_x + "}, {match: [{port: 1}], " +
                                          to_x + "}]}")},
            {"IST0130 x0:4 spec.tcp[1]"}},
        Row{"one_match_taken",
            {},
            {virtual_service("web/z", "{hosts: [z], tcp: [{match: [{port: 1}], " + to_x +
                                          "}, {match: [{port: 2}, {port: 1}], " + to_x + "}]}")},
            {"IST0131 x0:4 spec.tcp[1].match[1]"}},
        Row{"prefix_covered",
            {},
            {virtual_service("web/z", "{hosts: [z], http: [{match: [{uri: {prefix: /a}}], " + to_x +
                                          "}, {match: [{uri: {prefix: /a/b}, method: {exact: GET}}], " + to_x + "}]}")},
            {"IST0131 x0:4 spec.http[1].match[0]"}},
        Row{"prefix_of_another_method",
            {},
            {virtual_service("web/z", "{hosts: [z], http: [{match: [{uri: {prefix: /a}, method: {exact: PUT}}], " +
                                          to_x + "}, {match: [{uri: {prefix: /a/b}, method: {exact: GET}}], " + to_x +
                                          "}]}")},
            {}},
        Row{"narrower_first",
            {},
            {virtual_service("web/z", "{hosts: [z], http: [{match: [{uri: {prefix: /a/b}}], " + to_x +
                                          "}, {match: [{uri: {prefix: /a}}], " + to_x + "}]}")},
            {}}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    policies, Finding,
    testing::Values(
        Row{"unknown_host", {}, {rule("{host: b.org}")}, {"IST0174 x0:4 spec.host"}},
        Row{"wildcard_around_a_host", {}, {rule("{host: \"*.example.com\"}")}, {}},
        Row{"no_ca",
            {},
            {rule("{host: api.example.com, trafficPolicy: {tls: {mode: SIMPLE}}}")},
            {"IST0128 x0:4 spec.trafficPolicy.tls"}},
        Row{"with_ca",
            {},
            {rule("{host: api.example.com, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /ca}}}")},
            {}},
        Row{"credential_of_nobody",
            {},
            {rule("{host: api.example.com, trafficPolicy: {tls: {mode: SIMPLE, credentialName: c}}}")},
            {"IST0128 x0:4 spec.trafficPolicy.tls"}},
        Row{"credential_of_workloads",
            {},
            {rule(
                "{host: api.example.com, workloadSelector: {matchLabels: {a: b}}, trafficPolicy: {tls: {mode: SIMPLE, "
                "credentialName: c}}}")},
            {}},
        Row{"no_ca_at_a_port",
            {},
            {rule("{host: api.example.com, trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: "
                  "SIMPLE}}]}}")},
            {"IST0129 x0:4 spec.trafficPolicy.portLevelSettings"}},
        Row{"ca_at_a_port",
            {},
            {rule("{host: api.example.com, trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: "
                  "SIMPLE, caCertificates: /ca}}]}}")},
            {}},
        Row{"subset_without_endpoints",
            {{"  resolution: DNS", "  resolution: DNS\n  endpoints: [{address: a.org, labels: {v: \"1\"}}]"}},
            {rule("{host: api.example.com, subsets: [{name: a, labels: {v: \"2\"}}]}")},
            {"IST0173 x0:4 spec.subsets[0].labels"}},
        Row{"subset_with_endpoints",
            {{"  resolution: DNS", "  resolution: DNS\n  endpoints: [{address: a.org, labels: {v: \"1\"}}]"}},
            {rule("{host: api.example.com, subsets: [{name: a, labels: {v: \"1\"}}]}")},
            {}}),
    name_of);

TEST(Analysis, of_a_gateway_with_errors_does_not_say_that_it_is_missing) {
  Registry registry;
  auto broken = std::string(exit_gateway);
  broken.replace(broken.find("HTTPS}"), 6, "NONE}");
  for (const auto& [file, text] :
       std::vector<Edit>{{"a", std::string(api)}, {"b", broken}, {"c", std::string(route)}}) {
    registry.update_file(file, parse_documents(text, file));
  }
  ASSERT_EQ(registry.problems().size(), 1U);
  EXPECT_THAT(analyze(registry), IsEmpty());
}

std::string read(const std::string& path) {
  std::ifstream file(SLUICE_SOURCE_DIR "/" + path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// "CODE LINE field", of reading and of analysis, and a part of its message.
std::vector<std::string> all_of(const std::string& text) {
  Registry registry;
  registry.update_file("f", parse_documents(text, "f"));
  auto problems = registry.problems();
  const auto more = analyze(registry);
  problems.insert(problems.end(), more.begin(), more.end());
  std::sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.line, a.field, a.code) < std::tie(b.line, b.field, b.code);
  });
  std::vector<std::string> out;
  for (const auto& problem : problems) {
    out.push_back(fmt::format("{} {} {}: {}", problem.code, problem.line, problem.field, problem.message));
  }
  return out;
}

testing::Matcher<std::string> finding(const std::string& place, const std::string& part) {
  return testing::AllOf(testing::StartsWith(place + ": "), testing::HasSubstr(part));
}

TEST(Seed, as_printed_shows_each_of_its_faults_and_nothing_else) {
  EXPECT_THAT(all_of(read("config/resources/seed.yaml")),
              ElementsAre(finding("SLU0008 8 spec.hosts[0]", "[mesh, istio-system/my-egress-gateway]"),
                          finding("SLU0006 25 spec.servers[0].tls", "taken as PASSTHROUGH"),
                          finding("IST0132 38 spec.hosts",
                                  "none of api.external.com is a host of Gateway "
                                  "istio-system/my-egress-gateway"),
                          finding("SLU0011 38 spec.hosts[0]", "is it api.external-service.com?"),
                          finding("SLU0009 40 spec.gateways", "add mesh"),
                          finding("IST0101 40 spec.gateways[0]", "is it istio-system/my-egress-gateway?"),
                          finding("SLU0007 43 spec.tls[0].match[0].sniHosts", "add sniHosts"),
                          finding("IST0101 46 spec.tls[0].route[0].destination.host", "api.external-service.com")));
}

TEST(Seed, with_its_names_made_to_agree_still_lacks_mesh_and_hosts_of_sni) {
  auto text = read("config/resources/seed.yaml");
  for (const auto& [from, to] : std::vector<Edit>{{"- api.external.com", "- api.external-service.com"},
                                                  {"- egress-gateway", "- istio-system/my-egress-gateway"},
                                                  {"host: api.external.com", "host: api.external-service.com"}}) {
    ASSERT_NE(text.find(from), text.npos);
    text.replace(text.find(from), from.size(), to);
  }
  EXPECT_THAT(all_of(text),
              ElementsAre(finding("SLU0008 8 spec.hosts[0]", ""),  //
                          finding("SLU0006 25 spec.servers[0].tls", ""), finding("SLU0009 40 spec.gateways", ""),
                          finding("SLU0007 43 spec.tls[0].match[0].sniHosts", "")));
}

TEST(Seed, of_ingress_names_its_gateway_without_the_namespace) {
  const std::string text = R"(apiVersion: networking.istio.io/v1beta1
kind: Gateway
metadata:
  name: my-ingress-gateway
  namespace: istio-system
spec:
  selector:
    istio: ingressgateway
  servers:
  - port:
      number: 443
      name: https
      protocol: HTTPS
    tls:
      mode: SIMPLE
      credentialName: tls-cert
    hosts:
    - "myapp.example.com"
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: myapp-vs
  namespace: my-namespace
spec:
  hosts:
  - "myapp.example.com"
  gateways:
  - my-ingress-gateway
  http:
  - route:
    - destination:
        host: myapp-service
        port:
          number: 80
)";
  EXPECT_THAT(all_of(text),
              ElementsAre(finding("IST0101 29 spec.gateways[0]", "is it istio-system/my-ingress-gateway?")));
  auto right = text;
  right.replace(right.find("- my-ingress"), 2, "- istio-system/");
  EXPECT_THAT(all_of(right), IsEmpty());
}

TEST(Analysis, names_object_and_severity_of_what_it_finds) {
  const Analysed world(std::vector<Edit>{{"host: api.example.com}", "host: nowhere.org}"}});
  ASSERT_EQ(world.problems().size(), 1U);
  EXPECT_EQ(world.problems()[0].to_string(),
            "w:29: error IST0101: VirtualService shop/api: spec.tls[1].route[0].destination.host: no ServiceEntry has "
            "nowhere.org: register it, or change the host");
}

}  // namespace
}  // namespace sluice::resources
