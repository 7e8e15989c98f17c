// The access records of one worker: gathered for a moment, and written together.
#pragma once

#include <vector>

#include "net/timeout.h"
#include "observe/audit.h"
#include "serving/recorder.h"
#include "settings/settings.h"

namespace sluice::ingress {

class AccessLog final : private net::Timeout {
 public:
  AccessLog(serving::Recorder& recorder, net::Timeouts& timeouts, settings::AccessLog which)
      : recorder_(recorder), timeouts_(timeouts), which_(which) {}
  ~AccessLog() override;

  // Is a request with this status to be recorded?
  bool wants(unsigned status) const;
  void add(observe::Record record);
  void flush();

 private:
  void on_timeout() override { flush(); }

  serving::Recorder& recorder_;
  net::Timeouts& timeouts_;
  const settings::AccessLog which_;
  std::vector<observe::Record> records_;
};

}  // namespace sluice::ingress
