// What a rule does to a request and its answer, a row for each case.
#include "policy/http_actions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using Kind = StringMatch::Kind;
using Derived = HttpRedirect::DerivedPort;

HttpRequest request_for(std::string_view authority = "shop.example.com", std::string_view path = "/a/b",
                        std::string_view query = "q=1", std::string_view scheme = "http") {
  return {"GET", authority, path, query, "", scheme};
}

HttpMatch uri(Kind kind, const std::string& value) {
  HttpMatch match;
  match.uri = StringMatch{kind, value};
  return match;
}

TEST(HttpsLocation, keeps_host_path_and_query_and_drops_the_port) {
  EXPECT_EQ(https_location(request_for()), "https://shop.example.com/a/b?q=1");
  EXPECT_EQ(https_location(request_for("shop.example.com:8080", "/", "")), "https://shop.example.com/");
  EXPECT_EQ(https_location(request_for("[2001:db8::1]:80", "/", "")), "https://[2001:db8::1]/");
  EXPECT_EQ(https_location(request_for("[2001:db8::1]", "/", "")), "https://[2001:db8::1]/");
}

struct RedirectRow {
  HttpRedirect redirect;
  std::string location;
  std::string authority = "shop.example.com";
  std::string scheme = "http";
  std::uint16_t port = 80;
};

TEST(Redirect, replaces_just_the_parts_that_it_names) {
  const RedirectRow rows[] = {
      {{.uri = "/new"}, "http://shop.example.com/new"},
      {{.uri = "/new?x=y"}, "http://shop.example.com/new?x=y"},
      {{.prefix_rewrite = "/c"}, "http://shop.example.com/c/b?q=1"},
      {{.authority = "other.org"}, "http://other.org/a/b?q=1"},
      {{.authority = "other.org:81"}, "http://other.org:81/a/b?q=1"},
      {{.scheme = "https"}, "https://shop.example.com/a/b?q=1"},
      {{.scheme = "https"}, "https://shop.example.com/a/b?q=1", "shop.example.com:8080"},
      {{.scheme = "http"}, "http://shop.example.com:8080/a/b?q=1", "shop.example.com:8080"},
      {{.port = 8443}, "http://shop.example.com:8443/a/b?q=1"},
      {{.scheme = "https", .port = 443}, "https://shop.example.com/a/b?q=1", "shop.example.com:80"},
      {{.port = 80}, "http://shop.example.com/a/b?q=1", "shop.example.com:8080"},
      {{.derived_port = Derived::from_protocol_default}, "http://shop.example.com/a/b?q=1", "shop.example.com:8080"},
      {{.derived_port = Derived::from_request_port},
       "http://shop.example.com:8080/a/b?q=1",
       "shop.example.com",
       "http",
       8080},
      {{.scheme = "https", .derived_port = Derived::from_request_port},
       "https://shop.example.com/a/b?q=1",
       "shop.example.com",
       "https",
       443},
      {{.uri = "/x", .authority = "o.org", .scheme = "https", .port = 444}, "https://o.org:444/x"},
  };
  const auto match = uri(Kind::prefix, "/a");
  for (const auto& row : rows) {
    HttpRule rule;
    rule.redirect = row.redirect;
    const auto request = request_for(row.authority, "/a/b", "q=1", row.scheme);
    EXPECT_EQ(HttpActions(rule).location(request, &match, row.port), row.location);
  }
}

TEST(Redirect, a_rewritten_prefix_is_the_part_that_matched) {
  HttpRule rule;
  rule.redirect = HttpRedirect{.prefix_rewrite = "/new"};
  const HttpActions actions(rule);
  const auto exact = uri(Kind::exact, "/a/b");
  EXPECT_EQ(actions.location(request_for(), &exact, 80), "http://shop.example.com/new?q=1");
  EXPECT_EQ(actions.location(request_for(), nullptr, 80), "http://shop.example.com/newa/b?q=1") << "as the prefix /";
}

struct RewriteRow {
  HttpRewrite rewrite;
  HttpMatch match;
  std::string path;
  std::string target;
};

TEST(Rewrite, of_the_uri_replaces_what_the_match_took) {
  const RewriteRow rows[] = {
      {{.uri = "/v2/"}, uri(Kind::prefix, "/v1/"), "/v1/users", "/v2/users?q=1"},
      {{.uri = "/v2"}, uri(Kind::prefix, "/v1"), "/v1", "/v2?q=1"},
      {{.uri = "/"}, uri(Kind::prefix, "/v1/"), "/v1/users", "/users?q=1"},
      {{.uri = "/"}, uri(Kind::prefix, "/v1"), "/v1/users", "//users?q=1"},
      {{.uri = "/other"}, uri(Kind::exact, "/v1"), "/v1", "/other?q=1"},
      {{.uri = "/other"}, uri(Kind::regex, "/v[0-9].*"), "/v1/users", "/other?q=1"},
      {{.uri = "/app/"}, HttpMatch(), "/users", "/app/users?q=1"},
      {{.uri = "app"}, uri(Kind::exact, "/v1"), "/v1", "/app?q=1"},
      {{.regex = "^/v[0-9]/(.*)$", .substitution = "/\\1/x"}, HttpMatch(), "/v1/users", "/users/x?q=1"},
      {{.regex = "/a", .substitution = "/b"}, HttpMatch(), "/a/a/c", "/b/b/c?q=1"},
      {{.regex = "^/a", .substitution = "b"}, HttpMatch(), "/a", "/b?q=1"},
      {{.regex = "/nothing", .substitution = "/b"}, HttpMatch(), "/a", "/a?q=1"},
      {{.authority = "x.org"}, HttpMatch(), "/a", "/a?q=1"},
  };
  for (const auto& row : rows) {
    HttpRule rule;
    rule.rewrite = row.rewrite;
    const auto request = request_for("shop.example.com", row.path);
    EXPECT_EQ(HttpActions(rule).rewrite_target(request, &row.match), row.target);
  }
}

TEST(Rewrite, a_path_that_grows_too_long_is_refused) {
  HttpRule rule;
  rule.rewrite = HttpRewrite{.regex = "a", .substitution = std::string(1000, 'b')};
  const auto path = "/" + std::string(1000, 'a');
  EXPECT_EQ(HttpActions(rule).rewrite_target(request_for("x", path), nullptr), std::nullopt);
}

TEST(Rewrite, a_path_that_became_ambiguous_is_refused) {
  HttpRule rule;
  rule.rewrite = HttpRewrite{.uri = "/."};
  const auto match = uri(Kind::prefix, "/a");
  const HttpActions actions(rule);
  EXPECT_EQ(actions.rewrite_target(request_for("x", "/a./b"), &match), std::nullopt) << "/../b";
  EXPECT_EQ(actions.rewrite_target(request_for("x", "/ab"), &match), "/.b?q=1");
}

TEST(Rewrite, the_authority_is_the_destinations_then_the_rewrites_then_the_rules_then_the_requests) {
  HttpRule rule;
  Destination destination;
  const auto authority = [&] { return std::string(HttpActions(rule).rewrite_authority(request_for(), destination)); };
  EXPECT_EQ(authority(), "shop.example.com");
  rule.headers.request.add = {{"host", "added"}};
  EXPECT_EQ(authority(), "added");
  rule.headers.request.set = {{"host", "of-the-rule"}};
  EXPECT_EQ(authority(), "of-the-rule");
  rule.rewrite = HttpRewrite{.authority = "of-the-rewrite"};
  EXPECT_EQ(authority(), "of-the-rewrite");
  destination.headers.request.set = {{":authority", "of-the-destination"}};
  EXPECT_EQ(authority(), "of-the-destination");
}

TEST(Headers, are_removed_then_set_then_added) {
  HeaderOperations operations;
  operations.remove = {"x-old", "x-both"};
  operations.set = {{"x-set", "new"}, {"x-both", "1"}, {"host", "never"}};
  operations.add = {{"x-set", "more"}, {"x-added", "2"}};
  HeaderFields fields = {{"x-old", "a"}, {"x-set", "b"}, {"x-stays", "c"}, {"x-set", "d"}, {"x-both", "e"}};
  apply_operations(operations, fields);
  EXPECT_THAT(fields, ElementsAre(Pair("x-stays", "c"), Pair("x-set", "new"), Pair("x-both", "1"),
                                  Pair("x-set", "more"), Pair("x-added", "2")));
}

TEST(Headers, of_the_destination_go_before_the_rules_and_messages_are_told_apart) {
  HttpRule rule;
  rule.headers.request.set = {{"x", "rule"}};
  rule.headers.response.add = {{"y", "rule"}};
  Destination destination;
  destination.headers.request.set = {{"x", "destination"}};
  destination.headers.response.add = {{"y", "destination"}};
  const HttpActions actions(rule);
  HeaderFields fields;
  actions.alter_request(destination, fields);
  EXPECT_THAT(fields, ElementsAre(Pair("x", "rule")));
  fields.clear();
  actions.alter_response(destination, fields);
  EXPECT_THAT(fields, ElementsAre(Pair("y", "destination"), Pair("y", "rule")));
}

TEST(Destinations, are_chosen_by_weight) {
  const std::vector<Destination> three = {{"a", "", 0, 75}, {"never", "", 0, 0}, {"b", "", 0, 25}};
  std::map<std::string, unsigned> counts;
  for (std::uint64_t pick = 0; pick < 1000; ++pick) ++counts[choose_destination(three, pick)->host];
  EXPECT_THAT(counts, ElementsAre(Pair("a", 750U), Pair("b", 250U)));
  const std::vector<Destination> one = {{"a", "", 0, 0}};
  EXPECT_EQ(choose_destination(one, 7), one.data()) << "a single one whatever its weight";
  EXPECT_EQ(choose_destination(std::vector<Destination>{{"a"}, {"b"}}, 7), nullptr);
  EXPECT_EQ(choose_destination({}, 7), nullptr);
}

TEST(Faults, hit_their_share_of_requests) {
  HttpFault fault;
  fault.delay = HttpFault::Delay{1500, Share{250'000}};
  fault.abort = HttpFault::Abort{503, 0, Share{100}};
  unsigned delayed = 0;
  unsigned aborted = 0;
  for (std::uint64_t pick = 0; pick < Share::whole; ++pick) {
    const auto chosen = choose_fault(fault, pick, pick);
    delayed += chosen.delay_ms == 1500;
    aborted += chosen.abort != nullptr;
  }
  EXPECT_EQ(delayed, 250'000U);
  EXPECT_EQ(aborted, 100U);
  EXPECT_EQ(choose_fault(HttpFault(), 0, 0).abort, nullptr);
  EXPECT_TRUE(is_chosen(Share{}, UINT64_MAX)) << "all by default";
  EXPECT_FALSE(is_chosen(Share{0}, 0));
}

// CORS

class Cors : public testing::Test {
 protected:
  Cors() {
    rule_.cors.emplace();
    rule_.cors->allow_origins = {{Kind::exact, "https://a.org"}, {Kind::regex, "https://.*\\.b\\.org"}};
    rule_.cors->allow_methods = {"GET", "PUT"};
    rule_.cors->allow_headers = {"x-one", "x-two"};
    rule_.cors->expose_headers = {"x-three"};
    rule_.cors->max_age_s = 600;
  }
  CorsAnswer ask(std::string_view method, const std::string& fields) {
    auto request = request_for();
    request.method = method;
    request.fields = fields;
    return HttpActions(rule_).answer_cors(request);
  }
  CorsAnswer preflight(const std::string& origin) {
    return ask("OPTIONS", "Origin: " + origin + "\r\nAccess-Control-Request-Method: PUT\r\n");
  }
  static constexpr auto pass = CorsAnswer::Kind::pass;
  static constexpr auto answered = CorsAnswer::Kind::preflight;
  HttpRule rule_;
};

TEST_F(Cors, a_preflight_of_an_allowed_origin_is_answered) {
  const auto answer = preflight("https://x.b.org");
  EXPECT_EQ(answer.kind, answered);
  EXPECT_THAT(answer.fields,
              ElementsAre(Pair("access-control-allow-origin", "https://x.b.org"), Pair("vary", "origin"),
                          Pair("access-control-allow-methods", "GET,PUT"),
                          Pair("access-control-allow-headers", "x-one,x-two"), Pair("access-control-max-age", "600")));
}

TEST_F(Cors, a_preflight_of_another_origin_is_forwarded_unless_told_otherwise) {
  EXPECT_EQ(preflight("https://evil.org").kind, pass);
  EXPECT_THAT(preflight("https://evil.org").fields, IsEmpty());
  rule_.cors->forward_unmatched_preflights = false;
  EXPECT_EQ(preflight("https://evil.org").kind, answered);
  EXPECT_THAT(preflight("https://evil.org").fields, IsEmpty());
}

TEST_F(Cors, an_actual_request_goes_on_and_its_answer_is_told_whom_it_is_for) {
  rule_.cors->allow_credentials = true;
  const auto answer = ask("PUT", "origin: https://a.org\r\n");
  EXPECT_EQ(answer.kind, pass);
  EXPECT_THAT(answer.fields, ElementsAre(Pair("access-control-allow-origin", "https://a.org"), Pair("vary", "origin"),
                                         Pair("access-control-allow-credentials", "true"),
                                         Pair("access-control-expose-headers", "x-three")));
}

TEST_F(Cors, other_requests_are_left_alone) {
  EXPECT_THAT(ask("GET", "").fields, IsEmpty()) << "no origin";
  EXPECT_THAT(ask("GET", "Origin: https://a.org.evil.org\r\n").fields, IsEmpty()) << "an exact match is one";
  EXPECT_EQ(ask("OPTIONS", "Origin: https://a.org\r\n").kind, pass) << "OPTIONS without a method asked for";
  rule_.cors.reset();
  EXPECT_EQ(preflight("https://a.org").kind, pass) << "no policy";
}

TEST_F(Cors, a_star_is_every_origin) {
  rule_.cors->allow_origins = {{Kind::exact, "*"}};
  EXPECT_EQ(preflight("null").kind, answered);
  EXPECT_EQ(ask("GET", "Origin: https://anyone.org\r\n").fields.front().second, "https://anyone.org");
}

TEST(Actions, a_rule_that_only_routes_is_plain) {
  HttpRule rule;
  rule.destinations = {{"a"}};
  rule.timeout_ms = 1000;
  rule.retries.emplace();
  EXPECT_TRUE(HttpActions(rule).is_plain());
  rule.destinations[0].headers.response.remove = {"x"};
  EXPECT_FALSE(HttpActions(rule).is_plain());
}

}  // namespace
}  // namespace sluice
