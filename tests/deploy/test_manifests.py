"""The objects of deploy/kubernetes fit together, and ask for no more than they need."""
import os

import pytest
import yaml
from manifests import container, rendered, workload
from namespaces import run

METRICS_PORT = 15090
ROLES = ["agent", "gateway", "ingress"]
DIRECTORIES = ["base", "overlays/audit", "overlays/monitored"]


def of_kind(kind, directory="base"):
    return [each for (its, _), each in rendered(directory).items() if its == kind]


def pod_of(role):
    return workload(role)["spec"]["template"]


def settings_of(role, directory="base"):
    maps = [
        each for each in of_kind("ConfigMap", directory) if each["metadata"]["name"].startswith(f"{role}-settings-")
    ]
    (found,) = maps
    return found["metadata"]["name"], found["data"][f"{role}.yaml"]


def selects(selector, pod):
    wanted = selector.get("matchLabels", selector)
    return wanted.items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_every_object_stands_in_the_namespace(directory):
    for (kind, name), each in rendered(directory).items():
        of_cluster = kind in ("Namespace", "PriorityClass", "ClusterRole", "ClusterRoleBinding")
        assert each["metadata"].get("namespace") == (None if of_cluster else "sluice-system"), (kind, name)


@pytest.mark.parametrize("role", ROLES)
def test_what_a_pod_mounts_is_there(role):
    spec = pod_of(role)["spec"]
    name, _ = settings_of(role)
    assert {v["configMap"]["name"] for v in spec["volumes"] if "configMap" in v} == {name}
    mounted = {m["name"] for m in container(role)["volumeMounts"]}
    assert mounted == {v["name"] for v in spec["volumes"]}
    assert ("ServiceAccount", spec["serviceAccountName"]) in rendered()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("directory", DIRECTORIES)
def test_its_settings_are_read_without_complaint(role, directory, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(settings_of(role, directory)[1])
    done = run(os.environ["SLUICE_BINARY"], role, "-c", file, "--check", check=False)
    assert done.returncode == 0, done


def test_the_overlay_audit_differs_by_its_mode_alone():
    enforced, audited = (yaml.safe_load(settings_of("agent", directory)[1]) for directory in ("base", "overlays/audit"))
    assert audited["egress"].pop("mode") == "audit"
    assert audited == enforced


@pytest.mark.parametrize("role", ["gateway", "ingress"])
def test_services_budgets_and_policies_select_the_pods_of_their_role_alone(role):
    for kind, path in (
        ("Service", ("selector",)),
        ("PodDisruptionBudget", ("selector",)),
        ("NetworkPolicy", ("podSelector",)),
    ):
        selector = rendered()[kind, f"sluice-{role}"]["spec"]
        for step in path:
            selector = selector[step]
        assert [each for each in ROLES if selects(selector, pod_of(each))] == [role], kind


@pytest.mark.parametrize("role", ["gateway", "ingress"])
def test_a_service_leads_to_ports_that_the_settings_listen_on(role):
    ports = {p["name"]: p["containerPort"] for p in container(role)["ports"]}
    for port in rendered()["Service", f"sluice-{role}"]["spec"]["ports"]:
        assert port["targetPort"] in ports
    if role == "gateway":
        listened = {
            int(one["address"].rsplit(":", 1)[1]) for one in yaml.safe_load(settings_of(role)[1])["gateway"]["listen"]
        }
        assert listened | {METRICS_PORT} == set(ports.values())


@pytest.mark.parametrize("role", ["gateway", "ingress"])
def test_connections_have_time_to_end(role):
    drain_ms = yaml.safe_load(settings_of(role)[1])["limits"]["drain_timeout_ms"]
    assert pod_of(role)["spec"]["terminationGracePeriodSeconds"] * 1000 >= drain_ms + 5000
    assert workload(role)["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@pytest.mark.parametrize("role", ["gateway", "ingress"])
def test_who_is_not_on_the_node_has_no_rights_there(role):
    spec = pod_of(role)["spec"]
    assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    assert not any("hostPath" in volume for volume in spec["volumes"])
    context = container(role)["securityContext"]
    assert context["runAsNonRoot"] is True and context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]} and context["allowPrivilegeEscalation"] is False


def test_no_role_may_write_to_the_cluster_but_the_agent_its_events():
    roles = of_kind("ClusterRole") + of_kind("Role")
    assert {role["metadata"]["name"] for role in roles} == {f"sluice-{role}" for role in ROLES}
    secrets = [rule for role in roles for rule in role["rules"] if "secrets" in rule["resources"]]
    assert len(secrets) == 1 and secrets[0] in rendered()["Role", "sluice-ingress"]["rules"]
    assert secrets[0]["resourceNames"], "no name is every name"
    where = rendered()["Role", "sluice-ingress"]["metadata"]["namespace"]
    assert yaml.safe_load(settings_of("ingress")[1])["ingress"]["namespace"] == where
    for role in roles:
        for rule in role["rules"]:
            assert "*" not in rule["resources"] + rule["apiGroups"]
            if role["metadata"]["name"] == "sluice-agent" and rule["resources"] == ["events"]:
                assert rule["apiGroups"] == [""] and set(rule["verbs"]) == {"create", "patch"}
                continue
            assert set(rule["verbs"]) <= {"get", "list", "watch"}


def test_the_agent_is_on_every_node_before_other_pods_and_one_node_at_a_time_is_changed():
    spec = pod_of("agent")["spec"]
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert ("PriorityClass", spec["priorityClassName"]) in rendered()
    assert workload("agent")["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}


@pytest.mark.parametrize("role", ROLES)
def test_metrics_are_listened_for_where_their_port_is(role):
    address = yaml.safe_load(settings_of(role)[1])["admin"]["metrics_listen"]
    ports = {p["name"]: p["containerPort"] for p in container(role)["ports"]}
    assert (address, ports["metrics"]) == (f"0.0.0.0:{METRICS_PORT}", METRICS_PORT)


def test_the_base_lets_nobody_ask_gateway_and_ingress_for_metrics():
    assert not of_kind("ServiceMonitor")
    for policy in of_kind("NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            assert rule["ports"] and METRICS_PORT not in [port["port"] for port in rule["ports"]]


@pytest.mark.parametrize("role", ROLES)
def test_a_monitor_finds_each_role_by_a_service_of_its_own(role):
    (monitor,) = of_kind("ServiceMonitor", "overlays/monitored")
    services = [s for s in of_kind("Service", "overlays/monitored") if selects(s["spec"]["selector"], pod_of(role))]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (found,) = [each for each in services if wanted <= each["metadata"]["labels"].items()]
    (endpoint,) = monitor["spec"]["endpoints"]
    (port,) = found["spec"]["ports"]
    assert port["name"] == endpoint["port"] and port["targetPort"] == "metrics"
    assert [each for each in ROLES if selects(found["spec"]["selector"], pod_of(each))] == [role]


def test_prometheus_alone_reaches_the_metrics():
    policies = of_kind("NetworkPolicy", "overlays/monitored")
    rules = [r for p in policies for r in p["spec"]["ingress"] if METRICS_PORT in [port["port"] for port in r["ports"]]]
    (rule,) = rules
    assert len(rule["ports"]) == 1
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] and peer["podSelector"]["matchLabels"]
    policy = rendered("overlays/monitored")["NetworkPolicy", "sluice-metrics"]["spec"]
    assert policy["podSelector"]["matchExpressions"] == [
        {"key": "app.kubernetes.io/component", "operator": "In", "values": ["gateway", "ingress"]}
    ]
