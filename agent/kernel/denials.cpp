#include "kernel/denials.h"

#include <cerrno>
#include <cstring>

#include "kernel/reasons.h"

namespace sluice::kernel {
namespace {

Endpoint to_endpoint(const sluice_address& address, std::uint16_t port) {
  return {from_kernel(address), port};
}

std::optional<Owner> to_owner(const std::optional<sluice_process>& process) {
  if (!process) return std::nullopt;
  return Owner{.pid = static_cast<std::int32_t>(process->pid),
               .comm = std::string(process->comm, ::strnlen(process->comm, sizeof process->comm)),
               .cgroup_id = process->cgroup_id};
}

}  // namespace

std::optional<Owner> find_owner(const Tables& tables, std::uint64_t cookie) {
  return cookie != 0 ? to_owner(tables.processes.find(cookie)) : std::nullopt;
}

std::optional<Owner> take_owner(const Tables& tables, std::uint64_t cookie) {
  return cookie != 0 ? to_owner(tables.processes.take(cookie)) : std::nullopt;
}

Result<std::unique_ptr<Denials>> Denials::open(const Tables& tables, const bpf_map* events) {
  std::unique_ptr<Denials> denials(new Denials(tables));
  denials->ring_.reset(::ring_buffer__new(::bpf_map__fd(events), &Denials::on_event, denials.get(), nullptr));
  if (!denials->ring_) return Error::from_errno("open the ring of events", errno);
  return denials;
}

std::size_t Denials::read(std::size_t limit, const std::function<void(const Denial&)>& each) {
  if (limit == 0) return 0;
  each_ = &each;
  left_ = limit;
  read_ = 0;
  ::ring_buffer__consume(ring_.get());
  each_ = nullptr;
  return read_;
}

// A negative result ends the reading after this event, which counts as read.
int Denials::on_event(void* self, void* data, std::size_t size) {
  auto* denials = static_cast<Denials*>(self);
  sluice_event event{};
  if (size >= sizeof event) {
    std::memcpy(&event, data, sizeof event);
    denials->handle(event);
  }
  return --denials->left_ == 0 ? -1 : 0;
}

void Denials::handle(const sluice_event& event) {
  const auto reason = reason_of(event.reason);
  if (!reason) return;
  ++read_;
  (*each_)(Denial{.ifindex = event.ifindex,
                  .source = to_endpoint(event.source, event.source_port),
                  .destination = to_endpoint(event.destination, event.destination_port),
                  .protocol = event.protocol,
                  .reason = *reason,
                  .audit = (event.flags & SLUICE_EVENT_AUDIT) != 0,
                  .guard = (event.flags & SLUICE_EVENT_GUARD) != 0,
                  .owner = find_owner(tables_, event.cookie)});
}

std::vector<DenialCount> Denials::take_counts() {
  std::vector<DenialCount> counts;
  for (const auto& key : tables_.denials.keys()) {
    const auto reason = reason_of(key.reason);
    const auto count = take(key);
    if (reason && count != 0) counts.push_back({.ifindex = key.ifindex, .reason = *reason, .count = count});
  }
  return counts;
}

std::uint64_t Denials::take(const sluice_denial_key& key) {
  const auto taken = tables_.denials_taken.find(key).value_or(0);
  if (!tables_.pods.find(key.ifindex)) {
    // In this order a crash in between repeats counts; in the other it would hide some.
    const auto removed = tables_.denials_taken.remove(key);
    return removed ? tables_.denials.take(key).value_or(taken) - taken : 0;
  }
  const auto total = tables_.denials.find(key).value_or(taken);
  if (total == taken || !tables_.denials_taken.put(key, total)) return 0;
  return total - taken;
}

}  // namespace sluice::kernel
