#include <algorithm>

#include "settings/read_settings.h"

namespace sluice::settings {
namespace {

constexpr std::uint64_t hour_ms = 3'600'000;

ClusterService::Place read_place(const yaml::Value& item) {
  yaml::Reader reader(item);
  ClusterService::Place place;
  if (const auto value = reader.find("address")) {
    if (const auto endpoint = read_endpoint(*value, "10.1.0.5:8080")) place.address = *endpoint;
  } else {
    reader.fault("address", "is required: \"ADDRESS:PORT\" of one endpoint");
  }
  read_labels(reader.section("labels"), place.labels);
  reader.finish();
  return place;
}

ClusterService read_service(const yaml::Value& item) {
  using Protocol = ClusterService::Protocol;
  static constexpr std::pair<std::string_view, Protocol> protocols[] = {{"http", Protocol::http},
                                                                        {"http2", Protocol::http2},
                                                                        {"grpc", Protocol::grpc},
                                                                        {"https", Protocol::https},
                                                                        {"tcp", Protocol::tcp}};
  yaml::Reader reader(item);
  ClusterService service;
  reader.read("host", service.host);
  if (!is_kubernetes_name(service.host, true)) {
    reader.fault("host", "is required: the Service's full name, like myapp-service.my-namespace.svc.cluster.local");
  }
  reader.read("port", service.port, 1, 65535);
  if (service.port == 0) reader.fault("port", "is required: the Service's port");
  reader.read<Protocol>("protocol", service.protocol, protocols);
  for (const auto& place : reader.list("endpoints", max_list_items)) service.endpoints.push_back(read_place(place));
  if (service.endpoints.empty()) reader.fault("endpoints", "is required: at least one {address: \"10.1.0.5:8080\"}");
  reader.finish();
  return service;
}

void read_listening(yaml::Reader& reader, Ingress& ingress) {
  reader.read("namespace", ingress.namespace_name);
  if (!is_kubernetes_name(ingress.namespace_name, false)) {
    reader.fault("namespace", "is required: the namespace that this ingress runs in");
  }
  read_labels(reader.section("labels"), ingress.labels);
  std::vector<IpAddress> addresses;
  for (const auto& item : reader.list("addresses", 64)) {
    const auto text = item.text();
    const auto address = text ? IpAddress::parse(*text) : std::nullopt;
    if (text && !address) item.fault("expected an address like 0.0.0.0 or \"::\", found " + item.shown());
    if (address) addresses.push_back(*address);
  }
  if (!addresses.empty()) ingress.addresses = std::move(addresses);
  reader.read("secrets", ingress.secrets);
}

void read_bounds(yaml::Reader& reader, Ingress& ingress) {
  reader.read("max_head_bytes", ingress.max_head_bytes, 1024, 60UL * 1024);
  reader.read("max_body_bytes", ingress.max_body_bytes, 0, std::uint64_t{1} << 50);
  reader.read("max_streams", ingress.max_streams, 1, 10'000);
  read_ms(reader, "stall_timeout_ms", ingress.stall_timeout, hour_ms);
  auto outlier = reader.section("outlier");
  outlier.read("failures", ingress.outlier_failures, 1, 1'000'000);
  read_ms(outlier, "ejection_ms", ingress.outlier_ejection, hour_ms);
  outlier.finish();
}

Ingress read_ingress_section(yaml::Reader reader) {
  static constexpr std::pair<std::string_view, AccessLog> logs[] = {
      {"all", AccessLog::all}, {"failures", AccessLog::failures}, {"none", AccessLog::none}};
  Ingress ingress;
  read_listening(reader, ingress);
  for (const auto& item : reader.list("services", max_list_items)) {
    auto service = read_service(item);
    const auto same = [&](const ClusterService& other) {
      return other.host == service.host && other.port == service.port;
    };
    if (std::any_of(ingress.services.begin(), ingress.services.end(), same)) {
      item.fault(fmt::format("{}:{} is there already: keep one of them", service.host, service.port));
    }
    ingress.services.push_back(std::move(service));
  }
  reader.read<AccessLog>("access_log", ingress.access_log, logs);
  read_bounds(reader, ingress);
  read_outside(reader, ingress.outside);
  reader.finish();
  return ingress;
}

}  // namespace

IngressSettings read_ingress(const yaml::Node& root, yaml::Context& context) {
  yaml::Reader reader(&root, "", context);
  IngressSettings settings;
  settings.node = read_node(reader.section("node"));
  settings.resources = read_resources(reader.section("resources"));
  settings.ingress = read_ingress_section(reader.section("ingress"));
  settings.limits = read_limits(reader.section("limits"));
  settings.audit = read_audit(reader.section("audit"));
  settings.admin = read_admin(reader.section("admin"));
  reader.finish();
  return settings;
}

}  // namespace sluice::settings
