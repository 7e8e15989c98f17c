#include "resources/gateway.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "resources/fields.h"
#include "resources/names.h"
#include "resources/server_tls.h"

namespace sluice::resources {
namespace {

constexpr std::size_t max_servers = 1024;

constexpr std::pair<std::string_view, ServerProtocol> protocols[] = {
    {"http", ServerProtocol::http},         {"https", ServerProtocol::https}, {"grpc", ServerProtocol::grpc},
    {"grpc-web", ServerProtocol::grpc_web}, {"http2", ServerProtocol::http2}, {"mongo", ServerProtocol::mongo},
    {"tcp", ServerProtocol::tcp},           {"tls", ServerProtocol::tls}};

void read_protocol(yaml::Reader& reader, GatewayServer& server) {
  const auto value = reader.find("protocol");
  const auto text = value ? value->text() : std::nullopt;
  if (!value) return reader.fault("protocol", "is required, like HTTPS");
  if (!text) return;
  const auto name = normalise_name(*text);
  for (const auto& [known, protocol] : protocols) {
    if (known != name) continue;
    server.protocol = protocol;
    return;
  }
  value->fault("expected one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS; found " + value->shown());
}

// A socket of one machine has no port; everything else has.
void read_port(yaml::Reader reader, bool is_unix, GatewayServer& server) {
  if (!reader.present()) return reader.fault("number", "is required: the port that the gateway listens on");
  if (const auto number = reader.find("number")) {
    const auto value = number->integer(is_unix ? 0 : 1, is_unix ? 0 : 65535);
    server.port = static_cast<std::uint16_t>(value.value_or(0));
  } else if (!is_unix) {
    reader.fault("number", "is required: the port that the gateway listens on");
  }
  reader.read("name", server.port_name);
  if (server.port_name.empty()) reader.fault("name", "is required: a name of the port's own, like \"https\"");
  read_protocol(reader, server);
  if (reader.find("targetPort")) reader.fault("targetPort", "is not taken by a Gateway: remove it");
  reader.finish();
}

void read_bind(yaml::Reader& reader, GatewayServer& server) {
  const auto value = reader.find("bind");
  const auto text = value ? value->text() : std::nullopt;
  if (!text || text->empty()) return;
  const auto address = IpAddress::parse(*text);
  if (!address && !text->starts_with("unix://")) {
    value->fault("expected an IP address, found " + value->shown());
    return;
  }
  server.bind = address ? address->to_string() : *text;
}

std::optional<ServerHost> parse_host(std::string_view text, const std::string& own_namespace) {
  const auto slash = text.find('/');
  ServerHost host;
  host.namespace_name = slash == text.npos ? "*" : std::string(text.substr(0, slash));
  if (host.namespace_name == ".") host.namespace_name = own_namespace;
  host.host = normalise_name(slash == text.npos ? text : text.substr(slash + 1));
  if (host.namespace_name != "*" && !is_namespace(host.namespace_name)) return std::nullopt;
  if (!is_wildcard_dns_name(host.host)) return std::nullopt;
  return host;
}

void read_hosts(yaml::Reader& reader, const std::string& own_namespace, GatewayServer& server) {
  const auto items = reader.list("hosts", max_list_items);
  for (const auto& item : items) {
    const auto text = item.text();
    if (!text) continue;
    if (auto host = parse_host(*text, own_namespace)) {
      server.hosts.push_back(*std::move(host));
    } else {
      item.fault(
          "expected \"host\" or \"namespace/host\", the host a DNS name with \"*\" at most as its first label, "
          "found " +
          item.shown());
    }
  }
  if (items.empty()) reader.fault("hosts", "is required: at least one, \"*\" for any");
}

GatewayServer read_server(const yaml::Value& value, const std::string& own_namespace, Findings& findings) {
  GatewayServer server;
  yaml::Reader reader(value);
  if (!reader.present()) return server;
  read_bind(reader, server);
  read_port(reader.section("port"), server.bind.starts_with("unix://"), server);
  read_hosts(reader, own_namespace, server);
  read_server_tls(reader.section("tls"), server, findings);
  reader.read("name", server.name);
  std::string unused;
  reader.read("defaultEndpoint", unused);
  reader.finish();
  return server;
}

}  // namespace

Gateway read_gateway(yaml::Reader spec, ObjectName object, Findings& findings) {
  Gateway gateway;
  gateway.object = std::move(object);
  gateway.selector = read_labels(spec.section("selector"));
  std::set<std::string> port_names;
  std::set<std::string> names;
  for (const auto& item : spec.list("servers", max_servers)) {
    auto server = read_server(item, gateway.object.namespace_name, findings);
    if (!server.port_name.empty() && !port_names.insert(server.port_name).second) {
      item.fault("port name " + yaml::quote(server.port_name) + " is there already: give it another");
    }
    if (!server.name.empty() && !names.insert(server.name).second) {
      item.fault("server name " + yaml::quote(server.name) + " is there already: give it another");
    }
    gateway.servers.push_back(std::move(server));
  }
  if (gateway.servers.empty()) spec.fault("servers", "is required: at least one");
  spec.finish();
  return gateway;
}

}  // namespace sluice::resources
