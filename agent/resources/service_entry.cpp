#include "resources/service_entry.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "resources/fields.h"
#include "resources/names.h"

namespace sluice::resources {
namespace {

constexpr std::size_t max_hosts = 256;
constexpr std::size_t max_addresses = 256;
constexpr std::size_t max_ports = 256;

constexpr std::pair<std::string_view, Protocol> protocols[] = {
    {"http", Protocol::http}, {"http2", Protocol::http2}, {"grpc", Protocol::grpc}, {"https", Protocol::https},
    {"tls", Protocol::tls},   {"mongo", Protocol::mongo}, {"tcp", Protocol::tcp}};

constexpr std::pair<std::string_view, Resolution> resolutions[] = {{"NONE", Resolution::none},
                                                                   {"STATIC", Resolution::static_},
                                                                   {"DNS", Resolution::dns},
                                                                   {"DNS_ROUND_ROBIN", Resolution::dns_round_robin},
                                                                   {"DYNAMIC_DNS", Resolution::dynamic_dns}};

constexpr std::pair<std::string_view, Location> locations[] = {{"MESH_EXTERNAL", Location::mesh_external},
                                                               {"MESH_INTERNAL", Location::mesh_internal}};

// 10.0.0.1/8 -> 10.0.0.0/8, as Istio takes it; nullopt when the text is no range at all.
std::optional<Cidr> mask(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address || slash == text.npos) return std::nullopt;
  unsigned length = 0;
  const auto digits = text.substr(slash + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  const unsigned family_bits = address->is_v4() ? 32 : 128;
  if (error != std::errc{} || end != digits.data() + digits.size() || length > family_bits) return std::nullopt;
  auto bytes = address->bytes();
  for (unsigned bit = 128 - family_bits + length; bit < 128; ++bit) {
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] & ~(0x80U >> (bit % 8)));
  }
  return Cidr::make(IpAddress(bytes), length);
}

Protocol read_protocol(yaml::Reader& reader) {
  const auto value = reader.find("protocol");
  const auto text = value ? value->text() : std::nullopt;
  if (!text || text->empty()) return Protocol::tcp;
  const auto name = normalise_name(*text);
  for (const auto& [known, protocol] : protocols) {
    if (known == name) return protocol;
  }
  value->fault("expected one of HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP, TLS; found " + value->shown());
  return Protocol::tcp;
}

ServicePort read_port(const yaml::Value& value) {
  yaml::Reader reader(value);
  ServicePort port;
  if (!reader.present()) return port;
  reader.read("number", port.number, 1, 65535);
  if (!reader.find("number")) reader.fault("number", "is required: the port that pods dial");
  reader.read("name", port.name);
  if (!reader.find("name")) {
    reader.fault("name", "is required: a name of the port's own, like \"https\"");
  } else if (!is_label(port.name)) {
    reader.fault("name", "expected at most 63 letters, digits and '-', found " + yaml::quote(port.name));
  }
  port.protocol = read_protocol(reader);
  port.target_port = port.number;
  reader.read("targetPort", port.target_port, 1, 65535);
  reader.finish();
  return port;
}

}  // namespace

void read_hosts(Draft& draft) {
  const auto faults_before = draft.findings.context.faults.size();
  std::set<std::string> seen;
  for (const auto& item : draft.spec.list("hosts", max_hosts)) {
    const auto text = item.text();
    if (!text) continue;
    auto host = normalise_name(*text);
    if (host == "*") {
      item.fault("a bare \"*\" would register every host: name the domains, like \"*.example.com\"");
    } else if (!is_wildcard_dns_name(host)) {
      item.fault("expected a DNS name, with \"*\" at most as its first label, found " + item.shown());
    } else if (!seen.insert(host).second) {
      draft.findings.warn("IST0133", item.line(), item.path(), host + " is there twice: remove one");
    } else {
      if (host.starts_with('*') && !host.starts_with("*.")) {
        draft.findings.warn("IST0133", item.line(), item.path(),
                            yaml::quote(host) + " matches every name that ends so: write \"*.domain\" for subdomains");
      }
      draft.service.hosts.push_back(std::move(host));
      draft.hosts.push_back(item);
    }
  }
  const bool sound = draft.findings.context.faults.size() == faults_before;
  if (sound && draft.service.hosts.empty()) draft.spec.fault("hosts", "is required: at least one DNS name");
}

void read_addresses(Draft& draft) {
  for (const auto& item : draft.spec.list("addresses", max_addresses)) {
    const auto text = item.text();
    if (!text) continue;
    draft.has_cidr = draft.has_cidr || text->find('/') != text->npos;
    auto cidr = Cidr::parse(*text);
    if (!cidr) {
      cidr = mask(*text);
      if (cidr) {
        draft.findings.warn("IST0133", item.line(), item.path(),
                            *text + " has bits set behind the prefix and is read as " + cidr->to_string());
      }
    }
    if (cidr) {
      draft.service.addresses.push_back(*cidr);
    } else {
      item.fault("expected an IP address or a range like 203.0.113.0/24, found " + item.shown());
    }
  }
}

void read_ports(Draft& draft) {
  std::set<std::uint16_t> numbers;
  std::set<std::string> names;
  for (const auto& item : draft.spec.list("ports", max_ports)) {
    auto port = read_port(item);
    if (port.number != 0 && !numbers.insert(port.number).second) {
      item.fault(fmt::format("port number {} is there already: keep one of them", port.number));
    }
    if (!port.name.empty() && !names.insert(port.name).second) {
      item.fault("port name " + yaml::quote(port.name) + " is there already: give it another");
    }
    draft.service.ports.push_back(std::move(port));
    draft.ports.push_back(item);
  }
  if (draft.service.ports.empty()) {
    draft.findings.warn("IST0133", draft.spec.line(), "spec.ports", "there is none, so nothing is registered: add one");
  }
}

Service read_service_entry(yaml::Reader spec, Service service, Findings& findings) {
  Draft draft{.service = std::move(service), .spec = std::move(spec), .findings = findings, .hosts = {}, .ports = {}};
  draft.spec.read<Resolution>("resolution", draft.service.resolution, resolutions);
  draft.spec.read<Location>("location", draft.service.location, locations);
  read_hosts(draft);
  read_addresses(draft);
  read_ports(draft);
  read_endpoints(draft);
  draft.service.export_to = read_export_to(draft.spec, draft.service.namespace_name, true);
  draft.service.subject_alt_names = read_texts(draft.spec, "subjectAltNames");
  draft.spec.finish();
  if (!findings.context.has_wrong_values()) check_service_entry(draft);
  return std::move(draft.service);
}

}  // namespace sluice::resources
