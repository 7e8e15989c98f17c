#include "egress/interfaces.h"

#include <fmt/format.h>
#include <fnmatch.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "egress/audit_mode.h"

namespace sluice::egress {
namespace {

// However fast routes change, identities are worked out so many times a second at most.
constexpr std::chrono::milliseconds resolve_gap{100};

bool matches(const std::string& name, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0; });
}

std::string pod_failure(const std::string& interface) {
  return "pod of " + interface;
}

// nullopt: none, until the patterns tell which.
std::optional<kernel::InterfaceRole> role_of(InterfaceKind kind) {
  switch (kind) {
    case InterfaceKind::pod:
      return kernel::InterfaceRole::pod;
    case InterfaceKind::uplink:
      return kernel::InterfaceRole::uplink;
    case InterfaceKind::other:
      return kernel::InterfaceRole::other;
    case InterfaceKind::both:
      break;
  }
  return std::nullopt;
}

std::string_view name_of(InterfaceKind kind) {
  switch (kind) {
    case InterfaceKind::pod:
      return "pod";
    case InterfaceKind::uplink:
      return "uplink";
    default:
      return "other";
  }
}

bool is_same(const kernel::PodInterface& a, const kernel::PodInterface& b) {
  return a.addresses == b.addresses && a.audit == b.audit;
}

}  // namespace

InterfaceKind classify(const std::string& name, const settings::Interception& settings) {
  const bool pod = matches(name, settings.pod_interfaces);
  const bool uplink = matches(name, settings.uplinks);
  if (pod && uplink) return InterfaceKind::both;
  if (pod) return InterfaceKind::pod;
  return uplink ? InterfaceKind::uplink : InterfaceKind::other;
}

std::vector<Cidr> guarded_ranges(const settings::AgentSettings& settings) {
  auto ranges = settings.interception.guarded_cidrs;
  for (const auto& gateway : settings.egress.gateways) {
    for (const auto& [address, port] : gateway.addresses) {
      ranges.push_back(*Cidr::make(address, address.is_v4() ? 32 : 128));
    }
  }
  return ranges;
}

std::vector<Cidr> internal_ranges(const settings::AgentSettings& settings, const std::vector<Cidr>& local) {
  auto ranges = settings.interception.internal_cidrs;
  ranges.insert(ranges.end(), local.begin(), local.end());
  std::sort(ranges.begin(), ranges.end());
  ranges.erase(std::unique(ranges.begin(), ranges.end()), ranges.end());
  // The longer prefix counts in the kernel: nothing inside a guarded range may stand beside it.
  const auto guarded = guarded_ranges(settings);
  std::erase_if(ranges, [&](const Cidr& range) {
    return std::any_of(guarded.begin(), guarded.end(), [&](const Cidr& guard) {
      return guard.mapped_length() <= range.mapped_length() && guard.contains(range.address());
    });
  });
  return ranges;
}

Interfaces::Interfaces(boost::asio::io_context& control, const settings::AgentSettings& settings,
                       kernel::Interception& kernel, Handlers handlers)
    : settings_(settings), kernel_(kernel), handlers_(std::move(handlers)), control_(control), later_(control) {
  open_watch();
  forget_strangers();
  resolve();
}

Interfaces::~Interfaces() = default;

void Interfaces::open_watch() {
  for (auto& [ifindex, interface] : interfaces_) interface.listed = false;
  auto watch = net::NetlinkWatch::open({
      .link_added = [this](const net::Link& link) { add(link); },
      .link_removed = [this](unsigned ifindex) { remove(ifindex); },
      .addresses_changed = [this] { stale_ = true; },
      .routes_changed =
          [this] {
            stale_ = true;
            handlers_.routes_changed();
          },
  });
  if (!watch) return lose_watch(watch.error());
  watch_ = std::move(*watch);
  failures_.erase("netlink");
  readable_.emplace(control_, watch_->fd(), [this] { dispatch(); });
  // Those that went while nobody watched.
  std::vector<unsigned> gone;
  for (const auto& [ifindex, interface] : interfaces_) {
    if (!interface.listed) gone.push_back(ifindex);
  }
  for (const auto ifindex : gone) remove(ifindex);
}

void Interfaces::dispatch() {
  const auto done = watch_->dispatch();
  if (!done) lose_watch(done.error());
  if (stale_) resolve_soon();
}

void Interfaces::lose_watch(const Error& error) {
  spdlog::error("watching interfaces: {}", error.message());
  failures_["netlink"] = "interfaces are not watched: " + error.message();
  readable_.reset();
  watch_.reset();
}

void Interfaces::add(const net::Link& link) {
  stale_ = true;
  const auto kind = classify(link.name, settings_.interception);
  const auto before = interfaces_.find(link.ifindex);
  // A rename may change whose interface it is.
  if (before != interfaces_.end() && before->second.kind != kind) remove(link.ifindex);
  auto& interface = interfaces_[link.ifindex];
  interface = {link.name, kind, std::nullopt, std::nullopt, true};
  attach(link.ifindex, interface);
}

void Interfaces::remove(unsigned ifindex) {
  stale_ = true;
  const auto found = interfaces_.find(ifindex);
  if (found == interfaces_.end()) return;
  const bool ours = found->second.kind == InterfaceKind::pod || found->second.kind == InterfaceKind::uplink;
  const auto name = found->second.name;
  interfaces_.erase(found);
  failures_.erase(pod_failure(name));
  if (ours) spdlog::info("interface {} ({}) is gone", name, ifindex);
  if (const auto done = kernel_.forget(ifindex); !done) spdlog::warn("{}: {}", name, done.error().message());
}

void Interfaces::attach(unsigned ifindex, Interface& interface) {
  Status done = Done{};
  switch (interface.kind) {
    case InterfaceKind::other:
      done = kernel_.note_other(ifindex, interface.name);
      break;
    case InterfaceKind::both:
      interface.failure = fmt::format(
          "interface {} matches interception.pod_interfaces and interception.uplinks: nothing is attached to it until "
          "the patterns tell it apart",
          interface.name);
      return spdlog::error("{}", *interface.failure);
    case InterfaceKind::pod:
      done = kernel_.attach_pod(ifindex, interface.name);
      break;
    case InterfaceKind::uplink:
      done = kernel_.attach_uplink(ifindex, interface.name);
      break;
  }
  const auto kind = name_of(interface.kind);
  if (done) {
    const auto level = interface.kind == InterfaceKind::other ? spdlog::level::debug : spdlog::level::info;
    spdlog::log(level, "{} interface {} ({}) attached", kind, interface.name, ifindex);
    interface.failure.reset();
  } else {
    if (!interface.failure) spdlog::error("{} interface {}: {}", kind, interface.name, done.error().message());
    interface.failure =
        fmt::format("{} interface {} is not attached: {}", kind, interface.name, done.error().message());
  }
}

void Interfaces::forget_strangers() {
  if (!watch_) return;
  for (const auto& attached : kernel_.attached()) {
    const auto found = interfaces_.find(attached.ifindex);
    if (found != interfaces_.end() && role_of(found->second.kind) == attached.role) continue;
    spdlog::info("interface {} ({}) is not ours any more", attached.name, attached.ifindex);
    if (const auto done = kernel_.forget(attached.ifindex); !done) spdlog::warn("{}", done.error().message());
  }
}

void Interfaces::resolve_soon() {
  if (waiting_) return;
  const auto passed = std::chrono::nanoseconds(monotonic_ns() - resolved_ns_);
  if (passed >= resolve_gap) return resolve();
  waiting_ = true;
  later_.expires_after(resolve_gap - passed);
  later_.async_wait([this](const boost::system::error_code& error) {
    waiting_ = false;
    if (!error && stale_) resolve();
  });
}

void Interfaces::learn(std::shared_ptr<const std::vector<settings::Pod>> pods,
                       std::shared_ptr<const std::vector<Cidr>> internal) {
  if (pods == told_pods_ && internal == told_internal_) return;
  const bool first = !told_pods_;
  told_pods_ = std::move(pods);
  told_internal_ = std::move(internal);
  stale_ = true;
  first ? resolve() : resolve_soon();
}

void Interfaces::resolve() {
  stale_ = false;
  failures_.erase("identity");
  resolve_internal();
  std::vector<identity::Pod> pods;
  for (const auto& pod : all_pods()) pods.push_back(resolve_pod(pod));
  pods_ = std::make_shared<identity::PodTable>(std::move(pods));
  for (auto& [ifindex, interface] : interfaces_) {
    if (interface.kind == InterfaceKind::pod && !interface.failure) tell_kernel(ifindex, interface);
  }
  handlers_.publish(pods_);
  resolved_ns_ = monotonic_ns();
}

void Interfaces::resolve_internal() {
  auto local = net::local_addresses();
  if (!local) {
    failures_["internal"] = "the node's addresses cannot be read: " + local.error().message();
    return;
  }
  if (told_internal_) local->insert(local->end(), told_internal_->begin(), told_internal_->end());
  auto ranges = internal_ranges(settings_, *local);
  if (internal_ == ranges) return;
  if (const auto done = kernel_.set_internal(ranges, guarded_ranges(settings_)); !done) {
    failures_["internal"] = "internal addresses are not as they should be: " + done.error().message();
    internal_.reset();
    return;
  }
  failures_.erase("internal");
  internal_ = std::move(ranges);
}

std::vector<settings::Pod> Interfaces::all_pods() const {
  if (!told_pods_) return settings_.pods;
  auto pods = *told_pods_;
  for (const auto& own : settings_.pods) {
    const bool told = std::any_of(told_pods_->begin(), told_pods_->end(), [&](const settings::Pod& pod) {
      return pod.namespace_name == own.namespace_name && pod.name == own.name;
    });
    if (!told) pods.push_back(own);
  }
  return pods;
}

identity::Pod Interfaces::resolve_pod(const settings::Pod& settings) {
  identity::Pod pod{settings.namespace_name,
                    settings.name,
                    settings.uid,
                    settings.service_account,
                    settings.labels,
                    settings.addresses,
                    0};
  pod.ifindex = find_interface(settings);
  if (!pod.addresses.empty() || pod.ifindex == 0) return pod;
  auto routed = net::routed_addresses(pod.ifindex);
  if (routed)
    pod.addresses = std::move(*routed);
  else
    failures_["identity"] = fmt::format("routes of {}: {}", pod.full_name(), routed.error().message());
  return pod;
}

unsigned Interfaces::find_interface(const settings::Pod& settings) {
  if (!settings.interface.empty()) {
    const auto found = std::find_if(interfaces_.begin(), interfaces_.end(),
                                    [&](const auto& entry) { return entry.second.name == settings.interface; });
    return found == interfaces_.end() ? 0 : found->first;
  }
  const auto routed = net::route_interface(settings.addresses.front());
  if (!routed) {
    failures_["identity"] =
        fmt::format("route to {}/{}: {}", settings.namespace_name, settings.name, routed.error().message());
    return 0;
  }
  // A pod that is not there yet is routed by the default route.
  const auto found = interfaces_.find(routed->value_or(0));
  return found != interfaces_.end() && found->second.kind == InterfaceKind::pod ? found->first : 0;
}

// What is sent from there may be the pod's. Of a pod that the API server is still to tell of, what is routed to it: its
// calls begin, and wait for their pod to be known.
std::vector<IpAddress> Interfaces::addresses_of(unsigned ifindex) {
  if (const auto* pod = pods_->by_interface(ifindex)) return pod->addresses;
  if (!told_pods_) return {};
  auto routed = net::routed_addresses(ifindex);
  if (routed) return *std::move(routed);
  failures_["identity"] = fmt::format("routes of interface {}: {}", ifindex, routed.error().message());
  return {};
}

void Interfaces::tell_kernel(unsigned ifindex, Interface& interface) {
  const auto* pod = pods_->by_interface(ifindex);
  // What a predecessor knew counts until the API server was heard.
  const bool awaited = settings_.resources.source == settings::ResourceSource::kubernetes && !told_pods_;
  if (pod == nullptr && awaited) return;
  const kernel::PodInterface now{addresses_of(ifindex), is_audited(ifindex)};
  if (interface.known && is_same(*interface.known, now)) return;
  const auto key = pod_failure(interface.name);
  if (const auto done = kernel_.set_pod(ifindex, now); !done) {
    failures_[key] = done.error().message();
    return;
  }
  failures_.erase(key);
  interface.known = now;
  spdlog::info("interface {} is pod {}", interface.name, pod ? pod->full_name() : "unknown");
}

void Interfaces::retry() {
  const bool lost = !watch_;
  if (lost) open_watch();
  bool attached = false;
  for (auto& [ifindex, interface] : interfaces_) {
    if (!interface.failure || interface.kind == InterfaceKind::both) continue;
    attach(ifindex, interface);
    attached = attached || !interface.failure;
  }
  if (lost || attached || stale_ || !failures_.empty()) resolve_soon();
}

bool Interfaces::is_audited(unsigned ifindex) const {
  const auto* pod = pods_->by_interface(ifindex);
  return egress::is_audited(settings_.egress, pod ? pod->namespace_name : std::string());
}

std::vector<serving::InterfaceView> Interfaces::views() const {
  std::vector<serving::InterfaceView> views;
  for (const auto& [ifindex, interface] : interfaces_) {
    const bool ours = interface.kind == InterfaceKind::pod || interface.kind == InterfaceKind::uplink;
    if (!ours || interface.failure) continue;
    const auto* pod = pods_->by_interface(ifindex);
    views.push_back(
        {interface.name, ifindex, std::string(name_of(interface.kind)), pod ? pod->full_name() : std::string()});
  }
  return views;
}

std::vector<std::string> Interfaces::wrong() const {
  std::vector<std::string> wrong;
  for (const auto& [ifindex, interface] : interfaces_) {
    if (interface.failure) wrong.push_back(*interface.failure);
  }
  for (const auto& [what, failure] : failures_) wrong.push_back(failure);
  return wrong;
}

}  // namespace sluice::egress
