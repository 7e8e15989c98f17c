// Calls back whenever a descriptor that somebody else owns is readable.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>

namespace sluice::serving {

// Belongs to the thread of its io_context and goes before the descriptor is closed, which stays its owner's business.
class FdWatch {
 public:
  FdWatch(boost::asio::io_context& context, int fd, std::function<void()> on_readable);
  ~FdWatch();
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;

 private:
  struct State {
    boost::asio::posix::stream_descriptor descriptor;
    std::function<void()> on_readable;
  };
  struct Rearm;
  static void wait(const std::shared_ptr<State>& state);

  std::shared_ptr<State> state_;
};

}  // namespace sluice::serving
