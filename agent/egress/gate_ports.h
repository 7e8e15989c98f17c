// Which ports the gate takes: those whose calls are all TLS or opaque TCP and all lead to the same addresses, so that
// where a connection goes is known before its name is.
#pragma once

#include <cstdint>
#include <vector>

#include "kernel/interception.h"
#include "policy/snapshot.h"
#include "settings/settings.h"

namespace sluice::egress {

// Numbers gateway `index` of the settings, for gateways whose addresses have no port of their own with port `port`.
constexpr std::uint32_t gateway_number(std::size_t index, std::uint16_t port) {
  return static_cast<std::uint32_t>(index) << 16 | port;
}
constexpr std::size_t gateway_index(std::uint32_t number) {
  return number >> 16;
}
constexpr std::uint16_t gateway_default_port(std::uint32_t number) {
  return static_cast<std::uint16_t>(number & 0xffff);
}

// What is registered by `snapshot`, port by port, with the way of each.
std::vector<kernel::PortEntry> port_entries(const Snapshot& snapshot, const settings::Egress& settings);

}  // namespace sluice::egress
