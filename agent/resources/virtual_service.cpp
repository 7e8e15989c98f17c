#include "resources/virtual_service.h"

#include <algorithm>

#include "policy/host_match.h"
#include "resources/fields.h"
#include "resources/names.h"

namespace sluice::resources {
namespace {

constexpr std::size_t max_rules = 1024;
constexpr std::size_t max_matches = 1024;

bool lists(const VirtualService& service, std::string_view gateway) {
  return std::find(service.gateways.begin(), service.gateways.end(), gateway) != service.gateways.end();
}

void read_host(const yaml::Value& item, VirtualService& service) {
  const auto text = item.text();
  if (!text) return;
  const bool in_mesh = lists(service, mesh_gateway);
  const auto address = IpAddress::parse(*text);
  if (address && in_mesh) return item.fault("an IP address goes with gateways other than mesh only");
  auto host = address ? address->to_string() : complete_host(normalise_name(*text), service.object.namespace_name);
  if (!address && !is_wildcard_dns_name(host)) {
    return item.fault("expected a DNS name, with \"*\" at most as its first label, found " + item.shown());
  }
  if (host == "*" && in_mesh) return item.fault("a bare \"*\" goes with gateways other than mesh only: name the hosts");
  for (const auto& other : service.hosts) {
    if (!hosts_overlap(other, host)) continue;
    return item.fault(fmt::format("{} overlaps with {}: keep one of them", host, other));
  }
  service.hosts.push_back(std::move(host));
}

// Without hosts it is a delegate: other VirtualServices' http rules may refer to it, and it has no gateways.
void read_hosts(yaml::Reader& spec, VirtualService& service) {
  for (const auto& item : spec.list("hosts", max_host_items)) read_host(item, service);
}

// The old spelling "name.namespace[.svc.cluster.local]".
std::string rewrite_legacy_gateway(std::string_view name) {
  const auto dot = name.find('.');
  const auto rest = name.substr(dot + 1);
  return fmt::format("{}/{}", rest.substr(0, rest.find('.')), name.substr(0, dot));
}

std::optional<std::string> parse_gateway(const std::string& text, const std::string& own_namespace) {
  if (text == mesh_gateway) return text;
  const auto slash = text.find('/');
  auto full = slash != text.npos            ? text
              : text.find('.') == text.npos ? own_namespace + "/" + text
                                            : rewrite_legacy_gateway(text);
  if (full.starts_with("./")) full = own_namespace + full.substr(1);
  const auto split = full.find('/');
  const auto view = std::string_view(full);
  if (!is_namespace(view.substr(0, split)) || !is_object_name(view.substr(split + 1))) return std::nullopt;
  return full;
}

std::vector<Cidr> read_subnets(yaml::Reader& match) {
  std::vector<Cidr> subnets;
  for (const auto& item : match.list("destinationSubnets", max_list_items)) {
    const auto text = item.text();
    if (!text) continue;
    if (const auto cidr = Cidr::parse(*text))
      subnets.push_back(*cidr);
    else
      item.fault("expected an IP address or a range like 203.0.113.0/24, found " + item.shown());
  }
  return subnets;
}

void read_sni_hosts(yaml::Reader& reader, const VirtualService& service, ConnectionMatch& match, Findings& findings) {
  const auto items = reader.list("sniHosts", max_host_items);
  for (const auto& item : items) {
    const auto text = item.text();
    if (!text) continue;
    auto host = normalise_name(*text);
    if (IpAddress::parse(host)) {
      findings.warn("IST0133", item, "an SNI is never an IP address, so this matches nothing: give a host name");
    } else if (!is_wildcard_dns_name(host)) {
      item.fault("expected a DNS name, with \"*\" at most as its first label, found " + item.shown());
      continue;
    }
    const auto around = std::any_of(service.hosts.begin(), service.hosts.end(),
                                    [&](const std::string& outer) { return host_covers(outer, host); });
    if (!around && !service.hosts.empty()) {
      item.fault(fmt::format("{} is none of spec.hosts: add it there, or change it", host));
    }
    match.sni_hosts.push_back(std::move(host));
  }
  if (!items.empty()) return;
  match.sni_hosts = service.hosts;
  findings.warn("SLU0007", reader.line(), reader.path() + ".sniHosts",
                fmt::format("is required, and Istio refuses the VirtualService; the rule is taken for spec.hosts here: "
                            "add sniHosts: [{}]",
                            fmt::join(service.hosts, ", ")));
}

ConnectionMatch read_match(const yaml::Value& value, const VirtualService& service, bool is_tls, Findings& findings) {
  ConnectionMatch match;
  yaml::Reader reader(value);
  if (!reader.present()) return match;
  if (is_tls) read_sni_hosts(reader, service, match, findings);
  match.destination_subnets = read_subnets(reader);
  match.port = read_port_number(reader, "port");
  match.source_labels = read_labels(reader.section("sourceLabels"));
  match.source_namespace = read_source_namespace(reader);
  match.gateways = read_gateways(reader, service.object.namespace_name, findings);
  if (const auto subnet = reader.find("sourceSubnet")) {
    // The rule would apply to more than its author meant.
    subnet->fault("is not read: use sourceLabels or sourceNamespace");
  }
  reader.finish();
  return match;
}

ConnectionRule read_rule(const yaml::Value& value, const VirtualService& service, bool is_tls, Findings& findings) {
  ConnectionRule rule;
  yaml::Reader reader(value);
  if (!reader.present()) return rule;
  for (const auto& item : reader.list("match", max_matches)) {
    rule.matches.push_back(read_match(item, service, is_tls, findings));
  }
  if (is_tls && rule.matches.empty()) reader.fault("match", "is required: at least one, with sniHosts");
  rule.destinations = read_route(reader, service.object.namespace_name, nullptr);
  if (rule.destinations.empty()) reader.fault("route", "is required: at least one destination");
  reader.finish();
  return rule;
}

std::vector<ConnectionRule> read_rules(yaml::Reader& spec, std::string_view key, const VirtualService& service,
                                       Findings& findings) {
  std::vector<ConnectionRule> rules;
  for (const auto& item : spec.list(key, max_rules)) {
    rules.push_back(read_rule(item, service, key == "tls", findings));
  }
  return rules;
}

void check_delegate(yaml::Reader& spec, const VirtualService& service, bool has_gateways) {
  if (!service.hosts.empty()) return;
  if (has_gateways || service.http.empty() || !service.tls.empty() || !service.tcp.empty()) {
    spec.fault("hosts", "is required: at least one; only a delegate, with http and without gateways, has none");
  }
}

void check_weights(const std::vector<yaml::Value>& items, const std::vector<Destination>& destinations) {
  std::uint64_t total = 0;
  for (const auto& destination : destinations) total += destination.weight;
  if (destinations.size() > 1 && total == 0) items.front().fault("the weights of a route add up to 0: give some");
  if (total > std::numeric_limits<std::uint32_t>::max())
    items.front().fault("the weights of a route add up to over 32 bits");
}

}  // namespace

std::optional<std::vector<std::string>> read_gateways(yaml::Reader& reader, const std::string& own_namespace,
                                                      Findings& findings) {
  std::vector<std::string> gateways;
  const auto items = reader.list("gateways", max_host_items);
  for (const auto& item : items) {
    const auto text = item.text();
    if (!text) continue;
    auto gateway = parse_gateway(*text, own_namespace);
    if (!gateway) {
      item.fault("expected \"mesh\", \"name\" or \"namespace/name\", found " + item.shown());
      continue;
    }
    if (text->find('/') == text->npos && text->find('.') != text->npos) {
      findings.warn("IST0133", item, fmt::format("is an old spelling: write {}", *gateway));
    }
    gateways.push_back(*std::move(gateway));
  }
  if (items.empty()) return std::nullopt;
  return gateways;
}

std::string read_source_namespace(yaml::Reader& match) {
  std::string name;
  match.read("sourceNamespace", name);
  if (!name.empty() && !is_namespace(name)) {
    match.fault("sourceNamespace", "expected the name of a namespace, found " + yaml::quote(name));
  }
  return name;
}

Destination read_destination(yaml::Reader reader, const std::string& own_namespace) {
  Destination destination;
  if (const auto value = reader.find("host")) {
    const auto text = value->text();
    destination.host = text ? complete_host(normalise_name(*text), own_namespace) : "";
    const bool sound = destination.host != "*" && is_wildcard_dns_name(destination.host);
    if (text && !sound) value->fault("expected the name of a service, found " + value->shown());
  } else {
    reader.fault("host", "is required: the name of a service");
  }
  reader.read("subset", destination.subset);
  if (!destination.subset.empty() && !is_label(destination.subset)) {
    reader.fault("subset", "expected at most 63 letters, digits and '-', found " + yaml::quote(destination.subset));
  }
  auto port = reader.section("port");
  if (port.present()) {
    destination.port = read_port_number(port, "number").value_or(0);
    if (!port.find("number")) port.fault("number", "is required");
    port.finish();
  }
  reader.finish();
  return destination;
}

std::vector<Destination> read_route(yaml::Reader& rule, const std::string& own_namespace, Findings* headers) {
  std::vector<Destination> destinations;
  const auto items = rule.list("route", max_host_items);
  for (const auto& item : items) {
    yaml::Reader reader(item);
    if (!reader.present()) continue;
    auto destination = read_destination(reader.section("destination"), own_namespace);
    reader.read("weight", destination.weight, 0, max_count);
    if (headers != nullptr) destination.headers = read_headers(reader, *headers);
    reader.finish();
    destinations.push_back(std::move(destination));
  }
  if (!items.empty()) check_weights(items, destinations);
  return destinations;
}

VirtualService read_virtual_service(yaml::Reader spec, ObjectName object, Findings& findings) {
  VirtualService service;
  service.object = std::move(object);
  auto gateways = read_gateways(spec, service.object.namespace_name, findings);
  const bool has_gateways = gateways.has_value();
  service.gateways = std::move(gateways).value_or(std::vector<std::string>{mesh_gateway});
  read_hosts(spec, service);
  service.export_to = read_export_to(spec, service.object.namespace_name, false);
  read_http_rules(spec, service, findings);
  service.tls = read_rules(spec, "tls", service, findings);
  service.tcp = read_rules(spec, "tcp", service, findings);
  if (service.http.empty() && service.tls.empty() && service.tcp.empty()) {
    spec.fault("http", "one of http, tls and tcp is required: say where calls go");
  } else if (!findings.context.has_wrong_values()) {
    check_delegate(spec, service, has_gateways);
  }
  spec.finish();
  return service;
}

}  // namespace sluice::resources
