"""The local admin socket, and the commands that read it."""
import http.client
import json
import re

import pytest
from namespaces import inside, wait_for
from outside import DATABASE, EVIL, WEB
from pod import receive_exactly

METRICS_PORT = 15090
SEED_HOST = "api.external-service.com"


@pytest.mark.parametrize("role", ["agent", "gateway"])
def test_live_and_ready_answer_200(lab, role):
    daemon = getattr(lab, role)
    assert daemon.get("/live")[0] == 200 and daemon.get("/ready")[0] == 200
    assert daemon.get("/nothing")[0] == 404


def test_the_admin_socket_is_for_root_alone(lab):
    for daemon in (lab.agent, lab.gateway):
        assert daemon.socket.stat().st_mode & 0o007 == 0


def test_status_of_a_healthy_agent_exits_0_and_names_its_interfaces(lab):
    shown = lab.sluice("status", "--socket", lab.agent.socket)
    assert shown.returncode == 0, shown
    for name in ("veth-a", "veth-b", "eth0", "eth1"):
        assert name in shown.stdout, shown.stdout
    told = json.loads(lab.sluice("status", "--socket", lab.agent.socket, "-o", "json").stdout)
    assert (
        told["healthy"] is True
        and all(p["severity"] == "warning" for p in told["policy"]["problems"])
        and told["policy"]["generation"] >= 1
    )


def test_status_without_an_agent_says_so(lab):
    shown = lab.sluice("status", "--socket", lab.directory / "nobody.sock")
    assert shown.returncode != 0 and "nobody.sock" in shown.stdout + shown.stderr


def test_flows_lists_live_connections_until_they_end(lab):
    def flows():
        return json.loads(lab.sluice("flows", "--socket", lab.agent.socket, "-o", "json").stdout)

    with lab.pod("a").connect(DATABASE, 5432) as sock:
        source = ":".join(map(str, sock.getsockname()))
        assert receive_exactly(sock, 22)
        text = lab.sluice("flows", "--socket", lab.agent.socket)
        assert text.returncode == 0 and source in text.stdout and "my-namespace/a" in text.stdout, text
        assert source in json.dumps(flows())
    wait_for("the flow to be gone", lambda: source not in json.dumps(flows()))


def test_metrics_count_calls_by_verdict_and_reason(lab):
    def count(reason):
        return lab.agent.metric("sluice_connections_total", reason=reason)

    registered, denied, refused = count("registered"), count("host_not_registered"), count("port_not_registered")
    lab.pod("a").tls(WEB, SEED_HOST).sock.close()
    lab.pod("a").curl("http://evil.example/")
    lab.pod("a").refusal(EVIL, 9999)
    wait_for(
        "the counts",
        lambda: (count("registered"), count("host_not_registered"), count("port_not_registered"))
        == (registered + 1, denied + 1, refused + 1),
    )


def ask_over_tcp(namespace, path):
    """Status and text of what is listened for at the metrics' port; None: nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", METRICS_PORT, timeout=5)
    with inside(namespace):
        try:
            connection.connect()
        except ConnectionRefusedError:
            return None
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.mark.parametrize("role, where", [("agent", "node"), ("gateway", "gateway")])
def test_metrics_are_told_over_tcp_where_the_settings_say_and_nowhere_else(lab, role, where):
    daemon, namespace = getattr(lab, role), lab.namespace(where)
    assert ask_over_tcp(namespace, "/metrics") is None
    daemon.settings["admin"]["metrics_listen"] = f"127.0.0.1:{METRICS_PORT}"
    try:
        daemon.restart()
        status, text = ask_over_tcp(namespace, "/metrics")
        assert status == 200 and "# TYPE sluice_connections_open gauge" in text.splitlines(), text
        assert ask_over_tcp(namespace, "/healthz") == (200, "live\n")
        assert ask_over_tcp(namespace, "/readyz") == (200, "ready\n")
        for path in ("/status", "/flows"):
            assert ask_over_tcp(namespace, path)[0] == 404
    finally:
        del daemon.settings["admin"]["metrics_listen"]
        daemon.restart()
    assert ask_over_tcp(namespace, "/metrics") is None


def test_version_prints_a_version(lab):
    shown = lab.sluice("version")
    assert shown.returncode == 0 and re.search(r"\d+\.\d+\.\d+", shown.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("agent",),
        ("agent", "-c", "/nonexistent.yaml"),
        ("nonsense",),
        ("audit", "verify"),
        ("status", "--nonsense"),
    ],
)
def test_bad_usage_exits_2_and_says_what(lab, arguments):
    shown = lab.sluice(*arguments)
    assert shown.returncode == 2 and (shown.stderr or shown.stdout), shown


def test_audit_tail_shows_the_last_records(lab):
    lab.pod("a").curl("http://evil.example/tail")
    shown = wait_for(
        "the record",
        lambda: (s := lab.sluice("audit", "tail", lab.agent.audit.path)).stdout and "evil.example" in s.stdout and s,
    )
    assert shown.returncode == 0 and "host_not_registered" in shown.stdout
