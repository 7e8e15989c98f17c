"""Policy from a real API server: what is applied there is live on pods' calls within a second."""
from kube_lab import ENTRIES, LIVE_WITHIN_S, NAMESPACE, RECOVERED_WITHIN_S
from kube_lab import all_well, allowed_soon, answer, denied_soon, service_entry, wrong
from kube_lab import api, entry, lab  # noqa: F401  (fixtures)
from namespaces import wait_for


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
    api.patch(ENTRIES, NAMESPACE, entry, {"spec": {"addresses": ["nowhere"]}})
    wait_for("the problem to be told", lambda: "ServiceEntry my-namespace/evil" in wrong(lab), LIVE_WITHIN_S)
    assert answer(lab, "evil.example") == "server_hello"
    api.patch(ENTRIES, NAMESPACE, entry, {"spec": {"addresses": None}})
    wait_for("the problem to go", lambda: wrong(lab) == "", LIVE_WITHIN_S)


def test_a_list_of_many_pages_is_read_whole(api, lab):
    all_well(lab)
    count = 1200
    made = []
    for number in range(count):
        many = service_entry(f"many-{number}", f"h{number}.example")
        many["metadata"]["labels"] = {"many": "yes"}
        made.append(many)
    api.create_all(ENTRIES, made)
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
