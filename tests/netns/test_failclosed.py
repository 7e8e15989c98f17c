"""What happens when something is broken: nothing leaks, nothing is lost from the log, nobody else pays."""
import re
import signal
import socket
import threading
import time

import hello
import pytest
from namespaces import run, wait_for
from outside import DATABASE, EVIL, WEB
from pod import receive_all, receive_exactly

SEED_HOST = "api.external-service.com"


def verify(lab, role="agent"):
    return lab.sluice("audit", "verify", *getattr(lab, role).audit.files())


# The agent goes and comes


def test_without_the_agent_relayed_connections_end_and_gated_ones_go_on(lab, watch):
    pod = lab.pod("a")
    with pod.connect("203.0.113.13", 80) as relayed, pod.connect(DATABASE, 5432) as gated:
        relayed.sendall(b"GET / HTTP/1.1\r\nHost: plain.example\r\n\r\n")
        assert relayed.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        assert receive_exactly(gated, 22)
        lab.agent.kill()
        start = time.monotonic()
        try:
            receive_all(relayed)
        except ConnectionResetError:
            pass
        assert hello.milliseconds_since(start) < 1000
        gated.sendall(b"SEND 1000000\n")
        assert len(receive_exactly(gated, 1000000)) == 1000000
    wait_for("the heart's last beat not to count any more", lambda: pod.refusal(WEB, 443).at_once())
    lab.agent.start()
    assert pod.tls(WEB, SEED_HOST).served_names() == [SEED_HOST]
    assert not watch.leaks()


def test_restarting_leaves_no_moment_in_which_anything_leaks(lab, watch):
    pod, stop = lab.pod("a"), threading.Event()
    attempts = 0

    def knock():
        nonlocal attempts
        while not stop.is_set():
            for address, port in ((EVIL, 9999), (EVIL, 443), (WEB, 80)):
                pod_refusal_quick(pod, address, port)
                attempts += 1

    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        for _ in range(3):
            lab.agent.restart()
            lab.agent.kill()
            lab.agent.start()
    finally:
        stop.set()
        knocking.join()
    assert attempts > 50
    watch.nothing_left()


def pod_refusal_quick(pod, address, port):
    with pod.open_socket() as sock, pod.open_socket(kind=socket.SOCK_DGRAM) as datagrams:
        datagrams.sendto(b"x", (address, port))
        sock.settimeout(0.3)
        try:
            sock.connect((address, port))
        except OSError:
            pass


def test_stop_ends_at_once_and_with_zero(lab):
    start = time.monotonic()
    assert lab.agent.stop() == 0
    assert lab.gateway.stop() == 0
    assert time.monotonic() - start < 8
    lab.start()


@pytest.mark.parametrize("how", ["settings", "bpffs"])
def test_detach_removes_everything_and_may_be_repeated(lab, how):
    assert lab.leftovers(), "while the agent runs there is something to find"
    lab.agent.stop()
    try:
        arguments = ("-c", lab.agent.config) if how == "settings" else ("--bpffs", lab.pins)
        lab.sluice("detach", *arguments, check=True)
        assert lab.leftovers() == {}
        lab.sluice("detach", *arguments, check=True)
        with lab.watch() as watch:
            assert lab.pod("a").tls(EVIL, "evil.example").served_names() == ["evil.example"]
            assert watch.leaks(), "nothing enforces any more"
    finally:
        lab.agent.start()
    with lab.watch() as watch:
        assert lab.pod("a").refusal(EVIL, 9999).at_once()
        watch.nothing_left()


def test_a_second_agent_does_not_start_beside_the_first(lab):
    second = lab.sluice("agent", "-c", lab.agent.config)
    assert second.returncode != 0 and second.stderr, second
    assert lab.pod("a").tls(WEB, SEED_HOST).served_names() == [SEED_HOST]


# The log


@pytest.fixture
def small_disk(lab):
    """The agent's audit log on a file system of its own, which fill() fills and free() frees."""
    directory = lab.directory / "small-disk"
    directory.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=1m", "sluice-lab", directory)
    before, filler = lab.agent.settings["audit"], directory / "filler"

    def fill():
        with open(filler, "wb", buffering=0) as out:
            try:
                while True:
                    out.write(b"\0" * 4096)
            except OSError:
                pass
        # What is left of the log's own last page takes a line or two.

    def use(**audit):
        lab.agent.audit.path = directory / "audit.jsonl"
        lab.agent.settings["audit"] = {"path": str(lab.agent.audit.path), **audit}
        lab.agent.restart()
        return fill, filler.unlink

    original = lab.agent.audit.path
    yield use
    lab.agent.stop()
    lab.agent.audit.path = original
    lab.agent.settings["audit"] = before
    run("umount", directory)
    lab.agent.start()


def test_with_an_unwritable_log_calls_are_denied_and_later_allowed_again(lab, small_disk):
    fill, free = small_disk(on_failure="deny")
    pod = lab.pod("a")
    hello_bytes = hello.records(hello.client_hello([SEED_HOST]))

    def answer():
        with pod.connect(WEB, 443) as sock:
            sock.sendall(hello_bytes)
            return hello.answer(sock)

    assert answer() == "server_hello"
    fill()
    wait_for("the log to be full", lambda: answer() != "server_hello", 10)
    with lab.watch() as watch:
        assert answer() == "alert internal_error"
        assert (
            "audit_unavailable" in pod.http("203.0.113.13", b"GET / HTTP/1.1\r\nHost: plain.example\r\n\r\n").decode()
        )
        watch.nothing_left()
    assert lab.agent.metric("sluice_connections_total", reason="audit_unavailable") >= 2
    status = lab.sluice("status", "--socket", lab.agent.socket)
    assert status.returncode == 1 and "audit" in status.stdout.partition("\n\n")[0], status
    free()
    wait_for("calls to be allowed again", lambda: answer() == "server_hello", 10, 0.05)
    verified = verify(lab)
    assert verified.returncode == 0, verified
    drops = [r for r in lab.agent.audit.records() if r["event"] == "drops"]
    assert drops and sum(r["count"] for r in drops) >= 2, "what was not written is counted"


def test_with_an_unwritable_log_and_on_failure_count_calls_go_on_and_are_counted(lab, small_disk):
    fill, free = small_disk(on_failure="count")
    fill()
    for _ in range(20):
        lab.pod("a").tls(WEB, SEED_HOST).sock.close()
    free()

    def counted():
        lab.pod("a").tls(WEB, SEED_HOST).sock.close()
        return [r for r in lab.agent.audit.records() if r["event"] == "drops"]

    assert sum(r["count"] for r in wait_for("a record of what was dropped", counted, 10, 0.1)) > 0
    assert verify(lab).returncode == 0


def hammer(lab, pod, stop, role):
    """Calls whose first upstream bytes tell the pod's port, as fast as they go."""
    while not stop.is_set():
        for kind in ("tls", "tcp", "http"):
            try:
                address, port = {"tls": (WEB, 443), "tcp": (DATABASE, 5432), "http": ("203.0.113.13", 80)}[kind]
                with pod.connect(address, port, timeout_s=2) as sock:
                    mine = sock.getsockname()[1]
                    if kind == "tls":
                        sock.sendall(hello.records(hello.client_hello([f"token-{mine}.partner.example"])))
                    elif kind == "tcp":
                        sock.sendall(f"ECHO\ntoken-{mine}.".encode())
                    else:
                        sock.sendall(f"GET /token-{mine}. HTTP/1.1\r\nHost: plain.example\r\n\r\n".encode())
                    sock.recv(100)
            except OSError:
                time.sleep(0.002)


@pytest.mark.parametrize("role", ["agent", "gateway"])
def test_killed_at_any_moment_every_connection_that_sent_a_byte_has_its_open_record(lab, role):
    pod, stop = lab.pod("a"), threading.Event()
    daemon = getattr(lab, role)
    with lab.watch() as watch:
        workers = [threading.Thread(target=hammer, args=(lab, pod, stop, role)) for _ in range(4)]
        for worker in workers:
            worker.start()
        try:
            for delay_ms in (120, 45, 210, 77, 160, 30, 250, 95):
                time.sleep(delay_ms / 1000)
                daemon.kill()
                daemon.start()
            time.sleep(0.1)
        finally:
            stop.set()
            for worker in workers:
                worker.join()
        # The agent's upstream is the gateway, the gateway's is the outside.
        packets = watch.at_gateway() if role == "agent" else watch.outside_packets()
        sent = {
            int(token)
            for p in packets
            if p.dport in (15443, 443, 80, 5432)
            for token in re.findall(rb"token-(\d+)\.", p.payload)
        }
        opened = {
            int(r["source"].rsplit(":", 1)[1]) for r in daemon.audit.records() if r["event"] == "open" and "source" in r
        }
        assert len(sent) > 50, "there was something to lose"
        assert sent <= opened, f"sent and not recorded: {sorted(sent - opened)[:10]} of {len(sent)}"
    verified = verify(lab, role)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_torn_last_line_is_closed_by_a_recovered_record(lab):
    lab.pod("a").tls(WEB, SEED_HOST).sock.close()
    lab.agent.kill()
    with open(lab.agent.audit.path, "a") as log:
        log.write('{"v":1,"seq":99999,"time":"2030-01-01T00:00')
    lab.agent.start()
    assert verify(lab).returncode == 0
    # The recovered record holds the digest of what was there; reading goes on.
    with lab.watch() as watch:
        lab.pod("a").tls(WEB, SEED_HOST).sock.close()
        watch.record(event="open", sni=SEED_HOST)


def test_a_changed_a_cut_and_a_missing_line_are_found(lab):
    lab.pod("a").tls(WEB, SEED_HOST).sock.close()
    lines = lab.agent.audit.path.read_text().splitlines(keepends=True)
    middle = len(lines) // 2
    forged = lab.directory / "forged.jsonl"
    for name, text in {
        "as it is": lines,
        "changed": [*lines[:middle], lines[middle].replace('"v":1', '"v": 1'), *lines[middle + 1 :]],
        "missing": lines[:middle] + lines[middle + 1 :],
    }.items():
        forged.write_text("".join(text))
        result = lab.sluice("audit", "verify", forged)
        assert (result.returncode == 0) == (name == "as it is"), f"{name}: {result}"


def closed(lab):
    try:
        return sum(r["event"] == "close" for r in lab.agent.audit.records())
    except FileNotFoundError:
        return None  # rotated while it was read


def test_rotated_files_verify_as_one_chain(lab):
    before = lab.agent.settings["audit"]
    lab.agent.audit.path = lab.agent.directory / "rotating.jsonl"
    lab.agent.settings["audit"] = {
        "path": str(lab.agent.audit.path),
        "rotate_bytes": 8192,
        "keep_files": 50,
        "checkpoint_records": 5,
    }
    lab.agent.restart()
    try:
        for _ in range(30):
            lab.pod("a").tls(WEB, SEED_HOST).sock.close()
        rotated = lab.agent.audit.path.with_name("rotating.jsonl.2")
        wait_for("the log to rotate twice", rotated.exists)
        wait_for("the last record of each call", lambda: closed(lab) == 30)
        lab.agent.send_signal(signal.SIGHUP)
        wait_for("SIGHUP to rotate", lambda: lab.agent.audit.path.stat().st_size < 2000)
        lab.agent.kill()
        lab.agent.start()
        numbers = [r["seq"] for r in lab.agent.audit.records()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "one sequence over all files"
        result = verify(lab)
        assert result.returncode == 0, result
    finally:
        lab.agent.audit.path = lab.agent.directory / "audit.jsonl"
        lab.agent.settings["audit"] = before
        lab.agent.restart()


# A pod that floods


def test_a_flood_of_denied_calls_neither_fills_the_log_nor_costs_others_theirs(lab):
    before = lab.agent.settings["limits"]
    lab.agent.settings["limits"] = {**before, "denials_per_second": 20}
    lab.agent.restart()
    a, b = lab.pod("a"), lab.pod("b")
    stop, attempts = threading.Event(), [0, 0]

    def flood_kernel():
        while not stop.is_set():
            a.refusal(EVIL, 9999)
            attempts[0] += 1

    def flood_relay():
        data = hello.records(hello.client_hello(["evil.example"]))
        while not stop.is_set():
            with a.connect(EVIL, 443) as sock:
                sock.sendall(data)
                hello.answer(sock)
            attempts[1] += 1

    try:
        with lab.watch() as watch:
            start = time.monotonic()
            flooders = [threading.Thread(target=f) for f in (flood_kernel, flood_relay, flood_kernel, flood_relay)]
            for flooder in flooders:
                flooder.start()
            times = []
            for number in range(10):
                begun = time.monotonic()
                b.tls(WEB, SEED_HOST).sock.close()
                times.append(hello.milliseconds_since(begun))
                assert b.refusal(EVIL, 8443).at_once()
                with pytest.raises(Exception, match="UNRECOGNIZED_NAME"):
                    b.tls(EVIL, f"victim-{number}.example")
                time.sleep(0.15)
            stop.set()
            for flooder in flooders:
                flooder.join()
            took = time.monotonic() - start
            assert sorted(times)[len(times) // 2] < 500, times
            for number in range(10):
                watch.record(event="deny", sni=f"victim-{number}.example")
            wait_for(
                "all of b's refusals to be recorded",
                lambda: sum(
                    r.get("count", 1)
                    for r in watch.records(event="deny", reason="port_not_registered", **{"pod.name": "b"})
                )
                == 10,
            )

            def told(reason):
                return sum(r.get("count", 1) for r in watch.records(event="deny", reason=reason, **{"pod.name": "a"}))

            wait_for("every call of the flood to be told", lambda: told("host_not_registered") == attempts[1])
            wait_for("every refusal of the flood to be told", lambda: told("port_not_registered") == attempts[0])
            lines = len(watch.records(event="deny", **{"pod.name": "a"}))
            assert sum(attempts) > 300 and lines <= (took + 3) * (
                2 * 20 + 4
            ), f"{lines} lines for {attempts} calls in {took:.1f} s"
    finally:
        stop.set()
        lab.agent.settings["limits"] = before
        lab.agent.restart()


def test_a_flood_of_packets_by_hand_does_not_hinder_others(lab):
    pod = lab.pod("a")
    code = (
        "import socket,sys,time\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\nend=time.time()+1.5\n"
        f"while time.time()<end:\n  s.sendto(b'x'*200,('{EVIL}',53))\n"
    )
    flooder = pod.start("/usr/bin/python3", "-c", code)
    try:
        with lab.watch() as watch:
            while flooder.poll() is None:
                assert lab.pod("b").tls(WEB, SEED_HOST).served_names() == [SEED_HOST]
                assert lab.pod("b").refusal(EVIL, 9999).at_once()
            assert not watch.leaks()
    finally:
        flooder.kill()
        flooder.communicate()


def test_holding_half_open_calls_does_not_hinder_others(lab):
    held = []
    try:
        for _ in range(300):
            held.append(lab.pod("a").connect(WEB, 443))
        assert lab.pod("b").tls(WEB, SEED_HOST).served_names() == [SEED_HOST]
        assert lab.pod("a").tls(WEB, SEED_HOST).served_names() == [SEED_HOST]
    finally:
        for sock in held:
            sock.close()


def test_the_lab_ends_with_a_log_that_verifies(lab):
    for role in ("agent", "gateway"):
        result = verify(lab, role)
        assert result.returncode == 0, f"{role}: {result}"
    shown = lab.sluice("audit", "tail", "-n", "100000", lab.agent.audit.path)
    assert shown.returncode == 0 and SEED_HOST in shown.stdout, shown
