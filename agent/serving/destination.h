// Where an allowed call goes: from its service to addresses that may be dialled. The name decides, not the address that
// the pod dialled, except for services without names to resolve (resolution NONE by address).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "policy/snapshot.h"
#include "settings/settings.h"

namespace sluice::serving {

// One place to dial: an address, or a name to resolve first.
struct Target {
  std::optional<IpAddress> address;
  std::string name;  // when there is no address
  std::uint16_t port = 0;
  bool is_original = false;  // the address is what the pod dialled, and no resource names it
};

// What the targets of a call follow from.
struct TargetQuery {
  const Service* service = nullptr;
  const ServicePort* port = nullptr;
  std::string_view host;           // the name that was judged, or that a route leads to; empty: none
  Endpoint original;               // as the pod dialled it; unspecified: not known for sure
  std::uint64_t pick = 0;          // chooses where to begin among equals
  std::string_view locality;       // of this process, "region/zone/subzone"
  const Labels* subset = nullptr;  // endpoints must have these labels; null: any
};

// The targets of an allowed call, best first; empty when the service has nothing to dial.
//   by name, resolution NONE, DNS or DYNAMIC_DNS without endpoints: the name that was judged
//   DNS, DNS_ROUND_ROBIN, STATIC with endpoints: the endpoints, with their port of the port's name; those in the same
//     region, zone and subzone first, then the same zone, then the same region; in each group by weight
//   by address, resolution NONE: the original destination, unless the service lists addresses and it is none of them
//   TCP without a name, DNS without endpoints: the service's first host
std::vector<Target> plan_targets(const TargetQuery& query);

// Why a resolved `address` may not be dialled for `service`; nullopt when it may. Names that resolve to special-purpose
// ranges (private, loopback, link-local, metadata, ...) or to `forbidden_cidrs` are refused, unless the service lists
// the address or the settings permit it: an answer of DNS must not lead inside.
std::optional<std::string> forbidden(const IpAddress& address, const Service& service,
                                     const settings::Outside& settings);

}  // namespace sluice::serving
