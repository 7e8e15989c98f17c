"""What a row of the benchmark found: figures for people and JSON for programs, and claims that are so or not."""
import json
import pathlib
import platform
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIRECTORY = ROOT / "build" / "bench"


class Report:
    def __init__(self, row, options):
        self._row, self._started = row, time.time()
        self._told = {
            "row": row,
            "options": {name: str(value) for name, value in vars(options).items()},
            "kernel": platform.release(),
            "figures": {},
            "claims": [],
        }

    def figures(self, group, **values):
        """Numbers that belong together; names end in their unit."""
        self._told["figures"].setdefault(group, {}).update(values)

    def claim(self, text, holds, found=""):
        self._told["claims"].append({"claim": text, "holds": bool(holds), "found": str(found)})

    def finish(self):
        """Prints the table, writes the file; the exit status."""
        self._told["seconds"] = round(time.time() - self._started, 1)
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        path = DIRECTORY / f"{self._row}.json"
        path.write_text(json.dumps(self._told, indent=2) + "\n")
        for group, values in self._told["figures"].items():
            print(f"\n{group}")
            for name, value in values.items():
                print(f"  {name:<28} {value:,}" if isinstance(value, (int, float)) else f"  {name:<28} {value}")
        print(f"\n{self._row}: what is claimed")
        for claim in self._told["claims"]:
            found = f": {claim['found']}" if claim["found"] else ""
            print(f"  {'ok  ' if claim['holds'] else 'FAIL'} {claim['claim']}{found}")
        print(f"\n{path}")
        return 0 if all(claim["holds"] for claim in self._told["claims"]) else 1
