// spec.endpoints and spec.workloadSelector.
#include <algorithm>
#include <limits>

#include "resources/fields.h"
#include "resources/names.h"
#include "resources/service_entry.h"

namespace sluice::resources {
namespace {

constexpr std::size_t max_endpoints = 4096;

void read_endpoint_ports(yaml::Reader reader, const Service& service, ServiceEndpoint& endpoint) {
  for (const auto& entry : reader.entries()) {
    const auto number = entry.integer(1, 65535);
    const auto& name = entry.node().key;
    const auto same = [&](const ServicePort& port) { return port.name == name; };
    if (std::none_of(service.ports.begin(), service.ports.end(), same)) {
      entry.fault("is no port of spec.ports: use the name of one of them");
    } else if (number) {
      endpoint.ports.emplace_back(name, static_cast<std::uint16_t>(*number));
    }
  }
}

std::string read_address(yaml::Reader& reader, Resolution resolution) {
  const auto value = reader.find("address");
  const auto text = value ? value->text() : std::nullopt;
  if (!value || (text && text->empty())) {
    reader.fault("address", "is required: an endpoint that has only a network cannot be dialled");
    return {};
  }
  if (!text) return {};
  if (text->starts_with("unix://")) {
    value->fault("a socket of one machine cannot be dialled by a gateway: give an IP address");
    return {};
  }
  if (const auto address = IpAddress::parse(*text)) return address->to_string();
  auto name = normalise_name(*text);
  if (resolution == Resolution::static_) {
    value->fault("resolution STATIC expects an IP address, found " + value->shown());
  } else if (!is_dns_name(name)) {
    value->fault("expected an IP address or a DNS name, found " + value->shown());
  }
  return name;
}

ServiceEndpoint read_endpoint(const yaml::Value& value, const Service& service) {
  yaml::Reader reader(value);
  ServiceEndpoint endpoint;
  if (!reader.present()) return endpoint;
  endpoint.address = read_address(reader, service.resolution);
  read_endpoint_ports(reader.section("ports"), service, endpoint);
  endpoint.labels = read_labels(reader.section("labels"));
  reader.read("weight", endpoint.weight, 0, std::numeric_limits<std::uint32_t>::max());
  endpoint.weight = std::max(endpoint.weight, 1U);  // 0 is how Istio's API spells "not set"
  reader.read("locality", endpoint.locality);
  std::string unused;
  reader.read("network", unused);
  reader.read("serviceAccount", unused);
  reader.finish();
  return endpoint;
}

}  // namespace

void read_endpoints(Draft& draft) {
  for (const auto& item : draft.spec.list("endpoints", max_endpoints)) {
    draft.has_endpoints = true;
    draft.service.endpoints.push_back(read_endpoint(item, draft.service));
  }
  auto selector = draft.spec.section("workloadSelector");
  draft.has_selector = selector.present();
  if (!draft.has_selector) return;
  read_labels(selector.section("labels"));
  selector.finish();
}

}  // namespace sluice::resources
