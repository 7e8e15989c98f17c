#include "settings/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace sluice::settings {
namespace {

constexpr auto agent_base = "egress: {gateways: [{name: g, addresses: [\"10.0.0.7:15443\"]}], key_file: /k}\n";
constexpr auto gateway_base =
    "gateway: {name: g, namespace: n, node_keys: /k, listen: [{address: \"0.0.0.0:15443\"}]}\n";

struct Row {
  std::string yaml;
  std::string error;  // whole message
};

void PrintTo(const Row& row, std::ostream* out) {
  *out << row.yaml;
}

class AgentSettingsAreRefused : public testing::TestWithParam<Row> {};

TEST_P(AgentSettingsAreRefused, with_line_key_and_expectation) {
  const auto result = parse_agent(GetParam().yaml, "a.yaml");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message(), GetParam().error);
}

std::string with_gateway(const std::string& yaml) {
  return agent_base + yaml;
}

INSTANTIATE_TEST_SUITE_P(
    structure, AgentSettingsAreRefused,
    testing::Values(
        Row{"", "a.yaml:1: the file is empty; expected a mapping of sections"},
        Row{"- a\n", "a.yaml:1: expected a mapping of keys, found a list"},
        Row{with_gateway("nodes: {}\n"),
            "a.yaml:2: nodes: is not a known key; known are admin, audit, egress, identity, interception, limits, "
            "node, "
            "resources"},
        Row{with_gateway("node:\n  bpfs: /x\n"),
            "a.yaml:3: node.bpfs: is not a known key; known are bpffs, cgroup, log_level, name, threads"},
        Row{with_gateway("gateway: {}\n"),
            "a.yaml:2: gateway: is not a known key; known are admin, audit, egress, identity, interception, limits, "
            "node, resources"},
        Row{with_gateway("node: {name: a}\naudit: {}\nnode: {name: b}\n"),
            "a.yaml:4: node: is there twice: keep one of them"},
        Row{with_gateway("limits:\n  connections: 1\n  connections: 2\n"),
            "a.yaml:4: limits.connections: is there twice: keep one of them"},
        Row{with_gateway("node: [1]\n"), "a.yaml:2: node: expected a mapping of keys, found a list"},
        Row{with_gateway("audit:\n  path:\n"), "a.yaml:3: audit.path: has no value: give one or remove the key"},
        Row{with_gateway("---\nnode: {}\n"), "a.yaml:3: a second YAML document; expected one"},
        Row{with_gateway("node: {name: &n a}\nadmin: {socket: *n}\n"),
            "a.yaml:3: aliases (*name) are not read: write the value out"},
        Row{with_gateway("node: {name: !secret a}\n"), "a.yaml:2: YAML tags (!name) are not read: remove the tag"},
        Row{with_gateway("node: {name: a]\n"), "a.yaml:2: not valid YAML: illegal flow end"},
        Row{with_gateway("node: {name: \"a\n"), "a.yaml:3: not valid YAML: end of map flow not found"},
        Row{with_gateway(std::string("node: {name: a}\n\x04unseen: 1\n")),
            "a.yaml:3: control byte: the file must be plain UTF-8 text"},
        Row{with_gateway("? [a]\n: b\n"), "a.yaml:2: a key must be plain text"}));

INSTANTIATE_TEST_SUITE_P(
    types_and_ranges, AgentSettingsAreRefused,
    testing::Values(Row{with_gateway("node: {name: 7}\n"), "a.yaml:2: node.name: expected text; put \"7\" in quotes"},
                    Row{with_gateway("node: {name: yes}\n"),
                        "a.yaml:2: node.name: expected text; put \"yes\" in quotes"},
                    Row{with_gateway("node: {name: [a]}\n"), "a.yaml:2: node.name: expected text, found a list"},
                    Row{with_gateway("node: {threads: 0}\n"),
                        "a.yaml:2: node.threads: expected an integer from 1 to 64, found \"0\""},
                    Row{with_gateway("node: {threads: 65}\n"),
                        "a.yaml:2: node.threads: expected an integer from 1 to 64, found \"65\""},
                    Row{with_gateway("node: {threads: \"2\"}\n"),
                        "a.yaml:2: node.threads: expected an integer from 1 to 64, found the text \"2\""},
                    Row{with_gateway("node: {threads: 010}\n"),
                        "a.yaml:2: node.threads: expected an integer from 1 to 64, found \"010\""},
                    Row{with_gateway("node: {threads: 99999999999999999999999}\n"),
                        "a.yaml:2: node.threads: expected an integer from 1 to 64, found \"99999999999999999999999\""},
                    Row{with_gateway("node: {bpffs: sluice}\n"), "a.yaml:2: node.bpffs: expected an absolute path"},
                    Row{with_gateway("node: {cgroup: sluice}\n"),
                        "a.yaml:2: node.cgroup: expected an absolute path, or \"\" for the root of the cgroup2 mount"},
                    Row{with_gateway("node: {log_level: loud}\n"),
                        "a.yaml:2: node.log_level: expected one of debug, info, warning, error; found \"loud\""},
                    Row{with_gateway("resources: {files: /etc}\n"),
                        "a.yaml:2: resources.files: expected a list, found a single value"},
                    Row{with_gateway("resources: {files: [a, \"\"]}\n"),
                        "a.yaml:2: resources.files[1]: expected a file or directory, found \"\""},
                    Row{with_gateway("resources: {source: etcd}\n"),
                        "a.yaml:2: resources.source: expected one of files, kubernetes; found \"etcd\""},
                    Row{with_gateway("resources: {source: kubernetes, files: [/r]}\n"),
                        "a.yaml:2: resources.files: are not read with source kubernetes: remove them"},
                    Row{with_gateway("limits:\n  first_bytes_timeout_ms: 5s\n"),
                        "a.yaml:3: limits.first_bytes_timeout_ms: expected an integer from 1 to 600000, found \"5s\""},
                    Row{with_gateway("limits: {first_bytes_timeout_ms: 0}\n"),
                        "a.yaml:2: limits.first_bytes_timeout_ms: expected an integer from 1 to 600000, found \"0\""},
                    Row{with_gateway("limits: {connections: -1}\n"),
                        "a.yaml:2: limits.connections: expected an integer from 1 to 10000000, found \"-1\""},
                    Row{with_gateway("audit: {rotate_bytes: 100}\n"),
                        "a.yaml:2: audit.rotate_bytes: expected an integer from 4096 to 1099511627776, found \"100\""},
                    Row{with_gateway("audit: {on_failure: ignore}\n"),
                        "a.yaml:2: audit.on_failure: expected one of deny, count; found \"ignore\""},
                    Row{with_gateway("audit: {path: \"\"}\n"), "a.yaml:2: audit.path: expected the file to write to"},
                    Row{with_gateway("admin: {metrics_listen: \"0.0.0.0\"}\n"),
                        "a.yaml:2: admin.metrics_listen: expected \"ADDRESS:PORT\" like \"0.0.0.0:15090\", IPv6 in "
                        "brackets, found the text \"0.0.0.0\""},
                    Row{with_gateway("admin: {socket: /" + std::string(107, 'a') + "}\n"),
                        "a.yaml:2: admin.socket: expected a path of 1 to 107 bytes, found 108"}));

INSTANTIATE_TEST_SUITE_P(
    interception, AgentSettingsAreRefused,
    testing::Values(
        Row{with_gateway("interception: {pod_interfaces: []}\n"),
            "a.yaml:2: interception.pod_interfaces: expected at least one pattern: without one no pod is intercepted"},
        Row{with_gateway("interception: {uplinks: []}\n"),
            "a.yaml:2: interception.uplinks: expected at least one pattern: without one nothing guards the way out"},
        Row{with_gateway("interception: {internal_cidrs: [10.0.0.1/8]}\n"),
            "a.yaml:2: interception.internal_cidrs[0]: expected a range like 10.0.0.0/8 or fd00::/8 without bits set "
            "behind the prefix, found \"10.0.0.1/8\""},
        Row{with_gateway("interception: {internal_cidrs: [\"::/0\"]}\n"),
            "a.yaml:2: interception.internal_cidrs[0]: the text \"::/0\" is every address: then nothing would be "
            "enforced"},
        Row{with_gateway("interception: {udp_allow: [\"10.0.0.10\"]}\n"),
            "a.yaml:2: interception.udp_allow[0]: expected \"ADDRESS[/LENGTH]:PORT\", IPv6 in brackets "
            "(\"[fd00::/8]:53\"), found the text \"10.0.0.10\""},
        Row{with_gateway("interception: {udp_allow: [\"fd00::/8:53\"]}\n"),
            "a.yaml:2: interception.udp_allow[0]: expected \"ADDRESS[/LENGTH]:PORT\", IPv6 in brackets "
            "(\"[fd00::/8]:53\"), found the text \"fd00::/8:53\""},
        Row{with_gateway("interception: {udp_allow: [\"10.0.0.10:0\"]}\n"),
            "a.yaml:2: interception.udp_allow[0]: expected \"ADDRESS[/LENGTH]:PORT\", IPv6 in brackets "
            "(\"[fd00::/8]:53\"), found the text \"10.0.0.10:0\""},
        Row{with_gateway("interception: {inbound_replies: yes}\n"),
            "a.yaml:2: interception.inbound_replies: expected true or false, found \"yes\""}));

std::string with_addresses(const std::string& addresses) {
  return "egress: {key_file: /k, gateways: [{name: g, addresses: [" + addresses + "]}]}\n";
}

std::string with_egress(const std::string& yaml) {
  return "egress:\n  gateways: [{name: g, addresses: [\"10.0.0.7:1\"]}]\n  key_file: /k\n" + yaml;
}

constexpr auto address_expected =
    "a.yaml:1: egress.gateways[0].addresses[0]: expected \"ADDRESS[:PORT]\", IPv6 with a port in brackets, found the "
    "text ";

INSTANTIATE_TEST_SUITE_P(
    egress, AgentSettingsAreRefused,
    testing::Values(
        Row{"node: {}\n",
            "a.yaml:1: egress.gateways: is required: at least one {name: NAME, addresses: [\"ADDRESS:PORT\"]}"},
        Row{"egress: {gateways: [{addresses: [\"10.0.0.7:1\"]}], key_file: /k}\n",
            "a.yaml:1: egress.gateways[0].name: is required: the gateway's Service as VirtualServices name it, like "
            "istio-egressgateway.istio-system.svc.cluster.local"},
        Row{"egress: {gateways: [{name: g}], key_file: /k}\n",
            "a.yaml:1: egress.gateways[0].addresses: is required: at least one \"ADDRESS:PORT\" of the gateway"},
        Row{with_addresses("10.0.0.7"),
            "a.yaml:1: egress.gateways[0].addresses[0]: has no port; only transport raw goes to the port of the route: "
            "use \"ADDRESS:PORT\""},
        Row{with_addresses("\"gateway:15443\""), std::string(address_expected) + "\"gateway:15443\""},
        Row{with_addresses("\"0.0.0.0:15443\""), std::string(address_expected) + "\"0.0.0.0:15443\""},
        Row{with_addresses("\"10.0.0.7:0\""), std::string(address_expected) + "\"10.0.0.7:0\""},
        Row{with_addresses("\"10.0.0.7:1\", \"10.0.0.7:1\""),
            "a.yaml:1: egress.gateways[0].addresses[1]: 10.0.0.7:1 is there already: keep one of them"},
        Row{"egress: {key_file: /k, gateways: [{name: g, addresses: [\"10.0.0.7:1\"]}, {name: g, addresses: "
            "[\"10.0.0.8:1\"]}]}\n",
            "a.yaml:1: egress.gateways[1].name: \"g\" is there already: give the addresses to one of them"},
        Row{"egress: {gateways: [{name: g, addresses: [\"10.0.0.7:1\"]}]}\n",
            "a.yaml:1: egress.key_file: is required with transport proxy and tls: the file with this node's key"},
        Row{"egress:\n  key_file: /k\n  gateways: [{name: g, addresses: [\"10.0.0.7:1\"], transport: tls}]\n"
            "  gateway_identity: spiffe://a/b\n  tls: {certificate_file: /c, key_file: /k}\n",
            "a.yaml:5: egress.tls.ca_file: is required with transport tls: a PEM file with the roots of the other "
            "side's certificates"},
        Row{"egress:\n  key_file: /k\n  gateways: [{name: g, addresses: [\"10.0.0.7:1\"], transport: tls}]\n"
            "  tls: {certificate_file: /c, key_file: /k, ca_file: /a}\n  gateway_identity: gateway\n",
            "a.yaml:5: egress.gateway_identity: is required with transport tls: the URI in the gateway's certificate, "
            "like spiffe://cluster.local/sluice/gateway"},
        Row{"egress: {gateways: [{name: g, addresses: [\"10.0.0.7:1\"], transport: raw, header: plain}]}\n",
            "a.yaml:1: egress.gateways[0].header: plain is for transport proxy: remove it"},
        Row{with_egress("  health: {failures: 0}\n"),
            "a.yaml:4: egress.health.failures: expected an integer from 1 to 1000, found \"0\""},
        Row{with_egress("  unrouted: drop\n"),
            "a.yaml:4: egress.unrouted: expected one of gateway, direct, deny; found \"drop\""},
        Row{with_egress("  mode: off\n"), "a.yaml:4: egress.mode: expected text; put \"off\" in quotes"},
        Row{with_egress("  audit_namespaces: [Team_A]\n"),
            "a.yaml:4: egress.audit_namespaces[0]: expected the name of a namespace, found \"Team_A\""},
        Row{with_egress("  ech: maybe\n"), "a.yaml:4: egress.ech: expected one of allow, deny; found \"maybe\""}));

INSTANTIATE_TEST_SUITE_P(
    identity, AgentSettingsAreRefused,
    testing::Values(
        Row{with_gateway("identity: {pods: [{name: a, addresses: [10.1.1.1]}]}\n"),
            "a.yaml:2: identity.pods[0].namespace: is required: a Kubernetes name of lower-case letters, digits and "
            "'-', found \"\""},
        Row{with_gateway("identity: {pods: [{namespace: n, name: a}]}\n"),
            "a.yaml:2: identity.pods[0]: expected `addresses` or `interface`, found neither"},
        Row{with_gateway("identity: {pods: [{namespace: n, name: a, interface: veth-much-too-long}]}\n"),
            "a.yaml:2: identity.pods[0].interface: expected at most 15 bytes"},
        Row{with_gateway("identity:\n  pods:\n  - {namespace: n, name: a, addresses: [10.1.1.0/24]}\n"),
            "a.yaml:4: identity.pods[0].addresses[0]: expected an IP address, found \"10.1.1.0/24\""},
        Row{with_gateway("identity:\n  pods:\n  - {namespace: n, name: a, addresses: [10.1.1.1]}\n"
                         "  - {namespace: n, name: b, addresses: [\"::ffff:10.1.1.1\"]}\n"),
            "a.yaml:5: identity.pods[1]: address 10.1.1.1 is there already, in identity.pods[0]"},
        Row{with_gateway("identity:\n  pods:\n  - {namespace: n, name: a, interface: v1}\n"
                         "  - {namespace: n, name: b, interface: v1}\n"),
            "a.yaml:5: identity.pods[1]: interface \"v1\" is there already, in identity.pods[0]"},
        Row{with_gateway("identity:\n  pods:\n  - {namespace: n, name: a, interface: v1}\n"
                         "  - {namespace: n, name: a, interface: v2}\n"),
            "a.yaml:5: identity.pods[1]: pod n/a is there already, in identity.pods[0]"},
        Row{with_gateway("identity: {pods: [{namespace: n, name: a, interface: v, labels: {app: 1}}]}\n"),
            "a.yaml:2: identity.pods[0].labels.app: expected text; put \"1\" in quotes"}));

class GatewaySettingsAreRefused : public testing::TestWithParam<Row> {};

TEST_P(GatewaySettingsAreRefused, with_line_key_and_expectation) {
  const auto result = parse_gateway(GetParam().yaml, "g.yaml");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message(), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    all, GatewaySettingsAreRefused,
    testing::Values(
        Row{"node: {}\n", "g.yaml:1: gateway.listen: is required: at least one {address: \"0.0.0.0:15443\"}"},
        Row{std::string(gateway_base) + "egress: {}\n",
            "g.yaml:2: egress: is not a known key; known are admin, audit, gateway, limits, node, resources"},
        Row{"gateway: {name: g, namespace: n, node_keys: /k, listen: [{address: 15443}]}\n",
            "g.yaml:1: gateway.listen[0].address: expected text; put \"15443\" in quotes"},
        Row{"gateway: {name: g, namespace: n, node_keys: /k, listen: [{address: \"0.0.0.0:0\"}]}\n",
            "g.yaml:1: gateway.listen[0].address: expected \"ADDRESS:PORT\" like \"0.0.0.0:15443\", IPv6 in brackets, "
            "found the text \"0.0.0.0:0\""},
        Row{"gateway: {name: g, namespace: n, node_keys: /k, listen: [{transport: raw, unsigned_from: "
            "[10.0.0.0/8]}]}\n",
            "g.yaml:1: gateway.listen[0].address: is required: \"ADDRESS:PORT\" to listen on"},
        Row{"gateway:\n  name: g\n  namespace: n\n  node_keys: /k\n  listen:\n  - {address: \"0.0.0.0:1\"}\n  - "
            "{address: \"0.0.0.0:1\", transport: raw, "
            "unsigned_from: [10.0.0.0/8]}\n",
            "g.yaml:7: gateway.listen[1]: 0.0.0.0:1 is listened on already: keep one of them"},
        Row{"gateway: {name: g, namespace: n, node_keys: /k, listen: [{address: \"0.0.0.0:1\", service_port: 443}]}\n",
            "g.yaml:1: gateway.listen[0].service_port: is for transport raw; with proxy and tls the header names the "
            "port: remove it"},
        Row{"gateway: {name: g, namespace: n, listen: [{address: \"0.0.0.0:1\", transport: raw}]}\n",
            "g.yaml:1: gateway.listen[0].unsigned_from: is required with transport raw, whose callers are unknown: the "
            "networks they are in"},
        Row{"gateway: {name: g, namespace: n, listen: [{address: \"0.0.0.0:1\"}]}\n",
            "g.yaml:1: gateway.node_keys: is required with transport proxy and tls: the directory with the nodes' "
            "keys"},
        Row{"gateway: {namespace: n, node_keys: /k, listen: [{address: \"0.0.0.0:1\"}]}\n",
            "g.yaml:1: gateway.name: is required: this gateway as agents know it (egress.gateways[].name), like "
            "istio-egressgateway.istio-system.svc.cluster.local"},
        Row{"gateway: {name: g, node_keys: /k, listen: [{address: \"0.0.0.0:1\"}]}\n",
            "g.yaml:1: gateway.namespace: is required: the namespace that this gateway runs in"},
        Row{"gateway: {name: g, namespace: n, unrouted: gateway, node_keys: /k, listen: [{address: "
            "\"0.0.0.0:1\"}]}\n",
            "g.yaml:1: gateway.unrouted: expected one of direct, deny; found \"gateway\""},
        Row{"gateway: {name: g, namespace: n, node_keys: /k, listen: [{address: \"0.0.0.0:1\"}], resolvers: "
            "[\"10.0.0.10\"]}\n",
            "g.yaml:1: gateway.resolvers[0]: expected \"ADDRESS:PORT\" like \"10.0.0.10:53\", IPv6 in brackets, found "
            "the text \"10.0.0.10\""},
        Row{"gateway: {name: g, namespace: n, node_keys: /k, listen: [{address: \"0.0.0.0:1\"}], permitted_cidrs: "
            "[0.0.0.0/0]}\n",
            "g.yaml:1: gateway.permitted_cidrs[0]: \"0.0.0.0/0\" is every address: then a name could lead to the "
            "metadata service"}));

TEST(AgentSettings, resources_may_come_from_the_api_server) {
  const auto result = parse_agent(with_gateway("resources: {source: kubernetes}\n"), "a.yaml");
  ASSERT_TRUE(result.ok()) << result.error().message();
  EXPECT_EQ(result->resources.source, ResourceSource::kubernetes);
  EXPECT_EQ(result->resources.kubernetes.kubeconfig, "");
}

TEST(AgentSettings, every_value_arrives) {
  const auto result = parse_agent(R"(
node: {name: n1, threads: 2, bpffs: /b, cgroup: /c, log_level: debug}
resources: {files: [/r1, r2], kubernetes: {kubeconfig: /kc, context: kx}}
interception:
  pod_interfaces: [p*]
  uplinks: [u0, u1]
  internal_cidrs: [10.0.0.0/8, fd00::/8]
  guarded_cidrs: [10.9.9.0/24]
  udp_allow: ["10.0.0.10:53", "[fd00::/8]:53", "10.9.0.0/16:123"]
  internal_nodes: false
  inbound_replies: false
egress:
  mode: audit
  audit_namespaces: [a, b]
  gateways:
  - {name: g1, addresses: ["fd00::7", "10.0.0.7:443"], transport: raw}
  - {name: g2.ns.svc, addresses: ["[fd00::8]:15443"], header: plain}
  - {name: g3, addresses: ["10.0.0.9:15443"], transport: tls}
  health: {failures: 4, ejection_ms: 5}
  unrouted: deny
  datapath: relay
  direct: {resolvers: ["10.0.0.10:53"], forbidden_cidrs: [10.0.0.0/8], permitted_cidrs: [10.1.0.0/16], locality: a/b}
  key_file: /key
  tls: {certificate_file: /tc, key_file: /tk, ca_file: /ta}
  gateway_identity: spiffe://a/b
  ech: deny
  events: false
identity:
  wait_ms: 7
  pods:
  - {namespace: ns, name: pod, uid: u, service_account: sa, labels: {a: b, "c/d": e}, addresses: [10.1.1.1, "fd00::9"], interface: veth0}
limits: {connections: 1, connections_per_pod: 2, connections_per_second: 10, connections_per_second_per_pod: 11, denials_per_second: 3, first_bytes_timeout_ms: 4, http_idle_timeout_ms: 5, connect_timeout_ms: 6, answer_timeout_ms: 9, idle_timeout_ms: 7, drain_timeout_ms: 8}
audit: {path: /p, rotate_bytes: 5000, keep_files: 8, on_failure: count, key_file: /k, checkpoint_records: 9}
admin: {socket: /s, metrics_listen: "[::1]:15090"}
)",
                                  "a.yaml");
  ASSERT_TRUE(result.ok()) << result.error().message();
  const auto& s = *result;
  EXPECT_EQ(s.node.name, "n1");
  EXPECT_EQ(s.node.threads, 2U);
  EXPECT_EQ(s.node.bpffs, "/b");
  EXPECT_EQ(s.node.cgroup, "/c");
  EXPECT_EQ(s.node.log_level, "debug");
  EXPECT_EQ(s.resources.source, ResourceSource::files);
  EXPECT_EQ(s.resources.files, (std::vector<std::string>{"/r1", "r2"}));
  EXPECT_EQ(s.resources.kubernetes.kubeconfig, "/kc");
  EXPECT_EQ(s.resources.kubernetes.context, "kx");
  EXPECT_EQ(s.interception.pod_interfaces, std::vector<std::string>{"p*"});
  EXPECT_EQ(s.interception.uplinks, (std::vector<std::string>{"u0", "u1"}));
  EXPECT_EQ(s.interception.internal_cidrs, (std::vector{*Cidr::parse("10.0.0.0/8"), *Cidr::parse("fd00::/8")}));
  EXPECT_EQ(s.interception.guarded_cidrs, std::vector{*Cidr::parse("10.9.9.0/24")});
  ASSERT_EQ(s.interception.udp_allow.size(), 3U);
  EXPECT_EQ(s.interception.udp_allow[0].addresses, *Cidr::parse("10.0.0.10"));
  EXPECT_EQ(s.interception.udp_allow[1].addresses, *Cidr::parse("fd00::/8"));
  EXPECT_EQ(s.interception.udp_allow[2].port, 123);
  EXPECT_FALSE(s.interception.internal_nodes);
  EXPECT_FALSE(s.interception.inbound_replies);
  EXPECT_EQ(s.pod_wait, Milliseconds(7));
  EXPECT_EQ(s.egress.mode, Mode::audit);
  EXPECT_EQ(s.egress.audit_namespaces, (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(s.egress.gateways.size(), 3U);
  EXPECT_EQ(s.egress.gateways[0].name, "g1");
  EXPECT_EQ(s.egress.gateways[0].addresses,
            (std::vector{Endpoint{*IpAddress::parse("fd00::7"), 0}, *Endpoint::parse("10.0.0.7:443")}));
  EXPECT_EQ(s.egress.gateways[0].transport, Transport::raw);
  EXPECT_EQ(s.egress.gateways[1].name, "g2.ns.svc");
  EXPECT_EQ(s.egress.gateways[1].addresses, std::vector{*Endpoint::parse("[fd00::8]:15443")});
  EXPECT_EQ(s.egress.gateways[1].transport, Transport::proxy);
  EXPECT_EQ(s.egress.gateways[2].transport, Transport::tls);
  EXPECT_EQ(s.egress.gateways[1].header, Header::plain);
  EXPECT_EQ(s.egress.gateways[2].header, Header::signed_);
  EXPECT_EQ(s.egress.health.failures, 4U);
  EXPECT_EQ(s.egress.health.ejection, Milliseconds(5));
  EXPECT_EQ(s.egress.unrouted, Unrouted::deny);
  EXPECT_EQ(s.egress.datapath, Datapath::relay);
  EXPECT_EQ(s.egress.direct.resolvers, std::vector{*Endpoint::parse("10.0.0.10:53")});
  EXPECT_EQ(s.egress.direct.forbidden_cidrs, std::vector{*Cidr::parse("10.0.0.0/8")});
  EXPECT_EQ(s.egress.direct.permitted_cidrs, std::vector{*Cidr::parse("10.1.0.0/16")});
  EXPECT_EQ(s.egress.direct.locality, "a/b");
  EXPECT_EQ(s.egress.key_file, "/key");
  EXPECT_EQ(s.egress.tls.certificate_file, "/tc");
  EXPECT_EQ(s.egress.tls.key_file, "/tk");
  EXPECT_EQ(s.egress.tls.ca_file, "/ta");
  EXPECT_EQ(s.egress.gateway_identity, "spiffe://a/b");
  EXPECT_EQ(s.egress.ech, EchPolicy::deny);
  EXPECT_FALSE(s.egress.events);
  ASSERT_EQ(s.pods.size(), 1U);
  EXPECT_EQ(s.pods[0].namespace_name, "ns");
  EXPECT_EQ(s.pods[0].name, "pod");
  EXPECT_EQ(s.pods[0].uid, "u");
  EXPECT_EQ(s.pods[0].service_account, "sa");
  EXPECT_THAT(s.pods[0].labels, testing::ElementsAre(testing::Pair("a", "b"), testing::Pair("c/d", "e")));
  EXPECT_EQ(s.pods[0].addresses, (std::vector{*IpAddress::parse("10.1.1.1"), *IpAddress::parse("fd00::9")}));
  EXPECT_EQ(s.pods[0].interface, "veth0");
  EXPECT_EQ(s.limits.connections, 1U);
  EXPECT_EQ(s.limits.connections_per_pod, 2U);
  EXPECT_EQ(s.limits.connections_per_second, 10U);
  EXPECT_EQ(s.limits.connections_per_second_per_pod, 11U);
  EXPECT_EQ(s.limits.denials_per_second, 3U);
  EXPECT_EQ(s.limits.first_bytes_timeout, Milliseconds(4));
  EXPECT_EQ(s.limits.http_idle_timeout, Milliseconds(5));
  EXPECT_EQ(s.limits.connect_timeout, Milliseconds(6));
  EXPECT_EQ(s.limits.answer_timeout, Milliseconds(9));
  EXPECT_EQ(s.limits.idle_timeout, Milliseconds(7));
  EXPECT_EQ(s.limits.drain_timeout, Milliseconds(8));
  EXPECT_EQ(s.audit.path, "/p");
  EXPECT_EQ(s.audit.rotate_bytes, 5000U);
  EXPECT_EQ(s.audit.keep_files, 8U);
  EXPECT_EQ(s.audit.on_failure, OnAuditFailure::count);
  EXPECT_EQ(s.audit.key_file, "/k");
  EXPECT_EQ(s.audit.checkpoint_records, 9U);
  EXPECT_EQ(s.admin.socket, "/s");
  EXPECT_EQ(s.admin.metrics_listen, Endpoint::parse("[::1]:15090"));
}

TEST(AgentSettings, the_node_is_named_after_the_host_unless_told) {
  const auto result = parse_agent(agent_base, "a.yaml");
  ASSERT_TRUE(result.ok());
  EXPECT_FALSE(result->node.name.empty());
}

TEST(GatewaySettings, every_value_arrives_and_a_raw_listener_means_its_own_port_unless_told) {
  const auto result = parse_gateway(
      "gateway: {name: g, namespace: n, labels: {a: b}, locality: r/z, unrouted: deny, node_keys: /k, header_age_ms: "
      "3, "
      "tls: {certificate_file: /tc, key_file: /tk, ca_file: /ta}, listen: ["
      "{address: \"0.0.0.0:443\", transport: raw, unsigned_from: [10.0.0.0/8]}, "
      "{address: \"[::]:8443\", transport: raw, service_port: 443, unsigned_from: [0.0.0.0/0]}, "
      "{address: \"0.0.0.0:15443\", translated: true}], resolvers: [\"10.0.0.10:53\"], "
      "forbidden_cidrs: [0.0.0.0/0], permitted_cidrs: [10.1.0.0/16]}",
      "g.yaml");
  ASSERT_TRUE(result.ok()) << result.error().message();
  const auto& gateway = result->gateway;
  ASSERT_EQ(gateway.listen.size(), 3U);
  EXPECT_EQ(gateway.listen[0].service_port, 443);
  EXPECT_EQ(gateway.listen[1].service_port, 443);
  EXPECT_EQ(gateway.listen[1].address, *Endpoint::parse("[::]:8443"));
  EXPECT_EQ(gateway.listen[2].service_port, 0);
  EXPECT_EQ(gateway.listen[2].transport, Transport::proxy);
  EXPECT_EQ(gateway.listen[0].unsigned_from, std::vector{*Cidr::parse("10.0.0.0/8")});
  EXPECT_FALSE(gateway.listen[0].translated);
  EXPECT_TRUE(gateway.listen[2].translated);
  EXPECT_EQ(gateway.name, "g");
  EXPECT_EQ(gateway.namespace_name, "n");
  EXPECT_THAT(gateway.labels, testing::ElementsAre(testing::Pair("a", "b")));
  EXPECT_EQ(gateway.outside.locality, "r/z");
  EXPECT_EQ(gateway.unrouted, Unrouted::deny);
  EXPECT_EQ(gateway.node_keys, "/k");
  EXPECT_EQ(gateway.header_age, Milliseconds(3));
  EXPECT_EQ(gateway.tls.ca_file, "/ta");
  EXPECT_EQ(gateway.outside.resolvers, std::vector{*Endpoint::parse("10.0.0.10:53")});
  EXPECT_EQ(gateway.outside.forbidden_cidrs, std::vector{*Cidr::parse("0.0.0.0/0")});
  EXPECT_EQ(gateway.outside.permitted_cidrs, std::vector{*Cidr::parse("10.1.0.0/16")});
}

TEST(IngressSettings, every_value_arrives) {
  const auto result = parse_ingress(R"(
ingress:
  namespace: n
  labels: {a: b}
  addresses: [127.0.0.1, "fd00::1"]
  secrets: /s
  services:
  - {host: a.n.svc.cluster.local, port: 80, protocol: grpc, endpoints: [{address: "10.0.0.1:8080", labels: {v: "1"}}, {address: "[fd00::2]:81"}]}
  - {host: a.n.svc.cluster.local, port: 81, endpoints: [{address: "10.0.0.1:8081"}]}
  access_log: failures
  max_head_bytes: 2048
  max_body_bytes: 3
  max_streams: 4
  stall_timeout_ms: 5
  outlier: {failures: 6, ejection_ms: 7}
  locality: r/z
  resolvers: ["10.0.0.10:53"]
  forbidden_cidrs: [10.0.0.0/8]
  permitted_cidrs: [10.1.0.0/16]
)",
                                    "i.yaml");
  ASSERT_TRUE(result.ok()) << result.error().message();
  const auto& ingress = result->ingress;
  EXPECT_EQ(ingress.namespace_name, "n");
  EXPECT_THAT(ingress.labels, testing::ElementsAre(testing::Pair("a", "b")));
  EXPECT_EQ(ingress.addresses, (std::vector{*IpAddress::parse("127.0.0.1"), *IpAddress::parse("fd00::1")}));
  EXPECT_EQ(ingress.secrets, "/s");
  ASSERT_EQ(ingress.services.size(), 2U);
  EXPECT_EQ(ingress.services[0].host, "a.n.svc.cluster.local");
  EXPECT_EQ(ingress.services[0].port, 80);
  EXPECT_EQ(ingress.services[0].protocol, ClusterService::Protocol::grpc);
  ASSERT_EQ(ingress.services[0].endpoints.size(), 2U);
  EXPECT_EQ(ingress.services[0].endpoints[0].address, *Endpoint::parse("10.0.0.1:8080"));
  EXPECT_THAT(ingress.services[0].endpoints[0].labels, testing::ElementsAre(testing::Pair("v", "1")));
  EXPECT_EQ(ingress.services[0].endpoints[1].address, *Endpoint::parse("[fd00::2]:81"));
  EXPECT_EQ(ingress.access_log, AccessLog::failures);
  EXPECT_EQ(ingress.max_head_bytes, 2048U);
  EXPECT_EQ(ingress.max_body_bytes, 3U);
  EXPECT_EQ(ingress.max_streams, 4U);
  EXPECT_EQ(ingress.stall_timeout, Milliseconds(5));
  EXPECT_EQ(ingress.outlier_failures, 6U);
  EXPECT_EQ(ingress.outlier_ejection, Milliseconds(7));
  EXPECT_EQ(ingress.outside.locality, "r/z");
  EXPECT_EQ(ingress.outside.resolvers, std::vector{*Endpoint::parse("10.0.0.10:53")});
  EXPECT_EQ(ingress.outside.forbidden_cidrs, std::vector{*Cidr::parse("10.0.0.0/8")});
  EXPECT_EQ(ingress.outside.permitted_cidrs, std::vector{*Cidr::parse("10.1.0.0/16")});
}

TEST(Settings, the_fault_that_comes_first_in_the_file_is_reported) {
  const auto result =
      parse_agent(std::string(agent_base) + "limits:\n  connections: 0\nnode:\n  threads: 0\n", "a.yaml");
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message(), testing::StartsWith("a.yaml:3: limits.connections: "));
}

TEST(Settings, a_missing_file_is_an_error_that_names_it) {
  const auto result = load_agent("/nonexistent/agent.yaml");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message(), "open /nonexistent/agent.yaml: No such file or directory");
}

TEST(Settings, a_directory_is_not_a_settings_file) {
  const auto result = load_gateway("/");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message(), "read /: Is a directory");
}

}  // namespace
}  // namespace sluice::settings
