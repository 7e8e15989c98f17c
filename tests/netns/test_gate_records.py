"""The records of the gate when the agent is killed in the middle of a decision: between what it writes to the log and what
it tells the kernel. strace holds the one thread that writes, at the write."""
import contextlib
import pathlib
import signal
import subprocess
import time

import gate_calls
import hello
import pytest
from gate_calls import has_ended, hello_of, name_of, web
from namespaces import wait_for
from pod import receive_all, receive_exactly, reset

VERSIONS = pytest.mark.parametrize("version", [4, 6])
ALLOWED = 4  # SLUICE_FLOW_ALLOWED
HELD_US = 20_000_000  # longer than any of it takes: who is held here is killed


@pytest.fixture(scope="module")
def lab(bare_lab):
    lab = gate_calls.prepare(bare_lab)
    lab.agent.settings["limits"].update(first_bytes_timeout_ms=8000, connect_timeout_ms=20000)
    lab.gateway.settings["limits"].update(first_bytes_timeout_ms=20000)  # a start of the agent is in it
    return lab.start()


@pytest.fixture
def killed_at_the_log(lab):
    """Holds the agent's next write to its log, before it or after it; leaving kills the agent and starts it again."""

    @contextlib.contextmanager
    def held(moment):
        argv = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-P",
            str(lab.agent.audit.path),
            "-e",
            "trace=write",
        ]
        argv += [
            "-e",
            f"inject=write:delay_{moment}={HELD_US}",
            "-p",
            str(lab.agent.pid),
        ]
        tracer = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        try:
            wait_for("strace to hold the agent", lambda: is_traced(lab.agent.pid), 10, 0.02)
            yield
        finally:
            lab.agent.send_signal(signal.SIGKILL)
            tracer.kill()  # who is traced ends when the tracer lets go
            tracer.wait(10)
            lab.agent.kill()
        lab.agent.start()

    yield held
    if not lab.agent.running():
        lab.agent.start()


def is_traced(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)


def is_held(pid):
    """strace stops every call for a moment, and the one at the log for good."""

    def stopped():
        tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
        return {task.name for task in tasks if "State:\tt" in (task / "status").read_text()}

    held = stopped()
    for _ in range(20):
        time.sleep(0.01)
        held &= stopped()
    return bool(held)


def states(lab):
    return [entry["formatted"]["value"]["state"] & 0xFF for entry in gate_calls.entries(lab, "flows")]


def one_of_each(watch, source):
    """The close record of a call that has one open record, and no other than these two."""
    closed = watch.record(event="close", source=source)
    assert [r["event"] for r in watch.records(source=source)] == ["open", "close"]
    assert watch.records(event="open", source=source)[0]["id"] == closed["id"]
    return closed


@VERSIONS
def test_killed_between_the_open_record_and_the_verdict(lab, watch, killed_at_the_log, version):
    with lab.pod("a").connect(web(version), 443) as sock:
        source = name_of(sock)
        with killed_at_the_log("exit"):
            sock.sendall(hello_of())
            watch.record(event="open", source=source)
            watch.nothing_left()
        assert hello.answer(sock) == "server_hello"
    assert one_of_each(watch, source)["close_reason"] in ("finished", "client_reset")
    gate_calls.nothing_kept(lab)
    assert lab.agent.status()["connections"]["open"] == 0


@VERSIONS
def test_killed_between_the_open_record_and_the_verdict_of_a_call_that_leaves(lab, watch, killed_at_the_log, version):
    with lab.pod("a").connect(web(version), 443) as sock:
        source = name_of(sock)
        with killed_at_the_log("exit"):
            sock.sendall(hello_of())
            watch.record(event="open", source=source)
            reset(sock)
    assert one_of_each(watch, source)["close_reason"] == "client_reset"
    watch.nothing_left()
    gate_calls.nothing_kept(lab)


NO_HEADER_PASSES = """
table inet no_header {
  chain forward {
    type filter hook forward priority 0;
    ip saddr 10.1.0.10 meta length > 100 drop
    ip6 saddr fd00:1::10 meta length > 120 drop
  }
}
"""


@pytest.fixture
def no_header(lab):
    """What pod a, or the agent for it, says to the gateway gets lost, but for handshakes and acknowledgements."""
    rules = lab.directory / "no_header.nft"
    rules.write_text(NO_HEADER_PASSES)
    lab.on_node("nft", "-f", rules)
    with contextlib.ExitStack() as stack:
        stack.callback(lab.on_node, "nft", "delete", "table", "inet", "no_header")
        yield stack.close


@VERSIONS
def test_killed_before_the_gateway_has_the_header_of_a_server_that_speaks_first(lab, origin, watch, no_header, version):
    client = origin.connect("opaque", version)
    watch.record(event="open", source=name_of(client))
    wait_for("the verdict", lambda: states(lab) == [ALLOWED])
    lab.agent.kill()
    no_header()
    lab.agent.start()
    with gate_calls.Ends(client, origin.accept("opaque", b"")) as ends:
        ends.server.sendall(b"220 ready")
        assert receive_exactly(client, 9) == b"220 ready"
        ends.talk()
    assert one_of_each(watch, ends.source)["close_reason"] == "finished"
    gate_calls.nothing_kept(lab)


@VERSIONS
def test_of_a_call_that_ends_before_the_gateway_has_its_header_nothing_is_kept(lab, origin, watch, no_header, version):
    client = origin.connect("opaque", version)
    source = name_of(client)
    watch.record(event="open", source=source)
    wait_for("the verdict", lambda: states(lab) == [ALLOWED])
    reset(client)
    assert one_of_each(watch, source)["close_reason"] == "client_reset"
    no_header()
    gate_calls.nothing_kept(lab)


@VERSIONS
def test_killed_before_the_open_record(lab, watch, killed_at_the_log, version):
    with lab.pod("a").connect(web(version), 443) as sock:
        source = name_of(sock)
        with killed_at_the_log("enter"):
            sock.sendall(hello_of())
            wait_for("the agent to be held", lambda: is_held(lab.agent.pid))
            assert not watch.records(source=source)
            assert not gate_calls.entries(lab, "promises")
            watch.nothing_left()
        assert hello.answer(sock) == "server_hello"
    one_of_each(watch, source)
    gate_calls.nothing_kept(lab)


@VERSIONS
@pytest.mark.parametrize("moment", ["enter", "exit"])
def test_killed_about_the_close_record(lab, origin, watch, killed_at_the_log, version, moment):
    ends = origin.call("tls", version)
    watch.record(event="open", source=ends.source)
    with killed_at_the_log(moment):
        ends.client.close()
        assert receive_all(ends.server) == b""
        ends.server.close()
        if moment == "exit":
            watch.record(event="close", source=ends.source)
        else:
            wait_for("the end", lambda: states(lab) == [7])
    assert one_of_each(watch, ends.source)["close_reason"] == "finished"
    gate_calls.nothing_kept(lab)
    one_of_each(watch, ends.source)
    assert lab.agent.status()["connections"]["open"] == 0


@VERSIONS
@pytest.mark.parametrize("moment", ["enter", "exit"])
def test_killed_about_the_record_of_a_denial(lab, watch, killed_at_the_log, version, moment):
    with lab.pod("a").connect(web(version), 443) as sock:
        source = name_of(sock)
        with killed_at_the_log(moment):
            sock.sendall(hello_of("evil.example"))
            wait_for("the verdict", lambda: states(lab) == [6])
            if moment == "exit":
                watch.record(event="deny", source=source)
            else:
                assert not watch.records(source=source)
        denied = watch.record(event="deny", source=source)
        # Names are kept of allowed calls alone.
        assert denied["reason"] == "host_not_registered" and denied.get("sni") in (None, "evil.example")
        wait_for("the pod to hear it", lambda: has_ended(sock), 8)
    gate_calls.nothing_kept(lab)
    assert len(watch.records(source=source)) == 1
    watch.nothing_left()


@VERSIONS
@pytest.mark.parametrize("moment", ["enter", "exit"])
def test_killed_about_the_record_of_a_call_that_ends_unjudged(lab, watch, killed_at_the_log, version, moment):
    sock = lab.pod("a").connect(web(version), 443)
    source = name_of(sock)
    with killed_at_the_log(moment):
        reset(sock)
        wait_for("the end", lambda: states(lab) == [7])
        if moment == "exit":
            watch.record(event="deny", source=source)
    assert watch.record(event="deny", source=source)["reason"] == "hello_malformed"
    gate_calls.nothing_kept(lab)
    assert len(watch.records(source=source)) == 1


def test_what_a_removed_pod_had_open_ends(lab, origin, watch):
    lab.add_pod("c", "my-namespace", 13)
    lab.agent.settings["identity"]["pods"].append(lab._identity(lab.pod("c")))
    lab.agent.restart()
    ends = origin.call("tls", pod="c")
    ends.talk()
    lab.remove_pod("c")
    closed = watch.record(event="close", source=ends.source)
    assert closed["pod"]["name"] == "c" and closed["close_reason"] == "pod_gone" and closed["bytes_received"] == 3000
    gate_calls.nothing_kept(lab)
    ends.close()
