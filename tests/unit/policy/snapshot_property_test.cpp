// The compiled snapshot against a reference that reads every service for every call and follows the words of
// snapshot.h; and what must hold between decide(), inspect() and port_rules() whatever the policy.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "policy/host_match.h"
#include "policy/snapshot.h"
#include "services.h"

namespace sluice {
namespace {

using test::outcome;

bool covers(const Cidr& cidr, const IpAddress& address) {
  return cidr.address().is_v4() == address.is_v4() && cidr.contains(address);
}

bool is_tcp(const ServicePort& port) {
  return !is_tls(port.protocol) && !is_http(port.protocol);
}

class Reference {
 public:
  explicit Reference(std::vector<Service> services) : services_(std::move(services)) {}

  std::string decide(const Request& request) const {
    const auto visible = [&](const Service& service) { return exported(service, request.pod_namespace); };
    const auto allowed = allow(request, visible);
    return allowed ? *allowed : std::string(to_string(why(request, visible)));
  }

 private:
  static bool exported(const Service& service, std::string_view to) {
    if (service.export_to.empty()) return true;
    return to != "~" && std::count(service.export_to.begin(), service.export_to.end(), to) != 0;
  }
  static bool older(const Service& left, const Service& right) {
    return std::tie(left.created, left.name, left.namespace_name) <
           std::tie(right.created, right.name, right.namespace_name);
  }
  // Is `left` the better of two matching hosts?
  static bool more_specific(std::string_view left, std::string_view right) {
    if (is_wildcard(left) != is_wildcard(right)) return is_wildcard(right);
    return left.size() > right.size();
  }
  static bool right_protocol(const ServicePort& port, Sniffed sniffed) {
    return (sniffed == Sniffed::tls && is_tls(port.protocol)) || (sniffed == Sniffed::http && is_http(port.protocol));
  }
  template <typename Pick>
  bool any_port(Pick pick) const {
    for (const auto& service : services_) {
      for (const auto& port : service.ports) {
        if (pick(service, port)) return true;
      }
    }
    return false;
  }

  template <typename Visible>
  std::optional<std::string> allow(const Request& request, Visible visible) const {
    const Service* best = nullptr;
    unsigned best_length = 0;
    std::string_view best_host;
    const auto each = [&](auto consider) {
      for (const auto& service : services_) {
        if (!visible(service)) continue;
        for (const auto& port : service.ports) {
          if (port.number == request.port) consider(service, port);
        }
      }
    };
    each([&](const Service& service, const ServicePort& port) {
      if (!is_tcp(port)) return;
      for (const auto& cidr : service.addresses) {
        if (!covers(cidr, request.destination)) continue;
        if (best != nullptr && cidr.mapped_length() < best_length) continue;
        if (best != nullptr && cidr.mapped_length() == best_length && !older(service, *best)) continue;
        best = &service;
        best_length = cidr.mapped_length();
      }
    });
    if (best != nullptr) return best->rule();
    bool names = false;
    each([&](const Service& service, const ServicePort& port) {
      if (is_tcp(port)) return;
      names = true;
      if (!right_protocol(port, request.sniffed) || request.host.empty()) return;
      for (const auto& host : service.hosts) {
        if (!host_matches(host, request.host)) continue;
        if (best != nullptr && more_specific(best_host, host)) continue;
        if (best != nullptr && !more_specific(host, best_host) && !older(service, *best)) continue;
        best = &service;
        best_host = host;
      }
    });
    if (best != nullptr) return best->rule();
    if (names && request.sniffed != Sniffed::opaque) return std::nullopt;
    each([&](const Service& service, const ServicePort& port) {
      if (is_tcp(port) && service.addresses.empty() && (best == nullptr || older(service, *best))) best = &service;
    });
    return best != nullptr ? std::optional(best->rule()) : std::nullopt;
  }

  // The table of snapshot.h, row by row.
  template <typename Visible>
  Reason why(const Request& request, Visible visible) const {
    const auto here = [&](auto pick) {
      return any_port([&](const Service& service, const ServicePort& port) {
        return visible(service) && port.number == request.port && pick(service, port);
      });
    };
    const auto named = [&](const Service& service) {
      return !request.host.empty() && std::any_of(service.hosts.begin(), service.hosts.end(),
                                                  [&](const auto& host) { return host_matches(host, request.host); });
    };
    const bool tls_here = here([](const Service&, const ServicePort& port) { return is_tls(port.protocol); });
    const bool http_here = here([](const Service&, const ServicePort& port) { return is_http(port.protocol); });
    const bool anything_here = here([](const Service&, const ServicePort&) { return true; });
    if (request.host.empty() && request.sniffed == Sniffed::tls && tls_here) return Reason::sni_missing;
    if (request.host.empty() && request.sniffed == Sniffed::http && http_here) return Reason::host_missing;
    const auto everyone = [](const Service&) { return true; };
    if (allow(request, everyone)) return Reason::not_exported;
    if (!anything_here && request.sniffed == Sniffed::none && any_port([&](const Service&, const ServicePort& port) {
          return port.number == request.port && !is_tcp(port);
        })) {
      return Reason::not_exported;
    }
    if (anything_here && !tls_here && !http_here) return Reason::address_not_registered;
    if (!anything_here) return Reason::port_not_registered;
    if (request.sniffed == Sniffed::none) return tls_here ? Reason::sni_missing : Reason::host_missing;
    const auto wrong_for = [&](bool only_tls) {
      return only_tls && request.sniffed != Sniffed::tls ? Reason::not_tls : Reason::protocol_not_allowed;
    };
    if (request.sniffed == Sniffed::opaque) return wrong_for(!http_here);
    if (const auto [service, port] = best_for_host(request, visible); service != nullptr) {
      if (!is_tcp(*port)) return wrong_for(is_tls(port->protocol));
      return service->addresses.empty() ? Reason::protocol_not_allowed : Reason::address_not_registered;
    }
    if (request.sniffed == Sniffed::tls ? !tls_here : !http_here) return wrong_for(!http_here);
    const bool elsewhere = std::any_of(services_.begin(), services_.end(),
                                       [&](const Service& service) { return visible(service) && named(service); });
    return elsewhere ? Reason::port_not_registered : Reason::host_not_registered;
  }

  // The service on this port that names the host best, whatever the protocol.
  template <typename Visible>
  std::pair<const Service*, const ServicePort*> best_for_host(const Request& request, Visible visible) const {
    const Service* best = nullptr;
    const ServicePort* best_port = nullptr;
    std::string_view best_host;
    for (const auto& service : services_) {
      for (const auto& port : service.ports) {
        if (!visible(service) || port.number != request.port || request.host.empty()) continue;
        for (const auto& host : service.hosts) {
          if (!host_matches(host, request.host)) continue;
          if (best != nullptr && more_specific(best_host, host)) continue;
          if (best != nullptr && !more_specific(host, best_host) && !older(service, *best)) continue;
          best = &service;
          best_port = &port;
          best_host = host;
        }
      }
    }
    return {best, best_port};
  }

  std::vector<Service> services_;
};

constexpr std::uint16_t ports[] = {80, 443, 5432, 8080};
constexpr const char* namespaces[] = {"a", "b", "c", "~"};
constexpr const char* cidrs[] = {"0.0.0.0/0",    "198.51.0.0/16", "198.51.100.0/24",
                                 "198.51.100.7", "203.0.113.9",   "2001:db8::/32",
                                 "2001:db8::7",  "::/0",          "198.51.100.6/31"};
constexpr const char* destinations[] = {"198.51.100.7", "198.51.100.8", "203.0.113.9",
                                        "192.0.2.1",    "2001:db8::7",  "2001:db9::1"};

class World {
 public:
  explicit World(unsigned seed) : random_(seed) {
    const auto count = static_cast<int>(below(12));
    for (int number = 0; number < count; ++number) services_.push_back(service());
  }

  std::vector<Service> services() const { return services_; }
  std::vector<Service> shuffled() {
    auto copy = services_;
    std::shuffle(copy.begin(), copy.end(), random_);
    return copy;
  }
  // A call; `host` keeps its name.
  Request request(std::string& host) {
    host = below(10) == 0 ? "" : name(1 + below(4));
    return {pick(namespaces), test::address(pick(destinations)), pick(ports), static_cast<Sniffed>(below(4)), host};
  }

 private:
  std::size_t below(std::size_t limit) { return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random_); }
  template <typename T, std::size_t Size>
  T pick(const T (&from)[Size]) {
    return from[below(Size)];
  }
  std::string name(std::size_t labels) {
    std::string text;
    for (std::size_t label = 0; label < labels; ++label) {
      text += (label == 0 ? "" : ".") + std::string(1, static_cast<char>('a' + below(2)));
      if (below(4) == 0) text += 'c';
    }
    return text;
  }
  std::string pattern() {
    switch (below(4)) {
      case 0:
        return "*." + name(1 + below(3));
      case 1:
        return "*" + name(1 + below(3));
      default:
        return name(1 + below(4));
    }
  }
  Service service() {
    Service made;
    do {
      made.namespace_name = pick(namespaces);
      made.name = std::string(1, static_cast<char>('p' + below(6)));
    } while (!taken_.insert(made.rule()).second);
    made.created = static_cast<std::int64_t>(below(3));
    for (auto count = 1 + below(3); count > 0; --count) made.hosts.push_back(pattern());
    if (below(3) == 0) {
      for (auto count = 1 + below(2); count > 0; --count) made.addresses.push_back(*Cidr::parse(pick(cidrs)));
    }
    for (const auto number : ports) {
      if (below(2) == 0) made.ports.push_back({number, number, static_cast<Protocol>(below(7)), "p"});
    }
    if (below(2) == 0) {
      for (auto count = 1 + below(2); count > 0; --count) made.export_to.emplace_back(pick(namespaces));
      if (std::count(made.export_to.begin(), made.export_to.end(), "~") != 0) made.export_to = {"~"};
    }
    return made;
  }

  std::mt19937 random_;
  std::set<std::string> taken_;
  std::vector<Service> services_;
};

std::string describe(const Request& request) {
  static constexpr const char* bytes[] = {"unread", "TLS", "HTTP", "opaque"};
  return std::string(bytes[static_cast<int>(request.sniffed)]) + " from " + std::string(request.pod_namespace) +
         " to " + request.destination.to_string() + ":" + std::to_string(request.port) + " for '" +
         std::string(request.host) + "'";
}

constexpr unsigned worlds = 1000;
constexpr int calls = 60;

TEST(SnapshotProperties, decides_as_the_reference_does) {
  std::set<std::string> reasons;
  int allowed = 0;
  for (unsigned seed = 0; seed < worlds; ++seed) {
    World world(seed);
    const Reference reference(world.services());
    const auto snapshot = Snapshot::compile({.services = world.services()});
    for (int number = 0; number < calls; ++number) {
      std::string host;
      const auto request = world.request(host);
      const auto verdict = snapshot->decide(request);
      ASSERT_EQ(outcome(verdict), reference.decide(request)) << "seed " << seed << ": " << describe(request);
      if (verdict.allowed()) {
        ++allowed;
        ASSERT_EQ(verdict.port->number, request.port);
      } else {
        reasons.emplace(to_string(verdict.reason));
      }
    }
  }
  // The worlds are worth something only if they reach every branch.
  EXPECT_GT(allowed, 5000);
  EXPECT_EQ(reasons,
            (std::set<std::string>{"address_not_registered", "host_missing", "host_not_registered", "not_exported",
                                   "not_tls", "port_not_registered", "protocol_not_allowed", "sni_missing"}));
}

TEST(SnapshotProperties, the_order_of_services_does_not_matter) {
  for (unsigned seed = 0; seed < worlds; ++seed) {
    World world(seed);
    const auto one = Snapshot::compile({.services = world.services()});
    const auto other = Snapshot::compile({.services = world.shuffled()});
    for (int number = 0; number < calls; ++number) {
      std::string host;
      const auto request = world.request(host);
      ASSERT_EQ(outcome(one->decide(request)), outcome(other->decide(request))) << describe(request);
    }
  }
}

TEST(SnapshotProperties, inspect_agrees_with_an_unread_call) {
  std::array<int, 3> seen{};
  for (unsigned seed = 0; seed < worlds; ++seed) {
    World world(seed);
    const auto snapshot = Snapshot::compile({.services = world.services()});
    for (int number = 0; number < calls; ++number) {
      std::string host;
      auto request = world.request(host);
      request.sniffed = Sniffed::none;
      const auto inspection = snapshot->inspect(request.pod_namespace, request.destination, request.port);
      ASSERT_EQ(snapshot->decide(request).allowed(), inspection == Inspection::opaque) << describe(request);
      if (inspection == Inspection::refuse) {
        for (const auto sniffed : {Sniffed::tls, Sniffed::http, Sniffed::opaque}) {
          request.sniffed = sniffed;
          ASSERT_FALSE(snapshot->decide(request).allowed()) << describe(request);
        }
      }
      ++seen[static_cast<std::size_t>(inspection)];
    }
  }
  for (const int count : seen) EXPECT_GT(count, 1000);
}

TEST(SnapshotProperties, what_is_allowed_passes_the_port_rules) {
  for (unsigned seed = 0; seed < worlds; ++seed) {
    World world(seed);
    const auto snapshot = Snapshot::compile({.services = world.services()});
    const auto rules = snapshot->port_rules();
    ASSERT_TRUE(std::is_sorted(rules.begin(), rules.end(),
                               [](const PortRule& left, const PortRule& right) { return left.port < right.port; }));
    for (int number = 0; number < calls; ++number) {
      std::string host;
      const auto request = world.request(host);
      if (!snapshot->decide(request).allowed()) continue;
      const auto passes = [&](const PortRule& rule) {
        return rule.port == request.port &&
               (rule.any_address || std::any_of(rule.addresses.begin(), rule.addresses.end(),
                                                [&](const Cidr& cidr) { return covers(cidr, request.destination); }));
      };
      ASSERT_TRUE(std::any_of(rules.begin(), rules.end(), passes)) << describe(request);
    }
  }
}

TEST(SnapshotProperties, many_threads_may_ask_one_snapshot) {
  World world(7);
  const auto snapshot = Snapshot::compile({.services = world.services()});
  std::vector<std::string> hosts(200);
  std::vector<Request> requests;
  std::vector<std::string> expected;
  for (auto& host : hosts) {
    requests.push_back(world.request(host));
    expected.push_back(outcome(snapshot->decide(requests.back())));
  }
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        for (std::size_t index = 0; index < requests.size(); ++index) {
          if (outcome(snapshot->decide(requests[index])) != expected[index]) ++wrong;
        }
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace sluice
