#include "resources/analysis_world.h"

#include <algorithm>

#include "policy/oldest_first.h"

namespace sluice::resources {
namespace {

template <typename T>
void place(const LocatedObject& object, std::vector<Located<T>>& list) {
  if (const auto* content = std::get_if<T>(object.content)) list.push_back({content, object});
}

template <typename T>
void sort_by_age(std::vector<Located<T>>& list) {
  std::sort(list.begin(), list.end(),
            [](const auto& a, const auto& b) { return age_of(*a.object) < age_of(*b.object); });
}

}  // namespace

std::string MatchPlace::path() const {
  const auto of_rule = fmt::format("spec.{}[{}]", list, rule);
  return match ? fmt::format("{}.match[{}]", of_rule, *match) : of_rule;
}

World::World(const Registry& registry) : registry_(registry) {
  for (const auto& object : registry.objects()) {
    place(object, services);
    place(object, gateways);
    place(object, virtual_services);
    place(object, destination_rules);
  }
  sort_by_age(services);
  sort_by_age(gateways);
  sort_by_age(virtual_services);
  sort_by_age(destination_rules);
  for (const auto& service : services) {
    for (const auto& host : service->hosts) service_hosts.add(host, &service);
  }
  for (const auto& service : virtual_services) {
    if (!applies_at(*service.object, mesh_gateway)) continue;
    for (const auto& host : service->hosts) mesh_hosts.add(host, &service);
  }
  for (const auto& gateway : gateways) gateways_by_name_.emplace(gateway->object.to_string(), &gateway);
}

const Located<Gateway>* World::find_gateway(std::string_view name) const {
  const auto found = gateways_by_name_.find(name);
  return found == gateways_by_name_.end() ? nullptr : found->second;
}

bool World::is_rejected_gateway(const std::string& name) const {
  const auto slash = name.find('/');
  return slash != name.npos && registry_.is_rejected({"Gateway", name.substr(0, slash), name.substr(slash + 1)});
}

bool World::is_rejected_virtual_service(const DelegateName& name) const {
  return registry_.is_rejected({"VirtualService", name.namespace_name, name.name});
}

const Located<Service>* World::find_service(std::string_view host, std::string_view from_namespace) const {
  const auto* found = service_hosts.find_cover(
      host, [&](const Located<Service>* service) { return is_exported_to((*service)->export_to, from_namespace); });
  return found == nullptr ? nullptr : *found;
}

bool is_cluster_host(std::string_view host) {
  return host.ends_with(fmt::format(".{}", cluster_domain));
}

bool selectors_overlap(const Labels& left, const Labels& right) {
  return has_labels(left, right) || has_labels(right, left);
}

bool is_mesh(const VirtualService& service) {
  return std::find(service.gateways.begin(), service.gateways.end(), mesh_gateway) != service.gateways.end();
}

bool serves_namespace(const ServerHost& host, const std::string& namespace_name) {
  return host.namespace_name == "*" || host.namespace_name == namespace_name;
}

bool serves(const GatewayServer& server, const VirtualService& service, std::string_view host) {
  return std::any_of(server.hosts.begin(), server.hosts.end(), [&](const ServerHost& own) {
    return serves_namespace(own, service.object.namespace_name) && hosts_overlap(own.host, host);
  });
}

bool serves(const Gateway& gateway, const VirtualService& service, std::string_view host) {
  return std::any_of(gateway.servers.begin(), gateway.servers.end(),
                     [&](const GatewayServer& server) { return serves(server, service, host); });
}

bool applies_at(const MatchPlace& match, std::string_view gateway) {
  return std::find(match.gateways->begin(), match.gateways->end(), gateway) != match.gateways->end();
}

bool applies_at(const VirtualService& service, std::string_view gateway) {
  bool found = false;
  each_match(service,
             [&](const MatchPlace& place, const auto&, const auto*) { found = found || applies_at(place, gateway); });
  return found;
}

std::string find_similar(std::string_view name, const std::vector<std::string_view>& names) {
  // What both begin and end with: a piece put in, left out or changed leaves the rest as it was.
  const auto similarity = [&](std::string_view other) {
    const auto shorter = std::min(name.size(), other.size());
    std::size_t front = 0;
    while (front < shorter && name[front] == other[front]) ++front;
    std::size_t back = 0;
    while (back < shorter - front && name[name.size() - 1 - back] == other[other.size() - 1 - back]) ++back;
    const bool alike = (front + back) * 4 >= shorter * 3 && shorter * 2 >= std::max(name.size(), other.size());
    return alike ? front + back : 0;
  };
  std::string_view best;
  std::size_t best_shared = 0;
  for (const auto other : names) {
    const auto shared = similarity(other);
    if (shared <= best_shared) continue;
    best = other;
    best_shared = shared;
  }
  return std::string(best);
}

}  // namespace sluice::resources
