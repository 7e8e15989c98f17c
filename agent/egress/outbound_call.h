// The outbound story: one connection of a pod, from accept to its close record.
#pragma once

#include <memory>
#include <optional>

#include "identity/pod.h"
#include "kernel/interception.h"
#include "relay/http_relay.h"
#include "serving/call.h"
#include "settings/settings.h"

namespace sluice::egress {

// What all calls of the agent share. Immutable or thread-safe, and outlives them.
struct Node {
  const settings::AgentSettings& settings;
  const kernel::Interception& kernel;
  serving::Recorder& recorder;
};

class OutboundCall final : public serving::Call, private relay::HttpJudge {
 public:
  OutboundCall(const Node& node, serving::Worker& worker, net::Tcp::socket client);

  // Tells the whole story; `pods` is who is who at its beginning.
  net::Task<void> serve(std::shared_ptr<const identity::PodTable> pods);

 private:
  struct Refusal {
    Reason reason;
    std::string detail;
  };

  bool identify(const identity::PodTable& pods);
  net::Task<void> serve_sniffed();
  net::Task<void> serve_bytes(Sniffed sniffed, std::vector<std::uint8_t> bytes);
  net::Task<void> serve_unreadable(relay::Unreadable unreadable);
  net::Task<void> send_and_tunnel(std::vector<std::uint8_t> bytes);

  // relay::HttpJudge
  net::Task<std::variant<net::Stream*, relay::HttpDenial>> route(const wire::RequestHead& head) override;
  void refuse_unreadable(const relay::Unreadable& unreadable) override;

  // Judges, connects and records: afterwards `upstream_` takes the call's first byte. In mode audit a denial becomes a
  // direct connection to where the pod wanted to go.
  net::Task<std::optional<Refusal>> decide_and_connect(Sniffed sniffed);
  std::optional<Refusal> decide(Sniffed sniffed);
  net::Task<std::optional<Refusal>> connect_gateway();
  net::Task<std::optional<Refusal>> connect_direct(Reason would_deny);
  Endpoint gateway_endpoint() const;
  std::vector<std::uint8_t> gateway_header() const;

  const Node& node_;
  bool audit_only_ = false;           // mode audit: nothing of this pod is blocked
  std::string upstream_host_;         // the name that upstream_ was connected for
  std::vector<std::uint8_t> header_;  // what the gateway is told before the call's own bytes
};

}  // namespace sluice::egress
