#include "sources/cluster_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <optional>
#include <utility>

#include "kube/back_off.h"
#include "kube/pod.h"
#include "kube/service.h"
#include "sources/api_fetch.h"
#include "sources/api_server.h"
#include "sources/kube_table.h"

namespace sluice::sources {
namespace {

namespace asio = boost::asio;

// Objects of many kilobytes, of which little is kept: few at once.
constexpr kube::WatchLimits pod_limits{.objects = 4'096, .page = 50};
constexpr kube::WatchLimits node_limits{.objects = 16'384, .page = 50};

// What a table comes to, made again only when the table changed.
template <typename Item, typename Part>
class View {
 public:
  template <typename Make>
  const std::shared_ptr<const Part>& of(const KubeTable<Item>& table, Make make) {
    if (table.is_complete() && made_of_ != table.version()) {
      part_ = std::make_shared<const Part>(make(table.items()));
      made_of_ = table.version();
    }
    return part_;
  }

 private:
  std::shared_ptr<const Part> part_;
  std::optional<std::uint64_t> made_of_;
};

constexpr kube::WatchLimits service_limits{.objects = 50'000, .page = 200};
constexpr std::string_view slice_group = "discovery.k8s.io";
constexpr std::array<std::string_view, 2> slice_versions = {"v1", "v1beta1"};
constexpr std::chrono::seconds look_again{15};

using Pods = std::map<kube::ObjectId, kube::PodState>;
using Nodes = std::map<kube::ObjectId, std::vector<Cidr>>;

std::vector<settings::Pod> own_pods(const Pods& states) {
  std::vector<settings::Pod> pods;
  pods.reserve(states.size());
  for (const auto& [id, state] : states) {
    if (!state.host_network && !state.over && !state.pod.addresses.empty()) pods.push_back(state.pod);
  }
  return pods;
}

std::vector<Cidr> all_ranges(const Nodes& nodes) {
  std::vector<Cidr> ranges;
  for (const auto& [id, some] : nodes) ranges.insert(ranges.end(), some.begin(), some.end());
  std::sort(ranges.begin(), ranges.end());
  ranges.erase(std::unique(ranges.begin(), ranges.end()), ranges.end());
  return ranges;
}

using Keys = std::map<std::string, std::string>;

}  // namespace

struct ClusterSource::State {
  State(asio::io_context& io, std::shared_ptr<ApiServer> api, ClusterWants wanted, std::function<void()> on_change)
      : context(io),
        server(std::move(api)),
        wants(std::move(wanted)),
        changed(std::move(on_change)),
        discovery_timer(io) {
    if (!wants.pods_of.empty()) {
      pods.emplace(io, server, "Pod", pod_limits, kube::trim_pod, kube::read_pod, changed);
      pods->follow("/api/v1/pods", "fieldSelector=" + kube::encode_query("spec.nodeName=" + wants.pods_of));
    }
    if (wants.node_ranges) {
      nodes.emplace(io, server, "Node", node_limits, kube::trim_node, kube::read_node, changed);
      nodes->follow("/api/v1/nodes");
    }
    if (wants.services) {
      services.emplace(io, server, "Service", service_limits, kube::trim_service, kube::read_service, changed);
      services->follow("/api/v1/services");
      slices.emplace(io, server, "EndpointSlice", service_limits, kube::trim_slice, kube::read_slice, changed);
    }
  }

  static net::Task<void> discover_slices(std::shared_ptr<State> self);
  const std::shared_ptr<const std::vector<Service>>& look_at_services();
  const std::shared_ptr<const Secrets>& look_at_secrets();

  asio::io_context& context;
  const std::shared_ptr<ApiServer> server;
  const ClusterWants wants;
  const std::function<void()> changed;
  asio::steady_timer discovery_timer;
  bool ended = false;
  Since discovery;

  std::optional<KubeTable<kube::PodState>> pods;
  View<kube::PodState, std::vector<settings::Pod>> pods_view;
  std::optional<KubeTable<std::vector<Cidr>>> nodes;
  View<std::vector<Cidr>, std::vector<Cidr>> nodes_view;

  std::optional<KubeTable<std::vector<ServicePort>>> services;
  std::optional<KubeTable<kube::Slice>> slices;
  std::shared_ptr<const std::vector<Service>> services_view;
  std::pair<std::uint64_t, std::uint64_t> services_of;  // the versions of both tables

  std::map<std::string, KubeTable<Keys>> secrets;
  bool secrets_named = false;
  bool secrets_changed = false;
  std::shared_ptr<const Secrets> secrets_view;
};

// Where EndpointSlices are served, looked for until they are, and again when they cannot be read there any more.
net::Task<void> ClusterSource::State::discover_slices(std::shared_ptr<State> self) {
  kube::BackOff back_off;
  bool found = false;
  while (!self->ended) {
    std::string why;
    if (!found || !self->slices->trouble().empty()) {
      const auto paths = co_await find_paths(*self->server, slice_group, slice_versions);
      if (self->ended) co_return;
      found = paths && paths->contains("EndpointSlice");
      if (found)
        self->slices->follow(paths->find("EndpointSlice")->second);
      else
        why = paths ? "they are not served" : paths.error().message();
    }
    std::chrono::milliseconds wait = look_again;
    if (why.empty())
      back_off.reset();
    else
      wait = back_off.next(random_number());
    if (self->discovery.update(std::move(why))) self->changed();
    self->discovery_timer.expires_after(wait);
    co_await self->discovery_timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

const std::shared_ptr<const std::vector<Service>>& ClusterSource::State::look_at_services() {
  const std::pair now(services->version(), slices->version());
  const bool complete = services->is_complete() && slices->is_complete();
  if (complete && (!services_view || services_of != now)) {
    services_view = std::make_shared<const std::vector<Service>>(kube::to_services(services->items(), slices->items()));
    services_of = now;
  }
  return services_view;
}

const std::shared_ptr<const Secrets>& ClusterSource::State::look_at_secrets() {
  const bool complete = secrets_named && std::all_of(secrets.begin(), secrets.end(),
                                                     [](const auto& entry) { return entry.second.is_complete(); });
  if (!complete || !std::exchange(secrets_changed, false)) return secrets_view;
  Secrets all;
  for (const auto& [name, table] : secrets) {
    for (const auto& [id, keys] : table.items()) all.emplace(id.name, keys);
  }
  if (!secrets_view || *secrets_view != all) secrets_view = std::make_shared<const Secrets>(std::move(all));
  return secrets_view;
}

Result<std::unique_ptr<ClusterSource>> ClusterSource::start(asio::io_context& context,
                                                            const settings::Kubernetes& settings,
                                                            const ClusterWants& wants, std::function<void()> changed) {
  auto server = ApiServer::open(settings);
  if (!server) return server.error();
  auto state = std::make_shared<State>(context, *std::move(server), wants, std::move(changed));
  if (wants.services) asio::co_spawn(context, State::discover_slices(state), asio::detached);
  return std::unique_ptr<ClusterSource>(new ClusterSource(std::move(state)));
}

ClusterSource::ClusterSource(std::shared_ptr<State> state) : state_(std::move(state)) {}

ClusterSource::~ClusterSource() {
  state_->ended = true;
  state_->discovery_timer.cancel();
}

void ClusterSource::want_secrets(const std::set<std::string>& names) {
  auto& state = *state_;
  std::erase_if(state.secrets, [&](const auto& entry) { return !names.contains(entry.first); });
  state.secrets_named = state.secrets_changed = true;
  for (const auto& name : names) {
    const auto [entry, is_new] = state.secrets.try_emplace(name, state.context, state.server, "Secret " + name,
                                                           kube::WatchLimits{.objects = 1, .page = 1},
                                                           kube::trim_secret, kube::read_secret, [raw = &state] {
                                                             raw->secrets_changed = true;
                                                             raw->changed();
                                                           });
    if (!is_new) continue;
    entry->second.follow("/api/v1/namespaces/" + state.wants.secrets_in + "/secrets",
                         "fieldSelector=" + kube::encode_query("metadata.name=" + name));
  }
  state.changed();
}

Cluster ClusterSource::look() {
  Cluster cluster;
  auto& state = *state_;
  const auto note = [&](std::string trouble) {
    if (!trouble.empty()) cluster.wrong.push_back("resources: " + std::move(trouble));
  };
  if (state.pods) {
    cluster.pods = state.pods_view.of(*state.pods, own_pods);
    for (const auto& [id, pod] : state.pods->items()) {
      if (pod.host_network) cluster.host_network_pods.push_back(id.namespace_name + "/" + id.name);
    }
    note(state.pods->trouble());
  }
  if (state.nodes) {
    cluster.node_ranges = state.nodes_view.of(*state.nodes, all_ranges);
    note(state.nodes->trouble());
  }
  if (state.services) {
    cluster.services = state.look_at_services();
    note(state.services->trouble());
    note(state.slices->trouble());
    const auto& [time, why] = state.discovery;
    if (!why.empty()) note(fmt::format("EndpointSlice cannot be found since {}: {}", time, why));
  }
  if (!state.wants.secrets_in.empty()) {
    cluster.secrets = state.look_at_secrets();
    for (const auto& [name, table] : state.secrets) note(table.trouble());
  }
  return cluster;
}

}  // namespace sluice::sources
