"""Each kind that decides a call: made, changed and removed at a real API server, it is in force on pods' calls at once."""
import pytest
from kube_lab import all_well, answer, in_force
from kube_lab import api  # noqa: F401  (fixture)
from seed_calls import SEED_HOST
from test_routing import Full


@pytest.fixture(scope="module")
def lab(bare_lab, api):
    """Both roles fed by the API server; what no VirtualService routes is refused by both."""
    certified = bare_lab.directory / "kubeconfig-certified"
    api.write_kubeconfig(certified)
    for daemon, section, kubeconfig in (
        (bare_lab.agent, "egress", api.kubeconfig),
        (bare_lab.gateway, "gateway", certified),
    ):
        daemon.settings["resources"] = {"source": "kubernetes", "kubernetes": {"kubeconfig": str(kubeconfig)}}
        daemon.settings[section]["unrouted"] = "deny"
    full = Full()
    for plural, body in (
        ("serviceentries", full.entry),
        ("gateways", full.gateway),
        ("virtualservices", full.service),
    ):
        api.make_namespace(body["metadata"]["namespace"])
        api.create(plural, body)
    lab = bare_lab.start()
    all_well(lab)
    in_force("all of it", lambda: answer(lab, SEED_HOST), "server_hello")
    return lab


def newest_denial(lab, daemon):
    """What a call for the seed's host is denied for by that role."""
    with lab.watch() as watch:
        if answer(lab, SEED_HOST) == "server_hello":
            return "allowed"
        return watch.record(daemon, event="deny", sni=SEED_HOST)["reason"]


def test_a_virtual_service_is_in_force_from_its_making_to_its_end(api, lab):
    full = Full()
    of_agent = lambda: newest_denial(lab, "agent")  # noqa: E731
    api.delete("virtualservices", "default", "external-api")
    in_force("VirtualService removed", of_agent, "no_gateway_route")
    api.create("virtualservices", full.service)
    in_force("VirtualService made", of_agent, "allowed")
    full.mesh_rule["match"][0]["port"] = 8443
    api.patch("virtualservices", "default", "external-api", {"spec": full.service["spec"]})
    in_force("VirtualService changed", of_agent, "no_gateway_route")
    api.patch("virtualservices", "default", "external-api", {"spec": Full().service["spec"]})
    in_force("VirtualService changed back", of_agent, "allowed")


def test_a_gateway_is_in_force_from_its_making_to_its_end(api, lab):
    full = Full()
    of_gateway = lambda: newest_denial(lab, "gateway")  # noqa: E731
    api.delete("gateways", "istio-system", "my-egress-gateway")
    in_force("Gateway removed", of_gateway, "no_gateway_route")
    api.create("gateways", full.gateway)
    in_force("Gateway made", of_gateway, "allowed")
    full.gateway["spec"]["servers"][0]["hosts"] = ["api.external.com"]
    api.patch("gateways", "istio-system", "my-egress-gateway", {"spec": full.gateway["spec"]})
    in_force("Gateway changed", of_gateway, "no_gateway_route")
    api.patch("gateways", "istio-system", "my-egress-gateway", {"spec": Full().gateway["spec"]})
    in_force("Gateway changed back", of_gateway, "allowed")
