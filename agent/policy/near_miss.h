// Which services a call may have meant, and what it lacked of each.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/snapshot.h"

namespace sluice {

struct NearMiss {
  std::string rule;  // "namespace/name" of the ServiceEntry
  std::string why;
};

// The services that register the host, or one much like it, or the address or port of a call without a name; each with
// the first thing that keeps it from allowing the call. The one that allows it is not among them. At most `max`.
std::vector<NearMiss> near_misses(const Snapshot& snapshot, const Request& request, std::size_t max);

// May a person have mixed the two names up? True when they begin with the same label or end with the same two.
bool looks_alike(std::string_view left, std::string_view right);

}  // namespace sluice
