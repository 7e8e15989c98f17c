#include "policy/host_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "policy/host_match.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Patterns {
  explicit Patterns(std::vector<std::string> patterns) : texts(std::move(patterns)), index(texts.size()) {
    for (const auto& text : texts) index.add(text);
  }
  std::vector<std::string> matching(std::string_view host) const {
    std::vector<std::string> found;
    const auto matches = index.match(host);
    for (const auto id : matches.ids()) found.push_back(texts[id]);
    return found;
  }

  std::vector<std::string> texts;
  HostIndex index;
};

struct Row {
  std::string_view pattern;
  std::string_view host;
  bool matches;
};

// The rows of Istio's own test that have a plain name on one side (pkg/config/host/name_test.go), and the words of the
// API about depth and the missing label.
constexpr Row rows[] = {
    {"foo.com", "foo.com", true},
    {"bar.com", "foo.com", false},
    {"bar.foo.com", "foo.com", false},
    {"foo.com", "bar.foo.com", false},
    {"*.com", "foo.com", true},
    {"*.foo.com", "bar.foo.com", true},
    {"*.foo.com", "foo.com", false},
    {"*.foo.bar.baz", "baz", false},
    {"*.baz", "foo.bar.baz", true},
    {"*", "foo.com", true},
    {"*", "com", true},
    {"*.foo.com", "a.b.foo.com", true},
    {"*.foo.com", "xfoo.com", false},
    {"*.foo.com", "a.foo.com.evil.org", false},
    {"*.foo.com", "a.foo.comx", false},
    {"*foo.com", "xfoo.com", true},
    {"*foo.com", "x.foo.com", true},
    {"*foo.com", "foo.com", true},
    {"*foo.com", "oo.com", false},
    {"*-api.foo.com", "eu-api.foo.com", true},
    {"*-api.foo.com", "api.foo.com", false},
    {"foo.*", "foo.com", false},
    {"a.*.com", "a.b.com", false},
};

TEST(HostMatch, follows_istios_table) {
  for (const auto& row : rows) {
    EXPECT_EQ(host_matches(row.pattern, row.host), row.matches) << row.pattern << " against " << row.host;
  }
}

TEST(HostIndex, finds_what_the_rule_matches_and_nothing_else) {
  for (const auto& row : rows) {
    const Patterns patterns({std::string(row.pattern)});
    EXPECT_EQ(!patterns.matching(row.host).empty(), row.matches) << row.pattern << " against " << row.host;
  }
}

TEST(HostIndex, the_most_specific_pattern_comes_first) {
  const Patterns patterns({"*.com", "*", "*.b.foo.com", "*foo.com", "a.b.foo.com", "*.foo.com", "*b.foo.com"});
  EXPECT_THAT(patterns.matching("a.b.foo.com"),
              ElementsAre("a.b.foo.com", "*.b.foo.com", "*b.foo.com", "*.foo.com", "*foo.com", "*.com", "*"));
}

TEST(HostIndex, a_repeated_pattern_keeps_its_number) {
  HostIndex index(3);
  EXPECT_EQ(index.add("foo.com"), 0U);
  EXPECT_EQ(index.add("*.foo.com"), 1U);
  EXPECT_EQ(index.add("foo.com"), 0U);
  EXPECT_EQ(index.size(), 2U);
}

TEST(HostIndex, keeps_its_own_copy_of_a_pattern) {
  HostIndex index(1);
  std::string pattern = "a-name-too-long-to-live-inside-a-string-object.foo.com";
  index.add(pattern);
  const std::string host = std::exchange(pattern, std::string(pattern.size(), 'x'));
  EXPECT_THAT(index.match(host).ids(), ElementsAre(0U));
  EXPECT_THAT(index.match(pattern).ids(), IsEmpty());
}

TEST(HostIndex, a_wildcard_and_the_name_of_its_fixed_part_are_two_patterns) {
  const Patterns patterns({"*foo.com", "foo.com"});
  EXPECT_THAT(patterns.matching("foo.com"), ElementsAre("foo.com", "*foo.com"));
  EXPECT_THAT(patterns.matching("xfoo.com"), ElementsAre("*foo.com"));
}

TEST(HostIndex, names_up_to_255_bytes_are_found_and_longer_ones_match_nothing) {
  const std::string longest(255, 'x');
  const Patterns patterns({longest, "*" + longest, longest + "x", "*"});
  EXPECT_THAT(patterns.matching(longest), ElementsAre(longest, "*" + longest, "*"));
  EXPECT_THAT(patterns.matching(longest + "x"), IsEmpty());
}

TEST(HostIndex, an_index_without_patterns_matches_nothing) {
  EXPECT_THAT(Patterns({}).matching("foo.com"), IsEmpty());
  EXPECT_THAT(Patterns({}).matching(""), IsEmpty());
}

TEST(HostIndex, every_one_of_many_names_is_found_and_no_other) {
  std::vector<std::string> names;
  for (int number = 0; number < 20'000; ++number) {
    names.push_back((number % 2 == 0 ? "" : "*.") + std::string("h") + std::to_string(number) + ".example.com");
  }
  const Patterns patterns(names);
  for (int number = 0; number < 20'000; ++number) {
    const auto name = "h" + std::to_string(number) + ".example.com";
    const auto& pattern = names[static_cast<std::size_t>(number)];
    if (number % 2 == 0) {
      EXPECT_THAT(patterns.matching(name), ElementsAre(pattern));
      EXPECT_THAT(patterns.matching("www." + name), IsEmpty());
    } else {
      EXPECT_THAT(patterns.matching(name), IsEmpty());
      EXPECT_THAT(patterns.matching("www." + name), ElementsAre(pattern));
    }
  }
}

}  // namespace
}  // namespace sluice
