// Audit records and what their verification found, for people and for programs. Pure.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <string_view>

#include "observe/audit_verify.h"

namespace sluice::observe {

// One line of the log as one line for a terminal: time, event, verdict, pod, process, where to, why, by which rule,
// bytes. What is no record is shown as it is, made printable.
std::string format_audit_line(std::string_view line);

// The outcome first, then findings and notes, one a line.
std::string format_verification(const AuditVerification& report);
boost::json::value verification_as_json(const AuditVerification& report);

}  // namespace sluice::observe
