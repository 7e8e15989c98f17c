"""Policy from a real API server: fixtures of the tests that have one, and what they ask."""
import time

import hello
import pytest
from kube import ApiServer
from namespaces import wait_for
from outside import EVIL

LIVE_WITHIN_S = 1.0
IN_FORCE_WITHIN_S = 5
RECOVERED_WITHIN_S = 40
ADDRESS = "10.96.0.1"
NAMESPACE = "my-namespace"
ENTRIES = "serviceentries"


def service_entry(name, *hosts, version="v1"):
    return {
        "apiVersion": f"networking.istio.io/{version}",
        "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "hosts": list(hosts),
            "location": "MESH_EXTERNAL",
            "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
            "resolution": "DNS",
        },
    }


def answer(lab, name):
    with lab.pod("a").connect(EVIL, 443) as sock:
        sock.sendall(hello.records(hello.client_hello([name])))
        return hello.answer(sock)


def allowed_soon(lab, name, timeout_s=LIVE_WITHIN_S):
    wait_for(f"{name} to be allowed", lambda: answer(lab, name) == "server_hello", timeout_s, 0.02)


def denied_soon(lab, name, timeout_s=LIVE_WITHIN_S):
    wait_for(f"{name} to be denied", lambda: answer(lab, name) == "alert unrecognized_name", timeout_s, 0.02)


def in_force(what, ask, expected):
    """Waits until `ask` gives that; prints how long it took."""
    begun = time.monotonic()
    wait_for(f"{what}: {expected}", lambda: ask() == expected, IN_FORCE_WITHIN_S, 0.02)
    print(f"{what}: {expected} after {1000 * (time.monotonic() - begun):.0f} ms")


def all_well(lab):
    """Both roles follow the API server again, however long they had to wait for it."""
    for daemon in (lab.agent, lab.gateway):
        wait_for(f"{daemon.name} to be well", lambda d=daemon: d.status()["wrong"] == [], RECOVERED_WITHIN_S)


def wrong(lab):
    return "\n".join(lab.agent.status()["wrong"])


@pytest.fixture(scope="module")
def api(bare_lab):
    """An API server with Istio's kinds, the account of Sluice and its token, which is in a file."""
    server = ApiServer(bare_lab.directory / "kube", bare_lab._gateway_ns, ADDRESS)
    try:
        server.install_crds()
        server.make_namespace(NAMESPACE)
        server.make_account()
        # So that port 443 is registered: calls to others are refused by their names.
        server.create(ENTRIES, service_entry("always", "always.example"))
        server.token_file = bare_lab.directory / "token"
        server.token_file.write_text(server.make_token("first") + "\n")
        server.kubeconfig = bare_lab.directory / "kubeconfig"
        server.write_kubeconfig(server.kubeconfig, "token")
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def lab(bare_lab, api):
    """Both roles fed by the API server: the agent with a token, the gateway with a client's certificate."""
    certified = bare_lab.directory / "kubeconfig-certified"
    api.write_kubeconfig(certified)
    for daemon, kubeconfig in ((bare_lab.agent, api.kubeconfig), (bare_lab.gateway, certified)):
        daemon.settings["resources"] = {"source": "kubernetes", "kubernetes": {"kubeconfig": str(kubeconfig)}}
    return bare_lab.start()


@pytest.fixture
def entry(api, lab):
    """A ServiceEntry for evil.example, in force; gone afterwards."""
    all_well(lab)
    api.create(ENTRIES, service_entry("evil", "evil.example"))
    allowed_soon(lab, "evil.example")
    yield "evil"
    api.request("DELETE", api._path(ENTRIES, NAMESPACE, "evil"))
    denied_soon(lab, "evil.example", RECOVERED_WITHIN_S)
