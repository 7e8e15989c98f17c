// Links, addresses, routes and rules of this network namespace, by libnl (its only user).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::net {

struct Link {
  unsigned ifindex = 0;
  std::string name;
  bool operator==(const Link&) const = default;
};

// Follows links and addresses. Not thread-safe: one owner polls fd() and calls dispatch().
class NetlinkWatch {
 public:
  struct Handlers {
    std::function<void(const Link&)> link_added;    // also for a rename (same ifindex, new name)
    std::function<void(unsigned ifindex)> link_removed;
    std::function<void()> addresses_changed;
    std::function<void()> routes_changed;
  };
  // Subscribes first, then reports every existing link through link_added, so that none is missed.
  static Result<std::unique_ptr<NetlinkWatch>> open(Handlers handlers);
  ~NetlinkWatch();

  int fd() const;       // readable when dispatch() has work
  // Handles what is waiting. When the kernel dropped messages (ENOBUFS) everything is listed anew.
  Status dispatch();

 private:
  struct State;
  explicit NetlinkWatch(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Every address of this namespace's interfaces, as full-length prefixes.
Result<std::vector<Cidr>> local_addresses();
// The interface that packets to `address` leave by; nullopt when there is no route.
Result<std::optional<unsigned>> route_interface(const IpAddress& address);
// Addresses with a full-length route through `ifindex` (how CNIs route a pod to its veth).
Result<std::vector<IpAddress>> routed_addresses(unsigned ifindex);
// ip link's number for `name`; nullopt when there is none.
std::optional<unsigned> ifindex_of(const std::string& name);

inline constexpr std::uint32_t relay_table = 0x51ce;       // the routing table of relayed connections
inline constexpr std::uint32_t relay_rule_priority = 100;  // before the main table, after local

// For both families: "ip rule fwmark VALUE/MASK lookup relay_table" and "ip route local default dev lo table relay_table",
// so that marked packets are delivered locally whatever their destination. Idempotent.
Status add_relay_routes(std::uint32_t mark, std::uint32_t mask);
// Removes them. Fine when there are none.
Status remove_relay_routes(std::uint32_t mark, std::uint32_t mask);

}  // namespace sluice::net
