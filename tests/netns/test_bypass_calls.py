"""The bypass table, second part: calls that lie, and calls that are odd and yet registered.

Nothing undecided leaves, and every refusal that can reach the client does so at once.
"""
import re
import socket
import time

import hello
import pytest
from lab import GATEWAY_OUT4
from outside import EVIL, EVIL6, OTHER_DATABASE, OTHER_DATABASE6, WEB, WEB6
from pod import REFUSED_WITHIN_MS, receive_all

SEED_HOST = "api.external-service.com"
FAMILIES = pytest.mark.parametrize("version", [4, 6])


def evil(version):
    return EVIL if version == 4 else EVIL6


# Sockets


@FAMILIES
def test_an_unregistered_port_is_refused_at_once(lab, watch, version):
    assert lab.pod("a").refusal(evil(version), 9999).at_once()
    denied = watch.record(event="deny", reason="port_not_registered", destination=re.compile(":9999$"))
    assert denied["datapath"] == "kernel" and denied["pod"]["name"] == "a"
    watch.nothing_left()


@pytest.mark.parametrize("address", [OTHER_DATABASE, OTHER_DATABASE6])
def test_another_address_on_a_port_registered_by_address_is_refused_at_once(lab, watch, address):
    assert lab.pod("a").refusal(address, 5432).at_once()
    watch.record(event="deny", reason="address_not_registered", destination=re.compile(":5432$"))
    watch.nothing_left()


def test_a_mapped_connect_is_the_ipv4_connect(lab, watch):
    pod = lab.pod("a")
    for port, reason in ((9999, "port_not_registered"), (5432, "address_not_registered")):
        with pod.open_socket(socket.AF_INET6) as sock:
            sock.settimeout(5)
            with pytest.raises(ConnectionRefusedError):
                sock.connect((f"::ffff:{EVIL}", port))
        watch.record(event="deny", reason=reason, destination=f"{EVIL}:{port}")
    with pod.open_socket(socket.AF_INET6) as sock:
        sock.settimeout(5)
        sock.connect((f"::ffff:{EVIL}", 443))
        sock.sendall(hello.records(hello.client_hello(["evil.example"])))
        assert hello.answer(sock) == "alert unrecognized_name"
    watch.nothing_left()


@pytest.mark.parametrize("uid", [1, 1337, 65534])
def test_another_uid_is_judged_like_any(lab, watch, uid):
    done = lab.pod("a").curl("https://evil.example/", uid=uid)
    assert done.code == 35 and "unrecognized name" in done.error, done
    assert watch.record(event="deny", sni="evil.example")["process"]["comm"] == "curl"
    assert lab.pod("a").curl("http://evil.example/", "-o", "/dev/null", "-w", "%{http_code}", uid=uid).out == "403"
    watch.nothing_left()


# What the first bytes say


def tls_answer(pod, data, address=EVIL, chunks=None):
    """The answer to a crafted hello, and how long it took from the last byte on."""
    with pod.connect(address, 443) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for chunk in chunks or [data]:
            sock.sendall(chunk)
        start = time.monotonic()
        found = hello.answer(sock)
        assert hello.milliseconds_since(start) < REFUSED_WITHIN_MS
        return found


@FAMILIES
def test_a_name_that_lies_about_the_address_reaches_the_named_host(lab, watch, version):
    session = lab.pod("a").tls(evil(version), SEED_HOST)
    assert session.served_names() == [SEED_HOST]
    calls = {p.destination for p in watch.upstream_calls()}
    assert calls and calls <= {WEB, WEB6}
    assert not watch.leaks()


def test_a_host_that_lies_about_the_address_reaches_the_named_host(lab, watch):
    answer = lab.pod("a").http(EVIL, b"GET / HTTP/1.1\r\nHost: plain.example\r\nConnection: close\r\n\r\n")
    assert b"served plain.example at " in answer
    assert not {EVIL, EVIL6} & {p.destination for p in watch.upstream_calls()}
    assert not watch.leaks()


@pytest.mark.parametrize("name", ["API.External-Service.COM", "api.external-service.com."])
def test_case_and_a_trailing_dot_do_not_change_a_name(lab, watch, name):
    assert tls_answer(lab.pod("a"), hello.records(hello.client_hello([name])), WEB) == "server_hello"
    assert watch.record(event="open")["sni"] == SEED_HOST
    assert not watch.leaks()


@pytest.mark.parametrize(
    "name",
    [
        "EVIL.Example",
        "evil.example.",
        "evil.example",
        "external-service.com",
        "xapi.external-service.com",
        "partner.example",
        "xpartner.example",
        "api.external-service.com.evil.example",
    ],
)
def test_an_unregistered_name_is_denied_however_it_is_written(lab, watch, name):
    answer = tls_answer(lab.pod("a"), hello.records(hello.client_hello([name])))
    assert answer == "alert unrecognized_name"
    watch.record(event="deny", reason="host_not_registered", sni=name.lower().rstrip("."))
    watch.nothing_left()


@pytest.mark.parametrize(
    "names",
    [
        [b"api.external-service.com\0.evil.example"],
        [b"evil.example\0api.external-service.com"],
        [b"\0"],
        [SEED_HOST, "evil.example"],
        ["evil.example", SEED_HOST],
        [SEED_HOST, SEED_HOST],
        [b""],
        ["a" * 64 + ".partner.example"],
        [b"a b.partner.example"],
        [b"*.partner.example"],
        [b"..partner.example"],
        [b"203.0.113.10"],
        [b"2001:db8:5::10"],
        ["x." * 130 + "partner.example"],
        [b"caf\xc3\xa9.partner.example"],
    ],
    ids=[
        "nul-inside",
        "nul-after-evil",
        "nul",
        "two-names",
        "two-names-evil-first",
        "twice",
        "empty",
        "long-label",
        "space",
        "star",
        "dots",
        "ipv4",
        "ipv6",
        "too-long",
        "not-ascii",
    ],
)
def test_a_name_that_is_none_is_refused(lab, watch, names):
    assert tls_answer(lab.pod("a"), hello.records(hello.client_hello(names)), WEB).startswith("alert ")
    assert watch.record(event="deny", destination=f"{WEB}:443")["reason"] == "hello_malformed"
    watch.nothing_left()


def test_two_server_name_extensions_are_refused(lab, watch):
    message = hello.client_hello([SEED_HOST], extra=hello.sni("evil.example"))
    assert tls_answer(lab.pod("a"), hello.records(message), WEB).startswith("alert ")
    assert watch.record(event="deny", destination=f"{WEB}:443")["reason"] == "hello_malformed"
    watch.nothing_left()


def test_a_hello_in_one_byte_segments_is_read(lab, watch):
    session = lab.pod("a").tls(WEB, SEED_HOST, shape=hello.one_byte_segments)
    assert session.get(SEED_HOST).endswith(f"from {GATEWAY_OUT4}\n".encode()) or session.served_names() == [SEED_HOST]
    assert watch.record(event="open", sni=SEED_HOST)["verdict"] == "allow"
    assert not watch.leaks()


def test_a_denied_hello_in_one_byte_segments_is_denied(lab, watch):
    data = hello.records(hello.client_hello(["evil.example"]))
    assert tls_answer(lab.pod("a"), None, chunks=hello.one_byte_segments(data)) == "alert unrecognized_name"
    watch.nothing_left()


@pytest.mark.parametrize("name,expected", [(SEED_HOST, "server_hello"), ("evil.example", "alert unrecognized_name")])
def test_a_hello_with_a_1700_byte_key_share_is_read(lab, watch, name, expected):
    assert tls_answer(lab.pod("a"), hello.records(hello.client_hello([name], share_bytes=1700))) == expected
    assert not watch.leaks()


def test_a_hello_in_three_records_is_read(lab, watch):
    session = lab.pod("a").tls(EVIL, SEED_HOST, shape=hello.three_records)
    assert session.served_names() == [SEED_HOST]
    assert not watch.leaks()


def test_a_denied_hello_in_three_records_is_denied(lab, watch):
    data = hello.three_records(hello.records(hello.client_hello(["evil.example"])))
    assert tls_answer(lab.pod("a"), data[0]) == "alert unrecognized_name"
    watch.nothing_left()


# HTTP


def test_a_second_request_with_another_host_is_denied_and_does_not_leave(lab, watch):
    with lab.pod("a").connect("203.0.113.13", 80) as sock:
        sock.sendall(b"GET /first HTTP/1.1\r\nHost: plain.example\r\n\r\n")
        first = b""
        while not first.endswith(b"\n") or b"served" not in first:
            first += sock.recv(4096)
        start = time.monotonic()
        sock.sendall(b"GET /second HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        second = receive_all(sock)
    assert hello.milliseconds_since(start) < REFUSED_WITHIN_MS
    assert first.startswith(b"HTTP/1.1 200 ") and second.startswith(b"HTTP/1.1 403 ")
    assert b"evil.example" in second and b"host_not_registered" in second
    watch.record(event="deny", reason="host_not_registered", **{"http.host": "evil.example", "http.path": "/second"})
    assert (
        watch.seen_outside(b"/first") and not watch.seen_outside(b"/second") and not watch.seen_outside(b"evil.example")
    )
    assert not watch.leaks()


def test_a_pipelined_second_request_with_another_host_does_not_leave(lab, watch):
    answer = lab.pod("a").http(
        "203.0.113.13",
        b"GET /first HTTP/1.1\r\nHost: plain.example\r\n\r\n" b"GET /second HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 403 " in answer
    assert not watch.seen_outside(b"/second") and not watch.leaks()


@pytest.mark.parametrize(
    "body",
    [
        b"POST / HTTP/1.1\r\nHost: plain.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled",
        b"POST / HTTP/1.1\r\nHost: plain.example\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n/smuggled",
        b"POST / HTTP/1.1\r\nHost: plain.example\r\nTransfer-Encoding: xchunked\r\n\r\n/smuggled",
        b"GET /smuggled HTTP/1.1\r\nHost: plain.example\r\nHost: evil.example\r\n\r\n",
        b"GET /smuggled HTTP/1.1\r\nHost : plain.example\r\n\r\n",
        b"GET /smuggled HTTP/1.1\r\nX: y\r\n folded\r\nHost: plain.example\r\n\r\n",
        b"GET /smuggled HTTP/1.1\nHost: plain.example\n\n",
        b"GET /smuggled HTTP/1.1\r\nHost: plain.example\0.evil.example\r\n\r\n",
        b"GET http://evil.example/smuggled HTTP/1.1\r\nHost: plain.example\r\n\r\n",
        b"GET http://plain.example@evil.example/smuggled HTTP/1.1\r\nHost: plain.example\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: plain.example\r\n\r\n",
        b"CONNECT plain.example:80 HTTP/1.1\r\nHost: plain.example:80\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=[
        "cl-te",
        "cl-cl",
        "te",
        "two-hosts",
        "space-colon",
        "folded",
        "bare-lf",
        "nul",
        "absolute",
        "userinfo",
        "connect",
        "connect-registered",
        "h2-preface",
    ],
)
def test_an_http_request_of_two_meanings_is_refused(lab, watch, body):
    start = time.monotonic()
    answer = lab.pod("a").http("203.0.113.13", body)
    assert hello.milliseconds_since(start) < REFUSED_WITHIN_MS
    assert re.match(rb"HTTP/1\.1 (400|403) ", answer), answer
    assert watch.record(event="deny", destination="203.0.113.13:80")["reason"] in ("http_malformed", "host_mismatch")
    watch.nothing_left()
