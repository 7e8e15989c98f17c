// What becomes of rules that name a delegate.
#include "policy/delegates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ingress.h"

namespace sluice {
namespace {

using test::prefix;
using test::Vs;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Kind = StringMatch::Kind;

HttpMatch exact(const std::string& value) {
  HttpMatch match;
  match.uri = StringMatch{Kind::exact, value};
  return match;
}

// The uris of what a rule matching `outer` makes of a delegate's rule matching `inner`; "none": it is left out.
std::vector<std::string> merged(std::vector<HttpMatch> outer, std::vector<HttpMatch> inner) {
  const auto result = merge_delegates(
      {Vs("a/root", {"a.org"}).delegate(std::move(outer), "a/leaf"), Vs("a/leaf", {}).http(std::move(inner), "x")});
  if (result.services.at(0).http.empty()) return {"none"};
  std::vector<std::string> uris;
  for (const auto& match : result.services[0].http.at(0).matches) uris.push_back(match.uri ? match.uri->value : "any");
  return uris;
}

TEST(Delegates, matches_are_narrowed_by_those_that_they_fit_into) {
  EXPECT_THAT(merged({}, {}), IsEmpty());
  EXPECT_THAT(merged({prefix("/a")}, {}), ElementsAre("/a"));
  EXPECT_THAT(merged({}, {prefix("/a")}), ElementsAre("/a"));
  EXPECT_THAT(merged({prefix("/a")}, {prefix("/a/b"), exact("/a/c")}), ElementsAre("/a/b", "/a/c"));
  EXPECT_THAT(merged({exact("/a")}, {exact("/a")}), ElementsAre("/a"));
  EXPECT_THAT(merged({prefix("/a"), prefix("/b")}, {prefix("/b/c")}), ElementsAre("/b/c"));
}

TEST(Delegates, a_rule_of_which_a_match_fits_nowhere_is_left_out) {
  EXPECT_THAT(merged({prefix("/a")}, {prefix("/b")}), ElementsAre("none"));
  EXPECT_THAT(merged({prefix("/a")}, {prefix("/a/b"), prefix("/b")}), ElementsAre("none"));
  EXPECT_THAT(merged({prefix("/a/b")}, {prefix("/a")}), ElementsAre("none")) << "wider";
  EXPECT_THAT(merged({exact("/a")}, {prefix("/a")}), ElementsAre("none"));
  HttpMatch regex;
  regex.uri = StringMatch{Kind::regex, "/a"};
  EXPECT_THAT(merged({regex}, {exact("/a")}), ElementsAre("none"));
  EXPECT_THAT(merged({prefix("/")}, {regex}), ElementsAre("none"));
}

TEST(Delegates, other_conditions_are_put_together) {
  auto outer = prefix("/a");
  outer.headers = {{"x-env", {Kind::exact, "prod"}}};
  outer.without_headers = {{"x-no", {Kind::present, ""}}};
  outer.method = StringMatch{Kind::exact, "GET"};
  outer.port = 80;
  HttpMatch inner;
  inner.headers = {{"x-team", {Kind::exact, "shop"}}};
  inner.without_headers = {{"x-no", {Kind::exact, "a"}}};
  inner.query_params = {{"q", {Kind::present, ""}}};
  const auto result =
      merge_delegates({Vs("a/root", {"a.org"}).delegate({outer}, "a/leaf"), Vs("a/leaf", {}).http({inner}, "x")});
  const auto& match = result.services.at(0).http.at(0).matches.at(0);
  EXPECT_EQ(match.uri, outer.uri);
  EXPECT_EQ(match.method, outer.method);
  EXPECT_EQ(match.port, 80);
  EXPECT_EQ(match.headers.size(), 2U);
  EXPECT_EQ(match.without_headers.size(), 2U) << "neither may be there";
  EXPECT_EQ(match.query_params.size(), 1U);
  inner.headers = {{"x-env", {Kind::exact, "test"}}};
  EXPECT_THAT(merged({outer}, {inner}), ElementsAre("none")) << "no request has both";
  inner.headers = {};
  inner.port = 81;
  EXPECT_THAT(merged({outer}, {inner}), ElementsAre("none"));
}

TEST(Delegates, what_a_delegates_rule_does_not_say_the_other_says) {
  HttpRule root{.name = "r", .matches = {}, .destinations = {}};
  root.delegate = DelegateName{"a", "leaf"};
  root.timeout_ms = 1000;
  root.headers.request.set = {{"x", "root"}};
  root.rewrite = HttpRewrite{.uri = "/root", .authority = "", .regex = "", .substitution = ""};
  HttpRule own{.name = "l", .matches = {}, .destinations = {test::to("x")}};
  own.timeout_ms = 0;
  const auto result = merge_delegates({Vs("a/root", {"a.org"}).http(root), Vs("a/leaf", {}).http(own)});
  const auto& rule = result.services.at(0).http.at(0);
  EXPECT_EQ(rule.name, "r-l");
  EXPECT_EQ(rule.timeout_ms, 0U) << "said, if only to say none";
  EXPECT_EQ(rule.headers.request.set, root.headers.request.set);
  EXPECT_EQ(rule.rewrite->uri, "/root");
  EXPECT_FALSE(rule.delegate);
  EXPECT_THAT(result.rule_names, ElementsAre(ElementsAre("http[0] a/leaf http[0] r-l")));
}

TEST(Delegates, a_delegate_that_is_not_there_or_none_leaves_its_rule_out_and_is_told) {
  const auto why = [](const VirtualService& leaf) {
    const auto result = merge_delegates({Vs("a/root", {"a.org"}).delegate({}, "b/leaf").http({}, "rest"), leaf});
    EXPECT_EQ(result.services.at(0).http.size(), result.broken.empty() ? 2U : 1U);
    return result.broken.empty() ? "" : result.broken[0].why;
  };
  EXPECT_EQ(why(Vs("b/leaf", {}).http({}, "x")), "");
  EXPECT_EQ(why(Vs("a/leaf", {}).http({}, "x")), "is not there");
  EXPECT_THAT(why(Vs("b/leaf", {"b.org"}).http({}, "x")), HasSubstr("has hosts"));
  EXPECT_THAT(why(Vs("b/leaf", {}).export_to({"c"}).http({}, "x")), HasSubstr("is not exported"));
  EXPECT_THAT(why(Vs("b/leaf", {}).delegate({}, "b/leaf")), HasSubstr("delegates itself"));
}

TEST(Delegates, lists_that_multiply_are_bounded) {
  std::vector<HttpMatch> many(1024, prefix("/"));
  const auto result =
      merge_delegates({Vs("a/root", {"a.org"}).delegate(many, "a/leaf"), Vs("a/leaf", {}).http(many, "x")});
  EXPECT_THAT(result.services.at(0).http, IsEmpty());
  EXPECT_THAT(result.broken.at(0).why, HasSubstr("multiply"));
}

}  // namespace
}  // namespace sluice
