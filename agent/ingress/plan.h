// What an ingress does, as one snapshot has it: shared by all workers, replaced as a whole.
#pragma once

#include <memory>
#include <vector>

#include "ingress/cluster_services.h"
#include "policy/ingress_routes.h"
#include "policy/snapshot.h"
#include "tls/context.h"

namespace sluice::ingress {

struct Plan {
  std::shared_ptr<const Snapshot> snapshot;
  const IngressRoutes* routes = nullptr;  // of the snapshot; never null
  // Of the settings and of the cluster; never null.
  std::shared_ptr<const ClusterServices> services;
  // By IngressServer::number; null where no TLS ends.
  std::vector<std::shared_ptr<const tls::Context>> contexts;

  const IngressListener* find_listener(std::string_view bind, std::uint16_t port) const {
    for (const auto& listener : routes->listeners()) {
      if (listener.port == port && listener.bind == bind) return &listener;
    }
    return nullptr;
  }
};

}  // namespace sluice::ingress
