// Which of several addresses a call is connected to, and what is said when none answers.
#include "net/dial.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <optional>

#include "net/listen.h"

namespace sluice::net {
namespace {

constexpr Milliseconds patience{5000};

class DialAny : public testing::Test {
 protected:
  // A listener on 127.0.0.1; its connections wait to be accepted.
  Endpoint listening() {
    auto acceptor = net::listen(context_, *Endpoint::parse("127.0.0.1:0"), {});
    const auto endpoint = to_endpoint(acceptor->local_endpoint());
    acceptors_.push_back(std::move(*acceptor));
    return endpoint;
  }
  // An address that refuses: somebody listened there and does not any more.
  Endpoint refusing() {
    auto acceptor = net::listen(context_, *Endpoint::parse("127.0.0.1:0"), {});
    return to_endpoint(acceptor->local_endpoint());
  }
  // An address that says nothing: its listener's queue is full, so that further SYNs are dropped.
  Endpoint silent() {
    Tcp::acceptor acceptor(context_);
    acceptor.open(Tcp::v4());
    acceptor.bind({boost::asio::ip::address_v4::loopback(), 0});
    acceptor.listen(0);
    const auto endpoint = acceptor.local_endpoint();
    for (int count = 0; count < 2; ++count) {
      boost::asio::ip::tcp::socket filler(context_);
      filler.open(Tcp::v4());
      filler.native_non_blocking(true);
      EXPECT_EQ(::connect(filler.native_handle(), endpoint.data(), static_cast<socklen_t>(endpoint.size())), -1);
      fillers_.push_back(std::move(filler));
    }
    acceptors_.push_back(std::move(acceptor));
    return to_endpoint(endpoint);
  }

  using Outcome = std::variant<Dialled, DialError>;

  static Task<void> keep(std::vector<Endpoint> endpoints, DialPlan plan, std::optional<Outcome>& outcome) {
    outcome.emplace(co_await dial_any(std::move(endpoints), plan));
  }
  Outcome dial(std::vector<Endpoint> endpoints, DialPlan plan) {
    std::optional<Outcome> outcome;
    boost::asio::co_spawn(context_, keep(std::move(endpoints), plan, outcome), boost::asio::detached);
    context_.restart();
    while (!outcome && context_.run_one_for(patience) > 0) {
    }
    return std::move(outcome).value();
  }
  std::string reached(std::vector<Endpoint> endpoints, DialPlan plan = {.timeout = patience}) {
    auto result = dial(std::move(endpoints), plan);
    if (const auto* error = std::get_if<DialError>(&result)) return error->message;
    auto& [socket, endpoint] = std::get<Dialled>(result);
    boost::system::error_code error;
    EXPECT_EQ(to_endpoint(socket.remote_endpoint(error)), endpoint);
    return endpoint.to_string();
  }

  boost::asio::io_context context_;
  std::vector<Tcp::acceptor> acceptors_;
  std::vector<boost::asio::ip::tcp::socket> fillers_;
};

TEST_F(DialAny, takes_the_first_address_when_it_answers) {
  const auto first = listening();
  EXPECT_EQ(reached({first, listening()}), first.to_string());
}

TEST_F(DialAny, goes_on_at_once_when_an_address_refuses) {
  const auto last = listening();
  // The delay alone would take longer than the test may.
  EXPECT_EQ(reached({refusing(), refusing(), last}, {.timeout = patience, .attempt_delay = Milliseconds(60'000)}),
            last.to_string());
}

TEST_F(DialAny, does_not_wait_for_a_silent_address_but_begins_beside_it) {
  const auto last = listening();
  EXPECT_EQ(reached({silent(), last}, {.timeout = Milliseconds(60'000), .attempt_delay = Milliseconds(20)}),
            last.to_string());
}

TEST_F(DialAny, tells_a_timeout_before_a_refusal) {
  const auto result = dial({refusing(), silent()}, {.timeout = Milliseconds(50), .attempt_delay = Milliseconds(5)});
  EXPECT_EQ(std::get<DialError>(result).kind, DialFailure::timeout);
  EXPECT_EQ(std::get<DialError>(dial({refusing(), refusing()}, {.timeout = patience})).kind, DialFailure::refused);
}

TEST_F(DialAny, tries_no_more_addresses_than_planned) {
  const auto result = dial({refusing(), refusing(), listening()}, {.timeout = patience, .max_attempts = 2});
  EXPECT_EQ(std::get<DialError>(result).kind, DialFailure::refused);
}

TEST_F(DialAny, says_so_when_there_is_no_address) {
  EXPECT_EQ(reached({}), "no address to connect to");
}

}  // namespace
}  // namespace sluice::net
