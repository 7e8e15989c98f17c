// Claims about Events: what is one, how often it is told, and what happens when the API server does not take it.
#include "kube/event.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <optional>

namespace sluice::kube {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::int64_t noon_ns = 1'769'860'800LL * 1'000'000'000;  // 2026-01-31T12:00:00Z

EventObject pod(const std::string& name) {
  return {"Pod", "shop", name, "uid-of-" + name};
}

class Events : public testing::Test {
 protected:
  void add(const std::string& name, const std::string& what, std::uint64_t count = 1) {
    table_.add(pod(name), "EgressDenied", what, "call to " + what + " denied", count, now_ns_);
  }
  std::optional<EventRequest> next(std::uint64_t later_ns = second_ns) {
    now_ns_ += later_ns;
    auto due = table_.next(now_ns_, noon_ns + static_cast<std::int64_t>(now_ns_));
    EXPECT_LE(due.size(), 1U);
    return due.empty() ? std::nullopt : std::optional(due.front());
  }
  // Sends what is due, and it is done.
  std::optional<EventRequest> send(std::uint64_t later_ns = second_ns) {
    auto request = next(later_ns);
    if (request) table_.answered(request->number, true, false);
    return request;
  }
  static boost::json::object body_of(const EventRequest& request) {
    return boost::json::parse(request.body).as_object();
  }

  std::uint64_t now_ns_ = 0;
  EventTable table_{"sluice-agent", "node-1", 0xab00};
};

TEST_F(Events, are_of_their_pod_with_all_that_kubectl_describe_shows) {
  add("a", "evil.example:443");
  const auto request = send();
  ASSERT_TRUE(request);
  EXPECT_EQ(request->method, "POST");
  EXPECT_EQ(request->path, "/api/v1/namespaces/shop/events");
  EXPECT_EQ(request->content_type, "application/json");
  EXPECT_EQ(body_of(*request), boost::json::parse(R"({
    "apiVersion": "v1", "kind": "Event", "metadata": {"name": "a.000000000000ab01", "namespace": "shop"},
    "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "a", "uid": "uid-of-a"},
    "type": "Warning", "reason": "EgressDenied", "message": "call to evil.example:443 denied", "count": 1,
    "firstTimestamp": "2026-01-31T12:00:01Z", "lastTimestamp": "2026-01-31T12:00:01Z",
    "source": {"component": "sluice-agent", "host": "node-1"},
    "reportingComponent": "sluice-agent", "reportingInstance": "node-1"})"));
  EXPECT_FALSE(send());
}

TEST_F(Events, of_a_node_stand_in_the_default_namespace) {
  table_.add({"Node", "", "node-1", "node-1"}, "EgressDegraded", "x", "x", 1, now_ns_);
  const auto request = send();
  ASSERT_TRUE(request);
  EXPECT_EQ(request->path, "/api/v1/namespaces/default/events");
  EXPECT_FALSE(body_of(*request).at("involvedObject").as_object().contains("namespace"));
}

TEST_F(Events, the_same_again_is_counted_in_it_and_told_every_ten_seconds) {
  add("a", "x");
  const auto first = send();
  add("a", "x", 5);
  add("a", "x");
  EXPECT_FALSE(send(9 * second_ns));
  const auto again = send();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->method, "PATCH");
  EXPECT_EQ(again->path, "/api/v1/namespaces/shop/events/a.000000000000ab01");
  EXPECT_EQ(again->content_type, "application/merge-patch+json");
  EXPECT_EQ(body_of(*again), boost::json::parse(R"({"count": 7, "lastTimestamp": "2026-01-31T12:00:11Z",
                                                   "message": "call to x denied"})"));
}

TEST_F(Events, are_sent_ten_a_second_the_one_that_waits_longest_first) {
  add("a", "x");
  now_ns_ += 1;
  add("b", "x");
  EXPECT_EQ(send(0)->path, "/api/v1/namespaces/shop/events");
  EXPECT_FALSE(send(99'000'000));
  const auto second = send(1'000'000);
  ASSERT_TRUE(second);
  EXPECT_EQ(body_of(*second).at("involvedObject").at("name"), "b");
}

TEST_F(Events, wait_for_the_answer_to_the_one_before) {
  add("a", "x");
  add("b", "x");
  const auto first = next();
  EXPECT_FALSE(next());
  table_.answered(first->number, true, false);
  EXPECT_TRUE(next());
}

TEST_F(Events, that_were_not_taken_come_again_whole) {
  add("a", "x");
  table_.answered(next()->number, false, false);
  add("a", "x");
  EXPECT_FALSE(next());
  const auto again = send(10 * second_ns);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->method, "POST");
  EXPECT_EQ(body_of(*again).at("count"), 2);
}

TEST_F(Events, whose_patch_was_not_taken_are_patched_again_and_made_anew_when_they_are_gone) {
  add("a", "x");
  send();
  add("a", "x");
  table_.answered(next(10 * second_ns)->number, false, false);
  const auto patch = next(10 * second_ns);
  ASSERT_TRUE(patch);
  EXPECT_EQ(patch->method, "PATCH");
  table_.answered(patch->number, false, true);
  const auto again = send(10 * second_ns);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->method, "POST");
  EXPECT_EQ(body_of(*again).at("count"), 2);
}

TEST_F(Events, of_one_pod_are_few_and_the_rest_is_one_more) {
  for (int number = 0; number < 100; ++number) add("a", std::to_string(number));
  EXPECT_EQ(table_.size(), EventTable::max_events_of_one + 1);
  add("b", "x");
  EXPECT_EQ(table_.size(), EventTable::max_events_of_one + 2);
  std::uint64_t told = 0;
  while (const auto request = send()) {
    if (body_of(*request).at("involvedObject").at("name") == "a") {
      told += static_cast<std::uint64_t>(body_of(*request).at("count").as_int64());
    }
  }
  EXPECT_EQ(told, 100U);
  EXPECT_EQ(table_.dropped(), 0U);
}

TEST_F(Events, are_bounded_and_what_finds_no_place_is_counted) {
  for (std::size_t number = 0; number < EventTable::max_events + 10; ++number) add(std::to_string(number), "x", 2);
  EXPECT_EQ(table_.size(), EventTable::max_events);
  EXPECT_EQ(table_.dropped(), 20U);
}

TEST_F(Events, are_forgotten_after_ten_minutes_and_then_made_anew) {
  add("a", "x");
  send();
  EXPECT_FALSE(send(601 * second_ns));
  EXPECT_EQ(table_.size(), 0U);
  add("a", "x");
  EXPECT_EQ(send()->method, "POST");
}

TEST_F(Events, that_were_never_taken_are_dropped_after_ten_minutes_and_counted) {
  add("a", "x", 3);
  EXPECT_FALSE(next(601 * second_ns));
  EXPECT_EQ(table_.dropped(), 3U);
}

TEST_F(Events, have_messages_and_names_that_the_api_server_takes) {
  const std::string name(253, 'n');
  std::string message(1023, 'm');
  message += "\u00fc";
  table_.add(pod(name), "EgressDenied", "x", message, 1, now_ns_);
  const auto body = body_of(*send());
  EXPECT_EQ(body.at("message").as_string(), std::string(1023, 'm'));
  EXPECT_LE(body.at("metadata").at("name").as_string().size(), 253U);
  EXPECT_EQ(body.at("involvedObject").at("name").as_string(), name);
}

}  // namespace
}  // namespace sluice::kube
