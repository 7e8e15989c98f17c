// Readiness of descriptors on an event loop: one epoll(7) instance beside Asio's own reactor, in which a descriptor is
// registered once, edge-triggered. Asio's arms a descriptor again for each wait and keeps an operation for it, which is
// most of what a short connection or a small message costs there.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <deque>
#include <span>

#include "net/timeout.h"

struct epoll_event;

namespace sluice::net {

// One an io_context, made by use_service(); for an io_context that one thread runs.
class Poller final : public boost::asio::execution_context::service {
 public:
  using key_type = Poller;
  static boost::asio::execution_context::id id;

  // Something with a descriptor. It must not go while it is registered.
  class Watcher : public boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
   public:
    // `events` of epoll_wait(2); 0: asked for by Poller::later(). May destroy the watcher.
    virtual void on_ready(std::uint32_t events) = 0;
    // The loop is going: coroutines that wait here are to be destroyed. May destroy the watcher.
    virtual void abandon() = 0;

   protected:
    virtual ~Watcher() = default;
  };

  explicit Poller(boost::asio::execution_context& context);
  static Poller& of(const boost::asio::any_io_executor& executor);

  boost::asio::io_context::executor_type get_executor() { return context_.get_executor(); }
  Timeouts& timeouts() { return timeouts_; }

  // `events`: those of epoll_ctl(2) besides EPOLLET. False when the kernel has no memory for it.
  bool add(int fd, Watcher& watcher, std::uint32_t events);
  bool change(int fd, Watcher& watcher, std::uint32_t events);
  // To be called right before the watcher's descriptor is closed, which ends its registration.
  void remove(Watcher& watcher);
  // Calls the watcher, which is registered, once more: after everything that is ready now has had its turn.
  void later(Watcher& watcher);

 private:
  class Turning;

  void shutdown() override;
  void wait();
  void post_turns();
  void take_turns();

  boost::asio::io_context& context_;
  Timeouts& timeouts_;
  boost::asio::posix::stream_descriptor epoll_;
  boost::intrusive::list<Watcher, boost::intrusive::constant_time_size<false>> watchers_;
  std::span<epoll_event> turn_;  // not told yet; of a removed watcher: null
  std::deque<Watcher*> later_;   // likewise
  bool turning_ = false;
};

}  // namespace sluice::net
