"""RFC 9112 at `sluice ingress`, by a table of what clients may send and of what must come of it."""
import json
import socket

import pytest
from ingress import APP, SERVICE, IngressScene, resource
from rfc9112_cases import CASES, HOST, MAX_HEAD, head


@pytest.fixture(scope="module")
def scene():
    with IngressScene() as scene:
        scene.ingress.settings["ingress"].update(max_head_bytes=MAX_HEAD)
        scene.start_apps(APP)
        scene.secret("tls-cert", HOST)
        port = {"number": 443, "name": "https", "protocol": "HTTPS"}
        gateway = resource(
            "Gateway",
            "h1",
            "istio-system",
            selector={"istio": "ingressgateway"},
            servers=[{"port": port, "tls": {"mode": "SIMPLE", "credentialName": "tls-cert"}, "hosts": [HOST]}],
        )
        rule = {
            "match": [{"uri": {"prefix": "/"}}],
            "route": [{"destination": {"host": SERVICE, "port": {"number": 80}}}],
        }
        routes = resource(
            "VirtualService", "h1", "my-namespace", hosts=[HOST], gateways=["istio-system/h1"], http=[rule]
        )
        scene.write("h1", gateway, routes)
        scene.ingress.start()
        scene.wait_listening("127.0.0.1:443")
        yield scene


def next_answer(stream, has_body=True):
    """Status and content; None: the connection has ended."""
    first = stream.readline()
    if not first:
        return None
    fields = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        fields[name.lower()] = value.strip()
    status = int(first.split()[1])
    if status == 100:
        return next_answer(stream)
    if fields.get("transfer-encoding") != "chunked":
        return status, stream.read(int(fields.get("content-length", 0)) if has_body else 0)
    content = b""
    while size := int(stream.readline(), 16):
        content += stream.read(size + 2)[:-2]
    stream.readline()
    return status, content


def is_ended(stream):
    try:
        return stream.read(1) == b""
    except OSError:
        return True


def end_of_what_is_sent(sock):
    """No close_notify: the end of TCP alone, as of a connection that was cut."""
    socket.socket.shutdown(sock, socket.SHUT_WR)


def check_seen(content, name, value):
    seen = json.loads(content)
    if name in seen:
        assert seen[name] == value
    else:
        assert [v for n, v in seen["headers"] if n.lower() == name] == [value], seen


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bytes_come_to_what_the_rfc_demands(scene, case):
    with scene.tls(HOST) as sock:
        stream = sock.makefile("rb")
        sock.sendall(case.bytes)
        content = b""
        for number, status in enumerate(case.statuses):
            if status == "cut":
                end_of_what_is_sent(sock)
                assert is_ended(stream)
                return
            answer = next_answer(stream, not (number == 0 and case.bytes.startswith(b"HEAD ")))
            assert answer is not None, "the connection ended"
            assert answer[0] == status, answer
            content = answer[1]
        if case.seen:
            check_seen(content, *case.seen)
        if not case.kept:
            assert is_ended(stream)
            return
        sock.sendall(head(first="GET /hello HTTP/1.1"))
        assert next_answer(stream) == (200, f"hello from {APP}\n".encode())


def test_the_table_is_a_table_of_the_whole_rfc():
    assert len(CASES) >= 120 and len({str(case) for case in CASES}) == len(CASES)
    assert {"2", "3", "5", "6", "7", "9"} <= {case.section.split(".")[0] for case in CASES}
