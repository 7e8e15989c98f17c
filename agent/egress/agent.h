// The agent: one per node. Everything that its pods send outside is decided by it or by the programs it feeds.
#pragma once

#include <string>

#include "base/result.h"
#include "serving/status.h"
#include "settings/settings.h"

namespace sluice::egress {

// Runs the role until it is told to end; an error says why it could not begin. What was decided before stays in force
// in the kernel afterwards: new connections are refused until an agent runs again or `sluice detach` removes it all.
Status run_agent(const settings::AgentSettings& settings, const std::string& version,
                 const serving::ServeAdmin& serve_admin);

}  // namespace sluice::egress
