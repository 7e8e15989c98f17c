#include "egress/turn.h"

#include <utility>

namespace sluice::egress {
namespace {

// Of a verdict that allows; null: there was no room for its header.
Settled outcome_of(const kernel::Verdict* verdict) {
  if (verdict == nullptr || verdict->no_room) return Settled::no_room;
  return verdict->done ? Settled::done : Settled::too_late;
}

}  // namespace

void Turn::allow(Judged& call, ByteSpan header, std::optional<observe::Record> open, kernel::Verdict verdict) {
  allowing_.push_back({&call, header, std::move(open), verdict});
}

void Turn::deny(Judged& call, kernel::Verdict verdict, observe::Record record) {
  denying_.push_back({&call, verdict, std::move(record)});
}

void Turn::close(const kernel::FlowKey& key, std::optional<observe::Record> record) {
  closing_.push_back({key, std::move(record)});
}

void Turn::commit() {
  while (!allowing_.empty() || !denying_.empty() || !closing_.empty()) {
    auto allowing = std::exchange(allowing_, {});
    auto denying = std::exchange(denying_, {});
    auto closing = std::exchange(closing_, {});
    stop(denying);

    std::vector<observe::Record> records;
    records.reserve(allowing.size() + denying.size() + closing.size());
    for (auto& one : allowing) {
      if (one.record) records.push_back(std::move(*one.record));
    }
    for (auto& one : denying) records.push_back(std::move(one.record));
    for (auto& one : closing) {
      if (one.record) records.push_back(std::move(*one.record));
    }
    // Who is not allowed goes where it went, recorded or not: the log itself counts what it lost.
    const bool recorded = recorder_.write(std::move(records)).ok();

    std::vector<kernel::Verdict> verdicts;
    verdicts.reserve(allowing.size() + denying.size() + closing.size());
    const bool kept = recorded && keep_headers(allowing);
    if (kept) {
      for (const auto& one : allowing) verdicts.push_back(one.verdict);
    }
    for (const auto& one : denying) verdicts.push_back({kernel::Verdict::Kind::collect, one.verdict.key});
    for (const auto& one : closing) verdicts.push_back({kernel::Verdict::Kind::collect, one.key});
    flows_.judge(verdicts);

    for (std::size_t index = 0; index < allowing.size(); ++index) {
      allowing[index].call->settled(recorded ? outcome_of(kept ? &verdicts[index] : nullptr) : Settled::not_recorded);
    }
    for (const auto& one : denying) one.call->settled(Settled::done);
  }
}

bool Turn::keep_headers(const std::vector<Allowing>& allowing) {
  std::vector<kernel::FlowHeader> headers;
  headers.reserve(allowing.size());
  for (const auto& one : allowing) {
    if (!one.header.empty()) headers.push_back({one.verdict.key.id, one.header});
  }
  return headers.empty() || flows_.keep_headers(headers).ok();
}

// Those that were too late are told, and gone from `denying`.
void Turn::stop(std::vector<Denying>& denying) {
  std::vector<kernel::Verdict> verdicts;
  verdicts.reserve(denying.size());
  for (const auto& one : denying) verdicts.push_back(one.verdict);
  flows_.judge(verdicts);
  std::vector<Denying> stopped;
  stopped.reserve(denying.size());
  for (std::size_t index = 0; index < denying.size(); ++index) {
    if (verdicts[index].done) {
      stopped.push_back(std::move(denying[index]));
    } else {
      denying[index].call->settled(Settled::too_late);
    }
  }
  denying = std::move(stopped);
}

}  // namespace sluice::egress
