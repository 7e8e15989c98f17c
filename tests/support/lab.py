"""The lab: a node with pods, a gateway host and an outside, as network namespaces on this machine.

    pod a (my-namespace) --+                       +-- eth0 -- outside: nginx, dnsmasq's names, database, traps
                           +-- node (sluice agent)-+            |
    pod b (other) ---------+                       +-- eth1 -- gateway host (sluice gateway, dnsmasq)

The node routes the outside by its own uplink eth0, so whatever the agent lets slip arrives at the outside's interface
"node", and nothing else does; the gateway's calls arrive at its interface "gateway".
"""
import atexit
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sys
import threading

from capture import Capture, is_syn, send_markers
from daemon import Daemon, matches
from namespaces import Claim, Spawned, cgroup2_root, inside, ip_batch, remove_stale, run, sysctl, wait_for
from outside import NameServer, Outside
from outside import addresses as outside_addresses
from pod import Pod

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"
GATEWAY4, GATEWAY6, NODE4, NODE6 = "10.2.0.2", "fd00:2::2", "10.2.0.1", "fd00:2::1"
GATEWAY_OUT4, GATEWAY_OUT6 = "198.51.100.5", "2001:db8:f:2::1"
DNS4, DNS6 = "10.96.0.53", "fd00:96::53"
GATEWAY_NAME = "istio-egressgateway.istio-system.svc.cluster.local"
# Through the gate a pod's connection arrives with the pod's own address, by the relay with the node's.
RAW_FROM = [f"{NODE4}/32", "10.1.0.0/16"]
INTERNAL = ["10.1.0.0/16", "10.2.0.0/16", "10.96.0.0/16", "fd00:1::/64", "fd00:2::/64", "fd00:96::/64"]

_open_labs = []


class Lab:
    """Built by the constructor, daemons not started; close() removes everything."""

    def __init__(self, binary=None, resources=()):
        self.binary = pathlib.Path(binary or os.environ.get("SLUICE_BINARY") or ROOT / "build" / "sluice").resolve()
        self.dns4, self.dns6 = DNS4, DNS6
        self._closed = False
        remove_stale()
        self._claim = Claim()
        self.directory = self._claim.directory
        self.cgroup = cgroup2_root() / self._claim.prefix
        self._pods = {}
        self._more_gateways = {}
        self.outside = self.dns = self.agent = self.gateway = None
        _open_labs.append(self)
        _watch_signals()
        try:
            self._build(resources)
        except BaseException:
            self.close()
            raise

    def name(self, part):
        return f"{self._claim.prefix}-{part}"

    def mac(self, namespace, interface):
        return re.search(r"link/ether (\S+)", run("ip", "-n", namespace, "link", "show", interface).stdout).group(1)

    # Building

    def _build(self, resources):
        self.cgroup.mkdir()
        self.node, self._gateway_ns, self._outside_ns = self.name("node"), self.name("gateway"), self.name("outside")
        for namespace in (self.node, self._gateway_ns, self._outside_ns):
            run("ip", "netns", "add", namespace)
            ip_batch(namespace, "link set lo up")
            sysctl(namespace, ipv6__conf__all__accept_dad=0, ipv6__conf__default__accept_dad=0)
        sysctl(self.node, ipv4__ip_forward=1, ipv6__conf__all__forwarding=1, ipv4__conf__all__rp_filter=0)
        self._link(
            self.node,
            "eth0",
            "198.51.100.1/30",
            "2001:db8:f:1::1/64",
            self._outside_ns,
            "node",
            "198.51.100.2/30",
            "2001:db8:f:1::2/64",
        )
        self._link(
            self.node,
            "eth1",
            f"{NODE4}/24",
            f"{NODE6}/64",
            self._gateway_ns,
            "eth0",
            f"{GATEWAY4}/24",
            f"{GATEWAY6}/64",
        )
        self._link(
            self._gateway_ns,
            "eth1",
            f"{GATEWAY_OUT4}/30",
            f"{GATEWAY_OUT6}/64",
            self._outside_ns,
            "gateway",
            "198.51.100.6/30",
            "2001:db8:f:2::2/64",
        )
        self._route()
        bpffs = self.directory / "bpf"
        bpffs.mkdir()
        run("mount", "-t", "bpf", "sluice-lab", bpffs)
        self.pins = bpffs / "sluice"
        self.dns = NameServer(self._gateway_ns, self.directory, (DNS4, DNS6))
        self.add_pod("a", "my-namespace", 10)
        self.add_pod("b", "other", 11)
        self.outside = Outside(self._outside_ns, self.directory / "outside", SUPPORT)
        self._configure(resources)

    def _link(self, left, left_name, left4, left6, right, right_name, right4, right6):
        ip_batch(left, f"link add {left_name} type veth peer name {right_name} netns {right}")
        for namespace, name, four, six in ((left, left_name, left4, left6), (right, right_name, right4, right6)):
            ip_batch(
                namespace,
                f"""
                link set {name} up
                addr add {four} dev {name}
                addr add {six} dev {name} nodad""",
            )
        for namespace, name, peer, peer_name, four, six in (
            (left, left_name, right, right_name, right4, right6),
            (right, right_name, left, left_name, left4, left6),
        ):
            mac = self.mac(peer, peer_name)
            ip_batch(
                namespace,
                f"""
                neigh replace {four.split('/')[0]} lladdr {mac} dev {name} nud permanent
                neigh replace {six.split('/')[0]} lladdr {mac} dev {name} nud permanent""",
            )

    def _route(self):
        ip_batch(
            self.node,
            f"""
            route add default via 198.51.100.2
            route add default via 2001:db8:f:1::2
            route add 10.96.0.0/24 via {GATEWAY4}
            route add fd00:96::/64 via {GATEWAY6}""",
        )
        ip_batch(
            self._gateway_ns,
            f"""
            addr add {DNS4}/32 dev lo
            addr add {DNS6}/128 dev lo nodad
            route add 10.1.0.0/16 via {NODE4}
            route add fd00:1::/64 via {NODE6}
            route add default via 198.51.100.6
            route add default via 2001:db8:f:2::2""",
        )
        mine = "\n".join(f"addr add {a}/{'128' if ':' in a else '32'} dev lo" for a in outside_addresses())
        ip_batch(
            self._outside_ns,
            f"""
            {mine}
            route add 10.0.0.0/8 via 198.51.100.1
            route add fd00::/16 via 2001:db8:f:1::1""",
        )

    def _configure(self, resources):
        self.node_keys = self.directory / "nodes"
        self.resources = self.directory / "resources"
        self.resources.mkdir()
        for path in resources:
            shutil.copy(path, self.resources)
        self.agent = Daemon(
            self,
            "agent",
            self.node,
            {
                "node": {"bpffs": str(self.pins), "cgroup": str(self.cgroup)},
                "resources": {"files": [str(self.resources)]},
                "interception": {
                    "pod_interfaces": ["veth*"],
                    "uplinks": ["eth*"],
                    "internal_cidrs": INTERNAL,
                    "guarded_cidrs": [GATEWAY6],
                },
                "egress": {
                    "gateways": [{"name": GATEWAY_NAME, "addresses": [f"{GATEWAY4}:15443"], "transport": "proxy"}],
                    "key_file": str(self.write_node_key("lab-agent", "5e" * 32)),
                    "direct": {
                        "resolvers": [f"{DNS4}:53"],
                        "permitted_cidrs": ["203.0.113.0/24", "2001:db8:5::/48"],
                    },
                },
                "identity": {"pods": [self._identity(pod) for pod in self._pods.values()]},
                # Every denial its own record, so that each test finds the one it caused.
                "limits": {"first_bytes_timeout_ms": 1500, "connect_timeout_ms": 1500, "denials_per_second": 100000},
            },
        )
        self.gateway = Daemon(
            self,
            "gateway",
            self._gateway_ns,
            {
                "resources": {"files": [str(self.resources)]},
                "gateway": {
                    "name": GATEWAY_NAME,
                    "namespace": "istio-system",
                    "labels": {"istio": "egressgateway"},
                    "node_keys": str(self.node_keys),
                    "listen": [
                        {"address": f"{GATEWAY4}:15443", "transport": "proxy"},
                        {"address": f"[{GATEWAY6}]:15443", "transport": "proxy"},
                        {"address": f"{GATEWAY4}:443", "transport": "raw", "unsigned_from": RAW_FROM},
                        {"address": f"{GATEWAY4}:80", "transport": "raw", "unsigned_from": RAW_FROM},
                    ],
                    "resolvers": [f"{DNS4}:53"],
                    # Documentation ranges are what the lab's outside lives in.
                    "permitted_cidrs": ["203.0.113.0/24", "2001:db8:5::/48"],
                },
                # Every denial its own record, so that each test finds the one it caused.
                "limits": {"first_bytes_timeout_ms": 1500, "connect_timeout_ms": 1500, "denials_per_second": 100000},
            },
        )

    def add_gateway_address(self, address):
        """One more address of the gateway host, where nobody listens yet."""
        ip_batch(self._gateway_ns, f"addr add {address}/24 dev eth0")
        self.lead_to_gateway_host(address)

    def lead_to_gateway_host(self, address):
        """Packets to the address arrive at the gateway host; when it does not have the address, nobody answers."""
        mac = self.mac(self._gateway_ns, "eth0")
        ip_batch(self.node, f"neigh replace {address} lladdr {mac} dev eth1 nud permanent")

    def add_gateway(self, name, address, service, labels):
        """One more gateway process, at an address of its own; not started. Agents know it as `service`."""
        self.add_gateway_address(address)
        first = self.gateway.settings
        self._more_gateways[name] = Daemon(
            self,
            "gateway",
            self._gateway_ns,
            {
                "resources": dict(first["resources"]),
                "gateway": {
                    **first["gateway"],
                    "name": service,
                    "labels": labels,
                    "listen": [{"address": f"{address}:15443", "transport": "proxy"}],
                },
                "limits": dict(first["limits"]),
            },
            name,
        )
        return self._more_gateways[name]

    def daemons(self):
        return {d.name: d for d in (self.agent, self.gateway, *self._more_gateways.values()) if d}

    def write_node_key(self, node, *keys, addresses=("10.1.0.0/24", "fd00:1::/64")):
        """The key file of a node, as its agent signs and the gateway checks; the newest key first."""
        self.node_keys.mkdir(exist_ok=True)
        path = self.node_keys / f"{node}.yaml"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"keys": keys, "addresses": addresses}))
        fresh.replace(path)
        return path

    def _identity(self, pod):
        return {
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
            "service_account": pod.service_account,
            "labels": {"app": pod.name},
            "addresses": [pod.ip4, pod.ip6],
            "interface": pod.interface,
        }

    def add_pod(self, name, namespace, number, interface=None):
        """One more pod with the last address byte `number`; the agent is not told who it is."""
        pod = Pod(self, name, namespace, f"10.1.0.{number}", f"fd00:1::{number}", interface or f"veth-{name}")
        self._pods[name] = pod
        return pod

    def remove_pod(self, name):
        self._pods.pop(name).remove()

    def pod(self, name):
        return self._pods[name]

    # Life

    def start(self):
        """Gateway, then agent, both ready."""
        self.gateway.start()
        self.agent.start()
        return self

    def apply(self, name, text):
        """Makes `text` the resource file of that name (None: no file); returns when every running daemon follows it."""
        path = self.resources / name
        if text == (path.read_text() if path.exists() else None):
            return
        before = {d: d.status()["policy"]["generation"] for d in self.daemons().values() if d.running()}
        if text is None:
            path.unlink()
        else:
            fresh = self.resources / f"{name}.new"
            fresh.write_text(text)
            fresh.rename(path)
        for daemon, generation in before.items():
            wait_for(
                f"{daemon.name} to follow {name}",
                lambda d=daemon, g=generation: d.status()["policy"]["generation"] > g,
            )

    def sluice(self, *argv, namespace=None, check=False):
        """Runs the program with other arguments, on the node unless told otherwise."""
        return run("nsenter", f"--net=/run/netns/{namespace or self.node}", self.binary, *argv, check=check)

    def detach(self):
        return self.sluice("detach", "-c", self.agent.config, check=True)

    def leftovers(self):
        """What of the agent is in the node's kernel: pins, programs at its interfaces, the helper interface, rules,
        routes, cgroup hooks."""
        found = {}
        if self.pins.exists() and any(self.pins.iterdir()):
            found["pins"] = sorted(p.name for p in self.pins.iterdir())
        net = json.loads(self.on_node("bpftool", "-j", "net", "show").stdout)[0]
        for kind in ("xdp", "tc", "flow_dissector", "netfilter"):
            if net.get(kind):
                found[kind] = net[kind]
        links = self.on_node("ip", "-o", "link").stdout
        if "sluice" in links:
            found["links"] = links
        for family in ("-4", "-6"):
            rules = self.on_node("ip", family, "rule").stdout
            if re.search("fwmark|iif|20942", rules):
                found[f"rules {family}"] = rules
            routes = self.on_node("ip", family, "route", "show", "table", "all", "type", "local").stdout
            if re.search("default|::/0", routes):
                found[f"routes {family}"] = routes
        cgroup = run("bpftool", "-j", "cgroup", "show", self.cgroup, check=False).stdout
        if cgroup.strip() and json.loads(cgroup):
            found["cgroup"] = cgroup
        return found

    def watch(self):
        return Watch(self)

    def on_node(self, *argv, check=True):
        return run("nsenter", f"--net=/run/netns/{self.node}", *argv, check=check)

    def connect_from_outside(self, address, port, timeout_s=5.0):
        """A socket of the outside connected to an address inside."""
        with inside(self._outside_ns):
            return socket.create_connection((address, port), timeout=timeout_s)

    def bind_on_gateway_host(self, address, port):
        """A datagram socket of the gateway host."""
        with inside(self._gateway_ns):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, port))
        return sock

    def listen_on_gateway_host(self, address, port):
        """A listening socket of the gateway host."""
        with inside(self._gateway_ns):
            return socket.create_server((address, port))

    def namespace(self, where):
        """The name of the namespace of "node", "gateway" or "outside"."""
        return {"node": self.node, "gateway": self._gateway_ns, "outside": self._outside_ns}[where]

    def spawn(self, where, name, argv, listens=None):
        """A program of "node", "gateway" or "outside" whose output goes to the log of that name; the caller stops it. It
        is waited for when it `listens` at an address and port."""
        namespace = self.namespace(where)
        child = Spawned(name, argv, self.directory / f"{name}.log", namespace)

        def is_listening():
            if not child.alive():
                raise AssertionError(f"{name} ended with {child.process.returncode}:\n{child.log.read_text()}")
            address, port = listens
            query = f"src {address} and sport = :{port}"
            return run("nsenter", f"--net=/run/netns/{namespace}", "ss", "-Hltn", query).stdout

        if listens:
            wait_for(f"{name} to listen", is_listening)
        return child

    def serve_outside(self, prefix):
        """Every address of the prefix is the outside's."""
        ip_batch(self._outside_ns, f"route add local {prefix} dev lo")

    def silence_outside(self, prefix):
        """No address of the prefix answers, and nobody says so."""
        ip_batch(self._outside_ns, f"route add blackhole {prefix}")

    def connect_from_node(self, address, port, source_port=0, timeout_s=5.0):
        """A socket of the node itself, at its own address, as the agent's are."""
        with inside(self.node):
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.settimeout(timeout_s)
        try:
            sock.bind((NODE6 if ":" in address else NODE4, source_port))
            sock.connect((address, port))
        except OSError:
            sock.close()
            raise
        return sock

    def explain(self):
        """What a person needs after a failure."""
        parts = [f"lab {self._claim.prefix}; hold it with SLUICE_LAB_HOLD=1 and step inside:"]
        parts += [
            f"  nsenter --net=/run/netns/{n} bash"
            for n in (self.node, self._gateway_ns, self._outside_ns, *(p.netns for p in self._pods.values()))
        ]
        for daemon in self.daemons().values():
            parts += [
                f"--- {daemon.name} {daemon.state()}; its log",
                daemon.log_tail(),
                f"--- {daemon.name} audit (last 12 lines)",
                "".join(daemon.audit.lines()[-12:]),
            ]
        return "\n".join(parts)

    def close(self):
        """Removes all of it, whatever state it is in; may be called again."""
        if self._closed:
            return
        with _signals_held():
            self._closed = True
            for part in (*self.daemons().values(), self.outside, self.dns):
                if part:
                    with contextlib.suppress(Exception):
                        part.kill() if isinstance(part, Daemon) else part.stop()
            self._claim.release()
            _open_labs.remove(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Watch:
    """What happens from now on: packets at the outside and at the gateway, and audit records."""

    def __init__(self, lab):
        self._lab = lab
        self._outside = Capture(lab._outside_ns, ["node", "gateway"])
        self._gateway = Capture(lab._gateway_ns, ["eth0"])
        self._start = {name: len(d.audit.lines()) for name, d in lab.daemons().items()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._outside.close()
        self._gateway.close()

    # Records

    def records(self, role="agent", **wanted):
        """Of the daemon of that name: "agent", "gateway", or one that was added."""
        wanted = {name.replace("__", "."): value for name, value in wanted.items()}
        daemon = self._lab.daemons()[role]
        return [r for r in daemon.audit.records(self._start.get(role, 0)) if matches(r, wanted)]

    def record(self, role="agent", timeout_s=5.0, **wanted):
        """Waits for a record with these fields ("pod__name" is pod.name) and returns the first."""
        try:
            return wait_for(f"{role} record with {wanted}", lambda: self.records(role, **wanted), timeout_s)[0]
        except AssertionError as error:
            seen = "\n".join(map(str, self.records(role))) or "(none)"
            raise AssertionError(f"{error}; since the watch began {role} wrote:\n{seen}") from None

    # Packets

    def _settle(self):
        from_node = send_markers(self._lab.node, ["198.51.100.2", GATEWAY4])
        from_gateway = send_markers(self._lab._gateway_ns, ["198.51.100.6"])
        self._outside.read_until(*from_node["198.51.100.2"], "node")
        self._outside.read_until(*from_gateway["198.51.100.6"], "gateway")
        self._gateway.read_until(*from_node[GATEWAY4], "eth0")

    def leaks(self):
        """What reached the outside by the node's own uplink. The rightful number is none."""
        self._settle()
        return [p for p in self._outside.packets() if p.interface == "node"]

    def upstream_calls(self):
        """SYNs and datagrams that the gateway sent to the outside."""
        self._settle()
        return [
            p
            for p in self._outside.packets()
            if p.interface == "gateway" and p.source in (GATEWAY_OUT4, GATEWAY_OUT6) and (is_syn(p) or p.protocol == 17)
        ]

    def at_gateway(self):
        """What arrived at the gateway host's interface to the cluster, or left by it."""
        self._settle()
        return self._gateway.packets()

    def nothing_left(self):
        """Nothing of any call since the watch began went outside, by the node or by the gateway."""
        leaks, calls = self.leaks(), self.upstream_calls()
        assert not leaks, "leaked:\n" + "\n".join(map(str, leaks))
        assert not calls, "the gateway called:\n" + "\n".join(map(str, calls))

    def only_gateway_left(self, *to):
        """The outside saw the gateway's address alone, and each of `to` (addresses) was called by it."""
        leaks, calls = self.leaks(), self.upstream_calls()
        assert not leaks, "leaked:\n" + "\n".join(map(str, leaks))
        strangers = [
            p
            for p in self._outside.packets()
            if p.interface == "gateway" and not {p.source, p.destination} & {GATEWAY_OUT4, GATEWAY_OUT6}
        ]
        assert not strangers, "not the gateway's address:\n" + "\n".join(map(str, strangers))
        assert {p.destination for p in calls} == set(to), f"the gateway called {sorted({p.destination for p in calls})}"

    def outside_packets(self):
        """Everything that the outside saw."""
        self._settle()
        return self._outside.packets()

    def seen_outside(self, text):
        """Whether the bytes stood in any packet that the outside saw."""
        self._settle()
        return any(text in p.payload for p in self._outside.packets())


# A lab goes with its process, however that ends; what SIGKILL leaves, the next lab removes.


def _close_all():
    for lab in list(_open_labs):
        lab.close()


def _ended_by(number, _frame):
    _close_all()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


_watched = False


def _watch_signals():
    global _watched
    if _watched or threading.current_thread() is not threading.main_thread():
        return
    _watched = True
    atexit.register(_close_all)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended_by)


@contextlib.contextmanager
def _signals_held():
    held = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main():
    """python3 lab.py [RESOURCES...]: a lab to look around in, until Enter."""
    with Lab(resources=sys.argv[1:]) as lab:
        print(lab.explain())
        input("Enter removes it ")


if __name__ == "__main__":
    main()
