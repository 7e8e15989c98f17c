#include "egress/agent.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/clock.h"
#include "egress/cut.h"
#include "egress/gate.h"
#include "egress/gate_ports.h"
#include "egress/interfaces.h"
#include "egress/kernel_denial.h"
#include "egress/live_flows.h"
#include "egress/outbound_call.h"
#include "kernel/capabilities.h"
#include "net/injection.h"
#include "serving/cluster_feed.h"
#include "serving/control.h"
#include "serving/event_feed.h"

namespace sluice::egress {
namespace {

constexpr std::size_t denials_at_once = 256;  // of the kernel's, between two looks at everything else

// A worker of the agent with what only it uses: who is who, and the way out of calls that go by no gateway.
struct Desk {
  serving::Worker& worker;
  std::unique_ptr<serving::Upstreams> upstreams;
  std::shared_ptr<const identity::PodTable> pods;
};

// Parameters, not captures: a lambda would be gone before its coroutine.
net::Task<void> serve(std::unique_ptr<OutboundCall> call, const Desk& desk) {
  co_await call->serve(desk.pods);
  serving::Call::relay(std::move(call));
}

// What the agent shows gateways of itself.
struct Credentials {
  std::unique_ptr<HeaderSigner> signer;     // null when no gateway is told anything signed
  std::unique_ptr<tls::ClientContext> tls;  // null without transport tls

  static Result<Credentials> open(const settings::Egress& egress);
};

Result<Credentials> Credentials::open(const settings::Egress& egress) {
  Credentials credentials;
  if (!egress.key_file.empty()) {
    auto signer = HeaderSigner::open(egress.key_file);
    if (!signer) return signer.error().in("egress.key_file");
    credentials.signer = std::move(*signer);
  }
  const auto& files = egress.tls;
  if (files.certificate_file.empty()) return credentials;
  tls::ClientOptions options;
  options.files = {files.certificate_file, files.key_file, files.ca_file, ""};
  options.peer_names = {egress.gateway_identity};
  credentials.tls = std::make_unique<tls::ClientContext>(std::move(options));
  if (auto done = credentials.tls->reload(); !done) return done.error().in("egress.tls");
  return credentials;
}

// Addresses that were another pod's, or are nobody's any more.
std::set<IpAddress> lost_addresses(const identity::PodTable* before, const identity::PodTable& now) {
  std::set<IpAddress> lost;
  if (before == nullptr) return lost;
  for (const auto& pod : before->pods()) {
    for (const auto& address : pod.addresses) {
      const auto* owner = now.by_address(address);
      if (owner == nullptr || owner->uid != pod.uid || owner->full_name() != pod.full_name()) lost.insert(address);
    }
  }
  return lost;
}

class Agent {
 public:
  Agent(const settings::AgentSettings& settings, serving::Control& control,
        std::unique_ptr<kernel::Interception> kernel, Credentials credentials)
      : settings_(settings),
        control_(control),
        kernel_(std::move(kernel)),
        credentials_(std::move(credentials)),
        gateways_(settings.egress),
        node_{settings, *kernel_, control.recorder(), gateways_, credentials_.signer.get(), credentials_.tls.get()} {}

  Status open_desks();
  Status open_gate();
  Status set_rules();
  Status read_policy();
  void keep_interfaces();
  Status read_cluster();
  Status tell_events();
  Status listen();
  Status serve_admin(const serving::ServeAdmin& serve);
  void run();

 private:
  Status listen(Desk& desk, const Endpoint& endpoint, std::vector<int>& listeners);
  void adopt(const std::shared_ptr<const Snapshot>& snapshot);
  Status set_ports();
  Status set_gateways();
  void learn(const sources::Cluster& cluster);
  void hand_out(const std::shared_ptr<const identity::PodTable>& pods);
  void keep_relay_routes();
  void record_denials();
  void do_each_second();
  void stop_listening();
  std::optional<std::string> not_ready() const;
  serving::StatusView status() const;
  std::vector<serving::Flow> flows() const;
  // Keeps or clears the line in status that says what is wrong with `what`; logs it when it is new.
  void note(const std::string& what, const Status& done);

  const settings::AgentSettings& settings_;
  serving::Control& control_;
  std::unique_ptr<kernel::Interception> kernel_;
  const Credentials credentials_;
  GatewayPool gateways_;
  const Node node_;
  std::vector<std::unique_ptr<Desk>> desks_;
  std::unique_ptr<Gate> gate_;
  std::vector<kernel::PortEntry> ports_;  // of the newest policy
  std::map<std::uint32_t, std::vector<Endpoint>> written_gateways_;
  std::optional<Interfaces> interfaces_;
  std::shared_ptr<const identity::PodTable> pods_;  // that was handed out last
  std::unique_ptr<serving::ClusterFeed> cluster_;   // null when the API server is not asked
  std::unique_ptr<serving::EventFeed> events_;      // the same
  bool named_host_pods_ = false;
  std::optional<serving::FdWatch> denials_;
  std::map<std::string, std::string> wrong_;
  std::shared_ptr<void> admin_;
};

Status Agent::set_rules() {
  const auto& interception = settings_.interception;
  std::vector<kernel::UdpRule> udp;
  udp.reserve(interception.udp_allow.size());
  for (const auto& allow : interception.udp_allow) udp.push_back({allow.addresses, allow.port});
  if (auto done = kernel_->set_udp_rules(udp); !done) return done;
  return kernel_->set_inbound_replies(interception.inbound_replies);
}

Status Agent::read_policy() {
  return control_.read_policy(Vantage::mesh(),
                              [this](const std::shared_ptr<const Snapshot>& snapshot) { adopt(snapshot); });
}

void Agent::adopt(const std::shared_ptr<const Snapshot>& snapshot) {
  ports_ = port_entries(*snapshot, settings_.egress);
  note("ports", set_ports());
  if (gate_) gate_->adopt(snapshot);
}

Status Agent::set_ports() {
  if (auto done = set_gateways(); !done) return done;
  return kernel_->set_ports(ports_);
}

// Where new flows go: the addresses that answer.
Status Agent::set_gateways() {
  std::vector<std::uint32_t> numbers;
  for (const auto& entry : ports_) {
    const bool known = std::find(numbers.begin(), numbers.end(), entry.gateway) != numbers.end();
    if (!entry.gated || known) continue;
    numbers.push_back(entry.gateway);
    const auto index = gateway_index(entry.gateway);
    std::vector<Endpoint> addresses;
    for (const auto place : gateways_.usable(index, monotonic_ns())) {
      auto endpoint = settings_.egress.gateways[index].addresses[place];
      if (endpoint.port == 0) endpoint.port = gateway_default_port(entry.gateway);
      addresses.push_back(endpoint);
    }
    auto& written = written_gateways_[entry.gateway];
    if (written == addresses) continue;
    if (auto done = kernel_->flows().set_gateway(entry.gateway, addresses); !done) return done;
    written = std::move(addresses);
  }
  std::erase_if(written_gateways_,
                [&](const auto& one) { return std::find(numbers.begin(), numbers.end(), one.first) == numbers.end(); });
  return kernel_->flows().keep_gateways(numbers);
}

Status Agent::open_gate() {
  const auto ifindex = net::make_injection_link();
  if (!ifindex) return ifindex.error();
  if (auto done = kernel_->attach_helper(*ifindex); !done) return done;
  auto injector = net::Injector::open(*ifindex);
  if (!injector) return injector.error();
  const auto& limits = settings_.limits;
  const kernel::FlowLimits flow_limits{limits.connections, limits.connections_per_pod, limits.connections_per_second,
                                       limits.connections_per_second_per_pod};
  if (auto done = kernel_->set_flow_limits(flow_limits); !done) return done;
  gate_ = std::make_unique<Gate>(node_, desks_.front()->worker, kernel_->flows(), std::move(*injector), [this] {
    boost::asio::post(control_.context(), [this] { note("gateways", set_gateways()); });
  });
  return Done{};
}

Status Agent::open_desks() {
  for (const auto& worker : control_.workers()) {
    auto upstreams = serving::Upstreams::open(worker->context(), settings_.egress.direct);
    if (!upstreams) return upstreams.error().in("egress.direct");
    desks_.push_back(std::make_unique<Desk>(Desk{*worker, std::move(*upstreams), nullptr}));
  }
  return Done{};
}

void Agent::keep_interfaces() {
  interfaces_.emplace(
      control_.context(), settings_, *kernel_,
      Interfaces::Handlers{[this](const std::shared_ptr<const identity::PodTable>& pods) { hand_out(pods); },
                           [this] { keep_relay_routes(); }});
}

Status Agent::read_cluster() {
  if (settings_.resources.source != settings::ResourceSource::kubernetes) return Done{};
  sources::ClusterWants wants;
  wants.pods_of = settings_.node.name;
  wants.node_ranges = settings_.interception.internal_nodes;
  auto feed = serving::ClusterFeed::start(control_.context(), settings_.resources.kubernetes, wants,
                                          [this](const sources::Cluster& cluster) { learn(cluster); });
  if (!feed) return feed.error();
  cluster_ = *std::move(feed);
  return Done{};
}

Status Agent::tell_events() {
  if (!settings_.egress.events || settings_.resources.source != settings::ResourceSource::kubernetes) return Done{};
  auto feed = serving::EventFeed::start(settings_.resources.kubernetes, "sluice-agent", settings_.node.name);
  if (!feed) return feed.error().in("resources");
  events_ = *std::move(feed);
  control_.recorder().tell_of_denials([this](const observe::Record& record) { events_->denied(record); });
  return Done{};
}

void Agent::learn(const sources::Cluster& cluster) {
  interfaces_->learn(cluster.pods, cluster.node_ranges);
  if (cluster.host_network_pods.empty() || std::exchange(named_host_pods_, true)) return;
  spdlog::info("pods on the host's network call as the node and are not enforced: {}",
               fmt::join(cluster.host_network_pods, ", "));
}

void Agent::hand_out(const std::shared_ptr<const identity::PodTable>& pods) {
  gate_->set_pods(pods);
  const auto lost = lost_addresses(pods_.get(), *pods);
  pods_ = pods;
  for (const auto& desk : desks_) {
    boost::asio::post(desk->worker.context(), [raw = desk.get(), pods, lost] {
      raw->pods = pods;
      if (!lost.empty()) raw->worker.live().cut_of(lost, name_of(static_cast<std::uint8_t>(Cut::pod_gone)));
    });
  }
}

Status Agent::listen() {
  std::vector<int> v4;
  std::vector<int> v6;
  for (const auto& desk : desks_) {
    if (auto done = listen(*desk, *Endpoint::parse("127.0.0.1:0"), v4); !done) return done;
    if (auto done = listen(*desk, *Endpoint::parse("[::1]:0"), v6); !done) return done;
  }
  if (auto done = kernel_->set_listeners(v4, v6); !done) return done;
  const auto mark = kernel::relay_mark();
  return net::add_relay_routes(mark.value, mark.mask);
}

Status Agent::listen(Desk& desk, const Endpoint& endpoint, std::vector<int>& listeners) {
  auto acceptor = net::listen(desk.worker.context(), endpoint, {.transparent = true});
  if (!acceptor) return acceptor.error();
  listeners.push_back(acceptor->native_handle());
  desk.worker.accept_all(std::move(*acceptor), [this, raw = &desk](net::Socket client) {
    return serve(std::make_unique<OutboundCall>(node_, raw->worker, *raw->upstreams, std::move(client)), *raw);
  });
  return Done{};
}

Status Agent::serve_admin(const serving::ServeAdmin& serve) {
  auto served = serve(control_.context(), settings_.admin,
                      {.status = [this] { return status(); },
                       .flows = [this] { return flows(); },
                       .metrics = [this] { return control_.metrics().render(); },
                       .not_ready = [this] { return not_ready(); }});
  if (!served) return served.error().in("admin");
  admin_ = std::move(*served);
  return Done{};
}

void Agent::run() {
  denials_.emplace(control_.context(), kernel_->events_fd(), [this] { record_denials(); });
  control_.run({.beat = [this] { kernel_->beat(); },
                .each_second = [this] { do_each_second(); },
                .drain = [this] { stop_listening(); }});
}

void Agent::keep_relay_routes() {
  const auto mark = kernel::relay_mark();
  note("routes", net::add_relay_routes(mark.value, mark.mask));
}

void Agent::record_denials() {
  kernel_->read_denials(denials_at_once, [this](const kernel::Denial& denial) {
    auto record = to_record(denial, interfaces_->pods());
    record.id = control_.recorder().next_id();
    control_.recorder().denied(record);
  });
}

void Agent::do_each_second() {
  if (credentials_.signer) credentials_.signer->reload();
  if (credentials_.tls) note("egress.tls", credentials_.tls->reload());
  for (const auto& count : kernel_->take_counts()) {
    control_.recorder().denied_in_sum(to_record(count, interfaces_->pods(), interfaces_->is_audited(count.ifindex)));
  }
  interfaces_->retry();
  keep_relay_routes();
  note("gateways", set_gateways());
  if (wrong_.contains("ports")) note("ports", set_ports());
  const auto views = interfaces_->views();
  const auto pods = std::count_if(views.begin(), views.end(), [](const auto& view) { return view.kind == "pod"; });
  control_.metrics().set_interfaces(static_cast<std::size_t>(pods), views.size() - static_cast<std::size_t>(pods));
  if (!events_) return;
  events_->set_wrong(status().wrong);
  control_.metrics().set_events_dropped(events_->dropped());
}

void Agent::stop_listening() {
  // Without listeners the programs refuse at once; a connection to a closed one would hang.
  note("listeners", kernel_->set_listeners({}, {}));
}

std::optional<std::string> Agent::not_ready() const {
  if (cluster_ && !cluster_->current().pods) return "the API server did not say yet who the pods of this node are";
  return control_.not_ready();
}

serving::StatusView Agent::status() const {
  auto view = control_.status();
  view.interfaces = interfaces_->views();
  for (const auto& [what, line] : wrong_) view.wrong.push_back(line);
  if (credentials_.signer && credentials_.signer->wrong()) view.wrong.push_back(*credentials_.signer->wrong());
  for (auto& line : gateways_.wrong(monotonic_ns())) view.wrong.push_back(std::move(line));
  for (auto& line : interfaces_->wrong()) view.wrong.push_back(std::move(line));
  if (cluster_) {
    const auto& wrong = cluster_->current().wrong;
    view.wrong.insert(view.wrong.end(), wrong.begin(), wrong.end());
  }
  return view;
}

std::vector<serving::Flow> Agent::flows() const {
  auto all = control_.flows();
  auto gated = live_flows(kernel_->flows(), interfaces_->pods());
  all.insert(all.end(), std::make_move_iterator(gated.begin()), std::make_move_iterator(gated.end()));
  return all;
}

void Agent::note(const std::string& what, const Status& done) {
  if (done) {
    wrong_.erase(what);
    return;
  }
  auto line = fmt::format("{}: {}", what, done.error().message());
  auto& known = wrong_[what];
  if (known != line) spdlog::error("{}", line);
  known = std::move(line);
}

}  // namespace

Status run_agent(const settings::AgentSettings& settings, const std::string& version,
                 const serving::ServeAdmin& serve_admin) {
  if (auto may = kernel::check_capabilities(); !may) return may;
  if (!kernel::can_read_executables()) {
    spdlog::warn("without CAP_SYS_PTRACE the records do not say which executables call");
  }
  auto control = serving::Control::open(
      {"agent", version, settings.node, settings.resources, settings.limits, settings.audit, settings.admin});
  if (!control) return control.error();
  auto kernel = kernel::Interception::open({settings.node.bpffs, settings.node.cgroup});
  if (!kernel) return kernel.error();

  auto credentials = Credentials::open(settings.egress);
  if (!credentials) return credentials.error();

  Agent agent(settings, **control, std::move(*kernel), std::move(*credentials));
  // The kernel refuses all the while: its heart beats only when everything else is in place.
  if (auto done = agent.set_rules(); !done) return done;
  if (auto done = agent.tell_events(); !done) return done;
  if (auto done = agent.open_desks(); !done) return done;
  if (auto done = agent.open_gate(); !done) return done;
  if (auto done = agent.read_policy(); !done) return done;
  agent.keep_interfaces();
  if (auto done = agent.read_cluster(); !done) return done;
  if (auto done = agent.listen(); !done) return done;
  if (auto done = agent.serve_admin(serve_admin); !done) return done;
  agent.run();
  return Done{};
}

}  // namespace sluice::egress
