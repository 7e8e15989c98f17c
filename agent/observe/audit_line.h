// One line of the audit log as text. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "observe/audit.h"

namespace sluice::observe {

std::string_view to_string(Event event);
std::string_view to_string(Decision decision);

// What the log adds to a record.
struct LineFrame {
  std::uint64_t seq = 0;
  std::int64_t wall_ns = 0;
  std::string_view node;  // JSON text, quotes included
  std::string_view role;  // JSON text, quotes included
  std::string_view prev;
  std::string_view head;    // checkpoint: what is sealed; recovered: the last whole line
  std::string_view mac;     // checkpoint with a key
  std::uint32_t every = 0;  // checkpoint: the next one comes after at most so many records
};

// Appends the line with its newline, at most max_line_bytes.
void append_line(std::string& out, const LineFrame& frame, const Record& record);

// A name as LineFrame wants it.
std::string name_as_json(std::string_view name);

// The HMAC of a checkpoint, in hexadecimal: over node and role (as JSON text), seq, every and head.
std::string checkpoint_mac(ByteSpan key, std::string_view node, std::string_view role, std::uint64_t seq,
                           std::uint32_t every, std::string_view head);

}  // namespace sluice::observe
