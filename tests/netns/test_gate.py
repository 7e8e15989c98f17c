"""Calls through the gate: the pod's own connection arrives at the gateway, and every byte of it, both ways."""
import random
import select
import socket

import gate_calls
import hello
import proxy_header
import pytest
from gate_calls import SEED_HOST, gateway, has_ended, hello_of, name_of, web
from namespaces import run, wait_for
from packets import ICMP, ICMP6, parse
from pod import receive_all, receive_exactly, reset

FAMILIES = pytest.mark.parametrize("version", [4, 6])
KINDS = pytest.mark.parametrize("kind", ["tls", "opaque"])
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def lab(bare_lab):
    return gate_calls.prepare(bare_lab).start()


def closed_as(watch, source, reason):
    closed = watch.record(event="close", source=source)
    assert closed["datapath"] == "gate" and closed["close_reason"] == reason, closed
    return closed


@FAMILIES
def test_the_pods_own_connection_arrives_at_the_gateway(lab, watch, version):
    pod, data = lab.pod("a"), hello_of()
    with pod.connect(web(version), 443) as sock:
        sock.sendall(data)
        assert hello.answer(sock) == "server_hello"
        address, port = sock.getsockname()[:2]
        sockets = lab.on_node("ss", "-Htan").stdout
        assert address not in sockets and ":15443" not in sockets, sockets
        syns = [p for p in watch.at_gateway() if p.flags == 2]
        assert [(p.source, p.sport, p.destination, p.dport) for p in syns] == [(address, port, gateway(version), 15443)]
        stream = gate_calls.payload_at_gateway(watch, address, port)
        opened = watch.record(event="open", source=name_of(sock))
    assert opened["datapath"] == "gate" and opened["sni"] == SEED_HOST and opened["pod"]["name"] == "a"
    assert stream.startswith(proxy_header.SIGNATURE)
    header_bytes = 16 + int.from_bytes(stream[14:16], "big")
    assert stream[header_bytes:] == data, "the header, then the very bytes of the hello"
    assert watch.record("gateway", event="open", id=opened["id"])["source"] == opened["source"]
    # The answer was not read to its end, so the pod's kernel resets.
    closed = closed_as(watch, opened["source"], "client_reset")
    assert closed["id"] == opened["id"] and closed["bytes_sent"] == len(data)
    assert not watch.leaks()


@FAMILIES
def test_a_server_that_speaks_first_is_heard(origin, watch, version):
    client = origin.connect("opaque", version)
    server = origin.accept("opaque", b"")
    with gate_calls.Ends(client, server) as ends:
        server.sendall(b"220 ready\r\n")
        assert receive_exactly(client, 11) == b"220 ready\r\n"
        ends.talk()
        opened = watch.record(event="open", source=ends.source)
    assert opened["datapath"] == "gate" and opened["protocol"] == "tcp"


@FAMILIES
def test_what_a_client_says_before_it_is_judged_goes_with_the_header(lab, origin, watch, version):
    with gate_calls.stopped_agent(lab):
        client = origin.connect("opaque", version)
        client.sendall(b"first of all")
    with gate_calls.Ends(client, origin.accept("opaque", b"first of all")) as ends:
        port = client.getsockname()[1]
        entries = [entry["formatted"] for entry in gate_calls.entries(lab, "flows")]
        (flow,) = [entry["value"] for entry in entries if entry["key"]["source_port"] == port]
        assert flow["approved"] - flow["pod_isn"] - 1 == len("first of all")
        ends.talk()


@FAMILIES
@KINDS
def test_64_mebibytes_both_ways_at_once_arrive_whole(origin, watch, version, kind):
    with origin.call(kind, version) as ends:
        for sock in (ends.client, ends.server):
            sock.settimeout(30)
        gate_calls.exchange(ends.client, ends.server, 64 * MEBIBYTE, f"{version} {kind}")
        source = ends.source
    closed = closed_as(watch, source, "finished")
    opened = watch.record(event="open", source=source)
    first = 16 if kind == "opaque" else closed["bytes_sent"] - 64 * MEBIBYTE
    assert closed["bytes_sent"] == 64 * MEBIBYTE + first and closed["bytes_received"] == 64 * MEBIBYTE
    assert closed["id"] == opened["id"] and len(watch.records(event="close", source=source)) == 1


@FAMILIES
@KINDS
def test_the_pod_ends_its_half_and_the_rest_still_comes(origin, watch, version, kind):
    with origin.call(kind, version) as ends:
        ends.client.sendall(b"last words")
        ends.client.shutdown(socket.SHUT_WR)
        assert receive_all(ends.server) == b"last words"
        ends.server.sendall(b"x" * MEBIBYTE)
        ends.server.close()
        assert receive_all(ends.client) == b"x" * MEBIBYTE
    closed_as(watch, ends.source, "finished")


@FAMILIES
@KINDS
def test_the_server_ends_its_half_and_the_rest_still_goes(origin, watch, version, kind):
    with origin.call(kind, version) as ends:
        ends.server.sendall(b"last words")
        ends.server.shutdown(socket.SHUT_WR)
        assert receive_all(ends.client) == b"last words"
        ends.client.sendall(b"x" * MEBIBYTE)
        ends.client.close()
        assert receive_all(ends.server) == b"x" * MEBIBYTE
    closed_as(watch, ends.source, "finished")


@FAMILIES
@KINDS
def test_a_reset_of_the_pod_arrives(origin, watch, version, kind):
    with origin.call(kind, version) as ends:
        ends.talk()
        reset(ends.client)
        wait_for("the server to see it", lambda: has_ended(ends.server) == "reset", 2)
    closed_as(watch, ends.source, "client_reset")


@FAMILIES
@KINDS
def test_what_comes_after_the_pod_has_closed_is_answered_with_its_reset(origin, watch, version, kind):
    with origin.call(kind, version) as ends:
        ends.talk()
        ends.client.close()
        assert receive_all(ends.server) == b""
        ends.server.sendall(b"too late")
        wait_for("the server to see it", lambda: has_ended_at_write(ends.server), 2, 0.05)
    closed_as(watch, ends.source, "client_reset")


@FAMILIES
@KINDS
def test_a_reset_of_the_server_arrives(origin, watch, version, kind):
    with origin.call(kind, version) as ends:
        ends.talk()
        reset(ends.server)
        wait_for("the pod to see it", lambda: has_ended(ends.client) == "reset", 2)
    closed_as(watch, ends.source, "upstream_reset")


def has_ended_at_write(sock):
    try:
        sock.send(b"x")
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


@KINDS
def test_a_receiver_that_does_not_read_stops_the_sender_and_loses_nothing(origin, kind):
    with origin.call(kind) as ends:
        for sender, receiver in ((ends.client, ends.server), (ends.server, ends.client)):
            sent, data = 0, random.Random(kind).randbytes(MEBIBYTE)
            sender.settimeout(0)
            while select.select([], [sender], [], 0.5)[1]:
                sent += sender.send(data[sent % MEBIBYTE :])
            whole = data * (sent // MEBIBYTE + 1)
            sender.settimeout(5)
            assert receive_exactly(receiver, sent) == whole[:sent]
        ends.talk()


def bound(pod, port, version=4):
    sock = pod.open_socket(socket.AF_INET if version == 4 else socket.AF_INET6)
    sock.settimeout(5)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((pod.address(version), port))
    return sock


@FAMILIES
def test_two_connections_of_one_source_port_are_two(lab, origin, watch, version):
    pod, hosts = lab.pod("a"), ("203.0.113.10", "203.0.113.11", "203.0.113.13", "203.0.113.20")
    if version == 6:
        hosts = ("2001:db8:5::10", "2001:db8:5::11", "2001:db8:5::13", "2001:db8:5::20")
    socks = [bound(pod, 45001, version) for _ in hosts]
    firsts = [origin.first_bytes("tls") for _ in hosts]
    for sock, host in zip(socks, hosts):
        sock.connect((host, gate_calls.TLS_PORT))
    calls = []
    for sock, first in zip(socks, firsts):
        sock.sendall(first)
        calls.append(gate_calls.Ends(sock, origin.accept("tls", first)))
    for ends in calls:
        ends.talk()
    ports = [p.sport for p in watch.at_gateway() if p.flags == 2]
    assert len(set(ports)) == len(hosts) and 45001 in ports
    for ends in calls:
        ends.close()
    for host in hosts:
        destination = f"[{host}]" if version == 6 else host
        assert watch.record(event="close", destination=f"{destination}:{gate_calls.TLS_PORT}")["datapath"] == "gate"


def end_by_server(ends):
    ends.server.close()
    assert receive_all(ends.client) == b""
    ends.client.close()


def end_by_pods_reset(ends):
    reset(ends.client)
    ends.server.close()


def end_by_servers_reset(ends):
    reset(ends.server)
    wait_for("the reset", lambda: has_ended(ends.client) == "reset", 2)
    ends.client.close()


@FAMILIES
@pytest.mark.parametrize("end", [end_by_server, end_by_pods_reset, end_by_servers_reset])
def test_a_port_is_used_again_at_once(lab, origin, watch, version, end):
    pod, rounds = lab.pod("a"), 30
    for number in range(rounds):
        sock = bound(pod, 45002, version)
        sock.connect((web(version), gate_calls.TLS_PORT))
        first = origin.first_bytes("tls")
        sock.sendall(first)
        ends = gate_calls.Ends(sock, origin.accept("tls", first))
        ends.talk()
        end(ends)
    source = ends.source
    wait_for("all close records", lambda: len(watch.records(event="close", source=source)) >= rounds, 5)
    told = {kind: [r["id"] for r in watch.records(event=kind, source=source)] for kind in ("open", "close")}
    assert len(told["open"]) == rounds and sorted(told["open"]) == sorted(told["close"])


@FAMILIES
def test_the_urgent_mark_takes_no_byte_away(origin, watch, version):
    with origin.call("tls", version) as ends:
        ends.client.sendall(b"before")
        ends.client.send(b"!", socket.MSG_OOB)
        ends.client.sendall(b"after")
        assert receive_exactly(ends.server, 12) == b"before!after"
        port = ends.client.getsockname()[1]
    assert not [p for p in watch.at_gateway() if p.sport == port and p.flags & 32]


def test_a_hello_larger_than_one_segment_is_read(lab, watch):
    for pad in (1500, 6000, 12000):
        data = hello_of(pad_bytes=pad)
        with lab.pod("a").connect(web(4), 443) as sock:
            sock.sendall(data)
            assert hello.answer(sock) == "server_hello"
            address, port = sock.getsockname()
        stream = gate_calls.payload_at_gateway(watch, address, port)
        assert stream.endswith(data)
        closed = watch.record(event="close", source=f"{address}:{port}")
        assert closed["datapath"] == "gate" and closed["bytes_sent"] == len(data)


@FAMILIES
@KINDS
def test_the_pod_learns_of_a_smaller_path_mtu_in_its_own_terms(lab, origin, version, kind):
    """What the node's kernel says of the translated packet quotes, for the pod, the one that it sent."""
    pod = lab.pod("a")
    with origin.call(kind, version) as ends, pod.capture() as capture:
        ends.talk()
        ours, theirs = ends.client.getsockname(), ends.client.getpeername()
        lab.on_node("ip", "link", "set", "eth1", "mtu", "1300")
        try:
            gate_calls.exchange(ends.client, ends.server, MEBIBYTE, "mtu")
        finally:
            lab.on_node("ip", "link", "set", "eth1", "mtu", "1500")
        told = [p for p in capture.drain() if (p.protocol, p.icmp_type) in ((ICMP, 3), (ICMP6, 2))]
    assert told
    for error in told:
        quoted = parse("quoted", bytes(12) + (b"\x08\x00" if version == 4 else b"\x86\xdd") + error.payload[4:])
        assert (quoted.source, quoted.sport) == ours[:2] and (quoted.destination, quoted.dport) == theirs[:2]
    for family in ("-4", "-6"):
        run("ip", "-n", pod.netns, family, "route", "flush", "cache")


def test_a_gated_call_is_listed_with_its_bytes(lab, origin):
    with origin.call("tls") as ends:
        ends.talk()

        def listed():
            found = [f for f in gate_calls.flows(lab) if f["source"] == ends.source]
            return found[0] if found and found[0]["bytes_received"] >= 3000 else None

        flow = wait_for("the flow to be listed", listed, 3)
        assert flow["datapath"] == "gate" and flow["host"] == gate_calls.ORIGIN_HOST and flow["pod"] == "my-namespace/a"
        assert flow["bytes_received"] == 3000 and flow["bytes_sent"] > 3000
        text = lab.sluice("flows", "--socket", lab.agent.socket, check=True).stdout
        assert any(ends.source in line and "gate" in line for line in text.splitlines()), text
    wait_for("it to be gone", lambda: not [f for f in gate_calls.flows(lab) if f["source"] == ends.source], 3)
    gate_calls.nothing_kept(lab)
