"""Competitors against each other: what is measured, round by round, each competitor in its turn, and the outcome."""
import argparse
import dataclasses
import statistics
import subprocess
import sys
import time

import programs


@dataclasses.dataclass(frozen=True)
class Measure:
    name: str
    unit: str
    field: str  # of what `load` tells
    mode: str
    connections: int
    higher_is_better: bool
    label: str = ""  # in tables; the name when there is none

    def title(self):
        return self.label or self.name


def bulk(direction, streams):
    return Measure(f"bulk-{direction}-{streams}", "Gbit/s", "gbit_s", direction, streams, True)


WARMING_CONNECTIONS = 100
REST_S = 3  # until what many connections at once needed was given back

MEASURES = (
    Measure("idle-memory", "KiB/connection", "", "idle", 0, False),  # first: of programs that have not worked yet
    bulk("up", 1),
    bulk("up", 8),
    bulk("down", 1),
    bulk("down", 8),
    Measure("ping-pong-64", "us p50", "p50_us", "echo", 64, False),
    Measure("ping-pong-1", "us p50", "p50_us", "echo", 1, False),
    Measure("connect-64", "1/s", "per_s", "short", 64, True),
    Measure("connect-1", "us p50", "p50_us", "short", 1, False),
)


def options_of(row, about, seconds=3.0, rounds=5, measures=MEASURES):
    """The parser of what every such row may be told; rows add their own."""
    parser = argparse.ArgumentParser(prog=row, description=about)
    parser.add_argument("--rounds", type=int, default=rounds, help="(default %(default)s)")
    parser.add_argument("--seconds", type=float, default=seconds, help="of each measurement (default %(default)s)")
    parser.add_argument("--warm-up", type=float, default=0.3, help="seconds before each (default %(default)s)")
    parser.add_argument("--patience", type=float, default=10, help="seconds, for what is open then (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of each competitor's process (default %(default)s)")
    parser.add_argument("--load-threads", type=int, default=2, help="of caller and origin (default %(default)s)")
    parser.add_argument("--hosts", type=int, default=1000, help="allowed ones (default %(default)s)")
    parser.add_argument("--idle", type=int, default=4000, help="idle connections (default %(default)s)")
    parser.add_argument("--competitors", type=lambda text: text.split(","), help="only these, A,B,...")
    names = ",".join(m.name for m in measures)
    parser.add_argument("--measures", type=lambda text: text.split(","), help=f"only these of {names}")
    return parser


def chosen(items, names, key=lambda item: item.name):
    if not names:
        return list(items)
    unknown = set(names) - {key(item) for item in items}
    if unknown:
        sys.exit(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(key(item) for item in items)}")
    return [item for item in items if key(item) in names]


class Contest:
    """`call` starts a `load` as a caller of the scene. Results by measure and competitor, one for each round; None where
    a measurement failed."""

    def __init__(self, scene, report, competitors, call):
        self._scene, self._report, self._call = scene, report, call
        self._options = scene.options
        self.competitors = chosen(competitors, self._options.competitors)
        self.values, self.cores, self.details = {}, {}, {}
        self.failures = {c.name: {} for c in self.competitors}
        self.seen = {c.name: {} for c in self.competitors}
        self._measures = {}

    def run(self, measures):
        for number in range(self._options.rounds):
            self.take_turns(number, measures)

    def take_turns(self, number, measures):
        """Whoever is first in this round is last in the next."""
        first = number % len(self.competitors)
        for competitor in self.competitors[first:] + self.competitors[:first]:
            turn = f"round {number + 1} of {self._options.rounds}: {competitor.name}"
            print(time.strftime("%T"), turn, file=sys.stderr)
            with self._scene.origin(self.seen[competitor.name]), competitor:
                for measure in measures:
                    self._take(competitor, measure)
            self._scene.forget()

    def _take(self, competitor, measure):
        self._measures[measure.name] = measure
        value, cores, told = None, None, {}
        try:
            before, started = competitor.cpu_s(), time.monotonic()
            if measure.mode == "idle":
                value, told = self._idle_kib(competitor)
            else:
                told = self._run(competitor, measure)
                value = told[measure.field] or None
                cores = (competitor.cpu_s() - before) / (time.monotonic() - started)
            failed = self.failures_of(told)
        except (subprocess.TimeoutExpired, RuntimeError, ValueError, OSError) as error:
            failed = {"no result": 1}
            print(f"{competitor.name}, {measure.name}: {error}", file=sys.stderr)
        for what, count in failed.items():
            key = f"{measure.name}: {what}"
            self.failures[competitor.name][key] = self.failures[competitor.name].get(key, 0) + count
        for table, found in ((self.values, value), (self.cores, cores), (self.details, told)):
            table.setdefault(measure.name, {}).setdefault(competitor.name, []).append(found)

    @staticmethod
    def failures_of(told):
        """{what: how many} of what did not end as it should."""
        return programs.failures(told)

    def _argv(self, competitor, mode, connections, warm_up, seconds):
        return (
            *(mode, *competitor.target, self._scene.hello, "-c", connections, "-w", warm_up, "-s", seconds),
            *("-t", self._options.load_threads, "-p", self._options.patience),
        )

    def _run(self, competitor, measure):
        o = self._options
        call = self._call(*self._argv(competitor, measure.mode, measure.connections, o.warm_up, o.seconds))
        return call.finish(o.warm_up + o.seconds + o.patience + 10)

    def _idle_kib(self, competitor):
        """What the competitor and the kernel hold for each idle connection, caller's and origin's sockets included."""
        limit_s = 20
        # What a program touches once, whatever it then serves, is no connection's.
        few = self._call(*self._argv(competitor, "idle", WARMING_CONNECTIONS, 0, limit_s))
        few.next_line()
        few.finish(limit_s + self._options.patience + 10)
        before = competitor.memory_kib()
        call = self._call(*self._argv(competitor, "idle", self._options.idle, 0, limit_s))
        try:
            held = call.next_line()["held"]
            time.sleep(REST_S)
            during = competitor.memory_kib()
        except BaseException:
            call.kill()
            raise
        told = call.finish(limit_s + self._options.patience + 10)
        return (during - before) / held if held else None, told

    # What came of it

    def median(self, measure, name):
        found = [v for v in self.values[measure].get(name, []) if v is not None]
        return statistics.median(found) if found else None

    def ratio(self, measure, name, other):
        """The median of the rounds' own ratios: neighbours in time are compared."""
        mine, theirs = self.values[measure].get(name, []), self.values[measure].get(other, [])
        found = [a / b for a, b in zip(mine, theirs) if a is not None and b]
        return statistics.median(found) if found else None

    def ahead(self, measure, name, other):
        """As ratio(), over 1 where `name` is better."""
        ratio = self.ratio(measure, name, other)
        return ratio if ratio is None or self._measures[measure].higher_is_better else 1 / ratio

    def best_peer(self, measure):
        peers = [c.name for c in self.competitors if c.peer]
        found = [(self.median(measure, name), name) for name in peers if self.median(measure, name) is not None]
        if not found:
            return None
        return (max if self._measures[measure].higher_is_better else min)(found)[1]

    def subtract_direct(self, measure):
        """Of memory: what a connection costs over the same one without anybody between."""
        rounds = self.values.get(measure, {})
        base = rounds.get("direct")
        for name, found in rounds.items():
            rounds[name] = [a - b if a is not None and b is not None else None for a, b in zip(found, base or found)]

    def claim_ahead(self, least=None):
        """Claims that every measure is ahead of the best peer, by the factor that `least` has for it."""
        for measure in self.values:
            peer, wanted = self.best_peer(measure), (least or {}).get(measure, 1)
            found = self.ahead(measure, "sluice", peer) if peer else None
            words = f"by {wanted} or more " if wanted != 1 else ""
            text = f"{measure} is {words}ahead of the best peer's"
            self._report.claim(text, found is not None and found >= wanted, f"{found:.3f} x {peer}" if found else "")

    def tell(self):
        """Puts everything into the report, and claims what must always be so."""
        for measure, rounds in self.values.items():
            about = self._measures[measure]
            peer = self.best_peer(measure)
            self._report.measured(
                about.title(),
                unit=about.unit,
                higher_is_better=about.higher_is_better,
                rounds=rounds,
                median={name: self.median(measure, name) for name in rounds},
                cores={n: statistics.median(c) for n, c in self.cores[measure].items() if None not in c},
                to_direct={c.name: self.ratio(measure, c.name, "direct") for c in self.competitors},
                ours=[c.name for c in self.competitors if c.ours],
                best_peer=peer,
                ahead_of_best_peer=self.ahead(measure, "sluice", peer) if peer else None,
                details=self.details[measure],
            )
        for competitor in self.competitors:
            name, seen = competitor.name, self.seen[competitor.name]
            if competitor.datapaths:
                self._report.figures(f"datapath of {name}", **competitor.datapaths)
            whole = seen.get("ended") == seen.get("accepted") and not seen.get("broken")
            if not whole:
                self.failures[name]["at the origin"] = seen
            if not competitor.peer:
                failed = self.failures[name]
                self._report.claim(
                    f"every connection of {name} went well from end to end", not failed, failed or seen or ""
                )
            elif self.failures[name]:
                self._report.figures(f"failures of {name}", **{k: str(v) for k, v in self.failures[name].items()})
