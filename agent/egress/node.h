// What all calls of the agent share, and what gateways are told of one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "egress/gateway_pool.h"
#include "egress/header_signer.h"
#include "kernel/interception.h"
#include "observe/audit.h"
#include "serving/recorder.h"
#include "settings/settings.h"
#include "tls/context.h"

namespace sluice::egress {

// Thread-safe, and outlives them.
struct Node {
  const settings::AgentSettings& settings;
  const kernel::Interception& kernel;
  serving::Recorder& recorder;
  GatewayPool& gateways;
  const HeaderSigner* signer;  // null when no gateway is told anything signed
  const tls::Context* tls;     // null without transport tls
};

// How long a call of an address that no pod is known to have waits for the API server to tell; 0: nobody will.
std::uint64_t pod_wait_ns(const settings::AgentSettings& settings);

// The PROXY header of the call of `record`, judged by `host`, to port `port` of `gateway`. `hop_source`: from where
// this very connection reaches the gateway; nullopt: not known.
std::vector<std::uint8_t> make_header(const Node& node, const observe::Record& record, const std::string& host,
                                      const settings::GatewayTarget& gateway, std::uint16_t port,
                                      const std::optional<Endpoint>& hop_source);

}  // namespace sluice::egress
