// What http rules say of headers, CORS and retries.
#include <algorithm>
#include <charconv>

#include "resources/fields.h"
#include "resources/names.h"
#include "resources/virtual_service.h"

namespace sluice::resources {
namespace {

constexpr std::uint64_t max_attempts = 100;

// UNSPECIFIED is FORWARD.
constexpr std::pair<std::string_view, bool> preflights[] = {
    {"UNSPECIFIED", true}, {"FORWARD", true}, {"IGNORE", false}};

constexpr std::pair<std::string_view, std::uint32_t> conditions[] = {
    {"5xx", HttpRetries::server_error},
    {"gateway-error", HttpRetries::gateway_error},
    {"reset", HttpRetries::reset},
    {"reset-before-request", HttpRetries::reset_before_request},
    {"connect-failure", HttpRetries::connect_failure},
    {"refused-stream", HttpRetries::refused_stream},
    {"retriable-4xx", HttpRetries::retriable_4xx},
    {"cancelled", HttpRetries::grpc_cancelled},
    {"deadline-exceeded", HttpRetries::grpc_deadline_exceeded},
    {"internal", HttpRetries::grpc_internal},
    {"resource-exhausted", HttpRetries::grpc_resource_exhausted},
    {"unavailable", HttpRetries::grpc_unavailable}};

// Of Envoy alone.
constexpr std::string_view other_conditions[] = {"envoy-ratelimited", "retriable-headers",
                                                 "http3-post-connect-failure"};

// RFC 9110 section 5.6.2
bool is_token(std::string_view text) {
  constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || marks.find(c) != marks.npos;
  });
}

// RFC 9110 section 5.5
bool is_field_value(std::string_view text) {
  const bool trimmed =
      text.empty() || (text.front() != ' ' && text.front() != '\t' && text.back() != ' ' && text.back() != '\t');
  return trimmed && std::all_of(text.begin(), text.end(), [](char c) {
           return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
         });
}

// Names of methods or fields, "*" among them.
std::vector<std::string> read_tokens(yaml::Reader& reader, std::string_view key) {
  std::vector<std::string> tokens;
  for (const auto& item : reader.list(key, max_list_items)) {
    auto text = item.text();
    if (!text) continue;
    if (!is_token(*text)) item.fault("expected a name without spaces, found " + item.shown());
    tokens.push_back(*std::move(text));
  }
  return tokens;
}

void read_conditions(const yaml::Value& value, HttpRetries& retries, Findings& findings) {
  const auto text = value.text();
  if (!text || text->empty()) return;
  retries.on = 0;
  auto rest = std::string_view(*text);
  while (!rest.empty()) {
    const auto end = std::min(rest.find(','), rest.size());
    auto name = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    const auto known = std::find_if(std::begin(conditions), std::end(conditions),
                                    [&](const auto& condition) { return condition.first == name; });
    std::uint16_t status = 0;
    const auto [last, error] = std::from_chars(name.data(), name.data() + name.size(), status);
    if (known != std::end(conditions))
      retries.on |= known->second;
    else if (error == std::errc{} && last == name.data() + name.size() && status >= 100 && status <= 599)
      retries.on_statuses.push_back(status);
    else if (std::find(std::begin(other_conditions), std::end(other_conditions), name) != std::end(other_conditions))
      findings.warn("SLU0003", value, fmt::format("{} is not read: it is no condition here", name));
    else if (name != "retriable-status-codes")  // the numbers say it all
      value.fault(fmt::format("{} is no condition that a request is tried again on", yaml::quote(std::string(name))));
  }
}

// What decides where a message ends, or is between two hops, is nobody's to alter.
bool is_framing(std::string_view name) {
  constexpr std::string_view names[] = {"connection", "content-length", "keep-alive",        "proxy-connection",
                                        "te",         "trailer",        "transfer-encoding", "upgrade"};
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

// The name of a field that is altered; nullopt: it is not.
std::optional<std::string> read_field_name(const yaml::Value& at, std::string_view text, bool may_be_authority,
                                           Findings& findings) {
  auto name = normalise_name(text);
  const bool authority = name == ":authority" || name == "host";
  if (!is_token(name) && name != ":authority") at.fault("is no name of a header: " + yaml::quote(name));
  if (authority && !may_be_authority) at.fault("the authority is that of the request, and can be set and nothing else");
  if (!is_framing(name)) return name;
  findings.warn("SLU0003", at, fmt::format("{} belongs to the connection and is not altered: remove it", name));
  return std::nullopt;
}

std::vector<std::pair<std::string, std::string>> read_fields(yaml::Reader reader, bool of_request, Findings& findings) {
  std::vector<std::pair<std::string, std::string>> fields;
  for (const auto& entry : reader.entries()) {
    auto text = entry.text();
    auto name = read_field_name(entry, entry.node().key, of_request, findings);
    if (!text || !name) continue;
    if (!is_field_value(*text)) entry.fault("is no value of a header: " + entry.shown());
    if (text->find('%') != text->npos)
      findings.warn("SLU0003", entry, "what is between % characters is not replaced: it is sent as written");
    fields.emplace_back(*std::move(name), *std::move(text));
  }
  return fields;
}

HeaderOperations read_operations(yaml::Reader reader, bool of_request, Findings& findings) {
  HeaderOperations operations;
  operations.set = read_fields(reader.section("set"), of_request, findings);
  operations.add = read_fields(reader.section("add"), of_request, findings);
  for (const auto& item : reader.list("remove", max_list_items)) {
    const auto text = item.text();
    auto name = text ? read_field_name(item, *text, false, findings) : std::nullopt;
    if (name) operations.remove.push_back(*std::move(name));
  }
  reader.finish();
  return operations;
}

}  // namespace

std::optional<CorsPolicy> read_cors(yaml::Reader reader) {
  if (!reader.present()) return std::nullopt;
  CorsPolicy cors;
  for (auto& origin : read_texts(reader, "allowOrigin"))
    cors.allow_origins.push_back({StringMatch::Kind::exact, std::move(origin)});
  for (const auto& item : reader.list("allowOrigins", max_list_items)) {
    if (auto match = read_string_match(item, false)) cors.allow_origins.push_back(*std::move(match));
  }
  cors.allow_methods = read_tokens(reader, "allowMethods");
  cors.allow_headers = read_tokens(reader, "allowHeaders");
  cors.expose_headers = read_tokens(reader, "exposeHeaders");
  if (const auto age = read_duration_ms(reader, "maxAge")) cors.max_age_s = *age / 1000;
  reader.read("allowCredentials", cors.allow_credentials);
  reader.read<bool>("unmatchedPreflights", cors.forward_unmatched_preflights, preflights);
  reader.finish();
  return cors;
}

std::optional<HttpRetries> read_retries(yaml::Reader reader, Findings& findings) {
  if (!reader.present()) return std::nullopt;
  HttpRetries retries;
  reader.read("attempts", retries.attempts, 0, max_attempts);
  retries.per_try_timeout_ms = read_duration_ms(reader, "perTryTimeout").value_or(0);
  if (const auto value = reader.find("retryOn")) read_conditions(*value, retries, findings);
  retries.backoff_ms = read_duration_ms(reader, "backoff").value_or(retries.backoff_ms);
  reader.read("retryRemoteLocalities", retries.remote_localities);
  bool unused = false;  // another endpoint is tried anyway
  reader.read("retryIgnorePreviousHosts", unused);
  reader.finish();
  return retries;
}

HttpHeaders read_headers(yaml::Reader& outer, Findings& findings) {
  auto reader = outer.section("headers");
  HttpHeaders headers{read_operations(reader.section("request"), true, findings),
                      read_operations(reader.section("response"), false, findings)};
  reader.finish();
  return headers;
}

}  // namespace sluice::resources
