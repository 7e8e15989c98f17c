#include "tls/context.h"

#include "scene.h"
#include "tls/session_cache.h"
#include "tls/ticket_keys.h"

namespace sluice::tls {
namespace {

class Reload : public Scene {
 protected:
  // What a failed reload says; empty: it was fine.
  static std::string problem(Context& context) {
    const auto status = context.reload();
    return status ? std::string() : status.error().message();
  }
  std::string seen_identity(const Context& client, const Context& server) {
    auto ends = meet_well(client, server);
    return ends.client ? ends.client->peer_uris().front() : "";
  }
};

TEST_F(Reload, does_nothing_while_the_files_are_what_they_were) {
  Contexts contexts(client_options(), server_options());
  const auto before = contexts.server.current();
  EXPECT_EQ(problem(contexts.server), "");
  EXPECT_EQ(contexts.server.current(), before);
}

TEST_F(Reload, gives_new_connections_the_new_certificate_and_leaves_open_ones) {
  auto options = client_options();
  options.peer_names = {gateway_id, "spiffe://renewed"};
  Contexts contexts(options, server_options());
  auto open = meet_well(contexts.client, contexts.server);
  write_server(authority.issue({.names = uri("spiffe://renewed"), .ends_s = 7000}));
  EXPECT_EQ(seen_identity(contexts.client, contexts.server), gateway_id);
  const auto expired_before = contexts.server.expires();
  EXPECT_EQ(problem(contexts.server), "");
  EXPECT_EQ(seen_identity(contexts.client, contexts.server), "spiffe://renewed");
  EXPECT_GT(contexts.server.expires(), expired_before + 3000);
  exchange(open);
}

TEST_F(Reload, trusts_a_new_authority_from_then_on) {
  const Authority next("next root");
  Contexts contexts(client_options(), server_options());
  directory.write("roots.pem", authority.pem() + next.pem());
  EXPECT_EQ(problem(contexts.client), "");
  EXPECT_EQ(problem(contexts.server), "");
  write_server(next.issue({.names = uri(gateway_id)}));
  EXPECT_EQ(problem(contexts.server), "");
  EXPECT_EQ(seen_identity(contexts.client, contexts.server), gateway_id);
}

TEST_F(Reload, keeps_what_was_good_while_key_and_certificate_do_not_belong_together) {
  Contexts contexts(client_options(), server_options());
  const auto next = authority.issue({.names = uri(gateway_id)});
  directory.write("server.pem", next.pem());
  const auto said = problem(contexts.server);
  EXPECT_EQ(said, path("server.key") + " is not the key of the certificate in " + path("server.pem"));
  EXPECT_EQ(problem(contexts.server), said) << "the same for as long as it is so";
  EXPECT_EQ(seen_identity(contexts.client, contexts.server), gateway_id);
  directory.write("server.key", next.key_pem());
  EXPECT_EQ(problem(contexts.server), "");
}

TEST_F(Reload, refuses_certificates_out_of_their_dates) {
  Contexts contexts(client_options(), server_options());
  write_server(authority.issue({.names = uri(gateway_id), .begins_s = -7200, .ends_s = -10}));
  EXPECT_EQ(problem(contexts.server), path("server.pem") + ": the certificate has expired");
  write_server(authority.issue({.names = uri(gateway_id), .begins_s = 1000}));
  EXPECT_EQ(problem(contexts.server), path("server.pem") + ": the certificate is not valid yet");
  EXPECT_EQ(seen_identity(contexts.client, contexts.server), gateway_id);
}

TEST_F(Reload, names_the_file_that_is_missing_or_broken) {
  Contexts contexts(client_options(), server_options());
  const auto good = authority.issue({.names = uri(gateway_id)});
  directory.write("server.pem", "no PEM at all");
  EXPECT_EQ(problem(contexts.server), path("server.pem") + ": no certificate in it");
  directory.write("server.pem", good.pem() + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  EXPECT_TRUE(problem(contexts.server).starts_with(path("server.pem") + ": bad certificate: "));
  write_server(good);
  std::filesystem::remove(path("server.key"));
  EXPECT_EQ(problem(contexts.server), "open " + path("server.key") + ": No such file or directory");
  write_server(good);
  directory.write("roots.pem", "");
  EXPECT_EQ(problem(contexts.server), path("roots.pem") + ": no certificate in it");
}

TEST_F(Reload, refuses_a_key_that_wants_a_passphrase_instead_of_asking_for_it) {
  const auto issued = authority.issue({.names = uri(gateway_id)});
  const BioPtr bio(::BIO_new(::BIO_s_mem()));
  ::PEM_write_bio_PrivateKey(bio.get(), issued.key.get(), ::EVP_aes_128_cbc(),
                             reinterpret_cast<const unsigned char*>("secret"), 6, nullptr, nullptr);
  char* data = nullptr;
  const auto size = ::BIO_get_mem_data(bio.get(), &data);
  write_server(issued);
  directory.write("server.key", std::string(data, static_cast<std::size_t>(size)));
  ServerContext server(server_options());
  EXPECT_TRUE(problem(server).starts_with(path("server.key") + ": no private key without passphrase in it"));
}

TEST_F(Reload, reads_a_client_that_has_no_files_of_its_own) {
  ClientContext client({});
  EXPECT_EQ(problem(client), "");
  EXPECT_NE(client.current(), nullptr);
  EXPECT_EQ(client.expires(), 0);
}

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::uint64_t lifetime_ns = session_lifetime.count() * second_ns;

TEST(Tickets, are_sealed_with_one_key_for_a_lifetime_and_opened_for_one_more) {
  TicketKeys keys;
  const auto first = keys.sealing(second_ns);
  EXPECT_EQ(keys.sealing(lifetime_ns).name, first.name);
  const auto second = keys.sealing(second_ns + lifetime_ns);
  EXPECT_NE(second.name, first.name);
  EXPECT_NE(second.cipher, first.cipher);
  EXPECT_NE(second.mac, first.mac);
  EXPECT_EQ(keys.opening(first.name, 2 * lifetime_ns)->cipher, first.cipher);
  EXPECT_FALSE(keys.opening(first.name, second_ns + 2 * lifetime_ns));
  EXPECT_EQ(keys.opening(second.name, 2 * lifetime_ns)->cipher, second.cipher);
}

TEST(Tickets, of_another_process_are_not_opened) {
  TicketKeys keys;
  TicketKeys others;
  keys.sealing(second_ns);
  EXPECT_FALSE(keys.opening(others.sealing(second_ns).name, second_ns));
}

SessionPtr session() {
  return SessionPtr(::SSL_SESSION_new());
}

TEST(Sessions, are_handed_out_once) {
  SessionCache cache;
  cache.put("a", session());
  EXPECT_EQ(cache.take("b"), nullptr);
  EXPECT_NE(cache.take("a"), nullptr);
  EXPECT_EQ(cache.take("a"), nullptr);
  EXPECT_EQ(cache.size(), 0U);
}

TEST(Sessions, are_bounded_for_each_peer_and_in_all) {
  SessionCache cache;
  for (std::size_t count = 0; count < 3 * SessionCache::max_per_peer; ++count) cache.put("a", session());
  EXPECT_EQ(cache.size(), SessionCache::max_per_peer);
  for (std::size_t count = 0; count < 3 * SessionCache::max_sessions; ++count) {
    cache.put(std::to_string(count), session());
    ASSERT_LE(cache.size(), SessionCache::max_sessions);
  }
}

}  // namespace
}  // namespace sluice::tls
