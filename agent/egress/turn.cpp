#include "egress/turn.h"

#include <utility>

namespace sluice::egress {

void Turn::allow(Judged& call, kernel::Promise promise, std::optional<observe::Record> open, kernel::Verdict verdict) {
  allowing_.push_back({&call, std::move(promise), std::move(open), verdict});
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
    keep(allowing);
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
    if (recorded) {
      for (const auto& one : allowing) verdicts.push_back(one.verdict);
    }
    for (const auto& one : denying) verdicts.push_back({kernel::Verdict::Kind::collect, one.verdict.key});
    for (const auto& one : closing) verdicts.push_back({kernel::Verdict::Kind::collect, one.key});
    flows_.judge(verdicts);

    for (std::size_t index = 0; index < allowing.size(); ++index) {
      auto how = Settled::not_recorded;
      if (recorded) how = verdicts[index].done ? Settled::done : Settled::too_late;
      allowing[index].call->settled(how);
    }
    for (const auto& one : denying) one.call->settled(Settled::done);
  }
}

// Those for which there is no room are told, and gone from `allowing`.
void Turn::keep(std::vector<Allowing>& allowing) {
  std::vector<kernel::Promise> promises;
  promises.reserve(allowing.size());
  for (auto& one : allowing) promises.push_back(std::move(one.promise));
  if (flows_.promise(promises)) return;
  for (const auto& one : promises) flows_.drop_promise(one.flow_id, one.header.size());
  for (const auto& one : std::exchange(allowing, {})) one.call->settled(Settled::not_kept);
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
