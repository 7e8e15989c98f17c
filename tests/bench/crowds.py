"""Pods with very many connections that hold no files, and the gateway of their kind (crowd/)."""
import ipaddress
import json
import struct
import subprocess

import programs
import ways
from lab import GATEWAY_NAME
from namespaces import ip_batch, run, wait_for

GATEWAY = "10.2.0.9"  # an address of no kernel's
ADDRESSES_EACH = 4  # of a pod


class Crowds:
    """Of a lab that has not started: an agent alone whose gateway answers crowds."""

    def __init__(self, way):
        self.way, self.lab = way, way.lab
        self.program = programs.build("crowd")
        address = {"name": GATEWAY_NAME, "addresses": [f"{GATEWAY}:{ways.PORT}"], "transport": "raw"}
        self.lab.agent.settings["egress"]["gateways"] = [address]
        self.lab.lead_to_gateway_host(GATEWAY)
        self.lab.spawn("gateway", "answer", [self.program, "answer", "eth0", GATEWAY, ways.PORT])
        self._next = int(ipaddress.ip_address("10.1.0.32"))

    def add_pod(self, name, number):
        """A pod with addresses that its own kernel does not know of; the first of them."""
        lab, pod = self.lab, self.lab.add_pod(name, "my-namespace", number)
        mine = [str(ipaddress.ip_address(self._next + i)) for i in range(ADDRESSES_EACH)]
        self._next += ADDRESSES_EACH
        for address in mine:
            ip_batch(
                lab.node,
                f"""
                route add {address}/32 dev {pod.interface}
                neigh replace {address} lladdr {pod.mac} dev {pod.interface} nud permanent""",
            )
        identity = lab._identity(pod)
        identity["addresses"] += mine
        lab.agent.settings["identity"]["pods"].append(identity)
        return mine[0]

    def loads(self):
        """Entries, live and undecided flows of all pods together."""
        path = self.lab.pins / "maps" / "loads"
        found = [0, 0, 0]
        for entry in json.loads(run("bpftool", "-j", "map", "dump", "pinned", path).stdout):
            key, value = (bytes(int(byte, 16) for byte in entry[part]) for part in ("key", "value"))
            if not any(key):
                continue  # the node's own sum
            found = [a + b for a, b in zip(found, struct.unpack_from("=III", value))]
        return found

    def wait_until_gone(self, timeout_s=60):
        """Until no flow has an entry."""
        wait_for("the flows to be gone", lambda: not self.loads()[0], timeout_s, 0.2)

    def caller(self, pod, first, host):
        return Caller(self, pod, first, host)


class Caller:
    """A `crowd call` in a pod, asked line by line. A context manager; its connections are ended by asking."""

    def __init__(self, crowds, pod, first, host):
        pod = crowds.lab.pod(pod)
        target = (ways.TARGETS[4], ways.PORT)
        argv = (crowds.program, "call", "eth0", pod.host_mac, first, *target, crowds.way.hello(host))
        self._child = subprocess.Popen(
            list(map(str, pod.command(*argv))), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", text=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._child.kill()
        self._child.wait()

    def begin(self, *words):
        self._child.stdin.write(" ".join(map(str, words)) + "\n")
        self._child.stdin.flush()
        return self

    def result(self):
        return json.loads(self._child.stdout.readline())

    def ask(self, *words):
        return self.begin(*words).result()
