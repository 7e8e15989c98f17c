// The gateway's story: one connection from a node's agent (or a raw client), judged again, sent on to the name it
// calls.
#pragma once

#include <optional>

#include "gateway/destination.h"
#include "net/resolver.h"
#include "relay/http_relay.h"
#include "serving/call.h"
#include "settings/settings.h"
#include "wire/proxy_v2.h"

namespace sluice::gateway {

// What all calls of the gateway share. Immutable or thread-safe, and outlives them.
struct Exit {
  const settings::GatewaySettings& settings;
  serving::Recorder& recorder;
};

class ForwardedCall final : public serving::Call, private relay::HttpJudge {
 public:
  // `resolver` belongs to the worker's thread.
  ForwardedCall(const Exit& exit, serving::Worker& worker, net::Resolver& resolver, const settings::Listen& listen,
                net::Tcp::socket client);

  net::Task<void> serve();

 private:
  struct Refusal {
    Reason reason;
    std::string detail;
  };

  // Who calls whom: from the PROXY header, or from the listener for raw connections. The bytes behind the header.
  net::Task<std::variant<std::vector<std::uint8_t>, Refusal>> read_header();
  void adopt_header(const wire::ProxyHeader& header);
  net::Task<void> serve_bytes(Sniffed sniffed, std::vector<std::uint8_t> bytes);

  // relay::HttpJudge
  net::Task<std::variant<net::Stream*, relay::HttpDenial>> route(const wire::RequestHead& head) override;
  void refuse_unreadable(const relay::Unreadable& unreadable) override;

  // Judges, resolves, connects and records: afterwards `upstream_` takes the call's first byte.
  net::Task<std::optional<Refusal>> decide_and_connect(Sniffed sniffed);
  std::optional<Refusal> decide(Sniffed sniffed, Verdict& verdict);
  net::Task<std::optional<Refusal>> connect(const Verdict& verdict);
  net::Task<std::variant<std::vector<Endpoint>, Refusal>> addresses_of(const Target& target, const Service& service);

  const Exit& exit_;
  net::Resolver& resolver_;
  const settings::Listen& listen_;
  std::string authority_;      // the name that the agent judged; empty: it did not say
  std::string upstream_host_;  // the name that upstream_ was connected for
};

}  // namespace sluice::gateway
