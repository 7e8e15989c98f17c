#include "net/poller.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>
#include <cerrno>
#include <system_error>

namespace sluice::net {
namespace {

namespace asio = boost::asio;
constexpr std::size_t events_at_once = 128;
// Turns without Asio's timers, listeners and posted work between them, while there is something ready each time.
constexpr int max_turns = 8;

int make_epoll() {
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) throw std::system_error(errno, std::system_category(), "epoll_create1");
  return fd;
}

}  // namespace

// While turns are taken; whatever a handler throws.
class Poller::Turning {
 public:
  explicit Turning(Poller& poller) : poller_(poller) { poller_.turning_ = true; }
  ~Turning() {
    poller_.turning_ = false;
    poller_.turn_ = {};
    if (!poller_.later_.empty()) poller_.post_turns();
  }
  Turning(const Turning&) = delete;
  Turning& operator=(const Turning&) = delete;

 private:
  Poller& poller_;
};

asio::execution_context::id Poller::id;

Poller::Poller(asio::execution_context& context)
    : service(context),
      context_(static_cast<asio::io_context&>(context)),
      timeouts_(asio::use_service<Timeouts>(context_)),
      epoll_(context_, make_epoll()) {
  wait();
}

Poller& Poller::of(const asio::any_io_executor& executor) {
  return asio::use_service<Poller>(static_cast<asio::io_context&>(asio::query(executor, asio::execution::context)));
}

void Poller::shutdown() {
  while (!watchers_.empty()) {
    auto& watcher = watchers_.front();
    watchers_.pop_front();
    watcher.abandon();
  }
  boost::system::error_code ignored;
  epoll_.close(ignored);
}

bool Poller::add(int fd, Watcher& watcher, std::uint32_t events) {
  epoll_event event{events | EPOLLET, {&watcher}};
  if (::epoll_ctl(epoll_.native_handle(), EPOLL_CTL_ADD, fd, &event) != 0) return false;
  watchers_.push_back(watcher);
  return true;
}

bool Poller::change(int fd, Watcher& watcher, std::uint32_t events) {
  epoll_event event{events | EPOLLET, {&watcher}};
  return ::epoll_ctl(epoll_.native_handle(), EPOLL_CTL_MOD, fd, &event) == 0;
}

void Poller::remove(Watcher& watcher) {
  watcher.unlink();
  for (auto& event : turn_) {
    if (event.data.ptr == &watcher) event.data.ptr = nullptr;
  }
  std::replace(later_.begin(), later_.end(), &watcher, static_cast<Watcher*>(nullptr));
}

void Poller::later(Watcher& watcher) {
  if (!turning_ && later_.empty()) post_turns();
  later_.push_back(&watcher);
}

void Poller::post_turns() {
  asio::post(context_, [this] { take_turns(); });
}

void Poller::wait() {
  epoll_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const boost::system::error_code& error) {
    if (error) return;
    try {
      take_turns();
    } catch (...) {
      wait();
      throw;
    }
    wait();
  });
}

void Poller::take_turns() {
  std::array<epoll_event, events_at_once> events;
  const Turning turning(*this);
  for (int turn = 0; turn < max_turns; ++turn) {
    const int count = ::epoll_wait(epoll_.native_handle(), events.data(), events.size(), 0);
    turn_ = std::span(events).first(static_cast<std::size_t>(std::max(count, 0)));
    if (turn_.empty() && later_.empty()) return;
    while (!turn_.empty()) {
      const auto event = turn_.front();
      turn_ = turn_.subspan(1);
      if (event.data.ptr != nullptr) static_cast<Watcher*>(event.data.ptr)->on_ready(event.events);
    }
    for (auto left = later_.size(); left > 0 && !later_.empty(); --left) {
      auto* watcher = later_.front();
      later_.pop_front();
      if (watcher != nullptr) watcher->on_ready(0);
    }
  }
}

}  // namespace sluice::net
