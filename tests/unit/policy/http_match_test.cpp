// What of a request an HTTPMatchRequest looks at, and how.
#include "policy/http_match.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice {
namespace {

using Kind = StringMatch::Kind;

const HttpRequest request{"GET", "api.example.com:8080", "/v1/Users", "a=1&b=&a=2",
                          "Host: api.example.com:8080\r\nX-Env:  prod \r\nAccept: text/html\r\naccept: */*\r\n"};

std::string mismatch(const HttpMatch& match) {
  return std::string(HttpMatcher(match).first_mismatch(request));
}

HttpMatch uri(Kind kind, const std::string& value, bool ignore_case = false) {
  HttpMatch match;
  match.uri = StringMatch{kind, value};
  match.ignore_uri_case = ignore_case;
  return match;
}

TEST(HttpMatch, uri_is_compared_without_its_query) {
  EXPECT_EQ(mismatch(uri(Kind::exact, "/v1/Users")), "");
  EXPECT_EQ(mismatch(uri(Kind::exact, "/v1")), "uri");
  EXPECT_EQ(mismatch(uri(Kind::prefix, "/v1/")), "");
  EXPECT_EQ(mismatch(uri(Kind::prefix, "/v1/Users/x")), "uri");
  EXPECT_EQ(mismatch(uri(Kind::regex, "/v[0-9]/U.*")), "");
  EXPECT_EQ(mismatch(uri(Kind::regex, "/v[0-9]/")), "uri") << "a regex has to match the whole";
  EXPECT_EQ(mismatch(uri(Kind::regex, "([")), "uri") << "what is no regex matches nothing";
}

TEST(HttpMatch, a_path_that_the_server_would_read_otherwise_matches_no_uri) {
  for (const auto* path :
       {"/v1/../admin", "/v1/..", "/v1/./Users", "/v1/%2e%2E/admin", "/v1/.%2e/x", "/v1\\..\\admin"}) {
    auto other = request;
    other.path = path;
    EXPECT_EQ(HttpMatcher(uri(Kind::prefix, "/")).first_mismatch(other), "uri") << path;
  }
  for (const auto* path : {"/v1/...", "/v1/..a", "/v1/a..", "/.well-known/x", "/v1/%2e%2ea"}) {
    auto other = request;
    other.path = path;
    EXPECT_EQ(HttpMatcher(uri(Kind::prefix, "/")).first_mismatch(other), "") << path;
  }
}

TEST(HttpMatch, case_counts_unless_told) {
  EXPECT_EQ(mismatch(uri(Kind::exact, "/V1/users")), "uri");
  EXPECT_EQ(mismatch(uri(Kind::exact, "/V1/users", true)), "");
  EXPECT_EQ(mismatch(uri(Kind::prefix, "/V1/", true)), "");
}

TEST(HttpMatch, method_authority_and_scheme) {
  HttpMatch match;
  match.method = StringMatch{Kind::exact, "GET"};
  match.authority = StringMatch{Kind::prefix, "api.example.com"};
  match.scheme = StringMatch{Kind::exact, "http"};
  EXPECT_EQ(mismatch(match), "");
  match.method = StringMatch{Kind::exact, "get"};
  EXPECT_EQ(mismatch(match), "method");
  match.method.reset();
  match.authority = StringMatch{Kind::exact, "api.example.com"};
  EXPECT_EQ(mismatch(match), "authority");
  match.authority.reset();
  match.scheme = StringMatch{Kind::exact, "https"};
  EXPECT_EQ(mismatch(match), "scheme");
}

TEST(HttpMatch, headers_are_found_by_any_case_trimmed_and_joined) {
  HttpMatch match;
  match.headers = {{"x-env", {Kind::exact, "prod"}}, {"accept", {Kind::exact, "text/html,*/*"}}};
  EXPECT_EQ(mismatch(match), "");
  match.headers = {{"x-env", {Kind::exact, "test"}}};
  EXPECT_EQ(mismatch(match), "headers.x-env");
  match.headers = {{"x-none", {Kind::present, ""}}};
  EXPECT_EQ(mismatch(match), "headers.x-none");
  match.headers = {{"x-env", {Kind::present, ""}}};
  EXPECT_EQ(mismatch(match), "");
}

TEST(HttpMatch, without_headers_must_not_match) {
  HttpMatch match;
  match.without_headers = {{"x-env", {Kind::exact, "prod"}}};
  EXPECT_EQ(mismatch(match), "withoutHeaders.x-env");
  match.without_headers = {{"x-env", {Kind::exact, "test"}}, {"x-none", {Kind::present, ""}}};
  EXPECT_EQ(mismatch(match), "");
}

TEST(HttpMatch, query_parameters_are_compared_by_their_first_value) {
  HttpMatch match;
  match.query_params = {{"a", {Kind::exact, "1"}}, {"b", {Kind::exact, ""}}};
  EXPECT_EQ(mismatch(match), "");
  match.query_params = {{"a", {Kind::exact, "2"}}};
  EXPECT_EQ(mismatch(match), "queryParams.a");
  match.query_params = {{"c", {Kind::regex, ".*"}}};
  EXPECT_EQ(mismatch(match), "queryParams.c");
}

TEST(HttpMatch, only_what_tells_no_requests_apart_is_a_catch_all) {
  EXPECT_TRUE(HttpMatcher(HttpMatch{}).is_catch_all());
  EXPECT_TRUE(HttpMatcher(uri(Kind::prefix, "/")).is_catch_all());
  EXPECT_TRUE(HttpMatcher(uri(Kind::regex, ".*")).is_catch_all());
  EXPECT_FALSE(HttpMatcher(uri(Kind::prefix, "/v1")).is_catch_all());
  auto with_header = uri(Kind::prefix, "/");
  with_header.headers = {{"x-env", {Kind::present, ""}}};
  EXPECT_FALSE(HttpMatcher(with_header).is_catch_all());
}

}  // namespace
}  // namespace sluice
