// The HMAC key of checkpoints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::observe {

// The bytes of the file without line ends behind them: 16 to 4096.
Result<std::vector<std::uint8_t>> read_audit_key(const std::string& path);

}  // namespace sluice::observe
