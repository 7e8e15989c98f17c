#include "ingress/doors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/connect.hpp>
#include <mutex>

#include "net/listen.h"
#include "tests/unit/policy/ingress.h"

namespace sluice::ingress {
namespace {

using test::gateway;
using test::Server;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// Ports that nobody has: each was given by the kernel, and is let go when a test begins.
std::uint16_t free_port() {
  boost::asio::io_context context;
  return net::listen(context, *Endpoint::parse("127.0.0.1:0"), {})->local_endpoint().port();
}

class DoorsTest : public testing::Test {
 protected:
  DoorsTest() {
    first_.start();
    second_.start();
  }

  void follow(const std::vector<GatewayServer>& servers) {
    ingress_ = std::make_unique<test::Ingress>(std::vector{gateway("infra/in", servers)});
    plan_.routes = &ingress_->routes();
    doors_.follow(plan_);
  }
  std::vector<std::string> open() const {
    std::vector<std::string> places;
    for (const auto& [endpoint, fd] : doors_.sockets()) places.push_back(endpoint.to_string());
    return places;
  }
  static bool is_answered(std::uint16_t port) {
    boost::asio::io_context context;
    net::Tcp::socket socket(context);
    boost::system::error_code error;
    socket.connect({boost::asio::ip::address_v4::loopback(), port}, error);
    return !error;
  }

  std::uint16_t port_ = free_port();
  std::string place_ = "127.0.0.1:" + std::to_string(port_);
  std::unique_ptr<test::Ingress> ingress_;
  Plan plan_;
  serving::Worker first_{{.connections = 10, .connections_per_source = 10, .rate = 10, .rate_per_source = 10}};
  serving::Worker second_{{.connections = 10, .connections_per_source = 10, .rate = 10, .rate_per_source = 10}};
  Doors doors_{{&first_, &second_},
               {*IpAddress::parse("127.0.0.1")},
               [](std::size_t, Door, net::Socket) -> net::Task<void> { co_return; }};
};

TEST_F(DoorsTest, each_worker_listens_where_the_policy_says) {
  follow({Server::http({"*"}, port_)});
  EXPECT_THAT(open(), ElementsAre(place_, place_));
  EXPECT_TRUE(is_answered(port_));
}

TEST_F(DoorsTest, what_stays_is_the_same_socket) {
  follow({Server::http({"a.org"}, port_)});
  const auto before = doors_.sockets();
  follow({Server::http({"b.org"}, port_), Server::http({"b.org"}, free_port())});
  const auto now = doors_.sockets();
  ASSERT_THAT(now, SizeIs(4));
  for (const auto& one : before) EXPECT_THAT(now, testing::Contains(one));
}

TEST_F(DoorsTest, what_the_policy_has_no_more_is_closed) {
  follow({Server::http({"*"}, port_)});
  follow({});
  EXPECT_THAT(open(), IsEmpty());
  // Behind this the workers have closed theirs.
  for (auto* worker : {&first_, &second_}) worker->ask([] { return true; }, std::chrono::seconds(5));
  EXPECT_FALSE(is_answered(port_));
}

TEST_F(DoorsTest, a_place_that_someone_has_is_said_and_tried_again) {
  boost::asio::io_context context;
  auto other = *net::listen(context, *Endpoint::parse(place_), {});
  follow({Server::http({"*"}, port_)});
  EXPECT_THAT(doors_.wrong(), ElementsAre(HasSubstr(place_)));
  EXPECT_THAT(open(), IsEmpty());
  other.close();
  doors_.follow(plan_);
  EXPECT_THAT(doors_.wrong(), IsEmpty());
  EXPECT_THAT(open(), SizeIs(2));
}

TEST_F(DoorsTest, a_bind_that_is_no_address_is_said) {
  follow({Server::http({"*"}, port_).bind("unix:///run/x")});
  EXPECT_THAT(doors_.wrong(), ElementsAre("unix:///run/x: only addresses are listened on"));
  EXPECT_THAT(open(), IsEmpty());
}

TEST_F(DoorsTest, an_inherited_socket_is_used_and_the_rest_is_closed) {
  boost::asio::io_context context;
  auto ours = *net::listen(context, *Endpoint::parse(place_), {.reuse_port = true});
  auto unused = *net::listen(context, *Endpoint::parse("127.0.0.1:0"), {.reuse_port = true});
  const auto unused_port = unused.local_endpoint().port();
  Predecessor::Sockets sockets;
  const int inherited = ours.release();
  sockets[*Endpoint::parse(place_)].emplace_back(inherited);
  sockets[net::to_endpoint(unused.local_endpoint())].emplace_back(unused.release());
  doors_.inherit(std::move(sockets));
  follow({Server::http({"*"}, port_)});
  EXPECT_THAT(doors_.sockets(), testing::Contains(std::pair(*Endpoint::parse(place_), inherited)));
  EXPECT_THAT(open(), SizeIs(2));
  EXPECT_FALSE(is_answered(unused_port));
}

}  // namespace
}  // namespace sluice::ingress
