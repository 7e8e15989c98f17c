#include "relay/http2_upstream.h"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "http2_server.h"
#include "relay/http_relay.h"

namespace sluice::relay {
namespace {

constexpr HttpLimits patient{net::Milliseconds(5000), net::Milliseconds(5000), net::Milliseconds(5000)};
using Socket = net::Socket;
using Request = Http2Server::Request;

// Everything goes to one upstream.
class Always final : public HttpJudge {
 public:
  explicit Always(net::Stream& upstream) : upstream_(upstream) {}
  net::Task<std::variant<net::Stream*, HttpDenial>> route(const wire::RequestHead&, ByteSpan) override {
    quiet.push_back(upstream_.is_quiet());
    co_return &upstream_;
  }
  void refuse_unreadable(const Unreadable&) override {}

  std::vector<bool> quiet;  // the upstream, before each request

 private:
  net::Stream& upstream_;
};

// relay_http() between a client that speaks HTTP/1.1 and a server that speaks HTTP/2.
class Http2 : public testing::Test {
 protected:
  net::Task<void> relay(HttpLimits limits = patient) {
    auto read = co_await read_first_bytes(client_.near, {}, net::Milliseconds(5000));
    auto* first = std::get_if<FirstBytes>(&read);
    EXPECT_TRUE(first != nullptr && first->sniffed == Sniffed::http);
    if (!first) co_return;
    end = co_await relay_http(client_.near, std::move(*first), judge_, limits, loop_.pipes(), totals);
    upstream_.close();
  }
  // Sends `request`, ends, and has read `answer`.
  static net::Task<void> ask(Socket& socket, std::string request, std::string& answer) {
    co_await send(socket, request);
    net::finish_writing(socket);
    answer = co_await receive_all(socket);
    socket.close();
  }
  // One request and its answer as the client has read it.
  std::string exchange(const std::string& request, Http2Server::Answerer answerer) {
    Http2Server server(upstream_socket_.far, std::move(answerer));
    std::string answer;
    loop_.run(relay(), ask(client_.far, request, answer), server.serve());
    if (!server.requests.empty()) seen = server.requests.begin()->second;
    return answer;
  }

  // Answers when the request has ended.
  static Http2Server::Answerer when_ended(Http2Server::Fields fields, std::optional<std::string> body,
                                          Http2Server::Fields trailers = {}) {
    return [=](Http2Server& server, std::int32_t stream, const Request& request) {
      if (request.ended) server.answer(stream, fields, body, trailers);
    };
  }

  Loop loop_;
  Loop::Pair client_ = loop_.connect();
  Loop::Pair upstream_socket_ = loop_.connect();
  Http2Upstream upstream_{std::make_unique<net::PlainStream>(std::move(upstream_socket_.near.socket()))};
  Always judge_{upstream_};
  Totals totals;
  std::optional<End> end;
  Request seen;  // by the server
};

TEST_F(Http2, says_a_request_and_its_answer_in_the_other_version) {
  const auto answer = exchange(
      "GET /a?b=c HTTP/1.1\r\nHost: API.example:8080\r\nUser-Agent: t\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
      "Keep-Alive: 5\r\nTE: gzip, trailers\r\n\r\n",
      when_ended({{":status", "200"}, {"content-type", "text/plain"}}, "hello"));
  const Http2Server::Fields expected = {{":method", "GET"},  {":scheme", "https"}, {":authority", "API.example:8080"},
                                        {":path", "/a?b=c"}, {"user-agent", "t"},  {"te", "trailers"}};
  EXPECT_EQ(seen.fields, expected);
  EXPECT_EQ(answer,
            "HTTP/1.1 200 \r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
  EXPECT_EQ(end, End::finished);
}

TEST_F(Http2, keeps_the_length_that_the_server_told) {
  const auto answer =
      exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n", when_ended({{":status", "200"}, {"content-length", "5"}}, "hello"));
  EXPECT_EQ(answer, "HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello");
}

TEST_F(Http2, ends_the_connection_where_an_old_client_knows_no_chunks) {
  const auto answer = exchange("GET / HTTP/1.0\r\nHost: a\r\n\r\n", when_ended({{":status", "200"}}, "hello"));
  EXPECT_EQ(answer, "HTTP/1.1 200 \r\nconnection: close\r\n\r\nhello");
  EXPECT_EQ(end, End::finished);
}

TEST_F(Http2, carries_a_body_of_known_length) {
  exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
           when_ended({{":status", "204"}}, std::nullopt));
  EXPECT_EQ(seen.body, "hello");
  EXPECT_EQ(seen.field("content-length"), "5");
}

TEST_F(Http2, takes_chunks_apart_and_passes_trailers_both_ways) {
  const auto answer = exchange(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n7\r\n, world\r\n0\r\n"
      "Checksum: 12\r\nContent-Length: 3\r\n\r\n",
      when_ended({{":status", "200"}}, "bye", {{"grpc-status", "0"}}));
  EXPECT_EQ(seen.body, "hello, world");
  EXPECT_EQ(seen.field("checksum"), "12");
  EXPECT_EQ(seen.field("content-length"), "(none)");
  EXPECT_EQ(seen.field("transfer-encoding"), "(none)");
  EXPECT_EQ(answer, "HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n3\r\nbye\r\n0\r\ngrpc-status: 0\r\n\r\n");
}

TEST_F(Http2, expects_no_body_in_the_answer_to_head) {
  const auto answer = exchange("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
                               when_ended({{":status", "200"}, {"content-length", "1000"}}, std::nullopt));
  EXPECT_EQ(answer, "HTTP/1.1 200 \r\ncontent-length: 1000\r\n\r\n");
}

TEST_F(Http2, passes_interim_answers_before_the_body_is_sent) {
  Http2Server server(upstream_socket_.far, [](Http2Server& self, std::int32_t stream, const Request& request) {
    if (!request.ended) return self.inform(stream, {{":status", "100"}});
    self.answer(stream, {{":status", "200"}, {"content-length", "0"}}, std::nullopt);
  });
  const auto script = [](Socket& socket) -> net::Task<void> {
    co_await send(socket, "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    EXPECT_EQ(co_await receive_until(socket, "\r\n\r\n"), "HTTP/1.1 100 \r\n\r\n");
    co_await send(socket, "body");
    EXPECT_EQ(co_await receive_until(socket, "\r\n\r\n"), "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n");
    net::finish_writing(socket);
  };
  loop_.run(relay(), script(client_.far), server.serve());
  EXPECT_EQ(server.requests.begin()->second.body, "body");
  EXPECT_EQ(end, End::finished);
}

TEST_F(Http2, serves_one_request_after_the_other_on_one_connection) {
  Http2Server server(upstream_socket_.far, [](Http2Server& self, std::int32_t stream, const Request& request) {
    if (request.ended) self.answer(stream, {{":status", "200"}}, request.field(":path"));
  });
  std::string answer;
  const std::string get = " HTTP/1.1\r\nHost: a\r\n\r\n";
  loop_.run(relay(), ask(client_.far, "GET /1" + get + "GET /2" + get + "GET /3" + get, answer), server.serve());
  const std::string head = "HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n2\r\n/";
  const std::string tail = "\r\n0\r\n\r\n";
  EXPECT_EQ(answer, head + "1" + tail + head + "2" + tail + head + "3" + tail);
  EXPECT_EQ(server.requests.size(), 3U);
  EXPECT_EQ(judge_.quiet.size(), 3U);
  EXPECT_TRUE(judge_.quiet.back()) << "a connection that was used can be used again";
}

TEST_F(Http2, carries_megabytes_both_ways_at_once) {
  const std::string body(8UL * 1024 * 1024 + 5, 'b');
  // Begins to answer before the body came.
  Http2Server server(upstream_socket_.far, [&](Http2Server& self, std::int32_t stream, const Request& request) {
    if (!request.ended)
      self.answer(stream, {{":status", "200"}, {"content-length", std::to_string(body.size())}}, body);
  });
  const auto sends = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n");
    co_await send(socket, body);
    net::finish_writing(socket);
  };
  const auto reads = [&](Socket& socket) -> net::Task<void> {
    co_await receive_until(socket, "\r\n\r\n");
    EXPECT_TRUE(co_await receive(socket, body.size()) == body);
  };
  loop_.run(relay(), sends(client_.far), reads(client_.far), server.serve());
  EXPECT_TRUE(server.requests.begin()->second.body == body);
  EXPECT_EQ(end, End::finished);
}

TEST_F(Http2, delivers_all_to_a_client_that_reads_late) {
  const std::string body(8UL * 1024 * 1024, 'b');
  Http2Server server(upstream_socket_.far, when_ended({{":status", "200"}}, body));
  const auto late = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    boost::asio::steady_timer pause(socket.get_executor(), std::chrono::milliseconds(50));
    co_await pause.async_wait(boost::asio::use_awaitable);
    net::finish_writing(socket);
    const auto answer = co_await receive_all(socket);
    EXPECT_GT(answer.size(), body.size());
    socket.close();
  };
  loop_.run(relay(), late(client_.far), server.serve());
  EXPECT_EQ(end, End::finished);
}

TEST_F(Http2, resets_the_client_when_the_server_refuses_or_breaks_off) {
  const auto answer = exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n", [](Http2Server& self, std::int32_t stream, auto&) {
    self.reset(stream, NGHTTP2_REFUSED_STREAM);
  });
  EXPECT_EQ(answer, "RST");
  EXPECT_EQ(end, End::upstream_reset);
}

TEST_F(Http2, resets_the_client_when_the_server_goes_away_before_it_answers) {
  const auto answer =
      exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n", [](Http2Server& self, std::int32_t, auto&) { self.go_away(); });
  EXPECT_EQ(answer, "RST");
  EXPECT_EQ(end, End::upstream_reset);
}

TEST_F(Http2, delivers_an_answer_whose_server_wants_no_more_of_the_body) {
  Http2Server server(upstream_socket_.far, [](Http2Server& self, std::int32_t stream, const Request&) {
    self.answer(stream, {{":status", "413"}, {"content-length", "3"}}, "no!");
    // RST_STREAM(NO_ERROR) behind the answer: RFC 9113 section 8.1.
    self.send_raw({"\0\0\x4\x3\0\0\0\0\x1\0\0\0\0", 13});
  });
  const auto script = [](Socket& socket) -> net::Task<void> {
    co_await send(socket, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin");
    const std::string whole = "HTTP/1.1 413 \r\ncontent-length: 3\r\n\r\nno!";
    EXPECT_EQ(co_await receive(socket, whole.size()), whole);
    socket.close();
  };
  loop_.run(relay(), script(client_.far), server.serve());
}

TEST_F(Http2, is_not_quiet_after_the_server_went_away) {
  Http2Server server(upstream_socket_.far, [](Http2Server& self, std::int32_t stream, const Request& request) {
    if (!request.ended) return;
    self.answer(stream, {{":status", "204"}}, std::nullopt);
    self.go_away();
  });
  const auto script = [this](Socket& socket) -> net::Task<void> {
    co_await send(socket, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_EQ(co_await receive_until(socket, "\r\n\r\n"), "HTTP/1.1 204 \r\n\r\n");
    boost::asio::steady_timer pause(socket.get_executor());
    while (upstream_.is_quiet()) {
      pause.expires_after(std::chrono::milliseconds(1));
      co_await pause.async_wait(boost::asio::use_awaitable);
    }
    net::finish_writing(socket);
  };
  loop_.run(relay(), script(client_.far), server.serve());
}

TEST_F(Http2, refuses_an_answer_that_is_no_http2) {
  const auto script = [](Socket& socket) -> net::Task<void> {
    co_await receive(socket, 24);
    co_await send(socket, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    co_await receive_all(socket);
  };
  std::string answer;
  loop_.run(relay(), ask(client_.far, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", answer), script(upstream_socket_.far));
  EXPECT_EQ(answer, "RST");
}

TEST_F(Http2, refuses_a_head_that_is_too_large) {
  // Each small in HPACK: the same large value, once put into the table.
  Http2Server::Fields fields = {{":status", "200"}};
  for (int count = 0; count < 40; ++count) fields.emplace_back("x-large", std::string(2000, 'x'));
  const auto answer = exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n", when_ended(fields, "hello"));
  EXPECT_EQ(answer, "RST");
}

TEST_F(Http2, counts_a_flood_of_pings_as_silence) {
  std::string pings;
  for (int count = 0; count < 100'000; ++count) pings.append("\0\0\x8\x6\0\0\0\0\0abcdefgh", 17);
  Http2Server server(upstream_socket_.far,
                     [&](Http2Server& self, std::int32_t, const Request&) { self.send_raw(pings); });
  std::string answer;
  loop_.run(relay({net::Milliseconds(5000), net::Milliseconds(5000), net::Milliseconds(300)}),
            ask(client_.far, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", answer), server.serve());
  EXPECT_EQ(answer, "RST");
  EXPECT_EQ(end, End::idle);
}

TEST(Answer, keeps_fields_that_frame_http1_out) {
  Http1Answer answer("GET", 1);
  EXPECT_TRUE(answer.add_field(":status", "200"));
  EXPECT_TRUE(answer.add_field("transfer-encoding", "chunked"));
  EXPECT_TRUE(answer.add_field("connection", "close"));
  EXPECT_FALSE(answer.add_field("x", "a\r\nSet-Cookie: b"));
  EXPECT_FALSE(answer.add_field("x: y\r\nz", "a"));
  EXPECT_TRUE(answer.add_field("content-length", "0"));
  EXPECT_TRUE(answer.end_fields(true));
  std::string text(200, '\0');
  std::size_t content = 0;
  text.resize(answer.take({reinterpret_cast<std::uint8_t*>(text.data()), text.size()}, content));
  EXPECT_EQ(text, "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n");
  EXPECT_TRUE(answer.complete());
}

TEST(Answer, has_no_101) {
  Http1Answer answer("GET", 1);
  EXPECT_TRUE(answer.add_field(":status", "101"));
  EXPECT_FALSE(answer.end_fields(false));
}

TEST(Content, is_the_same_in_any_split_of_its_bytes) {
  const std::string text = "3;a=b\r\nabc\r\n0a\r\n0123456789\r\n0\r\nA: 1\r\nb:2\r\n\r\n";
  for (std::size_t size = 1; size <= text.size(); ++size) {
    BodyContent body({wire::Framing::Kind::chunked, 0});
    std::string content;
    for (std::size_t at = 0; at < text.size(); at += size) {
      const auto part = text.substr(at, size);
      ByteSpan bytes(reinterpret_cast<const std::uint8_t*>(part.data()), part.size());
      while (!bytes.empty()) {
        const auto run = body.next(bytes);
        ASSERT_TRUE(run);
        content.append(reinterpret_cast<const char*>(run->data()), run->size());
      }
    }
    EXPECT_TRUE(body.done());
    EXPECT_EQ(content, "abc0123456789");
    EXPECT_EQ(body.trailers(), (std::vector<Field>{{"a", "1"}, {"b", "2"}}));
  }
}

}  // namespace
}  // namespace sluice::relay
