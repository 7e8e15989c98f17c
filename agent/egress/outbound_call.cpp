#include "egress/outbound_call.h"

#include "egress/audit_mode.h"
#include "identity/process.h"
#include "wire/proxy_v2.h"

namespace sluice::egress {

OutboundCall::OutboundCall(const Node& node, serving::Worker& worker, net::Tcp::socket client)
    : Call(worker, node.recorder, node.settings.limits, std::move(client)), node_(node) {}

net::Task<void> OutboundCall::serve(std::shared_ptr<const identity::PodTable> pods) {
  if (!identify(*pods)) co_return co_await refuse(Sniffed::none, Reason::pod_unknown, "no pod has this address");
  if (!admit(record_.source->address)) {
    co_return co_await refuse(Sniffed::none, Reason::overloaded, "too many connections");
  }
  const auto snapshot = worker_.snapshot();
  if (!snapshot) co_return co_await refuse(Sniffed::none, Reason::policy_not_ready, "no policy was read yet");
  const auto& destination = *record_.destination;
  if (snapshot->inspect(pod_namespace_, destination.address, destination.port) == Inspection::sniff) {
    co_return co_await serve_sniffed();
  }
  co_await serve_bytes(Sniffed::none, {});
}

bool OutboundCall::identify(const identity::PodTable& pods) {
  boost::system::error_code error;
  const auto source = client_->socket().remote_endpoint(error);
  const auto destination = error ? net::Tcp::endpoint() : client_->socket().local_endpoint(error);
  record_.protocol = "tcp";
  record_.source = net::to_endpoint(source);
  // The listener is transparent: our end of the connection has the address that the pod dialled.
  record_.destination = net::to_endpoint(destination);
  if (error) return false;
  const auto* pod = pods.by_address(record_.source->address);
  if (!pod) return false;
  pod_namespace_ = pod->namespace_name;
  record_.pod = observe::PodFacts{pod->namespace_name, pod->name, pod->uid, pod->service_account};
  auto process = identity::find_process(node_.kernel, *record_.source, *record_.destination);
  record_.process = {process.pid, std::move(process.comm), std::move(process.exe), process.cgroup_id};
  audit_only_ = is_audited(node_.settings.egress, pod_namespace_);
  return true;
}

net::Task<void> OutboundCall::serve_sniffed() {
  auto read = co_await relay::read_first_bytes(*client_, {}, limits_.first_bytes_timeout);
  if (auto* bad = std::get_if<relay::Unreadable>(&read)) co_return co_await serve_unreadable(std::move(*bad));
  auto first = std::get<relay::FirstBytes>(std::move(read));
  note(first);
  if (first.sniffed != Sniffed::http) co_return co_await serve_bytes(first.sniffed, std::move(first.bytes));
  const relay::HttpLimits limits{limits_.first_bytes_timeout, limits_.http_idle_timeout, limits_.idle_timeout};
  record_closed(co_await relay::relay_http(*client_, std::move(first), *this, limits, worker_.pipes(), totals_));
}

net::Task<void> OutboundCall::serve_bytes(Sniffed sniffed, std::vector<std::uint8_t> bytes) {
  if (const auto refusal = co_await decide_and_connect(sniffed)) {
    co_return co_await refuse(sniffed, refusal->reason, refusal->detail);
  }
  co_await send_and_tunnel(std::move(bytes));
}

net::Task<void> OutboundCall::serve_unreadable(relay::Unreadable unreadable) {
  if (unreadable.sniffed == Sniffed::tls) record_.protocol = "tls";
  if (unreadable.sniffed == Sniffed::http) record_.protocol = "http";
  if (!audit_only_) co_return co_await refuse(unreadable.sniffed, unreadable.reason, unreadable.detail);
  if (const auto refusal = co_await connect_direct(unreadable.reason)) {
    co_return co_await refuse(unreadable.sniffed, refusal->reason, refusal->detail);
  }
  co_await send_and_tunnel(std::move(unreadable.bytes));
}

net::Task<void> OutboundCall::send_and_tunnel(std::vector<std::uint8_t> bytes) {
  totals_.sent += bytes.size();
  // One write, and so one segment where it fits: header and hello travel together.
  bytes.insert(bytes.begin(), header_.begin(), header_.end());
  const bool sent = co_await upstream_->write_all(bytes);
  if (!sent) {
    client_->reset();
    co_return record_closed(relay::End::upstream_reset);
  }
  co_await run_tunnel();
}

net::Task<std::variant<net::Stream*, relay::HttpDenial>> OutboundCall::route(const wire::RequestHead& head) {
  note(head);
  // The connection to the gateway stands for one name; another name gets another connection and header.
  if (upstream_ && (upstream_host_ != host_ || !upstream_->is_quiet())) upstream_.reset();
  if (upstream_) {
    const auto refusal = decide(Sniffed::http);
    if (!refusal && record_allowed(Reason::registered, observe::Decision::allow)) co_return upstream_.get();
    upstream_.reset();
  }
  if (const auto refusal = co_await decide_and_connect(Sniffed::http)) {
    record_denied(refusal->reason, refusal->detail);
    co_return relay::HttpDenial{refusal->reason, refusal->detail};
  }
  upstream_host_ = host_;
  // A gateway that is gone already shows when the request itself is sent.
  co_await upstream_->write_all(header_);
  co_return upstream_.get();
}

void OutboundCall::refuse_unreadable(const relay::Unreadable& unreadable) {
  record_denied(unreadable.reason, unreadable.detail);
}

std::optional<OutboundCall::Refusal> OutboundCall::decide(Sniffed sniffed) {
  const auto snapshot = worker_.snapshot();
  const auto verdict = judge(snapshot.get(), sniffed);
  if (!verdict.allowed()) return Refusal{verdict.reason, {}};
  if (record_.ech && node_.settings.egress.ech == settings::EchPolicy::deny) {
    return Refusal{Reason::ech_not_allowed, "the ClientHello is encrypted: only its outer name is known"};
  }
  return std::nullopt;
}

net::Task<std::optional<OutboundCall::Refusal>> OutboundCall::decide_and_connect(Sniffed sniffed) {
  if (const auto refusal = decide(sniffed)) {
    if (audit_only_) co_return co_await connect_direct(refusal->reason);
    co_return refusal;
  }
  co_return co_await connect_gateway();
}

net::Task<std::optional<OutboundCall::Refusal>> OutboundCall::connect_gateway() {
  const auto gateway = gateway_endpoint();
  record_.gateway = gateway.to_string();
  record_.route = "default";
  auto dialled = co_await net::dial(gateway, limits_.connect_timeout);
  if (const auto* failed = std::get_if<net::DialError>(&dialled)) {
    co_return Refusal{Reason::gateway_unreachable, "gateway " + failed->message};
  }
  upstream_ = std::make_unique<net::PlainStream>(std::get<net::Tcp::socket>(std::move(dialled)));
  if (!record_allowed(Reason::registered, observe::Decision::allow)) {
    co_return Refusal{Reason::audit_unavailable, "the audit log cannot be written"};
  }
  if (node_.settings.egress.gateways.front().transport == settings::Transport::proxy) header_ = gateway_header();
  co_return std::nullopt;
}

net::Task<std::optional<OutboundCall::Refusal>> OutboundCall::connect_direct(Reason would_deny) {
  auto dialled = co_await net::dial(*record_.destination, limits_.connect_timeout);
  if (const auto* failed = std::get_if<net::DialError>(&dialled)) {
    co_return Refusal{failed->kind == net::DialFailure::timeout ? Reason::upstream_timeout : Reason::upstream_refused,
                      failed->message};
  }
  upstream_ = std::make_unique<net::PlainStream>(std::get<net::Tcp::socket>(std::move(dialled)));
  header_.clear();
  record_.gateway.clear();
  record_.route = "direct";
  record_.upstream = record_.destination->to_string();
  if (!record_allowed(would_deny, observe::Decision::would_deny)) {
    co_return Refusal{Reason::audit_unavailable, "the audit log cannot be written"};
  }
  co_return std::nullopt;
}

Endpoint OutboundCall::gateway_endpoint() const {
  const auto& gateway = node_.settings.egress.gateways.front().addresses.front();
  return {gateway.address, gateway.port != 0 ? gateway.port : record_.destination->port};
}

std::vector<std::uint8_t> OutboundCall::gateway_header() const {
  wire::ProxyHeader header;
  header.source = *record_.source;
  header.destination = *record_.destination;
  header.authority = host_;
  header.node = node_.settings.node.name;
  header.pod_namespace = record_.pod->namespace_name;
  header.pod_name = record_.pod->name;
  header.service_account = record_.pod->service_account;
  header.rule = record_.rule;
  header.connection_id = record_.id;
  return wire::encode_proxy_header(header);
}

}  // namespace sluice::egress
