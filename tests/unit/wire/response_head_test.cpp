#include <gtest/gtest.h>

#include <string>

#include "tests/support/hello_builder.h"
#include "wire/http_head.h"

namespace sluice::wire {
namespace {

std::string outcome(std::string_view text, std::string_view method = "GET") {
  struct Describer {
    std::string operator()(const NeedMore&) const { return "need more"; }
    std::string operator()(const ResponseHead& head) const {
      constexpr std::string_view kinds[] = {"none", "length", "chunked", "until close"};
      return std::to_string(head.status) + " " + std::string(kinds[static_cast<std::size_t>(head.framing.kind)]) +
             (head.framing.kind == Framing::Kind::length ? " " + std::to_string(head.framing.length) : "") +
             (head.keep_alive ? "" : " close");
    }
    std::string operator()(const Malformed& malformed) const { return "malformed " + std::string(malformed.what); }
    std::string operator()(const TooLarge&) const { return "too large"; }
  };
  return std::visit(Describer{}, parse_response_head(test::to_bytes(text), method));
}

struct Row {
  std::string_view head;
  std::string_view expected;
};

constexpr Row accepted[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "200 length 5"},
    {"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 length 0"},
    {"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", "200 length 5"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200 chunked"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n", "200 chunked close"},
    {"HTTP/1.1 200 OK\r\n\r\n", "200 until close close"},
    {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "200 length 5 close"},
    {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", "200 length 5"},
    {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", "200 until close close"},
    {"HTTP/1.1 100 Continue\r\n\r\n", "100 none"},
    {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "101 none"},
    {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", "103 none"},
    {"HTTP/1.1 204 No Content\r\n\r\n", "204 none"},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "304 none"},
    {"HTTP/1.1 404 caf\xe9\t\r\nContent-Length: 5\r\n\r\n", "404 length 5"},
    {"HTTP/1.1 999 x\r\nContent-Length: 5\r\n\r\n", "999 length 5"},
    // Servers offer h2c of their own accord.
    {"HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: h2,h2c\r\nContent-Length: 5\r\n\r\n", "200 length 5"},
};

constexpr Row refused[] = {
    {"HTTP/2.0 200 OK\r\n\r\n", "malformed version"},
    {"HTTP/1.2 200 OK\r\n\r\n", "malformed version"},
    {"http/1.1 200 OK\r\n\r\n", "malformed version"},
    {"SSH-2.0-x\r\n", "malformed version"},
    {"\r\nHTTP/1.1 200 OK\r\n\r\n", "malformed version"},
    {"HTTP/1.1  200 OK\r\n\r\n", "malformed status"},
    {"HTTP/1.1 20 OK\r\n\r\n", "malformed status"},
    {"HTTP/1.1 2000 OK\r\n\r\n", "malformed status"},
    {"HTTP/1.1 099 OK\r\n\r\n", "malformed status"},
    {"HTTP/1.1 +20 OK\r\n\r\n", "malformed status"},
    {"HTTP/1.1 200OK\r\n\r\n", "malformed status"},
    {"HTTP/1.1\r\n\r\n", "malformed status"},
    {"HTTP/1.1 \r\n\r\n", "malformed status"},
    {"HTTP/1.1 200 O\x01K\r\n\r\n", "malformed reason"},
    {"HTTP/1.1 200 OK\rX: y\r\n\r\n", "malformed reason"},
    {"HTTP/1.1 200 OK\n\r\n", "malformed line end: no CR before LF"},
    {"HTTP/1.1 200 OK\r\nX: y\n\r\n", "malformed line end: no CR before LF"},
    {"HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n", "malformed field name"},
    {"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", "malformed field name"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "malformed Content-Length: a second one"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
     "malformed Content-Length together with Transfer-Encoding"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "malformed Transfer-Encoding: not chunked alone"},
    {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "malformed Transfer-Encoding in HTTP/1.0"},
    {"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\n",
     "malformed Connection: a field that must stay"},
};

TEST(ResponseHead, sound_heads_are_accepted) {
  for (const auto& [head, expected] : accepted) EXPECT_EQ(outcome(head), expected) << head;
}

TEST(ResponseHead, unsound_heads_are_refused_each_for_its_reason) {
  for (const auto& [head, expected] : refused) EXPECT_EQ(outcome(head), expected) << head;
}

TEST(ResponseHead, every_prefix_needs_more_and_what_follows_is_ignored) {
  for (const auto& [head, expected] : accepted) {
    for (std::size_t size = 0; size < head.size(); ++size) {
      ASSERT_EQ(outcome(head.substr(0, size)), "need more") << head.substr(0, size);
    }
    EXPECT_EQ(outcome(std::string(head) + "hello\n"), expected);
  }
}

TEST(ResponseHead, an_answer_to_HEAD_has_no_body) {
  EXPECT_EQ(outcome("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD"), "200 none");
  EXPECT_EQ(outcome("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD"), "200 none");
  EXPECT_EQ(outcome("HTTP/1.1 200 OK\r\n\r\n", "HEAD"), "200 none");
}

TEST(ResponseHead, is_bounded) {
  EXPECT_EQ(outcome("HTTP/1.1 200 " + std::string(max_head_bytes, 'x')), "too large");
  std::string many = "HTTP/1.1 200 OK\r\n";
  for (std::size_t i = 0; i <= max_head_fields; ++i) many += "X: y\r\n";
  EXPECT_EQ(outcome(many), "too large");
}

}  // namespace
}  // namespace sluice::wire
