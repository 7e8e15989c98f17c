#include "gateway/forwarded_call.h"

#include "base/clock.h"

namespace sluice::gateway {
namespace {

constexpr std::size_t max_dials = 4;  // addresses tried for one call

Reason reason_of(net::DialFailure failure) {
  return failure == net::DialFailure::timeout ? Reason::upstream_timeout : Reason::upstream_refused;
}

}  // namespace

ForwardedCall::ForwardedCall(const Exit& exit, serving::Worker& worker, net::Resolver& resolver,
                             const settings::Listen& listen, net::Tcp::socket client)
    : Call(worker, exit.recorder, exit.settings.limits, std::move(client)),
      exit_(exit),
      resolver_(resolver),
      listen_(listen) {}

net::Task<void> ForwardedCall::serve() {
  auto header = co_await read_header();
  if (const auto* refusal = std::get_if<Refusal>(&header)) {
    co_return co_await refuse(Sniffed::none, refusal->reason, refusal->detail);
  }
  if (!admit(record_.source->address)) {
    co_return co_await refuse(Sniffed::none, Reason::overloaded, "too many connections");
  }
  const auto snapshot = worker_.snapshot();
  if (!snapshot) co_return co_await refuse(Sniffed::none, Reason::policy_not_ready, "no policy was read yet");
  auto behind = std::get<std::vector<std::uint8_t>>(std::move(header));
  const auto& destination = *record_.destination;
  if (snapshot->inspect(pod_namespace_, destination.address, destination.port) != Inspection::sniff) {
    co_return co_await serve_bytes(Sniffed::none, std::move(behind));
  }
  auto read = co_await relay::read_first_bytes(*client_, std::move(behind), limits_.first_bytes_timeout);
  if (const auto* bad = std::get_if<relay::Unreadable>(&read)) {
    co_return co_await refuse(bad->sniffed, bad->reason, bad->detail);
  }
  auto first = std::get<relay::FirstBytes>(std::move(read));
  note(first);
  if (first.sniffed != Sniffed::http) co_return co_await serve_bytes(first.sniffed, std::move(first.bytes));
  const relay::HttpLimits limits{limits_.first_bytes_timeout, limits_.http_idle_timeout, limits_.idle_timeout};
  record_closed(co_await relay::relay_http(*client_, std::move(first), *this, limits, worker_.pipes(), totals_));
}

net::Task<std::variant<std::vector<std::uint8_t>, ForwardedCall::Refusal>> ForwardedCall::read_header() {
  boost::system::error_code error;
  record_.protocol = "tcp";
  record_.source = net::to_endpoint(client_->socket().remote_endpoint(error));
  record_.destination = net::to_endpoint(client_->socket().local_endpoint(error));
  std::vector<std::uint8_t> bytes;
  if (listen_.transport == settings::Transport::raw) {
    // The address that the pod dialled is not known, the port is what this listener stands for.
    record_.destination = Endpoint{IpAddress(), listen_.service_port};
    co_return bytes;
  }
  const net::Deadline deadline(client_->socket(), limits_.first_bytes_timeout);
  for (;;) {
    const auto before = bytes.size();
    bytes.resize(before + wire::max_proxy_header_bytes);
    const auto got = co_await client_->read_some(std::span(bytes).subspan(before));
    const auto* size = std::get_if<std::size_t>(&got);
    bytes.resize(before + (size ? *size : 0));
    if (!size || *size == 0) {
      co_return Refusal{Reason::gateway_denied,
                        deadline.expired() ? "the PROXY header took too long" : "ended within its PROXY header"};
    }
    auto parsed = wire::parse_proxy_header(bytes);
    if (std::holds_alternative<wire::NeedMore>(parsed)) continue;
    if (const auto* bad = std::get_if<wire::Malformed>(&parsed)) {
      co_return Refusal{Reason::gateway_denied, "PROXY header: " + std::string(bad->what)};
    }
    const auto* header = std::get_if<wire::ParsedProxyHeader>(&parsed);
    if (!header) co_return Refusal{Reason::gateway_denied, "no PROXY header"};
    adopt_header(header->header);
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(header->wire_bytes));
    co_return bytes;
  }
}

void ForwardedCall::adopt_header(const wire::ProxyHeader& header) {
  record_.source = header.source;
  record_.destination = header.destination;
  if (!header.connection_id.empty()) record_.id = header.connection_id;
  if (!header.pod_name.empty()) {
    record_.pod = observe::PodFacts{header.pod_namespace, header.pod_name, {}, header.service_account};
  }
  pod_namespace_ = header.pod_namespace;
  authority_ = header.authority;
}

net::Task<void> ForwardedCall::serve_bytes(Sniffed sniffed, std::vector<std::uint8_t> bytes) {
  if (const auto refusal = co_await decide_and_connect(sniffed)) {
    co_return co_await refuse(sniffed, refusal->reason, refusal->detail);
  }
  const bool sent = co_await upstream_->write_all(bytes);
  if (!sent) {
    client_->reset();
    co_return record_closed(relay::End::upstream_reset);
  }
  totals_.sent += bytes.size();
  co_await run_tunnel();
}

net::Task<std::variant<net::Stream*, relay::HttpDenial>> ForwardedCall::route(const wire::RequestHead& head) {
  note(head);
  if (upstream_ && (upstream_host_ != host_ || !upstream_->is_quiet())) upstream_.reset();
  if (upstream_) {
    Verdict verdict;
    if (!decide(Sniffed::http, verdict) && record_allowed(verdict.reason, observe::Decision::allow)) {
      co_return upstream_.get();
    }
    upstream_.reset();
  }
  if (const auto refusal = co_await decide_and_connect(Sniffed::http)) {
    record_denied(refusal->reason, refusal->detail);
    co_return relay::HttpDenial{refusal->reason, refusal->detail};
  }
  upstream_host_ = host_;
  co_return upstream_.get();
}

void ForwardedCall::refuse_unreadable(const relay::Unreadable& unreadable) {
  record_denied(unreadable.reason, unreadable.detail);
}

std::optional<ForwardedCall::Refusal> ForwardedCall::decide(Sniffed sniffed, Verdict& verdict) {
  if (!authority_.empty() && authority_ != host_) {
    return Refusal{Reason::host_mismatch, "the agent judged " + authority_};
  }
  const auto snapshot = worker_.snapshot();
  verdict = judge(snapshot.get(), sniffed);
  if (!verdict.allowed()) return Refusal{verdict.reason, {}};
  return std::nullopt;
}

net::Task<std::optional<ForwardedCall::Refusal>> ForwardedCall::decide_and_connect(Sniffed sniffed) {
  const auto snapshot = worker_.snapshot();  // keeps what the verdict points to
  Verdict verdict;
  if (const auto refusal = decide(sniffed, verdict)) co_return refusal;
  if (const auto refusal = co_await connect(verdict)) co_return refusal;
  if (!record_allowed(verdict.reason, observe::Decision::allow)) {
    co_return Refusal{Reason::audit_unavailable, "the audit log cannot be written"};
  }
  co_return std::nullopt;
}

net::Task<std::optional<ForwardedCall::Refusal>> ForwardedCall::connect(const Verdict& verdict) {
  Refusal last{Reason::upstream_refused, "the service has no address to dial: give it endpoints or a resolution"};
  std::size_t dials = 0;
  for (const auto& target : plan_targets(verdict, host_, *record_.destination, monotonic_ns())) {
    if (dials == max_dials) break;
    const auto resolved = co_await addresses_of(target, *verdict.service);
    if (const auto* refusal = std::get_if<Refusal>(&resolved)) {
      last = *refusal;
      continue;
    }
    for (const auto& endpoint : std::get<std::vector<Endpoint>>(resolved)) {
      if (dials++ == max_dials) break;
      auto dialled = co_await net::dial(endpoint, limits_.connect_timeout);
      if (auto* socket = std::get_if<net::Tcp::socket>(&dialled)) {
        upstream_ = std::make_unique<net::PlainStream>(std::move(*socket));
        record_.upstream = endpoint.to_string();
        co_return std::nullopt;
      }
      const auto& failed = std::get<net::DialError>(dialled);
      last = {reason_of(failed.kind), failed.message};
    }
  }
  co_return last;
}

net::Task<std::variant<std::vector<Endpoint>, ForwardedCall::Refusal>> ForwardedCall::addresses_of(
    const Target& target, const Service& service) {
  // What resources name by address is their author's word; what DNS answers is not.
  if (target.address) co_return std::vector<Endpoint>{{*target.address, target.port}};
  const auto resolved = co_await resolver_.resolve(target.name);
  if (!resolved) co_return Refusal{Reason::dns_failure, resolved.error().message()};
  std::vector<Endpoint> endpoints;
  Refusal refusal{Reason::dns_failure, target.name + ": no address"};
  for (const auto& address : *resolved) {
    if (const auto why = forbidden(address, service, exit_.settings.gateway)) {
      refusal = {Reason::address_forbidden, target.name + " is " + address.to_string() + ": " + *why};
      continue;
    }
    endpoints.push_back({address, target.port});
  }
  if (endpoints.empty()) co_return refusal;
  co_return endpoints;
}

}  // namespace sluice::gateway
