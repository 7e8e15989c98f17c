#include "egress/known_pods.h"

#include <utility>
#include <vector>

#include "net/netlink.h"

namespace sluice::egress {

identity::PodTable known_pods(const settings::AgentSettings& settings) {
  std::vector<identity::Pod> pods;
  pods.reserve(settings.pods.size());
  for (const auto& known : settings.pods) {
    identity::Pod pod{known.namespace_name, known.name,      known.uid, known.service_account,
                      known.labels,         known.addresses, 0};
    pod.ifindex = net::ifindex_of(known.interface).value_or(0);
    if (pod.addresses.empty() && pod.ifindex != 0) {
      if (auto routed = net::routed_addresses(pod.ifindex)) pod.addresses = std::move(*routed);
    }
    pods.push_back(std::move(pod));
  }
  return identity::PodTable(std::move(pods));
}

}  // namespace sluice::egress
