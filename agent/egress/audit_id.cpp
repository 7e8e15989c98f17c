#include "egress/audit_id.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace sluice::egress {

kernel::AuditId parse_audit_id(std::string_view id) {
  kernel::AuditId parsed{};
  const auto* middle = id.data() + std::min<std::size_t>(id.size(), 16);
  std::from_chars(id.data(), middle, parsed[0], 16);
  std::from_chars(middle, id.data() + id.size(), parsed[1], 16);
  return parsed;
}

std::string format_audit_id(const kernel::AuditId& id) {
  return fmt::format("{:016x}{:08x}", id[0], id[1]);
}

}  // namespace sluice::egress
