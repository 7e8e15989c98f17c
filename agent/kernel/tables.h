// The maps of bpf/maps.h that the agent reads and writes, typed.
#pragma once

#include <cstdint>
#include <optional>

#include "base/ip.h"
#include "bpf/abi.h"
#include "kernel/owner.h"
#include "kernel/table.h"

struct gate_bpf;

namespace sluice::kernel {

struct Tables {
  explicit Tables(const gate_bpf& gate);

  Table<std::uint32_t, sluice_config> configs;
  Table<std::uint32_t, std::uint64_t> heartbeats;
  Table<std::uint32_t, sluice_pod> pods;
  Table<std::uint32_t, std::uint8_t> links;
  Table<sluice_internal_key, std::uint8_t> internals;
  Table<sluice_port_key, sluice_port> ports;
  Table<sluice_destination_key, std::uint8_t> destinations;
  Table<std::uint32_t, std::uint64_t> listeners;
  Table<sluice_tuple, std::uint64_t> conns;
  Table<std::uint64_t, sluice_process> processes;
  Table<sluice_denial_key, std::uint64_t> denials;
  Table<sluice_denial_key, std::uint64_t> denials_taken;
  Table<std::uint32_t, std::uint64_t> budgets;
  Table<std::uint32_t, sluice_load> loads;

  // Changes configs[0], of which this process is the only writer.
  template <typename Change>
  Status change_config(Change change) const {
    auto config = configs.find(0);
    if (!config) return Error("read map configs: it has no entry");
    change(*config);
    return configs.put(0, *config);
  }
};

sluice_address to_kernel(const IpAddress& address);
IpAddress from_kernel(const sluice_address& address);
// nullopt: unknown.
std::optional<Owner> to_owner(const sluice_process& process);

}  // namespace sluice::kernel
