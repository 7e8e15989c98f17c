#include <gtest/gtest.h>

#include <string>

#include "tests/support/hello_builder.h"
#include "wire/http_head.h"

namespace sluice::wire {
namespace {

constexpr Framing chunked{Framing::Kind::chunked, 0};
constexpr Framing length(std::uint64_t bytes) {
  return {Framing::Kind::length, bytes};
}

// What the reader says of a body that comes in pieces: how many bytes it took, and whether it is done.
struct Outcome {
  std::size_t taken = 0;
  bool done = false;
  bool broken = false;
  bool operator==(const Outcome&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  return out << outcome.taken << " bytes" << (outcome.done ? ", done" : "") << (outcome.broken ? ", broken" : "");
}

Outcome read(Framing framing, const std::vector<std::string_view>& pieces) {
  BodyReader reader(framing);
  Outcome outcome;
  for (const auto piece : pieces) {
    const auto taken = reader.consume(test::to_bytes(piece));
    if (!taken) return {0, false, true};
    outcome.taken += *taken;
  }
  outcome.done = reader.done();
  return outcome;
}

constexpr std::string_view chunked_bodies[] = {
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n05\r\nworld\r\n0\r\n\r\n",
    "a\r\n0123456789\r\nB\r\n0123456789a\r\n000\r\n\r\n",
    "1;ext\r\nx\r\n0;last=1\r\n\r\n",
    "1;a=b;c=\"d ; e\" ; f\t\r\nx\r\n0\r\n\r\n",
    "1;\xff\r\n\r\r\n0\r\n\r\n",
    "2\r\n\r\n\r\n0\r\n\r\n",
    "0\r\nTrailer: x\r\n\r\n",
    "3\r\nabc\r\n0\r\nA:\r\nB: c : d\xe9\r\n\r\n",
    "0000000000000001\r\nx\r\n0\r\n\r\n",
};

TEST(BodyReader, takes_a_chunked_body_in_any_two_or_three_pieces) {
  for (const auto body : chunked_bodies) {
    for (std::size_t first = 0; first <= body.size(); ++first) {
      for (std::size_t second = first; second <= body.size(); ++second) {
        const auto pieces = {body.substr(0, first), body.substr(first, second - first), body.substr(second)};
        ASSERT_EQ(read(chunked, pieces), (Outcome{body.size(), true, false}))
            << body << " at " << first << ", " << second;
      }
    }
  }
}

TEST(BodyReader, takes_a_chunked_body_byte_by_byte_and_is_done_at_its_last) {
  for (const auto body : chunked_bodies) {
    BodyReader reader(chunked);
    for (std::size_t i = 0; i < body.size(); ++i) {
      ASSERT_FALSE(reader.done()) << body << " at " << i;
      ASSERT_EQ(reader.consume(test::to_bytes(body.substr(i, 1))), 1U) << body << " at " << i;
    }
    EXPECT_TRUE(reader.done()) << body;
  }
}

TEST(BodyReader, leaves_what_follows_the_body) {
  for (const auto body : chunked_bodies) {
    EXPECT_EQ(read(chunked, {std::string(body) + "GET / HTTP/1.1\r\n"}), (Outcome{body.size(), true, false}));
  }
  EXPECT_EQ(read(length(5), {"helloGET"}), (Outcome{5, true, false}));
  EXPECT_EQ(read(length(5), {"he", "l", "loG", "ET"}), (Outcome{5, true, false}));
  EXPECT_EQ(read(length(0), {"GET"}), (Outcome{0, true, false}));
  EXPECT_EQ(read({}, {"GET"}), (Outcome{0, true, false}));
}

TEST(BodyReader, until_close_takes_everything_and_is_never_done) {
  EXPECT_EQ(read({Framing::Kind::until_close, 0}, {"he", "llo"}), (Outcome{5, false, false}));
}

TEST(BodyReader, wrong_chunk_framing_is_refused_over_any_split) {
  for (const std::string_view body : {"\r\n",
                                      "\n",
                                      "g\r\n",
                                      "x5\r\n",
                                      " 5\r\n",
                                      "5 \r\n",
                                      "5 5\r\n",
                                      "5\t\r\n",
                                      "-5\r\n",
                                      "+5\r\n",
                                      "0x5\r\n",
                                      ";a\r\n",
                                      "5\nhello",
                                      "5\rhello",
                                      "5\r\r\n",
                                      "5;a\nhello",
                                      "5;a\rb\r\n",
                                      "5;a\x01\r\n",
                                      "5;a\x7f\r\n",
                                      "5\r\nhello0\r\n\r\n",
                                      "5\r\nhello\n",
                                      "5\r\nhello\r0",
                                      "5\r\nhello\rX",
                                      "5\r\nhelloworld\r\n",
                                      "10000000000000000\r\n",
                                      "fffffffffffffffff\r\n",
                                      "ffffffffffffffff\r\n",
                                      "8000000000000000\r\n",
                                      "00000000000000001\r\n",
                                      "0\r\n\n",
                                      "0\r\n\rX",
                                      "0\r\nT: x\n",
                                      "0\r\nT: x\rX",
                                      "0\r\nT x\r\n",
                                      "0\r\nT\r\n",
                                      "0\r\n: x\r\n",
                                      "0\r\n T: x\r\n",
                                      "0\r\nT: x\r\n folded\r\n",
                                      "0\r\nT : x\r\n",
                                      "0\r\nT: \x01\r\n",
                                      "0\r\nGET / HTTP/1.1\r\n"}) {
    for (std::size_t cut = 0; cut <= body.size(); ++cut) {
      ASSERT_TRUE(read(chunked, {body.substr(0, cut), body.substr(cut)}).broken) << body << " cut at " << cut;
    }
  }
  const std::string nul("5;a\0\r\n", 6);
  EXPECT_TRUE(read(chunked, {nul}).broken);
}

TEST(BodyReader, stays_unusable_once_broken) {
  BodyReader reader(chunked);
  EXPECT_EQ(reader.consume(test::to_bytes("x")), std::nullopt);
  EXPECT_EQ(reader.consume(test::to_bytes("0\r\n\r\n")), std::nullopt);
  EXPECT_EQ(reader.consume({}), std::nullopt);
  EXPECT_FALSE(reader.done());
  EXPECT_EQ(reader.certain_bytes(), 0U);
}

TEST(BodyReader, the_largest_chunk_is_read_and_counted) {
  BodyReader reader(chunked);
  EXPECT_EQ(reader.consume(test::to_bytes("7fffffffffffffff\r\n")), 18U);
  EXPECT_EQ(reader.certain_bytes(), 0x7fffffffffffffffU);
}

TEST(BodyReader, size_lines_and_trailers_are_bounded) {
  const auto size_line = [](std::size_t size) { return "1;" + std::string(size - 4, 'x') + "\r\n"; };
  EXPECT_FALSE(read(chunked, {size_line(max_chunk_line_bytes)}).broken);
  EXPECT_TRUE(read(chunked, {size_line(max_chunk_line_bytes + 1)}).broken);
  const auto trailers = [](std::size_t size) {
    return "0\r\n"
           "A: " +
           std::string(size - 7, 'x') + "\r\n\r\n";
  };
  EXPECT_TRUE(read(chunked, {trailers(max_trailer_bytes)}).done);
  EXPECT_TRUE(read(chunked, {trailers(max_trailer_bytes + 1)}).broken);
  std::string many = "0\r\n";
  for (std::size_t i = 0; i <= max_trailer_bytes / 5; ++i) many += "a:b\r\n";
  EXPECT_TRUE(read(chunked, {many}).broken);
}

TEST(BodyReader, the_limit_of_a_size_line_is_for_each_chunk) {
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "1;abc\r\nx\r\n";
  EXPECT_EQ(read(chunked, {many + "0\r\n\r\n"}), (Outcome{many.size() + 5, true, false}));
}

TEST(BodyReader, certain_bytes_may_pass_unseen) {
  BodyReader reader(length(10));
  EXPECT_EQ(reader.certain_bytes(), 10U);
  EXPECT_EQ(reader.consume(test::to_bytes("abc")), 3U);
  EXPECT_EQ(reader.certain_bytes(), 7U);
  reader.skip(7);
  EXPECT_TRUE(reader.done());
  EXPECT_EQ(reader.certain_bytes(), 0U);

  BodyReader chunks(chunked);
  EXPECT_EQ(chunks.certain_bytes(), 0U);
  EXPECT_EQ(chunks.consume(test::to_bytes("5\r\nh")), 4U);
  EXPECT_EQ(chunks.certain_bytes(), 4U);
  chunks.skip(1);
  EXPECT_EQ(chunks.certain_bytes(), 3U);
  chunks.skip(3);
  EXPECT_EQ(chunks.certain_bytes(), 0U);
  EXPECT_EQ(chunks.consume(test::to_bytes("\r\n0\r\n\r\nrest")), 7U);
  EXPECT_TRUE(chunks.done());

  BodyReader open({Framing::Kind::until_close, 0});
  EXPECT_EQ(open.certain_bytes(), 0U);
}

TEST(BodyReader, skipping_more_than_is_certain_makes_it_unusable) {
  BodyReader reader(length(10));
  reader.skip(11);
  EXPECT_EQ(reader.consume(test::to_bytes("x")), std::nullopt);
  BodyReader chunks(chunked);
  chunks.skip(1);
  EXPECT_EQ(chunks.consume(test::to_bytes("0")), std::nullopt);
}

}  // namespace
}  // namespace sluice::wire
