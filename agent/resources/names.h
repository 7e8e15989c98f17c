// What Kubernetes and Istio accept as names.
#pragma once

#include <string>
#include <string_view>

namespace sluice::resources {

// RFC 1123 label as Istio reads it: 1 to 63 letters (of either case), digits and '-', not at the ends.
bool is_label(std::string_view text);
// Kubernetes object names: lower-case labels joined by dots (namespaces: `is_namespace`, a single one).
bool is_object_name(std::string_view text);
bool is_namespace(std::string_view text);
// Kubernetes labels: "[dns-prefix/]name", and a value that may be empty.
bool is_label_key(std::string_view text);
bool is_label_value(std::string_view text);
// A DNS name of labels whose last one is not a number; at most 255 bytes. Without a trailing dot.
bool is_dns_name(std::string_view text);
// A DNS name whose first label may be "*", "*-suffix" or "*suffix". "*" alone is one.
bool is_wildcard_dns_name(std::string_view text);

// Lower case, one trailing dot less.
std::string normalise_name(std::string_view text);

}  // namespace sluice::resources
