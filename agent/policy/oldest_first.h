// Which of two objects of a kind goes first: the older one, then the smaller name, then the smaller namespace.
#pragma once

#include <algorithm>
#include <tuple>
#include <vector>

#include "policy/routes.h"
#include "policy/service.h"

namespace sluice {

inline auto age_of(const Service& service) {
  return std::tie(service.created, service.name, service.namespace_name);
}
// Of a Gateway, VirtualService or DestinationRule.
template <typename Object>
auto age_of(const Object& one) {
  return std::tie(one.object.created, one.object.name, one.object.namespace_name);
}

template <typename Object>
std::vector<Object> oldest_first(std::vector<Object> objects) {
  std::sort(objects.begin(), objects.end(),
            [](const Object& left, const Object& right) { return age_of(left) < age_of(right); });
  return objects;
}

}  // namespace sluice
