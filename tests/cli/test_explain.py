"""`sluice explain`: the way of a call, by which rules, and why the others do not count. Needs no root."""
import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SLUICE = os.environ.get("SLUICE_BINARY", ROOT / "build" / "sluice")
SEED = ROOT / "config" / "resources" / "seed.yaml"
EGRESS = ROOT / "config" / "resources" / "egress.yaml"
HOST = "https://api.external-service.com"


def explain(*options, resources=SEED, namespace="my-namespace"):
    """Exit status and what was said as JSON."""
    argv = [SLUICE, "explain", "--namespace", namespace, "--resources", resources, "-o", "json", *options]
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def step(told, name):
    return next(s for s in told["steps"] if s["step"] == name)


def test_the_seed_as_printed_leaves_by_the_default_gateway_and_says_why_its_rule_does_not_count():
    code, told = explain("--to", HOST)
    assert (code, told["verdict"], told["reason"]) == (0, "allow", "registered")
    assert "ServiceEntry my-namespace/external-api" in step(told, "policy")["found"]
    assert "no VirtualService applies" in step(told, "mesh")["found"]
    assert step(told, "mesh")["missed"] == [
        "VirtualService default/external-api: hosts is api.external.com: none of them matches"
    ]
    assert "api.external-service.com resolves to" in step(told, "destination")["found"]


def test_with_unrouted_deny_the_seed_as_printed_is_refused():
    code, told = explain("--to", HOST, "--unrouted", "deny")
    assert (code, told["verdict"], told["reason"]) == (1, "deny", "no_gateway_route")
    assert [s["step"] for s in told["steps"]] == ["policy", "mesh"]


def test_a_host_that_nobody_registered_is_refused_with_the_one_that_may_be_meant():
    code, told = explain("--to", "https://api.external.com")
    assert (code, told["reason"]) == (1, "host_not_registered")
    assert step(told, "policy")["missed"] == [
        "ServiceEntry my-namespace/external-api: its hosts are api.external-service.com"
    ]


def test_port_and_protocol_are_named_when_they_are_what_is_missing():
    code, told = explain("--to", HOST + ":8443")
    assert (code, told["reason"]) == (1, "port_not_registered")
    assert "has no port 8443; it has 443" in step(told, "policy")["missed"][0]
    code, told = explain("--to", "http://api.external-service.com:443/")
    assert (code, told["reason"]) == (1, "not_tls")
    assert "port 443 is for TLS alone" in step(told, "policy")["missed"][0]


def test_the_whole_way_by_rules():
    code, told = explain("--to", HOST, "--unrouted", "deny", resources=EGRESS)
    assert (code, told["reason"]) == (0, "registered"), told
    rule = "VirtualService my-namespace/external-api"
    assert f"{rule} tls[0]: to gateway istio-egressgateway" in step(told, "mesh")["found"]
    assert f"{rule} tls[1]: to api.external-service.com" in step(told, "gateway")["found"]


def test_another_namespace_sees_what_is_exported_to_it():
    code, _ = explain("--to", HOST, namespace="anywhere", resources=EGRESS)
    assert code == 0


@pytest.mark.parametrize(
    "bad",
    [
        "ftp://api.external-service.com",
        "tcp://api.external-service.com:443",
        "https://203.0.113.9",
        "tcp://203.0.113.9",
    ],
)
def test_a_destination_that_cannot_be_asked_about_is_named_and_exits_2(bad):
    code, said = explain("--to", bad)
    assert code == 2
    assert f"--to {bad}: expected" in said


def test_labels_are_pairs():
    code, said = explain("--to", HOST, "--labels", "app")
    assert code == 2
    assert "expected KEY=VALUE" in said
