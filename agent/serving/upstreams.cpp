#include "serving/upstreams.h"

namespace sluice::serving {

Result<std::unique_ptr<Upstreams>> Upstreams::open(boost::asio::io_context& context,
                                                   const settings::Outside& settings) {
  auto resolver = net::Resolver::open(context, {.servers = settings.resolvers});
  if (!resolver) return resolver.error().in("resolver");
  return std::unique_ptr<Upstreams>(new Upstreams(std::move(*resolver), settings));
}

net::Task<Upstreams::Found> Upstreams::find(TargetQuery query, Bounds bounds) {
  auto search = begin(query, bounds);
  while (const auto* name = go_on(search)) {
    const auto resolved = co_await resolver_->resolve(*name);
    take_name(search, resolved);
  }
  co_return conclude(std::move(search));
}

std::optional<Upstreams::Found> Upstreams::find_known(const TargetQuery& query) {
  auto search = begin(query, {});
  if (go_on(search) != nullptr) return std::nullopt;
  return conclude(std::move(search));
}

Upstreams::Search Upstreams::begin(TargetQuery query, Bounds bounds) const {
  query.locality = settings_.locality;
  auto targets = plan_targets(query);
  // With several targets none of them takes all the places.
  const auto share = targets.size() > 1 ? bounds.addresses / 2 : bounds.addresses;
  return {.targets = std::move(targets),
          .service = *query.service,
          .bounds = bounds,
          .share = share,
          .endpoints = {},
          .refusal = {}};
}

const std::string* Upstreams::go_on(Search& search) {
  while (search.next < search.targets.size() && search.endpoints.size() < search.bounds.addresses) {
    const auto& target = search.targets[search.next];
    if (target.address) {
      take_address(search);
      continue;
    }
    if (search.names == search.bounds.names) return nullptr;
    const auto* known = resolver_->known(target.name);
    if (known == nullptr) return &target.name;
    take_name(search, *known);
  }
  return nullptr;
}

Upstreams::Found Upstreams::conclude(Search search) {
  if (!search.endpoints.empty()) return std::move(search.endpoints);
  if (search.refusal) return *std::move(search.refusal);
  return Refusal{Reason::upstream_refused, "the service has no address to dial: give it endpoints or a resolution"};
}

// What resources name by address is their author's word; what DNS answers, or the pod dialled, is not.
void Upstreams::take_address(Search& search) const {
  const auto& target = search.targets[search.next++];
  const auto why = target.is_original ? forbidden(*target.address, search.service, settings_) : std::nullopt;
  if (why) {
    search.refusal = Refusal{Reason::address_forbidden, target.address->to_string() + ": " + *why};
  } else {
    search.endpoints.push_back({*target.address, target.port});
  }
}

void Upstreams::take_name(Search& search, const Result<std::vector<IpAddress>>& resolved) const {
  const auto& target = search.targets[search.next++];
  ++search.names;
  if (!resolved) {
    search.refusal = Refusal{Reason::dns_failure, resolved.error().message()};
    return;
  }
  std::size_t added = 0;
  for (const auto& address : *resolved) {
    if (const auto why = forbidden(address, search.service, settings_)) {
      search.refusal = {Reason::address_forbidden, target.name + " is " + address.to_string() + ": " + *why};
      continue;
    }
    if (added++ == search.share) break;
    search.endpoints.push_back({address, target.port});
  }
}

}  // namespace sluice::serving
