#include "resources/protocol_conflict.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "policy/export_to.h"

namespace sluice::resources {
namespace {

constexpr std::string_view protocol_name(Protocol protocol) {
  constexpr std::array<std::string_view, 7> names = {"HTTP", "HTTP2", "GRPC", "HTTPS", "TLS", "MONGO", "TCP"};
  return names.at(static_cast<std::size_t>(protocol));
}

}  // namespace

std::vector<Problem> find_protocol_conflicts(const std::vector<LocatedObject>& objects) {
  // Few services a protocol are enough to name a conflict, and bound the comparisons.
  constexpr std::size_t max_compared = 16;
  std::unordered_map<std::string, std::vector<std::pair<Protocol, const Service*>>> seen;
  std::vector<Problem> problems;
  for (const auto& object : objects) {
    const auto* service = std::get_if<Service>(object.content);
    if (service == nullptr) continue;
    for (const auto& host : service->hosts) {
      for (const auto& port : service->ports) {
        auto& others = seen[fmt::format("{}:{}", host, port.number)];
        const auto conflict = std::find_if(others.begin(), others.end(), [&](const auto& other) {
          return other.first != port.protocol && exports_overlap(other.second->export_to, service->export_to);
        });
        if (conflict != others.end()) {
          problems.push_back(
              {Severity::warning, "IST0177", *object.file, object.line_of("spec.ports"), "spec.ports",
               object.key->to_string(),
               fmt::format("{}:{} is {} here and {} in {}: use one protocol", host, port.number,
                           protocol_name(port.protocol), protocol_name(conflict->first), conflict->second->rule())});
        }
        const bool known = std::any_of(others.begin(), others.end(), [&](const auto& other) {
          return other.first == port.protocol && other.second->export_to == service->export_to;
        });
        if (!known && others.size() < max_compared) others.emplace_back(port.protocol, service);
      }
    }
  }
  return problems;
}

}  // namespace sluice::resources
