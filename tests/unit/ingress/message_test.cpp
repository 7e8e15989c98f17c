#include "ingress/message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ingress/http2_common.h"

namespace sluice::ingress {
namespace {

std::vector<std::string> names_of(const Fields& fields) {
  std::vector<std::string> names;
  for (const auto& field : fields) names.emplace_back(field.name);
  return names;
}

struct EndToEnd {
  explicit EndToEnd(std::string_view lines) { read_end_to_end(lines, fields, hop); }
  Fields fields;
  HopFields hop;
};

TEST(EndToEnd, what_is_of_one_hop_stays_there) {
  const EndToEnd read(
      "Host: a\r\nAccept: b\r\nConnection: close\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\n"
      "Transfer-Encoding: chunked\r\nUpgrade: websocket\r\nExpect: 100-continue\r\nHTTP2-Settings: y\r\nCookie: c\r\n");
  EXPECT_THAT(names_of(read.fields), testing::ElementsAre("Accept", "Cookie"));
  EXPECT_EQ(read.hop.host, "a");
  EXPECT_TRUE(read.hop.trailers);
  EXPECT_TRUE(read.hop.expects_continue);
  EXPECT_EQ(read.hop.upgrade, "") << "Connection does not name it";
}

TEST(EndToEnd, what_connection_names_stays_whether_it_comes_before_or_behind) {
  const EndToEnd read("X-One: 1\r\nConnection: x-one, X-TWO\r\nx-two: 2\r\nX-Three: 3\r\n");
  EXPECT_THAT(names_of(read.fields), testing::ElementsAre("X-Three"));
}

TEST(EndToEnd, an_upgrade_needs_both_fields) {
  EXPECT_EQ(EndToEnd("Connection: Upgrade\r\nUpgrade: websocket\r\n").hop.upgrade, "websocket");
  EXPECT_EQ(EndToEnd("Upgrade: websocket\r\nConnection: keep-alive, upgrade\r\n").hop.upgrade, "websocket");
  EXPECT_EQ(EndToEnd("Connection: Upgrade\r\n").hop.upgrade, "");
}

TEST(EndToEnd, values_are_without_the_blanks_around_them) {
  const EndToEnd read("A:  b \t\r\nContent-Length: 5 \r\nC:\r\n");
  ASSERT_EQ(read.fields.size(), 2U);
  EXPECT_EQ(read.fields[0].value, "b");
  EXPECT_EQ(read.fields[1].value, "");
  EXPECT_EQ(read.hop.content_length, "5");
}

TEST(Trailers, what_frames_or_routes_cannot_trail) {
  for (const auto* name : {"content-length", "Host", "transfer-encoding", "TRAILER", "te", "authorization"}) {
    EXPECT_FALSE(may_trail(name)) << name;
  }
  for (const auto* name : {"grpc-status", "x-sum"}) EXPECT_TRUE(may_trail(name)) << name;
}

TEST(Arena, what_is_kept_stays_where_it_is) {
  Arena arena;
  std::vector<std::string_view> views;
  for (int number = 0; number < 2000; ++number) views.push_back(arena.keep("text " + std::to_string(number)));
  const auto large = arena.keep(std::string(100'000, 'x'));
  for (int number = 0; number < 2000; ++number) EXPECT_EQ(views[number], "text " + std::to_string(number));
  EXPECT_EQ(large.size(), 100'000U);
  arena.clear();
  EXPECT_EQ(arena.lower("ABC-d"), "abc-d");
}

TEST(Http2Head, several_cookies_become_one_field) {
  Http2Head head(1000);
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
           {":method", "GET"}, {":path", "/"}, {":authority", "h"}, {"cookie", "a=1"}, {"x", "y"}, {"cookie", "b=2"}}) {
    EXPECT_TRUE(head.add(name, value));
  }
  EXPECT_EQ(head.finish(), "x: y\r\ncookie: a=1; b=2\r\n");
  EXPECT_EQ(head.method + head.authority + head.path, "GETh/");
}

TEST(Http2Head, is_bounded_and_keeps_nothing_beyond) {
  Http2Head head(100);
  EXPECT_TRUE(head.add("a", std::string(60, 'x')));
  EXPECT_FALSE(head.add("b", std::string(60, 'x')));
  EXPECT_TRUE(head.is_too_large());
  EXPECT_EQ(head.finish().find('b'), std::string::npos);
}

TEST(EventBudget, is_used_up) {
  EventBudget budget(3, 0);
  EXPECT_TRUE(budget.take() && budget.take() && budget.take());
  EXPECT_FALSE(budget.take());
}

}  // namespace
}  // namespace sluice::ingress
