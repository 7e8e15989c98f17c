#include "tls/origination.h"

#include "scene.h"

namespace sluice::tls {
namespace {

class Origination : public Scene {
 protected:
  Origination() {
    write_server(authority.issue({.names = "DNS:api.example.com"}));
    options_.files.roots.clear();
    tls_.mode = ClientTlsMode::simple;
    tls_.ca_certificates = path("roots.pem");
  }
  // What became of a handshake with `server` by `tls`.
  std::string attempt(const ClientTls& tls, const Context& server, const std::string& name = "api.example.com") {
    const auto context = contexts_.get(tls);
    if (!context) return context.error().message();
    return meet(**context, server, {name, {"h2", "http/1.1"}}).client_error;
  }

  ServerOptions options_ = server_options();
  OriginationContexts contexts_;
  ClientTls tls_;
};

TEST_F(Origination, verifies_the_name_that_is_called_or_those_that_the_rule_lists) {
  ServerContext server(options_);
  ASSERT_TRUE(server.reload());
  EXPECT_EQ(attempt(tls_, server), "");
  EXPECT_NE(attempt(tls_, server, "other.example.com"), "");
  auto listed = tls_;
  listed.subject_alt_names = {"a.example.com", "api.example.com"};
  EXPECT_EQ(attempt(listed, server, "other.example.com"), "");
  listed.subject_alt_names = {"a.example.com"};
  EXPECT_NE(attempt(listed, server), "");
}

TEST_F(Origination, shows_the_clients_certificate_in_mode_mutual_alone) {
  options_.files.roots = path("roots.pem");
  ServerContext server(options_);
  ASSERT_TRUE(server.reload());
  tls_.client_certificate = path("client.pem");
  tls_.private_key = path("client.key");
  auto mutual = tls_;
  mutual.mode = ClientTlsMode::mutual;
  const auto context = contexts_.get(mutual);
  ASSERT_TRUE(context);
  const auto ends = meet_well(**context, server, {"api.example.com", {}});
  EXPECT_EQ(ends.server->peer_uris(), std::vector<std::string>{node_id});
  const auto simple = contexts_.get(tls_);
  ASSERT_TRUE(simple);
  EXPECT_NE(meet(**simple, server, {"api.example.com", {}}).server_error, "");
}

TEST_F(Origination, refuses_what_it_cannot_follow) {
  auto tls = tls_;
  tls.credential_name = "secret";
  EXPECT_TRUE(contexts_.get(tls).error().message().starts_with("tls.credentialName: "));
  tls = tls_;
  tls.mode = ClientTlsMode::mutual;
  EXPECT_EQ(contexts_.get(tls).error().message(), "tls.mode: MUTUAL needs clientCertificate and privateKey");
  tls.mode = ClientTlsMode::istio_mutual;
  EXPECT_TRUE(contexts_.get(tls).error().message().starts_with("tls.mode: ISTIO_MUTUAL "));
  tls.mode = ClientTlsMode::disable;
  EXPECT_FALSE(contexts_.get(tls));
}

TEST_F(Origination, has_one_context_for_equal_rules_and_reads_its_files_again) {
  const auto first = contexts_.get(tls_);
  ASSERT_TRUE(first);
  EXPECT_EQ(*contexts_.get(tls_), *first);
  const auto before = (*first)->current();
  contexts_.reload();
  EXPECT_EQ((*first)->current(), before);
  directory.write("roots.pem", Authority("next").pem());
  contexts_.reload();
  EXPECT_NE((*first)->current(), before);
}

TEST_F(Origination, says_which_file_is_missing_until_it_is_there) {
  tls_.ca_certificates = path("late.pem");
  const auto missing = "open " + path("late.pem") + ": No such file or directory";
  EXPECT_EQ(contexts_.get(tls_).error().message(), missing);
  EXPECT_EQ(contexts_.get(tls_).error().message(), missing);
  directory.write("late.pem", authority.pem());
  contexts_.reload();
  EXPECT_TRUE(contexts_.get(tls_));
}

}  // namespace
}  // namespace sluice::tls
