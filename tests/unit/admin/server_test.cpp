#include "admin/server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "admin/client.h"
#include "base/fd.h"

namespace sluice::admin {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// A server on its own thread, and raw clients of it.
class ServerTest : public ::testing::Test {
 protected:
  ServerTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sluice-admin-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    path_ = (directory_ / "run" / "admin.sock").string();
  }
  ~ServerTest() override {
    stop();
    std::filesystem::remove_all(directory_);
  }

  AdminViews views() {
    return {.status = [] { return boost::json::value{{"role", "agent"}}; },
            .flows = [] { return boost::json::array{boost::json::object{{"id", "c-1"}}}; },
            .metrics = [this] { return metrics_; },
            .not_ready = [this] { return not_ready_; }};
  }
  void start() {
    auto server = Server::open(io_, path_, views());
    ASSERT_TRUE(server.ok()) << server.error().message();
    server_ = std::move(*server);
    thread_ = std::thread([this] { io_.run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    boost::asio::post(io_, [this] { server_.reset(); });
    thread_.join();
  }

  UniqueFd connect_raw() {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  // Everything up to the end that the server makes.
  static std::string receive(const UniqueFd& fd) {
    std::string text;
    char buffer[4096];
    for (;;) {
      const auto got = ::recv(fd.get(), buffer, sizeof buffer, 0);
      if (got <= 0) return text;
      text.append(buffer, static_cast<std::size_t>(got));
    }
  }
  std::string exchange(const std::string& request) {
    const auto fd = connect_raw();
    EXPECT_GT(::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL), 0);
    return receive(fd);
  }

  std::filesystem::path directory_;
  std::string path_;
  std::string metrics_ = "sluice_connections_open 1\n";
  std::optional<std::string> not_ready_;
  boost::asio::io_context io_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

TEST_F(ServerTest, each_view_has_its_path) {
  start();
  EXPECT_EQ(get(path_, "/status")->body, "{\"role\":\"agent\"}\n");
  EXPECT_EQ(get(path_, "/flows")->body, "[{\"id\":\"c-1\"}]\n");
  EXPECT_EQ(get(path_, "/metrics")->body, metrics_);
  EXPECT_EQ(get(path_, "/live")->status, 200U);
  EXPECT_EQ(get(path_, "/elsewhere")->status, 404U);
}

TEST_F(ServerTest, not_ready_is_503_with_the_reason) {
  not_ready_ = "no policy yet";
  start();
  const auto response = get(path_, "/ready");
  EXPECT_EQ(response->status, 503U);
  EXPECT_EQ(response->body, "no policy yet\n");
}

TEST_F(ServerTest, ready_is_200) {
  start();
  EXPECT_EQ(get(path_, "/ready")->status, 200U);
}

TEST_F(ServerTest, an_answer_of_many_megabytes_arrives_whole) {
  metrics_ = std::string(20'000'000, 'm');
  start();
  EXPECT_EQ(get(path_, "/metrics")->body, metrics_);
}

TEST_F(ServerTest, a_view_that_throws_is_500_and_the_server_lives) {
  auto broken = views();
  broken.status = []() -> boost::json::value { throw std::runtime_error("broken view"); };
  server_ = std::move(*Server::open(io_, path_, broken));
  thread_ = std::thread([this] { io_.run(); });
  EXPECT_EQ(get(path_, "/status")->status, 500U);
  EXPECT_EQ(get(path_, "/live")->status, 200U);
}

TEST_F(ServerTest, only_get_is_allowed_and_a_body_is_not) {
  start();
  EXPECT_THAT(exchange("POST /status HTTP/1.1\r\nHost: x\r\n\r\n"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(exchange("GET /status HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"), StartsWith("HTTP/1.1 400"));
}

TEST_F(ServerTest, malformed_and_endless_requests_are_400) {
  start();
  EXPECT_THAT(exchange("nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(exchange("GET /status HTTP/1.1\r\nX: " + std::string(9000, 'x')), StartsWith("HTTP/1.1 400"));
}

TEST_F(ServerTest, a_client_that_says_nothing_is_cut_off_in_time) {
  start();
  const auto before = std::chrono::steady_clock::now();
  const auto silent = connect_raw();
  EXPECT_EQ(receive(silent), "");
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(8));
}

TEST_F(ServerTest, one_client_too_many_is_cut_off_at_once_and_a_freed_seat_is_used) {
  start();
  std::vector<UniqueFd> seats;
  for (unsigned index = 0; index < Server::max_clients; ++index) seats.push_back(connect_raw());
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(receive(connect_raw()), "");
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(2));
  const std::string request = "GET /live HTTP/1.1\r\nHost: x\r\n\r\n";
  ASSERT_GT(::send(seats[0].get(), request.data(), request.size(), 0), 0);
  EXPECT_THAT(receive(seats[0]), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(get(path_, "/live")->status, 200U);
}

TEST_F(ServerTest, the_socket_is_for_its_owner_alone) {
  start();
  struct stat facts{};
  ASSERT_EQ(::stat(path_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0600U);
}

TEST_F(ServerTest, a_stale_socket_is_replaced_and_its_own_is_removed_at_the_end) {
  std::filesystem::create_directories(directory_ / "run");
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  ASSERT_TRUE(std::filesystem::exists(path_));
  start();
  EXPECT_EQ(get(path_, "/live")->status, 200U);
  stop();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(ServerTest, a_second_server_is_refused_and_the_first_stays) {
  start();
  boost::asio::io_context other;
  const auto second = Server::open(other, path_, views());
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().message(), HasSubstr("is sluice running already?"));
  EXPECT_EQ(get(path_, "/live")->status, 200U);
}

TEST_F(ServerTest, what_is_no_socket_is_not_removed) {
  std::filesystem::create_directories(directory_ / "run");
  std::ofstream(path_) << "precious";
  EXPECT_THAT(Server::open(io_, path_, views()).error().message(), HasSubstr("is there and no socket"));
  EXPECT_EQ(std::filesystem::file_size(path_), 8U);
}

TEST_F(ServerTest, a_path_that_no_socket_can_have_is_refused) {
  EXPECT_THAT(Server::open(io_, "/" + std::string(200, 'x'), views()).error().message(), HasSubstr("1 to 107 bytes"));
}

TEST_F(ServerTest, the_client_says_what_to_do_when_nobody_is_there) {
  EXPECT_THAT(get(path_, "/status").error().message(), HasSubstr("is sluice running"));
}

TEST_F(ServerTest, the_client_waits_no_longer_than_it_may) {
  std::filesystem::create_directories(directory_ / "run");
  const UniqueFd mute(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  ASSERT_EQ(::bind(mute.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(mute.get(), 1), 0);
  EXPECT_THAT(get(path_, "/status", std::chrono::milliseconds(50)).error().message(), HasSubstr("timed out"));
}

TEST_F(ServerTest, a_client_in_mid_request_does_not_outlive_the_views) {
  start();
  const auto client = connect_raw();
  const std::string half = "GET /status HTTP/1.1\r\n";
  ASSERT_GT(::send(client.get(), half.data(), half.size(), 0), 0);
  boost::asio::post(io_, [this] { server_.reset(); });
  ASSERT_GT(::send(client.get(), "\r\n", 2, MSG_NOSIGNAL), 0);
  thread_.join();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

// The TCP listener, on a free port of this machine's.
class MetricsTest : public ServerTest {
 protected:
  void start() {
    auto server = Server::open_metrics(
        io_, *Endpoint::parse("127.0.0.1:0"),
        [this] {
          ++rendered_;
          return metrics_;
        },
        [this] { return not_ready_; });
    ASSERT_TRUE(server.ok()) << server.error().message();
    endpoint_ = (*server)->endpoint();
    ASSERT_NE(endpoint_.port, 0);
    server_ = std::move(*server);
    thread_ = std::thread([this] { io_.run(); });
  }
  UniqueFd connect_tcp() const {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(endpoint_.port);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  std::string ask(const std::string& target, const std::string& method = "GET") const {
    const auto fd = connect_tcp();
    const auto request = method + " " + target + " HTTP/1.1\r\nHost: x\r\n\r\n";
    EXPECT_GT(::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL), 0);
    return receive(fd);
  }

  Endpoint endpoint_;
  std::atomic<unsigned> rendered_ = 0;
};

TEST_F(MetricsTest, metrics_and_health_are_there) {
  start();
  EXPECT_THAT(ask("/metrics"), ::testing::AllOf(StartsWith("HTTP/1.1 200"), ::testing::EndsWith(metrics_),
                                                HasSubstr("Content-Type: text/plain; version=0.0.4")));
  EXPECT_THAT(ask("/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(ask("/readyz"), StartsWith("HTTP/1.1 200"));
}

TEST_F(MetricsTest, nothing_else_is) {
  start();
  for (const auto* target : {"/", "/status", "/flows", "/ready", "/live", "/metrics/", "/metrics?x=y", "*"}) {
    EXPECT_THAT(ask(target), StartsWith("HTTP/1.1 404")) << target;
  }
  EXPECT_THAT(ask("/metrics", "POST"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(ask("/metrics", "HEAD"), StartsWith("HTTP/1.1 405"));
  EXPECT_EQ(rendered_, 0U);
}

TEST_F(MetricsTest, why_it_is_not_ready_is_not_for_everybody) {
  not_ready_ = "no policy in /a/file";
  start();
  const auto answer = ask("/readyz");
  EXPECT_THAT(answer, ::testing::AllOf(StartsWith("HTTP/1.1 503"), ::testing::EndsWith("\r\n\r\nnot ready\n")));
}

TEST_F(MetricsTest, however_many_ask_the_text_is_made_now_and_then) {
  start();
  const auto before = std::chrono::steady_clock::now();
  for (int i = 0; i < 200; ++i) EXPECT_THAT(ask("/metrics"), ::testing::EndsWith(metrics_));
  const auto took = std::chrono::steady_clock::now() - before;
  EXPECT_LE(rendered_, 1U + static_cast<unsigned>(took / Server::metrics_age));
}

TEST_F(MetricsTest, the_text_is_made_again_when_it_is_old) {
  start();
  ask("/metrics");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (rendered_ < 2 && std::chrono::steady_clock::now() < deadline) ask("/metrics");
  EXPECT_EQ(rendered_, 2U);
}

TEST_F(MetricsTest, who_is_silent_or_one_too_many_is_cut_off) {
  start();
  std::vector<UniqueFd> seats;
  for (unsigned index = 0; index < Server::max_clients; ++index) seats.push_back(connect_tcp());
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(receive(connect_tcp()), "");
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(2));
  for (const auto& seat : seats) EXPECT_EQ(receive(seat), "");
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(8));
  EXPECT_THAT(ask("/healthz"), StartsWith("HTTP/1.1 200"));
}

TEST_F(MetricsTest, a_head_without_end_is_400) {
  start();
  EXPECT_THAT(ask("/metrics HTTP/1.1\r\nX: " + std::string(9000, 'x')), StartsWith("HTTP/1.1 400"));
}

TEST_F(MetricsTest, an_address_of_nobody_here_is_refused) {
  const auto server =
      Server::open_metrics(io_, *Endpoint::parse("192.0.2.1:15090"), [] { return ""; }, [] { return std::nullopt; });
  EXPECT_FALSE(server.ok());
}

}  // namespace
}  // namespace sluice::admin
