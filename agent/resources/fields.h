// Fields that several kinds of object have in common, and those that are known but mean nothing to Sluice.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/routes.h"
#include "resources/findings.h"

namespace sluice::resources {

inline constexpr std::size_t max_list_items = 4096;
inline constexpr std::size_t max_host_items = 256;
inline constexpr std::uint64_t max_count = std::numeric_limits<std::int32_t>::max();

// The name of Kubernetes Services, by which short names are completed.
inline constexpr std::string_view cluster_domain = "svc.cluster.local";

// Kubernetes labels: keys "[prefix/]name", values of at most 63 bytes.
Labels read_labels(yaml::Reader reader);
std::vector<std::string> read_texts(yaml::Reader& reader, std::string_view key);

// spec.exportTo, as Service::export_to says. `allow_nobody`: "~" may be in it.
std::vector<std::string> read_export_to(yaml::Reader& spec, const std::string& own_namespace, bool allow_nobody);

// "1h", "1.5s", "250ms": milliseconds, rounded up. nullopt when absent or wrong.
std::optional<std::uint32_t> read_duration_ms(yaml::Reader& reader, std::string_view key);

// A number from 0; nullopt when absent or wrong.
std::optional<double> read_number(yaml::Reader& reader, std::string_view key);

// A port from 1 to 65535; nullopt when absent or wrong.
std::optional<std::uint16_t> read_port_number(yaml::Reader& reader, std::string_view key);

// "name" -> "name.namespace.svc.cluster.local"; names with a dot, wildcards and addresses stay.
std::string complete_host(std::string host, std::string_view namespace_name);

// A fault unless `text`, of `value`, is an expression of RE2 of at most 1,024 bytes.
void check_regex(const yaml::Value& value, const std::string& text);

// StringMatch: one of exact, prefix, regex. `may_be_empty`: none of them, or an empty exact, means "present".
std::optional<StringMatch> read_string_match(const yaml::Value& value, bool may_be_empty);

// One field that Sluice does not use: its name and what Istio's API takes as its value.
struct Field {
  enum class Type : std::uint8_t {
    text,
    flag,
    count,     // an integer from 0
    number,    // 0 or more
    duration,  // see read_duration_ms
    texts,     // a list
    text_map,
    count_map,
    choice,  // one of `choices`
    object,  // with `fields`
    objects  // a list of them
  };
  std::string_view name;
  Type type = Type::text;
  // Initialisers, so that a table may leave them out (-Wmissing-field-initializers).
  std::span<const Field> fields = {};              // NOLINT(readability-redundant-member-init)
  std::span<const std::string_view> choices = {};  // NOLINT(readability-redundant-member-init)
};

// Reads the types of `fields`, and nothing else, from `reader`. Returns the names of those that are there.
std::vector<std::string> check_fields(yaml::Reader& reader, std::span<const Field> fields);

}  // namespace sluice::resources
