// Delegates: VirtualServices without hosts, whose http rules stand in for those that name them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "policy/routes.h"

namespace sluice {

// Of a rule with a delegate: why nothing, or not all, came of it.
struct BrokenDelegate {
  ObjectName object;  // of the VirtualService that has the rule
  std::size_t rule = 0;
  DelegateName delegate;
  bool is_missing = false;  // there is no VirtualService of that name
  std::string why;          // "has hosts, so it is no delegate": of the delegate
};

// VirtualServices with hosts, whose http rules have no delegates any more.
struct MergedServices {
  std::vector<VirtualService> services;
  // Of each http rule of each service: where it comes from, "http[0]" or "http[1] namespace/name http[0]", with the
  // rule's name behind it when it has one.
  std::vector<std::vector<std::string>> rule_names;
  std::vector<BrokenDelegate> broken;
};

// Puts the delegates' rules in the place of the rules that name them, as Istio does
// (pilot/pkg/model/virtualservice.go, mergeVirtualServicesIfNeeded). The delegate has no hosts, is exported to the
// namespace of the other, and delegates nothing itself. Each match of a delegate's rule has to fit into some match of
// the other rule, and is narrowed by each that it fits into; a rule of which one match fits nowhere is left out. What a
// delegate's rule does not say (rewrite, timeout, retries, fault, mirrors, corsPolicy, headers) the other says for it.
// A rule whose delegate is not there is left out.
MergedServices merge_delegates(std::vector<VirtualService> services);

}  // namespace sluice
