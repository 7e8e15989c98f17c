// networking.istio.io ServiceEntry: the fields, and the rules that Istio's validation and CRD schema make about them.
#pragma once

#include <string>
#include <vector>

#include "policy/service.h"
#include "resources/document.h"
#include "settings/strict_yaml.h"

namespace sluice::resources {

namespace yaml = settings::yaml;

// What is wrong with one object while it is read.
struct Findings {
  yaml::Context context{.null_is_absent = true, .faults = {}, .absent = {}};
  std::vector<Problem> warnings;  // with severity, code, line, field and message

  void warn(std::string code, unsigned line, std::string field, std::string message) {
    warnings.push_back({Severity::warning, std::move(code), "", line, std::move(field), "", std::move(message)});
  }
};

// The service counts only when `findings` has no errors. `service` comes with namespace, name and creation time.
Service read_service_entry(yaml::Reader spec, Service service, Findings& findings);

// A spec between its fields and its rules.
struct Draft {
  Service service;
  yaml::Reader spec;
  Findings& findings;
  std::vector<yaml::Value> hosts;  // one each of service.hosts
  std::vector<yaml::Value> ports;  // one each of service.ports
  bool has_cidr = false;
  bool has_endpoints = false;
  bool has_selector = false;
};

void read_hosts(Draft& draft);
void read_addresses(Draft& draft);
void read_ports(Draft& draft);
void read_endpoints(Draft& draft);
void read_export_to(Draft& draft);
// The rules that span fields, all of which are sound by themselves.
void check_service_entry(Draft& draft);

}  // namespace sluice::resources
