#include "ingress/desk.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <ctime>

#include "base/clock.h"
#include "base/spread.h"
#include "ingress/client_connection.h"
#include "policy/host_match.h"
#include "tls/random.h"

namespace sluice::ingress {
namespace {

const Service* find_service(const ClusterServices& services, std::string_view host, std::uint16_t port,
                            const ServicePort*& found) {
  for (auto [entry, end] = services.equal_range(host); entry != end; ++entry) {
    const auto& service = entry->second;
    for (const auto& one : service.ports) {
      if (port != 0 && one.number != port) continue;
      if (port == 0 && service.ports.size() > 1) continue;
      found = &one;
      return &service;
    }
  }
  return nullptr;
}

}  // namespace

Desk::Desk(const House& house, serving::Worker& worker, std::unique_ptr<serving::Upstreams> upstreams)
    : house_(house),
      worker_(worker),
      upstreams_(std::move(upstreams)),
      timeouts_(net::Timeouts::of(worker.context().get_executor())),
      log_(house.recorder, timeouts_, house.settings.ingress.access_log),
      guests_(worker.context()) {
  tls::fill_random({reinterpret_cast<std::uint8_t*>(&picks_), sizeof picks_});
}

Desk::~Desk() = default;

void Desk::adopt(std::shared_ptr<const Plan> plan) {
  plan_ = std::move(plan);
  // Clusters that the plan before had no use for go.
  std::erase_if(clusters_, [&](const auto& entry) {
    return std::none_of(found_.begin(), found_.end(), [&](const auto& used) { return used.second == entry.second; });
  });
  found_.clear();
  counted_.clear();
}

void Desk::drain() {
  draining_ = true;
  guests_.for_each([](Guest& guest) {
    if (auto* connection = dynamic_cast<ClientConnection*>(&guest)) connection->drain();
  });
}

Exchange& Desk::take_exchange(ClientConnection& connection) {
  if (idle_exchanges_.empty()) {
    exchanges_.push_back(std::make_unique<Exchange>(*this));
    idle_exchanges_.push_back(exchanges_.back().get());
  }
  auto& exchange = *idle_exchanges_.back();
  idle_exchanges_.pop_back();
  exchange.prepare(connection);
  return exchange;
}

void Desk::give_back(Exchange& exchange) {
  idle_exchanges_.push_back(&exchange);
}

std::shared_ptr<Cluster> Desk::find_cluster(const Plan& plan, const Destination& destination, std::uint16_t port) {
  const bool current = &plan == plan_.get();
  if (current) {
    if (const auto known = found_.find(&destination); known != found_.end()) return known->second;
  }
  auto target = find_target(plan, destination, port);
  if (!target) return current ? found_[&destination] = nullptr : nullptr;
  auto key =
      fmt::format("{} {} {} {}", target->service->rule(), target->host, target->port->number, destination.subset);
  auto& cluster = clusters_[key];
  // A request that was held up goes where those go that came after it.
  const bool is_new = !cluster;
  if (is_new) cluster = std::make_shared<Cluster>(*this, destination.host, house_.loads.get(key));
  if (is_new || current) cluster->use(std::move(*target));
  return current ? found_[&destination] = cluster : cluster;
}

std::shared_ptr<Cluster> Desk::find_mirror(const Plan& plan, const Destination& destination, std::uint16_t port,
                                           std::string_view rule) {
  const bool is_news = &plan == plan_.get() && !found_.contains(&destination);
  auto cluster = find_cluster(plan, destination, port);
  if (!cluster && is_news) {
    spdlog::warn("{}: requests are not mirrored to {}: no service has that host, port or subset", rule,
                 destination.host);
  }
  return cluster;
}

void Desk::note_request(const Plan* plan, const IngressRoute& route, unsigned status, double seconds) {
  const auto look_up = [&] { return house_.metrics.requests(route.host, route.name, status); };
  // Names of another plan may stand where those of this one will.
  if (plan != plan_.get()) return observe::Metrics::count_request(look_up(), seconds);
  const std::tuple key(route.name.data(), route.host.data(), status);
  auto found = counted_.find(key);
  if (found == counted_.end()) found = counted_.emplace(key, look_up()).first;
  observe::Metrics::count_request(found->second, seconds);
}

void Desk::note_refusal(Reason reason) {
  house_.metrics.count_decision(observe::Decision::deny, reason);
}

std::optional<Target> Desk::find_target(const Plan& plan, const Destination& destination, std::uint16_t port) const {
  const auto& snapshot = *plan.snapshot;
  Target target;
  target.snapshot = plan.snapshot;
  target.services = plan.services;
  target.host = destination.host;
  target.service = find_service(*plan.services, destination.host, destination.port, target.port);
  const auto& own = settings().ingress.namespace_name;
  if (target.service == nullptr) {
    const auto verdict = snapshot.find_destination(own, destination.host, destination.port, port);
    if (!verdict.allowed() || is_wildcard(destination.host)) return std::nullopt;
    target.service = verdict.service;
    target.port = verdict.port;
  }
  const PolicyScope scope{own, target.service->namespace_name};
  const auto& rules = snapshot.destination_rules();
  const auto policy = rules.traffic_policy(destination.host, target.port->number, destination.subset, scope);
  if (!policy) return std::nullopt;
  target.policy = *policy;
  if (!destination.subset.empty()) target.subset = rules.subset_labels(destination.host, destination.subset, scope);
  return target;
}

std::string_view Desk::date() {
  const auto now_s = static_cast<std::uint64_t>(wall_ns() / 1'000'000'000);
  if (now_s != date_s_) {
    date_s_ = now_s;
    date_ = fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(static_cast<std::time_t>(now_s)));
  }
  return date_;
}

std::uint64_t Desk::pick() {
  return spread(picks_ += 0x9e3779b97f4a7c15);
}

}  // namespace sluice::ingress
