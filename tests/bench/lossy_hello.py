"""Row "lossy-hello": connections whose every packet may be lost, come twice or come late, on the way from the pod to the
node and again on that from the node to the gateway, both ways, with hellos of one segment and of several, over IPv4 and
IPv6. None is stuck, all are right, none is denied."""
import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import programs  # noqa: E402  (found by the path above, like the following)
import ways  # noqa: E402
from lab import GATEWAY4, GATEWAY6  # noqa: E402
from namespaces import ip_batch, sysctl, wait_for  # noqa: E402
from report import Report  # noqa: E402

DEVICE = "rough"
PADS = (0, 1200, 4000, 11000)  # bytes that make hellos of 1, 2, 4 and 9 segments
THREADS = 4
# As long as TCP itself tries: what gets lost several times in a row is not to be a denial.
LIMITS = {"first_bytes_timeout_ms": 120000, "connect_timeout_ms": 120000, "answer_timeout_ms": 120000}
PATIENCE_S = 150


def parse_options():
    parser = argparse.ArgumentParser(prog="lossy-hello", description=__doc__)
    parser.add_argument("--connections", type=int, default=100000, help="(default %(default)s)")
    parser.add_argument("--at-once", type=int, default=2000, help="(default %(default)s)")
    parser.add_argument("--percent", type=float, default=3, help="lost, twice, late: each (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=900, help="to begin them in, at most (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default %(default)s)")
    return parser.parse_args()


class RoughLine:
    """The program between two devices; their namespaces hold them."""

    def __init__(self, lab, name, kind, ends, options):
        program = programs.build("rough_line")
        words = [word for end in ends for word in end]
        argv = [program, kind, *words, options.percent, options.seed]
        self._child = lab.spawn("node", name, argv)
        wait_for(f"the line {name}", lambda: "ready" in self._child.log.read_text() or not self._child.alive())

    def stop(self):
        """What it did, by direction."""
        self._child.stop()
        return json.loads(self._child.log.read_text().splitlines()[-1])


def lay_lines(way, options):
    """Between pod and node, and between node and gateway."""
    lab, pod, gateway = way.lab, way.lab.pod("a"), way.lab.namespace("gateway")
    ends = ((pod.netns, "eth0"), (lab.node, pod.interface))
    to_pod = pod.replace_link(lambda: RoughLine(lab, "line_to_pod", "tap", ends, options))
    ends = ((lab.node, DEVICE), (gateway, DEVICE))
    to_gateway = RoughLine(lab, "line_to_gateway", "tun", ends, options)
    sysctl(gateway, ipv4__conf__all__rp_filter=0, **{f"ipv4__conf__{DEVICE}__rp_filter": 0})
    for namespace, four, six in (
        (lab.node, f"{GATEWAY4}/32", f"{GATEWAY6}/128"),
        (gateway, "10.1.0.0/16", "fd00:1::/64"),
    ):
        ip_batch(
            namespace,
            f"""
            link set {DEVICE} up
            route replace {four} dev {DEVICE}
            route replace {six} dev {DEVICE}""",
        )
    return to_pod, to_gateway


def call(way, program, options):
    """All at once, of every size and family; what each told."""
    kinds = [(version, pad) for version in ways.TARGETS for pad in PADS]
    calls = {}
    for version, pad in kinds:
        data = way.hello(pad_bytes=pad)
        argv = (program, "short", ways.TARGETS[version], ways.PORT, data, "-t", THREADS, "-p", PATIENCE_S)
        sizes = ("-n", options.connections // len(kinds), "-c", options.at_once // len(kinds), "-s", options.seconds)
        calls[f"IPv{version}, {data.stat().st_size} bytes"] = programs.Call(way.lab.pod("a").command(*argv, *sizes))
    return {name: running.finish(options.seconds + PATIENCE_S + 10) for name, running in calls.items()}


def main():
    options = parse_options()
    report = Report("lossy-hello", options)
    program = programs.build("load")
    with ways.Way(ways.WHOLE, LIMITS) as way:
        lab = way.lab
        lab.gateway.settings["gateway"]["header_age_ms"] = PATIENCE_S * 1000
        lines = lay_lines(way, options)
        way.start()
        origin = way.origin(program)
        told = call(way, program, options)
        way.wait_for_origin(PATIENCE_S)
        origin.stop()
        served = json.loads(origin.log.read_text())
        way.claim_nothing_left(report, PATIENCE_S)
        total = sum(one["begun"] for one in told.values())
        for name, one in told.items():
            report.figures(
                name, **{n: one[n] for n in ("begun", "finished", "elapsed_s", "p50_us", "p99_us", "max_us")}
            )
            failures = programs.failures(one)
            found = failures or f"{one['finished']:,}"
            report.claim(f"{name}: every connection was answered, and ended", one["finished"] and not failures, found)
        wanted = options.connections // len(told) * len(told)
        report.claim("as many as were wanted", total == wanted, f"{total:,}")
        exact = {"accepted": total, "answered": total, "ended": total, "broken": 0}
        report.claim("the origin answered each of them once", served == exact, served)
        for role in way.roles:
            ids, words = ways.read_ids(getattr(lab, role))
            ways.claim_one_of_each(report, role, ids)
            report.claim(f"the {role} opened each", len(ids["open"]) == total, f"{len(ids['open']):,}")
            report.claim(f"the {role} denied none", not words["reason"], words["reason"] or "")
        for name, line in zip(("pod and node", "node and gateway"), lines):
            for direction, did in line.stop().items():
                report.figures(f"between {name}, {direction}", **did)
                rough = all(did[fate] for fate in ("lost", "twice", "late"))
                report.claim(f"between {name}, {direction}: packets were lost, came twice, came late", rough, did)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
