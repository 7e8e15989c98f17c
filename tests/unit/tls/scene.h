// A client and a server of one authority on one event loop.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "authority.h"
#include "tests/support/run_scripts.h"
#include "tls/context.h"
#include "tls/stream.h"

namespace sluice::tls {

constexpr net::Milliseconds patience{5000};
constexpr auto gateway_id = "spiffe://cluster.local/ns/egress/sa/gateway";
constexpr auto node_id = "spiffe://cluster.local/node/worker-1";

using StreamPtr = std::unique_ptr<TlsStream>;

class Scene : public testing::Test {
 protected:
  struct Pair {
    net::Socket client;
    net::Socket server;
  };

  Scene() {
    write_server(authority.issue({.names = uri(gateway_id)}));
    write_client(authority.issue({.names = uri(node_id)}));
    directory.write("roots.pem", authority.pem());
  }

  static std::string uri(const std::string& name) { return "URI:" + name; }
  void write_server(const Issued& issued) { write("server", issued); }
  void write_client(const Issued& issued) { write("client", issued); }
  void write(const std::string& who, const Issued& issued) {
    directory.write(who + ".pem", issued.pem());
    directory.write(who + ".key", issued.key_pem());
  }
  Pair connect_tcp() {
    boost::asio::ip::tcp::acceptor acceptor(loop, {boost::asio::ip::address_v4::loopback(), port_});
    port_ = acceptor.local_endpoint().port();  // sessions are kept by address: it stays the same
    boost::asio::ip::tcp::socket client(loop);
    client.connect(acceptor.local_endpoint());
    auto server = acceptor.accept();
    return {adopt(client), adopt(server)};
  }
  net::Socket adopt(boost::asio::ip::tcp::socket& socket) {
    socket.non_blocking(true);
    socket.set_option(net::Tcp::no_delay(true));
    return {net::Poller::of(loop.get_executor()), UniqueFd(socket.release())};
  }

  // See run_scripts().
  template <typename... Scripts>
  void run(Scripts... scripts) {
    run_scripts(loop, std::move(scripts)...);
  }

  struct Ends {
    StreamPtr client;
    StreamPtr server;
    std::string client_error;
    std::string server_error;
  };

  static net::Task<void> take(net::Task<HandshakeResult> handshake, StreamPtr& stream, std::string& error) {
    auto result = co_await std::move(handshake);
    if (auto* made = std::get_if<StreamPtr>(&result)) stream = std::move(*made);
    if (const auto* failed = std::get_if<HandshakeError>(&result)) error = failed->message;
  }

  // Both handshakes, as far as they come.
  Ends meet(const Context& client, const Context& server, ConnectOptions options = {}) {
    Ends ends;
    auto sockets = connect_tcp();
    run(take(connect(client, std::move(sockets.client), std::move(options), patience), ends.client, ends.client_error),
        take(accept(server, std::move(sockets.server), patience), ends.server, ends.server_error));
    return ends;
  }
  // The same, when both must succeed.
  Ends meet_well(const Context& client, const Context& server, ConnectOptions options = {}) {
    auto ends = meet(client, server, std::move(options));
    EXPECT_EQ(ends.client_error, "");
    EXPECT_EQ(ends.server_error, "");
    return ends;
  }

  // A byte from server to client, and with it the tickets that came before.
  void exchange(Ends& ends) { run(send(*ends.server, "x"), expect(*ends.client, "x")); }

  static net::Task<void> send(net::Stream& stream, std::string_view text) {
    const bool sent = co_await stream.write_all({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    EXPECT_TRUE(sent);
  }
  static net::Task<std::string> receive(net::Stream& stream, std::size_t size) {
    std::string text(size, '\0');
    std::size_t used = 0;
    while (used < size) {
      const auto got = co_await stream.read_some({reinterpret_cast<std::uint8_t*>(text.data()) + used, size - used});
      const auto* count = std::get_if<std::size_t>(&got);
      if (!count || *count == 0) break;
      used += *count;
    }
    text.resize(used);
    co_return text;
  }
  static net::Task<void> expect(net::Stream& stream, std::string text) {
    const auto got = co_await receive(stream, text.size());
    EXPECT_TRUE(got == text) << got.substr(0, 100);
  }
  // How it ends now: "end", or "broken".
  static net::Task<void> expect_end(net::Stream& stream, std::string_view how) {
    std::uint8_t byte = 0;
    const auto got = co_await stream.read_some({&byte, 1});
    const auto* count = std::get_if<std::size_t>(&got);
    EXPECT_EQ(count ? (*count == 0 ? "end" : "a byte") : "broken", how);
  }

  ClientOptions client_options() const {
    return {{path("client.pem"), path("client.key"), path("roots.pem"), {}}, {gateway_id}, false, true};
  }
  ServerOptions server_options() const {
    return {{path("server.pem"), path("server.key"), path("roots.pem"), {}}, {}, true};
  }
  std::string path(const std::string& name) const { return directory.path(name); }

  Directory directory;
  Authority authority{"test root"};
  boost::asio::io_context loop{1};

 private:
  std::uint16_t port_ = 0;
};

// Contexts of the options that a test has chosen, read.
struct Contexts {
  Contexts(ClientOptions client_options, ServerOptions server_options)
      : client(std::move(client_options)), server(std::move(server_options)) {
    const auto client_read = client.reload();
    EXPECT_TRUE(client_read) << client_read.error().message();
    const auto server_read = server.reload();
    EXPECT_TRUE(server_read) << server_read.error().message();
  }
  ClientContext client;
  ServerContext server;
};

}  // namespace sluice::tls
