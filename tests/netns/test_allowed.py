"""Registered calls work, by whatever protocol and shape, and the outside sees the gateway's address alone."""
import hashlib
import http.client
import os
import re
import socket
import threading

import pytest
from lab import GATEWAY4
from namespaces import inside, wait_for
from outside import DATABASE, DATABASE6, EVIL, MAIL, STATIC_ENDPOINT, WEB, WEB6
from pod import receive_all, receive_exactly, reset

SEED_HOST = "api.external-service.com"
MEBIBYTE = 1 << 20


class HttpOver(http.client.HTTPConnection):
    """http.client over a pod's socket."""

    def __init__(self, sock, host):
        super().__init__(host)
        self.sock = sock


def source_of(sock):
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def test_tls_with_the_seeds_service_entry(lab, watch):
    done = lab.pod("a").curl(f"https://{SEED_HOST}/")
    assert done.out.startswith(f"served {SEED_HOST} at "), done
    watch.only_gateway_left(*{p.destination for p in watch.upstream_calls()})
    assert {p.destination for p in watch.upstream_calls()} <= {WEB, WEB6}

    opened = watch.record(event="open", sni=SEED_HOST)
    assert opened["verdict"] == "allow" and opened["reason"] == "registered"
    assert opened["pod"] == {
        "namespace": "my-namespace",
        "name": "a",
        "uid": "uid-of-a",
        "service_account": "a-account",
    }
    assert opened["process"] == {"pid": done.pid, "comm": "curl", "exe": "/usr/bin/curl"}
    assert opened["source"].startswith("10.1.0.10:")
    assert opened["destination"] in (f"{WEB}:443", f"[{WEB6}]:443")
    assert opened["protocol"] == "tls" and opened["rule"] == "my-namespace/external-api"
    assert opened["alpn"] == ["h2", "http/1.1"] and "1.3" in opened["tls_versions"]
    assert re.fullmatch(r"t13d\d{4}h2_[0-9a-f]{12}_[0-9a-f]{12}", opened["ja4"])
    assert opened["gateway"] == f"{GATEWAY4}:15443" and opened["role"] == "agent" and opened["node"] == "lab-agent"

    closed = watch.record(event="close", id=opened["id"])
    assert closed["close_reason"] == "finished" and closed["datapath"] == "gate"
    assert closed["bytes_sent"] > 500 and closed["bytes_received"] > 500 and closed["duration_ms"] > 0


def test_the_gateway_tells_the_same_call_by_the_same_id(lab, watch):
    assert lab.pod("a").curl(f"https://{SEED_HOST}/").code == 0
    agent = watch.record(event="open", sni=SEED_HOST)
    gateway = watch.record("gateway", event="open", id=agent["id"])
    assert gateway["role"] == "gateway" and gateway["sni"] == SEED_HOST and gateway["rule"] == agent["rule"]
    assert gateway["pod"]["name"] == "a" and gateway["source"] == agent["source"]
    assert gateway["upstream"] in (f"{WEB}:443", f"[{WEB6}]:443")
    assert watch.record("gateway", event="close", id=agent["id"])["close_reason"] == "finished"


@pytest.mark.parametrize("version", [4, 6])
def test_tls_dialled_by_either_family(lab, watch, version):
    done = lab.pod("a").curl(f"https://{SEED_HOST}/", f"-{version}")
    assert done.out.startswith(f"served {SEED_HOST} at "), done
    opened = watch.record(event="open", sni=SEED_HOST)
    assert opened["destination"] == (f"{WEB}:443" if version == 4 else f"[{WEB6}]:443")
    assert not watch.leaks()


def test_a_name_with_only_an_ipv6_address(lab, watch):
    done = lab.pod("a").curl("https://six.partner.example/")
    assert done.out.startswith("served six.partner.example at 2001:db8:5::11 "), done
    watch.only_gateway_left("2001:db8:5::11")


@pytest.mark.parametrize(
    "name,address", [("four.partner.example", "203.0.113.11"), ("a.b.partner.example", "203.0.113.12")]
)
def test_a_wildcard_host_covers_one_label_and_more(lab, watch, name, address):
    assert lab.pod("a").curl(f"https://{name}/").out.startswith(f"served {name} at {address} ")
    assert watch.record(event="open", sni=name)["rule"] == "my-namespace/partner"
    watch.only_gateway_left(address)


def test_static_endpoints_are_dialled_and_not_what_dns_says(lab, watch):
    session = lab.pod("a").tls(EVIL, "static.example")  # where DNS points
    assert session.served_names() == ["static.example"]
    watch.only_gateway_left(STATIC_ENDPOINT)


def test_a_changed_dns_answer_is_followed_when_its_ttl_is_over(lab, watch):
    pod = lab.pod("a")
    pod.tls("203.0.113.11", "four.partner.example").sock.close()
    lab.dns.answer("four.partner.example", "203.0.113.12", None)
    try:

        def moved():
            pod.tls("203.0.113.11", "four.partner.example").sock.close()
            return any(p.destination == "203.0.113.12" for p in watch.upstream_calls())

        wait_for("the new address to be dialled", moved, 10, 0.2)
    finally:
        lab.dns.answer("four.partner.example", "203.0.113.11", None)


def test_plain_http(lab, watch):
    done = lab.pod("a").curl("http://plain.example/some/path?query=1")
    assert done.out.startswith("served plain.example at "), done
    opened = watch.record(event="open", protocol="http")
    assert opened["http"] == {"method": "GET", "host": "plain.example", "path": "/some/path"}
    assert opened["rule"] == "my-namespace/plain" and opened["process"]["comm"] == "curl"
    assert watch.record(event="close", id=opened["id"])["close_reason"] == "finished"
    assert not watch.leaks()


def test_every_request_of_a_kept_alive_connection_is_served_and_recorded(lab, watch):
    sock = lab.pod("a").connect("203.0.113.13", 80)
    with sock:
        client = HttpOver(sock, "plain.example")
        for number in range(10):
            client.request("GET", f"/number/{number}")
            answer = client.getresponse()
            assert answer.status == 200 and answer.read().startswith(b"served plain.example")
    opened = watch.record(event="open", **{"http.path": "/number/0"})
    for number in range(1, 10):
        watch.record(event="request", id=opened["id"], **{"http.path": f"/number/{number}"})
    assert len(watch.upstream_calls()) == 1


def test_a_kept_alive_connection_may_go_to_several_registered_hosts(lab, watch):
    with lab.pod("a").connect("203.0.113.13", 80) as sock:
        for name in ("plain.example", "four.partner.example", "plain.example"):
            client = HttpOver(sock, name)
            client.request("GET", "/")
            assert client.getresponse().read().startswith(f"served {name} at ".encode())
    assert not watch.leaks()


@pytest.mark.parametrize(
    "options",
    [(), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect: 100-continue")],
    ids=["length", "chunked", "expect-100-continue"],
)
def test_an_http_upload_of_ten_mebibytes_arrives_whole(lab, options):
    body = os.urandom(10 * MEBIBYTE)
    done = lab.pod("a").run(
        "curl", "-sS", "--max-time", 20, "--data-binary", "@-", *options, "http://plain.example/digest", input=body
    )
    assert done.out == f"{len(body)} {hashlib.sha256(body).hexdigest()}\n", done


def test_an_http_download_of_ten_mebibytes_arrives_whole(lab):
    with lab.pod("a").connect("203.0.113.13", 80) as sock:
        client = HttpOver(sock, "plain.example")
        client.request("GET", f"/bytes/{10 * MEBIBYTE}")
        assert hashlib.sha256(client.getresponse().read()).digest() == hashlib.sha256(pattern(10 * MEBIBYTE)).digest()


def test_a_chunked_answer_arrives_in_its_chunks(lab):
    done = lab.pod("a").curl("http://plain.example/chunked/one,three,five")
    assert done.out == "onethreefive", done


def test_head_has_no_body_and_the_connection_goes_on(lab):
    with lab.pod("a").connect("203.0.113.13", 80) as sock:
        client = HttpOver(sock, "plain.example")
        client.request("HEAD", "/bytes/1000")
        answer = client.getresponse()
        assert answer.status == 200 and answer.getheader("Content-Length") == "1000" and answer.read() == b""
        client.request("GET", "/after")
        assert client.getresponse().read().startswith(b"served plain.example")


def test_pipelined_requests_are_answered_in_order(lab):
    requests = b"".join(
        f"GET /chunked/{word} HTTP/1.1\r\nHost: plain.example\r\n\r\n".encode() for word in ("uno", "due")
    )
    last = b"GET /chunked/tre HTTP/1.1\r\nHost: plain.example\r\nConnection: close\r\n\r\n"
    answer = lab.pod("a").http("203.0.113.13", requests + last)
    assert re.findall(rb"(?:uno|due|tre)", answer) == [b"uno", b"due", b"tre"]


def test_an_upgraded_connection_becomes_a_tunnel(lab, watch):
    with lab.pod("a").connect("203.0.113.13", 80) as sock:
        sock.sendall(
            b"GET /upgrade HTTP/1.1\r\nHost: plain.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        for text in (b"\x81\x05hello", b"\x00\xff not HTTP at all \r\n\r\n"):
            sock.sendall(text)
            assert receive_exactly(sock, len(text)) == text
    assert not watch.leaks()


@pytest.mark.parametrize("address", [DATABASE, DATABASE6])
def test_a_database_by_address_speaks_first(lab, watch, address):
    pod = lab.pod("a")
    with pod.connect(address, 5432) as sock:
        assert receive_exactly(sock, 22) == b"READY sluice-database\n"
        opened = watch.record(event="open", source=source_of(sock))
    assert (
        opened["protocol"] == "tcp" and opened["rule"] == "my-namespace/database" and opened["reason"] == "registered"
    )
    watch.record(event="close", id=opened["id"])
    watch.only_gateway_left(address)


def test_a_mail_server_by_address_speaks_first(lab):
    with lab.pod("a").connect(MAIL, 587) as sock:
        assert sock.recv(100).startswith(b"220 mail.partner.example")
        sock.sendall(b"HELO pod\r\n")
        assert sock.recv(100) == b"250 HELO pod\r\n"
        sock.sendall(b"QUIT\r\n")
        assert receive_all(sock) == b"221 bye\r\n"


def test_ten_mebibytes_both_ways_at_once_arrive_whole(lab, watch):
    body = os.urandom(10 * MEBIBYTE)
    with lab.pod("a").connect(DATABASE, 5432, timeout_s=20) as sock:
        source = source_of(sock)
        assert receive_exactly(sock, 22)

        def send():
            sock.sendall(b"ECHO\n" + body)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert hashlib.sha256(receive_exactly(sock, len(body))).digest() == hashlib.sha256(body).digest()
        assert receive_all(sock) == f"BYE {len(body)} {hashlib.sha256(body).hexdigest()}\n".encode()
        sender.join()
    closed = watch.record(event="close", source=source)
    assert closed["bytes_sent"] == len(body) + 5 and closed["bytes_received"] > len(body)


def test_ten_mebibytes_over_tls_arrive_whole(lab):
    body = os.urandom(10 * MEBIBYTE)
    done = lab.pod("a").run(
        "curl",
        "-sS",
        "--max-time",
        20,
        "--cacert",
        lab.outside.ca,
        "--data-binary",
        "@-",
        f"https://{SEED_HOST}/digest",
        input=body,
    )
    assert done.out == f"{len(body)} {hashlib.sha256(body).hexdigest()}\n", done


def test_a_half_close_is_passed_on_and_the_answer_still_comes(lab, watch):
    with lab.pod("a").connect(DATABASE, 5432) as sock:
        source = source_of(sock)
        assert receive_exactly(sock, 22)
        sock.sendall(b"COUNT\n" + b"x" * 1000)
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock).startswith(b"BYE 1000 ")
    assert watch.record(event="close", source=source)["close_reason"] == "finished"


def test_the_pods_reset_reaches_the_server(lab, watch):
    resets = len([e for e in lab.outside.events() if e["what"] == "database_reset"])
    sock = lab.pod("a").connect(DATABASE, 5432)
    source = source_of(sock)
    assert receive_exactly(sock, 22)
    sock.sendall(b"COUNT\nabc")
    wait_for("the bytes to be upstream", lambda: watch.seen_outside(b"COUNT\nabc"))
    reset(sock)
    assert watch.record(event="close", source=source)["close_reason"] == "client_reset"
    wait_for(
        "the server to see the reset",
        lambda: len([e for e in lab.outside.events() if e["what"] == "database_reset"]) > resets,
    )


def test_the_servers_reset_reaches_the_pod(lab, watch):
    with lab.pod("a").connect(DATABASE, 5432) as sock:
        source = source_of(sock)
        assert receive_exactly(sock, 22)
        sock.sendall(b"RESET\n")
        with pytest.raises(ConnectionResetError):
            receive_all(sock)
    assert watch.record(event="close", source=source)["close_reason"] == "upstream_reset"


def test_hundred_connections_at_once(lab, watch):
    pod = lab.pod("a")
    socks = [pod.connect(DATABASE, 5432) for _ in range(100)]
    for sock in socks:
        assert receive_exactly(sock, 22)
    for number, sock in enumerate(socks):
        sock.sendall(f"COUNT\n{number}".encode())
        sock.shutdown(socket.SHUT_WR)
    for number, sock in enumerate(socks):
        assert receive_all(sock).split()[2].decode() == hashlib.sha256(str(number).encode()).hexdigest()
        sock.close()
    assert len({p.sport for p in watch.upstream_calls()}) == 100


@pytest.mark.parametrize("version", [4, 6])
def test_internal_destinations_pass_untouched(lab, watch, version):
    with inside(lab.pod("b").netns):
        listener = socket.create_server(
            (lab.pod("b").address(version), 7777), family=socket.AF_INET if version == 4 else socket.AF_INET6
        )
    with listener, lab.pod("a").connect(lab.pod("b").address(version), 7777) as sock:
        accepted, peer = listener.accept()
        with accepted:
            assert peer[0] == lab.pod("a").address(version)
            sock.sendall(b"hello")
            assert receive_exactly(accepted, 5) == b"hello"
    assert not watch.records(destination=re.compile(":7777$"))


@pytest.mark.parametrize("version", [4, 6])
def test_answers_of_a_pod_to_a_connection_from_outside_pass(lab, version):
    pod = lab.pod("a")
    with inside(pod.netns):
        listener = socket.create_server(
            (pod.address(version), 7778), family=socket.AF_INET if version == 4 else socket.AF_INET6
        )
    with listener, lab.connect_from_outside(pod.address(version), 7778) as sock:
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(b"served by the pod")
            assert receive_exactly(sock, 17) == b"served by the pod"


# These two change the settings; they come last and put them back.


def test_an_allowed_datagram_passes_uninspected(lab, watch):
    pod = lab.pod("a")
    lab.agent.settings["interception"]["udp_allow"] = [f"{EVIL}/32:123", "[2001:db8:5::20]:123"]
    lab.agent.restart()
    try:
        for address in (EVIL, "2001:db8:5::20"):
            with pod.open_socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.connect((address, 123))
                sock.send(b"what time is it")
                assert sock.recv(100) == b"what time is it"
            assert pod.refusal(address, 53, socket.SOCK_DGRAM).at_once()
        assert {p.dport for p in watch.leaks() if p.source in (pod.ip4, pod.ip6)} == {123}
    finally:
        del lab.agent.settings["interception"]["udp_allow"]
        lab.agent.restart()


def test_transport_raw_sends_the_clients_bytes_alone(lab, watch):
    before = lab.agent.settings["egress"]["gateways"]
    lab.agent.settings["egress"]["gateways"] = [{**before[0], "addresses": [GATEWAY4], "transport": "raw"}]
    lab.agent.restart()
    try:
        pod = lab.pod("a")
        assert pod.curl(f"https://{SEED_HOST}/").out.startswith(f"served {SEED_HOST} at ")
        assert pod.curl("http://plain.example/").out.startswith("served plain.example at ")
        assert watch.record(event="open", sni=SEED_HOST)["gateway"] == f"{GATEWAY4}:443"
        assert watch.record(event="open", **{"http.host": "plain.example"})["gateway"] == f"{GATEWAY4}:80"
        firsts = [p.payload for p in watch.at_gateway() if p.dport in (80, 443) and p.payload]
        assert firsts and not any(b"\r\n\r\n\0\r\nQUIT\n" in payload for payload in firsts)
        assert not watch.leaks()
    finally:
        lab.agent.settings["egress"]["gateways"] = before
        lab.agent.restart()


def pattern(count):
    return (bytes(range(256)) * (count // 256 + 1))[:count]
