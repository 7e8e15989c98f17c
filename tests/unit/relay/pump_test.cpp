#include "relay/pump.h"

#include <poll.h>

#include <string>

#include "loop.h"

namespace sluice::relay {
namespace {

class PumpTest : public testing::Test {
 protected:
  static void put(const net::Socket& socket, std::string_view text) {
    ASSERT_EQ(::send(socket.native_handle(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  }
  static std::string take(const net::Socket& socket) {
    std::string text(1 << 20, '\0');
    const auto got = ::recv(socket.native_handle(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }
  static void wait_for(const net::Socket& socket, short event) {
    pollfd poll{socket.native_handle(), event, 0};
    ASSERT_EQ(::poll(&poll, 1, 5000), 1);
  }
  const net::Socket& from() { return source_.near.socket(); }
  const net::Socket& to() { return sink_.near.socket(); }

  Loop loop_;
  Loop::Pair source_ = loop_.connect();
  Loop::Pair sink_ = loop_.connect();
  std::uint64_t moved_ = 0;
};

TEST_F(PumpTest, says_what_it_needs) {
  Pump pump(from(), to(), loop_.pipes(), moved_);
  EXPECT_EQ(pump.run(), Pump::Need::bytes);
  put(source_.far, "few");
  wait_for(from(), POLLIN);
  EXPECT_EQ(pump.run(), Pump::Need::bytes);
  EXPECT_EQ(take(sink_.far), "few");
  net::finish_writing(source_.far);
  wait_for(from(), POLLRDHUP);
  EXPECT_EQ(pump.run(), Pump::Need::ended);
  EXPECT_EQ(pump.end(), MoveEnd::end_of_stream);
  EXPECT_EQ(moved_, 3U);
}

TEST_F(PumpTest, moves_no_more_than_its_limit) {
  Pump pump(from(), to(), loop_.pipes(), moved_, 3);
  put(source_.far, "abcdef");
  wait_for(from(), POLLIN);
  EXPECT_EQ(pump.run(), Pump::Need::ended);
  EXPECT_EQ(pump.end(), MoveEnd::limit);
  EXPECT_EQ(take(sink_.far), "abc");
}

TEST_F(PumpTest, lets_the_last_bytes_share_a_segment_with_the_end_that_is_known_to_follow) {
  Pump pump(from(), to(), loop_.pipes(), moved_);
  put(source_.far, "goodbye");
  net::finish_writing(source_.far);
  wait_for(from(), POLLRDHUP);
  pump.on_source_event(true);
  EXPECT_EQ(pump.run(), Pump::Need::ended);
  // Over loopback a segment that is sent has come.
  EXPECT_EQ(take(sink_.far), "");
  net::finish_writing(to());
  wait_for(sink_.far, POLLRDHUP);
  EXPECT_EQ(take(sink_.far), "goodbye");
}

TEST_F(PumpTest, loses_nothing_when_the_destination_is_full_however_the_bytes_came) {
  // So small that copies and pipes both are cut short.
  const int small = 16 * 1024;
  ::setsockopt(to().native_handle(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  ::setsockopt(sink_.far.native_handle(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  Pump pump(from(), to(), loop_.pipes(), moved_);
  std::string sent;
  std::string came;
  bool was_full = false;
  for (std::size_t size = 1; size < 100'000; size = size * 5 + 1) {
    const std::string text(size, static_cast<char>('a' + size % 26));
    std::size_t done = 0;
    while (came.size() < sent.size() + size) {
      if (done < size) {
        const auto put = ::send(source_.far.native_handle(), text.data() + done, size - done, MSG_DONTWAIT);
        if (put > 0) done += static_cast<std::size_t>(put);
      }
      was_full = pump.run() == Pump::Need::room || was_full;
      came += take(sink_.far);
    }
    sent += text;
  }
  EXPECT_TRUE(was_full);
  EXPECT_TRUE(came == sent);
  EXPECT_EQ(moved_, sent.size());
}

}  // namespace
}  // namespace sluice::relay
