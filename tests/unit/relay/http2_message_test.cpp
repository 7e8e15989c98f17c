// Answers of HTTP/2 as HTTP/1.1, without a connection.
#include "relay/http2_message.h"

#include <gtest/gtest.h>

#include "wire/http_head.h"

namespace sluice::relay {
namespace {

TEST(Http1Answer, holds_interim_heads_up_to_a_bound) {
  Http1Answer answer("GET", 1);
  const std::string value(30'000, 'x');
  int heads = 0;
  for (;; ++heads) {
    ASSERT_LT(heads, 10) << "more than a head's worth is held";
    ASSERT_TRUE(answer.add_field(":status", "103") && answer.add_field("link", value));
    if (!answer.end_fields(false)) break;
  }
  EXPECT_GE(heads, 2);
}

TEST(Http1Answer, goes_on_when_interim_heads_are_taken) {
  Http1Answer answer("GET", 1);
  std::vector<std::uint8_t> buffer(wire::max_head_bytes);
  std::size_t content = 0;
  for (int heads = 0; heads < 10; ++heads) {
    ASSERT_TRUE(answer.add_field(":status", "103") && answer.add_field("link", std::string(30'000, 'x')));
    ASSERT_TRUE(answer.end_fields(false));
    while (answer.has_bytes()) answer.take(buffer, content);
  }
}

}  // namespace
}  // namespace sluice::relay
