#include <gtest/gtest.h>

#include <string>

#include "tests/support/hello_builder.h"
#include "wire/http_head.h"

namespace sluice::wire {
namespace {

RequestResult parse(std::string_view text, TargetScheme scheme = TargetScheme::http) {
  return parse_request_head(test::to_bytes(text), scheme);
}

std::string describe(const Framing& framing) {
  switch (framing.kind) {
    case Framing::Kind::none:
      return "none";
    case Framing::Kind::length:
      return "length " + std::to_string(framing.length);
    case Framing::Kind::chunked:
      return "chunked";
    case Framing::Kind::until_close:
      return "until close";
  }
  return "?";
}

std::string describe(const RequestResult& result) {
  struct Describer {
    std::string operator()(const NeedMore&) const { return "need more"; }
    std::string operator()(const RequestHead& head) const {
      return head.method + " " + head.authority.host +
             (head.authority.port ? ":" + std::to_string(*head.authority.port) : "") + " " + head.path + " " +
             describe(head.framing) + (head.keep_alive ? "" : " close") + (head.expects_continue ? " continue" : "") +
             (head.upgrade ? " upgrade" : "");
    }
    std::string operator()(const NotHttp&) const { return "not HTTP"; }
    std::string operator()(const Malformed& malformed) const { return "malformed " + std::string(malformed.what); }
    std::string operator()(const TooLarge&) const { return "too large"; }
    std::string operator()(const HostMissing&) const { return "host missing"; }
    std::string operator()(const HostMismatch&) const { return "host mismatch"; }
  };
  return std::visit(Describer{}, result);
}

struct Row {
  std::string_view head;
  std::string_view expected;
};

constexpr Row accepted[] = {
    {"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET a.example / none"},
    {"GET /a/b?c=d?e HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET a.example /a/b none"},
    {"GET //b.example/c HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET a.example //b.example/c none"},
    {"GET /?x HTTP/1.1\r\nhOST:A.Example.:8080 \t\r\n\r\n", "GET a.example:8080 / none"},
    {"GET / HTTP/1.1\r\nHost: [2001:db8::1]:81\r\n\r\n", "GET 2001:db8::1:81 / none"},
    {"GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "GET 192.0.2.1 / none"},
    {"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", "OPTIONS a.example * none"},
    {"GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET a.example /x none"},
    {"GET HTTP://A.example HTTP/1.1\r\nHost: a.example:80\r\n\r\n", "GET a.example / none"},
    {"GET http://a.example:80?q HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET a.example:80 / none"},
    {"FROBNICATE / HTTP/1.1\r\nHost: a.example\r\n\r\n", "FROBNICATE a.example / none"},
    {"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n", "GET a.example / none close"},
    {"GET / HTTP/1.0\r\nHost: a.example\r\nConnection: Keep-Alive\r\n\r\n", "GET a.example / none"},
    {"GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive, close\r\n\r\n", "GET a.example / none close"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n", "GET a.example / none close"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: x\r\nConnection: , CLOSE ,\r\n\r\n",
     "GET a.example / none close"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nX:\r\nY: \xff\t z\r\n\r\n", "GET a.example / none"},
    {"GET / HTTP/1.1\r\n!#$%&'*+-.^_`|~09aZ: x\r\nHost: a.example\r\n\r\n", "GET a.example / none"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 42\r\n\r\n", "POST a.example / length 42"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n", "POST a.example / length 0"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9223372036854775807\r\n\r\n",
     "POST a.example / length 9223372036854775807"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: Chunked\r\n\r\n", "POST a.example / chunked"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n",
     "POST a.example / chunked"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n",
     "POST a.example / length 5 continue"},
    {"POST / HTTP/1.0\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
     "POST a.example / length 5 close"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
     "GET a.example / none upgrade"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\n\r\n", "GET a.example / none"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\n\r\n", "GET a.example / none"},
    {"GET / HTTP/1.0\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
     "GET a.example / none close"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nContent-Lengthy: x\r\nXHost: b\r\n\r\n", "GET a.example / none"},
};

constexpr Row refused[] = {
    // Line ends
    {"GET / HTTP/1.1\nHost: a.example\r\n\r\n", "malformed line end: no CR before LF"},
    {"GET / HTTP/1.1\r\nHost: a.example\n\r\n", "malformed line end: no CR before LF"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\n\n", "malformed line end: no CR before LF"},
    {"GET / HTTP/1.1\r\nHost: a.example\rX: y\r\n\r\n", "malformed field value"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\r\n\r\n", "malformed field value"},
    {"GET / HTTP/1.1\r\r\nHost: a.example\r\n\r\n", "not HTTP"},
    {"GET /\r HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "not HTTP"},
    // Request lines
    {"GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"GET /  HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"GET /a b HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"GET\t/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "not HTTP"},
    {"GET /\tHTTP/1.1\r\nHost: a.example\r\n\r\n", "not HTTP"},
    {" GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "not HTTP"},
    {"GET HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"GET  HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"GET / HTTP/1.1 \r\nHost: a.example\r\n\r\n", "not HTTP"},
    {"GET / http/1.1\r\nHost: a.example\r\n\r\n", "not HTTP"},
    {"GET / HTTP/1.2\r\nHost: a.example\r\n\r\n", "malformed version"},
    {"GET / HTTP/0.9\r\nHost: a.example\r\n\r\n", "malformed version"},
    {"GET / HTTP/2.0\r\nHost: a.example\r\n\r\n", "malformed version"},
    {"GET / HTTP/1.10\r\nHost: a.example\r\n\r\n", "not HTTP"},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "malformed version"},
    {"GET /\r\n\r\n", "not HTTP"},
    {"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", "malformed method"},
    {"connect / HTTP/1.1\r\nHost: a.example:443\r\n\r\n", "malformed method"},
    {"GET a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", "malformed target"},
    {"GET a.example HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"GET * HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"OPTIONS *x HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"GET /a#b HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"GET /\xc3\xa9 HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"GET /\x7f HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"GET http:/a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target"},
    {"GET http:///x HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target: authority"},
    {"GET http://u@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target: authority"},
    {"GET http://a.example\\@b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target: authority"},
    {"GET http://a.example:99999/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "malformed target: authority"},
    // Fields
    {"GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", "malformed field name"},
    {"GET / HTTP/1.1\r\n Host: a.example\r\n\r\n", "malformed field name"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\n folded\r\n\r\n", "malformed field name"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\n\tX: folded\r\n\r\n", "malformed field name"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nX\r\n\r\n", "malformed field name"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\n: x\r\n\r\n", "malformed field name"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nX Y: z\r\n\r\n", "malformed field name"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nX\xe9: z\r\n\r\n", "malformed field name"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\n(X): z\r\n\r\n", "malformed field name"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nX: \x01\r\n\r\n", "malformed field value"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nX: \x7f\r\n\r\n", "malformed field value"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nX: \x0b\r\n\r\n", "malformed field value"},
    // Host
    {"GET / HTTP/1.1\r\nX: y\r\n\r\n", "host missing"},
    {"GET / HTTP/1.1\r\n\r\n", "host missing"},
    {"GET / HTTP/1.0\r\n\r\n", "host missing"},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "host missing"},
    {"GET / HTTP/1.1\r\nHost: \t \r\n\r\n", "host missing"},
    {"GET http://a.example/ HTTP/1.1\r\nX: y\r\n\r\n", "host missing"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", "malformed Host: a second one"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nhost: a.example\r\n\r\n", "malformed Host: a second one"},
    {"GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n", "malformed Host"},
    {"GET / HTTP/1.1\r\nHost: a.example b.example\r\n\r\n", "malformed Host"},
    {"GET / HTTP/1.1\r\nHost: u:p@a.example\r\n\r\n", "malformed Host"},
    {"GET / HTTP/1.1\r\nHost: a.example:\r\n\r\n", "malformed Host"},
    {"GET / HTTP/1.1\r\nHost: a.example:0\r\n\r\n", "malformed Host"},
    {"GET / HTTP/1.1\r\nHost: a.example/x\r\n\r\n", "malformed Host"},
    {"GET / HTTP/1.1\r\nHost: http://a.example\r\n\r\n", "malformed Host"},
    {"GET / HTTP/1.1\r\nHost: 127.1\r\n\r\n", "malformed Host"},
    {"GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n", "host mismatch"},
    {"GET http://a.example:81/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "host mismatch"},
    {"GET http://a.example/ HTTP/1.1\r\nHost: a.example:443\r\n\r\n", "host mismatch"},
    // Framing
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
     "malformed Content-Length together with Transfer-Encoding"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
     "malformed Content-Length together with Transfer-Encoding"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
     "malformed Content-Length: a second one"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5, 5\r\n\r\n", "malformed Content-Length"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: +5\r\n\r\n", "malformed Content-Length"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: -1\r\n\r\n", "malformed Content-Length"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0x5\r\n\r\n", "malformed Content-Length"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5 5\r\n\r\n", "malformed Content-Length"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5.0\r\n\r\n", "malformed Content-Length"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length:\r\n\r\n", "malformed Content-Length"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9223372036854775808\r\n\r\n", "malformed Content-Length"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 18446744073709551617\r\n\r\n", "malformed Content-Length"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
     "malformed Transfer-Encoding: not chunked alone"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
     "malformed Transfer-Encoding: not chunked alone"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: identity\r\n\r\n",
     "malformed Transfer-Encoding: not chunked alone"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: xchunked\r\n\r\n",
     "malformed Transfer-Encoding: not chunked alone"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
     "malformed Transfer-Encoding: not chunked alone"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
     "malformed Transfer-Encoding: not chunked alone"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding:\r\n\r\n",
     "malformed Transfer-Encoding: not chunked alone"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: \x0b"
     "chunked\r\n\r\n",
     "malformed field value"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
     "malformed Transfer-Encoding: a second one"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding : chunked\r\n\r\n", "malformed field name"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n", "malformed field name"},
    {"POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n",
     "malformed Transfer-Encoding in HTTP/1.0"},
    // Options of the connection
    {"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close, Host\r\n\r\n",
     "malformed Connection: a field that must stay"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: content-length\r\n\r\n",
     "malformed Connection: a field that must stay"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: x,Transfer-Encoding\r\n\r\n",
     "malformed Connection: a field that must stay"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close;x\r\n\r\n", "malformed Connection"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close host\r\n\r\n", "malformed Connection"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
     "malformed Upgrade: h2c"},
    {"GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket, H2C/1\r\n\r\n", "malformed Upgrade: h2c"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nExpect: y 100-continue\r\n\r\n", "malformed Expect"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nExpect:\r\n\r\n", "malformed Expect"},
    {"POST / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\n", "malformed Expect"},
};

TEST(RequestHead, sound_heads_are_accepted) {
  for (const auto& [head, expected] : accepted) EXPECT_EQ(describe(parse(head)), expected) << head;
}

TEST(RequestHead, unsound_heads_are_refused_each_for_its_reason) {
  for (const auto& [head, expected] : refused) EXPECT_EQ(describe(parse(head)), expected) << head;
}

TEST(RequestHead, every_prefix_needs_more_and_what_follows_is_ignored) {
  for (const auto& [head, expected] : accepted) {
    for (std::size_t size = 0; size < head.size(); ++size) {
      ASSERT_EQ(describe(parse(head.substr(0, size))), "need more") << head.substr(0, size);
    }
    const auto result = parse(std::string(head) + "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n\n");
    EXPECT_EQ(describe(result), expected);
    ASSERT_TRUE(std::holds_alternative<RequestHead>(result));
    EXPECT_EQ(std::get<RequestHead>(result).wire_bytes, head.size());
  }
}

TEST(RequestHead, a_refused_head_stays_refused_with_more_bytes) {
  for (const auto& [head, expected] : refused) {
    for (std::size_t size = 0; size <= head.size(); ++size) {
      const auto early = describe(parse(head.substr(0, size)));
      ASSERT_TRUE(early == "need more" || early == expected) << early << "\n" << head.substr(0, size);
    }
  }
}

TEST(RequestHead, a_NUL_is_refused_wherever_it_is) {
  const std::string_view head = "GET /x HTTP/1.1\r\nHost: a.example\r\nX: y\r\n\r\n";
  for (std::size_t at = 0; at < head.size(); ++at) {
    std::string broken(head);
    broken[at] = '\0';
    EXPECT_NE(describe(parse(broken)).substr(0, 3), "GET") << at;
  }
}

TEST(RequestHead, other_protocols_are_told_by_their_first_bytes) {
  for (const std::string_view start : {std::string_view("\x16\x03\x01"), std::string_view("SSH-2.0-OpenSSH_9.2\r\n"),
                                       std::string_view("EHLO a.example\r\n"), std::string_view("\0", 1),
                                       std::string_view("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), std::string_view("GET\r"),
                                       std::string_view("{\"a\":")}) {
    EXPECT_EQ(describe(parse(start)), "not HTTP") << start;
  }
  EXPECT_EQ(describe(parse(std::string(32, 'A'))), "need more");
}

TEST(RequestHead, a_head_is_bounded_in_bytes_and_fields) {
  const std::string start = "GET / HTTP/1.1\r\nHost: a.example\r\n";
  const auto padded_to = [&](std::size_t size) {
    return start + "X: " + std::string(size - start.size() - 7, 'x') + "\r\n\r\n";
  };
  EXPECT_EQ(describe(parse(padded_to(max_head_bytes))), "GET a.example / none");
  EXPECT_EQ(describe(parse(padded_to(max_head_bytes + 1))), "too large");
  EXPECT_EQ(describe(parse(padded_to(max_head_bytes + 1).substr(0, max_head_bytes))), "too large");
  EXPECT_EQ(describe(parse(padded_to(max_head_bytes + 1).substr(0, max_head_bytes - 1))), "need more");

  std::string many = start;
  for (std::size_t i = 1; i < max_head_fields; ++i) many += "X: y\r\n";
  EXPECT_EQ(describe(parse(many + "\r\n")), "GET a.example / none");
  EXPECT_EQ(describe(parse(many + "X: y\r\n")), "too large");
  EXPECT_EQ(describe(parse(many + "X: y\r\n\r\n")), "too large");
}

TEST(RequestHead, keeps_the_target_as_it_was_sent) {
  const auto result = parse("GET http://A.example/x?Y HTTP/1.1\r\nHost: a.example\r\n\r\n");
  ASSERT_TRUE(std::holds_alternative<RequestHead>(result));
  EXPECT_EQ(std::get<RequestHead>(result).target, "http://A.example/x?Y");
  EXPECT_EQ(std::get<RequestHead>(result).minor_version, 1U);
}

TEST(RequestHead, a_target_of_https_is_one_where_that_may_be_and_has_its_own_default_port) {
  const auto parse_both = [](std::string_view text) { return describe(parse(text, TargetScheme::http_or_https)); };
  EXPECT_EQ(parse_both("GET https://a.example/x HTTP/1.1\r\nHost: a.example:443\r\n\r\n"), "GET a.example /x none");
  EXPECT_EQ(parse_both("GET https://a.example:443/x HTTP/1.1\r\nHost: a.example\r\n\r\n"), "GET a.example:443 /x none");
  EXPECT_EQ(parse_both("GET http://a.example/ HTTP/1.1\r\nHost: a.example:80\r\n\r\n"), "GET a.example / none");
  EXPECT_EQ(parse_both("GET https://a.example/ HTTP/1.1\r\nHost: a.example:80\r\n\r\n"), "host mismatch");
  EXPECT_EQ(parse_both("GET ftp://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"), "malformed target");
}

}  // namespace
}  // namespace sluice::wire
