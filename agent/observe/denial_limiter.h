// Keeps one pod's flood of denied calls from filling the audit log: so many records a second each, the rest counted.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "observe/audit.h"

namespace sluice::observe {

// Pure: time is passed in, nanoseconds of any steady clock. Thread-safe.
class DenialLimiter {
 public:
  // A pod may cause `denials_per_second` records a second, as many at once. Beyond `max_pods` pods that deny at the
  // same time the further ones share one allowance.
  explicit DenialLimiter(std::uint32_t denials_per_second, std::size_t max_pods = 4096);

  // True: write this record. False: it is counted for flush(). Records without a pod share one allowance.
  bool admit(const Record& denial, std::uint64_t now_ns);

  // For each pod, verdict and reason of what was not admitted since the last flush() one record with its `count`. To be
  // called once a second; also forgets the pods that fell silent.
  std::vector<Record> flush(std::uint64_t now_ns);

 private:
  struct Held {
    Decision verdict = Decision::deny;
    std::uint64_t count = 0;
  };
  struct Pod {
    std::optional<PodFacts> facts;
    double tokens = 0;
    std::uint64_t filled_ns = 0;
    std::array<Held, reason_count> held;
    bool holds = false;
  };

  Pod& pod_of(const Record& denial, std::uint64_t now_ns);
  void refill(Pod& pod, std::uint64_t now_ns) const;

  const double rate_;
  const std::size_t max_pods_;
  std::mutex mutex_;
  std::unordered_map<std::string, Pod> pods_;
};

}  // namespace sluice::observe
