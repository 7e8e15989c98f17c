#include "egress/node.h"

#include <chrono>

#include "wire/proxy_v2.h"

namespace sluice::egress {

std::uint64_t pod_wait_ns(const settings::AgentSettings& settings) {
  if (settings.resources.source != settings::ResourceSource::kubernetes) return 0;
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(settings.pod_wait).count());
}

std::vector<std::uint8_t> make_header(const Node& node, const observe::Record& record, const std::string& host,
                                      const settings::GatewayTarget& gateway, std::uint16_t port,
                                      const std::optional<Endpoint>& hop_source) {
  wire::ProxyHeader header;
  header.source = *record.source;
  header.destination = *record.destination;
  if (!gateway.signs()) return wire::encode_proxy_header(header);
  header.authority = host;
  header.node = node.settings.node.name;
  header.pod_namespace = record.pod->namespace_name;
  header.pod_name = record.pod->name;
  header.service_account = record.pod->service_account;
  header.rule = record.rule;
  header.connection_id = record.id;
  header.gateway = gateway.name;
  header.gateway_port = port;
  header.hop_source = hop_source;
  return node.signer->sign(header);
}

}  // namespace sluice::egress
