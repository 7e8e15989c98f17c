"""Denied calls: the client learns it at once in its own protocol, and one record says why. Each reason has a row."""
import re
import signal
import socket
import ssl
import time

import hello
import pytest
from namespaces import wait_for
from outside import DATABASE, EVIL, EVIL6, OTHER_DATABASE, WEB
from pod import REFUSED_WITHIN_MS, receive_all, receive_exactly

SEED_HOST = "api.external-service.com"

# hello_conflict, no_gateway_route and draining belong to what the relay path cannot meet.
REACHABLE = {
    "host_not_registered",
    "port_not_registered",
    "address_not_registered",
    "not_exported",
    "host_missing",
    "sni_missing",
    "hello_malformed",
    "hello_too_large",
    "hello_timeout",
    "not_tls",
    "http_malformed",
    "host_mismatch",
    "ech_not_allowed",
    "udp_not_allowed",
    "protocol_not_allowed",
    "pod_unknown",
    "gateway_unreachable",
    "address_forbidden",
    "dns_failure",
    "upstream_refused",
    "upstream_timeout",
    "overloaded",
}
_recorded = set()


@pytest.fixture
def watch(bare_lab):
    with bare_lab.watch() as watch:
        yield watch
        for role in ("agent", "gateway"):
            _recorded.update(r["reason"] for r in watch.records(role, event="deny"))


def send_and_time(pod, address, port, data):
    """Sends bytes; the answer to a hello (or how the connection ended), and after how many milliseconds."""
    with pod.connect(address, port) as sock:
        start = time.monotonic()
        sock.sendall(data)
        found = hello.answer(sock)
        return found, hello.milliseconds_since(start)


def denied_at_once(pod, data, address=EVIL, port=443):
    found, took = send_and_time(pod, address, port, data)
    assert took < REFUSED_WITHIN_MS, f"{found} after {took} ms"
    return found


def http_denied(pod, request, address="203.0.113.13", port=80):
    """Status and body of the answer to raw bytes."""
    start = time.monotonic()
    answer = pod.http(address, request, port)
    assert hello.milliseconds_since(start) < REFUSED_WITHIN_MS
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


# What clients print


def test_curl_names_the_alert(lab, watch):
    done = lab.pod("a").curl("https://evil.example/")
    assert done.code == 35 and "unrecognized name" in done.error, done
    assert done.milliseconds < REFUSED_WITHIN_MS
    denied = watch.record(event="deny", sni="evil.example")
    assert denied["reason"] == "host_not_registered" and denied["verdict"] == "deny"
    assert denied["pod"]["name"] == "a" and denied["process"] == {
        "pid": done.pid,
        "comm": "curl",
        "exe": "/usr/bin/curl",
    }
    assert re.match(r"t13d\d{4}h2_", denied["ja4"]) and denied["alpn"] == ["h2", "http/1.1"]
    assert len(watch.records(id=denied["id"])) == 1, "a denied call has one record"
    watch.nothing_left()


def test_openssl_names_the_alert(lab):
    done = lab.pod("a").openssl(f"{EVIL}:443", "-servername", "evil.example")
    assert done.code != 0 and re.search("alert unrecognized name|alert number 112", done.out + done.error), done
    assert done.milliseconds < REFUSED_WITHIN_MS


def test_python_names_the_alert(lab):
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        lab.pod("a").tls(EVIL, "evil.example")


def test_an_http_client_reads_host_and_reason(lab, watch):
    done = lab.pod("a").curl("http://evil.example/path", "-i")
    head, _, body = done.out.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 403 ") and done.milliseconds < REFUSED_WITHIN_MS
    assert "evil.example" in body and "host_not_registered" in body and len(body) < 300
    denied = watch.record(event="deny", protocol="http")
    assert denied["http"] == {"method": "GET", "host": "evil.example", "path": "/path"}
    assert denied["process"]["comm"] == "curl"
    watch.nothing_left()


@pytest.mark.parametrize("address", [EVIL, EVIL6])
def test_curl_is_refused_on_an_unregistered_port(lab, watch, address):
    done = lab.pod("a").curl(f"http://{'[' + address + ']' if ':' in address else address}:8080/")
    assert done.code == 7, done  # "Failed to connect", where a timeout is 28
    assert done.milliseconds < REFUSED_WITHIN_MS
    denied = watch.record(event="deny", reason="port_not_registered")
    assert denied["destination"].endswith(":8080") and denied["datapath"] == "kernel"
    assert denied["pod"]["name"] == "a" and denied["process"]["comm"] == "curl"
    watch.nothing_left()


# Reasons


def test_address_not_registered(lab, watch):
    assert lab.pod("a").refusal(OTHER_DATABASE, 5432).at_once()
    watch.record(event="deny", reason="address_not_registered")
    watch.nothing_left()


def test_not_exported_to_one_namespace_and_allowed_in_the_other(lab, watch):
    assert (
        denied_at_once(lab.pod("a"), hello.records(hello.client_hello(["hidden.example"]))) == "alert unrecognized_name"
    )
    watch.record(event="deny", reason="not_exported", sni="hidden.example", **{"pod.name": "a"})
    status, body = http_denied(lab.pod("a"), b"GET / HTTP/1.1\r\nHost: hidden.example\r\n\r\n")
    assert status == 403 and "not_exported" in body
    watch.nothing_left()
    assert lab.pod("b").tls(EVIL, "hidden.example").served_names() == ["hidden.example"]


def test_sni_missing(lab, watch):
    assert denied_at_once(lab.pod("a"), hello.records(hello.client_hello())) == "alert unrecognized_name"
    watch.record(event="deny", reason="sni_missing")
    assert lab.pod("a").curl(f"https://{WEB}/", "-k").code == 35  # curl sends no name for an address
    watch.nothing_left()


@pytest.mark.parametrize(
    "request_",
    [b"GET / HTTP/1.1\r\nUser-Agent: x\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"],
    ids=["1.1", "1.0", "empty"],
)
def test_host_missing(lab, watch, request_):
    status, body = http_denied(lab.pod("a"), request_)
    assert status == 400 and "host_missing" in body
    watch.record(event="deny", reason="host_missing")
    watch.nothing_left()


@pytest.mark.parametrize("host", ["203.0.113.13", "[2001:db8:5::13]", "203.0.113.13:80"])
def test_a_host_that_is_an_address_is_not_registered(lab, watch, host):
    status, body = http_denied(lab.pod("a"), f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert status == 403 and "host_not_registered" in body
    watch.nothing_left()


def test_hello_malformed(lab, watch):
    message = bytearray(hello.client_hello([SEED_HOST]))
    message[38] = 255  # the session id claims to be longer than allowed
    assert denied_at_once(lab.pod("a"), hello.records(bytes(message)), WEB) == "alert decode_error"
    watch.record(event="deny", reason="hello_malformed")
    watch.nothing_left()


def test_hello_too_large(lab, watch):
    data = hello.records(hello.client_hello([SEED_HOST], pad_bytes=20000))
    assert denied_at_once(lab.pod("a"), data, WEB) == "alert decode_error"
    watch.record(event="deny", reason="hello_too_large")
    watch.nothing_left()


@pytest.mark.parametrize("sent", [0, 1, 5, 100])
def test_hello_timeout(lab, watch, sent):
    with lab.pod("a").connect(WEB, 443) as sock:
        start = time.monotonic()
        sock.sendall(hello.records(hello.client_hello([SEED_HOST]))[:sent])
        try:
            receive_all(sock)
        except ConnectionResetError:
            pass
        took = hello.milliseconds_since(start)
    assert 1300 < took < 1500 + REFUSED_WITHIN_MS, "the limit is 1500 ms"
    watch.record(event="deny", reason="hello_timeout")
    watch.nothing_left()


def test_hello_timeout_of_an_http_head(lab, watch):
    with lab.pod("a").connect("203.0.113.13", 80) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: plain.ex")
        assert receive_all(sock).startswith(b"HTTP/1.1 408 ")
    watch.record(event="deny", reason="hello_timeout", protocol="http")
    watch.nothing_left()


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x02\x00\x00\x05hello", b"\0" * 64, b"\x80\x2e\x01\x03\x01" + b"x" * 60],
    ids=["ssh", "record-version", "zeros", "sslv2"],
)
def test_not_tls(lab, watch, data):
    assert denied_at_once(lab.pod("a"), data, WEB) in ("reset", "closed", "alert decode_error")
    assert watch.record(event="deny", destination=f"{WEB}:443")["reason"] in ("not_tls", "hello_malformed")
    watch.nothing_left()


def test_a_protocol_is_not_another_ones_port(lab, watch):
    # HTTP to a host that is registered for TLS on this port, and the other way round.
    status, body = http_denied(lab.pod("a"), f"GET / HTTP/1.1\r\nHost: {SEED_HOST}\r\n\r\n".encode(), WEB, 443)
    assert status == 403 and "denied" in body
    assert denied_at_once(
        lab.pod("a"), hello.records(hello.client_hello(["plain.example"])), "203.0.113.13", 80
    ).startswith("alert ")
    watch.nothing_left()


def test_http_malformed(lab, watch):
    status, body = http_denied(lab.pod("a"), b"GET / HTTP/1.1\r\nHost: plain.example\r\nX : y\r\n\r\n")
    assert status == 400 and "http_malformed" in body
    watch.record(event="deny", reason="http_malformed")
    watch.nothing_left()


def test_host_mismatch(lab, watch):
    status, body = http_denied(lab.pod("a"), b"GET http://evil.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n")
    assert status == 403 and "host_mismatch" in body
    watch.record(event="deny", reason="host_mismatch")
    watch.nothing_left()


@pytest.mark.parametrize("address", [EVIL, EVIL6])
def test_udp_not_allowed(lab, watch, address):
    assert lab.pod("a").refusal(address, 443, socket.SOCK_DGRAM).at_once()
    watch.record(event="deny", reason="udp_not_allowed", **{"pod.name": "a"})
    watch.nothing_left()


def test_protocol_not_allowed(lab, watch):
    done = lab.pod("a").run("ping", "-c", 1, "-W", 1, EVIL)
    assert done.code != 0
    watch.record(event="deny", reason="protocol_not_allowed", protocol="icmp")
    watch.nothing_left()


@pytest.mark.parametrize("how", ["reset", "finished"])
def test_a_call_that_ended_before_it_was_accepted_is_told_with_its_process(lab, watch, how):
    program = f"""
import socket, struct
sock = socket.create_connection(("{WEB}", 443))
print(sock.getsockname()[1])
if "{how}" == "reset":
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
sock.close()
"""
    lab.agent.send_signal(signal.SIGSTOP)
    try:
        done = lab.pod("a").run("/usr/bin/python3", "-c", program)
    finally:
        lab.agent.send_signal(signal.SIGCONT)
    assert done.code == 0, done
    denied = watch.record(event="deny", source=f"{lab.pod('a').ip4}:{done.out.strip()}")
    assert denied["pod"]["name"] == "a" and denied["destination"] == f"{WEB}:443", denied
    assert denied["process"]["pid"] == done.pid and denied["process"]["comm"] == "python3", denied
    assert denied["reason"] == "hello_malformed", denied
    watch.nothing_left()


def test_pod_unknown(lab, watch):
    pod = lab.add_pod("stranger", "my-namespace", 15)
    try:
        wait_for("the interface to be attached", lambda: pod.refusal(WEB, 443).at_once(), 5, 0.1)
        watch.record(event="deny", reason="pod_unknown")
        watch.nothing_left()
    finally:
        lab.remove_pod("stranger")


# What the gateway finds


def gateway_denies(lab, watch, name, reason, port=443, within_ms=REFUSED_WITHIN_MS):
    found, took = send_and_time(lab.pod("a"), WEB, port, hello.records(hello.client_hello([name])))
    assert found.startswith("alert ") and took < within_ms, f"{found} after {took} ms"
    denied = watch.record("gateway", event="deny", reason=reason)
    assert denied["sni"] == name and denied["pod"]["name"] == "a"
    assert watch.record(event="open", id=denied["id"])["sni"] == name
    watch.record(event="close", id=denied["id"])


@pytest.mark.parametrize("name", ["inside.example", "metadata.example", "loop.example"])
def test_address_forbidden(lab, watch, name):
    gateway_denies(lab, watch, name, "address_forbidden")
    watch.nothing_left()


def test_a_private_answer_beside_a_public_one_is_passed_over(lab, watch):
    lab.dns.answer("inside.example", "10.2.0.1", "2001:db8:5::10")
    try:

        def moved():
            with lab.pod("a").connect(WEB, 443) as sock:
                sock.sendall(hello.records(hello.client_hello(["inside.example"])))
                return hello.answer(sock) == "server_hello"

        # Negative and forbidden answers are held for their TTL.
        wait_for("the new answer", moved, 10, 0.2)
        assert {p.destination for p in watch.upstream_calls()} == {"2001:db8:5::10"}
    finally:
        lab.dns.answer("inside.example", "10.2.0.1", None)


def test_dns_failure(lab, watch):
    gateway_denies(lab, watch, "nowhere.example", "dns_failure")
    watch.nothing_left()


def test_upstream_refused(lab, watch):
    gateway_denies(lab, watch, "refusing.example", "upstream_refused", port=4443)
    watch.only_gateway_left("203.0.113.15")


def test_upstream_timeout(lab, watch):
    gateway_denies(lab, watch, "silent.example", "upstream_timeout", within_ms=1500 + REFUSED_WITHIN_MS)


@pytest.mark.parametrize(
    "name,status,reason", [("inside.example", 403, "address_forbidden"), ("nowhere.example", 502, "dns_failure")]
)
def test_an_http_client_reads_the_gateways_reason(lab, watch, name, status, reason):
    found, body = http_denied(lab.pod("a"), f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    assert found == status and name in body and reason in body
    watch.nothing_left()


def test_a_gateway_with_other_resources_decides_for_itself(lab, watch):
    before = lab.gateway.settings["resources"]
    own = lab.directory / "gateway-resources"
    own.mkdir()
    lab.gateway.settings["resources"] = {"files": [str(own)]}
    (own / "seed.yaml").write_text((lab.resources / "seed.yaml").read_text())
    lab.gateway.restart()
    try:
        assert lab.pod("a").tls(WEB, SEED_HOST).served_names() == [SEED_HOST]
        with lab.watch() as after:
            found, _ = send_and_time(
                lab.pod("a"), WEB, 443, hello.records(hello.client_hello(["four.partner.example"]))
            )
            assert found == "alert unrecognized_name"
            assert after.record("gateway", event="deny")["reason"] == "host_not_registered"
            after.record(event="open", sni="four.partner.example")
            after.nothing_left()
    finally:
        lab.gateway.settings["resources"] = before
        lab.gateway.restart()


def test_gateway_unreachable(lab, watch):
    lab.gateway.kill()
    try:
        with pytest.raises(ConnectionRefusedError):
            lab.pod("a").connect(WEB, 443)
        denied = watch.record(event="deny", reason="gateway_unreachable", destination=f"{WEB}:443")
        assert "10.2.0.2:15443" in denied["detail"]
        status, body = http_denied(lab.pod("a"), b"GET / HTTP/1.1\r\nHost: plain.example\r\n\r\n")
        assert status == 503 and "gateway_unreachable" in body
        expect_reset(lab.pod("a"), DATABASE, 5432)
        assert not watch.leaks()
    finally:
        lab.gateway.start()
    assert lab.pod("a").tls(WEB, SEED_HOST).served_names() == [SEED_HOST]


def expect_reset(pod, address, port):
    """At once; while connecting, or before connect(2) has returned."""
    with pytest.raises((ConnectionResetError, ConnectionRefusedError)), pod.connect(address, port) as sock:
        receive_all(sock)


# By settings; each puts them back.


@pytest.fixture
def agent_settings(lab):
    """Changes sections of the agent's settings for one test."""
    before = {name: dict(section) for name, section in lab.agent.settings.items()}

    def change(section, **values):
        lab.agent.settings[section] = {**lab.agent.settings[section], **values}
        lab.agent.restart()

    yield change
    lab.agent.settings.update(before)
    lab.agent.restart()


def test_ech_not_allowed(lab, watch, agent_settings):
    ech = hello.extension(0xFE0D, b"\0\0\1\0\1\x07\0\x20" + b"e" * 32 + b"\0\x40" + b"p" * 64)
    data = hello.records(hello.client_hello([SEED_HOST], extra=ech))
    assert send_and_time(lab.pod("a"), WEB, 443, data)[0] == "server_hello"
    assert watch.record(event="open", sni=SEED_HOST)["ech"] is True
    agent_settings("egress", ech="deny")
    with lab.watch() as denied:
        assert denied_at_once(lab.pod("a"), data, WEB) == "alert access_denied"
        _recorded.add(denied.record(event="deny", reason="ech_not_allowed", sni=SEED_HOST)["reason"])
        denied.nothing_left()


def test_overloaded(lab, watch, agent_settings):
    agent_settings("limits", connections_per_pod=5)
    held = [lab.pod("a").connect(DATABASE, 5432) for _ in range(5)]
    for sock in held:
        assert receive_exactly(sock, 22)
    expect_reset(lab.pod("a"), DATABASE, 5432)
    watch.record(event="deny", reason="overloaded", **{"pod.name": "a"})
    with lab.pod("b").connect(DATABASE, 5432) as sock:
        assert receive_exactly(sock, 22), "the other pod is not concerned"
    for sock in held:
        sock.close()


def test_mode_audit_blocks_nothing_and_says_what_it_would(lab, agent_settings):
    agent_settings("egress", audit_namespaces=["other"])
    with lab.watch() as watch:
        pod = lab.pod("b")
        assert pod.tls(EVIL, "evil.example").served_names() == ["evil.example"]
        would = watch.record(event="open", sni="evil.example", **{"pod.name": "b"})
        assert would["verdict"] == "would_deny" and would["reason"] == "host_not_registered"
        with pod.connect(EVIL, 9999) as sock:
            sock.sendall(b"hello")
            assert receive_exactly(sock, 5) == b"hello"
        watch.record(verdict="would_deny", reason="port_not_registered")
        assert (
            denied_at_once(lab.pod("a"), hello.records(hello.client_hello(["evil.example"])))
            == "alert unrecognized_name"
        )


def test_every_reachable_reason_was_recorded():
    assert REACHABLE <= _recorded, f"never recorded: {sorted(REACHABLE - _recorded)}"
