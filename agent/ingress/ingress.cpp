#include "ingress/ingress.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <boost/asio/post.hpp>
#include <csignal>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "ingress/client_connection.h"
#include "ingress/desk.h"
#include "ingress/doors.h"
#include "ingress/handover.h"
#include "ingress/relayed_call.h"
#include "serving/cluster_feed.h"
#include "serving/control.h"
#include "tls/termination.h"

namespace sluice::ingress {
namespace {

constexpr std::uint64_t succession_patience_ns = 30'000'000'000;

// The Services of the settings, as what else destinations may be: known by address.
std::vector<Service> to_services(const std::vector<settings::ClusterService>& configured) {
  std::vector<Service> services;
  for (const auto& one : configured) {
    using From = settings::ClusterService::Protocol;
    const auto protocol = one.protocol == From::http    ? Protocol::http
                          : one.protocol == From::http2 ? Protocol::http2
                          : one.protocol == From::grpc  ? Protocol::grpc
                          : one.protocol == From::https ? Protocol::https
                                                        : Protocol::tcp;
    Service service;
    const auto first_dot = one.host.find('.');
    const auto second_dot = one.host.find('.', first_dot + 1);
    service.name = one.host.substr(0, first_dot);
    if (first_dot != std::string::npos)
      service.namespace_name = one.host.substr(first_dot + 1, second_dot - first_dot - 1);
    service.hosts = {one.host};
    service.ports = {{one.port, one.port, protocol, "port"}};
    service.resolution = Resolution::static_;
    service.location = Location::mesh_internal;
    for (const auto& place : one.endpoints) {
      ServiceEndpoint endpoint;
      endpoint.address = place.address.address.to_string();
      endpoint.ports = {{"port", place.address.port}};
      endpoint.labels = place.labels;
      service.endpoints.push_back(std::move(endpoint));
    }
    services.push_back(std::move(service));
  }
  return services;
}

// What the server's TLS ends with; nullopt: it does not end here.
std::optional<tls::TerminationOptions> termination_of(const IngressServer& server) {
  if (!server.server->tls || !server.server->tls->ends_here()) return std::nullopt;
  tls::TerminationOptions options;
  options.tls = *server.server->tls;
  for (const auto& host : server.server->hosts) options.hosts.push_back(host.host);
  if (server.content == IngressServer::Content::http) options.alpn = {"h2", "http/1.1"};
  return options;
}

class Ingress {
 public:
  Ingress(const settings::IngressSettings& settings, serving::Control& control)
      : settings_(settings),
        control_(control),
        services_(all_services(nullptr)),
        terminations_(settings.ingress.secrets),
        house_{settings, control.recorder(), control.metrics(), originations_, loads_} {}

  Status open_desks();
  Status read_cluster();
  Status read_policy();
  Status serve_admin(const serving::ServeAdmin& serve);
  Status inherit(const std::string& admin_socket);
  Status succeed();
  // An error: it could not take the place of the one before.
  Status run();

 private:
  static net::Task<void> serve(Desk& desk, Door door, net::Socket client);

  std::shared_ptr<const ClusterServices> all_services(const std::vector<Service>* told) const;
  void learn(const sources::Cluster& cluster);
  void publish(const std::shared_ptr<const Snapshot>& snapshot);
  void follow_listeners();
  void read_certificates();
  void do_each_second();
  void drain();
  std::optional<std::string> not_ready() const;
  serving::StatusView status() const;

  const settings::IngressSettings& settings_;
  serving::Control& control_;
  std::shared_ptr<const ClusterServices> services_;
  std::shared_ptr<const std::vector<Service>> told_services_;  // of the cluster, that services_ has
  std::unique_ptr<serving::ClusterFeed> cluster_;              // null when the API server is not asked
  tls::OriginationContexts originations_;
  Loads loads_;
  tls::Terminations terminations_;
  const House house_;
  std::vector<std::string> tls_wrong_;
  std::shared_ptr<const Plan> plan_;
  std::vector<std::unique_ptr<Desk>> desks_;
  std::unique_ptr<Doors> doors_;
  std::shared_ptr<void> admin_;
  std::unique_ptr<Succession> succession_;
  std::optional<Predecessor> predecessor_;  // whose place is not taken yet
  std::uint64_t succeed_until_ns_ = 0;
  Status succeeded_ = Done{};
};

Status Ingress::open_desks() {
  std::vector<serving::Worker*> workers;
  for (const auto& worker : control_.workers()) {
    auto upstreams = serving::Upstreams::open(worker->context(), settings_.ingress.outside);
    if (!upstreams) return upstreams.error().in("ingress");
    desks_.push_back(std::make_unique<Desk>(house_, *worker, std::move(*upstreams)));
    workers.push_back(worker.get());
  }
  doors_ = std::make_unique<Doors>(std::move(workers), settings_.ingress.addresses,
                                   [this](std::size_t worker, Door door, net::Socket client) {
                                     return serve(*desks_[worker], std::move(door), std::move(client));
                                   });
  return Done{};
}

Status Ingress::read_policy() {
  const auto& own = settings_.ingress;
  return control_.read_policy(Vantage::ingress(own.labels, own.namespace_name),
                              [this](const std::shared_ptr<const Snapshot>& snapshot) { publish(snapshot); });
}

// Who has a directory of Secrets is told of no others.
Status Ingress::read_cluster() {
  if (settings_.resources.source != settings::ResourceSource::kubernetes) return Done{};
  const auto& own = settings_.ingress;
  sources::ClusterWants wants;
  wants.services = true;
  if (own.secrets.empty()) wants.secrets_in = own.namespace_name;
  auto feed = serving::ClusterFeed::start(control_.context(), settings_.resources.kubernetes, wants,
                                          [this](const sources::Cluster& cluster) { learn(cluster); });
  if (!feed) return feed.error();
  cluster_ = *std::move(feed);
  return Done{};
}

// What the settings say of a host counts more.
std::shared_ptr<const ClusterServices> Ingress::all_services(const std::vector<Service>* told) const {
  auto all = std::make_shared<ClusterServices>();
  for (auto& service : to_services(settings_.ingress.services)) {
    auto host = service.hosts.front();
    all->emplace(std::move(host), std::move(service));
  }
  if (told == nullptr) return all;
  for (const auto& service : *told) {
    const auto& host = service.hosts.front();
    if (!all->contains(host)) all->emplace(host, service);
  }
  return all;
}

void Ingress::learn(const sources::Cluster& cluster) {
  if (cluster.secrets) {
    const auto done = terminations_.secrets().replace(*cluster.secrets);
    if (!done) spdlog::error("{}", done.error().message());
    read_certificates();
  }
  if (cluster.services == told_services_) return;
  told_services_ = cluster.services;
  services_ = all_services(told_services_.get());
  if (plan_) publish(plan_->snapshot);
}

// Workers have the new policy before the first connection that only it takes.
void Ingress::publish(const std::shared_ptr<const Snapshot>& snapshot) {
  auto plan = std::make_shared<Plan>();
  plan->snapshot = snapshot;
  plan->routes = snapshot->ingress();
  plan->services = services_;
  std::set<std::string> secrets;
  std::vector<tls::TerminationOptions> wanted;
  std::vector<std::uint32_t> numbers;
  for (const auto& listener : plan->routes->listeners()) {
    for (const auto& server : listener.servers) {
      plan->contexts.resize(std::max<std::size_t>(plan->contexts.size(), server.number + 1));
      auto options = termination_of(server);
      if (!options) continue;
      secrets.merge(tls::secret_names(options->tls));
      wanted.push_back(std::move(*options));
      numbers.push_back(server.number);
    }
  }
  auto contexts = terminations_.use(std::move(wanted));
  for (std::size_t index = 0; index < numbers.size(); ++index) {
    plan->contexts[numbers[index]] = std::move(contexts[index]);
  }
  plan_ = std::move(plan);
  if (cluster_ && settings_.ingress.secrets.empty()) cluster_->want_secrets(std::move(secrets));
  read_certificates();
  for (const auto& skipped : plan_->routes->skipped()) spdlog::warn("{} is left out: {}", skipped.server, skipped.why);
  for (const auto& desk : desks_) {
    boost::asio::post(desk->worker().context(), [raw = desk.get(), adopted = plan_] { raw->adopt(adopted); });
  }
  follow_listeners();
}

// Who has not everything yet leaves the connections to the one before.
void Ingress::follow_listeners() {
  if (predecessor_ && not_ready()) return;
  const auto before = doors_->wrong();
  doors_->follow(*plan_);
  for (const auto& line : doors_->wrong()) {
    if (std::find(before.begin(), before.end(), line) == before.end()) spdlog::error("{}", line);
  }
}

void Ingress::read_certificates() {
  auto wrong = terminations_.reload();
  for (const auto& line : wrong) {
    if (std::find(tls_wrong_.begin(), tls_wrong_.end(), line) == tls_wrong_.end()) spdlog::error("{}", line);
  }
  tls_wrong_ = std::move(wrong);
}

void Ingress::do_each_second() {
  originations_.reload();
  read_certificates();
  if (plan_ && !doors_->wrong().empty()) follow_listeners();
  succeeded_ = succeed();
  if (!succeeded_) control_.context().stop();
}

void Ingress::drain() {
  for (const auto& desk : desks_) {
    boost::asio::post(desk->worker().context(), [raw = desk.get()] { raw->drain(); });
  }
}

// One connection, on its worker's thread. Parameters, not captures: a lambda would be gone before its coroutine.
net::Task<void> Ingress::serve(Desk& desk, Door door, net::Socket client) {
  const auto plan = desk.plan();
  const auto* listener = plan ? plan->find_listener(door.bind, door.port) : nullptr;
  if (listener == nullptr) co_return;
  if (listener->kind == IngressListener::Kind::tcp) {
    auto call = std::make_unique<RelayedCall>(desk, plan, *listener, listener->servers.front(), "", std::move(client));
    co_await call->serve();
    co_return serving::Call::relay(std::move(call));
  }
  ClientConnection::open(desk, plan, *listener, std::move(client));
}

std::optional<std::string> Ingress::not_ready() const {
  if (cluster_ && !cluster_->current().services) return "the API server did not say yet what Services there are";
  if (cluster_ && settings_.ingress.secrets.empty() && !cluster_->current().secrets) {
    return "the API server did not give the Secrets of the Gateways yet";
  }
  return control_.not_ready();
}

serving::StatusView Ingress::status() const {
  auto view = control_.status();
  if (cluster_) {
    const auto& wrong = cluster_->current().wrong;
    view.wrong.insert(view.wrong.end(), wrong.begin(), wrong.end());
  }
  for (const auto& line : tls_wrong_) view.wrong.push_back(line);
  for (const auto& line : doors_->wrong()) view.wrong.push_back(line);
  if (!plan_) return view;
  for (const auto& skipped : plan_->routes->skipped()) {
    view.wrong.push_back(fmt::format("{} is left out: {}", skipped.server, skipped.why));
  }
  return view;
}

Status Ingress::serve_admin(const serving::ServeAdmin& serve) {
  auto served = serve(control_.context(), settings_.admin,
                      {.status = [this] { return status(); },
                       .flows = [this] { return control_.flows(); },
                       .metrics = [this] { return control_.metrics().render(); },
                       .not_ready = [this] { return not_ready(); }});
  if (!served) return served.error().in("admin");
  admin_ = std::move(*served);
  auto opened = Succession::open(control_.context(), settings_.admin.socket,
                                 {.sockets = [this] { return doors_->sockets(); },
                                  // As by a signal of someone else.
                                  .leave = [] { std::raise(SIGTERM); }});
  if (!opened) return opened.error().in("admin");
  succession_ = std::move(*opened);
  return Done{};
}

Status Ingress::inherit(const std::string& admin_socket) {
  auto asked = Predecessor::ask(admin_socket);
  if (!asked) return asked.error().in("take over");
  predecessor_.emplace(std::move(*asked));
  doors_->inherit(predecessor_->take_sockets());
  if (settings_.resources.source == settings::ResourceSource::kubernetes) {
    succeed_until_ns_ = monotonic_ns() + succession_patience_ns;
  }
  return Done{};
}

// As soon as everything is there. Who cannot serve leaves the one before it alone.
Status Ingress::succeed() {
  if (!predecessor_) return Done{};
  if (const auto why = not_ready()) {
    return monotonic_ns() < succeed_until_ns_ ? Status(Done{}) : Error("take over: " + *why);
  }
  follow_listeners();
  if (!doors_->wrong().empty()) return Error("take over: " + doors_->wrong().front());
  if (doors_->sockets().empty()) return Error("take over: no policy could be read that listens anywhere");
  predecessor_->dismiss();
  predecessor_.reset();
  return Done{};
}

Status Ingress::run() {
  control_.run({.beat = {}, .each_second = [this] { do_each_second(); }, .drain = [this] { drain(); }});
  return succeeded_;
}

}  // namespace

Status run_ingress(const settings::IngressSettings& settings, const std::string& version,
                   const serving::ServeAdmin& serve_admin, const std::string& take_over) {
  auto control = serving::Control::open(
      {"ingress", version, settings.node, settings.resources, settings.limits, settings.audit, settings.admin});
  if (!control) return control.error();

  Ingress ingress(settings, **control);
  if (auto done = ingress.open_desks(); !done) return done;
  if (!take_over.empty()) {
    if (auto done = ingress.inherit(take_over); !done) return done;
  }
  if (auto done = ingress.read_cluster(); !done) return done;
  if (auto done = ingress.read_policy(); !done) return done;
  if (auto done = ingress.serve_admin(serve_admin); !done) return done;
  if (auto done = ingress.succeed(); !done) return done;
  return ingress.run();
}

}  // namespace sluice::ingress
