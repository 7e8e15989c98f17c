#include "net/timeout.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <string>
#include <thread>

namespace sluice::net {
namespace {

using std::chrono::milliseconds;

class Noted final : public Timeout {
 public:
  Noted(Timeouts& timeouts, std::string& log, char name) : timeouts_(timeouts), log_(log), name_(name) {}
  void start(milliseconds length) { arm(timeouts_, length); }
  void stop() { disarm(); }

  Noted* stops = nullptr;  // when this one is over

 private:
  void on_timeout() override {
    log_ += name_;
    if (stops != nullptr) stops->stop();
  }

  Timeouts& timeouts_;
  std::string& log_;
  char name_;
};

class TimeoutsTest : public testing::Test {
 protected:
  void run() {
    context_.restart();
    context_.run();
  }

  boost::asio::io_context context_;
  Timeouts& timeouts_ = Timeouts::of(context_.get_executor());
  std::string log_;
  Noted a_{timeouts_, log_, 'a'};
  Noted b_{timeouts_, log_, 'b'};
  Noted c_{timeouts_, log_, 'c'};
};

TEST_F(TimeoutsTest, end_in_the_order_of_their_moments_whatever_their_lengths) {
  a_.start(milliseconds(40));
  b_.start(milliseconds(5));
  c_.start(milliseconds(20));
  run();
  EXPECT_EQ(log_, "bca");
}

TEST_F(TimeoutsTest, that_are_disarmed_or_gone_never_end) {
  a_.start(milliseconds(5));
  b_.start(milliseconds(10));
  {
    Noted gone(timeouts_, log_, 'g');
    gone.start(milliseconds(5));
  }
  a_.stop();
  run();
  EXPECT_EQ(log_, "b");
}

TEST_F(TimeoutsTest, that_are_armed_again_end_once) {
  a_.start(milliseconds(5));
  a_.start(milliseconds(10));
  run();
  EXPECT_EQ(log_, "a");
}

TEST_F(TimeoutsTest, may_disarm_what_is_over_at_the_same_moment) {
  a_.stops = &b_;
  b_.stops = &a_;
  a_.start(milliseconds(5));
  b_.start(milliseconds(5));
  std::this_thread::sleep_for(milliseconds(10));
  run();
  EXPECT_EQ(log_, "a");
}

}  // namespace
}  // namespace sluice::net
