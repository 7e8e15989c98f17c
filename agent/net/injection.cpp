#include "net/injection.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netlink/route/link.h>
#include <netlink/route/link/inet6.h>
#include <netlink/route/link/veth.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "net/netlink.h"
#include "net/netlink_socket.h"

namespace sluice::net {
namespace {

constexpr unsigned link_mtu = 65535;

struct LinkFree {
  void operator()(rtnl_link* link) const { rtnl_link_put(link); }
};
using VethLink = std::unique_ptr<rtnl_link, LinkFree>;

void describe(rtnl_link* link, const char* name) {
  rtnl_link_set_name(link, name);
  rtnl_link_set_mtu(link, link_mtu);
}

// Up, and without an address of its own making: nothing but our frames is to be sent there.
Status bring_up(nl_sock* socket, const char* name) {
  const auto ifindex = ifindex_of(name);
  const VethLink link(rtnl_link_alloc());
  const VethLink changes(rtnl_link_alloc());
  if (!ifindex || !link || !changes) return Error("the injection link is gone");
  rtnl_link_set_ifindex(link.get(), static_cast<int>(*ifindex));
  rtnl_link_inet6_set_addr_gen_mode(changes.get(), static_cast<std::uint8_t>(IN6_ADDR_GEN_MODE_NONE));
  // Fails where there is no IPv6, and then none is needed.
  static_cast<void>(rtnl_link_change(socket, link.get(), changes.get(), 0));
  const VethLink up(rtnl_link_alloc());
  if (!up) return Error("no memory for a link");
  rtnl_link_set_flags(up.get(), IFF_UP | IFF_NOARP);
  const int changed = rtnl_link_change(socket, link.get(), up.get(), 0);
  if (changed < 0) return netlink_error("bring the injection link up", changed);
  return Done{};
}

}  // namespace

Result<unsigned> make_injection_link() {
  auto socket = open_netlink_socket();
  if (!socket) return socket.error();
  if (!ifindex_of(injection_link)) {
    const VethLink link(rtnl_link_veth_alloc());
    if (!link) return Error("no memory for a link");
    describe(link.get(), injection_link);
    auto* peer = rtnl_link_veth_get_peer(link.get());
    describe(peer, injection_link_peer);
    const int made = rtnl_link_add(socket->get(), link.get(), NLM_F_CREATE | NLM_F_EXCL);
    rtnl_link_put(peer);
    if (made < 0 && made != -NLE_EXIST) return netlink_error("add the injection link", made);
  }
  for (const char* name : {injection_link, injection_link_peer}) {
    if (auto done = bring_up(socket->get(), name); !done) return done.error();
  }
  return *ifindex_of(injection_link);
}

Status remove_injection_link() {
  const auto ifindex = ifindex_of(injection_link);
  if (!ifindex) return Done{};
  auto socket = open_netlink_socket();
  if (!socket) return socket.error();
  const VethLink link(rtnl_link_alloc());
  if (!link) return Error("no memory for a link");
  rtnl_link_set_ifindex(link.get(), static_cast<int>(*ifindex));
  const int removed = rtnl_link_delete(socket->get(), link.get());
  if (removed < 0 && removed != -NLE_NODEV && removed != -NLE_OBJ_NOTFOUND) {
    return netlink_error("remove the injection link", removed);
  }
  return Done{};
}

Result<Injector> Injector::open(unsigned ifindex) {
  // Protocol 0: nothing is received.
  UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno("open a packet socket", errno);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = static_cast<int>(ifindex);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Error::from_errno("bind the packet socket", errno);
  }
  return Injector(std::move(fd));
}

Status Injector::send(ByteSpan frame, std::uint32_t mark) {
  iovec bytes{const_cast<std::uint8_t*>(frame.data()), frame.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof mark)] = {};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  auto* option = CMSG_FIRSTHDR(&message);
  option->cmsg_level = SOL_SOCKET;
  option->cmsg_type = SO_MARK;
  option->cmsg_len = CMSG_LEN(sizeof mark);
  std::memcpy(CMSG_DATA(option), &mark, sizeof mark);
  if (::sendmsg(fd_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(frame.size())) return Done{};
  return Error::from_errno("send a frame", errno);
}

}  // namespace sluice::net
