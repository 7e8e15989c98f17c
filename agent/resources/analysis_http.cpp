// What http rules do, and for whom: delegates (IST0101, SLU0020, SLU0021), rewrites (SLU0022), CORS (SLU0023),
// redirects to https (SLU0024), matches that look at pods (SLU0025).
#include <algorithm>
#include <set>

#include "policy/delegates.h"
#include "resources/analysis_world.h"

namespace sluice::resources {
namespace {

using Kind = StringMatch::Kind;

const Located<VirtualService>* find_virtual_service(const World& world, const ObjectName& name) {
  const auto found =
      std::find_if(world.virtual_services.begin(), world.virtual_services.end(), [&](const auto& service) {
        return service->object.namespace_name == name.namespace_name && service->object.name == name.name;
      });
  return found == world.virtual_services.end() ? nullptr : &*found;
}

void check_broken(World& world, const BrokenDelegate& broken) {
  const auto* service = find_virtual_service(world, broken.object);
  if (service == nullptr || (broken.is_missing && world.is_rejected_virtual_service(broken.delegate))) return;
  const auto path = fmt::format("spec.http[{}].delegate", broken.rule);
  const auto name = fmt::format("{}/{}", broken.delegate.namespace_name, broken.delegate.name);
  if (broken.is_missing)
    return world.fail(
        *service, "IST0101", path,
        fmt::format("there is no VirtualService {}, so the rule is left out: add it, or name another", name));
  world.fail(*service, "SLU0020", path, fmt::format("VirtualService {} {}", name, broken.why));
}

void check_unused(World& world) {
  std::set<std::string> named;
  for (const auto& service : world.virtual_services) {
    for (const auto& rule : service->http) {
      if (rule.delegate) named.insert(rule.delegate->namespace_name + "/" + rule.delegate->name);
    }
  }
  for (const auto& service : world.virtual_services) {
    if (!service->hosts.empty() || named.contains(service->object.to_string())) continue;
    world.warn(
        service, "SLU0021", "spec",
        "has no hosts, and no rule delegates to it, so it does nothing: give it hosts, or name it in a delegate");
  }
}

// Is "/a/" there, when `prefix` is "/a"? Then "/a" gets the path itself alone.
bool has_slashed(const std::vector<HttpMatch>& matches, const std::string& prefix) {
  return std::any_of(matches.begin(), matches.end(), [&](const HttpMatch& match) {
    return match.uri && match.uri->kind == Kind::prefix && match.uri->value == prefix + "/";
  });
}

// What stays of the path behind the prefix begins with a slash just when the prefix does not end with one.
void check_rewrite(World& world, const Located<VirtualService>& service, std::size_t index) {
  const auto& rule = service->http[index];
  if (!rule.rewrite || rule.rewrite->uri.empty()) return;
  const auto& uri = rule.rewrite->uri;
  for (const auto& match : rule.matches) {
    if (!match.uri || match.uri->kind != Kind::prefix) continue;
    const auto& prefix = match.uri->value;
    if (prefix.ends_with('/') == uri.ends_with('/') || has_slashed(rule.matches, prefix)) continue;
    const auto rest = prefix.ends_with('/') ? "x" : "/x";
    return world.warn(service, "SLU0022", fmt::format("spec.http[{}].rewrite.uri", index),
                      fmt::format("makes {}{} of {}{}: end both the prefix and the rewrite with a slash, or neither",
                                  uri, rest, prefix, rest));
  }
}

void check_cors(World& world, const Located<VirtualService>& service, std::size_t index) {
  const auto& cors = service->http[index].cors;
  if (!cors || !cors->allow_credentials) return;
  const bool any = std::any_of(cors->allow_origins.begin(), cors->allow_origins.end(), [](const StringMatch& origin) {
    return (origin.kind == Kind::exact && origin.value == "*") || (origin.kind == Kind::regex && origin.value == ".*");
  });
  if (!any) return;
  world.warn(service, "SLU0023", fmt::format("spec.http[{}].corsPolicy.allowCredentials", index),
             "every website may call this as the user who visits it, and read the answer: name the origins");
}

// A match that asks for labels of pods, at gateways where none are.
void check_sources(World& world, const Located<VirtualService>& service) {
  each_match(*service.object, [&](const MatchPlace& place, const auto&, const auto* match) {
    if (match == nullptr || applies_at(place, mesh_gateway)) return;
    if (match->source_labels.empty() && match->source_namespace.empty()) return;
    const auto* field = match->source_labels.empty() ? "sourceNamespace" : "sourceLabels";
    world.warn(
        service, "SLU0025", fmt::format("{}.{}", place.path(), field),
        "is about pods that call, and the match applies at gateways only: remove it, or add mesh to the gateways");
  });
}

}  // namespace

void check_delegates(World& world) {
  std::vector<VirtualService> services;
  services.reserve(world.virtual_services.size());
  for (const auto& service : world.virtual_services) services.push_back(*service.object);
  for (const auto& broken : merge_delegates(std::move(services)).broken) check_broken(world, broken);
  check_unused(world);
}

void check_http_actions(World& world) {
  for (const auto& service : world.virtual_services) {
    for (std::size_t i = 0; i < service->http.size(); ++i) {
      check_rewrite(world, service, i);
      check_cors(world, service, i);
    }
    check_sources(world, service);
  }
}

void check_redirects(World& world) {
  HostTable<const Located<Gateway>*> secure;  // Gateways with TLS for a host
  for (const auto& gateway : world.gateways) {
    for (const auto& server : gateway->servers) {
      for (const auto& host : server.hosts) {
        if (server.tls) secure.add(host.host, &gateway);
      }
    }
  }
  for (const auto& gateway : world.gateways) {
    for (std::size_t s = 0; s < gateway->servers.size(); ++s) {
      const auto& server = gateway->servers[s];
      if (!server.https_redirect) continue;
      for (const auto& host : server.hosts) {
        const auto* found = secure.find_overlap(host.host, [&](const Located<Gateway>* other) {
          return selectors_overlap((*other)->selector, gateway->selector);
        });
        if (found != nullptr) continue;
        world.warn(gateway, "SLU0024", fmt::format("spec.servers[{}].tls.httpsRedirect", s),
                   fmt::format("sends clients of {} to https, where no server of the same workloads has it: add one",
                               host.host));
        break;
      }
    }
  }
}

}  // namespace sluice::resources
