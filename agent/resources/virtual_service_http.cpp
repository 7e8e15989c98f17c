// The http rules of a VirtualService.
#include <algorithm>

#include "resources/fields.h"
#include "resources/names.h"
#include "resources/virtual_service.h"

namespace sluice::resources {
namespace {

constexpr std::size_t max_rules = 4096;
constexpr std::size_t max_matches = 1024;

using NamedMatches = std::vector<std::pair<std::string, StringMatch>>;

std::optional<StringMatch> read_optional_match(yaml::Reader& reader, std::string_view key) {
  const auto value = reader.find(key);
  return value ? read_string_match(*value, false) : std::nullopt;
}

NamedMatches read_header_matches(yaml::Reader reader) {
  NamedMatches matches;
  for (const auto& entry : reader.entries()) {
    auto match = read_string_match(entry, true);
    auto name = normalise_name(entry.node().key);
    if (name.empty()) entry.fault("is no name of a header");
    if (match) matches.emplace_back(std::move(name), *std::move(match));
  }
  return matches;
}

// An empty exact match is a value here: "?key" and "?key=".
NamedMatches read_parameters(yaml::Reader reader) {
  NamedMatches matches;
  for (const auto& entry : reader.entries()) {
    auto match = read_string_match(entry, true);
    if (!match) continue;
    if (match->kind == StringMatch::Kind::present && yaml::Reader(entry).find("exact")) {
      match->kind = StringMatch::Kind::exact;
    }
    matches.emplace_back(entry.node().key, *std::move(match));
  }
  return matches;
}

void check_case(yaml::Reader& reader, const HttpMatch& match) {
  if (!match.ignore_uri_case || !match.uri || match.uri->kind != StringMatch::Kind::regex) return;
  reader.fault("ignoreUriCase", "goes with exact and prefix only: begin the regex with (?i) instead");
}

HttpMatch read_match(const yaml::Value& value, const VirtualService& service, Findings& findings) {
  HttpMatch match;
  yaml::Reader reader(value);
  if (!reader.present()) return match;
  match.uri = read_optional_match(reader, "uri");
  match.scheme = read_optional_match(reader, "scheme");
  match.method = read_optional_match(reader, "method");
  match.authority = read_optional_match(reader, "authority");
  match.headers = read_header_matches(reader.section("headers"));
  match.without_headers = read_header_matches(reader.section("withoutHeaders"));
  match.query_params = read_parameters(reader.section("queryParams"));
  reader.read("ignoreUriCase", match.ignore_uri_case);
  match.port = read_port_number(reader, "port");
  match.source_labels = read_labels(reader.section("sourceLabels"));
  match.source_namespace = read_source_namespace(reader);
  match.gateways = read_gateways(reader, service.object.namespace_name, findings);
  std::string unused;
  reader.read("name", unused);
  reader.read("statPrefix", unused);
  check_case(reader, match);
  reader.finish();
  return match;
}

void check_exclusive(yaml::Reader& reader, const HttpRule& rule) {
  const bool ends[] = {!rule.destinations.empty(), rule.redirect.has_value(), rule.direct_response.has_value(),
                       rule.delegate.has_value()};
  const auto count = std::count(std::begin(ends), std::end(ends), true);
  if (count == 0) reader.fault("route", "is required, or redirect, directResponse or delegate instead");
  if (count > 1) reader.fault("route", "route, redirect, directResponse and delegate exclude each other: keep one");
  if (rule.redirect && (rule.fault || rule.rewrite)) {
    reader.fault("redirect", "excludes fault and rewrite: remove them");
  }
}

HttpRule read_rule(const yaml::Value& value, const VirtualService& service, Findings& findings) {
  HttpRule rule;
  yaml::Reader reader(value);
  if (!reader.present()) return rule;
  reader.read("name", rule.name);
  for (const auto& item : reader.list("match", max_matches)) {
    rule.matches.push_back(read_match(item, service, findings));
  }
  const auto& own_namespace = service.object.namespace_name;
  rule.destinations = read_route(reader, own_namespace, &findings);
  read_http_actions(reader, own_namespace, rule, findings);
  if (!findings.context.has_wrong_values()) check_exclusive(reader, rule);
  reader.finish();
  return rule;
}

}  // namespace

void read_http_rules(yaml::Reader& spec, VirtualService& service, Findings& findings) {
  for (const auto& item : spec.list("http", max_rules)) service.http.push_back(read_rule(item, service, findings));
}

}  // namespace sluice::resources
