"""Policy from a real API server: what is applied there is live on pods' calls within a second, and stays when it goes."""
import hello
import pytest
from kube import ApiServer
from namespaces import wait_for
from outside import EVIL

LIVE_WITHIN_S = 1.0
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


def test_all_kinds_are_served_and_nothing_is_wrong(lab):
    status = lab.agent.status()
    assert status["policy"]["problems"] == []
    assert status["wrong"] == []


def test_an_entry_is_live_within_a_second_of_its_making_its_change_and_its_end(api, lab):
    assert answer(lab, "evil.example") == "alert unrecognized_name"
    api.create(ENTRIES, service_entry("evil", "evil.example"))
    allowed_soon(lab, "evil.example")
    api.patch(ENTRIES, NAMESPACE, "evil", {"spec": {"hosts": ["other.example"]}})
    denied_soon(lab, "evil.example")
    api.patch(ENTRIES, NAMESPACE, "evil", {"spec": {"hosts": ["evil.example", "other.example"]}})
    allowed_soon(lab, "evil.example")
    api.delete(ENTRIES, NAMESPACE, "evil")
    denied_soon(lab, "evil.example")


def test_an_object_made_in_an_older_version_is_read_too(api, lab):
    api.create(ENTRIES, service_entry("old", "evil.example", version="v1alpha3"), version="v1alpha3")
    allowed_soon(lab, "evil.example")
    api.delete(ENTRIES, NAMESPACE, "old")
    denied_soon(lab, "evil.example")


def test_a_bad_object_keeps_its_last_good_version_and_is_named(api, lab, entry):
    api.patch(ENTRIES, NAMESPACE, entry, {"spec": {"resolution": "GUESS"}})
    wait_for("the problem to be told", lambda: "ServiceEntry my-namespace/evil" in wrong(lab), LIVE_WITHIN_S)
    assert answer(lab, "evil.example") == "server_hello"
    api.patch(ENTRIES, NAMESPACE, entry, {"spec": {"resolution": "DNS"}})
    wait_for("the problem to go", lambda: wrong(lab) == "", LIVE_WITHIN_S)


def test_without_the_api_server_the_last_policy_stays_and_status_says_so(api, lab, entry):
    api.kill()
    wait_for("status to say so", lambda: "ServiceEntry cannot be read since 20" in wrong(lab), 5)
    assert "Connection refused" in wrong(lab) or "closed" in wrong(lab) or "broke" in wrong(lab)
    assert "what was read before stays in force" in wrong(lab)
    assert answer(lab, "evil.example") == "server_hello"
    assert lab.agent.get("/ready")[0] == 200
    api.start()
    all_well(lab)
    api.delete(ENTRIES, NAMESPACE, entry)
    denied_soon(lab, "evil.example")


def test_an_agent_that_starts_without_the_api_server_refuses_until_it_has_read_everything(api, lab, entry):
    api.kill()
    lab.agent.stop()
    lab.agent.start(wait=False)
    wait_for("the agent to say why", lambda: answers(lab) and "API server" in wrong(lab), 10)
    assert lab.agent.get("/ready")[0] == 503
    assert "no policy was read yet" in wrong(lab)
    api.start()
    lab.agent.wait_ready(RECOVERED_WITHIN_S)
    allowed_soon(lab, "evil.example", 5)


def answers(lab):
    try:
        return lab.agent.get("/status")[0] == 200
    except OSError:
        return False


def test_what_was_deleted_and_forgotten_while_the_watch_was_away_is_gone_afterwards(api, lab, entry):
    """410 Gone: the version that the watch would go on from is known to nobody any more."""
    away = cut_off(lab)
    try:
        wait_for("status to say so", lambda: "cannot be read" in wrong(lab), 60)
        api.delete(ENTRIES, NAMESPACE, entry)
        api.create(ENTRIES, service_entry("fresh", "other.example"))
        api.kill()
        api.start()
        api.compact()
    finally:
        away()
    denied_soon(lab, "evil.example", RECOVERED_WITHIN_S)
    all_well(lab)
    assert lab.agent.status()["policy"]["services"] == 2
    api.delete(ENTRIES, NAMESPACE, "fresh")


def cut_off(lab):
    """The node's calls to the API server are refused; returns what ends that."""
    lab.on_node("nft", "add table ip cut")
    lab.on_node("nft", "add chain ip cut out { type filter hook output priority 0; }")
    lab.on_node("nft", f"add rule ip cut out ip daddr {ADDRESS} tcp dport 6443 reject with tcp reset")
    return lambda: lab.on_node("nft", "delete table ip cut")


def test_a_token_that_is_replaced_in_its_file_is_used_from_then_on(api, lab, entry):
    fresh = api.make_token("second")
    api.revoke_token("first")
    api.kill()
    api.start()
    wait_for(
        "the old token to be refused", lambda: "the credentials are not accepted" in wrong(lab), RECOVERED_WITHIN_S
    )
    assert answer(lab, "evil.example") == "server_hello"
    api.token_file.write_text(fresh + "\n")
    all_well(lab)


def test_a_list_of_many_pages_is_read_whole(api, lab):
    all_well(lab)
    count = 1200
    for number in range(count):
        many = service_entry(f"many-{number}", f"h{number}.example")
        many["metadata"]["labels"] = {"many": "yes"}
        api.create(ENTRIES, many)
    total = lambda: lab.agent.status()["policy"]["services"]  # noqa: E731
    wait_for("the watch to bring them", lambda: total() == count + 1, 10)
    lab.agent.restart()
    assert total() == count + 1
    assert answer(lab, f"h{count - 1}.example") != "alert unrecognized_name"
    api.ask("DELETE", api._path(ENTRIES, NAMESPACE) + "?labelSelector=many")
    wait_for("them to go", lambda: total() == 1, 10)


def test_a_kind_that_is_not_served_is_left_out_and_looked_for_again(api, lab):
    api.remove_crd("sidecars")
    lab.agent.restart(wait=False)
    lab.agent.wait_ready(RECOVERED_WITHIN_S)
    problems = [p["message"] for p in lab.agent.status()["policy"]["problems"]]
    assert problems == ["Sidecar is not served by the API server: there are none"]
    api.install_crds()
    wait_for("it to be found", lambda: lab.agent.status()["policy"]["problems"] == [], RECOVERED_WITHIN_S)


def test_a_kubeconfig_that_is_replaced_is_used_from_then_on(api, lab, entry):
    """A server with a certificate of another authority is not believed before the kubeconfig says so."""
    api.kill()
    api.renew_authority()
    api.start()
    wait_for("the server to be refused", lambda: "TLS: certificate" in wrong(lab), RECOVERED_WITHIN_S)
    assert answer(lab, "evil.example") == "server_hello"
    api.write_kubeconfig(api.kubeconfig, "token")
    api.write_kubeconfig(lab.directory / "kubeconfig-certified")
    all_well(lab)
