// The files in config/ are complete and true: every key of a role, each with its default.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "settings/read_settings.h"

namespace sluice::settings {
namespace {

std::string example(const std::string& name) {
  std::ifstream file(std::string(SLUICE_SOURCE_DIR "/config/") + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void expect_common_defaults(const Node& node, const Limits& limits, const Audit& audit, const Admin& admin) {
  EXPECT_EQ(node.threads, Node{}.threads);
  EXPECT_EQ(node.bpffs, Node{}.bpffs);
  EXPECT_EQ(node.cgroup, Node{}.cgroup);
  EXPECT_EQ(node.log_level, Node{}.log_level);
  EXPECT_EQ(limits.connections, Limits{}.connections);
  EXPECT_EQ(limits.connections_per_pod, Limits{}.connections_per_pod);
  EXPECT_EQ(limits.connections_per_second, Limits{}.connections_per_second);
  EXPECT_EQ(limits.connections_per_second_per_pod, Limits{}.connections_per_second_per_pod);
  EXPECT_EQ(limits.drain_timeout, Limits{}.drain_timeout);
  EXPECT_EQ(limits.denials_per_second, Limits{}.denials_per_second);
  EXPECT_EQ(limits.first_bytes_timeout, Limits{}.first_bytes_timeout);
  EXPECT_EQ(limits.http_idle_timeout, Limits{}.http_idle_timeout);
  EXPECT_EQ(limits.answer_timeout, Limits{}.answer_timeout);
  EXPECT_EQ(limits.connect_timeout, Limits{}.connect_timeout);
  EXPECT_EQ(limits.idle_timeout, Limits{}.idle_timeout);
  EXPECT_EQ(audit.path, Audit{}.path);
  EXPECT_EQ(audit.rotate_bytes, Audit{}.rotate_bytes);
  EXPECT_EQ(audit.keep_files, Audit{}.keep_files);
  EXPECT_EQ(audit.on_failure, Audit{}.on_failure);
  EXPECT_EQ(audit.key_file, Audit{}.key_file);
  EXPECT_EQ(audit.checkpoint_records, Audit{}.checkpoint_records);
  EXPECT_EQ(admin.socket, Admin{}.socket);
  EXPECT_EQ(admin.metrics_listen, std::nullopt);
}

TEST(AgentExample, has_every_key) {
  const auto stream = yaml::parse(example("agent.yaml"));
  ASSERT_EQ(stream.documents.size(), 1U);
  yaml::Context context;
  const auto settings = read_agent(stream.documents[0].root, context);
  EXPECT_TRUE(context.faults.empty());
  EXPECT_THAT(context.absent, testing::IsEmpty());
  EXPECT_EQ(settings.pods.size(), 1U) << "without a pod in the example its keys would go unchecked";
}

TEST(GatewayExample, has_every_key) {
  const auto stream = yaml::parse(example("gateway.yaml"));
  ASSERT_EQ(stream.documents.size(), 1U);
  yaml::Context context;
  const auto settings = read_gateway(stream.documents[0].root, context);
  EXPECT_TRUE(context.faults.empty());
  EXPECT_THAT(context.absent, testing::IsEmpty());
  EXPECT_FALSE(settings.gateway.listen.empty());
}

TEST(IngressExample, has_every_key) {
  const auto stream = yaml::parse(example("ingress.yaml"));
  ASSERT_EQ(stream.documents.size(), 1U);
  yaml::Context context;
  const auto settings = read_ingress(stream.documents[0].root, context);
  EXPECT_TRUE(context.faults.empty());
  EXPECT_THAT(context.absent, testing::IsEmpty());
  EXPECT_EQ(settings.ingress.services.size(), 1U) << "without a service in the example its keys would go unchecked";
}

TEST(IngressExample, loads_and_shows_the_defaults) {
  const auto result = load_ingress(SLUICE_SOURCE_DIR "/config/ingress.yaml");
  ASSERT_TRUE(result.ok()) << result.error().message();
  expect_common_defaults(result->node, result->limits, result->audit, result->admin);
  const auto& ingress = result->ingress;
  EXPECT_EQ(ingress.addresses, Ingress{}.addresses);
  EXPECT_EQ(ingress.services[0].protocol, ClusterService{}.protocol);
  EXPECT_EQ(ingress.access_log, Ingress{}.access_log);
  EXPECT_EQ(ingress.max_head_bytes, Ingress{}.max_head_bytes);
  EXPECT_EQ(ingress.max_body_bytes, Ingress{}.max_body_bytes);
  EXPECT_EQ(ingress.max_streams, Ingress{}.max_streams);
  EXPECT_EQ(ingress.stall_timeout, Ingress{}.stall_timeout);
  EXPECT_EQ(ingress.outlier_failures, Ingress{}.outlier_failures);
  EXPECT_EQ(ingress.outlier_ejection, Ingress{}.outlier_ejection);
  EXPECT_TRUE(ingress.outside.resolvers.empty());
  EXPECT_TRUE(ingress.outside.forbidden_cidrs.empty());
  EXPECT_TRUE(ingress.outside.permitted_cidrs.empty());
}

TEST(AgentExample, loads_and_shows_the_defaults) {
  const auto result = load_agent(SLUICE_SOURCE_DIR "/config/agent.yaml");
  ASSERT_TRUE(result.ok()) << result.error().message();
  expect_common_defaults(result->node, result->limits, result->audit, result->admin);
  EXPECT_EQ(result->interception.pod_interfaces, Interception{}.pod_interfaces);
  EXPECT_EQ(result->interception.uplinks, Interception{}.uplinks);
  EXPECT_EQ(result->interception.inbound_replies, Interception{}.inbound_replies);
  EXPECT_TRUE(result->interception.udp_allow.empty());
  EXPECT_EQ(result->egress.mode, Egress{}.mode);
  EXPECT_EQ(result->egress.ech, Egress{}.ech);
  ASSERT_EQ(result->egress.gateways.size(), 1U);
  EXPECT_EQ(result->egress.gateways[0].transport, GatewayTarget{}.transport);
  EXPECT_EQ(result->egress.gateways[0].header, GatewayTarget{}.header);
  EXPECT_EQ(result->egress.unrouted, Egress{}.unrouted);
  EXPECT_EQ(result->egress.datapath, Egress{}.datapath);
  EXPECT_EQ(result->egress.health.failures, GatewayHealth{}.failures);
  EXPECT_EQ(result->egress.health.ejection, GatewayHealth{}.ejection);
  EXPECT_TRUE(result->egress.audit_namespaces.empty());
  ASSERT_EQ(result->pods.size(), 1U);
  EXPECT_EQ(result->pods[0].service_account, Pod{}.service_account);
}

TEST(GatewayExample, loads_and_shows_the_defaults) {
  const auto result = load_gateway(SLUICE_SOURCE_DIR "/config/gateway.yaml");
  ASSERT_TRUE(result.ok()) << result.error().message();
  expect_common_defaults(result->node, result->limits, result->audit, result->admin);
  EXPECT_TRUE(result->gateway.outside.resolvers.empty());
  EXPECT_TRUE(result->gateway.outside.forbidden_cidrs.empty());
  EXPECT_TRUE(result->gateway.outside.permitted_cidrs.empty());
  EXPECT_EQ(result->gateway.listen.front().transport, Listen{}.transport);
  EXPECT_EQ(result->gateway.listen.front().translated, Listen{}.translated);
  EXPECT_EQ(result->gateway.unrouted, Gateway{}.unrouted);
  EXPECT_EQ(result->gateway.header_age, Gateway{}.header_age);
}

}  // namespace
}  // namespace sluice::settings
