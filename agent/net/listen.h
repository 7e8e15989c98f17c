// Listening for connections and taking them.
#pragma once

#include <boost/asio/io_context.hpp>
#include <optional>

#include "base/result.h"
#include "net/socket.h"

namespace sluice::net {

struct ListenOptions {
  bool transparent = false;  // IP_TRANSPARENT: accepts connections to any address (needs CAP_NET_ADMIN)
  bool reuse_port = false;   // one listener a thread on the same port
};
// A listening socket, whose connections have TCP_NODELAY; port 0 takes a free one. An IPv6 listener takes IPv6 only.
Result<Tcp::acceptor> listen(boost::asio::io_context& context, const Endpoint& endpoint, ListenOptions options);

// The next connection, unless there is none to take: errno says why.
std::optional<Socket> accept(const Socket& listener);

}  // namespace sluice::net
