#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <netlink/route/route.h>
#include <netlink/route/rule.h>

#include <cerrno>

#include "net/netlink.h"
#include "net/netlink_socket.h"

namespace sluice::net {
namespace {

struct RuleFree {
  void operator()(rtnl_rule* rule) const { rtnl_rule_put(rule); }
};
struct RouteFree {
  void operator()(rtnl_route* route) const { rtnl_route_put(route); }
};
struct AddressFree {
  void operator()(nl_addr* address) const { nl_addr_put(address); }
};
using Rule = std::unique_ptr<rtnl_rule, RuleFree>;
using Route = std::unique_ptr<rtnl_route, RouteFree>;

constexpr int families[] = {AF_INET, AF_INET6};
constexpr int max_duplicates = 64;  // of one rule, when taking away

const char* family_name(int family) {
  return family == AF_INET ? "IPv4" : "IPv6";
}

// A kernel without IPv6 (ipv6.disable=1) has no IPv6 packets to route either.
bool family_is_absent(int family, int error) {
  return family == AF_INET6 && error == EAFNOSUPPORT;
}

// What happens to marked packets that `Rule` finds: FR_ACT_TO_TBL or FR_ACT_UNREACHABLE.
Rule make_rule(int family, std::uint32_t mark, std::uint32_t mask, std::uint8_t action) {
  Rule rule(rtnl_rule_alloc());
  if (!rule) return rule;
  rtnl_rule_set_family(rule.get(), family);
  rtnl_rule_set_mark(rule.get(), mark);
  rtnl_rule_set_mask(rule.get(), mask);
  rtnl_rule_set_action(rule.get(), action);
  if (action == FR_ACT_TO_TBL) {
    rtnl_rule_set_prio(rule.get(), relay_rule_priority);
    rtnl_rule_set_table(rule.get(), relay_table);
  } else {
    rtnl_rule_set_prio(rule.get(), relay_rule_priority + 1);
  }
  return rule;
}

// "local default dev lo table relay_table"
Route make_route(int family) {
  const auto lo = ifindex_of("lo");
  const std::unique_ptr<nl_addr, AddressFree> any(nl_addr_build(family, nullptr, 0));
  Route route(rtnl_route_alloc());
  auto* hop = rtnl_route_nh_alloc();
  if (!lo || !any || !route || hop == nullptr) {
    if (hop != nullptr) rtnl_route_nh_free(hop);
    return nullptr;
  }
  rtnl_route_set_family(route.get(), static_cast<std::uint8_t>(family));
  rtnl_route_set_table(route.get(), relay_table);
  rtnl_route_set_type(route.get(), RTN_LOCAL);
  rtnl_route_set_scope(route.get(), RT_SCOPE_HOST);
  rtnl_route_set_dst(route.get(), any.get());
  rtnl_route_nh_set_ifindex(hop, static_cast<int>(*lo));
  rtnl_route_add_nexthop(route.get(), hop);  // takes it over
  return route;
}

int send(nl_sock* socket, nl_msg* request) {
  const NetlinkMessage owned(request);
  return exchange(socket, request, [](nlmsghdr*) {});
}

int add_rule(nl_sock* socket, rtnl_rule* rule) {
  nl_msg* request = nullptr;
  if (rule == nullptr || rtnl_rule_build_add_request(rule, NLM_F_EXCL, &request) < 0) return ENOMEM;
  const int error = send(socket, request);
  return error == EEXIST ? 0 : error;
}

int delete_rule(nl_sock* socket, rtnl_rule* rule) {
  for (int i = 0; i < max_duplicates; ++i) {
    nl_msg* request = nullptr;
    if (rule == nullptr || rtnl_rule_build_delete_request(rule, 0, &request) < 0) return ENOMEM;
    const int error = send(socket, request);
    if (error != 0) return error == ENOENT ? 0 : error;
  }
  return EEXIST;
}

// Whether the relay table already delivers locally. Asked first, because the kernel announces a replaced IPv6 route
// even when nothing changed, and whoever keeps the routes in place listens to that.
int find_route(nl_sock* socket, int family, bool& found) {
  rtmsg header{};
  header.rtm_family = static_cast<unsigned char>(family);
  const auto request = make_message(RTM_GETROUTE, NLM_F_DUMP, header);
  if (!request || nla_put_u32(request.get(), RTA_TABLE, relay_table) < 0) return ENOMEM;
  const auto lo = ifindex_of("lo");
  const int error = exchange(socket, request.get(), [&](nlmsghdr* reply) {
    const auto* route = header_of<rtmsg>(reply);
    if (route == nullptr || route->rtm_type != RTN_LOCAL || route->rtm_dst_len != 0) return;
    const auto attributes = attributes_of<rtmsg, RTA_MAX>(reply);
    found |= number_of(attributes[RTA_TABLE]) == relay_table && number_of(attributes[RTA_OIF]) == lo;
  });
  return error == ENOENT ? 0 : error;  // no such table yet
}

int add_route(nl_sock* socket, int family) {
  bool found = false;
  if (const int error = find_route(socket, family, found); error != 0 || found) return error;
  const auto route = make_route(family);
  nl_msg* request = nullptr;
  if (!route || rtnl_route_build_add_request(route.get(), NLM_F_REPLACE, &request) < 0) return ENOMEM;
  return send(socket, request);
}

int delete_route(nl_sock* socket, int family) {
  const auto route = make_route(family);
  nl_msg* request = nullptr;
  if (!route || rtnl_route_build_del_request(route.get(), 0, &request) < 0) return ENOMEM;
  const int error = send(socket, request);
  return error == ESRCH || error == ENOENT ? 0 : error;
}

Error failure(const char* what, int family, int error) {
  const auto text = std::string("netlink: ") + what + " for " + family_name(family);
  if (error == ENETDOWN)
    return Error(text + ": interface lo is down, and relayed connections end there: ip link set lo up");
  if (error == EPERM) return Error(text + ": not permitted: run with CAP_NET_ADMIN");
  return Error::from_errno(text, error);
}

Status add_for_family(nl_sock* socket, int family, std::uint32_t mark, std::uint32_t mask) {
  // In this order: from the first step on, a marked packet is refused rather than sent out by the main table.
  if (int error = add_rule(socket, make_rule(family, mark, mask, FR_ACT_UNREACHABLE).get())) {
    if (family_is_absent(family, error)) return Done{};
    return failure("add relay guard rule", family, error);
  }
  if (int error = add_rule(socket, make_rule(family, mark, mask, FR_ACT_TO_TBL).get())) {
    return failure("add relay rule", family, error);
  }
  const int error = add_route(socket, family);
  // Where IPv6 is switched off on lo (net.ipv6.conf.*.disable_ipv6) there is nothing to relay; the guard rule stays.
  if (error == 0 || (family == AF_INET6 && error == EACCES)) return Done{};
  return failure("add relay route", family, error);
}

Status remove_for_family(nl_sock* socket, int family, std::uint32_t mark, std::uint32_t mask) {
  for (const auto action : {FR_ACT_TO_TBL, FR_ACT_UNREACHABLE}) {
    const auto rule = make_rule(family, mark, mask, static_cast<std::uint8_t>(action));
    const int error = delete_rule(socket, rule.get());
    if (family_is_absent(family, error)) return Done{};
    if (error != 0) return failure("remove relay rule", family, error);
  }
  if (const int error = delete_route(socket, family)) return failure("remove relay route", family, error);
  return Done{};
}

template <typename Step>
Status for_each_family(Step step) {
  auto socket = open_netlink_socket();
  if (!socket) return socket.error();
  for (const int family : families) {
    if (auto done = step(socket->get(), family); !done) return done;
  }
  return Done{};
}

}  // namespace

Status add_relay_routes(std::uint32_t mark, std::uint32_t mask) {
  return for_each_family([&](nl_sock* socket, int family) { return add_for_family(socket, family, mark, mask); });
}

Status remove_relay_routes(std::uint32_t mark, std::uint32_t mask) {
  return for_each_family([&](nl_sock* socket, int family) { return remove_for_family(socket, family, mark, mask); });
}

}  // namespace sluice::net
