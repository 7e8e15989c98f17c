// networking.istio.io VirtualService: the fields, and the rules that Istio's validation and CRD schema make about them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "policy/routes.h"
#include "resources/findings.h"

namespace sluice::resources {

// The VirtualService counts only when `findings` has no errors.
VirtualService read_virtual_service(yaml::Reader spec, ObjectName object, Findings& findings);

// The parts below read `http`, and what it shares with `tls` and `tcp`.

void read_http_rules(yaml::Reader& spec, VirtualService& service, Findings& findings);
// What a rule does besides routing.
void read_http_actions(yaml::Reader& reader, const std::string& own_namespace, HttpRule& rule, Findings& findings);
std::optional<CorsPolicy> read_cors(yaml::Reader reader);
std::optional<HttpRetries> read_retries(yaml::Reader reader, Findings& findings);
// "headers" of a rule or of its destination.
HttpHeaders read_headers(yaml::Reader& outer, Findings& findings);

// A list of gateways, each "mesh" or "namespace/name"; nullopt when it is absent or empty.
std::optional<std::vector<std::string>> read_gateways(yaml::Reader& reader, const std::string& own_namespace,
                                                      Findings& findings);
Destination read_destination(yaml::Reader reader, const std::string& own_namespace);
// A route's destinations with their weights. `headers`: where theirs may alter a message (http only), its findings.
std::vector<Destination> read_route(yaml::Reader& rule, const std::string& own_namespace, Findings* headers);
// "sourceNamespace": a namespace, or empty.
std::string read_source_namespace(yaml::Reader& match);

}  // namespace sluice::resources
