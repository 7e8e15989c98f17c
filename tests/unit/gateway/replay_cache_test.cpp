#include "gateway/replay_cache.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "tls/digest.h"

namespace sluice::gateway {
namespace {

using Answer = ReplayCache::Answer;

constexpr std::uint64_t age_ms = 10'000;
constexpr std::uint64_t start_ms = 1'767'225'600'000;

tls::Digest mac(std::uint64_t number) {
  std::array<std::uint8_t, 8> bytes;
  std::memcpy(bytes.data(), &number, bytes.size());
  return tls::sha256(bytes);
}

TEST(ReplayCache, admits_each_header_once) {
  ReplayCache cache(age_ms);
  for (std::uint64_t i = 0; i < 20'000; ++i) ASSERT_EQ(cache.admit(mac(i), start_ms, start_ms), Answer::fresh) << i;
  for (std::uint64_t i = 0; i < 20'000; ++i) ASSERT_EQ(cache.admit(mac(i), start_ms, start_ms), Answer::replayed) << i;
}

TEST(ReplayCache, tells_headers_apart_by_the_first_16_bytes_of_their_macs) {
  ReplayCache cache(age_ms);
  auto one = mac(1);
  one[0] |= 1;  // the bit that marks a slot as used
  EXPECT_EQ(cache.admit(one, start_ms, start_ms), Answer::fresh);
  for (std::size_t bit = 1; bit < 128; ++bit) {
    auto other = one;
    other[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
    EXPECT_EQ(cache.admit(other, start_ms, start_ms), Answer::fresh) << bit;
  }
  EXPECT_EQ(cache.admit(tls::Digest{}, start_ms, start_ms), Answer::fresh) << "zeros are a MAC too";
  EXPECT_EQ(cache.admit(tls::Digest{}, start_ms, start_ms), Answer::replayed);
}

// Each header is tried again at the last moment at which it is still good, whatever came in between: with the clocks
// alike, and with the agents' clocks as far ahead or behind as is allowed.
TEST(ReplayCache, remembers_a_header_until_its_time_is_over) {
  for (const std::int64_t ahead : {std::int64_t{0}, std::int64_t{age_ms}, -std::int64_t{age_ms}}) {
    ReplayCache cache(age_ms);
    struct Used {
      std::uint64_t number;
      std::uint64_t signed_ms;
    };
    std::vector<Used> used;
    std::size_t oldest = 0;
    for (std::uint64_t now = start_ms; now < start_ms + 10 * age_ms; now += 50) {
      // Every third one has the gateway's own time.
      const auto signed_ms = used.size() % 3 == 0 ? now : now + static_cast<std::uint64_t>(ahead);
      used.push_back({used.size(), signed_ms});
      ASSERT_EQ(cache.admit(mac(used.back().number), signed_ms, now), Answer::fresh);
      for (auto i = oldest; i < used.size(); ++i) {
        if (used[i].signed_ms + age_ms < now) continue;
        ASSERT_EQ(cache.admit(mac(used[i].number), used[i].signed_ms, now), Answer::replayed) << i << " at " << now;
      }
      while (used[oldest].signed_ms + 2 * age_ms < now) ++oldest;
    }
  }
}

TEST(ReplayCache, a_full_one_refuses_and_forgets_nothing_until_the_time_is_over) {
  ReplayCache cache(age_ms, 16UL * 64);
  std::vector<std::uint64_t> admitted;
  std::size_t full = 0;
  for (std::uint64_t i = 0; i < 5000; ++i) {
    const auto answer = cache.admit(mac(i), start_ms, start_ms + age_ms / 5000 * i);
    if (answer == Answer::fresh) admitted.push_back(i);
    if (answer == Answer::full) ++full;
  }
  EXPECT_EQ(admitted.size(), 16U * 64);
  EXPECT_EQ(full, 5000U - 16 * 64);
  const auto last = start_ms + age_ms;
  for (const auto i : admitted) EXPECT_EQ(cache.admit(mac(i), start_ms, last), Answer::replayed);
  EXPECT_EQ(cache.admit(mac(9999), last, last), Answer::full);
  // One moment later nothing of it is good any more, and there is room for as many.
  std::size_t fresh = 0;
  for (std::uint64_t i = 10'000; i < 15'000; ++i) {
    if (cache.admit(mac(i), last + 1, last + 1) == Answer::fresh) ++fresh;
  }
  EXPECT_EQ(fresh, 16U * 64);
}

TEST(ReplayCache, a_steady_stream_never_fills_it) {
  // 100 a second for 100 times the age; 2,000 of them are good at once when clocks are alike.
  ReplayCache cache(age_ms, 16UL * 256);
  std::uint64_t number = 0;
  for (std::uint64_t now = start_ms; now < start_ms + 100 * age_ms; now += 10) {
    ASSERT_EQ(cache.admit(mac(number), now, now), Answer::fresh) << number;
    ++number;
  }
}

TEST(ReplayCache, a_clock_that_is_set_back_brings_nothing_back) {
  ReplayCache cache(age_ms);
  EXPECT_EQ(cache.admit(mac(1), start_ms, start_ms), Answer::fresh);
  // An hour ahead by mistake, with headers to go with it: what was before is forgotten.
  const auto ahead = start_ms + 3'600'000;
  std::uint64_t number = 1000;
  for (; number < 2000; ++number) ASSERT_EQ(cache.admit(mac(number), ahead, ahead), Answer::fresh);
  const auto back = start_ms + 1;
  // Remembered or forgotten, it is not fresh.
  EXPECT_NE(cache.admit(mac(1), start_ms, back), Answer::fresh);
  for (std::uint64_t other = 0; other < 1000; ++other) {
    EXPECT_NE(cache.admit(mac(1), start_ms, back + other), Answer::fresh);
  }
  // What is signed after that is.
  EXPECT_EQ(cache.admit(mac(2), back, back), Answer::fresh);
}

TEST(ReplayCache, of_threads_with_the_same_header_one_is_first) {
  constexpr std::uint64_t headers = 20'000;
  constexpr int threads = 4;
  ReplayCache cache(age_ms);
  std::vector<std::atomic<int>> fresh(headers);
  std::atomic<int> waiting{threads};
  std::vector<std::jthread> racers;
  for (int thread = 0; thread < threads; ++thread) {
    racers.emplace_back([&] {
      --waiting;
      while (waiting != 0) std::this_thread::yield();
      for (std::uint64_t i = 0; i < headers; ++i) {
        // Time goes on under them, so generations change too.
        const auto now = start_ms + i;
        if (cache.admit(mac(i), now, now) == Answer::fresh) ++fresh[i];
      }
    });
  }
  racers.clear();
  for (std::uint64_t i = 0; i < headers; ++i) ASSERT_EQ(fresh[i], 1) << i;
}

}  // namespace
}  // namespace sluice::gateway
