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

// Follows links, addresses, routes and rules of the network namespace it was opened in. Not thread-safe: one owner
// polls fd() and calls dispatch(). Handlers are called from open() and dispatch() only, and must not destroy the watch.
class NetlinkWatch {
 public:
  struct Handlers {
    std::function<void(const Link&)> link_added;  // also for a rename (same ifindex, new name)
    std::function<void(unsigned ifindex)> link_removed;
    std::function<void()> addresses_changed;
    std::function<void()> routes_changed;
  };
  // Subscribes first, then reports every existing link through link_added, so that none is missed.
  static Result<std::unique_ptr<NetlinkWatch>> open(Handlers handlers);
  ~NetlinkWatch();

  int fd() const;  // readable when dispatch() has work
  // Handles what is waiting. When the kernel dropped messages (ENOBUFS) everything is listed anew: links that vanished
  // are reported as removed, all others as added once more (one may have been replaced by another of the same number
  // and name).
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
// Addresses with a full-length route through `ifindex` (how CNIs route a pod to its veth), without the node's own;
// empty when there is no such interface.
Result<std::vector<IpAddress>> routed_addresses(unsigned ifindex);
// ip link's number for `name`; nullopt when there is none.
std::optional<unsigned> ifindex_of(const std::string& name);

inline constexpr std::uint32_t relay_table = 0x51ce;       // the routing table of relayed connections, ours alone
inline constexpr std::uint32_t relay_rule_priority = 100;  // before the main table, after local

// For both families: "ip rule fwmark VALUE/MASK lookup relay_table" and "ip route local default dev lo table
// relay_table", so that marked packets are delivered locally whatever their destination; and one priority later "ip
// rule fwmark VALUE/MASK unreachable", so that without that route (lo went down, someone flushed the table) they are
// refused at once and never reach the main table. Idempotent, and without a notification when nothing is missing. A lo
// that is down is an error: it is not ours to bring up. IPv6 may be absent from the kernel or disabled on lo.
Status add_relay_routes(std::uint32_t mark, std::uint32_t mask);
// Removes them. Fine when there are none.
Status remove_relay_routes(std::uint32_t mark, std::uint32_t mask);

}  // namespace sluice::net
