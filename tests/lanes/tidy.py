#!/usr/bin/env python3
"""clang-tidy over the agent's sources. usage: tidy.py BUILD_DIRECTORY (a clang build, for its compile commands)

Most of the work is the standard library's and Asio's headers, the same again for each file, so the files of a module
are looked at as one translation unit. A module that was clean is passed over while it, the headers and the checks are
the same.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
AGENT = ROOT / "agent"


def digest(files):
    """Of the names and the contents."""
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(f"{file}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def shared_digest():
    """Of what every module's result hangs on."""
    patterns = ["agent/**/*.h", "agent/CMakeLists.txt", "bpf/*", "CMakeLists.txt", ".clang-tidy", "tests/lanes/*"]
    return digest(file for pattern in patterns for file in ROOT.glob(pattern))


def compile_flags(build):
    """module -> the flags its files are compiled with."""
    flags = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        module = pathlib.Path(entry["file"]).parent
        if module.parent == AGENT:
            words = shlex.split(entry["command"])
            first = next(index for index, word in enumerate(words) if word.startswith("-"))
            flags[module.name] = words[first:words.index("-o")]
    return flags


def sources(module):
    return sorted((AGENT / module).glob("*.cpp"))


def write_unit(unit, files):
    unit.write_text("".join(f'#include "{file}"  // NOLINT(bugprone-suspicious-include)\n' for file in files))


def clashing(unit, files, flags):
    """Those of the unit's files that do not compile after the ones before them: both have a local name."""
    compiler = ["clang++-19", *flags, "-w", "-ferror-limit=0", "-fsyntax-only", unit]
    told = subprocess.run(compiler, capture_output=True, text=True)
    if told.returncode == 0:
        return []
    if len(files) == 1:
        sys.exit(told.stderr)
    failing = set(re.findall(r"^(/\S+?):\d+:\d+: (?:fatal )?error:", told.stderr, re.MULTILINE))
    return [file for file in files[1:] if str(file) in failing] or files[1:]


def units(directory, module, flags):
    """Writes translation units that hold the module's files between them, as few as their local names allow."""
    files = sources(module)
    while files:
        # The static analyzer walks what a file includes when the file's name begins so.
        unit = directory / f"UnifiedSource_{module}_{files[0].stem}.cpp"
        others = []
        write_unit(unit, files)
        while clashes := clashing(unit, files, flags):
            others += clashes
            files = [file for file in files if file not in clashes]
            write_unit(unit, files)
        yield unit
        files = others


def tidy(unit, flags):
    """Whether the unit is clean; prints what is not.

    A finding counts where it is in this tree's own files. The analyzer follows paths into Asio's coroutine frames and
    bpftool's skeletons too, which it takes for uninitialized and leaked.
    """
    began = time.monotonic()
    told = subprocess.run(["clang-tidy-19", "--quiet", f"--config-file={ROOT}/.clang-tidy", unit, "--", *flags],
                          capture_output=True, text=True)
    findings = re.split(r"^(?=\S+:\d+:\d+: error: )", told.stdout, flags=re.MULTILINE)
    own = [finding for finding in findings if finding.startswith((f"{AGENT}/", f"{ROOT}/bpf/"))]
    crashed = told.stderr if told.returncode not in (0, 1) else ""
    clean = not own and not crashed
    name = unit.stem.removeprefix("UnifiedSource_")
    verdict = f"{'clean' if clean else 'not clean'} ({time.monotonic() - began:.0f} s)"
    print(f"{''.join(own)}{crashed}{name}: {verdict}", flush=True)
    return clean


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    directory = build / "tidy"
    directory.mkdir(exist_ok=True)
    shared = shared_digest()
    flags = compile_flags(build)
    stamp = {module: directory / f"{module}.clean" for module in flags}
    state = {module: shared + digest(sources(module)) for module in flags}
    stale = [module for module in flags if not stamp[module].exists() or stamp[module].read_text() != state[module]]
    print(f"clang-tidy: {len(stale)} of {len(flags)} modules to look at", flush=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        written = list(pool.map(lambda module: list(units(directory, module, flags[module])), stale))
        running = [[pool.submit(tidy, unit, flags[module]) for unit in written_units]
                   for module, written_units in zip(stale, written)]
        for module, results in zip(stale, running):
            if all([result.result() for result in results]):
                stamp[module].write_text(state[module])
            else:
                stamp[module].unlink(missing_ok=True)
    return 0 if all(stamp[module].exists() for module in flags) else 1


if __name__ == "__main__":
    sys.exit(main())
