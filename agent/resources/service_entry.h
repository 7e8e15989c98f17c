// networking.istio.io ServiceEntry: the fields, and the rules that Istio's validation and CRD schema make about them.
#pragma once

#include <vector>

#include "policy/service.h"
#include "resources/findings.h"

namespace sluice::resources {

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
// The rules that span fields, all of which are sound by themselves.
void check_service_entry(Draft& draft);

}  // namespace sluice::resources
