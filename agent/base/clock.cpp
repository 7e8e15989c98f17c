#include "base/clock.h"

#include <array>
#include <ctime>
#include <span>

namespace sluice {
namespace {

constexpr std::int64_t second_ns = 1'000'000'000;

std::int64_t read_clock(clockid_t id) {
  timespec now{};
  ::clock_gettime(id, &now);
  return static_cast<std::int64_t>(now.tv_sec) * second_ns + now.tv_nsec;
}

// In decimal, in `places` from `at` on.
void put_number(std::span<char> text, std::size_t at, std::size_t places, int number) {
  for (; places > 0; number /= 10) text[at + --places] = static_cast<char>('0' + number % 10);
}

}  // namespace

std::uint64_t monotonic_ns() {
  return static_cast<std::uint64_t>(read_clock(CLOCK_MONOTONIC));
}

std::int64_t wall_ns() {
  return read_clock(CLOCK_REALTIME);
}

void append_time(std::string& out, std::int64_t wall) {
  const std::time_t seconds = wall / second_ns;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  std::array text = std::to_array("0000-00-00T00:00:00.000000Z");
  put_number(text, 0, 4, utc.tm_year + 1900);
  put_number(text, 5, 2, utc.tm_mon + 1);
  put_number(text, 8, 2, utc.tm_mday);
  put_number(text, 11, 2, utc.tm_hour);
  put_number(text, 14, 2, utc.tm_min);
  put_number(text, 17, 2, utc.tm_sec);
  put_number(text, 20, 6, static_cast<int>(wall % second_ns / 1000));
  out.append(text.data(), text.size() - 1);
}

}  // namespace sluice
