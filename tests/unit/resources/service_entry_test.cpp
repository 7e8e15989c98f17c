// Every rule about a ServiceEntry, one row each: what it says, and where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "entry.h"
#include "resources/document.h"
#include "row.h"

namespace sluice::resources {
namespace {

constexpr auto tls_port = "ports: [{number: 443, name: tls, protocol: TLS}]\n";

std::string repeat_items(std::string_view item, int count) {
  std::string out = "[";
  for (int i = 0; i < count; ++i) out += std::string(i == 0 ? "" : ", ") + std::string(item) + std::to_string(i);
  return out + "]";
}

class Rule : public testing::TestWithParam<Row> {};

// Exactly one problem, at the right place; an error keeps the service out, a warning does not.
TEST_P(Rule, is_reported_where_it_is_broken) {
  const auto content = parse_documents(entry(GetParam().text), "f.yaml");
  ASSERT_FALSE(content.failure) << content.failure->to_string();
  ASSERT_EQ(content.documents.size(), 1U);
  const auto& document = content.documents[0];
  std::vector<std::string> places;
  for (const auto& problem : document.problems) places.push_back(where(problem) + ": " + problem.message);
  ASSERT_EQ(places.size(), 1U) << testing::PrintToString(places);
  const auto& problem = document.problems[0];
  EXPECT_EQ(where(problem), GetParam().where);
  EXPECT_THAT(problem.message, testing::HasSubstr(GetParam().message));
  EXPECT_EQ(problem.file, "f.yaml");
  EXPECT_EQ(problem.object, "ServiceEntry ns/se");
  EXPECT_EQ(document.as<Service>() != nullptr, problem.severity == Severity::warning);
}

std::string dns(const std::string& rest) {
  return "resolution: DNS\n" + std::string(tls_port) + rest;
}

INSTANTIATE_TEST_SUITE_P(
    hosts, Rule,
    testing::Values(
        Row{"required", dns(""), "7 error IST0106 spec.hosts", "is required: at least one DNS name"},
        Row{"not_empty", dns("hosts: []"), "9 error IST0106 spec.hosts", "is required"},
        Row{"null_is_absent", dns("hosts:"), "9 error IST0106 spec.hosts", "is required"},
        Row{"at_most_256", dns("hosts: " + repeat_items("h", 257)), "9 error IST0106 spec.hosts",
            "has 257 items, at most 256 are allowed"},
        Row{"not_a_bare_star", "hosts: [\"*\", a.b]\n" + std::string(tls_port), "7 error IST0106 spec.hosts[0]",
            "a bare \"*\" would register every host"},
        Row{"star_in_the_middle", dns("hosts: [a.b, \"a.*.b\"]"), "9 error IST0106 spec.hosts[1]",
            "with \"*\" at most as its first label"},
        Row{"star_behind_letters", dns("hosts: [a.b, \"a*.b\"]"), "9 error IST0106 spec.hosts[1]", "DNS name"},
        Row{"underscore", dns("hosts: [a.b, a_b.c]"), "9 error IST0106 spec.hosts[1]", "DNS name"},
        Row{"ip_address", dns("hosts: [a.b, 192.0.2.1]"), "9 error IST0106 spec.hosts[1]", "DNS name"},
        Row{"ipv6_address", dns("hosts: [a.b, \"2001:db8::1\"]"), "9 error IST0106 spec.hosts[1]", "DNS name"},
        Row{"empty", dns("hosts: [a.b, \"\"]"), "9 error IST0106 spec.hosts[1]", "DNS name"},
        Row{"empty_label", dns("hosts: [a.b, a..b]"), "9 error IST0106 spec.hosts[1]", "DNS name"},
        Row{"two_trailing_dots", dns("hosts: [a.b, a..]"), "9 error IST0106 spec.hosts[1]", "DNS name"},
        Row{"long_label", dns("hosts: [a.b, " + std::string(64, 'a') + ".c]"), "9 error IST0106 spec.hosts[1]",
            "DNS name"},
        Row{"long_name",
            dns("hosts: [a.b, " + std::string(60, 'a') + "." + std::string(60, 'a') + "." + std::string(60, 'a') + "." +
                std::string(60, 'a') + "." + std::string(12, 'a') + "]"),
            "9 error IST0106 spec.hosts[1]", "DNS name"},
        Row{"with_port", dns("hosts: [a.b, \"a.b:443\"]"), "9 error IST0106 spec.hosts[1]", "DNS name"},
        Row{"not_text", dns("hosts:\n- a.b\n- 15"), "11 error IST0106 spec.hosts[1]", "put \"15\" in quotes"},
        Row{"not_a_list", dns("hosts: a.b") + "\n", "9 error IST0106 spec.hosts", "expected a list"},
        Row{"twice", dns("hosts: [a.b, A.B.]"), "9 warning IST0133 spec.hosts[1]", "a.b is there twice"},
        Row{"partial_wildcard", "resolution: NONE\nhosts: [\"*b.example.com\"]\n" + std::string(tls_port),
            "8 warning IST0133 spec.hosts[0]", "matches every name that ends so"},
        Row{"wildcard_with_dns", dns("hosts: [\"*.b\"]"), "9 error IST0106 spec.hosts[0]", "cannot be resolved"},
        Row{"wildcard_with_round_robin", "resolution: DNS_ROUND_ROBIN\nhosts: [\"*.b\"]\n" + std::string(tls_port),
            "8 error IST0106 spec.hosts[0]", "cannot be resolved"},
        Row{"exact_with_dynamic_dns", "resolution: DYNAMIC_DNS\nhosts: [\"*.a.b\", a.b]\n" + std::string(tls_port),
            "8 error IST0106 spec.hosts[1]", "takes wildcards only"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    addresses, Rule,
    testing::Values(Row{"not_an_address", "hosts: [a.b]\naddresses: [10.0.0.1, nine]\n" + std::string(tls_port),
                        "8 error IST0106 spec.addresses[1]", "expected an IP address or a range"},
                    Row{"length_out_of_range", "hosts: [a.b]\naddresses: [10.0.0.0/33]\n" + std::string(tls_port),
                        "8 error IST0106 spec.addresses[0]", "expected an IP address or a range"},
                    Row{"bits_behind_the_prefix", "hosts: [a.b]\naddresses: [10.1.2.3/12]\n" + std::string(tls_port),
                        "8 warning IST0133 spec.addresses[0]", "is read as 10.0.0.0/12"},
                    Row{"at_most_256",
                        "hosts: [a.b]\naddresses: " + repeat_items("10.0.0.", 257) + "\n" + std::string(tls_port),
                        "8 error IST0106 spec.addresses", "has 257 items, at most 256 are allowed"},
                    Row{"range_with_dns", dns("hosts: [a.b]\naddresses: [10.0.0.0/8]"),
                        "10 error IST0106 spec.addresses", "ranges go with resolution NONE or STATIC only"},
                    Row{"full_length_range_with_dns", dns("hosts: [a.b]\naddresses: [10.0.0.1/32]"),
                        "10 error IST0106 spec.addresses", "ranges go with resolution NONE or STATIC only"},
                    Row{"range_with_round_robin",
                        "hosts: [a.b]\nresolution: DNS_ROUND_ROBIN\naddresses: [10.0.0.0/8]\n" + std::string(tls_port),
                        "9 error IST0106 spec.addresses", "ranges go with resolution NONE or STATIC only"},
                    Row{"with_dynamic_dns",
                        "hosts: [\"*.b\"]\nresolution: DYNAMIC_DNS\naddresses: [10.0.0.1]\n" + std::string(tls_port),
                        "9 error IST0106 spec.addresses", "takes none"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    ports, Rule,
    testing::Values(
        Row{"none", "hosts: [a.b]", "7 warning IST0133 spec.ports", "nothing is registered"},
        Row{"number_required", "hosts: [a.b]\nports:\n- {name: x, protocol: TLS}",
            "9 error IST0106 spec.ports[0].number", "is required"},
        Row{"number_not_0", "hosts: [a.b]\nports:\n- {number: 0, name: x, protocol: TLS}",
            "9 error IST0106 spec.ports[0].number", "expected an integer from 1 to 65535, found \"0\""},
        Row{"number_at_most_65535", "hosts: [a.b]\nports:\n- {number: 65536, name: x, protocol: TLS}",
            "9 error IST0106 spec.ports[0].number", "found \"65536\""},
        Row{"number_not_text", "hosts: [a.b]\nports:\n- {number: \"443\", name: x, protocol: TLS}",
            "9 error IST0106 spec.ports[0].number", "found the text \"443\""},
        Row{"number_unique",
            "hosts: [a.b]\nports:\n- {number: 443, name: x, protocol: TLS}\n- {number: 443, name: y, protocol: TLS}",
            "10 error IST0106 spec.ports[1]", "port number 443 is there already"},
        Row{"name_required", "hosts: [a.b]\nports:\n- {number: 443, protocol: TLS}",
            "9 error IST0106 spec.ports[0].name", "is required"},
        Row{"name_not_empty", "hosts: [a.b]\nports:\n- {number: 443, name: \"\", protocol: TLS}",
            "9 error IST0106 spec.ports[0].name", "expected at most 63 letters"},
        Row{"name_a_label", "hosts: [a.b]\nports:\n- {number: 443, name: a_b, protocol: TLS}",
            "9 error IST0106 spec.ports[0].name", "expected at most 63 letters"},
        Row{"name_unique",
            "hosts: [a.b]\nports:\n- {number: 443, name: x, protocol: TLS}\n- {number: 444, name: x, protocol: TLS}",
            "10 error IST0106 spec.ports[1]", "port name \"x\" is there already"},
        Row{"protocol_known", "hosts: [a.b]\nports:\n- {number: 443, name: x, protocol: UDP}",
            "9 error IST0106 spec.ports[0].protocol", "expected one of HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP, TLS"},
        Row{"target_port_in_range", "hosts: [a.b]\nports:\n- {number: 443, name: x, protocol: TLS, targetPort: 70000}",
            "9 error IST0106 spec.ports[0].targetPort", "found \"70000\""},
        Row{"a_mapping", "hosts: [a.b]\nports:\n- {number: 443, name: x, protocol: TLS}\n- 444",
            "10 error IST0106 spec.ports[1]", "expected a mapping of keys, found a single value"},
        Row{"unknown_field", "hosts: [a.b]\nports:\n- number: 443\n  name: x\n  protocol: TLS\n  nodePort: 5",
            "12 warning IST0133 spec.ports[0].nodePort", "is not a known key; known are name, number, protocol"},
        Row{"tcp_needs_addresses",
            dns("hosts: [a.b]").replace(16, dns("").size() - 16, "ports: [{number: 5432, name: db, protocol: TCP}]\n"),
            "8 warning IST0134 spec.ports[0]", "TCP without addresses"},
        Row{"mongo_open_to_all", "hosts: [a.b]\nports: [{number: 27017, name: db, protocol: MONGO}]",
            "8 warning SLU0001 spec.ports[0]", "opens port 27017 to every address"},
        Row{"several_hosts_need_names",
            "hosts: [a.b, c.d]\nresolution: DNS\naddresses: [10.0.0.1]\nports: [{number: 1, name: db, protocol: TCP}]",
            "10 error IST0106 spec.ports[0]", "several hosts cannot be told apart"},
        Row{"dynamic_dns_not_https",
            "hosts: [\"*.b\"]\nresolution: DYNAMIC_DNS\nports: [{number: 1, name: x, protocol: HTTPS}]",
            "9 error IST0106 spec.ports[0]", "takes protocols HTTP, HTTP2, GRPC and TLS only"}),
    name_of);

std::string endpoints(const std::string& resolution, const std::string& list) {
  return "hosts: [a.b]\nresolution: " + resolution + "\n" + tls_port + "endpoints:\n" + list;
}

INSTANTIATE_TEST_SUITE_P(
    endpoints, Rule,
    testing::Values(Row{"not_with_none", endpoints("NONE", "- address: 10.0.0.1"), "11 error IST0106 spec.endpoints",
                        "resolution NONE takes none"},
                    Row{"not_with_dynamic_dns",
                        "hosts: [\"*.b\"]\nresolution: DYNAMIC_DNS\n" + std::string(tls_port) +
                            "endpoints:\n- address: 10.0.0.1",
                        "11 error IST0106 spec.endpoints", "resolution DYNAMIC_DNS takes none"},
                    Row{"one_with_round_robin", endpoints("DNS_ROUND_ROBIN", "- address: a.c\n- address: a.d"),
                        "11 error IST0106 spec.endpoints", "takes at most one"},
                    Row{"address_required", endpoints("DNS", "- weight: 1"),
                        "11 error IST0106 spec.endpoints[0].address", "is required"},
                    Row{"address_beside_network", endpoints("DNS", "- network: n1"),
                        "11 error IST0106 spec.endpoints[0].address", "only a network cannot be dialled"},
                    Row{"static_takes_addresses", endpoints("STATIC", "- address: a.c"),
                        "11 error IST0106 spec.endpoints[0].address", "resolution STATIC expects an IP address"},
                    Row{"dns_takes_names", endpoints("DNS", "- address: \"*.c\""),
                        "11 error IST0106 spec.endpoints[0].address", "expected an IP address or a DNS name"},
                    Row{"no_unix_socket", endpoints("STATIC", "- address: unix:///run/x"),
                        "11 error IST0106 spec.endpoints[0].address", "cannot be dialled by a gateway"},
                    Row{"port_names_exist", endpoints("DNS", "- address: a.c\n  ports:\n    http: 80"),
                        "13 error IST0106 spec.endpoints[0].ports.http", "is no port of spec.ports"},
                    Row{"port_numbers_in_range", endpoints("DNS", "- address: a.c\n  ports:\n    tls: 0"),
                        "13 error IST0106 spec.endpoints[0].ports.tls", "expected an integer from 1 to 65535"},
                    Row{"weight_a_number", endpoints("DNS", "- address: a.c\n  weight: -1"),
                        "12 error IST0106 spec.endpoints[0].weight", "expected an integer from 0"},
                    Row{"labels_are_text", endpoints("DNS", "- address: a.c\n  labels: {a: 1}"),
                        "12 error IST0106 spec.endpoints[0].labels.a", "put \"1\" in quotes"},
                    Row{"unknown_field", endpoints("DNS", "- address: a.c\n  zone: x"),
                        "12 warning IST0133 spec.endpoints[0].zone", "is not a known key"},
                    Row{"static_without_any", "hosts: [a.b]\nresolution: STATIC\n" + std::string(tls_port),
                        "7 warning SLU0002 spec.endpoints", "has nobody to dial"},
                    Row{"at_most_4096",
                        endpoints(
                            "DNS", "  [" +
                                       [] {
                                         std::string all;
                                         for (int i = 0; i < 4097; ++i) all += "{address: a.c}, ";
                                         return all;
                                       }() +
                                       "]"),
                        "11 error IST0106 spec.endpoints", "has 4097 items"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    the_rest, Rule,
    testing::Values(
        Row{"unknown_field", dns("hosts: [a.b]\nfuture: 1"), "10 warning IST0133 spec.future", "is not a known key"},
        Row{"repeated_field", dns("hosts: [a.b]\nhosts: [c.d]"), "10 error IST0106 spec.hosts", "is there twice"},
        Row{"resolution_known", "hosts: [a.b]\nresolution: dns\n" + std::string(tls_port),
            "8 error IST0106 spec.resolution", "expected one of NONE, STATIC, DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS"},
        Row{"location_known", dns("hosts: [a.b]\nlocation: OUTSIDE"), "10 error IST0106 spec.location",
            "expected one of MESH_EXTERNAL, MESH_INTERNAL"},
        Row{"selector_is_not_read",
            "hosts: [a.b]\nresolution: DNS\n" + std::string(tls_port) + "workloadSelector: {labels: {a: b}}",
            "7 warning SLU0003 spec.workloadSelector", "selects workloads of the mesh"},
        Row{"export_a_namespace", dns("hosts: [a.b]\nexportTo: [x, Y]"), "10 error IST0106 spec.exportTo[1]",
            "the name of a namespace"},
        Row{"export_all_alone", dns("hosts: [a.b]\nexportTo: [\"*\", x]"), "10 error IST0106 spec.exportTo",
            "\"*\" stands alone"},
        Row{"export_nobody_alone", dns("hosts: [a.b]\nexportTo: [\"~\", x]"), "10 error IST0106 spec.exportTo",
            "\"~\" stands alone"},
        Row{"export_once", dns("hosts: [a.b]\nexportTo: [x, x]"), "10 error IST0106 spec.exportTo[1]",
            "\"x\" is there already"},
        Row{"export_own_once", dns("hosts: [a.b]\nexportTo: [\".\", ns]"), "10 error IST0106 spec.exportTo[1]",
            "\"ns\" is there already"},
        Row{"export_tilde_unquoted", dns("hosts: [a.b]\nexportTo: [~]"), "10 error IST0106 spec.exportTo[0]",
            "put ~ in quotes"},
        Row{"alternative_names_are_text", dns("hosts: [a.b]\nsubjectAltNames: [[]]"),
            "10 error IST0106 spec.subjectAltNames[0]", "expected text, found a list"}),
    name_of);

std::vector<std::string> all_problems(const std::string& spec) {
  std::vector<std::string> out;
  const auto content = parse_documents(entry(spec), "f");
  for (const auto& problem : content.documents.at(0).problems) out.push_back(where(problem));
  return out;
}

TEST(ServiceEntry, a_selector_excludes_endpoints) {
  EXPECT_THAT(all_problems(endpoints("DNS", "- address: a.c\nworkloadSelector: {labels: {a: b}}")),
              testing::UnorderedElementsAre("12 error IST0106 spec.workloadSelector",
                                            "7 warning SLU0003 spec.workloadSelector"));
}

TEST(ServiceEntry, tcp_without_addresses_and_resolution_none_is_reported_as_open_to_all) {
  EXPECT_THAT(all_problems("hosts: [a.b]\nports: [{number: 22, name: ssh, protocol: TCP}]"),
              testing::UnorderedElementsAre("8 warning IST0134 spec.ports[0]", "8 warning SLU0001 spec.ports[0]"));
}

TEST(ServiceEntry, every_problem_of_an_object_is_reported_in_order_of_lines) {
  EXPECT_THAT(all_problems("hosts: [a_b]\nports:\n- {number: 0, name: x}\nexportTo: [X]\nnew: 1\naddresses: [x]"),
              testing::ElementsAre("7 error IST0106 spec.hosts[0]", "9 error IST0106 spec.ports[0].number",
                                   "10 error IST0106 spec.exportTo[0]", "11 warning IST0133 spec.new",
                                   "12 error IST0106 spec.addresses[0]"));
}

const Service& service_of(const FileContent& content) {
  return *content.documents.at(0).as<Service>();
}

TEST(ServiceEntry, every_field_arrives) {
  const auto content = parse_documents(entry(R"(hosts: [API.Example.com., "*.Example.org"]
addresses: [203.0.113.7, 198.51.100.0/24, "2001:db8::/32"]
ports:
- {number: 443, name: tls, protocol: tls, targetPort: 8443}
- {number: 80, name: web, protocol: Http}
- {number: 81, name: web2, protocol: HTTP2}
- {number: 82, name: rpc, protocol: gRPC}
- {number: 83, name: secure, protocol: HTTPS}
location: MESH_INTERNAL
resolution: STATIC
endpoints:
- {address: 192.0.2.1, ports: {tls: 9443}, weight: 5, locality: a/b, labels: {x: y}, network: n, serviceAccount: s}
- {address: "2001:DB8::1", weight: 0}
exportTo: [".", other]
subjectAltNames: [x]
)"),
                                       "f");
  ASSERT_THAT(content.documents.at(0).problems, testing::IsEmpty());
  const auto& service = service_of(content);
  EXPECT_EQ(service.rule(), "ns/se");
  EXPECT_EQ(service.hosts, (std::vector<std::string>{"api.example.com", "*.example.org"}));
  EXPECT_EQ(service.addresses,
            (std::vector{*Cidr::parse("203.0.113.7"), *Cidr::parse("198.51.100.0/24"), *Cidr::parse("2001:db8::/32")}));
  ASSERT_EQ(service.ports.size(), 5U);
  EXPECT_EQ(service.ports[0].number, 443);
  EXPECT_EQ(service.ports[0].target_port, 8443);
  EXPECT_EQ(service.ports[0].name, "tls");
  EXPECT_EQ(service.ports[0].protocol, Protocol::tls);
  EXPECT_EQ(service.ports[1].protocol, Protocol::http);
  EXPECT_EQ(service.ports[1].target_port, 80);
  EXPECT_EQ(service.ports[2].protocol, Protocol::http2);
  EXPECT_EQ(service.ports[3].protocol, Protocol::grpc);
  EXPECT_EQ(service.ports[4].protocol, Protocol::https);
  EXPECT_EQ(service.location, Location::mesh_internal);
  EXPECT_EQ(service.resolution, Resolution::static_);
  ASSERT_EQ(service.endpoints.size(), 2U);
  EXPECT_EQ(service.endpoints[0].address, "192.0.2.1");
  EXPECT_THAT(service.endpoints[0].ports, testing::ElementsAre(testing::Pair("tls", 9443)));
  EXPECT_EQ(service.endpoints[0].weight, 5U);
  EXPECT_EQ(service.endpoints[0].locality, "a/b");
  EXPECT_THAT(service.endpoints[0].labels, testing::ElementsAre(testing::Pair("x", "y")));
  EXPECT_THAT(service.subject_alt_names, testing::ElementsAre("x"));
  EXPECT_EQ(service.endpoints[1].address, "2001:db8::1");
  EXPECT_EQ(service.endpoints[1].weight, 1U);
  EXPECT_EQ(service.export_to, (std::vector<std::string>{"ns", "other"}));
}

TEST(ServiceEntry, what_is_left_out_has_istios_defaults) {
  const auto content = parse_documents(
      "apiVersion: networking.istio.io/v1alpha3\nkind: ServiceEntry\nmetadata: {name: se, creationTimestamp: null}\n"
      "spec: {hosts: [a.b], addresses: [10.0.0.1], ports: [{number: 1, name: x}], endpoints: null}\n",
      "f");
  ASSERT_THAT(content.documents.at(0).problems, testing::IsEmpty());
  const auto& service = service_of(content);
  EXPECT_EQ(service.namespace_name, "default");
  EXPECT_EQ(service.ports[0].protocol, Protocol::tcp);
  EXPECT_EQ(service.resolution, Resolution::none);
  EXPECT_EQ(service.location, Location::mesh_external);
  EXPECT_TRUE(service.export_to.empty());
  EXPECT_EQ(service.created, 0);
}

TEST(ServiceEntry, every_resolution_is_read) {
  const auto resolution = [](const std::string& name, const std::string& host) {
    return parse_documents(entry("hosts: [\"" + host + "\"]\nresolution: " + name + "\n" + tls_port), "f")
        .documents.at(0)
        .as<Service>()
        ->resolution;
  };
  EXPECT_EQ(resolution("NONE", "*.a"), Resolution::none);
  EXPECT_EQ(resolution("STATIC", "a.b"), Resolution::static_);
  EXPECT_EQ(resolution("DNS", "a.b"), Resolution::dns);
  EXPECT_EQ(resolution("DNS_ROUND_ROBIN", "a.b"), Resolution::dns_round_robin);
  EXPECT_EQ(resolution("DYNAMIC_DNS", "*.a"), Resolution::dynamic_dns);
}

TEST(ServiceEntry, export_to_is_normalised) {
  const auto exports = [](const std::string& list) {
    return parse_documents(entry(dns("hosts: [a.b]\nexportTo: " + list)), "f").documents.at(0).as<Service>()->export_to;
  };
  EXPECT_THAT(exports("[\"*\"]"), testing::IsEmpty());
  EXPECT_THAT(exports("[]"), testing::IsEmpty());
  EXPECT_THAT(exports("[\"~\"]"), testing::ElementsAre("~"));
  EXPECT_THAT(exports("[.]"), testing::ElementsAre("ns"));
}

TEST(ServiceEntry, endpoints_make_wildcards_resolvable) {
  EXPECT_THAT(all_problems("hosts: [\"*.b\"]\nresolution: DNS\n" + std::string(tls_port) +
                           "endpoints: [{address: Proxy.Example.com.}]"),
              testing::IsEmpty());
}

}  // namespace
}  // namespace sluice::resources
