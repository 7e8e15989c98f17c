#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <sys/socket.h>

#include <cerrno>
#include <map>

#include "net/netlink.h"
#include "net/netlink_socket.h"

namespace sluice::net {
namespace {

constexpr int receive_buffer_bytes = 4 << 20;
constexpr int max_receives_per_dispatch = 1024;  // a storm of events must not starve the caller's other work

constexpr rtnetlink_groups watched_groups[] = {RTNLGRP_LINK,       RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                                               RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,  RTNLGRP_IPV4_RULE,
                                               RTNLGRP_IPV6_RULE};

}  // namespace

struct NetlinkWatch::State {
  NetlinkSocket socket;
  Handlers handlers;
  std::map<unsigned, std::string> names;  // of the links reported so far, by ifindex
  bool addresses_changed = false;
  bool routes_changed = false;
  bool lost = false;  // events were dropped: list anew once the queue is empty

  void handle(nlmsghdr* message);
  void handle_link(nlmsghdr* message, bool removed);
  void report_link(const Link& link);
  void report_changes();
  // Lists all links; those that vanished unseen are reported as removed, all others as added.
  Status list_links();
  // Takes one batch of waiting events: false when nothing waits.
  Result<bool> receive();
};

namespace {

// A name and number, when `message` is about a link itself: a bridge announces its ports' coming and going by the same
// types under another family.
std::optional<Link> link_of(nlmsghdr* message) {
  const auto* header = header_of<ifinfomsg>(message);
  if (header == nullptr || header->ifi_family != AF_UNSPEC || header->ifi_index <= 0) return std::nullopt;
  const auto attributes = attributes_of<ifinfomsg, IFLA_MAX>(message);
  const auto* name = attributes[IFLA_IFNAME];
  if (name == nullptr) return std::nullopt;
  const auto bytes = bytes_of(name);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return Link{static_cast<unsigned>(header->ifi_index), std::string(text.substr(0, text.find('\0')))};
}

}  // namespace

void NetlinkWatch::State::handle(nlmsghdr* message) {
  switch (message->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return handle_link(message, message->nlmsg_type == RTM_DELLINK);
    case RTM_NEWADDR:
    case RTM_DELADDR:
      addresses_changed = true;
      return;
    default:
      routes_changed = true;
  }
}

void NetlinkWatch::State::handle_link(nlmsghdr* message, bool removed) {
  const auto link = link_of(message);
  if (!link) return;
  if (removed) {
    if (names.erase(link->ifindex) != 0 && handlers.link_removed) handlers.link_removed(link->ifindex);
    return;
  }
  const auto known = names.find(link->ifindex);
  if (known == names.end() || known->second != link->name) report_link(*link);
}

void NetlinkWatch::State::report_link(const Link& link) {
  names[link.ifindex] = link.name;
  if (handlers.link_added) handlers.link_added(link);
}

void NetlinkWatch::State::report_changes() {
  if (std::exchange(addresses_changed, false) && handlers.addresses_changed) handlers.addresses_changed();
  if (std::exchange(routes_changed, false) && handlers.routes_changed) handlers.routes_changed();
}

Status NetlinkWatch::State::list_links() {
  const auto request = make_message(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{});
  if (!request) return Error("netlink: out of memory");
  std::map<unsigned, std::string> found;
  const int error = dump(
      request.get(), [&] { found.clear(); },
      [&](nlmsghdr* reply) {
        if (auto link = link_of(reply)) found[link->ifindex] = std::move(link->name);
      });
  if (error != 0) return Error::from_errno("netlink: list links", error);
  const auto before = names;
  for (const auto& [ifindex, name] : before) {
    if (found.contains(ifindex)) continue;
    names.erase(ifindex);
    if (handlers.link_removed) handlers.link_removed(ifindex);
  }
  for (const auto& [ifindex, name] : found) report_link({ifindex, name});
  return Done{};
}

Result<bool> NetlinkWatch::State::receive() {
  switch (const int code = nl_recvmsgs_default(socket.get())) {
    case -NLE_AGAIN:
      return false;
    case -NLE_NOMEM:  // ENOBUFS
    case -NLE_MSG_OVERFLOW:
    case -NLE_MSG_TRUNC:
      lost = addresses_changed = routes_changed = true;
      return true;
    default:
      if (code < 0) return netlink_error("netlink: receive", code);
      return true;
  }
}

NetlinkWatch::NetlinkWatch(std::unique_ptr<State> state) : state_(std::move(state)) {}
NetlinkWatch::~NetlinkWatch() = default;

Result<std::unique_ptr<NetlinkWatch>> NetlinkWatch::open(Handlers handlers) {
  auto state = std::make_unique<State>();
  state->handlers = std::move(handlers);
  auto socket = open_netlink_socket();
  if (!socket) return socket.error();
  state->socket = *std::move(socket);
  auto* handle = state->socket.get();

  nl_socket_disable_seq_check(handle);
  nl_socket_modify_cb(
      handle, NL_CB_VALID, NL_CB_CUSTOM,
      [](nl_msg* message, void* context) {
        // Only the kernel is believed; other processes could write to this socket's port.
        if (nlmsg_get_src(message)->nl_pid == 0) static_cast<State*>(context)->handle(nlmsg_hdr(message));
        return static_cast<int>(NL_OK);
      },
      state.get());
  if (const int code = nl_socket_set_nonblocking(handle); code < 0) return netlink_error("netlink: open", code);
  ::setsockopt(nl_socket_get_fd(handle), SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer_bytes,
               sizeof receive_buffer_bytes);
  for (const auto group : watched_groups) {
    if (const int code = nl_socket_add_membership(handle, group); code < 0) {
      return netlink_error("netlink: subscribe to group " + std::to_string(group), code);
    }
  }
  if (auto listed = state->list_links(); !listed) return listed.error();
  return std::unique_ptr<NetlinkWatch>(new NetlinkWatch(std::move(state)));
}

int NetlinkWatch::fd() const {
  return nl_socket_get_fd(state_->socket.get());
}

Status NetlinkWatch::dispatch() {
  auto& state = *state_;
  for (int i = 0; i < max_receives_per_dispatch || state.lost; ++i) {
    const auto received = state.receive();
    if (!received) return received.error();
    if (*received) continue;
    if (!std::exchange(state.lost, false)) break;
    // Only now: what still waited is older than the list, and its end may be among what was lost.
    if (auto listed = state.list_links(); !listed) {
      state.lost = true;
      return listed;
    }
  }
  state.report_changes();
  return Done{};
}

}  // namespace sluice::net
