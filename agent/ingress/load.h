// What is under way to one destination, of all workers together: what connectionPool of a DestinationRule bounds.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace sluice::ingress {

// Workers that count at the same moment may each go one beyond a limit.
struct Load {
  std::atomic<std::uint32_t> connections = 0;
  std::atomic<std::uint32_t> requests = 0;
  std::atomic<std::uint32_t> retries = 0;
};

// For all threads.
class Loads {
 public:
  std::shared_ptr<Load> get(const std::string& destination) {
    const std::lock_guard guard(mutex_);
    std::erase_if(loads_, [](const auto& entry) { return entry.second.expired(); });
    auto load = loads_[destination].lock();
    if (!load) loads_[destination] = load = std::make_shared<Load>();
    return load;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<Load>> loads_;
};

}  // namespace sluice::ingress
