#include "ingress/access_log.h"

#include <utility>

namespace sluice::ingress {
namespace {

constexpr std::size_t max_gathered = 64;
constexpr std::chrono::milliseconds longest_wait{100};
constexpr unsigned first_failure = 400;

}  // namespace

AccessLog::~AccessLog() {
  flush();
}

bool AccessLog::wants(unsigned status) const {
  return which_ == settings::AccessLog::all || (which_ == settings::AccessLog::failures && status >= first_failure);
}

void AccessLog::add(observe::Record record) {
  if (records_.empty()) arm(timeouts_, longest_wait);
  records_.push_back(std::move(record));
  if (records_.size() >= max_gathered) flush();
}

void AccessLog::flush() {
  disarm();
  // What cannot be written is counted by the log itself.
  if (!records_.empty()) (void)recorder_.write(std::exchange(records_, {}));
}

}  // namespace sluice::ingress
