// Whose calls are only watched: mode audit, for the node or for a pod's namespace.
#pragma once

#include <algorithm>
#include <string_view>

#include "settings/settings.h"

namespace sluice::egress {

inline bool is_audited(const settings::Egress& egress, std::string_view pod_namespace) {
  return egress.mode == settings::Mode::audit ||
         std::find(egress.audit_namespaces.begin(), egress.audit_namespaces.end(), pod_namespace) !=
             egress.audit_namespaces.end();
}

}  // namespace sluice::egress
