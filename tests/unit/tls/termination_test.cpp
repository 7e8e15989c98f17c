// TLS that ends here, by what Gateways say of it.
#include "tls/termination.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "base/sha256.h"
#include "scene.h"
#include "tls/digest.h"
#include "tls/loaded.h"

namespace sluice::tls {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class Termination : public Scene {
 protected:
  Termination() {
    write_secret("site", authority.issue({.names = "DNS:a.example,DNS:*.b.example"}));
    write_client(clients.issue({.names = "DNS:client.example"}));
  }

  void write_secret(const std::string& name, const Issued& issued) {
    std::filesystem::create_directories(path(name));
    directory.write(name + "/tls.crt", issued.pem());
    directory.write(name + "/tls.key", issued.key_pem());
  }

  static TerminationOptions simple(std::vector<std::string> hosts = {"a.example"}) {
    TerminationOptions options;
    options.tls.mode = ServerTlsMode::simple;
    options.tls.credentials = {"site"};
    options.hosts = std::move(hosts);
    options.alpn = {"h2", "http/1.1"};
    return options;
  }
  TerminationOptions mutual() {
    auto options = simple();
    options.tls.mode = ServerTlsMode::mutual;
    std::filesystem::create_directories(path("site-cacert"));
    directory.write("site-cacert/ca.crt", clients.pem());
    return options;
  }
  std::string secrets() const { return path(""); }

  // Why it cannot be used; empty: it can.
  std::string problem(const TerminationOptions& options) {
    const SecretStore store(secrets());
    TerminationContext context(options, store);
    const auto done = context.reload();
    return done ? "" : done.error().message();
  }

  // A client's handshake with it: the errors of both sides.
  Ends meet_client(const TerminationOptions& options, ClientOptions client) {
    const SecretStore store(secrets());
    TerminationContext server(options, store);
    const auto read = server.reload();
    EXPECT_TRUE(read) << read.error().message();
    ClientContext context(std::move(client));
    const auto client_read = context.reload();
    EXPECT_TRUE(client_read) << client_read.error().message();
    auto ends = meet(context, server, {"a.example", {"h2"}});
    return ends;
  }
  ClientOptions anonymous() const {
    ClientOptions options;
    options.files.roots = path("roots.pem");
    options.tls13_only = false;
    return options;
  }
  ClientOptions known() const {
    auto options = anonymous();
    options.files.certificate = path("client.pem");
    options.files.key = path("client.key");
    return options;
  }

  Authority clients{"clients' root"};
};

TEST_F(Termination, a_secret_serves_its_host) {
  const auto ends = meet_client(simple(), anonymous());
  EXPECT_EQ(ends.client_error + ends.server_error, "");
  ASSERT_TRUE(ends.client);
  EXPECT_EQ(ends.client->alpn(), "h2");
}

TEST_F(Termination, the_generic_keys_of_a_secret_go_first) {
  const auto other = authority.issue({.names = "DNS:a.example"});
  directory.write("site/cert", other.pem());
  EXPECT_THAT(problem(simple()), HasSubstr("its key key is missing"));
  directory.write("site/key", other.key_pem());
  EXPECT_EQ(problem(simple()), "");
}

TEST_F(Termination, what_cannot_serve_is_said) {
  auto options = simple();
  options.tls.credentials = {"absent"};
  EXPECT_THAT(problem(options), HasSubstr("no certificate"));
  options.tls.credentials = {"../site"};
  EXPECT_THAT(problem(options), HasSubstr("not the name of a Secret"));
  EXPECT_THAT(problem(simple({"c.example"})), HasSubstr("none of the hosts c.example"));
  directory.write("site/tls.key", authority.issue({}).key_pem());
  EXPECT_THAT(problem(simple()), HasSubstr("is not the key"));
  write_secret("site", authority.issue({.names = "DNS:a.example", .ends_s = -60}));
  EXPECT_THAT(problem(simple()), HasSubstr("expired"));
}

TEST_F(Termination, wildcards_of_hosts_and_certificates_meet) {
  EXPECT_EQ(problem(simple({"x.b.example"})), "");
  EXPECT_EQ(problem(simple({"*.b.example"})), "");
  EXPECT_EQ(problem(simple({"*"})), "");
  EXPECT_THAT(problem(simple({"*.example"})), HasSubstr("none of the hosts"));
}

TEST_F(Termination, a_bad_renewal_leaves_the_certificate_before_in_use) {
  Terminations terminations(secrets());
  const auto contexts = terminations.use({simple({"a.example", "missing.example"})});
  EXPECT_THAT(terminations.reload(), testing::ElementsAre(HasSubstr("no certificate is for missing.example")));
  const auto good = contexts[0]->current();
  write_secret("site", authority.issue({.names = "DNS:elsewhere.example"}));
  EXPECT_THAT(terminations.reload(), testing::Contains(HasSubstr("the certificate before stays in use")));
  EXPECT_EQ(contexts[0]->current(), good);
  write_secret("site", authority.issue({.names = "DNS:a.example,DNS:missing.example"}));
  EXPECT_THAT(terminations.reload(), IsEmpty());
  EXPECT_NE(contexts[0]->current(), good);
}

TEST_F(Termination, secrets_that_are_told_serve_like_those_of_a_directory_and_a_bad_or_missing_one_changes_nothing) {
  Terminations terminations("");
  const auto contexts = terminations.use({simple()});
  const auto tell = [&](const Issued& issued, const std::string& key) {
    EXPECT_TRUE(terminations.secrets().replace({{"site", {{"tls.crt", issued.pem()}, {"tls.key", key}}}}));
    return terminations.reload();
  };
  EXPECT_THAT(terminations.reload(), testing::ElementsAre(HasSubstr("Secret site: no certificate")));
  EXPECT_EQ(contexts[0]->current(), nullptr);
  const auto first = authority.issue({.names = "DNS:a.example"});
  EXPECT_THAT(tell(first, first.key_pem()), IsEmpty());
  const auto good = contexts[0]->current();
  ASSERT_NE(good, nullptr);
  EXPECT_THAT(tell(first, first.key_pem()), IsEmpty());
  EXPECT_EQ(contexts[0]->current(), good);
  const auto second = authority.issue({.names = "DNS:a.example"});
  EXPECT_THAT(tell(second, first.key_pem()), testing::ElementsAre(HasSubstr("is not the key")));
  EXPECT_TRUE(terminations.secrets().replace({}));
  EXPECT_THAT(terminations.reload(), testing::ElementsAre(HasSubstr("the certificate before stays in use")));
  EXPECT_EQ(contexts[0]->current(), good);
  EXPECT_THAT(tell(second, second.key_pem()), IsEmpty());
  EXPECT_NE(contexts[0]->current(), good);
}

TEST(SecretNames, are_those_that_a_server_may_be_made_of) {
  ServerTls tls;
  tls.mode = ServerTlsMode::simple;
  tls.credentials = {"a", "../b"};
  EXPECT_THAT(secret_names(tls), testing::ElementsAre("a"));
  tls.mode = ServerTlsMode::mutual;
  tls.credentials = {"a"};
  EXPECT_THAT(secret_names(tls), testing::ElementsAre("a", "a-cacert"));
  tls.ca_credential = "roots";
  EXPECT_THAT(secret_names(tls), testing::ElementsAre("a", "roots"));
}

TEST_F(Termination, equal_servers_share_a_context_and_keep_it_over_policies) {
  Terminations terminations(secrets());
  const auto first = terminations.use({simple(), simple(), simple({"x.b.example"})});
  EXPECT_EQ(first[0], first[1]);
  EXPECT_NE(first[0], first[2]);
  EXPECT_EQ(terminations.use({simple()})[0], first[0]);
}

TEST_F(Termination, mutual_takes_clients_of_its_roots_only) {
  EXPECT_EQ(meet_client(mutual(), known()).server_error, "");
  EXPECT_THAT(meet_client(mutual(), anonymous()).server_error, HasSubstr("peer did not return a certificate"));
  write_client(authority.issue({.names = "DNS:client.example"}));
  EXPECT_THAT(meet_client(mutual(), known()).server_error, HasSubstr("certificate of DNS:client.example: "));
}

TEST_F(Termination, optional_mutual_takes_those_without_a_certificate_too_but_no_wrong_one) {
  auto options = mutual();
  options.tls.mode = ServerTlsMode::optional_mutual;
  EXPECT_EQ(meet_client(options, anonymous()).server_error, "");
  EXPECT_EQ(meet_client(options, known()).server_error, "");
  write_client(authority.issue({.names = "DNS:client.example"}));
  EXPECT_NE(meet_client(options, known()).server_error, "");
}

TEST_F(Termination, names_and_hashes_of_clients_are_demanded) {
  const auto issued = clients.issue({.names = "DNS:client.example"});
  write_client(issued);
  auto options = mutual();
  options.tls.subject_alt_names = {"other.example"};
  EXPECT_THAT(meet_client(options, known()).server_error, HasSubstr("wrong identity"));
  options.tls.subject_alt_names = {"client.example"};
  EXPECT_EQ(meet_client(options, known()).server_error, "");
  options.tls.certificate_hashes = {std::string(64, '0')};
  EXPECT_THAT(meet_client(options, known()).server_error, HasSubstr("hashes"));
  Digest digest{};
  unsigned size = 0;
  ::X509_digest(issued.certificate.get(), ::EVP_sha256(), digest.data(), &size);
  options.tls.certificate_hashes.push_back(to_hex(digest));
  EXPECT_EQ(meet_client(options, known()).server_error, "");
}

TEST_F(Termination, versions_are_bounded) {
  auto options = simple();
  options.tls.max_version = TlsVersion::v1_2;
  auto client = anonymous();
  client.tls13_only = true;
  EXPECT_NE(meet_client(options, client).server_error, "");
  client.tls13_only = false;
  EXPECT_EQ(meet_client(options, client).server_error, "");
  options.tls.max_version = TlsVersion::automatic;
  options.tls.min_version = TlsVersion::v1_3;
  EXPECT_EQ(meet_client(options, client).server_error, "");
}

TEST_F(Termination, unknown_ciphers_are_passed_over_unless_nothing_is_left) {
  auto options = simple();
  options.tls.cipher_suites = {"NONSENSE", "ECDHE-ECDSA-AES128-GCM-SHA256"};
  EXPECT_EQ(problem(options), "");
  options.tls.cipher_suites = {"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"};
  EXPECT_EQ(problem(options), "");
  options.tls.cipher_suites = {"NONSENSE"};
  EXPECT_THAT(problem(options), HasSubstr("none of NONSENSE is known"));
}

}  // namespace
}  // namespace sluice::tls
