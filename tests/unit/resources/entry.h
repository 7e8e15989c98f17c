// Builds the YAML of ServiceEntries for the tests.
#pragma once

#include <string>
#include <string_view>

namespace sluice::resources {

// A ServiceEntry ns/se whose spec is `spec`, starting in line 7; `spec` needs no indentation.
inline std::string entry(std::string_view spec, std::string_view name = "se", std::string_view namespace_name = "ns") {
  std::string text = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: " + std::string(name) +
                     "\n  namespace: " + std::string(namespace_name) + "\nspec:\n";
  while (!spec.empty()) {
    const auto end = spec.find('\n');
    text += "  " + std::string(spec.substr(0, end)) + "\n";
    spec.remove_prefix(end == spec.npos ? spec.size() : end + 1);
  }
  return text;
}

}  // namespace sluice::resources
