#include "kernel/denials.h"

#include <cstring>

#include "kernel/reasons.h"

namespace sluice::kernel {
namespace {

Endpoint to_endpoint(const sluice_address& address, std::uint16_t port) {
  return {from_kernel(address), port};
}

}  // namespace

std::optional<Owner> find_owner(const Tables& tables, std::uint64_t cookie) {
  const auto process = cookie != 0 ? tables.processes.find(cookie) : std::nullopt;
  return process ? to_owner(*process) : std::nullopt;
}

std::optional<Owner> take_owner(const Tables& tables, std::uint64_t cookie) {
  const auto process = cookie != 0 ? tables.processes.take(cookie) : std::nullopt;
  return process ? to_owner(*process) : std::nullopt;
}

Result<std::unique_ptr<Denials>> Denials::open(const Tables& tables, const bpf_map* events) {
  auto ring = Ring::open(events, "events");
  if (!ring) return ring.error();
  std::unique_ptr<Denials> denials(new Denials(tables));
  denials->ring_ = std::move(*ring);
  return denials;
}

std::size_t Denials::read(std::size_t limit, const std::function<void(const Denial&)>& each) {
  return ring_->read(limit, [&](ByteSpan item) {
    sluice_event event{};
    if (item.size() < sizeof event) return false;
    std::memcpy(&event, item.data(), sizeof event);
    const auto reason = reason_of(event.reason);
    if (!reason) return false;
    each(Denial{.ifindex = event.ifindex,
                .source = to_endpoint(event.source, event.source_port),
                .destination = to_endpoint(event.destination, event.destination_port),
                .protocol = event.protocol,
                .reason = *reason,
                .audit = (event.flags & SLUICE_EVENT_AUDIT) != 0,
                .guard = (event.flags & SLUICE_EVENT_GUARD) != 0,
                .owner = find_owner(tables_, event.cookie)});
    return true;
  });
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
