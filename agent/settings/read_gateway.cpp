#include <algorithm>

#include "settings/read_settings.h"

namespace sluice::settings {
namespace {

Listen read_listen(const yaml::Value& item) {
  yaml::Reader reader(item);
  Listen listen;
  if (const auto value = reader.find("address")) {
    if (const auto endpoint = read_endpoint(*value, "0.0.0.0:15443")) listen.address = *endpoint;
  } else {
    reader.fault("address", "is required: \"ADDRESS:PORT\" to listen on");
  }
  reader.read<Transport>("transport", listen.transport, transports);
  reader.read("service_port", listen.service_port, 0, 65535);
  if (listen.transport != Transport::raw && listen.service_port != 0) {
    reader.fault("service_port", "is for transport raw; with proxy and tls the header names the port: remove it");
  }
  if (listen.transport == Transport::raw && listen.service_port == 0) listen.service_port = listen.address.port;
  listen.unsigned_from = read_cidrs(reader, "unsigned_from", "");
  if (listen.transport == Transport::raw && listen.unsigned_from.empty()) {
    reader.fault("unsigned_from",
                 "is required with transport raw, whose callers are unknown: the networks they are in");
  }
  reader.read("translated", listen.translated);
  reader.finish();
  return listen;
}

void read_workload(yaml::Reader& reader, Gateway& gateway) {
  static constexpr std::pair<std::string_view, Unrouted> unrouted[] = {{"direct", Unrouted::direct},
                                                                       {"deny", Unrouted::deny}};
  reader.read("name", gateway.name);
  if (!is_kubernetes_name(gateway.name, true)) {
    reader.fault("name",
                 "is required: this gateway as agents know it (egress.gateways[].name), like "
                 "istio-egressgateway.istio-system.svc.cluster.local");
  }
  reader.read("namespace", gateway.namespace_name);
  if (!is_kubernetes_name(gateway.namespace_name, false)) {
    reader.fault("namespace", "is required: the namespace that this gateway runs in");
  }
  read_labels(reader.section("labels"), gateway.labels);
  reader.read<Unrouted>("unrouted", gateway.unrouted, unrouted);
}

void read_credentials(yaml::Reader& reader, Gateway& gateway) {
  const auto uses = [&](Transport transport) {
    return std::any_of(gateway.listen.begin(), gateway.listen.end(),
                       [&](const Listen& listen) { return listen.transport == transport; });
  };
  reader.read("node_keys", gateway.node_keys);
  if (gateway.node_keys.empty() && (uses(Transport::proxy) || uses(Transport::tls))) {
    reader.fault("node_keys", "is required with transport proxy and tls: the directory with the nodes' keys");
  }
  read_ms(reader, "header_age_ms", gateway.header_age, 600'000);
  gateway.tls = read_transport_tls(reader.section("tls"), uses(Transport::tls));
}

Gateway read_gateway_section(yaml::Reader reader) {
  Gateway gateway;
  for (const auto& item : reader.list("listen", 64)) {
    const auto listen = read_listen(item);
    const auto same = [&](const Listen& other) { return other.address == listen.address; };
    if (listen.address.port != 0 && std::any_of(gateway.listen.begin(), gateway.listen.end(), same)) {
      item.fault(listen.address.to_string() + " is listened on already: keep one of them");
    }
    gateway.listen.push_back(listen);
  }
  if (gateway.listen.empty()) reader.fault("listen", "is required: at least one {address: \"0.0.0.0:15443\"}");
  read_workload(reader, gateway);
  read_credentials(reader, gateway);
  read_outside(reader, gateway.outside);
  reader.finish();
  return gateway;
}

}  // namespace

GatewaySettings read_gateway(const yaml::Node& root, yaml::Context& context) {
  yaml::Reader reader(&root, "", context);
  GatewaySettings settings;
  settings.node = read_node(reader.section("node"));
  settings.resources = read_resources(reader.section("resources"));
  settings.gateway = read_gateway_section(reader.section("gateway"));
  settings.limits = read_limits(reader.section("limits"));
  settings.audit = read_audit(reader.section("audit"));
  settings.admin = read_admin(reader.section("admin"));
  reader.finish();
  return settings;
}

}  // namespace sluice::settings
