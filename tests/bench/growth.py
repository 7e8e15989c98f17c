"""Row "growth": what a packet costs with 100 open flows and with 200,000, of a few busy flows and of all of them in turn,
and what a connection costs with 10 allowed hosts and with 100,000. The agent stands alone; both ends of the flows hold no
files (crowd/)."""
import argparse
import json
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import footprint  # noqa: E402  (found by the path above, like the following)
import scene  # noqa: E402
import ways  # noqa: E402
from crowds import Crowds  # noqa: E402
from namespaces import run  # noqa: E402
from report import ROOT, Report  # noqa: E402

MOST = 1.10  # of the cost with few
LEAST_RATE = 0.9  # of the connection rate with few hosts
FEW_HOSTS, MANY_HOSTS = 10, 100000
SOME_FLOWS = 20000  # that are opened to see how fast that goes
STATS = pathlib.Path("/proc/sys/kernel/bpf_stats_enabled")
PROGRAMS = ("from_pod", "to_pod")
# title: how many are open, and how many of them talk
TALKS = {"few flows": ("few", "few"), "few of many": ("many", "few"), "all of many": ("many", "many")}


def parse_options():
    parser = argparse.ArgumentParser(prog="growth", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="(default %(default)s)")
    parser.add_argument("--few", type=int, default=100, help="flows (default %(default)s)")
    parser.add_argument("--many", type=int, default=200000, help="flows (default %(default)s)")
    parser.add_argument("--messages", type=int, default=200000, help="of each measurement (default %(default)s)")
    parser.add_argument("--hosts", type=int, default=MANY_HOSTS, help="allowed ones, at most (default %(default)s)")
    parser.add_argument("--no-times", action="store_true", help="claim nothing about how long it takes")
    return parser.parse_args()


class ProgramCost:
    """What the gate's programs of one interface cost a run, on the kernel's own clock. A context manager."""

    def __init__(self, lab, interface):
        shown = json.loads(run("ip", "-n", lab.node, "-j", "link", "show", interface).stdout)
        self._links = [lab.pins / "links" / f"{shown[0]['ifindex']}-{name}" for name in PROGRAMS]
        self.ns = {}

    def _read(self):
        found = {}
        for name, path in zip(PROGRAMS, self._links):
            number = json.loads(run("bpftool", "-j", "link", "show", "pinned", path).stdout)["prog_id"]
            shown = json.loads(run("bpftool", "-j", "prog", "show", "id", number).stdout)
            found[name] = shown.get("run_time_ns", 0), shown.get("run_cnt", 0)
        return found

    def __enter__(self):
        self._before_all = STATS.read_text()
        STATS.write_text("1\n")
        self._before = self._read()
        return self

    def __exit__(self, *_):
        after = self._read()
        STATS.write_text(self._before_all)
        for name, (time_ns, count) in after.items():
            runs = count - self._before[name][1]
            self.ns[name] = (time_ns - self._before[name][0]) / max(runs, 1)


def talk(crowds, caller, options, sizes, among):
    """Rate and times of messages, then again with the kernel's own clock running."""
    told = caller.ask("talk", options.messages, sizes[among])
    with ProgramCost(crowds.lab, "veth-crowd") as cost:
        timed = caller.ask("talk", options.messages, sizes[among])
    lost = {name: told[name] + timed[name] for name in ("again", "wrong", "reset")}
    return {"message_ns": 1e9 / told["per_s"], "p50_us": told["p50_us"], "programs_ns": sum(cost.ns.values())} | lost


def measure_flows(crowds, first, options):
    """{title: what each round told}, and what was open with many."""
    sizes = {"few": options.few, "many": options.many}
    found, opened = {title: [] for title in TALKS}, []
    for _ in range(options.rounds):
        with crowds.caller("crowd", first, ways.HOST) as caller:
            count = 0
            for title, (opened_as, among) in TALKS.items():
                if sizes[opened_as] > count:
                    count = sizes[opened_as]
                    opening = caller.ask("open", count, 0)
                found[title].append(talk(crowds, caller, options, sizes, among))
            opened.append((crowds.loads(), opening))
            caller.ask("reset")
        crowds.wait_until_gone()
    return found, opened


def median(rounds, name):
    return statistics.median(told[name] for told in rounds)


def claim_flows(report, options, found, opened):
    for title, rounds in found.items():
        report.figures(title, **{name: round(median(rounds, name), 1) for name in rounds[0]})
        wrong = [told for told in rounds if told["wrong"] or told["reset"]]
        report.claim(f"{title}: every message was answered with its own bytes", not wrong, wrong or "")
    wanted = [options.many, options.many, 0]
    all_open = all(loads == wanted and not told["wrong"] and not told["reset"] for loads, told in opened)
    report.claim(f"{options.many:,} flows were open, none undecided", all_open, [loads for loads, _ in opened])
    if options.no_times:
        return
    few = found["few flows"]
    # Where all of them talk, the programs alone wait for memory that no cache holds any more: a figure, no claim.
    for title, name, what in (
        ("few of many", "programs_ns", "the gate's programs take"),
        ("few of many", "p50_us", "a message takes"),
        ("all of many", "p50_us", "a message takes"),
    ):
        ratio = statistics.median(a[name] / b[name] for a, b in zip(found[title], few))
        text = f"{title}: {what} at most {MOST} of what it is with {options.few} open"
        report.claim(text, ratio <= MOST, f"{ratio:.3f}")


def measure_hosts(crowds, first, options):
    """{hosts: connections a second, by round}; and what the agent holds then."""
    lab, counts = crowds.lab, (FEW_HOSTS, options.hosts)
    rates, held = {count: [] for count in counts}, {}
    for number in range(options.rounds):
        for count in counts if number % 2 == 0 else reversed(counts):
            lab.agent.stop()
            entries = map(json.dumps, scene.service_entries(scene.allowed_hosts(count)))
            (lab.resources / "origin.yaml").write_text("\n---\n".join(entries) + "\n")
            lab.agent.start()
            with crowds.caller("crowd", first, ways.HOST) as caller:
                told = caller.ask("open", min(SOME_FLOWS, options.many), 0)
                caller.ask("reset")
            crowds.wait_until_gone()
            well = not any(told[name] for name in ("wrong", "denied", "reset"))
            rates[count].append(told["per_s"] if well else 0)
            held[count] = footprint.rss_kib(lab.agent.pid)
    return rates, held


def claim_hosts(report, options, rates, held):
    for count, found in rates.items():
        report.figures(f"{count:,} hosts", connections_per_s=statistics.median(found), agent_rss_kib=held[count])
    report.claim("every connection was answered, whatever the number of hosts", all(map(all, rates.values())))
    if options.no_times:
        return
    ratio = statistics.median(many / few for few, many in zip(*rates.values()) if few)
    text = f"connections a second with {options.hosts:,} hosts are at least {LEAST_RATE} of those with {FEW_HOSTS}"
    report.claim(text, ratio >= LEAST_RATE, f"{ratio:.3f}")


def tell_decisions(report):
    """A decision's time by the number of hosts, where the micro-benchmarks were built."""
    program = ROOT / "build" / "bench_micro"
    if not program.exists():
        return
    words = ("--benchmark_filter=^decide/", "--benchmark_format=json", "--benchmark_min_time=0.2")
    for found in json.loads(run(program, *words).stdout)["benchmarks"]:
        report.figures("a decision", **{f"{found['name']} {found['time_unit']}": round(found["cpu_time"])})


def main():
    options = parse_options()
    report = Report("growth", options)
    with ways.Way(ways.ALONE, {"connections": 250000, "connections_per_pod": 250000}) as way:
        crowds = Crowds(way)
        first = crowds.add_pod("crowd", 12)
        way.start()
        claim_flows(report, options, *measure_flows(crowds, first, options))
        claim_hosts(report, options, *measure_hosts(crowds, first, options))
        way.claim_nothing_left(report)
    if not options.no_times:
        tell_decisions(report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
