"""Row "fair-queue": how long the calls of one pod take, from the SYN to the answer, while another pod begins 10,000 new
ones a second, of a registered host or of an unregistered one, against the same without the burst. The agent stands alone,
and both ends of all calls are cheap enough (crowd/) to leave the machine to it."""
import argparse
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import ways  # noqa: E402  (found by the path above, like the following)
from crowds import Crowds  # noqa: E402
from report import Report  # noqa: E402

CALM_RATE = 200
LEAD_S = 0.5  # by which the burst begins earlier and ends later
HELD = 0.9  # of the burst's rate
MAX_P50_DELAY_MS, MAX_P99_DELAY_MS = 3, 15
BURSTS = {"quiet": None, "registered": ways.HOST, "unregistered": ways.UNREGISTERED}
TIMES = ("p50_us", "p99_us", "max_us")


def parse_options():
    parser = argparse.ArgumentParser(prog="fair-queue", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="(default %(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement (default %(default)s)")
    parser.add_argument("--rate", type=int, default=10000, help="of the burst, a second (default %(default)s)")
    parser.add_argument("--no-times", action="store_true", help="claim nothing about how long it takes")
    return parser.parse_args()


class Pods:
    """The calm one and the one that bursts, each with its first address."""

    def __init__(self, crowds):
        self._crowds = crowds
        self._calm, self._burst = crowds.add_pod("calm", 12), crowds.add_pod("burst", 13)

    def measure(self, options, host):
        """What the calm pod's calls and those of the burst told."""
        calls = int(CALM_RATE * options.seconds)
        with self._crowds.caller("calm", self._calm, ways.HOST) as calm:
            if host is None:
                told = calm.ask("open", calls, CALM_RATE), None
            else:
                told = self._measure_with(options, host, calm, calls)
            calm.ask("reset")
        self._crowds.wait_until_gone()
        return told

    def _measure_with(self, options, host, calm, calls):
        with self._crowds.caller("burst", self._burst, host) as burst:
            burst.ask("open", int(options.rate * LEAD_S), options.rate)
            burst.begin("open", int(options.rate * (options.seconds + 2 * LEAD_S)), options.rate)
            told = calm.ask("open", calls, CALM_RATE), burst.result()
            burst.ask("reset")
        return told


def claim_calls(report, name, calms, bursts):
    """What the machine cannot keep up with of a burst may be refused; of the calm pod's calls none."""
    lost = [told for told in calms if told["wrong"] or told["denied"] or told["reset"]]
    found = lost or sum(told["open"] for told in calms)
    report.claim(f"{name}: every call of the calm pod was answered", calms and not lost, found)
    denied = name == "unregistered"
    wrong = [t for t in bursts if t["wrong"] or t["denied"] + t["reset"] * denied != t["open"] * denied]
    found = wrong or sum(told["open"] for told in bursts)
    what = "denied" if denied else "answered, or refused,"
    report.claim(f"{name}: every call of the burst was {what} as it should be", bursts and not wrong, found)


def claim_times(report, options, found):
    def median(name, field):
        return statistics.median(told[field] for told in found[name][0]) / 1000

    for name in list(found)[1:]:
        begun = statistics.median(told["per_s"] for told in found[name][1])
        report.claim(f"{name}: the burst had its rate", begun >= HELD * options.rate, f"{begun:,.0f} a second")
        for field, most in (("p50_us", MAX_P50_DELAY_MS), ("p99_us", MAX_P99_DELAY_MS)):
            delay = median(name, field) - median("quiet", field)
            text = f"{name}: the burst delays the other pod's calls by less than {most} ms ({field[:3]})"
            report.claim(text, delay < most, f"{delay:.2f} ms")


def main():
    options = parse_options()
    report = Report("fair-queue", options)
    found = {name: ([], []) for name in BURSTS}
    with ways.Way(ways.ALONE) as way:
        pods = Pods(Crowds(way))
        way.start()
        names = list(BURSTS)
        for number in range(options.rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                calm, burst = pods.measure(options, BURSTS[name])
                found[name][0].append(calm)
                found[name][1].extend([burst] if burst else [])
        way.claim_nothing_left(report)
    for name, (calms, bursts) in found.items():
        report.figures(f"the calm pod's calls: {name}", **{f: statistics.median(t[f] for t in calms) for f in TIMES})
        if bursts:
            again = sum(told["again"] for told in bursts)
            medians = {f: statistics.median(t[f] for t in bursts) for f in ("per_s", *TIMES)}
            refused = sum(told["reset"] for told in bursts)
            report.figures(f"the burst's calls: {name}", said_again=again, refused=refused, **medians)
            claim_calls(report, name, calms, bursts)
    if not options.no_times:
        claim_times(report, options, found)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
