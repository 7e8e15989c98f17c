// Refusals that the kernel made by number, as records of the audit log.
#pragma once

#include "identity/pod.h"
#include "kernel/interception.h"
#include "observe/audit.h"

namespace sluice::egress {

// One refused packet. The process is the one that connect()ed, where there is one.
observe::Record to_record(const kernel::Denial& denial, const identity::PodTable& pods);
// Those that no event told, in sum; `audited`: mode audit holds for the interface, so they passed.
observe::Record to_record(const kernel::DenialCount& count, const identity::PodTable& pods, bool audited);

}  // namespace sluice::egress
