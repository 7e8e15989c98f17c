"""The bypass table, first part: packets by hand and datagrams.

Nothing undecided leaves, and every refusal that can reach the client does so at once.
"""
import re
import socket

import packets
import pytest
from lab import GATEWAY4
from namespaces import wait_for
from outside import EVIL, EVIL6, WEB, WEB6
from packets import ACK, ICMP, ICMP6, PSH, RST, SYN, TCP, UDP
from pod import REFUSED_WITHIN_MS

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
@pytest.mark.parametrize(
    "flags", [ACK, ACK | PSH, RST, 1 | ACK, SYN | ACK, 0], ids=["ack", "data", "rst", "fin", "synack", "null"]
)
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
    for options in (
        b"\x94\x04\0\0",
        b"\x83\x07\x04" + bytes([203, 0, 113, 21]),
        b"\x07\x07\x04\0\0\0\0",
    ):  # RA, LSRR, RR
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


def test_a_forged_answer_of_the_gateway_from_a_neighbour_does_not_arrive(lab):
    a, b = lab.pod("a"), lab.pod("b")
    with a.capture() as capture:
        b.send_packet(packets.ip(GATEWAY4, a.ip4, TCP, packets.tcp(GATEWAY4, a.ip4, 15443, 40012, RST)))
        b.send_packet(packets.ip(EVIL, a.ip4, TCP, packets.tcp(EVIL, a.ip4, 443, 40012, RST)))
        b.send_packet(packets.ip(b.ip4, a.ip4, UDP, packets.udp(b.ip4, a.ip4, 40012, 40013, b"honest")))
        seen = wait_for("the honest datagram", lambda: [p for p in capture.drain() if p.payload == b"honest"])
        assert seen and not [p for p in capture.packets() if p.protocol == TCP]
