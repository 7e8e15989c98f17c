"""What a server must make of bytes, right and wrong: a row for each demand of RFC 9112 (and of 9110, where it is about
parsing) that a client can put to the test. Each is sent on a connection of its own."""
from dataclasses import dataclass

HOST = "h1.example.com"
MAX_HEAD = 16 * 1024


@dataclass
class Case:
    """`statuses`: of the answers that come, in order; `kept`: another request is answered behind them, else the
    connection ends. `seen`: what the upstream has of the last one."""

    section: str
    name: str
    bytes: bytes
    statuses: list
    kept: bool = True
    seen: tuple = None

    def __str__(self):
        return f"{self.section} {self.name}"


def head(*lines, first="GET /echo HTTP/1.1", host=HOST, end="\r\n"):
    host_line = [f"Host: {host}"] if host is not None else []
    return end.join([first, *host_line, *lines, "", ""]).encode("latin-1")


def post(*lines, body=b"", first="POST /echo HTTP/1.1"):
    return head(*lines, first=first) + body


def ok(section, name, sent, *seen, kept=True):
    return Case(section, name, sent, [200], kept, seen or None)


def bad(section, name, sent, status=400):
    """Refused, and nothing behind it is read as a request."""
    return Case(section, name, sent + head(first="GET /hello HTTP/1.1"), [status], kept=False)


def chunked(body, *lines):
    return post("Transfer-Encoding: chunked", *lines, body=body)


LINES = [
    ok("2.2", "an empty line before the request line", b"\r\n" + head()),
    ok("2.2", "several empty lines before it", b"\r\n\r\n\r\n" + head()),
    bad("2.2", "LF alone at the line ends", head(end="\n")),
    bad("2.2", "LF alone at the end of one field", head().replace(b"com\r\n", b"com\n", 1)),
    bad("2.2", "CR within a field", head("X: a\rb")),
    bad("2.2", "CR alone as line end", head("X: a\rY: b")),
    bad("2.2", "a space before the first field", head(host=None).replace(b"\r\n", b"\r\n Host: x\r\n", 1)),
    bad("2.2", "LF and CR the wrong way round", head().replace(b"\r\n", b"\n\r")),
    bad("2.2", "an empty line of LF before it", b"\n" + head()),
    ok("2.3", "HTTP/1.0", head(first="GET /echo HTTP/1.0"), kept=False),
    bad("2.3", "HTTP/1.2", head(first="GET /echo HTTP/1.2")),
    bad("2.3", "HTTP/2.0", head(first="GET /echo HTTP/2.0")),
    bad("2.3", "HTTP/0.9", b"GET /echo\r\n\r\n"),
    bad("2.3", "a version in lower case", head(first="GET /echo http/1.1")),
    bad("2.3", "a version of two digits", head(first="GET /echo HTTP/1.10")),
    bad("2.3", "no version", head(first="GET /echo")),
    bad("2.3", "a space behind the version", head(first="GET /echo HTTP/1.1 ")),
]

REQUEST_LINES = [
    bad("3", "two spaces behind the method", head(first="GET  /echo HTTP/1.1")),
    bad("3", "two spaces before the version", head(first="GET /echo  HTTP/1.1")),
    bad("3", "a tab instead of a space", head(first="GET\t/echo HTTP/1.1")),
    bad("3", "a space before the method", head(first=" GET /echo HTTP/1.1")),
    bad("3", "a vertical tab in the line", head(first="GET /echo\vHTTP/1.1")),
    bad("3.1", "a method that is no token", head(first="G<T /echo HTTP/1.1")),
    bad("3.1", "an empty method", head(first=" /echo HTTP/1.1")),
    bad("3.1", "a method of 100 bytes", head(first="G" * 100 + " /echo HTTP/1.1")),
    ok("3.1", "a method that nobody knows", head(first="SLUICE /echo HTTP/1.1"), "method", "SLUICE"),
    ok("3.1", "a method in lower case is another one", head(first="get /echo HTTP/1.1"), "method", "get"),
    bad("3.2", "a space within the target", head(first="GET /a b HTTP/1.1")),
    bad("3.2", "an empty target", head(first="GET HTTP/1.1")),
    bad("3.2", "a fragment", head(first="GET /echo#x HTTP/1.1")),
    bad("3.2", "a byte beyond ASCII in the target", head(first="GET /\xe4 HTTP/1.1")),
    bad("3.2", "NUL in the target", head(first="GET /\0 HTTP/1.1")),
    bad("3.2", "a target that is no path", head(first="GET echo HTTP/1.1")),
    Case("3", "a target over the limit", head(first="GET /" + "x" * MAX_HEAD + " HTTP/1.1"), [431], kept=False),
    ok("3.2.1", "a query", head(first="GET /echo?a=%20&b HTTP/1.1"), "target", "/echo?a=%20&b"),
    ok("3.2.1", "an empty query", head(first="GET /echo? HTTP/1.1"), "target", "/echo?"),
    ok("3.2.2", "absolute-form", head(first=f"GET http://{HOST}/echo?x HTTP/1.1"), "target", "/echo?x"),
    ok("3.2.2", "absolute-form of https", head(first=f"GET https://{HOST}/echo HTTP/1.1"), "target", "/echo"),
    ok(
        "3.2.2",
        "absolute-form of https with its port",
        head(first=f"GET https://{HOST}:443/echo HTTP/1.1"),
        "host",
        HOST,
    ),
    ok("3.2.2", "absolute-form in other case", head(first=f"GET HTTPS://{HOST.upper()}/echo HTTP/1.1"), "host", HOST),
    ok("3.2.2", "absolute-form without path", head(first=f"GET http://{HOST}?x HTTP/1.1")),
    bad("3.2.2", "absolute-form of another scheme", head(first=f"GET ftp://{HOST}/echo HTTP/1.1")),
    bad("3.2.2", "absolute-form of another host", head(first="GET http://b.example.com/echo HTTP/1.1")),
    bad("3.2.2", "absolute-form without host", head(first="GET http:///echo HTTP/1.1")),
    bad("3.2.2", "absolute-form with userinfo", head(first=f"GET http://me@{HOST}/echo HTTP/1.1")),
    bad("3.2.3", "authority-form with GET", head(first=f"GET {HOST}:443 HTTP/1.1")),
    bad("3.2.3", "CONNECT", head(first=f"CONNECT {HOST}:443 HTTP/1.1")),
    bad("3.2.3", "connect in lower case", head(first=f"connect {HOST}:443 HTTP/1.1")),
    Case("3.2.4", "asterisk-form with OPTIONS", head(first="OPTIONS * HTTP/1.1"), [404]),
    bad("3.2.4", "asterisk-form with GET", head(first="GET * HTTP/1.1")),
]

HOSTS = [
    bad("3.2", "no Host", head(host=None)),
    bad("3.2", "no Host in HTTP/1.0", head(host=None, first="GET /echo HTTP/1.0")),
    bad("3.2", "an empty Host", head(host="")),
    bad("3.2", "two Host fields", head(f"Host: {HOST}")),
    bad("3.2", "two Host fields that differ", head("Host: b.example.com")),
    bad("3.2", "a Host with a path", head(host=f"{HOST}/echo")),
    bad("3.2", "a Host with userinfo", head(host=f"me@{HOST}")),
    bad("3.2", "a Host with a space", head(host="a b")),
    bad("3.2", "a list of hosts", head(host=f"{HOST}, b.example.com")),
    bad("3.2", "a port that is no number", head(host=f"{HOST}:x")),
    bad("3.2", "a port over 65535", head(host=f"{HOST}:65536")),
    ok("3.2", "a Host in upper case", head(host=HOST.upper())),
    ok("3.2", "a Host with its port", head(host=f"{HOST}:443")),
    Case("3.2", "a Host of nobody", head(host="nobody.example.org"), [404]),
]

FIELDS = [
    bad("5.1", "a space before the colon", head("X : a")),
    bad("5.1", "a tab before the colon", head("X\t: a")),
    bad("5.1", "an empty name", head(": a")),
    bad("5.1", "no colon", head("nothing")),
    bad("5.1", "a name that is no token", head("X(y): a")),
    bad("5.1", "a byte beyond ASCII in a name", head("X\xe4: a")),
    bad("5.1", "NUL in a name", head("X\0: a")),
    bad("5.2", "a folded field", head("X: a\r\n b")),
    bad("5.2", "a field folded by a tab", head("X: a\r\n\tb")),
    bad("5.2", "a folded Host", head(host=f"\r\n {HOST}")),
    bad("5.5", "NUL in a value", head("X: a\0b")),
    bad("5.5", "DEL in a value", head("X: a\x7fb")),
    bad("5.5", "a control byte in a value", head("X: a\x01b")),
    ok("5", "no space behind the colon", head("X:a"), "x", "a"),
    ok("5", "many spaces around a value", head("X: \t a \t "), "x", "a"),
    ok("5", "an empty value", head("X:"), "x", ""),
    ok("5.5", "bytes beyond ASCII in a value", head("X: \xe4\xff"), "x", "\xe4\xff"),
    ok("5.5", "a tab in a value", head("X: a\tb"), "x", "a\tb"),
    Case("5", "a field over the limit", head("X: " + "y" * MAX_HEAD), [431], kept=False),
    Case("5", "more fields than 200", head(*["X: y"] * 201), [431], kept=False),
]

BODIES = [
    ok("6.2", "a length", post("Content-Length: 3", body=b"abc"), "body", "abc"),
    ok("6.2", "a length of 0", post("Content-Length: 0"), "body", ""),
    ok("6.2", "GET with a body", post("Content-Length: 3", body=b"abc", first="GET /echo HTTP/1.1"), "body", "abc"),
    ok("6.3", "POST without either", post(), "body", ""),
    ok("6.2", "a length with zeros in front", post("Content-Length: 0003", body=b"abc"), "body", "abc"),
    bad("6.2", "a negative length", post("Content-Length: -3", body=b"abc")),
    bad("6.2", "a length with a sign", post("Content-Length: +3", body=b"abc")),
    bad("6.2", "a length in hexadecimal", post("Content-Length: 0x3", body=b"abc")),
    bad("6.2", "a length with a space", post("Content-Length: 1 3", body=b"abc")),
    bad("6.2", "a length with a fraction", post("Content-Length: 3.0", body=b"abc")),
    bad("6.2", "an empty length", post("Content-Length:", body=b"abc")),
    bad("6.2", "a length over 2^63", post("Content-Length: 9223372036854775808")),
    bad("6.2", "a length over 2^64", post("Content-Length: 18446744073709551619", body=b"abc")),
    bad("6.3", "two lengths", post("Content-Length: 3", "Content-Length: 4", body=b"abcd")),
    bad("6.3", "the same length twice", post("Content-Length: 3", "Content-Length: 3", body=b"abc")),
    bad("6.3", "a list of lengths", post("Content-Length: 3, 3", body=b"abc")),
    bad("6.3", "both a length and chunks", post("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    bad("6.3", "both, the other way round", post("Transfer-Encoding: chunked", "Content-Length: 5", body=b"0\r\n\r\n")),
    bad("6.1", "a coding that is not known", post("Transfer-Encoding: gzip", body=b"abc")),
    bad("6.1", "chunked before another coding", post("Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n")),
    bad("6.1", "another coding before chunked", post("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    bad("6.1", "chunked twice", post("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n")),
    bad("6.1", "two fields of codings", post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=b"0\r\n\r\n")),
    bad("6.1", "identity", post("Transfer-Encoding: identity", body=b"abc")),
    bad("6.1", "an empty coding", post("Transfer-Encoding:", body=b"0\r\n\r\n")),
    bad("6.1", "a coding in quotes", post('Transfer-Encoding: "chunked"', body=b"0\r\n\r\n")),
    bad("6.1", "a parameter of chunked", post("Transfer-Encoding: chunked;x=y", body=b"0\r\n\r\n")),
    bad("6.1", "a vertical tab before chunked", post("Transfer-Encoding: \vchunked", body=b"0\r\n\r\n")),
    bad("6.1", "chunks in HTTP/1.0",
        post("Transfer-Encoding: chunked", body=b"0\r\n\r\n", first="POST /echo HTTP/1.0")),
    bad("6.1", "a coding with a space before its colon", post("Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
    ok("6.1", "chunked in upper case", post("Transfer-Encoding: CHUNKED", body=b"1\r\na\r\n0\r\n\r\n"), "body", "a"),
]  # fmt: skip

CHUNKS = [
    ok("7.1", "chunks", chunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), "body", "abcde"),
    ok("7.1", "a size in hexadecimal of either case", chunked(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
       "body_bytes", 20),
    ok("7.1", "zeros before a size", chunked(b"0003\r\nabc\r\n000\r\n\r\n"), "body", "abc"),
    ok("7.1.1", "an extension", chunked(b'3;name="a value"\r\nabc\r\n0;last\r\n\r\n'), "body", "abc"),
    ok("7.1.2", "trailers", chunked(b"1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n"), "trailers", [["x-sum", "7"]]),
    bad("7.1", "a size that is no number", chunked(b"x\r\nabc\r\n0\r\n\r\n")),
    bad("7.1", "a size with 0x", chunked(b"0x3\r\nabc\r\n0\r\n\r\n")),
    bad("7.1", "a negative size", chunked(b"-3\r\nabc\r\n0\r\n\r\n")),
    bad("7.1", "an empty size", chunked(b"\r\nabc\r\n0\r\n\r\n")),
    bad("7.1", "a space before a size", chunked(b" 3\r\nabc\r\n0\r\n\r\n")),
    bad("7.1", "a space behind a size", chunked(b"3 \r\nabc\r\n0\r\n\r\n")),
    bad("7.1", "a size over 2^63", chunked(b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n")),
    bad("7.1", "a size of 17 digits", chunked(b"00000000000000003\r\nabc\r\n0\r\n\r\n")),
    bad("7.1", "a size that ends in LF", chunked(b"3\nabc\r\n0\r\n\r\n")),
    bad("7.1", "a size that ends in CR", chunked(b"3\rabc\r\n0\r\n\r\n")),
    bad("7.1", "data that ends in LF", chunked(b"3\r\nabc\n0\r\n\r\n")),
    bad("7.1", "data longer than its size", chunked(b"3\r\nabcd\r\n0\r\n\r\n")),
    bad("7.1", "data shorter than its size", chunked(b"4\r\nabc\r\n0\r\n\r\n")),
    bad("7.1.1", "LF in an extension", chunked(b"3;x\n\r\nabc\r\n0\r\n\r\n")),
    bad("7.1.1", "an extension of 10000 bytes", chunked(b"3;" + b"x" * 10000 + b"\r\nabc\r\n0\r\n\r\n")),
    bad("7.1.2", "a trailer without colon", chunked(b"0\r\nnothing\r\n\r\n")),
    bad("7.1.2", "a folded trailer", chunked(b"0\r\nX: a\r\n b\r\n\r\n")),
    bad("7.1.2", "a trailer that ends in LF", chunked(b"0\r\nX: a\n\r\n")),
    bad("7.1.2", "trailers of 20000 bytes", chunked(b"0\r\nX: " + b"y" * 20000 + b"\r\n\r\n")),
    ok("7.1.2", "a trailer that frames the message is dropped",
       chunked(b"1\r\na\r\n0\r\nContent-Length: 7\r\nX: y\r\n\r\n"), "trailers", [["x", "y"]]),
]  # fmt: skip

TWO = head() + head(first="GET /status/201 HTTP/1.1")
CONNECTIONS = [
    Case("9.3", "the connection is kept", TWO, [200, 201]),
    Case("9.3", "close ends it", head("Connection: close") + head(), [200], kept=False),
    Case("9.3", "Close in a list ends it", head("Connection: x, CLOSE") + head(), [200], kept=False),
    Case("9.3", "close in a second field ends it", head("Connection: x", "Connection: close") + head(), [200], False),
    Case("9.3", "HTTP/1.0 ends it", head(first="GET /echo HTTP/1.0") + head(), [200], kept=False),
    Case("9.3", "HTTP/1.0 keeps it when asked", head("Connection: keep-alive", first="GET /echo HTTP/1.0"), [200]),
    Case("9.3.2", "ten requests at once", head() * 10, [200] * 10),
    Case("9.3.2", "a request right behind a body", post("Content-Length: 3", body=b"abc") + TWO, [200, 200, 201]),
    Case("9.3.2", "a request right behind chunks", chunked(b"1\r\na\r\n0\r\n\r\n") + TWO, [200, 200, 201]),
    Case("9.3.2", "an error among requests", head() + head("X : y") + head(), [200, 400], kept=False),
    Case("9.3.2", "HEAD among requests", head(first="HEAD /hello HTTP/1.1") + head(), [200, 200]),
    bad("9.6", "a Connection that names Content-Length", post("Connection: content-length", "Content-Length: 3", body=b"abc")),
    bad("9.6", "a Connection that names Host", head("Connection: host")),
    bad("9.6", "a Connection that names Transfer-Encoding", chunked(b"0\r\n\r\n", "Connection: transfer-encoding")),
    bad("9.6", "a Connection that is no token", head("Connection: a b")),
    Case("9.8", "no close of TLS before the body is whole", post("Content-Length: 9", body=b"abc"), ["cut"], kept=False),
    Case("9.8", "the end within a head", b"GET /echo HT", ["cut"], kept=False),
    Case("9.8", "the end within a chunk", chunked(b"5\r\nabc"), ["cut"], kept=False),
]  # fmt: skip

EXPECTATIONS = [
    Case("9110 10.1.1", "100-continue", post("Expect: 100-continue", "Content-Length: 3", body=b"abc"), [200]),
    bad("9110 10.1.1", "another expectation", post("Expect: tea", "Content-Length: 3", body=b"abc"), status=400),
    Case("9110 10.1.1", "100-continue of HTTP/1.0",
         post("Expect: 100-continue", "Content-Length: 3", body=b"abc", first="POST /echo HTTP/1.0"), [200], False),
    bad("9110 7.8", "an upgrade to h2c", head("Connection: upgrade, http2-settings", "Upgrade: h2c", "HTTP2-Settings: x")),
    Case("9110 7.8", "an upgrade that nobody takes", head("Connection: upgrade", "Upgrade: x"), [200]),
    bad("9113 3.4", "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
]  # fmt: skip

CASES = LINES + REQUEST_LINES + HOSTS + FIELDS + BODIES + CHUNKS + CONNECTIONS + EXPECTATIONS
