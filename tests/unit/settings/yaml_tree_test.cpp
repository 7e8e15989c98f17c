#include "settings/yaml_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::settings::yaml {
namespace {

std::string repeat(std::string_view text, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += text;
  return out;
}

std::string fault_of(std::string_view text) {
  const auto stream = parse(text);
  return stream.fault ? stream.fault->message : "";
}

TEST(YamlTree, nodes_know_their_kind_line_and_quoting) {
  const auto stream = parse("a: 1\nb:\n- x\n- y: '2'\n  z: |\n    text\nc: ~\n");
  ASSERT_EQ(stream.documents.size(), 1U);
  const auto& root = stream.documents[0].root;
  ASSERT_EQ(root.items.size(), 3U);
  EXPECT_EQ(root.items[0].text, "1");
  EXPECT_FALSE(root.items[0].quoted);
  const auto& list = root.items[1];
  EXPECT_EQ(list.kind, Kind::sequence);
  EXPECT_EQ(list.key_line, 2U);
  EXPECT_EQ(list.line, 3U);
  EXPECT_EQ(list.items[1].items[0].line, 4U);
  EXPECT_TRUE(list.items[1].items[0].quoted);
  EXPECT_TRUE(list.items[1].items[1].quoted);
  EXPECT_EQ(root.items[2].kind, Kind::null);
}

TEST(YamlTree, a_repeated_key_keeps_its_first_value_and_is_reported_with_its_path) {
  const auto stream = parse("a:\n- {b: 1}\n- {b: 2, c: 3, b: 4, b: 5}\n");
  ASSERT_EQ(stream.documents.size(), 1U);
  const auto& faults = stream.documents[0].faults;
  ASSERT_EQ(faults.size(), 2U);
  EXPECT_EQ(faults[0].path, "a[1].b");
  EXPECT_EQ(faults[0].line, 3U);
  const auto& item = stream.documents[0].root.items[0].items[1];
  ASSERT_EQ(item.items.size(), 2U);
  EXPECT_EQ(item.items[0].text, "2");
  EXPECT_EQ(item.items[1].text, "3");
}

TEST(YamlTree, faults_of_one_document_do_not_reach_the_next) {
  const auto stream = parse("{a: 1, a: 2}\n---\n{a: 1}\n");
  ASSERT_EQ(stream.documents.size(), 2U);
  EXPECT_EQ(stream.documents[0].faults.size(), 1U);
  EXPECT_TRUE(stream.documents[1].faults.empty());
}

TEST(YamlTree, repeated_keys_are_listed_to_a_bound) {
  const auto stream = parse("{" + repeat("a: b, ", 10'000) + "}");
  ASSERT_EQ(stream.documents.size(), 1U);
  EXPECT_EQ(stream.documents[0].faults.size(), max_faults);
  EXPECT_EQ(stream.documents[0].root.items.size(), 1U);
}

TEST(YamlTree, aliases_do_not_expand) {
  EXPECT_EQ(fault_of("a: &a [x, x]\nb: &b [*a, *a]\n"), "aliases (*name) are not read: write the value out");
}

TEST(YamlTree, nesting_has_a_bound_in_every_style) {
  const std::string nested = "nested more than 32 levels deep";
  EXPECT_EQ(fault_of(repeat("- ", 32)), "");
  EXPECT_EQ(fault_of(repeat("- ", 33)), nested);
  EXPECT_EQ(fault_of(repeat("[", 32) + repeat("]", 32)), "");
  EXPECT_EQ(fault_of(repeat("[", 33) + repeat("]", 33)), nested);
  EXPECT_EQ(fault_of(repeat("{a: ", 33) + repeat("}", 33)), nested);
}

TEST(YamlTree, the_size_has_a_bound) {
  EXPECT_EQ(fault_of(std::string(max_bytes + 1, '\n')), "larger than 16 MiB: split the file");
}

TEST(YamlTree, lines_have_a_bound) {
  EXPECT_EQ(fault_of(repeat("[", max_line_bytes + 1)), "line longer than 256 KiB: break it up");
}

TEST(YamlTree, documents_have_a_bound) {
  EXPECT_EQ(fault_of(repeat("---\n", max_documents + 1)), "more than 100,000 documents: split the file");
}

TEST(YamlTree, values_have_a_bound) {
  EXPECT_EQ(fault_of(repeat("- a\n", max_nodes + 1)), "more than 2,000,000 values: split the file");
}

TEST(YamlTree, control_bytes_are_refused) {
  EXPECT_EQ(fault_of(std::string_view("a: \0b", 5)), "control byte: the file must be plain UTF-8 text");
}

TEST(YamlTree, text_after_the_end_byte_of_yaml_cpp_is_not_lost) {
  EXPECT_EQ(fault_of("a: 1\n\x04\nb: 2\n"), "control byte: the file must be plain UTF-8 text");
}

TEST(YamlTree, broken_text_is_one_fault_with_its_line) {
  const auto stream = parse("a: 1\n---\nb: [1\n---\nc: 3\n");
  ASSERT_TRUE(stream.fault);
  EXPECT_EQ(stream.fault->line, 4U);
  EXPECT_TRUE(stream.documents.empty());
}

TEST(YamlTree, every_prefix_and_every_byte_flip_of_a_document_is_read_or_refused) {
  const std::string text =
      "a: &x {b: [1, 'two', \"th\\u0072ee\"]}\nc: |-\n  d\n? e\n: f # g\n--- !!map\n{h: *x}\n...\n%TAG ! i\n";
  for (std::size_t size = 0; size <= text.size(); ++size) parse(std::string_view(text).substr(0, size));
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const char c :
         {'\0', '\t', '\n', ' ', '"', '#', '%', '&', '*', ',', '-', ':', '?', '[', ']', '{', '}', '\xff'}) {
      auto changed = text;
      changed[i] = c;
      const auto stream = parse(changed);
      EXPECT_TRUE(!stream.fault || stream.documents.empty());
    }
  }
}

TEST(YamlTree, messages_quote_what_they_found_without_its_bytes) {
  EXPECT_EQ(quote("a\"\n\x1b[31m"), "\"a\"??[31m\"");
  EXPECT_EQ(quote(std::string(81, 'x')), "\"" + std::string(80, 'x') + "...\"");
}

}  // namespace
}  // namespace sluice::settings::yaml
