"""The scene of demo.sh: calls of two pods, what was expected and seen, what the audit log says, what left the node."""
import dataclasses
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import packets  # noqa: E402  (found by the path above)
from lab import GATEWAY_OUT4, GATEWAY_OUT6, Lab  # noqa: E402
from namespaces import wait_for  # noqa: E402
from outside import DATABASE, EVIL, EVIL6, OTHER_DATABASE, WEB, WEB6  # noqa: E402

SEED = "api.external-service.com"
CALL = ROOT / "tests" / "support" / "call.py"


@dataclasses.dataclass
class Row:
    """One call. `expected` is what the client must see, `reason` what the audit record must say."""

    pod: str
    call: str
    make: object  # (pod) -> what the client saw
    expected: str
    reason: str
    record: dict  # how its audit record is told from others
    seen: str = ""
    told: str = ""

    @property
    def allowed(self):
        return self.expected == "served"

    @property
    def matches(self):
        return self.seen == self.expected and self.told == self.reason


# How calls are made; each gives a few words on what the client saw.


def tls(url, *options):
    return lambda pod: _curl_saw(pod.curl(url, *options))


def http(url):
    return lambda pod: _curl_saw(pod.curl(url, "-w", "\n%{http_code}"))


def _curl_saw(done):
    lines = done.out.strip().splitlines()
    if done.code == 0 and lines and lines[0].startswith("served "):
        return "served"
    if done.code == 0 and lines:
        return f"HTTP {lines[-1]}"
    alert = re.search(r"alert ([a-z ]+?)(?:,|\n|$)|tlsv1 (unrecognized name)", done.error)
    if alert:
        return f"TLS alert {alert.group(1) or alert.group(2)}"
    if done.code == 7:
        return "refused"
    return f"curl exit {done.code}: {done.error.strip()[:50]}"


def call(kind, address, port):
    return lambda pod: pod.run("/usr/bin/python3", CALL, kind, address, port).out.strip()


def ping(address):
    return lambda pod: "no answer" if pod.run("ping", "-c", 1, "-W", 1, address).code == 1 else "an answer"


def crafted_syn(address, port):
    def make(pod):
        segment = packets.tcp(pod.ip4, address, 40000, port, payload=b"data in the SYN")
        with pod.capture() as capture:
            pod.send_packet(packets.ip(pod.ip4, address, packets.TCP, segment))
            try:
                wait_for("a reset", lambda: [p for p in capture.drain() if p.flags & packets.RST], 1)
            except AssertionError:
                return "no answer"
        return "refused"

    return make


def scene():
    def denied_host(name):
        return {"event": "deny", "http.host": name}

    def by_number(destination):
        return {"event": "deny", "destination": destination}

    alert = "TLS alert unrecognized name"
    return [
        Row("a", f"TLS {SEED}", tls(f"https://{SEED}/", "-4"), "served", "registered", {"event": "open", "sni": SEED}),
        Row(
            "a",
            f"TLS {SEED} over IPv6",
            tls(f"https://{SEED}/", "-6"),
            "served",
            "registered",
            {"event": "open", "sni": SEED, "destination": f"[{WEB6}]:443"},
        ),
        Row(
            "a",
            "HTTP plain.example",
            http("http://plain.example/"),
            "served",
            "registered",
            {"event": "open", "http.host": "plain.example"},
        ),
        Row(
            "a",
            f"database {DATABASE}:5432 by address",
            call("tcp", DATABASE, 5432),
            "served",
            "registered",
            {"event": "open", "destination": f"{DATABASE}:5432"},
        ),
        Row(
            "b",
            "TLS hidden.example (exported to b's namespace)",
            tls("https://hidden.example/"),
            "served",
            "registered",
            {"event": "open", "sni": "hidden.example"},
        ),
        Row(
            "a",
            "TLS hidden.example",
            tls("https://hidden.example/"),
            alert,
            "not_exported",
            {"event": "deny", "sni": "hidden.example"},
        ),
        Row(
            "a",
            "TLS evil.example",
            tls("https://evil.example/", "-4"),
            alert,
            "host_not_registered",
            {"event": "deny", "sni": "evil.example", "destination": f"{EVIL}:443"},
        ),
        Row(
            "a",
            "TLS evil.example over IPv6",
            tls("https://evil.example/", "-6"),
            alert,
            "host_not_registered",
            {"event": "deny", "sni": "evil.example", "destination": f"[{EVIL6}]:443"},
        ),
        Row(
            "a",
            "HTTP evil.example",
            http("http://evil.example/"),
            "HTTP 403",
            "host_not_registered",
            denied_host("evil.example"),
        ),
        Row(
            "a",
            f"TLS {WEB} by address, without SNI",
            tls(f"https://{WEB}/", "-k"),
            alert,
            "sni_missing",
            by_number(f"{WEB}:443"),
        ),
        Row(
            "a",
            f"HTTP {EVIL} by address",
            http(f"http://{EVIL}/"),
            "HTTP 403",
            "host_not_registered",
            denied_host(EVIL),
        ),
        Row(
            "a",
            f"TCP {EVIL}:9999",
            call("tcp", EVIL, 9999),
            "refused",
            "port_not_registered",
            by_number(f"{EVIL}:9999"),
        ),
        Row(
            "a",
            "the same over IPv6",
            call("tcp", EVIL6, 9999),
            "refused",
            "port_not_registered",
            by_number(f"[{EVIL6}]:9999"),
        ),
        Row(
            "a",
            f"database {OTHER_DATABASE}:5432",
            call("tcp", OTHER_DATABASE, 5432),
            "refused",
            "address_not_registered",
            by_number(f"{OTHER_DATABASE}:5432"),
        ),
        Row(
            "a",
            f"UDP {WEB}:443 (QUIC)",
            call("udp", WEB, 443),
            "refused",
            "udp_not_allowed",
            by_number(f"{WEB}:443"),
        ),
        Row(
            "a",
            f"UDP {WEB6}:443 (QUIC)",
            call("udp", WEB6, 443),
            "refused",
            "udp_not_allowed",
            by_number(f"[{WEB6}]:443"),
        ),
        Row(
            "a",
            f"DNS {EVIL}:53 past the cluster's",
            call("udp", EVIL, 53),
            "refused",
            "udp_not_allowed",
            by_number(f"{EVIL}:53"),
        ),
        Row(
            "a", f"ping {EVIL}", ping(EVIL), "no answer", "protocol_not_allowed", {"event": "deny", "protocol": "icmp"}
        ),
        Row(
            "a",
            f"a SYN by hand to {EVIL}:8443",
            crafted_syn(EVIL, 8443),
            "refused",
            "port_not_registered",
            by_number(f"{EVIL}:8443"),
        ),
    ]


def play(lab, row):
    """Makes the call; the trouble with what left the node, if any."""
    with lab.watch() as watch:
        row.seen = row.make(lab.pod(row.pod))
        wanted = {**row.record, "reason": lambda _: True, "pod.name": row.pod}
        try:
            row.told = watch.record(**wanted)["reason"]
        except AssertionError:
            others = {r.get("reason", "?") for r in watch.records(event="deny")}
            row.told = f"no such record{'; ' + ', '.join(sorted(others)) if others else ''}"
        leaks, calls = watch.leaks(), watch.upstream_calls()
        if leaks:
            return f"{row.call}: left by the node itself: {leaks[0]}"
        if not row.allowed and calls:
            return f"{row.call}: denied, and the gateway called {calls[0]}"
        if row.allowed and not calls:
            return f"{row.call}: served, and not by the gateway"
        if row.allowed and {p.source for p in calls} - {GATEWAY_OUT4, GATEWAY_OUT6}:
            return f"{row.call}: the outside saw {calls[0]}"
        return None


def print_table(rows):
    cells = [("", "pod", "call", "expected", "seen", "reason")]
    cells += [
        (
            "ok" if r.matches else "BAD",
            r.pod,
            r.call,
            r.expected,
            r.seen,
            r.told if r.told == r.reason else f"{r.told} (expected {r.reason})",
        )
        for r in rows
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def main():
    print("laying out two pods, a gateway host and an outside as network namespaces", flush=True)
    resources = [ROOT / "config" / "resources" / "seed.yaml", ROOT / "deploy" / "demo-scene.yaml"]
    with Lab(resources=resources) as lab:
        print("starting sluice gateway and sluice agent", flush=True)
        lab.start()
        rows, troubles = scene(), []
        for number, row in enumerate(rows, 1):
            if sys.stdout.isatty():
                print(f"\rcall {number} of {len(rows)}", end="", flush=True)
            if trouble := play(lab, row):
                troubles.append(trouble)
        print("\n" if sys.stdout.isatty() else "")
        print_table(rows)
        print("\nThe agent's audit log (sluice audit tail):\n")
        print(lab.sluice("audit", "tail", "-n", "100", lab.agent.audit.path).stdout)
        verified = lab.sluice("audit", "verify", lab.agent.audit.path)
        print(f"sluice audit verify: {(verified.stdout or verified.stderr).strip()}")
        if verified.returncode != 0:
            troubles.append("the audit log does not verify")
        denied = sum(not row.allowed for row in rows)
        if troubles:
            print("\n".join(["", *troubles]))
        else:
            print(
                f"capture outside: of {denied} denied calls not one packet left; the {len(rows) - denied} allowed ones came "
                "from the gateway's address alone"
            )
        good = not troubles and all(row.matches for row in rows)
        if not good:
            print(f"\nNOT as expected\n{lab.explain()}")
        return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
