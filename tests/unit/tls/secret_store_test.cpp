// Claims about the store of Secrets that somebody tells: what stays, what goes, and that an error changes nothing.
#include "tls/secret_store.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace sluice::tls {
namespace {

std::string content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// No byte can be written to a file while it lives.
class FullDisk {
 public:
  FullDisk() : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    if (::getrlimit(RLIMIT_FSIZE, &before_) != 0) throw std::runtime_error("getrlimit");
    const rlimit full{0, before_.rlim_max};
    if (::setrlimit(RLIMIT_FSIZE, &full) != 0) throw std::runtime_error("setrlimit");
  }
  ~FullDisk() {
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &before_), 0);
    std::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST(SecretStore, holds_what_was_told_last) {
  SecretStore store("");
  ASSERT_TRUE(store.replace({{"a", {{"tls.crt", "one"}, {"tls.key", "two"}}}, {"b", {{"tls.crt", "three"}}}}).ok());
  EXPECT_EQ(content(store.path("a", "tls.crt")), "one");
  EXPECT_EQ(content(store.path("a", "tls.key")), "two");
  EXPECT_EQ(content(store.path("b", "tls.crt")), "three");
  ASSERT_TRUE(store.replace({{"b", {{"tls.crt", "four"}}}}).ok());
  EXPECT_EQ(content(store.path("b", "tls.crt")), "four");
  EXPECT_FALSE(std::ifstream(store.path("a", "tls.crt")));
  EXPECT_FALSE(std::ifstream(store.path("b", "tls.key")));
}

TEST(SecretStore, what_is_as_before_keeps_its_file) {
  SecretStore store("");
  ASSERT_TRUE(store.replace({{"a", {{"tls.crt", "one"}}}, {"b", {{"tls.crt", "two"}}}}).ok());
  const auto path = store.path("a", "tls.crt");
  ASSERT_TRUE(store.replace({{"a", {{"tls.crt", "one"}}}, {"b", {{"tls.crt", "three"}}}}).ok());
  EXPECT_EQ(store.path("a", "tls.crt"), path);
  EXPECT_EQ(content(path), "one");
}

TEST(SecretStore, after_an_error_is_what_it_was) {
  SecretStore store("");
  const std::map<std::string, SecretStore::Keys> before = {{"a", {{"tls.crt", "one"}}}, {"b", {{"tls.crt", "two"}}}};
  ASSERT_TRUE(store.replace(before).ok());
  {
    const FullDisk full;
    EXPECT_FALSE(store.replace({{"a", {{"tls.crt", "one"}}}, {"b", {{"tls.crt", "three"}}}}).ok());
  }
  EXPECT_EQ(content(store.path("a", "tls.crt")), "one");
  EXPECT_EQ(content(store.path("b", "tls.crt")), "two");
}

TEST(SecretStore, of_a_directory_names_the_files_there) {
  const SecretStore store("/etc/sluice/secrets");
  EXPECT_EQ(store.path("a", "tls.crt"), "/etc/sluice/secrets/a/tls.crt");
  EXPECT_EQ(store.describe("a"), "/etc/sluice/secrets/a");
  EXPECT_EQ(SecretStore("").describe("a"), "Secret a");
}

}  // namespace
}  // namespace sluice::tls
