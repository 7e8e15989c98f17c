// ServerTLSSettings of a Gateway's server.
#pragma once

#include "policy/routes.h"
#include "resources/findings.h"

namespace sluice::resources {

// Fills what `server` has of TLS; its protocol is known.
void read_server_tls(yaml::Reader reader, GatewayServer& server, Findings& findings);

}  // namespace sluice::resources
