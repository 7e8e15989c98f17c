"""Row "node-hop": from a pod over the node to an origin that stands in for the gateway. What a node's proxy costs,
against the direct way."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import peers  # noqa: E402  (found by the path above, like the following)
from contest import MEASURES, Contest, chosen, options_of  # noqa: E402
from lab import GATEWAY4  # noqa: E402
from report import Report  # noqa: E402
from scene import ADDRESS, PORT, REDIRECTED, Competitor, Peers, Scene, Sluice  # noqa: E402

# What is wanted of us, as a part of the direct way's figure.
AT_LEAST = {"bulk-up-1": 0.95, "bulk-up-8": 0.95, "bulk-down-1": 0.95, "bulk-down-8": 0.95, "connect-64": 0.8}
AT_MOST = {"ping-pong-64": 1.05, "ping-pong-1": 1.05, "connect-1": 1.5}
MAX_IDLE_KIB, NO_CORES = 0.5, 0.01  # a connection's own start is in the latter


def claim(report, contest):
    for name, wanted in (AT_LEAST | AT_MOST).items():
        if name not in contest.values:
            continue
        found = contest.ratio(name, "sluice", "direct")
        holds = found is not None and (found >= wanted if name in AT_LEAST else found <= wanted)
        words = "at least" if name in AT_LEAST else "at most"
        report.claim(f"{name} is {words} {wanted} of the direct way's", holds, found and round(found, 3))
    if "idle-memory" in contest.values:
        found = contest.median("idle-memory", "sluice")
        holds = found is not None and found < MAX_IDLE_KIB
        report.claim(f"an idle connection takes less than {MAX_IDLE_KIB} KiB", holds, found and round(found, 2))
    moving = [n for n in contest.cores if n.startswith(("bulk", "ping"))]
    cores = [c for n in moving for c in contest.cores[n].get("sluice", []) if c is not None]
    found = f"at most {max(cores):.3f} cores" if cores else ""
    report.claim("the agent rests while open connections move data", cores and max(cores) < NO_CORES, found)


def main():
    options = options_of("node-hop", __doc__).parse_args()
    report = Report("node-hop", options)
    with Scene(options, origin_at="gateway") as scene:
        gateway = (GATEWAY4, PORT)
        competitors = [Competitor(scene, "direct"), Sluice(scene, ["agent"], raw_gateway=gateway)]
        for kind in peers.ALL:
            upstream = (ADDRESS, PORT) if kind is peers.Squid else gateway
            peer = kind(scene.lab, "node", scene.hosts, REDIRECTED, upstream, options.threads)
            competitors.append(Peers(scene, kind.name, [peer], redirected=True))
        contest = Contest(scene, report, competitors, scene.call_from_pod)
        contest.run(chosen(MEASURES, options.measures))
        contest.subtract_direct("idle-memory")
        contest.tell()
        claim(report, contest)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
