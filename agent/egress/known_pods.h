// The pods of the settings, for commands: as the node is now, and no further.
#pragma once

#include "identity/pod.h"
#include "settings/settings.h"

namespace sluice::egress {

identity::PodTable known_pods(const settings::AgentSettings& settings);

}  // namespace sluice::egress
