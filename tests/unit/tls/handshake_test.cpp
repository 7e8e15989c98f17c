#include "scene.h"
#include "tls/loaded.h"
#include "tls/peer.h"

namespace sluice::tls {
namespace {

using testing::Test;

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

class Handshakes : public Scene {};

TEST_F(Handshakes, tell_both_sides_who_the_other_one_is) {
  const Contexts contexts(client_options(), server_options());
  auto ends = meet_well(contexts.client, contexts.server);
  EXPECT_EQ(ends.client->peer_uris(), std::vector<std::string>{gateway_id});
  EXPECT_EQ(ends.server->peer_uris(), std::vector<std::string>{node_id});
  EXPECT_FALSE(ends.client->resumed());
  EXPECT_FALSE(ends.client->is_plain());
}

TEST_F(Handshakes, resume_the_session_of_an_earlier_connection_and_keep_its_identity) {
  const Contexts contexts(client_options(), server_options());
  auto first = meet_well(contexts.client, contexts.server);
  exchange(first);
  for (int round = 0; round < 3; ++round) {
    auto next = meet_well(contexts.client, contexts.server);
    EXPECT_TRUE(next.client->resumed());
    EXPECT_TRUE(next.server->resumed());
    EXPECT_EQ(next.client->peer_uris(), std::vector<std::string>{gateway_id});
    EXPECT_EQ(next.server->peer_uris(), std::vector<std::string>{node_id});
    // Each connection brings the ticket of the next one.
    exchange(next);
  }
}

TEST_F(Handshakes, resume_after_a_connection_that_was_cut) {
  const Contexts contexts(client_options(), server_options());
  auto first = meet_well(contexts.client, contexts.server);
  exchange(first);
  first.client->reset();
  first = {};
  EXPECT_TRUE(meet_well(contexts.client, contexts.server).client->resumed());
}

TEST_F(Handshakes, resume_a_session_of_tls_1_2_again_and_again) {
  auto client = client_options();
  client.tls13_only = false;
  auto server = server_options();
  server.tls13_only = false;
  const Contexts contexts(client, server);
  // As most servers are: tickets are not renewed.
  auto* context = contexts.server.current()->context.get();
  ::SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
  ::SSL_CTX_set_tlsext_ticket_key_evp_cb(context, nullptr);
  ::SSL_CTX_set_session_ticket_cb(context, nullptr, nullptr, nullptr);
  for (int round = 0; round < 4; ++round) {
    auto ends = meet_well(contexts.client, contexts.server);
    EXPECT_EQ(ends.client->resumed(), round > 0);
    exchange(ends);
  }
}

TEST_F(Handshakes, resume_no_session_across_a_reload_of_either_side) {
  Contexts contexts(client_options(), server_options());
  auto first = meet_well(contexts.client, contexts.server);
  exchange(first);
  write_server(authority.issue({.names = uri(gateway_id)}));
  ASSERT_TRUE(contexts.server.reload());
  auto second = meet_well(contexts.client, contexts.server);
  EXPECT_FALSE(second.server->resumed());
  exchange(second);
  write_client(authority.issue({.names = uri(node_id)}));
  ASSERT_TRUE(contexts.client.reload());
  EXPECT_FALSE(meet_well(contexts.client, contexts.server).client->resumed());
}

TEST_F(Handshakes, fail_when_the_server_has_another_identity) {
  write_server(authority.issue({.names = uri("spiffe://cluster.local/ns/default/sa/evil")}));
  const Contexts contexts(client_options(), server_options());
  const auto ends = meet(contexts.client, contexts.server);
  EXPECT_EQ(ends.client_error,
            "TLS handshake: wrong identity: expected spiffe://cluster.local/ns/egress/sa/gateway, found "
            "spiffe://cluster.local/ns/default/sa/evil");
  EXPECT_TRUE(contains(ends.server_error, "the peer refused: ")) << ends.server_error;
  EXPECT_EQ(ends.client, nullptr);
}

TEST_F(Handshakes, fail_when_the_servers_authority_is_unknown) {
  write_server(Authority("somebody else").issue({.names = uri(gateway_id)}));
  const Contexts contexts(client_options(), server_options());
  const auto ends = meet(contexts.client, contexts.server);
  EXPECT_TRUE(contains(ends.client_error, "unable to get local issuer certificate")) << ends.client_error;
  EXPECT_TRUE(contains(ends.client_error, gateway_id)) << ends.client_error;
  EXPECT_EQ(ends.server_error, "TLS handshake: the peer refused: unknown ca");
}

TEST_F(Handshakes, fail_when_a_certificate_of_the_chain_has_expired) {
  const Authority lapsed(authority, "lapsed authority", -7200, -60);
  const auto leaf = lapsed.issue({.names = uri(gateway_id)});
  write_server(leaf);
  directory.write("server.pem", leaf.pem() + lapsed.pem());
  const Contexts contexts(client_options(), server_options());
  const auto ends = meet(contexts.client, contexts.server);
  EXPECT_TRUE(contains(ends.client_error, "certificate has expired (/CN=lapsed authority)")) << ends.client_error;
}

TEST_F(Handshakes, lead_over_an_intermediate_authority_that_the_peer_shows) {
  const Authority intermediate(authority, "intermediate", -60, 3600);
  const auto leaf = intermediate.issue({.names = uri(gateway_id)});
  write_server(leaf);
  directory.write("server.pem", leaf.pem() + intermediate.pem());
  const Contexts contexts(client_options(), server_options());
  meet_well(contexts.client, contexts.server);
}

TEST_F(Handshakes, refuse_a_client_without_certificate_which_then_learns_why) {
  auto options = client_options();
  options.files.certificate.clear();
  options.files.key.clear();
  const Contexts contexts(options, server_options());
  auto ends = meet(contexts.client, contexts.server);
  EXPECT_TRUE(contains(ends.server_error, "peer did not return a certificate")) << ends.server_error;
  ASSERT_NE(ends.client, nullptr);
  run(expect_end(*ends.client, "broken"));
  EXPECT_EQ(ends.client->failure(), "the peer refused: certificate required");
}

TEST_F(Handshakes, refuse_a_client_of_an_unknown_authority) {
  write_client(Authority("somebody else").issue({.names = uri(node_id)}));
  const Contexts contexts(client_options(), server_options());
  auto ends = meet(contexts.client, contexts.server);
  EXPECT_TRUE(contains(ends.server_error, node_id)) << ends.server_error;
  EXPECT_TRUE(contains(ends.server_error, "unable to get local issuer certificate")) << ends.server_error;
  ASSERT_NE(ends.client, nullptr);
  run(expect_end(*ends.client, "broken"));
  EXPECT_EQ(ends.client->failure(), "the peer refused: unknown ca");
}

TEST_F(Handshakes, ask_no_client_for_a_certificate_without_roots) {
  auto options = server_options();
  options.files.roots.clear();
  const Contexts contexts(client_options(), options);
  const auto ends = meet_well(contexts.client, contexts.server);
  EXPECT_TRUE(ends.server->peer_uris().empty());
}

TEST_F(Handshakes, verify_the_server_name_where_no_other_is_demanded) {
  write_server(authority.issue({.names = "DNS:api.example.com,DNS:*.wild.example.com,IP:127.0.0.1"}));
  auto options = client_options();
  options.peer_names.clear();
  const Contexts contexts(options, server_options());
  meet_well(contexts.client, contexts.server, {"api.example.com", {}});
  meet_well(contexts.client, contexts.server, {"a.wild.example.com", {}});
  meet_well(contexts.client, contexts.server, {"127.0.0.1", {}});
  const auto wrong = meet(contexts.client, contexts.server, {"other.example.com", {}});
  EXPECT_EQ(wrong.client_error,
            "TLS handshake: wrong identity: expected other.example.com, found DNS:api.example.com, "
            "DNS:*.wild.example.com");
  const auto nameless = meet(contexts.client, contexts.server);
  EXPECT_EQ(nameless.client_error, "no name to verify the server by");
}

TEST_F(Handshakes, do_not_resume_a_session_for_another_server_name) {
  write_server(authority.issue({.names = "DNS:a.example.com"}));
  auto options = client_options();
  options.peer_names.clear();
  const Contexts contexts(options, server_options());
  auto first = meet_well(contexts.client, contexts.server, {"a.example.com", {}});
  exchange(first);
  EXPECT_NE(meet(contexts.client, contexts.server, {"b.example.com", {}}).client_error, "");
}

TEST_F(Handshakes, take_any_server_when_verification_is_switched_off) {
  write_server(Authority("somebody else").issue({.names = uri("spiffe://nobody")}));
  auto options = client_options();
  options.skip_verification = true;
  const Contexts contexts(options, server_options());
  const auto ends = meet_well(contexts.client, contexts.server);
  EXPECT_TRUE(ends.client->peer_uris().empty()) << "an unverified name is no identity";
}

TEST_F(Handshakes, agree_on_the_servers_most_wanted_protocol) {
  auto options = server_options();
  options.alpn = {"h2", "http/1.1"};
  const Contexts contexts(client_options(), options);
  const auto ends = meet_well(contexts.client, contexts.server, {{}, {"http/1.1", "h2"}});
  EXPECT_EQ(ends.client->alpn(), "h2");
  EXPECT_EQ(ends.server->alpn(), "h2");
  EXPECT_EQ(meet_well(contexts.client, contexts.server).client->alpn(), "");
  const auto refused = meet(contexts.client, contexts.server, {{}, {"ftp"}});
  EXPECT_EQ(refused.client_error, "TLS handshake: the peer refused: no application protocol");
}

TEST_F(Handshakes, refuse_what_is_not_tls) {
  const Contexts contexts(client_options(), server_options());
  auto sockets = connect_tcp();
  StreamPtr stream;
  std::string error;
  net::PlainStream plain(std::move(sockets.client));
  const auto script = [](net::Stream& client) -> net::Task<void> {
    co_await send(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    co_await client.finish_writing();
  };
  run(take(accept(contexts.server, std::move(sockets.server), patience), stream, error), script(plain));
  EXPECT_TRUE(contains(error, "http request")) << error;
}

TEST_F(Handshakes, end_in_bounded_time_with_a_silent_peer_on_either_side) {
  const Contexts contexts(client_options(), server_options());
  auto one = connect_tcp();
  auto other = connect_tcp();
  StreamPtr stream;
  std::string client_error;
  std::string server_error;
  constexpr net::Milliseconds short_time{30};
  run(take(connect(contexts.client, std::move(one.client), {}, short_time), stream, client_error),
      take(accept(contexts.server, std::move(other.server), short_time), stream, server_error));
  EXPECT_EQ(client_error, "the TLS handshake took too long");
  EXPECT_EQ(server_error, "the TLS handshake took too long");
}

TEST_F(Handshakes, fail_before_any_certificate_was_read) {
  const ClientContext client(client_options());
  const ServerContext server(server_options());
  const auto ends = meet(client, server);
  EXPECT_EQ(ends.client_error, "no certificates could be read yet");
  EXPECT_EQ(ends.server_error, "no certificates could be read yet");
}

TEST(Names, of_a_certificate_with_two_uris_are_no_identity) {
  const Authority authority("root");
  const auto two = authority.issue({.names = "URI:spiffe://a/b,URI:spiffe://a/c"});
  EXPECT_EQ(uri_names(two.certificate.get()).size(), 2U);
  EXPECT_FALSE(has_name(two.certificate.get(), "spiffe://a/b"));
  const auto one = authority.issue({.names = "URI:spiffe://a/b,DNS:a"});
  EXPECT_TRUE(has_name(one.certificate.get(), "spiffe://a/b"));
  EXPECT_FALSE(has_name(one.certificate.get(), "spiffe://a/B"));
  EXPECT_FALSE(has_name(one.certificate.get(), "spiffe://a/b/c"));
  EXPECT_FALSE(has_name(one.certificate.get(), "spiffe://a/"));
}

TEST(Names, of_hosts_are_alternative_names_and_never_the_subject) {
  const Authority authority("root");
  const auto nameless = authority.issue({});
  EXPECT_FALSE(has_name(nameless.certificate.get(), "leaf"));
  EXPECT_EQ(describe_names(nameless.certificate.get()), "/CN=leaf");
  const auto named = authority.issue({.names = "DNS:*.example.com,IP:10.0.0.1"});
  EXPECT_TRUE(has_name(named.certificate.get(), "a.example.com"));
  EXPECT_FALSE(has_name(named.certificate.get(), "a.b.example.com"));
  EXPECT_FALSE(has_name(named.certificate.get(), "example.com"));
  EXPECT_TRUE(has_name(named.certificate.get(), "10.0.0.1"));
  EXPECT_FALSE(has_name(named.certificate.get(), "10.0.0.2"));
}

}  // namespace
}  // namespace sluice::tls
