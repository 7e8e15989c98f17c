// Of which ABI pinned maps are.
#pragma once

#include <string>

#include "base/result.h"

namespace sluice::kernel {

// An error, with both versions, unless the maps in `directory` are of SLUICE_ABI_VERSION. Changes nothing.
Status check_abi_version(const std::string& directory);

}  // namespace sluice::kernel
