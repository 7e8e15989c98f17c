"""Where the rows that compare take place: the lab, an origin, 1,000 allowed hosts, and the competitors in their turns.

In its turn a competitor is alone: it is started, with its redirection, and all of it is gone afterwards. Calls come from
pod a, or from the node when the gateway's part is compared. The direct way goes through the same namespaces, routed.
"""
import contextlib
import json
import re

import footprint
import hello
import programs
from lab import GATEWAY4, GATEWAY_NAME, GATEWAY_OUT4, NODE4, Lab
from namespaces import ip_batch, run, sysctl, wait_for

HOST, ADDRESS, PORT = "origin.example", "203.0.113.200", 4433
REDIRECTED = ("10.1.0.1", 15001)  # where a redirected pod's call arrives on the node
LIMITS = {
    "connections": 20000,
    "connections_per_pod": 20000,
    "connections_per_second": 10_000_000,
    "connections_per_second_per_pod": 10_000_000,
}
ROTATE_BYTES, KEEP_FILES = 64 << 20, 2
SETTLE_S = 5
MAX_HOSTS = 256  # of one ServiceEntry


def allowed_hosts(count):
    return [HOST, *(f"host-{i}.allowed.example" for i in range(count - 1))]


def service_entries(hosts):
    """As many as it takes."""
    for first in range(0, len(hosts), MAX_HOSTS):
        yield {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": f"allowed-{first}", "namespace": "my-namespace"},
            "spec": {
                "hosts": hosts[first : first + MAX_HOSTS],
                "location": "MESH_EXTERNAL",
                "ports": [{"number": PORT, "name": "tls", "protocol": "TLS"}],
                "resolution": "DNS",
            },
        }


class Scene:
    """`origin_at`: "outside", or "gateway", where the origin stands in for the gateway."""

    def __init__(self, options, origin_at):
        self.options, self.origin_at = options, origin_at
        self.hosts = allowed_hosts(options.hosts)
        self.load = programs.build("load")
        self.lab = Lab()
        try:
            self._prepare()
        except BaseException:
            self.lab.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lab.close()

    def _prepare(self):
        lab = self.lab
        self.hello = lab.directory / "hello"
        self.hello.write_bytes(hello.records(hello.client_hello([HOST])))
        entries = map(json.dumps, service_entries(self.hosts))
        (lab.resources / "allowed.yaml").write_text("\n---\n".join(entries) + "\n")
        lab.dns.answer(HOST, ADDRESS, None)
        for namespace in (lab.pod("a").netns, *map(lab.namespace, ("node", "gateway", "outside"))):
            sysctl(
                namespace, ipv4__ip_local_port_range="16000 65000", ipv4__conf__all__rp_filter=0, core__somaxconn=4096
            )
            with contextlib.suppress(FileNotFoundError):  # as a machine whose every socket is not the first's
                sysctl(namespace, ipv4__tcp_max_syn_backlog=8192)
        sysctl(lab.namespace("gateway"), ipv4__ip_forward=1)
        for interface in ("eth0", "eth1"):
            sysctl(lab.namespace("gateway"), **{f"ipv4__conf__{interface}__rp_filter": 0})
        ip_batch(lab.namespace(self.origin_at), f"addr add {ADDRESS}/32 dev lo")
        ip_batch(lab.node, f"route add {ADDRESS}/32 via {GATEWAY4}")
        ip_batch(
            lab.namespace("outside"),
            f"""
            route add 10.1.0.0/16 via {GATEWAY_OUT4}
            route add {NODE4}/32 via {GATEWAY_OUT4}""",
        )
        for role in ("agent", "gateway"):
            settings = getattr(lab, role).settings
            settings["limits"] = dict(LIMITS)
            settings["node"].update(log_level="warning", threads=self.options.threads)
            settings["audit"].update(rotate_bytes=ROTATE_BYTES, keep_files=KEEP_FILES)

    def call_from_pod(self, *argv):
        return programs.Call(self.lab.pod("a").command(self.load, *argv))

    def call_from_node(self, *argv):
        return programs.Call(
            ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{self.lab.node}", "--", self.load, *argv]
        )

    def forget(self):
        """Ends what a turn's connections leave behind. The node drops what it should forward when the same addresses and
        ports are in TIME_WAIT there, and all of it is memory that goes at some time."""
        namespaces = [self.lab.pod("a").netns, *map(self.lab.namespace, ("node", "gateway", "outside"))]
        for namespace in namespaces:
            enter = ("nsenter", f"--net=/run/netns/{namespace}", "--")
            run(*enter, "ss", "-HtnK", "state", "time-wait")
            run(*enter, "conntrack", "-F")

    @contextlib.contextmanager
    def origin(self, seen):
        """Serves; what it saw is added to the counts `seen`."""
        argv = [self.load, "origin", "0.0.0.0", PORT, "-t", self.options.load_threads]
        log = self.lab.directory / "origin.log"
        log.unlink(missing_ok=True)
        child = self.lab.spawn(self.origin_at, "origin", argv, listens=("0.0.0.0", PORT))
        try:
            yield
            with contextlib.suppress(AssertionError):  # what is still open is in the counts
                wait_for("all connections to end", lambda: not self._open_at_origin(), SETTLE_S, 0.1)
        finally:
            child.stop()
        for name, count in json.loads(child.log.read_text()).items():
            seen[name] = seen.get(name, 0) + count

    def _open_at_origin(self):
        states = ("state", "established", "state", "close-wait", "state", "fin-wait-1", "state", "fin-wait-2")
        query = ["ss", "-Htn", *states, f"sport = :{PORT}"]
        return run("nsenter", f"--net=/run/netns/{self.lab.namespace(self.origin_at)}", *query).stdout


class Competitor:
    """`target`: what callers connect to. A context manager: its turn."""

    target = (ADDRESS, PORT)
    ours, peer = False, False

    def __init__(self, scene, name):
        self.scene, self.name = scene, name
        self.datapaths = {}  # how many records told of which, over all turns

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def pids(self):
        """Of all its processes."""
        return []

    def cpu_s(self):
        return sum(sum(footprint.cpu_s(pid)) for pid in self.pids())

    def memory_kib(self):
        """What its processes and the kernel hold."""
        return sum(footprint.rss_kib(pid) for pid in self.pids()) + footprint.slab_kib()


class Peers(Competitor):
    """One peer, or two in a row, in the order in which they start; `redirected`: calls of pod a, to the last."""

    peer = True

    def __init__(self, scene, name, peers, redirected):
        super().__init__(scene, name)
        self._peers, self._redirected = peers, redirected
        if not redirected:
            self.target = peers[0].listen

    def __enter__(self):
        try:
            for peer in self._peers:
                peer.start()
            if self._redirected:
                self._redirect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self._redirected:
            self._on_node("nft", "delete", "table", "ip", "bench", check=False)
        for peer in self._peers:
            peer.stop()

    def _on_node(self, *argv, **options):
        return run("nsenter", f"--net=/run/netns/{self.scene.lab.node}", "--", *argv, **options)

    def _redirect(self):
        interface = self.scene.lab.pod("a").interface
        self._on_node(
            "nft",
            "-f",
            "-",
            input=f"""
table ip bench {{
  chain prerouting {{
    type nat hook prerouting priority dstnat
    iifname "{interface}" tcp dport {PORT} redirect to :{REDIRECTED[1]}
  }}
}}
""",
        )

    def pids(self):
        return [pid for peer in self._peers for pid in footprint.tree(peer.pid)]


class Sluice(Competitor):
    """`roles`: of "gateway" and "agent", which take part, in the order in which they start; `raw_gateway`: whom the
    agent takes for the gateway, which gets the pods' bytes alone; without: the lab's."""

    ours = True

    def __init__(self, scene, roles, name="sluice", target=None, raw_gateway=None):
        super().__init__(scene, name)
        self._daemons = [getattr(scene.lab, role) for role in roles]
        self.target = target or self.target
        self._gateways = scene.lab.agent.settings["egress"]["gateways"]
        if raw_gateway:
            address = "{}:{}".format(*raw_gateway)
            self._gateways = [{"name": GATEWAY_NAME, "addresses": [address], "transport": "raw"}]

    def __enter__(self):
        self.scene.lab.agent.settings["egress"]["gateways"] = self._gateways
        try:
            for daemon in self._daemons:
                for path in daemon.audit.files():
                    path.unlink()
                daemon.start()
        except BaseException:
            self._stop()
            raise
        return self

    def _stop(self):
        for daemon in reversed(self._daemons):
            daemon.stop()

    def __exit__(self, *_):
        self._stop()
        if self.scene.lab.agent in self._daemons:
            self.scene.lab.detach()
        first = self._daemons[-1]  # where a call begins
        for path in first.audit.files():
            for datapath in re.findall(r'"event":"open".*?"datapath":"(\w+)"', path.read_text()):
                self.datapaths[datapath] = self.datapaths.get(datapath, 0) + 1

    def pids(self):
        return [pid for daemon in self._daemons for pid in footprint.tree(daemon.pid)]

    def memory_kib(self):
        entries = footprint.entries_kib(self.scene.lab.pins) if self.scene.lab.agent in self._daemons else 0
        return super().memory_kib() + entries
