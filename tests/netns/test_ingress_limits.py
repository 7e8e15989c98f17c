"""What bounds requests and connections at `sluice ingress`: time, and connectionPool of DestinationRules."""
import concurrent.futures
import contextlib
import json
import threading

import pytest
from ingress import APP, IngressScene, answer_of, resource
from namespaces import wait_for

HOST = "limits.example.com"
RESTED = "127.0.0.9:8080"
POOLS = {
    "few-requests": {"http": {"http2MaxRequests": 2}},
    "few-uses": {"http": {"maxRequestsPerConnection": 2}},
    "one-connection": {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}},
    "no-rest": {"http": {"idleTimeout": "0.1s"}},
    "one-retry": {"http": {"maxRetries": 1}},
    "idle-stream": {"tcp": {"idleTimeout": "0.3s"}},
    "free": {},
}
IDLE_MS = 500


def host_of(name):
    return f"{name}.my-namespace.svc.cluster.local"


def pool_rule(name, pool):
    policy = {"connectionPool": pool} if pool else {}
    return resource("DestinationRule", name, "my-namespace", host=host_of(name), trafficPolicy=policy)


@pytest.fixture(scope="module")
def scene():
    with IngressScene() as scene:
        settings = scene.ingress.settings
        settings["limits"] = {"first_bytes_timeout_ms": IDLE_MS, "http_idle_timeout_ms": 2 * IDLE_MS}
        settings["ingress"]["stall_timeout_ms"] = 2 * IDLE_MS
        # Two threads: what is bounded is bounded for both together.
        services = settings["ingress"]["services"]
        for name in POOLS:
            protocol = "tcp" if name == "idle-stream" else "http"
            services.append(scene.service(host_of(name), 80, RESTED if name == "no-rest" else APP, protocol=protocol))
        scene.start_apps(APP, RESTED)
        scene.secret("tls-cert", HOST)
        gateway = resource(
            "Gateway",
            "limits",
            "istio-system",
            selector={"istio": "ingressgateway"},
            servers=[
                {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [HOST]},
                {
                    "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                    "hosts": [HOST],
                    "tls": {"mode": "SIMPLE", "credentialName": "tls-cert"},
                },
                {"port": {"number": 9000, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]},
            ],
        )
        to = lambda name: [{"destination": {"host": host_of(name), "port": {"number": 80}}}]  # noqa: E731
        rules = [
            {"match": [{"uri": {"prefix": f"/{name}/"}}], "rewrite": {"uri": "/"}, "route": to(name)} for name in POOLS
        ]
        by_name = dict(zip(POOLS, rules))
        by_name["one-retry"]["retries"] = {"attempts": 3, "retryOn": "5xx"}
        by_name["free"]["mirrors"] = [{"destination": {"host": host_of("absent"), "port": {"number": 80}}}]
        routes = resource(
            "VirtualService",
            "limits",
            "my-namespace",
            hosts=[HOST],
            gateways=["istio-system/limits"],
            http=rules,
            tcp=[{"match": [{"port": 9000}], "route": to("idle-stream")}],
        )
        pools = [pool_rule(name, pool) for name, pool in POOLS.items() if pool]
        scene.write("limits", gateway, routes, *pools)
        scene.ingress.start()
        scene.wait_listening("127.0.0.1:80")
        yield scene


def ask(scene, target, method="GET"):
    with scene.connect(80) as sock:
        sock.sendall(f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        return answer_of(sock, method)


def ask_at_once(scene, targets):
    """The answers to requests that are all under way together."""
    with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
        return list(pool.map(lambda target: ask(scene, target), targets))


def seen(scene):
    return json.loads(ask(scene, "/free/copies")[2])


# Time


@pytest.mark.parametrize("sent", [b"GET /free/hello HT", b"GET /free/hello HTTP/1.1\r\nHost: limits.exa", b"\r\nG"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_head_that_takes_too_long_is_408(scene, sent, encrypted):
    with scene.tls(HOST) if encrypted else scene.connect(80) as sock:
        sock.sendall(sent)
        status, fields, _ = answer_of(sock)
        assert (status, fields["x-sluice-reason"], fields["connection"]) == (408, "hello_timeout", "close")
        assert sock.recv(1) == b""
    assert scene.record(**{"http.status": 408})["reason"] == "hello_timeout"


def test_a_head_that_comes_in_drops_takes_as_long_as_one_that_stops(scene):
    with scene.connect(80) as sock:
        over = threading.Event()

        def drip():
            try:
                for byte in b"GET /free/hello HTTP/1.1\r\nX: " + b"y" * 10_000:
                    sock.send(bytes([byte]))
                    if over.wait(IDLE_MS / 20_000):
                        return
            except OSError:
                pass

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert answer_of(sock)[0] == 408
        finally:
            over.set()
            thread.join()


def test_a_second_head_that_takes_too_long_is_408_too(scene):
    with scene.connect(80) as sock:
        sock.sendall(f"GET /free/hello HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert answer_of(sock)[0] == 200
        sock.sendall(b"GET /free/hello")
        assert answer_of(sock)[0] == 408


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_content_that_stops_coming_is_408(scene, framing, encrypted):
    with scene.tls(HOST) if encrypted else scene.connect(80) as sock:
        sock.sendall(f"POST /free/echo HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n4\r\n".encode())
        status, fields, body = answer_of(sock)
        assert (status, fields["x-sluice-reason"], fields["connection"]) == (408, "hello_timeout", "close")
        assert b"content" in body and sock.recv(1) == b""


def test_tls_that_nobody_asks_anything_in_has_a_record(scene):
    with scene.tls(HOST) as sock:
        assert sock.recv(1) == b""
    record = scene.record(event="close", protocol="tls", sni=HOST)
    assert (record["close_reason"], record["tls_versions"]) == ("idle", ["TLSv1.3"])


def test_a_stream_without_bytes_ends_by_its_idle_timeout_with_a_record(scene):
    with scene.connect(9000) as sock:
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    record = scene.record(event="close", protocol="tcp")
    assert record["close_reason"] == "idle" and record["route"] == host_of("idle-stream")


# connectionPool


def test_more_requests_than_allowed_are_refused_and_harm_no_endpoint(scene):
    answers = ask_at_once(scene, ["/few-requests/slow?ms=600"] * 6)
    refused = [fields["x-sluice-reason"] for status, fields, _ in answers if status == 503]
    # Two threads may each let one more in.
    assert 2 <= [status for status, _, _ in answers].count(200) <= 3
    assert set(refused) == {"overloaded"} and b"http2MaxRequests" in answers[-1][2] + answers[0][2] + answers[1][2]
    for _ in range(10):
        assert ask(scene, "/few-requests/hello")[0] == 200


def test_a_connection_has_no_more_requests_than_allowed(scene):
    with scene.connect(80) as sock:
        connections = []
        for _ in range(6):
            sock.sendall(f"GET /few-uses/echo HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            connections.append(json.loads(answer_of(sock)[2])["connections"])
    assert [number - connections[0] for number in connections] == [0, 0, 1, 1, 2, 2]


def test_requests_wait_for_the_one_connection_that_is_allowed(scene):
    with scene.connect(80) as first, scene.connect(80) as second, scene.connect(80) as third:
        before = json.loads(ask(scene, "/free/echo")[2])["connections"]
        clients = [first, second, third]
        for sock in clients:
            sock.sendall(f"GET /one-connection/slow?ms=300 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        answers = [answer_of(sock) for sock in clients]
        statuses = sorted(status for status, _, _ in answers)
        # By one worker: one is served, one waits, one is refused; a second worker has a connection of its own.
        assert statuses in ([200, 200, 200], [200, 200, 503])
        assert all(b"http1MaxPendingRequests" in body for status, _, body in answers if status == 503)
        after = json.loads(ask(scene, "/free/echo")[2])["connections"]
        assert after - before <= 3


def test_more_waiting_requests_than_allowed_are_refused(scene):
    answers = ask_at_once(scene, ["/one-connection/slow?ms=300"] * 12)
    statuses = [status for status, _, _ in answers]
    assert 2 <= statuses.count(200) <= 4 and statuses.count(503) >= 8
    for status, fields, body in answers:
        if status == 503:
            assert fields["x-sluice-reason"] == "overloaded" and b"http1MaxPendingRequests is reached" in body


def test_a_connection_that_rests_too_long_is_not_kept(scene):
    first = json.loads(ask(scene, "/no-rest/echo")[2])["connections"]
    listing = ("ss", "-Hnt", "state", "established", "dst", RESTED)
    wait_for("the connection to end", lambda: scene.run(*listing).stdout == "")
    assert json.loads(ask(scene, "/no-rest/echo")[2])["connections"] == first + 1


def test_no_more_requests_are_tried_again_at_a_time_than_allowed(scene):
    before = len([one for one in seen(scene) if one["target"] == "/status/500?again"])
    ask(scene, "/one-retry/status/500?again")
    alone = len([one for one in seen(scene) if one["target"] == "/status/500?again"]) - before
    assert alone == 4
    before = count(scene, "/status/500?many")
    answers = ask_at_once(scene, ["/one-retry/status/500?many"] * 8)
    assert [status for status, _, _ in answers] == [500] * 8
    assert count(scene, "/status/500?many") - before < 8 * 4


def count(scene, target):
    return len([one for one in seen(scene) if one["target"] == target])


def test_a_mirror_that_no_service_has_is_named_in_the_log(scene):
    assert ask(scene, "/free/hello")[0] == 200
    wait_for("the line", lambda: f"requests are not mirrored to {host_of('absent')}" in scene.ingress.log.read_text())
