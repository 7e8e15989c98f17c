#include "net/listen.h"

#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sluice::net {
namespace {

class Accepted : public testing::TestWithParam<const char*> {
 protected:
  Accepted() {
    acceptor_.native_non_blocking(true);
    client_.connect(acceptor_.local_endpoint());
    client_address_ = to_endpoint(client_.local_endpoint());
  }

  Socket accept() {
    const Socket listener(poller_, UniqueFd(::dup(acceptor_.native_handle())));
    return std::move(net::accept(listener).value());
  }

  boost::asio::io_context context_;
  Poller& poller_ = Poller::of(context_.get_executor());
  Tcp::acceptor acceptor_ = *listen(context_, *Endpoint::parse(GetParam()), {});
  boost::asio::ip::tcp::socket client_{context_};
  Endpoint client_address_;
};

TEST_P(Accepted, knows_its_other_end) {
  EXPECT_EQ(accept().peer(), client_address_);
}

TEST_P(Accepted, knows_its_other_end_also_when_it_was_reset_before) {
  client_.set_option(boost::asio::socket_base::linger(true, 0));
  client_.close();
  const auto accepted = accept();
  boost::system::error_code error;
  accepted.remote_endpoint(error);
  EXPECT_EQ(error, boost::asio::error::not_connected);
  EXPECT_EQ(accepted.peer(), client_address_);
}

TEST_P(Accepted, does_not_wait_to_send) {
  const auto accepted = accept();
  int no_delay = 0;
  socklen_t size = sizeof no_delay;
  ASSERT_EQ(::getsockopt(accepted.native_handle(), IPPROTO_TCP, TCP_NODELAY, &no_delay, &size), 0);
  EXPECT_NE(no_delay, 0);
}

INSTANTIATE_TEST_SUITE_P(Families, Accepted, testing::Values("127.0.0.1:0", "[::1]:0"),
                         [](const auto& family) { return std::string(family.param[0] == '[' ? "IPv6" : "IPv4"); });

}  // namespace
}  // namespace sluice::net
