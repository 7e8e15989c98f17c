// Ports by what decides on them, per export scope; and the ports of one service by number. Services with the same ports
// share one list, so that a lookup by name ends in memory that the last one has used.
#pragma once

#include <cstdint>
#include <vector>

#include "policy/export_scope.h"
#include "policy/service.h"

namespace sluice {

// What a call to a registered port is matched by: the name in TLS, the name in HTTP, nothing but the port (TCP without
// addresses), or the destination address (TCP with addresses).
enum class PortKind : std::uint8_t { tls, http, tcp_anywhere, tcp_by_address };
PortKind kind_of(const Service& service, const ServicePort& port);

// A set of kinds.
using PortKinds = std::uint8_t;
constexpr PortKinds only(PortKind kind) {
  return static_cast<PortKinds>(1U << static_cast<unsigned>(kind));
}
inline constexpr PortKinds any_kind = 0xf;

// The ports of a service: numbers and kinds, as it lists them.
using PortList = std::uint32_t;

class PortIndex {
 public:
  // `services` are sorted from the oldest on.
  PortIndex(const std::vector<Service>& services, const ExportScopes& scopes);

  // The oldest service in sight with `port` of that kind.
  struct Entry {
    std::uint32_t key = 0;
    Scope scope = 0;
    std::uint32_t service = 0;
  };
  const Entry* find(std::uint16_t port, PortKind kind, const Sight& sight) const;

  PortList list_of(std::uint32_t service) const { return list_of_service_[service]; }
  // Where in such a list the first port with this number and one of `kinds` stands.
  static constexpr std::uint32_t absent = UINT32_MAX;
  std::uint32_t find_in(PortList list, std::uint16_t port, PortKinds kinds) const;

  // Heap bytes.
  std::size_t bytes() const;

 private:
  struct Position {
    std::uint32_t key = 0;
    std::uint32_t index = 0;
  };

  // Appends a list with those keys.
  void add_list(const std::vector<std::uint32_t>& keys);

  std::vector<Entry> entries_;  // by key, scope
  std::vector<PortList> list_of_service_;
  std::vector<Position> positions_;       // by list, key
  std::vector<std::uint32_t> list_ends_;  // of each list's part of positions_
};

}  // namespace sluice
