#include "observe/json_text.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <random>

namespace sluice::observe {
namespace {

std::string as_json(std::string_view text, std::size_t max_bytes = 1000) {
  std::string out;
  append_json_text(out, text, max_bytes);
  return out;
}

TEST(JsonText, hostile_text_is_escaped_exactly_so) {
  struct Row {
    std::string text;
    std::string json;
  };
  const std::vector<Row> rows = {
      {"", R"("")"},
      {"api.example.com", R"("api.example.com")"},
      {R"(a"b\c)", R"("a\"b\\c")"},
      {"two\nlines\r\t", R"("two\u000alines\u000d\u0009")"},
      {std::string("nul\0byte", 8), R"("nul\u0000byte")"},
      {"\x1b[31mred\x7f", R"("\u001b[31mred\u007f")"},
      {"\xc2\x9b[31m", R"("\u009b[31m")"},  // the C1 form of the same
      {"\xe2\x80\xae"
       "cod",
       R"("\u202ecod")"},  // right-to-left override
      {"\xe2\x80\xa8"
       "x\xef\xbb\xbf",
       R"("\u2028x\ufeff")"},  // line separator, byte order mark
      {"b\xc3\xbc"
       "cher",
       "\"b\xc3\xbc"
       "cher\""},  // good UTF-8 stays
      {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
      {"\xff", "\"\xef\xbf\xbd\""},
      {"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},                                  // overlong slash
      {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},                  // surrogate
      {"\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},  // over U+10FFFF
      {"cut\xe2\x82", "\"cut\xef\xbf\xbd\xef\xbf\xbd\""},
  };
  for (const auto& row : rows) EXPECT_EQ(as_json(row.text), row.json);
}

TEST(JsonText, the_bound_counts_escapes_and_the_cut_is_marked) {
  EXPECT_EQ(as_json("abcdef", 6), R"("abcdef")");
  EXPECT_EQ(as_json("abcdefg", 6), "\"abc\xe2\x80\xa6\"");
  EXPECT_EQ(as_json("\n\n\n", 12), "\"\\u000a\xe2\x80\xa6\"");
  EXPECT_EQ(as_json(std::string(100, '\n'), 3), "\"\xe2\x80\xa6\"");
}

TEST(JsonText, any_bytes_give_one_line_of_json_within_the_bound) {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string text(random() % 40, '\0');
    for (auto& byte : text) byte = static_cast<char>(random());
    const std::size_t bound = 3 + random() % 60;
    const auto out = as_json(text, bound);
    EXPECT_LE(out.size(), bound + 2);
    EXPECT_EQ(out.find_first_of(std::string("\n\r\0\x1b", 4)), out.npos);
    boost::system::error_code error;
    const auto parsed = boost::json::parse(out, error);
    ASSERT_FALSE(error) << out;
    // What was written means itself: a reader that writes it again gets the same text.
    EXPECT_EQ(as_json(parsed.as_string(), bound), out);
  }
}

TEST(JsonText, a_terminal_gets_no_control_characters) {
  EXPECT_EQ(printable("\x1b]0;evil\x07 \"quoted\"", 100), "\\u001b]0;evil\\u0007 \"quoted\"");
}

}  // namespace
}  // namespace sluice::observe
