#include "kube/service.h"

#include <algorithm>
#include <array>
#include <optional>

#include "kube/base64.h"
#include "kube/fields.h"

namespace sluice::kube {
namespace {

namespace json = boost::json;

constexpr std::string_view service_label = "kubernetes.io/service-name";
constexpr std::string_view no_name = "port";  // of the only port of a Service

std::optional<std::uint16_t> find_port(const json::object& object, std::string_view key) {
  const auto number = find_count(object, key);
  return number >= 1 && number <= 65535 ? std::optional(static_cast<std::uint16_t>(number)) : std::nullopt;
}

std::string find_name(const json::object& port) {
  auto name = find_text(port, "name");
  return name.empty() ? std::string(no_name) : name;
}

bool is_tcp(const json::object& port) {
  const auto protocol = find_text(port, "protocol");
  return protocol.empty() || protocol == "TCP";
}

// No word is the server's promise to be ready.
bool is_ready(const json::object& endpoint) {
  const auto* conditions = find_object(endpoint, "conditions");
  const auto* ready = conditions != nullptr ? conditions->if_contains("ready") : nullptr;
  const auto* said = ready != nullptr ? ready->if_bool() : nullptr;
  return said == nullptr || *said;
}

// An endpoint may be in several slices, and a slice be about some of the ports.
void add_slice(Service& service, const Slice& slice) {
  for (const auto& address : slice.addresses) {
    auto found = std::find_if(service.endpoints.begin(), service.endpoints.end(),
                              [&](const ServiceEndpoint& endpoint) { return endpoint.address == address; });
    if (found == service.endpoints.end()) {
      found = service.endpoints.emplace(service.endpoints.end());
      found->address = address;
    }
    for (const auto& port : slice.ports) {
      if (std::find(found->ports.begin(), found->ports.end(), port) == found->ports.end()) found->ports.push_back(port);
    }
  }
}

}  // namespace

void trim_service(json::object& content) {
  keep(content, "metadata", {});
  keep(content, "spec", {"type", "ports"});
  content.erase("status");
}

void trim_slice(json::object& content) {
  keep(content, "metadata", {"labels"});
}

void trim_secret(json::object& content) {
  keep(content, "metadata", {});
}

std::vector<ServicePort> read_service(const Object& object) {
  std::vector<ServicePort> ports;
  const auto& spec = part_of(object.content, "spec");
  const auto* all = find_array(spec, "ports");
  if (all == nullptr || find_text(spec, "type") == "ExternalName") return ports;
  for (const auto& each : *all) {
    const auto* port = each.if_object();
    if (port == nullptr || !is_tcp(*port)) continue;
    const auto number = find_port(*port, "port");
    if (!number) continue;
    auto name = find_name(*port);
    const auto protocol = protocol_of(find_text(*port, "appProtocol"), name);
    ports.push_back({*number, *number, protocol, std::move(name)});
  }
  return ports;
}

Slice read_slice(const Object& object) {
  Slice slice;
  const auto labels = find_texts(part_of(object.content, "metadata"), "labels");
  if (const auto label = labels.find(std::string(service_label)); label != labels.end()) slice.service = label->second;
  if (const auto* ports = find_array(object.content, "ports")) {
    for (const auto& each : *ports) {
      const auto* port = each.if_object();
      const auto number = port != nullptr && is_tcp(*port) ? find_port(*port, "port") : std::nullopt;
      if (number) slice.ports.emplace_back(find_name(*port), *number);
    }
  }
  const auto* endpoints = find_array(object.content, "endpoints");
  if (endpoints == nullptr || find_text(object.content, "addressType") == "FQDN") return slice;
  for (const auto& each : *endpoints) {
    const auto* endpoint = each.if_object();
    if (endpoint == nullptr || !is_ready(*endpoint)) continue;
    const auto* addresses = find_array(*endpoint, "addresses");
    if (addresses == nullptr) continue;
    for (const auto& one : *addresses) {
      const auto* text = one.if_string();
      const auto address = text != nullptr ? IpAddress::parse(*text) : std::nullopt;
      if (address && !address->is_unspecified()) slice.addresses.push_back(address->to_string());
    }
  }
  return slice;
}

std::map<std::string, std::string> read_secret(const Object& object) {
  std::map<std::string, std::string> keys;
  for (const auto& [name, text] : find_texts(object.content, "data")) {
    if (auto bytes = decode_base64(text)) keys.emplace(name, *std::move(bytes));
  }
  return keys;
}

Protocol protocol_of(std::string_view app_protocol, std::string_view port_name) {
  static constexpr std::array<std::pair<std::string_view, Protocol>, 13> words = {
      {{"http", Protocol::http},
       {"http2", Protocol::http2},
       {"h2c", Protocol::http2},
       {"kubernetes.io/h2c", Protocol::http2},
       {"grpc", Protocol::grpc},
       {"https", Protocol::https},
       {"tls", Protocol::tls},
       {"tcp", Protocol::tcp},
       {"mongo", Protocol::mongo},
       {"mysql", Protocol::tcp},
       {"redis", Protocol::tcp},
       {"postgres", Protocol::tcp},
       {"postgresql", Protocol::tcp}}};
  for (const auto word : {app_protocol, port_name.substr(0, port_name.find('-'))}) {
    const auto* found =
        std::find_if(words.begin(), words.end(), [&](const auto& entry) { return entry.first == word; });
    if (found != words.end()) return found->second;
  }
  return Protocol::http;
}

std::vector<Service> to_services(const std::map<ObjectId, std::vector<ServicePort>>& all,
                                 const std::map<ObjectId, Slice>& slices) {
  std::vector<Service> services;
  std::map<ObjectId, std::size_t> places;
  for (const auto& [id, ports] : all) {
    if (ports.empty()) continue;
    Service service;
    service.namespace_name = id.namespace_name;
    service.name = id.name;
    service.hosts = {id.name + "." + id.namespace_name + ".svc.cluster.local"};
    service.ports = ports;
    service.resolution = Resolution::static_;
    service.location = Location::mesh_internal;
    places.emplace(id, services.size());
    services.push_back(std::move(service));
  }
  for (const auto& [id, slice] : slices) {
    const auto place = places.find({id.namespace_name, slice.service});
    if (place != places.end()) add_slice(services[place->second], slice);
  }
  return services;
}

}  // namespace sluice::kube
