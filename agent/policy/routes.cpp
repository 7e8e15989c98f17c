#include "policy/routes.h"

#include <algorithm>

namespace sluice {

const Destination* choose_destination(std::span<const Destination> destinations, std::uint64_t pick) {
  if (destinations.size() == 1) return destinations.data();
  std::uint64_t total = 0;
  for (const auto& destination : destinations) total += destination.weight;
  if (total == 0) return nullptr;
  auto rest = pick % total;
  const auto* chosen = destinations.data();
  while (rest >= chosen->weight) rest -= chosen++->weight;
  return chosen;
}

std::string_view altering_action(const HttpRule& rule) {
  if (rule.redirect) return "redirect";
  if (rule.direct_response) return "directResponse";
  if (rule.delegate) return "delegate";
  if (rule.rewrite) return "rewrite";
  if (rule.fault) return "fault";
  if (!rule.mirrors.empty()) return "mirror";
  if (rule.cors) return "corsPolicy";
  const bool alters_headers =
      !rule.headers.empty() || std::any_of(rule.destinations.begin(), rule.destinations.end(),
                                           [](const Destination& one) { return !one.headers.empty(); });
  return alters_headers ? "headers" : "";
}

}  // namespace sluice
