// The rules of a ServiceEntry that span fields. Which are Istio's: validation of pilot and the CRD schema.
#include <algorithm>

#include "resources/service_entry.h"

namespace sluice::resources {
namespace {

bool resolves_hosts(Resolution resolution) {
  return resolution == Resolution::dns || resolution == Resolution::dns_round_robin;
}

bool is_by_address(Protocol protocol) {
  return !is_http(protocol) && !is_tls(protocol);
}

void check_hosts(Draft& draft) {
  const auto resolution = draft.service.resolution;
  for (std::size_t i = 0; i < draft.hosts.size(); ++i) {
    const bool wildcard = draft.service.hosts[i].starts_with('*');
    if (wildcard && resolves_hosts(resolution) && !draft.has_endpoints) {
      draft.hosts[i].fault("a wildcard cannot be resolved: add endpoints, or use resolution NONE or DYNAMIC_DNS");
    }
    if (!wildcard && resolution == Resolution::dynamic_dns) {
      draft.hosts[i].fault("resolution DYNAMIC_DNS takes wildcards only: use resolution DNS for this host");
    }
  }
}

void check_ports(Draft& draft) {
  const auto& service = draft.service;
  const bool one_of_many = service.resolution != Resolution::none && service.hosts.size() > 1;
  for (std::size_t i = 0; i < draft.ports.size(); ++i) {
    const auto& port = service.ports[i];
    const auto& at = draft.ports[i];
    if (service.resolution == Resolution::dynamic_dns &&
        (is_by_address(port.protocol) || port.protocol == Protocol::https)) {
      at.fault("resolution DYNAMIC_DNS takes protocols HTTP, HTTP2, GRPC and TLS only");
    }
    if (!is_by_address(port.protocol)) continue;
    if (one_of_many) {
      at.fault("several hosts cannot be told apart on a port of this protocol: split them, or use HTTP, HTTPS or TLS");
    }
    if (!service.addresses.empty()) continue;
    if (port.protocol == Protocol::tcp) {
      draft.findings.warn("IST0134", at.line(), at.path(),
                          "TCP without addresses is told apart by port alone: add spec.addresses");
    }
    if (service.resolution == Resolution::none) {
      draft.findings.warn("SLU0001", at.line(), at.path(),
                          fmt::format("resolution NONE without addresses opens port {} to every address: add "
                                      "spec.addresses",
                                      port.number));
    }
  }
}

void check_endpoints(Draft& draft) {
  const auto resolution = draft.service.resolution;
  if (draft.has_selector && draft.has_endpoints) {
    draft.spec.fault("workloadSelector", "excludes endpoints: remove one of them");
  }
  if (resolution == Resolution::none && draft.has_endpoints) {
    draft.spec.fault("endpoints", "resolution NONE takes none: remove them, or use STATIC or DNS");
  }
  if (resolution == Resolution::dynamic_dns && draft.has_endpoints) {
    draft.spec.fault("endpoints", "resolution DYNAMIC_DNS takes none: remove them");
  }
  if (resolution == Resolution::dns_round_robin && draft.service.endpoints.size() > 1) {
    draft.spec.fault("endpoints", "resolution DNS_ROUND_ROBIN takes at most one: remove the others, or use DNS");
  }
  if (draft.has_selector) {
    draft.findings.warn("SLU0003", draft.spec.line(), "spec.workloadSelector",
                        "is not read: it selects workloads of the mesh; give endpoints for what lies outside");
  }
  if (resolution == Resolution::static_ && !draft.has_endpoints) {
    draft.findings.warn("SLU0002", draft.spec.line(), "spec.endpoints",
                        "resolution STATIC without endpoints has nobody to dial: add one");
  }
}

void check_addresses(Draft& draft) {
  const auto resolution = draft.service.resolution;
  if (resolution == Resolution::dynamic_dns && !draft.service.addresses.empty()) {
    draft.spec.fault("addresses", "resolution DYNAMIC_DNS takes none: remove them");
  } else if (draft.has_cidr && resolves_hosts(resolution)) {
    draft.spec.fault("addresses", "ranges go with resolution NONE or STATIC only: list single addresses");
  }
}

}  // namespace

void check_service_entry(Draft& draft) {
  check_hosts(draft);
  check_addresses(draft);
  check_ports(draft);
  check_endpoints(draft);
}

}  // namespace sluice::resources
