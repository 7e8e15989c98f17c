#include "relay/http_relay.h"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "loop.h"

namespace sluice::relay {
namespace {

constexpr HttpLimits patient{net::Milliseconds(5000), net::Milliseconds(5000), net::Milliseconds(5000)};
constexpr std::string_view end_of_head = "\r\n\r\n";

std::string get(std::string_view path, std::string_view host = "a.example") {
  std::string text = "GET ";
  return text.append(path).append(" HTTP/1.1\r\nHost: ").append(host).append(end_of_head);
}

std::string ok(std::string_view body) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

// Every registered host has one connection; what is not registered is denied.
class Hosts final : public HttpJudge {
 public:
  net::Task<std::variant<net::Stream*, HttpDenial>> route(const wire::RequestHead& head, ByteSpan) override {
    asked.push_back(head.authority.host + head.path);
    const auto found = registered.find(head.authority.host);
    if (found == registered.end()) co_return HttpDenial{Reason::host_not_registered, {}};
    co_return found->second;
  }
  void refuse_unreadable(const Unreadable& unreadable) override { unreadable_reason = unreadable.reason; }

  std::map<std::string, net::Stream*> registered;
  std::vector<std::string> asked;
  std::optional<Reason> unreadable_reason;
};

class HttpRelay : public testing::Test {
 protected:
  HttpRelay() { hosts_.registered["a.example"] = &upstream_.near; }

  // The relay as the stories run it: the first request is read, then served. How it ended is in `end`.
  net::Task<void> relay(HttpLimits limits = patient) {
    auto read = co_await read_first_bytes(client_.near, {}, net::Milliseconds(5000));
    auto* first = std::get_if<FirstBytes>(&read);
    EXPECT_TRUE(first != nullptr && first->sniffed == Sniffed::http);
    if (!first) co_return;
    end = co_await relay_http(client_.near, std::move(*first), hosts_, limits, loop_.pipes(), totals);
  }

  net::Socket& client() { return client_.far; }
  net::Socket& upstream() { return upstream_.far; }

  Loop loop_;
  Loop::Pair client_ = loop_.connect();
  Loop::Pair upstream_ = loop_.connect();
  Hosts hosts_;
  Totals totals;
  std::optional<End> end;
};

using Socket = net::Socket;

TEST_F(HttpRelay, serves_one_request_after_the_other_on_one_connection) {
  const auto client_script = [](Socket& socket) -> net::Task<void> {
    co_await send(socket, get("/1"));
    EXPECT_EQ(co_await receive(socket, ok("one").size()), ok("one"));
    co_await send(socket, get("/2"));
    EXPECT_EQ(co_await receive(socket, ok("two").size()), ok("two"));
    net::finish_writing(socket);
    EXPECT_EQ(co_await receive_all(socket), "");
  };
  const auto upstream_script = [](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/1"));
    co_await send(socket, ok("one"));
    EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/2"));
    co_await send(socket, ok("two"));
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
  EXPECT_EQ(totals.sent, get("/1").size() + get("/2").size());
  EXPECT_EQ(totals.received, ok("one").size() + ok("two").size());
}

TEST_F(HttpRelay, judges_every_request_and_denies_the_second_after_the_first_is_answered) {
  const auto client_script = [](Socket& socket) -> net::Task<void> {
    // Both at once: the second stands in the relay's buffer while the first is served.
    co_await send(socket, get("/", "a.example") + get("/secret", "evil.example"));
    EXPECT_EQ(co_await receive(socket, ok("fine").size()), ok("fine"));
    const auto denied = co_await receive_all(socket);
    socket.close();
    EXPECT_TRUE(denied.starts_with("HTTP/1.1 403 Forbidden\r\n")) << denied;
    EXPECT_NE(denied.find("evil.example denied: host_not_registered"), std::string::npos) << denied;
  };
  const auto upstream_script = [](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/"));
    co_await send(socket, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi");
    // The answer is half complete: nothing of the second request may have come, now or ever.
    boost::asio::steady_timer pause(socket.get_executor(), std::chrono::milliseconds(30));
    co_await pause.async_wait(boost::asio::use_awaitable);
    EXPECT_TRUE(net::is_quiet(socket));
    co_await send(socket, "ne");
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::denied);
  EXPECT_EQ(hosts_.asked, (std::vector<std::string>{"a.example/", "evil.example/secret"}));
  EXPECT_TRUE(net::is_quiet(upstream()));
}

TEST_F(HttpRelay, takes_pipelined_requests_in_lockstep) {
  const auto client_script = [](Socket& socket) -> net::Task<void> {
    co_await send(socket, get("/1") + get("/2") + get("/3"));
    EXPECT_EQ(co_await receive(socket, 3 * ok("x").size()), ok("1") + ok("2") + ok("3"));
    net::finish_writing(socket);
  };
  const auto upstream_script = [](Socket& socket) -> net::Task<void> {
    for (int request = 1; request <= 3; ++request) {
      const auto number = std::to_string(request);
      EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/" + number));
      // The next request has to wait for this answer.
      EXPECT_TRUE(net::is_quiet(socket));
      co_await send(socket, ok(number));
    }
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
}

TEST_F(HttpRelay, sends_each_host_to_its_own_connection) {
  auto other = loop_.connect();
  hosts_.registered["b.example"] = &other.near;
  const auto client_script = [](Socket& socket) -> net::Task<void> {
    co_await send(socket, get("/", "a.example"));
    EXPECT_EQ(co_await receive(socket, ok("from a").size()), ok("from a"));
    co_await send(socket, get("/", "b.example"));
    EXPECT_EQ(co_await receive(socket, ok("from b").size()), ok("from b"));
    net::finish_writing(socket);
  };
  const auto serve = [](Socket& socket, std::string_view host, std::string_view body) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/", host));
    co_await send(socket, ok(body));
  };
  loop_.run(relay(), client_script(client()), serve(upstream(), "a.example", "from a"),
            serve(other.far, "b.example", "from b"));
  EXPECT_EQ(end, End::finished);
}

TEST_F(HttpRelay, carries_chunked_bodies_both_ways_and_knows_their_end) {
  const std::string request =
      "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n";
  const std::string answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, request);
    EXPECT_EQ(co_await receive(socket, answer.size()), answer);
    // The connection goes on behind both bodies.
    co_await send(socket, get("/next"));
    EXPECT_EQ(co_await receive(socket, ok("next").size()), ok("next"));
    net::finish_writing(socket);
  };
  const auto upstream_script = [&](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive(socket, request.size()), request);
    co_await send(socket, answer);
    EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/next"));
    co_await send(socket, ok("next"));
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
  EXPECT_EQ(hosts_.asked.size(), 2U);
}

TEST_F(HttpRelay, passes_an_interim_answer_before_the_body_is_sent) {
  const std::string head = "POST / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
  const std::string go_on = "HTTP/1.1 100 Continue\r\n\r\n";
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, head);
    EXPECT_EQ(co_await receive(socket, go_on.size()), go_on);
    co_await send(socket, "body");
    EXPECT_EQ(co_await receive(socket, ok("taken").size()), ok("taken"));
    net::finish_writing(socket);
  };
  const auto upstream_script = [&](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), head);
    co_await send(socket, go_on);
    EXPECT_EQ(co_await receive(socket, 4), "body");
    co_await send(socket, ok("taken"));
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
}

TEST_F(HttpRelay, expects_no_body_in_the_answer_to_head) {
  const std::string request = "HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n";
  const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, request);
    EXPECT_EQ(co_await receive(socket, answer.size()), answer);
    co_await send(socket, get("/next"));
    EXPECT_EQ(co_await receive(socket, ok("next").size()), ok("next"));
    net::finish_writing(socket);
  };
  const auto upstream_script = [&](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), request);
    co_await send(socket, answer);
    EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/next"));
    co_await send(socket, ok("next"));
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
}

TEST_F(HttpRelay, carries_an_answer_that_ends_with_its_connection) {
  const std::string answer = "HTTP/1.1 200 OK\r\n\r\nas long as it takes";
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, get("/"));
    EXPECT_EQ(co_await receive_all(socket), answer);
    socket.close();
  };
  const auto upstream_script = [&](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/"));
    co_await send(socket, answer);
    net::finish_writing(socket);
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
}

TEST_F(HttpRelay, becomes_a_tunnel_when_the_upstream_agrees_to_upgrade) {
  const std::string request =
      "GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
  const std::string answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, request);
    EXPECT_EQ(co_await receive(socket, answer.size() + 5), answer + "early");
    // Not HTTP any more, and not read as such.
    co_await send(socket, "\x81\x05hello");
    EXPECT_EQ(co_await receive(socket, 2), "\x8a\x01");
    net::finish_writing(socket);
    EXPECT_EQ(co_await receive_all(socket), "");
  };
  const auto upstream_script = [&](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), request);
    co_await send(socket, answer + "early");
    EXPECT_EQ(co_await receive(socket, 7), "\x81\x05hello");
    co_await send(socket, "\x8a\x01");
    EXPECT_EQ(co_await receive_all(socket), "");
    net::finish_writing(socket);
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
}

TEST_F(HttpRelay, refuses_an_upgrade_that_nobody_asked_for) {
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, get("/"));
    EXPECT_EQ(co_await receive_all(socket), "RST");
  };
  const auto upstream_script = [&](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/"));
    co_await send(socket, "HTTP/1.1 101 Switching Protocols\r\n\r\n");
    EXPECT_EQ(co_await receive_all(socket), "RST");
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::malformed);
}

TEST_F(HttpRelay, delivers_an_answer_that_comes_before_the_body_was_sent) {
  const std::string head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n\r\n";
  const std::string answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!";
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, head + "the first of it");
    EXPECT_EQ(co_await receive(socket, answer.size()), answer);
    EXPECT_EQ(co_await receive_all(socket), "");
    socket.close();
  };
  const auto upstream_script = [&](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), head);
    co_await send(socket, answer);
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
}

TEST_F(HttpRelay, takes_no_rest_of_a_body_for_a_request) {
  const std::string head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n\r\n";
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, head);
    EXPECT_EQ(co_await receive(socket, ok("kept").size()), ok("kept"));
    // The upstream is gone when these arrive, though it has said that the connection persists.
    for (int count = 0; count < 100; ++count) {
      co_await send(socket, get("/smuggled"));
      boost::asio::steady_timer pause(socket.get_executor(), std::chrono::milliseconds(1));
      co_await pause.async_wait(boost::asio::use_awaitable);
    }
    net::finish_writing(socket);
    co_await receive_all(socket);
    socket.close();
  };
  const auto upstream_script = [&](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), head);
    co_await send(socket, ok("kept"));
    net::reset(socket);
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(hosts_.asked, std::vector<std::string>{"a.example/"});
}

TEST_F(HttpRelay, splices_large_bodies_unchanged_and_keeps_the_connection) {
  const std::string body(5UL * 1024 * 1024 + 7, 'b');
  const std::string request = "PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: " + std::to_string(body.size()) +
                              std::string(end_of_head) + body;
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, request);
    EXPECT_TRUE(co_await receive(socket, ok(body).size()) == ok(body));
    co_await send(socket, get("/next"));
    EXPECT_EQ(co_await receive(socket, ok("next").size()), ok("next"));
    net::finish_writing(socket);
  };
  const auto upstream_script = [&](Socket& socket) -> net::Task<void> {
    EXPECT_TRUE(co_await receive(socket, request.size()) == request);
    co_await send(socket, ok(body));
    EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/next"));
    co_await send(socket, ok("next"));
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
  EXPECT_EQ(totals.sent, request.size() + get("/next").size());
}

TEST_F(HttpRelay, refuses_a_later_request_that_cannot_be_read) {
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, get("/") + "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n");
    EXPECT_EQ(co_await receive(socket, ok("1").size()), ok("1"));
    const auto refused = co_await receive_all(socket);
    socket.close();
    EXPECT_TRUE(refused.starts_with("HTTP/1.1 400 Bad Request\r\n")) << refused;
  };
  const auto upstream_script = [&](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/"));
    co_await send(socket, ok("1"));
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::denied);
  EXPECT_EQ(hosts_.unreadable_reason, Reason::http_malformed);
  EXPECT_EQ(hosts_.asked.size(), 1U);
}

TEST_F(HttpRelay, tells_the_upstream_when_the_client_gives_up_waiting) {
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, get("/slow"));
    co_return;
  };
  const auto upstream_script = [this](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/slow"));
    net::reset(client());
    EXPECT_EQ(co_await receive_all(socket), "RST");
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::client_reset);
}

TEST_F(HttpRelay, resets_the_client_when_the_upstream_breaks_off_its_answer) {
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, get("/"));
    EXPECT_EQ(co_await receive_until(socket, "par"), "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npar");
    // A short answer must not look like a whole one.
    EXPECT_EQ(co_await receive_all(socket), "RST");
  };
  const auto upstream_script = [&](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/"));
    co_await send(socket, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npar");
    net::finish_writing(socket);
  };
  loop_.run(relay(), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::upstream_reset);
}

TEST_F(HttpRelay, ends_an_exchange_in_which_nothing_moves) {
  HttpLimits limits = patient;
  limits.idle = net::Milliseconds(30);
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, get("/"));
    EXPECT_EQ(co_await receive_all(socket), "RST");
  };
  loop_.run(relay(limits), client_script(client()));
  EXPECT_EQ(end, End::idle);
}

TEST_F(HttpRelay, closes_a_kept_alive_connection_that_falls_silent) {
  HttpLimits limits = patient;
  limits.keep_alive = net::Milliseconds(30);
  const auto client_script = [&](Socket& socket) -> net::Task<void> {
    co_await send(socket, get("/"));
    EXPECT_EQ(co_await receive(socket, ok("1").size()), ok("1"));
    EXPECT_EQ(co_await receive_all(socket), "");
    socket.close();
  };
  const auto upstream_script = [&](Socket& socket) -> net::Task<void> {
    EXPECT_EQ(co_await receive_until(socket, end_of_head), get("/"));
    co_await send(socket, ok("1"));
  };
  loop_.run(relay(limits), client_script(client()), upstream_script(upstream()));
  EXPECT_EQ(end, End::finished);
}

}  // namespace
}  // namespace sluice::relay
