"""Who calls, from a real API server: the settings name no pod, and the objects there decide."""
import contextlib
import threading

import hello
import pytest
from kube_lab import ENTRIES, LIVE_WITHIN_S, NAMESPACE, RECOVERED_WITHIN_S
from kube_lab import all_well, answer, service_entry
from kube_lab import api  # noqa: F401  (fixture)
from namespaces import wait_for
from outside import EVIL
from pod import receive_all

NODE = "lab-agent"
WAIT_MS = 1200


@pytest.fixture(scope="module", params=["gate", "relay"])
def lab(request, bare_lab, api):
    """Both roles fed by the API server, which alone knows the pods; every call by the gate, or by the relay."""
    certified = bare_lab.directory / "kubeconfig-certified"
    api.write_kubeconfig(certified)
    for daemon, kubeconfig in ((bare_lab.agent, api.kubeconfig), (bare_lab.gateway, certified)):
        daemon.stop()
        daemon.settings["resources"] = {"source": "kubernetes", "kubernetes": {"kubeconfig": str(kubeconfig)}}
    bare_lab.agent.settings["identity"] = {"wait_ms": WAIT_MS}
    bare_lab.agent.settings["egress"]["datapath"] = request.param
    api.ensure(api._path(ENTRIES, NAMESPACE), service_entry("evil", "evil.example"))
    return bare_lab.start()


@pytest.fixture
def pod(api, lab):
    """Pod a of the lab, known to the API server; gone afterwards."""
    a = lab.pod("a")
    a.uid = tell(api, a)
    wait_for("the pod to be known", lambda: pod_of(lab, a.interface) == f"{NAMESPACE}/a", LIVE_WITHIN_S)
    yield a
    forget(api, lab, a)


def tell(api, pod, addresses=None, node=NODE, **spec):
    uid = api.make_pod(pod, node, **spec)
    api.set_pod_status(pod.namespace, pod.name, addresses=addresses or [pod.ip4, pod.ip6])
    return uid


def forget(api, lab, pod):
    api.remove_pod(pod.namespace, pod.name)
    wait_for("the pod to be forgotten", lambda: pod_of(lab, pod.interface) == "", LIVE_WITHIN_S)


def pod_of(lab, interface):
    return {each["name"]: each["pod"] for each in lab.agent.status()["interfaces"]}[interface]


def send_hello(lab, sock):
    sock.sendall(hello.records(hello.client_hello(["evil.example"])))
    return hello.answer(sock)


def test_a_call_is_its_pods_with_name_account_and_uid(api, lab, pod, watch):
    assert answer(lab, "evil.example") == "server_hello"
    record = watch.record(event="open", pod__name="a")
    assert record["pod"] == {
        "namespace": NAMESPACE,
        "name": "a",
        "uid": pod.uid,
        "service_account": pod.service_account,
    }


def events(api, uid):
    """Of an object with this UID, by what they say."""
    return {
        each["message"]: each
        for each in api.request("GET", "/api/v1/events")[1]["items"]
        if each["involvedObject"].get("uid") == uid and each["source"]["component"] == "sluice-agent"
    }


def test_a_denied_call_is_an_event_of_its_pod_and_again_one_more_in_its_count(api, lab, pod):
    message = "call to denied.example:443 denied: host_not_registered"
    with pod.connect(EVIL, 443) as sock:
        sock.sendall(hello.records(hello.client_hello(["denied.example"])))
        assert hello.answer(sock) != "server_hello"
    event = wait_for("the Event", lambda: events(api, pod.uid).get(message), 10)
    assert (event["reason"], event["type"], event["count"]) == ("EgressDenied", "Warning", 1)
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": NAMESPACE,
        "name": "a",
        "uid": pod.uid,
    }
    assert event["source"] == {"component": "sluice-agent", "host": NODE}
    for _ in range(2):
        with pod.connect(EVIL, 443) as sock:
            sock.sendall(hello.records(hello.client_hello(["denied.example"])))
            assert hello.answer(sock) != "server_hello"
    again = wait_for("the count", lambda: [e for e in events(api, pod.uid).values() if e["count"] == 3], 20)
    assert [each["metadata"]["uid"] for each in again] == [event["metadata"]["uid"]]
    assert "call to evil.example:443" not in "".join(events(api, pod.uid))


def test_a_call_before_its_pod_is_known_waits_and_is_served_when_it_is(api, lab, watch):
    a = lab.pod("a")
    assert pod_of(lab, a.interface) == ""
    with a.connect(EVIL, 443) as sock:
        teller = threading.Timer(0.3, tell, (api, a))
        teller.start()
        try:
            assert send_hello(lab, sock) == "server_hello"
        finally:
            teller.join()
    assert watch.record(event="open")["pod"]["name"] == "a"
    forget(api, lab, a)


def test_a_call_of_which_nobody_tells_is_pod_unknown_in_the_end(lab, watch):
    with lab.pod("a").connect(EVIL, 443) as sock:
        assert send_hello(lab, sock) == "reset"
    record = watch.record(event="deny")
    assert record["reason"] == "pod_unknown" and "pod" not in record
    assert WAIT_MS <= record["duration_ms"]
    watch.nothing_left()


def test_a_pod_that_is_deleted_takes_its_open_calls_along(api, lab, pod, watch):
    tls = pod.tls(EVIL, "evil.example")
    source = tls.sock.getsockname()
    forget(api, lab, pod)
    with contextlib.suppress(ConnectionResetError):  # an orderly end is one too
        tls.sock.settimeout(5)
        receive_all(tls.sock)
    closed = watch.record(event="close", source=f"{source[0]}:{source[1]}")
    assert closed["close_reason"] == "pod_gone"


def test_pods_that_are_over_and_pods_on_the_hosts_network_have_no_calls(api, lab, pod):
    api.set_pod_status(NAMESPACE, "a", "Succeeded", [pod.ip4])
    wait_for("it to be over", lambda: pod_of(lab, pod.interface) == "", LIVE_WITHIN_S)
    api.remove_pod(NAMESPACE, "a")
    tell(api, pod, hostNetwork=True)
    wait_for("it to be told", lambda: "are not enforced: my-namespace/a" in lab.agent.log_tail(200), LIVE_WITHIN_S)
    assert pod_of(lab, pod.interface) == ""


def test_pods_of_other_nodes_are_not_read(api, lab, pod):
    b = lab.pod("b")
    tell(api, b, node="another")
    api.set_pod_status(NAMESPACE, "a", addresses=[pod.ip4])  # comes after
    assert pod_of(lab, b.interface) == ""
    api.remove_pod(b.namespace, b.name)


def test_the_last_word_stays_while_the_api_server_is_away_also_for_open_calls(api, lab, pod):
    with pod.connect(EVIL, 443) as sock:
        assert send_hello(lab, sock) == "server_hello"
        api.kill()
        try:
            wait_for(
                "status to say so", lambda: "Pod cannot be read since 20" in "\n".join(lab.agent.status()["wrong"])
            )
            assert answer(lab, "evil.example") == "server_hello"
            assert pod_of(lab, pod.interface) == f"{NAMESPACE}/a"
        finally:
            api.start()
        all_well(lab)


def test_what_is_wrong_with_the_node_is_an_event_of_it(api, lab, pod):
    api.ask("POST", api._path(ENTRIES, NAMESPACE), service_entry("broken", "not a host"))
    try:
        wrong = wait_for("status to say so", lambda: [line for line in lab.agent.status()["wrong"] if "broken" in line])
        event = wait_for("the Event", lambda: events(api, NODE).get(wrong[0]), 15)
        assert event["reason"] == "EgressDegraded"
        assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": NODE}
        assert event["metadata"]["namespace"] == "default"
    finally:
        api.request("DELETE", f"{api._path(ENTRIES, NAMESPACE)}/broken")
    all_well(lab)


def test_an_agent_that_begins_is_ready_with_its_pods_and_cuts_nothing(api, lab, pod, watch):
    with pod.connect(EVIL, 443) as sock:
        assert send_hello(lab, sock) == "server_hello"
        lab.agent.restart()
        assert pod_of(lab, pod.interface) == f"{NAMESPACE}/a"
        assert answer(lab, "evil.example") == "server_hello"


def reaches(pod):
    """By no way but the direct one: the port is registered nowhere."""
    return pod.hears_an_echo(EVIL, 9999)


def test_addresses_and_ranges_of_nodes_are_internal_for_as_long_as_they_are(api, lab, pod):
    for node, change in (
        ("one", {"addresses": [EVIL]}),
        ("two", {"addresses": [], "pod_cidrs": ["203.0.113.16/28"]}),
    ):
        assert pod.refusal(EVIL, 9999).at_once()
        api.make_node(node, *change["addresses"], pod_cidrs=change.get("pod_cidrs", ()))
        wait_for(f"{change} to be internal", lambda: reaches(pod), LIVE_WITHIN_S, 0.02)
        api.remove_node(node)
        wait_for("it to be internal no more", lambda: pod.refusal(EVIL, 9999).at_once(), LIVE_WITHIN_S, 0.02)


def test_a_node_cannot_make_the_world_internal(api, lab, pod):
    api.make_node("greedy", EVIL.replace(".20", ".21"), pod_cidrs=["0.0.0.0/1", "128.0.0.0/1"])
    api.make_node("last", EVIL)
    try:
        wait_for("the last to be heard", lambda: reaches(pod), LIVE_WITHIN_S, 0.02)
        api.remove_node("last")
        wait_for("what is left", lambda: pod.refusal(EVIL, 9999).at_once(), LIVE_WITHIN_S, 0.02)
    finally:
        for name in ("greedy", "last"):
            api.remove_node(name)
