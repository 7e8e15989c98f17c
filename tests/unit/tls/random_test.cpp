#include "tls/random.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace sluice::tls {
namespace {

TEST(Random, each_fill_is_another_one_and_fills_all_of_it) {
  std::set<std::array<std::uint8_t, 16>> seen;
  std::array<std::uint8_t, 16> any{};
  for (int round = 0; round < 1000; ++round) {
    std::array<std::uint8_t, 16> bytes{};
    fill_random(bytes);
    EXPECT_TRUE(seen.insert(bytes).second);
    for (std::size_t i = 0; i < bytes.size(); ++i) any[i] |= bytes[i];
  }
  for (const auto byte : any) EXPECT_EQ(byte, 0xff);
}

}  // namespace
}  // namespace sluice::tls
