#include "base/clock.h"

#include <fmt/compile.h>
#include <fmt/format.h>

#include <ctime>

namespace sluice {
namespace {

constexpr std::int64_t second_ns = 1'000'000'000;

std::int64_t read_clock(clockid_t id) {
  timespec now{};
  ::clock_gettime(id, &now);
  return static_cast<std::int64_t>(now.tv_sec) * second_ns + now.tv_nsec;
}

}  // namespace

std::uint64_t monotonic_ns() {
  return static_cast<std::uint64_t>(read_clock(CLOCK_MONOTONIC));
}

std::int64_t wall_ns() {
  return read_clock(CLOCK_REALTIME);
}

std::string format_time(std::int64_t wall) {
  const std::time_t seconds = wall / second_ns;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format(FMT_COMPILE("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z"), utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, wall % second_ns / 1000);
}

}  // namespace sluice
