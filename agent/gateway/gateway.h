// The gateway: the cluster's controlled exit. It decides again what agents let through, and dials the name.
#pragma once

#include <string>

#include "base/result.h"
#include "serving/status.h"
#include "settings/settings.h"

namespace sluice::gateway {

// Runs the role until it is told to end; an error says why it could not begin.
Status run_gateway(const settings::GatewaySettings& settings, const std::string& version,
                   const serving::ServeAdmin& serve_admin);

}  // namespace sluice::gateway
