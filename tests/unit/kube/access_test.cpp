// How the API server is reached: of a pod, and of kubeconfig files.
#include "kube/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::kube {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string config(const std::string& cluster, const std::string& user) {
  return "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
         "contexts:\n- name: c\n  context: {cluster: k, user: u}\n- name: bare\n  context: {cluster: k}\n"
         "clusters:\n- name: k\n  cluster: " +
         cluster + "\nusers:\n- name: u\n  user: " + user + "\n";
}

Result<Access> read(const std::string& cluster, const std::string& user, std::string_view context = "") {
  return parse_kubeconfig(config(cluster, user), "/etc/k/config", context);
}

TEST(InCluster, is_where_the_environment_says_with_the_service_account) {
  const auto access = in_cluster("10.96.0.1", "443", "/sa");
  ASSERT_TRUE(access.ok());
  EXPECT_EQ(access->host, "10.96.0.1");
  EXPECT_EQ(access->port, 443);
  EXPECT_TRUE(access->tls);
  EXPECT_EQ(access->roots.file, "/sa/ca.crt");
  EXPECT_EQ(access->token_file, "/sa/token");
}
TEST(InCluster, outside_a_pod_says_what_is_needed) {
  EXPECT_THAT(in_cluster("", "", "/sa").error().message(), HasSubstr("resources.kubernetes.kubeconfig"));
}
TEST(InCluster, a_port_that_is_none_is_refused) {
  for (const auto* port : {"0", "65536", "x", "443 "}) EXPECT_FALSE(in_cluster("10.96.0.1", port, "/sa").ok()) << port;
}

TEST(Kubeconfig, names_the_server) {
  const auto access = read("{server: 'https://10.0.0.1:6443/prefix/'}", "{token: t}");
  ASSERT_TRUE(access.ok()) << access.error().message();
  EXPECT_EQ(access->host, "10.0.0.1");
  EXPECT_EQ(access->port, 6443);
  EXPECT_EQ(access->path, "/prefix");
  EXPECT_EQ(access->token, "t");
}
TEST(Kubeconfig, an_ipv6_server_is_without_brackets) {
  const auto access = read("{server: 'https://[fd00::1]:6443'}", "{}");
  ASSERT_TRUE(access.ok()) << access.error().message();
  EXPECT_EQ(access->host, "fd00::1");
}
TEST(Kubeconfig, a_server_without_port_is_at_the_ports_of_its_scheme) {
  EXPECT_EQ(read("{server: 'https://api.example'}", "{}")->port, 443);
  EXPECT_EQ(read("{server: 'http://api.example'}", "{}")->port, 80);
  EXPECT_FALSE(read("{server: 'http://api.example'}", "{}")->tls);
}
TEST(Kubeconfig, relative_files_are_beside_it) {
  const auto access = read("{server: 'https://a', certificate-authority: ca.pem}",
                           "{tokenFile: ../t, client-certificate: /c.pem, client-key: k.pem}");
  ASSERT_TRUE(access.ok()) << access.error().message();
  EXPECT_EQ(access->roots.file, "/etc/k/ca.pem");
  EXPECT_EQ(access->token_file, "/etc/k/../t");
  EXPECT_EQ(access->certificate.file, "/c.pem");
  EXPECT_EQ(access->key.file, "/etc/k/k.pem");
}
TEST(Kubeconfig, data_goes_before_a_file) {
  const auto access =
      read("{server: 'https://a', certificate-authority: ca.pem, certificate-authority-data: UEVN}", "{}");
  ASSERT_TRUE(access.ok()) << access.error().message();
  EXPECT_EQ(access->roots.text, "PEM");
  EXPECT_EQ(access->roots.file, "");
}
TEST(Kubeconfig, data_is_base64_with_padding) {
  EXPECT_EQ(read("{server: 'https://a', certificate-authority-data: UEU=}", "{}")->roots.text, "PE");
  for (const auto* data : {"UEU", "U=EU", "****", "U==="}) {
    EXPECT_FALSE(read(std::string("{server: 'https://a', certificate-authority-data: '") + data + "'}", "{}").ok())
        << data;
  }
}
TEST(Kubeconfig, the_name_of_the_certificate_may_be_another) {
  EXPECT_EQ(read("{server: 'https://a', tls-server-name: kubernetes}", "{}")->server_name, "kubernetes");
}
TEST(Kubeconfig, a_context_may_be_named) {
  const auto access = read("{server: 'https://a'}", "{token: t}", "bare");
  ASSERT_TRUE(access.ok()) << access.error().message();
  EXPECT_EQ(access->token, "");
}
TEST(Kubeconfig, what_is_not_there_is_named) {
  EXPECT_THAT(read("{server: 'https://a'}", "{}", "other").error().message(), HasSubstr("no context \"other\""));
  EXPECT_THAT(parse_kubeconfig("a: b", "/f", "").error().message(), HasSubstr("/f: no `current-context`"));
  EXPECT_THAT(
      parse_kubeconfig("current-context: c\ncontexts: [{name: c, context: {cluster: x}}]", "/f", "").error().message(),
      HasSubstr("no cluster \"x\""));
}
TEST(Kubeconfig, programs_and_passwords_are_refused) {
  for (const auto* user : {"{exec: {command: x}}", "{auth-provider: {name: x}}", "{username: a, password: b}"}) {
    EXPECT_THAT(read("{server: 'https://a'}", user).error().message(), HasSubstr("is not supported")) << user;
  }
}
TEST(Kubeconfig, a_token_is_never_sent_in_the_clear) {
  EXPECT_THAT(read("{server: 'http://a'}", "{token: secret}").error().message(), HasSubstr("never sent without TLS"));
}
TEST(Kubeconfig, half_a_client_certificate_is_refused) {
  EXPECT_FALSE(read("{server: 'https://a'}", "{client-certificate: c}").ok());
}
TEST(Kubeconfig, servers_that_are_no_urls_are_refused) {
  for (const auto* server :
       {"10.0.0.1:6443", "ftp://a", "https://", "https://u:p@a", "https://a:0", "https://a:99999"}) {
    EXPECT_FALSE(read(std::string("{server: '") + server + "'}", "{}").ok()) << server;
  }
}
TEST(Kubeconfig, secrets_are_never_in_an_error) {
  EXPECT_THAT(read("{server: 'http://a'}", "{token: secret}").error().message(), Not(HasSubstr("secret")));
  EXPECT_THAT(read("{server: 'https://a'}", "{client-key-data: 'secret!', client-certificate: c}").error().message(),
              Not(HasSubstr("secret!")));
}
TEST(Kubeconfig, text_that_is_no_yaml_is_an_error_with_its_line) {
  EXPECT_THAT(parse_kubeconfig("a: [", "/f", "").error().message(), HasSubstr("/f:"));
}

}  // namespace
}  // namespace sluice::kube
