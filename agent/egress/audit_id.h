// The id of a call's records, as text and as the kernel keeps it.
#pragma once

#include <string>
#include <string_view>

#include "kernel/flows.h"

namespace sluice::egress {

// Of serving::Recorder::next_id(): 24 hexadecimal digits.
kernel::AuditId parse_audit_id(std::string_view id);
std::string format_audit_id(const kernel::AuditId& id);

}  // namespace sluice::egress
