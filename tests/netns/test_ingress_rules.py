"""Which rule of a VirtualService takes a request at `sluice ingress`, and which endpoint of its destination gets it, as
DestinationRules say."""
import json
import threading

import pytest
from ingress import IngressScene, answer_of, resource
from namespaces import wait_for

HOST = "rules.example.com"
FIRST, SECOND, SECURE = "127.0.0.2:8080", "127.0.0.3:8080", "127.0.0.4:8443"
SECURE_NAME = "secure.my-namespace.svc.cluster.local"
EJECTION_S = 2


def host_of(name):
    return f"{name}.my-namespace.svc.cluster.local"


def to(name, **more):
    return {"destination": {"host": host_of(name), "port": {"number": 80}, **more.pop("destination", {})}, **more}


def says(name, *matches, **more):
    """A rule that answers with its name."""
    return {"match": list(matches), "directResponse": {"status": 200, "body": {"string": name}}, **more}


RULES = [
    {"match": [{"uri": {"prefix": "/team"}}], "delegate": {"name": "team", "namespace": "my-namespace"}},
    says("uri exact", {"uri": {"exact": "/exact"}}),
    says("uri regex", {"uri": {"regex": "/r[0-9]+"}}),
    says("any case", {"uri": {"prefix": "/case"}, "ignoreUriCase": True}),
    says("method", {"uri": {"exact": "/facts"}, "method": {"exact": "PUT"}}),
    says("header", {"uri": {"exact": "/facts"}, "headers": {"x-who": {"prefix": "al"}}}),
    says("query", {"uri": {"exact": "/facts"}, "queryParams": {"q": {"exact": "1"}}}),
    says("authority", {"uri": {"exact": "/facts"}, "authority": {"prefix": "rules.example.com:8"}}),
    says("scheme", {"uri": {"exact": "/facts"}, "scheme": {"exact": "https"}}),
    says("without", {"uri": {"exact": "/facts"}, "withoutHeaders": {"x-mark": {}}}),
    says("port", {"uri": {"exact": "/facts"}, "port": 80}),
    {"match": [{"uri": {"prefix": "/v2/"}}], "route": [to("pair", destination={"subset": "v2"})]},
    {
        "match": [{"uri": {"prefix": "/weighed"}}],
        "rewrite": {"uriRegexRewrite": {"match": "^/weighed/(.*)$", "rewrite": "/echo?was=\\1"}},
        "route": [
            to("pair", destination={"subset": "v1"}, weight=25),
            to("pair", destination={"subset": "v2"}, weight=75),
        ],
    },
    {"match": [{"uri": {"prefix": "/least/"}}], "rewrite": {"uri": "/"}, "route": [to("least")]},
    {"match": [{"uri": {"exact": "/flaky"}}], "retries": {"attempts": 0}, "route": [to("outlier")]},
    {"match": [{"uri": {"prefix": "/secure"}}], "route": [to("secure")]},
    {"match": [{"uri": {"prefix": "/stranger"}}], "route": [to("stranger")]},
]


@pytest.fixture(scope="module")
def scene():
    with IngressScene() as scene:
        # One thread: turns and failures are counted by each.
        scene.ingress.settings["node"]["threads"] = 1
        services = scene.ingress.settings["ingress"]["services"]
        pair = scene.service(host_of("pair"), 80, FIRST, SECOND)
        for number, endpoint in enumerate(pair["endpoints"]):
            endpoint["labels"] = {"version": f"v{number + 1}"}
        services.append(pair)
        services += [scene.service(host_of(name), 80, FIRST, SECOND) for name in ("least", "outlier")]
        services += [scene.service(host_of(name), 80, SECURE) for name in ("secure", "stranger")]
        scene.start_apps(FIRST, SECOND)
        start_secure(scene)
        server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [HOST]}
        scene.write(
            "rules",
            resource("Gateway", "in", "istio-system", selector={"istio": "ingressgateway"}, servers=[server]),
            resource("VirtualService", "root", "my-namespace", hosts=[HOST], gateways=["istio-system/in"], http=RULES),
            resource(
                "VirtualService",
                "team",
                "my-namespace",
                http=[says("delegate a", {"uri": {"prefix": "/team/a"}}), says("delegate")],
            ),
            rule("pair", subsets=[{"name": f"v{n}", "labels": {"version": f"v{n}"}} for n in (1, 2)]),
            rule("least", trafficPolicy={"loadBalancer": {"simple": "LEAST_REQUEST"}}),
            rule(
                "outlier",
                trafficPolicy={
                    "loadBalancer": {"simple": "ROUND_ROBIN"},
                    "outlierDetection": {"consecutive5xxErrors": 2, "baseEjectionTime": f"{EJECTION_S}s"},
                },
            ),
            rule("secure", trafficPolicy={"tls": tls_to(scene, SECURE_NAME)}),
            rule("stranger", trafficPolicy={"tls": tls_to(scene, "stranger.example.com")}),
        )
        scene.ingress.start()
        scene.wait_listening("127.0.0.1:80")
        yield scene


def rule(name, **spec):
    return resource("DestinationRule", name, "my-namespace", host=host_of(name), **spec)


def tls_to(scene, name):
    return {"mode": "SIMPLE", "caCertificates": str(scene.authority.ca), "subjectAltNames": [name], "sni": SECURE_NAME}


def start_secure(scene):
    certificate, key = scene.authority.issue("secure", f"DNS:{SECURE_NAME}")
    command = ("openssl", "s_server", "-quiet", "-cert", certificate, "-key", key, "-accept", SECURE, "-www")
    scene.spawn("secure", command)
    scene.wait_listening(SECURE)


def ask(scene, target, method="GET", fields=(), host=HOST, address="127.0.0.1:80"):
    at, port = address.split(":")
    with scene.connect(int(port), at) as sock:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields, "", ""]
        sock.sendall("\r\n".join(lines).encode())
        return answer_of(sock, method)


@pytest.mark.parametrize(
    "rule_name, target, more",
    [
        ("uri exact", "/exact", {}),
        ("uri exact", "/exact?q=2", {}),
        ("uri regex", "/r42", {}),
        ("any case", "/CaSe/x", {}),
        ("method", "/facts", {"method": "PUT"}),
        ("header", "/facts", {"fields": ("X-Who: alice",)}),
        ("query", "/facts?a=b&q=1", {}),
        ("authority", "/facts", {"host": f"{HOST}:80"}),
        ("without", "/facts", {}),
        ("port", "/facts?q=2", {"fields": ("X-Mark: 1", "X-Who: bob")}),
        ("delegate a", "/team/a/b", {}),
        ("delegate", "/team/c", {}),
    ],
)
def test_the_first_rule_that_matches_takes_the_request(scene, rule_name, target, more):
    status, _, body = ask(scene, target, **more)
    assert (status, body.decode()) == (200, rule_name)


@pytest.mark.parametrize("target", ["/exact/", "/EXACT", "/r", "/r4x", "/nowhere"])
def test_what_almost_matches_does_not(scene, target):
    status, fields, _ = ask(scene, target)
    assert (status, fields["x-sluice-reason"]) == (404, "no_route")


def test_a_subset_has_the_endpoints_with_its_labels(scene):
    assert {ask(scene, "/v2/hello")[2] for _ in range(6)} == {f"hello from {SECOND}\n".encode()}


def test_weights_share_requests_and_a_regex_rewrites_them(scene):
    servers = []
    for number in range(200):
        seen = json.loads(ask(scene, f"/weighed/{number}")[2])
        assert seen["target"] == f"/echo?was={number}"
        servers.append(seen["server"])
    # 50 are expected, and six standard deviations are 37.
    assert 13 <= servers.count(FIRST) <= 87


def test_the_endpoint_with_fewer_requests_gets_the_next(scene):
    before = {address: count_of(scene, address) for address in (FIRST, SECOND)}
    slow = threading.Thread(target=ask, args=(scene, "/least/slow?ms=3000"))
    slow.start()
    busy = wait_for("a request under way", lambda: [a for a in before if count_of(scene, a) > before[a]])[0]
    idle = SECOND if busy == FIRST else FIRST
    assert {ask(scene, "/least/hello")[2] for _ in range(6)} == {f"hello from {idle}\n".encode()}
    slow.join()


def count_of(scene, address):
    """Slow requests that the application has seen."""
    seen = json.loads(ask(scene, "/copies", address=address)[2])
    return sum(one["target"].startswith("/slow") for one in seen)


def test_an_endpoint_that_fails_is_left_out_and_comes_back(scene):
    ask(scene, "/fail/1000", address=FIRST)
    statuses = [ask(scene, "/flaky")[0] for _ in range(20)]
    assert statuses.count(503) == 2 and set(statuses[4:]) == {200}
    ask(scene, "/fail/0", address=FIRST)
    back = f"recovered {FIRST}\n".encode()
    wait_for("its return", lambda: ask(scene, "/flaky")[2] == back, 5 * EJECTION_S)


def test_tls_to_the_upstream_is_begun_and_verified(scene):
    status, _, body = ask(scene, "/secure")
    assert status == 200 and b"s_server" in body


def test_an_upstream_with_another_name_is_503_and_says_so(scene):
    status, fields, body = ask(scene, "/stranger")
    assert (status, fields["x-sluice-reason"]) == (503, "upstream_refused")
    assert b"wrong identity: expected stranger.example.com" in body
