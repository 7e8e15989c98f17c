"""A plain HTTP call that DestinationRule has the gateway begin TLS for; to be run from tests/netns."""
from test_routing import resource, text_of

HOST = "a-name-that-is-longer-than-fifteen-bytes.plain.example"


def test_the_gateway_begins_tls_by_destination_rule_and_lives(lab, watch):
    entry = resource(
        "ServiceEntry",
        "originated",
        "my-namespace",
        hosts=[HOST],
        location="MESH_EXTERNAL",
        ports=[{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 443}],
        resolution="DNS",
        endpoints=[{"address": "plain.example"}],
    )
    name = "default.outside.example"
    tls = {"mode": "SIMPLE", "caCertificates": str(lab.outside.ca), "sni": name, "subjectAltNames": [name]}
    rule = resource("DestinationRule", "originated", "my-namespace", host=HOST, trafficPolicy={"tls": tls})
    lab.apply("originated.yaml", text_of([entry, rule]))
    pid = lab.gateway.pid
    for _ in range(3):
        done = lab.pod("a").curl(f"http://{HOST}/", "--resolve", f"{HOST}:80:203.0.113.13")
        assert done.out.startswith(f"served {name} at "), done
    assert lab.gateway.running() and lab.gateway.pid == pid
