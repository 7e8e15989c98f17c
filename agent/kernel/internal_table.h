// Which addresses are inside the cluster: the map `internals`.
#pragma once

#include <vector>

#include "base/ip.h"
#include "kernel/tables.h"

namespace sluice::kernel {

// Makes `tables.internals` say: inside is `internal` without `except`; of two ranges the longer prefix counts, of equal
// ones the exception. At no moment does an address pass that is inside neither before nor after, nor is one refused
// that is inside both times. On failure what was there before is in force again, as far as it can be written.
Status write_internals(const Tables& tables, const std::vector<Cidr>& internal, const std::vector<Cidr>& except);

}  // namespace sluice::kernel
