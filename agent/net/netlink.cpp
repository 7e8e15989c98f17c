#include "net/netlink.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "net/netlink_socket.h"

namespace sluice::net {
namespace {

std::optional<IpAddress> address_of(const nlattr* attribute) {
  return attribute == nullptr ? std::nullopt : IpAddress::from_bytes(bytes_of(attribute));
}

Cidr full_prefix(const IpAddress& address) {
  return *Cidr::make(address, address.is_v4() ? 32 : 128);
}

}  // namespace

Result<std::vector<Cidr>> local_addresses() {
  const auto request = make_message(RTM_GETADDR, NLM_F_DUMP, ifaddrmsg{});
  if (!request) return Error("netlink: out of memory");
  std::set<Cidr> found;
  const int error = dump(
      request.get(), [&] { found.clear(); },
      [&](nlmsghdr* reply) {
        const auto attributes = attributes_of<ifaddrmsg, IFA_MAX>(reply);
        // With a peer, IFA_ADDRESS is the peer's and IFA_LOCAL is ours.
        auto address = address_of(attributes[IFA_LOCAL]);
        if (!address) address = address_of(attributes[IFA_ADDRESS]);
        if (address) found.insert(full_prefix(*address));
      });
  if (error != 0) return Error::from_errno("netlink: list addresses", error);
  return std::vector<Cidr>(found.begin(), found.end());
}

Result<std::optional<unsigned>> route_interface(const IpAddress& address) {
  const auto bytes = address.native();
  rtmsg header{};
  header.rtm_family = address.is_v4() ? AF_INET : AF_INET6;
  header.rtm_dst_len = static_cast<unsigned char>(bytes.size() * 8);
  const auto request = make_message(RTM_GETROUTE, 0, header);
  if (!request || nla_put(request.get(), RTA_DST, static_cast<int>(bytes.size()), bytes.data()) < 0) {
    return Error("netlink: out of memory");
  }
  auto socket = open_netlink_socket();
  if (!socket) return socket.error();
  std::optional<unsigned> interface;
  const int error = exchange(socket->get(), request.get(), [&](nlmsghdr* reply) {
    if (const auto ifindex = number_of(attributes_of<rtmsg, RTA_MAX>(reply)[RTA_OIF])) interface = ifindex;
  });
  switch (error) {
    case 0:
      return interface;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EACCES:  // a "prohibit" route
    case EINVAL:  // a "blackhole" route
      return std::optional<unsigned>();
    default:
      return Error::from_errno("netlink: look up route to " + address.to_string(), error);
  }
}

Result<std::vector<IpAddress>> routed_addresses(unsigned ifindex) {
  const auto request = make_message(RTM_GETROUTE, NLM_F_DUMP, rtmsg{});
  if (!request || nla_put_u32(request.get(), RTA_OIF, ifindex) < 0) return Error("netlink: out of memory");
  std::set<IpAddress> routed;
  std::set<IpAddress> own;  // IPv6 gives the interface's own full-length addresses a route, too
  const int error = dump(
      request.get(),
      [&] {
        routed.clear();
        own.clear();
      },
      [&](nlmsghdr* reply) {
        const auto* route = header_of<rtmsg>(reply);
        if (route == nullptr || (route->rtm_flags & RTM_F_CLONED) != 0) return;
        const auto attributes = attributes_of<rtmsg, RTA_MAX>(reply);
        const auto address = address_of(attributes[RTA_DST]);
        if (!address || route->rtm_dst_len != address->native().size() * 8) return;
        if (number_of(attributes[RTA_OIF]) != ifindex) return;
        if (route->rtm_type == RTN_UNICAST) routed.insert(*address);
        if (route->rtm_type == RTN_LOCAL) own.insert(*address);
      });
  if (error != 0 && error != ENODEV) return Error::from_errno("netlink: list routes", error);
  std::vector<IpAddress> result;
  std::set_difference(routed.begin(), routed.end(), own.begin(), own.end(), std::back_inserter(result));
  return result;
}

std::optional<unsigned> ifindex_of(const std::string& name) {
  const unsigned ifindex = ::if_nametoindex(name.c_str());
  return ifindex == 0 ? std::nullopt : std::optional(ifindex);
}

}  // namespace sluice::net
