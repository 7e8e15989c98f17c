// The ingress: what comes into the cluster. It ends TLS and routes by host, by the Gateways and VirtualServices that
// Istio's ingress gateway takes.
#pragma once

#include <string>

#include "base/result.h"
#include "serving/status.h"
#include "settings/settings.h"

namespace sluice::ingress {

// Runs the role until it is told to end; an error says why it could not begin.
// `take_over`: the admin socket of a running ingress, whose listening sockets this one goes on with, and which drains
// then; empty: there is none. It waits for what the API server tells, 30 s at most, and ends with an error when it
// could not serve; the other one has noticed nothing.
Status run_ingress(const settings::IngressSettings& settings, const std::string& version,
                   const serving::ServeAdmin& serve_admin, const std::string& take_over);

}  // namespace sluice::ingress
