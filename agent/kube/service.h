// Services (core/v1) with their EndpointSlices (discovery.k8s.io/v1, v1beta1), and Secrets, as an ingress needs them.
// Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kube/object.h"
#include "policy/service.h"

namespace sluice::kube {

// What is not read is taken out.
void trim_service(boost::json::object& content);
void trim_slice(boost::json::object& content);
void trim_secret(boost::json::object& content);

// spec.ports of protocol TCP; a Service of type ExternalName has none.
std::vector<ServicePort> read_service(const Object& object);

struct Slice {
  std::string service;                                       // in its namespace; empty: of none
  std::vector<std::pair<std::string, std::uint16_t>> ports;  // of every address, by the name of the Service's port
  std::vector<std::string> addresses;                        // of endpoints that are ready
};
Slice read_slice(const Object& object);

// data, decoded; what is not base64 is left out.
std::map<std::string, std::string> read_secret(const Object& object);

// What carries `app_protocol` (spec.ports[].appProtocol), or else a port of that name: "PROTOCOL" or "PROTOCOL-ANY".
// HTTP when neither says.
Protocol protocol_of(std::string_view app_protocol, std::string_view port_name);

// The Services as destinations, "name.namespace.svc.cluster.local".
std::vector<Service> to_services(const std::map<ObjectId, std::vector<ServicePort>>& services,
                                 const std::map<ObjectId, Slice>& slices);

}  // namespace sluice::kube
