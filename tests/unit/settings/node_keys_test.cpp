#include "settings/node_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace sluice::settings {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string first = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
const std::string second = "a0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

std::string error_of(const std::string& yaml) {
  const auto result = parse_node_keys(yaml, "k.yaml");
  return result ? "none" : result.error().message();
}

std::string with_keys(std::size_t count) {
  std::string yaml = "keys:\n";
  for (std::size_t i = 0; i < count; ++i) yaml += "  - \"" + std::to_string(i) + first.substr(1) + "\"\n";
  return yaml;
}

TEST(NodeKeys, are_read_newest_first_with_their_public_ids) {
  const auto result = parse_node_keys(
      "keys: [\"" + first + "\", \"" + second + "\"]\naddresses: [10.1.0.0/16, \"fd00:1::/64\"]\n", "k.yaml");
  ASSERT_TRUE(result) << result.error().message();
  ASSERT_EQ(result->keys.size(), 2U);
  EXPECT_EQ(result->keys[0].secret[1], 0x11);
  EXPECT_EQ(result->keys[0].secret[31], 0xff);
  EXPECT_EQ(result->keys[1].secret[0], 0xa0);
  // sha256sum of the 32 bytes
  EXPECT_THAT(result->keys[0].id, ElementsAre(0x47, 0x73, 0xd1, 0x2e));
  EXPECT_THAT(result->keys[1].id, ElementsAre(0x14, 0x00, 0x59, 0xab));
  EXPECT_THAT(result->addresses, ElementsAre(*Cidr::parse("10.1.0.0/16"), *Cidr::parse("fd00:1::/64")));
}

TEST(NodeKeys, need_no_addresses) {
  const auto result = parse_node_keys("keys: [\"" + first + "\"]", "k.yaml");
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_TRUE(result->addresses.empty());
}

TEST(NodeKeys, are_one_to_eight) {
  EXPECT_EQ(error_of("addresses: [10.1.0.0/16]"),
            "k.yaml:1: keys: is required: at least one key of 64 hexadecimal digits, the newest first");
  EXPECT_THAT(error_of("keys: []"), HasSubstr("k.yaml:1: keys: is required"));
  EXPECT_EQ(error_of(with_keys(8)), "none");
  EXPECT_THAT(error_of(with_keys(9)), HasSubstr("keys: has 9 items, at most 8 are allowed"));
}

TEST(NodeKeys, are_exactly_32_bytes_of_hexadecimal_digits) {
  const std::string expected =
      "k.yaml:2: keys[0]: expected a key of 64 hexadecimal digits in quotes: make one with openssl rand -hex 32";
  for (const std::string& wrong :
       {std::string(), first.substr(1), first + "0", "g" + first.substr(1), "-" + first.substr(1),
        "0x" + first.substr(2), " " + first.substr(1), first.substr(1) + " ", first.substr(1) + "g"}) {
    EXPECT_EQ(error_of("keys:\n  - \"" + wrong + "\"\n"), expected) << wrong;
  }
  EXPECT_EQ(error_of("keys:\n  - {}\n"), expected);
  EXPECT_EQ(error_of("keys:\n  - [\"" + first + "\"]\n"), expected);
  EXPECT_EQ(error_of("keys:\n  - ~\n"), expected);
}

TEST(NodeKeys, are_there_once) {
  EXPECT_EQ(error_of("keys:\n- \"" + second + "\"\n- \"" + first + "\"\n- \"" + second + "\"\n"),
            "k.yaml:4: keys[2]: is there already: keep one of them");
}

TEST(NodeKeys, addresses_are_true_ranges_and_not_all_addresses) {
  const auto keys = "keys: [\"" + first + "\"]\n";
  const std::string expected = "expected a range like 10.244.3.0/24 or fd00:3::/64 without bits set behind the prefix";
  EXPECT_EQ(error_of(keys + "addresses: [10.1.0.1/16]"), "k.yaml:2: addresses[0]: " + expected);
  EXPECT_EQ(error_of(keys + "addresses: [10.1.0.0/16, pods]"), "k.yaml:2: addresses[1]: " + expected);
  EXPECT_EQ(error_of(keys + "addresses: [[]]"), "k.yaml:2: addresses[0]: " + expected);
  EXPECT_EQ(error_of(keys + "addresses: [0.0.0.0/0]"),
            "k.yaml:2: addresses[0]: is every address: then this node could speak for the pods of all others");
  EXPECT_THAT(error_of(keys + "addresses: [\"::/0\"]"), HasSubstr("is every address"));
  EXPECT_EQ(error_of(keys + "addresses: 10.1.0.0/16"), "k.yaml:2: addresses: expected a list, found a single value");
}

// Wherever a key got to by mistake, errors go to logs and terminals.
TEST(NodeKeys, errors_show_no_secret) {
  for (const std::string& wrong : {
           "keys: " + first + "\n",
           "keys: [" + first + "0]\n",
           "keys: [\"" + first + "\", \"" + first + "\"]\n",
           "keys: {" + first + ": " + first + "}\n",
           "keys: {a: {" + first + ": 1, " + first + ": 2}}\n",
           "keys: [{" + first + ": 1, " + first + ": 2}]\n",
           "keys: [\"" + second + "\"]\naddresses: [" + first + "]\n",
           "keys: [\"" + second + "\"]\naddresses: [0x" + first + "]\n",
           "keys: [\"" + second + "\"]\naddresses: {" + first + ": 1}\n",
           "keys: [\"" + second + "\"]\n" + first + ": 1\n",
           "keys: [\"" + second + "\"]\n" + first + ": 1\n" + first + ": 2\n",
           first + "\n",
           "- " + first + "\n",
           first + ": [\n",
           "keys: [&" + first + " a, *" + first + "]\n",
           "keys: [!" + first + " \"" + second + "\"]\n",
           "%" + first + "\n---\nkeys: [" + second + "]\n" + first,
           "keys: [\"" + first + "\\q\"]\n",
       }) {
    const auto error = error_of(wrong);
    EXPECT_THAT(error, HasSubstr("k.yaml:")) << wrong;
    EXPECT_THAT(error, testing::Not(HasSubstr(first.substr(2, 8)))) << wrong;
  }
}

TEST(NodeKeys, unknown_and_repeated_keys_are_refused) {
  const auto keys = "keys: [\"" + first + "\"]\n";
  EXPECT_EQ(error_of(keys + "adresses: []\n"), "k.yaml:2: is not a known key; known are addresses, keys");
  EXPECT_EQ(error_of(keys + keys), "k.yaml:2: keys: is there twice: keep one of them");
  EXPECT_THAT(error_of(""), HasSubstr("k.yaml:1: the file is empty"));
  EXPECT_EQ(error_of(keys + "---\n" + keys), "k.yaml:3: a second YAML document; expected one");
}

TEST(NodeKeys, the_example_loads) {
  const auto result = load_node_keys(SLUICE_SOURCE_DIR "/config/node-key.yaml");
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result->keys.size(), 1U);
  EXPECT_FALSE(result->addresses.empty()) << "without ranges in the example its keys would go unchecked";
}

TEST(NodeKeys, files_are_bounded_and_must_be_there) {
  const auto path = testing::TempDir() + "node_keys_test." + std::to_string(::getpid()) + ".yaml";
  std::ofstream(path) << "keys: [\"" << first << "\"]\n#" << std::string(64UL * 1024, 'x');
  const auto large = load_node_keys(path);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().message(), path + ":1: larger than 64 KiB");
  std::filesystem::remove(path);
  const auto gone = load_node_keys(path);
  ASSERT_FALSE(gone);
  EXPECT_THAT(gone.error().message(), HasSubstr(path));
}

}  // namespace
}  // namespace sluice::settings
