// The domain's words for policy tests: service entries, calls, and what was decided about them.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "policy/snapshot.h"

namespace sluice::test {

// A service written like the object it comes from: ServiceEntry("app/github").hosts({"github.com"}).port(443, ...).
class ServiceEntry {
 public:
  explicit ServiceEntry(std::string_view rule) {
    const auto slash = rule.find('/');
    service_.namespace_name = rule.substr(0, slash);
    service_.name = rule.substr(slash + 1);
  }
  ServiceEntry& hosts(std::vector<std::string> hosts) {
    service_.hosts = std::move(hosts);
    return *this;
  }
  ServiceEntry& port(std::uint16_t number, Protocol protocol) {
    service_.ports.push_back({number, number, protocol, "port-" + std::to_string(number)});
    return *this;
  }
  ServiceEntry& addresses(std::initializer_list<std::string_view> cidrs) {
    for (const auto cidr : cidrs) service_.addresses.push_back(Cidr::parse(cidr).value());
    return *this;
  }
  ServiceEntry& export_to(std::vector<std::string> namespaces) {
    service_.export_to = std::move(namespaces);
    return *this;
  }
  ServiceEntry& created(std::int64_t seconds) {
    service_.created = seconds;
    return *this;
  }
  operator Service() const { return service_; }  // NOLINT(google-explicit-constructor)

 private:
  Service service_;
};

inline IpAddress address(std::string_view text) {
  return IpAddress::parse(text).value();
}

inline Request call(Sniffed sniffed, std::string_view from, std::string_view to, std::uint16_t port,
                    std::string_view host = {}) {
  return {from, address(to), port, sniffed, host};
}

// An address that no test registers: the destination of calls that are matched by name.
inline constexpr std::string_view outside = "203.0.113.9";

inline Request tls(std::string_view from, std::string_view host, std::uint16_t port = 443) {
  return call(Sniffed::tls, from, outside, port, host);
}
inline Request http(std::string_view from, std::string_view host, std::uint16_t port = 80) {
  return call(Sniffed::http, from, outside, port, host);
}
inline Request opaque(std::string_view from, std::string_view to, std::uint16_t port) {
  return call(Sniffed::opaque, from, to, port);
}
inline Request unread(std::string_view from, std::string_view to, std::uint16_t port) {
  return call(Sniffed::none, from, to, port);
}

// The rule that allows, or the reason that denies.
inline std::string outcome(const Verdict& verdict) {
  return verdict.allowed() ? verdict.service->rule() : std::string(to_string(verdict.reason));
}

}  // namespace sluice::test
