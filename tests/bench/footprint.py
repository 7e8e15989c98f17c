"""What programs, a daemon, its BPF maps and the kernel hold at a moment, from /proc, the admin socket and bpftool."""
import json
import os
import pathlib
import re
import time

from namespaces import run

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
OTHER_SLABS = re.compile(
    r"^(ext4|btrfs|xfs|jbd2|ovl|fuse|nfs|squashfs|buffer_head|radix_tree|xarray|dentry|proc_|shmem_|inode_cache|kernfs"
    r"|vm_area|maple_node|anon_vma|task_|cred|pid|files_|signal_|sighand|mm_struct|bio|blk|tw_sock)"
)
NO_PREALLOC = 1  # BPF_F_NO_PREALLOC
ARRAYS = {"array", "percpu_array", "sockmap", "ringbuf", "prog_array"}  # always full, or not countable


def cpu_s(pid):
    """Processor seconds of all its threads so far, in user mode and in the kernel's."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / TICKS_PER_S, int(fields[12]) / TICKS_PER_S


def tree(pid):
    """The process and all that it started and that live."""
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *(below for child in children for below in tree(int(child)))]


def rss_kib(pid):
    """Of a process that may have ended meanwhile, as helpers do."""
    try:
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(re.search(r"^Rss: +(\d+) kB", rollup, re.M).group(1))


def slab_kib():
    """What the kernel's objects occupy, less those that other programs and earlier connections cause: files, their names
    and contents, and ports in TIME_WAIT. A socket has a name, too."""
    for shrink in pathlib.Path("/sys/kernel/slab").glob("*/shrink"):
        shrink.write_text("1")  # or objects that were freed count as long as their processor keeps them
    caches = {}
    for line in pathlib.Path("/proc/slabinfo").read_text().splitlines()[2:]:
        name, active, _, size = line.split()[:4]
        caches[name] = int(active), int(size)
    total = sum(active * size for name, (active, size) in caches.items() if not OTHER_SLABS.search(name))
    return (total + caches["sock_inode_cache"][0] * caches["dentry"][1]) / 1024


def entries_kib(pins):
    """What the entries of maps occupy that were made whole when they were loaded: no slab has them."""
    maps = of_maps(pins).values()
    return sum(m["entries"] * m["bytes"] / m["max_entries"] for m in maps if m["whole"]) / 1024


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
    """{name: {type, entries, max_entries, bytes, whole}} of the pinned maps that have entries to count."""
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
            "whole": not about["flags"] & NO_PREALLOC,
        }
    return found
