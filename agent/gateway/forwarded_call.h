// The gateway's story: one connection from a node's agent (or a raw client), judged again, sent on to the name it
// calls.
#pragma once

#include <memory>
#include <optional>

#include "gateway/header_check.h"
#include "gateway/outgoing.h"
#include "serving/call.h"
#include "settings/settings.h"
#include "tls/context.h"
#include "tls/origination.h"
#include "wire/proxy_v2.h"

namespace sluice::gateway {

// What all calls of the gateway share. Thread-safe, and outlives them.
struct Exit {
  const settings::GatewaySettings& settings;
  serving::Recorder& recorder;
  HeaderCheck& headers;
  tls::OriginationContexts& originations;
  const tls::Context* tls;  // null without a listener of transport tls
};

class ForwardedCall final : public serving::Call {
 public:
  // `upstreams` belongs to the worker's thread.
  ForwardedCall(const Exit& exit, serving::Worker& worker, serving::Upstreams& upstreams,
                const settings::Listen& listen, net::Socket client);

  net::Task<void> serve();

 private:
  using Refused = std::optional<serving::Refusal>;

  // Who calls, as TCP has it: all there is to know of raw connections.
  Refused meet_peer();
  // Who calls whom, from the PROXY header. `behind` gets the bytes behind it.
  net::Task<Refused> meet_agent(std::vector<std::uint8_t>& behind);
  net::Task<Refused> begin_transport();
  net::Task<Refused> read_header(std::vector<std::uint8_t>& behind);
  Refused check_header(const wire::ParsedProxyHeader& parsed);
  void adopt_header(const wire::ProxyHeader& header, bool identity_known);

  // serving::Call
  Refused decide(Sniffed sniffed) override;
  net::Task<Refused> connect() override;
  std::optional<std::string> find_way(const Snapshot& snapshot, const Request& request,
                                      const Verdict& verdict) const override;

  std::string way_of(const Outgoing& outgoing) const;
  net::Task<Refused> begin_tls(const Outgoing& outgoing, net::Socket socket);

  const Exit& exit_;
  serving::Upstreams& upstreams_;
  const settings::Listen& listen_;
  Endpoint peer_;                       // as TCP has it
  std::vector<std::string> peer_uris_;  // of the agent's certificate
  std::string authority_;               // the name that the agent judged; empty: it did not say

  // Of the last decide():
  struct Chosen {
    std::shared_ptr<const Snapshot> snapshot;  // keeps what `outgoing` points to
    Outgoing outgoing;
  };
  std::unique_ptr<Chosen> chosen_;  // until connect()
};

}  // namespace sluice::gateway
