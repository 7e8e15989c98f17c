#include "base/file_version.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace sluice {
namespace {

struct FileVersionTest : testing::Test {
  const std::string path = testing::TempDir() + "file_version_test." + std::to_string(::getpid());
  ~FileVersionTest() override { std::filesystem::remove_all(path); }
};

TEST_F(FileVersionTest, is_another_one_for_every_change_and_the_same_without) {
  EXPECT_FALSE(FileVersion::of(path)->exists());
  std::ofstream(path) << "a";
  const auto first = *FileVersion::of(path);
  EXPECT_TRUE(first.exists());
  EXPECT_EQ(*FileVersion::of(path), first);
  std::ofstream(path, std::ios::app) << "b";
  const auto longer = *FileVersion::of(path);
  EXPECT_NE(longer, first);
  std::ofstream(path + ".new") << "cd";
  std::filesystem::rename(path + ".new", path);
  EXPECT_NE(*FileVersion::of(path), longer) << "another file of the same length";
}

TEST_F(FileVersionTest, follows_symbolic_links) {
  std::filesystem::create_directory(path);
  std::ofstream(path + "/1") << "a";
  std::ofstream(path + "/2") << "b";
  std::filesystem::create_symlink("1", path + "/link");
  EXPECT_EQ(*FileVersion::of(path + "/link"), *FileVersion::of(path + "/1"));
  std::filesystem::remove(path + "/link");
  std::filesystem::create_symlink("2", path + "/link");
  EXPECT_EQ(*FileVersion::of(path + "/link"), *FileVersion::of(path + "/2"));
}

TEST_F(FileVersionTest, is_of_regular_files_alone) {
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const auto version = FileVersion::of(path);
  ASSERT_FALSE(version);
  EXPECT_EQ(version.error().message(), path + " is not a regular file");
}

}  // namespace
}  // namespace sluice
