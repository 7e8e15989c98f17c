"""Several addresses of one gateway: calls go on to the next one, a dead one is left out and comes back, a silent one does
not hold a call for ever, and one that ends lets open calls finish."""
import signal
import socket
import time

import hello
import pytest
from capture import is_syn
from lab import GATEWAY4, GATEWAY_NAME, NODE4
from namespaces import wait_for
from outside import DATABASE, WEB
from pod import REFUSED_WITHIN_MS, receive_all, receive_exactly

SEED_HOST = "api.external-service.com"
PORT = 15443
REFUSING4 = "10.2.0.3"  # an address of the gateway host at which, until the last tests, nobody listens
SILENT4 = "10.2.0.9"  # frames to it arrive at the gateway host, which has no such address and forwards nothing
CONNECT_TIMEOUT_MS = 300
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def lab(bare_lab):
    bare_lab.add_gateway("replica", REFUSING4, GATEWAY_NAME, {"istio": "egressgateway"})
    bare_lab.lead_to_gateway_host(SILENT4)
    return bare_lab.start()


@pytest.fixture
def use(lab):
    """Gives the agent these gateway addresses for one test."""
    before = {name: dict(lab.agent.settings[name]) for name in ("egress", "limits")}

    def change(*addresses, failures=3, ejection_ms=60000, **limits):
        egress = lab.agent.settings["egress"]
        egress["gateways"] = [{**egress["gateways"][0], "addresses": [f"{a}:{PORT}" for a in addresses]}]
        egress["health"] = {"failures": failures, "ejection_ms": ejection_ms}
        lab.agent.settings["limits"].update(connect_timeout_ms=CONNECT_TIMEOUT_MS, **limits)
        lab.agent.restart()

    yield change
    lab.agent.settings.update(before)
    lab.agent.restart()


def call(lab):
    with lab.pod("a").tls(WEB, SEED_HOST).sock:
        pass


def refused(lab):
    """After how many milliseconds the call was refused, before it was open."""
    start = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        lab.pod("a").connect(WEB, 443)
    return hello.milliseconds_since(start)


def is_refused(lab):
    try:
        call(lab)
    except OSError:
        return True
    return False


def syns_to(watch, address):
    return [p for p in watch.at_gateway() if is_syn(p) and p.destination == address]


def dials_of_node(watch, address):
    return len({p.sport for p in syns_to(watch, address) if p.source == NODE4})


def status(lab):
    return lab.sluice("status", "--socket", lab.agent.socket)


# Dead addresses


@pytest.mark.parametrize("dead", [REFUSING4, SILENT4], ids=["refusing", "silent"])
def test_calls_go_on_to_the_next_address(lab, watch, use, dead):
    use(dead, GATEWAY4, failures=1000)
    for _ in range(6):
        call(lab)
    wait_for("the records", lambda: len(watch.records(event="open", sni=SEED_HOST)) == 6)
    assert {r["gateway"] for r in watch.records(event="open")} == {f"{GATEWAY4}:{PORT}"}
    assert len({p.sport for p in syns_to(watch, dead) if p.source != NODE4}) == 3, "every other call began with it"
    assert not watch.records(event="deny", protocol="tls") and not watch.leaks()


@pytest.mark.parametrize("dead", [REFUSING4, SILENT4], ids=["refusing", "silent"])
def test_a_dead_address_is_left_out_and_status_says_so(lab, watch, use, dead):
    use(dead, GATEWAY4)
    assert status(lab).returncode == 0

    def reported():
        call(lab)
        return f"{dead}:{PORT}" in status(lab).stdout

    wait_for("the dead address in status", reported)
    assert dials_of_node(watch, dead) == 3
    shown = status(lab)
    line = next(line for line in shown.stdout.splitlines() if f"{dead}:{PORT}" in line)
    assert shown.returncode == 1
    assert f"gateway {GATEWAY_NAME}: {dead}:{PORT} does not answer (3 dials in a row failed; tried again in " in line
    assert "denied" not in line, "the other address answers"
    with lab.watch() as after:
        for _ in range(10):
            call(lab)
        assert not syns_to(after, dead)
        assert len(syns_to(after, GATEWAY4)) == 10


def test_a_pod_whose_packets_reach_no_gateway_ejects_none(lab, watch, use):
    use(GATEWAY4, failures=1)
    for count in range(1, 4):
        with lab.pod("a").open_socket() as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            with pytest.raises(OSError):
                sock.connect((WEB, 443))
        wait_for("the record", lambda: len(watch.records(event="deny", reason="gateway_unreachable")) == count)
        assert not syns_to(watch, GATEWAY4) or {p.source for p in syns_to(watch, GATEWAY4)} == {NODE4}
    wait_for("the agent's own dial", lambda: dials_of_node(watch, GATEWAY4))
    assert status(lab).returncode == 0
    call(lab)


def test_an_address_that_is_back_is_used_again(lab, watch, use):
    use(REFUSING4, GATEWAY4, failures=1, ejection_ms=1000)
    replica = lab.daemons()["replica"]

    def reported():
        call(lab)
        return status(lab).returncode == 1

    wait_for("the dead address in status", reported)
    replica.start()
    try:

        def reached():
            call(lab)
            return watch.records("replica", event="open", sni=SEED_HOST)

        wait_for("a call by the address that is back", reached)
        assert status(lab).returncode == 0
        with lab.watch() as after:
            for _ in range(10):
                call(lab)
            assert len(syns_to(after, REFUSING4)) == len(syns_to(after, GATEWAY4)) == 5
    finally:
        replica.stop()
    assert not watch.records(event="deny", protocol="tls") and not watch.leaks()


def test_without_a_living_address_the_call_is_refused_at_once(lab, watch, use):
    use(REFUSING4, GATEWAY4, failures=1)
    lab.gateway.stop()
    try:
        for _ in range(3):  # left out or not
            assert refused(lab) < REFUSED_WITHIN_MS
        done = lab.pod("a").curl("http://plain.example/")
        assert "gateway_unreachable" in done.out and done.milliseconds < REFUSED_WITHIN_MS, done
        denied = watch.record(event="deny", destination=f"{WEB}:443")
        assert denied["reason"] == "gateway_unreachable"
        assert f"{REFUSING4}:{PORT}" in denied["detail"] or f"{GATEWAY4}:{PORT}" in denied["detail"]
        assert "no address of it does: calls by it are denied" in status(lab).stdout
        watch.nothing_left()
    finally:
        lab.gateway.start()
    call(lab)
    assert not watch.leaks()


def test_addresses_that_never_answer_cost_a_bounded_time(lab, watch, use):
    silent = [SILENT4, "10.2.0.10", "10.2.0.11", "10.2.0.12", "10.2.0.13"]
    for address in silent:
        lab.lead_to_gateway_host(address)
    use(*silent, failures=1000)
    assert (
        refused(lab) < 3 * CONNECT_TIMEOUT_MS + REFUSED_WITHIN_MS
    ), "three addresses are tried, however many there are"
    assert watch.record(event="deny", destination=f"{WEB}:443")["reason"] == "gateway_unreachable"
    assert len({p.destination for p in watch.at_gateway() if is_syn(p)}) == 3
    watch.nothing_left()


# Silent gateways


def test_a_gateway_that_accepts_and_stays_silent_ends_the_call(lab, watch, use):
    use(REFUSING4, answer_timeout_ms=1000)
    listener = lab.listen_on_gateway_host(REFUSING4, PORT)
    with listener, lab.pod("a").connect(WEB, 443) as sock:
        start = time.monotonic()
        sock.sendall(hello.records(hello.client_hello([SEED_HOST])))
        assert hello.answer(sock) in ("reset", "closed")
        took = hello.milliseconds_since(start)
    assert 1000 <= took < 5000, "the limit is 1000 ms, and is looked at about once a second"
    closed = watch.record(event="close", sni=SEED_HOST)
    assert closed["close_reason"] == "no_answer" and "bytes_received" not in closed
    watch.nothing_left()


# The end of a gateway


@pytest.fixture
def gateway_limits(lab):
    before = dict(lab.gateway.settings["limits"])

    def change(**limits):
        lab.gateway.settings["limits"].update(limits)
        lab.gateway.restart()

    yield change
    lab.gateway.settings["limits"] = before
    if lab.gateway.running():
        lab.gateway.stop()
    lab.gateway.start()


def test_a_gateway_that_is_ended_lets_a_download_finish(lab, watch, gateway_limits):
    gateway_limits(drain_timeout_ms=10000)
    size = 48 * MEBIBYTE
    with lab.pod("a").connect(DATABASE, 5432) as sock:
        assert receive_exactly(sock, 22)
        sock.sendall(f"SEND {size}\n".encode())
        assert receive_exactly(sock, MEBIBYTE)
        lab.gateway.send_signal(signal.SIGTERM)

        # The first may have been waiting for the gateway when it stopped listening.
        def denied():
            return is_refused(lab) and watch.records(event="deny", destination=f"{WEB}:443")

        assert wait_for("new calls to be denied", denied)[0]["reason"] == "gateway_unreachable"
        assert lab.gateway.running(), "it waits for the download"
        assert len(receive_exactly(sock, size - MEBIBYTE)) == size - MEBIBYTE
        assert receive_all(sock) == b""
    closed = watch.record("gateway", event="close", protocol="tcp")
    assert closed["close_reason"] == "finished" and closed["bytes_received"] == size + 22
    wait_for("the gateway to end", lambda: not lab.gateway.running())
    assert lab.gateway.stop() == 0


def test_a_gateway_that_is_ended_cuts_what_does_not_finish_in_time(lab, watch, gateway_limits):
    gateway_limits(drain_timeout_ms=500)
    with lab.pod("a").connect(DATABASE, 5432) as sock:
        assert receive_exactly(sock, 22)
        lab.gateway.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            receive_all(sock)
    assert watch.record("gateway", event="close", protocol="tcp")["close_reason"] == "draining"
    wait_for("the gateway to end", lambda: not lab.gateway.running())
    assert lab.gateway.stop() == 0
