"""One `sluice ingress` takes the place of another: the listening sockets are handed over, and no request is lost."""
import copy
import json
import re
import socket
import subprocess
import threading

import http2_raw
import pytest
from daemon import Daemon
from http2_raw import ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, frame
from ingress import APP, SERVICE, IngressScene, answer_of, resource
from namespaces import NETNS, wait_for

HOST = "restart.example.com"


@pytest.fixture(scope="module")
def scene():
    with IngressScene() as scene:
        scene.ingress.settings["limits"] = {"drain_timeout_ms": 20_000}
        scene.start_apps(APP)
        scene.secret("tls-cert", HOST)
        servers = [
            {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [HOST]},
            {
                "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                "hosts": [HOST],
                "tls": {"mode": "SIMPLE", "credentialName": "tls-cert"},
            },
        ]
        gateway = resource("Gateway", "restart", "istio-system", selector={"istio": "ingressgateway"}, servers=servers)
        routes = resource(
            "VirtualService",
            "restart",
            "my-namespace",
            hosts=[HOST],
            gateways=["istio-system/restart"],
            http=[{"route": [{"destination": {"host": SERVICE, "port": {"number": 80}}}]}],
        )
        scene.write("restart", gateway, routes)
        settings = copy.deepcopy(scene.ingress.settings)
        scene.second = Daemon(scene, "ingress", scene.namespace, settings, name="ingress-b")
        scene.ingress.start()
        scene.wait_listening("127.0.0.1:443")
        yield scene
        scene.second.stop()


def take_over(old, new):
    """Returns when the old one has ended."""
    new.start(options=("--take-over", old.socket))
    wait_for("the one before to end", lambda: not old.running(), timeout_s=20)
    assert old.stop() == 0


class Clients:
    """Clients that go on until they are told to end, and what went wrong with them."""

    def __init__(self, *works):
        self.done, self.failures, self.answers = threading.Event(), [], 0
        self.threads = [threading.Thread(target=self.run, args=(work,)) for work in works]

    def run(self, work):
        try:
            for status in work(self.done):
                self.answers += 1
                if status != 200:
                    self.failures.append(status)
        except Exception as error:
            self.failures.append(repr(error))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join()

    def wait_for_more(self, count):
        before = self.answers
        wait_for("more answers", lambda: self.answers >= before + count or self.failures, timeout_s=20)


def each_on_its_own(scene, connect):
    def work(done):
        while not done.is_set():
            with connect(scene) as sock:
                sock.sendall(f"GET /hello HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                yield answer_of(sock)[0]

    return work


def on_kept_connections(scene, connect):
    """Follows "Connection: close", as any client does."""

    def work(done):
        sock = connect(scene)
        while not done.is_set():
            sock.sendall(f"GET /hello HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            status, fields, _ = answer_of(sock)
            yield status
            if fields.get("connection") == "close":
                sock.close()
                sock = connect(scene)
        sock.close()

    return work


def in_streams(scene):
    """Four streams at a time over HTTP/2. After GOAWAY, which is read as soon as it comes, no more are opened: all that
    were are answered."""

    def work(done):
        while not done.is_set():
            with scene.tls(HOST, alpn=("h2",)) as sock:
                yield from streams_of(http2_raw.Session(sock), done)

    return work


def streams_of(session, done):
    opened = [1, 3, 5, 7]
    session.send(*map(request_on, opened))
    waiting, told = set(opened), False
    for kind, flags, stream, payload in session.frames():
        if kind == GOAWAY:
            told, last = True, int.from_bytes(payload[:4], "big")
            assert payload[4:8] == bytes(4) and last >= max(opened), f"{last} is the last of {opened}"
        elif kind == PING:
            session.send(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            session.send(frame(SETTINGS, ACK, 0))
        elif kind == HEADERS:
            yield int(dict(session.decoder.decode(payload))[":status"])
        assert kind != RST_STREAM, stream
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            waiting.remove(stream)
            if not told and not done.is_set():
                opened.append(opened[-1] + 2)
                waiting.add(opened[-1])
                session.send(request_on(opened[-1]))
        if not waiting and (told or done.is_set()):
            return
    raise AssertionError(f"the connection ended before the answers to {waiting}")


def request_on(stream, path="/hello"):
    fields = http2_raw.fields((":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path))
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, fields)


def plain(scene):
    return scene.connect(80)


def encrypted(scene):
    return scene.tls(HOST)


def test_no_request_is_lost_while_one_takes_the_place_of_another(scene):
    works = [kind(scene, way) for kind in (each_on_its_own, on_kept_connections) for way in (plain, encrypted)]
    works.append(in_streams(scene))
    with Clients(*works, *works) as clients:
        for old, new in [(scene.ingress, scene.second), (scene.second, scene.ingress)] * 2:
            clients.wait_for_more(200)
            take_over(old, new)
        clients.wait_for_more(200)
    assert clients.failures == []
    records = [len(one.audit.records()) for one in (scene.ingress, scene.second)]
    assert min(records) > 200 and "has taken over" in scene.second.log.read_text()


def test_streams_beyond_the_last_are_not_looked_at_and_those_before_are_answered(scene):
    with scene.tls(HOST, alpn=("h2",)) as sock:
        session = http2_raw.Session(sock)
        session.send(request_on(1, "/slow?ms=1500&first"))
        wait_for("it there", lambda: len(json.loads(scene.ingress.get("/flows")[1])) >= 1)
        scene.second.start(options=("--take-over", scene.ingress.socket))
        notice, ping = session.first(GOAWAY)[3], session.first(PING)[3]
        # Whoever has not heard of it yet may still ask.
        session.send(request_on(3, "/slow?ms=1500&second"), frame(PING, ACK, 0, ping))
        final = session.first(GOAWAY)[3]
        session.send(request_on(5, "/slow?beyond"))
        answered = {event[1] for event in session.events() if event[0] == "body"}
    assert [int.from_bytes(told[:4], "big") for told in (notice, final)] == [2**31 - 1, 3]
    assert [told[4:8] for told in (notice, final)] == [bytes(4)] * 2  # NO_ERROR
    assert answered == {1, 3}
    wait_for("the one before to end", lambda: not scene.ingress.running(), timeout_s=20)
    paths = [record["http"]["path"] for record in scene.records(event="request")]
    assert paths.count("/slow") == 2
    take_over(scene.second, scene.ingress)


def test_open_requests_end_with_the_one_they_came_to(scene):
    with scene.connect(80) as slow, scene.connect(80) as upgraded:
        slow.sendall(f"GET /slow?ms=1500 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        upgraded.sendall(
            f"GET /upgrade HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".encode()
        )
        assert upgraded.recv(4096).startswith(b"HTTP/1.1 101")
        wait_for("both there", lambda: len(json.loads(scene.ingress.get("/flows")[1])) >= 2)
        scene.second.start(options=("--take-over", scene.ingress.socket))
        with scene.connect(80) as fresh:
            fresh.sendall(f"GET /hello HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            assert answer_of(fresh)[0] == 200
        assert scene.ingress.running()
        upgraded.sendall(b"still there")
        assert upgraded.recv(4096) == b"echo:still there"
        status, fields, body = answer_of(slow)
        assert (status, body, fields["connection"]) == (200, b"slow\n", "close")
        upgraded.shutdown(socket.SHUT_WR)
    wait_for("the one before to end", lambda: not scene.ingress.running(), timeout_s=20)
    take_over(scene.second, scene.ingress)


def load_of(scene, version, streams):
    """What h2load says of it all, from before one takes the place of the other to after."""
    command = ["h2load", f"--npn-list={version}", "-D", "4", "-c", "8", "-m", str(streams)]
    load = subprocess.Popen(
        ["nsenter", f"--net={NETNS / scene.namespace}", *command]
        + ["--connect-to=127.0.0.1:443", f"https://{HOST}/hello"],
        stdout=subprocess.PIPE,
        text=True,
    )
    before = len(scene.ingress.audit.records())
    wait_for("requests", lambda: len(scene.ingress.audit.records()) > before + 100)
    take_over(scene.ingress, scene.second)
    output = load.communicate(timeout=30)[0]
    records = scene.ingress.audit.records()[before:]
    take_over(scene.second, scene.ingress)
    return output, [record for record in records if record["event"] == "request"]


def test_h2load_notices_nothing_over_http1(scene):
    output, _ = load_of(scene, "http/1.1", 1)
    assert re.search(r" 0 failed, 0 errored, 0 timeout", output), output
    assert int(re.search(r"(\d+) succeeded", output).group(1)) > 100, output


def test_h2load_has_the_answer_to_every_request_that_it_sent_over_http2(scene):
    """It opens no other connection after GOAWAY, and calls errors what it was about to send when that came: what came
    here is what counts."""
    output, records = load_of(scene, "h2", 4)
    succeeded = int(re.search(r"(\d+) succeeded", output).group(1))
    assert succeeded > 100 and succeeded == len(records), output
    assert {(record["http"]["status"], record.get("close_reason")) for record in records} == {(200, None)}


def test_one_that_cannot_serve_leaves_the_other_alone(scene):
    resources = scene.second.settings["resources"]
    scene.second.settings["resources"] = {"files": [str(scene.directory / "absent")]}
    try:
        scene.second.start(wait=False, options=("--take-over", scene.ingress.socket))
        wait_for("its end", lambda: not scene.second.running())
        assert scene.second.stop() == 1
    finally:
        scene.second.settings["resources"] = resources
    for _ in range(20):
        assert scene.curl(f"https://{HOST}/hello").stdout.startswith("hello")
    assert scene.ingress.running()


def test_without_one_to_take_over_it_does_not_begin(scene):
    scene.second.start(wait=False, options=("--take-over", scene.directory / "nobody.sock"))
    wait_for("its end", lambda: not scene.second.running())
    assert scene.second.stop() == 1 and "nobody.sock.handover" in scene.second.log_tail()
