// Time. Code that decides by time takes it as an argument, so tests move it by hand.
#pragma once

#include <cstdint>
#include <string>

namespace sluice {

// Nanoseconds of CLOCK_MONOTONIC: for durations; the same clock as bpf_ktime_get_ns().
std::uint64_t monotonic_ns();
// Nanoseconds since the epoch.
std::int64_t wall_ns();
// Appends RFC 3339 in UTC with microseconds: "2026-01-31T10:00:00.000001Z".
void append_time(std::string& out, std::int64_t wall_ns);

}  // namespace sluice
