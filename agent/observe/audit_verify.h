// Checks an audit log: is every line there, in order, as it was written?
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace sluice::observe {

// Something about one line. `line` counts from 1 in its file; 0 means the log as a whole.
struct AuditRemark {
  std::string file;
  std::uint64_t line = 0;
  std::string what;
};

struct AuditVerification {
  std::vector<std::string> files;  // in the order of the chain
  std::uint64_t records = 0;
  std::uint64_t checkpoints = 0;
  std::uint64_t proven_records = 0;  // up to the last checkpoint whose HMAC is right; 0 without a key
  std::uint64_t first_seq = 0;
  std::uint64_t last_seq = 0;
  std::string head;  // SHA-256 of the last record
  std::uint64_t finding_count = 0;
  std::vector<AuditRemark> findings;  // the first max_audit_remarks of them
  std::vector<AuditRemark> notes;     // what the log itself says of crashes and drops; no fault of the file
};

inline constexpr std::size_t max_audit_remarks = 100;

struct AuditVerifyOptions {
  std::vector<std::uint8_t> key;  // empty: the HMACs of checkpoints are not checked
  std::string known_head;         // a head seen earlier, e.g. in the metrics, that must still be in the log; or empty
};

// `files` are one log and its rotated parts in any order. An error means that they cannot be read.
Result<AuditVerification> verify_audit_log(std::vector<std::string> files, const AuditVerifyOptions& options);

}  // namespace sluice::observe
