// The way of an allowed call: by which gateway, or why by none. The agent's half of routing; `sluice explain` asks it
// too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "policy/snapshot.h"
#include "serving/upstreams.h"
#include "settings/settings.h"

namespace sluice::egress {

// Through gateway number `gateway` of the settings, to `port` of its Gateway's servers.
struct ByGateway {
  std::size_t gateway = 0;
  std::uint16_t port = 0;
  std::string route;  // the rule, "namespace/name tls[0]"; "default": no rule applied
};
// To where the pod dialled.
struct Direct {
  std::string route;
};
// Nowhere (no_gateway_route).
struct NoWay {
  std::string detail;
};
using Way = std::variant<ByGateway, Direct, NoWay>;

// A rule leads to the gateway that its destination's host names (with `settings.unrouted` for rules that lead to the
// host itself, and nowhere for any other host, which no gateway would be told of); its port is the destination's, or
// else the one that was dialled. Without a rule `settings.unrouted` decides.
Way choose_way(const Route& route, const Request& request, const Verdict& verdict, const settings::Egress& settings);
// The same with the route that `snapshot` has for the call. The way cannot be direct where a DestinationRule wants TLS
// begun for the call, which gateways do.
Way find_way(const Snapshot& snapshot, const Request& request, const Verdict& verdict, const Snapshot::Caller& caller,
             const settings::Egress& settings);

// Why a call whose ClientHello is encrypted, if `ech`, is none to forward.
std::optional<serving::Refusal> refuse_ech(bool ech, const settings::Egress& settings);

}  // namespace sluice::egress
