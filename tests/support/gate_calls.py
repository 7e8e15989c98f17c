"""Calls through the gate with both of their ends in the test's hand, and what the node's kernel keeps of them."""
import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import random
import select
import signal
import socket
import time

import hello
from lab import GATEWAY4, GATEWAY6
from namespaces import inside, run, wait_for
from outside import DATABASE, DATABASE6, WEB, WEB6
from pod import receive_exactly
from raw_tcp import silence_kernel

SEED_HOST = "api.external-service.com"
ORIGIN_HOST = "origin.example"
OPAQUE_PORT, TLS_PORT = 7000, 7443
PORTS = {"opaque": OPAQUE_PORT, "tls": TLS_PORT}
GATE_MAPS = ("flows", "backs", "promises", "ends")
RESOURCES = f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: opaque, namespace: my-namespace}}
spec:
  hosts: [opaque.example]
  addresses: [{DATABASE}/32, "{DATABASE6}/128"]
  location: MESH_EXTERNAL
  ports:
  - {{number: {OPAQUE_PORT}, name: tcp, protocol: TCP}}
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: origin, namespace: my-namespace}}
spec:
  hosts: [{ORIGIN_HOST}]
  location: MESH_EXTERNAL
  ports:
  - {{number: {TLS_PORT}, name: tls, protocol: TLS}}
  resolution: DNS
"""


def prepare(lab):
    """Before the lab starts: gateways of both families, a pod "raw" whose own TCP is deaf, the services."""
    gateway = lab.agent.settings["egress"]["gateways"][0]
    gateway["addresses"] = [f"{GATEWAY4}:15443", f"[{GATEWAY6}]:15443"]
    # Where a gateway is silenced for a moment, it is not to be left out afterwards.
    lab.agent.settings["egress"]["health"] = {"failures": 100}
    raw = lab.add_pod("raw", "my-namespace", 12)
    lab.agent.settings["identity"]["pods"].append(lab._identity(raw))
    silence_kernel(raw)
    (lab.resources / "gate.yaml").write_text(RESOURCES)
    lab.dns.answer(ORIGIN_HOST, DATABASE, DATABASE6)
    wait_for("the names", lambda: lab.pod("a").run("getent", "ahosts", ORIGIN_HOST).code == 0)
    return lab


def web(version):
    return WEB if version == 4 else WEB6


def gateway(version):
    return GATEWAY4 if version == 4 else GATEWAY6


def hello_of(name=SEED_HOST, **options):
    return hello.records(hello.client_hello([name], **options))


def name_of(sock):
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def stopped_agent(lab):
    """The agent is there and does nothing: no thread of it runs any more."""

    def all_stopped():
        states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks.iterdir()]
        return set(states) == {"T"}

    tasks = pathlib.Path(f"/proc/{lab.agent.pid}/task")
    lab.agent.send_signal(signal.SIGSTOP)
    try:
        wait_for("the agent to stop", all_stopped)
        yield
    finally:
        lab.agent.send_signal(signal.SIGCONT)


class Ends:
    """One call: the pod's socket and the one that the outside accepted."""

    def __init__(self, client, server):
        self.client, self.server, self.source = client, server, name_of(client)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.client.close()
        self.server.close()

    def talk(self):
        """Bytes go both ways."""
        for one, other in ((self.client, self.server), (self.server, self.client)):
            data = os.urandom(3000)
            one.sendall(data)
            assert receive_exactly(other, len(data)) == data


class Origin:
    """Listens outside at both ports and in both families."""

    def __init__(self, lab):
        self._lab = lab
        self._listeners = {}
        with inside(lab.namespace("outside")):
            for port in PORTS.values():
                self._listeners[port] = socket.create_server(
                    ("::", port), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True
                )

    def close(self):
        for listener in self._listeners.values():
            listener.close()

    def accept(self, kind, first, timeout_s=5.0):
        """The accepted socket that says `first`, which is read; what others left is closed."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._listeners[PORTS[kind]].settimeout(max(0.01, deadline - time.monotonic()))
            server, _ = self._listeners[PORTS[kind]].accept()
            server.settimeout(timeout_s)
            try:
                if receive_exactly(server, len(first)) == first:
                    return server
            except (EOFError, OSError):
                pass
            server.close()

    def connect(self, kind, version=4, pod="a", timeout_s=5.0):
        """The pod's socket, which has said nothing yet."""
        address = (DATABASE if version == 4 else DATABASE6) if kind == "opaque" else web(version)
        return self._lab.pod(pod).connect(address, PORTS[kind], timeout_s)

    def first_bytes(self, kind):
        return hello_of(ORIGIN_HOST) if kind == "tls" else os.urandom(16)

    def call(self, kind="tls", version=4, pod="a"):
        client = self.connect(kind, version, pod)
        first = self.first_bytes(kind)
        client.sendall(first)
        return Ends(client, self.accept(kind, first))


def exchange(left, right, count, seed):
    """`count` random bytes each way at once, in random writes, each side ending its half; all arrive as sent."""

    def send(sock, name):
        source, digest, rest = random.Random(f"{seed} {name}"), hashlib.sha256(), count
        while rest:
            data = source.randbytes(min(rest, source.choice((1, 7, 500, 1448, 1449, 9000, 65536, 400000))))
            sock.sendall(data)
            digest.update(data)
            rest -= len(data)
        sock.shutdown(socket.SHUT_WR)
        return digest.hexdigest(), count

    def receive(sock):
        digest, received = hashlib.sha256(), 0
        while data := sock.recv(1 << 18):
            digest.update(data)
            received += len(data)
        return digest.hexdigest(), received

    with concurrent.futures.ThreadPoolExecutor(4) as tasks:
        sent = [tasks.submit(send, left, "left"), tasks.submit(send, right, "right")]
        received = [tasks.submit(receive, right), tasks.submit(receive, left)]
    assert [task.result() for task in received] == [task.result() for task in sent]


def has_ended(sock):
    """How the peer ended it: "fin", "reset", or "" when it is still there."""
    if not select.select([sock], [], [], 0)[0]:
        return ""
    try:
        return "" if sock.recv(1, socket.MSG_PEEK) else "fin"
    except ConnectionResetError:
        return "reset"


def entries(lab, name):
    """Of a map of the agent's, as bpftool shows them."""
    return json.loads(run("bpftool", "-j", "map", "dump", "pinned", lab.pins / "maps" / name).stdout)


def nothing_kept(lab, timeout_s=8.0):
    """The maps of the gate are empty again."""

    def kept():
        return {name: len(found) for name in GATE_MAPS if (found := entries(lab, name))}

    wait_for("the maps to be empty", lambda: not kept(), timeout_s, 0.1)


def flows(lab):
    done = lab.sluice("flows", "--socket", lab.agent.socket, "-o", "json", check=True)
    return json.loads(done.stdout)


def payload_at_gateway(watch, source, source_port):
    """The bytes that came to the gateway host by sequence number, without a gap."""
    segments = [p for p in watch.at_gateway() if (p.source, p.sport) == (source, source_port)]
    syn = [p for p in segments if p.flags & 2]
    stream, first = bytearray(), (syn[-1].sequence + 1) & 0xFFFFFFFF
    for p in sorted(segments, key=lambda p: (p.sequence - first) & 0xFFFFFFFF):
        begin = (p.sequence - first) & 0xFFFFFFFF
        if p.payload and begin <= len(stream):
            stream[begin : begin + len(p.payload)] = p.payload
    return bytes(stream)
