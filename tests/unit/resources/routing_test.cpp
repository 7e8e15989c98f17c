// Gateways, VirtualServices and DestinationRules: what is read, and every rule about them, one row each.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "resources/document.h"
#include "row.h"

namespace sluice::resources {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

// An object ns/x whose spec begins in line 5.
std::string object(const std::string& kind, const std::string& spec) {
  return "apiVersion: networking.istio.io/v1\nkind: " + kind + "\nmetadata: {name: x, namespace: ns}\nspec:\n" + spec +
         "\n";
}

Document read(const std::string& text) {
  const auto content = parse_documents(text, "f");
  EXPECT_FALSE(content.failure) << content.failure->to_string();
  EXPECT_EQ(content.documents.size(), 1U);
  return content.documents.at(0);
}
Document read(const std::string& kind, const std::string& spec) {
  return read(object(kind, spec));
}

class RoutingRule : public testing::TestWithParam<Row> {};

// Exactly one problem, at the right place; an error keeps the object out, a warning does not.
TEST_P(RoutingRule, is_reported_where_it_is_broken) {
  const auto document = read(GetParam().text);
  std::vector<std::string> places;
  for (const auto& problem : document.problems) places.push_back(where(problem) + ": " + problem.message);
  ASSERT_EQ(places.size(), 1U) << testing::PrintToString(places);
  EXPECT_EQ(where(document.problems[0]), GetParam().where);
  EXPECT_THAT(document.problems[0].message, testing::HasSubstr(GetParam().message));
  EXPECT_EQ(std::holds_alternative<std::monostate>(document.object), document.has_errors());
}

// A Gateway with one server: `port` and the rest of it.
Row server(const std::string& name, const std::string& port, const std::string& rest, const std::string& where,
           const std::string& message) {
  return {name, object("Gateway", "  servers:\n  - port: {" + port + "}\n    " + rest), where, message};
}

const std::string https = "number: 443, name: https, protocol: HTTPS";
const std::string hosts = "hosts: [a.b]\n    ";

INSTANTIATE_TEST_SUITE_P(
    gateway, RoutingRule,
    testing::Values(
        Row{"no_servers", object("Gateway", "  selector: {a: b}"), "5 error IST0106 spec.servers", "is required"},
        Row{"unknown_key",
            object("Gateway", "  future: 1\n  servers: [{port: {number: 1, name: x, protocol: TCP}, hosts: [a.b]}]"),
            "5 warning IST0133 spec.future", "is not a known key"},
        server("no_tls", https, "hosts: [a.b]", "6 warning SLU0006 spec.servers[0].tls", "taken as PASSTHROUGH"),
        server("no_hosts", "number: 1, name: x, protocol: TCP", "hosts: []", "7 error IST0106 spec.servers[0].hosts",
               "is required"),
        server("host_in_the_middle", "number: 1, name: x, protocol: TCP", "hosts: [\"a.*.b\"]",
               "7 error IST0106 spec.servers[0].hosts[0]", "\"namespace/host\""),
        server("host_of_no_namespace", "number: 1, name: x, protocol: TCP", "hosts: [\"A/a.b\"]",
               "7 error IST0106 spec.servers[0].hosts[0]", "\"namespace/host\""),
        server("port_without_name", "number: 1, protocol: TCP", hosts, "6 error IST0106 spec.servers[0].port.name",
               "is required"),
        server("port_without_number", "name: x, protocol: TCP", hosts, "6 error IST0106 spec.servers[0].port.number",
               "is required"),
        server("port_without_protocol", "number: 1, name: x", hosts, "6 error IST0106 spec.servers[0].port.protocol",
               "is required"),
        server("unknown_protocol", "number: 1, name: x, protocol: UDP", hosts,
               "6 error IST0106 spec.servers[0].port.protocol", "expected one of HTTP, HTTPS"),
        server("target_port", "number: 1, name: x, protocol: TCP, targetPort: 2", hosts,
               "6 error IST0106 spec.servers[0].port.targetPort", "remove it"),
        server("bind_is_no_address", "number: 1, name: x, protocol: TCP", hosts + "bind: here",
               "8 error IST0106 spec.servers[0].bind", "expected an IP address"),
        server("tls_of_http", "number: 1, name: x, protocol: HTTP", hosts + "tls: {mode: SIMPLE}",
               "8 error IST0106 spec.servers[0].tls.mode", "httpsRedirect only"),
        server("tls_of_tcp", "number: 1, name: x, protocol: TCP", hosts + "tls: {mode: SIMPLE}",
               "8 error IST0106 spec.servers[0].tls.mode", "HTTPS or TLS only"),
        server("unknown_mode", https, hosts + "tls: {mode: OPEN}", "8 error IST0106 spec.servers[0].tls.mode",
               "expected one of PASSTHROUGH"),
        server("certificates_of_passthrough", https, hosts + "tls: {credentialName: c}",
               "8 warning IST0133 spec.servers[0].tls", "not used"),
        server("certificates_of_the_mesh", https, hosts + "tls: {mode: ISTIO_MUTUAL, credentialName: c}",
               "8 error IST0106 spec.servers[0].tls.mode", "remove the others"),
        server("no_key", https, hosts + "tls: {mode: SIMPLE, serverCertificate: /c}",
               "8 error IST0106 spec.servers[0].tls.privateKey", "is required"),
        server("no_ca", https, hosts + "tls: {mode: MUTUAL, serverCertificate: /c, privateKey: /k}",
               "8 error IST0106 spec.servers[0].tls.caCertificates", "is required"),
        server("two_sources", https,
               hosts + "tls: {mode: SIMPLE, credentialName: c, serverCertificate: /c, privateKey: /k}",
               "8 error IST0106 spec.servers[0].tls.credentialName", "keep one"),
        server("no_version_left", https,
               hosts +
                   "tls: {mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}",
               "8 error IST0106 spec.servers[0].tls.maxProtocolVersion", "no version is left"),
        server("hash", https, hosts + "tls: {mode: MUTUAL, credentialName: c, verifyCertificateHash: [\"12\"]}",
               "8 error IST0106 spec.servers[0].tls.verifyCertificateHash[0]", "SHA-256"),
        server("key_hash", https, hosts + "tls: {mode: MUTUAL, credentialName: c, verifyCertificateSpki: [x]}",
               "8 error IST0106 spec.servers[0].tls.verifyCertificateSpki[0]", "base64"),
        server("three_credentials", https, hosts + "tls: {mode: SIMPLE, credentialNames: [a, b, c]}",
               "8 error IST0106 spec.servers[0].tls.credentialNames", "at most 2"),
        server("one_and_several_credentials", https,
               hosts + "tls: {mode: SIMPLE, credentialName: a, credentialNames: [b]}",
               "8 error IST0106 spec.servers[0].tls.credentialName", "keep one"),
        server("certificate_of_a_list_without_key", https,
               hosts + "tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: /c}]}",
               "8 error IST0106 spec.servers[0].tls.tlsCertificates[0]", "are required"),
        server("version_of_tls", https, hosts + "tls: {minProtocolVersion: TLSV9}",
               "8 error IST0106 spec.servers[0].tls.minProtocolVersion", "expected one of TLS_AUTO"),
        server("unknown_key_of_tls", https, hosts + "tls: {more: 1}", "8 warning IST0133 spec.servers[0].tls.more",
               "is not a known key"),
        Row{"port_name_twice",
            object("Gateway",
                   "  servers:\n  - {port: {number: 1, name: x, protocol: TCP}, hosts: [a.b]}\n"
                   "  - {port: {number: 2, name: x, protocol: TCP}, hosts: [a.b]}"),
            "7 error IST0106 spec.servers[1]", "is there already"},
        Row{"label",
            object("Gateway",
                   "  selector: {a: \"b c\"}\n  servers: [{port: {number: 1, name: x, protocol: TCP}, hosts: [a.b]}]"),
            "5 error IST0106 spec.selector.a", "expected a label"}),
    name_of);

const std::string to_x = "route: [{destination: {host: x}}]";

Row service(const std::string& name, const std::string& spec, const std::string& where, const std::string& message) {
  return {name, object("VirtualService", spec), where, message};
}
Row tls(const std::string& name, const std::string& match, const std::string& where, const std::string& message) {
  return service(name, "  hosts: [\"*.b.c\"]\n  tls:\n  - match: [" + match + "]\n    " + to_x, where, message);
}
Row http(const std::string& name, const std::string& rule, const std::string& where, const std::string& message) {
  return service(name, "  hosts: [a.b]\n  http:\n  - {" + rule + "}", where, message);
}

// So many lines of so many bytes, which YAML makes one text of.
std::string lines(std::size_t count, std::size_t bytes) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += (i == 0 ? "" : "\n      ") + std::string(bytes, 'a');
  return all;
}

INSTANTIATE_TEST_SUITE_P(
    virtual_service, RoutingRule,
    testing::Values(
        service("no_rules", "  hosts: [a.b]", "5 error IST0106 spec.http", "one of http, tls and tcp"),
        service("no_hosts", "  gateways: [g]\n  http: [{" + to_x + "}]", "5 error IST0106 spec.hosts", "is required"),
        service("hosts_overlap", "  hosts: [\"*.b\", a.b]\n  http: [{" + to_x + "}]", "5 error IST0106 spec.hosts[1]",
                "overlaps with"),
        service("all_hosts_in_the_mesh", "  hosts: [\"*\"]\n  http: [{" + to_x + "}]", "5 error IST0106 spec.hosts[0]",
                "other than mesh"),
        service("address_in_the_mesh", "  hosts: [192.0.2.1]\n  http: [{" + to_x + "}]",
                "5 error IST0106 spec.hosts[0]", "other than mesh"),
        service("no_host_name", "  hosts: [a_b]\n  http: [{" + to_x + "}]", "5 error IST0106 spec.hosts[0]",
                "expected a DNS name"),
        service("no_gateway_name", "  hosts: [a.b]\n  gateways: [A/b]\n  http: [{" + to_x + "}]",
                "6 error IST0106 spec.gateways[0]", "\"namespace/name\""),
        service("old_gateway_name", "  hosts: [a.b]\n  gateways: [g.n.svc.cluster.local]\n  http: [{" + to_x + "}]",
                "6 warning IST0133 spec.gateways[0]", "write n/g"),
        service("exported_to_nobody", "  hosts: [a.b]\n  exportTo: [\"~\"]\n  http: [{" + to_x + "}]",
                "6 error IST0106 spec.exportTo[0]", "the name of a namespace"),
        tls("no_sni", "{port: 1}", "7 warning SLU0007 spec.tls[0].match[0].sniHosts", "add sniHosts: [*.b.c]"),
        tls("sni_outside", "{sniHosts: [a.c]}", "7 error IST0106 spec.tls[0].match[0].sniHosts[0]",
            "none of spec.hosts"),
        tls("sni_wider", "{sniHosts: [\"*.c\"]}", "7 error IST0106 spec.tls[0].match[0].sniHosts[0]",
            "none of spec.hosts"),
        tls("source_subnet", "{sniHosts: [a.b.c], sourceSubnet: 10.0.0.0/8}",
            "7 error IST0106 spec.tls[0].match[0].sourceSubnet", "is not read"),
        tls("subnet", "{sniHosts: [a.b.c], destinationSubnets: [x]}",
            "7 error IST0106 spec.tls[0].match[0].destinationSubnets[0]", "range"),
        tls("source_namespace", "{sniHosts: [a.b.c], sourceNamespace: A}",
            "7 error IST0106 spec.tls[0].match[0].sourceNamespace", "namespace"),
        service("tls_without_match", "  hosts: [a.b]\n  tls: [{" + to_x + "}]", "6 error IST0106 spec.tls[0].match",
                "is required"),
        service("tcp_without_route", "  hosts: [a.b]\n  tcp: [{match: [{port: 1}]}]",
                "6 error IST0106 spec.tcp[0].route", "is required"),
        http("no_end", "match: [{uri: {exact: /}}]", "7 error IST0106 spec.http[0].route", "is required"),
        http("two_ends", to_x + ", redirect: {uri: /}", "7 error IST0106 spec.http[0].route", "exclude each other"),
        http("two_kinds_of_match", "match: [{uri: {exact: /, prefix: /}}], " + to_x,
             "7 error IST0106 spec.http[0].match[0].uri.prefix", "exclude each other"),
        http("empty_prefix", "match: [{uri: {prefix: \"\"}}], " + to_x,
             "7 error IST0106 spec.http[0].match[0].uri.prefix", "is empty"),
        http("no_kind_of_match", "match: [{uri: {}}], " + to_x, "7 error IST0106 spec.http[0].match[0].uri",
             "expected one of exact"),
        http("bad_regex", "match: [{uri: {regex: \"(\"}}], " + to_x, "7 error IST0106 spec.http[0].match[0].uri.regex",
             "RE2"),
        http("long_regex", "match: [{uri: {regex: \"" + std::string(1025, 'a') + "\"}}], " + to_x,
             "7 error IST0106 spec.http[0].match[0].uri.regex", "1,024"),
        http("case_of_a_regex", "match: [{uri: {regex: a}, ignoreUriCase: true}], " + to_x,
             "7 error IST0106 spec.http[0].match[0].ignoreUriCase", "(?i)"),
        http("weights_of_nothing", "route: [{destination: {host: x}}, {destination: {host: y}}]",
             "7 error IST0106 spec.http[0].route[0]", "add up to 0"),
        http("no_destination_host", "route: [{destination: {port: {number: 1}}}]",
             "7 error IST0106 spec.http[0].route[0].destination.host", "is required"),
        http("any_destination_host", "route: [{destination: {host: \"*\"}}]",
             "7 error IST0106 spec.http[0].route[0].destination.host", "name of a service"),
        http("timeout", to_x + ", timeout: soon", "7 error IST0106 spec.http[0].timeout", "duration"),
        http("redirect_code", "redirect: {uri: /a, redirectCode: 200}",
             "7 error IST0106 spec.http[0].redirect.redirectCode", "300 to 399"),
        http("response_without_status", "directResponse: {body: {string: x}}",
             "7 error IST0106 spec.http[0].directResponse.status", "is required"),
        http("rewrite_of_nothing", to_x + ", rewrite: {}", "7 error IST0106 spec.http[0].rewrite.uri", "is required"),
        http("response_of_an_interim_status", "directResponse: {status: 100}",
             "7 error IST0106 spec.http[0].directResponse.status", "200 to 599"),
        http("body_is_no_base64", "directResponse: {status: 200, body: {bytes: \"a*==\"}}",
             "7 error IST0106 spec.http[0].directResponse.body.bytes", "base64"),
        http("two_bodies", "directResponse: {status: 200, body: {string: a, bytes: YQ==}}",
             "7 error IST0106 spec.http[0].directResponse.body.bytes", "excludes string"),
        http("huge_body", "directResponse: {status: 200, body: {string: \"" + lines(5, 250UL * 1024) + "\"}}",
             "7 error IST0106 spec.http[0].directResponse.body", "1 MiB"),
        http("redirect_with_two_uris", "redirect: {uri: /a, prefixRewrite: /b}",
             "7 error IST0106 spec.http[0].redirect.prefixRewrite", "excludes uri"),
        http("redirect_with_a_line_end", "redirect: {uri: \"/a\\r\\nSet-Cookie: b\"}",
             "7 error IST0106 spec.http[0].redirect.uri", "percent-encoded"),
        http("redirect_to_a_scheme", "redirect: {scheme: javascript}", "7 error IST0106 spec.http[0].redirect.scheme",
             "http or https"),
        http("redirect_authority_with_a_path", "redirect: {authority: a.b/c}",
             "7 error IST0106 spec.http[0].redirect.authority", "expected a host"),
        http("redirect_to_itself", "redirect: {redirectCode: 302}", "7 error IST0106 spec.http[0].redirect.uri",
             "is required"),
        http("redirect_with_two_ports", "redirect: {port: 1, derivePort: FROM_REQUEST_PORT}",
             "7 error IST0106 spec.http[0].redirect.derivePort", "excludes port"),
        http("redirect_and_rewrite", "redirect: {uri: /a}, rewrite: {uri: /b}", "7 error IST0106 spec.http[0].redirect",
             "excludes fault and rewrite"),
        http("rewrite_with_a_space", to_x + ", rewrite: {uri: \"/a b\"}", "7 error IST0106 spec.http[0].rewrite.uri",
             "percent-encoded"),
        http("rewrite_in_two_ways", to_x + ", rewrite: {uri: /a, uriRegexRewrite: {match: a, rewrite: b}}",
             "7 error IST0106 spec.http[0].rewrite.uriRegexRewrite", "excludes uri"),
        http("rewrite_of_no_regex", to_x + ", rewrite: {uriRegexRewrite: {match: \"(\", rewrite: b}}",
             "7 error IST0106 spec.http[0].rewrite.uriRegexRewrite.match", "RE2"),
        http("rewrite_with_no_such_group", to_x + ", rewrite: {uriRegexRewrite: {match: (a), rewrite: \"\\\\2\"}}",
             "7 error IST0106 spec.http[0].rewrite.uriRegexRewrite.rewrite", "does not go with"),
        http("delegate_without_name", "delegate: {namespace: a}", "7 error IST0106 spec.http[0].delegate.name",
             "is required"),
        http("fault_of_nothing", to_x + ", fault: {}", "7 error IST0106 spec.http[0].fault.delay", "is required"),
        http("delay_without_duration", to_x + ", fault: {delay: {percentage: {value: 1}}}",
             "7 error IST0106 spec.http[0].fault.delay.fixedDelay", "is required"),
        http("more_than_all", to_x + ", fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}",
             "7 error IST0106 spec.http[0].fault.delay.percentage.value", "100 at most"),
        http("abort_without_status", to_x + ", fault: {abort: {percentage: {value: 1}}}",
             "7 error IST0106 spec.http[0].fault.abort.httpStatus", "just one"),
        http("abort_with_an_unknown_grpc_status", to_x + ", fault: {abort: {grpcStatus: SLOW}}",
             "7 error IST0106 spec.http[0].fault.abort.grpcStatus", "UNAVAILABLE"),
        http("mirror_and_mirrors", to_x + ", mirror: {host: a}, mirrors: [{destination: {host: a}}]",
             "7 error IST0106 spec.http[0].mirror", "excludes mirrors"),
        http("mirror_to_nobody", to_x + ", mirrors: [{}]", "7 error IST0106 spec.http[0].mirrors[0].destination.host",
             "is required"),
        http("method_of_cors", to_x + ", corsPolicy: {allowMethods: [\"GET, PUT\"]}",
             "7 error IST0106 spec.http[0].corsPolicy.allowMethods[0]", "without spaces"),
        http("origin_of_cors", to_x + ", corsPolicy: {allowOrigins: [{regex: \"(\"}]}",
             "7 error IST0106 spec.http[0].corsPolicy.allowOrigins[0].regex", "RE2"),
        http("unknown_retry_condition", to_x + ", retries: {attempts: 1, retryOn: \"5xx,often\"}",
             "7 error IST0106 spec.http[0].retries.retryOn", "\"often\""),
        http("retry_condition_of_envoy", to_x + ", retries: {attempts: 1, retryOn: \"5xx,retriable-headers\"}",
             "7 warning SLU0003 spec.http[0].retries.retryOn", "is not read"),
        http("header_with_a_line_end", to_x + ", headers: {response: {set: {a: \"b\\r\\nc: d\"}}}",
             "7 error IST0106 spec.http[0].headers.response.set.a", "no value of a header"),
        http("header_that_is_no_name", to_x + ", headers: {request: {add: {\"a b\": c}}}",
             "7 error IST0106 spec.http[0].headers.request.add.\"a b\"", "no name of a header"),
        http("header_of_framing", to_x + ", headers: {request: {remove: [Content-Length]}}",
             "7 warning SLU0003 spec.http[0].headers.request.remove[0]", "belongs to the connection"),
        http("authority_removed", to_x + ", headers: {request: {remove: [host]}}",
             "7 error IST0106 spec.http[0].headers.request.remove[0]", "can be set"),
        http("header_with_a_variable", to_x + ", headers: {request: {set: {a: \"%REQ(b)%\"}}}",
             "7 warning SLU0003 spec.http[0].headers.request.set.a", "as written"),
        http("header_of_a_destination", "route: [{destination: {host: x}, headers: {response: {set: {te: a}}}}]",
             "7 warning SLU0003 spec.http[0].route[0].headers.response.set.te", "belongs to the connection"),
        http("unknown_action", to_x + ", later: 1", "7 warning IST0133 spec.http[0].later", "is not a known key")),
    name_of);

Row destination(const std::string& name, const std::string& spec, const std::string& where,
                const std::string& message) {
  return {name, object("DestinationRule", spec), where, message};
}
Row client_tls(const std::string& name, const std::string& tls, const std::string& where, const std::string& message) {
  return destination(name, "  host: a.b\n  trafficPolicy:\n    tls: {" + tls + "}",
                     "7 error IST0106 spec.trafficPolicy.tls." + where, message);
}

INSTANTIATE_TEST_SUITE_P(
    destination_rule, RoutingRule,
    testing::Values(
        destination("no_host", "  subsets: []", "5 error IST0106 spec.host", "is required"),
        client_tls("mode", "mode: TLS", "mode", "expected one of DISABLE"),
        client_tls("no_client_key", "mode: MUTUAL, clientCertificate: /c", "privateKey", "is required"),
        client_tls("secret_and_files", "mode: SIMPLE, credentialName: c, caCertificates: /c", "credentialName",
                   "keep one"),
        destination("no_timeout", "  host: a.b\n  trafficPolicy: {connectionPool: {tcp: {connectTimeout: 0s}}}",
                    "6 error IST0106 spec.trafficPolicy.connectionPool.tcp.connectTimeout", "at least 1ms"),
        destination("port_twice",
                    "  host: a.b\n  trafficPolicy:\n    portLevelSettings:\n    - port: {number: 1}\n"
                    "    - port: {number: 1}",
                    "9 error IST0106 spec.trafficPolicy.portLevelSettings[1]", "is there already"),
        destination("no_port", "  host: a.b\n  trafficPolicy: {portLevelSettings: [{tls: {}}]}",
                    "6 error IST0106 spec.trafficPolicy.portLevelSettings[0].port", "is required"),
        destination("subset_twice", "  host: a.b\n  subsets:\n  - name: v1\n  - name: v1",
                    "8 error IST0106 spec.subsets[1]", "is there already"),
        destination("tunnel", "  host: a.b\n  trafficPolicy: {tunnel: {targetHost: c, targetPort: 1}}",
                    "6 warning SLU0003 spec.trafficPolicy.tunnel", "is not read"),
        destination("selector_and_exports",
                    "  host: a.b\n  workloadSelector: {matchLabels: {a: b}}\n  exportTo: [other]",
                    "7 error IST0106 spec.exportTo", "\".\" only"),
        destination("balancer", "  host: a.b\n  trafficPolicy: {loadBalancer: {simple: FAIR}}",
                    "6 error IST0106 spec.trafficPolicy.loadBalancer.simple", "expected one of"),
        destination("number", "  host: a.b\n  trafficPolicy: {retryBudget: {percent: many}}",
                    "6 error IST0106 spec.trafficPolicy.retryBudget.percent", "expected a number"),
        destination("locality_weight",
                    "  host: a.b\n  trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: "
                    "c}}]}}}",
                    "6 error IST0106 spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to.b",
                    "expected an integer"),
        destination("unknown_key", "  host: a.b\n  trafficPolicy: {outlierDetection: {magic: 1}}",
                    "6 warning IST0133 spec.trafficPolicy.outlierDetection.magic", "is not a known key")),
    name_of);

std::vector<std::string> problems_of(const Document& document) {
  std::vector<std::string> out;
  for (const auto& problem : document.problems) out.push_back(problem.to_string());
  return out;
}

TEST(Gateway, every_field_arrives) {
  const auto document = read("Gateway", R"(  selector: {istio: egress, app.kubernetes.io/name: x}
  servers:
  - port: {number: 443, name: https, protocol: https}
    hosts: [./A.example.com., "other/*.b.c", "*/*", plain.org]
    bind: "2001:DB8::1"
    name: one
    tls: {mode: MUTUAL, credentialName: c, httpsRedirect: false, subjectAltNames: [s], minProtocolVersion: TLSV1_2,
          cipherSuites: [x],
          verifyCertificateHash: ["AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB"], verifyCertificateSpki: ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]}
  - {port: {number: 80, name: http, protocol: HTTP2}, hosts: ["*"], tls: {httpsRedirect: true}}
  - {port: {number: 0, name: u, protocol: GRPC-WEB}, hosts: ["*"], bind: unix:///s, defaultEndpoint: unix:///d})");
  ASSERT_THAT(problems_of(document), IsEmpty());
  const auto& gateway = *document.as<Gateway>();
  EXPECT_EQ(gateway.object.to_string(), "ns/x");
  EXPECT_THAT(gateway.selector, ElementsAre(Pair("app.kubernetes.io/name", "x"), Pair("istio", "egress")));
  ASSERT_EQ(gateway.servers.size(), 3U);
  const auto& server = gateway.servers[0];
  EXPECT_EQ(server.port, 443);
  EXPECT_EQ(server.port_name, "https");
  EXPECT_EQ(server.protocol, ServerProtocol::https);
  ASSERT_TRUE(server.tls);
  EXPECT_EQ(server.tls->mode, ServerTlsMode::mutual);
  EXPECT_THAT(server.tls->credentials, ElementsAre("c"));
  EXPECT_THAT(server.tls->subject_alt_names, ElementsAre("s"));
  EXPECT_EQ(server.tls->min_version, TlsVersion::v1_2);
  EXPECT_EQ(server.tls->max_version, TlsVersion::automatic);
  EXPECT_THAT(server.tls->cipher_suites, ElementsAre("x"));
  EXPECT_THAT(server.tls->certificate_hashes,
              ElementsAre("abababababababababababababababababababababababababababababababab"));
  EXPECT_THAT(server.tls->public_key_hashes, ElementsAre("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
  EXPECT_EQ(server.bind, "2001:db8::1");
  EXPECT_EQ(server.name, "one");
  std::vector<std::string> names;
  for (const auto& host : server.hosts) names.push_back(host.namespace_name + " " + host.host);
  EXPECT_THAT(names, ElementsAre("ns a.example.com", "other *.b.c", "* *", "* plain.org"));
  EXPECT_FALSE(gateway.servers[1].tls);
  EXPECT_TRUE(gateway.servers[1].https_redirect);
  EXPECT_EQ(gateway.servers[2].protocol, ServerProtocol::grpc_web);
}

TEST(VirtualService, connection_rules_arrive) {
  const auto document = read("VirtualService", R"(  hosts: ["*.Example.com.", short]
  gateways: [mesh, own, ./dot, other/g]
  exportTo: [., other]
  tls:
  - match:
    - {sniHosts: [A.example.com], port: 443, destinationSubnets: [10.0.0.0/8], sourceLabels: {a: b},
       sourceNamespace: team, gateways: [own]}
    - {sniHosts: [b.example.com]}
    route:
    - {destination: {host: a.example.com, subset: v1, port: {number: 8443}}, weight: 30}
    - {destination: {host: local}, weight: 70}
  tcp:
  - route: [{destination: {host: "*.db.org"}}])");
  ASSERT_THAT(problems_of(document), IsEmpty());
  const auto& service = *document.as<VirtualService>();
  EXPECT_THAT(service.hosts, ElementsAre("*.example.com", "short.ns.svc.cluster.local"));
  EXPECT_THAT(service.gateways, ElementsAre("mesh", "ns/own", "ns/dot", "other/g"));
  EXPECT_THAT(service.export_to, ElementsAre("ns", "other"));
  ASSERT_EQ(service.tls.size(), 1U);
  ASSERT_EQ(service.tls[0].matches.size(), 2U);
  const auto& match = service.tls[0].matches[0];
  EXPECT_THAT(match.sni_hosts, ElementsAre("a.example.com"));
  EXPECT_EQ(match.port, 443);
  EXPECT_THAT(match.destination_subnets, ElementsAre(*Cidr::parse("10.0.0.0/8")));
  EXPECT_THAT(match.source_labels, ElementsAre(Pair("a", "b")));
  EXPECT_EQ(match.source_namespace, "team");
  EXPECT_EQ(match.gateways, (std::vector<std::string>{"ns/own"}));
  EXPECT_EQ(service.tls[0].matches[1].port, std::nullopt);
  EXPECT_EQ(service.tls[0].matches[1].gateways, std::nullopt);
  const auto& destinations = service.tls[0].destinations;
  ASSERT_EQ(destinations.size(), 2U);
  EXPECT_EQ(destinations[0].host, "a.example.com");
  EXPECT_EQ(destinations[0].subset, "v1");
  EXPECT_EQ(destinations[0].port, 8443);
  EXPECT_EQ(destinations[0].weight, 30U);
  EXPECT_EQ(destinations[1].host, "local.ns.svc.cluster.local");
  EXPECT_EQ(destinations[1].port, 0);
  ASSERT_EQ(service.tcp.size(), 1U);
  EXPECT_THAT(service.tcp[0].matches, IsEmpty());
  EXPECT_EQ(service.tcp[0].destinations[0].host, "*.db.org");
}

TEST(VirtualService, http_rules_arrive_with_what_they_alter) {
  const auto document = read("VirtualService", R"(  hosts: [a.b]
  http:
  - name: first
    match:
    - {uri: {prefix: /v1}, scheme: {exact: http}, method: {regex: "GET|PUT"}, authority: {exact: a.b}, port: 80,
       headers: {X-Env: {exact: prod}, X-There: {}, X-Any: {exact: ""}}, withoutHeaders: {X-Not: {prefix: a}},
       queryParams: {q: {exact: ""}, r: {}}, ignoreUriCase: true, sourceLabels: {a: b}, sourceNamespace: t,
       gateways: [mesh], name: m, statPrefix: s}
    route: [{destination: {host: a.b}, headers: {request: {set: {a: b}}}}]
    timeout: 0s
    retries: {attempts: 2, perTryTimeout: 1.5s, retryOn: "5xx, connect-failure,503", retryRemoteLocalities: true, backoff: 25ms}
  - {redirect: {uri: "/#/a", redirectCode: 302, derivePort: FROM_REQUEST_PORT}}
  - {directResponse: {status: 503, body: {string: denied}}}
  - {delegate: {name: d, namespace: n}}
  - route: [{destination: {host: a.b}}]
    rewrite: {uriRegexRewrite: {match: a, rewrite: b}}
    fault: {delay: {fixedDelay: 1s, percentage: {value: 0.1}}, abort: {httpStatus: 500}}
    mirrors: [{destination: {host: c}, percentage: {value: 5}}]
    mirrorPercentage: {value: 1}
    corsPolicy: {allowOrigins: [{exact: x}], allowMethods: [GET], maxAge: 24h, allowCredentials: false}
    headers: {response: {remove: [x]}}
  - {timeout: 5s, route: [{destination: {host: a.b}}]})");
  ASSERT_THAT(problems_of(document), IsEmpty());
  const auto& rules = document.as<VirtualService>()->http;
  EXPECT_THAT(document.as<VirtualService>()->gateways, ElementsAre("mesh"));
  ASSERT_EQ(rules.size(), 6U);
  EXPECT_EQ(rules[0].name, "first");
  const auto& match = rules[0].matches.at(0);
  using Kind = StringMatch::Kind;
  EXPECT_EQ(match.uri, (StringMatch{Kind::prefix, "/v1"}));
  EXPECT_EQ(match.scheme, (StringMatch{Kind::exact, "http"}));
  EXPECT_EQ(match.method, (StringMatch{Kind::regex, "GET|PUT"}));
  EXPECT_EQ(match.authority, (StringMatch{Kind::exact, "a.b"}));
  EXPECT_THAT(match.headers, ElementsAre(Pair("x-env", StringMatch{Kind::exact, "prod"}),
                                         Pair("x-there", StringMatch{Kind::present, ""}),
                                         Pair("x-any", StringMatch{Kind::present, ""})));
  EXPECT_THAT(match.without_headers, ElementsAre(Pair("x-not", StringMatch{Kind::prefix, "a"})));
  EXPECT_THAT(match.query_params,
              ElementsAre(Pair("q", StringMatch{Kind::exact, ""}), Pair("r", StringMatch{Kind::present, ""})));
  EXPECT_TRUE(match.ignore_uri_case);
  EXPECT_EQ(match.port, 80);
  EXPECT_EQ(match.source_namespace, "t");
  EXPECT_EQ(altering_action(rules[0]), "headers");
  EXPECT_THAT(rules[0].destinations[0].headers.request.set, ElementsAre(Pair("a", "b")));
  EXPECT_EQ(rules[0].timeout_ms, 0U);
  ASSERT_TRUE(rules[0].retries);
  EXPECT_EQ(rules[0].retries->attempts, 2U);
  EXPECT_EQ(rules[0].retries->per_try_timeout_ms, 1500U);
  EXPECT_EQ(rules[0].retries->on, HttpRetries::server_error | HttpRetries::connect_failure);
  EXPECT_THAT(rules[0].retries->on_statuses, ElementsAre(503));
  EXPECT_TRUE(rules[0].retries->remote_localities);
  EXPECT_EQ(rules[0].retries->backoff_ms, 25U);
  ASSERT_TRUE(rules[1].redirect);
  EXPECT_EQ(rules[1].redirect->uri, "/#/a");
  EXPECT_EQ(rules[1].redirect->code, 302);
  EXPECT_EQ(rules[1].redirect->derived_port, HttpRedirect::DerivedPort::from_request_port);
  ASSERT_TRUE(rules[2].direct_response);
  EXPECT_EQ(rules[2].direct_response->status, 503);
  EXPECT_EQ(rules[2].direct_response->body, "denied");
  ASSERT_TRUE(rules[3].delegate);
  EXPECT_EQ(rules[3].delegate->namespace_name + "/" + rules[3].delegate->name, "n/d");
  ASSERT_TRUE(rules[4].rewrite);
  EXPECT_EQ(rules[4].rewrite->regex, "a");
  EXPECT_EQ(rules[4].rewrite->substitution, "b");
  ASSERT_TRUE(rules[4].fault && rules[4].fault->delay && rules[4].fault->abort);
  EXPECT_EQ(rules[4].fault->delay->delay_ms, 1000U);
  EXPECT_EQ(rules[4].fault->delay->share.millionths, 1000U);
  EXPECT_EQ(rules[4].fault->abort->http_status, 500);
  EXPECT_EQ(rules[4].fault->abort->share.millionths, 0U) << "without a percentage nothing is aborted";
  ASSERT_EQ(rules[4].mirrors.size(), 1U);
  EXPECT_EQ(rules[4].mirrors[0].destination.host, "c.ns.svc.cluster.local");
  EXPECT_EQ(rules[4].mirrors[0].share.millionths, 50'000U);
  ASSERT_TRUE(rules[4].cors);
  EXPECT_THAT(rules[4].cors->allow_origins, ElementsAre(StringMatch{Kind::exact, "x"}));
  EXPECT_THAT(rules[4].cors->allow_methods, ElementsAre("GET"));
  EXPECT_EQ(rules[4].cors->max_age_s, 86400U);
  EXPECT_THAT(rules[4].headers.response.remove, ElementsAre("x"));
  EXPECT_EQ(altering_action(rules[5]), "");
  EXPECT_EQ(rules[5].timeout_ms, 5000U);
}

TEST(Gateway, certificates_come_from_one_of_four_places) {
  const auto tls = [](const std::string& settings) {
    const auto document =
        read("Gateway",
             "  servers: [{port: {number: 443, name: x, protocol: HTTPS}, hosts: [a.b], tls: {" + settings + "}}]");
    EXPECT_THAT(problems_of(document), IsEmpty());
    const auto* gateway = document.as<Gateway>();
    return gateway == nullptr ? ServerTls() : gateway->servers.at(0).tls.value_or(ServerTls());
  };
  EXPECT_THAT(tls("mode: SIMPLE, credentialNames: [rsa, ecdsa]").credentials, ElementsAre("rsa", "ecdsa"));
  const auto files = tls("mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca, caCrl: /crl");
  EXPECT_THAT(files.files, ElementsAre(CertificateFiles{"/c", "/k"}));
  EXPECT_EQ(files.ca_certificates, "/ca");
  EXPECT_EQ(files.ca_crl, "/crl");
  const auto list =
      tls("mode: SIMPLE, tlsCertificates: [{serverCertificate: /1, privateKey: /2}, {serverCertificate: "
          "/3, privateKey: /4}]");
  EXPECT_THAT(list.files, ElementsAre(CertificateFiles{"/1", "/2"}, CertificateFiles{"/3", "/4"}));
  const auto other_ca = tls("mode: OPTIONAL_MUTUAL, credentialName: c, caCertCredentialName: roots");
  EXPECT_EQ(other_ca.ca_credential, "roots");
  EXPECT_TRUE(other_ca.ends_here());
}

TEST(VirtualService, a_body_in_base64_is_decoded) {
  const auto body = [](const std::string& bytes) {
    const auto document =
        read("VirtualService",
             "  hosts: [a.b]\n  http: [{directResponse: {status: 200, body: {bytes: \"" + bytes + "\"}}}]");
    const auto* service = document.as<VirtualService>();
    return service == nullptr ? "refused" : service->http.at(0).direct_response->body;
  };
  EXPECT_EQ(body(""), "");
  EXPECT_EQ(body("YQ=="), "a");
  EXPECT_EQ(body("YWI="), "ab");
  EXPECT_EQ(body("YWJj"), "abc");
  EXPECT_EQ(body("/+8="), "\xff\xef");
  EXPECT_EQ(body("YQ="), "refused");
  EXPECT_EQ(body("YQ==YQ=="), "refused");
}

TEST(VirtualService, short_old_gateway_names_are_rewritten) {
  const auto document = read("VirtualService", "  hosts: [a.b]\n  gateways: [g.n]\n  http: [{" + to_x + "}]");
  ASSERT_NE(document.as<VirtualService>(), nullptr);
  EXPECT_THAT(document.as<VirtualService>()->gateways, ElementsAre("n/g"));
}

TEST(VirtualService, without_hosts_is_a_delegate) {
  const auto document = read("VirtualService", "  http: [{" + to_x + "}]");
  EXPECT_THAT(problems_of(document), IsEmpty());
  EXPECT_NE(document.as<VirtualService>(), nullptr);
}

TEST(DestinationRule, every_field_arrives) {
  const auto document = read("DestinationRule", R"(  host: Api.example.com
  exportTo: [.]
  workloadSelector: {matchLabels: {a: b}}
  trafficPolicy:
    tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca, caCrl: /crl, sni: s.org,
          subjectAltNames: [n1, n2], insecureSkipVerify: true}
    connectionPool:
      tcp: {maxConnections: 10, connectTimeout: 250ms, idleTimeout: 1h30m, maxConnectionDuration: 1h,
            tcpKeepalive: {probes: 3, time: 1s, interval: 1s}}
      http: {http2MaxRequests: 1, h2UpgradePolicy: UPGRADE, idleTimeout: 1s}
    loadBalancer: {consistentHash: {httpCookie: {name: c, ttl: 0s}, ringHash: {minimumRingSize: 1024}}}
    outlierDetection: {consecutive5xxErrors: 5, interval: 1s, maxEjectionPercent: 10}
    proxyProtocol: {version: V2}
    portLevelSettings:
    - port: {number: 443}
      tls: {mode: DISABLE}
  subsets:
  - {name: v1, labels: {v: "1"}, trafficPolicy: {tls: {mode: SIMPLE, credentialName: c},
     portLevelSettings: [{port: {number: 80}, connectionPool: {tcp: {maxConnections: 1}}}]}}
  - {name: v2})");
  ASSERT_THAT(problems_of(document), IsEmpty());
  const auto& rule = *document.as<DestinationRule>();
  EXPECT_EQ(rule.host, "api.example.com");
  EXPECT_THAT(rule.export_to, ElementsAre("ns"));
  EXPECT_THAT(rule.workload_selector, ElementsAre(Pair("a", "b")));
  const ClientTls tls{ClientTlsMode::mutual, "/c", "/k", "/ca", "/crl", "", {"n1", "n2"}, "s.org", true};
  EXPECT_EQ(rule.policy.tls, tls);
  EXPECT_EQ(rule.policy.connect_timeout_ms, 250U);
  EXPECT_EQ(rule.policy.idle_timeout_ms, 5'400'000U);
  EXPECT_EQ(rule.policy.max_connections, 10U);
  ASSERT_EQ(rule.port_policies.size(), 1U);
  EXPECT_EQ(rule.port_policies.at(443).tls->mode, ClientTlsMode::disable);
  EXPECT_EQ(rule.port_policies.at(443).connect_timeout_ms, std::nullopt);
  ASSERT_EQ(rule.subsets.size(), 2U);
  EXPECT_THAT(rule.subsets[0].labels, ElementsAre(Pair("v", "1")));
  EXPECT_EQ(rule.subsets[0].policy->tls->credential_name, "c");
  EXPECT_EQ(rule.subsets[0].port_policies.at(80).max_connections, 1U);
  EXPECT_FALSE(rule.subsets[1].policy);
}

TEST(RoutingObjects, know_the_line_of_each_field) {
  const auto document = read("VirtualService", "  hosts:\n  - a.b\n  - c.d\n  http:\n  - " + to_x);
  EXPECT_EQ(document.lines.find("spec.hosts[1]"), 7U);
  EXPECT_EQ(document.lines.find("spec.http[0].route[0].destination.host"), 9U);
  EXPECT_EQ(document.lines.find("spec.http[0].timeout"), 9U) << "what is absent is where it would be";
  EXPECT_EQ(document.lines.find("other"), 0U);
}

TEST(RoutingObjects, have_names_and_ages) {
  const auto content = parse_documents(
      "apiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\nmetadata: {name: n, creationTimestamp: "
      "\"1970-01-01T00:01:00Z\"}\nspec: {host: a}\n",
      "f");
  const auto* rule = content.documents.at(0).as<DestinationRule>();
  ASSERT_NE(rule, nullptr);
  EXPECT_EQ(rule->object.to_string(), "default/n");
  EXPECT_EQ(rule->object.created, 60);
  EXPECT_EQ(rule->host, "a.default.svc.cluster.local");
}

}  // namespace
}  // namespace sluice::resources
