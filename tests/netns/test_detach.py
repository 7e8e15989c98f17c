"""`sluice flows` without an agent, and `sluice detach`: live connections are cut or end by themselves, and nothing is left."""
import concurrent.futures
import itertools
import json
import os
import select
import signal

import gate_calls
import pytest
from gate_calls import Origin, has_ended, name_of, web
from namespaces import run, wait_for
from outside import EVIL, EVIL6
from pod import receive_all

VERSIONS = pytest.mark.parametrize("version", [4, 6])
TRANSFER = 32 << 20
_numbers = itertools.count()


@pytest.fixture(scope="module")
def prepared(bare_lab):
    return gate_calls.prepare(bare_lab)


@pytest.fixture
def lab(prepared):
    """With agent and gateway at work, whatever the test before did."""
    for daemon in (prepared.gateway, prepared.agent):
        if not daemon.running():
            daemon.start()
    return prepared


@pytest.fixture(scope="module")
def origin(prepared):
    origin = Origin(prepared)
    yield origin
    origin.close()


def flows(lab, *arguments):
    done = lab.sluice("flows", "-o", "json", *arguments, check=True)
    shown = json.loads(done.stdout)
    for flow in shown:
        del flow["age_s"]
    return sorted(shown, key=lambda flow: flow["source"]), done.stderr


def change_abi_version(lab, version):
    configs = ("pinned", lab.pins / "maps" / "configs")
    size = json.loads(run("bpftool", "-j", "map", "show", *configs).stdout)["bytes_value"]
    run(
        *("bpftool", "map", "update", *configs, "key", "hex", "00", "00", "00", "00", "value", "hex"),
        *(f"{byte:02x}" for byte in version.to_bytes(4, "little") + bytes(size - 4)),
    )


def detach(lab, *arguments):
    return lab.sluice("detach", "-c", lab.agent.config, *arguments, check=True)


class Detaching:
    """`sluice detach --wait` at work, which has begun when there is one."""

    def __init__(self, lab, seconds, left):
        argv = [lab.binary, "detach", "-c", lab.agent.config, "--wait", seconds]
        name = f"detach-{next(_numbers)}"
        self._child = lab.spawn("node", name, [str(word) for word in argv])
        self.wait_left(left)

    def wait_left(self, count):
        line = f"{count} open connections are left"
        wait_for(line, lambda: line in self._child.log.read_text())

    def wait(self):
        assert self._child.process.wait(30) == 0, self._child.log.read_text()
        return self._child.log.read_text()

    def interrupt(self):
        self._child.stop()


def passes_directly(lab, version):
    with lab.watch() as watch:
        address = EVIL if version == 4 else EVIL6
        served = lab.pod("a").tls(address, "evil.example").served_names()
        assert served == ["evil.example"]
        return watch.leaks()


def test_flows_without_the_agent_are_those_with_it(lab, origin):
    with origin.call("tls", 4) as first, origin.call("opaque", 6) as second:
        for ends in (first, second):
            ends.talk()
        before, words = flows(lab, "-c", lab.agent.config)
        assert {flow["source"] for flow in before} == {first.source, second.source}
        assert words == ""
        lab.agent.kill()
        after, words = flows(lab, "-c", lab.agent.config)
        assert after == before
        assert "the agent is not running" in words and words.count("\n") == 1
        nobody = ("--socket", lab.agent.socket, "--bpffs", lab.pins)
        assert flows(lab, *nobody)[0] == [{**flow, "pod": ""} for flow in before]
        text = lab.sluice("flows", "-c", lab.agent.config, check=True).stdout
        assert first.source in text and "my-namespace/a" in text


def test_flows_without_agent_and_pins_says_where_it_looked(lab):
    shown = lab.sluice("flows", "--socket", "/nobody.sock", "--bpffs", "/nowhere")
    assert shown.returncode == 1 and "/nobody.sock" in shown.stderr


def test_flows_of_another_abi_are_refused_and_detach_removes_them_untold(lab, origin):
    with origin.call() as ends:
        lab.agent.kill()
        change_abi_version(lab, 4711)
        shown = lab.sluice("flows", "-c", lab.agent.config)
        assert shown.returncode == 1 and "ABI version 4711" in shown.stderr
        done = detach(lab)
        assert "open connections are not told" in done.stderr
        assert "ABI version 4711" in done.stderr
        assert lab.leftovers() == {}
        assert has_ended(ends.client) == ""


@pytest.mark.parametrize("how", ["settings", "bpffs", "wait"])
def test_detach_is_refused_while_the_agent_runs(lab, origin, watch, how):
    arguments = {
        "settings": ("-c", lab.agent.config),
        "bpffs": ("--bpffs", lab.pins),
        "wait": ("-c", lab.agent.config, "--wait", "5"),
    }[how]
    with origin.call() as ends:
        done = lab.sluice("detach", *arguments)
        assert done.returncode == 1
        assert "running agent: stop that one first" in done.stderr
        ends.talk()
        assert lab.pod("a").refusal(EVIL, 9999).at_once()
    assert not watch.leaks()


@VERSIONS
@pytest.mark.parametrize("kind", ["tls", "opaque"])
def test_detach_cuts_both_ends_at_once_and_leaves_nothing(lab, origin, watch, version, kind):
    with origin.call(kind, version) as ends:
        ends.talk()
        lab.agent.kill()
        assert "1 open connections were cut" in detach(lab).stdout
        assert lab.leftovers() == {}
        wait_for("the pod to hear it", lambda: has_ended(ends.client) == "reset")
        wait_for("the origin to hear it", lambda: has_ended(ends.server) == "reset")
        assert not watch.leaks(), "nothing of it goes to the outside untranslated"
    opened, closed = watch.records(source=ends.source)
    assert (opened["event"], closed["event"]) == ("open", "close")
    assert opened["id"] == closed["id"] and closed["close_reason"] == "detached"
    assert closed["pod"] == opened["pod"]
    assert (closed["bytes_sent"], closed["bytes_received"]) == (
        3000 + len(origin.first_bytes(kind)),
        3000,
    )
    lab.agent.start()
    assert len(watch.records(source=ends.source)) == 2


def test_detach_without_settings_says_how_many_ends_are_not_recorded(lab, origin, watch):
    with origin.call() as open_call, origin.call() as over:
        lab.agent.kill()
        over.client.close()
        assert receive_all(over.server) == b""
        over.server.close()
        done = lab.sluice("detach", "--bpffs", lab.pins, check=True)
        assert "1 open connections were cut" in done.stdout
        assert "2 connections have ended without a record" in done.stdout
        wait_for("the pod to hear it", lambda: has_ended(open_call.client) == "reset")
    assert lab.leftovers() == {}
    for ends in (open_call, over):
        assert [r["event"] for r in watch.records(source=ends.source)] == ["open"]


def test_detach_records_what_ended_while_no_agent_was_there(lab, origin, watch):
    ends = origin.call()
    lab.agent.kill()
    ends.client.close()
    assert receive_all(ends.server) == b""
    ends.server.close()
    detach(lab)
    closed = watch.records(source=ends.source)[1:]
    assert [r["close_reason"] for r in closed] == ["finished"]


@VERSIONS
def test_waiting_lets_a_transfer_end_while_new_calls_pass_and_undecided_ones_are_cut(lab, origin, watch, version):
    undecided = lab.pod("a").connect(web(version), 443)
    undecided_source = name_of(undecided)
    with undecided, origin.call("tls", version) as ends:
        ends.talk()
        lab.agent.kill()
        detaching = Detaching(lab, 60, left=1)
        wait_for("the undecided one to end", lambda: has_ended(undecided) == "reset")
        assert passes_directly(lab, version)
        with lab.watch() as quiet:
            with concurrent.futures.ThreadPoolExecutor(1) as transfer:
                transfer.submit(gate_calls.exchange, ends.client, ends.server, TRANSFER, version).result(60)
            assert not quiet.leaks(), "it goes by the gateway to its end"
        words = detaching.wait()
    assert "were cut" not in words and "without a record" not in words
    assert lab.leftovers() == {}
    (denied,) = watch.records(source=undecided_source)
    assert (denied["event"], denied["reason"]) == ("deny", "policy_not_ready")
    opened, closed = watch.records(source=ends.source)
    assert (opened["event"], closed["close_reason"]) == ("open", "finished")
    assert closed["bytes_received"] == TRANSFER + 3000


def test_a_detach_that_was_killed_after_its_record_is_followed_by_one_that_writes_no_other(lab, origin, watch):
    with origin.call() as ends:
        lab.agent.kill()
        # The log's first line is a checkpoint; what the second write tells of is not told to the kernel any more.
        argv = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", lab.agent.audit.path]
        argv += ["-e", "trace=write", "-e", "inject=write:delay_exit=20000000:when=2"]
        argv += [lab.binary, "detach", "-c", lab.agent.config]
        held = lab.spawn("node", f"detach-{next(_numbers)}", argv)
        watch.record(event="close", source=ends.source)
        detaching = os.pidfd_open(int(run("pgrep", "-P", held.pid).stdout))
        signal.pidfd_send_signal(detaching, signal.SIGKILL)
        held.process.kill()  # who is traced ends when the tracer lets go
        assert select.select([detaching], [], [], 10)[0]
        os.close(detaching)
        assert len(gate_calls.entries(lab, "flows")) == 1
        detach(lab)
    assert lab.leftovers() == {}
    assert [r["event"] for r in watch.records(source=ends.source)] == ["open", "close"]


def test_waiting_cuts_what_is_left_after_the_time(lab, origin, watch):
    with origin.call() as ends, origin.call() as other:
        lab.agent.kill()
        detaching = Detaching(lab, 4, left=2)
        other.close()
        detaching.wait_left(1)
        ends.talk()
        assert "1 open connections were cut" in detaching.wait()
        wait_for("the pod to hear it", lambda: has_ended(ends.client) == "reset")
        wait_for("the origin to hear it", lambda: has_ended(ends.server) == "reset")
    assert lab.leftovers() == {}
    assert watch.records(source=ends.source)[1]["close_reason"] == "detached"
    assert watch.records(source=other.source)[1]["close_reason"] == "finished"


def test_who_was_interrupted_while_waiting_is_followed_by_an_agent(lab, origin, watch):
    with origin.call() as ends:
        lab.agent.kill()
        detaching = Detaching(lab, 60, left=1)
        assert passes_directly(lab, 4)
        detaching.interrupt()
        ends.talk()
        lab.agent.start()
        assert lab.pod("a").refusal(EVIL, 9999).at_once()
        ends.talk()
    closed = watch.record(event="close", source=ends.source)
    assert closed["close_reason"] == "finished"
