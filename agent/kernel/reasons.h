// The kernel's reason numbers in the words of the audit log.
#pragma once

#include <cstdint>
#include <optional>

#include "policy/reason.h"

namespace sluice::kernel {

// nullopt for SLUICE_REASON_NONE and for numbers that no program of this ABI writes.
std::optional<Reason> reason_of(std::uint32_t number);

}  // namespace sluice::kernel
