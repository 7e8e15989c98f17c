// One request at a time to the kernel's rtnetlink, with its errno kept (libnl's own codes merge several of them).
#pragma once

#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include <array>
#include <functional>
#include <memory>
#include <span>

#include "base/result.h"

namespace sluice::net {

struct SocketFree {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
struct MessageFree {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};
using NetlinkSocket = std::unique_ptr<nl_sock, SocketFree>;
using NetlinkMessage = std::unique_ptr<nl_msg, MessageFree>;

// An rtnetlink socket of the calling thread's network namespace.
Result<NetlinkSocket> open_netlink_socket();
// libnl's error `code` (negative) as an Error.
Error netlink_error(std::string_view what, int code);

// A message of `type` that starts with the fixed header `header` (ifinfomsg, rtmsg, ...).
template <typename Header>
NetlinkMessage make_message(int type, int flags, const Header& header) {
  NetlinkMessage message(nlmsg_alloc_simple(type, flags));
  Header copy = header;
  if (message && nlmsg_append(message.get(), &copy, sizeof copy, NLMSG_ALIGNTO) < 0) message.reset();
  return message;
}

// The fixed header of a received message; nullptr when the message is shorter than that.
template <typename Header>
const Header* header_of(const nlmsghdr* message) {
  return nlmsg_valid_hdr(message, sizeof(Header)) ? static_cast<const Header*>(nlmsg_data(message)) : nullptr;
}

// The attributes after `Header`, by number, null where absent; all null when they are malformed.
template <typename Header, int max>
std::array<nlattr*, max + 1> attributes_of(nlmsghdr* message) {
  std::array<nlattr*, max + 1> found{};
  if (nlmsg_parse(message, sizeof(Header), found.data(), max, nullptr) < 0) found.fill(nullptr);
  return found;
}

inline std::span<const std::uint8_t> bytes_of(const nlattr* attribute) {
  return {static_cast<const std::uint8_t*>(nla_data(attribute)), static_cast<std::size_t>(nla_len(attribute))};
}

// A 32-bit attribute; 0 when absent or of another size.
inline std::uint32_t number_of(const nlattr* attribute) {
  return attribute != nullptr && nla_len(attribute) == sizeof(std::uint32_t) ? nla_get_u32(attribute) : 0;
}

// Sends `request` and hands each answer to `on_reply` until the kernel says it is done. Returns 0 or the kernel's errno
// (positive); EAGAIN when the dump kept changing under way.
int exchange(nl_sock* socket, nl_msg* request, const std::function<void(nlmsghdr*)>& on_reply);

// A dump on a socket of its own, tried again when the kernel says that it changed under way; `start` forgets what an
// earlier try has read. Returns as exchange() does.
int dump(nl_msg* request, const std::function<void()>& start, const std::function<void(nlmsghdr*)>& on_reply);

}  // namespace sluice::net
