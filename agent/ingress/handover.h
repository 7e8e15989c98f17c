// The hand-over of listening sockets from a running ingress to the one that takes its place: both accept from the same
// queues until the first one, told so, drains. No connection is refused meanwhile.
//
// On a SOCK_SEQPACKET socket at "<admin.socket>.handover", mode 0600: the predecessor sends a message for each of its
// sockets, "ADDRESS:PORT" with the descriptor (SCM_RIGHTS), and then an empty line "\n"; the successor answers with one
// byte when it is ready to accept. Without that byte nothing has happened.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/ip.h"
#include "base/result.h"

namespace sluice::ingress {

std::string handover_path(const std::string& admin_socket);

// The successor's side.
class Predecessor {
 public:
  using Sockets = std::map<Endpoint, std::vector<UniqueFd>>;

  // Asks the ingress whose admin socket this is for its sockets; waits a few seconds at most.
  static Result<Predecessor> ask(const std::string& admin_socket);

  Sockets take_sockets() { return std::move(sockets_); }
  // This process accepts: the other one may go.
  void dismiss();

 private:
  explicit Predecessor(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
  Sockets sockets_;
};

// The predecessor's side: waits for a successor. Belongs to its loop's thread.
class Succession {
 public:
  struct Hooks {
    std::function<std::vector<std::pair<Endpoint, int>>()> sockets;  // those that are listened on, still owned
    std::function<void()> leave;                                     // the successor accepts
  };

  static Result<std::unique_ptr<Succession>> open(boost::asio::io_context& context, const std::string& admin_socket,
                                                  Hooks hooks);
  ~Succession();

 private:
  class Heir;
  class Door;

  Succession() = default;

  std::shared_ptr<Door> door_;
};

}  // namespace sluice::ingress
