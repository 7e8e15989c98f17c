#include "observe/metrics.h"

#include <gmock/gmock.h>

namespace sluice::observe {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Metrics, decisions_are_counted_by_verdict_and_reason) {
  Metrics metrics("agent", "node-1", "0.1.0");
  metrics.count_decision(Decision::allow, Reason::registered);
  metrics.count_decision(Decision::deny, Reason::sni_missing, 3);
  metrics.count_decision(Decision::would_deny, Reason::sni_missing);
  EXPECT_THAT(metrics.render(), HasSubstr(R"(sluice_connections_total{reason="registered",verdict="allow"} 1)"));
  EXPECT_THAT(metrics.render(), HasSubstr(R"(sluice_connections_total{reason="sni_missing",verdict="deny"} 3)"));
  EXPECT_THAT(metrics.render(), HasSubstr(R"(sluice_connections_total{reason="sni_missing",verdict="would_deny"} 1)"));
  EXPECT_EQ(metrics.decisions(Decision::deny), 3U);
  EXPECT_EQ(metrics.decisions(Reason::sni_missing), 4U);
  EXPECT_EQ(metrics.decisions(Decision::would_deny, Reason::sni_missing), 1U);
}

TEST(Metrics, no_combination_of_verdict_and_reason_is_lost) {
  Metrics metrics("agent", "node-1", "0.1.0");
  for (std::size_t reason = 0; reason < reason_count; ++reason) {
    for (const auto verdict : {Decision::allow, Decision::deny, Decision::would_deny}) {
      metrics.count_decision(verdict, static_cast<Reason>(reason));
    }
    EXPECT_EQ(metrics.decisions(static_cast<Reason>(reason)), 3U);
    metrics.count_dial_failure(static_cast<Reason>(reason));
  }
  EXPECT_THAT(metrics.render(), Not(HasSubstr(R"(reason="sni_missing",verdict="allow")")));
  EXPECT_THAT(metrics.render(), HasSubstr(R"(sluice_upstream_dial_failures_total{reason="dns_failure"} 1)"));
  EXPECT_THAT(metrics.render(),
              HasSubstr(R"(sluice_upstream_dial_failures_total{reason="other"} )" + std::to_string(reason_count - 6)));
}

TEST(Metrics, every_reason_is_there_from_the_start) {
  const auto text = Metrics("agent", "node-1", "0.1.0").render();
  for (std::size_t reason = 0; reason < reason_count; ++reason) {
    EXPECT_THAT(text, HasSubstr("reason=\"" + std::string(to_string(static_cast<Reason>(reason))) + "\""));
  }
  EXPECT_THAT(text, HasSubstr(R"(sluice_info{node="node-1",role="agent",version="0.1.0"} 1)"));
}

TEST(Metrics, connections_and_bytes_follow_what_happens) {
  Metrics metrics("agent", "node-1", "0.1.0");
  metrics.connection_opened();
  metrics.connection_opened();
  metrics.connection_closed(10, 20);
  metrics.observe_decision_seconds(0.00002);
  EXPECT_EQ(metrics.connections_open(), 1);
  const auto text = metrics.render();
  EXPECT_THAT(text, HasSubstr("sluice_connections_open 1"));
  EXPECT_THAT(text, HasSubstr(R"(sluice_bytes_total{direction="sent"} 10)"));
  EXPECT_THAT(text, HasSubstr(R"(sluice_bytes_total{direction="received"} 20)"));
  EXPECT_THAT(text, HasSubstr("sluice_decision_seconds_count 1"));
}

TEST(Metrics, policy_and_interfaces_show_the_last_state) {
  Metrics metrics("agent", "node-1", "0.1.0");
  metrics.set_policy(3, 10, 20);
  metrics.set_policy_problems(1, 2);
  metrics.set_interfaces(4, 1);
  const auto text = metrics.render();
  for (const auto* line :
       {"sluice_policy_generation 3", "sluice_policy_services 10", "sluice_policy_hosts 20",
        R"(sluice_policy_problems{severity="error"} 1)", R"(sluice_policy_problems{severity="warning"} 2)",
        R"(sluice_interfaces_attached{kind="pod"} 4)", R"(sluice_interfaces_attached{kind="uplink"} 1)"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(Metrics, the_audit_head_is_one_series_with_the_newest_hash) {
  Metrics metrics("agent", "node-1", "0.1.0");
  metrics.set_audit({.path = "x", .lines = 5, .drops = 0, .seq = 7, .head = "aaaa"});
  metrics.set_audit({.path = "x", .lines = 6, .drops = 2, .seq = 8, .head = "bbbb"});
  const auto text = metrics.render();
  EXPECT_THAT(text, HasSubstr(R"(sluice_audit_head_info{head="bbbb"} 8)"));
  EXPECT_THAT(text, Not(HasSubstr("aaaa")));
  EXPECT_THAT(text, HasSubstr("sluice_audit_lines_total 6"));
  EXPECT_THAT(text, HasSubstr("sluice_audit_drops_total 2"));
}

}  // namespace
}  // namespace sluice::observe
