#include "kernel/interfaces.h"

#include <fmt/format.h>
#include <net/if.h>

#include <array>
#include <charconv>
#include <optional>

#include "kernel/skeletons.h"

namespace sluice::kernel {
namespace {

constexpr const char* from_pod = "from_pod";
constexpr const char* to_pod = "to_pod";
constexpr const char* uplink_guard = "uplink_guard";

std::string link_name(unsigned ifindex, const char* program) {
  return fmt::format("{}-{}", ifindex, program);
}

struct InterfaceLink {
  unsigned ifindex;
  const char* program;
};

// The inverse of link_name(); nullopt for links that are not an interface's.
std::optional<InterfaceLink> parse_link(const std::string& name) {
  unsigned ifindex = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), ifindex);
  if (error != std::errc{}) return std::nullopt;
  for (const char* program : {from_pod, to_pod, uplink_guard}) {
    if (name == link_name(ifindex, program)) return InterfaceLink{ifindex, program};
  }
  return std::nullopt;
}

std::string name_of(unsigned ifindex) {
  std::array<char, IF_NAMESIZE> name{};
  return ::if_indextoname(ifindex, name.data()) != nullptr ? name.data() : std::string();
}

}  // namespace

Status Interfaces::take_over() {
  for (const auto& link : links_.names()) {
    if (auto done = take_over_link(link); !done) return done;
  }
  for (const auto ifindex : tables_.pods.keys()) {
    if (attached_.contains(ifindex)) continue;
    if (auto done = clear_entries(ifindex); !done) return done;
  }
  for (const auto ifindex : tables_.links.keys()) {
    if (attached_.contains(ifindex)) continue;
    const auto name = name_of(ifindex);
    if (tables_.links.find(ifindex) == SLUICE_LINK_OTHER && !name.empty()) {
      attached_[ifindex] = {ifindex, name, InterfaceRole::other};
    } else if (auto done = clear_entries(ifindex); !done) {
      return done;
    }
  }
  return Done{};
}

Status Interfaces::take_over_link(const std::string& link) {
  const auto found = parse_link(link);
  if (!found) return Done{};
  const auto alive = is_attached(found->ifindex, found->program);
  if (!alive) return alive.error();
  if (!*alive) return links_.remove(link);
  const auto role = found->program == uplink_guard ? InterfaceRole::uplink : InterfaceRole::pod;
  attached_[found->ifindex] = {found->ifindex, name_of(found->ifindex), role};
  return attach(found->ifindex, found->program);
}

Status Interfaces::attach_pod(unsigned ifindex, const std::string& name) {
  const auto alive = is_attached(ifindex, from_pod);
  if (!alive) return alive.error().in(name);
  if (!*alive) {
    // What is known of an earlier interface of this number says nothing about this one.
    if (auto done = clear_entries(ifindex); !done) return done.error().in(name);
  }
  const auto known = tables_.pods.find(ifindex);
  if (auto done = tables_.pods.put(ifindex, known.value_or(sluice_pod{})); !done) return done.error().in(name);
  if (auto done = attach(ifindex, from_pod); !done) return done.error().in(name);
  if (auto done = attach(ifindex, to_pod); !done) return done.error().in(name);
  if (auto done = remove_link(ifindex, uplink_guard); !done) return done.error().in(name);
  if (auto done = tables_.links.remove(ifindex); !done) return done.error().in(name);
  attached_[ifindex] = {ifindex, name, InterfaceRole::pod};
  return Done{};
}

Status Interfaces::attach_uplink(unsigned ifindex, const std::string& name) {
  if (auto done = attach(ifindex, uplink_guard); !done) return done.error().in(name);
  if (auto done = tables_.links.put(ifindex, SLUICE_LINK_UPLINK); !done) return done.error().in(name);
  for (const char* program : {to_pod, from_pod}) {
    if (auto done = remove_link(ifindex, program); !done) return done.error().in(name);
  }
  if (auto done = tables_.pods.remove(ifindex); !done) return done.error().in(name);
  attached_[ifindex] = {ifindex, name, InterfaceRole::uplink};
  return Done{};
}

Status Interfaces::note_other(unsigned ifindex, const std::string& name) {
  for (const char* program : {to_pod, from_pod, uplink_guard}) {
    if (auto done = remove_link(ifindex, program); !done) return done.error().in(name);
  }
  if (auto done = tables_.pods.remove(ifindex); !done) return done.error().in(name);
  if (auto done = tables_.links.put(ifindex, SLUICE_LINK_OTHER); !done) return done.error().in(name);
  attached_[ifindex] = {ifindex, name, InterfaceRole::other};
  return Done{};
}

Status Interfaces::forget(unsigned ifindex) {
  for (const char* program : {to_pod, from_pod, uplink_guard}) {
    if (auto done = remove_link(ifindex, program); !done) return done;
  }
  if (auto done = clear_entries(ifindex); !done) return done;
  attached_.erase(ifindex);
  return Done{};
}

std::vector<AttachedInterface> Interfaces::attached() const {
  std::vector<AttachedInterface> list;
  list.reserve(attached_.size());
  for (const auto& [ifindex, interface] : attached_) list.push_back(interface);
  return list;
}

Status Interfaces::attach(unsigned ifindex, const char* program) {
  const auto name = link_name(ifindex, program);
  if (program == from_pod) {
    return links_.ensure(name, ::bpf_program__fd(gate_.progs.from_pod), tcx_ingress(ifindex));
  }
  const auto* egress = program == to_pod ? gate_.progs.to_pod : gate_.progs.uplink_guard;
  return links_.ensure(name, ::bpf_program__fd(egress), tcx_egress(ifindex));
}

Status Interfaces::remove_link(unsigned ifindex, const char* program) const {
  return links_.remove(link_name(ifindex, program));
}

Result<bool> Interfaces::is_attached(unsigned ifindex, const char* program) const {
  const auto id = links_.target_id(link_name(ifindex, program));
  if (!id) return id.error();
  return *id == ifindex;
}

Status Interfaces::clear_entries(unsigned ifindex) const {
  if (auto done = tables_.pods.remove(ifindex); !done) return done;
  if (auto done = tables_.links.remove(ifindex); !done) return done;
  if (auto done = tables_.loads.remove(ifindex); !done) return done;
  return tables_.budgets.remove(ifindex);
}

}  // namespace sluice::kernel
