"""The seed's ingress half, and what HTTP/1.1 and HTTP/2 clients meet at `sluice ingress`."""
import json
import re
import signal
import socket
import threading

import pytest
import yaml
from ingress import APP, SERVICE, IngressScene, answer_of, resource
from namespaces import wait_for

HOST = "myapp.example.com"
SEED = """
apiVersion: networking.istio.io/v1beta1
kind: Gateway
metadata:
  name: my-ingress-gateway
  namespace: istio-system
spec:
  selector:
    istio: ingressgateway
  servers:
  - port:
      number: 443
      name: https
      protocol: HTTPS
    tls:
      mode: SIMPLE
      credentialName: tls-cert
    hosts:
    - "myapp.example.com"
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: myapp-vs
  namespace: my-namespace
spec:
  hosts:
  - "myapp.example.com"
  gateways:
  - my-ingress-gateway
  http:
  - route:
    - destination:
        host: myapp-service
        port:
          number: 80
"""
GATEWAY, VIRTUAL_SERVICE = yaml.safe_load_all(SEED)
# Two more applications, and one that nobody is at.
OTHER, SECOND, DEAD, COPIED = "127.0.0.3:8080", "127.0.0.4:8080", "127.0.0.5:8080", "127.0.0.8:8080"
MIRROR = "mirror.my-namespace.svc.cluster.local"


def bound(**changes):
    """The seed's VirtualService, with the namespace of its gateway, and these http rules."""
    return {
        **VIRTUAL_SERVICE,
        "spec": {**VIRTUAL_SERVICE["spec"], "gateways": ["istio-system/my-ingress-gateway"], **changes},
    }


def route(host=SERVICE, **more):
    return {"route": [{"destination": {"host": host, "port": {"number": 80}}, **more}]}


@pytest.fixture(scope="module")
def scene():
    with IngressScene() as scene:
        services = scene.ingress.settings["ingress"]["services"]
        services.append(scene.service("pair.my-namespace.svc.cluster.local", 80, OTHER, SECOND))
        services.append(scene.service("half.my-namespace.svc.cluster.local", 80, DEAD, OTHER))
        services.append(scene.service("dead.my-namespace.svc.cluster.local", 80, DEAD))
        services.append(scene.service(MIRROR, 80, COPIED))
        scene.start_apps(APP, OTHER, SECOND, COPIED)
        scene.secret("tls-cert", HOST)
        plain = resource(
            "Gateway",
            "plain",
            "istio-system",
            selector={"istio": "ingressgateway"},
            servers=[
                {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["plain.example.com"]},
                {
                    "port": {"number": 81, "name": "redirect", "protocol": "HTTP"},
                    "hosts": ["*"],
                    "tls": {"httpsRedirect": True},
                },
            ],
        )
        routes = resource(
            "VirtualService",
            "plain",
            "my-namespace",
            hosts=["plain.example.com"],
            gateways=["istio-system/plain"],
            http=[
                {
                    "match": [{"uri": {"prefix": "/pair"}}],
                    "rewrite": {"uri": "/echo"},
                    **route("pair.my-namespace.svc.cluster.local"),
                },
                {
                    "match": [{"uri": {"prefix": "/half"}}],
                    "rewrite": {"uri": "/hello"},
                    **route("half.my-namespace.svc.cluster.local"),
                },
                {"match": [{"uri": {"prefix": "/dead"}}], **route("dead.my-namespace.svc.cluster.local")},
                {"match": [{"uri": {"prefix": "/nowhere"}}], **route("absent.my-namespace.svc.cluster.local")},
                {"match": [{"uri": {"prefix": "/moved"}}], "redirect": {"uri": "/new", "redirectCode": 308}},
                {
                    "match": [{"uri": {"prefix": "/fixed"}}],
                    "directResponse": {"status": 418, "body": {"string": "tea"}},
                },
                {
                    "match": [{"uri": {"prefix": "/faulty"}}],
                    "fault": {"abort": {"httpStatus": 555, "percentage": {"value": 100}}},
                    **route(),
                },
                {"match": [{"uri": {"prefix": "/hurry"}}], "rewrite": {"uri": "/slow"}, "timeout": "0.2s", **route()},
                {
                    "match": [{"uri": {"prefix": "/again"}}],
                    "rewrite": {"uri": "/flaky"},
                    "retries": {"attempts": 3, "retryOn": "5xx"},
                    **route(),
                },
                {
                    "match": [{"uri": {"prefix": "/altered"}}],
                    "rewrite": {"uri": "/echo", "authority": "other.example"},
                    "headers": {
                        "request": {"set": {"x-set": "one"}, "add": {"x-add": "two"}, "remove": ["x-remove"]},
                        "response": {"set": {"x-answer": "three"}, "remove": ["x-app"]},
                    },
                    **route(),
                },
                {
                    "match": [{"uri": {"prefix": "/cors"}}],
                    "rewrite": {"uri": "/echo"},
                    "corsPolicy": {"allowOrigins": [{"exact": "https://a.example"}], "allowMethods": ["GET", "PUT"]},
                    **route(),
                },
                {
                    "match": [{"uri": {"prefix": "/copied"}}],
                    "rewrite": {"uri": "/hello"},
                    "mirrors": [{"destination": {"host": MIRROR, "port": {"number": 80}}}],
                    **route(),
                },
                {"match": [{"uri": {"prefix": "/copies"}}], **route(MIRROR)},
                {"match": [{"uri": {"exact": "/private"}, "headers": {"x-key": {"exact": "k"}}}], **route()},
                {"match": [{"uri": {"prefix": f"/{path}"}} for path in PATHS], **route()},
            ],
        )
        scene.write("seed", GATEWAY, bound())
        scene.write("plain", plain, routes)
        scene.ingress.start()
        scene.wait_listening("127.0.0.1:443")
        yield scene


PATHS = "hello echo status big chunks unframed early slow cut nothing last upgrade fail flaky".split()


@pytest.fixture
def client(scene):
    """A plain connection."""
    with scene.connect(80) as sock:
        yield sock


def ask(sock, target="/hello", method="GET", fields=(), body=b"", version="1.1"):
    lines = [f"{method} {target} HTTP/{version}", "Host: plain.example.com", *fields, "", ""]
    sock.sendall("\r\n".join(lines).encode() + body)
    return answer_of(sock, method)


def is_ended(sock):
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


# The seed


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_the_seed_reaches_its_service(scene, version):
    done = scene.curl(f"https://{HOST}/", version, "-i")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("HTTP/2 200" if version == "--http2" else "HTTP/1.1 200"), done.stdout
    assert f"hello from {APP}" in done.stdout


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_without_the_virtual_service_404_says_so(scene, version):
    scene.apply("seed", GATEWAY)
    try:
        done = scene.curl(f"https://{HOST}/", version, "-i")
        assert " 404" in done.stdout.splitlines()[0]
        assert "x-sluice-reason: no_virtual_service" in done.stdout
        record = scene.record(**{"http.host": HOST, "http.status": 404})
        assert "no VirtualService bound to this gateway" in record["detail"]
    finally:
        scene.apply("seed", GATEWAY, bound())


def test_a_virtual_service_of_another_namespace_that_names_the_gateway_alone_is_not_bound(scene):
    scene.apply("seed", GATEWAY, VIRTUAL_SERVICE)
    try:
        done = scene.curl(f"https://{HOST}/", "-i")
        assert "x-sluice-reason: no_virtual_service" in done.stdout, done.stdout
    finally:
        scene.apply("seed", GATEWAY, bound())


def test_a_virtual_service_that_names_another_gateway_is_not_bound(scene):
    scene.apply("seed", GATEWAY, bound(gateways=["istio-system/another"]))
    try:
        assert "x-sluice-reason: no_virtual_service" in scene.curl(f"https://{HOST}/", "-i").stdout
    finally:
        scene.apply("seed", GATEWAY, bound())


def test_a_host_that_no_server_has_is_404_with_its_reason(scene):
    done = scene.curl(f"http://elsewhere.example.com/", "-i")
    assert done.stdout.startswith("HTTP/1.1 404"), done
    assert "x-sluice-reason: no_server" in done.stdout


def test_a_request_that_no_rule_matches_is_404_with_its_reason(client):
    status, fields, _ = ask(client, "/private")
    assert (status, fields["x-sluice-reason"]) == (404, "no_route")
    assert ask(client, "/private", fields=["x-key: k"])[0] == 200


def test_another_host_on_a_connection_of_this_one_is_421(scene):
    with scene.tls(HOST) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n")
        status, fields, _ = answer_of(sock)
    assert status in (404, 421), fields


# What goes upstream


def test_what_the_client_sent_arrives_with_what_the_ingress_knows(scene):
    done = scene.curl(f"https://{HOST}/echo?a=b", "-H", "x-forwarded-for: 9.9.9.9", "-H", "x-forwarded-proto: lie")
    seen = json.loads(done.stdout)
    headers = {name.lower(): value for name, value in seen["headers"]}
    assert seen["target"] == "/echo?a=b" and seen["method"] == "GET"
    assert headers["host"] == HOST
    assert headers["x-forwarded-for"] == "9.9.9.9, 127.0.0.1"
    assert headers["x-forwarded-proto"] == "https"
    assert len(headers["x-request-id"]) == 36


def test_fields_of_one_hop_stay_there(client):
    _, _, body = ask(
        client, "/echo", fields=["Connection: x-mine, keep-alive", "X-Mine: 1", "Keep-Alive: 5", "X-Yours: 2"]
    )
    names = {name.lower() for name, _ in json.loads(body)["headers"]}
    assert "x-yours" in names and not names & {"x-mine", "keep-alive", "connection"}


def test_rules_alter_what_goes_up_and_what_comes_back(client):
    status, fields, body = ask(client, "/altered/x", fields=["x-remove: r", "x-set: before"])
    seen = json.loads(body)
    headers = [(name.lower(), value) for name, value in seen["headers"]]
    assert status == 200 and seen["target"] == "/echo/x"
    assert ("host", "other.example") in headers and ("x-set", "one") in headers and ("x-add", "two") in headers
    assert ("x-set", "before") not in headers and not any(name == "x-remove" for name, _ in headers)
    assert fields["x-answer"] == "three" and "x-app" not in fields


def test_endpoints_have_their_turns(scene):
    servers = set()
    for _ in range(8):
        with scene.connect(80) as sock:
            servers.add(json.loads(ask(sock, "/pair")[2])["server"])
    assert servers == {OTHER, SECOND}


def test_an_endpoint_that_refuses_is_passed_over(scene):
    for _ in range(4):
        with scene.connect(80) as sock:
            assert ask(sock, "/half")[2] == f"hello from {OTHER}\n".encode()


def test_upstream_connections_are_kept(client):
    before = json.loads(ask(client, "/echo")[2])["connections"]
    for _ in range(5):
        assert json.loads(ask(client, "/echo")[2])["connections"] == before


def test_a_kept_connection_that_the_server_has_closed_fails_no_request(client):
    for _ in range(5):
        assert ask(client, "/last")[0] == 200
        assert ask(client, "/hello")[0] == 200


# What rules say


def test_redirect_direct_response_and_fault(client):
    status, fields, _ = ask(client, "/moved/x")
    assert (status, fields["location"]) == (308, "http://plain.example.com/new")
    assert ask(client, "/fixed")[::2] == (418, b"tea")
    assert ask(client, "/faulty")[0] == 555


def test_https_redirect_needs_no_virtual_service(scene):
    done = scene.curl("http://any.example.com:81/a?b", "-i")
    assert done.stdout.startswith("HTTP/1.1 301") and "location: https://any.example.com/a?b" in done.stdout, done


def test_a_whole_answer_that_takes_too_long_is_504(client):
    status, fields, _ = ask(client, "/hurry?ms=5000")
    assert (status, fields["x-sluice-reason"]) == (504, "upstream_timeout")


def test_a_failure_is_tried_again_as_often_as_the_rule_says(client):
    ask(client, "/fail/2")
    assert ask(client, "/again")[0] == 200
    ask(client, "/fail/9")
    assert ask(client, "/again")[0] == 503
    ask(client, "/fail/0")


def test_cors_is_answered_here(client):
    ask_first = ["Origin: https://a.example", "Access-Control-Request-Method: PUT"]
    status, fields, _ = ask(client, "/cors", "OPTIONS", ask_first)
    assert status == 200 and fields["access-control-allow-origin"] == "https://a.example"
    assert "PUT" in fields["access-control-allow-methods"]
    assert (
        ask(client, "/cors", fields=["Origin: https://a.example"])[1]["access-control-allow-origin"]
        == "https://a.example"
    )
    assert "access-control-allow-origin" not in ask(client, "/cors", fields=["Origin: https://b.example"])[1]


def test_a_mirror_gets_a_copy_and_its_answer_goes_nowhere(client):
    assert ask(client, "/copied", "POST", ["Content-Length: 4"], b"body")[2] == f"hello from {APP}\n".encode()

    def seen():
        copies = json.loads(ask(client, "/copies")[2])
        return [copy for copy in copies if copy["method"] == "POST"]

    assert wait_for("the copy", seen) == [
        {"method": "POST", "target": "/hello", "host": "plain.example.com-shadow", "body": "body"}
    ]


def test_503_says_why_no_upstream_answered(client):
    for path, reason in [("/dead", "upstream_refused"), ("/nowhere", "no_destination"), ("/nothing", "upstream_reset")]:
        status, fields, _ = ask(client, path)
        assert (status, fields["x-sluice-reason"]) == (503, reason)


# HTTP/1.1


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_bodies_arrive_whole(client, size, framing):
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    if framing == "length":
        _, _, answer = ask(client, "/echo", "POST", [f"Content-Length: {size}"], body)
    else:
        chunked = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[at : at + 9000] for at in range(0, size, 9000)))
        fields = ["Transfer-Encoding: chunked", "Trailer: x-sum"]
        _, _, answer = ask(client, "/echo", "POST", fields, chunked + b"0\r\nx-sum: 7\r\n\r\n")
    seen = json.loads(answer)
    assert seen["body_bytes"] == size
    assert seen["trailers"] == ([["x-sum", "7"]] if framing == "chunked" else [])


@pytest.mark.parametrize("size", [0, 1, 65_536, 5_000_000])
def test_answers_arrive_whole(client, size):
    status, fields, body = ask(client, f"/big?bytes={size}")
    assert status == 200 and fields["content-length"] == str(size) and len(body) == size
    assert body == (bytes(range(256)) * (size // 256 + 1))[:size]
    assert ask(client)[0] == 200


def test_an_answer_in_chunks_keeps_its_trailers(client):
    client.sendall(b"GET /chunks?count=2 HTTP/1.1\r\nHost: plain.example.com\r\nTE: trailers\r\n\r\n")
    raw = b""
    while not raw.endswith(b"\r\n\r\n") or b"\r\n0\r\n" not in raw:
        raw += client.recv(4096)
    assert b"chunk 0\n" in raw and b"chunk 1\n" in raw and raw.endswith(b"0\r\nx-sum: 42\r\n\r\n"), raw


def test_an_answer_without_framing_is_framed(client):
    status, fields, body = ask(client, "/unframed")
    assert (status, body, fields["transfer-encoding"]) == (200, b"up to the end\n", "chunked")
    assert ask(client)[0] == 200


def test_an_answer_that_is_cut_off_is_cut_off_here(client):
    with pytest.raises(Exception):
        ask(client, "/cut")


def test_head_has_no_body_and_keeps_the_connection(client):
    status, fields, body = ask(client, "/hello", "HEAD")
    assert (status, body) == (200, b"") and int(fields["content-length"]) > 0
    assert ask(client)[0] == 200


def test_http_1_0_ends_unless_it_asks_to_stay(scene):
    with scene.connect(80) as sock:
        assert ask(sock, version="1.0", fields=["Connection: keep-alive"])[1]["connection"] == "keep-alive"
        assert ask(sock, version="1.0")[0] == 200
        assert is_ended(sock)
    with scene.connect(80) as sock:
        sock.sendall(b"GET /chunks HTTP/1.0\r\nHost: plain.example.com\r\n\r\n")
        raw = b""
        while data := sock.recv(4096):
            raw += data
    assert b"transfer-encoding" not in raw and raw.endswith(b"chunk 2\n")


def test_requests_that_are_sent_together_are_answered_in_order(client):
    client.sendall(
        b"".join(b"GET /status/%d HTTP/1.1\r\nHost: plain.example.com\r\n\r\n" % (500 + n) for n in range(20))
    )
    raw = b""
    while raw.count(f"status of {APP}\n".encode()) < 20:
        raw += client.recv(65536)
    assert [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", raw)] == [500 + n for n in range(20)]


def test_a_request_in_single_bytes_is_a_request(client):
    for byte in b"GET /hello HTTP/1.1\r\nHost: plain.example.com\r\n\r\n":
        client.sendall(bytes([byte]))
    assert answer_of(client)[0] == 200


def test_100_continue_comes_before_the_body(client):
    fields = b"Host: plain.example.com\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    client.sendall(b"POST /echo HTTP/1.1\r\n" + fields)
    assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"body")
    assert json.loads(answer_of(client)[2])["body"] == "body"


def test_no_100_continue_for_what_is_refused(client):
    fields = b"Host: plain.example.com\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    client.sendall(b"POST /none HTTP/1.1\r\n" + fields)
    assert answer_of(client)[0] == 404


def test_an_answer_before_the_body_ends_the_connection(client):
    client.sendall(b"POST /early HTTP/1.1\r\nHost: plain.example.com\r\nContent-Length: 1000000\r\n\r\npart")
    assert answer_of(client)[0] == 403
    assert is_ended(client)


def test_an_upgraded_connection_is_relayed_both_ways(client):
    client.sendall(
        b"GET /upgrade HTTP/1.1\r\nHost: plain.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    assert head.startswith(b"HTTP/1.1 101") and b"upgrade: websocket" in head.lower()
    for text in (b"one", b"two"):
        client.sendall(text)
        assert client.recv(100) == b"echo:" + text
    client.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: plain.example.com\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: plain.example.com\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: plain.example.com\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: plain.example.com\r\nTransfer-Encoding : chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: plain.example.com\r\nX: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: plain.example.com\r\nHost: other.example.com\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\nHost: plain.example.com\n\n",
        b"GET /../hello HTTP/1.1\r\nHost: plain.example.com\r\n\r\n",
        b"GET /a/%2e%2e/hello HTTP/1.1\r\nHost: plain.example.com\r\n\r\n",
        b"CONNECT plain.example.com:80 HTTP/1.1\r\nHost: plain.example.com\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: plain.example.com\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    ],
)
def test_what_two_servers_may_read_differently_is_refused(client, head):
    client.sendall(head)
    assert answer_of(client)[0] == 400


def test_a_head_that_is_too_large_is_431(client):
    client.sendall(b"GET / HTTP/1.1\r\nHost: plain.example.com\r\nX: " + b"a" * 70_000 + b"\r\n\r\n")
    assert answer_of(client)[0] == 431
    assert is_ended(client)


def test_a_client_that_reads_slowly_gets_everything(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
    client.sendall(b"GET /big?bytes=20000000 HTTP/1.1\r\nHost: plain.example.com\r\nConnection: close\r\n\r\n")
    count = 0
    while data := client.recv(10_000):
        count += len(data)
    assert count > 20_000_000


# HTTP/2


def test_http_2_carries_bodies_both_ways(scene, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"0123456789" * 300_000)
    done = scene.curl(f"https://{HOST}/echo", "--http2", "--data-binary", f"@{body}")
    assert json.loads(done.stdout)["body_bytes"] == 3_000_000
    done = scene.curl(f"https://{HOST}/big?bytes=5000000", "--http2", "-o", tmp_path / "answer")
    assert (tmp_path / "answer").stat().st_size == 5_000_000, done


def test_many_requests_share_one_http_2_connection(scene, tmp_path):
    urls = [
        argument
        for n in range(30)
        for argument in (f"https://{HOST}/big?bytes={n * 1000}", "-o", str(tmp_path / f"{n}"))
    ]
    done = scene.curl(f"https://{HOST}/hello", "--http2", "-Z", "--parallel-max", "30", *urls)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"{n}").stat().st_size for n in range(30)] == [n * 1000 for n in range(30)]


def test_http_2_without_tls_is_spoken_too(scene):
    done = scene.curl("http://plain.example.com/echo", "--http2-prior-knowledge", "-i")
    assert done.stdout.startswith("HTTP/2 200"), done


def test_an_answer_in_chunks_comes_by_http_2(scene):
    done = scene.curl(f"https://{HOST}/chunks?count=3", "--http2")
    assert done.stdout == "chunk 0\nchunk 1\nchunk 2\n"


def test_an_answer_that_is_cut_off_breaks_its_stream_alone(scene):
    done = scene.curl(f"https://{HOST}/cut", "--http2")
    assert done.returncode != 0
    assert scene.curl(f"https://{HOST}/hello", "--http2").stdout == f"hello from {APP}\n"


# Records and metrics


def test_each_request_has_one_record(scene, client):
    ask(client, "/status/404?secret=1", fields=["x-request-id: recorded"])
    record = scene.record(**{"http.path": "/status/404"})
    assert record["role"] == "ingress" and record["event"] == "request" and record["verdict"] == "allow"
    assert record["http"]["status"] == 404 and record["route"] == SERVICE and record["upstream"] == APP
    assert record["rule"].startswith("my-namespace/plain http[")
    assert "secret" not in json.dumps(record)


def test_requests_are_counted_by_host_route_and_code(scene, client):
    before = scene.ingress.metric("sluice_requests_total", host="plain.example.com", code="207")
    ask(client, "/status/207")
    assert scene.ingress.metric("sluice_requests_total", host="plain.example.com", code="207") == before + 1
    assert scene.ingress.metric("sluice_request_seconds_count", host="plain.example.com") > 0


def test_a_policy_that_changes_fails_no_request(scene):
    failures, done = [], threading.Event()

    def go_on():
        with scene.connect(80) as sock:
            while not done.is_set():
                if (status := ask(sock)[0]) != 200:
                    failures.append(status)

    thread = threading.Thread(target=go_on)
    thread.start()
    for number in range(5):
        scene.apply(
            "more",
            resource("VirtualService", f"more{number}", "x", hosts=["x.example"], gateways=["x/y"], http=[route()]),
        )
    done.set()
    thread.join()
    assert failures == []
    scene.apply("more")


def test_sigterm_lets_a_request_end(scene):
    with scene.connect(80) as sock, scene.connect(80) as idle:
        assert ask(idle)[0] == 200
        sock.sendall(b"GET /slow?ms=1000 HTTP/1.1\r\nHost: plain.example.com\r\n\r\n")
        wait_for("the request upstream", lambda: len(scene.ingress.status()) > 0)
        scene.ingress.send_signal(signal.SIGTERM)
        assert is_ended(idle)
        status, fields, body = answer_of(sock)
        assert (status, body, fields["connection"]) == (200, b"slow\n", "close")
    assert scene.ingress.stop() == 0
    scene.ingress.start()
