"""Where the rows about correctness take place: the lab with agent and gateway, or with an agent alone whose gateway is an
origin that stands in for it (transport raw), in both families, and what must be so when all is over."""
import contextlib
import json

import footprint
import hello
from lab import GATEWAY4, GATEWAY6, GATEWAY_NAME, Lab
from namespaces import run, sysctl, wait_for
from outside import WEB, WEB6

HOST, UNREGISTERED, PORT, OTHER_PORT = "origin.example", "evil.example", 4433, 4434
SERVICE_ENTRY = f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: origin, namespace: my-namespace}}
spec:
  hosts: [{HOST}]
  location: MESH_EXTERNAL
  ports:
  - {{number: {PORT}, name: tls, protocol: TLS}}
  - {{number: {OTHER_PORT}, name: other-tls, protocol: TLS}}
  resolution: DNS
"""
WHOLE, ALONE = "agent and gateway", "agent alone"
TARGETS = {4: WEB, 6: WEB6}  # what pods call
ROLES = {WHOLE: ("agent", "gateway"), ALONE: ("agent",)}
LIMITS = {
    "connections": 100000,
    "connections_per_pod": 100000,
    "connections_per_second": 10_000_000,
    "connections_per_second_per_pod": 10_000_000,
    "denials_per_second": 1_000_000,  # each its own record
}
ROTATE_BYTES, KEEP_FILES = 64 << 20, 1000  # every record of a run is there to be counted
# What is kept of a connection. Whose socket it was (processes) stays as long as there is room.
MAPS = ("flows", "backs", "promises", "syns", "ends", "conns")
STATES = "established close-wait fin-wait-1 fin-wait-2 closing last-ack".split()


class Way:
    """A lab with what `way` needs, not started. A context manager."""

    def __init__(self, way, limits=None):
        self.way, self.roles = way, ROLES[way]
        self.lab = Lab()
        try:
            self._prepare(limits or {})
        except BaseException:
            self.lab.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lab.close()

    def _prepare(self, limits):
        lab = self.lab
        lab.dns.answer(HOST, WEB, WEB6)
        (lab.resources / "origin.yaml").write_text(SERVICE_ENTRY)
        port, transport = (PORT, "raw") if self.way == ALONE else (15443, "proxy")
        lab.agent.settings["egress"]["gateways"] = [
            {
                "name": GATEWAY_NAME,
                "addresses": [f"{GATEWAY4}:{port}", f"[{GATEWAY6}]:{port}"],
                "transport": transport,
            }
        ]
        for role in ("agent", "gateway"):
            settings = getattr(lab, role).settings
            settings["limits"] = LIMITS | limits
            settings["node"].update(log_level="info")
            settings["audit"].update(rotate_bytes=ROTATE_BYTES, keep_files=KEEP_FILES)
        for namespace in (lab.pod("a").netns, *map(lab.namespace, ("node", "gateway", "outside"))):
            sysctl(namespace, ipv4__ip_local_port_range="16000 65000", core__somaxconn=4096)
            with contextlib.suppress(FileNotFoundError):
                sysctl(namespace, ipv4__tcp_max_syn_backlog=8192)

    def start(self):
        for role in reversed(self.roles):
            getattr(self.lab, role).start()
        return self

    @property
    def origin_at(self):
        return "gateway" if self.way == ALONE else "outside"

    def origin(self, program, port=PORT, words=()):
        """The program as the origin, in both families."""
        name = f"origin-{port}"
        (self.lab.directory / f"{name}.log").unlink(missing_ok=True)
        return self.lab.spawn(self.origin_at, name, [program, "origin", "::", port, *words], ("[::]", port))

    def hello(self, name=HOST, **options):
        path = self.lab.directory / f"hello-{name}-{len(options) and options['pad_bytes']}"
        if not path.exists():  # somebody may just be reading it
            path.write_bytes(hello.records(hello.client_hello([name], **options)))
        return path

    def wait_for_origin(self, timeout_s):
        """Until there is no connection to any more."""
        states = [word for state in STATES for word in ("state", state)]
        query = ["ss", "-Htn", *states, f"( sport = :{PORT} or sport = :{OTHER_PORT} )"]
        enter = ("nsenter", f"--net=/run/netns/{self.lab.namespace(self.origin_at)}")
        wait_for("the origin's connections to end", lambda: not run(*enter, *query).stdout, timeout_s, 0.2)

    def claim_nothing_left(self, report, timeout_s=30):
        """No entry of the gate's, no connection of a daemon's."""
        with contextlib.suppress(AssertionError):
            wait_for("empty maps", lambda: not entries_left(footprint.of_maps(self.lab.pins)), timeout_s, 0.5)
        left = entries_left(footprint.of_maps(self.lab.pins))
        report.claim(f"{self.way}: no entry is left in {', '.join(MAPS)}", not left, left or "")
        for role in self.roles:
            count = getattr(self.lab, role).status()["connections"]["open"]
            report.claim(f"{self.way}: no connection is left in the {role}", not count, count)


def entries_left(found):
    """Of what footprint.of_maps() found."""
    return {name: found[name]["entries"] for name in MAPS if found[name]["entries"]}


def read_ids(daemon):
    """{id: how many} of open and of close records, and how many ended or were denied for which reason."""
    ids, words = {"open": {}, "close": {}}, {"reason": {}, "close_reason": {}}
    for path in daemon.audit.files():
        with open(path, encoding="utf-8", errors="replace") as log:
            for line in log:
                if not line.endswith("}\n"):
                    continue
                record = json.loads(line)
                event, field = record["event"], "close_reason" if record["event"] == "close" else "reason"
                if event in ids:
                    ids[event][record["id"]] = ids[event].get(record["id"], 0) + 1
                # What else the pod's kernel sends, such as multicast reports, is nobody's connection.
                if event in ("close", "deny") and record.get("protocol") in (None, "tcp", "tls"):
                    words[field][record[field]] = words[field].get(record[field], 0) + 1
    return ids, words


def claim_one_of_each(report, title, ids):
    """Exactly one open and one close of each connection that was opened."""
    opened, closed = ids["open"], ids["close"]
    faults = {
        "opened more than once": sum(count > 1 for count in opened.values()),
        "closed more than once": sum(count > 1 for count in closed.values()),
        "never closed": len(opened.keys() - closed.keys()),
        "closed and never opened": len(closed.keys() - opened.keys()),
    }
    found = {name: count for name, count in faults.items() if count}
    text = f"{title}: one open and one close of each connection that was opened"
    report.claim(text, opened and not found, found or f"{len(opened):,}")
