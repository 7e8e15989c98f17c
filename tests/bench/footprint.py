"""What a daemon and its BPF maps hold at a moment, from /proc, the admin socket and bpftool."""
import json
import os
import pathlib
import re
import time

from namespaces import run

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
ARRAYS = {"array", "percpu_array", "sockmap", "ringbuf", "prog_array"}  # always full, or not countable


def cpu_s(pid):
    """Processor seconds of all its threads so far, in user mode and in the kernel's."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / TICKS_PER_S, int(fields[12]) / TICKS_PER_S


def count_fds(pid):
    """The least of a second: whoever asks for status or metrics has a connection for a moment."""
    least = None
    for _ in range(10):
        count = len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))
        least = count if least is None else min(least, count)
        time.sleep(0.1)
    return least


def of_daemon(daemon):
    proc = pathlib.Path(f"/proc/{daemon.pid}")
    memory = dict(re.findall(r"^(Rss|Pss): +(\d+) kB", (proc / "smaps_rollup").read_text(), re.M))
    status = daemon.status()
    return {
        "rss_kib": int(memory["Rss"]),
        "pss_kib": int(memory["Pss"]),
        "fds": count_fds(daemon.pid),
        "threads": len(list((proc / "task").iterdir())),
        "live_connections": status["connections"]["open"],
        "audit_drops": status["audit"]["drops"],
    }


def of_maps(pins):
    """{name: {type, entries, max_entries, bytes}} of the pinned maps that have entries to count."""
    found = {}
    for path in sorted(pathlib.Path(pins).rglob("*")):
        shown = run("bpftool", "-j", "map", "show", "pinned", path, check=False)
        if not path.is_file() or shown.returncode != 0:
            continue
        about = json.loads(shown.stdout)
        if about["type"] in ARRAYS:
            continue
        entries = json.loads(run("bpftool", "-j", "map", "dump", "pinned", path).stdout)
        found[about["name"]] = {
            "type": about["type"],
            "entries": len(entries),
            "max_entries": about["max_entries"],
            "bytes": about["bytes_memlock"],
        }
    return found
