"""What a row of the benchmark found: figures for people and JSON for programs, a plot, and claims that are so or not."""
import json
import os
import pathlib
import platform
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIRECTORY = pathlib.Path(os.environ.get("SLUICE_BENCH_DIRECTORY") or ROOT / "build" / "bench")


class Report:
    def __init__(self, row, options):
        self._row, self._started = row, time.time()
        self._told = {
            "row": row,
            "options": {name: str(value) for name, value in vars(options).items()},
            "kernel": platform.release(),
            "cores": os.cpu_count(),
            "figures": {},
            "measured": {},
            "claims": [],
        }

    def figures(self, group, **values):
        """Numbers that belong together; names end in their unit."""
        self._told["figures"].setdefault(group, {}).update(values)

    def measured(self, title, **facts):
        """One line of the table that compares, as contest.py tells it."""
        self._told["measured"][title] = facts

    def claim(self, text, holds, found=""):
        self._told["claims"].append({"claim": text, "holds": bool(holds), "found": str(found)})

    def finish(self):
        """Prints the tables, writes the files; the exit status."""
        self._told["seconds"] = round(time.time() - self._started, 1)
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        path = DIRECTORY / f"{self._row}.json"
        path.write_text(json.dumps(self._told, indent=2) + "\n")
        for group, values in self._told["figures"].items():
            print(f"\n{group}")
            for name, value in values.items():
                print(f"  {name:<28} {value:,}" if isinstance(value, (int, float)) else f"  {name:<28} {value}")
        if self._told["measured"]:
            print_measured(self._row, self._told["measured"])
            # Not for rows without: only the benchmark's own packages have what plots.
            from plot import draw  # pylint: disable=import-outside-toplevel

            print(f"\n{draw(self._told, path.with_suffix('.svg'))}")
        print(f"\n{self._row}: what is claimed")
        for claim in self._told["claims"]:
            found = f": {claim['found']}" if claim["found"] else ""
            print(f"  {'ok  ' if claim['holds'] else 'FAIL'} {claim['claim']}{found}")
        print(f"\n{path}")
        return 0 if all(claim["holds"] for claim in self._told["claims"]) else 1


def competitors_of(measured):
    return list(dict.fromkeys(name for facts in measured.values() for name in facts["rounds"]))


def in_order(names):
    """However the rounds began: direct, then us, then the others."""
    return sorted(names, key=lambda name: (name != "direct", not name.startswith("sluice"), name))


def print_measured(row, measured):
    names = in_order(competitors_of(measured))
    ours = next(iter(measured.values()))["ours"]
    with_peers = any(facts["best_peer"] for facts in measured.values())
    ours = ours if "direct" in names else []
    lines = [["medians", "unit", *names, *(f"{name}/direct" for name in ours)]]
    lines[0] += ["ahead of the best peer"] if with_peers else []
    for title, facts in measured.items():
        medians = [number(facts["median"].get(name)) for name in names]
        ratios = [number(facts["to_direct"].get(name)) for name in ours]
        lines.append([title, facts["unit"], *medians, *ratios])
        if with_peers:
            lines[-1].append(f"{number(facts['ahead_of_best_peer'])} x {facts['best_peer'] or '-'}")
    print(f"\n{row}")
    print_columns(lines)
    lines = [["cores that its processes used", *names]]
    lines += [[title, *(number(facts["cores"].get(name)) for name in names)] for title, facts in measured.items()]
    print()
    print_columns(lines)


def number(value):
    """Three digits that count."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def print_columns(lines):
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        cells = [word.rjust(width) for word, width in zip(line, widths)]
        print("  " + "  ".join([line[0].ljust(widths[0]), *cells[1:]]))
