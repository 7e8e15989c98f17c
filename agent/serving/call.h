// One call as it is told: the facts gathered on its way, its records, its place among the live connections, and the
// story that the agent's and the gateway's calls have in common: decide, connect, record, relay. What differs is where
// facts come from, which way a call takes, and whom it dials. The story is a coroutine, which owns the call; bytes are
// relayed without one where both ends are TCP itself, and the call then owns itself.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "observe/audit.h"
#include "relay/first_bytes.h"
#include "relay/http_relay.h"
#include "relay/socket_tunnel.h"
#include "serving/live.h"
#include "serving/recorder.h"
#include "serving/upstreams.h"
#include "serving/worker.h"
#include "settings/settings.h"

namespace sluice::serving {

class Call : public Live, private relay::HttpJudge, private relay::SocketTunnel::Owner {
 public:
  Call(Worker& worker, Recorder& recorder, const settings::Limits& limits, net::Socket client);
  ~Call() override;  // writes the close record of an open call that has none yet
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // At the end of its story: lives on if it is still to be relayed.
  static void relay(std::unique_ptr<Call> call);

  Flow flow() const override;
  bool still_allowed(const Snapshot& snapshot) const override;
  void cut(std::string_view why) override;

 protected:
  // The roles' part of the story.

  // Judges what is known, by policy and by routes, and keeps what connect() needs; the refusal when it is denied. Sets
  // `way_`, and what it knows for the record: `reason_`, `decision_`, rule and route. Called for each request of a
  // connection.
  virtual std::optional<Refusal> decide(Sniffed sniffed) = 0;
  // Connects `upstream_` as decide() chose, and sets `preamble_`.
  virtual net::Task<std::optional<Refusal>> connect() = 0;
  // `way_` as `snapshot`, whose verdict this is, would have it; nullopt: there is none any more.
  virtual std::optional<std::string> find_way(const Snapshot& snapshot, const Request& request,
                                              const Verdict& verdict) const = 0;

  // Steps of the story, each ending with its record written and the client answered.

  // Reads what policy needs to know, `already` being read before, and serves it.
  net::Task<void> serve_client(std::vector<std::uint8_t> already);
  // Serves bytes that no answer has to be interleaved with: TLS, or anything that is not looked at; up to where relay()
  // goes on.
  net::Task<void> serve_stream(Sniffed sniffed, std::vector<std::uint8_t> bytes);
  net::Task<void> serve_http(relay::FirstBytes first);
  // Serves a connection of which not a byte was read.
  net::Task<void> serve_unread(Sniffed sniffed);
  // First bytes that policy can make nothing of.
  virtual net::Task<void> serve_unreadable(relay::Unreadable unreadable);
  // The deny record, the answer in the client's protocol, and the end.
  net::Task<void> refuse(Sniffed sniffed, Reason reason, std::string_view detail);

  // Takes a place among the live connections; the limit that is reached, empty: none.
  std::string_view admit();
  // Counts it as one of `source`, after admit(); the limit that is reached, empty: none.
  std::string_view claim(const IpAddress& source);

  bool was_cut() const { return !cut_reason_.empty(); }

  // Connects to where `query` leads outside. Nothing is sent there once the call was cut: it is refused then.
  net::Task<std::variant<net::Dialled, Refusal>> dial(Upstreams& upstreams, TargetQuery query,
                                                      net::Milliseconds timeout);

  // The request that policy judges, from the facts noted so far.
  Request request(Sniffed sniffed) const;
  // Judges by the worker's snapshot and remembers what was judged for later policies.
  Verdict judge(const Snapshot* snapshot, Sniffed sniffed);
  // What rules may look at besides; for the request at hand.
  Snapshot::Caller caller() const;

  Worker& worker_;
  const settings::Limits& limits_;
  net::Milliseconds idle_timeout_;           // that of the limits, unless the way has its own
  std::unique_ptr<net::Stream> client_;      // never null
  std::unique_ptr<net::Stream> upstream_;    // null until one was connected
  std::unique_ptr<observe::Record> record_;  // null once the call is a tunnel
  std::string host_;                         // the name that policy judges: SNI or Host
  std::string pod_namespace_;
  const Labels* pod_labels_ = nullptr;  // null: not known
  std::uint16_t gateway_port_ = 0;      // at a gateway: of the server that the call came to
  const std::uint64_t pick_;            // chooses among weights, the same for all requests of a connection

  bool wants_upgrade_ = false;  // of the request at hand
  std::string way_;             // where the call goes: requests of equal host and way may share an upstream connection
  Reason reason_ = Reason::registered;
  observe::Decision decision_ = observe::Decision::allow;
  std::vector<std::uint8_t> preamble_;  // what upstream is told before the call's own bytes

 private:
  // relay::HttpJudge
  net::Task<std::variant<net::Stream*, relay::HttpDenial>> route(const wire::RequestHead& head,
                                                                 ByteSpan bytes) override;
  void refuse_unreadable(const relay::Unreadable& unreadable) override;

  // relay::SocketTunnel::Owner
  void on_tunnel_end(relay::End end) override;
  void abandon_tunnel() override { delete this; }

  // What serves them; not a coroutine, which would hold them twice.
  net::Task<void> serve_first_bytes(relay::FirstBytesResult&& read);
  // Fills in what the first bytes said: protocol, names, versions, fingerprint.
  void note(const relay::FirstBytes& first);
  void note(const wire::RequestHead& head);

  // decide(), with the time it takes.
  std::optional<Refusal> decide_timed(Sniffed sniffed);
  // Why a connect() that was overtaken by cut() fails.
  Refusal overtaken() const;
  // Records what connect() came to; without a refusal `upstream_` takes the call's first byte.
  std::optional<Refusal> conclude_connect(std::optional<Refusal> refusal);
  // The open record (for the first request of a connection) or a request record (for later ones), handed to the kernel
  // before this returns. On failure the call must be denied.
  std::optional<Refusal> record_allowed();
  void record_denied(Reason reason, std::string_view detail);
  void record_closed(relay::End end);
  double age_ms() const;

  Recorder& recorder_;
  relay::Totals totals_;
  std::uint64_t started_ns_;
  std::optional<LiveTable::Place> place_;
  // Once it is all that is left of the story.
  struct Tunnel {
    relay::SocketTunnel relay;
    std::string id;  // of the record
    std::string facts;
    Endpoint destination;
  };
  std::unique_ptr<Tunnel> tunnel_;
  std::optional<Sniffed> judged_;  // allowed by policy as this; re-judged when policy changes
  // Of a connection that speaks HTTP.
  struct Http {
    HttpRequest request;  // the newest; views into the following
    wire::RequestHead head;
    std::string authority;
    std::string fields;
    std::string upstream_key;      // what upstream_ was connected for: host, way and policy
    std::string upstream_gateway;  // the record's, of that connection
    std::string upstream_address;
  };
  std::unique_ptr<Http> http_;  // null before the first request
  std::string cut_reason_;
  bool opened_ = false;
};

}  // namespace sluice::serving
