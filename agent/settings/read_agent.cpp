#include <algorithm>
#include <charconv>
#include <map>

#include "settings/read_settings.h"

namespace sluice::settings {
namespace {

constexpr std::size_t max_interface_name = 15;  // IFNAMSIZ - 1
constexpr std::size_t max_gateways = 64;
constexpr std::size_t max_gateway_addresses = 64;

void read_patterns(yaml::Reader& reader, std::string_view key, std::vector<std::string>& out, std::string_view why) {
  if (!reader.find(key)) return;
  out.clear();
  for (const auto& item : reader.list(key, 100)) {
    auto pattern = item.text();
    if (!pattern) continue;
    if (pattern->empty() || pattern->size() > 64) item.fault("expected a pattern of 1 to 64 bytes like \"veth*\"");
    out.push_back(*std::move(pattern));
  }
  if (out.empty()) reader.fault(key, "expected at least one pattern: " + std::string(why));
}

// "ADDRESS[/LENGTH]:PORT", with IPv6 in brackets.
std::optional<UdpAllow> parse_udp_allow(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == text.npos) return std::nullopt;
  auto range = text.substr(0, colon);
  const auto digits = text.substr(colon + 1);
  const bool bracketed = range.size() >= 2 && range.front() == '[' && range.back() == ']';
  if (bracketed) range = range.substr(1, range.size() - 2);
  const auto cidr = Cidr::parse(range);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc{} || end != digits.data() + digits.size() || port == 0) return std::nullopt;
  if (!cidr || (range.find(':') != range.npos) != bracketed) return std::nullopt;
  return UdpAllow{*cidr, port};
}

Interception read_interception(yaml::Reader reader) {
  Interception interception;
  read_patterns(reader, "pod_interfaces", interception.pod_interfaces, "without one no pod is intercepted");
  read_patterns(reader, "uplinks", interception.uplinks, "without one nothing guards the way out");
  interception.internal_cidrs = read_cidrs(reader, "internal_cidrs", "then nothing would be enforced");
  interception.guarded_cidrs = read_cidrs(reader, "guarded_cidrs", "then nothing would be internal");
  for (const auto& item : reader.list("udp_allow", max_list_items)) {
    const auto text = item.text();
    if (!text) continue;
    const auto allow = parse_udp_allow(*text);
    if (allow) {
      interception.udp_allow.push_back(*allow);
    } else {
      item.fault("expected \"ADDRESS[/LENGTH]:PORT\", IPv6 in brackets (\"[fd00::/8]:53\"), found " + item.shown());
    }
  }
  reader.read("internal_nodes", interception.internal_nodes);
  reader.read("inbound_replies", interception.inbound_replies);
  reader.finish();
  return interception;
}

// "ADDRESS[:PORT]"; the port stays 0 when there is none.
std::optional<Endpoint> parse_address(std::string_view text) {
  if (const auto address = IpAddress::parse(text)) return Endpoint{*address, 0};
  const auto endpoint = Endpoint::parse(text);
  return endpoint && endpoint->port != 0 ? endpoint : std::nullopt;
}

std::vector<Endpoint> read_gateway_addresses(yaml::Reader& reader, Transport transport) {
  std::vector<Endpoint> addresses;
  for (const auto& item : reader.list("addresses", max_gateway_addresses)) {
    const auto text = item.text();
    if (!text) continue;
    const auto endpoint = parse_address(*text);
    if (!endpoint || endpoint->address.is_unspecified()) {
      item.fault("expected \"ADDRESS[:PORT]\", IPv6 with a port in brackets, found " + item.shown());
    } else if (endpoint->port == 0 && transport != Transport::raw) {
      item.fault("has no port; only transport raw goes to the port of the route: use \"ADDRESS:PORT\"");
    } else if (std::find(addresses.begin(), addresses.end(), *endpoint) != addresses.end()) {
      item.fault(endpoint->to_string() + " is there already: keep one of them");
    } else {
      addresses.push_back(*endpoint);
    }
  }
  if (addresses.empty()) reader.fault("addresses", "is required: at least one \"ADDRESS:PORT\" of the gateway");
  return addresses;
}

std::vector<GatewayTarget> read_gateways(yaml::Reader& egress) {
  static constexpr std::pair<std::string_view, Header> headers[] = {{"signed", Header::signed_},
                                                                    {"plain", Header::plain}};
  std::vector<GatewayTarget> gateways;
  for (const auto& item : egress.list("gateways", max_gateways)) {
    yaml::Reader reader(item);
    GatewayTarget gateway;
    reader.read("name", gateway.name);
    if (!is_kubernetes_name(gateway.name, true)) {
      reader.fault("name",
                   "is required: the gateway's Service as VirtualServices name it, like "
                   "istio-egressgateway.istio-system.svc.cluster.local");
    }
    reader.read<Transport>("transport", gateway.transport, transports);
    reader.read<Header>("header", gateway.header, headers);
    if (gateway.header == Header::plain && gateway.transport != Transport::proxy) {
      reader.fault("header", "plain is for transport proxy: remove it");
    }
    gateway.addresses = read_gateway_addresses(reader, gateway.transport);
    const auto same = [&](const GatewayTarget& other) { return other.name == gateway.name; };
    if (std::any_of(gateways.begin(), gateways.end(), same)) {
      reader.fault("name", yaml::quote(gateway.name) + " is there already: give the addresses to one of them");
    }
    reader.finish();
    gateways.push_back(std::move(gateway));
  }
  if (gateways.empty()) {
    egress.fault("gateways", "is required: at least one {name: NAME, addresses: [\"ADDRESS:PORT\"]}");
  }
  return gateways;
}

GatewayHealth read_health(yaml::Reader reader) {
  GatewayHealth health;
  reader.read("failures", health.failures, 1, 1000);
  read_ms(reader, "ejection_ms", health.ejection, 3'600'000);
  reader.finish();
  return health;
}

void read_credentials(yaml::Reader& reader, Egress& egress) {
  const auto any = [&](auto is_so) { return std::any_of(egress.gateways.begin(), egress.gateways.end(), is_so); };
  const bool uses_tls = any([](const GatewayTarget& gateway) { return gateway.transport == Transport::tls; });
  const bool signs = any([](const GatewayTarget& gateway) { return gateway.signs(); });
  reader.read("key_file", egress.key_file);
  if (egress.key_file.empty() && signs) {
    reader.fault("key_file", "is required with transport proxy and tls: the file with this node's key");
  }
  egress.tls = read_transport_tls(reader.section("tls"), uses_tls);
  reader.read("gateway_identity", egress.gateway_identity);
  if (uses_tls && !egress.gateway_identity.starts_with("spiffe://")) {
    reader.fault("gateway_identity",
                 "is required with transport tls: the URI in the gateway's certificate, like "
                 "spiffe://cluster.local/sluice/gateway");
  }
}

Egress read_egress(yaml::Reader reader) {
  static constexpr std::pair<std::string_view, Mode> modes[] = {{"enforce", Mode::enforce}, {"audit", Mode::audit}};
  static constexpr std::pair<std::string_view, EchPolicy> ech[] = {{"allow", EchPolicy::allow},
                                                                   {"deny", EchPolicy::deny}};
  static constexpr std::pair<std::string_view, Unrouted> unrouted[] = {
      {"gateway", Unrouted::gateway}, {"direct", Unrouted::direct}, {"deny", Unrouted::deny}};
  static constexpr std::pair<std::string_view, Datapath> datapaths[] = {{"gate", Datapath::gate},
                                                                        {"relay", Datapath::relay}};
  Egress egress;
  reader.read<Mode>("mode", egress.mode, modes);
  for (const auto& item : reader.list("audit_namespaces", max_list_items)) {
    auto name = item.text();
    if (!name) continue;
    if (!is_kubernetes_name(*name, false)) item.fault("expected the name of a namespace, found " + item.shown());
    egress.audit_namespaces.push_back(*std::move(name));
  }
  egress.gateways = read_gateways(reader);
  egress.health = read_health(reader.section("health"));
  reader.read<Unrouted>("unrouted", egress.unrouted, unrouted);
  reader.read<Datapath>("datapath", egress.datapath, datapaths);
  auto direct = reader.section("direct");
  read_outside(direct, egress.direct);
  direct.finish();
  read_credentials(reader, egress);
  reader.read<EchPolicy>("ech", egress.ech, ech);
  reader.read("events", egress.events);
  reader.finish();
  return egress;
}

void read_name(yaml::Reader& reader, std::string_view key, bool dots, std::string& out) {
  reader.read(key, out);
  if (!is_kubernetes_name(out, dots)) {
    reader.fault(key,
                 "is required: a Kubernetes name of lower-case letters, digits and '-', found " + yaml::quote(out));
  }
}

Pod read_pod(const yaml::Value& value) {
  yaml::Reader reader(value);
  const auto faults_before = value.context().faults.size();
  Pod pod;
  read_name(reader, "namespace", false, pod.namespace_name);
  read_name(reader, "name", true, pod.name);
  reader.read("uid", pod.uid);
  reader.read("service_account", pod.service_account);
  read_labels(reader.section("labels"), pod.labels);
  for (const auto& item : reader.list("addresses", 16)) {
    const auto text = item.text();
    if (!text) continue;
    const auto address = IpAddress::parse(*text);
    if (!address || address->is_unspecified()) {
      item.fault("expected an IP address, found " + item.shown());
    } else {
      pod.addresses.push_back(*address);
    }
  }
  reader.read("interface", pod.interface);
  if (pod.interface.size() > max_interface_name) reader.fault("interface", "expected at most 15 bytes");
  const bool sound = value.context().faults.size() == faults_before;
  if (sound && pod.addresses.empty() && pod.interface.empty()) {
    value.fault("expected `addresses` or `interface`, found neither");
  }
  reader.finish();
  return pod;
}

// Two pods with one address would make an identity a matter of luck.
std::vector<Pod> read_pods(yaml::Reader& reader, const yaml::Context& context) {
  std::vector<Pod> pods;
  std::map<std::string, std::string> owners;
  for (const auto& item : reader.list("pods", max_list_items)) {
    const auto faults_before = context.faults.size();
    auto pod = read_pod(item);
    if (context.faults.size() != faults_before) continue;
    const auto name = pod.namespace_name + "/" + pod.name;
    const auto claim = [&](const std::string& what) {
      const auto [owner, first] = owners.emplace(what, item.path());
      if (!first) item.fault(what + " is there already, in " + owner->second);
    };
    claim("pod " + name);
    for (const auto& address : pod.addresses) claim("address " + address.to_string());
    if (!pod.interface.empty()) claim("interface " + yaml::quote(pod.interface));
    pods.push_back(std::move(pod));
  }
  return pods;
}

}  // namespace

AgentSettings read_agent(const yaml::Node& root, yaml::Context& context) {
  yaml::Reader reader(&root, "", context);
  AgentSettings settings;
  settings.node = read_node(reader.section("node"));
  settings.resources = read_resources(reader.section("resources"));
  settings.interception = read_interception(reader.section("interception"));
  settings.egress = read_egress(reader.section("egress"));
  auto identity = reader.section("identity");
  settings.pods = read_pods(identity, context);
  read_ms(identity, "wait_ms", settings.pod_wait, 60'000);
  identity.finish();
  settings.limits = read_limits(reader.section("limits"));
  settings.audit = read_audit(reader.section("audit"));
  settings.admin = read_admin(reader.section("admin"));
  reader.finish();
  return settings;
}

}  // namespace sluice::settings
