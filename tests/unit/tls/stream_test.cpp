#include "tls/stream.h"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <thread>

#include "scene.h"

namespace sluice::tls {
namespace {

std::string random_text(std::size_t size) {
  std::string text(size, '\0');
  ::RAND_bytes(reinterpret_cast<unsigned char*>(text.data()), static_cast<int>(size));
  return text;
}

class Streams : public Scene {
 protected:
  Contexts contexts{client_options(), server_options()};
  Ends ends = meet_well(contexts.client, contexts.server);
  TlsStream& client() { return *ends.client; }
  TlsStream& server() { return *ends.server; }
};

TEST_F(Streams, carry_megabytes_both_ways_at_once) {
  const auto up = random_text(8UL * 1024 * 1024 + 13);
  const auto down = random_text(8UL * 1024 * 1024 + 7);
  run(send(client(), up), expect(server(), up), send(server(), down), expect(client(), down));
}

TEST_F(Streams, pass_a_half_close_while_the_other_direction_goes_on) {
  const auto asks = [](TlsStream& stream) -> net::Task<void> {
    co_await send(stream, "all I have");
    co_await stream.finish_writing();
    co_await expect(stream, "read all of it");
    co_await expect_end(stream, "end");
  };
  const auto answers = [](TlsStream& stream) -> net::Task<void> {
    co_await expect(stream, "all I have");
    co_await expect_end(stream, "end");
    co_await send(stream, "read all of it");
    co_await stream.finish_writing();
  };
  run(asks(client()), answers(server()));
  ends = meet_well(contexts.client, contexts.server);
  run(asks(server()), answers(client()));
}

TEST_F(Streams, that_end_without_close_notify_are_broken_and_not_ended) {
  run(send(server(), "half an ans"));
  server().close();
  run(expect(client(), "half an ans"), expect_end(client(), "broken"));
  EXPECT_EQ(client().failure(), "cut off: the connection ended without close_notify");
  const auto waits = [](TlsStream& stream) -> net::Task<void> {
    const auto input = co_await stream.wait_input();
    EXPECT_EQ(input, net::Input::broken);
  };
  run(waits(client()));
}

TEST_F(Streams, pass_a_reset_as_such) {
  server().reset();
  run(expect_end(client(), "broken"));
  EXPECT_EQ(client().failure(), "Connection reset by peer");
}

TEST_F(Streams, show_what_waits_without_taking_it) {
  const auto waits = [](TlsStream& stream, net::Input expected) -> net::Task<void> {
    const auto input = co_await stream.wait_input();
    EXPECT_EQ(input, expected);
  };
  run(waits(client(), net::Input::bytes), send(server(), "abc"));
  run(waits(client(), net::Input::bytes), expect(client(), "abc"));
  run(server().finish_writing(), waits(client(), net::Input::end));
}

TEST_F(Streams, are_quiet_when_nothing_but_tickets_came) {
  EXPECT_TRUE(client().is_quiet());
  run(send(server(), "x"));
  EXPECT_FALSE(client().is_quiet());
  run(expect(client(), "x"));
  EXPECT_TRUE(client().is_quiet());
  run(server().finish_writing());
  EXPECT_FALSE(client().is_quiet());
}

TEST_F(Streams, can_be_read_after_a_read_was_cancelled) {
  const auto script = [](TlsStream& stream) -> net::Task<void> {
    {
      const net::Deadline deadline(stream.socket(), net::Milliseconds(10));
      co_await expect_end(stream, "broken");
      EXPECT_TRUE(deadline.expired());
    }
    co_await expect(stream, "later");
  };
  const auto late = [](TlsStream& stream) -> net::Task<void> {
    boost::asio::steady_timer pause(stream.socket().get_executor(), std::chrono::milliseconds(30));
    co_await pause.async_wait(boost::asio::use_awaitable);
    co_await send(stream, "later");
  };
  run(script(client()), late(server()));
}

TEST_F(Streams, take_nothing_more_after_a_write_was_cancelled) {
  const auto script = [](TlsStream& stream) -> net::Task<void> {
    const std::vector<std::uint8_t> much(16UL * 1024 * 1024);
    const net::Deadline deadline(stream.socket(), net::Milliseconds(30));
    const bool sent = co_await stream.write_all(much);
    EXPECT_FALSE(sent);
    const bool more = co_await stream.write_all(ByteSpan(much).first(1));
    EXPECT_FALSE(more);
  };
  run(script(client()));
}

TEST_F(Streams, wake_whoever_waits_when_they_are_closed) {
  const auto close = [](TlsStream& stream) -> net::Task<void> {
    stream.close();
    co_return;
  };
  run(expect_end(client(), "broken"), close(client()));
}

// A client that is OpenSSL alone, blocking, in a thread of its own.
class OwnClient {
 public:
  OwnClient(net::Socket socket, const Files& files)
      : socket_(std::move(socket)), context_(::SSL_CTX_new(::TLS_client_method())) {
    ::fcntl(socket_.native_handle(), F_SETFL, 0);
    ::SSL_CTX_use_certificate_file(context_.get(), files.certificate.c_str(), SSL_FILETYPE_PEM);
    ::SSL_CTX_use_PrivateKey_file(context_.get(), files.key.c_str(), SSL_FILETYPE_PEM);
    ssl_.reset(::SSL_new(context_.get()));
    ::SSL_set_fd(ssl_.get(), socket_.native_handle());
  }

  SSL* ssl() { return ssl_.get(); }

 private:
  net::Socket socket_;
  SslCtxPtr context_;
  std::unique_ptr<SSL, Free<::SSL_free>> ssl_;
};

TEST_F(Streams, go_on_when_the_peer_asks_for_new_keys_in_the_middle_of_both_directions) {
  auto sockets = connect_tcp();
  OwnClient peer(std::move(sockets.client), client_options().files);
  const auto text = random_text(4UL * 1024 * 1024);
  std::string came;
  std::thread thread([&] {
    ASSERT_EQ(::SSL_connect(peer.ssl()), 1);
    std::string buffer(16384, '\0');
    for (std::size_t sent = 0; sent < text.size();) {
      // While this side writes it reads nothing: the other one's answers to the requests have to wait.
      const auto part = std::min<std::size_t>(text.size() - sent, 64UL * 1024);
      ASSERT_EQ(::SSL_key_update(peer.ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
      ASSERT_EQ(::SSL_write(peer.ssl(), text.data() + sent, static_cast<int>(part)), static_cast<int>(part));
      sent += part;
    }
    while (came.size() < text.size()) {
      const int got = ::SSL_read(peer.ssl(), buffer.data(), static_cast<int>(buffer.size()));
      ASSERT_GT(got, 0);
      came.append(buffer, 0, static_cast<std::size_t>(got));
    }
  });
  StreamPtr stream;
  std::string error;
  run(take(accept(contexts.server, std::move(sockets.server), patience), stream, error));
  ASSERT_EQ(error, "");
  run(send(*stream, text), expect(*stream, text));
  EXPECT_EQ(stream->failure(), "");
  thread.join();
  EXPECT_TRUE(came == text);
}

TEST_F(Streams, let_the_loop_turn_while_a_peer_sends_records_without_data) {
  auto sockets = connect_tcp();
  OwnClient peer(std::move(sockets.client), client_options().files);
  StreamPtr stream;
  std::string error;
  std::thread handshake([&] { ASSERT_EQ(::SSL_connect(peer.ssl()), 1); });
  run(take(accept(contexts.server, std::move(sockets.server), patience), stream, error));
  handshake.join();
  ASSERT_EQ(error, "");
  for (int count = 0; count < 10'000; ++count) {
    ASSERT_EQ(::SSL_key_update(peer.ssl(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    ASSERT_EQ(::SSL_do_handshake(peer.ssl()), 1);
  }
  ::SSL_shutdown(peer.ssl());
  const auto look = [](TlsStream& made) -> net::Task<void> {
    // The reader, which was begun first, has had its turn.
    int unread = 0;
    ::ioctl(made.socket().native_handle(), FIONREAD, &unread);
    EXPECT_GT(unread, 0);
    co_return;
  };
  run(expect_end(*stream, "end"), look(*stream));
}

}  // namespace
}  // namespace sluice::tls
