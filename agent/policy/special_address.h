// Addresses that the world outside cannot have: the guard against names that resolve to the inside.
#pragma once

#include <optional>
#include <string_view>

#include "base/ip.h"

namespace sluice {

// The special-purpose range of IANA's registries that `address` lies in, named for the operator ("private",
// "link-local", ...); nullopt for an address that can be somebody's on the Internet. Cloud metadata services are
// link-local (169.254.169.254) or unique local (fd00:ec2::254).
//
// An IPv6 address that carries an IPv4 address to be translated or tunnelled to (NAT64 64:ff9b::/96, 6to4, Teredo) is
// judged by that address. The local-use NAT64 prefix 64:ff9b:1::/48 is refused as a whole: where in it the IPv4 address
// stands is known to the translator alone. Outside 2000::/3 nothing is allocated, so all of it is "reserved".
//
// The documentation ranges (192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 2001:db8::/32, 3fff::/20) are not special
// here: nothing inside has them, and the tests use them as the outside.
std::optional<std::string_view> special_purpose(const IpAddress& address);

}  // namespace sluice
