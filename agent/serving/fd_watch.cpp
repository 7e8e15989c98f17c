#include "serving/fd_watch.h"

#include <utility>

namespace sluice::serving {

FdWatch::FdWatch(boost::asio::io_context& context, int fd, std::function<void()> on_readable)
    : state_(
          std::make_shared<State>(State{boost::asio::posix::stream_descriptor(context, fd), std::move(on_readable)})) {
  wait(state_);
}

FdWatch::~FdWatch() {
  state_->descriptor.release();
}

// Waits again however the callback ends.
struct FdWatch::Rearm {
  const std::shared_ptr<State>& state;
  ~Rearm() {
    // Whoever was called may have removed the watch.
    if (state->descriptor.is_open()) wait(state);
  }
};

void FdWatch::wait(const std::shared_ptr<State>& state) {
  // A weak reference: a handler that was queued before the watch went finds nothing.
  state->descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                               [weak = std::weak_ptr<State>(state)](const boost::system::error_code& error) {
                                 const auto self = weak.lock();
                                 if (error || !self) return;
                                 const Rearm rearm{self};
                                 self->on_readable();
                               });
}

}  // namespace sluice::serving
