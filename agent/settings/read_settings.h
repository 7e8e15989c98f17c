// From a YAML tree to typed settings. What is wrong is left in the context's faults; the result counts only without
// any.
#pragma once

#include "settings/settings.h"
#include "settings/strict_yaml.h"

namespace sluice::settings {

// The whole of a file of at most `max_bytes`.
Result<std::string> read_file(const std::string& path, std::size_t max_bytes);
// The one document of a file's text. Duplicate keys are faults of it.
Result<yaml::Document> parse_document(std::string_view text, const std::string& path);
// The first of `faults` in the file, as "FILE:LINE: key: what is wrong".
std::optional<Error> first_error(const std::string& path, const std::vector<yaml::Fault>& faults);

AgentSettings read_agent(const yaml::Node& root, yaml::Context& context);
GatewaySettings read_gateway(const yaml::Node& root, yaml::Context& context);
IngressSettings read_ingress(const yaml::Node& root, yaml::Context& context);

// The sections that all roles have.
Node read_node(yaml::Reader reader);
Resources read_resources(yaml::Reader reader);
Limits read_limits(yaml::Reader reader);
Audit read_audit(yaml::Reader reader);
Admin read_admin(yaml::Reader reader);

// Milliseconds from 1 to `max`.
void read_ms(yaml::Reader& reader, std::string_view key, Milliseconds& out, std::uint64_t max);
// "ADDRESS:PORT" with a port; a fault says how, after `example`.
std::optional<Endpoint> read_endpoint(const yaml::Value& value, std::string_view example);
// The keys of Outside, which stand beside others.
void read_outside(yaml::Reader& reader, Outside& outside);
// `needed`: transport tls is used, and each of the files is required.
TransportTls read_transport_tls(yaml::Reader reader, bool needed);
// Is it a Kubernetes name: a label of lower-case letters, digits and '-', or with `dots` several joined by dots?
bool is_kubernetes_name(std::string_view name, bool dots);
void read_labels(yaml::Reader reader, std::map<std::string, std::string>& out);

// The list `key` of CIDRs. `whole_refused`: why a range of every address is refused; empty when it is fine.
std::vector<Cidr> read_cidrs(yaml::Reader& reader, std::string_view key, std::string_view whole_refused);

inline constexpr std::size_t max_list_items = 10'000;
inline constexpr std::pair<std::string_view, Transport> transports[] = {
    {"raw", Transport::raw}, {"proxy", Transport::proxy}, {"tls", Transport::tls}};

}  // namespace sluice::settings
