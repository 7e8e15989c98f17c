// A copy of a request for another destination, whose answer nobody sees (HTTPRoute.mirrors). It never holds up the
// request itself: where it cannot follow, it is given up.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ingress/cluster.h"
#include "ingress/guest.h"
#include "ingress/message.h"
#include "ingress/stream.h"
#include "net/timeout.h"

namespace sluice::ingress {

class Desk;

// Lives in its worker's list of guests until both the exchange and the server are done with it.
class Mirror final : public Guest, private AnswerTaker, private Cluster::Waiter, private net::Timeout {
 public:
  // Copies the head of `request`.
  static Mirror& begin(Desk& desk, std::shared_ptr<Cluster> cluster, const OutgoingRequest& request);
  ~Mirror() override;

  void add(ByteSpan content);
  void end(const Fields& trailers);
  // The exchange is over, its request complete or not; nothing of the mirror is touched from there on.
  void leave();

 private:
  Mirror(Desk& desk, std::shared_ptr<Cluster> cluster) : desk_(desk), cluster_(std::move(cluster)) {}

  void on_ready() override { send(); }
  void on_timeout() override { give_up(); }
  void on_interim(unsigned, const Fields&) override {}
  void on_answer(const Answer& answer) override;
  bool on_answer_content(ByteSpan) override { return true; }
  void on_answer_end(const Fields&) override { give_up(); }
  void on_failure(const Failure&) override { give_up(); }
  void on_server_room() override {}

  void send();
  void give_up();

  Desk& desk_;
  std::shared_ptr<Cluster> cluster_;
  ServerStream* server_ = nullptr;  // null: not yet, or no more
  Arena arena_;
  Fields fields_;
  OutgoingRequest request_;
  std::vector<std::uint8_t> content_;  // until there is a server
  Fields trailers_;
  bool ended_ = false;  // the request
  bool over_ = false;   // the server's part
  bool left_ = false;   // the exchange's part
};

}  // namespace sluice::ingress
