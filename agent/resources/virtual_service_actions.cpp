// What http rules do besides routing.
#include <algorithm>
#include <cmath>

#include "policy/http_match.h"
#include "resources/fields.h"
#include "resources/names.h"
#include "resources/virtual_service.h"

namespace sluice::resources {
namespace {

constexpr std::size_t max_mirrors = 16;
constexpr std::size_t max_substitution_bytes = 1024;
constexpr std::size_t max_body_bytes = std::size_t{1024} * 1024;

constexpr std::pair<std::string_view, HttpRedirect::DerivedPort> derived_ports[] = {
    {"FROM_PROTOCOL_DEFAULT", HttpRedirect::DerivedPort::from_protocol_default},
    {"FROM_REQUEST_PORT", HttpRedirect::DerivedPort::from_request_port}};

// The codes of gRPC by their number.
constexpr std::string_view grpc_statuses[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

// Could it stand in a request line? Letters of other scripts have to be encoded.
bool is_uri_text(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f && c != '\\' && c != '#'; });
}

// A text that becomes part of a request line or a Location.
void check_uri(yaml::Reader& reader, std::string_view key, const std::string& uri) {
  if (!is_uri_text(uri)) reader.fault(key, "has characters that have to be percent-encoded: " + yaml::quote(uri));
}
void read_uri(yaml::Reader& reader, std::string_view key, std::string& uri) {
  reader.read(key, uri);
  check_uri(reader, key, uri);
}

void read_authority(yaml::Reader& reader, std::string& authority) {
  read_uri(reader, "authority", authority);
  if (authority.find_first_of("/?@") != authority.npos)
    reader.fault("authority", "expected a host, with a port at most, found " + yaml::quote(authority));
}

std::optional<HttpRedirect> read_redirect(yaml::Reader reader) {
  if (!reader.present()) return std::nullopt;
  HttpRedirect redirect;
  reader.read("uri", redirect.uri);
  // A fragment is for the client alone.
  auto without_fragment = redirect.uri;
  if (const auto hash = without_fragment.find('#'); hash != without_fragment.npos) without_fragment.erase(hash, 1);
  check_uri(reader, "uri", without_fragment);
  read_uri(reader, "prefixRewrite", redirect.prefix_rewrite);
  read_authority(reader, redirect.authority);
  reader.read("scheme", redirect.scheme);
  if (!redirect.scheme.empty() && redirect.scheme != "http" && redirect.scheme != "https")
    reader.fault("scheme", "expected http or https, found " + yaml::quote(redirect.scheme));
  redirect.port = read_port_number(reader, "port").value_or(0);
  reader.read<HttpRedirect::DerivedPort>("derivePort", redirect.derived_port, derived_ports);
  reader.read("redirectCode", redirect.code, 300, 399);
  if (!redirect.uri.empty() && !redirect.prefix_rewrite.empty())
    reader.fault("prefixRewrite", "excludes uri: keep one of them");
  const bool changes = !redirect.uri.empty() || !redirect.prefix_rewrite.empty() || !redirect.authority.empty() ||
                       !redirect.scheme.empty() || reader.find("port") || reader.find("derivePort");
  if (!changes) reader.fault("uri", "one of uri, prefixRewrite, authority, scheme and port is required");
  if (redirect.port != 0 && reader.find("derivePort")) reader.fault("derivePort", "excludes port: keep one of them");
  reader.finish();
  return redirect;
}

// RFC 4648 section 4; nullopt: it is none.
std::optional<std::string> decode_base64(std::string_view text) {
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0) return std::nullopt;
  const auto padding = text.ends_with("==") ? 2U : text.ends_with('=') ? 1U : 0U;
  text.remove_suffix(padding);
  std::string bytes;
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : text) {
    const auto digit = alphabet.find(c);
    if (digit == alphabet.npos) return std::nullopt;
    bits = bits << 6U | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xff));
  }
  return bytes;
}

std::string read_body(yaml::Reader reader) {
  std::string body;
  reader.read("string", body);
  if (const auto bytes = reader.find("bytes")) {
    const auto decoded = decode_base64(bytes->text().value_or(""));
    if (!decoded) bytes->fault("expected base64");
    if (reader.find("string")) bytes->fault("excludes string: keep one of them");
    body = decoded.value_or("");
  }
  reader.finish();
  return body;
}

std::optional<DirectResponse> read_response(yaml::Reader reader) {
  if (!reader.present()) return std::nullopt;
  DirectResponse response;
  if (reader.find("status"))
    reader.read("status", response.status, 200, 599);
  else
    reader.fault("status", "is required, like 503");
  response.body = read_body(reader.section("body"));
  if (response.body.size() > max_body_bytes) reader.fault("body", "is larger than 1 MiB: shorten it");
  reader.finish();
  return response;
}

std::optional<DelegateName> read_delegate(yaml::Reader reader, const std::string& own_namespace) {
  if (!reader.present()) return std::nullopt;
  DelegateName delegate{own_namespace, ""};
  reader.read("name", delegate.name);
  reader.read("namespace", delegate.namespace_name);
  if (!is_object_name(delegate.name)) reader.fault("name", "is required: the name of a VirtualService");
  if (delegate.namespace_name.empty()) delegate.namespace_name = own_namespace;
  if (!is_namespace(delegate.namespace_name)) reader.fault("namespace", "expected the name of a namespace");
  reader.finish();
  return delegate;
}

void read_regex_rewrite(yaml::Reader reader, HttpRewrite& rewrite) {
  if (!reader.present()) return;
  const auto match = reader.find("match");
  rewrite.regex = match ? match->text().value_or("") : "";
  if (rewrite.regex.empty()) reader.fault("match", "is required: an RE2 expression");
  if (match) check_regex(*match, rewrite.regex);
  reader.read("rewrite", rewrite.substitution);
  auto plain = rewrite.substitution;
  std::erase(plain, '\\');
  if (!is_uri_text(plain)) reader.fault("rewrite", "has characters that have to be percent-encoded");
  if (rewrite.substitution.size() > max_substitution_bytes) reader.fault("rewrite", "is longer than 1,024 bytes");
  const auto fault = find_substitution_fault(rewrite.regex, rewrite.substitution);
  if (!fault.empty()) reader.fault("rewrite", "does not go with the expression: " + fault);
  reader.finish();
}

std::optional<HttpRewrite> read_rewrite(yaml::Reader reader) {
  if (!reader.present()) return std::nullopt;
  HttpRewrite rewrite;
  read_uri(reader, "uri", rewrite.uri);
  read_authority(reader, rewrite.authority);
  read_regex_rewrite(reader.section("uriRegexRewrite"), rewrite);
  const bool regex = reader.find("uriRegexRewrite").has_value();
  if (!rewrite.uri.empty() && regex) reader.fault("uriRegexRewrite", "excludes uri: keep one of them");
  if (rewrite.uri.empty() && !regex && rewrite.authority.empty())
    reader.fault("uri", "one of uri, uriRegexRewrite and authority is required");
  reader.finish();
  return rewrite;
}

// A percentage, from Percent{value}; nullopt: it is not there.
std::optional<Share> read_share(yaml::Reader& outer, std::string_view key) {
  auto reader = outer.section(key);
  if (!reader.present()) return std::nullopt;
  const auto percent = read_number(reader, "value").value_or(0);
  if (percent > 100) reader.fault("value", "expected a percentage, 100 at most");
  reader.finish();
  return Share{static_cast<std::uint32_t>(std::lround(std::min(percent, 100.0) * (Share::whole / 100.0)))};
}

// The old way to give a percentage, an integer, which counts where the new one is absent.
Share read_share(yaml::Reader& reader, std::string_view key, std::string_view old_key, Share otherwise) {
  const auto share = read_share(reader, key);
  std::optional<std::uint64_t> percent;
  if (const auto value = reader.find(old_key)) percent = value->integer(0, 100);
  if (share) return *share;
  return percent ? Share{static_cast<std::uint32_t>(*percent * (Share::whole / 100))} : otherwise;
}

std::optional<HttpFault::Delay> read_delay(yaml::Reader reader) {
  if (!reader.present()) return std::nullopt;
  HttpFault::Delay delay;
  if (const auto duration = read_duration_ms(reader, "fixedDelay"))
    delay.delay_ms = *duration;
  else if (!reader.find("fixedDelay"))
    reader.fault("fixedDelay", "is required: the delay, like 5s");
  delay.share = read_share(reader, "percentage", "percent", Share{0});
  reader.finish();
  return delay;
}

void read_grpc_status(yaml::Reader& reader, HttpFault::Abort& abort) {
  const auto value = reader.find("grpcStatus");
  const auto text = value ? value->text() : std::nullopt;
  if (!text) return;
  const auto found = std::find(std::begin(grpc_statuses), std::end(grpc_statuses), *text);
  if (found == std::end(grpc_statuses))
    value->fault(fmt::format("expected one of {}; found {}", fmt::join(grpc_statuses, ", "), value->shown()));
  abort.grpc_status = static_cast<std::uint8_t>(found - std::begin(grpc_statuses));
}

std::optional<HttpFault::Abort> read_abort(yaml::Reader reader) {
  if (!reader.present()) return std::nullopt;
  HttpFault::Abort abort;
  const bool http = reader.find("httpStatus").has_value();
  const bool grpc = reader.find("grpcStatus").has_value();
  reader.read("httpStatus", abort.http_status, 200, 599);
  read_grpc_status(reader, abort);
  if (http == grpc) reader.fault("httpStatus", "just one of httpStatus and grpcStatus is required");
  abort.share = read_share(reader, "percentage", "percent", Share{0});
  reader.finish();
  return abort;
}

std::optional<HttpFault> read_fault(yaml::Reader reader) {
  if (!reader.present()) return std::nullopt;
  HttpFault fault{read_delay(reader.section("delay")), read_abort(reader.section("abort"))};
  if (!reader.find("delay") && !reader.find("abort")) reader.fault("delay", "one of delay and abort is required");
  reader.finish();
  return fault;
}

std::vector<HttpMirror> read_mirrors(yaml::Reader& rule, const std::string& own_namespace) {
  std::vector<HttpMirror> mirrors;
  const auto share = read_share(rule, "mirrorPercentage", "mirrorPercent", Share{});
  auto single = rule.section("mirror");
  if (single.present()) mirrors.push_back({read_destination(std::move(single), own_namespace), share});
  const auto items = rule.list("mirrors", max_mirrors);
  if (!items.empty() && !mirrors.empty()) rule.fault("mirror", "excludes mirrors: keep one of them");
  for (const auto& item : items) {
    yaml::Reader reader(item);
    if (!reader.present()) continue;
    HttpMirror mirror{read_destination(reader.section("destination"), own_namespace), {}};
    mirror.share = read_share(reader, "percentage").value_or(Share{});
    reader.finish();
    mirrors.push_back(std::move(mirror));
  }
  return mirrors;
}

}  // namespace

void read_http_actions(yaml::Reader& reader, const std::string& own_namespace, HttpRule& rule, Findings& findings) {
  rule.redirect = read_redirect(reader.section("redirect"));
  rule.direct_response = read_response(reader.section("directResponse"));
  rule.delegate = read_delegate(reader.section("delegate"), own_namespace);
  rule.rewrite = read_rewrite(reader.section("rewrite"));
  rule.fault = read_fault(reader.section("fault"));
  rule.mirrors = read_mirrors(reader, own_namespace);
  rule.cors = read_cors(reader.section("corsPolicy"));
  rule.headers = read_headers(reader, findings);
  rule.timeout_ms = read_duration_ms(reader, "timeout");
  rule.retries = read_retries(reader.section("retries"), findings);
}

}  // namespace sluice::resources
