// Pods and Nodes (core/v1) as an agent needs them. Pure.
#pragma once

#include <optional>
#include <vector>

#include "base/ip.h"
#include "kube/object.h"
#include "settings/settings.h"

namespace sluice::kube {

// What read_pod() and read_node() do not read is taken out.
void trim_pod(boost::json::object& content);
void trim_node(boost::json::object& content);

struct PodState {
  settings::Pod pod;          // metadata, spec.serviceAccountName, status.podIPs; no addresses: not known yet
  bool host_network = false;  // spec.hostNetwork: its calls are the node's own
  bool over = false;          // status.phase Succeeded or Failed: its addresses may be another's
};
PodState read_pod(const Object& object);

// What of a node is internal: spec.podCIDRs, and status.addresses of type InternalIP. A range of more than a /8, or a
// /16 of IPv6, is nobody's pods and left out.
std::vector<Cidr> read_node(const Object& object);

}  // namespace sluice::kube
