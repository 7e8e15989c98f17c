"""Row "short-calls": TLS connections from a pod through agent and gateway, the next one as soon as there is a slot, so that
ports are used again as fast as kernels allow. None is stuck, none is answered wrongly, each has its records, and nothing
is left of any."""
import argparse
import sys

import connections
import ways
from report import Report

WARM_UP = 2000


def parse_options():
    parser = argparse.ArgumentParser(prog="short-calls", description=__doc__)
    parser.add_argument("--connections", type=int, default=1_000_000, help="(default %(default)s)")
    parser.add_argument("--at-once", type=int, default=64, help="(default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1800, help="to make them in, at most (default %(default)s)")
    parser.add_argument("--warm-up", type=float, default=60, help="as many seconds at most (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="node.threads of agent and gateway")
    return parser.parse_args()


def main():
    options = parse_options()
    report = Report("short-calls", options)
    words = ("-c", options.at_once)
    told, maps = connections.measure(
        report, options, (*words, "-n", WARM_UP), (*words, "-n", options.connections), options.seconds, ways.LIMITS
    )
    report.claim("as many as were wanted", told["begun"] == options.connections, f"{told['begun']:,}")
    report.figures("connections", connections_per_s=round(told["begun"] / told["elapsed_s"]))
    left = ways.entries_left(maps)
    report.claim(f"no entry is left in {', '.join(ways.MAPS)}", not left, left or "")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
