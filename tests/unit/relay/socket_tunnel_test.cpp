// What a tunnel between two sockets tells its owner, and that it misses nothing. What it moves: tunnel_test.cpp.
#include "relay/socket_tunnel.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "loop.h"

namespace sluice::relay {
namespace {

constexpr IdleLimits long_idle{net::Milliseconds(60'000)};

// Owns itself, as a relayed call does.
class Owner final : private SocketTunnel::Owner {
 public:
  Owner(Loop& loop, Loop::Pair& client, Loop::Pair& upstream, std::string& log)
      : client_(std::move(client.near.socket())),
        upstream_(std::move(upstream.near.socket())),
        log_(log),
        tunnel_(client_, upstream_, long_idle, loop.pipes(), totals_, *this) {}

  net::Socket& client() { return client_; }
  SocketTunnel& tunnel() { return tunnel_; }

 private:
  void on_tunnel_end(End end) override {
    log_ += to_string(end);
    EXPECT_FALSE(client_.is_open());
    EXPECT_FALSE(upstream_.is_open());
    delete this;
  }
  void abandon_tunnel() override {
    log_ += "abandoned";
    delete this;
  }

  net::Socket client_;
  net::Socket upstream_;
  std::string& log_;
  Totals totals_;
  SocketTunnel tunnel_;
};

class SocketTunnelTest : public testing::Test {
 protected:
  SocketTunnelTest() {
    auto client = loop_->connect();
    auto upstream = loop_->connect();
    client_.emplace(std::move(client.far));
    upstream_.emplace(std::move(upstream.far));
    owner_ = new Owner(*loop_, client, upstream, log_);
  }

  // Reads up to `size` bytes when there are any, then begins.
  static net::Task<void> begin_behind(Owner& owner, std::size_t size) {
    std::string text(size, '\0');
    co_await owner.client().wait_readable();
    const auto got = owner.client().receive({reinterpret_cast<std::uint8_t*>(text.data()), size});
    EXPECT_GT(got, 0);
    owner.tunnel().begin();
  }

  std::string log_;  // what the owner was told
  std::optional<Loop> loop_ = std::optional<Loop>(std::in_place);
  std::optional<net::Socket> client_;  // the far ends
  std::optional<net::Socket> upstream_;
  Owner* owner_ = nullptr;
};

TEST_F(SocketTunnelTest, tells_its_owner_the_end_when_both_sockets_are_closed) {
  const auto client_script = [](net::Socket& socket) -> net::Task<void> {
    net::finish_writing(socket);
    EXPECT_EQ(co_await receive_all(socket), "answer");
  };
  const auto upstream_script = [](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_all(socket), "");
    co_await send(socket, "answer");
    net::finish_writing(socket);
  };
  owner_->tunnel().begin();
  loop_->run(client_script(*client_), upstream_script(*upstream_));
  EXPECT_EQ(log_, "finished");
}

TEST_F(SocketTunnelTest, is_over_at_once_when_it_is_cut) {
  owner_->tunnel().begin();
  owner_->tunnel().cut();
  EXPECT_EQ(log_, "cut");
}

TEST_F(SocketTunnelTest, moves_what_was_told_and_left_before_it_began) {
  const auto client_script = [](net::Socket& socket) -> net::Task<void> {
    co_await send(socket, "early");
    co_await receive_all(socket);
  };
  const auto upstream_script = [](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive(socket, 3), "rly");
    net::reset(socket);
  };
  loop_->run(client_script(*client_), upstream_script(*upstream_), begin_behind(*owner_, 2));
}

TEST_F(SocketTunnelTest, passes_an_end_on_that_was_told_with_the_last_bytes_before_it_began) {
  ASSERT_EQ(::send(client_->native_handle(), "last", 4, MSG_MORE), 4);
  net::finish_writing(*client_);  // in one segment with them
  const auto upstream_script = [](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_all(socket), "");
    net::reset(socket);
  };
  loop_->run(upstream_script(*upstream_), begin_behind(*owner_, 100));
}

TEST_F(SocketTunnelTest, passes_a_reset_on_that_is_told_with_the_last_bytes) {
  const auto client_script = [](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_all(socket), "lastRST");
  };
  ASSERT_EQ(::send(upstream_->native_handle(), "last", 4, 0), 4);
  net::reset(*upstream_);
  owner_->tunnel().begin();
  loop_->run(client_script(*client_));
  EXPECT_EQ(log_, "upstream_reset");
}

TEST_F(SocketTunnelTest, is_abandoned_when_its_loop_goes) {
  owner_->tunnel().begin();
  client_.reset();
  upstream_.reset();
  loop_.reset();
  EXPECT_EQ(log_, "abandoned");
}

}  // namespace
}  // namespace sluice::relay
