// The list and watch of one kind: every transition, told by hand, with a clock that moves only when told.
#include "kube/watch.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::kube {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t second = 1'000'000'000;

std::string object(const std::string& name, unsigned version, const std::string& uid = "u") {
  return fmt::format(R"({{"metadata":{{"namespace":"ns","name":"{}","uid":"{}","resourceVersion":"{}"}},"spec":{{}}}})",
                     name, uid, version);
}

std::string list(unsigned version, const std::vector<std::string>& items, const std::string& next = "") {
  return fmt::format(R"({{"kind":"List","metadata":{{"resourceVersion":"{}","continue":"{}"}},"items":[{}]}})", version,
                     next, fmt::join(items, ","));
}

std::string event(const std::string& type, const std::string& object) {
  return fmt::format(R"({{"type":"{}","object":{}}})", type, object);
}

std::string bookmark(unsigned version) {
  return event("BOOKMARK", fmt::format(R"({{"metadata":{{"resourceVersion":"{}"}}}})", version));
}

std::string refusal(unsigned code, const std::string& message, unsigned retry_after_s = 0) {
  return fmt::format(R"({{"kind":"Status","code":{},"message":"{}","details":{{"retryAfterSeconds":{}}}}})", code,
                     message, retry_after_s);
}

class WatchTest : public testing::Test {
 protected:
  // The query that is to be asked now: "list QUERY", "follow QUERY", or "pause".
  std::string step(Watch& one) {
    const auto next = one.next(now);
    if (const auto* list = std::get_if<Watch::List>(&next)) return "list " + list->query;
    if (const auto* follow = std::get_if<Watch::Follow>(&next)) return "follow " + follow->query;
    return "pause";
  }
  std::string step() { return step(watch); }

  std::vector<std::string> changes() {
    std::vector<std::string> all;
    for (const auto& change : watch.take_changes()) {
      all.push_back((change.removed ? "-" : "+") + change.object.id.name + "@" + change.object.version);
    }
    return all;
  }

  // With a and b listed at version 10, and followed from there.
  void follow() {
    watch.on_list(200, list(10, {object("a", 1), object("b", 2)}), now);
    watch.on_follow(200, "", now);
    watch.take_changes();
  }
  // How long it pauses from now, in nanoseconds; 0: it does not.
  std::uint64_t pause() {
    const auto next = watch.next(now);
    const auto* pause = std::get_if<Watch::Pause>(&next);
    return pause != nullptr ? pause->until_ns - now : 0;
  }
  void pass_pause() { now += pause(); }

  std::uint64_t now = 1000 * second;
  std::uint32_t chance = 0;
  Watch watch{{}, [this] { return chance; }};
};

// Listing

TEST_F(WatchTest, begins_with_a_list_of_limited_size) {
  EXPECT_EQ(step(), "list limit=500");
}
TEST_F(WatchTest, is_not_complete_before_a_list) {
  EXPECT_FALSE(watch.is_complete());
}
TEST_F(WatchTest, a_whole_list_makes_it_complete) {
  watch.on_list(200, list(10, {object("a", 1)}), now);
  EXPECT_TRUE(watch.is_complete());
  EXPECT_THAT(changes(), ElementsAre("+a@1"));
}
TEST_F(WatchTest, an_empty_list_is_whole) {
  watch.on_list(200, list(10, {}), now);
  EXPECT_TRUE(watch.is_complete());
  EXPECT_THAT(changes(), IsEmpty());
}
TEST_F(WatchTest, a_list_whose_items_are_null_is_whole) {
  watch.on_list(200, R"({"metadata":{"resourceVersion":"3"},"items":null})", now);
  EXPECT_TRUE(watch.is_complete());
}
TEST_F(WatchTest, the_next_page_is_asked_for_by_its_token) {
  watch.on_list(200, list(10, {object("a", 1)}, "tok/en=="), now);
  EXPECT_EQ(step(), "list limit=500&continue=tok%2Fen%3D%3D");
}
TEST_F(WatchTest, part_of_a_list_says_nothing) {
  watch.on_list(200, list(10, {object("a", 1)}, "t"), now);
  EXPECT_FALSE(watch.is_complete());
  EXPECT_THAT(changes(), IsEmpty());
}
TEST_F(WatchTest, pages_make_one_list) {
  watch.on_list(200, list(10, {object("a", 1)}, "t"), now);
  watch.on_list(200, list(10, {object("b", 2)}), now);
  EXPECT_THAT(changes(), ElementsAre("+a@1", "+b@2"));
  EXPECT_EQ(watch.size(), 2U);
}
TEST_F(WatchTest, a_page_that_fails_is_asked_for_again) {
  watch.on_list(200, list(10, {object("a", 1)}, "t"), now);
  watch.on_failure("reset", now);
  pass_pause();
  EXPECT_EQ(step(), "list limit=500&continue=t");
  watch.on_list(200, list(10, {object("b", 2)}), now);
  EXPECT_THAT(changes(), ElementsAre("+a@1", "+b@2"));
}
TEST_F(WatchTest, a_token_that_has_expired_begins_the_list_anew) {
  watch.on_list(200, list(10, {object("a", 1)}, "t"), now);
  watch.on_list(410, refusal(410, "expired"), now);
  EXPECT_EQ(step(), "list limit=500");
  watch.on_list(200, list(12, {object("b", 2)}), now);
  EXPECT_THAT(changes(), ElementsAre("+b@2")) << "what the first try listed does not count";
}
TEST_F(WatchTest, a_token_that_expires_again_is_waited_for) {
  watch.on_list(200, list(10, {object("a", 1)}, "t"), now);
  watch.on_list(410, "", now);
  watch.on_list(200, list(10, {object("a", 1)}, "t"), now);
  watch.on_list(410, "", now);
  EXPECT_EQ(step(), "pause");
  EXPECT_THAT(watch.trouble().why, HasSubstr("the list expires"));
}
TEST_F(WatchTest, an_oversized_page_is_asked_for_in_smaller_ones) {
  watch.on_oversized_list(now);
  EXPECT_EQ(step(), "list limit=100");
  watch.on_oversized_list(now);
  EXPECT_EQ(step(), "list limit=20");
}
TEST_F(WatchTest, one_object_that_is_too_large_is_trouble) {
  for (int i = 0; i < 10; ++i) {
    watch.on_oversized_list(now);
    pass_pause();
  }
  EXPECT_EQ(step(), "list limit=1");
  EXPECT_THAT(watch.trouble().why, HasSubstr("one object is larger"));
}
TEST_F(WatchTest, pages_are_of_full_size_again_after_a_whole_list) {
  watch.on_oversized_list(now);
  watch.on_list(200, list(10, {}), now);
  watch.restart();
  EXPECT_EQ(step(), "list limit=500");
}
TEST_F(WatchTest, a_list_that_cannot_be_read_is_asked_for_again) {
  for (const auto* text : {"", "{", "[]", "{}", R"({"items":[]})", R"({"metadata":{},"items":[]})",
                           R"({"metadata":{"resourceVersion":"1"},"items":7})", "null"}) {
    watch.on_list(200, text, now);
    EXPECT_EQ(step(), "pause") << text;
    pass_pause();
    EXPECT_EQ(step(), "list limit=500") << text;
  }
  EXPECT_FALSE(watch.is_complete());
}
TEST_F(WatchTest, items_that_are_no_objects_are_left_out) {
  watch.on_list(200, list(10, {"7", "{}", R"({"metadata":{"name":""}})", object("a", 1)}), now);
  EXPECT_THAT(changes(), ElementsAre("+a@1"));
}
TEST_F(WatchTest, a_list_of_too_many_objects_is_refused) {
  Watch small({.objects = 2, .page = 500}, [] { return 0U; });
  small.on_list(200, list(10, {object("a", 1), object("b", 1)}, "t"), now);
  small.on_list(200, list(10, {object("c", 1)}), now);
  EXPECT_FALSE(small.is_complete());
  EXPECT_THAT(small.trouble().why, HasSubstr("more than 2 objects"));
}
TEST_F(WatchTest, deeply_nested_json_is_refused) {
  watch.on_list(200, std::string(100'000, '['), now);
  EXPECT_THAT(watch.trouble().why, HasSubstr("not valid JSON"));
}

// Refusals

TEST_F(WatchTest, a_refused_list_says_why) {
  watch.on_list(403, refusal(403, "User cannot list"), now);
  EXPECT_THAT(watch.trouble().why,
              HasSubstr("status 403, the right to list and watch it is missing: User cannot list"));
  EXPECT_EQ(step(), "pause");
}
TEST_F(WatchTest, credentials_that_are_not_accepted_are_named) {
  watch.on_list(401, "not JSON", now);
  EXPECT_EQ(watch.trouble().why, "list: status 401, the credentials are not accepted");
}
TEST_F(WatchTest, a_kind_that_is_not_served_is_named) {
  watch.on_list(404, "", now);
  EXPECT_THAT(watch.trouble().why, HasSubstr("the kind is not served"));
}
TEST_F(WatchTest, a_server_that_says_when_to_come_back_is_believed) {
  watch.on_list(429, refusal(429, "busy", 7), now);
  EXPECT_EQ(pause(), 7 * second);
}
TEST_F(WatchTest, a_server_is_not_believed_for_longer_than_a_minute) {
  watch.on_list(503, refusal(503, "busy", 100'000), now);
  EXPECT_EQ(pause(), 60 * second);
}
TEST_F(WatchTest, messages_of_the_server_are_made_printable) {
  watch.on_list(500, R"({"message":"a\nb\u0007"})", now);
  EXPECT_THAT(watch.trouble().why, HasSubstr("a?b?"));
}
TEST_F(WatchTest, a_refused_list_keeps_its_place) {
  watch.on_list(200, list(10, {object("a", 1)}, "t"), now);
  watch.on_list(500, "", now);
  pass_pause();
  EXPECT_EQ(step(), "list limit=500&continue=t");
}
TEST_F(WatchTest, a_token_that_is_called_bad_is_dropped) {
  watch.on_list(200, list(10, {object("a", 1)}, "t"), now);
  watch.on_list(400, "", now);
  pass_pause();
  EXPECT_EQ(step(), "list limit=500");
}

// Following

TEST_F(WatchTest, follows_from_the_version_of_the_list) {
  watch.on_list(200, list(10, {}), now);
  EXPECT_EQ(step(), "follow watch=1&allowWatchBookmarks=true&resourceVersion=10&timeoutSeconds=300");
}
TEST_F(WatchTest, streams_last_between_five_and_ten_minutes) {
  watch.on_list(200, list(10, {}), now);
  chance = 299;
  EXPECT_THAT(step(), HasSubstr("timeoutSeconds=599"));
}
TEST_F(WatchTest, an_added_object_is_a_change) {
  follow();
  EXPECT_TRUE(watch.on_line(event("ADDED", object("c", 11)), now));
  EXPECT_THAT(changes(), ElementsAre("+c@11"));
}
TEST_F(WatchTest, a_modified_object_is_a_change) {
  follow();
  EXPECT_TRUE(watch.on_line(event("MODIFIED", object("a", 12)), now));
  EXPECT_THAT(changes(), ElementsAre("+a@12"));
}
TEST_F(WatchTest, a_modified_object_that_was_not_known_is_put) {
  follow();
  watch.on_line(event("MODIFIED", object("z", 12)), now);
  EXPECT_THAT(changes(), ElementsAre("+z@12"));
  EXPECT_EQ(watch.size(), 3U);
}
TEST_F(WatchTest, an_object_made_anew_under_its_name_is_a_change) {
  follow();
  watch.on_line(event("ADDED", object("a", 1, "another")), now);
  EXPECT_THAT(changes(), ElementsAre("+a@1"));
}
TEST_F(WatchTest, a_deleted_object_is_removed) {
  follow();
  EXPECT_TRUE(watch.on_line(event("DELETED", object("a", 13)), now));
  EXPECT_THAT(changes(), ElementsAre("-a@13"));
  EXPECT_EQ(watch.size(), 1U);
}
TEST_F(WatchTest, a_deleted_object_that_was_not_known_is_no_change) {
  follow();
  EXPECT_TRUE(watch.on_line(event("DELETED", object("z", 13)), now));
  EXPECT_THAT(changes(), IsEmpty());
}
TEST_F(WatchTest, what_is_told_twice_is_one_change) {
  follow();
  watch.on_line(event("ADDED", object("c", 11)), now);
  watch.on_line(event("ADDED", object("c", 11)), now);
  EXPECT_THAT(changes(), ElementsAre("+c@11"));
}
TEST_F(WatchTest, one_name_in_two_namespaces_is_two_objects) {
  follow();
  auto other = object("a", 14);
  other.replace(other.find("\"ns\""), 4, "\"n2\"");
  watch.on_line(event("ADDED", other), now);
  EXPECT_EQ(watch.size(), 3U);
}
TEST_F(WatchTest, a_bookmark_moves_the_version_alone) {
  follow();
  EXPECT_TRUE(watch.on_line(bookmark(99), now));
  EXPECT_THAT(changes(), IsEmpty());
  watch.on_end(now + 10 * second);
  EXPECT_THAT(step(), HasSubstr("resourceVersion=99&"));
}
TEST_F(WatchTest, an_event_moves_the_version) {
  follow();
  watch.on_line(event("DELETED", object("a", 21)), now);
  watch.on_end(now + 10 * second);
  EXPECT_THAT(step(), HasSubstr("resourceVersion=21&"));
}
TEST_F(WatchTest, events_of_an_unknown_type_are_left_alone) {
  follow();
  EXPECT_TRUE(watch.on_line(event("INVENTED", object("a", 50)), now));
  EXPECT_THAT(changes(), IsEmpty());
  EXPECT_EQ(watch.trouble().since_ns, 0U);
}
TEST_F(WatchTest, empty_lines_are_nothing) {
  follow();
  EXPECT_TRUE(watch.on_line("", now));
  EXPECT_TRUE(watch.on_line("\r", now));
}
TEST_F(WatchTest, managed_fields_are_not_kept) {
  follow();
  watch.on_line(R"({"type":"ADDED","object":{"metadata":{"name":"m","resourceVersion":"3","managedFields":[1,2]}}})",
                now);
  const auto changes = watch.take_changes();
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_FALSE(changes[0].object.content.at("metadata").get_object().contains("managedFields"));
}
TEST_F(WatchTest, more_objects_than_the_limit_end_the_stream) {
  Watch small({.objects = 1, .page = 500}, [] { return 0U; });
  small.on_list(200, list(10, {object("a", 1)}), now);
  small.on_follow(200, "", now);
  EXPECT_TRUE(small.on_line(event("MODIFIED", object("a", 3)), now));
  EXPECT_FALSE(small.on_line(event("ADDED", object("b", 4)), now));
  EXPECT_THAT(small.trouble().why, HasSubstr("more than 1 objects"));
  EXPECT_EQ(small.size(), 1U);
}

// The stream ends

TEST_F(WatchTest, a_stream_that_ends_is_gone_on_with_at_once) {
  follow();
  now += 300 * second;
  watch.on_end(now);
  EXPECT_THAT(step(), HasSubstr("follow "));
  EXPECT_EQ(watch.trouble().since_ns, 0U);
}
TEST_F(WatchTest, a_stream_that_ends_as_soon_as_it_begins_is_waited_for_longer_and_longer) {
  follow();
  watch.on_end(now);
  const auto first = pause();
  EXPECT_GT(first, 0U);
  pass_pause();
  watch.on_follow(200, "", now);
  watch.on_end(now);
  EXPECT_GT(pause(), first);
}
TEST_F(WatchTest, a_stream_that_breaks_is_trouble_and_goes_on_where_it_was) {
  follow();
  watch.on_line(event("ADDED", object("c", 31)), now);
  watch.on_failure("connection reset", now);
  EXPECT_EQ(watch.trouble().since_ns, now);
  EXPECT_EQ(watch.trouble().why, "connection reset");
  pass_pause();
  EXPECT_THAT(step(), HasSubstr("follow watch=1&allowWatchBookmarks=true&resourceVersion=31&"));
}
TEST_F(WatchTest, trouble_began_when_it_began) {
  follow();
  const auto began = now;
  watch.on_failure("one", now);
  pass_pause();
  watch.on_failure("another", now);
  EXPECT_EQ(watch.trouble().since_ns, began);
  EXPECT_EQ(watch.trouble().why, "another");
}
TEST_F(WatchTest, trouble_ends_when_the_stream_begins) {
  follow();
  watch.on_failure("one", now);
  pass_pause();
  watch.on_follow(200, "", now);
  EXPECT_EQ(watch.trouble().since_ns, 0U);
}
TEST_F(WatchTest, a_refused_stream_is_trouble) {
  follow();
  watch.on_end(now + 10 * second);
  watch.on_follow(403, refusal(403, "cannot watch"), now);
  EXPECT_THAT(watch.trouble().why, HasSubstr("watch: status 403"));
  pass_pause();
  EXPECT_THAT(step(), HasSubstr("follow "));
}
TEST_F(WatchTest, what_was_known_stays_in_trouble) {
  follow();
  for (int i = 0; i < 20; ++i) {
    watch.on_failure("refused", now);
    pass_pause();
  }
  EXPECT_TRUE(watch.is_complete());
  EXPECT_EQ(watch.size(), 2U);
  EXPECT_THAT(changes(), IsEmpty());
}

// 410 Gone, and streams that cannot be read

TEST_F(WatchTest, a_forgotten_version_is_listed_again_at_once) {
  follow();
  watch.on_follow(410, refusal(410, "too old"), now);
  EXPECT_EQ(step(), "list limit=500");
  EXPECT_EQ(watch.trouble().since_ns, 0U) << "it is in the nature of things";
}
TEST_F(WatchTest, a_forgotten_version_may_be_told_in_the_stream) {
  follow();
  EXPECT_FALSE(watch.on_line(event("ERROR", refusal(410, "too old")), now));
  EXPECT_EQ(step(), "list limit=500");
}
TEST_F(WatchTest, versions_that_are_forgotten_again_and_again_are_waited_for) {
  follow();
  watch.on_follow(410, "", now);
  watch.on_list(200, list(20, {}), now);
  watch.on_follow(410, "", now);
  EXPECT_EQ(step(), "pause");
  EXPECT_THAT(watch.trouble().why, HasSubstr("the watch expires"));
}
TEST_F(WatchTest, an_event_between_makes_forgetting_natural_again) {
  follow();
  watch.on_follow(410, "", now);
  watch.on_list(200, list(20, {}), now);
  watch.on_follow(200, "", now);
  watch.on_line(bookmark(21), now);
  watch.on_follow(410, "", now);
  EXPECT_EQ(step(), "list limit=500");
}
TEST_F(WatchTest, while_listing_again_the_old_objects_stay) {
  follow();
  watch.on_follow(410, "", now);
  watch.on_list(200, list(20, {object("c", 15)}, "t"), now);
  EXPECT_TRUE(watch.is_complete());
  EXPECT_EQ(watch.size(), 2U);
  EXPECT_THAT(changes(), IsEmpty());
}
TEST_F(WatchTest, a_new_list_is_told_by_its_differences) {
  follow();
  watch.on_follow(410, "", now);
  watch.on_list(200, list(20, {object("b", 2), object("c", 15)}), now);
  EXPECT_THAT(changes(), ElementsAre("-a@1", "+c@15"));
  EXPECT_THAT(step(), HasSubstr("resourceVersion=20&"));
}
TEST_F(WatchTest, a_new_list_tells_of_an_object_that_was_made_anew) {
  follow();
  watch.on_follow(410, "", now);
  watch.on_list(200, list(20, {object("a", 1, "another"), object("b", 2)}), now);
  EXPECT_THAT(changes(), ElementsAre("+a@1"));
}
TEST_F(WatchTest, a_new_list_that_fails_half_way_changes_nothing) {
  follow();
  watch.on_follow(410, "", now);
  watch.on_list(200, list(20, {object("c", 15)}, "t"), now);
  watch.on_list(200, "rubbish", now);
  EXPECT_THAT(changes(), IsEmpty());
  EXPECT_EQ(watch.size(), 2U);
  pass_pause();
  EXPECT_EQ(step(), "list limit=500");
}
TEST_F(WatchTest, another_error_in_the_stream_is_trouble_and_lists_again) {
  follow();
  EXPECT_FALSE(watch.on_line(event("ERROR", refusal(500, "etcd is away")), now));
  EXPECT_EQ(watch.trouble().why, "watch: 500 etcd is away");
  pass_pause();
  EXPECT_EQ(step(), "list limit=500");
}
TEST_F(WatchTest, a_line_that_cannot_be_read_lists_again_and_keeps_what_was_known) {
  const std::string deep(100'000, '{');
  for (const auto& line : std::vector<std::string>{"{", "7", "null", "[]", "{}", R"({"type":"ADDED"})",
                                                   R"({"type":"ADDED","object":7})", R"({"type":"ADDED","object":{}})",
                                                   R"({"type":"ADDED","object":{"metadata":{"name":"a"}}})",
                                                   R"({"type":"BOOKMARK","object":{}})", "\x01\xff", deep}) {
    follow();
    EXPECT_FALSE(watch.on_line(line, now)) << line.substr(0, 80);
    EXPECT_THAT(watch.trouble().why, HasSubstr("watch: ")) << line.substr(0, 80);
    EXPECT_EQ(watch.size(), 2U);
    pass_pause();
    EXPECT_EQ(step(), "list limit=500");
  }
}
TEST_F(WatchTest, every_prefix_of_an_event_is_survived) {
  const auto line = event("ADDED", object("c", 11));
  for (std::size_t size = 1; size < line.size(); ++size) {
    follow();
    EXPECT_FALSE(watch.on_line(line.substr(0, size), now)) << size;
    pass_pause();
  }
}
TEST_F(WatchTest, restarting_lists_at_once_and_keeps_what_is_known) {
  follow();
  watch.on_failure("not served here", now);
  watch.restart();
  EXPECT_EQ(step(), "list limit=500");
  watch.on_list(200, list(30, {object("a", 1)}), now);
  EXPECT_THAT(changes(), ElementsAre("-b@2"));
}
TEST_F(WatchTest, changes_are_handed_out_once) {
  watch.on_list(200, list(10, {object("a", 1)}), now);
  EXPECT_THAT(changes(), ElementsAre("+a@1"));
  EXPECT_THAT(changes(), IsEmpty());
}

// Waiting

TEST_F(WatchTest, failures_in_a_row_are_waited_for_longer_and_longer_to_a_bound) {
  std::uint64_t before = 0;
  for (int i = 0; i < 40; ++i) {
    watch.on_failure("refused", now);
    EXPECT_GE(pause(), before);
    before = pause();
    pass_pause();
  }
  EXPECT_EQ(before, 7'500'000'000U);
}
TEST_F(WatchTest, half_of_a_wait_is_chance) {
  watch.on_failure("refused", now);
  const auto least = pause();
  Watch other({}, [] { return 100U; });
  other.on_failure("refused", now);
  const auto next = other.next(now);
  EXPECT_EQ(std::get_if<Watch::Pause>(&next)->until_ns - now, 2 * least);
}
TEST_F(WatchTest, an_event_ends_the_growth_of_waits) {
  follow();
  for (int i = 0; i < 10; ++i) watch.on_failure("refused", now);
  pass_pause();
  watch.on_follow(200, "", now);
  watch.on_line(bookmark(11), now);
  watch.on_failure("refused", now);
  EXPECT_EQ(pause(), second / 10);
}
TEST_F(WatchTest, a_stream_without_a_word_does_not_end_the_growth_of_waits) {
  follow();
  watch.on_failure("refused", now);
  const auto first = pause();
  pass_pause();
  watch.on_follow(200, "", now);
  watch.on_failure("reset", now);
  EXPECT_GT(pause(), first);
}
TEST_F(WatchTest, nothing_is_asked_during_a_wait) {
  watch.on_failure("refused", now);
  const auto wait = pause();
  now += wait - 1;
  EXPECT_EQ(step(), "pause");
  ++now;
  EXPECT_EQ(step(), "list limit=500");
}

}  // namespace
}  // namespace sluice::kube
