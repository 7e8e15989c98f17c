#include "kernel/interception.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/clock.h"
#include "base/fd.h"
#include "kernel/bpffs.h"
#include "kernel/denials.h"
#include "kernel/interfaces.h"
#include "kernel/internal_table.h"
#include "kernel/links.h"
#include "kernel/listener_table.h"
#include "kernel/pins.h"
#include "kernel/port_tables.h"
#include "kernel/programs.h"
#include "kernel/skeletons.h"
#include "kernel/tables.h"

namespace sluice::kernel {
namespace {

// A directory or namespace file, with the number by which the kernel names it.
struct Place {
  UniqueFd fd;
  std::uint64_t id;
};

Result<Place> open_place(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info{};
  if (!fd || ::fstat(fd.get(), &info) != 0) return Error::from_errno(fmt::format("open {}", path), errno);
  return Place{std::move(fd), info.st_ino};
}

Status set_flag(const Tables& tables, std::uint32_t flag, bool value) {
  return tables.change_config(
      [=](sluice_config& config) { config.flags = (config.flags & ~flag) | (value ? flag : 0); });
}

}  // namespace

struct Interception::State {
  State(UniqueFd held, Programs loaded, const std::string& bpffs)
      : lock(std::move(held)), programs(std::move(loaded)), tables(*programs.gate), links(links_directory(bpffs)) {}

  Status attach_to_namespace() const;
  Status attach_to_cgroup(const std::string& cgroup) const;

  UniqueFd lock;
  Programs programs;
  Tables tables;
  PinnedLinks links;
  Interfaces interfaces{*programs.gate, tables, links};
  PortTables ports{tables};
  std::unique_ptr<Denials> denials;
  std::unique_ptr<Flows> flows;
};

Status Interception::State::attach_to_namespace() const {
  const auto place = open_place("/proc/thread-self/ns/net");
  if (!place) return place.error();
  const auto before = links.target_id("choose_listener");
  if (!before) return before.error();
  if (before->value_or(0) != 0 && *before != place->id) {
    return Error(
        fmt::format("what is pinned belongs to another network namespace (net:[{}], this one is net:[{}]): use "
                    "another bpffs directory, or run `sluice detach` first",
                    **before, place->id));
  }
  return links.ensure("choose_listener", ::bpf_program__fd(programs.gate->progs.choose_listener),
                      {BPF_SK_LOOKUP, place->fd.get(), place->id});
}

Status Interception::State::attach_to_cgroup(const std::string& cgroup) const {
  struct Hook {
    const char* link;
    const bpf_program* program;
    bpf_attach_type type;
  };
  const auto& progs = programs.identity->progs;
  const Hook hooks[] = {{"note_connect4", progs.note_connect4, BPF_CGROUP_INET4_CONNECT},
                        {"note_connect6", progs.note_connect6, BPF_CGROUP_INET6_CONNECT},
                        {"note_socket", progs.note_socket, BPF_CGROUP_SOCK_OPS}};
  if (cgroup.empty()) {
    for (const auto& hook : hooks) {
      if (auto done = links.remove(hook.link); !done) return done;
    }
    return Done{};
  }
  const auto place = open_place(cgroup);
  if (!place) return place.error().in("cgroup");
  for (const auto& hook : hooks) {
    const Target target = {hook.type, place->fd.get(), place->id};
    if (auto done = links.ensure(hook.link, ::bpf_program__fd(hook.program), target); !done) {
      return done.error().in(fmt::format("cgroup {} (is it of cgroup2?)", cgroup));
    }
  }
  return Done{};
}

Result<std::unique_ptr<Interception>> Interception::open(const Options& options) {
  const auto where = [&](const Error& error) { return error.in(fmt::format("interception ({})", options.bpffs)); };
  if (auto done = make_pin_directory(options.bpffs); !done) return where(done.error());
  auto lock = lock_pin_directory(options.bpffs);
  if (!lock) return where(lock.error());
  if (auto done = make_pin_directories(options.bpffs); !done) return where(done.error());
  auto programs = load_programs(maps_directory(options.bpffs));
  if (!programs) return where(programs.error());

  auto state = std::make_unique<State>(std::move(*lock), std::move(*programs), options.bpffs);
  if (auto done = state->attach_to_namespace(); !done) return where(done.error());
  if (auto done = state->interfaces.take_over(); !done) return where(done.error());
  if (auto done = state->attach_to_cgroup(options.cgroup); !done) return where(done.error());
  if (auto done = set_flag(state->tables, SLUICE_RELEASED, options.release); !done) return where(done.error());
  auto denials = Denials::open(state->tables, state->programs.gate->maps.events);
  if (!denials) return where(denials.error());
  state->denials = std::move(*denials);
  auto flows = Flows::open(*state->programs.gate);
  if (!flows) return where(flows.error());
  state->flows = std::move(*flows);
  return std::unique_ptr<Interception>(new Interception(std::move(state)));
}

Interception::Interception(std::unique_ptr<State> state) : state_(std::move(state)) {}
Interception::~Interception() = default;

Status Interception::attach_pod(unsigned ifindex, const std::string& name) {
  return state_->interfaces.attach_pod(ifindex, name);
}

Status Interception::attach_uplink(unsigned ifindex, const std::string& name) {
  return state_->interfaces.attach_uplink(ifindex, name);
}

Status Interception::forget(unsigned ifindex) {
  return state_->interfaces.forget(ifindex);
}

Status Interception::note_other(unsigned ifindex, const std::string& name) {
  return state_->interfaces.note_other(ifindex, name);
}

std::vector<AttachedInterface> Interception::attached() const {
  return state_->interfaces.attached();
}

Status Interception::set_pod(unsigned ifindex, const PodInterface& pod) {
  if (pod.addresses.size() > SLUICE_POD_ADDRESSES) {
    return Error(fmt::format("pod interface {} has {} addresses, at most {} can be checked", ifindex,
                             pod.addresses.size(), static_cast<int>(SLUICE_POD_ADDRESSES)));
  }
  sluice_pod entry{};
  entry.flags = pod.audit ? SLUICE_POD_AUDIT : 0;
  entry.address_count = static_cast<std::uint32_t>(pod.addresses.size());
  std::transform(pod.addresses.begin(), pod.addresses.end(), entry.addresses, to_kernel);
  return state_->tables.pods.put(ifindex, entry);
}

Status Interception::set_internal(const std::vector<Cidr>& internal, const std::vector<Cidr>& except) {
  return write_internals(state_->tables, internal, except);
}

Status Interception::set_udp_rules(const std::vector<UdpRule>& rules) {
  return state_->ports.set_udp_rules(rules);
}

Status Interception::set_ports(const std::vector<PortEntry>& entries) {
  return state_->ports.set_ports(entries);
}

Status Interception::set_flow_limits(const FlowLimits& limits) {
  return state_->tables.change_config([&](sluice_config& config) {
    config.flows = limits.flows;
    config.flows_per_pod = limits.flows_per_pod;
    config.flows_per_second = limits.flows_per_second;
    config.flows_per_second_per_pod = limits.flows_per_second_per_pod;
  });
}

Status Interception::attach_helper(unsigned ifindex) {
  return state_->links.ensure("helper-inject", ::bpf_program__fd(state_->programs.gate->progs.inject),
                              tcx_egress(ifindex));
}

Flows& Interception::flows() {
  return *state_->flows;
}

Status Interception::set_inbound_replies(bool allowed) {
  return set_flag(state_->tables, SLUICE_INBOUND_REPLIES, allowed);
}

Status Interception::set_listeners(std::span<const int> v4, std::span<const int> v6) {
  return write_listeners(state_->tables, v4, v6);
}

void Interception::beat() {
  // An array's only entry can be written; were it not, the programs would refuse, which is what a missed beat is for.
  static_cast<void>(state_->tables.heartbeats.put(0, monotonic_ns()));
}

int Interception::events_fd() const {
  return state_->denials->fd();
}

std::size_t Interception::read_denials(std::size_t limit, const std::function<void(const Denial&)>& each) {
  return state_->denials->read(limit, each);
}

std::vector<DenialCount> Interception::take_counts() {
  return state_->denials->take_counts();
}

std::optional<Owner> Interception::take_owner(const Endpoint& source, const Endpoint& destination) const {
  sluice_tuple tuple{};
  tuple.source = to_kernel(source.address);
  tuple.destination = to_kernel(destination.address);
  tuple.source_port = source.port;
  tuple.destination_port = destination.port;
  tuple.protocol = IPPROTO_TCP;
  const auto cookie = state_->tables.conns.take(tuple);
  return cookie ? kernel::take_owner(state_->tables, *cookie) : std::nullopt;
}

RelayMark relay_mark() {
  return {SLUICE_MARK_RELAY, SLUICE_MARK_MASK};
}

}  // namespace sluice::kernel
