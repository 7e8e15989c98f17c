#include "policy/http_actions.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>

#include "policy/http_path.h"

namespace sluice {
namespace {

constexpr std::size_t max_path_bytes = 64UL * 1024;
// What replacing may write at most before its result is looked at.
constexpr std::size_t max_replaced_bytes = 4UL * 1024 * 1024;

bool is_authority(std::string_view name) {
  return name == "host" || name == ":authority";
}

std::string with_query(std::string path, std::string_view query) {
  if (!query.empty()) path.append("?").append(query);
  return path;
}

// "name", "name:80" and "[::1]:80" without their port.
std::string_view without_port(std::string_view authority) {
  const auto colon = authority.rfind(':');
  if (colon == authority.npos || authority.find(']', colon) != authority.npos) return authority;
  return authority.substr(0, colon);
}

// The part of the path that the match took: its prefix, or the whole.
std::size_t matched_bytes(const HttpMatch* match, std::string_view path) {
  if (match == nullptr || !match->uri) return std::min<std::size_t>(path.size(), 1);  // as the prefix "/"
  if (match->uri->kind != StringMatch::Kind::prefix) return path.size();
  return std::min(match->uri->value.size(), path.size());
}

std::string join(const std::vector<std::string>& items) {
  return fmt::format("{}", fmt::join(items, ","));
}

}  // namespace

std::string https_location(const HttpRequest& request) {
  return with_query(fmt::format("https://{}{}", without_port(request.authority), request.path), request.query);
}

Fault choose_fault(const HttpFault& fault, std::uint64_t delay_pick, std::uint64_t abort_pick) {
  Fault chosen;
  if (fault.delay && is_chosen(fault.delay->share, delay_pick)) chosen.delay_ms = fault.delay->delay_ms;
  if (fault.abort && is_chosen(fault.abort->share, abort_pick)) chosen.abort = &*fault.abort;
  return chosen;
}

void apply_operations(const HeaderOperations& operations, HeaderFields& fields) {
  const auto remove = [&](const std::string& name) {
    std::erase_if(fields, [&](const auto& field) { return field.first == name; });
  };
  for (const auto& name : operations.remove) {
    if (!is_authority(name)) remove(name);
  }
  for (const auto& [name, value] : operations.set) {
    if (is_authority(name)) continue;
    remove(name);
    fields.emplace_back(name, value);
  }
  for (const auto& [name, value] : operations.add) {
    if (!is_authority(name)) fields.emplace_back(name, value);
  }
}

const std::string* find_authority(const HeaderOperations& operations) {
  for (const auto* list : {&operations.set, &operations.add}) {
    for (const auto& [name, value] : *list) {
      if (is_authority(name)) return &value;
    }
  }
  return nullptr;
}

HttpActions::HttpActions(const HttpRule& rule) : rule_(&rule) {
  if (rule.rewrite && !rule.rewrite->regex.empty()) rewrite_ = compile_regex(rule.rewrite->regex);
  plain_ = altering_action(rule).empty();
  if (!rule.cors) return;
  for (const auto& origin : rule.cors->allow_origins) {
    any_origin_ = any_origin_ || origin == StringMatch{StringMatch::Kind::exact, "*"};
    origins_.emplace_back(origin);
  }
}

std::string HttpActions::location(const HttpRequest& request, const HttpMatch* match, std::uint16_t port) const {
  using Derived = HttpRedirect::DerivedPort;
  const auto& redirect = *rule_->redirect;
  const auto scheme = redirect.scheme.empty() ? request.scheme : std::string_view(redirect.scheme);
  auto authority = std::string(redirect.authority.empty() ? request.authority : std::string_view(redirect.authority));
  const std::uint16_t usual = scheme == "https" ? 443 : 80;
  const auto set_port = [&](std::uint16_t number) {
    authority = without_port(authority);
    if (number != usual) authority += fmt::format(":{}", number);
  };
  const bool other_scheme = redirect.authority.empty() && scheme != request.scheme;
  if (redirect.port != 0) {
    set_port(redirect.port);
  } else if (redirect.derived_port == Derived::from_request_port) {
    set_port(port);
  } else if (redirect.derived_port == Derived::from_protocol_default || other_scheme) {
    set_port(usual);
  }
  const auto origin = fmt::format("{}://{}", scheme, authority);
  if (!redirect.uri.empty()) return origin + redirect.uri;
  if (redirect.prefix_rewrite.empty()) return with_query(origin + std::string(request.path), request.query);
  const auto rest = request.path.substr(matched_bytes(match, request.path));
  return with_query(origin + redirect.prefix_rewrite + std::string(rest), request.query);
}

std::optional<std::string> HttpActions::rewrite_target(const HttpRequest& request, const HttpMatch* match) const {
  auto path = std::string(request.path);
  const bool by_uri = rule_->rewrite && !rule_->rewrite->uri.empty();
  if (by_uri) {
    path = rule_->rewrite->uri + path.substr(matched_bytes(match, request.path));
  } else if (rewrite_ && rewrite_->ok()) {
    if (path.size() * (rule_->rewrite->substitution.size() + 1) > max_replaced_bytes) return std::nullopt;
    re2::RE2::GlobalReplace(&path, *rewrite_, rule_->rewrite->substitution);
  } else {
    return with_query(std::move(path), request.query);
  }
  if (!path.starts_with('/')) path.insert(path.begin(), '/');
  // The query may be in the rewrite itself.
  if (path.size() > max_path_bytes || !has_one_reading(path.substr(0, path.find('?')))) return std::nullopt;
  return with_query(std::move(path), request.query);
}

std::string_view HttpActions::rewrite_authority(const HttpRequest& request, const Destination& destination) const {
  if (const auto* authority = find_authority(destination.headers.request)) return *authority;
  if (rule_->rewrite && !rule_->rewrite->authority.empty()) return rule_->rewrite->authority;
  if (const auto* authority = find_authority(rule_->headers.request)) return *authority;
  return request.authority;
}

void HttpActions::alter_request(const Destination& destination, HeaderFields& fields) const {
  apply_operations(destination.headers.request, fields);
  apply_operations(rule_->headers.request, fields);
}

void HttpActions::alter_response(const Destination& destination, HeaderFields& fields) const {
  apply_operations(destination.headers.response, fields);
  apply_operations(rule_->headers.response, fields);
}

bool HttpActions::allows_origin(std::string_view origin) const {
  return any_origin_ || std::any_of(origins_.begin(), origins_.end(),
                                    [&](const TextMatcher& matcher) { return matcher.matches(origin); });
}

CorsAnswer HttpActions::answer_cors(const HttpRequest& request) const {
  CorsAnswer answer;
  if (!rule_->cors) return answer;
  const auto& policy = *rule_->cors;
  std::string scratch;
  const auto origin = find_field(request.fields, "origin", scratch);
  if (!origin || origin->empty()) return answer;
  std::string unused;
  const bool preflight =
      request.method == "OPTIONS" && find_field(request.fields, "access-control-request-method", unused);
  if (!allows_origin(*origin)) {
    if (preflight && !policy.forward_unmatched_preflights) answer.kind = CorsAnswer::Kind::preflight;
    return answer;
  }
  const auto add = [&](const char* name, std::string value) {
    if (!value.empty()) answer.fields.emplace_back(name, std::move(value));
  };
  add("access-control-allow-origin", std::string(*origin));
  add("vary", "origin");  // a cache must not give it to another one
  if (policy.allow_credentials) add("access-control-allow-credentials", "true");
  if (!preflight) {
    add("access-control-expose-headers", join(policy.expose_headers));
    return answer;
  }
  answer.kind = CorsAnswer::Kind::preflight;
  add("access-control-allow-methods", join(policy.allow_methods));
  add("access-control-allow-headers", join(policy.allow_headers));
  if (policy.max_age_s) add("access-control-max-age", fmt::format("{}", *policy.max_age_s));
  return answer;
}

}  // namespace sluice
