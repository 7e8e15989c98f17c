#include "serving/worker.h"

#include <gtest/gtest.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/read.hpp>
#include <future>
#include <stdexcept>
#include <string>

#include "base/clock.h"

namespace sluice::serving {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr auto patience = 5s;

std::shared_ptr<const Snapshot> policy_for(const std::string& host) {
  Service service;
  service.namespace_name = "default";
  service.name = "entry";
  service.hosts = {host};
  service.ports = {{443, 443, Protocol::tls, "tls"}};
  return Snapshot::compile({.services = {service}});
}

class WatchedCall final : public Live {
 public:
  Flow flow() const override { return {}; }
  bool still_allowed(const Snapshot& snapshot) const override {
    return snapshot.decide({"default", IpAddress(), 443, Sniffed::tls, "a.example"}).allowed();
  }
  void cut(std::string_view why) override { cut_by = why; }

  std::string cut_by;
};

class WorkerTest : public testing::Test {
 protected:
  WorkerTest() { worker.start(); }

  // A listener of the worker on a free port.
  std::uint16_t listen(Worker::Serve serve) {
    auto acceptor = net::listen(worker.context(), *Endpoint::parse("127.0.0.1:0"), {});
    EXPECT_TRUE(acceptor);
    const auto port = acceptor->local_endpoint().port();
    auto shared = std::make_shared<net::Tcp::acceptor>(std::move(*acceptor));
    worker.ask(
        [this, shared, serve = std::move(serve)] {
          worker.accept_all(std::move(*shared), serve);
          return true;
        },
        patience);
    return port;
  }

  asio::ip::tcp::socket connect(std::uint16_t port) {
    asio::ip::tcp::socket socket(outside);
    socket.connect({asio::ip::address_v4::loopback(), port});
    return socket;
  }

  // What the other end sends until it closes.
  static std::string read_all(asio::ip::tcp::socket& socket) {
    std::string text;
    boost::system::error_code error;
    asio::read(socket, asio::dynamic_buffer(text), error);
    return text;
  }

  asio::io_context outside;
  Worker worker{LiveLimits{10, 10, 10, 10}};
};

net::Task<void> send(net::Socket& socket, std::string_view text) {
  co_await net::write_all(socket, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

net::Task<void> say_hello(net::Socket socket) {
  co_await send(socket, "hello");
}

TEST_F(WorkerTest, has_no_policy_until_it_adopts_one) {
  EXPECT_EQ(worker.ask([this] { return worker.snapshot(); }, patience), std::shared_ptr<const Snapshot>());
  const auto policy = policy_for("a.example");
  worker.adopt(policy);
  EXPECT_EQ(worker.ask([this] { return worker.snapshot(); }, patience), policy);
}

TEST_F(WorkerTest, judges_its_connections_again_when_it_adopts_a_policy) {
  WatchedCall call;
  std::optional<LiveTable::Place> place;
  worker.ask(
      [&] {
        place.emplace(std::get<LiveTable::Place>(worker.live().admit(call, 0)));
        return 1;
      },
      patience);
  const auto cut_by = [&] { return worker.ask([&] { return call.cut_by; }, patience); };
  worker.adopt(policy_for("a.example"));
  EXPECT_EQ(cut_by(), "");
  worker.adopt(policy_for("b.example"));
  EXPECT_EQ(cut_by(), "policy_changed");
  worker.ask(
      [&] {
        place.reset();
        return 0;
      },
      patience);
}

TEST_F(WorkerTest, gives_a_sign_when_it_is_asked_for_one) {
  EXPECT_EQ(worker.last_sign_ns(), 0U);
  worker.ask_for_sign(42);
  worker.ask([] { return 0; }, patience);
  EXPECT_EQ(worker.last_sign_ns(), 42U);
}

TEST_F(WorkerTest, gives_no_sign_and_no_answer_while_it_hangs) {
  std::promise<void> release;
  asio::post(worker.context(), [waits = release.get_future().share()] { waits.wait(); });
  worker.ask_for_sign(42);
  EXPECT_EQ(worker.ask([] { return 1; }, 20ms), std::nullopt);
  EXPECT_EQ(worker.last_sign_ns(), 0U);
  release.set_value();
  EXPECT_EQ(worker.ask([] { return 1; }, patience), 1);
  EXPECT_EQ(worker.last_sign_ns(), 42U);
}

TEST_F(WorkerTest, serves_connections_until_it_stops_accepting) {
  const auto port = listen(say_hello);
  auto first = connect(port);
  EXPECT_EQ(read_all(first), "hello");
  worker.stop_accepting();
  worker.ask([] { return 0; }, patience);
  asio::ip::tcp::socket second(outside);
  boost::system::error_code error;
  second.connect({asio::ip::address_v4::loopback(), port}, error);
  EXPECT_EQ(error, asio::error::connection_refused);
}

TEST_F(WorkerTest, goes_on_accepting_when_a_connection_throws) {
  int served = 0;
  const auto port = listen([&served](net::Socket socket) -> net::Task<void> {
    if (++served == 1) throw std::runtime_error("a task that fails before its first wait");
    return say_hello(std::move(socket));
  });
  auto failing = connect(port);
  EXPECT_EQ(read_all(failing), "");
  auto next = connect(port);
  EXPECT_EQ(read_all(next), "hello");
}

net::Task<void> fail_later(net::Socket socket) {
  co_await send(socket, "x");
  throw std::bad_alloc();
}

TEST_F(WorkerTest, ends_a_connection_whose_task_throws_and_no_other) {
  const auto failing_port = listen(fail_later);
  const auto port = listen(say_hello);
  auto failing = connect(failing_port);
  EXPECT_EQ(read_all(failing), "x");
  auto next = connect(port);
  EXPECT_EQ(read_all(next), "hello");
}

TEST_F(WorkerTest, closes_what_is_still_open_when_it_is_destroyed) {
  std::optional<Worker> other;
  other.emplace(LiveLimits{10, 10, 10, 10});
  auto acceptor = net::listen(other->context(), *Endpoint::parse("127.0.0.1:0"), {});
  ASSERT_TRUE(acceptor);
  const auto port = acceptor->local_endpoint().port();
  std::promise<void> serving;
  const auto serve_forever = [](net::Socket socket, std::promise<void>& begun) -> net::Task<void> {
    begun.set_value();
    std::array<std::uint8_t, 1> byte;
    co_await net::read_some(socket, byte);
  };
  other->accept_all(std::move(*acceptor),
                    [&](net::Socket socket) { return serve_forever(std::move(socket), serving); });
  other->start();
  auto socket = connect(port);
  serving.get_future().wait();
  other.reset();
  EXPECT_EQ(read_all(socket), "");
}

}  // namespace
}  // namespace sluice::serving
