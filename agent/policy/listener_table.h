// The listeners of an ingress, as servers of Gateways are added to them. For ingress_index.cpp only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "policy/ingress_routes.h"

namespace sluice {

// Of a server that is in force at a listener.
IngressServer::Content content_of(const GatewayServer& server);

// Those that come first are merged with those that follow. Views into the servers, which outlive it.
class ListenerTable {
 public:
  // Why the server is left out; empty: it is not.
  std::string add(const IngressServer& server);
  // All of them, numbered; the table is empty then.
  std::vector<IngressListener> take();

 private:
  using Place = std::pair<std::uint16_t, std::string_view>;  // port and bind

  void take_hosts(const Place& place, const IngressServer& server);

  std::map<Place, IngressListener> listeners_;
  std::map<std::pair<Place, std::string_view>, std::string_view> hosts_;  // of TLS servers, and whose they are
};

}  // namespace sluice
