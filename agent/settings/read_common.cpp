// The sections that the agent and the gateway share.
#include <sys/un.h>

#include <algorithm>

#include "settings/read_settings.h"

namespace sluice::settings {
namespace {

constexpr std::uint64_t minute_ms = 60'000;
constexpr std::uint64_t day_ms = 24UL * 60 * minute_ms;

}  // namespace

void read_ms(yaml::Reader& reader, std::string_view key, Milliseconds& out, std::uint64_t max) {
  auto count = static_cast<std::uint64_t>(out.count());
  reader.read(key, count, 1, max);
  out = Milliseconds(count);
}

// RFC 1123, lower case.
bool is_kubernetes_name(std::string_view name, bool dots) {
  const auto alphanumeric = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'); };
  if (name.empty() || name.size() > (dots ? 253 : 63) || !alphanumeric(name.front()) || !alphanumeric(name.back())) {
    return false;
  }
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return alphanumeric(c) || c == '-' || (dots && c == '.'); });
}

void read_labels(yaml::Reader reader, std::map<std::string, std::string>& out) {
  for (const auto& entry : reader.entries()) {
    if (auto text = entry.text()) out.emplace(entry.node().key, *std::move(text));
  }
}

std::optional<Endpoint> read_endpoint(const yaml::Value& value, std::string_view example) {
  const auto text = value.text();
  if (!text) return std::nullopt;
  const auto endpoint = Endpoint::parse(*text);
  if (endpoint && endpoint->port != 0) return endpoint;
  value.fault(fmt::format("expected \"ADDRESS:PORT\" like \"{}\", IPv6 in brackets, found {}", example, value.shown()));
  return std::nullopt;
}

void read_outside(yaml::Reader& reader, Outside& outside) {
  for (const auto& item : reader.list("resolvers", 8)) {
    if (const auto endpoint = read_endpoint(item, "10.0.0.10:53")) outside.resolvers.push_back(*endpoint);
  }
  outside.forbidden_cidrs = read_cidrs(reader, "forbidden_cidrs", "");
  outside.permitted_cidrs = read_cidrs(reader, "permitted_cidrs", "then a name could lead to the metadata service");
  reader.read("locality", outside.locality);
}

TransportTls read_transport_tls(yaml::Reader reader, bool needed) {
  TransportTls tls;
  const auto read_file = [&](std::string_view key, std::string& out, std::string_view what) {
    reader.read(key, out);
    if (needed && out.empty()) reader.fault(key, "is required with transport tls: " + std::string(what));
  };
  read_file("certificate_file", tls.certificate_file, "a PEM file with this side's certificate chain");
  read_file("key_file", tls.key_file, "a PEM file with the certificate's private key");
  read_file("ca_file", tls.ca_file, "a PEM file with the roots of the other side's certificates");
  reader.finish();
  return tls;
}

std::vector<Cidr> read_cidrs(yaml::Reader& reader, std::string_view key, std::string_view whole_refused) {
  std::vector<Cidr> cidrs;
  for (const auto& item : reader.list(key, max_list_items)) {
    const auto text = item.text();
    if (!text) continue;
    const auto cidr = Cidr::parse(*text);
    if (!cidr) {
      item.fault("expected a range like 10.0.0.0/8 or fd00::/8 without bits set behind the prefix, found " +
                 item.shown());
    } else if (cidr->length() == 0 && !whole_refused.empty()) {
      item.fault(item.shown() + " is every address: " + std::string(whole_refused));
    } else {
      cidrs.push_back(*cidr);
    }
  }
  return cidrs;
}

Node read_node(yaml::Reader reader) {
  static constexpr std::pair<std::string_view, std::string_view> levels[] = {
      {"debug", "debug"}, {"info", "info"}, {"warning", "warning"}, {"error", "error"}};
  Node node;
  reader.read("name", node.name);
  if (node.name.size() > 253) reader.fault("name", "expected at most 253 bytes");
  reader.read("threads", node.threads, 1, 64);
  reader.read("bpffs", node.bpffs);
  if (!node.bpffs.starts_with('/')) reader.fault("bpffs", "expected an absolute path");
  reader.read("cgroup", node.cgroup);
  if (!node.cgroup.empty() && !node.cgroup.starts_with('/')) {
    reader.fault("cgroup", "expected an absolute path, or \"\" for the root of the cgroup2 mount");
  }
  std::string_view level = node.log_level;
  reader.read<std::string_view>("log_level", level, levels);
  node.log_level = level;
  reader.finish();
  return node;
}

Resources read_resources(yaml::Reader reader) {
  static constexpr std::pair<std::string_view, ResourceSource> sources[] = {{"files", ResourceSource::files},
                                                                            {"kubernetes", ResourceSource::kubernetes}};
  Resources resources;
  reader.read<ResourceSource>("source", resources.source, sources);
  for (const auto& item : reader.list("files", max_list_items)) {
    auto path = item.text();
    if (path && path->empty()) item.fault("expected a file or directory, found \"\"");
    if (path) resources.files.push_back(*std::move(path));
  }
  if (resources.source == ResourceSource::kubernetes && !resources.files.empty()) {
    reader.fault("files", "are not read with source kubernetes: remove them");
  }
  auto kubernetes = reader.section("kubernetes");
  kubernetes.read("kubeconfig", resources.kubernetes.kubeconfig);
  kubernetes.read("context", resources.kubernetes.context);
  kubernetes.finish();
  reader.finish();
  return resources;
}

Limits read_limits(yaml::Reader reader) {
  Limits limits;
  reader.read("connections", limits.connections, 1, 10'000'000);
  reader.read("connections_per_pod", limits.connections_per_pod, 1, 10'000'000);
  reader.read("connections_per_second", limits.connections_per_second, 1, 10'000'000);
  reader.read("connections_per_second_per_pod", limits.connections_per_second_per_pod, 1, 10'000'000);
  reader.read("denials_per_second", limits.denials_per_second, 1, 1'000'000);
  read_ms(reader, "first_bytes_timeout_ms", limits.first_bytes_timeout, 10 * minute_ms);
  read_ms(reader, "http_idle_timeout_ms", limits.http_idle_timeout, day_ms);
  read_ms(reader, "connect_timeout_ms", limits.connect_timeout, 10 * minute_ms);
  read_ms(reader, "answer_timeout_ms", limits.answer_timeout, 10 * minute_ms);
  read_ms(reader, "idle_timeout_ms", limits.idle_timeout, 30 * day_ms);
  read_ms(reader, "drain_timeout_ms", limits.drain_timeout, day_ms);
  reader.finish();
  return limits;
}

Audit read_audit(yaml::Reader reader) {
  static constexpr std::pair<std::string_view, OnAuditFailure> choices[] = {{"deny", OnAuditFailure::deny},
                                                                            {"count", OnAuditFailure::count}};
  Audit audit;
  reader.read("path", audit.path);
  if (audit.path.empty()) reader.fault("path", "expected the file to write to");
  reader.read("rotate_bytes", audit.rotate_bytes, 4096, std::uint64_t{1} << 40);
  reader.read("keep_files", audit.keep_files, 1, 1000);
  reader.read<OnAuditFailure>("on_failure", audit.on_failure, choices);
  reader.read("key_file", audit.key_file);
  reader.read("checkpoint_records", audit.checkpoint_records, 1, 1'000'000);
  reader.finish();
  return audit;
}

Admin read_admin(yaml::Reader reader) {
  constexpr std::size_t longest = sizeof(sockaddr_un::sun_path) - 1;
  Admin admin;
  reader.read("socket", admin.socket);
  if (admin.socket.empty() || admin.socket.size() > longest) {
    reader.fault("socket", fmt::format("expected a path of 1 to {} bytes, found {}", longest, admin.socket.size()));
  }
  if (const auto value = reader.find("metrics_listen"); value && value->text() != "") {
    admin.metrics_listen = read_endpoint(*value, "0.0.0.0:15090");
  }
  reader.finish();
  return admin;
}

}  // namespace sluice::settings
