#include "kube/pod.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "kube/fields.h"

namespace sluice::kube {
namespace {

namespace json = boost::json;

constexpr std::size_t max_addresses = 16;
constexpr unsigned shortest_v4 = 8;
constexpr unsigned shortest_v6 = 16;

void add_address(std::vector<IpAddress>& addresses, const std::string& text) {
  const auto address = IpAddress::parse(text);
  if (!address || address->is_unspecified() || addresses.size() >= max_addresses) return;
  if (std::find(addresses.begin(), addresses.end(), *address) == addresses.end()) addresses.push_back(*address);
}

void add_range(std::vector<Cidr>& ranges, const std::string& text) {
  const auto range = Cidr::parse(text);
  if (!range || range->length() < (range->address().is_v4() ? shortest_v4 : shortest_v6)) return;
  if (std::find(ranges.begin(), ranges.end(), *range) == ranges.end()) ranges.push_back(*range);
}

}  // namespace

void trim_pod(json::object& content) {
  keep(content, "metadata", {"labels"});
  keep(content, "spec", {"serviceAccountName", "hostNetwork"});
  keep(content, "status", {"phase", "podIP", "podIPs"});
}

void trim_node(json::object& content) {
  keep(content, "metadata", {});
  keep(content, "spec", {"podCIDR", "podCIDRs"});
  keep(content, "status", {"addresses"});
}

PodState read_pod(const Object& object) {
  PodState state;
  auto& pod = state.pod;
  pod.namespace_name = object.id.namespace_name;
  pod.name = object.id.name;
  pod.uid = object.uid;
  const auto& spec = part_of(object.content, "spec");
  const auto& status = part_of(object.content, "status");
  if (auto account = find_text(spec, "serviceAccountName"); !account.empty()) pod.service_account = std::move(account);
  pod.labels = find_texts(part_of(object.content, "metadata"), "labels");
  add_address(pod.addresses, find_text(status, "podIP"));
  if (const auto* addresses = find_array(status, "podIPs")) {
    for (const auto& each : *addresses) {
      if (const auto* entry = each.if_object()) add_address(pod.addresses, find_text(*entry, "ip"));
    }
  }
  state.host_network = find_true(spec, "hostNetwork");
  const auto phase = find_text(status, "phase");
  state.over = phase == "Succeeded" || phase == "Failed";
  return state;
}

std::vector<Cidr> read_node(const Object& object) {
  std::vector<Cidr> ranges;
  const auto& spec = part_of(object.content, "spec");
  add_range(ranges, find_text(spec, "podCIDR"));
  if (const auto* all = find_array(spec, "podCIDRs")) {
    for (const auto& each : *all) {
      if (const auto* text = each.if_string()) add_range(ranges, std::string(*text));
    }
  }
  const auto* addresses = find_array(part_of(object.content, "status"), "addresses");
  if (addresses == nullptr) return ranges;
  for (const auto& each : *addresses) {
    const auto* entry = each.if_object();
    if (entry == nullptr || find_text(*entry, "type") != "InternalIP") continue;
    const auto address = IpAddress::parse(find_text(*entry, "address"));
    if (address && !address->is_unspecified()) add_range(ranges, address->to_string());
  }
  return ranges;
}

}  // namespace sluice::kube
