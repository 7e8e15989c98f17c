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

}  // namespace sluice
