// What rules refer to: destinations with their ports and subsets (IST0101, IST0112), hosts (SLU0011).
#include <algorithm>

#include "resources/analysis_world.h"

namespace sluice::resources {
namespace {

// Suggestions compare with every registered host.
constexpr std::size_t max_suggestions = 100;

class References {
 public:
  explicit References(World& world) : world_(world) {
    for (const auto& service : world.services)
      registered_.insert(registered_.end(), service->hosts.begin(), service->hosts.end());
  }

  void check(const Located<VirtualService>& service) {
    check_rules(service, service->http, "http");
    check_rules(service, service->tls, "tls");
    check_rules(service, service->tcp, "tcp");
    check_mirrors(service);
    for (std::size_t i = 0; i < service->hosts.size(); ++i) check_host(service, i);
  }

 private:
  template <typename Rule>
  void check_rules(const Located<VirtualService>& service, const std::vector<Rule>& rules, std::string_view key) {
    for (std::size_t r = 0; r < rules.size(); ++r) {
      for (std::size_t d = 0; d < rules[r].destinations.size(); ++d) {
        const auto path = fmt::format("spec.{}[{}].route[{}].destination", key, r, d);
        check_destination(service, rules[r].destinations[d], path);
      }
    }
  }

  // The only one of `mirror` or one of several of `mirrors`: the objects do not tell them apart.
  void check_mirrors(const Located<VirtualService>& service) {
    for (std::size_t r = 0; r < service->http.size(); ++r) {
      const auto& mirrors = service->http[r].mirrors;
      for (std::size_t m = 0; m < mirrors.size(); ++m) {
        const auto single = fmt::format("spec.http[{}].mirror", r);
        const auto of_list = fmt::format("spec.http[{}].mirrors[{}].destination", r, m);
        const bool is_single = service.place.fields->has(single);
        check_destination(service, mirrors[m].destination, is_single ? single : of_list);
      }
    }
  }

  void check_destination(const Located<VirtualService>& service, const Destination& destination,
                         const std::string& path) {
    const auto* target = world_.find_service(destination.host, service->object.namespace_name);
    if (target == nullptr) {
      if (!is_cluster_host(destination.host)) report_unknown(service, destination, path);
    } else {
      check_port(service, destination, *target, path);
    }
    if (!destination.subset.empty()) check_subset(service, destination, path);
  }

  void report_unknown(const Located<VirtualService>& service, const Destination& destination, const std::string& path) {
    const auto* hidden = world_.service_hosts.find_cover(destination.host, [](const auto*) { return true; });
    world_.fail(service, "IST0101", path + ".host",
                hidden != nullptr
                    ? fmt::format("{} is registered by ServiceEntry {}, whose exportTo leaves out namespace {}: add it",
                                  destination.host, (**hidden)->rule(), service->object.namespace_name)
                    : fmt::format("no ServiceEntry has {}: {}", destination.host, suggest(destination.host)));
  }

  // A host with several ServiceEntries has the ports of all of them.
  void check_port(const Located<VirtualService>& service, const Destination& destination,
                  const Located<Service>& target, const std::string& path) {
    const auto& ports = target->ports;
    if (destination.port == 0) {
      if (ports.size() < 2) return;
      return world_.fail(service, "IST0112", path,
                         fmt::format("{} has {} ports, so the rule must choose: add port: {{number: {}}}",
                                     destination.host, ports.size(), ports.front().number));
    }
    const auto* found = world_.service_hosts.find_cover(destination.host, [&](const Located<Service>* other) {
      return is_exported_to((*other)->export_to, service->object.namespace_name) &&
             std::any_of((*other)->ports.begin(), (*other)->ports.end(),
                         [&](const ServicePort& port) { return port.number == destination.port; });
    });
    if (found != nullptr) return;
    std::vector<std::uint16_t> numbers;
    numbers.reserve(ports.size());
    for (const auto& port : ports) numbers.push_back(port.number);
    world_.fail(service, "IST0101", path + ".port.number",
                fmt::format("{} has no port {}; ServiceEntry {} has {}", destination.host, destination.port,
                            target->rule(), numbers.empty() ? "none" : fmt::format("{}", fmt::join(numbers, ", "))));
  }

  void check_subset(const Located<VirtualService>& service, const Destination& destination, const std::string& path) {
    const auto defines = [&](const Located<DestinationRule>& rule) {
      return host_covers(rule->host, destination.host) &&
             is_exported_to(rule->export_to, service->object.namespace_name) &&
             std::any_of(rule->subsets.begin(), rule->subsets.end(),
                         [&](const DestinationSubset& subset) { return subset.name == destination.subset; });
    };
    if (std::any_of(world_.destination_rules.begin(), world_.destination_rules.end(), defines)) return;
    world_.fail(service, "IST0101", path + ".subset",
                fmt::format("no DestinationRule for {} has a subset {}: add it, or remove this", destination.host,
                            destination.subset));
  }

  // Only of names outside the cluster that calls leave for, or that are sent on to themselves.
  void check_host(const Located<VirtualService>& service, std::size_t index) {
    const auto& host = service->hosts[index];
    if (is_cluster_host(host)) return;
    if (world_.service_hosts.find_overlap(host, [](const auto*) { return true; }) != nullptr) return;
    if (!applies_at(*service.object, mesh_gateway) && !sends_on(*service.object, host)) return;
    world_.warn(service, "SLU0011", fmt::format("spec.hosts[{}]", index),
                fmt::format("no ServiceEntry has {}, so nothing that calls it gets this far: {}", host, suggest(host)));
  }

  std::string suggest(std::string_view host) {
    std::string similar;
    if (suggestions_++ < max_suggestions) similar = find_similar(host, registered_);
    return similar.empty() ? "register it, or change the host" : fmt::format("register it, or is it {}?", similar);
  }

  World& world_;
  std::vector<std::string_view> registered_;
  std::size_t suggestions_ = 0;
};

void check_gateway_name(World& world, const Located<VirtualService>& service, const std::string& name,
                        const std::string& path) {
  if (name == mesh_gateway || world.find_gateway(name) != nullptr || world.is_rejected_gateway(name)) return;
  const auto suggestion = suggest_gateway(world, name);
  world.fail(service, "IST0101", path,
             fmt::format("there is no Gateway {}: {}", name,
                         suggestion == nullptr ? "add it, or name another"
                                               : fmt::format("is it {}?", (*suggestion)->object.to_string())));
}

void check_gateway_names(World& world, const Located<VirtualService>& service) {
  for (std::size_t i = 0; i < service->gateways.size(); ++i) {
    // The default is not in the file, and always there.
    check_gateway_name(world, service, service->gateways[i], fmt::format("spec.gateways[{}]", i));
  }
  each_match(*service.object, [&](const MatchPlace& match, const auto&, const auto*) {
    if (match.gateways == &service->gateways) return;
    for (std::size_t i = 0; i < match.gateways->size(); ++i) {
      check_gateway_name(world, service, (*match.gateways)[i], fmt::format("{}.gateways[{}]", match.path(), i));
    }
  });
}

}  // namespace

const Located<Gateway>* suggest_gateway(const World& world, std::string_view name) {
  const auto own = name.substr(name.find('/') + 1);
  std::vector<std::string_view> names;
  names.reserve(world.gateways.size());
  for (const auto& gateway : world.gateways) names.emplace_back(gateway->object.name);
  const auto similar = find_similar(own, names);
  for (const auto& gateway : world.gateways) {
    if (!similar.empty() && gateway->object.name == similar) return &gateway;
  }
  return nullptr;
}

bool sends_on(const VirtualService& service, std::string_view host) {
  bool found = false;
  each_match(service, [&](const MatchPlace&, const auto& rule, const auto*) {
    for (const auto& destination : rule.destinations) {
      found = found || (!is_cluster_host(destination.host) && host_covers(host, destination.host));
    }
  });
  return found;
}

void check_references(World& world) {
  References references(world);
  for (const auto& service : world.virtual_services) {
    check_gateway_names(world, service);
    references.check(service);
  }
}

}  // namespace sluice::resources
