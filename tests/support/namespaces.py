"""Network namespaces, processes and leftovers: everything of a lab that the kernel holds.

Every name carries the lab's own prefix ("slc<pid>n<count>-"), and the directory RUN/slc<pid>n<count> holds a lock for as
long as its owner lives, so that a later lab can tell what a SIGKILLed one left and remove it.
"""
import contextlib
import ctypes
import fcntl
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

RUN = pathlib.Path("/run/sluice-lab")
NETNS = pathlib.Path("/run/netns")
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def run(*argv, check=True, input=None, timeout=60):
    """Runs a command of ours; its output, or an error that shows it."""
    done = subprocess.run([str(a) for a in argv], input=input, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout}{done.stderr}{input or ''}"
        )
    return done


def wait_for(what, probe, timeout_s=10.0, interval_s=0.01):
    """Calls probe() until it returns something true, and returns that; an error naming `what` when time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}")
        time.sleep(interval_s)


def ip_batch(namespace, text):
    """Runs lines of ip(8) commands inside a namespace, all or an error."""
    lines = "\n".join(line.strip() for line in text.strip().splitlines() if line.strip())
    run("ip", "-n", namespace, "-batch", "-", input=lines + "\n")


@contextlib.contextmanager
def inside(namespace):
    """Moves the calling thread into the network namespace; sockets made there stay there."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(NETNS / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(there)
        try:
            yield
        finally:
            _setns(here)
    finally:
        os.close(there)
        os.close(here)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


def sysctl(namespace, **values):
    """Sets net.* values inside a namespace; "__" stands for "/"."""
    with inside(namespace):
        for key, value in values.items():
            path = pathlib.Path("/proc/sys/net") / key.replace("__", "/")
            # /proc/sys/net follows the namespace of the opening thread.
            path.write_text(f"{value}\n")


def cgroup2_root():
    """Where cgroup2 is mounted: /sys/fs/cgroup on most machines, /sys/fs/cgroup/unified on hybrid ones."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return pathlib.Path(fields[4])
    raise RuntimeError("no cgroup2 is mounted on this machine")


def mounts_below(directory):
    """Mount points at or below a directory, deepest first."""
    points = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    prefix = str(directory)
    return sorted((p for p in points if p == prefix or p.startswith(prefix + "/")), key=len, reverse=True)


class Spawned:
    """A child process that dies with its lab, its output in a file."""

    def __init__(self, name, argv, log, namespace=None, env=None):
        self.name = name
        self.log = log
        command = ["setpriv", "--pdeathsig", "KILL"]
        if namespace:
            # Not "ip netns exec": that mounts a fresh /sys, and with it cgroup2 and bpffs are gone.
            command += ["nsenter", f"--net={NETNS / namespace}", "--"]
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                command + [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd="/"
            )

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def send_signal(self, number):
        if self.alive():
            self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM, timeout_s=10):
        """Ends it and waits; killed when it does not go. The exit status."""
        if self.alive():
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise AssertionError(f"{self.name} (pid {self.pid}) did not end {timeout_s} s after signal {number}")
        return self.process.returncode


class Claim:
    """The exclusive directory and name prefix of one lab."""

    _count = 0

    def __init__(self):
        Claim._count += 1
        self.prefix = f"slc{os.getpid()}n{Claim._count}"
        self.directory = RUN / self.prefix
        with _registry():
            self.directory.mkdir(mode=0o755)
            self._lock = os.open(self.directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def release(self):
        with _registry():
            remove_all(self.prefix)
        os.close(self._lock)


@contextlib.contextmanager
def _registry():
    """One at a time among all labs of this machine; the directory RUN goes with the last of them."""
    while True:
        RUN.mkdir(mode=0o755, exist_ok=True)
        try:
            fd = os.open(RUN, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        fcntl.flock(fd, fcntl.LOCK_EX)
        if RUN.exists() and os.path.samestat(os.fstat(fd), RUN.stat()):
            break
        os.close(fd)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            RUN.rmdir()
        os.close(fd)


def remove_stale():
    """Removes what labs left whose owner is gone."""
    with _registry():
        _remove_stale()


def _remove_stale():
    prefixes = {d.name for d in RUN.glob("slc*")}
    prefixes |= {m.group(1) for m in (re.match(r"(slc\d+n\d+)-", n.name) for n in NETNS.glob("slc*")) if m}
    prefixes |= {d.name for d in cgroup2_root().glob("slc*")}
    for prefix in prefixes:
        if not re.fullmatch(r"slc\d+n\d+", prefix):
            continue
        lock_path = RUN / prefix / "lock"
        try:
            lock = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            owner = re.match(r"slc(\d+)n", prefix).group(1)
            if not os.path.exists(f"/proc/{owner}"):
                remove_all(prefix)
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # its owner lives
        else:
            remove_all(prefix)
        finally:
            os.close(lock)


def remove_all(prefix):
    """Removes processes, links, namespaces, cgroups, mounts and files of the prefix. Fine when there is nothing."""
    cgroup = cgroup2_root() / prefix
    namespaces = [n.name for n in NETNS.glob(prefix + "-*")]
    _kill(namespaces, cgroup)
    for namespace in namespaces:
        # Deleting a namespace removes its links some time later; deleting links is done when the command returns.
        links = run("ip", "-n", namespace, "-o", "link", "show", "type", "veth", check=False).stdout
        for name in re.findall(r"^\d+: ([^@:\s]+)", links, re.M):
            run("ip", "-n", namespace, "link", "del", name, check=False)
    for namespace in namespaces:
        run("ip", "netns", "del", namespace, check=False)
    for point in mounts_below(RUN / prefix):
        run("umount", point, check=False)
    for directory in sorted(cgroup.rglob("*"), reverse=True):
        if directory.is_dir():
            _rmdir(directory)
    if cgroup.exists():
        _rmdir(cgroup)
    shutil.rmtree(RUN / prefix, ignore_errors=True)
    left = [n.name for n in NETNS.glob(prefix + "-*")] + [str(p) for p in (cgroup, RUN / prefix) if p.exists()]
    if left:
        raise RuntimeError(f"could not remove {', '.join(left)}")


def _kill(namespaces, cgroup):
    def pids():
        found = set()
        for namespace in namespaces:
            listed = run("ip", "netns", "pids", namespace, check=False).stdout
            found |= {int(p) for p in listed.split()}
        for procs in [*cgroup.rglob("cgroup.procs"), cgroup / "cgroup.procs"]:
            with contextlib.suppress(OSError):
                found |= {int(p) for p in procs.read_text().split()}
        return found - {os.getpid()}

    deadline = time.monotonic() + 10
    while (left := pids()) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _rmdir(directory):
    deadline = time.monotonic() + 5
    while directory.exists():
        try:
            directory.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)
