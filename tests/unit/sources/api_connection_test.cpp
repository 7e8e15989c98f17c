// Answers of an API server, in whatever pieces they come.
#include "sources/api_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <optional>
#include <string>
#include <vector>

#include "net/socket.h"

namespace sluice::sources {
namespace {

namespace asio = boost::asio;
using testing::HasSubstr;
constexpr net::Milliseconds patience{5000};

struct Got {
  std::vector<std::string> answers;  // "STATUS BODY"
  std::string error;
  bool reusable = false;
  bool ended = false;
};

net::Task<void> ask_all(ApiConnection& connection, int count, Got& got) {
  for (int i = 0; i < count; ++i) {
    ApiRequest request{.target = "/apis?x=1", .host = "server:6443", .token = "secret"};
    auto status = co_await connection.ask(std::move(request), patience);
    if (!status) {
      got.error = status.error().message();
      co_return;
    }
    auto answer = std::to_string(*status) + " ";
    for (;;) {
      auto piece = co_await connection.read_body(patience);
      if (!piece) {
        got.error = piece.error().message();
        co_return;
      }
      if (piece->empty()) break;
      answer += *piece;
    }
    got.answers.push_back(std::move(answer));
  }
  got.reusable = connection.reusable();
}

// Asks `count` times and keeps what came.
net::Task<void> ask(ApiConnection& connection, int count, Got& got) {
  co_await ask_all(connection, count, got);
  got.ended = true;
}

class ApiConnectionTest : public testing::Test {
 protected:
  // What `count` requests get when the server sends `text`, cut in two at `cut`, and then closes.
  Got talk(const std::string& text, std::size_t cut, int count = 1) {
    asio::io_context context(1);
    asio::ip::tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
    asio::ip::tcp::socket near(context);
    near.connect(acceptor.local_endpoint());
    auto far = acceptor.accept();
    near.non_blocking(true);
    net::Socket socket(net::Poller::of(context.get_executor()), UniqueFd(near.release()));
    ApiConnection connection(std::make_unique<net::PlainStream>(std::move(socket)));
    Got got;
    asio::co_spawn(context, ask(connection, count, got), asio::detached);
    asio::write(far, asio::buffer(text.substr(0, cut)));
    context.poll();
    asio::write(far, asio::buffer(text.substr(cut)));
    far.shutdown(asio::ip::tcp::socket::shutdown_send);
    for (int turns = 0; turns < 100 && !got.ended; ++turns) context.run_one_for(std::chrono::milliseconds(100));
    sent.resize(far.available());
    far.receive(asio::buffer(sent));
    return got;
  }
  std::string sent;  // what the server got
};

const std::string chunked =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    "5\r\n{\"a\":\r\n3;x=y\r\n1}\n\r\n0\r\n\r\n";
const std::string sized = "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone";

TEST_F(ApiConnectionTest, a_request_carries_the_token_and_asks_for_json) {
  talk(sized, 0);
  EXPECT_THAT(sent, testing::StartsWith("GET /apis?x=1 HTTP/1.1\r\nHost: server:6443\r\n"));
  EXPECT_THAT(sent, HasSubstr("\r\nAuthorization: Bearer secret\r\n"));
  EXPECT_THAT(sent, HasSubstr("\r\nAccept: application/json\r\n"));
  EXPECT_THAT(sent, testing::EndsWith("\r\n\r\n"));
}
TEST_F(ApiConnectionTest, chunks_are_put_together_wherever_they_are_cut) {
  for (std::size_t cut = 0; cut <= chunked.size(); ++cut) {
    const auto got = talk(chunked, cut);
    EXPECT_THAT(got.answers, testing::ElementsAre("200 {\"a\":1}\n")) << cut;
    EXPECT_TRUE(got.reusable) << cut;
  }
}
TEST_F(ApiConnectionTest, answers_follow_each_other) {
  const auto got = talk(chunked + sized + chunked, 70, 3);
  EXPECT_THAT(got.answers, testing::ElementsAre("200 {\"a\":1}\n", "404 gone", "200 {\"a\":1}\n")) << got.error;
}
TEST_F(ApiConnectionTest, interim_answers_are_passed_over) {
  const auto got = talk("HTTP/1.1 100 Continue\r\n\r\n" + sized, 3);
  EXPECT_THAT(got.answers, testing::ElementsAre("404 gone"));
}
TEST_F(ApiConnectionTest, a_body_without_a_size_ends_with_the_connection) {
  const auto got = talk("HTTP/1.1 200 OK\r\n\r\nall of it", 22);
  EXPECT_THAT(got.answers, testing::ElementsAre("200 all of it"));
  EXPECT_FALSE(got.reusable);
}
TEST_F(ApiConnectionTest, a_server_that_closes_is_not_asked_again) {
  EXPECT_FALSE(talk("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 5).reusable);
}
TEST_F(ApiConnectionTest, an_answer_that_breaks_off_is_an_error_wherever_it_does) {
  for (std::size_t size = 0; size < chunked.size(); ++size) {
    const auto got = talk(chunked.substr(0, size), 0);
    EXPECT_EQ(got.error, "the server closed the connection") << size;
    EXPECT_TRUE(got.answers.empty()) << size;
  }
}
TEST_F(ApiConnectionTest, malformed_chunks_are_an_error) {
  for (const auto* body : {"x\r\n", "5 \r\nhello\r\n0\r\n\r\n", "5\r\nhelloX\r\n", "fffffffffffffffff\r\n"}) {
    const auto got = talk(std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") + body, 0);
    EXPECT_EQ(got.error, "the answer's chunks are malformed") << body;
  }
}
TEST_F(ApiConnectionTest, what_is_not_http_is_an_error) {
  for (const auto* text : {"\x15\x03\x01", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "{}\r\n\r\n"}) {
    EXPECT_EQ(talk(text, 0).error.empty(), false) << text;
  }
}

}  // namespace
}  // namespace sluice::sources
