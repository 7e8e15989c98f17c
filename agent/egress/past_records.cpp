#include "egress/past_records.h"

#include "egress/audit_id.h"
#include "observe/audit_line.h"

namespace sluice::egress {
namespace {

// Far more than a turn of the gate and the calls of the relay beside it write.
constexpr std::size_t looked_at_bytes = 4UL * 1024 * 1024;

}  // namespace

void PastRecords::read(const serving::Recorder& recorder) {
  recorder.read_latest(looked_at_bytes, [this](std::string_view event, std::string_view id) {
    const bool opens = event == observe::to_string(observe::Event::open);
    const bool ends =
        event == observe::to_string(observe::Event::close) || event == observe::to_string(observe::Event::deny);
    if (!opens && !ends) return;
    auto& known = known_[parse_audit_id(id)];
    known.opened = known.opened || opens;
    known.ended = known.ended || ends;
  });
}

}  // namespace sluice::egress
