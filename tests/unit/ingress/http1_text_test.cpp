#include "ingress/http1_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <boost/asio/io_context.hpp>

namespace sluice::ingress {
namespace {

ByteSpan bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// A channel, and what its peer gets.
class Written : public testing::Test {
 protected:
  Written() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
    peer_.reset(ends[1]);
    channel_.emplace(net::Socket(net::Poller::of(context_.get_executor()), UniqueFd(ends[0])), buffers_);
  }

  std::string text() {
    EXPECT_EQ(channel_->flush(), net::Io::done);
    std::array<char, 4096> text{};
    const auto got = ::recv(peer_.get(), text.data(), text.size(), 0);
    return {text.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
  }

  boost::asio::io_context context_;
  net::Buffers buffers_;
  UniqueFd peer_;
  std::optional<net::PlainChannel> channel_;
};

TEST_F(Written, a_status_line_has_its_phrase) {
  write_status(*channel_, 200);
  write_status(*channel_, 404);
  EXPECT_EQ(text(), "HTTP/1.1 200 OK\r\nHTTP/1.1 404 Not Found\r\n");
}

TEST_F(Written, a_status_without_a_name_keeps_the_space_before_its_phrase) {
  write_status(*channel_, 799);
  EXPECT_EQ(text(), "HTTP/1.1 799 \r\n");
}

TEST_F(Written, fields_stand_in_their_order) {
  write_fields(*channel_, {{"B", "2"}, {"a", ""}});
  EXPECT_EQ(text(), "B: 2\r\na: \r\n");
}

TEST_F(Written, a_chunk_has_its_size_in_hexadecimal) {
  const std::string content(27, 'x');
  write_chunk(*channel_, bytes_of(content));
  EXPECT_EQ(text(), "1b\r\n" + content + "\r\n");
}

// What a server reads of a whole head.
struct Read {
  explicit Read(const std::string& head) {
    const auto parsed = wire::parse_request_head(bytes_of(head), wire::TargetScheme::http_or_https);
    const auto* whole = std::get_if<wire::RequestHead>(&parsed);
    if (whole == nullptr) return;
    read_request(*whole, bytes_of(head), request);
    is_whole = true;
  }
  Request request;
  bool is_whole = false;
};

TEST(ReadRequest, views_lead_into_the_request_s_own_text) {
  const Read read("POST /a?b HTTP/1.1\r\nHost: Example.com:81\r\nAccept: c\r\nContent-Length: 5\r\n\r\n");
  ASSERT_TRUE(read.is_whole);
  const auto& request = read.request;
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.target, "/a?b");
  EXPECT_EQ(request.authority, "Example.com:81");
  EXPECT_EQ(request.host.host, "example.com");
  EXPECT_EQ(request.lines, "Host: Example.com:81\r\nAccept: c\r\nContent-Length: 5\r\n");
  EXPECT_EQ(request.hop.content_length, "5");
  ASSERT_EQ(request.fields.size(), 1U);
  EXPECT_EQ(request.fields.front().name, "Accept");
  for (const auto view : {request.method, request.target, request.authority, request.lines}) {
    EXPECT_GE(view.data(), request.text.data());
    EXPECT_LE(view.data() + view.size(), request.text.data() + request.text.size());
  }
}

TEST(ReadRequest, of_an_absolute_target_path_and_query_are_left) {
  for (const auto& [method, target, left] : {std::tuple{"GET", "http://h/a?b", "/a?b"},
                                             {"GET", "https://h/", "/"},
                                             {"GET", "http://h", "/"},
                                             {"GET", "http://h?b=/c", "/?b=/c"},
                                             {"OPTIONS", "http://h", "*"},
                                             {"OPTIONS", "*", "*"},
                                             {"GET", "/x?u=http://h/a", "/x?u=http://h/a"}}) {
    const Read read(std::string(method) + " " + target + " HTTP/1.1\r\nHost: h\r\n\r\n");
    ASSERT_TRUE(read.is_whole) << target;
    EXPECT_EQ(read.request.target, left) << target;
    EXPECT_EQ(read.request.authority, "h") << target;
  }
}

TEST(ReadRequest, an_upgrade_that_connection_does_not_name_is_none) {
  const Read unnamed("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n");
  ASSERT_TRUE(unnamed.is_whole);
  EXPECT_EQ(unnamed.request.hop.upgrade, "");
  const Read named("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
  ASSERT_TRUE(named.is_whole);
  EXPECT_EQ(named.request.hop.upgrade, "websocket");
}

TEST(FieldLines, begin_behind_the_first_line_and_end_before_the_empty_one) {
  EXPECT_EQ(field_lines(bytes_of("HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n")), "A: b\r\nC: d\r\n");
  EXPECT_EQ(field_lines(bytes_of("HTTP/1.1 200 OK\r\n\r\n")), "");
}

}  // namespace
}  // namespace sluice::ingress
