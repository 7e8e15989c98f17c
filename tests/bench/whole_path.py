"""Row "whole-path": from a pod through agent and gateway to an origin outside, against two of one proxy in a row."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import peers  # noqa: E402  (found by the path above, like the following)
from contest import MEASURES, Contest, chosen, options_of  # noqa: E402
from lab import GATEWAY4  # noqa: E402
from report import Report  # noqa: E402
from scene import ADDRESS, PORT, REDIRECTED, Competitor, Peers, Scene, Sluice  # noqa: E402

AHEAD_BY = {"connect-64": 1.5}


def main():
    options = options_of("whole-path", __doc__).parse_args()
    report = Report("whole-path", options)
    with Scene(options, origin_at="outside") as scene:
        gateway, origin = (GATEWAY4, PORT), (ADDRESS, PORT)
        competitors = [Competitor(scene, "direct"), Sluice(scene, ["gateway", "agent"])]
        for kind in (peers.HAProxy, peers.Nginx):
            second = kind(scene.lab, "gateway", scene.hosts, gateway, origin, options.threads)
            first = kind(scene.lab, "node", scene.hosts, REDIRECTED, gateway, options.threads)
            competitors.append(Peers(scene, f"two {kind.name}", [second, first], redirected=True))
        contest = Contest(scene, report, competitors, scene.call_from_pod)
        contest.run(chosen(MEASURES, options.measures))
        contest.subtract_direct("idle-memory")
        contest.tell()
        contest.claim_ahead(AHEAD_BY)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
