#include "ingress/handover.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <cstring>
#include <filesystem>
#include <thread>

#include "net/listen.h"

namespace sluice::ingress {
namespace {

int bound_port(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

// One that listens at two places, on its own thread, and may be asked for its sockets.
class Handover : public testing::Test {
 protected:
  Handover() {
    std::string pattern = (std::filesystem::temp_directory_path() / "handover.XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    admin_ = directory_ / "admin.sock";
  }
  ~Handover() override {
    stop();
    std::filesystem::remove_all(directory_);
  }

  void start() {
    auto opened = Succession::open(context_, admin_,
                                   {.sockets =
                                        [this] {
                                          std::vector<std::pair<Endpoint, int>> sockets;
                                          for (auto& acceptor : acceptors_) {
                                            sockets.emplace_back(net::to_endpoint(acceptor.local_endpoint()),
                                                                 acceptor.native_handle());
                                          }
                                          return sockets;
                                        },
                                    .leave = [this] { left_ = true; }});
    ASSERT_TRUE(opened);
    succession_ = std::move(*opened);
    thread_ = std::thread([this] { context_.run(); });
  }
  // When everything that was asked of it before is done.
  void stop() {
    if (!thread_.joinable()) return;
    boost::asio::post(context_, [this] {
      succession_.reset();
      work_.reset();
    });
    thread_.join();
  }
  void wait_until_left() {
    for (int turn = 0; turn < 500 && !left_; ++turn) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }

  std::filesystem::path directory_;
  std::string admin_;
  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{context_.get_executor()};
  std::array<net::Tcp::acceptor, 2> acceptors_ = {*net::listen(context_, *Endpoint::parse("127.0.0.1:0"), {}),
                                                  *net::listen(context_, *Endpoint::parse("127.0.0.1:0"), {})};
  std::atomic<bool> left_ = false;
  std::unique_ptr<Succession> succession_;
  std::thread thread_;
};

TEST_F(Handover, the_successor_has_the_very_sockets) {
  start();
  auto predecessor = Predecessor::ask(admin_);
  ASSERT_TRUE(predecessor) << predecessor.error().message();
  const auto sockets = predecessor->take_sockets();
  ASSERT_EQ(sockets.size(), acceptors_.size());
  for (const auto& [endpoint, fds] : sockets) {
    ASSERT_EQ(fds.size(), 1U);
    EXPECT_EQ(bound_port(fds.front().get()), endpoint.port);
    int listens = 0;
    socklen_t size = sizeof listens;
    EXPECT_EQ(::getsockopt(fds.front().get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size), 0);
    EXPECT_EQ(listens, 1);
  }
}

TEST_F(Handover, the_predecessor_leaves_when_it_is_dismissed) {
  start();
  auto predecessor = Predecessor::ask(admin_);
  ASSERT_TRUE(predecessor);
  EXPECT_FALSE(left_);
  predecessor->dismiss();
  wait_until_left();
  EXPECT_TRUE(left_);
}

TEST_F(Handover, a_successor_that_goes_away_changes_nothing) {
  start();
  {
    ASSERT_TRUE(Predecessor::ask(admin_));
  }
  // The next one is served behind it.
  ASSERT_TRUE(Predecessor::ask(admin_));
  stop();
  EXPECT_FALSE(left_);
}

TEST_F(Handover, nobody_else_may_ask) {
  start();
  struct stat about{};
  ASSERT_EQ(::stat(handover_path(admin_).c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600U);
}

TEST_F(Handover, its_socket_goes_with_it) {
  start();
  stop();
  EXPECT_FALSE(std::filesystem::exists(handover_path(admin_)));
}

TEST_F(Handover, without_a_predecessor_there_is_an_error_that_names_the_socket) {
  const auto asked = Predecessor::ask(admin_);
  ASSERT_FALSE(asked);
  EXPECT_NE(asked.error().message().find(handover_path(admin_)), std::string::npos) << asked.error().message();
}

TEST_F(Handover, one_that_breaks_off_has_handed_over_nothing) {
  const auto path = handover_path(admin_);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const UniqueFd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  std::thread other([&] {
    const UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    // A place without its socket.
    ::send(fd.get(), "127.0.0.1:80", 12, MSG_NOSIGNAL);
  });
  const auto asked = Predecessor::ask(admin_);
  other.join();
  ASSERT_FALSE(asked);
  EXPECT_NE(asked.error().message().find("does not hand over its sockets"), std::string::npos);
}

TEST_F(Handover, a_path_that_is_too_long_is_said) {
  admin_ = directory_ / std::string(120, 'x');
  const auto opened = Succession::open(context_, admin_, {});
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message().find("too long for a socket"), std::string::npos);
}

}  // namespace
}  // namespace sluice::ingress
