#include "kernel/tables.h"

#include <algorithm>

#include "kernel/skeletons.h"

namespace sluice::kernel {

Tables::Tables(const gate_bpf& gate)
    : configs(gate.maps.configs),
      heartbeats(gate.maps.heartbeats),
      pods(gate.maps.pods),
      links(gate.maps.links),
      internals(gate.maps.internals),
      ports(gate.maps.ports),
      destinations(gate.maps.destinations),
      listeners(gate.maps.listeners),
      conns(gate.maps.conns),
      processes(gate.maps.processes),
      denials(gate.maps.denials),
      denials_taken(gate.maps.denials_taken),
      budgets(gate.maps.budgets),
      loads(gate.maps.loads) {}

sluice_address to_kernel(const IpAddress& address) {
  sluice_address out{};
  std::copy(address.bytes().begin(), address.bytes().end(), out.bytes);
  return out;
}

IpAddress from_kernel(const sluice_address& address) {
  IpAddress::Bytes bytes{};
  std::copy(std::begin(address.bytes), std::end(address.bytes), bytes.begin());
  return IpAddress(bytes);
}

std::optional<Owner> to_owner(const sluice_process& process) {
  if (process.pid == 0) return std::nullopt;
  return Owner{.pid = static_cast<std::int32_t>(process.pid),
               .comm = std::string(process.comm, ::strnlen(process.comm, sizeof process.comm)),
               .cgroup_id = process.cgroup_id};
}

}  // namespace sluice::kernel
