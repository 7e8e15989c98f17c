"""The lab itself: what the other tests rely on. Without an agent everything flows, and the captures see it."""
import os
import pathlib
import signal
import socket
import subprocess
import sys

import packets
import pytest
from namespaces import NETNS, RUN, cgroup2_root, mounts_below, remove_stale
from outside import DATABASE, EVIL, EVIL6, WEB, WEB6

SUPPORT = pathlib.Path(sys.modules["lab"].__file__).parent


@pytest.mark.parametrize("address", [WEB, WEB6])
def test_a_pod_without_an_agent_reaches_the_outside_and_the_capture_sees_it(bare_lab, watch, address):
    session = bare_lab.pod("a").tls(address, "api.external-service.com")
    assert session.served_names() == ["api.external-service.com"]
    assert any(p.destination == address and p.dport == 443 for p in watch.leaks())
    with pytest.raises(AssertionError, match="leaked"):
        watch.nothing_left()


@pytest.mark.parametrize("address", [EVIL, EVIL6])
def test_a_single_packet_by_hand_is_seen_outside(bare_lab, watch, address):
    pod = bare_lab.pod("a")
    source = pod.address(6 if ":" in address else 4)
    for protocol, payload in (
        (packets.TCP, packets.tcp(source, address, 1234, 9999)),
        (packets.UDP, packets.udp(source, address, 1234, 5000, b"x")),
        (packets.icmp_of(address), packets.echo_request(source, address, b"x")),
    ):
        pod.send_packet(packets.ip(source, address, protocol, payload))
    seen = {p.protocol for p in watch.leaks() if p.source == source}
    assert seen == {packets.TCP, packets.UDP, packets.icmp_of(address)}


def test_every_packet_of_a_burst_is_captured_before_the_marker(bare_lab, watch):
    pod = bare_lab.pod("a")
    with pod.open_socket(kind=socket.SOCK_DGRAM) as sock:
        for number in range(2000):
            sock.sendto(str(number).encode(), (EVIL, 40000))
    assert (
        len([p for p in watch.leaks() if p.dport == 40000 and p.protocol == packets.UDP and p.source == pod.ip4])
        == 2000
    )


def test_programs_in_a_pod_have_its_network_names_and_cgroup(bare_lab):
    pod = bare_lab.pod("a")
    assert pod.curl("http://plain.example/").out.startswith("served plain.example at ")
    assert pod.run("cat", "/proc/self/cgroup").out.strip().endswith(f"/{pod.cgroup.relative_to(cgroup2_root())}")
    assert pod.run("id", "-u", uid=1234).out.strip() == "1234"


def test_the_database_speaks_first_and_answers_a_half_close(bare_lab):
    with bare_lab.pod("b").connect(DATABASE, 5432) as sock:
        assert sock.recv(100) == b"READY sluice-database\n"
        sock.sendall(b"COUNT\nabc")
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(200).startswith(b"BYE 3 ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_lab_leaves_nothing_however_its_process_ends(number):
    program = "from lab import Lab; import time\nwith Lab() as lab:\n  print(lab.name(''), flush=True); time.sleep(60)"
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=SUPPORT,
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    prefix = child.stdout.readline().strip().rstrip("-")
    assert list(NETNS.glob(prefix + "-*"))
    child.send_signal(number)
    child.wait(20)
    if number == signal.SIGKILL:
        remove_stale()  # as the next lab does
    left = [*NETNS.glob(prefix + "-*"), *RUN.glob(prefix), *cgroup2_root().glob(prefix), *mounts_below(RUN / prefix)]
    assert not left
