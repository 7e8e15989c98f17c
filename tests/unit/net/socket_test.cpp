#include "net/socket.h"

#include <gtest/gtest.h>

namespace sluice::net {
namespace {

class PeerOf : public testing::TestWithParam<const char*> {
 protected:
  PeerOf() {
    client_.connect(acceptor_.local_endpoint());
    client_address_ = to_endpoint(client_.local_endpoint());
  }

  boost::asio::io_context context_;
  Tcp::acceptor acceptor_ = *listen(context_, *Endpoint::parse(GetParam()), {});
  Tcp::socket client_{context_};
  Endpoint client_address_;
};

TEST_P(PeerOf, an_open_connection_is_its_other_end) {
  auto accepted = acceptor_.accept();
  EXPECT_EQ(peer_of(accepted), client_address_);
}

TEST_P(PeerOf, a_connection_that_was_reset_before_it_was_accepted_is_known_all_the_same) {
  reset(client_);
  auto accepted = acceptor_.accept();
  boost::system::error_code error;
  accepted.remote_endpoint(error);
  EXPECT_EQ(error, boost::asio::error::not_connected);
  EXPECT_EQ(peer_of(accepted), client_address_);
}

TEST_P(PeerOf, a_socket_that_never_was_connected_is_nobody) {
  Tcp::socket socket(context_, to_asio(*Endpoint::parse(GetParam())));
  EXPECT_EQ(peer_of(socket), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(Families, PeerOf, testing::Values("127.0.0.1:0", "[::1]:0"),
                         [](const auto& family) { return std::string(family.param[0] == '[' ? "IPv6" : "IPv4"); });

}  // namespace
}  // namespace sluice::net
