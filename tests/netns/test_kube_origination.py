"""A DestinationRule, made, changed and removed at a real API server: the gateway begins TLS by it on pods' calls at once."""
from kube_lab import ENTRIES, NAMESPACE, in_force, service_entry
from kube_lab import api, lab  # noqa: F401  (fixtures)
from test_routing import resource

HOST = "originated.plain.example"
ADDRESS = "203.0.113.13"
NAME = "default.outside.example"  # in the origin's certificate


def entry():
    """For plain calls, to a port of the origin that speaks TLS only."""
    made = service_entry("originated", HOST)
    made["spec"]["ports"] = [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 443}]
    made["spec"]["endpoints"] = [{"address": "plain.example"}]
    return made


def rule(lab, expected):
    tls = {"mode": "SIMPLE", "caCertificates": str(lab.outside.ca), "sni": NAME, "subjectAltNames": [expected]}
    return resource("DestinationRule", "originated", NAMESPACE, host=HOST, trafficPolicy={"tls": tls})


def test_a_destination_rule_is_in_force_from_its_making_to_its_end(api, lab):
    def status():
        return lab.pod("a").curl(f"http://{HOST}/", "--resolve", f"{HOST}:80:{ADDRESS}", "-w", "%{http_code}").out[-3:]

    api.create(ENTRIES, entry())
    in_force("plain HTTP to the TLS port", status, "400")
    api.create("destinationrules", rule(lab, NAME))
    in_force("DestinationRule made", status, "200")
    api.patch("destinationrules", NAMESPACE, "originated", {"spec": rule(lab, "another.example")["spec"]})
    in_force("DestinationRule changed", status, "502")
    api.patch("destinationrules", NAMESPACE, "originated", {"spec": rule(lab, NAME)["spec"]})
    in_force("DestinationRule changed back", status, "200")
    api.delete("destinationrules", NAMESPACE, "originated")
    in_force("DestinationRule removed", status, "400")
