#!/usr/bin/env python3
"""Checks how the source is laid out and prints what is wrong, one finding a line: `check_layout.py ROOT`.

- agent/<module>/ includes only modules of a lower rank than its own, always as "module/header.h".
- Libraries stay behind the module that owns them, and pure code sees no system at all.
- Every header has #pragma once; no file has more than 1,000 lines.
"""

import pathlib
import re
import sys

RANKS = {
    "base": 0,
    "wire": 1, "settings": 1, "policy": 1,
    "resources": 2, "kube": 2, "net": 2,
    "kernel": 3, "tls": 3,
    "sources": 4, "identity": 4, "observe": 4, "relay": 4,
    "serving": 5,
    "egress": 6, "gateway": 6, "ingress": 6,
    "admin": 7,
    "cli": 8,
}

# Where each library may be included. The first pattern that a header fits decides.
OWNERS = [
    (r"openssl/", {"tls"}),
    (r"boost/(asio|beast)/(.*/)?ssl([./_]|$)", {"tls"}),
    (r"bpf/", {"kernel"}),
    (r".*\.skel\.h$", {"kernel"}),
    (r"netlink/", {"net"}),
]

PURE_MODULES = {"wire", "policy", "resources", "kube"}
# The kernel's decisions, with all of our own that it includes.
PURE_FILE = "bpf/decide.h"
IMPURE = [r"sys/", r"openssl/", r"bpf/", r"boost/(asio|beast)", r"spdlog/", r"netlink/",
          r"(unistd|fcntl|poll|ares|netdb)\.h$"]

LINES_LIMIT = 1000
SOURCES = {".h", ".c", ".cpp", ".py", ".sh"}
INCLUDE = re.compile(r"^\s*#\s*(?:include|include_next|import)\b\s*(.*)$")
TARGET = re.compile(r'^(?:"([^"]+)"|<([^>]+)>)')


class Layout:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.findings = []
        self.pure_files = set()

    def check(self):
        self.find_pure_files(PURE_FILE)
        for path in self.sources():
            self.check_file(path)
        for module in sorted(p.name for p in (self.root / "agent").iterdir() if p.is_dir()):
            if module not in RANKS:
                self.findings.append(f"agent/{module}: a module without a rank: add it to the design and to this check")
        return self.findings

    def find_pure_files(self, name):
        path = self.root / name
        if name in self.pure_files or not path.is_file():
            return
        self.pure_files.add(name)
        for line in path.read_text(encoding="utf-8").splitlines():
            if found := re.match(r'\s*#\s*include\s*"([^"]+)"', line):
                self.find_pure_files(found.group(1))

    def sources(self):
        for top in ("agent", "bpf", "tests", "deploy"):
            if (self.root / top).is_dir():
                yield from (p for p in sorted((self.root / top).rglob("*")) if p.suffix in SOURCES and p.is_file())

    def check_file(self, path):
        name = path.relative_to(self.root).as_posix()
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > LINES_LIMIT:
            self.findings.append(f"{name}: {len(lines)} lines, more than {LINES_LIMIT}")
        if path.suffix == ".h" and "#pragma once" not in lines:
            self.findings.append(f"{name}: no #pragma once")
        module = name.split("/")[1] if name.startswith("agent/") and name.count("/") > 1 else None
        if module is None and name not in self.pure_files:
            return
        for number, line in enumerate(lines, 1):
            if directive := INCLUDE.match(line):
                self.check_include(f"{name}:{number}", name, module, directive.group(1))

    def check_include(self, where, name, module, argument):
        target = TARGET.match(argument)
        if not target:
            self.findings.append(f"{where}: an include that cannot be read: {argument}")
            return
        quoted, angled = target.groups()
        header = quoted or angled
        if ".." in header.split("/") or header.startswith(("/", "agent/")):
            self.findings.append(f"{where}: {header}: include headers as \"module/header.h\"")
            return
        if module is None:
            if angled and any(re.match(pattern, header) for pattern in IMPURE):
                self.findings.append(f"{where}: <{header}> is not for pure code")
            return
        if module in PURE_MODULES and any(re.match(pattern, header) for pattern in IMPURE):
            self.findings.append(f"{where}: {header} is not for pure code")
            return
        for pattern, owners in OWNERS:
            if re.match(pattern, header):
                if module not in owners:
                    self.findings.append(f"{where}: {header} belongs to {', '.join(sorted(owners))}")
                return
        self.check_rank(where, module, quoted, angled)

    def check_rank(self, where, module, quoted, angled):
        header = quoted or angled
        other = header.split("/")[0]
        if angled and not (self.root / "agent" / angled).is_file():
            return  # a system header or a library's
        if "/" not in header or other not in RANKS:
            self.findings.append(f"{where}: {header}: include headers as \"module/header.h\"")
        elif angled:
            self.findings.append(f"{where}: <{header}> is one of ours: include it in quotes")
        elif other != module and RANKS[other] >= RANKS.get(module, 0):
            direction = "upward" if RANKS[other] > RANKS.get(module, 0) else "sideways"
            self.findings.append(f"{where}: {module} may not include {header}: that is {direction}")


def main():
    findings = Layout(sys.argv[1]).check()
    print("\n".join(findings) if findings else "the layout is as designed")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
