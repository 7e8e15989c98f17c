// Which names may be asked for.
#pragma once

#include <string_view>

#include "base/result.h"

namespace sluice::net {

// An absolute host name: labels of letters, digits, '-' and '_', 1 to 63 bytes each, 253 in all, no trailing dot.
// Nothing that any system reads as an IP address: no literals, and no last label that is a number ("127.1",
// "0x7f000001").
Status check_host_name(std::string_view name);

}  // namespace sluice::net
