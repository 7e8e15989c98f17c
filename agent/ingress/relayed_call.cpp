#include "ingress/relayed_call.h"

#include <fmt/format.h>

#include <utility>

#include "ingress/desk.h"
#include "tls/stream.h"

namespace sluice::ingress {
namespace {

using serving::Refusal;

// Rule and destinations of a way: another one is another way.
std::string describe(const IngressConnectionRoute& route) {
  std::string text(route.name);
  for (const auto& destination : route.rule->destinations) {
    text += fmt::format(" {}:{} {}", destination.host, destination.port, destination.subset);
  }
  return text;
}

}  // namespace

RelayedCall::RelayedCall(Desk& desk, std::shared_ptr<const Plan> plan, const IngressListener& listener,
                         const IngressServer& server, std::string sni, net::Socket client)
    : Call(desk.worker(), desk.house().recorder, desk.settings().limits, std::move(client)),
      desk_(desk),
      plan_(std::move(plan)),
      listener_(listener),
      server_(server) {
  const bool is_tls = server.content == IngressServer::Content::passthrough;
  record_->source = client_->socket().peer();
  record_->destination = Endpoint{IpAddress(), listener.port};
  record_->protocol = is_tls ? "tls" : "tcp";
  record_->sni = sni;
  record_->gateway = server.name;
  host_ = std::move(sni);
  gateway_port_ = listener.port;
}

net::Task<void> RelayedCall::serve() {
  const auto sniffed = server_.content == IngressServer::Content::passthrough ? Sniffed::tls : Sniffed::opaque;
  auto limit = admit();
  if (limit.empty()) limit = claim(record_->source->address);
  if (!limit.empty()) co_return co_await refuse(sniffed, Reason::overloaded, limit);
  auto refusal = co_await end_tls();
  if (refusal) co_return co_await refuse(Sniffed::none, refusal->reason, refusal->detail);
  co_await serve_unread(sniffed);
}

// Where it ends here.
net::Task<std::optional<Refusal>> RelayedCall::end_tls() {
  const auto& context = plan_->contexts[server_.number];
  if (!context) co_return std::nullopt;
  net::Socket socket(client_->socket().get_executor());
  std::swap(socket, client_->socket());
  auto begun = co_await tls::accept(*context, std::move(socket), limits_.first_bytes_timeout);
  if (const auto* error = std::get_if<tls::HandshakeError>(&begun)) {
    co_return Refusal{Reason::hello_malformed, error->message};
  }
  client_ = std::get<std::unique_ptr<tls::TlsStream>>(std::move(begun));
  if (was_cut()) co_return Refusal{Reason::draining, "ended during its TLS handshake"};
  co_return std::nullopt;
}

std::optional<Refusal> RelayedCall::decide(Sniffed) {
  const auto route = plan_->routes->route_connection(server_, host_);
  if (route.kind != IngressConnectionRoute::Kind::forward) {
    const bool unbound = route.kind == IngressConnectionRoute::Kind::no_virtual_service;
    return Refusal{Reason::no_gateway_route, unbound ? "no_virtual_service" : "no_route"};
  }
  record_->gateway = server_.name;
  record_->rule = route.name;
  way_ = describe(route);
  const auto* destination = choose_destination(route.rule->destinations, pick_);
  if (destination == nullptr) return Refusal{Reason::no_gateway_route, "every destination has weight 0"};
  auto target = desk_.find_target(*plan_, *destination, listener_.port);
  if (!target) {
    return Refusal{Reason::no_gateway_route, fmt::format("no service {} with that port or subset", destination->host)};
  }
  record_->route = destination->host;
  target_ = std::make_unique<Target>(std::move(*target));
  return std::nullopt;
}

net::Task<std::optional<Refusal>> RelayedCall::connect() {
  const auto target = std::move(target_);
  const serving::TargetQuery query{target->service, target->port, target->host, {}, pick_, {}, target->subset};
  const auto timeout = target->policy.connect_timeout_ms ? net::Milliseconds(*target->policy.connect_timeout_ms)
                                                         : limits_.connect_timeout;
  if (const auto idle = target->policy.idle_timeout_ms.value_or(0)) idle_timeout_ = net::Milliseconds(idle);
  auto dialled = co_await dial(desk_.upstreams(), query, timeout);
  if (auto* refusal = std::get_if<Refusal>(&dialled)) co_return std::move(*refusal);
  auto& [socket, endpoint] = std::get<net::Dialled>(dialled);
  record_->upstream = endpoint.to_string();
  upstream_ = std::make_unique<net::PlainStream>(std::move(socket));
  co_return std::nullopt;
}

bool RelayedCall::still_allowed(const Snapshot& snapshot) const {
  if (way_.empty()) return true;
  const auto* routes = snapshot.ingress();
  for (const auto& listener : routes->listeners()) {
    if (listener.port != listener_.port || listener.bind != listener_.bind) continue;
    const auto* server =
        listener.kind == IngressListener::Kind::tcp ? listener.servers.data() : routes->find_server(listener, host_);
    if (server == nullptr || server->content != server_.content) return false;
    const auto route = routes->route_connection(*server, host_);
    return route.kind == IngressConnectionRoute::Kind::forward && describe(route) == way_;
  }
  return false;
}

}  // namespace sluice::ingress
