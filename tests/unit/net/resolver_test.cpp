#include "net/resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio.hpp>

#include "dns_server.h"
#include "net/resolver_cache.h"

namespace sluice::net {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Manner = DnsReply::Manner;
using Answer = std::optional<Result<std::vector<IpAddress>>>;

constexpr auto patience = 10s;  // until a test that hangs is given up
constexpr int server_failure = 2;
constexpr int refused = 5;

std::vector<std::string> text_of(const Answer& answer) {
  if (!answer) return {"no answer"};
  if (!*answer) return {"error", answer->error().message()};
  std::vector<std::string> text;
  for (const auto& address : **answer) text.push_back(address.to_string());
  return text;
}

std::string error_of(const Answer& answer) {
  if (!answer) return "no answer";
  return *answer ? "no error" : answer->error().message();
}

class ResolverTest : public ::testing::Test {
 protected:
  ResolverTest() { open(); }

  ResolverOptions options() {
    ResolverOptions result;
    result.servers = {server.endpoint()};
    result.timeout = 1000ms;
    result.now_ns = [this] { return now_ns; };
    return result;
  }
  void open() { open(options()); }
  void open(ResolverOptions chosen) {
    auto opened = Resolver::open(context, std::move(chosen));
    ASSERT_TRUE(opened) << opened.error().message();
    resolver = *std::move(opened);
  }

  // Starts a look-up whose outcome appears in the result.
  std::shared_ptr<Answer> start(const std::string& name) {
    auto answer = std::make_shared<Answer>();
    asio::co_spawn(context, ask(name, answer), asio::detached);
    return answer;
  }
  asio::awaitable<void> ask(std::string name, std::shared_ptr<Answer> answer) {
    *answer = co_await resolver->resolve(std::move(name));
  }
  template <typename Condition>
  void run_until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!condition() && std::chrono::steady_clock::now() < end) context.run_one_for(100ms);
    ASSERT_TRUE(condition()) << "gave up waiting";
  }
  Answer resolve(const std::string& name) {
    const auto answer = start(name);
    run_until([&] { return answer->has_value(); });
    return *answer;
  }
  void pass(std::chrono::milliseconds time) {
    now_ns += static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count());
  }
  std::string where() { return "(server " + server.endpoint().to_string() + ")"; }

  std::uint64_t now_ns = 1;
  asio::io_context context{1};
  DnsServer server{context};
  std::unique_ptr<Resolver> resolver;
};

TEST_F(ResolverTest, both_families_are_interleaved_starting_with_ipv6) {
  server.add("api.example.com", {"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"});
  EXPECT_THAT(text_of(resolve("api.example.com")),
              ElementsAre("2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"));
}

TEST_F(ResolverTest, an_answer_is_kept_for_the_lowest_ttl_and_no_longer) {
  server.add("api.example.com", {"192.0.2.1"}, 60);
  server.add("api.example.com", {"2001:db8::1"}, 30);
  resolve("api.example.com");
  server.reply("api.example.com", type_a).records[0].data.back() = 2;
  pass(29999ms);
  EXPECT_THAT(text_of(resolve("api.example.com")), ElementsAre("2001:db8::1", "192.0.2.1"));
  EXPECT_EQ(server.queries, 2);
  pass(1ms);
  EXPECT_THAT(text_of(resolve("api.example.com")), ElementsAre("2001:db8::1", "192.0.2.2"));
  EXPECT_EQ(server.queries, 4);
}

TEST_F(ResolverTest, a_ttl_is_at_least_a_second_and_at_most_the_limit) {
  server.add("zero.example.com", {"192.0.2.1"}, 0);
  server.add("negative.example.com", {"192.0.2.1"}, 0x80000001);  // RFC 2181 section 8: as zero
  server.add("long.example.com", {"192.0.2.1"}, 1000000);
  const struct {
    std::string name;
    std::chrono::milliseconds kept;
  } cases[] = {{"zero.example.com", 1s}, {"negative.example.com", 1s}, {"long.example.com", 300s}};
  for (const auto& [name, kept] : cases) {
    server.queries = 0;
    resolve(name);
    pass(kept - 1ms);
    resolve(name);
    EXPECT_EQ(server.queries, 2) << name;
    pass(1ms);
    resolve(name);
    EXPECT_EQ(server.queries, 4) << name;
  }
}

TEST_F(ResolverTest, a_cname_chain_is_followed_and_its_lowest_ttl_counts) {
  server.reply("api.example.com", type_a).records = {cname_record("api.example.com", "edge.example.net", 300),
                                                     cname_record("edge.example.net", "pop.example.org", 7),
                                                     address_record("pop.example.org", "192.0.2.1", 300)};
  EXPECT_THAT(text_of(resolve("api.example.com")), ElementsAre("192.0.2.1"));
  pass(6999ms);
  resolve("api.example.com");
  EXPECT_EQ(server.queries, 2);
  pass(1ms);
  resolve("api.example.com");
  EXPECT_EQ(server.queries, 4);
}

TEST_F(ResolverTest, a_cname_to_nowhere_is_no_address) {
  server.reply("api.example.com", type_a).records = {cname_record("api.example.com", "gone.example.net", 300)};
  EXPECT_EQ(error_of(resolve("api.example.com")), "dns: no addresses for api.example.com " + where());
}

TEST_F(ResolverTest, concurrent_lookups_of_a_name_are_one_pair_of_queries) {
  server.add("api.example.com", {"192.0.2.1"});
  server.reply("api.example.com", type_a).manner = Manner::held;
  std::vector<std::shared_ptr<Answer>> answers;
  std::generate_n(std::back_inserter(answers), 100, [&] { return start("api.example.com"); });
  run_until([&] { return server.queries == 2; });
  answers.push_back(start("api.example.com"));
  context.poll();
  server.release();
  run_until([&] { return answers.back()->has_value(); });
  for (const auto& answer : answers) EXPECT_THAT(text_of(*answer), ElementsAre("192.0.2.1"));
  EXPECT_EQ(server.queries, 2);
}

TEST_F(ResolverTest, a_name_that_does_not_exist_is_said_so_and_remembered_for_the_negative_ttl) {
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(error_of(resolve("nobody.example.com")), "dns: no such name nobody.example.com " + where());
  }
  EXPECT_EQ(server.queries, 2);
  pass(4999ms);
  resolve("nobody.example.com");
  EXPECT_EQ(server.queries, 2);
  pass(1ms);
  server.add("nobody.example.com", {"192.0.2.1"});
  EXPECT_THAT(text_of(resolve("nobody.example.com")), ElementsAre("192.0.2.1"));
}

TEST_F(ResolverTest, a_name_without_addresses_is_told_from_one_that_does_not_exist) {
  server.reply("text.example.com", type_a) = {};
  EXPECT_EQ(error_of(resolve("text.example.com")), "dns: no addresses for text.example.com " + where());
  resolve("text.example.com");
  EXPECT_EQ(server.queries, 2);
}

TEST_F(ResolverTest, a_failing_server_is_named_and_not_remembered) {
  server.add("api.example.com", {"192.0.2.1"});
  for (const int rcode : {server_failure, refused}) {
    for (const auto type : {type_a, type_aaaa}) server.reply("api.example.com", type).rcode = rcode;
    EXPECT_EQ(error_of(resolve("api.example.com")),
              "dns: look-up of api.example.com: unreachable, failing (SERVFAIL) or refusing " + where());
  }
  for (const auto type : {type_a, type_aaaa}) server.reply("api.example.com", type).rcode = 0;
  EXPECT_THAT(text_of(resolve("api.example.com")), ElementsAre("192.0.2.1"));
}

TEST_F(ResolverTest, a_silent_server_is_given_up_within_the_timeout) {
  for (const auto type : {type_a, type_aaaa}) server.reply("api.example.com", type).manner = Manner::silent;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(error_of(resolve("api.example.com")), "dns: no answer for api.example.com within 1000 ms " + where());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1500ms);
  EXPECT_EQ(server.queries, 4) << "two tries of two queries";
}

TEST_F(ResolverTest, the_timeout_holds_when_the_server_plays_for_time) {
  auto chosen = options();
  chosen.timeout = 2000ms;
  open(chosen);
  for (const auto type : {type_a, type_aaaa}) server.reply("api.example.com", type).manner = Manner::truncated_held;
  // Just before the end of the last try it sends the client on to TCP, and says nothing there.
  asio::steady_timer late(context, 1700ms);
  late.async_wait([this](boost::system::error_code) { server.release(); });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(error_of(resolve("api.example.com")), "dns: no answer for api.example.com within 2000 ms " + where());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2600ms);
  EXPECT_EQ(server.tcp_queries, 2);
}

TEST_F(ResolverTest, a_lost_answer_is_asked_for_again) {
  server.add("api.example.com", {"192.0.2.1"});
  for (const auto type : {type_a, type_aaaa}) server.reply("api.example.com", type).manner = Manner::silent;
  const auto answer = start("api.example.com");
  run_until([&] { return server.queries == 2; });
  for (const auto type : {type_a, type_aaaa}) server.reply("api.example.com", type).manner = Manner::honest;
  run_until([&] { return answer->has_value(); });
  EXPECT_THAT(text_of(*answer), ElementsAre("192.0.2.1"));
}

TEST_F(ResolverTest, a_family_that_stays_silent_costs_a_quarter_of_the_timeout_and_is_asked_again_soon) {
  auto chosen = options();
  chosen.timeout = 2000ms;
  open(chosen);
  server.add("api.example.com", {"192.0.2.1", "2001:db8::1"}, 60);
  for (const auto silent : {type_a, type_aaaa}) {
    server.reply("api.example.com", silent).manner = Manner::silent;
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_THAT(text_of(resolve("api.example.com")), ElementsAre(silent == type_a ? "2001:db8::1" : "192.0.2.1"));
    const auto took = std::chrono::steady_clock::now() - begin;
    EXPECT_GE(took, 500ms);
    EXPECT_LT(took, 1500ms);
    server.reply("api.example.com", silent).manner = Manner::honest;
    pass(5s);
    EXPECT_THAT(text_of(resolve("api.example.com")), ElementsAre("2001:db8::1", "192.0.2.1"));
    pass(60s);
  }
}

TEST_F(ResolverTest, a_family_that_fails_does_not_spoil_the_other) {
  server.add("api.example.com", {"192.0.2.1", "2001:db8::1"}, 60);
  for (const auto failing : {type_a, type_aaaa}) {
    for (const int rcode : {server_failure, refused, 3}) {
      server.reply("api.example.com", failing).rcode = rcode;
      EXPECT_THAT(text_of(resolve("api.example.com")), ElementsAre(failing == type_a ? "2001:db8::1" : "192.0.2.1"));
      pass(60s);
    }
    server.reply("api.example.com", failing).rcode = 0;
  }
}

TEST_F(ResolverTest, a_forged_answer_with_another_id_is_ignored) {
  server.add("api.example.com", {"192.0.2.1"});
  server.reply("api.example.com", type_a).manner = Manner::wrong_id_then_right;
  EXPECT_THAT(text_of(resolve("api.example.com")), ElementsAre("192.0.2.1"));
}

TEST_F(ResolverTest, answers_to_other_questions_are_no_answers) {
  server.add("api.example.com", {"192.0.2.1", "2001:db8::1"});
  for (const auto manner : {Manner::wrong_id, Manner::wrong_question}) {
    for (const auto type : {type_a, type_aaaa}) server.reply("api.example.com", type).manner = manner;
    EXPECT_EQ(error_of(resolve("api.example.com")), "dns: no answer for api.example.com within 1000 ms " + where());
  }
}

TEST_F(ResolverTest, addresses_of_other_names_are_not_taken) {
  server.reply("api.example.com", type_a).records = {address_record("other.example.com", "192.0.2.66", 60),
                                                     address_record("api.example.com", "192.0.2.1", 60)};
  EXPECT_THAT(text_of(resolve("api.example.com")), ElementsAre("192.0.2.1"));
}

TEST_F(ResolverTest, a_malformed_answer_is_an_error) {
  server.add("api.example.com", {"192.0.2.1", "2001:db8::1"});
  for (const auto type : {type_a, type_aaaa}) server.reply("api.example.com", type).manner = Manner::garbage;
  EXPECT_EQ(error_of(resolve("api.example.com")), "dns: look-up of api.example.com: malformed answer " + where());
}

TEST_F(ResolverTest, a_truncated_answer_is_fetched_by_tcp_and_bounded) {
  std::vector<std::string> addresses;
  for (int i = 0; i < 1000; ++i) {
    addresses.push_back("10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250));
    addresses.push_back("2001:db8::" + std::to_string(i));
  }
  server.add("big.example.com", addresses);
  for (const auto type : {type_a, type_aaaa}) server.reply("big.example.com", type).manner = Manner::truncated;
  const auto text = text_of(resolve("big.example.com"));
  ASSERT_EQ(text.size(), 64U);
  EXPECT_EQ(text[0], "2001:db8::");
  EXPECT_EQ(text[1], "10.0.0.0");
  EXPECT_EQ(text[63], "10.0.0.31");
  EXPECT_EQ(server.tcp_queries, 2);
}

TEST_F(ResolverTest, names_are_asked_of_the_server_as_they_are) {
  server.add("localhost", {"192.0.2.1"});  // in every hosts file
  server.add("db", {"192.0.2.2"});         // where a search domain would apply
  EXPECT_THAT(text_of(resolve("localhost")), ElementsAre("192.0.2.1"));
  EXPECT_THAT(text_of(resolve("db")), ElementsAre("192.0.2.2"));
  EXPECT_EQ(server.queries, 4);
}

TEST_F(ResolverTest, what_is_no_host_name_is_refused_without_a_query) {
  const std::string label(63, 'a');
  const std::string longest = label + "." + label + "." + label + "." + std::string(61, 'a');
  for (const auto& name :
       {std::string(), std::string("."), std::string("example.com."), std::string(".example.com"),
        std::string("a..example.com"), std::string("192.0.2.1"), std::string("127.1"), std::string("2130706433"),
        std::string("0x7f000001"), std::string("example.0x1"), std::string("::1"), std::string("[::1]"),
        std::string("example.com:443"), std::string("exam ple.com"), std::string("example.com\0.net", 16),
        std::string("ex\xc3\xa4mple.com"), label + "a.example.com", longest + "a"}) {
    EXPECT_THAT(error_of(resolve(name)), ::testing::StartsWith("dns: ")) << name;
  }
  EXPECT_EQ(server.queries, 0);
  EXPECT_EQ(error_of(resolve(longest)), "dns: no such name " + longest + " " + where());
}

TEST_F(ResolverTest, a_server_that_does_not_listen_is_named) {
  asio::ip::udp::socket unused(context, asio::ip::udp::endpoint(asio::ip::address_v4::loopback(), 0));
  const Endpoint nobody{*IpAddress::parse("127.0.0.1"), unused.local_endpoint().port()};
  unused.close();
  auto chosen = options();
  chosen.servers = {nobody};
  open(chosen);
  EXPECT_EQ(error_of(resolve("api.example.com")),
            "dns: look-up of api.example.com: unreachable, failing (SERVFAIL) or refusing (server " +
                nobody.to_string() + ")");

  server.add("api.example.com", {"192.0.2.1"});
  chosen.servers = {nobody, server.endpoint()};
  open(chosen);
  EXPECT_THAT(text_of(resolve("api.example.com")), ElementsAre("192.0.2.1"));
  EXPECT_EQ(error_of(resolve("nobody.example.com")), "dns: no such name nobody.example.com (servers " +
                                                         nobody.to_string() + ", " + server.endpoint().to_string() +
                                                         ")");
}

TEST_F(ResolverTest, lookups_under_way_are_bounded) {
  auto chosen = options();
  chosen.max_lookups = 3;
  open(chosen);
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 0; i < 4; ++i) {
    const auto name = "n" + std::to_string(i) + ".example.com";
    server.add(name, {"192.0.2.1"});
    server.reply(name, type_a).manner = Manner::held;
    answers.push_back(start(name));
  }
  run_until([&] { return server.queries == 6; });
  EXPECT_THAT(error_of(*answers[3]), HasSubstr("too many are under way (limit 3)"));
  server.release();
  run_until([&] { return answers[0]->has_value() && answers[1]->has_value() && answers[2]->has_value(); });
  EXPECT_THAT(text_of(resolve("n0.example.com")), ElementsAre("192.0.2.1"));
}

TEST_F(ResolverTest, given_up_lookups_count_until_their_queries_end) {
  auto chosen = options();
  chosen.max_lookups = 1;
  chosen.timeout = 400ms;
  open(chosen);
  server.add("half.example.com", {"192.0.2.1"});
  server.reply("half.example.com", type_aaaa).manner = Manner::silent;
  EXPECT_THAT(text_of(resolve("half.example.com")), ElementsAre("192.0.2.1"));
  server.add("api.example.com", {"192.0.2.1"});
  EXPECT_THAT(error_of(resolve("api.example.com")), HasSubstr("too many are under way"));
  const auto answered = [&] { return text_of(resolve("api.example.com"))[0] == "192.0.2.1"; };
  run_until(answered);
}

TEST_F(ResolverTest, a_cancelled_caller_leaves_the_lookup_to_the_others) {
  server.add("api.example.com", {"192.0.2.1"});
  server.reply("api.example.com", type_a).manner = Manner::held;
  asio::cancellation_signal signal;
  const auto cancelled = std::make_shared<Answer>();
  asio::co_spawn(context, ask("api.example.com", cancelled),
                 asio::bind_cancellation_slot(signal.slot(), asio::detached));
  const auto other = start("api.example.com");
  run_until([&] { return server.queries == 2; });
  signal.emit(asio::cancellation_type::terminal);
  run_until([&] { return cancelled->has_value(); });
  EXPECT_EQ(error_of(*cancelled), "dns: look-up of api.example.com was cancelled");
  EXPECT_FALSE(other->has_value());
  server.release();
  run_until([&] { return other->has_value(); });
  EXPECT_THAT(text_of(*other), ElementsAre("192.0.2.1"));
}

TEST_F(ResolverTest, a_lookup_whose_only_caller_was_cancelled_still_fills_the_cache) {
  server.add("api.example.com", {"192.0.2.1"});
  server.reply("api.example.com", type_a).manner = Manner::held;
  asio::cancellation_signal signal;
  const auto cancelled = std::make_shared<Answer>();
  asio::co_spawn(context, ask("api.example.com", cancelled),
                 asio::bind_cancellation_slot(signal.slot(), asio::detached));
  run_until([&] { return server.queries == 2; });
  signal.emit(asio::cancellation_type::terminal);
  run_until([&] { return cancelled->has_value(); });
  server.release();
  EXPECT_THAT(text_of(resolve("api.example.com")), ElementsAre("192.0.2.1"));
  EXPECT_EQ(server.queries, 2);
}

TEST_F(ResolverTest, destroying_it_ends_the_lookups_under_way) {
  server.reply("api.example.com", type_a).manner = Manner::silent;
  server.reply("big.example.com", type_a).manner = Manner::truncated;
  const auto answer = start("api.example.com");
  const auto other = start("big.example.com");
  run_until([&] { return server.queries >= 4; });
  resolver.reset();
  run_until([&] { return answer->has_value() && other->has_value(); });
  EXPECT_EQ(error_of(*answer), "dns: look-up of api.example.com: the resolver is closed");
  EXPECT_EQ(error_of(*other), "dns: look-up of big.example.com: the resolver is closed");
}

TEST_F(ResolverTest, an_event_loop_may_end_with_callers_waiting) {
  auto loop = std::make_unique<asio::io_context>(1);
  auto opened = Resolver::open(*loop, options());
  ASSERT_TRUE(opened);
  server.reply("api.example.com", type_a).manner = Manner::silent;
  Answer answered;
  asio::co_spawn(
      *loop, [&]() -> asio::awaitable<void> { answered = co_await (*opened)->resolve("api.example.com"); },
      asio::detached);
  loop->poll();
  (*opened).reset();
  loop.reset();  // the leak checker and the address sanitizer are this test's judges, too
  EXPECT_FALSE(answered.has_value());
}

TEST_F(ResolverTest, the_least_recently_used_name_is_forgotten_first) {
  auto chosen = options();
  chosen.max_entries = 2;
  open(chosen);
  for (const auto* name : {"a.example.com", "b.example.com", "c.example.com"}) server.add(name, {"192.0.2.1"});
  for (const auto* name : {"a.example.com", "b.example.com", "a.example.com", "c.example.com"}) resolve(name);
  EXPECT_EQ(server.queries, 6);
  resolve("a.example.com");
  resolve("c.example.com");
  EXPECT_EQ(server.queries, 6);
  resolve("b.example.com");
  EXPECT_EQ(server.queries, 8);
}

TEST_F(ResolverTest, it_opens_without_configured_servers) {
  auto chosen = options();
  chosen.servers.clear();
  EXPECT_TRUE(Resolver::open(context, chosen));
}

TEST_F(ResolverTest, options_that_allow_no_answer_are_refused) {
  auto chosen = options();
  chosen.timeout = 0ms;
  EXPECT_FALSE(Resolver::open(context, chosen));
  chosen = options();
  chosen.max_addresses = 0;
  EXPECT_FALSE(Resolver::open(context, chosen));
}

TEST(ResolverCache, interleaving_drops_repetitions_and_keeps_both_families_within_the_bound) {
  const auto ip = [](const char* text) { return *IpAddress::parse(text); };
  EXPECT_THAT(interleave({ip("::1"), ip("::1"), ip("::2")}, {ip("10.0.0.1"), ip("10.0.0.2")}, 3),
              ElementsAre(ip("::1"), ip("10.0.0.1"), ip("10.0.0.2")));
  EXPECT_THAT(interleave({}, {ip("10.0.0.1")}, 3), ElementsAre(ip("10.0.0.1")));
}

TEST(ResolverCache, a_name_put_again_has_one_entry) {
  ResolverCache cache(2);
  cache.put("a", Addresses{}, 10);
  cache.put("a", Error("later"), 20);
  EXPECT_EQ(cache.size(), 1U);
  EXPECT_EQ(cache.find("a", 19)->error().message(), "later");
  EXPECT_FALSE(cache.find("a", 20));
  EXPECT_EQ(cache.size(), 0U);
}

}  // namespace
}  // namespace sluice::net
