// From where rules are looked at.
#pragma once

#include <string>
#include <utility>

#include "policy/labels.h"

namespace sluice {

struct Vantage {
  // The agent's: rules that apply to "mesh".
  static Vantage mesh() { return {}; }
  // A gateway's: rules that apply to a Gateway whose selector `labels` satisfy. `namespace_name` is that of the
  // workload, which VirtualServices must be exported to.
  static Vantage gateway(Labels labels, std::string namespace_name) {
    return {false, false, std::move(labels), std::move(namespace_name)};
  }
  // The same, and calls come in: Snapshot::ingress() is there.
  static Vantage ingress(Labels labels, std::string namespace_name) {
    return {false, true, std::move(labels), std::move(namespace_name)};
  }

  bool is_mesh = true;
  bool is_ingress = false;
  Labels labels;
  std::string namespace_name;
};

}  // namespace sluice
