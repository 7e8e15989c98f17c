"""The C programs of the benchmark: each directory here with C files is one."""
import json
import pathlib
import subprocess

from namespaces import run
from report import DIRECTORY

HERE = pathlib.Path(__file__).resolve().parent
LIBRARIES = {"transfer": ["-lcrypto"], "tls_calls": ["-lssl", "-lcrypto"]}


def build(name):
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    program, sources = DIRECTORY / name, sorted((HERE / name).glob("*.c"))
    run("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", program, *sources, *LIBRARIES.get(name, ()))
    return program


class Call:
    """A `load` that runs as a caller, by a command that brings it where it belongs."""

    def __init__(self, command):
        self._argv = [str(word) for word in command]
        self._child = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")

    def next_line(self):
        return json.loads(self._child.stdout.readline())

    def finish(self, timeout_s, every_minute=lambda: None):
        """What it told at its end; its standard input ends now."""
        self._child.stdin.close()
        self._child.stdin = None  # communicate() would flush it
        out, left_s = b"", timeout_s
        while True:
            step_s = min(60, left_s)
            try:
                out = self._child.communicate(timeout=step_s)[0].decode()
                break
            except subprocess.TimeoutExpired:
                left_s -= step_s
                if left_s <= 0:
                    self.kill()
                    raise
                every_minute()
        if self._child.returncode != 0:
            raise RuntimeError(f"{' '.join(self._argv)} ended with {self._child.returncode}:\n{out}")
        return json.loads(out)

    def kill(self):
        self._child.kill()
        self._child.wait()


OUTCOMES = (
    "connect_failed",
    "send_failed",
    "reset",
    "denied",
    "ended_early",
    "other_answer",
    "other_total",
    "other_message",
    "unfinished",
)


class Server:
    """A program that serves at `listen`, with a directory of its own. start() returns when it listens."""

    def __init__(self, directory, listen):
        self.directory, self.listen = directory, listen
        self.directory.mkdir(exist_ok=True)
        self._child = None

    def spawn(self):
        """Starts it, and returns it when it listens."""
        raise NotImplementedError

    def start(self):
        self._child = self.spawn()

    def stop(self):
        if self._child:
            self._child.stop()
            self._child = None

    @property
    def pid(self):
        return self._child.pid

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text)
        return path


def failures(told):
    """{outcome: how many} of the calls that did not end as they should."""
    found = {name: told[name] for name in OUTCOMES if told[name]}
    missing = told["begun"] - told["finished"] - sum(found.values())
    return found | ({"not accounted for": missing} if missing else {})
