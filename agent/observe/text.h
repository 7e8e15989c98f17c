// Numbers for people. Pure.
#pragma once

#include <cstdint>
#include <string>

namespace sluice::observe {

// 512 -> "512 B", 1536 -> "1.5 KiB".
std::string format_bytes(std::uint64_t bytes);
// 5 -> "5s", 93784 -> "1d 2h".
std::string format_seconds(std::uint64_t seconds);

}  // namespace sluice::observe
