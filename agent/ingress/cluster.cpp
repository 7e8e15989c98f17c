#include "ingress/cluster.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <iterator>
#include <utility>

#include "base/clock.h"
#include "ingress/desk.h"
#include "ingress/http1_client.h"
#include "ingress/http2_client.h"
#include "tls/channel.h"

namespace sluice::ingress {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::size_t max_names = 32;
constexpr std::size_t max_addresses = 256;
constexpr std::size_t default_pending = 1024;
// What waits for ever takes a file descriptor for ever.
constexpr net::Milliseconds longest_rest{24 * 3600 * 1000};

// Of connectionPool, 0 is no limit.
std::size_t limit_of(const std::optional<std::uint32_t>& limit, std::size_t otherwise) {
  return limit.value_or(0) > 0 ? *limit : otherwise;
}

std::uint64_t to_ns(net::Milliseconds time) {
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count());
}

bool same(const serving::Target& left, const serving::Target& right) {
  return left.address == right.address && left.name == right.name && left.port == right.port;
}

}  // namespace

bool Place::keep(Http1Client& connection) {
  if (resting.size() >= max_kept) return false;
  resting.push_back(&connection);
  return true;
}

void Place::forget(const Http1Client& connection) {
  std::erase(resting, &connection);
}

void Place::count_connection(int by) {
  connections += by;
  load->connections += by;
  if (by > 0) return;
  if (const auto owner = cluster.lock()) owner->on_room();
}

void Place::count_request(int by) {
  requests += by;
  load->requests += by;
  if (by > 0) return;
  if (const auto owner = cluster.lock()) owner->on_room();
}

bool Cluster::is_failure(unsigned status) const {
  const bool gateway_error = status == 0 || (status >= 502 && status <= 504);
  const auto& outliers = target_.policy.outliers;
  if (outliers && outliers->consecutive_gateway_errors == 0) return gateway_error || status >= 500;
  return gateway_error;
}

void Cluster::note(Place& place, unsigned status) {
  if (!is_failure(status)) {
    place.failures = place.ejections = 0;
    return;
  }
  const auto& settings = desk_.settings().ingress;
  auto limit = settings.outlier_failures;
  auto ejection = settings.outlier_ejection;
  if (const auto& outliers = target_.policy.outliers) {
    const auto gateway_errors = outliers->consecutive_gateway_errors;
    limit = gateway_errors > 0 ? gateway_errors : outliers->consecutive_5xx;
    ejection = net::Milliseconds(outliers->base_ejection_ms);
  }
  if (limit == 0 || ++place.failures < limit) return;
  place.failures = 0;
  // Who is left out again and again is so for longer.
  ejection *= std::min(++place.ejections, 10U);
  place.ejected_until_ns = monotonic_ns() + to_ns(ejection);
}

Cluster::~Cluster() {
  for (const auto& place : places_) retire(*place);
}

void Cluster::retire(Place& place) {
  place.gone = true;
  while (!place.resting.empty()) place.resting.back()->retire();
  if (place.shared != nullptr) place.shared->retire();
}

void Cluster::use(Target target) {
  auto plan = serving::plan_targets({.service = target.service,
                                     .port = target.port,
                                     .host = target.host,
                                     .original = {},
                                     .pick = 0,
                                     .locality = desk_.settings().ingress.outside.locality,
                                     .subset = target.subset});
  const bool tls_changed =
      target.policy.tls != target_.policy.tls || (target_.port && target.port->protocol != protocol_);
  const bool changed = !target_.service || tls_changed || plan.size() != plan_.size() ||
                       !std::equal(plan.begin(), plan.end(), plan_.begin(), same);
  protocol_ = target.port->protocol;
  target_ = std::move(target);
  for (const auto& place : places_) place->limits = limits();
  if (!changed) return;
  plan_ = std::move(plan);
  by_name_ = std::any_of(plan_.begin(), plan_.end(), [](const auto& one) { return !one.address; });
  fresh_until_ns_ = 0;
  // With other TLS nothing is as it was.
  if (tls_changed || by_name_) set_endpoints({});
  if (by_name_) return;
  std::vector<Endpoint> endpoints;
  endpoints.reserve(plan_.size());
  for (const auto& one : plan_) endpoints.push_back({*one.address, one.port});
  set_endpoints(endpoints);
  problem_ = places_.empty() ? "the service has no address: give it endpoints" : "";
}

bool Cluster::is_ready(Waiter& waiter) {
  if (!by_name_) return true;
  refresh();
  if (fresh_until_ns_ != 0) return true;
  waiters_.push_back(waiter);
  return false;
}

// What names say is asked for again now and then, while what they said before serves.
void Cluster::refresh() {
  if (resolving_ || monotonic_ns() < fresh_until_ns_) return;
  resolving_ = true;
  boost::asio::co_spawn(desk_.worker().context(), resolve(shared_from_this()), boost::asio::detached);
}

net::Task<void> Cluster::resolve(std::shared_ptr<Cluster> self) {
  const auto target = self->target_;
  serving::TargetQuery query{target.service, target.port, target.host, {}, 0, {}, target.subset};
  auto found = co_await self->desk_.upstreams().find(query, {max_names, max_addresses});
  self->resolving_ = false;
  // What is one second old is as good as new: the resolver itself keeps what it may for longer.
  self->fresh_until_ns_ = monotonic_ns() + second_ns;
  if (const auto* endpoints = std::get_if<std::vector<Endpoint>>(&found)) {
    self->set_endpoints(*endpoints);
    self->settle("");
  } else {
    self->settle(std::get<serving::Refusal>(found).detail);
  }
}

// Those that fail to be resolved once more stay as they are.
void Cluster::settle(std::string problem) {
  problem_ = places_.empty() ? std::move(problem) : std::string();
  while (!waiters_.empty()) {
    auto& waiter = waiters_.front();
    waiters_.pop_front();
    waiter.on_ready();
  }
}

void Cluster::set_endpoints(const std::vector<Endpoint>& endpoints) {
  std::vector<std::shared_ptr<Place>> places;
  for (const auto& endpoint : endpoints) {
    const auto is_it = [&](const auto& place) { return place->address == endpoint; };
    if (std::any_of(places.begin(), places.end(), is_it)) continue;
    const auto known = std::find_if(places_.begin(), places_.end(), is_it);
    places.push_back(known != places_.end() ? *known : std::make_shared<Place>(endpoint, weak_from_this(), load_));
    places.back()->limits = limits();
  }
  const auto before = std::exchange(places_, std::move(places));
  for (const auto& place : before) {
    if (std::find(places_.begin(), places_.end(), place) == places_.end()) retire(*place);
  }
}

std::shared_ptr<Place> Cluster::choose(std::span<const Place* const> tried) {
  const auto now = monotonic_ns();
  const auto is_open = [&](const Place& place) {
    return std::find(tried.begin(), tried.end(), &place) == tried.end() && place.ejected_until_ns <= now;
  };
  const auto balancing = target_.policy.balancing.value_or(Balancing::least_request);
  const std::size_t looks = balancing == Balancing::least_request ? 2 : 1;
  if (balancing == Balancing::random) next_ = desk_.pick() % std::max<std::size_t>(places_.size(), 1);
  std::shared_ptr<Place> best;
  std::size_t seen = 0;
  for (std::size_t step = 0; step < places_.size() && seen < looks; ++step) {
    const auto& place = places_[(next_ + step) % places_.size()];
    if (!is_open(*place)) continue;
    ++seen;
    if (!best || place->requests < best->requests) best = place;
  }
  ++next_;
  if (best || places_.empty()) return best;
  // All are tried or left out: better any than none.
  return places_[next_ % places_.size()];
}

Place::Limits Cluster::limits() const {
  const auto& policy = target_.policy;
  Place::Limits limits;
  limits.connect_timeout = policy.connect_timeout_ms ? net::Milliseconds(*policy.connect_timeout_ms)
                                                     : desk_.settings().limits.connect_timeout;
  if (!policy.http) return limits;
  if (const auto idle = policy.http->idle_timeout_ms) limits.rest = *idle > 0 ? net::Milliseconds(*idle) : longest_rest;
  limits.requests = policy.http->max_requests_per_connection.value_or(0);
  return limits;
}

bool Cluster::has_connection() const {
  return std::any_of(places_.begin(), places_.end(), [](const auto& place) { return place->connections > 0; });
}

// For the worker that has none, one is always there: nobody would tell it that there is room.
Cluster::NoStream Cluster::no_connection() const {
  const auto limit = target_.policy.http ? target_.policy.http->max_pending_requests : std::nullopt;
  const auto waiting = static_cast<std::size_t>(std::distance(pending_.begin(), pending_.end()));
  if (target_.speaks_http2()) return {NoStream::Kind::limited, "connectionPool.tcp.maxConnections is reached"};
  if (waiting >= limit_of(limit, default_pending)) {
    return {NoStream::Kind::limited, "connectionPool.http.http1MaxPendingRequests is reached"};
  }
  return {NoStream::Kind::wait, "connectionPool.tcp.maxConnections is reached"};
}

// Not at once: who is counted may still be at what it does.
void Cluster::on_room() {
  if (pending_.empty()) return;
  boost::asio::post(desk_.worker().context(), [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self || self->pending_.empty()) return;
    auto& waiter = self->pending_.front();
    self->pending_.pop_front();
    waiter.on_ready();
  });
}

bool Cluster::begin_retry() {
  const auto& pool = target_.policy.http;
  const auto limit = pool ? limit_of(pool->max_retries, SIZE_MAX) : SIZE_MAX;
  if (load_->retries >= limit) return false;
  ++load_->retries;
  return true;
}

ServerStream* Cluster::open(const std::shared_ptr<Place>& place, AnswerTaker& taker, NoStream& why) {
  const auto& pool = target_.policy.http;
  if (pool && load_->requests >= limit_of(pool->max_requests, SIZE_MAX)) {
    why = {NoStream::Kind::limited, "connectionPool.http.http2MaxRequests is reached"};
    return nullptr;
  }
  if (target_.speaks_http2()) {
    if (place->shared == nullptr || !place->shared->has_room()) {
      auto channel = dial(*place, why);
      if (!channel) return nullptr;
      place->shared = &desk_.add(std::make_unique<Http2Client>(desk_, place, std::move(channel)));
    }
    return &place->shared->open(taker);
  }
  Http1Client* client = nullptr;
  if (!place->resting.empty()) {
    client = place->resting.back();
    place->resting.pop_back();
  } else {
    auto channel = dial(*place, why);
    if (!channel) return nullptr;
    client = &desk_.add(std::make_unique<Http1Client>(desk_, place, std::move(channel)));
  }
  client->serve(taker);
  return client;
}

std::unique_ptr<net::Channel> Cluster::dial(const Place& place, NoStream& why) {
  const auto& policy = target_.policy;
  auto& problem = why.problem;
  if (policy.max_connections && load_->connections >= *policy.max_connections && has_connection()) {
    why = no_connection();
    return nullptr;
  }
  net::Socket socket(desk_.worker().context().get_executor());
  if (auto failed = net::begin_dial(socket, place.address)) {
    problem = failed->message;
    return nullptr;
  }
  const bool originates = policy.tls && policy.tls->mode != ClientTlsMode::disable;
  if (!originates) {
    if (!is_tls(target_.port->protocol)) return std::make_unique<net::PlainChannel>(std::move(socket), desk_.buffers());
    problem = "the port is for TLS, and no DestinationRule begins it";
    return nullptr;
  }
  auto tls = *policy.tls;
  if (tls.subject_alt_names.empty()) tls.subject_alt_names = target_.service->subject_alt_names;
  const auto context = desk_.originations().get(tls);
  if (!context) {
    problem = context.error().message();
    return nullptr;
  }
  const tls::ConnectOptions options{tls.sni.empty() ? target_.host : tls.sni,
                                    {target_.speaks_http2() ? "h2" : "http/1.1"}};
  auto channel = tls::TlsChannel::connect(**context, std::move(socket), options, desk_.buffers());
  if (channel) return std::move(*channel);
  problem = channel.error().message();
  return nullptr;
}

}  // namespace sluice::ingress
