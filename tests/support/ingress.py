"""An ingress in a network namespace of its own, with applications behind it and clients before it, all on its loopback."""
import atexit
import json
import os
import pathlib
import shutil
import socket
import ssl
import sys

from authority import Authority
from daemon import Daemon
from namespaces import Claim, Spawned, inside, ip_batch, remove_stale, run, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICE = "myapp-service.my-namespace.svc.cluster.local"
APP = "127.0.0.2:8080"

_open = []


def resource(kind, name, namespace, **spec):
    return {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


class IngressScene:
    """The ingress is not started; close() removes everything."""

    def __init__(self):
        self.binary = pathlib.Path(os.environ.get("SLUICE_BINARY") or ROOT / "build" / "sluice").resolve()
        remove_stale()
        self._claim = Claim()
        _open.append(self)
        self.directory = self._claim.directory
        self.namespace = f"{self._claim.prefix}-ingress"
        self._children = []
        run("ip", "netns", "add", self.namespace)
        ip_batch(self.namespace, "link set lo up")
        self.authority = Authority(self.directory / "authority")
        self.secrets = self.directory / "secrets"
        self.secrets.mkdir()
        self.resources = self.directory / "resources"
        self.resources.mkdir()
        self.ingress = Daemon(
            self,
            "ingress",
            self.namespace,
            {
                "resources": {"files": [str(self.resources)]},
                "ingress": {
                    "namespace": "istio-system",
                    "labels": {"istio": "ingressgateway"},
                    "addresses": ["127.0.0.1"],
                    "secrets": str(self.secrets),
                    "services": [self.service(SERVICE, 80, APP)],
                },
            },
        )

    @staticmethod
    def service(host, port, *addresses, protocol="http", labels=None):
        endpoints = [{"address": address, "labels": labels or {}} for address in addresses]
        return {"host": host, "port": port, "protocol": protocol, "endpoints": endpoints}

    def start_apps(self, *addresses):
        self.spawn("app", [sys.executable, ROOT / "tests" / "support" / "ingress_app.py", *addresses])
        for address in addresses:
            self.wait_listening(address)

    def spawn(self, name, argv, env=None):
        self._children.append(Spawned(name, argv, self.directory / f"{name}.log", self.namespace, env))
        return self._children[-1]

    def wait_listening(self, address):
        host, port = address.rsplit(":", 1)

        def probe():
            try:
                self.connect(int(port), host).close()
                return True
            except OSError:
                return False

        wait_for(f"a server at {address}", probe)

    def secret(self, name, *hosts, days=2):
        """A Secret with a certificate for `hosts`, put in place by one rename, as Kubernetes does it."""
        certificate, key = self.authority.issue(name, ",".join(f"DNS:{host}" for host in hosts), days)
        self.put_secret(name, {"tls.crt": certificate.read_bytes(), "tls.key": key.read_bytes()})

    def put_secret(self, name, files):
        fresh = self.secrets / f".{name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for key, content in files.items():
            (fresh / key).write_bytes(content)
        shutil.rmtree(self.secrets / name, ignore_errors=True)
        fresh.rename(self.secrets / name)

    def write(self, name, *objects):
        """Resources in one file, put there whole; none: the file goes."""
        path = self.resources / f"{name}.yaml"
        if not objects:
            path.unlink(missing_ok=True)
            return
        fresh = self.directory / "fresh.yaml"
        fresh.write_text("\n---\n".join(json.dumps(one, indent=1) for one in objects))
        fresh.rename(path)

    def apply(self, name, *objects):
        """The same, and returns when they are in force."""
        before = self.ingress.status()["policy"]["generation"]
        self.write(name, *objects)
        wait_for("a new policy", lambda: self.ingress.status()["policy"]["generation"] > before)

    # Clients

    def connect(self, port, host="127.0.0.1", timeout_s=10):
        with inside(self.namespace):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        sock.connect((host, port))
        return sock

    def tls(self, name, port=443, alpn=("http/1.1",), certificate=None, context=None):
        if context is None:
            context = ssl.create_default_context(cafile=self.authority.ca)
            context.set_alpn_protocols(list(alpn))
        if certificate:
            context.load_cert_chain(*certificate)
        return context.wrap_socket(self.connect(port), server_hostname=name)

    def run(self, *argv, check=False, input=None, timeout=60):
        return run("ip", "netns", "exec", self.namespace, *argv, check=check, input=input, timeout=timeout)

    def curl(self, url, *options):
        """Its standard output; status and header fields are in front with "-i"."""
        host = url.split("/")[2]
        name, _, port = host.partition(":")
        port = port or ("443" if url.startswith("https") else "80")
        resolve = ("--resolve", f"{name}:{port}:127.0.0.1")
        return self.run("curl", "-sS", "-m", "20", "--cacert", self.authority.ca, *resolve, *options, url)

    def records(self, **wanted):
        from daemon import matches

        return [record for record in self.ingress.audit.records() if matches(record, wanted)]

    def record(self, **wanted):
        """The last record like that, waiting for it."""
        return wait_for(f"a record with {wanted}", lambda: self.records(**wanted))[-1]

    def explain(self):
        return f"{self.directory}\n{self.ingress.log_tail()}"

    def close(self):
        if self in _open:
            _open.remove(self)
            self.ingress.stop()
            for child in self._children:
                child.stop(9)
            self._claim.release()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def answer_of(sock, method="GET"):
    """One HTTP/1.1 answer from a socket: status, header fields in lower case, body."""
    import http.client

    response = http.client.HTTPResponse(sock, method=method)
    response.begin()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


@atexit.register
def _close_all():
    for scene in list(_open):
        scene.close()
