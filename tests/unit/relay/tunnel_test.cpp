#include "relay/tunnel.h"

#include <boost/asio/use_awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>

#include "loop.h"

namespace sluice::relay {
namespace {

constexpr IdleLimits long_idle{net::Milliseconds(60'000)};

// A stream whose bytes are not those of its socket, as far as anybody can tell: it has to be copied.
class Opaque final : public net::Stream {
 public:
  explicit Opaque(net::Stream& inner) : inner_(inner) {}

  net::Task<net::IoResult> read_some(std::span<std::uint8_t> buffer) override { return inner_.read_some(buffer); }
  net::Task<net::Input> wait_input() override { return inner_.wait_input(); }
  net::Task<bool> write_all(ByteSpan bytes) override { return inner_.write_all(bytes); }
  net::Task<void> finish_writing() override { return inner_.finish_writing(); }
  bool is_quiet() override { return inner_.is_quiet(); }
  net::Socket& socket() override { return inner_.socket(); }
  bool is_plain() const override { return false; }

 private:
  net::Stream& inner_;
};

// Every claim holds for spliced tunnels and for those of which one side has to be copied.
enum class Side : std::uint8_t { none, client, upstream };

class Tunnel : public testing::TestWithParam<Side> {
 protected:
  // The tunnel as a script; how it ended is in `end`.
  net::Task<void> relay(IdleLimits limits = long_idle) {
    Opaque opaque_client(client_.near);
    Opaque opaque_upstream(upstream_.near);
    net::Stream& client = GetParam() == Side::client ? static_cast<net::Stream&>(opaque_client) : client_.near;
    net::Stream& upstream = GetParam() == Side::upstream ? static_cast<net::Stream&>(opaque_upstream) : upstream_.near;
    end = co_await tunnel(client, upstream, limits, loop_.pipes(), totals);
  }

  net::Socket& client() { return client_.far; }
  net::Socket& upstream() { return upstream_.far; }

  Loop loop_;
  Loop::Pair client_ = loop_.connect();
  Loop::Pair upstream_ = loop_.connect();
  Totals totals;
  std::optional<End> end;
};

TEST_P(Tunnel, carries_bytes_both_ways_and_ends_when_both_sides_have) {
  const auto client_script = [](net::Socket& socket) -> net::Task<void> {
    co_await send(socket, "question");
    EXPECT_EQ(co_await receive(socket, 6), "answer");
    net::finish_writing(socket);
    EXPECT_EQ(co_await receive_all(socket), "");
  };
  const auto upstream_script = [](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive(socket, 8), "question");
    co_await send(socket, "answer");
    EXPECT_EQ(co_await receive_all(socket), "");
    net::finish_writing(socket);
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
  EXPECT_EQ(totals.sent, 8U);
  EXPECT_EQ(totals.received, 6U);
  EXPECT_FALSE(client_.near.is_open());
  EXPECT_FALSE(upstream_.near.is_open());
}

TEST_P(Tunnel, passes_a_half_close_on_while_the_other_direction_goes_on) {
  const auto client_script = [](net::Socket& socket) -> net::Task<void> {
    co_await send(socket, "all I have");
    net::finish_writing(socket);
    EXPECT_EQ(co_await receive_all(socket), "read all of it");
  };
  const auto upstream_script = [](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_all(socket), "all I have");
    // The answer begins only after the end of the question was seen.
    co_await send(socket, "read all ");
    co_await send(socket, "of it");
    net::finish_writing(socket);
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
}

TEST_P(Tunnel, passes_a_half_close_of_the_upstream_on) {
  const auto upstream_script = [](net::Socket& socket) -> net::Task<void> {
    co_await send(socket, "goodbye");
    net::finish_writing(socket);
    EXPECT_EQ(co_await receive_all(socket), "but listen");
  };
  const auto client_script = [](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_all(socket), "goodbye");
    co_await send(socket, "but listen");
    net::finish_writing(socket);
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
}

TEST_P(Tunnel, resets_the_upstream_when_the_client_resets) {
  const auto client_script = [](net::Socket& socket) -> net::Task<void> {
    co_await send(socket, "hello");
    EXPECT_EQ(co_await receive(socket, 2), "ok");
    net::reset(socket);
  };
  const auto upstream_script = [](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive(socket, 5), "hello");
    co_await send(socket, "ok");
    EXPECT_EQ(co_await receive_all(socket), "RST");
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::client_reset);
}

TEST_P(Tunnel, resets_the_client_when_the_upstream_resets) {
  const auto upstream_script = [](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive(socket, 5), "hello");
    net::reset(socket);
  };
  const auto client_script = [](net::Socket& socket) -> net::Task<void> {
    co_await send(socket, "hello");
    EXPECT_EQ(co_await receive_all(socket), "RST");
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::upstream_reset);
}

TEST_P(Tunnel, passes_a_reset_on_after_a_half_close) {
  const auto script = [](net::Socket& client, net::Socket& upstream) -> net::Task<void> {
    net::finish_writing(client);
    EXPECT_EQ(co_await receive_all(upstream), "");
    co_await send(upstream, "half");
    EXPECT_EQ(co_await receive(client, 4), "half");
    net::reset(upstream);
    EXPECT_EQ(co_await receive_all(client), "RST");
  };
  loop_.run(relay(), script(client(), upstream()));
  EXPECT_EQ(end, End::upstream_reset);
}

TEST_P(Tunnel, resets_both_sides_when_nothing_moves_for_too_long) {
  const auto expect_reset = [](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_all(socket), "RST");
  };
  loop_.run(relay({net::Milliseconds(30)}), expect_reset(client()), expect_reset(upstream()));
  EXPECT_EQ(end, End::idle);
}

TEST_P(Tunnel, ends_when_nothing_is_answered_in_time_whatever_is_sent) {
  const auto client_script = [](net::Socket& socket) -> net::Task<void> {
    co_await send(socket, "hello?");
    EXPECT_EQ(co_await receive_all(socket), "RST");
  };
  const auto upstream_script = [](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_all(socket), "hello?RST");
  };
  loop_.run(relay({long_idle.idle, net::Milliseconds(30)}), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::no_answer);
}

TEST_P(Tunnel, is_not_idle_while_one_direction_moves) {
  static constexpr IdleLimits idle{net::Milliseconds(200)};
  const auto upstream_script = [](net::Socket& socket) -> net::Task<void> {
    boost::asio::steady_timer pause(socket.get_executor());
    for (int step = 0; step < 8; ++step) {
      co_await send(socket, "x");
      pause.expires_after(idle.idle / 4);
      co_await pause.async_wait(boost::asio::use_awaitable);
    }
    net::finish_writing(socket);
  };
  const auto client_script = [](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_all(socket), "xxxxxxxx");
    net::finish_writing(socket);
  };
  loop_.run(relay(idle), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
}

TEST_P(Tunnel, that_is_cut_from_outside_says_so_and_resets_both_sides) {
  const auto client_script = [](net::Socket& socket) -> net::Task<void> {
    co_await send(socket, "hello");
    EXPECT_EQ(co_await receive_all(socket), "RST");
  };
  const auto upstream_script = [this](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive(socket, 5), "hello");
    client_.near.reset();
    upstream_.near.reset();
    EXPECT_EQ(co_await receive_all(socket), "RST");
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::cut);
}

TEST_P(Tunnel, carries_megabytes_unchanged_to_a_reader_that_starts_late) {
  std::string sent;
  for (std::uint32_t word = 1; sent.size() < 16UL * 1024 * 1024; word = word * 1664525 + 1013904223) {
    sent.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  const auto client_script = [](net::Socket& socket, const std::string& text) -> net::Task<void> {
    co_await send(socket, text);
    net::finish_writing(socket);
    EXPECT_EQ(co_await receive_all(socket), "");
  };
  const auto upstream_script = [](net::Socket& socket, const std::string& text) -> net::Task<void> {
    net::finish_writing(socket);
    // Every buffer on the way is full by the time anybody reads.
    boost::asio::steady_timer pause(socket.get_executor(), std::chrono::milliseconds(50));
    co_await pause.async_wait(boost::asio::use_awaitable);
    EXPECT_TRUE(co_await receive_all(socket) == text);
  };
  loop_.run(relay(), client_script(client(), sent), upstream_script(upstream(), sent));
  EXPECT_EQ(end, End::finished);
  EXPECT_EQ(totals.sent, sent.size());
}

TEST_P(Tunnel, holds_no_pipe_while_it_is_silent) {
  const auto count_files = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  // One pipe may wait in the pool for reuse; a silent connection holds none of its own.
  loop_.pipes().give_back(*loop_.pipes().take());
  const auto before = count_files();
  const auto client_script = [&](net::Socket& socket) -> net::Task<void> {
    co_await send(socket, "a");
    EXPECT_EQ(co_await receive(socket, 1), "b");
    EXPECT_EQ(count_files(), before);
    net::reset(socket);
  };
  const auto upstream_script = [](net::Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive(socket, 1), "a");
    co_await send(socket, "b");
    co_await receive_all(socket);
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
}

std::string name_of(const testing::TestParamInfo<Side>& side) {
  constexpr std::array<std::string_view, 3> names = {"nothing", "client", "upstream"};
  return std::string(names[static_cast<std::size_t>(side.param)]);
}

INSTANTIATE_TEST_SUITE_P(copied, Tunnel, testing::Values(Side::none, Side::client, Side::upstream), name_of);

}  // namespace
}  // namespace sluice::relay
