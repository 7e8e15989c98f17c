// Scripts, which are coroutines, on one event loop until all of them have ended.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstddef>
#include <exception>
#include <utility>

namespace sluice {

// Runs them side by side; one that hangs fails the test.
template <typename... Scripts>
void run_scripts(boost::asio::io_context& loop, Scripts... scripts) {
  std::size_t running = sizeof...(scripts);
  const auto ended = [&running](const std::exception_ptr& failure) {
    --running;
    if (failure) std::rethrow_exception(failure);
  };
  (boost::asio::co_spawn(loop, std::move(scripts), ended), ...);
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  loop.restart();
  while (running > 0 && std::chrono::steady_clock::now() < limit) loop.run_one_for(std::chrono::milliseconds(100));
  ASSERT_EQ(running, 0U) << "a script still waits";
}

}  // namespace sluice
