"""HTTP/2 at `sluice ingress`: all four pairs of what a client and what a server speaks, gRPC's way of ending, and clients
that mean no good."""
import json
import socket
import struct

import pytest
from http2_raw import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    Session,
    fields,
    frame,
    literal,
)
from ingress import APP, SERVICE, ROOT, IngressScene, resource
from namespaces import wait_for

PEER = ROOT / "tests" / "support" / "http2_peer.js"
H2_APP = "127.0.0.7:8080"
HOST = "h2.example.com"
MAX_STREAMS = 20


@pytest.fixture(scope="module")
def scene():
    with IngressScene() as scene:
        settings = scene.ingress.settings["ingress"]
        settings["max_streams"] = MAX_STREAMS
        settings["services"].append(scene.service("grpc.my-namespace.svc.cluster.local", 80, H2_APP, protocol="grpc"))
        scene.start_apps(APP)
        scene.spawn("peer", ["node", PEER, "serve", *H2_APP.split(":")])
        scene.wait_listening(H2_APP)
        scene.secret("tls-cert", HOST)
        gateway = resource(
            "Gateway",
            "h2",
            "istio-system",
            selector={"istio": "ingressgateway"},
            servers=[
                {
                    "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                    "tls": {"mode": "SIMPLE", "credentialName": "tls-cert"},
                    "hosts": [HOST],
                },
                {"port": {"number": 80, "name": "http", "protocol": "HTTP2"}, "hosts": [HOST]},
            ],
        )
        to = lambda host: [{"destination": {"host": host, "port": {"number": 80}}}]  # noqa: E731
        routes = resource(
            "VirtualService",
            "h2",
            "my-namespace",
            hosts=[HOST],
            gateways=["istio-system/h2"],
            http=[
                {"match": [{"uri": {"prefix": "/one/"}}], "rewrite": {"uri": "/"}, "route": to(SERVICE)},
                {"route": to("grpc.my-namespace.svc.cluster.local")},
            ],
        )
        scene.write("h2", gateway, routes)
        scene.ingress.start()
        scene.wait_listening("127.0.0.1:443")
        yield scene


def call(scene, path, method="GET", body=0, *fields):
    done = scene.run("node", PEER, "call", f"https://{HOST}", scene.authority.ca, method, path, body, *fields)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("path, upstream", [("/one/echo", 1), ("/echo", 2)])
def test_either_side_may_speak_either_version(scene, tmp_path, version, path, upstream):
    body = tmp_path / "body"
    body.write_bytes(b"0123456789" * 100_000)
    done = scene.curl(f"https://{HOST}{path}", version, "--data-binary", f"@{body}", "-H", "X-Mixed: Case")
    seen = json.loads(done.stdout)
    assert seen["bytes" if upstream == 2 else "body_bytes"] == 1_000_000
    headers = seen["headers"] if upstream == 2 else {name.lower(): value for name, value in seen["headers"]}
    assert headers["x-mixed"] == "Case" and headers["x-forwarded-proto"] == "https"
    if upstream == 2:
        assert headers[":authority"] == HOST and headers[":method"] == "POST" and headers[":path"] == "/echo"


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_large_answers_come_whole_from_http_2(scene, tmp_path, version):
    done = scene.curl(f"https://{HOST}/big/5000000", version, "-o", tmp_path / "answer")
    assert done.returncode == 0 and (tmp_path / "answer").stat().st_size == 5_000_000, done


def test_upstream_connections_are_shared(scene):
    before = call(scene, "/echo")
    after = call(scene, "/echo")
    first, second = (json.loads(answer["text"]) for answer in (before, after))
    assert second["calls"] > first["calls"] and second["sessions"] == first["sessions"]


def test_a_grpc_stream_ends_with_its_trailers(scene):
    answer = call(scene, "/stream", "POST", 300_000, "content-type=application/grpc")
    assert answer["headers"][":status"] == 200 and answer["bytes"] == 300_000
    assert answer["trailers"]["grpc-status"] == "0" and answer["trailers"]["grpc-message"] == "done"


def test_trailers_of_a_request_arrive(scene):
    answer = call(scene, "/echo", "POST", 10)
    assert json.loads(answer["text"])["headers"]["trailers"]["x-sum"] == "7"


def test_grpc_clients_are_told_in_their_own_way(scene):
    scene.run("true")
    answer = call(scene, "/../x", "POST", 5, "content-type=application/grpc")
    assert answer["headers"][":status"] == 200 and answer["headers"]["grpc-status"] == "13"
    assert answer["headers"]["x-sluice-reason"] == "bad_path"


def test_a_refused_stream_is_tried_again(scene):
    for _ in range(4):
        assert call(scene, "/refuse-once")["headers"][":status"] == 200


def test_a_stream_that_the_server_resets_is_503_and_harms_no_other(scene):
    answer = call(scene, "/reset")
    assert answer["headers"][":status"] == 503 and answer["headers"]["x-sluice-reason"] == "upstream_reset"
    assert call(scene, "/echo")["headers"][":status"] == 200


# By hand


def head(*more, path="/one/hello", method="GET", authority=HOST):
    pseudo = [(":method", method), (":scheme", "https"), (":path", path), (":authority", authority)]
    return fields(*pseudo, *more)


def open_session(scene):
    return Session(scene.tls(HOST, alpn=["h2"]))


@pytest.fixture
def session(scene):
    session = open_session(scene)
    yield session
    session.sock.close()


def is_well(scene):
    return scene.curl(f"https://{HOST}/one/hello", "--http2").stdout.startswith("hello")


def test_a_request_by_hand_is_answered(session):
    session.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, head()))
    assert session.first(HEADERS, stream=1)
    assert session.first(DATA, stream=1)[3].startswith(b"hello")


def test_rapid_resets_end_the_connection(scene, session):
    try:
        for number in range(2000):
            stream = 1 + 2 * number
            session.send(
                frame(HEADERS, END_STREAM | END_HEADERS, stream, head(path="/one/slow?ms=50")),
                frame(RST_STREAM, 0, stream, struct.pack(">I", 8)),
            )
        assert session.first(GOAWAY)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert is_well(scene)


def test_a_compressed_bomb_is_431_or_the_end(scene, session):
    # One entry of 4000 bytes in the dynamic table, and thousands of references of a byte each.
    entry = b"\x40\x05x-big\x7f" + bytes([(4000 - 127) & 0x7F | 0x80, (4000 - 127) >> 7]) + b"z" * 4000
    session.send(
        frame(HEADERS, END_STREAM, 1, head() + entry + b"\xbe" * 8000),
        frame(CONTINUATION, END_HEADERS, 1, b"\xbe" * 16000),
    )
    found = session.first(HEADERS, RST_STREAM, GOAWAY)
    assert found is None or found[0] != HEADERS or b"431" in found[3]
    assert is_well(scene)


def test_a_client_that_takes_nothing_holds_little(scene, session):
    # The window of a stream is 64 KiB unless more is given: so much comes, and no more.
    session.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, head(path="/one/big?bytes=50000000")))
    session.sock.settimeout(1)
    taken = 0
    with pytest.raises(socket.timeout):
        for kind, _, _, payload in session.frames():
            taken += len(payload) if kind == DATA else 0
    assert taken == 65535
    resident = int(
        next(line for line in open(f"/proc/{scene.ingress.pid}/status") if line.startswith("VmRSS")).split()[1]
    )
    assert resident < 200_000
    assert is_well(scene)


def test_a_client_that_goes_away_frees_its_requests(scene):
    for _ in range(10):
        session = open_session(scene)
        session.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, head(path="/one/slow?ms=20000")))
        session.sock.close()
    wait_for("the records", lambda: len(scene.records(close_reason="client_reset")) >= 10)
    wait_for("no connections", lambda: json.loads(scene.ingress.get("/flows")[1]) == [])
