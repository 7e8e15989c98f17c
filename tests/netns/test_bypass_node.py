"""The bypass table, third part: ways around the node's rules, and the life of agent and pods.

Nothing undecided leaves, and every refusal that can reach the client does so at once.
"""
import contextlib
import signal
import socket
import time

import hello
import packets
import pytest
from lab import GATEWAY4, GATEWAY6
from namespaces import wait_for
from outside import DATABASE, EVIL, EVIL6, WEB, WEB6
from packets import RST, TCP, UDP
from pod import REFUSED_WITHIN_MS, receive_all, receive_exactly

SEED_HOST = "api.external-service.com"
FAMILIES = pytest.mark.parametrize("version", [4, 6])


def evil(version):
    return EVIL if version == 4 else EVIL6


def test_a_cluster_ip_that_dnat_sends_outside_goes_nowhere(lab, watch):
    pod = lab.pod("a")
    rules = "\n".join(
        f"add rule inet sluice_lab nat ip daddr 10.96.0.99 {protocol} dport {port} dnat ip to {EVIL}:{port}\n"
        f"add rule inet sluice_lab nat ip6 daddr fd00:96::99 {protocol} dport {port} dnat ip6 to [{EVIL6}]:{port}"
        for protocol, port in (("tcp", 9999), ("tcp", 443), ("udp", 5000))
    )
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
    # 443 and 80 are registered for other names: a connection may open, in the gate or to the agent.
    for port in (443, 80):
        try:
            with pod.connect(address, port) as sock:
                sock.sendall(hello.records(hello.client_hello(["evil.example"])))
                receive_all(sock)
        except OSError:
            pass
    assert pod.refusal(address, 15443, socket.SOCK_DGRAM).at_once()
    pod.send_packet(packets.ip(source, address, packets.icmp_of(address), packets.echo_request(source, address, b"x")))
    # The gate may open a connection to the gateway, as for any other address; no byte of the pod goes there undecided.
    assert not [p for p in watch.at_gateway() if source in (p.source, p.destination) and p.payload]
    assert not watch.upstream_calls()


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
        # As long as the heart's last beat counts, which is 3 s, a connection may open and what it sends is held.
        with contextlib.suppress(OSError), pod.connect(WEB, 443) as sock:
            sock.sendall(hello.records(hello.client_hello([SEED_HOST])))
            receive_all(sock)
        watch.nothing_left()
        wait_for("the heart's last beat not to count any more", lambda: pod.refusal(WEB, 443).at_once())
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
        pod.send_packet(
            packets.ip(source, address, packets.icmp_of(address), packets.echo_request(source, address, b"x"))
        )


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
        wait_for(
            "the new interface to be attached",
            lambda: pod.refusal(EVIL, 9999).error == "ConnectionRefusedError",
            5,
            0.05,
        )
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
