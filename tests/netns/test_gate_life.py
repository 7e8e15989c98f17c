"""The gate while the agent dies and comes back, while policy changes, and after very many calls."""
import concurrent.futures
import hashlib
import re
import shutil
import signal
import socket
import threading
import time

import gate_calls
import hello
import pytest
from gate_calls import ORIGIN_HOST, has_ended, hello_of, name_of, web
from namespaces import wait_for
from pod import REFUSED_WITHIN_MS, receive_all, receive_exactly, reset

FAMILIES = pytest.mark.parametrize("version", [4, 6])
KINDS = pytest.mark.parametrize("kind", ["tls", "opaque"])
MEBIBYTE = 1 << 20
HEARTBEAT_LIMIT_S = 3.0
LIVE_WITHIN_S = 1.0


@pytest.fixture(scope="module")
def lab(bare_lab):
    lab = gate_calls.prepare(bare_lab)
    # Long enough for a restart, and for repetitions of what gets lost.
    lab.agent.settings["limits"].update(first_bytes_timeout_ms=8000, connect_timeout_ms=20000)
    lab.gateway.settings["limits"].update(first_bytes_timeout_ms=8000)
    # The gateway's policy stays, so that what the agent cuts is the agent's doing.
    shutil.copytree(lab.resources, lab.directory / "gateway-resources")
    lab.gateway.settings["resources"] = {"files": [str(lab.directory / "gateway-resources")]}
    return lab.start()


@pytest.fixture
def dead_agent(lab):
    """Kills the agent, and has it back when the test is over. Settled: the kernel takes no new calls any more."""

    def kill(settled=False):
        lab.agent.kill()
        if settled:
            wait_for("new calls to be refused", lambda: is_refused(lab), HEARTBEAT_LIMIT_S + 2, 0.05)

    yield kill
    if not lab.agent.running():
        lab.agent.start()


def is_refused(lab):
    """A SYN is answered at once with RST."""
    with lab.pod("a").open_socket() as sock:
        sock.settimeout(REFUSED_WITHIN_MS / 1000)
        try:
            sock.connect((web(4), 443))
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            pass
        return False


def one_record_of_each(watch, source, close_reason):
    closed = watch.record(event="close", source=source)
    assert closed["close_reason"] == close_reason and closed["datapath"] == "gate", closed
    return closed


# The agent goes and comes


@FAMILIES
@KINDS
def test_open_calls_go_on_while_the_agent_is_dead_and_afterwards(lab, origin, watch, dead_agent, version, kind):
    with origin.call(kind, version) as ends:
        opened = watch.record(event="open", source=ends.source)
        dead_agent(settled=True)
        ends.talk()
        exchange_some(ends)
        lab.agent.start()
        ends.talk()
        listed = [f for f in gate_calls.flows(lab) if f["source"] == ends.source]
        assert [f["id"] for f in listed] == [opened["id"]] and listed[0]["datapath"] == "gate"
    closed = one_record_of_each(watch, ends.source, "finished")
    assert closed["id"] == opened["id"] and closed["bytes_received"] == 6000 + MEBIBYTE
    assert len(watch.records(event="open", source=ends.source)) == 1


def exchange_some(ends):
    data = b"s" * MEBIBYTE
    sender = threading.Thread(target=ends.server.sendall, args=(data,))
    sender.start()
    assert receive_exactly(ends.client, len(data)) == data
    sender.join()


@FAMILIES
def test_ends_while_the_agent_is_dead_are_recorded_once(lab, origin, watch, dead_agent, version):
    calls = {reason: origin.call("tls", version) for reason in ("finished", "client_reset", "upstream_reset")}
    opened = {reason: watch.record(event="open", source=ends.source)["id"] for reason, ends in calls.items()}
    dead_agent()
    for ends in calls.values():
        ends.talk()
    calls["finished"].client.close()
    assert receive_all(calls["finished"].server) == b""
    calls["finished"].server.close()
    reset(calls["client_reset"].client)
    wait_for("the server's reset", lambda: has_ended(calls["client_reset"].server) == "reset", 2)
    reset(calls["upstream_reset"].server)
    wait_for("the pod's reset", lambda: has_ended(calls["upstream_reset"].client) == "reset", 2)
    lab.agent.start()
    for reason, ends in calls.items():
        closed = one_record_of_each(watch, ends.source, reason)
        assert closed["id"] == opened[reason] and closed["bytes_received"] == 3000
    lab.agent.kill()
    lab.agent.start()
    gate_calls.nothing_kept(lab)
    for ends in calls.values():
        assert len(watch.records(event="close", source=ends.source)) == 1
        ends.close()


@FAMILIES
def test_ends_that_a_hanging_agent_hears_of_late_are_recorded_once_also_of_ports_in_use_again(
    lab, origin, watch, version
):
    first = origin.call("tls", version)
    address, port = first.client.getsockname()[:2]
    destination = first.client.getpeername()[:2]
    watch.record(event="open", source=first.source)
    with lab.pod("a").open_socket(first.client.family) as client, gate_calls.stopped_agent(lab):
        reset(first.client)
        wait_for("the server's reset", lambda: has_ended(first.server) == "reset", 2)
        client.bind((address, port))
        client.settimeout(5)
        client.connect(destination)
        hello_again = origin.first_bytes("tls")
        client.sendall(hello_again)
        lab.agent.send_signal(signal.SIGCONT)
        with gate_calls.Ends(client, origin.accept("tls", hello_again)) as second:
            second.talk()
    wait_for("both ends", lambda: len(watch.records(event="close", source=first.source)) >= 2)
    lab.agent.kill()
    lab.agent.start()
    gate_calls.nothing_kept(lab)
    opened, closed = (watch.records(event=event, source=first.source) for event in ("open", "close"))
    assert [each["id"] for each in closed] == [each["id"] for each in opened]
    assert [each["close_reason"] for each in closed] == ["client_reset", "finished"]


@FAMILIES
def test_a_hello_that_finds_no_agent_waits_for_the_next_one(lab, watch, dead_agent, version):
    with lab.pod("a").connect(web(version), 443) as sock:
        dead_agent()
        sock.sendall(hello_of())
        watch.nothing_left()
        lab.agent.start()
        assert hello.answer(sock) == "server_hello"
        opened = watch.record(event="open", source=name_of(sock))
    assert opened["datapath"] == "gate" and not watch.leaks()


@FAMILIES
def test_an_unregistered_hello_that_finds_no_agent_is_denied_by_the_next_one(lab, watch, dead_agent, version):
    with lab.pod("a").connect(web(version), 443) as sock:
        dead_agent()
        sock.sendall(hello_of("evil.example"))
        lab.agent.start()
        assert hello.answer(sock) == "alert unrecognized_name"
        assert watch.record(event="deny", source=name_of(sock))["reason"] == "host_not_registered"
    watch.nothing_left()


@FAMILIES
def test_a_call_that_begins_while_the_agent_is_just_dead_is_served_by_the_next_one(lab, watch, dead_agent, version):
    dead_agent()
    with lab.pod("a").connect(web(version), 443) as sock:
        sock.sendall(hello_of())
        lab.agent.start()
        assert hello.answer(sock) == "server_hello"
        assert watch.record(event="open", source=name_of(sock))["datapath"] == "gate"


@FAMILIES
def test_without_an_agent_for_long_calls_are_refused_at_once(lab, watch, dead_agent, version):
    with lab.pod("a").connect(web(version), 443) as sock:
        dead_agent(settled=True)
        for _ in range(20):
            assert lab.pod("a").refusal(web(version), 443).at_once()
        start = time.monotonic()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            sock.sendall(hello_of())
            receive_all(sock)
        assert hello.milliseconds_since(start) < REFUSED_WITHIN_MS
    watch.nothing_left()
    lab.agent.start()
    denied = watch.record(event="deny", reason="policy_not_ready", timeout_s=10)
    assert denied["pod"]["name"] == "a"
    with lab.pod("a").connect(web(version), 443) as sock:
        sock.sendall(hello_of())
        assert hello.answer(sock) == "server_hello"


@FAMILIES
def test_an_agent_that_hung_for_long_lets_nothing_pass_that_was_refused_meanwhile(lab, watch, version):
    with lab.pod("a").connect(web(version), 443) as sock:
        with gate_calls.stopped_agent(lab):
            sock.sendall(hello_of())
            with pytest.raises(ConnectionResetError):
                receive_all(sock)  # its repetition is answered, when the agent has been silent for too long
            assert is_refused(lab)
        source = name_of(sock)
    wait_for("calls to be served", lambda: not is_refused(lab), 5, 0.05)
    watch.nothing_left()
    assert not watch.records(event="open", source=source)
    gate_calls.nothing_kept(lab)


@KINDS
def test_a_transfer_survives_an_agent_that_is_killed_again_and_again(lab, origin, watch, dead_agent, kind):
    with origin.call(kind) as ends:
        for sock in (ends.client, ends.server):
            sock.settimeout(30)
        transfer = concurrent.futures.ThreadPoolExecutor(1)
        done = transfer.submit(gate_calls.exchange, ends.client, ends.server, 256 * MEBIBYTE, kind)
        rounds = 0
        while rounds < 3 or not done.done():
            dead_agent()
            lab.agent.start()
            rounds += 1
        done.result(60)
    closed = one_record_of_each(watch, ends.source, "finished")
    assert closed["bytes_received"] == 256 * MEBIBYTE
    assert len(watch.records(event="close", source=ends.source)) == 1


def served_of(answers):
    return sum(found == "server_hello" for _, found, _ in answers)


def test_new_calls_under_an_agent_that_is_killed_again_and_again_are_served_or_refused(lab, watch, dead_agent):
    """None hangs, none of an unregistered host gets out, and what was served is in the log."""
    stop, answers = threading.Event(), []

    def knock(name):
        while not stop.is_set():
            try:
                with lab.pod("a").connect(web(4), 443) as sock:
                    sock.sendall(hello_of(name))
                    answers.append((name, hello.answer(sock, timeout_s=15), name_of(sock)))
            except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
                answers.append((name, "refused", None))
            time.sleep(0.005)  # a pace, not a wait

    knocking = [
        threading.Thread(target=knock, args=(name,))
        for name in (gate_calls.SEED_HOST, "evil.example")
        for _ in range(3)
    ]
    for thread in knocking:
        thread.start()
    for number in range(5):
        dead_agent()
        lab.agent.start()
        wait_for("calls to be served", lambda n=number: served_of(answers) >= 30 * (n + 1), 15)
    stop.set()
    for thread in knocking:
        thread.join(30)
        assert not thread.is_alive(), "a call hangs"
    assert {found for name, found, _ in answers if name == "evil.example"} <= {
        "alert unrecognized_name",
        "refused",
        "reset",
    }
    assert not watch.seen_outside(b"evil.example") and not watch.leaks()
    gate_calls.nothing_kept(lab)
    opened = {r["source"] for r in watch.records(event="open", datapath="gate")}
    assert {source for _, found, source in answers if found == "server_hello"} <= opened


# The gateway goes, or nobody speaks


def test_when_the_gateway_dies_its_calls_end_at_once(lab, origin, watch):
    calls = [origin.call(kind, version) for kind in ("tls", "opaque") for version in (4, 6)]
    lab.gateway.kill()
    try:
        for ends in calls:
            wait_for("the pod to hear it", lambda e=ends: has_ended(e.client), 2)
            ends.close()
        for ends in calls:
            assert watch.record(event="close", source=ends.source)["datapath"] == "gate"
    finally:
        lab.gateway.start()
    gate_calls.nothing_kept(lab)


def test_a_silent_call_ends_and_one_that_is_used_does_not(lab, origin, watch):
    limits = dict(lab.agent.settings["limits"])
    lab.agent.settings["limits"]["idle_timeout_ms"] = 2000
    lab.agent.restart()
    try:
        with origin.call("tls") as silent, origin.call("tls") as used:
            silent.talk()

            def is_over():
                used.talk()
                return has_ended(silent.client) == "reset"

            wait_for("the silent one to end", is_over, 8, 0.2)
            wait_for("the server to hear it", lambda: has_ended(silent.server), 2)
            assert one_record_of_each(watch, silent.source, "idle")["duration_ms"] >= 2000
            used.talk()
    finally:
        lab.agent.settings["limits"] = limits
        lab.agent.restart()


# Policy


def follow(lab, text):
    """The agent follows the file with this text."""
    generation = lab.agent.status()["policy"]["generation"]
    fresh = lab.resources / "gate.yaml.new"
    fresh.write_text(text)
    fresh.rename(lab.resources / "gate.yaml")
    wait_for("the agent to follow", lambda: lab.agent.status()["policy"]["generation"] > generation)


def without(kind):
    """The services of gate_calls but one."""
    name = "name: origin" if kind == "tls" else "name: opaque"
    return "---".join(part for part in gate_calls.RESOURCES.split("---") if name not in part)


@FAMILIES
@KINDS
def test_calls_of_a_removed_service_are_cut_at_both_ends_and_no_others(lab, origin, watch, version, kind):
    other_kind = "opaque" if kind == "tls" else "tls"
    with origin.call(kind, version) as doomed, origin.call(other_kind, version) as other:
        for ends in (doomed, other):
            ends.talk()
        start = time.monotonic()
        follow(lab, without(kind))
        try:
            wait_for("the pod's reset", lambda: has_ended(doomed.client) == "reset", 5)
            wait_for("the server's reset", lambda: has_ended(doomed.server) == "reset", 5)
            assert time.monotonic() - start < LIVE_WITHIN_S
            closed = one_record_of_each(watch, doomed.source, "policy_changed")
            assert closed["bytes_received"] == 3000
            other.talk()
            assert not watch.records(event="close", source=other.source)
        finally:
            follow(lab, gate_calls.RESOURCES)
    one_record_of_each(watch, other.source, "finished")
    assert len(watch.records(event="close", source=doomed.source)) == 1


def test_a_policy_change_while_the_agent_is_dead_cuts_when_it_is_back(lab, origin, watch, dead_agent):
    with origin.call("tls") as doomed, origin.call("opaque") as other:
        dead_agent()
        (lab.resources / "gate.yaml").write_text(without("tls"))
        try:
            lab.agent.start()
            wait_for("the pod's reset", lambda: has_ended(doomed.client) == "reset", 2)
            wait_for("the server's reset", lambda: has_ended(doomed.server) == "reset", 2)
            one_record_of_each(watch, doomed.source, "policy_changed")
            other.talk()
        finally:
            follow(lab, gate_calls.RESOURCES)


# Many


def test_two_thousand_calls_are_answered_and_nothing_is_kept(lab, watch):
    pod, calls, at_once = lab.pod("a"), 2000, 64

    def call(_):
        with pod.connect(web(4), 443, timeout_s=20) as sock:
            sock.sendall(hello_of())
            return hello.answer(sock, timeout_s=20)

    with concurrent.futures.ThreadPoolExecutor(at_once) as many:
        answers = list(many.map(call, range(calls)))
    assert answers == ["server_hello"] * calls
    gate_calls.nothing_kept(lab)
    opened = [r["id"] for r in watch.records(event="open", datapath="gate")]
    # Calls of before may have ended since.
    closed = [r["id"] for r in watch.records(event="close", datapath="gate") if r["id"] in set(opened)]
    assert len(set(opened)) == len(opened) == calls and sorted(closed) == sorted(opened)


LOSSY = """
table inet lossy {
  chain forward {
    type filter hook forward priority 0;
    numgen random mod 100 < 3 counter drop
  }
}
"""


@pytest.fixture
def lossy(lab):
    """Three of a hundred packets between pods and gateway get lost, in each direction."""
    rules = lab.directory / "lossy.nft"
    rules.write_text(LOSSY)
    lab.on_node("nft", "-f", rules)
    yield
    lab.on_node("nft", "delete", "table", "inet", "lossy")


def lost_packets(lab):
    listed = lab.on_node("nft", "list", "table", "inet", "lossy").stdout
    return int(re.search(r"counter packets (\d+)", listed).group(1))


@FAMILIES
def test_where_packets_get_lost_every_call_is_answered_and_no_byte_is_wrong(lab, origin, lossy, version):
    def call(number):
        data = hello_of(ORIGIN_HOST, pad_bytes=number % 4 * 900)
        with origin.connect("tls", version, timeout_s=30) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return hashlib.sha256(data).hexdigest(), receive_all(client).decode()

    def serve(_):
        with origin.accept("tls", b"", timeout_s=30) as server:
            server.sendall(hashlib.sha256(receive_all(server)).hexdigest().encode())

    calls, at_once = 300, 64
    with concurrent.futures.ThreadPoolExecutor(at_once) as many, concurrent.futures.ThreadPoolExecutor(
        at_once
    ) as all_of:
        served = all_of.map(serve, range(calls))
        answers = list(many.map(call, range(calls)))
        assert len(list(served)) == calls
    assert [sent for sent, _ in answers] == [answer for _, answer in answers]
    assert lost_packets(lab) > 30
    gate_calls.nothing_kept(lab, timeout_s=30)


@FAMILIES
@KINDS
def test_where_packets_get_lost_a_transfer_arrives_whole(origin, watch, lossy, version, kind):
    with origin.call(kind, version) as ends:
        for sock in (ends.client, ends.server):
            sock.settimeout(30)
        gate_calls.exchange(ends.client, ends.server, 4 * MEBIBYTE, f"{version} {kind}")
    closed = watch.record(event="close", source=ends.source, timeout_s=10)
    assert closed["bytes_received"] == 4 * MEBIBYTE and closed["close_reason"] == "finished"


def test_what_ends_in_every_way_leaves_nothing(lab, origin):
    pod, half_open = lab.pod("a"), []
    for _ in range(5):
        for data in (hello_of("evil.example"), b"GET / HTTP/1.1\r\n\r\n", b"\0" * 300):
            with pod.connect(web(4), 443) as sock:
                sock.sendall(data)
                hello.answer(sock)
        pod.connect(web(4), 443).close()
        reset(pod.connect(web(4), 443))
        ends = origin.call("tls")
        ends.client.shutdown(socket.SHUT_WR)
        half_open.append(ends)
    for ends in half_open:
        ends.close()
    gate_calls.nothing_kept(lab)
