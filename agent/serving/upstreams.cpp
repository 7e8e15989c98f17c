#include "serving/upstreams.h"

#include <algorithm>

namespace sluice::serving {
namespace {

Reason reason_of(net::DialFailure failure) {
  return failure == net::DialFailure::timeout ? Reason::upstream_timeout : Reason::upstream_refused;
}

}  // namespace

Result<std::unique_ptr<Upstreams>> Upstreams::open(boost::asio::io_context& context,
                                                   const settings::Outside& settings) {
  auto resolver = net::Resolver::open(context, {.servers = settings.resolvers});
  if (!resolver) return resolver.error().in("resolver");
  return std::unique_ptr<Upstreams>(new Upstreams(std::move(*resolver), settings));
}

net::Task<std::variant<std::vector<Endpoint>, Refusal>> Upstreams::find(TargetQuery query, std::size_t max_resolved,
                                                                        std::size_t max_found) {
  query.locality = settings_.locality;
  const auto targets = plan_targets(query);
  Refusal refusal{Reason::upstream_refused, "the service has no address to dial: give it endpoints or a resolution"};
  // With several targets none of them takes all the places.
  const auto share = targets.size() > 1 ? max_found / 2 : max_found;
  std::vector<Endpoint> endpoints;
  std::size_t names = 0;
  for (const auto& target : targets) {
    if (endpoints.size() >= max_found || (!target.address && names++ == max_resolved)) break;
    const auto failed = co_await add_addresses(target, *query.service, share, endpoints);
    if (failed) refusal = *failed;
  }
  if (endpoints.empty()) co_return refusal;
  co_return endpoints;
}

net::Task<std::variant<net::Dialled, Refusal>> Upstreams::dial(std::vector<Endpoint> endpoints,
                                                               net::Milliseconds timeout) {
  auto dialled = co_await net::dial_any(std::move(endpoints), {.timeout = timeout, .max_attempts = max_addresses});
  if (const auto* error = std::get_if<net::DialError>(&dialled)) {
    co_return Refusal{reason_of(error->kind), error->message};
  }
  co_return std::get<net::Dialled>(std::move(dialled));
}

net::Task<std::optional<Refusal>> Upstreams::add_addresses(const Target& target, const Service& service,
                                                           std::size_t max, std::vector<Endpoint>& endpoints) {
  // What resources name by address is their author's word; what DNS answers, or the pod dialled, is not.
  if (target.address) {
    const auto why = target.is_original ? forbidden(*target.address, service, settings_) : std::nullopt;
    if (why) co_return Refusal{Reason::address_forbidden, target.address->to_string() + ": " + *why};
    endpoints.push_back({*target.address, target.port});
    co_return std::nullopt;
  }
  const auto resolved = co_await resolver_->resolve(target.name);
  if (!resolved) co_return Refusal{Reason::dns_failure, resolved.error().message()};
  std::optional<Refusal> refusal = Refusal{Reason::dns_failure, target.name + ": no address"};
  std::size_t added = 0;
  for (const auto& address : *resolved) {
    if (const auto why = forbidden(address, service, settings_)) {
      if (added == 0) refusal = {Reason::address_forbidden, target.name + " is " + address.to_string() + ": " + *why};
      continue;
    }
    if (added++ == max) break;
    endpoints.push_back({address, target.port});
    refusal.reset();
  }
  co_return refusal;
}

}  // namespace sluice::serving
