// What a predecessor has recorded of the flows it left, in whichever moment it ended: each connection gets its open and
// its last record exactly once.
#pragma once

#include <map>

#include "kernel/flows.h"
#include "serving/recorder.h"

namespace sluice::egress {

// Belongs to one thread.
class PastRecords {
 public:
  // Reads the end of the log. What is not in there was recorded long before its flow changed.
  void read(const serving::Recorder& recorder);
  // Once nothing is left of a predecessor.
  void forget() { known_.clear(); }

  // Is there an open record?
  bool opened(const kernel::AuditId& id) const { return find(id).opened; }
  // Is there a close or deny record?
  bool ended(const kernel::AuditId& id) const { return find(id).ended; }

 private:
  struct Known {
    bool opened = false;
    bool ended = false;
  };
  Known find(const kernel::AuditId& id) const {
    const auto known = known_.find(id);
    return known == known_.end() ? Known() : known->second;
  }

  std::map<kernel::AuditId, Known> known_;
};

}  // namespace sluice::egress
