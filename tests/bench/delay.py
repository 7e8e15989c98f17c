"""Row "delay": from a pod over a long way, with the gateway at its near end: the direct way, the agent alone (the origin
stands in for the gateway) and the whole path."""
import itertools
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import programs  # noqa: E402  (found by the path above, like the following)
from contest import Contest, Measure, bulk, chosen, options_of  # noqa: E402
from lab import GATEWAY4, NODE4  # noqa: E402
from namespaces import ip_batch, sysctl, wait_for  # noqa: E402
from report import Report  # noqa: E402
from scene import ADDRESS, PORT, Competitor, Scene, Sluice  # noqa: E402

NEAR, FAR, DEVICE = "198.51.100.9", "198.51.100.10", "wan"
TX_QUEUE = 100000  # packets: more than windows fill, so that none is lost but those that are meant to be
MEASURES = (
    bulk("up", 1),
    bulk("down", 1),
    Measure("ping-pong-1", "us p50", "p50_us", "echo", 1, False),  # is the way as long as it should be
)
AGENT, WHOLE = "sluice", "sluice whole"
EQUAL = 0.95
AHEAD_AT_MS = 40
MAX_LATE = 0.01  # of the pieces, by more than half a millisecond


def comma_separated(kind):
    return lambda text: [kind(part) for part in text.split(",")]


class Way:
    """The delay line between gateway and outside, with these properties; a context manager. What it did is added to
    `seen`. Routes choose the congestion control of the sockets that use them, the daemons' too."""

    def __init__(self, scene, program, condition, seen):
        self._scene, self._program, self._seen = scene, program, seen
        self._round_trip_ms, self._loss, self._congestion = condition

    def __enter__(self):
        lab = self._scene.lab
        ends = [lab.namespace("gateway"), lab.namespace("outside")]
        log = lab.directory / "delay_line.log"
        log.unlink(missing_ok=True)
        # The same losses for everybody.
        argv = [self._program, *ends, DEVICE, self._round_trip_ms, self._loss, 7]
        self._child = lab.spawn("gateway", "delay_line", argv)
        try:
            wait_for("the delay line", lambda: "ready" in log.read_text() or not self._child.alive())
            for namespace, mine in zip(ends, (NEAR, FAR)):
                # Nothing is said before the other end is up.
                sysctl(namespace, **{f"ipv6__conf__{DEVICE}__disable_ipv6": 1})
                ip_batch(namespace, f"link set {DEVICE} txqueuelen {TX_QUEUE} up\naddr add {mine}/30 dev {DEVICE}")
            self._route(lab, f"congctl {self._congestion}")
        except BaseException:
            self._child.stop()
            raise
        return self

    def _route(self, lab, congestion):
        ip_batch(lab.pod("a").netns, f"route replace {ADDRESS}/32 via 10.1.0.1 {congestion}")
        ip_batch(lab.node, f"route replace {ADDRESS}/32 via {GATEWAY4} {congestion}")
        ip_batch(lab.namespace("gateway"), f"route replace {ADDRESS}/32 via {FAR} dev {DEVICE} {congestion}")
        back = "\n".join(
            f"route replace {to} via {NEAR} dev {DEVICE} {congestion}" for to in ("10.1.0.0/16", f"{NODE4}/32", NEAR)
        )
        ip_batch(lab.namespace("outside"), back.replace(f"{NEAR} via {NEAR}", NEAR))

    def __exit__(self, *_):
        self._child.stop()
        told = json.loads(self._child.log.read_text().splitlines()[-1])
        for direction in told.values():
            for name, count in direction.items():
                if name == "latest_us":
                    self._seen[name] = max(self._seen.get(name, 0), count)
                else:
                    self._seen[name] = self._seen.get(name, 0) + count


def name_of(condition):
    round_trip_ms, loss, congestion = condition
    return f"{round_trip_ms:g}ms-{loss:g}%-{congestion}"


def measures_of(condition, options):
    return [
        Measure(f"{name_of(condition)}-{m.name}", m.unit, m.field, m.mode, m.connections, m.higher_is_better)
        for m in chosen(MEASURES, options.measures)
    ]


def words(ratio):
    return "" if ratio is None else f"{ratio:.3f} of it"


def claim(report, contest, conditions):
    for condition in conditions:
        round_trip_ms, loss, _ = condition
        for measure in (f"{name_of(condition)}-{direction}" for direction in ("bulk-up-1", "bulk-down-1")):
            if measure not in contest.values:
                continue
            found = contest.ratio(measure, AGENT, "direct")
            report.claim(f"{measure}: the agent equals the direct way", found and found >= EQUAL, words(found))
            if round_trip_ms == AHEAD_AT_MS and not loss:
                found = contest.ratio(measure, WHOLE, "direct")
                text = f"{measure}: the whole path is ahead of the direct way"
                report.claim(text, found and found > 1, words(found))


def claim_way(report, seen):
    report.figures("the long way", **seen)
    report.claim("nothing was lost but what was meant to be", not seen["overrun"] and not seen["refused"])
    late = seen["late"] / max(seen["forwarded"], 1)
    report.claim("packets left when they were due", late < MAX_LATE, f"{late:.2%} over 0.5 ms late")


def main():
    parser = options_of("delay", __doc__, measures=MEASURES)
    parser.add_argument("--round-trips", type=comma_separated(float), default=[1, 40, 200], help="ms (1,40,200)")
    parser.add_argument("--losses", type=comma_separated(float), default=[0, 1], help="%% (default 0,1)")
    parser.add_argument("--congestion", type=comma_separated(str), default=["cubic", "bbr"], help="(default cubic,bbr)")
    # At 200 ms and 1 % CUBIC sends less than a megabit: what buffers hold of a quicker start takes minutes to arrive.
    parser.set_defaults(rounds=3, seconds=4.0, warm_up=2.0, patience=180)
    options = parser.parse_args()
    conditions = list(itertools.product(options.round_trips, options.losses, options.congestion))
    report, seen = Report("delay", options), {}
    program = programs.build("delay_line")
    with Scene(options, origin_at="outside") as scene:
        competitors = [
            Competitor(scene, "direct"),
            Sluice(scene, ["agent"], AGENT, raw_gateway=(ADDRESS, PORT)),
            Sluice(scene, ["gateway", "agent"], WHOLE),
        ]
        contest = Contest(scene, report, competitors, scene.call_from_pod)
        for number in range(options.rounds):
            for condition in conditions:
                print(name_of(condition), file=sys.stderr)
                with Way(scene, program, condition, seen):
                    contest.take_turns(number, measures_of(condition, options))
        contest.tell()
        claim(report, contest, conditions)
        claim_way(report, seen)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
