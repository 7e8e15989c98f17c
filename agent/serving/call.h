// One call as it is told: the facts gathered on its way, its records, and its place among the live connections. The
// agent's and the gateway's stories are calls; what differs is where facts come from and whom they dial.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "observe/audit.h"
#include "relay/first_bytes.h"
#include "relay/tunnel.h"
#include "serving/live.h"
#include "serving/recorder.h"
#include "serving/worker.h"
#include "settings/settings.h"

namespace sluice::serving {

class Call : public Live {
 public:
  Call(Worker& worker, Recorder& recorder, const settings::Limits& limits, net::Tcp::socket client);
  ~Call() override;  // writes the close record of an open call that has none yet
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  Flow flow() const override;
  bool still_allowed(const Snapshot& snapshot) const override;
  void cut(std::string_view why) override;

 protected:
  // Takes a place among the live connections; the limit that is reached, empty: none.
  std::string_view admit();
  // Counts it as one of `source`, after admit(); the limit that is reached, empty: none.
  std::string_view claim(const IpAddress& source);

  // Fills in what the first bytes said: protocol, names, versions, fingerprint.
  void note(const relay::FirstBytes& first);
  void note(const wire::RequestHead& head);
  // The request that policy judges, from the facts noted so far.
  Request request(Sniffed sniffed) const;
  // Judges by `snapshot` and remembers what was judged for later policies.
  Verdict judge(const Snapshot* snapshot, Sniffed sniffed);

  // The open record (for the first request of a connection) or a request record (for later ones), handed to the kernel
  // before this returns. On failure the call must be denied.
  bool record_allowed(Reason reason, observe::Decision decision);
  // The deny record.
  void record_denied(Reason reason, std::string_view detail);
  // The deny record, the answer in the client's protocol, and the end.
  net::Task<void> refuse(Sniffed sniffed, Reason reason, std::string_view detail);
  // The close record.
  void record_closed(relay::End end);

  // Relays what is allowed and open until it ends, `first` being sent on already.
  net::Task<void> run_tunnel();

  const std::string& host() const { return host_; }
  bool is_open() const { return opened_; }

  Worker& worker_;
  Recorder& recorder_;
  const settings::Limits& limits_;
  std::unique_ptr<net::Stream> client_;    // never null
  std::unique_ptr<net::Stream> upstream_;  // null until one was connected
  observe::Record record_;
  relay::Totals totals_;
  std::string host_;  // the name that policy judges: SNI or Host
  std::string pod_namespace_;

 private:
  double age_ms() const;

  std::uint64_t started_ns_;
  std::optional<LiveTable::Place> place_;
  std::optional<Sniffed> judged_;  // allowed by policy as this; re-judged when policy changes
  std::string cut_reason_;
  bool opened_ = false;
};

}  // namespace sluice::serving
