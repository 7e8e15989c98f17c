// What http rules may do besides routing, as far as its form goes.
#include <algorithm>

#include "resources/fields.h"
#include "resources/virtual_service.h"

namespace sluice::resources {
namespace {

using Type = Field::Type;

constexpr Field operation_fields[] = {{"set", Type::text_map}, {"add", Type::text_map}, {"remove", Type::texts}};
constexpr Field header_fields[] = {{"request", Type::object, operation_fields},
                                   {"response", Type::object, operation_fields}};

constexpr std::string_view derived_ports[] = {"FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"};
constexpr Field redirect_fields[] = {{"uri"},
                                     {"prefixRewrite"},
                                     {"authority"},
                                     {"port", Type::count},
                                     {"derivePort", Type::choice, {}, derived_ports},
                                     {"scheme"},
                                     {"redirectCode", Type::count}};

constexpr Field body_fields[] = {{"string"}, {"bytes"}};
constexpr Field response_fields[] = {{"status", Type::count}, {"body", Type::object, body_fields}};

constexpr Field delegate_fields[] = {{"name"}, {"namespace"}};

constexpr Field regex_rewrite_fields[] = {{"match"}, {"rewrite"}};
constexpr Field rewrite_fields[] = {{"uri"}, {"authority"}, {"uriRegexRewrite", Type::object, regex_rewrite_fields}};

constexpr Field percent_fields[] = {{"value", Type::number}};
constexpr Field delay_fields[] = {{"percent", Type::count},
                                  {"fixedDelay", Type::duration},
                                  {"exponentialDelay", Type::duration},
                                  {"percentage", Type::object, percent_fields}};
constexpr Field abort_fields[] = {
    {"httpStatus", Type::count}, {"grpcStatus"}, {"http2Error"}, {"percentage", Type::object, percent_fields}};
constexpr Field fault_fields[] = {{"delay", Type::object, delay_fields}, {"abort", Type::object, abort_fields}};

constexpr Field port_fields[] = {{"number", Type::count}};
constexpr Field destination_fields[] = {{"host"}, {"subset"}, {"port", Type::object, port_fields}};
constexpr Field mirror_fields[] = {{"destination", Type::object, destination_fields},
                                   {"percentage", Type::object, percent_fields}};

constexpr std::string_view preflights[] = {"UNSPECIFIED", "FORWARD", "IGNORE"};
constexpr Field cors_fields[] = {
    {"allowOrigin", Type::texts},     {"allowOrigins", Type::string_matches},
    {"allowMethods", Type::texts},    {"allowHeaders", Type::texts},
    {"exposeHeaders", Type::texts},   {"maxAge", Type::duration},
    {"allowCredentials", Type::flag}, {"unmatchedPreflights", Type::choice, {}, preflights}};

constexpr Field retry_fields[] = {{"attempts", Type::count},
                                  {"perTryTimeout", Type::duration},
                                  {"retryOn"},
                                  {"retryRemoteLocalities", Type::flag},
                                  {"retryIgnorePreviousHosts", Type::flag},
                                  {"backoff", Type::duration}};

constexpr Field action_fields[] = {
    {"redirect", Type::object, redirect_fields}, {"directResponse", Type::object, response_fields},
    {"delegate", Type::object, delegate_fields}, {"rewrite", Type::object, rewrite_fields},
    {"fault", Type::object, fault_fields},       {"mirror", Type::object, destination_fields},
    {"mirrors", Type::objects, mirror_fields},   {"corsPolicy", Type::object, cors_fields}};

// They alter no call, or nothing without one of the actions.
constexpr Field other_fields[] = {{"timeout", Type::duration},
                                  {"retries", Type::object, retry_fields},
                                  {"mirrorPercent", Type::count},
                                  {"mirrorPercentage", Type::object, percent_fields}};

constexpr Field headers_field[] = {{"headers", Type::object, header_fields}};

void check_redirect(yaml::Reader redirect) {
  if (!redirect.present()) return;
  if (redirect.find("uri") && redirect.find("prefixRewrite")) {
    redirect.fault("prefixRewrite", "excludes uri: keep one of them");
  }
  const auto code = redirect.find("redirectCode");
  if (code) code->integer(300, 399);
}

void check_response(yaml::Reader response) {
  if (!response.present()) return;
  const auto status = response.find("status");
  if (!status) return response.fault("status", "is required, like 503");
  status->integer(100, 599);
}

void check_rewrite(yaml::Reader rewrite) {
  if (!rewrite.present()) return;
  const bool uri = rewrite.find("uri").has_value();
  const bool regex = rewrite.find("uriRegexRewrite").has_value();
  if (uri && regex) rewrite.fault("uriRegexRewrite", "excludes uri: keep one of them");
  if (!uri && !regex && !rewrite.find("authority"))
    rewrite.fault("uri", "one of uri, uriRegexRewrite and authority is required");
}

}  // namespace

bool check_headers(yaml::Reader& reader) {
  return !check_fields(reader, headers_field).empty();
}

std::vector<std::string> read_http_actions(yaml::Reader& rule) {
  auto actions = check_fields(rule, action_fields);
  check_fields(rule, other_fields);
  check_redirect(rule.section("redirect"));
  check_response(rule.section("directResponse"));
  check_rewrite(rule.section("rewrite"));
  return actions;
}

}  // namespace sluice::resources
