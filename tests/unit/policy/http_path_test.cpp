// Which paths rules may look at, and in what form.
#include "policy/http_path.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

std::string canonical(std::string_view path) {
  std::string scratch;
  const auto result = canonical_path(path, scratch);
  return result ? std::string(*result) : "refused";
}

TEST(HttpPath, a_path_that_servers_may_read_in_two_ways_is_refused) {
  for (const auto* path :
       {"/..",         "/.",      "/a/../b", "/a/./b", "/a/..",     "/a/.",      "/../a",       "/a/%2e%2e/b",
        "/a/%2E./b",   "/a/.%2e", "/%2e",    "/a\\b",  "/a\\..\\b", "/a/..%2fb", "/a%2f..%2fb", "/a%2F%2e%2e%2Fb",
        "/a%5c..%5cb", "/a%5C..", "/a%00b",  "/%",     "/%4",       "/%zz",      "/a%2",        "/100%/x"}) {
    EXPECT_EQ(canonical(path), "refused") << path;
    EXPECT_FALSE(has_one_reading(path)) << path;
  }
}

TEST(HttpPath, any_other_path_stays_as_it_is) {
  for (const auto* path : {"/",      "*",
                           "/a",     "/a/b/",
                           "//a//b", "/...",
                           "/a/...", "/..a",
                           "/a..",   "/.well-known/x",
                           "/a.b",   "/a%2fb",
                           "/a%2F",  "/group%2Fproject",
                           "/a%5cb", "/%E2%82%AC",
                           "/a%20b", "/a;v=1/b",
                           "/a%25b", "/a%252e%252e"}) {
    EXPECT_EQ(canonical(path), path);
  }
}

TEST(HttpPath, encoded_unreserved_characters_mean_themselves) {
  EXPECT_EQ(canonical("/%61dmin"), "/admin");
  EXPECT_EQ(canonical("/%41%7a%30%2d%5F%7E%2e.%2e"), "/Az0-_~...");
  EXPECT_EQ(canonical("/a%2f%61%20"), "/a%2fa%20") << "others stay, in the case that they have";
}

TEST(HttpPath, the_canonical_path_is_canonical) {
  for (const auto* path : {"/%61dmin", "/a%2f%61%20", "/%2ea", "/a%2561"}) {
    const auto once = canonical(path);
    EXPECT_EQ(canonical(once), once);
  }
  EXPECT_EQ(canonical("/a%2561"), "/a%2561") << "decoded once, never twice";
}

}  // namespace
}  // namespace sluice
