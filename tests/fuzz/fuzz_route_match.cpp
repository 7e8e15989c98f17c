// An ingress with rules of every kind, asked with requests that the input makes up; and single matchers that it makes
// up too. The input: lines of "key value"; what is not there is as below.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "policy/host_match.h"
#include "policy/ingress_routes.h"
#include "tests/fuzz/fuzz.h"

namespace sluice {
namespace {

using test::require;
using Kind = IngressRoute::Kind;

struct Input {
  std::string method = "GET";
  std::string sni;
  std::string host = "a.example.com";
  std::string path = "/";
  std::string query;
  std::string fields;
  std::string exact;
  std::string prefix;
  std::string regex;
};

Input read_input(std::string_view text) {
  Input input;
  const std::array<std::pair<std::string_view, std::string*>, 9> keys = {{{"method ", &input.method},
                                                                          {"sni ", &input.sni},
                                                                          {"host ", &input.host},
                                                                          {"path ", &input.path},
                                                                          {"query ", &input.query},
                                                                          {"field ", &input.fields},
                                                                          {"exact ", &input.exact},
                                                                          {"prefix ", &input.prefix},
                                                                          {"regex ", &input.regex}}};
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    for (const auto& [key, value] : keys) {
      if (!line.starts_with(key)) continue;
      const auto rest = line.substr(key.size());
      if (value == &input.fields)
        value->append(rest).append("\r\n");
      else
        *value = rest;
    }
  }
  return input;
}

HttpMatch uri(StringMatch::Kind kind, std::string value) {
  HttpMatch match;
  match.uri = StringMatch{kind, std::move(value)};
  return match;
}

VirtualService service(std::string name, std::string host, std::vector<HttpRule> rules) {
  VirtualService made;
  made.object = {"web", std::move(name), 0};
  made.hosts = {std::move(host)};
  made.gateways = {"web/in"};
  made.http = std::move(rules);
  return made;
}

HttpRule to(std::vector<HttpMatch> matches, std::string host) {
  HttpRule rule;
  rule.matches = std::move(matches);
  rule.destinations = {{.host = std::move(host), .weight = 1}};
  return rule;
}

GatewayServer server(std::uint16_t port, std::vector<ServerHost> hosts, bool tls) {
  GatewayServer made;
  made.port = port;
  made.protocol = tls ? ServerProtocol::https : ServerProtocol::http;
  if (tls) made.tls.emplace().mode = ServerTlsMode::simple;
  made.hosts = std::move(hosts);
  return made;
}

IngressRoutes make_routes() {
  using Is = StringMatch::Kind;
  Gateway gateway;
  gateway.object = {"web", "in", 0};
  gateway.servers = {server(80, {{"*", "*"}}, false), server(443, {{"*", "*.example.com"}}, true),
                     server(443, {{"*", "secret.example.com"}}, true)};

  auto rewritten = to({uri(Is::prefix, "/old/")}, "rewritten");
  rewritten.rewrite = HttpRewrite{.uri = "/new/"};
  auto by_regex = to({uri(Is::regex, "/v[0-9]+/.*")}, "by-regex");
  by_regex.rewrite = HttpRewrite{.regex = "^/v([0-9]+)/", .substitution = "/\\1/"};
  auto headers = uri(Is::prefix, "/api");
  headers.headers = {{"x-env", {Is::exact, "prod"}}, {"accept", {Is::prefix, "text/"}}};
  headers.without_headers = {{"x-internal", {Is::present, ""}}};
  headers.query_params = {{"q", {Is::regex, "[a-z]*"}}};
  auto methods = uri(Is::exact, "/Form");
  methods.method = StringMatch{Is::regex, "GET|POST"};
  methods.ignore_uri_case = true;
  auto cors = to({headers, methods}, "cors");
  cors.cors.emplace().allow_origins = {{Is::regex, "https://[a-z]+\\.org"}};
  cors.headers.request.set = {{"x-set", "1"}};
  HttpRule redirect;
  redirect.matches = {uri(Is::prefix, "/moved")};
  redirect.redirect = HttpRedirect{.prefix_rewrite = "/there", .scheme = "https"};

  auto secret = service("secret", "secret.example.com", {to({}, "secret")});
  return IngressRoutes(
      {gateway},
      {service("a", "a.example.com", {rewritten, by_regex, cors, redirect, to({uri(Is::prefix, "/")}, "rest")}),
       service("b", "*.example.com", {to({uri(Is::prefix, "/b")}, "b")}), std::move(secret)},
      Vantage::ingress({}, "web"));
}

bool is_clean(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) > ' ' && c != 0x7f; });
}

void check_actions(const IngressRoute& route, const HttpRequest& request) {
  const bool clean = is_clean(request.path) && is_clean(request.query) && is_clean(request.authority);
  if (route.kind == Kind::redirect) {
    const auto location = route.actions->location(request, route.match, 80);
    require(location.starts_with("https://"), "the scheme is the rule's");
    require(!clean || is_clean(location), "nothing comes into a Location that was not in the request");
    return;
  }
  const auto target = route.actions->rewrite_target(request, route.match);
  if (target) {
    const auto path = std::string_view(*target).substr(0, target->find('?'));
    require(has_one_reading(path), "what goes upstream has one reading");
    require(!clean || is_clean(*target), "nothing comes into a target that was not in the request");
    if (route.rule->rewrite) require(target->starts_with('/'), "a rewritten path begins at the root");
  }
  HeaderFields fields = {{"x-set", "client"}, {"x-set", "again"}};
  route.actions->alter_request(route.rule->destinations.front(), fields);
  const auto count = std::count_if(fields.begin(), fields.end(), [](const auto& f) { return f.first == "x-set"; });
  require(count == (route.rule->headers.request.set.empty() ? 2 : 1), "a field that is set is there once");
  const auto cors = route.actions->answer_cors(request);
  require(route.rule->cors || cors.fields.empty(), "no policy, no fields");
  require(cors.fields.empty() || cors.fields.front().first == "access-control-allow-origin", "the origin goes first");
}

void check_route(const IngressRoutes& routes, const IngressListener& listener, const Input& input,
                 std::string_view path) {
  const bool tls = listener.kind == IngressListener::Kind::tls;
  const auto* connected = tls ? routes.find_server(listener, input.sni) : nullptr;
  if (tls && connected == nullptr) return;
  const HttpRequest request{input.method, input.host, path, input.query, input.fields, tls ? "https" : "http"};
  const auto route = routes.route(listener, connected, input.host, request);
  const auto again = routes.route(listener, connected, input.host, request);
  require(route.kind == again.kind && route.rule == again.rule, "the answer is the same again");
  require(route.is_refused() != route.reason().empty(), "what is refused has a reason, and nothing else");
  require((route.kind == Kind::bad_path) == !has_one_reading(path), "an ambiguous path meets no rule");
  if (route.kind == Kind::bad_path) return;
  const auto* meant = routes.find_server(listener, input.host);
  require((route.kind == Kind::no_server) == (meant == nullptr), "a host without server has no route");
  require((route.kind == Kind::misdirected) == (tls && meant != nullptr && meant != connected),
          "only the server that the connection was made with answers");
  if (route.is_refused()) return;
  require(host_matches(route.host, input.host), "the rules are those of the host");
  require(route.match == nullptr || HttpMatcher(*route.match).first_mismatch(request).empty(), "the match matches");
  if (route.virtual_service->object.name == "secret")
    require(!tls || connected == meant, "past its own server nobody reaches the secret");
  check_actions(route, request);
}

void check_path(std::string_view path) {
  std::string scratch;
  const auto once = canonical_path(path, scratch);
  require(once.has_value() == has_one_reading(path), "a path is refused for its readings alone");
  if (!once) return;
  require(once->size() <= path.size(), "decoding makes nothing longer");
  std::string other;
  const auto kept = std::string(*once);
  require(canonical_path(kept, other) == kept, "a canonical path is one");
}

void check_matchers(const Input& input) {
  using Is = StringMatch::Kind;
  const TextMatcher exact({Is::exact, input.exact});
  require(exact.matches(input.exact), "a text matches itself");
  require(exact.matches(input.path) == (input.path == input.exact), "and nothing else");
  const TextMatcher prefix({Is::prefix, input.prefix}, true);
  require(prefix.matches(input.prefix + input.path), "a prefix matches what begins with it");
  if (input.regex.size() > 1024) return;
  const TextMatcher regex({Is::regex, input.regex});
  const bool sound = find_regex_fault(input.regex).empty();
  require(sound || !regex.matches(input.path), "what is no expression matches nothing");
}

}  // namespace
}  // namespace sluice

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  static const IngressRoutes routes = make_routes();
  const auto input = read_input({reinterpret_cast<const char*>(data), size});
  check_path(input.path);
  check_matchers(input);
  std::string scratch;
  const auto canonical = canonical_path(input.path, scratch);
  for (const auto& listener : routes.listeners()) {
    check_route(routes, listener, input, input.path);
    if (canonical) check_route(routes, listener, input, *canonical);
  }
  return 0;
}
