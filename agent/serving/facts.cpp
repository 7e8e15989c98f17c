#include "serving/facts.h"

#include <utility>

namespace sluice::serving {

std::string_view protocol_name(Sniffed sniffed) {
  switch (sniffed) {
    case Sniffed::tls:
      return "tls";
    case Sniffed::http:
      return "http";
    default:
      return "tcp";
  }
}

observe::PodFacts pod_facts(const identity::Pod& pod) {
  return {pod.namespace_name, pod.name, pod.uid, pod.service_account};
}

observe::ProcessFacts process_facts(identity::Process process) {
  return {process.pid, std::move(process.comm), std::move(process.exe), std::move(process.container),
          process.cgroup_id};
}

void describe(const relay::FirstBytes& first, observe::Record& record) {
  record.protocol = protocol_name(first.sniffed);
  if (first.sniffed == Sniffed::http) {
    record.http = observe::HttpFacts{first.head.method, first.head.authority.host, first.head.path};
  }
  if (first.sniffed != Sniffed::tls) return;
  record.sni = first.hello.sni;
  record.alpn = first.hello.alpn;
  record.ja4 = first.hello.ja4;
  record.ech = first.hello.ech;
  for (const auto version : first.hello.versions) record.tls_versions.push_back(wire::version_name(version));
}

std::string_view named_host(const relay::FirstBytes& first) {
  switch (first.sniffed) {
    case Sniffed::tls:
      return first.hello.sni;
    case Sniffed::http:
      return first.head.authority.host;
    default:
      return {};
  }
}

}  // namespace sluice::serving
