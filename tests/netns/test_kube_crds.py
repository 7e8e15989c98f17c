"""deploy/crds at a real API server: takes what is Istio's, whole, and refuses what is wrong with the field's name."""
import copy
import re
import subprocess

import pytest
import yaml
from kube import CRDS, GROUP, ROOT
from kube_lab import api  # noqa: F401  (fixture)

VERSIONS = ["v1", "v1beta1", "v1alpha3"]
EXAMPLES = [*sorted((ROOT / "config" / "resources").glob("*.yaml")), ROOT / "deploy" / "demo-scene.yaml"]
PLURALS = {yaml.safe_load(path.read_text())["spec"]["names"]["kind"]: path.stem for path in CRDS}

# One of each kind in which every field that a row below breaks is there and right. `extension` is nothing that Sluice
# reads; it has to stay.
RIGHT = {
    "ServiceEntry": {
        "hosts": ["api.example.com", "*.example.org"],
        "addresses": ["203.0.113.0/24"],
        "ports": [{"number": 443, "name": "https", "protocol": "https", "targetPort": 8443, "extension": 1}],
        "location": "MESH_EXTERNAL",
        "resolution": "STATIC",
        "endpoints": [{"address": "203.0.113.7", "ports": {"https": 8443}, "labels": {"a": "b"}, "weight": 2}],
        "exportTo": ["."],
        "extension": {"deep": [1, "two"]},
    },
    "Gateway": {
        "selector": {"istio": "egressgateway"},
        "servers": [
            {
                "port": {"number": 443, "name": "https", "protocol": "HTTPS", "extension": 1},
                "hosts": ["*"],
                "tls": {"mode": "SIMPLE", "credentialName": "c", "minProtocolVersion": "TLSV1_2", "extension": 1},
            }
        ],
    },
    "VirtualService": {
        "hosts": ["api.example.com"],
        "gateways": ["mesh"],
        "http": [
            {
                "match": [{"uri": {"prefix": "/v1"}, "headers": {"x": {}}, "port": 80, "extension": 1}],
                "route": [{"destination": {"host": "a", "port": {"number": 80}, "extension": 1}, "weight": 100}],
                "timeout": "1.5s",
                "retries": {"attempts": 2, "perTryTimeout": "250ms", "retryRemoteLocalities": None},
                "fault": {"abort": {"httpStatus": 503, "percentage": {"value": 0.5}}},
                "corsPolicy": {"allowOrigins": [{"exact": "https://a.example"}], "maxAge": "1h30m"},
            },
            {"redirect": {"uri": "/", "redirectCode": 302, "derivePort": "FROM_REQUEST_PORT"}},
            {"directResponse": {"status": 503, "body": {"string": "no"}}},
        ],
        "tls": [{"match": [{"sniHosts": ["api.example.com"]}], "route": [{"destination": {"host": "a"}}]}],
        "tcp": [{"match": [{"port": 5432}], "route": [{"destination": {"host": "a"}}]}],
    },
    "DestinationRule": {
        "host": "api.example.com",
        "trafficPolicy": {
            "tls": {"mode": "SIMPLE", "sni": "api.example.com", "extension": 1},
            "connectionPool": {"tcp": {"maxConnections": 9, "connectTimeout": "3s"}, "http": {"http2MaxRequests": 1}},
            "loadBalancer": {"simple": "ROUND_ROBIN", "consistentHash": {"useSourceIp": True}},
            "outlierDetection": {"interval": "1s", "maxEjectionPercent": 50},
            "portLevelSettings": [{"port": {"number": 443}, "tls": {"mode": "DISABLE"}}],
            "proxyProtocol": {"version": "V2"},
        },
        "subsets": [{"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": {"tls": {"mode": "MUTUAL"}}}],
    },
    "Sidecar": {
        "workloadSelector": {"labels": {"app": "a"}},
        "egress": [{"hosts": ["./*"], "captureMode": "DEFAULT", "port": {"number": 80, "name": "a", "extension": 1}}],
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
    },
}
GONE = object()
WRONG = [
    ("ServiceEntry", "hosts", GONE),
    ("ServiceEntry", "hosts", []),
    ("ServiceEntry", "hosts", "api.example.com"),
    ("ServiceEntry", "hosts[0]", "*"),
    ("ServiceEntry", "hosts", [f"h{i}.example" for i in range(257)]),
    ("ServiceEntry", "addresses[0]", 7),
    ("ServiceEntry", "ports", {"number": 443}),
    ("ServiceEntry", "ports[0].number", GONE),
    ("ServiceEntry", "ports[0].number", 70000),
    ("ServiceEntry", "ports[0].number", 0),
    ("ServiceEntry", "ports[0].number", "443"),
    ("ServiceEntry", "ports[0].name", GONE),
    ("ServiceEntry", "ports[0].protocol", "HTTPZ"),
    ("ServiceEntry", "ports[0].targetPort", 70000),
    ("ServiceEntry", "location", "MESH_ELSEWHERE"),
    ("ServiceEntry", "resolution", "GUESS"),
    ("ServiceEntry", "endpoints[0].address", 1),
    ("ServiceEntry", "endpoints[0].ports.https", 70000),
    ("ServiceEntry", "endpoints[0].weight", -1),
    ("ServiceEntry", "endpoints[0].labels.a", 1),
    ("ServiceEntry", "exportTo", "."),
    ("Gateway", "servers", GONE),
    ("Gateway", "servers", []),
    ("Gateway", "selector.istio", True),
    ("Gateway", "servers[0].port", GONE),
    ("Gateway", "servers[0].hosts", GONE),
    ("Gateway", "servers[0].hosts", []),
    ("Gateway", "servers[0].port.number", 70000),
    ("Gateway", "servers[0].port.name", GONE),
    ("Gateway", "servers[0].port.protocol", GONE),
    ("Gateway", "servers[0].port.protocol", ""),
    ("Gateway", "servers[0].tls.mode", "TERMINATE"),
    ("Gateway", "servers[0].tls.minProtocolVersion", "1.2"),
    ("Gateway", "servers[0].tls.credentialNames", ["a", "b", "c"]),
    ("Gateway", "servers[0].tls.httpsRedirect", "yes"),
    ("VirtualService", "hosts", "api.example.com"),
    ("VirtualService", "gateways[0]", 1),
    ("VirtualService", "http[0].route", GONE),
    ("VirtualService", "http[0].route[0].destination", GONE),
    ("VirtualService", "http[0].route[0].destination.host", GONE),
    ("VirtualService", "http[0].route[0].destination.port.number", 70000),
    ("VirtualService", "http[0].route[0].weight", -1),
    ("VirtualService", "http[0].match[0].uri", "/v1"),
    ("VirtualService", "http[0].match[0].uri", {"prefix": "/", "exact": "/"}),
    ("VirtualService", "http[0].match[0].port", 0),
    ("VirtualService", "http[0].match[0].headers.x", "present"),
    ("VirtualService", "http[0].timeout", "soon"),
    ("VirtualService", "http[0].timeout", "-1s"),
    ("VirtualService", "http[0].timeout", 5),
    ("VirtualService", "http[0].retries.attempts", "two"),
    ("VirtualService", "http[0].fault.abort.httpStatus", 99),
    ("VirtualService", "http[0].fault.abort.percentage.value", 101),
    ("VirtualService", "http[0].corsPolicy.unmatchedPreflights", "DROP"),
    ("VirtualService", "http[1].redirect.redirectCode", 200),
    ("VirtualService", "http[1].redirect.derivePort", "FROM_NOWHERE"),
    ("VirtualService", "http[2].directResponse.status", GONE),
    ("VirtualService", "http[2].directResponse.status", 600),
    ("VirtualService", "tls[0].match", GONE),
    ("VirtualService", "tls[0].match", []),
    ("VirtualService", "tls[0].route", GONE),
    ("VirtualService", "tls[0].match[0].sniHosts", "api.example.com"),
    ("VirtualService", "tcp[0].route", GONE),
    ("VirtualService", "tcp[0].match[0].port", 70000),
    ("DestinationRule", "host", GONE),
    ("DestinationRule", "trafficPolicy.tls.mode", "MAYBE"),
    ("DestinationRule", "trafficPolicy.tls.subjectAltNames", "a"),
    ("DestinationRule", "trafficPolicy.connectionPool.tcp.maxConnections", -1),
    ("DestinationRule", "trafficPolicy.connectionPool.tcp.connectTimeout", "3"),
    ("DestinationRule", "trafficPolicy.connectionPool.http.http2MaxRequests", "1"),
    ("DestinationRule", "trafficPolicy.loadBalancer.simple", "FASTEST"),
    ("DestinationRule", "trafficPolicy.outlierDetection.maxEjectionPercent", 101),
    ("DestinationRule", "trafficPolicy.portLevelSettings[0].port", GONE),
    ("DestinationRule", "trafficPolicy.portLevelSettings[0].port.number", 70000),
    ("DestinationRule", "trafficPolicy.portLevelSettings[0].tls.mode", "MAYBE"),
    ("DestinationRule", "trafficPolicy.proxyProtocol.version", "V3"),
    ("DestinationRule", "subsets[0].name", GONE),
    ("DestinationRule", "subsets[0].trafficPolicy.tls.mode", "MAYBE"),
    ("Sidecar", "outboundTrafficPolicy.mode", "ALLOW_SOME"),
    ("Sidecar", "egress[0].hosts", GONE),
    ("Sidecar", "egress[0].captureMode", "SOME"),
    ("Sidecar", "egress[0].port.number", 70000),
]


def offer(api, kind, version, spec, metadata=None):
    """Status and answer of making one, which is not kept."""
    body = {"apiVersion": f"{GROUP}/{version}", "kind": kind, "metadata": metadata or {"name": "one"}, "spec": spec}
    namespace = body["metadata"].pop("namespace", "default")
    path = f"/apis/{GROUP}/{version}/namespaces/{namespace}/{PLURALS[kind]}?dryRun=All"
    api.make_namespace(namespace)
    return api.request("POST", path, body)


def without_indices(path):
    return re.sub(r"\[[0-9]+\]", "", path)


def fields_of(refusal):
    """The fields that it names; old API servers do not say which item of a list it is."""
    return {without_indices(cause["field"]) for cause in refusal["details"]["causes"]}


def changed(spec, path, value):
    """`spec` with what is at `path`, like "ports[0].number", replaced or gone."""
    *steps, last = [int(s) if s.isdigit() else s for s in path.replace("[", ".").replace("]", "").split(".")]
    whole = copy.deepcopy(spec)
    at = whole
    for step in steps:
        at = at[step]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return whole


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", PLURALS)
def test_what_is_right_is_taken_whole(api, kind, version):
    status, answer = offer(api, kind, version, RIGHT[kind])
    assert status == 201, answer
    assert answer["spec"] == RIGHT[kind]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_taken_whole(api, path):
    taken = 0
    for each in yaml.safe_load_all(path.read_text()):
        if not each or not each["apiVersion"].startswith(GROUP):
            continue
        for version in VERSIONS:
            status, answer = offer(api, each["kind"], version, each["spec"], dict(each["metadata"]))
            assert status == 201, (each["metadata"], answer)
            assert answer["spec"] == each["spec"]
        taken += 1
    assert taken > 0


@pytest.mark.parametrize("kind, path, value", WRONG, ids=lambda each: str(each)[:40] if isinstance(each, str) else "")
def test_what_is_wrong_is_refused_with_the_name_of_the_field(api, kind, path, value):
    for version in VERSIONS:
        status, answer = offer(api, kind, version, changed(RIGHT[kind], path, value))
        assert status == 422, answer
        assert without_indices(f"spec.{path}") in fields_of(answer), answer


@pytest.mark.parametrize("kind", [kind for kind in PLURALS if kind != "Sidecar"])
def test_one_without_a_spec_is_refused(api, kind):
    status, answer = api.request(
        "POST",
        f"/apis/{GROUP}/v1/namespaces/default/{PLURALS[kind]}?dryRun=All",
        {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": "one"}},
    )
    assert status == 422 and fields_of(answer) == {"spec"}, answer


def test_a_virtual_service_without_any_rule_is_refused(api):
    status, answer = offer(api, "VirtualService", "v1", {"hosts": ["a.example"]})
    assert status == 422 and "spec.http" in fields_of(answer), answer


def test_kubectl_applies_the_definitions_again(api):
    """As deploy/README.md says to; over those that are there, which its three-way merge has to take too."""
    config = api.directory / "kubeconfig-kubectl"
    api.write_kubeconfig(config)
    crds = ROOT / "deploy" / "crds"
    for _ in range(2):
        done = subprocess.run(
            ["ip", "netns", "exec", str(api.namespace), "kubectl", f"--kubeconfig={config}", "apply", "-f", str(crds)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("unchanged") == len(CRDS), done.stdout
