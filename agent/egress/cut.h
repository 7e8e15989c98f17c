// Why an open flow was cut, in its close record and, as a number, in its entry.
#pragma once

#include <cstdint>
#include <string_view>

#include "policy/reason.h"

namespace sluice::egress {

// One of the reasons, or one of these, which follow them.
enum class Cut : std::uint8_t { idle = 128, no_answer, pod_gone, detached };
static_assert(reason_count <= 128);

constexpr Cut cut_for(Reason reason) {
  return static_cast<Cut>(reason);
}

inline std::string_view name_of(std::uint8_t why) {
  switch (static_cast<Cut>(why)) {
    case Cut::idle:
      return "idle";
    case Cut::no_answer:
      return "no_answer";
    case Cut::pod_gone:
      return "pod_gone";
    case Cut::detached:
      return "detached";
    default:
      break;
  }
  return why < reason_count ? to_string(static_cast<Reason>(why)) : "cut";
}

}  // namespace sluice::egress
