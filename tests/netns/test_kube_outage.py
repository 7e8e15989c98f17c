"""The API server goes, comes back, forgets, and changes its credentials: the last policy stays until it is read again."""
from kube_lab import ADDRESS, ENTRIES, NAMESPACE, RECOVERED_WITHIN_S
from kube_lab import all_well, allowed_soon, answer, denied_soon, service_entry, wrong
from kube_lab import api, entry, lab  # noqa: F401  (fixtures)
from namespaces import wait_for


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


def test_a_kubeconfig_that_is_replaced_is_used_from_then_on(api, lab, entry):
    """A server with a certificate of another authority is not believed before the kubeconfig says so."""
    api.kill()
    api.renew_authority()
    api.start()
    wait_for("the server to be refused", lambda: "certificate of /CN=apiserver" in wrong(lab), RECOVERED_WITHIN_S)
    assert answer(lab, "evil.example") == "server_hello"
    api.write_kubeconfig(api.kubeconfig, "token")
    api.write_kubeconfig(lab.directory / "kubeconfig-certified")
    all_well(lab)
