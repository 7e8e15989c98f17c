#include "egress/held_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <ostream>
#include <random>
#include <string>
#include <string_view>

namespace sluice::egress {

// NOLINTNEXTLINE(misc-use-internal-linkage): gtest finds it by its argument
void PrintTo(HeldStream::Added added, std::ostream* out) {
  constexpr std::array names = {"nothing_new", "more", "conflict", "too_large"};
  *out << names.at(static_cast<std::size_t>(added));
}

namespace {

using Added = HeldStream::Added;

constexpr std::uint32_t first = 1'000'000;
// Sequence numbers wrap after the fifth byte.
constexpr std::uint32_t wrapping_first = 0xfffffffb;

Added add(HeldStream& stream, std::uint32_t sequence, std::string_view text) {
  return stream.add(sequence, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}
std::string text(const HeldStream& stream) {
  return {stream.bytes().begin(), stream.bytes().end()};
}

std::string random_text(std::size_t size) {
  std::mt19937 random(23);
  std::string text(size, 0);
  for (auto& c : text) c = static_cast<char>(random());
  return text;
}

TEST(HeldStream, HoldsNothingAtFirst) {
  const HeldStream stream(first);
  EXPECT_EQ(text(stream), "");
  EXPECT_EQ(stream.end(), first);
}

TEST(HeldStream, SegmentsInOrderFollowEachOther) {
  HeldStream stream(first);
  EXPECT_EQ(add(stream, first, "abc"), Added::more);
  EXPECT_EQ(add(stream, first + 3, "def"), Added::more);
  EXPECT_EQ(text(stream), "abcdef");
  EXPECT_EQ(stream.end(), first + 6);
}

TEST(HeldStream, WhatLiesBeyondAGapShowsOnceTheGapIsFilled) {
  HeldStream stream(first);
  EXPECT_EQ(add(stream, first + 6, "ghi"), Added::more);
  EXPECT_EQ(add(stream, first + 3, "def"), Added::more);
  EXPECT_EQ(text(stream), "");
  EXPECT_EQ(stream.end(), first);
  EXPECT_EQ(add(stream, first, "abc"), Added::more);
  EXPECT_EQ(text(stream), "abcdefghi");
  EXPECT_EQ(stream.end(), first + 9);
}

TEST(HeldStream, ARepetitionIsNothingNew) {
  HeldStream stream(first);
  add(stream, first, "abcdef");
  add(stream, first + 8, "ij");
  EXPECT_EQ(add(stream, first, "abcdef"), Added::nothing_new);
  EXPECT_EQ(add(stream, first + 2, "cd"), Added::nothing_new);
  EXPECT_EQ(add(stream, first + 8, "ij"), Added::nothing_new);
  EXPECT_EQ(add(stream, first + 6, ""), Added::nothing_new);
  EXPECT_EQ(text(stream), "abcdef");
}

TEST(HeldStream, AnOverlapAddsWhatIsNew) {
  HeldStream stream(first);
  add(stream, first, "abc");
  EXPECT_EQ(add(stream, first + 1, "bcde"), Added::more);
  EXPECT_EQ(text(stream), "abcde");
  add(stream, first + 7, "h");
  add(stream, first + 9, "jk");
  EXPECT_EQ(add(stream, first + 4, "efghijkl"), Added::more) << "over all of them";
  EXPECT_EQ(text(stream), "abcdefghijkl");
}

TEST(HeldStream, BytesBeforeTheFirstAreIgnored) {
  for (const auto begin : {first, 0U, wrapping_first}) {
    HeldStream stream(begin);
    EXPECT_EQ(add(stream, begin - 1, "?"), Added::nothing_new) << "a keep-alive probe";
    EXPECT_EQ(add(stream, begin - 1, ""), Added::nothing_new);
    EXPECT_EQ(add(stream, begin - 100, "long ago"), Added::nothing_new);
    EXPECT_EQ(add(stream, begin + 0x80000000, "half the range away"), Added::nothing_new);
    EXPECT_EQ(text(stream), "");
    EXPECT_EQ(add(stream, begin - 2, "??abc"), Added::more);
    EXPECT_EQ(text(stream), "abc");
    EXPECT_EQ(add(stream, begin - 2, "!!abc"), Added::nothing_new) << "they are not compared either";
  }
}

TEST(HeldStream, AHeldByteWithAnotherValueIsAConflict) {
  HeldStream stream(first);
  add(stream, first, "abcdef");
  for (std::uint32_t i = 0; i < 6; ++i) {
    std::string changed = "abcdef";
    changed[i] = 'X';
    EXPECT_EQ(add(stream, first, changed), Added::conflict) << i;
    EXPECT_EQ(add(stream, first + i, "X"), Added::conflict) << i;
    EXPECT_EQ(add(stream, first + i, std::string_view(changed).substr(i)), Added::conflict) << i;
  }
  EXPECT_EQ(add(stream, first + 5, "Xghi"), Added::conflict);
  EXPECT_EQ(add(stream, first - 1, "?X"), Added::conflict);
  EXPECT_EQ(text(stream), "abcdef") << "nothing of them is taken";
}

TEST(HeldStream, AConflictIsSeenBeyondAGapToo) {
  HeldStream stream(first);
  add(stream, first + 3, "def");
  add(stream, first + 8, "ij");
  EXPECT_EQ(add(stream, first, "abcX"), Added::conflict);
  EXPECT_EQ(add(stream, first + 5, "X"), Added::conflict);
  EXPECT_EQ(add(stream, first + 3, "defghX"), Added::conflict);
  EXPECT_EQ(text(stream), "");
  EXPECT_EQ(add(stream, first, "abc"), Added::more);
  EXPECT_EQ(add(stream, first + 6, "gh"), Added::more);
  EXPECT_EQ(text(stream), "abcdefghij");
}

TEST(HeldStream, WhatAGapLeavesInTheBufferIsNoConflict) {
  HeldStream stream(first);
  add(stream, first + 1, "b");
  EXPECT_EQ(add(stream, first, "ab"), Added::more);
  EXPECT_EQ(add(stream, first + 4, "e"), Added::more);
  EXPECT_EQ(add(stream, first + 2, "cde"), Added::more);
  EXPECT_EQ(text(stream), "abcde");
}

TEST(HeldStream, SequenceNumbersWrap) {
  HeldStream stream(wrapping_first);
  EXPECT_EQ(add(stream, wrapping_first + 8, "ijk"), Added::more);
  EXPECT_EQ(add(stream, wrapping_first + 3, "defgh"), Added::more) << "over the wrap";
  EXPECT_EQ(add(stream, wrapping_first, "abcd"), Added::more);
  EXPECT_EQ(text(stream), "abcdefghijk");
  EXPECT_EQ(stream.end(), 6U);
  EXPECT_EQ(add(stream, 0, "fgh"), Added::nothing_new);
  EXPECT_EQ(add(stream, 0, "fgX"), Added::conflict);
  EXPECT_EQ(add(stream, 0xffffffff, "efghijkl"), Added::more);
  EXPECT_EQ(text(stream), "abcdefghijkl");
}

TEST(HeldStream, HoldsTheLongestHelloAndNoByteMore) {
  const auto original = random_text(HeldStream::max_bytes);
  HeldStream stream(wrapping_first);
  EXPECT_EQ(add(stream, wrapping_first, original), Added::more);
  EXPECT_EQ(add(stream, stream.end(), "x"), Added::too_large);
  EXPECT_EQ(add(stream, wrapping_first, original), Added::nothing_new);
  EXPECT_EQ(text(stream), original);
}

TEST(HeldStream, OfWhatIsTooLargeTheBeginningIsTaken) {
  const auto original = random_text(HeldStream::max_bytes + 1000);
  HeldStream stream(first);
  add(stream, first, std::string_view(original).substr(0, 100));
  EXPECT_EQ(add(stream, first + 50, std::string_view(original).substr(50)), Added::too_large);
  EXPECT_EQ(text(stream), original.substr(0, HeldStream::max_bytes));
  EXPECT_EQ(add(stream, first + 50, "X" + original.substr(51)), Added::conflict) << "a conflict goes first";
}

TEST(HeldStream, WhatLiesFarAheadIsTooLarge) {
  HeldStream stream(first);
  for (const auto ahead : {std::uint32_t{HeldStream::max_bytes}, 1U << 20, 0x7fffffffU}) {
    EXPECT_EQ(add(stream, first + ahead, "x"), Added::too_large);
  }
  EXPECT_EQ(add(stream, first + std::uint32_t{HeldStream::max_bytes} - 1, "x"), Added::more) << "the last place";
  EXPECT_EQ(text(stream), "");
}

TEST(HeldStream, WhatMakesAGapTooManyIsNotTaken) {
  HeldStream stream(first);
  for (std::uint32_t i = 0; i < HeldStream::max_gaps; ++i) {
    EXPECT_EQ(add(stream, first + 2 * i + 1, "x"), Added::more);
  }
  const auto beyond = first + 2 * std::uint32_t{HeldStream::max_gaps} + 1;
  EXPECT_EQ(add(stream, beyond, "y"), Added::nothing_new);
  EXPECT_EQ(add(stream, beyond, "z"), Added::nothing_new) << "so there is nothing to contradict";
  EXPECT_EQ(add(stream, first + 1, "X"), Added::conflict);
  EXPECT_EQ(add(stream, first, "w"), Added::more) << "what continues the bytes is taken";
  EXPECT_EQ(text(stream), "wx");
  EXPECT_EQ(add(stream, beyond, "y"), Added::more) << "now there is a place";
}

// Sends pieces in random order, again and again as TCP does, until all is there.
std::string sent_in_pieces(const std::string& original, std::size_t max_piece, unsigned seed) {
  std::mt19937 random(seed);
  HeldStream stream(wrapping_first);
  for (std::size_t round = 0; round < 100 && stream.bytes().size() < original.size(); ++round) {
    std::vector<std::size_t> starts(original.size());
    std::iota(starts.begin(), starts.end(), 0);
    std::shuffle(starts.begin(), starts.end(), random);
    for (const auto start : starts) {
      const auto before = stream.bytes().size();
      const auto piece = std::string_view(original).substr(start, 1 + random() % max_piece);
      const auto added = add(stream, wrapping_first + static_cast<std::uint32_t>(start), piece);
      EXPECT_TRUE(added == Added::more || added == Added::nothing_new) << start;
      EXPECT_TRUE(added == Added::more || start > before || start + piece.size() <= before)
          << "what continues the bytes is taken";
      EXPECT_EQ(text(stream), original.substr(0, stream.bytes().size()));
      EXPECT_EQ(stream.end(), wrapping_first + static_cast<std::uint32_t>(stream.bytes().size()));
    }
  }
  return text(stream);
}

TEST(HeldStream, OneByteSegmentsInRandomOrderEqualTheOriginal) {
  const auto original = random_text(300);
  for (unsigned seed = 0; seed < 10; ++seed) EXPECT_EQ(sent_in_pieces(original, 1, seed), original);
}

TEST(HeldStream, OverlappingSegmentsInRandomOrderEqualTheOriginal) {
  const auto original = random_text(700);
  for (unsigned seed = 0; seed < 10; ++seed) EXPECT_EQ(sent_in_pieces(original, 40, seed), original);
}

// Whatever comes, the answers are those of a plain map from offset to byte.
TEST(HeldStream, AgreesWithAPlainModelOfItself) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    HeldStream stream(wrapping_first);
    std::array<int, 80> model{};
    model.fill(-1);
    for (int round = 0; round < 60; ++round) {
      const int begin = static_cast<int>(random() % 64) - 4;
      std::string piece(random() % 16, 0);
      for (std::size_t i = 0; i < piece.size(); ++i) {
        piece[i] = static_cast<char>(random() % 64 == 0 ? 'X' : 'a' + (static_cast<std::size_t>(begin + 4) + i) % 26);
      }
      auto expected = Added::nothing_new;
      auto next = model;
      for (std::size_t i = 0; i < piece.size(); ++i) {
        const int at = begin + static_cast<int>(i);
        if (at < 0) continue;
        auto& held = next.at(static_cast<std::size_t>(at));
        if (held >= 0 && held != piece[i]) expected = Added::conflict;
        if (held < 0 && expected == Added::nothing_new) expected = Added::more;
        held = piece[i];
      }
      if (expected == Added::more) model = next;
      ASSERT_EQ(add(stream, wrapping_first + static_cast<std::uint32_t>(begin), piece), expected) << seed;
      std::string shown;
      for (std::size_t i = 0; i < model.size() && model[i] >= 0; ++i) shown += static_cast<char>(model[i]);
      ASSERT_EQ(text(stream), shown) << seed;
    }
  }
}

}  // namespace
}  // namespace sluice::egress
