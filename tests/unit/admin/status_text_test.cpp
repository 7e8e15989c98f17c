#include "admin/status_text.h"

#include <gmock/gmock.h>

#include <boost/json.hpp>

namespace sluice::admin {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

boost::json::value json(std::string_view text) {
  return boost::json::parse(text);
}

TEST(StatusText, what_is_wrong_comes_first_and_the_table_follows) {
  EXPECT_EQ(format_status(json(R"({
    "role": "agent", "node": "node-1", "version": "0.1.0", "healthy": false, "uptime_s": 93784,
    "wrong": ["audit log: disk full", "shop.yaml:12: bad port"],
    "policy": {"generation": 3, "services": 12, "hosts": 40, "problems": [
      {"severity": "error", "file": "shop.yaml", "line": 12, "object": "ServiceEntry shop/api", "field": "spec.ports",
       "message": "must not be empty"}]},
    "interfaces": [{"name": "veth1", "ifindex": 7, "kind": "pod", "pod": "shop/cart-7"},
                   {"name": "eth0", "ifindex": 2, "kind": "uplink", "pod": ""}],
    "connections": {"open": 5},
    "verdicts": {"allow": 90, "deny": 10, "would_deny": 0},
    "reasons": {"sni_missing": 3, "registered": 90, "host_not_registered": 7, "not_tls": 0},
    "audit": {"path": "/var/log/sluice/audit.jsonl", "lines": 195, "drops": 2,
              "head": "0123456789abcdef0123456789abcdef"}})")),
            "sluice agent 0.1.0 on node-1, up 1d 2h: NOT HEALTHY\n"
            "  ! audit log: disk full\n"
            "  ! shop.yaml:12: bad port\n"
            "\n"
            "policy       generation 3, 12 services, 40 hosts\n"
            "problems     1\n"
            "  error  shop.yaml:12  ServiceEntry shop/api  spec.ports: must not be empty\n"
            "interfaces   2\n"
            "  pod     veth1               7  shop/cart-7\n"
            "  uplink  eth0                2  \n"
            "connections  5 open\n"
            "verdicts     allow 90, deny 10\n"
            "reasons      registered 90, host_not_registered 7, sni_missing 3\n"
            "audit        /var/log/sluice/audit.jsonl: 195 lines, 2 drops, head 0123456789ab\n");
}

TEST(StatusText, a_gateway_without_interfaces_has_no_such_row) {
  const auto text = format_status(json(R"({"role":"gateway","healthy":true,"wrong":[],"connections":{"open":0}})"));
  EXPECT_THAT(text, StartsWith("sluice gateway"));
  EXPECT_THAT(text, HasSubstr(": healthy\n\nconnections  0 open\n"));
  EXPECT_THAT(text, Not(HasSubstr("interfaces")));
}

TEST(StatusText, anything_can_be_shown_and_nothing_reaches_the_terminal_raw) {
  for (const auto* text : {"null", "[]", "7", R"({"policy":7,"interfaces":{},"wrong":"x","verdicts":[],"audit":null})",
                           R"({"policy":{"problems":[1,{}]},"interfaces":[null],"reasons":{"a":"b"}})"}) {
    EXPECT_THAT(format_status(json(text)), StartsWith("sluice"));
    EXPECT_FALSE(format_flows(json(text)).empty());
  }
  EXPECT_EQ(format_status(json(R"({"wrong":["\u001b[2J"]})")).find('\x1b'), std::string::npos);
}

TEST(FlowsText, one_row_a_connection_under_aligned_heads) {
  EXPECT_EQ(format_flows(json(R"([
    {"id":"c-1","pod":"shop/cart-7","source":"10.1.0.5:4000","destination":"203.0.113.9:443","host":"api.example.com",
     "verdict":"allow","rule":"shop/api","gateway":"10.0.0.7:15443","bytes_sent":100,"bytes_received":2048,"age_s":61,
     "datapath":"relay"},
    {"id":"c-22","pod":"","source":"10.1.0.6:4000"}])")),
            "ID    POD          SOURCE         DESTINATION      HOST             VERDICT  RULE      GATEWAY         "
            "SENT   RECEIVED  AGE    PATH\n"
            "c-1   shop/cart-7  10.1.0.5:4000  203.0.113.9:443  api.example.com  allow    shop/api  10.0.0.7:15443  "
            "100 B  2.0 KiB   1m 1s  relay\n"
            "c-22  -            10.1.0.6:4000  -                -                -        -         -               "
            "0 B    0 B       0s     -\n");
  EXPECT_EQ(format_flows(json("[]")), "no connections\n");
}

}  // namespace
}  // namespace sluice::admin
