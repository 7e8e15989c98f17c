"""Row "ingress": clients to a web server by way of whoever ends their TLS."""
import contextlib
import dataclasses
import pathlib
import re
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import footprint  # noqa: E402  (found by the path above, like the following)
import programs  # noqa: E402
import terminating  # noqa: E402
from contest import Contest, chosen, options_of  # noqa: E402
from ingress import SERVICE, IngressScene, resource  # noqa: E402  pylint: disable=import-self
from namespaces import NETNS, sysctl  # noqa: E402
from report import Report  # noqa: E402

HOST, ADDRESS, UPSTREAM = "app.example.com", "127.0.0.1", "127.0.0.2:8080"
PORTS = {"sluice": 8441, "sluice recording": 8442, "nginx": 8443, "haproxy": 8444}
ROTATE_BYTES, KEEP_FILES = 64 << 20, 2
CONNECTION_LIMITS = ("connections", "connections_per_pod", "connections_per_second", "connections_per_second_per_pod")
HANDSHAKE_CALLERS = 8
CONNECTIONS_AT_ONCE = 4


@dataclasses.dataclass(frozen=True)
class Measure:
    """`mode`: "load", of h2load; "handshakes"; "idle"."""

    name: str
    unit: str
    field: str
    mode: str
    higher_is_better: bool
    protocol: str = ""
    path: str = ""
    connections: int = 0
    streams: int = 1
    per_second: int = 0  # requests, of all connections; 0: as many as go

    def title(self):
        return self.name


def throughput(name, protocol, path, connections, streams=1):
    return Measure(name, "1/s", "per_s", "load", True, protocol, path, connections, streams)


MEASURES = (
    Measure("idle-memory", "KiB/connection", "", "idle", False),  # first: of programs that have not worked yet
    throughput("http1-1k", "http/1.1", "/1k", 64),
    throughput("http2-1k", "h2", "/1k", 16, 16),
    throughput("http1-1m", "http/1.1", "/1m", 8),
    throughput("http2-1m", "h2", "/1m", 4, 4),
    Measure("handshakes", "1/s", "per_s", "handshakes", True),
    Measure("http1-1k-at-2000", "us p99", "p99_us", "load", False, "http/1.1", "/1k", 100, 1, 2000),
    Measure("http2-1k-at-2000", "us p99", "p99_us", "load", False, "h2", "/1k", 100, 4, 2000),
)


class Scene(IngressScene):
    """One namespace for all; nothing is started."""

    def __init__(self, options):
        super().__init__()
        self.options = options
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self):
        sysctl(self.namespace, ipv4__ip_local_port_range="16000 65000", core__somaxconn=4096)
        self.tls_calls = programs.build("tls_calls")
        self.secret("bench", HOST)
        self.pair = [self.secrets / "bench" / name for name in ("tls.crt", "tls.key")]
        self.upstream = terminating.Upstream(self, self.options.threads, UPSTREAM)
        settings = self.ingress.settings
        settings["node"].update(threads=self.options.threads, log_level="warning")
        settings["audit"].update(rotate_bytes=ROTATE_BYTES, keep_files=KEEP_FILES)
        settings["limits"] = {name: 1_000_000 for name in CONNECTION_LIMITS}
        settings["ingress"]["services"] = [self.service(SERVICE, 80, UPSTREAM)]
        ports = [PORTS["sluice"], PORTS["sluice recording"]]
        servers = [
            {
                "port": {"number": port, "name": f"https-{port}", "protocol": "HTTPS"},
                "hosts": [HOST],
                "tls": {"mode": "SIMPLE", "credentialName": "bench"},
            }
            for port in ports
        ]
        route = {"route": [{"destination": {"host": SERVICE, "port": {"number": 80}}}]}
        self.write(
            "bench",
            resource("Gateway", "bench", "istio-system", selector={"istio": "ingressgateway"}, servers=servers),
            resource("VirtualService", "bench", "istio-system", hosts=[HOST], gateways=["bench"], http=[route]),
        )

    @contextlib.contextmanager
    def origin(self, _seen):
        self.upstream.start()
        try:
            yield
        finally:
            self.upstream.stop()

    def forget(self):
        self.run("ss", "-HtnK", "state", "time-wait")

    def call(self, *argv):
        enter = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={NETNS / self.namespace}", "--"]
        return programs.Call([*enter, self.tls_calls, *argv])


class Competitor:
    """A context manager: its turn."""

    ours, peer, datapaths = False, True, {}

    def __init__(self, scene, kind):
        self.name, self.port = kind.name, PORTS[kind.name]
        self._program = kind(scene, scene.options.threads, f"{ADDRESS}:{self.port}", UPSTREAM, *scene.pair)

    def __enter__(self):
        self._program.start()
        return self

    def __exit__(self, *_):
        self._program.stop()

    def pids(self):
        return footprint.tree(self._program.pid)

    def cpu_s(self):
        return sum(sum(footprint.cpu_s(pid)) for pid in self.pids())

    def memory_kib(self):
        return sum(footprint.rss_kib(pid) for pid in self.pids()) + footprint.slab_kib()


class Sluice(Competitor):
    ours, peer = True, False

    def __init__(self, scene, name, access_log):  # pylint: disable=super-init-not-called
        self.name, self.port = name, PORTS[name]
        self._scene, self._access_log, self._program = scene, access_log, scene.ingress

    def __enter__(self):
        self._program.settings["ingress"]["access_log"] = self._access_log
        for path in self._program.audit.files():
            path.unlink()
        self._program.start()
        self._scene.wait_listening(f"{ADDRESS}:{self.port}")
        return self


class Clients(Contest):
    """The contest of what clients of HTTP see."""

    @staticmethod
    def failures_of(told):
        return {"failed": told["failed"]} if told["failed"] else {}

    def _run(self, competitor, measure):
        o = self._options
        if measure.mode == "handshakes":
            call = self._scene.call("handshakes", competitor.port, HOST, o.seconds, HANDSHAKE_CALLERS)
            return call.finish(o.seconds + o.patience)
        log = self._scene.directory / "h2load.log"
        log.unlink(missing_ok=True)
        argv = [
            *("h2load", f"--npn-list={measure.protocol}", "-c", measure.connections, "-m", measure.streams),
            *("-t", o.load_threads),
            *(self._paced(measure, log) if measure.per_second else self._for_seconds()),
            *(f"--connect-to={ADDRESS}:{competitor.port}", f"https://{HOST}:{competitor.port}{measure.path}"),
        ]
        limit_s = o.warm_up + o.seconds + o.patience
        return told_of(self._scene.run(*map(str, argv), check=True, timeout=limit_s).stdout, log, o.warm_up)

    def _for_seconds(self):
        o = self._options
        return ["-D", f"{o.seconds * 1000:.0f}ms", f"--warm-up-time={o.warm_up * 1000:.0f}ms"]

    def _paced(self, measure, log):
        """Each connection asks at its own times from its beginning on, so that they begin one after the other: those
        that begin at once ask at once for good, and how many they are depends on how handshakes happened to end."""
        o = self._options
        total = round((o.warm_up + o.seconds) * measure.per_second)
        return [
            *("-n", total, "--rps", f"{measure.per_second / measure.connections:g}", "--log-file", log),
            *("-r", CONNECTIONS_AT_ONCE, "--rate-period", f"{1000 * CONNECTIONS_AT_ONCE / measure.per_second:g}ms"),
        ]

    def _idle_kib(self, competitor):
        """What the competitor and the kernel hold for each idle connection, the caller's sockets included."""
        o = self._options
        # What a program touches once, whatever it then serves, is no connection's.
        few = self._scene.call("idle", competitor.port, HOST, 100)
        few.next_line()
        few.finish(o.patience)
        before = competitor.memory_kib()
        call = self._scene.call("idle", competitor.port, HOST, o.idle)
        try:
            held = call.next_line()["held"]
            during = competitor.memory_kib()
        except BaseException:
            call.kill()
            raise
        return (during - before) / held if held else None, call.finish(o.patience)


def told_of(output, log, warm_up):
    """What h2load found, `log` being its log of requests, if it has one; the first `warm_up` seconds there do not
    count."""
    total, failed, errors, late = (
        int(re.search(rf"(\d+) {word}", output).group(1)) for word in ("done", "failed", "errored", "timeout")
    )
    per_s = float(re.search(r"finished in [^,]+, ([\d.]+) req/s", output).group(1))
    told = {"per_s": per_s, "total": total, "failed": max(failed, errors, late)}
    if log.exists():
        rows = [[int(word) for word in line.split("\t")] for line in log.read_text().splitlines()]
        begun_us = min((row[0] for row in rows), default=0) + warm_up * 1e6
        times_us = [row[2] for row in rows if row[0] >= begun_us]
        told["p99_us"] = statistics.quantiles(times_us, n=100)[98] if len(times_us) > 1 else None
    return told


def main():
    parser = options_of("ingress", __doc__, measures=MEASURES)
    parser.set_defaults(threads=2, load_threads=1, idle=2000)
    options = parser.parse_args()
    report = Report("ingress", options)
    with Scene(options) as scene:
        competitors = [Sluice(scene, "sluice", "none"), Sluice(scene, "sluice recording", "all")]
        competitors += [Competitor(scene, kind) for kind in (terminating.Nginx, terminating.HAProxy)]
        contest = Clients(scene, report, competitors, None)
        contest.run(chosen(MEASURES, options.measures))
        contest.tell()
        contest.claim_ahead()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
