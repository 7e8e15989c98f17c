#include "egress/outbound_call.h"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

#include "base/clock.h"
#include "egress/audit_mode.h"
#include "identity/process.h"
#include "serving/facts.h"
#include "tls/stream.h"

namespace sluice::egress {
namespace {

using serving::Refusal;

constexpr std::size_t max_gateway_dials = 3;  // for one call
constexpr std::chrono::milliseconds identity_look_gap{20};

// Tells ways apart that must not share a connection.
std::string key_of(const Way& way) {
  const auto* by_gateway = std::get_if<ByGateway>(&way);
  return by_gateway ? fmt::format("{}:{}", by_gateway->gateway, by_gateway->port) : "direct";
}

}  // namespace

OutboundCall::OutboundCall(const Node& node, serving::Worker& worker, serving::Upstreams& upstreams, net::Socket client)
    : Call(worker, node.recorder, node.settings.limits, std::move(client)), node_(node), upstreams_(upstreams) {}

net::Task<void> OutboundCall::serve(const std::shared_ptr<const identity::PodTable>& pods) {
  const bool whole = note_ends();
  if (whole) identify(pods);
  auto limit = admit();
  if (limit.empty()) limit = claim(record_->source->address);
  if (!limit.empty()) co_return co_await refuse(Sniffed::none, Reason::overloaded, limit);
  if (whole && !pods_) co_await wait_for_identity(pods);
  if (!pods_) co_return co_await refuse(Sniffed::none, Reason::pod_unknown, "no pod has this address");
  co_await serve_client({});
}

net::Task<void> OutboundCall::wait_for_identity(const std::shared_ptr<const identity::PodTable>& pods) {
  const auto until_ns = monotonic_ns() + pod_wait_ns(node_.settings);
  boost::asio::steady_timer timer(worker_.context());
  while (!was_cut() && !identify(pods) && monotonic_ns() < until_ns) {
    timer.expires_after(identity_look_gap);
    co_await timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
  }
}

bool OutboundCall::note_ends() {
  boost::system::error_code error;
  record_->protocol = "tcp";
  record_->source = client_->socket().peer();
  // The listener is transparent: our end of the connection has the address that the pod dialled.
  record_->destination = net::to_endpoint(client_->socket().local_endpoint(error));
  if (error || record_->source->address.is_unspecified()) return false;
  record_->process =
      serving::process_facts(identity::take_process(node_.kernel, *record_->source, *record_->destination));
  return true;
}

bool OutboundCall::identify(const std::shared_ptr<const identity::PodTable>& pods) {
  const auto* pod = pods ? pods->by_address(record_->source->address) : nullptr;
  if (!pod) return false;
  pods_ = pods;
  pod_namespace_ = pod->namespace_name;
  pod_labels_ = &pod->labels;
  record_->pod = serving::pod_facts(*pod);
  audit_only_ = is_audited(node_.settings.egress, pod_namespace_);
  return true;
}

net::Task<void> OutboundCall::serve_unreadable(relay::Unreadable unreadable) {
  if (!audit_only_) co_return co_await Call::serve_unreadable(std::move(unreadable));
  unreadable_ = unreadable.reason;
  co_await serve_stream(unreadable.sniffed, std::move(unreadable.bytes));
}

std::optional<Refusal> OutboundCall::decide(Sniffed sniffed) {
  reason_ = Reason::registered;
  decision_ = observe::Decision::allow;
  let_go_ = false;
  auto refusal = unreadable_ ? Refusal{*unreadable_, {}} : judge_and_route(sniffed);
  way_ = refusal ? "" : key_of(chosen_);
  if (!refusal || !audit_only_) return refusal;
  let_go(refusal->reason);
  return std::nullopt;
}

std::optional<Refusal> OutboundCall::judge_and_route(Sniffed sniffed) {
  snapshot_ = worker_.snapshot();
  verdict_ = judge(snapshot_.get(), sniffed);
  if (!verdict_.allowed()) return Refusal{verdict_.reason, {}};
  if (auto refused = refuse_ech(record_->ech, node_.settings.egress)) return refused;
  chosen_ = egress::find_way(*snapshot_, request(sniffed), verdict_, caller(), node_.settings.egress);
  if (const auto* none = std::get_if<NoWay>(&chosen_)) return Refusal{Reason::no_gateway_route, none->detail};
  if (const auto* by_gateway = std::get_if<ByGateway>(&chosen_)) {
    record_->route = by_gateway->route;
  } else {
    record_->route = std::get<Direct>(chosen_).route;
    reason_ = Reason::direct;
  }
  return std::nullopt;
}

void OutboundCall::let_go(Reason would_deny) {
  let_go_ = true;
  reason_ = would_deny;
  decision_ = observe::Decision::would_deny;
  record_->route = "direct";
  way_ = "let go";
}

std::optional<std::string> OutboundCall::find_way(const Snapshot& snapshot, const Request& request,
                                                  const Verdict& verdict) const {
  const auto way = egress::find_way(snapshot, request, verdict, caller(), node_.settings.egress);
  return std::holds_alternative<NoWay>(way) ? std::nullopt : std::optional(key_of(way));
}

bool OutboundCall::still_allowed(const Snapshot& snapshot) const {
  return audit_only_ || Call::still_allowed(snapshot);
}

net::Task<std::optional<Refusal>> OutboundCall::connect() {
  preamble_.clear();
  if (let_go_) co_return co_await connect_original();
  if (const auto* by_gateway = std::get_if<ByGateway>(&chosen_)) co_return co_await connect_gateway(*by_gateway);
  co_return co_await connect_direct();
}

net::Task<std::optional<Refusal>> OutboundCall::connect_gateway(ByGateway way) {
  const auto& gateway = node_.settings.egress.gateways[way.gateway];
  Refusal last{Reason::gateway_unreachable, "no address"};
  std::size_t dials = 0;
  for (const auto index : node_.gateways.order(way.gateway, monotonic_ns())) {
    if (dials++ == max_gateway_dials) break;
    auto endpoint = gateway.addresses[index];
    if (endpoint.port == 0) endpoint.port = way.port;
    record_->gateway = endpoint.to_string();
    auto dialled = co_await net::dial(endpoint, limits_.connect_timeout);
    std::optional<Refusal> failed;
    if (const auto* error = std::get_if<net::DialError>(&dialled)) {
      failed = Refusal{Reason::gateway_unreachable, "gateway " + error->message};
    } else {
      failed = co_await begin_transport(gateway, std::get<net::Socket>(std::move(dialled)));
    }
    if (!failed) {
      node_.gateways.succeeded(way.gateway, index);
      if (gateway.transport != settings::Transport::raw) preamble_ = header_for(gateway, way.port);
      co_return std::nullopt;
    }
    node_.gateways.failed(way.gateway, index, monotonic_ns());
    last = std::move(*failed);
  }
  co_return last;
}

net::Task<std::optional<Refusal>> OutboundCall::begin_transport(const settings::GatewayTarget& gateway,
                                                                net::Socket socket) {
  if (gateway.transport != settings::Transport::tls) {
    upstream_ = std::make_unique<net::PlainStream>(std::move(socket));
    co_return std::nullopt;
  }
  tls::ConnectOptions options{gateway.name, {}};
  auto begun = co_await tls::connect(*node_.tls, std::move(socket), std::move(options), limits_.connect_timeout);
  if (const auto* error = std::get_if<tls::HandshakeError>(&begun)) {
    co_return Refusal{Reason::gateway_unreachable, "gateway " + record_->gateway + ": " + error->message};
  }
  upstream_ = std::get<std::unique_ptr<tls::TlsStream>>(std::move(begun));
  co_return std::nullopt;
}

net::Task<std::optional<Refusal>> OutboundCall::connect_direct() {
  const serving::TargetQuery query{verdict_.service, verdict_.port, host_, *record_->destination, pick_, {}, nullptr};
  auto dialled = co_await dial(upstreams_, query, limits_.connect_timeout);
  if (auto* refusal = std::get_if<Refusal>(&dialled)) co_return std::move(*refusal);
  auto& [socket, endpoint] = std::get<net::Dialled>(dialled);
  record_->upstream = endpoint.to_string();
  upstream_ = std::make_unique<net::PlainStream>(std::move(socket));
  co_return std::nullopt;
}

net::Task<std::optional<Refusal>> OutboundCall::connect_original() {
  auto dialled = co_await net::dial(*record_->destination, limits_.connect_timeout);
  if (const auto* failed = std::get_if<net::DialError>(&dialled)) {
    co_return Refusal{failed->kind == net::DialFailure::timeout ? Reason::upstream_timeout : Reason::upstream_refused,
                      failed->message};
  }
  record_->upstream = record_->destination->to_string();
  upstream_ = std::make_unique<net::PlainStream>(std::get<net::Socket>(std::move(dialled)));
  co_return std::nullopt;
}

std::vector<std::uint8_t> OutboundCall::header_for(const settings::GatewayTarget& gateway, std::uint16_t port) {
  boost::system::error_code error;
  const auto local = upstream_->socket().local_endpoint(error);
  // Gone already: the first write says so.
  const auto hop_source = error ? std::nullopt : std::optional(net::to_endpoint(local));
  return make_header(node_, *record_, host_, gateway, port, hop_source);
}

}  // namespace sluice::egress
