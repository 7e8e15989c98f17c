#include "net/netlink_socket.h"

#include <linux/netlink.h>
#include <netlink/errno.h>
#include <sys/socket.h>

#include <cerrno>

namespace sluice::net {
namespace {

constexpr int max_dump_tries = 10;

struct Exchange {
  const std::function<void(nlmsghdr*)>& on_reply;
  int error = 0;
  bool finished = false;
};

int handle_valid(nl_msg* message, void* context) {
  static_cast<Exchange*>(context)->on_reply(nlmsg_hdr(message));
  return NL_OK;
}

int handle_error(sockaddr_nl* /*from*/, nlmsgerr* error, void* context) {
  static_cast<Exchange*>(context)->error = -error->error;
  return NL_STOP;
}

// The end of a dump carries the dump's own result.
int handle_finish(nl_msg* message, void* context) {
  auto& state = *static_cast<Exchange*>(context);
  const auto* code = header_of<int>(nlmsg_hdr(message));
  if (code != nullptr && *code < 0) state.error = -*code;
  state.finished = true;
  return NL_STOP;
}

int handle_ack(nl_msg* /*message*/, void* context) {
  static_cast<Exchange*>(context)->finished = true;
  return NL_STOP;
}

struct CallbackPut {
  void operator()(nl_cb* callbacks) const { nl_cb_put(callbacks); }
};

}  // namespace

Error netlink_error(std::string_view what, int code) {
  return Error(std::string(what) + ": " + nl_geterror(code));
}

Result<NetlinkSocket> open_netlink_socket() {
  NetlinkSocket socket(nl_socket_alloc());
  if (!socket) return Error("netlink: out of memory");
  if (const int code = nl_connect(socket.get(), NETLINK_ROUTE); code < 0) return netlink_error("netlink: open", code);
  nl_socket_enable_msg_peek(socket.get());
  // Lets the kernel filter dumps. Kernels before 4.20 do not know it: every reader filters too.
  const int on = 1;
  ::setsockopt(nl_socket_get_fd(socket.get()), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  return socket;
}

int exchange(nl_sock* socket, nl_msg* request, const std::function<void(nlmsghdr*)>& on_reply) {
  const std::unique_ptr<nl_cb, CallbackPut> callbacks(nl_cb_alloc(NL_CB_DEFAULT));
  if (!callbacks) return ENOMEM;
  Exchange state{on_reply};
  nl_cb_set(callbacks.get(), NL_CB_VALID, NL_CB_CUSTOM, handle_valid, &state);
  nl_cb_set(callbacks.get(), NL_CB_FINISH, NL_CB_CUSTOM, handle_finish, &state);
  nl_cb_set(callbacks.get(), NL_CB_ACK, NL_CB_CUSTOM, handle_ack, &state);
  nl_cb_err(callbacks.get(), NL_CB_CUSTOM, handle_error, &state);

  nlmsg_hdr(request)->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
  if (nl_send_auto(socket, request) < 0) return errno != 0 ? errno : EIO;
  bool interrupted = false;
  while (!state.finished && state.error == 0) {
    const int code = nl_recvmsgs(socket, callbacks.get());
    if (code == -NLE_DUMP_INTR) {
      interrupted = true;
    } else if (code < 0 && state.error == 0) {
      return EIO;
    }
  }
  return state.error == 0 && interrupted ? EAGAIN : state.error;
}

int dump(nl_msg* request, const std::function<void()>& start, const std::function<void(nlmsghdr*)>& on_reply) {
  for (int tries = 0; tries < max_dump_tries; ++tries) {
    const auto socket = open_netlink_socket();
    if (!socket) return EMFILE;
    start();
    nlmsg_hdr(request)->nlmsg_seq = NL_AUTO_SEQ;
    nlmsg_hdr(request)->nlmsg_pid = NL_AUTO_PORT;
    if (const int error = exchange(socket->get(), request, on_reply); error != EAGAIN) return error;
  }
  return EAGAIN;
}

}  // namespace sluice::net
