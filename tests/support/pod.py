"""A pod of the lab: a network namespace behind a veth, a cgroup, a resolv.conf of its own, and calls made from it."""
import dataclasses
import signal
import socket
import struct
import subprocess
import time

import packets
from capture import Capture
from hello import TlsClient
from namespaces import NETNS, Spawned, inside, ip_batch, run, sysctl, wait_for

REFUSED_WITHIN_MS = 1000  # "at once", with room for a busy machine


@dataclasses.dataclass
class Done:
    """How a program inside a pod ended."""

    pid: int
    code: int
    out: str
    error: str
    milliseconds: float

    def __str__(self):
        return f"exit {self.code} after {self.milliseconds:.0f} ms\n{self.out}{self.error}"


@dataclasses.dataclass
class Refusal:
    """How a socket call of a pod failed: the exception's name ("" when it did not fail) and when."""

    error: str
    milliseconds: float

    def at_once(self, *errors):
        return self.error in (errors or ("ConnectionRefusedError",)) and self.milliseconds < REFUSED_WITHIN_MS


class Pod:
    def __init__(self, lab, name, namespace, ip4, ip6, interface):
        self.lab, self.name, self.namespace, self.ip4, self.ip6, self.interface = (
            lab,
            name,
            namespace,
            ip4,
            ip6,
            interface,
        )
        self.netns = lab.name(f"pod-{name}")
        self.uid = f"uid-of-{name}"
        self.service_account = f"{name}-account"
        self.cgroup = lab.cgroup / f"pod-{name}"
        self._build()

    def _build(self):
        run("ip", "netns", "add", self.netns)
        sysctl(self.netns, ipv6__conf__all__accept_dad=0, ipv6__conf__default__accept_dad=0)
        ip_batch(self.lab.node, f"link add {self.interface} type veth peer name eth0 netns {self.netns}")
        self._configure()
        self.cgroup.mkdir()
        self._pause = self._start_pause()

    def replace_link(self, make):
        """The pod behind another pair of devices, which make() creates under the same names."""
        run("ip", "-n", self.lab.node, "link", "del", self.interface)
        made = make()
        self._configure()
        return made

    def _configure(self):
        node = self.lab.node
        # As the ptp and Calico plugins do: a full-length route to the pod, and a gateway address on the host's side.
        ip_batch(
            node,
            f"""
            link set {self.interface} up
            addr add 10.1.0.1/32 dev {self.interface}
            addr add fd00:1::1/128 dev {self.interface} nodad
            route add {self.ip4}/32 dev {self.interface}
            route add {self.ip6}/128 dev {self.interface}""",
        )
        ip_batch(
            self.netns,
            f"""
            link set lo up
            link set eth0 up
            addr add {self.ip4}/32 dev eth0
            addr add {self.ip6}/128 dev eth0 nodad
            route add 10.1.0.1/32 dev eth0
            route add default via 10.1.0.1 src {self.ip4}
            route add fd00:1::1/128 dev eth0
            route add default via fd00:1::1 src {self.ip6}""",
        )
        self.mac, self.host_mac = self.lab.mac(self.netns, "eth0"), self.lab.mac(node, self.interface)
        # Neighbours by hand: no packet ever waits for an answer, so captures see them in the order they were sent.
        ip_batch(
            node,
            f"""
            neigh replace {self.ip4} lladdr {self.mac} dev {self.interface} nud permanent
            neigh replace {self.ip6} lladdr {self.mac} dev {self.interface} nud permanent""",
        )
        ip_batch(
            self.netns,
            f"""
            neigh replace 10.1.0.1 lladdr {self.host_mac} dev eth0 nud permanent
            neigh replace fd00:1::1 lladdr {self.host_mac} dev eth0 nud permanent""",
        )

    def _start_pause(self):
        """The process that holds the pod's mount namespace, where /etc/resolv.conf is the pod's."""
        resolv = self.lab.directory / f"resolv-{self.name}"
        resolv.write_text(f"nameserver {self.lab.dns4}\noptions timeout:2 attempts:1\n")
        ready = self.lab.directory / f"ready-{self.name}"
        script = 'mount --bind "$1" /etc/resolv.conf && : > "$2" && exec sleep infinity'
        pause = Spawned(
            f"pod {self.name}",
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", resolv, ready],
            self.lab.directory / f"pod-{self.name}.log",
            self.netns,
        )
        wait_for(f"pod {self.name}", ready.exists)
        return pause

    def remove(self):
        """Takes the pod away as a CNI does: processes, link, namespace."""
        self._pause.stop(signal.SIGKILL)
        run("ip", "-n", self.lab.node, "link", "del", self.interface)
        run("ip", "netns", "del", self.netns)

    def address(self, version):
        return self.ip4 if version == 4 else self.ip6

    # Programs

    def command(self, *argv, uid=None):
        """The argv that runs a program inside: the pod's cgroup, network and mounts."""
        drop = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"] if uid else []
        return [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "sh",
            "-c",
            'echo 0 > "$0/cgroup.procs"; exec "$@"',
            str(self.cgroup),
            "nsenter",
            f"--net={NETNS / self.netns}",
            f"--mount=/proc/{self._pause.pid}/ns/mnt",
            "--",
            *drop,
            *map(str, argv),
        ]

    def run(self, *argv, uid=None, timeout_s=20, input=None):
        start = time.monotonic()
        # Every step of command() is an exec, so this pid is the program's.
        with subprocess.Popen(
            self.command(*argv, uid=uid), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/"
        ) as child:
            try:
                out, error = child.communicate(input or b"", timeout=timeout_s)
            except BaseException:
                child.kill()
                raise
        return Done(
            child.pid,
            child.returncode,
            out.decode(errors="replace"),
            error.decode(errors="replace"),
            (time.monotonic() - start) * 1000,
        )

    def curl(self, url, *options, uid=None, timeout_s=15):
        return self.run(
            "curl",
            "-sS",
            "--max-time",
            timeout_s - 2,
            "--cacert",
            self.lab.outside.ca,
            *options,
            url,
            uid=uid,
            timeout_s=timeout_s,
        )

    def openssl(self, address, *options, input=b""):
        """openssl s_client to ADDRESS:PORT."""
        return self.run(
            "openssl", "s_client", "-connect", address, "-CAfile", self.lab.outside.ca, *options, input=input
        )

    # Sockets, made in the pod's network by this process (which is in none of the pod's cgroups)

    def open_socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM, protocol=0):
        with inside(self.netns):
            return socket.socket(family, kind, protocol)

    def connect(self, address, port, timeout_s=5.0):
        sock = self.open_socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.settimeout(timeout_s)
        try:
            sock.connect((address, port))
        except OSError:
            sock.close()
            raise
        return sock

    def hears_an_echo(self, address, port):
        """Whether what it sends there comes back."""
        try:
            with self.connect(address, port) as sock:
                sock.sendall(b"hello")
                return receive_exactly(sock, 5) == b"hello"
        except (OSError, EOFError):
            return False

    def refusal(self, address, port, kind=socket.SOCK_STREAM):
        """Connects (a datagram socket also sends and waits), and tells how that failed."""
        start, error = time.monotonic(), ""
        try:
            with self.open_socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as sock:
                sock.settimeout(5)
                sock.connect((address, port))
                if kind == socket.SOCK_DGRAM:
                    sock.send(b"anybody?")
                    sock.recv(100)
        except OSError as failure:
            error = type(failure).__name__
        return Refusal(error, (time.monotonic() - start) * 1000)

    def tls(self, address, name, port=443, **options):
        """A TLS session with SNI `name`, by whatever address."""
        return TlsClient(self.connect(address, port), name, ca=self.lab.outside.ca, **options)

    def http(self, address, request, port=80):
        """Sends raw bytes, returns all that comes back until the end."""
        with self.connect(address, port) as sock:
            sock.sendall(request)
            return receive_all(sock)

    # Packets

    def send_packet(self, packet, vlan=None):
        """Puts an IP packet on the pod's interface as it is."""
        with inside(self.netns), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind(("eth0", 0))
            sock.send(packets.ethernet(self.host_mac, self.mac, packet, vlan))

    def capture(self):
        return Capture(self.netns, ["eth0"])

    def start(self, *argv, uid=None):
        """A program inside that goes on, output in pipes; the caller ends it."""
        return subprocess.Popen(
            self.command(*argv, uid=uid),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
        )


def receive_all(sock, limit=64 << 20):
    out = bytearray()
    while len(out) < limit and (data := sock.recv(65536)):
        out += data
    return bytes(out)


def receive_exactly(sock, count):
    out = bytearray()
    while len(out) < count:
        data = sock.recv(count - len(out))
        if not data:
            raise EOFError(f"{len(out)} of {count} bytes, then the end")
        out += data
    return bytes(out)


def reset(sock):
    """Closes with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
