#include "kernel/bpffs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "kernel/interception.h"

namespace sluice::kernel {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Directory : public ::testing::Test {
 protected:
  Directory() {
    std::string name = std::filesystem::temp_directory_path() / "sluice-bpffs-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~Directory() override { std::filesystem::remove_all(path_); }

  std::string path_;
};

TEST_F(Directory, is_listed_in_order) {
  std::ofstream(path_ + "/b").put('x');
  std::ofstream(path_ + "/a").put('x');
  EXPECT_THAT(list_directory(path_), ElementsAre("a", "b"));
}

TEST_F(Directory, that_does_not_exist_lists_as_empty) {
  EXPECT_THAT(list_directory(path_ + "/none"), IsEmpty());
}

TEST_F(Directory, is_locked_by_one_at_a_time) {
  auto first = lock_pin_directory(path_);
  ASSERT_TRUE(first.ok());
  const auto second = lock_pin_directory(path_);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().message(), HasSubstr(path_));
  first->reset();
  EXPECT_TRUE(lock_pin_directory(path_).ok());
}

TEST_F(Directory, that_is_no_bpffs_is_never_touched_by_detach) {
  std::ofstream(path_ + "/maps").put('x');
  EXPECT_TRUE(detach(path_).ok());
  EXPECT_THAT(list_directory(path_), ElementsAre("maps"));
  EXPECT_TRUE(detach(path_ + "/none").ok());
}

TEST(PinDirectory, must_be_an_absolute_path) {
  for (const char* path : {"", "sluice", "./sluice", "/"}) EXPECT_FALSE(make_pin_directory(path).ok()) << path;
}

}  // namespace
}  // namespace sluice::kernel
