// The trafficPolicy of DestinationRules.
#include <limits>

#include "resources/destination_rule.h"
#include "resources/fields.h"

namespace sluice::resources {
namespace {

using Type = Field::Type;

constexpr std::size_t max_ports = 4096;

constexpr std::pair<std::string_view, ClientTlsMode> modes[] = {{"DISABLE", ClientTlsMode::disable},
                                                                {"SIMPLE", ClientTlsMode::simple},
                                                                {"MUTUAL", ClientTlsMode::mutual},
                                                                {"ISTIO_MUTUAL", ClientTlsMode::istio_mutual}};

constexpr std::pair<std::string_view, Balancing> balancers[] = {{"UNSPECIFIED", Balancing::least_request},
                                                                {"LEAST_CONN", Balancing::least_request},
                                                                {"LEAST_REQUEST", Balancing::least_request},
                                                                {"ROUND_ROBIN", Balancing::round_robin},
                                                                {"RANDOM", Balancing::random},
                                                                {"PASSTHROUGH", Balancing::passthrough}};
constexpr Field attribute_fields[] = {{"name"}, {"value"}};
constexpr Field cookie_fields[] = {
    {"name"}, {"path"}, {"ttl", Type::duration}, {"attributes", Type::objects, attribute_fields}};
constexpr Field ring_fields[] = {{"minimumRingSize", Type::count}};
constexpr Field maglev_fields[] = {{"tableSize", Type::count}};
constexpr Field hash_fields[] = {{"httpHeaderName"},
                                 {"httpCookie", Type::object, cookie_fields},
                                 {"useSourceIp", Type::flag},
                                 {"httpQueryParameterName"},
                                 {"ringHash", Type::object, ring_fields},
                                 {"maglev", Type::object, maglev_fields},
                                 {"minimumRingSize", Type::count}};
constexpr Field distribute_fields[] = {{"from"}, {"to", Type::count_map}};
constexpr Field failover_fields[] = {{"from"}, {"to"}};
constexpr Field locality_fields[] = {{"distribute", Type::objects, distribute_fields},
                                     {"failover", Type::objects, failover_fields},
                                     {"failoverPriority", Type::texts},
                                     {"enabled", Type::flag}};
constexpr Field warmup_fields[] = {
    {"duration", Type::duration}, {"minimumPercent", Type::number}, {"aggression", Type::number}};
constexpr Field balancer_fields[] = {{"consistentHash", Type::object, hash_fields},
                                     {"localityLbSetting", Type::object, locality_fields},
                                     {"warmupDurationSecs", Type::duration},
                                     {"warmup", Type::object, warmup_fields}};

constexpr std::string_view upgrades[] = {"DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"};
constexpr Field http_pool_fields[] = {{"h2UpgradePolicy", Type::choice, {}, upgrades},
                                      {"useClientProtocol", Type::flag},
                                      {"maxConcurrentStreams", Type::count}};
constexpr Field keepalive_fields[] = {{"probes", Type::count}, {"time", Type::duration}, {"interval", Type::duration}};
constexpr Field tcp_pool_fields[] = {{"tcpKeepalive", Type::object, keepalive_fields},
                                     {"maxConnectionDuration", Type::duration}};
constexpr Field outlier_fields[] = {{"splitExternalLocalOriginErrors", Type::flag},
                                    {"consecutiveLocalOriginFailures", Type::count}};

constexpr std::string_view proxy_versions[] = {"V1", "V2"};
constexpr Field proxy_fields[] = {{"version", Type::choice, {}, proxy_versions}};
constexpr Field tunnel_fields[] = {{"protocol"}, {"targetHost"}, {"targetPort", Type::count}};
constexpr Field budget_fields[] = {{"percent", Type::number}, {"minRetryConcurrency", Type::count}};

// Of the one that is not a port's.
constexpr Field top_fields[] = {{"tunnel", Type::object, tunnel_fields},
                                {"proxyProtocol", Type::object, proxy_fields},
                                {"retryBudget", Type::object, budget_fields}};

void check_tls(yaml::Reader& reader, const ClientTls& tls) {
  const bool has_files = !tls.client_certificate.empty() || !tls.private_key.empty() || !tls.ca_certificates.empty() ||
                         !tls.ca_crl.empty();
  if (!tls.credential_name.empty()) {
    if (has_files) reader.fault("credentialName", "excludes files of certificates and keys: keep one of the two");
    return;
  }
  if (tls.mode != ClientTlsMode::mutual) return;
  if (tls.client_certificate.empty()) reader.fault("clientCertificate", "is required in mode MUTUAL");
  if (tls.private_key.empty()) reader.fault("privateKey", "is required in mode MUTUAL");
}

ClientTls read_tls(yaml::Reader reader) {
  ClientTls tls;
  reader.read<ClientTlsMode>("mode", tls.mode, modes);
  reader.read("clientCertificate", tls.client_certificate);
  reader.read("privateKey", tls.private_key);
  reader.read("caCertificates", tls.ca_certificates);
  reader.read("caCrl", tls.ca_crl);
  reader.read("credentialName", tls.credential_name);
  tls.subject_alt_names = read_texts(reader, "subjectAltNames");
  reader.read("sni", tls.sni);
  reader.read("insecureSkipVerify", tls.insecure_skip_verify);
  reader.finish();
  check_tls(reader, tls);
  return tls;
}

std::optional<std::uint32_t> read_count(yaml::Reader& reader, std::string_view key, std::uint64_t max = max_count) {
  const auto value = reader.find(key);
  const auto number = value ? value->integer(0, max) : std::nullopt;
  return number ? std::optional(static_cast<std::uint32_t>(*number)) : std::nullopt;
}

std::optional<HttpPool> read_http_pool(yaml::Reader reader) {
  if (!reader.present()) return std::nullopt;
  HttpPool pool;
  pool.max_pending_requests = read_count(reader, "http1MaxPendingRequests");
  pool.max_requests = read_count(reader, "http2MaxRequests");
  pool.max_requests_per_connection = read_count(reader, "maxRequestsPerConnection");
  pool.max_retries = read_count(reader, "maxRetries");
  pool.idle_timeout_ms = read_duration_ms(reader, "idleTimeout");
  check_fields(reader, http_pool_fields);
  reader.finish();
  return pool;
}

std::optional<Balancing> read_balancing(yaml::Reader reader) {
  if (!reader.present()) return std::nullopt;
  std::optional<Balancing> balancing;
  if (reader.find("simple")) reader.read<Balancing>("simple", balancing.emplace(), balancers);
  check_fields(reader, balancer_fields);
  reader.finish();
  return balancing;
}

std::optional<OutlierDetection> read_outliers(yaml::Reader reader) {
  if (!reader.present()) return std::nullopt;
  OutlierDetection outliers;
  const auto of_5xx = read_count(reader, "consecutive5xxErrors");
  // The old name of gateway errors.
  const auto of_gateway = read_count(reader, "consecutiveErrors");
  outliers.consecutive_5xx = of_5xx.value_or(outliers.consecutive_5xx);
  outliers.consecutive_gateway_errors = read_count(reader, "consecutiveGatewayErrors").value_or(of_gateway.value_or(0));
  outliers.interval_ms = read_duration_ms(reader, "interval").value_or(outliers.interval_ms);
  outliers.base_ejection_ms = read_duration_ms(reader, "baseEjectionTime").value_or(outliers.base_ejection_ms);
  outliers.max_ejection_percent = read_count(reader, "maxEjectionPercent", 100).value_or(outliers.max_ejection_percent);
  outliers.min_health_percent = read_count(reader, "minHealthPercent", 100).value_or(outliers.min_health_percent);
  if (outliers.interval_ms == 0) reader.fault("interval", "must be at least 1ms");
  if (outliers.base_ejection_ms == 0) reader.fault("baseEjectionTime", "must be at least 1ms");
  check_fields(reader, outlier_fields);
  reader.finish();
  return outliers;
}

void read_pool(yaml::Reader reader, TrafficPolicy& policy) {
  auto tcp = reader.section("tcp");
  if (const auto value = tcp.find("maxConnections")) {
    const auto number = value->integer(0, max_count);
    if (number && *number != 0) policy.max_connections = static_cast<std::uint32_t>(*number);  // 0: not set
  }
  policy.connect_timeout_ms = read_duration_ms(tcp, "connectTimeout");
  if (policy.connect_timeout_ms == 0U) tcp.fault("connectTimeout", "must be at least 1ms");
  policy.idle_timeout_ms = read_duration_ms(tcp, "idleTimeout");
  check_fields(tcp, tcp_pool_fields);
  tcp.finish();
  policy.http = read_http_pool(reader.section("http"));
  reader.finish();
}

TrafficPolicy read_policy(yaml::Reader& reader) {
  TrafficPolicy policy;
  auto tls = reader.section("tls");
  if (tls.present()) policy.tls = read_tls(tls);
  read_pool(reader.section("connectionPool"), policy);
  policy.balancing = read_balancing(reader.section("loadBalancer"));
  policy.outliers = read_outliers(reader.section("outlierDetection"));
  return policy;
}

void read_port(const yaml::Value& value, std::map<std::uint16_t, TrafficPolicy>& ports) {
  yaml::Reader reader(value);
  if (!reader.present()) return;
  auto port = reader.section("port");
  const auto number = read_port_number(port, "number");
  if (!port.find("number")) reader.fault("port", "is required, like {number: 443}");
  port.finish();
  auto policy = read_policy(reader);
  reader.finish();
  if (!number) return;
  if (!ports.emplace(*number, std::move(policy)).second) {
    value.fault(fmt::format("port {} is there already: keep one of them", *number));
  }
}

}  // namespace

PolicyOfPorts read_traffic_policy(yaml::Reader reader, Findings& findings) {
  PolicyOfPorts read;
  read.policy = read_policy(reader);
  for (const auto& item : reader.list("portLevelSettings", max_ports)) read_port(item, read.ports);
  const auto others = check_fields(reader, top_fields);
  for (const auto& name : others) {
    if (name != "tunnel") continue;
    findings.warn("SLU0003", reader.line(), reader.path() + "." + name, "is not read: calls are not tunnelled");
  }
  reader.finish();
  return read;
}

}  // namespace sluice::resources
