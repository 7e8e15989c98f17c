"""Policy while calls go on: an edited file is live within a second, a bad object costs nothing but itself."""
import os
import threading
import time

import hello
import pytest
from namespaces import wait_for
from outside import DATABASE, EVIL, WEB
from pod import receive_all, receive_exactly

SEED_HOST = "api.external-service.com"
LIVE_WITHIN_S = 1.0


def service_entry(name, host, port=443, protocol="TLS", extra=""):
    return f"""apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: {name}
  namespace: my-namespace
spec:
  hosts: ["{host}"]
  location: MESH_EXTERNAL
  ports:
  - number: {port}
    name: first
    protocol: {protocol}
  resolution: DNS
{extra}"""


def answer(lab, name, address=EVIL, port=443):
    with lab.pod("a").connect(address, port) as sock:
        sock.sendall(hello.records(hello.client_hello([name])))
        return hello.answer(sock)


def allowed_soon(lab, name, port=443):
    wait_for(f"{name} to be allowed", lambda: answer(lab, name, port=port) == "server_hello", LIVE_WITHIN_S, 0.02)


def denied_soon(lab, name):
    wait_for(f"{name} to be denied", lambda: answer(lab, name) == "alert unrecognized_name", LIVE_WITHIN_S, 0.02)


@pytest.fixture
def evil_file(lab):
    """A resource file of the test's own; gone afterwards."""
    path = lab.resources / "zz-evil.yaml"
    yield path
    path.unlink(missing_ok=True)
    denied_soon(lab, "evil.example")


def test_a_new_file_and_its_removal_are_live_within_a_second(lab, evil_file):
    assert answer(lab, "evil.example") == "alert unrecognized_name"
    evil_file.write_text(service_entry("evil", "evil.example"))
    allowed_soon(lab, "evil.example")
    evil_file.unlink()
    denied_soon(lab, "evil.example")


def test_a_file_edited_in_place_and_one_renamed_over_are_live_within_a_second(lab, evil_file):
    evil_file.write_text(service_entry("evil", "other.example"))
    assert answer(lab, "evil.example") == "alert unrecognized_name"
    evil_file.write_text(service_entry("evil", "evil.example"))
    allowed_soon(lab, "evil.example")
    new = lab.directory / "new.yaml"
    new.write_text(service_entry("evil", "other.example"))
    new.rename(evil_file)
    denied_soon(lab, "evil.example")


def test_a_directory_swapped_by_symlink_as_configmaps_are_is_live_within_a_second(lab):
    root = lab.directory / "configmap"
    for generation, host in (("..first", "other.example"), ("..second", "evil.example")):
        (root / generation).mkdir(parents=True)
        (root / generation / "entry.yaml").write_text(service_entry("mapped", host))
    os.symlink("..first", root / "..data")
    os.symlink("..data/entry.yaml", root / "entry.yaml")
    before = {d: d.settings["resources"] for d in (lab.gateway, lab.agent)}
    for daemon in before:
        daemon.settings["resources"] = {"files": [str(lab.resources), str(root)]}
        daemon.restart()
    try:
        assert answer(lab, "evil.example") == "alert unrecognized_name"
        os.symlink("..second", root / "..new")
        os.rename(root / "..new", root / "..data")
        allowed_soon(lab, "evil.example")
    finally:
        for daemon, resources in before.items():
            daemon.settings["resources"] = resources
            daemon.restart()


def test_a_new_port_reaches_the_kernel_and_leaves_it_again(lab, evil_file):
    pod = lab.pod("a")
    assert pod.refusal(EVIL, 9999).at_once()
    evil_file.write_text(service_entry("evil-port", "evil.example", 9999, "TCP", "  addresses: [203.0.113.20]\n"))
    wait_for("the port to be served", lambda: pod.hears_an_echo(EVIL, 9999), LIVE_WITHIN_S, 0.02)
    evil_file.unlink()
    wait_for("the port to be refused", lambda: pod.refusal(EVIL, 9999).at_once(), LIVE_WITHIN_S, 0.02)


def test_a_removed_service_closes_what_it_had_allowed_and_nothing_else(lab, evil_file, watch):
    evil_file.write_text(service_entry("evil", "evil.example"))
    allowed_soon(lab, "evil.example")
    doomed = lab.pod("a").tls(EVIL, "evil.example")
    source = doomed.sock.getsockname()
    with lab.pod("a").connect(DATABASE, 5432) as unrelated:
        assert receive_exactly(unrelated, 22)
        evil_file.unlink()
        start = time.monotonic()
        try:
            doomed.sock.settimeout(5)
            receive_all(doomed.sock)
        except ConnectionResetError:
            pass
        assert time.monotonic() - start < LIVE_WITHIN_S + 0.5
        # Agent and gateway read the same files; who is first says why, the other one sees a reset.
        closed = watch.record(event="close", source=f"{source[0]}:{source[1]}")
        told = {closed["close_reason"], watch.record("gateway", event="close", id=closed["id"])["close_reason"]}
        assert "policy_changed" in told and told <= {"policy_changed", "client_reset", "upstream_reset"}
        unrelated.sendall(b"COUNT\n")
        unrelated.shutdown(1)
        assert receive_all(unrelated).startswith(b"BYE 0 ")


@pytest.fixture
def audited(lab):
    """Pod b, of a namespace in mode audit; calls leave the node directly, so that no gateway has a say."""
    before = lab.agent.settings["egress"]
    lab.agent.settings["egress"] = {**before, "audit_namespaces": ["other"], "unrouted": "direct"}
    lab.agent.restart()
    yield lab.pod("b")
    lab.agent.settings["egress"] = before
    lab.agent.restart()


def test_in_mode_audit_a_removed_service_closes_nothing(lab, evil_file, audited, watch):
    evil_file.write_text(service_entry("evil", "evil.example"))
    allowed_soon(lab, "evil.example")
    kept, doomed = (pod.tls(EVIL, "evil.example") for pod in (audited, lab.pod("a")))
    opened = watch.record(event="open", pod__name="b", verdict="allow")
    evil_file.unlink()
    try:
        doomed.sock.settimeout(5)
        assert receive_all(doomed.sock) == b""
    except ConnectionResetError:
        pass
    assert watch.record(event="close", pod__name="a", close_reason="policy_changed")
    assert b"served evil.example at " in kept.get("evil.example")
    kept.sock.close()
    assert audited.tls(EVIL, "evil.example").served_names() == ["evil.example"]
    watch.record(event="open", verdict="would_deny", reason="host_not_registered", pod__name="b")
    closed = watch.record(event="close", id=opened["id"])
    assert closed["close_reason"] == "finished" and closed["verdict"] == "allow", closed


def test_changes_drop_no_call_of_others(lab, evil_file):
    failures, calls, stop = [], [0], threading.Event()

    def call():
        while not stop.is_set():
            try:
                found = answer(lab, SEED_HOST, WEB)
                if found != "server_hello":
                    failures.append(found)
            except OSError as error:
                failures.append(repr(error))
            calls[0] += 1

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        for number in range(10):
            evil_file.write_text(service_entry("evil", "evil.example" if number % 2 else "other.example", 443 + number))
            time.sleep(0.1)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert calls[0] > 50 and not failures, f"{len(failures)} of {calls[0]}: {failures[:5]}"


def problems(daemon):
    """Errors alone: the seed as printed has its warnings."""
    return [p for p in daemon.status()["policy"]["problems"] if p["severity"] == "error"]


@pytest.mark.parametrize(
    "bad,line",
    [
        (service_entry("evil", "evil.example").replace("number: 443", "number: 70000"), 10),
        (service_entry("evil", "evil.example").replace("resolution: DNS", "resolution: MAYBE"), 13),
        (service_entry("evil", "evil.example").replace('hosts: ["evil.example"]', 'hosts: ["evil..example"]'), 7),
    ],
    ids=["port", "resolution", "host"],
)
def test_a_bad_object_keeps_its_last_good_version_and_is_reported(lab, evil_file, bad, line):
    assert problems(lab.agent) == []
    evil_file.write_text(service_entry("evil", "evil.example"))
    allowed_soon(lab, "evil.example")
    evil_file.write_text(bad)
    found = wait_for("the problem to be reported", lambda: problems(lab.agent), LIVE_WITHIN_S, 0.02)
    text = str(found)
    assert "zz-evil.yaml" in text and str(line) in text, text
    assert answer(lab, "evil.example") == "server_hello", "the last good version stays"
    shown = lab.sluice("status", "--socket", lab.agent.socket)
    assert shown.returncode == 1 and f"zz-evil.yaml:{line}" in shown.stdout, shown
    assert "zz-evil.yaml" in shown.stdout.partition("\n\n")[0], "what is wrong comes first"
    evil_file.write_text(service_entry("evil", "evil.example"))
    wait_for("the problem to be gone", lambda: not problems(lab.agent), LIVE_WITHIN_S, 0.02)
    shown = lab.sluice("status", "--socket", lab.agent.socket)
    assert shown.returncode == 0, shown


def test_a_bad_object_does_not_take_its_neighbours_in_the_file_along(lab, evil_file):
    good = service_entry("neighbour", "evil.example")
    bad = service_entry("broken", "broken.example").replace("protocol: TLS", "protocol: SMOKE")
    evil_file.write_text(f"{bad}---\n{good}")
    allowed_soon(lab, "evil.example")
    assert "broken" in str(problems(lab.agent))


def test_text_that_is_no_yaml_keeps_the_files_last_good_objects(lab, evil_file):
    evil_file.write_text(service_entry("evil", "evil.example"))
    allowed_soon(lab, "evil.example")
    evil_file.write_text("apiVersion: [unfinished\n\tkind: {")
    wait_for("the problem to be reported", lambda: "zz-evil.yaml" in str(problems(lab.agent)), LIVE_WITHIN_S, 0.02)
    assert answer(lab, "evil.example") == "server_hello"
    assert answer(lab, SEED_HOST, WEB) == "server_hello"


def test_an_agent_that_starts_with_a_bad_object_serves_the_good_ones_and_says_so(lab, evil_file):
    evil_file.write_text(service_entry("evil", "evil.example").replace("number: 443", "number: 0"))
    lab.agent.restart()
    assert answer(lab, SEED_HOST, WEB) == "server_hello"
    assert answer(lab, "evil.example") == "alert unrecognized_name"
    assert "zz-evil.yaml" in str(problems(lab.agent))
    evil_file.unlink()
    wait_for("the problem to be gone", lambda: not problems(lab.agent), LIVE_WITHIN_S, 0.02)


def test_the_generation_counts_snapshots(lab, evil_file):
    before = lab.agent.status()["policy"]["generation"]
    evil_file.write_text(service_entry("evil", "evil.example"))
    wait_for("a new generation", lambda: lab.agent.status()["policy"]["generation"] > before, LIVE_WITHIN_S, 0.02)
