"""Row "restarts": the agent is killed with SIGKILL and started again every second, under live transfers and new calls, of a
registered host and of an unregistered one, over IPv4 and IPv6. What is open completes with the right SHA-256, new calls
complete or are refused, nothing leaves that was not decided, and each connection has its records."""
import argparse
import json
import pathlib
import re
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import hello  # noqa: E402  (found by the path above, like the following)
import programs  # noqa: E402
import ways  # noqa: E402
from namespaces import run, wait_for  # noqa: E402
from report import Report  # noqa: E402

MOST_BYTES = 8 << 20
MAX_OPEN = 4000
PATIENCE_S = 60
REFUSED = ("connect_failed", "send_failed", "reset", "denied")
LIMITS = {"first_bytes_timeout_ms": 10000, "connect_timeout_ms": 20000}


def parse_options():
    parser = argparse.ArgumentParser(prog="restarts", description=__doc__)
    parser.add_argument("--transfers", type=int, default=1000, help="(default %(default)s)")
    parser.add_argument("--rate", type=int, default=200, help="new calls a second (default %(default)s)")
    parser.add_argument("--seconds", type=int, default=60, help="(default %(default)s)")
    parser.add_argument("--every", type=float, default=1, help="seconds from kill to kill (default %(default)s)")
    return parser.parse_args()


class Payload:
    """What arrives of a pod's payload at an interface of the lab, by tcpdump."""

    def __init__(self, lab, where, interface, pod):
        self._path = lab.directory / f"payload-{where}.pcap"
        four = f"src host {pod.ip4} and tcp and ip[2:2] - ((ip[0] & 15) << 2) - ((tcp[12] & 240) >> 2) != 0"
        six = f"ip6 src host {pod.ip6} and ip6 proto 6 and ip6[4:2] - ((ip6[52] & 240) >> 2) != 0"
        argv = ["tcpdump", "-U", "-n", "-i", interface, "-Z", "root", "-w", self._path, f"({four}) or ({six})"]
        self._child = lab.spawn(where, f"payload-{where}", argv)
        wait_for("tcpdump", lambda: "listening" in self._child.log.read_text())

    def seen_from(self, port):
        """Whether a segment of the source port is there."""
        return any(f".{port} >" in line for line in self.lines())

    def lines(self):
        return run("tcpdump", "-n", "-r", self._path, check=False).stdout.splitlines()

    def stop(self):
        """How many packets were missed."""
        self._child.stop()
        return int(re.search(r"(\d+) packets? dropped by kernel", self._child.log.read_text()).group(1))


def kill_again_and_again(lab, options):
    """How often, and how long it took to be ready again."""
    times, until = [], time.monotonic() + options.seconds
    while time.monotonic() < until:
        begun = time.monotonic()
        lab.agent.kill()
        lab.agent.start()
        times.append(time.monotonic() - begun)
        time.sleep(max(0, options.every - times[-1]))
    return times


def start_calls(way, program, pod, name, options, rate):
    """New ones at an even rate, one caller of each family."""
    words = ("-r", rate / len(ways.TARGETS), "-c", MAX_OPEN, "-s", options.seconds, "-p", PATIENCE_S)
    return [
        programs.Call(pod.command(program, "short", target, ways.OTHER_PORT, way.hello(name), *words))
        for target in ways.TARGETS.values()
    ]


def finish_calls(calls, options):
    told = [call.finish(options.seconds + PATIENCE_S + 10) for call in calls]
    return {name: sum(one[name] for one in told) for name in ("begun", "finished", *programs.OUTCOMES)}


def claim_calls(report, told, unregistered):
    wrong = {n: c for n, c in programs.failures(told).items() if n not in REFUSED}
    report.claim("every new call completed or was refused", told["finished"] and not wrong, wrong or told["finished"])
    wrong = {n: c for n, c in programs.failures(unregistered).items() if n not in REFUSED}
    none = not unregistered["finished"] and not wrong
    report.claim("every call of the unregistered host was refused", none, wrong or unregistered["begun"])


def claim_nothing_left_undecided(report, way, pod, captures):
    """All calls of the pod are of the unregistered host, but for a last one that shows that captures see."""
    with pod.connect(ways.TARGETS[4], ways.OTHER_PORT) as sock:
        sock.sendall(way.hello().read_bytes())
        answer, port = hello.answer(sock), sock.getsockname()[1]
    wait_for("the capture to see it", lambda: captures["gateway"].seen_from(port))
    missed = sum(capture.stop() for capture in captures.values())
    found = {where: [x for x in c.lines() if f".{port} >" not in x] for where, c in captures.items()}
    found = {where: lines[:3] for where, lines in found.items() if lines}
    text = "no payload of the unregistered host's calls came to the gateway or outside"
    report.claim(text, answer == "server_hello" and not found and not missed, found or f"{missed} missed")


def open_times(daemon):
    """{id: text that sorts by time} of its open records."""
    found = {}
    for path in daemon.audit.files():
        for line in path.read_text(errors="replace").splitlines():
            if '"event":"open"' in line and line.endswith("}"):
                record = json.loads(line)
                found[record["id"]] = record["time"]
    return found


def claim_records(report, way, served):
    for role in way.roles:
        ids, words = ways.read_ids(getattr(way.lab, role))
        ways.claim_one_of_each(report, role, ids)
        report.figures(f"denials that the {role} recorded", **words["reason"])
        report.figures(f"ends that the {role} recorded", **words["close_reason"])
    decided, opened = open_times(way.lab.agent), open_times(way.lab.gateway)
    early = [i for i, at in opened.items() if i not in decided or decided[i] > at]
    report.claim("the gateway opened what the agent had decided and recorded", opened and not early, len(early))
    report.claim("what the origin answered is in the agent's log", len(decided) >= served, f"{len(decided):,}")


def main():
    options = parse_options()
    report = Report("restarts", options)
    transfer, load = programs.build("transfer"), programs.build("load")
    with ways.Way(ways.WHOLE, LIMITS) as way:
        lab = way.lab
        stranger = lab.add_pod("stranger", "my-namespace", 12)
        lab.agent.settings["identity"]["pods"].append(lab._identity(stranger))
        way.start()
        last_s = options.seconds + 5
        patience = ("-p", last_s + PATIENCE_S)  # a transfer may rest for as long as it lasts
        origins = [way.origin(transfer, words=patience), way.origin(load, ways.OTHER_PORT)]
        captures = {w: Payload(lab, w, i, stranger) for w, i in (("gateway", "eth0"), ("outside", "node"))}
        each = options.transfers // len(ways.TARGETS)
        words = ("-n", each, "-c", each, "-b", MOST_BYTES, "-l", last_s, *patience)
        transfers = [
            programs.Call(lab.pod("a").command(transfer, "call", target, ways.PORT, way.hello(), *words, "-s", version))
            for version, target in ways.TARGETS.items()
        ]
        for one in transfers:
            one.next_line()  # all have begun
        wait_for("all to be open", lambda: lab.agent.status()["connections"]["open"] >= each * len(transfers), 30, 0.1)
        calls = start_calls(way, load, lab.pod("a"), ways.HOST, options, options.rate)
        denied = start_calls(way, load, stranger, ways.UNREGISTERED, options, options.rate // 4)
        times = kill_again_and_again(lab, options)
        told, unregistered = finish_calls(calls, options), finish_calls(denied, options)
        moved = [one.finish(last_s + PATIENCE_S) for one in transfers]
        way.wait_for_origin(PATIENCE_S)
        claim_nothing_left_undecided(report, way, stranger, captures)
        way.claim_nothing_left(report)
        for origin in origins:
            origin.stop()
        at_origin, served = (json.loads(origin.log.read_text()) for origin in origins)

        report.figures("agent", kills=len(times), start_median_s=statistics.median(times), start_slowest_s=max(times))
        for version, one in zip(ways.TARGETS, moved):
            report.figures(f"transfers, IPv{version}", **one)
        report.figures("transfers, at the origin", **at_origin)
        report.figures("new calls", **told)
        report.figures("calls of an unregistered host", **unregistered)
        whole = sum(one["whole"] for one in moved)
        found = f"{whole:,}, and {at_origin['whole']:,} at the origin"
        text = "every open transfer completed with the right SHA-256"
        report.claim(text, whole == at_origin["whole"] == each * len(transfers), found)
        claim_calls(report, told, unregistered)
        claim_records(report, way, served["answered"] + whole)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
