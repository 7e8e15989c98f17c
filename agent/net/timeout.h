// Many timeouts of few different lengths: arming and disarming one is linking it into a list, with one timer of the
// event loop for all of them.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/intrusive/list.hpp>
#include <chrono>
#include <map>

namespace sluice::net {

class Timeouts;

// Belongs to the thread of its io_context, and is disarmed when it goes.
class Timeout : public boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
 public:
  Timeout() = default;
  Timeout(const Timeout&) = delete;
  Timeout& operator=(const Timeout&) = delete;

 protected:
  virtual ~Timeout() = default;
  // Calls on_timeout() once after `length`, unless it is armed again or disarmed before.
  void arm(Timeouts& timeouts, std::chrono::milliseconds length);
  void disarm() { unlink(); }

 private:
  friend class Timeouts;
  virtual void on_timeout() = 0;

  std::chrono::steady_clock::time_point expiry_;
};

// One an io_context, made by use_service().
class Timeouts final : public boost::asio::execution_context::service {
 public:
  using key_type = Timeouts;
  static boost::asio::execution_context::id id;

  explicit Timeouts(boost::asio::execution_context& context);
  static Timeouts& of(const boost::asio::any_io_executor& executor);

 private:
  friend class Timeout;
  using Clock = std::chrono::steady_clock;
  // Of one length, and so in the order in which they expire.
  using List = boost::intrusive::list<Timeout, boost::intrusive::constant_time_size<false>>;

  void shutdown() override;
  void arm(Timeout& timeout, std::chrono::milliseconds length);
  void wait_until(Clock::time_point moment);
  void expire();

  boost::asio::steady_timer timer_;
  Clock::time_point next_ = Clock::time_point::max();  // when the timer goes off
  std::map<std::chrono::milliseconds, List> lists_;
};

}  // namespace sluice::net
