#include "gateway/forwarded_call.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/clock.h"
#include "relay/http2_upstream.h"
#include "tls/stream.h"

namespace sluice::gateway {
namespace {

using serving::Refusal;

Refusal denied(std::string detail) {
  return {Reason::gateway_denied, std::move(detail)};
}

std::string_view last_segment(std::string_view uri) {
  return uri.substr(std::min(uri.rfind('/') + 1, uri.size()));
}

}  // namespace

ForwardedCall::ForwardedCall(const Exit& exit, serving::Worker& worker, serving::Upstreams& upstreams,
                             const settings::Listen& listen, net::Socket client)
    : Call(worker, exit.recorder, exit.settings.limits, std::move(client)),
      exit_(exit),
      upstreams_(upstreams),
      listen_(listen) {}

net::Task<void> ForwardedCall::serve() {
  std::vector<std::uint8_t> behind;
  auto refusal = meet_peer();
  if (!refusal && listen_.transport != settings::Transport::raw) refusal = co_await meet_agent(behind);
  if (!refusal) {
    if (const auto limit = claim(record_->source->address); !limit.empty()) {
      refusal = Refusal{Reason::overloaded, std::string(limit)};
    }
  }
  if (refusal) co_return co_await refuse(Sniffed::none, refusal->reason, refusal->detail);
  co_await serve_client(std::move(behind));
}

std::optional<Refusal> ForwardedCall::meet_peer() {
  peer_ = client_->socket().peer();
  record_->protocol = "tcp";
  record_->source = peer_;
  // The address that the pod dialled is not known yet, the port is what this listener stands for.
  record_->destination = Endpoint{IpAddress(), listen_.service_port};
  gateway_port_ = listen_.service_port;
  if (const auto limit = admit(); !limit.empty()) return Refusal{Reason::overloaded, std::string(limit)};
  if (listen_.transport != settings::Transport::raw || contains(listen_.unsigned_from, peer_.address)) {
    return std::nullopt;
  }
  return denied(fmt::format("{} is not in unsigned_from of this listener", peer_.address.to_string()));
}

net::Task<std::optional<Refusal>> ForwardedCall::meet_agent(std::vector<std::uint8_t>& behind) {
  boost::system::error_code error;
  record_->destination = net::to_endpoint(client_->socket().local_endpoint(error));
  if (listen_.transport == settings::Transport::tls) {
    auto refusal = co_await begin_transport();
    if (refusal) co_return refusal;
  }
  co_return co_await read_header(behind);
}

net::Task<std::optional<Refusal>> ForwardedCall::begin_transport() {
  auto& plain = client_->socket();
  net::Socket socket(plain.get_executor());
  std::swap(socket, plain);
  auto begun = co_await tls::accept(*exit_.tls, std::move(socket), limits_.first_bytes_timeout);
  if (const auto* error = std::get_if<tls::HandshakeError>(&begun)) co_return denied(error->message);
  auto stream = std::get<std::unique_ptr<tls::TlsStream>>(std::move(begun));
  peer_uris_ = stream->peer_uris();
  client_ = std::move(stream);
  if (was_cut()) co_return denied("ended during its TLS handshake");
  co_return std::nullopt;
}

net::Task<std::optional<Refusal>> ForwardedCall::read_header(std::vector<std::uint8_t>& behind) {
  // A connection that the gate steers here is open before the pod has sent anything, for which its agent gives it as
  // long as we do: the agent is to be the one who answers.
  const net::Deadline deadline(client_->socket(), 2 * limits_.first_bytes_timeout);
  for (;;) {
    auto more = net::try_append(*client_, behind);
    if (!more) more = co_await net::append_next(*client_, behind, wire::max_proxy_header_bytes);
    if (!*more) {
      co_return denied(deadline.expired() ? "the PROXY header took too long" : "ended within its PROXY header");
    }
    const auto parsed = wire::parse_proxy_header(behind);
    if (std::holds_alternative<wire::NeedMore>(parsed)) continue;
    if (const auto* bad = std::get_if<wire::Malformed>(&parsed)) {
      co_return denied("PROXY header: " + std::string(bad->what));
    }
    const auto* header = std::get_if<wire::ParsedProxyHeader>(&parsed);
    if (!header) co_return denied("no PROXY header");
    if (auto refusal = check_header(*header)) co_return refusal;
    behind.erase(behind.begin(), behind.begin() + static_cast<std::ptrdiff_t>(header->wire_bytes));
    co_return std::nullopt;
  }
}

std::optional<Refusal> ForwardedCall::check_header(const wire::ParsedProxyHeader& parsed) {
  const auto now_ms = static_cast<std::uint64_t>(wall_ns() / 1'000'000);
  auto checked = exit_.headers.check(parsed, peer_, listen_, now_ms);
  if (auto* refusal = std::get_if<HeaderRefusal>(&checked))
    return denied("PROXY header: " + std::move(refusal->detail));
  const auto& verified = std::get<VerifiedHeader>(checked);
  if (listen_.transport == settings::Transport::tls) {
    const bool same = std::any_of(peer_uris_.begin(), peer_uris_.end(),
                                  [&](const std::string& uri) { return last_segment(uri) == verified.node; });
    if (!same) {
      return denied(fmt::format("PROXY header: of node \"{}\", in a connection of {}", verified.node,
                                fmt::join(peer_uris_, ", ")));
    }
  }
  adopt_header(parsed.header, verified.identity_known());
  return std::nullopt;
}

void ForwardedCall::adopt_header(const wire::ProxyHeader& header, bool identity_known) {
  record_->source = header.source;
  record_->destination = header.destination;
  authority_ = header.authority;
  gateway_port_ = header.gateway_port;
  if (!identity_known) {
    // Anybody can write a header: which address a pod dialled is nothing to go by then.
    record_->destination->address = IpAddress();
    return;
  }
  if (!header.connection_id.empty()) record_->id = header.connection_id;
  record_->pod = observe::PodFacts{header.pod_namespace, header.pod_name, {}, header.service_account};
  pod_namespace_ = header.pod_namespace;
}

std::optional<Refusal> ForwardedCall::decide(Sniffed sniffed) {
  if (!authority_.empty() && authority_ != host_) {
    return Refusal{Reason::host_mismatch, "the agent judged " + authority_};
  }
  chosen_.reset();
  auto snapshot = worker_.snapshot();
  const auto verdict = judge(snapshot.get(), sniffed);
  if (!verdict.allowed()) return Refusal{verdict.reason, {}};
  const auto call = request(sniffed);
  auto chosen = choose_outgoing(*snapshot, snapshot->route(call, verdict, caller()), call, verdict,
                                exit_.settings.gateway.unrouted);
  if (auto* none = std::get_if<NoOutgoing>(&chosen)) return Refusal{Reason::no_gateway_route, std::move(none->detail)};
  auto& outgoing = std::get<Outgoing>(chosen);
  record_->route = outgoing.route;
  way_ = way_of(outgoing);
  chosen_ = std::make_unique<Chosen>(Chosen{std::move(snapshot), std::move(outgoing)});
  return std::nullopt;
}

std::string ForwardedCall::way_of(const Outgoing& outgoing) const {
  // A connection that speaks HTTP/2 cannot be upgraded.
  return outgoing.key() + (wants_upgrade_ && outgoing.origination() ? " upgrade" : "");
}

std::optional<std::string> ForwardedCall::find_way(const Snapshot& snapshot, const Request& request,
                                                   const Verdict& verdict) const {
  const auto chosen = choose_outgoing(snapshot, snapshot.route(request, verdict, caller()), request, verdict,
                                      exit_.settings.gateway.unrouted);
  const auto* outgoing = std::get_if<Outgoing>(&chosen);
  return outgoing ? std::optional(way_of(*outgoing)) : std::nullopt;
}

net::Task<std::optional<Refusal>> ForwardedCall::connect() {
  const auto chosen = std::move(chosen_);
  const auto& outgoing = chosen->outgoing;
  const serving::TargetQuery query{outgoing.service, outgoing.port, outgoing.host, *record_->destination, pick_, {},
                                   outgoing.subset};
  const auto timeout = outgoing.policy.connect_timeout_ms ? net::Milliseconds(*outgoing.policy.connect_timeout_ms)
                                                          : limits_.connect_timeout;
  auto dialled = co_await dial(upstreams_, query, timeout);
  if (auto* refusal = std::get_if<Refusal>(&dialled)) co_return std::move(*refusal);
  auto& [socket, endpoint] = std::get<net::Dialled>(dialled);
  record_->upstream = endpoint.to_string();
  if (outgoing.origination() != nullptr) co_return co_await begin_tls(outgoing, std::move(socket));
  upstream_ = std::make_unique<net::PlainStream>(std::move(socket));
  co_return std::nullopt;
}

net::Task<std::optional<Refusal>> ForwardedCall::begin_tls(const Outgoing& outgoing, net::Socket socket) {
  auto tls = *outgoing.origination();
  if (tls.subject_alt_names.empty()) tls.subject_alt_names = outgoing.service->subject_alt_names;
  const auto failed = [&](const std::string& why) { return Refusal{Reason::upstream_refused, why}; };
  const auto context = exit_.originations.get(tls);
  if (!context) co_return failed(context.error().message());
  const bool http = !host_.empty();
  std::vector<std::string> alpn;
  if (http && !wants_upgrade_) alpn.emplace_back("h2");
  if (http) alpn.emplace_back("http/1.1");
  const auto& name = tls.sni.empty() ? (http ? host_ : outgoing.host) : tls.sni;
  tls::ConnectOptions options{name, std::move(alpn)};
  auto begun = co_await tls::connect(**context, std::move(socket), std::move(options), limits_.connect_timeout);
  if (const auto* error = std::get_if<tls::HandshakeError>(&begun)) {
    co_return error->timed_out ? Refusal{Reason::upstream_timeout, error->message} : failed(error->message);
  }
  auto stream = std::get<std::unique_ptr<tls::TlsStream>>(std::move(begun));
  const bool speaks_h2 = stream->alpn() == "h2";
  upstream_ = std::move(stream);
  if (speaks_h2) upstream_ = std::make_unique<relay::Http2Upstream>(std::move(upstream_));
  co_return std::nullopt;
}

}  // namespace sluice::gateway
