// Istio's host rule (pkg/config/host/name.go): a pattern whose first byte is '*' matches every name that ends with the
// rest of it, any number of labels deep: "*.foo.com" matches "a.foo.com" and "a.b.foo.com", not "foo.com"; "*foo.com"
// matches "xfoo.com" and "foo.com". Any other pattern matches itself. Both sides are lower-case without a trailing dot.
#pragma once

#include <string_view>

namespace sluice {

constexpr bool is_wildcard(std::string_view pattern) {
  return pattern.starts_with('*');
}

constexpr bool host_matches(std::string_view pattern, std::string_view host) {
  return is_wildcard(pattern) ? host.ends_with(pattern.substr(1)) : host == pattern;
}

// Is every name that `inner` (a name or a pattern) matches matched by `outer`? Istio's host.Name.SubsetOf.
constexpr bool host_covers(std::string_view outer, std::string_view inner) {
  if (is_wildcard(inner)) return is_wildcard(outer) && inner.substr(1).ends_with(outer.substr(1));
  return host_matches(outer, inner);
}

// Is there a name that both match? Istio's host.Name.Matches.
constexpr bool hosts_overlap(std::string_view left, std::string_view right) {
  return host_covers(left, right) || host_covers(right, left);
}

}  // namespace sluice
