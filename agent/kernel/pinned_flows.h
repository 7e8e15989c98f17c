// The flows that are pinned, for whoever only looks: no program is loaded, and nothing is changed.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "kernel/flows.h"

namespace sluice::kernel {

class PinnedFlows {
 public:
  // Of the pins in `bpffs`. Maps of another ABI are refused.
  static Result<PinnedFlows> open(const std::string& bpffs);

  const FlowEntries& entries() const { return entries_; }

 private:
  PinnedFlows(UniqueFd flows, UniqueFd hosts);

  UniqueFd flows_;
  UniqueFd hosts_;
  FlowEntries entries_;
};

}  // namespace sluice::kernel
