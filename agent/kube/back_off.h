// How long to wait after each failure in a row.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace sluice::kube {

class BackOff {
 public:
  using Milliseconds = std::chrono::milliseconds;
  static constexpr Milliseconds first{200};
  static constexpr Milliseconds longest{15'000};

  // `chance`: a random number, by which the clients of one server that failed all of them come back spread out: half of
  // the wait is certain, half is chance.
  Milliseconds next(std::uint32_t chance) {
    const auto whole = std::min(first * (1L << std::min(failures_, 16U)), longest);
    ++failures_;
    const auto half = whole.count() / 2;
    return Milliseconds(half + static_cast<std::int64_t>(chance) % (half + 1));
  }
  void reset() { failures_ = 0; }

 private:
  unsigned failures_ = 0;
};

}  // namespace sluice::kube
