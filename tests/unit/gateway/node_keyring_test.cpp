#include "gateway/node_keyring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/gateway/node_files.h"

namespace sluice::gateway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> names(const NodeKeyring& keyring) {
  std::vector<std::string> names;
  for (const auto& [name, keys] : *keyring.nodes()) names.push_back(name);
  return names;
}

struct NodeKeyringTest : testing::Test {
  test::NodeFiles files;
  std::unique_ptr<NodeKeyring> keyring;

  void open() {
    auto opened = NodeKeyring::open(files.path());
    ASSERT_TRUE(opened) << opened.error().message();
    keyring = *std::move(opened);
  }
  const settings::NodeKeys& node(const std::string& name) const { return keyring->nodes()->at(name); }
};

TEST_F(NodeKeyringTest, reads_every_node_of_the_directory_and_nothing_else) {
  files.write("node-a.yaml", test::node_yaml({1, 2}, "10.1.0.0/16"));
  files.write("node-b.example.yaml", test::node_yaml({3}, "10.2.0.0/16"));
  files.write(".hidden.yaml", test::node_yaml({4}, "10.3.0.0/16"));
  files.write(".yaml", test::node_yaml({5}, "10.3.0.0/16"));
  files.write("README", "no keys");
  open();
  EXPECT_THAT(names(*keyring), ElementsAre("node-a", "node-b.example"));
  EXPECT_THAT(node("node-a").keys, ElementsAre(test::key(1), test::key(2)));
  EXPECT_THAT(node("node-a").addresses, ElementsAre(*Cidr::parse("10.1.0.0/16")));
  EXPECT_THAT(keyring->wrong(), IsEmpty());
}

TEST_F(NodeKeyringTest, without_a_directory_no_node_is_known_and_a_missing_one_is_an_error) {
  const auto none = NodeKeyring::open("");
  ASSERT_TRUE(none);
  (*none)->reload();
  EXPECT_THAT(names(**none), IsEmpty());
  const auto missing = NodeKeyring::open(files.path() + "/missing");
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message(), HasSubstr("/missing: No such file"));
}

TEST_F(NodeKeyringTest, follows_what_changes) {
  files.write("a.yaml", test::node_yaml({1}, "10.1.0.0/16"));
  open();
  const auto before = keyring->nodes();
  keyring->reload();
  EXPECT_EQ(keyring->nodes(), before) << "nothing changed";
  files.write("a.yaml", test::node_yaml({2, 1}, "10.1.0.0/16"));
  files.write("b.yaml", test::node_yaml({3}, "10.2.0.0/16"));
  keyring->reload();
  EXPECT_THAT(names(*keyring), ElementsAre("a", "b"));
  EXPECT_THAT(node("a").keys, ElementsAre(test::key(2), test::key(1)));
  EXPECT_THAT(before->at("a").keys, ElementsAre(test::key(1))) << "who uses it is not disturbed";
  files.remove("a.yaml");
  keyring->reload();
  EXPECT_THAT(names(*keyring), ElementsAre("b"));
}

TEST_F(NodeKeyringTest, a_bad_file_keeps_what_was_good_and_is_told_until_it_is_mended) {
  files.write("a.yaml", test::node_yaml({1}, "10.1.0.0/16"));
  files.write("b.yaml", test::node_yaml({2}, ""));
  open();
  EXPECT_THAT(names(*keyring), ElementsAre("a"));
  EXPECT_THAT(keyring->wrong(), ElementsAre(HasSubstr("b.yaml:1: addresses: is required")));
  files.write("a.yaml", "keys: [");
  files.write("b.yaml", test::node_yaml({2}, "10.2.0.0/16"));
  for (int round = 0; round < 2; ++round) {
    keyring->reload();
    EXPECT_THAT(names(*keyring), ElementsAre("a", "b"));
    EXPECT_THAT(node("a").keys, ElementsAre(test::key(1)));
    EXPECT_THAT(keyring->wrong(), ElementsAre(HasSubstr("a.yaml:1: not valid YAML")));
  }
  files.write("a.yaml", test::node_yaml({4}, "10.1.0.0/16"));
  keyring->reload();
  EXPECT_THAT(node("a").keys, ElementsAre(test::key(4)));
  EXPECT_THAT(keyring->wrong(), IsEmpty());
}

TEST_F(NodeKeyringTest, a_directory_that_goes_keeps_all_that_was_good) {
  files.write("a.yaml", test::node_yaml({1}, "10.1.0.0/16"));
  open();
  std::filesystem::rename(files.path(), files.path() + "-gone");
  keyring->reload();
  EXPECT_THAT(names(*keyring), ElementsAre("a"));
  EXPECT_THAT(keyring->wrong(), ElementsAre(HasSubstr("No such file")));
  std::filesystem::rename(files.path() + "-gone", files.path());
  keyring->reload();
  EXPECT_THAT(keyring->wrong(), IsEmpty());
}

// As the kubelet does it: NODE.yaml -> ..data/NODE.yaml, and ..data is renamed over.
TEST_F(NodeKeyringTest, follows_a_mounted_secret) {
  const auto version = [&](const std::string& directory, const std::string& yaml) {
    std::filesystem::create_directory(files.path() + "/" + directory);
    files.write(directory + "/a.yaml", yaml);
    std::filesystem::create_directory_symlink(directory, files.path() + "/..data_tmp");
    std::filesystem::rename(files.path() + "/..data_tmp", files.path() + "/..data");
  };
  version("..1", test::node_yaml({1}, "10.1.0.0/16"));
  std::filesystem::create_symlink("..data/a.yaml", files.path() + "/a.yaml");
  open();
  EXPECT_THAT(node("a").keys, ElementsAre(test::key(1)));
  version("..2", test::node_yaml({2}, "10.1.0.0/16"));
  keyring->reload();
  EXPECT_THAT(node("a").keys, ElementsAre(test::key(2)));
  files.remove("..2/a.yaml");
  keyring->reload();
  EXPECT_THAT(names(*keyring), IsEmpty()) << "the link leads nowhere";
}

TEST_F(NodeKeyringTest, a_key_of_two_nodes_is_no_nodes) {
  files.write("a.yaml", test::node_yaml({1, 9}, "10.1.0.0/16"));
  files.write("b.yaml", test::node_yaml({9, 2}, "10.2.0.0/16"));
  open();
  EXPECT_THAT(node("a").keys, ElementsAre(test::key(1)));
  EXPECT_THAT(node("b").keys, ElementsAre(test::key(2)));
  EXPECT_THAT(keyring->wrong(), ElementsAre(HasSubstr("nodes a and b have a key in common")));
  files.write("b.yaml", test::node_yaml({2}, "10.2.0.0/16"));
  keyring->reload();
  EXPECT_THAT(node("a").keys, ElementsAre(test::key(1), test::key(9)));
  EXPECT_THAT(keyring->wrong(), IsEmpty());
}

TEST_F(NodeKeyringTest, what_is_no_file_is_not_opened) {
  std::filesystem::create_directory(files.path() + "/a.yaml");
  ASSERT_EQ(::mkfifo((files.path() + "/b.yaml").c_str(), 0600), 0);
  open();
  EXPECT_THAT(names(*keyring), IsEmpty());
  EXPECT_THAT(keyring->wrong(),
              ElementsAre(HasSubstr("a.yaml is not a regular file"), HasSubstr("b.yaml is not a regular file")));
}

}  // namespace
}  // namespace sluice::gateway
