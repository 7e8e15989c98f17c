#include "kernel/port_tables.h"

#include <linux/membarrier.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sluice::kernel {
namespace {

sluice_port_key make_key(std::uint32_t generation, std::uint8_t protocol, std::uint16_t port) {
  return {.generation = generation, .port = port, .protocol = protocol, .zero = 0};
}

sluice_port make_port(std::uint8_t kind) {
  sluice_port port{};
  port.kind = kind;
  return port;
}

// Waits until no program is running that has read the generation before: it must find that one's entries.
void wait_for_running_programs() {
  ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

}  // namespace

Status PortTables::set_ports(const std::vector<PortEntry>& entries) {
  if (auto done = publish(entries, udp_rules_); !done) return done;
  ports_ = entries;
  published_ = true;
  return Done{};
}

Status PortTables::set_udp_rules(const std::vector<UdpRule>& rules) {
  if (published_) {
    if (auto done = publish(ports_, rules); !done) return done;
  }
  udp_rules_ = rules;
  return Done{};
}

Status PortTables::publish(const std::vector<PortEntry>& ports, const std::vector<UdpRule>& udp_rules) {
  const auto config = tables_.configs.find(0);
  if (!config) return Error("read map configs: it has no entry");
  const std::uint32_t current = config->generation;
  const std::uint32_t next = current + 1 == 0 ? 1 : current + 1;
  if (!clean_) {
    if (auto done = keep_only(current); !done) return done;
  }
  clean_ = false;
  auto done = write(next, ports, udp_rules);
  if (done) done = tables_.change_config([next](sluice_config& changed) { changed.generation = next; });
  if (done) wait_for_running_programs();
  // Whether the others could be removed does not change what is in force; the next publishing tries again.
  clean_ = keep_only(done ? next : current).ok();
  return done;
}

Status PortTables::write(std::uint32_t generation, const std::vector<PortEntry>& ports,
                         const std::vector<UdpRule>& udp_rules) {
  for (const auto& entry : ports) {
    if (auto done = write_entry(make_key(generation, IPPROTO_TCP, entry.rule.port), entry); !done) return done;
  }
  for (const auto& rule : udp_rules) {
    const auto key = make_key(generation, IPPROTO_UDP, rule.port);
    if (auto done = tables_.ports.put(key, make_port(SLUICE_PORT_BY_ADDRESS)); !done) return done;
    if (auto done = write_destination(key, rule.addresses); !done) return done;
  }
  return Done{};
}

Status PortTables::write_entry(const sluice_port_key& key, const PortEntry& entry) {
  auto port = make_port(entry.rule.any_address ? SLUICE_PORT_ANY_ADDRESS : SLUICE_PORT_BY_ADDRESS);
  port.way = entry.gated ? SLUICE_WAY_GATE : SLUICE_WAY_RELAY;
  port.opaque = entry.opaque ? 1 : 0;
  port.gateway = entry.gateway;
  if (auto done = tables_.ports.put(key, port); !done) return done;
  for (const auto& addresses : entry.rule.addresses) {
    if (auto done = write_destination(key, addresses); !done) return done;
  }
  return Done{};
}

Status PortTables::write_destination(const sluice_port_key& key, const Cidr& addresses) {
  constexpr unsigned port_bits = 8 * sizeof(sluice_port_key);
  return tables_.destinations.put(
      {.prefix_length = port_bits + addresses.mapped_length(), .port = key, .address = to_kernel(addresses.address())},
      1);
}

Status PortTables::keep_only(std::uint32_t generation) {
  for (const auto& key : tables_.ports.keys()) {
    if (key.generation == generation) continue;
    if (auto done = tables_.ports.remove(key); !done) return done;
  }
  for (const auto& key : tables_.destinations.keys()) {
    if (key.port.generation == generation) continue;
    if (auto done = tables_.destinations.remove(key); !done) return done;
  }
  return Done{};
}

}  // namespace sluice::kernel
