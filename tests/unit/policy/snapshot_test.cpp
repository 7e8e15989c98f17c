// What a snapshot allows, and why it denies: one claim a test, in the words of service entries and calls.
#include "policy/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "services.h"

namespace sluice {
namespace {

using test::address;
using test::call;
using test::http;
using test::opaque;
using test::outcome;
using test::outside;
using test::ServiceEntry;
using test::tls;
using test::unread;
using testing::ElementsAre;
using testing::IsEmpty;

// A policy with one way to ask it: the rule that allows, or the reason.
class Policy {
 public:
  Policy(std::initializer_list<Service> services) : snapshot_(Snapshot::compile({.services = services})) {}

  std::string operator()(const Request& request) const { return outcome(snapshot_->decide(request)); }
  Inspection inspect(std::string_view from, std::string_view to, std::uint16_t port) const {
    return snapshot_->inspect(from, address(to), port);
  }
  const Snapshot& snapshot() const { return *snapshot_; }

 private:
  std::shared_ptr<const Snapshot> snapshot_;
};

// The ServiceEntry of the article that Sluice grew from.
Service external_api() {
  return ServiceEntry("istio-system/external-api").hosts({"api.external-service.com"}).port(443, Protocol::tls);
}

TEST(Snapshot, the_articles_service_entry_allows_its_host_and_nothing_else) {
  const Policy policy({external_api()});
  EXPECT_EQ(policy(tls("app", "api.external-service.com")), "istio-system/external-api");
  EXPECT_EQ(policy(tls("app", "api.external.com")), "host_not_registered");
  EXPECT_EQ(policy(tls("app", "www.api.external-service.com")), "host_not_registered");
  EXPECT_EQ(policy(tls("app", "external-service.com")), "host_not_registered");
  EXPECT_EQ(policy(tls("app", "api.external-service.com", 8443)), "port_not_registered");
  EXPECT_EQ(policy(http("app", "api.external-service.com", 80)), "port_not_registered");
  EXPECT_EQ(policy.inspect("app", outside, 443), Inspection::sniff);
  EXPECT_EQ(policy.inspect("app", outside, 80), Inspection::refuse);
}

TEST(Snapshot, a_verdict_names_the_service_and_the_port_that_allowed) {
  Service entry = ServiceEntry("app/api").hosts({"api.com"}).port(80, Protocol::http).port(443, Protocol::https);
  entry.ports[1].target_port = 8443;
  const Policy policy({entry});
  const auto verdict = policy.snapshot().decide(tls("app", "api.com"));
  EXPECT_EQ(verdict.reason, Reason::registered);
  EXPECT_EQ(verdict.service, &policy.snapshot().services()[0]);
  ASSERT_NE(verdict.port, nullptr);
  EXPECT_EQ(verdict.port->number, 443);
  EXPECT_EQ(verdict.port->target_port, 8443);
}

TEST(Snapshot, a_denial_names_nobody) {
  const Policy policy({external_api()});
  const auto verdict = policy.snapshot().decide(tls("app", "evil.com"));
  EXPECT_EQ(verdict.service, nullptr);
  EXPECT_EQ(verdict.port, nullptr);
}

TEST(Snapshot, an_empty_policy_allows_nothing) {
  const Policy policy({});
  EXPECT_EQ(policy(tls("app", "api.com")), "port_not_registered");
  EXPECT_EQ(policy(unread("app", outside, 443)), "port_not_registered");
  EXPECT_EQ(policy.inspect("app", outside, 443), Inspection::refuse);
  EXPECT_THAT(policy.snapshot().port_rules(), IsEmpty());
}

// Precedence

TEST(Precedence, exact_before_wildcard_then_the_longest_wildcard) {
  const Policy policy({
      ServiceEntry("app/any").hosts({"*.com"}).port(443, Protocol::tls),
      ServiceEntry("app/wild").hosts({"*.foo.com"}).port(443, Protocol::tls),
      ServiceEntry("app/partial").hosts({"*bar.foo.com"}).port(443, Protocol::tls),
      ServiceEntry("app/exact").hosts({"bar.foo.com"}).port(443, Protocol::tls).created(9),
  });
  EXPECT_EQ(policy(tls("app", "bar.foo.com")), "app/exact");
  EXPECT_EQ(policy(tls("app", "x.bar.foo.com")), "app/partial");
  EXPECT_EQ(policy(tls("app", "baz.foo.com")), "app/wild");
  EXPECT_EQ(policy(tls("app", "foo.com")), "app/any");
}

TEST(Precedence, of_two_services_for_a_host_the_older_then_the_smaller_name_then_the_smaller_namespace_wins) {
  const auto entry = [](std::string_view rule, std::int64_t created) {
    return ServiceEntry(rule).hosts({"foo.com"}).port(443, Protocol::tls).created(created);
  };
  EXPECT_EQ(Policy({entry("a/a", 2), entry("z/z", 1)})(tls("app", "foo.com")), "z/z");
  EXPECT_EQ(Policy({entry("a/b", 1), entry("z/a", 1)})(tls("app", "foo.com")), "z/a");
  EXPECT_EQ(Policy({entry("z/a", 1), entry("a/a", 1)})(tls("app", "foo.com")), "a/a");
}

TEST(Precedence, age_counts_across_export_scopes) {
  const Policy policy({
      ServiceEntry("app/own").hosts({"foo.com"}).port(443, Protocol::tls).export_to({"app"}).created(2),
      ServiceEntry("shared/public").hosts({"foo.com"}).port(443, Protocol::tls).created(1),
      ServiceEntry("old/pair").hosts({"foo.com"}).port(443, Protocol::tls).export_to({"app", "old"}).created(0),
  });
  EXPECT_EQ(policy(tls("app", "foo.com")), "old/pair");
  EXPECT_EQ(policy(tls("other", "foo.com")), "shared/public");
}

TEST(Precedence, a_more_specific_host_that_is_not_exported_hides_nothing) {
  const Policy policy({
      ServiceEntry("team/private").hosts({"api.foo.com"}).port(443, Protocol::tls).export_to({"team"}),
      ServiceEntry("shared/wild").hosts({"*.foo.com"}).port(443, Protocol::tls),
  });
  EXPECT_EQ(policy(tls("team", "api.foo.com")), "team/private");
  EXPECT_EQ(policy(tls("app", "api.foo.com")), "shared/wild");
}

TEST(Precedence, a_more_specific_host_on_another_port_or_protocol_hides_nothing) {
  const Policy policy({
      ServiceEntry("app/web").hosts({"api.foo.com"}).port(80, Protocol::http).port(8443, Protocol::tls),
      ServiceEntry("app/clear").hosts({"api.foo.com"}).port(443, Protocol::http),
      ServiceEntry("app/wild").hosts({"*.foo.com"}).port(443, Protocol::tls),
  });
  EXPECT_EQ(policy(tls("app", "api.foo.com", 443)), "app/wild");
  EXPECT_EQ(policy(tls("app", "api.foo.com", 8443)), "app/web");
  EXPECT_EQ(policy(http("app", "api.foo.com", 443)), "app/clear");
}

// exportTo

TEST(ExportTo, an_empty_list_is_everyone_and_a_list_is_exactly_its_namespaces) {
  const Policy policy({
      ServiceEntry("a/all").hosts({"all.com"}).port(443, Protocol::tls),
      ServiceEntry("a/some").hosts({"some.com"}).port(443, Protocol::tls).export_to({"b", "c"}),
  });
  for (const auto* from : {"a", "b", "c", "unknown", ""}) EXPECT_EQ(policy(tls(from, "all.com")), "a/all") << from;
  for (const auto* from : {"b", "c"}) EXPECT_EQ(policy(tls(from, "some.com")), "a/some") << from;
  for (const auto* from : {"a", "bb", "unknown", ""}) {
    EXPECT_EQ(policy(tls(from, "some.com")), "not_exported") << from;
  }
}

TEST(ExportTo, a_tilde_is_nobody_not_even_the_own_namespace) {
  const Policy policy({ServiceEntry("a/none").hosts({"none.com"}).port(443, Protocol::tls).export_to({"~"})});
  for (const auto* from : {"a", "~", ""}) EXPECT_EQ(policy(tls(from, "none.com")), "not_exported") << from;
}

TEST(ExportTo, what_a_namespace_cannot_see_does_not_shape_its_ports) {
  const Policy policy({
      ServiceEntry("team/names").hosts({"api.com"}).port(443, Protocol::tls).export_to({"team"}),
      ServiceEntry("shared/anywhere").hosts({"db.com"}).port(443, Protocol::tcp),
  });
  EXPECT_EQ(policy.inspect("app", outside, 443), Inspection::opaque);
  EXPECT_EQ(policy(unread("app", outside, 443)), "shared/anywhere");
  EXPECT_EQ(policy.inspect("team", outside, 443), Inspection::sniff);
  EXPECT_EQ(policy(tls("team", "other.com")), "host_not_registered");
}

// Names

TEST(Names, https_and_tls_ports_go_by_sni_and_http_http2_and_grpc_ports_by_host) {
  for (const auto protocol : {Protocol::https, Protocol::tls}) {
    const Policy policy({ServiceEntry("a/a").hosts({"foo.com"}).port(443, protocol)});
    EXPECT_EQ(policy(tls("app", "foo.com")), "a/a");
    EXPECT_EQ(policy(http("app", "foo.com", 443)), "not_tls");
  }
  for (const auto protocol : {Protocol::http, Protocol::http2, Protocol::grpc}) {
    const Policy policy({ServiceEntry("a/a").hosts({"foo.com"}).port(80, protocol)});
    EXPECT_EQ(policy(http("app", "foo.com")), "a/a");
    EXPECT_EQ(policy(tls("app", "foo.com", 80)), "protocol_not_allowed");
  }
}

TEST(Names, the_addresses_of_a_named_service_do_not_limit_where_its_name_may_be_dialled) {
  const Policy policy({
      ServiceEntry("a/tls").hosts({"foo.com"}).port(443, Protocol::tls).addresses({"198.51.100.0/24"}),
      ServiceEntry("a/http").hosts({"foo.com"}).port(80, Protocol::http).addresses({"198.51.100.0/24"}),
  });
  EXPECT_EQ(policy(tls("app", "foo.com")), "a/tls");
  EXPECT_EQ(policy(http("app", "foo.com")), "a/http");
  EXPECT_EQ(policy(call(Sniffed::tls, "app", "198.51.100.7", 443, "other.com")), "host_not_registered");
  EXPECT_EQ(policy.inspect("app", "198.51.100.7", 443), Inspection::sniff);
}

TEST(Names, an_ip_literal_as_host_matches_only_the_same_text) {
  const Policy policy({
      ServiceEntry("a/literal").hosts({"198.51.100.7"}).port(80, Protocol::http),
      ServiceEntry("a/by-address").hosts({"foo.com"}).port(80, Protocol::http).addresses({"198.51.100.8"}),
  });
  EXPECT_EQ(policy(http("app", "198.51.100.7")), "a/literal");
  EXPECT_EQ(policy(call(Sniffed::http, "app", "198.51.100.8", 80, "198.51.100.8")), "host_not_registered");
}

TEST(Names, a_wildcard_for_everything_still_asks_for_a_name) {
  const Policy policy({ServiceEntry("a/all").hosts({"*"}).port(443, Protocol::tls).port(80, Protocol::http)});
  EXPECT_EQ(policy(tls("app", "any.com")), "a/all");
  EXPECT_EQ(policy(tls("app", "")), "sni_missing");
  EXPECT_EQ(policy(http("app", "")), "host_missing");
}

// TCP

TEST(Tcp, a_service_with_addresses_takes_only_connections_to_them) {
  const Policy policy({ServiceEntry("a/db")
                           .hosts({"db.com"})
                           .port(5432, Protocol::tcp)
                           .addresses({"198.51.100.0/24", "2001:db8::/64"})});
  for (const auto* to : {"198.51.100.7", "2001:db8::7"}) {
    EXPECT_EQ(policy.inspect("app", to, 5432), Inspection::opaque);
    EXPECT_EQ(policy(unread("app", to, 5432)), "a/db");
  }
  for (const auto* to : {"198.51.101.7", "2001:db8:0:1::7"}) {
    EXPECT_EQ(policy.inspect("app", to, 5432), Inspection::refuse);
    EXPECT_EQ(policy(unread("app", to, 5432)), "address_not_registered");
  }
  EXPECT_EQ(policy(unread("app", "198.51.100.7", 5433)), "port_not_registered");
}

TEST(Tcp, a_service_without_addresses_takes_every_destination_on_its_port) {
  const Policy policy({ServiceEntry("a/mongo").hosts({"db.com"}).port(27017, Protocol::mongo)});
  for (const auto* to : {"198.51.100.7", "2001:db8::7"}) {
    EXPECT_EQ(policy.inspect("app", to, 27017), Inspection::opaque);
    EXPECT_EQ(policy(unread("app", to, 27017)), "a/mongo");
  }
  // Without names on the port nobody asks what the bytes are.
  EXPECT_EQ(policy(tls("app", "other.com", 27017)), "a/mongo");
}

TEST(Tcp, the_longest_prefix_wins_then_the_oldest_service) {
  const Policy policy({
      ServiceEntry("a/wide").hosts({"a.com"}).port(5432, Protocol::tcp).addresses({"198.51.0.0/16"}).created(1),
      ServiceEntry("a/young").hosts({"b.com"}).port(5432, Protocol::tcp).addresses({"198.51.100.0/24"}).created(3),
      ServiceEntry("a/old").hosts({"c.com"}).port(5432, Protocol::tcp).addresses({"198.51.100.0/24"}).created(2),
      ServiceEntry("a/anywhere").hosts({"d.com"}).port(5432, Protocol::tcp).created(0),
      ServiceEntry("b/own").hosts({"e.com"}).port(5432, Protocol::tcp).addresses({"198.51.100.7"}).export_to({"b"}),
  });
  EXPECT_EQ(policy(unread("app", "198.51.100.7", 5432)), "a/old");
  EXPECT_EQ(policy(unread("b", "198.51.100.7", 5432)), "b/own");
  EXPECT_EQ(policy(unread("app", "198.51.101.7", 5432)), "a/wide");
  EXPECT_EQ(policy(unread("app", "203.0.113.7", 5432)), "a/anywhere");
}

TEST(Tcp, a_range_of_one_family_never_covers_the_other) {
  const Policy policy({
      ServiceEntry("a/six").hosts({"a.com"}).port(6, Protocol::tcp).addresses({"::/0"}),
      ServiceEntry("a/four").hosts({"b.com"}).port(4, Protocol::tcp).addresses({"0.0.0.0/0"}),
  });
  EXPECT_EQ(policy(unread("app", "2001:db8::1", 6)), "a/six");
  EXPECT_EQ(policy(unread("app", "203.0.113.9", 6)), "address_not_registered");
  EXPECT_EQ(policy(unread("app", "203.0.113.9", 4)), "a/four");
  EXPECT_EQ(policy(unread("app", "2001:db8::1", 4)), "address_not_registered");
}

TEST(Tcp, an_entry_on_443_does_not_capture_other_hosts_tls_or_http) {
  const Policy policy({
      ServiceEntry("a/vpn").hosts({"vpn.com"}).port(443, Protocol::tcp),
      ServiceEntry("a/api").hosts({"api.com"}).port(443, Protocol::tls),
  });
  EXPECT_EQ(policy.inspect("app", outside, 443), Inspection::sniff);
  EXPECT_EQ(policy(tls("app", "api.com")), "a/api");
  EXPECT_EQ(policy(tls("app", "evil.com")), "host_not_registered");
  EXPECT_EQ(policy(tls("app", "")), "sni_missing");
  EXPECT_EQ(policy(http("app", "evil.com", 443)), "not_tls");
  EXPECT_EQ(policy(unread("app", outside, 443)), "sni_missing");
  EXPECT_EQ(policy(opaque("app", outside, 443)), "a/vpn");
}

TEST(Tcp, an_entry_on_80_does_not_capture_other_hosts_http) {
  const Policy policy({
      ServiceEntry("a/anything").hosts({"any.com"}).port(80, Protocol::tcp),
      ServiceEntry("a/web").hosts({"web.com"}).port(80, Protocol::http),
  });
  EXPECT_EQ(policy(http("app", "web.com")), "a/web");
  EXPECT_EQ(policy(http("app", "evil.com")), "host_not_registered");
  EXPECT_EQ(policy(http("app", "")), "host_missing");
  EXPECT_EQ(policy(tls("app", "evil.com", 80)), "protocol_not_allowed");
  EXPECT_EQ(policy(unread("app", outside, 80)), "host_missing");
  EXPECT_EQ(policy(opaque("app", outside, 80)), "a/anything");
}

TEST(Tcp, addresses_come_before_names_and_are_never_read) {
  const Policy policy({
      ServiceEntry("a/db").hosts({"db.com"}).port(443, Protocol::tcp).addresses({"198.51.100.7"}),
      ServiceEntry("a/api").hosts({"api.com"}).port(443, Protocol::tls),
  });
  EXPECT_EQ(policy.inspect("app", "198.51.100.7", 443), Inspection::opaque);
  EXPECT_EQ(policy(unread("app", "198.51.100.7", 443)), "a/db");
  EXPECT_EQ(policy(call(Sniffed::tls, "app", "198.51.100.7", 443, "evil.com")), "a/db");
  EXPECT_EQ(policy.inspect("app", "198.51.100.8", 443), Inspection::sniff);
  EXPECT_EQ(policy(call(Sniffed::tls, "app", "198.51.100.8", 443, "evil.com")), "host_not_registered");
}

// Reasons: the table in snapshot.h, each row with the rows after it ruled in where they could be.

struct ReasonRow {
  const char* claim;
  Request request;
  const char* reason;
};

TEST(Reasons, follow_the_documented_order) {
  const Policy policy({
      ServiceEntry("a/web").hosts({"web.com", "*.web.com"}).port(80, Protocol::http),
      ServiceEntry("a/api").hosts({"api.com"}).port(443, Protocol::tls).port(8080, Protocol::tls),
      ServiceEntry("a/mixed").hosts({"mixed.com"}).port(8080, Protocol::http),
      ServiceEntry("a/db")
          .hosts({"db.com"})
          .port(443, Protocol::tcp)
          .port(5432, Protocol::tcp)
          .addresses({"192.0.2.1"}),
      ServiceEntry("a/raw").hosts({"raw.com"}).port(8080, Protocol::tcp),
      ServiceEntry("b/api").hosts({"b.com"}).port(443, Protocol::tls).port(444, Protocol::https).export_to({"b"}),
      ServiceEntry("b/http").hosts({"b.com"}).port(445, Protocol::http).export_to({"b"}),
      ServiceEntry("b/db").hosts({"b.com"}).port(5432, Protocol::tcp).addresses({"192.0.2.9"}).export_to({"b"}),
      ServiceEntry("b/any").hosts({"b.com"}).port(446, Protocol::tcp).export_to({"b"}),
      ServiceEntry("b/any-80").hosts({"b.com"}).port(80, Protocol::tcp).export_to({"b"}),
  });
  const ReasonRow rows[] = {
      {"TLS without SNI where TLS names are", tls("app", ""), "sni_missing"},
      {"HTTP without Host where HTTP names are", http("app", ""), "host_missing"},
      {"TLS without SNI where only HTTP names are", tls("app", "", 80), "protocol_not_allowed"},
      {"HTTP without Host where only TLS names are", http("app", "", 443), "not_tls"},
      {"TLS without SNI where nothing is", tls("app", "", 9), "port_not_registered"},

      {"a hidden name on a port with names", tls("app", "b.com"), "not_exported"},
      {"a hidden name on a port of its own", tls("app", "b.com", 444), "not_exported"},
      {"another name on a hidden port", tls("app", "c.com", 444), "port_not_registered"},
      {"HTTP to a hidden TLS name", http("app", "b.com", 444), "port_not_registered"},
      {"an unread call to a port with hidden names", unread("app", outside, 444), "not_exported"},
      {"a hidden address", unread("app", "192.0.2.9", 5432), "not_exported"},
      {"a hidden TCP service without addresses", unread("app", outside, 446), "not_exported"},
      {"the same with bytes", opaque("app", outside, 446), "not_exported"},
      {"opaque bytes that a hidden service would take", opaque("app", outside, 80), "not_exported"},

      {"another address", unread("app", "192.0.2.2", 5432), "address_not_registered"},
      {"another address with a name", tls("app", "api.com", 5432), "address_not_registered"},
      {"the host of an address on a port with names", tls("app", "db.com"), "address_not_registered"},

      {"a port that nobody has", unread("app", outside, 9), "port_not_registered"},
      {"a known host on a port that nobody has", tls("app", "api.com", 9), "port_not_registered"},
      {"opaque bytes on a port that nobody has", opaque("app", outside, 9), "port_not_registered"},

      {"an unread call to a port with TLS names", unread("app", outside, 443), "sni_missing"},
      {"an unread call to a port with HTTP names", unread("app", outside, 80), "host_missing"},
      {"an unread call to a port with both", unread("app", outside, 8080), "sni_missing"},

      {"opaque bytes on a TLS port", opaque("app", outside, 443), "not_tls"},
      {"HTTP on a TLS port", http("app", "api.com", 443), "not_tls"},
      {"HTTP of an unknown host on a TLS port", http("app", "evil.com", 443), "not_tls"},
      {"HTTP to a TLS host on a port with both", http("app", "api.com", 8080), "not_tls"},
      {"TLS on an HTTP port", tls("app", "web.com", 80), "protocol_not_allowed"},
      {"TLS of an unknown host on an HTTP port", tls("app", "evil.com", 80), "protocol_not_allowed"},
      {"TLS to an HTTP host on a port with both", tls("app", "mixed.com", 8080), "protocol_not_allowed"},
      {"TLS to a TCP host on a port with names", tls("app", "raw.com", 8080), "protocol_not_allowed"},
      {"HTTP to a TCP host on a port with names", http("app", "raw.com", 8080), "protocol_not_allowed"},

      {"a host with other ports", tls("app", "web.com", 8080), "port_not_registered"},
      {"a host under a wildcard with other ports", tls("app", "x.web.com", 443), "port_not_registered"},
      {"a host that is hidden on all its ports", tls("app", "b.com", 8080), "host_not_registered"},
      {"an unknown TLS host", tls("app", "evil.com"), "host_not_registered"},
      {"an unknown HTTP host", http("app", "evil.com"), "host_not_registered"},
  };
  for (const auto& row : rows) EXPECT_EQ(policy(row.request), row.reason) << row.claim;
}

TEST(Reasons, opaque_bytes_on_an_http_port_are_the_wrong_protocol) {
  const Policy policy({ServiceEntry("a/web").hosts({"web.com"}).port(80, Protocol::http)});
  EXPECT_EQ(policy(opaque("app", outside, 80)), "protocol_not_allowed");
}

// What the kernel gets

TEST(PortRules, list_each_port_once_over_all_namespaces) {
  const Policy policy({
      ServiceEntry("a/db").hosts({"a.com"}).port(5432, Protocol::tcp).addresses({"192.0.2.8/30", "192.0.2.1"}),
      ServiceEntry("b/db").hosts({"b.com"}).port(5432, Protocol::mongo).addresses({"192.0.2.1"}).export_to({"b"}),
      ServiceEntry("a/tls").hosts({"c.com"}).port(443, Protocol::tls).addresses({"192.0.2.2"}),
      ServiceEntry("a/tcp").hosts({"d.com"}).port(443, Protocol::tcp).addresses({"192.0.2.3"}),
      ServiceEntry("a/http").hosts({"e.com"}).port(80, Protocol::http).export_to({"~"}),
      ServiceEntry("a/any").hosts({"f.com"}).port(25, Protocol::tcp),
  });
  const auto rules = policy.snapshot().port_rules();
  ASSERT_EQ(rules.size(), 4U);
  const std::uint16_t named[] = {25, 80, 443};
  for (std::size_t index = 0; index < 3; ++index) {
    EXPECT_EQ(rules[index].port, named[index]);
    EXPECT_TRUE(rules[index].any_address);
    EXPECT_THAT(rules[index].addresses, IsEmpty());
  }
  EXPECT_EQ(rules[3].port, 5432);
  EXPECT_FALSE(rules[3].any_address);
  EXPECT_THAT(rules[3].addresses, ElementsAre(*Cidr::parse("192.0.2.1"), *Cidr::parse("192.0.2.8/30")));
}

// The whole

TEST(Snapshot, counts_distinct_hosts_and_lists_services_from_the_oldest) {
  const Policy policy({
      ServiceEntry("a/young").hosts({"x.com", "y.com"}).created(2),
      ServiceEntry("a/old").hosts({"y.com", "*.y.com"}).created(1),
  });
  EXPECT_EQ(policy.snapshot().host_count(), 3U);
  ASSERT_EQ(policy.snapshot().services().size(), 2U);
  EXPECT_EQ(policy.snapshot().services()[0].name, "old");
}

TEST(Snapshot, is_immutable_once_compiled) {
  static_assert(std::is_same_v<decltype(Snapshot::compile({})), std::shared_ptr<const Snapshot>>);
  static_assert(!std::is_copy_constructible_v<Snapshot> && !std::is_move_constructible_v<Snapshot>);
  static_assert(!std::is_copy_assignable_v<Snapshot> && !std::is_move_assignable_v<Snapshot>);
}

TEST(Snapshot, a_verdict_outlives_the_policy_that_replaced_its_own) {
  auto current = Snapshot::compile({.services = {external_api()}});
  const auto held = current;
  const auto verdict = held->decide(tls("app", "api.external-service.com"));
  current = Snapshot::compile({});
  EXPECT_EQ(outcome(verdict), "istio-system/external-api");
}

}  // namespace
}  // namespace sluice
