"""Row "gateway-hop": from the node through the gateway alone to an origin outside. Each relays every byte."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import peers  # noqa: E402  (found by the path above, like the following)
from contest import MEASURES, Contest, chosen, options_of  # noqa: E402
from lab import GATEWAY4, NODE4  # noqa: E402
from report import Report  # noqa: E402
from scene import ADDRESS, PORT, Competitor, Peers, Scene, Sluice  # noqa: E402


def main():
    options = options_of("gateway-hop", __doc__).parse_args()
    report = Report("gateway-hop", options)
    with Scene(options, origin_at="outside") as scene:
        here, origin = (GATEWAY4, PORT), (ADDRESS, PORT)
        scene.lab.gateway.settings["gateway"]["listen"] = [
            {"address": "{}:{}".format(*here), "transport": "raw", "unsigned_from": [f"{NODE4}/32"]}
        ]
        competitors = [Competitor(scene, "direct"), Sluice(scene, ["gateway"], target=here)]
        for kind in (peers.HAProxy, peers.Nginx):
            peer = kind(scene.lab, "gateway", scene.hosts, here, origin, options.threads)
            competitors.append(Peers(scene, kind.name, [peer], redirected=False))
        contest = Contest(scene, report, competitors, scene.call_from_node)
        contest.run(chosen(MEASURES, options.measures))
        contest.subtract_direct("idle-memory")
        contest.tell()
        contest.claim_ahead()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
