"""`sluice agent` and `sluice gateway` as the lab runs them: settings, life and death, admin socket, audit log."""
import http.client
import json
import re
import signal
import socket

from namespaces import Spawned, wait_for


class UnixHttp(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=5)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class AuditLog:
    """The records of one role, read from its file and the rotated ones."""

    def __init__(self, path):
        self.path = path

    def files(self):
        """Oldest first."""
        rotated = [p for p in self.path.parent.glob(self.path.name + ".*") if p.suffix[1:].isdigit()]
        return [p for p in [*sorted(rotated, key=lambda p: -int(p.suffix[1:])), self.path] if p.exists()]

    def lines(self):
        return [line for path in self.files() for line in path.read_text(errors="replace").splitlines(keepends=True)]

    def records(self, start=0):
        """Whole records from line `start` on; a torn last line is left out."""
        return [json.loads(line) for line in self.lines()[start:] if line.endswith("}\n")]


def field(record, name):
    """ "pod.name" of {"pod": {"name": ...}}; None when absent."""
    for part in name.split("."):
        if not isinstance(record, dict) or part not in record:
            return None
        record = record[part]
    return record


def matches(record, wanted):
    """Whether every wanted field is so; a value may be a function or a compiled expression."""
    for name, value in wanted.items():
        found = field(record, name)
        if isinstance(value, re.Pattern):
            if not isinstance(found, str) or not value.search(found):
                return False
        elif callable(value):
            if found is None or not value(found):
                return False
        elif found != value:
            return False
    return True


class Daemon:
    """One role in one namespace. `settings` is a plain dictionary; YAML reads JSON. `name`: when a role has several."""

    def __init__(self, lab, role, namespace, settings, name=None):
        self.lab, self.role, self.namespace, self.settings = lab, role, namespace, settings
        self.name = name or role
        self.directory = lab.directory / self.name
        self.directory.mkdir()
        self.log = self.directory / "log"
        self.config = self.directory / "settings.yaml"
        self.audit = AuditLog(self.directory / "audit.jsonl")
        self.socket = self.directory / "admin.sock"
        settings.update(audit={"path": str(self.audit.path)}, admin={"socket": str(self.socket)})
        settings.setdefault("node", {}).update(name=f"lab-{self.name}", log_level="debug")
        self.under = []  # what the role is run by: the argv of a program that runs another
        self._child = None

    def start(self, wait=True, options=()):
        """Starts with the settings as they are now; returns when it is ready."""
        if self.running():
            raise RuntimeError(f"{self.name} runs already")
        self.config.write_text(json.dumps(self.settings, indent=2) + "\n")
        argv = [*self.under, self.lab.binary, self.role, "-c", self.config, *options]
        self._child = Spawned(self.name, argv, self.log, self.namespace)
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout_s=15):
        def probe():
            if not self._child.alive():
                raise AssertionError(
                    f"sluice {self.name} ended with {self._child.process.returncode}:\n{self.log_tail()}"
                )
            try:
                return self.get("/ready")[0] == 200
            except OSError:
                return False

        wait_for(f"sluice {self.name} to be ready", probe, timeout_s)

    def running(self):
        return self._child is not None and self._child.alive()

    def state(self):
        """In words, for people."""
        if self._child is None:
            return "was not started"
        return f"runs as pid {self.pid}" if self.running() else f"ended with {self._child.process.returncode}"

    @property
    def pid(self):
        return self._child.pid

    def stop(self):
        """SIGTERM, and the exit status."""
        return self._child.stop() if self._child else None

    def kill(self):
        """SIGKILL."""
        if self._child:
            self._child.stop(signal.SIGKILL)

    def restart(self, wait=True):
        self.stop()
        self.start(wait)

    def send_signal(self, number):
        self._child.send_signal(number)

    def get(self, path):
        """Status and text of an admin page."""
        connection = UnixHttp(self.socket)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def status(self):
        return json.loads(self.get("/status")[1])

    def metric(self, name, **labels):
        """The sum of a metric's samples with these labels; 0 when there is none."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            found = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$", line)
            if found and found.group(1) == name:
                pairs = dict(re.findall(r'(\w+)="([^"]*)"', found.group(2) or ""))
                if all(pairs.get(k) == v for k, v in labels.items()):
                    total += float(found.group(3))
        return total

    def log_tail(self, lines=40):
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
