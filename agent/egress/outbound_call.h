// The outbound story: one connection of a pod, from accept to its close record.
#pragma once

#include <memory>
#include <optional>

#include "egress/node.h"
#include "egress/way.h"
#include "identity/pod.h"
#include "serving/call.h"

namespace sluice::egress {

class OutboundCall final : public serving::Call {
 public:
  // `upstreams` belongs to the worker's thread.
  OutboundCall(const Node& node, serving::Worker& worker, serving::Upstreams& upstreams, net::Socket client);

  // Tells the whole story. `pods`, who is who now, outlives it.
  net::Task<void> serve(const std::shared_ptr<const identity::PodTable>& pods);

 private:
  using Refused = std::optional<serving::Refusal>;

  bool note_ends();
  bool identify(const std::shared_ptr<const identity::PodTable>& pods);
  // The API server may tell of a pod after its first call.
  net::Task<void> wait_for_identity(const std::shared_ptr<const identity::PodTable>& pods);

  // serving::Call. In mode audit a denial becomes a direct connection to where the pod wanted to go.
  Refused decide(Sniffed sniffed) override;
  net::Task<Refused> connect() override;
  std::optional<std::string> find_way(const Snapshot& snapshot, const Request& request,
                                      const Verdict& verdict) const override;
  bool still_allowed(const Snapshot& snapshot) const override;
  net::Task<void> serve_unreadable(relay::Unreadable unreadable) override;

  Refused judge_and_route(Sniffed sniffed);
  void let_go(Reason would_deny);
  net::Task<Refused> connect_gateway(ByGateway way);
  net::Task<Refused> connect_direct();
  net::Task<Refused> connect_original();
  net::Task<Refused> begin_transport(const settings::GatewayTarget& gateway, net::Socket socket);
  std::vector<std::uint8_t> header_for(const settings::GatewayTarget& gateway, std::uint16_t port);

  const Node& node_;
  serving::Upstreams& upstreams_;
  std::shared_ptr<const identity::PodTable> pods_;
  bool audit_only_ = false;           // mode audit: nothing of this pod is blocked
  std::optional<Reason> unreadable_;  // why nothing can be made of the first bytes

  // Of the last decide():
  Way chosen_;
  bool let_go_ = false;                       // denied, and let go in mode audit
  std::shared_ptr<const Snapshot> snapshot_;  // keeps what `verdict_` points to
  Verdict verdict_;
};

}  // namespace sluice::egress
