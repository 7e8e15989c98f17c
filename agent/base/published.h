// An immutable value that one thread replaces while others use it.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

namespace sluice {

// Thread-safe. A mutex, because load() of std::atomic<std::shared_ptr> in GCC 12 lets go of its lock with relaxed
// order.
template <typename T>
class Published {
 public:
  explicit Published(std::shared_ptr<const T> value) : value_(std::move(value)) {}

  // Stays as it is for as long as the caller holds it.
  std::shared_ptr<const T> get() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }
  void set(std::shared_ptr<const T> value) {
    // The value of before goes, when nobody else has it, with the parameter: outside the lock.
    const std::lock_guard lock(mutex_);
    value_.swap(value);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const T> value_;
};

}  // namespace sluice
