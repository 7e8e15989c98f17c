// capabilities(7) of this process.
#pragma once

#include "base/result.h"

namespace sluice::kernel {

// Are those there without which the agent can do nothing: CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN, which includes
// both), CAP_NET_ADMIN and CAP_NET_RAW? The error names each that is missing.
Status check_capabilities();

// CAP_SYS_PTRACE: without it the executables of the pods' processes cannot be read.
bool can_read_executables();

}  // namespace sluice::kernel
