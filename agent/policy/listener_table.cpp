#include "policy/listener_table.h"

#include <fmt/format.h>

namespace sluice {
namespace {

using Content = IngressServer::Content;
using ListenerKind = IngressListener::Kind;

bool is_plain_tcp(ServerProtocol protocol) {
  return protocol == ServerProtocol::tcp || protocol == ServerProtocol::mongo;
}

ListenerKind kind_of(const GatewayServer& server) {
  if (server.tls) return ListenerKind::tls;
  return is_plain_tcp(server.protocol) ? ListenerKind::tcp : ListenerKind::http;
}

constexpr std::string_view name_of(ListenerKind kind) {
  return kind == ListenerKind::tls ? "TLS" : kind == ListenerKind::http ? "plain HTTP" : "TCP";
}

}  // namespace

IngressServer::Content content_of(const GatewayServer& server) {
  if (!server.tls) return is_plain_tcp(server.protocol) ? Content::tcp : Content::http;
  if (!server.tls->ends_here()) return Content::passthrough;
  return server.protocol == ServerProtocol::https ? Content::http : Content::tcp;
}

std::string ListenerTable::add(const IngressServer& server) {
  const auto& settings = *server.server;
  const auto mode = settings.tls_mode();
  if (mode == ServerTlsMode::auto_passthrough || mode == ServerTlsMode::istio_mutual)
    return "its TLS mode is between proxies of a mesh";
  const auto kind = kind_of(settings);
  const std::pair place(settings.port, std::string_view(settings.bind));
  const auto found = listeners_.find(place);
  if (found == listeners_.end()) {
    listeners_.emplace(place, IngressListener{kind, settings.bind, settings.port, {server}, 0});
    if (kind == ListenerKind::tls) take_hosts(place, server);
    return "";
  }
  auto& listener = found->second;
  if (listener.kind != kind || kind == ListenerKind::tcp) {
    return fmt::format("port {} is taken for {} by {}", settings.port, name_of(listener.kind),
                       listener.servers.front().name);
  }
  if (kind == ListenerKind::tls) {
    for (const auto& host : settings.hosts) {
      const auto taken = hosts_.find({place, host.host});
      if (taken != hosts_.end()) return fmt::format("{} has {} at port {}", taken->second, host.host, settings.port);
    }
    take_hosts(place, server);
  }
  listener.servers.push_back(server);
  return "";
}

std::vector<IngressListener> ListenerTable::take() {
  std::vector<IngressListener> all;
  for (auto& [place, listener] : listeners_) {
    listener.number = static_cast<std::uint32_t>(all.size());
    all.push_back(std::move(listener));
  }
  return all;
}

void ListenerTable::take_hosts(const Place& place, const IngressServer& server) {
  for (const auto& host : server.server->hosts) hosts_.try_emplace({place, host.host}, server.name);
}

}  // namespace sluice
