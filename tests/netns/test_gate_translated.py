"""The gate on a node that translates too: the gateway is a ClusterIP, and what leaves for it is masqueraded."""
import concurrent.futures
import re

import gate_calls
import hello
import pytest
from gate_calls import has_ended, hello_of, web
from lab import GATEWAY4, GATEWAY6, NODE4, NODE6
from namespaces import wait_for
from pod import receive_all, reset

FAMILIES = pytest.mark.parametrize("version", [4, 6])
KINDS = pytest.mark.parametrize("kind", ["tls", "opaque"])
CLUSTER4, CLUSTER6 = "10.96.7.7", "fd00:96::7:7"
MEBIBYTE = 1 << 20
# As kube-proxy's, with the fully random ports that some networks ask for.
RULES = f"""
table inet services {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    ip daddr {CLUSTER4} tcp dport 15443 dnat ip to {GATEWAY4}:15443
    ip6 daddr {CLUSTER6} tcp dport 15443 dnat ip6 to [{GATEWAY6}]:15443
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "eth1" meta l4proto tcp masquerade fully-random
  }}
}}
"""


@pytest.fixture(scope="module")
def lab(bare_lab):
    lab = gate_calls.prepare(bare_lab)
    lab.agent.settings["egress"]["gateways"][0]["addresses"] = [f"{CLUSTER4}:15443", f"[{CLUSTER6}]:15443"]
    for listen in lab.gateway.settings["gateway"]["listen"]:
        if listen["transport"] == "proxy":
            listen["translated"] = True
    rules = lab.directory / "rules.nft"
    rules.write_text(RULES)
    lab.on_node("nft", "-f", rules)
    return lab.start()


def tracked(lab, state="ESTABLISHED"):
    """The node's connections towards the gateway that conntrack holds for established."""
    found = []
    for family in ("ipv4", "ipv6"):
        listed = lab.on_node("conntrack", "-L", "-f", family, "-p", "tcp").stdout
        found += [line for line in listed.splitlines() if state in line and re.search(r"dport=15443\b", line)]
    return found


def none_established(lab):
    wait_for("no connection to be held for established", lambda: not tracked(lab), 5, 0.1)


@FAMILIES
def test_a_call_behind_a_cluster_address_is_served(lab, watch, version):
    with lab.pod("a").connect(web(version), 443) as sock:
        sock.sendall(hello_of())
        assert hello.answer(sock) == "server_hello"
        opened = watch.record(event="open", source=gate_calls.name_of(sock))
        assert len(tracked(lab)) == 1
    cluster = CLUSTER4 if version == 4 else f"[{CLUSTER6}]"
    assert opened["datapath"] == "gate" and opened["gateway"] == f"{cluster}:15443"
    syns = {(p.source, p.destination) for p in watch.at_gateway() if p.flags == 2}
    assert syns == {(NODE4, GATEWAY4) if version == 4 else (NODE6, GATEWAY6)}, "both translations were at work"
    assert not watch.leaks()
    none_established(lab)


@FAMILIES
@KINDS
def test_bytes_arrive_whole_both_ways(lab, origin, watch, version, kind):
    with origin.call(kind, version) as ends:
        for sock in (ends.client, ends.server):
            sock.settimeout(30)
        gate_calls.exchange(ends.client, ends.server, 32 * MEBIBYTE, f"{version} {kind}")
    closed = watch.record(event="close", source=ends.source)
    assert closed["close_reason"] == "finished" and closed["bytes_received"] == 32 * MEBIBYTE
    none_established(lab)


@FAMILIES
def test_no_end_leaves_a_connection_established(lab, origin, watch, version):
    """Whoever ends it, and whatever way."""
    pod = lab.pod("a")
    calls = [origin.call(kind, version) for kind in ("tls", "opaque") for _ in range(4)]
    for ends in calls:
        ends.talk()
    for ends, how in zip(calls, ("server", "client", "pods reset", "servers reset") * 2):
        if how == "pods reset":
            reset(ends.client)
        elif how == "servers reset":
            reset(ends.server)
            wait_for("the reset", lambda: has_ended(ends.client) == "reset", 2)
        else:
            one, other = (ends.server, ends.client) if how == "server" else (ends.client, ends.server)
            one.close()
            assert receive_all(other) == b""
        ends.close()
    with pod.connect(web(version), 443) as sock:
        sock.sendall(hello_of("evil.example"))
        assert hello.answer(sock) == "alert unrecognized_name"
    pod.connect(web(version), 443).close()
    reset(pod.connect(web(version), 443))
    silent = pod.connect(web(version), 443)
    watch.record(event="deny", source=gate_calls.name_of(silent), timeout_s=5)
    silent.close()
    none_established(lab)
    gate_calls.nothing_kept(lab)


def test_a_policy_change_leaves_no_connection_established(lab, origin):
    with origin.call("tls") as doomed:
        doomed.talk()
        text = (lab.resources / "gate.yaml").read_text()
        lab.apply("gate.yaml", text.split("---")[0])
        try:
            wait_for("the reset", lambda: has_ended(doomed.client) == "reset", 2)
            none_established(lab)
        finally:
            lab.apply("gate.yaml", text)


def test_a_path_mtu_message_of_the_way_reaches_the_pod(lab, origin):
    """As kernels tell it: for the packet as it was after both translations."""
    with origin.call("tls") as ends:
        ends.talk()
        lab.on_node("ip", "link", "set", "eth1", "mtu", "1300")
        try:
            gate_calls.exchange(ends.client, ends.server, MEBIBYTE, "mtu")
        finally:
            lab.on_node("ip", "link", "set", "eth1", "mtu", "1500")


def test_a_thousand_calls_leave_no_connection_established(lab):
    pod = lab.pod("a")

    def call(number):
        with pod.connect(web(4 if number % 2 else 6), 443, timeout_s=20) as sock:
            sock.sendall(hello_of())
            return hello.answer(sock, timeout_s=20)

    with concurrent.futures.ThreadPoolExecutor(32) as many:
        answers = list(many.map(call, range(1000)))
    assert answers == ["server_hello"] * 1000
    none_established(lab)
    gate_calls.nothing_kept(lab)
