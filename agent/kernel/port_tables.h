// What is registered, by number: the maps `ports` and `destinations`, in two generations of which one is in force.
#pragma once

#include <vector>

#include "kernel/interception.h"
#include "kernel/tables.h"

namespace sluice::kernel {

class PortTables {
 public:
  explicit PortTables(const Tables& tables) : tables_(tables) {}

  // Each publishes both, as one generation. UDP rules that come before the first ports wait for them: until then what a
  // predecessor published stays in force as it is. On failure the generation in force stays, alone.
  Status set_ports(const std::vector<PortEntry>& entries);
  Status set_udp_rules(const std::vector<UdpRule>& rules);

 private:
  Status publish(const std::vector<PortEntry>& ports, const std::vector<UdpRule>& udp_rules);
  Status write(std::uint32_t generation, const std::vector<PortEntry>& ports, const std::vector<UdpRule>& udp_rules);
  Status write_entry(const sluice_port_key& key, const PortEntry& entry);
  Status write_destination(const sluice_port_key& key, const Cidr& addresses);
  // Removes every entry of any other generation, those that a crash left behind included.
  Status keep_only(std::uint32_t generation);

  const Tables& tables_;
  std::vector<PortEntry> ports_;
  std::vector<UdpRule> udp_rules_;
  bool published_ = false;  // by this process
  bool clean_ = false;      // there is nothing but the generation in force
};

}  // namespace sluice::kernel
