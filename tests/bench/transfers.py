"""Row "transfers": bytes both ways at once through the gate, by agent and gateway and by the agent alone, over IPv4 and
IPv6: one long connection, and around it many that write in random sizes, rest, stop reading until the window is zero, end
a half or reset. Every one's SHA-256 is right, or where it was reset, all that came until then."""
import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import programs  # noqa: E402  (found by the path above, like the following)
import ways  # noqa: E402
from report import Report  # noqa: E402

MEBIBYTE = 1 << 20
WELL = ("whole", "reset")
LONGEST_S = 600


def parse_options():
    parser = argparse.ArgumentParser(prog="transfers", description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=1024, help="of the long one, each way (default %(default)s)")
    parser.add_argument("--connections", type=int, default=900, help="around it (default %(default)s)")
    parser.add_argument("--at-once", type=int, default=64, help="(default %(default)s)")
    parser.add_argument("--most-mebibytes", type=float, default=4, help="of those, each way (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default %(default)s)")
    return parser.parse_args()


def ends_well(told):
    """What did not."""
    return {n: c for n, c in told.items() if c and n not in WELL and not n.startswith("bytes")}


def run_through(way, report, options, version):
    program, lab = programs.build("transfer"), way.lab
    origin = way.origin(program)
    argv = ("-n", options.connections + 1, "-c", options.at_once, "-s", options.seed)
    sizes = ("-B", options.mebibytes * MEBIBYTE, "-b", int(options.most_mebibytes * MEBIBYTE))
    command = (program, "call", ways.TARGETS[version], ways.PORT, way.hello(), *argv, *sizes)
    caller = programs.Call(lab.pod("a").command(*command)).finish(LONGEST_S)
    way.wait_for_origin(60)
    origin.stop()
    served = json.loads(origin.log.read_text())
    name = f"{way.way}, IPv{version}"
    report.figures(f"{name}: callers", **caller)
    report.figures(f"{name}: origin", **served)
    begun = caller["whole"] + caller["reset"]
    report.claim(
        f"{name}: every transfer arrived whole, or right until it was reset, at the caller",
        begun == options.connections + 1 and not ends_well(caller),
        ends_well(caller) or f"{caller['whole']:,} whole, {caller['reset']:,} reset",
    )
    # Of what the caller resets at once, no hello may come.
    faults = {n: c for n, c in ends_well(served).items() if n != "nothing"}
    report.claim(
        f"{name}: and at the origin",
        served["whole"] == caller["whole"] and not faults and served["nothing"] <= caller["reset"],
        faults or f"{served['whole']:,} whole, {served['reset']:,} reset, {served['nothing']:,} before a hello",
    )


def main():
    options = parse_options()
    report = Report("transfers", options)
    for kind in (ways.WHOLE, ways.ALONE):
        with ways.Way(kind) as way:
            way.start()
            for version in ways.TARGETS:
                run_through(way, report, options, version)
            way.claim_nothing_left(report)
            for role in way.roles:
                ids, words = ways.read_ids(getattr(way.lab, role))
                ways.claim_one_of_each(report, f"{kind}, {role}", ids)
                report.figures(f"{kind}: ends that the {role} recorded", **words["close_reason"])
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
