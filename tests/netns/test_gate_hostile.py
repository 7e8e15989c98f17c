"""The gate and what no honest TCP sends: only what was read leaves, and nothing that others send ends a call."""
import os
import socket
import threading
import time

import gate_calls
import hello
import packets
import pytest
from gate_calls import ORIGIN_HOST, SEED_HOST, TLS_PORT, gateway, hello_of, web
from namespaces import inside, ip_batch, sysctl, wait_for
from packets import ACK, FIN, PSH, RST, SYN, TCP, URG
from pod import REFUSED_WITHIN_MS, receive_exactly
from raw_tcp import MSS_1460, RawCall

FAMILIES = pytest.mark.parametrize("version", [4, 6])
EVIL_HOST = "evil.example"
SYN_OPTIONS = {"fast_open": 34, "mptcp": 30, "experiment": 254}
_ports = iter(range(46000, 60000))


@pytest.fixture(scope="module")
def lab(bare_lab):
    return gate_calls.prepare(bare_lab).start()


@pytest.fixture
def call(lab):
    """Makes connections by hand."""
    made = []

    def open_call(address, port=443, **options):
        made.append(RawCall(lab.pod("raw"), address, port, next(_ports), **options))
        return made[-1]

    yield open_call
    for one in made:
        one.reset(one.acknowledged_bytes())
        one.reset()
        one.close()


class Silence:
    """The gateway's answers to pod raw get lost, from begin() to end()."""

    def __init__(self, lab):
        self._namespace, self._reigns = lab.namespace("gateway"), False

    def _change(self, what):
        self._reigns = what == "add"
        ip_batch(self._namespace, f"route {what} blackhole 10.1.0.12/32\nroute {what} blackhole fd00:1::12/128")

    def begin(self):
        self._change("add")

    def end(self):
        if self._reigns:
            self._change("del")


@pytest.fixture
def silence(lab):
    silence = Silence(lab)
    yield silence
    silence.end()


def source(call):
    return f"[{call.source}]:{call.source_port}" if ":" in call.source else f"{call.source}:{call.source_port}"


def payloads_at_gateway(watch, call):
    return [p for p in watch.at_gateway() if (p.source, p.sport) == (call.source, call.source_port) and p.payload]


def nothing_of_it_left(watch, call, *texts):
    """No payload of the pod reached the gateway, and none of the texts anything beyond the node."""
    assert not payloads_at_gateway(watch, call)
    for text in texts:
        assert not watch.seen_outside(text)
    watch.nothing_left()


def denied_for(watch, call, reason):
    denied = watch.record(event="deny", source=source(call))
    assert denied["reason"] == reason and denied["datapath"] == "gate", denied


def allowed(watch, call):
    opened = watch.record(event="open", source=source(call))
    assert opened["datapath"] == "gate", opened


# The hello in pieces


@FAMILIES
def test_a_hello_in_one_byte_segments_is_read(watch, call, version):
    data, c = hello_of(), call(web(version))
    c.connect()
    for at in range(len(data)):
        c.send(data[at : at + 1], at)
    assert c.answer() == "server_hello"
    assert gate_calls.payload_at_gateway(watch, c.source, c.source_port).endswith(data)
    allowed(watch, c)


@FAMILIES
def test_a_hello_backwards_is_read(watch, call, version):
    data, c = hello_of(), call(web(version))
    c.connect()
    for at in reversed(range(0, len(data), 17)):
        c.send(data[at : at + 17], at)
    assert c.answer() == "server_hello"
    assert gate_calls.payload_at_gateway(watch, c.source, c.source_port).endswith(data)
    allowed(watch, c)


@FAMILIES
@pytest.mark.parametrize("first", [0xFFFFFFFF, 0xFFFFFF80, 0], ids=["at-end", "across", "at-zero"])
def test_a_hello_whose_numbers_go_round_is_read(watch, call, version, first):
    data, c = hello_of(), call(web(version), first=first)
    c.connect()
    for at in (100, 0, 50):
        c.send(data[at : at + 60] if at != 100 else data[at:], at)
    assert c.answer() == "server_hello"
    assert gate_calls.payload_at_gateway(watch, c.source, c.source_port).endswith(data)


@FAMILIES
def test_overlapping_segments_with_equal_bytes_are_read(watch, call, version):
    data, c = hello_of(), call(web(version))
    c.connect()
    for begin, end in ((0, 50), (25, 75), (120, len(data)), (60, 130), (0, 40)):
        c.send(data[begin:end], begin)
    assert c.answer() == "server_hello"
    assert gate_calls.payload_at_gateway(watch, c.source, c.source_port).endswith(data)
    allowed(watch, c)


@FAMILIES
@pytest.mark.parametrize("where", ["before", "beyond-a-gap", "same-segment-again"])
def test_other_bytes_for_a_known_number_deny(watch, call, version, where):
    good, c = hello_of(), call(web(version))
    bad = good.replace(SEED_HOST.encode(), b"x" * len(SEED_HOST))
    c.connect()
    half = len(good) - 20
    if where == "before":
        c.send(good[:half])
        c.send(bad[10:], 10)
    elif where == "beyond-a-gap":
        c.send(bad[40:half], 40)
        c.send(good)
    else:
        c.send(good[:half])
        c.send(bad[:half])
    assert c.answer() in ("reset", "closed") or c.answer().startswith("alert")
    denied_for(watch, c, "hello_conflict")
    nothing_of_it_left(watch, c, SEED_HOST.encode(), b"xxxxxxxx")


@FAMILIES
def test_other_bytes_after_the_verdict_end_the_call_and_do_not_leave(watch, call, silence, version):
    """While the gateway has not acknowledged what was approved."""
    data, c = hello_of(), call(web(version))
    c.connect()
    silence.begin()
    c.send(data)
    allowed(watch, c)
    c.send(data.replace(SEED_HOST.encode(), b"x" * len(SEED_HOST)))
    c.wait_for("the end", lambda p: p.flags & RST)
    closed = watch.record(event="close", source=source(c))
    assert closed["close_reason"] == "hello_conflict" and closed["datapath"] == "gate"
    assert not [p for p in watch.at_gateway() if b"xxxxxxxx" in p.payload]
    assert not watch.seen_outside(b"xxxxxxxx")


@FAMILIES
def test_other_bytes_after_the_gateway_has_all_change_nothing(origin, watch, call, version):
    data, c = hello_of(ORIGIN_HOST), call(web(version), TLS_PORT)
    c.connect()
    c.send(data)
    with origin.accept("tls", data) as server:
        c.wait_acknowledged(len(data))
        c.send(data.replace(ORIGIN_HOST.encode(), b"xxxxxx.example"))
        c.send(b"and more", len(data))
        assert receive_exactly(server, 8) == b"and more"
    assert not watch.seen_outside(b"xxxxxx.example")


@FAMILIES
def test_a_hello_of_an_unregistered_host_in_pieces_is_denied(watch, call, version):
    data, c = hello_of(EVIL_HOST), call(web(version))
    c.connect()
    for at in reversed(range(0, len(data), 11)):
        c.send(data[at : at + 11], at)
    assert c.answer() == "alert unrecognized_name"
    denied_for(watch, c, "host_not_registered")
    nothing_of_it_left(watch, c, EVIL_HOST.encode())


@FAMILIES
def test_half_a_hello_is_denied_in_time(watch, call, version):
    data, c = hello_of(), call(web(version))
    c.connect()
    c.send(data[:100])
    assert c.answer(timeout_s=4)
    denied_for(watch, c, "hello_timeout")
    nothing_of_it_left(watch, c, data[:20])


@FAMILIES
def test_an_endless_hello_is_denied(watch, call, version):
    c = call(web(version))
    endless = b"\x16\x03\x01\x40\x00\x01\x00\xff\xff\x03\x03" + b"e" * 40000
    c.connect()
    for at in range(0, 20000, 1400):
        c.send(endless[at : at + 1400], at)
    assert c.answer(timeout_s=4)
    assert watch.record(event="deny", source=source(c))["reason"] in ("hello_too_large", "not_tls", "hello_malformed")
    nothing_of_it_left(watch, c, b"eeeeeeee")


# Before and beside the handshake


@FAMILIES
def test_data_before_the_handshake_ends_goes_nowhere(watch, call, silence, version):
    data, c = hello_of(), call(web(version))
    silence.begin()
    c.send_syn()
    wait_for("the SYN at the gateway", lambda: [p for p in watch.at_gateway() if p.sport == c.source_port])
    for flags in (ACK | PSH, PSH, ACK | FIN, ACK | URG, 0):
        c.send(data, flags=flags, ack=1)
        c.send(b"smuggled", len(data), flags=flags, ack=0xDEADBEEF)
    assert not payloads_at_gateway(watch, c)
    silence.end()
    c.send_syn()
    c.finish_handshake()
    c.send(data)
    assert c.answer() == "server_hello"
    assert gate_calls.payload_at_gateway(watch, c.source, c.source_port).endswith(data)
    assert not watch.seen_outside(b"smuggled")
    allowed(watch, c)


@FAMILIES
def test_a_repeated_syn_is_the_same_connection(watch, call, version):
    """Before its answer, after it, and after the pod's acknowledgement."""
    data, c = hello_of(), call(web(version))
    c.send_syn()
    c.send_syn()
    c.finish_handshake()
    c.send_syn()
    c.send(data[:100])
    c.send_syn()
    c.send(data[100:], 100)
    assert c.answer() == "server_hello"
    assert gate_calls.payload_at_gateway(watch, c.source, c.source_port).endswith(data)
    allowed(watch, c)
    assert len({p.sport for p in watch.at_gateway() if p.source == c.source and p.flags == SYN}) == 1


@FAMILIES
def test_a_syn_loses_its_payload_and_the_call_works(watch, call, version):
    data, c = hello_of(), call(web(version))
    c.connect(payload=data)
    assert not payloads_at_gateway(watch, c)
    c.send(data)
    assert c.answer() == "server_hello"
    allowed(watch, c)


@FAMILIES
@pytest.mark.parametrize("kind", SYN_OPTIONS)
def test_options_that_open_other_ways_are_taken_from_a_syn(watch, call, version, kind):
    number = SYN_OPTIONS[kind]
    c = call(web(version))
    c.connect(payload=hello_of(EVIL_HOST), options=bytes([number, 12]) + os.urandom(10) + MSS_1460)
    syns = [p for p in watch.at_gateway() if p.sport == c.source_port and p.flags == SYN]
    assert len(syns) == 1 and not syns[0].payload
    assert syns[0].options[:12] == b"\1" * 12 and syns[0].options[12:16] == MSS_1460
    c.send(hello_of())
    assert c.answer() == "server_hello"
    assert not watch.seen_outside(EVIL_HOST.encode())


@FAMILIES
def test_a_join_of_a_further_mptcp_subflow_is_a_connection_of_its_own(watch, call, version):
    c = call(web(version))
    c.connect(options=b"\x1e\x0c\x10\x01" + os.urandom(8) + MSS_1460)
    c.send(hello_of(EVIL_HOST))
    assert c.answer() == "alert unrecognized_name"
    nothing_of_it_left(watch, c, EVIL_HOST.encode())


@FAMILIES
def test_a_wrong_acknowledgement_lets_nothing_undecided_leave(watch, call, version):
    data, c = hello_of(EVIL_HOST), call(web(version))
    c.connect()
    for wrong in (0, 1, c.acknowledged - 1, c.acknowledged + 1, c.acknowledged + (1 << 31), c.acknowledged + 100000):
        c.send(flags=ACK, ack=wrong)
        c.send(data, ack=wrong)
    assert c.answer() in ("alert unrecognized_name", "reset")
    denied_for(watch, c, "host_not_registered")
    nothing_of_it_left(watch, c, EVIL_HOST.encode())


@FAMILIES
def test_after_a_hello_with_a_wrong_acknowledgement_its_repetition_is_served(watch, call, version):
    for distance in (1, 100000, -1, 1 << 31):
        data, c = hello_of(), call(web(version))
        c.connect()
        c.send(data, ack=c.acknowledged + distance)
        watch.record(event="open", source=source(c))
        c.send(data)
        assert c.answer() == "server_hello", distance


@FAMILIES
@pytest.mark.parametrize("host", [SEED_HOST, EVIL_HOST])
def test_the_urgent_mark_of_a_hello_is_taken_away(watch, call, version, host):
    data, c = hello_of(host), call(web(version))
    c.connect()
    c.send(data, flags=ACK | PSH | URG, urgent=10)
    assert c.answer() == ("server_hello" if host == SEED_HOST else "alert unrecognized_name")
    assert not [p for p in watch.at_gateway() if p.flags & URG]
    if host == SEED_HOST:
        assert gate_calls.payload_at_gateway(watch, c.source, c.source_port).endswith(data)
    else:
        nothing_of_it_left(watch, c, EVIL_HOST.encode())


@FAMILIES
@pytest.mark.parametrize("flags", [FIN | ACK, FIN | ACK | PSH, SYN | ACK, SYN | FIN, 0, PSH, URG | ACK])
def test_no_flags_let_a_held_payload_pass(watch, call, version, flags):
    c = call(web(version))
    c.connect()
    c.send(b"smuggled by flags", flags=flags)
    c.send(b"smuggled by flags", 5000, flags=flags)
    nothing_of_it_left(watch, c, b"smuggled by flags")


@FAMILIES
def test_a_packet_of_another_shape_on_a_gated_tuple_goes_nowhere(lab, origin, watch, call, version):
    data, c = hello_of(ORIGIN_HOST), call(web(version), TLS_PORT)
    c.connect()
    c.send(data)
    with origin.accept("tls", data) as server:
        c.wait_acknowledged(len(data))
        segment = packets.tcp(
            c.source, c.address, c.source_port, c.port, ACK | PSH, c.first + len(data), c.acknowledged, b"smuggled"
        )
        raw = lab.pod("raw")
        if version == 4:
            raw.send_packet(packets.ip(c.source, c.address, TCP, segment, options=b"\x94\x04\0\0"))
        else:
            wrapped = {"extension": bytes([TCP, 0, 1, 4, 0, 0, 0, 0]), "first_header": 60}
            raw.send_packet(packets.ip(c.source, c.address, TCP, segment, **wrapped))
        for cut, offset in ((segment[:24], 0), (segment[24:], 24), (segment, 0)):
            raw.send_packet(packets.ip(c.source, c.address, TCP, cut, 64, 7, offset == 0, offset))
        raw.send_packet(packets.ip(c.source, c.address, TCP, segment), vlan=5)
        c.send(b"plain", len(data))
        assert receive_exactly(server, 5) == b"plain"
    assert not [p for p in watch.at_gateway() if b"smuggled" in p.payload]


# By the kernel's own means


FAST_OPEN, FAST_OPEN_CONNECT, MPTCP = 0x20000000, 30, 262


@pytest.fixture
def fast_open(lab):
    """A pod and a gateway host that do TCP Fast Open without a cookie, for every socket."""
    sysctl(lab.pod("a").netns, ipv4__tcp_fastopen=0x5)
    sysctl(lab.namespace("gateway"), ipv4__tcp_fastopen=0x603)
    yield
    sysctl(lab.pod("a").netns, ipv4__tcp_fastopen=1)
    sysctl(lab.namespace("gateway"), ipv4__tcp_fastopen=1)


@FAMILIES
@pytest.mark.parametrize("how", ["sendto", "connect"])
@pytest.mark.parametrize("host", [SEED_HOST, EVIL_HOST])
def test_fast_open_puts_nothing_in_the_syn_and_the_call_goes_on(lab, watch, fast_open, version, how, host):
    data = hello_of(host)
    with lab.pod("a").open_socket(socket.AF_INET if version == 4 else socket.AF_INET6) as sock:
        sock.settimeout(5)
        if how == "sendto":
            sock.sendto(data, FAST_OPEN, (web(version), 443))
        else:
            sock.setsockopt(socket.IPPROTO_TCP, FAST_OPEN_CONNECT, 1)
            sock.connect((web(version), 443))
            sock.sendall(data)
        assert hello.answer(sock) == ("server_hello" if host == SEED_HOST else "alert unrecognized_name")
        port = sock.getsockname()[1]
    syns = [p for p in watch.at_gateway() if p.sport == port and p.flags & SYN]
    assert syns and not any(p.payload for p in syns) and not any(b"\x22\x02" in p.options for p in syns)
    if host == EVIL_HOST:
        watch.nothing_left()


@FAMILIES
@pytest.mark.parametrize("host", [SEED_HOST, EVIL_HOST])
def test_mptcp_is_made_plain_tcp(lab, watch, version, host):
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with lab.pod("a").open_socket(family, socket.SOCK_STREAM, MPTCP) as sock:
        sock.settimeout(5)
        sock.connect((web(version), 443))
        sock.sendall(hello_of(host))
        assert hello.answer(sock) == ("server_hello" if host == SEED_HOST else "alert unrecognized_name")
        port = sock.getsockname()[1]
    syns = [p for p in watch.at_gateway() if p.sport == port and p.flags & SYN]
    assert syns and not any(b"\x1e\x04" in p.options or b"\x1e\x0c" in p.options for p in syns)
    if host == EVIL_HOST:
        watch.nothing_left()


# The verdict of one connection is not another's


@FAMILIES
def test_a_tuple_used_again_while_the_agent_thinks_gets_its_own_verdict(lab, watch, call, version):
    c, evil = call(web(version)), EVIL_HOST.encode()
    c.connect()
    again = RawCall(c.pod, c.address, c.port, c.source_port)
    with again:
        with gate_calls.stopped_agent(lab):
            c.send(hello_of())
            c.reset()
            again.connect()
            again.send(hello_of(EVIL_HOST))
        again.wait_for("the answer", lambda p: p.payload[:1] == b"\x15" or p.flags & RST and p.acknowledgement)
        watch.record(event="deny", reason="host_not_registered", source=source(c))
    nothing_of_it_left(watch, c, evil)
    assert not [r for r in watch.records("gateway", event="open")]


@FAMILIES
def test_a_tuple_used_again_after_an_allowed_call_is_judged_anew(watch, call, version):
    c = call(web(version))
    c.connect()
    c.send(hello_of())
    assert c.answer() == "server_hello"
    with RawCall(c.pod, c.address, c.port, c.source_port, first=c.first + 100000) as again:
        again.send_syn()
        ended = lambda: [p for p in watch.at_gateway() if p.sport == c.source_port and p.flags & RST]
        wait_for("the gateway's connection to be ended", ended)
        again.send(hello_of(EVIL_HOST))
        again.send(b"smuggled", 5000)
        wait_for("an answer", again.seen)
    with RawCall(c.pod, c.address, c.port, c.source_port, first=c.first + 200000) as anew:
        anew.connect()
        anew.send(hello_of(EVIL_HOST))
        assert anew.answer() == "alert unrecognized_name"
        anew.send(b"smuggled", 5000)
        assert not watch.seen_outside(EVIL_HOST.encode()) and not watch.seen_outside(b"smuggled")
    assert not [p for p in watch.at_gateway() if EVIL_HOST.encode() in p.payload or b"smuggled" in p.payload]


# Resets and ends that nobody sent


@FAMILIES
def test_forged_resets_and_ends_end_nothing(lab, origin, watch, version):
    with origin.call("tls", version) as ends:
        ends.talk()
        address, port = ends.client.getsockname()[:2]
        seen = [p for p in watch.at_gateway() if p.sport == port or p.dport == port]
        theirs = [p for p in seen if p.dport == port and p.flags & ACK][-1]
        expected = theirs.acknowledgement, theirs.sequence + len(theirs.payload)
        for side in ("outside", "gateway", "neighbour"):
            for distance in (100000, -100000, 1 << 31, -70000):
                for flags in (RST, RST | ACK, FIN | ACK, SYN, SYN | ACK):
                    number = (expected[1] + distance) & 0xFFFFFFFF
                    forge(lab, side, gateway(version), address, 15443, port, flags, number, expected[0])
                    forge(lab, side, web(version), address, TLS_PORT, port, flags, number, expected[0])
        assert [f for f in gate_calls.flows(lab) if f["source"] == ends.source], "the flow is there"
        ends.talk()
        data = os.urandom(100000)
        ends.server.sendall(data)
        assert receive_exactly(ends.client, len(data)) == data
    assert watch.record(event="close", source=ends.source)["close_reason"] == "finished"


def forge(lab, side, from_address, to_address, sport, dport, flags, seq, ack):
    """A segment that claims to be the gateway's, or of whom the pod dialled."""
    segment = packets.tcp(from_address, to_address, sport, dport, flags, seq, ack)
    packet = packets.ip(from_address, to_address, TCP, segment)
    if side == "neighbour":
        return lab.pod("b").send_packet(packet)
    interface, theirs = {"outside": ("node", "eth0"), "gateway": ("eth0", "eth1")}[side]
    namespace = lab.namespace(side)
    with inside(namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((interface, 0))
        sock.send(packets.ethernet(lab.mac(lab.node, theirs), lab.mac(namespace, interface), packet))


@FAMILIES
def test_a_neighbour_does_not_speak_for_the_gateway(lab, origin, version):
    """Also with the right numbers: the neighbour's interface tells who it is."""
    with origin.call("tls", version) as ends, lab.watch() as watch:
        ends.talk()
        address, port = ends.client.getsockname()[:2]
        theirs = [p for p in watch.at_gateway() if p.dport == port and p.flags & ACK][-1]
        number = (theirs.sequence + len(theirs.payload)) & 0xFFFFFFFF
        for flags in (RST, RST | ACK, FIN | ACK, ACK | PSH):
            forge(lab, "neighbour", gateway(version), address, 15443, port, flags, number, theirs.acknowledgement)
        ends.talk()


@FAMILIES
def test_a_reset_of_the_pod_with_a_wrong_number_ends_nothing(lab, origin, watch, call, version):
    data, c = hello_of(ORIGIN_HOST), call(web(version), TLS_PORT)
    c.connect()
    c.send(data)
    with origin.accept("tls", data) as server:
        c.wait_acknowledged(len(data))
        for distance in (-100000, 100000, 1 << 31, 70000):
            c.send(flags=RST, offset=len(data) + distance)
            c.send(flags=RST | ACK, offset=len(data) + distance)
        assert not [p for p in watch.at_gateway() if p.sport == c.source_port and p.flags & RST]
        c.send(b"goes on", len(data))
        assert receive_exactly(server, 7) == b"goes on"
        assert [f for f in gate_calls.flows(lab) if f["source"] == source(c)]


@FAMILIES
def test_a_bare_acknowledgement_ahead_of_its_data_takes_no_byte_from_the_record(origin, watch, call, version):
    data, c = hello_of(ORIGIN_HOST), call(web(version), TLS_PORT)
    c.connect()
    c.send(data)
    with origin.accept("tls", data) as server:
        c.wait_acknowledged(len(data))
        c.send(flags=ACK, offset=len(data) + 1000)
        c.send(b"x" * 1000, len(data))
        assert receive_exactly(server, 1000) == b"x" * 1000
        c.wait_acknowledged(len(data) + 1000)
        c.send(flags=RST, offset=len(data) + 1000)
    assert watch.record(event="close", source=source(c))["bytes_sent"] == len(data) + 1000


@FAMILIES
def test_forged_icmp_errors_end_nothing(lab, origin, version):
    with origin.call("tls", version) as ends, lab.watch() as watch:
        ends.talk()
        address, port = ends.client.getsockname()[:2]
        last = [p for p in watch.at_gateway() if p.sport == port][-1]
        for inner_to, inner_port in ((gateway(version), 15443), (web(version), TLS_PORT)):
            for sequence in (last.sequence, last.sequence + 5, 0):
                inner = packets.ip(
                    address, inner_to, TCP, packets.tcp(address, inner_to, port, inner_port, ACK, sequence & 0xFFFFFFFF)
                )
                for kind, code in ((3, 1), (3, 3), (3, 13)) if version == 4 else ((1, 0), (1, 4), (1, 1)):
                    send_error(lab, version, address, kind, code, inner)
        ends.talk()


def send_error(lab, version, address, kind, code, inner):
    sender = "198.51.100.2" if version == 4 else "2001:db8:f:1::2"
    body = bytes([kind, code]) + bytes(6) + inner
    before = b"" if version == 4 else packets._pseudo(sender, address, packets.ICMP6, len(body))
    body = body[:2] + packets.checksum(before + body).to_bytes(2, "big") + body[4:]
    packet = packets.ip(sender, address, packets.icmp_of(address), body)
    with inside(lab.namespace("outside")), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("node", 0))
        sock.send(packets.ethernet(lab.mac(lab.node, "eth0"), lab.mac(lab.namespace("outside"), "node"), packet))


@FAMILIES
@pytest.mark.parametrize("what", ["syns", "hellos"])
def test_a_flood_of_one_pod_does_not_stop_another(lab, call, version, what):
    """More than one pod may have undecided at once."""
    flood = call(web(version))
    begin = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"f" * 200
    stop = threading.Event()

    def send():
        while not stop.is_set():
            flood.source_port = 1024 + (flood.source_port + 1) % 40000
            flood.send_syn()
            if what == "hellos":
                flood.send(begin)

    flooding = threading.Thread(target=send)
    flooding.start()
    try:
        wait_for("the flood", lambda: len(gate_calls.entries(lab, "flows")) > 1000, 20, 0.5)
        for _ in range(20):
            start = time.monotonic()
            with lab.pod("a").connect(web(version), 443) as sock:
                sock.sendall(hello_of())
                assert hello.answer(sock) == "server_hello"
            assert hello.milliseconds_since(start) < REFUSED_WITHIN_MS
    finally:
        stop.set()
        flooding.join()
    gate_calls.nothing_kept(lab, timeout_s=20)


def test_nothing_is_kept_of_all_that(lab):
    gate_calls.nothing_kept(lab)
