// Objects as JSON, discovery, and lines that come in pieces.
#include "kube/object.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kube/discovery.h"
#include "kube/line_reader.h"

namespace sluice::kube {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
namespace yaml = settings::yaml;

std::string show(const yaml::Node& node) {
  switch (node.kind) {
    case yaml::Kind::null:
      return "null";
    case yaml::Kind::scalar:
      return node.quoted ? "'" + node.text + "'" : node.text;
    default:
      break;
  }
  const bool list = node.kind == yaml::Kind::sequence;
  std::string text = list ? "[" : "{";
  for (const auto& item : node.items) text += (list ? "" : item.key + ":") + show(item) + ",";
  return text + (list ? "]" : "}");
}

TEST(Tree, json_reads_like_the_same_yaml) {
  const auto value =
      boost::json::parse(R"({"a":null,"b":[true,false,7,-3,1.5,18446744073709551615],"c":{"d":"7"},"e":"é"})");
  EXPECT_EQ(show(to_tree(value)), "{a:null,b:[true,false,7,-3,1.5,18446744073709551615,],c:{d:'7',},e:'é',}");
}

TEST(Lines, are_put_together_from_any_pieces) {
  const std::string text = "one\n\ntwo words\nlast";
  for (std::size_t size = 1; size <= text.size(); ++size) {
    LineReader reader(100);
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < text.size(); at += size) {
      ASSERT_TRUE(reader.feed(text.substr(at, size)));
      while (const auto line = reader.next()) lines.emplace_back(*line);
    }
    EXPECT_THAT(lines, ElementsAre("one", "", "two words")) << size;
  }
}

TEST(Lines, that_are_too_long_are_refused_before_they_end) {
  LineReader reader(10);
  EXPECT_TRUE(reader.feed("12345"));
  EXPECT_FALSE(reader.next());
  EXPECT_TRUE(reader.feed("67890\n"));
  EXPECT_TRUE(reader.next());
  EXPECT_TRUE(reader.feed("12345"));
  EXPECT_FALSE(reader.next());
  EXPECT_FALSE(reader.feed("678901"));
}

TEST(Lines, of_many_in_one_piece_the_last_counts_on) {
  LineReader reader(10);
  EXPECT_TRUE(reader.feed("a\nb\nc"));
  EXPECT_EQ(reader.next(), "a");
  EXPECT_EQ(reader.next(), "b");
  EXPECT_FALSE(reader.next());
  EXPECT_TRUE(reader.feed("d\n"));
  EXPECT_EQ(reader.next(), "cd");
}

TEST(Discovery, the_most_stable_version_comes_first) {
  const auto versions = parse_group(
      R"({"kind":"APIGroup","versions":[{"version":"v1alpha3"},{"version":"v1beta1"},{"version":"v1"},{"version":"v1beta2"},{"version":"other"}]})");
  ASSERT_TRUE(versions.ok());
  EXPECT_THAT(*versions, ElementsAre("v1", "v1beta2", "v1beta1", "v1alpha3", "other"));
}

TEST(Discovery, what_cannot_be_a_part_of_a_path_is_left_out) {
  const auto versions =
      parse_group(R"({"versions":[{"version":"../x"},{"version":"v1?x"},{"version":""},{"version":7},7]})");
  ASSERT_TRUE(versions.ok());
  EXPECT_THAT(*versions, IsEmpty());
}

TEST(Discovery, kinds_that_can_be_watched_are_known_by_their_resources) {
  const auto resources = parse_resources(R"({"resources":[
    {"name":"serviceentries","kind":"ServiceEntry","verbs":["get","list","watch"]},
    {"name":"serviceentries/status","kind":"ServiceEntry","verbs":["get","list","watch"]},
    {"name":"gateways","kind":"Gateway","verbs":["get","list"]},
    {"name":"sidecars","kind":"Sidecar"}, 7]})");
  ASSERT_TRUE(resources.ok());
  EXPECT_THAT(*resources, ElementsAre(Pair("ServiceEntry", "serviceentries")));
}

TEST(Discovery, an_answer_of_another_form_is_an_error) {
  for (const auto* text : {"", "{", "[]", "{}", R"({"versions":7,"resources":7})"}) {
    EXPECT_FALSE(parse_group(text).ok()) << text;
    EXPECT_FALSE(parse_resources(text).ok()) << text;
  }
}

}  // namespace
}  // namespace sluice::kube
