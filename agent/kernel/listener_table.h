// The agent's listening sockets, of which sk_lookup chooses: the map `listeners`.
#pragma once

#include <span>

#include "base/result.h"
#include "kernel/tables.h"

namespace sluice::kernel {

// See Interception::set_listeners(). New sockets are in place before they are counted, old ones go after.
Status write_listeners(const Tables& tables, std::span<const int> v4, std::span<const int> v6);

}  // namespace sluice::kernel
