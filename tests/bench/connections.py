"""Row "connections": TLS connections at an even rate from a pod through agent and gateway to an origin outside. None may
be lost, each has its records, and what agent, gateway and kernel hold afterwards is what they held before."""
import argparse
import collections
import contextlib
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

import footprint  # noqa: E402  (found by the path above, like the following)
import hello  # noqa: E402
import programs  # noqa: E402
import ways  # noqa: E402
from lab import Lab  # noqa: E402
from namespaces import run, wait_for  # noqa: E402
from outside import WEB  # noqa: E402
from report import Report  # noqa: E402
from ways import HOST, KEEP_FILES, PORT, ROTATE_BYTES, SERVICE_ENTRY  # noqa: E402

ROLES = ("agent", "gateway")
MAX_RSS_GROWTH_KIB = 16 * 1024
DRAIN_S = 30
MAX_OPEN = 16000  # at once


def parse_options():
    parser = argparse.ArgumentParser(prog="connections", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=int, default=50000, help="connections a minute (default %(default)s)")
    parser.add_argument("--warm-up", type=float, default=10, help="seconds (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="node.threads of agent and gateway")
    return parser.parse_args()


def prepare(lab, options, limits):
    lab.dns.answer(HOST, WEB, None)
    (lab.resources / "origin.yaml").write_text(SERVICE_ENTRY)
    for role in ROLES:
        settings = getattr(lab, role).settings
        settings["limits"] = dict(limits)
        settings["node"].update(log_level="info", threads=options.threads)
        settings["audit"].update(rotate_bytes=ROTATE_BYTES, keep_files=KEEP_FILES)
    lab.start()


def load(lab, program, words, seconds, every_minute=lambda: None):
    """Calls from a process of pod a for at most so long, as `words` say; what it told."""
    data = lab.directory / "hello"
    data.write_bytes(hello.records(hello.client_hello([HOST])))
    argv = (program, "short", WEB, PORT, data, "-s", seconds, *words)
    return programs.Call(lab.pod("a").command(*argv)).finish(seconds + DRAIN_S, every_minute)


def hold(lab):
    """What everything holds once no connection is left, nor an entry for late packets of one."""
    for role in ROLES:
        daemon = getattr(lab, role)
        wait_for(f"{role} to be idle", lambda d=daemon: d.status()["connections"]["open"] == 0, DRAIN_S, 0.2)
    with contextlib.suppress(AssertionError):  # what stays is told
        wait_for("empty maps", lambda: not ways.entries_left(footprint.of_maps(lab.pins)), DRAIN_S, 0.5)
    return {role: footprint.of_daemon(getattr(lab, role)) for role in ROLES} | {"maps": footprint.of_maps(lab.pins)}


def cpu(lab):
    return {role: footprint.cpu_s(getattr(lab, role).pid) for role in ROLES}


def read_log(daemon):
    """How many records of each event a log has, and how many connections have exactly one open and one close."""
    events, opened, closed = collections.Counter(), collections.Counter(), collections.Counter()
    finished = collections.Counter()
    for path in daemon.audit.files():
        with open(path, encoding="utf-8") as log:
            for line in log:
                record = json.loads(line)
                # What else the pod's kernel sends, such as multicast reports, is nobody's connection. Records of
                # denials in sum have no protocol.
                other = record["event"] == "deny" and record.get("protocol") not in (None, "tcp", "tls")
                events["deny of other packets" if other else record["event"]] += 1
                if record["event"] == "open":
                    opened[record["id"]] += 1
                elif record["event"] == "close":
                    closed[record["id"]] += 1
                    finished[record["close_reason"]] += 1
    whole = {i for i, count in opened.items() if count == 1 and closed[i] == 1}
    return events, whole, finished


def check_logs(report, lab, total):
    ids = {}
    for role in ROLES:
        daemon = getattr(lab, role)
        events, ids[role], finished = read_log(daemon)
        report.figures(
            f"audit log of the {role}",
            files=len(daemon.audit.files()),
            **events,
            **{f"closed {reason}": count for reason, count in finished.items()},
        )
        exact = events["open"] == events["close"] == len(ids[role]) == total
        report.claim(
            f"the {role} wrote one open and one close for each connection, and no denial",
            exact and not events["deny"] and not events["drops"],
            dict(events),
        )
        report.claim(f"the {role} saw every connection finish", finished == {"finished": total}, dict(finished))
        verified = run(lab.binary, "audit", "verify", *daemon.audit.files(), check=False, timeout=600)
        report.claim(
            f"sluice audit verify finds no fault in the {role}'s log",
            verified.returncode == 0,
            (verified.stdout or verified.stderr).strip().splitlines()[-1],
        )
    report.claim("agent and gateway wrote of the same connections", ids["agent"] == ids["gateway"])


def check_growth(report, before, after):
    for role in ROLES:
        was, is_now = before[role], after[role]
        report.figures(f"{role} before and after", **{name: f"{was[name]:,} {is_now[name]:,}" for name in was})
        growth = is_now["rss_kib"] - was["rss_kib"]
        report.claim(f"the {role}'s memory stays", growth < MAX_RSS_GROWTH_KIB, f"{growth:+,} KiB")
        for name in ("fds", "threads", "live_connections"):
            report.claim(f"the {role}'s {name} stay", is_now[name] <= was[name], f"{was[name]} then {is_now[name]}")
        report.claim(f"the {role} dropped no audit record", is_now["audit_drops"] == 0, is_now["audit_drops"])
    report.figures(
        "map entries before and after",
        **{
            name: f"{was['entries']:,} {after['maps'][name]['entries']:,} of {was['max_entries']:,} ({was['type']})"
            for name, was in before["maps"].items()
        },
    )
    grown = {
        name: f"{was['entries']} then {after['maps'][name]['entries']}"
        for name, was in before["maps"].items()
        # Of an LRU the oldest go when there is no room: `processes` holds those of connections that are over.
        if after["maps"][name]["entries"] > was["entries"] and was["type"] != "lru_hash"
    }
    report.claim("no map has more entries, but for LRUs", not grown, grown or "")
    memory = [sum(m["bytes"] for m in moment["maps"].values()) for moment in (before, after)]
    report.claim("the maps' memory stays", memory[1] <= memory[0], f"{memory[0]:,} then {memory[1]:,} bytes")


def check_calls(report, told, seen_outside, total):
    failures = programs.failures(told)
    report.claim(
        "every connection was answered and ended in order",
        told["finished"] == told["begun"] and not failures,
        failures or f"{told['finished']:,} of {told['begun']:,}",
    )
    report.claim(
        "the origin answered each of them once and saw it end in order",
        seen_outside == {"accepted": total, "answered": total, "ended": total, "broken": 0},
        seen_outside,
    )


def measure(report, options, warm_up, run_words, seconds, limits):
    """Warms up and calls, each as its words say, and claims what must be so afterwards; what the caller told, and what
    the maps hold then."""
    program = programs.build("load")
    with Lab() as lab:
        prepare(lab, options, limits)
        origin = lab.spawn("outside", "origin", [program, "origin", WEB, PORT], listens=(WEB, PORT))
        warmed_up = load(lab, program, warm_up, options.warm_up)
        before, cpu_before = hold(lab), cpu(lab)

        minutes = []

        def every_minute():
            minutes.append({role: footprint.of_daemon(getattr(lab, role)) for role in ROLES})
            print(f"minute {len(minutes)}: {minutes[-1]}", file=sys.stderr, flush=True)

        told = load(lab, program, run_words, seconds, every_minute)
        after, cpu_after = hold(lab), cpu(lab)
        origin.stop()
        seen_outside = json.loads(origin.log.read_text())

        report.figures("connections", **told)
        for role in ROLES:
            user, system = (now - then for now, then in zip(cpu_after[role], cpu_before[role]))
            report.figures(
                "processor",
                **{
                    f"{role}_s_per_1000": round((user + system) * 1000 / told["begun"], 3),
                    f"{role}_user_s_per_1000": round(user * 1000 / told["begun"], 3),
                    f"{role}_cores": round((user + system) / told["elapsed_s"], 3),
                },
            )
        total = warmed_up["begun"] + told["begun"]
        check_calls(report, told, seen_outside, total)
        check_growth(report, before, after)
        check_logs(report, lab, total)
        for role in ROLES:
            shown = lab.sluice("status", "--socket", getattr(lab, role).socket)
            report.claim(f"the {role} is healthy", shown.returncode == 0, shown.stdout.splitlines()[0])
    return told, after["maps"]


def main():
    options = parse_options()
    report = Report("connections", options)
    words = ("-r", options.rate / 60, "-c", MAX_OPEN)
    told, _ = measure(report, options, words, words, options.minutes * 60, limits={})  # the defaults do
    wanted = int(options.rate * options.minutes + 0.5)
    held = told["begun"] >= wanted and told["elapsed_s"] < options.minutes * 60 + 1
    report.claim("the rate was held", held, f"{told['begun'] / told['elapsed_s'] * 60:,.0f} a minute")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
