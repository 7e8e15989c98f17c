#include "sources/cluster_source.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "kube/pod.h"
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

}  // namespace

struct ClusterSource::State {
  State(asio::io_context& context, const std::shared_ptr<ApiServer>& server, const ClusterWants& wants,
        const std::function<void()>& changed) {
    if (!wants.pods_of.empty()) {
      pods.emplace(context, server, "Pod", pod_limits, kube::trim_pod, kube::read_pod, changed);
      pods->follow("/api/v1/pods", "fieldSelector=" + kube::encode_query("spec.nodeName=" + wants.pods_of));
    }
    if (wants.node_ranges) {
      nodes.emplace(context, server, "Node", node_limits, kube::trim_node, kube::read_node, changed);
      nodes->follow("/api/v1/nodes");
    }
  }

  std::optional<KubeTable<kube::PodState>> pods;
  View<kube::PodState, std::vector<settings::Pod>> pods_view;
  std::optional<KubeTable<std::vector<Cidr>>> nodes;
  View<std::vector<Cidr>, std::vector<Cidr>> nodes_view;
};

Result<std::unique_ptr<ClusterSource>> ClusterSource::start(asio::io_context& context,
                                                            const settings::Kubernetes& settings,
                                                            const ClusterWants& wants, std::function<void()> changed) {
  auto opened = ApiServer::open(settings);
  if (!opened) return opened.error();
  const std::shared_ptr<ApiServer> server = *std::move(opened);
  return std::unique_ptr<ClusterSource>(
      new ClusterSource(std::make_unique<State>(context, server, wants, std::move(changed))));
}

ClusterSource::ClusterSource(std::unique_ptr<State> state) : state_(std::move(state)) {}

ClusterSource::~ClusterSource() = default;

Cluster ClusterSource::look() {
  Cluster cluster;
  const auto note = [&](std::string trouble) {
    if (!trouble.empty()) cluster.wrong.push_back("resources: " + std::move(trouble));
  };
  if (state_->pods) {
    cluster.pods = state_->pods_view.of(*state_->pods, own_pods);
    for (const auto& [id, state] : state_->pods->items()) {
      if (state.host_network) cluster.host_network_pods.push_back(id.namespace_name + "/" + id.name);
    }
    note(state_->pods->trouble());
  }
  if (state_->nodes) {
    cluster.node_ranges = state_->nodes_view.of(*state_->nodes, all_ranges);
    note(state_->nodes->trouble());
  }
  return cluster;
}

}  // namespace sluice::sources
