"""Hostile circumstances at the gateway: false headers, names that lead inside, resolvers that lie. Each ends in its
reason, in bounded time and memory, and beside it the calls of pods go on."""
import contextlib
import json
import os
import pathlib
import re
import socket
import struct
import threading
import time

import hello
import proxy_header
import pytest
from lab import DNS4, GATEWAY4, GATEWAY6, GATEWAY_NAME, NODE4
from namespaces import wait_for
from outside import EVIL, WEB
from pod import REFUSED_WITHIN_MS

SEED_HOST = "api.external-service.com"
GOOD_HOST, GOOD_ADDRESS = "four.partner.example", "203.0.113.11"
PORT = 15443
SECOND4, REPLICA4 = "10.2.0.3", "10.2.0.4"  # another listener of the gateway, and another gateway of the same name
NODE, KEY = "lab-agent", "5e" * 32
STRANGER, STRANGERS_KEY = "other-node", "07" * 32
NEW_KEY, UNKNOWN_KEY = "a1" * 32, "ab" * 32
HEADER_AGE_MS = 10000
HEADER_TIMEOUT_MS = 2 * 1500  # the pod behind a header has its own first_bytes_timeout before it is sent
LOOKUP_TIMEOUT_MS = 2000
CONNECT_TIMEOUT_MS, ATTEMPT_DELAY_MS, MAX_DIALS = 1500, 250, 6  # of the addresses of one name
MAX_MEMORY_KIB = 32 * 1024

# Names that resolve to where no host of the outside can be.
INSIDE = {
    "private-10": "10.0.0.1",
    "private-172": "172.16.0.1",
    "private-192": "192.168.1.1",
    "gateway": GATEWAY4,
    "loopback": "127.0.0.2",
    "unspecified": "0.0.0.0",
    "metadata": "169.254.169.254",
    "shared": "100.64.0.9",
    "multicast": "224.0.0.251",
    "broadcast": "255.255.255.255",
    "benchmarking": "198.18.0.1",
    "loopback-6": "::1",
    "link-local-6": "fe80::1",
    "unique-local-6": "fd00:2::2",
    "metadata-6": "fd00:ec2::254",
    "multicast-6": "ff02::1",
    "mapped": "::ffff:10.0.0.1",
    "mapped-metadata": "::ffff:169.254.169.254",
    "nat64": "64:ff9b::a00:1",
    "nat64-metadata": "64:ff9b::a9fe:a9fe",
    "local-nat64": "64:ff9b:1::a00:1",
    "six-to-four": "2002:a00:1::1",
}
LISTED = "100.64.0.7"  # of the outside, in a range that is nobody's on the Internet
ANSWERING, SILENT = "2001:db8:7:", "2001:db8:8:"
MANY = {
    "many-answer.hostile.example": [f"{ANSWERING}:{i:x}" for i in range(1, 1001)],
    "many-silent.hostile.example": [f"{SILENT}:{i:x}" for i in range(1, 1001)],
    "many-inside.hostile.example": [f"10.{i // 250}.77.{i % 250 + 1}" for i in range(1000)],
}
RESOURCES = f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: hostile, namespace: my-namespace}}
spec:
  hosts: ["*.hostile.example"]
  location: MESH_EXTERNAL
  ports:
  - {{number: 443, name: tls, protocol: TLS}}
  resolution: DYNAMIC_DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: listed, namespace: my-namespace}}
spec:
  hosts: [listed.example]
  addresses: [{LISTED}]
  location: MESH_EXTERNAL
  ports:
  - {{number: 443, name: tls, protocol: TLS}}
  resolution: DNS
"""
ONE_HOST = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: one-host, namespace: my-namespace}}
spec:
  hosts: ["{host}"]
  location: MESH_EXTERNAL
  ports:
  - {{number: 443, name: tls, protocol: TLS}}
  resolution: DNS
"""
_memory_kib = []  # of the gateway: what it had at first, then the most that each process of it ever had


@pytest.fixture(scope="module")
def lab(bare_lab):
    lab = bare_lab
    lab.add_gateway_address(SECOND4)
    lab.gateway.settings["gateway"]["listen"].append({"address": f"{SECOND4}:{PORT}", "transport": "proxy"})
    lab.add_gateway("replica", REPLICA4, GATEWAY_NAME, {"istio": "egressgateway"}).start()
    lab.write_node_key(STRANGER, STRANGERS_KEY, addresses=("10.9.0.0/24",))
    (lab.resources / "hostile.yaml").write_text(RESOURCES)
    for prefix in (f"{LISTED}/32", f"{ANSWERING}:/64"):
        lab.serve_outside(prefix)
    lab.silence_outside(f"{SILENT}:/64")
    names = {f"{name}.hostile.example": [address] for name, address in INSIDE.items()}
    names |= {"listed.example": [LISTED], "unlisted.hostile.example": [LISTED], **MANY}
    for name, addresses in names.items():
        lab.dns.answer(name, *addresses)
    wait_for("the names", lambda: lab.pod("a").run("getent", "ahosts", name).code == 0)
    lab.start()
    call(lab)
    _memory_kib.append(memory_kib(lab, "VmRSS"))
    return lab


@pytest.fixture(autouse=True)
def memory(lab):
    yield
    _memory_kib.append(memory_kib(lab, "VmHWM"))


def memory_kib(lab, field):
    status = pathlib.Path(f"/proc/{lab.gateway.pid}/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB", status, re.M).group(1))


@pytest.fixture
def gateway_settings(lab):
    """Changes the gateway's section of its settings for one test."""
    before = lab.gateway.settings["gateway"]

    def change(**values):
        lab.gateway.settings["gateway"] = {**before, **values}
        lab.gateway.restart()

    yield change
    _memory_kib.append(memory_kib(lab, "VmHWM"))
    assert lab.gateway.running()
    lab.gateway.settings["gateway"] = before
    lab.gateway.restart()


def hello_bytes(name=SEED_HOST):
    return hello.records(hello.client_hello([name]))


def answer_to(lab, name, address=WEB):
    """How the pod's call to the name is answered, and after how many milliseconds."""
    with lab.pod("a").connect(address, 443) as sock:
        start = time.monotonic()
        sock.sendall(hello_bytes(name))
        return hello.answer(sock), hello.milliseconds_since(start)


def call(lab):
    """An ordinary call of a pod, which succeeds whatever else is going on."""
    found, took = answer_to(lab, GOOD_HOST)
    assert found == "server_hello" and took < REFUSED_WITHIN_MS


# False headers: sent by the node itself, for a pod does not reach the gateway


def header(sock, source=("10.1.0.10", 40000), **changes):
    """What the agent of the lab sends in front of a call of pod a; a fact that is None is left out."""
    facts = {
        "hop_source": sock.getsockname()[:2],
        "authority": SEED_HOST,
        "node": NODE,
        "pod_namespace": "my-namespace",
        "pod_name": "a",
        "service_account": "a-account",
        "rule": "my-namespace/external-api",
        "connection_id": os.urandom(8).hex(),
        "gateway": GATEWAY_NAME,
        "gateway_port": 443,
        "key": KEY,
        **changes,
    }
    return proxy_header.encode(source, (WEB, 443), **facts)


def end_of(sock):
    """Reads to the end, at which nothing was said."""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        assert sock.recv(4096) == b""


def name_of(sock):
    address, port = sock.getsockname()[:2]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def refused(lab, watch, sock, detail, role="gateway"):
    """The connection is denied for this; a pod's call goes on, and is all that leaves."""
    call(lab)
    denied = watch.record(role, event="deny", source=name_of(sock))
    assert denied["reason"] == "gateway_denied" and re.search(detail, denied["detail"]), denied
    assert "pod" not in denied, "what such a header says is not believed"
    watch.only_gateway_left(GOOD_ADDRESS)


def accepted(sock, data):
    sock.sendall(data + hello_bytes())
    return hello.answer(sock) == "server_hello"


@pytest.mark.parametrize("address", [GATEWAY4, GATEWAY6, SECOND4])
def test_a_true_header_is_believed(lab, watch, address):
    with lab.connect_from_node(address, PORT) as sock:
        assert accepted(sock, header(sock))
    opened = watch.record("gateway", event="open", sni=SEED_HOST)
    assert opened["pod"] == {"namespace": "my-namespace", "name": "a", "service_account": "a-account"}
    assert opened["source"] == "10.1.0.10:40000"


def rewritten(data, offset, new):
    return data[:offset] + new + data[offset + len(new) :]


def twice(name):
    return proxy_header.value(proxy_header.TEXTS[name], b"twice")


FALSE = {
    "no-header": (lambda s: b"", "no PROXY header"),
    "version-1": (lambda s: b"PROXY TCP4 10.1.0.10 203.0.113.10 40000 443\r\n", "no PROXY header"),
    "http": (lambda s: b"GET / HTTP/1.1\r\nHost: api.external-service.com\r\n\r\n", "no PROXY header"),
    "unsigned": (lambda s: header(s, key=None), "the header is not signed"),
    "no-node": (lambda s: header(s, node=None), 'no keys are known of node ""'),
    "unknown-node": (lambda s: header(s, node="nobody"), 'no keys are known of node "nobody"'),
    "unknown-key": (lambda s: header(s, key=UNKNOWN_KEY), f"signed with a key that node {NODE} does not have"),
    "key-of-another-node": (
        lambda s: header(s, key=STRANGERS_KEY),
        f"signed with a key that node {NODE} does not have",
    ),
    "another-key-under-its-name": (
        lambda s: header(s, key=UNKNOWN_KEY, claimed_key=KEY),
        f"the signature is not node {NODE}'s",
    ),
    "pod-of-nobody": (lambda s: header(s, source=("10.9.9.9", 1)), f"10.9.9.9 is not in the ranges of node {NODE}"),
    "pod-of-another-node": (
        lambda s: header(s, node=STRANGER, key=STRANGERS_KEY),
        f"10.1.0.10 is not in the ranges of node {STRANGER}",
    ),
    "for-another-gateway": (lambda s: header(s, gateway="other.gateway"), "the header is for gateway other.gateway"),
    "for-no-gateway": (lambda s: header(s, gateway=None), "does not say for which gateway it is"),
    "from-nowhere": (lambda s: header(s, hop_source=None), "does not say from which address it comes"),
    "from-another-address": (
        lambda s: header(s, hop_source=("10.2.0.77", s.getsockname()[1])),
        "the header is for a connection from 10.2.0.77:",
    ),
    "too-old": (
        lambda s: header(s, signed_ms=proxy_header.now_ms() - HEADER_AGE_MS - 1000),
        r"signed \d+ ms ago, more than 10000",
    ),
    "of-the-future": (
        lambda s: header(s, signed_ms=proxy_header.now_ms() + HEADER_AGE_MS + 1000),
        r"signed \d+ ms in the future",
    ),
    "of-the-epoch": (lambda s: header(s, signed_ms=0), r"signed \d+ ms ago"),
    "of-the-end-of-time": (lambda s: header(s, signed_ms=2**64 - 1), r"signed \d+ ms in the future"),
    "length-65535": (lambda s: rewritten(header(s), 14, b"\xff\xff"), "PROXY header: length"),
    "length-4081": (lambda s: rewritten(header(s), 14, struct.pack("!H", 4081)), "PROXY header: length"),
    "length-11": (lambda s: rewritten(header(s), 14, b"\0\x0b"), "PROXY header: length"),
    "command-local": (lambda s: rewritten(header(s), 12, b"\x20"), "PROXY header: version and command"),
    "udp": (lambda s: rewritten(header(s), 13, b"\x12"), "PROXY header: family and protocol"),
    "value-beyond-the-end": (
        lambda s: header(s, key=None, more=struct.pack("!BH", 0xEE, 900) + b"x"),
        "PROXY header: ",
    ),
    "two-pods": (lambda s: header(s, more=twice("pod_name")), "PROXY header: a repeated type"),
    "unprintable-text": (lambda s: header(s, pod_name="a\nb"), "PROXY header: text"),
    "two-signatures": (
        lambda s: header(s, more=proxy_header.value(proxy_header.SEAL, b"\1" + bytes(60))),
        "PROXY header: ",
    ),
}


@pytest.mark.parametrize("address", [GATEWAY4, GATEWAY6])
@pytest.mark.parametrize("kind", FALSE)
def test_a_false_header_is_refused(lab, watch, kind, address):
    make, detail = FALSE[kind]
    with lab.connect_from_node(address, PORT) as sock:
        start = time.monotonic()
        sock.sendall(make(sock) + hello_bytes())
        end_of(sock)
        assert hello.milliseconds_since(start) < REFUSED_WITHIN_MS
        refused(lab, watch, sock, detail)


def test_every_byte_of_a_header_is_covered(lab, watch):
    sources, size = [], 1
    while len(sources) < size:
        with lab.connect_from_node(GATEWAY4, PORT) as sock:
            data = bytearray(header(sock))
            size = len(data)
            data[len(sources)] ^= 1
            sources.append(name_of(sock))
            with contextlib.suppress(OSError):  # reset already
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
            end_of(sock)
    call(lab)

    def denials():
        return {r["source"]: r for r in watch.records("gateway", event="deny", reason="gateway_denied")}

    wait_for("a denial of each", lambda: denials().keys() >= set(sources))
    watch.only_gateway_left(GOOD_ADDRESS)


def test_a_header_is_for_one_connection(lab, watch):
    with lab.connect_from_node(GATEWAY4, PORT) as first:
        data = header(first)
        assert accepted(first, data)
    for role, address in (("gateway", GATEWAY4), ("gateway", SECOND4), ("replica", REPLICA4)):
        with lab.watch() as after, lab.connect_from_node(address, PORT) as sock:
            sock.sendall(data + hello_bytes())
            end_of(sock)
            refused(lab, after, sock, "the header is for a connection from", role)


def test_a_header_is_for_one_use(lab, watch):
    with lab.connect_from_node(GATEWAY4, PORT) as first:
        data, port = header(first), first.getsockname()[1]
        assert accepted(first, data)
        with lab.watch() as after, lab.connect_from_node(SECOND4, PORT, source_port=port) as sock:
            assert sock.getsockname() == first.getsockname()
            sock.sendall(data + hello_bytes())
            end_of(sock)
            refused(lab, after, sock, "the header was used before")


def test_a_refused_header_is_not_used_up(lab):
    with lab.connect_from_node(GATEWAY4, PORT) as sock, lab.connect_from_node(GATEWAY4, PORT) as thief:
        data = header(sock)
        thief.sendall(data + hello_bytes())
        end_of(thief)
        assert accepted(sock, data)


@pytest.mark.parametrize("sent", [0, 1, 12, 15, 16, 100])
def test_a_header_that_stays_away_is_waited_for_no_longer_than_allowed(lab, watch, sent):
    with lab.connect_from_node(GATEWAY4, PORT) as sock:
        start = time.monotonic()
        sock.sendall(header(sock)[:sent])
        call(lab)
        end_of(sock)
        assert hello.milliseconds_since(start) < HEADER_TIMEOUT_MS + REFUSED_WITHIN_MS
        refused(lab, watch, sock, "the PROXY header took too long")


def test_a_header_that_drips_is_waited_for_no_longer_than_allowed(lab, watch):
    with lab.connect_from_node(GATEWAY4, PORT) as sock:
        data = header(sock)
        start = time.monotonic()
        sock.settimeout(0.1)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for i in range(len(data)):
                sock.sendall(data[i : i + 1])
                with contextlib.suppress(TimeoutError):
                    assert sock.recv(1) == b""
                    break
        assert hello.milliseconds_since(start) < HEADER_TIMEOUT_MS + REFUSED_WITHIN_MS
        refused(lab, watch, sock, "the PROXY header took too long")


def test_a_true_header_may_come_in_any_pieces(lab):
    with lab.connect_from_node(GATEWAY4, PORT) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = header(sock)
        for i in range(len(data)):
            sock.sendall(data[i : i + 1])
        assert accepted(sock, b"")


@pytest.mark.parametrize("sent", [0, 13, 100])
def test_a_header_that_ends_early_is_refused(lab, watch, sent):
    with lab.connect_from_node(GATEWAY4, PORT) as sock:
        sock.sendall(header(sock)[:sent])
        sock.shutdown(socket.SHUT_WR)
        end_of(sock)
        refused(lab, watch, sock, "ended within its PROXY header")


def test_many_silent_connections_are_not_in_the_way(lab, watch):
    with contextlib.ExitStack() as held:
        silent = [held.enter_context(lab.connect_from_node(GATEWAY4, PORT)) for _ in range(500)]
        for sock in silent:
            sock.sendall(header(sock)[:50])
        start = time.monotonic()
        for _ in range(10):
            call(lab)
        for sock in silent:
            end_of(sock)
        assert hello.milliseconds_since(start) < HEADER_TIMEOUT_MS + REFUSED_WITHIN_MS
    wait_for("a denial of each", lambda: len(watch.records("gateway", event="deny", reason="gateway_denied")) == 500)
    watch.only_gateway_left(GOOD_ADDRESS)


# Rotation of keys


class Calls:
    """Calls of pod a, one after the other, in a thread of their own for as long as the block lasts."""

    def __init__(self, lab):
        self.answers, self._lab, self._end = [], lab, threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def _go_on(self):
        while not self._end.is_set():
            try:
                self.answers.append(answer_to(self._lab, GOOD_HOST)[0])
            except OSError as error:
                self.answers.append(repr(error))

    def more(self):
        """Ten more have ended since."""
        count = len(self.answers) + 10
        wait_for("ten more calls", lambda: len(self.answers) >= count)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


def believes(lab, key):
    with lab.connect_from_node(GATEWAY4, PORT) as sock:
        try:
            return accepted(sock, header(sock, key=key))
        except BrokenPipeError:
            return False


def test_a_key_is_rotated_without_a_lost_call(lab, watch):
    before = lab.agent.settings["egress"]["key_file"]
    lab.agent.settings["egress"]["key_file"] = str(write_agent_key(lab, KEY))
    lab.agent.restart()
    try:
        with Calls(lab) as calls:
            calls.more()
            lab.write_node_key(NODE, NEW_KEY, KEY)
            wait_for("the gateway to know the new key", lambda: believes(lab, NEW_KEY))
            assert believes(lab, KEY)
            calls.more()
            write_agent_key(lab, NEW_KEY)
            stamp = struct.pack("!BHB", proxy_header.SEAL, 61, 1) + proxy_header.key_id(NEW_KEY)
            with lab.watch() as after:
                wait_for("the agent to sign with it", lambda: any(stamp in p.payload for p in after.at_gateway()))
            calls.more()
            lab.write_node_key(NODE, NEW_KEY)
            wait_for("the gateway to forget the old key", lambda: not believes(lab, KEY))
            calls.more()
        assert set(calls.answers) == {"server_hello"}
        assert not watch.records(event="deny", protocol="tls")
    finally:
        lab.write_node_key(NODE, KEY)
        lab.agent.settings["egress"]["key_file"] = before
        lab.agent.restart()
        wait_for("the gateway to know the first key again", lambda: believes(lab, KEY))
    call(lab)


def write_agent_key(lab, key):
    """The agent's own key file, which is elsewhere the same as the gateway's."""
    path = lab.directory / "agent-key.yaml"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"keys": [key]}))
    return fresh.rename(path)


# Names


def denied_for(lab, watch, name, reason, within_ms=REFUSED_WITHIN_MS):
    """The pod's call to the name is denied by the gateway; its record."""
    found, took = answer_to(lab, name)
    assert found.startswith("alert ") and took < within_ms, f"{found} after {took} ms"
    denied = watch.record("gateway", event="deny", sni=name)
    assert denied["reason"] == reason, denied
    return denied


@pytest.mark.parametrize("kind", INSIDE)
def test_a_name_that_leads_inside_is_refused(lab, watch, kind):
    name = f"{kind}.hostile.example"
    denied = denied_for(lab, watch, name, "address_forbidden")
    assert denied["detail"].startswith(f"{name} is "), denied
    watch.nothing_left()


def test_an_address_that_the_service_entry_lists_may_be_dialled(lab, watch):
    denied_for(lab, watch, "unlisted.hostile.example", "address_forbidden")
    watch.nothing_left()
    assert answer_to(lab, "listed.example")[0] == "server_hello"
    watch.only_gateway_left(LISTED)


def test_the_clusters_own_ranges_are_refused(lab, watch, gateway_settings):
    gateway_settings(forbidden_cidrs=["203.0.113.0/28", "2001:db8:5::/64"], permitted_cidrs=[])
    denied = denied_for(lab, watch, SEED_HOST, "address_forbidden")
    assert denied["detail"].endswith("the settings forbid it")
    watch.nothing_left()


def test_a_name_that_changes_to_the_inside_is_refused_from_then_on(lab):
    name = "rebinding.hostile.example"

    def becomes(*addresses, answer):
        lab.dns.answer(name, *addresses)
        wait_for(f"{answer}", lambda: answer_to(lab, name)[0] == answer, interval_s=0.1)

    becomes(WEB, answer="server_hello")
    becomes(GATEWAY4, answer="alert access_denied")
    with lab.watch() as watch:
        denied_for(lab, watch, name, "address_forbidden")
        watch.nothing_left()
    becomes("169.254.169.254", "fd00:ec2::254", "::ffff:127.0.0.1", answer="alert access_denied")
    with lab.watch() as watch:
        denied_for(lab, watch, name, "address_forbidden")
        watch.nothing_left()
    becomes(WEB, answer="server_hello")


def test_a_name_with_1000_addresses_is_called(lab, watch):
    name = "many-answer.hostile.example"
    assert answer_to(lab, name)[0] == "server_hello"
    assert watch.record("gateway", event="open", sni=name)["upstream"].startswith(f"[{ANSWERING}:")


def test_a_name_with_1000_silent_addresses_costs_a_bounded_time(lab, watch):
    within_ms = CONNECT_TIMEOUT_MS + (MAX_DIALS - 1) * ATTEMPT_DELAY_MS + REFUSED_WITHIN_MS
    denied_for(lab, watch, "many-silent.hostile.example", "upstream_timeout", within_ms)
    assert len({p.destination for p in watch.upstream_calls()}) == MAX_DIALS


def test_a_name_with_1000_addresses_inside_is_refused(lab, watch):
    denied_for(lab, watch, "many-inside.hostile.example", "address_forbidden")
    watch.nothing_left()


# Resolvers

LIAR_PORT, NOBODY_PORT = 5301, 5302


def dns_answer(query, records=b"", count=0, flags=0x8180, question=None):
    """An answer to the query, with what follows its question."""
    head = query[:2] + struct.pack("!HHHHH", flags, 1, count, 0, 0)
    return head + (query[12:] if question is None else question) + records


def dns_record(kind, data, owner=b"\xc0\x0c", length=None):
    return owner + struct.pack("!HHIH", kind, 1, 60, len(data) if length is None else length) + data


def labels(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


TYPE_A, TYPE_CNAME = 1, 5
EVIL_BYTES = socket.inet_aton(EVIL)
LIARS = {
    "noise": lambda query: os.urandom(64),
    "nothing": lambda query: b"",
    "the-question": lambda query: query,
    "too-much-noise": lambda query: query[:2] + b"\x81\x80" + os.urandom(8000),
    "counts-without-records": lambda query: dns_answer(query, count=65535),
    "a-name-that-never-ends": lambda query: dns_answer(
        query, dns_record(TYPE_A, EVIL_BYTES, owner=struct.pack("!H", 0xC000 | len(query))), 1
    ),
    "a-record-beyond-the-end": lambda query: dns_answer(query, dns_record(TYPE_A, EVIL_BYTES, length=400), 1),
    "an-address-of-three-bytes": lambda query: dns_answer(query, dns_record(TYPE_A, EVIL_BYTES[:3]), 1),
    "itself-by-another-name": lambda query: dns_answer(query, dns_record(TYPE_CNAME, b"\xc0\x0c"), 1),
    "an-answer-to-another-query": lambda query: os.urandom(2)
    + dns_answer(query, dns_record(TYPE_A, EVIL_BYTES), 1)[2:],
    "an-answer-to-another-question": lambda query: dns_answer(
        query, dns_record(TYPE_A, EVIL_BYTES), 1, question=labels("evil.example") + query[-4:]
    ),
    "more-by-tcp-where-nobody-is": lambda query: dns_answer(query, flags=0x8380),
    "failure": lambda query: dns_answer(query, flags=0x8182),
    "refusal": lambda query: dns_answer(query, flags=0x8185),
}


def true_answer(query):
    """GOOD_ADDRESS, and no IPv6 address."""
    if query[-4:-2] == struct.pack("!H", TYPE_A):
        return dns_answer(query, dns_record(TYPE_A, socket.inet_aton(GOOD_ADDRESS)), 1)
    return dns_answer(query)


@contextlib.contextmanager
def resolver(lab, answer=None, delay_s=0):
    """A resolver of the gateway's at LIAR_PORT; silent without `answer`."""
    with lab.bind_on_gateway_host("127.0.0.1", LIAR_PORT) as sock:
        here, timers = sock.getsockname(), []

        def serve():
            while True:
                query, asker = sock.recvfrom(4096)
                if asker == here:
                    return
                timers.append(threading.Timer(delay_s, sock.sendto, (answer(query), asker)))
                timers[-1].start()

        thread = threading.Thread(target=serve)
        if answer:
            thread.start()
        try:
            yield
        finally:
            if answer:
                sock.sendto(b"the end", here)
                thread.join()
            for timer in timers:
                timer.join()


@pytest.mark.parametrize("lie", LIARS)
def test_a_resolver_that_answers_nonsense(lab, watch, gateway_settings, lie):
    with resolver(lab, LIARS[lie]):
        gateway_settings(resolvers=[f"127.0.0.1:{LIAR_PORT}"])
        denied = denied_for(lab, watch, SEED_HOST, "dns_failure", LOOKUP_TIMEOUT_MS + REFUSED_WITHIN_MS)
        assert f"127.0.0.1:{LIAR_PORT}" in denied["detail"] or "no address" in denied["detail"], denied
        watch.nothing_left()


def test_a_resolver_that_leads_inside(lab, watch, gateway_settings):
    with resolver(lab, lambda query: dns_answer(query, dns_record(TYPE_A, socket.inet_aton("10.2.0.1")), 1)):
        gateway_settings(resolvers=[f"127.0.0.1:{LIAR_PORT}"])
        denied_for(lab, watch, SEED_HOST, "address_forbidden")
        watch.nothing_left()


def test_a_resolver_that_is_silent(lab, watch, gateway_settings):
    with resolver(lab):
        gateway_settings(resolvers=[f"127.0.0.1:{LIAR_PORT}"])
        denied = denied_for(lab, watch, SEED_HOST, "dns_failure", LOOKUP_TIMEOUT_MS + REFUSED_WITHIN_MS)
        assert f"127.0.0.1:{LIAR_PORT}" in denied["detail"], denied
        watch.nothing_left()


def test_a_resolver_that_is_silent_by_tcp(lab, watch, gateway_settings):
    with lab.listen_on_gateway_host("127.0.0.1", LIAR_PORT), resolver(lab, LIARS["more-by-tcp-where-nobody-is"]):
        gateway_settings(resolvers=[f"127.0.0.1:{LIAR_PORT}"])
        denied_for(lab, watch, SEED_HOST, "dns_failure", LOOKUP_TIMEOUT_MS + REFUSED_WITHIN_MS)
        watch.nothing_left()


def test_a_resolver_that_is_slow(lab, watch, gateway_settings):
    with resolver(lab, true_answer, delay_s=1):
        gateway_settings(resolvers=[f"127.0.0.1:{LIAR_PORT}"])
        assert answer_to(lab, GOOD_HOST)[0] == "server_hello"
        watch.only_gateway_left(GOOD_ADDRESS)


def test_a_resolver_that_is_too_slow(lab, watch, gateway_settings):
    with resolver(lab, true_answer, delay_s=LOOKUP_TIMEOUT_MS / 1000 + 0.5):
        gateway_settings(resolvers=[f"127.0.0.1:{LIAR_PORT}"])
        denied_for(lab, watch, GOOD_HOST, "dns_failure", LOOKUP_TIMEOUT_MS + REFUSED_WITHIN_MS)
        watch.nothing_left()


def test_a_call_that_policy_takes_back_while_its_name_is_looked_up_never_leaves(lab, watch, gateway_settings):
    name = "taken-back.example"
    lab.apply("taken-back.yaml", ONE_HOST.format(host=name))
    asked, released = threading.Event(), threading.Event()

    def answer(query):
        asked.set()
        assert released.wait(LOOKUP_TIMEOUT_MS / 1000)
        return true_answer(query)

    with resolver(lab, answer):
        gateway_settings(resolvers=[f"127.0.0.1:{LIAR_PORT}"])
        with lab.pod("a").connect(WEB, 443) as sock:
            sock.sendall(hello_bytes(name))
            assert asked.wait(REFUSED_WITHIN_MS / 1000)
            lab.apply("taken-back.yaml", None)
            end_of(sock)
            wait_for("the gateway to cut it", lambda: "policy changed: 1 connections cut" in lab.gateway.log_tail())
            released.set()
        assert watch.record(event="close", sni=name)["close_reason"] in ("policy_changed", "upstream_reset")
        denied = watch.record("gateway", event="deny", sni=name)
        assert denied["reason"] == "policy_changed" and "upstream" not in denied, denied
        watch.nothing_left()


def test_many_calls_with_a_silent_resolver_wait_no_longer(lab, watch, gateway_settings):
    with resolver(lab), contextlib.ExitStack() as held:
        gateway_settings(resolvers=[f"127.0.0.1:{LIAR_PORT}"])
        start = time.monotonic()
        calls = [held.enter_context(lab.pod("a").connect(WEB, 443)) for _ in range(300)]
        for number, sock in enumerate(calls):
            sock.sendall(hello_bytes(f"n{number}.partner.example"))
        answers = {hello.answer(sock) for sock in calls}
        assert answers == {"alert internal_error"}
        assert hello.milliseconds_since(start) < LOOKUP_TIMEOUT_MS + 2 * REFUSED_WITHIN_MS
        wait_for("the records", lambda: len(watch.records("gateway", event="deny", reason="dns_failure")) == 300)
        watch.nothing_left()


def test_a_resolver_that_is_down(lab, watch, gateway_settings):
    gateway_settings(resolvers=[f"127.0.0.1:{NOBODY_PORT}"])
    denied = denied_for(lab, watch, SEED_HOST, "dns_failure")
    assert f"127.0.0.1:{NOBODY_PORT}" in denied["detail"], denied
    watch.nothing_left()


@pytest.mark.parametrize("first", [LIAR_PORT, NOBODY_PORT], ids=["silent", "down"])
def test_the_next_resolver_is_asked(lab, watch, gateway_settings, first):
    with resolver(lab):
        gateway_settings(resolvers=[f"127.0.0.1:{first}", f"{DNS4}:53"])
        found, took = answer_to(lab, GOOD_HOST)
        assert found == "server_hello" and took < LOOKUP_TIMEOUT_MS + REFUSED_WITHIN_MS
        watch.only_gateway_left(GOOD_ADDRESS)


# Last: what all of it cost


def test_the_gateways_memory_stays_bounded(lab):
    grown = max(_memory_kib[1:]) - _memory_kib[0]
    assert grown < MAX_MEMORY_KIB, f"{grown} KiB more than at first"
