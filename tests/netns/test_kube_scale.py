"""Thousands of entries and hundreds of pods at a real API server: what changes there is live as soon as with few."""
import time

import pytest
from kube_lab import ENTRIES, NAMESPACE, allowed_soon, answer, denied_soon, service_entry
from kube_lab import api, lab  # noqa: F401  (fixtures)
from namespaces import wait_for
from outside import EVIL

COUNT, PODS = 5000, 500
NODE = "lab-agent"
LIVE_WITHIN_S = 1.0


def pod_body(number):
    return {
        "metadata": {"name": f"many-{number}", "namespace": NAMESPACE, "labels": {"app": "many"}},
        "spec": {
            "nodeName": NODE,
            "serviceAccountName": "many",
            "automountServiceAccountToken": False,
            "containers": [{"name": "c", "image": "none", "env": [{"name": "A", "value": "x" * 2000}]}],
        },
    }


@pytest.fixture(scope="module")
def crowded(api, lab):
    """The lab with all of them; the entry of h0.example is among the others in no way."""
    api.ensure(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": "many"}})
    api.create_all(ENTRIES, [service_entry(f"many-{n}", f"h{n}.example") for n in range(COUNT)])
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    api.send_all([("POST", pods, pod_body(n)) for n in range(PODS)])
    addresses = [f"10.1.{2 + n // 250}.{1 + n % 250}" for n in range(PODS)]
    api.send_all(
        [
            ("PATCH", f"{pods}/many-{n}/status", {"status": {"phase": "Running", "podIP": address}})
            for n, address in enumerate(addresses)
        ]
    )
    wait_for("all entries", lambda: lab.agent.status()["policy"]["services"] == COUNT + 1, 30)
    return lab


def memory_kib(daemon):
    lines = open(f"/proc/{daemon.pid}/status", encoding="ascii").read().splitlines()
    found = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return int(found["RssAnon"].split()[0]), int(found["VmHWM"].split()[0])


def cpu_seconds(daemon):
    fields = open(f"/proc/{daemon.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_an_entry_is_live_within_a_second_of_its_making_its_change_and_its_end(api, crowded):
    assert answer(crowded, "evil.example") == "alert unrecognized_name"
    api.create(ENTRIES, service_entry("evil", "evil.example"))
    allowed_soon(crowded, "evil.example", LIVE_WITHIN_S)
    api.patch(ENTRIES, NAMESPACE, "evil", {"spec": {"hosts": ["other.example"]}})
    denied_soon(crowded, "evil.example", LIVE_WITHIN_S)
    api.patch(ENTRIES, NAMESPACE, "evil", {"spec": {"hosts": ["evil.example"]}})
    allowed_soon(crowded, "evil.example", LIVE_WITHIN_S)
    api.delete(ENTRIES, NAMESPACE, "evil")
    denied_soon(crowded, "evil.example", LIVE_WITHIN_S)


def test_a_pod_is_known_within_a_second_of_its_address(api, crowded):
    fresh = crowded.add_pod("fresh", "my-namespace", 40)
    of_interface = lambda: {i["name"]: i["pod"] for i in crowded.agent.status()["interfaces"]}  # noqa: E731
    wait_for("its interface", lambda: fresh.interface in of_interface(), LIVE_WITHIN_S)
    api.make_pod(fresh, NODE)
    api.set_pod_status(NAMESPACE, "fresh", addresses=[fresh.ip4])
    wait_for("it to be known", lambda: of_interface()[fresh.interface] == f"{NAMESPACE}/fresh", LIVE_WITHIN_S)
    api.remove_pod(NAMESPACE, "fresh")
    wait_for("it to be forgotten", lambda: of_interface()[fresh.interface] == "", LIVE_WITHIN_S)


def test_an_agent_that_begins_reads_all_of_it(api, crowded):
    crowded.agent.stop()
    begun = time.monotonic()
    crowded.agent.start()
    seconds = time.monotonic() - begun
    assert crowded.agent.status()["policy"]["services"] == COUNT + 1
    assert answer(crowded, "evil.example") == "alert unrecognized_name"
    kib, peak = memory_kib(crowded.agent)
    before, since = cpu_seconds(crowded.agent), time.monotonic()
    wait_for("time to pass", lambda: time.monotonic() - since > 5)
    load = (cpu_seconds(crowded.agent) - before) / (time.monotonic() - since)
    print(f"ready in {seconds:.2f} s, {kib} KiB anonymous, {peak} KiB at most, {100 * load:.2f} % of a core at rest")
