"""Calls go where Gateways and VirtualServices say: the mesh half picks the gateway, the gateway half the destination.
What no rule leads anywhere goes by `unrouted`. Whatever is missing has its reason, and nothing leaves."""
import copy
import json
import pathlib
import time

import hello
import pytest
from capture import TCP, is_syn
from lab import GATEWAY4, GATEWAY_NAME
from namespaces import wait_for
from outside import DATABASE, DATABASE6, EVIL, WEB, WEB6
from pod import REFUSED_WITHIN_MS, receive_all, receive_exactly
from seed_calls import SEED_HOST, curl, is_served, only_the_gateway_host_called

SEED = (pathlib.Path(__file__).resolve().parents[2] / "config" / "resources" / "seed.yaml").read_text()
SECOND4, SECOND_NAME = "10.2.0.3", "second-egress.istio-system.svc.cluster.local"
LIVE_WITHIN_S = 1.0
NO_MESH_RULE = "no VirtualService leads the call to a gateway, and egress.unrouted is deny"
NO_GATEWAY_RULE = "no VirtualService routes the call at this gateway, and gateway.unrouted is deny"


def resource(kind, name, namespace, **spec):
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def text_of(resources):
    """YAML reads JSON."""
    return "\n---\n".join(json.dumps(one, indent=1) for one in resources)


def to(host, port=None, **more):
    return {"destination": {"host": host, **({"port": {"number": port}} if port else {})}, **more}


def mesh_service(name, host, kind, *rules):
    """A VirtualService of the mesh's half alone."""
    return resource("VirtualService", name, "my-namespace", hosts=[host], gateways=["mesh"], **{kind: list(rules)})


def tls_rule(*routes, **match):
    return {"match": [{"sniHosts": [SEED_HOST], **match}], "route": list(routes)}


class Full:
    """The egress gateway as Istio's own task shapes it, each object to be changed by a test."""

    def __init__(self):
        self.entry = resource(
            "ServiceEntry",
            "external-api",
            "my-namespace",
            hosts=[SEED_HOST],
            location="MESH_EXTERNAL",
            ports=[{"number": 443, "name": "https", "protocol": "HTTPS"}],
            resolution="DNS",
        )
        self.gateway = resource(
            "Gateway",
            "my-egress-gateway",
            "istio-system",
            selector={"istio": "egressgateway"},
            servers=[
                {
                    "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                    "hosts": [SEED_HOST],
                    "tls": {"mode": "PASSTHROUGH"},
                }
            ],
        )
        self.service = resource(
            "VirtualService",
            "external-api",
            "default",
            hosts=[SEED_HOST],
            gateways=["mesh", "istio-system/my-egress-gateway"],
            tls=[
                {
                    "match": [{"gateways": ["mesh"], "port": 443, "sniHosts": [SEED_HOST]}],
                    "route": [to(GATEWAY_NAME, 443)],
                },
                {
                    "match": [{"gateways": ["istio-system/my-egress-gateway"], "port": 443, "sniHosts": [SEED_HOST]}],
                    "route": [to(SEED_HOST, 443)],
                },
            ],
        )

    @property
    def mesh_rule(self):
        return self.service["spec"]["tls"][0]

    @property
    def gateway_rule(self):
        return self.service["spec"]["tls"][1]

    def text(self):
        return text_of(one for one in (self.entry, self.gateway, self.service) if one)


@pytest.fixture(scope="module")
def second(lab):
    """A gateway of another name, beside the lab's own."""
    daemon = lab.add_gateway("second", SECOND4, SECOND_NAME, {"istio": "second"})
    daemon.settings["gateway"]["unrouted"] = "direct"
    daemon.start()
    lab.agent.settings["egress"]["gateways"] = [
        lab.agent.settings["egress"]["gateways"][0],
        {"name": SECOND_NAME, "addresses": [f"{SECOND4}:15443"], "transport": "proxy"},
    ]
    lab.agent.restart()
    return daemon


def set_unrouted(lab, agent="gateway", gateway="direct"):
    for daemon, section, value in ((lab.gateway, "gateway", gateway), (lab.agent, "egress", agent)):
        if daemon.settings[section].get("unrouted") != value:
            daemon.settings[section]["unrouted"] = value
            daemon.restart()


def served_by(lab, watch, name, pod="a", address=WEB):
    """One call, which the gateway of that name served: the agent's record."""
    assert lab.pod(pod).tls(address, SEED_HOST).served_names() == [SEED_HOST]
    opened = watch.record(event="open", sni=SEED_HOST, pod__name=pod)
    others = [d for d in ("gateway", "second") if d != name]
    assert watch.record(name, event="open", id=opened["id"])["pod"]["name"] == pod
    assert not [r for other in others for r in watch.records(other, id=opened["id"])]
    only_the_gateway_host_called(watch)
    return opened


def denied(lab, watch, role, reason, detail=None):
    """One call, refused at once by that role for that reason, and nothing left for the outside."""
    done = curl(lab, "-v")
    assert done.code == 35 and done.milliseconds < REFUSED_WITHIN_MS, done
    found = watch.record(role, event="deny", sni=SEED_HOST)
    assert found["reason"] == reason, found
    assert found.get("detail") == detail, found
    if role == "agent":
        assert not [p for p in watch.at_gateway() if p.protocol == TCP and p.payload], "the gateway was not asked"
    watch.nothing_left()


# The seed's scenario


def test_the_seed_as_printed_leaves_by_the_default_gateway_alone(lab, watch):
    set_unrouted(lab)
    lab.apply("seed.yaml", SEED)
    assert is_served(done := curl(lab, "-v")), done
    only_the_gateway_host_called(watch)
    opened = watch.record(event="open", sni=SEED_HOST)
    assert opened["route"] == "default" and opened["gateway"] == f"{GATEWAY4}:15443"
    assert opened["rule"] == "my-namespace/external-api"
    assert watch.record("gateway", event="open", id=opened["id"])["route"] == "default"


def test_the_seed_as_printed_is_refused_by_an_agent_that_denies_what_is_not_routed(lab, watch):
    set_unrouted(lab, agent="deny")
    lab.apply("seed.yaml", SEED)
    denied(lab, watch, "agent", "no_gateway_route", NO_MESH_RULE)


def test_the_seed_as_printed_is_refused_by_a_gateway_that_denies_what_is_not_routed(lab, watch):
    set_unrouted(lab, gateway="deny")
    lab.apply("seed.yaml", SEED)
    denied(lab, watch, "gateway", "no_gateway_route", NO_GATEWAY_RULE)
    opened = watch.record(event="open", sni=SEED_HOST)
    assert opened["route"] == "default"
    assert watch.record("gateway", event="deny")["id"] == opened["id"]


def test_the_seed_with_names_that_agree_is_routed_at_the_gateway(lab, watch):
    set_unrouted(lab, gateway="deny")
    agreed = SEED.replace("api.external.com", SEED_HOST).replace(
        "  - egress-gateway", "  - istio-system/my-egress-gateway"
    )
    assert agreed.count(SEED_HOST) == 4 and agreed.count("my-egress-gateway") == 2
    lab.apply("seed.yaml", agreed)
    assert is_served(done := curl(lab, "-v")), done
    only_the_gateway_host_called(watch)
    opened = watch.record(event="open", sni=SEED_HOST)
    assert opened["route"] == "default", "without mesh no rule is the agent's"
    assert opened["gateway"] == f"{GATEWAY4}:15443"
    at_gateway = watch.record("gateway", event="open", id=opened["id"])
    assert at_gateway["route"] == "default/external-api tls[0]"
    assert at_gateway["upstream"] in (f"{WEB}:443", f"[{WEB6}]:443")


def test_the_full_form_is_routed_on_both_sides(lab, watch):
    set_unrouted(lab, "deny", "deny")
    lab.apply("seed.yaml", Full().text())
    assert is_served(done := curl(lab, "-v")), done
    only_the_gateway_host_called(watch)
    opened = watch.record(event="open", sni=SEED_HOST)
    assert opened["route"] == "default/external-api tls[0]" and opened["gateway"] == f"{GATEWAY4}:15443"
    assert watch.record("gateway", event="open", id=opened["id"])["route"] == "default/external-api tls[1]"


# Each missing piece


def without_service_entry(full):
    full.entry = None


def without_virtual_service(full):
    full.service = None


def without_gateway(full):
    full.gateway = None


def of_another_host(full):
    text = json.dumps(full.service).replace(SEED_HOST, "api.external.com")
    full.service = json.loads(text)


def of_a_gateway_that_is_not_there(full):
    full.service = json.loads(json.dumps(full.service).replace("my-egress-gateway", "egress-gateway"))


def without_mesh(full):
    full.service["spec"]["gateways"].remove("mesh")
    del full.service["spec"]["tls"][0]


def without_a_rule_for_the_gateway(full):
    full.service["spec"]["gateways"] = ["mesh"]
    del full.service["spec"]["tls"][1]


def selecting_another_workload(full):
    full.gateway["spec"]["selector"] = {"istio": "another"}


def serving_another_host(full):
    full.gateway["spec"]["servers"][0]["hosts"] = ["api.external.com"]


def serving_another_namespace(full):
    full.gateway["spec"]["servers"][0]["hosts"] = [f"other/{SEED_HOST}"]


def exported_to_its_own_namespace(full):
    full.service["spec"]["exportTo"] = ["."]


def exported_to_the_pod_alone(full):
    full.service["spec"]["exportTo"] = ["my-namespace"]


def entry_exported_elsewhere(full):
    full.entry["spec"]["exportTo"] = ["other"]


def port_of_the_mesh_rule(full):
    full.mesh_rule["match"][0]["port"] = 8443


def port_of_the_gateway_rule(full):
    full.gateway_rule["match"][0]["port"] = 8443


def port_of_the_server(full):
    full.gateway["spec"]["servers"][0]["port"]["number"] = 8443


def port_of_the_way_to_the_gateway(full):
    full.mesh_rule["route"] = [to(GATEWAY_NAME, 8443)]


def to_a_gateway_that_no_setting_names(full):
    full.mesh_rule["route"] = [to("another.istio-system.svc.cluster.local", 443)]


def to_a_service_that_is_not_registered(full):
    full.gateway_rule["route"] = [to("api.external.com", 443)]


def to_a_port_that_is_not_registered(full):
    full.gateway_rule["route"] = [to(SEED_HOST, 8443)]


@pytest.mark.parametrize(
    "change,role,reason,detail",
    [
        (without_service_entry, "agent", "host_not_registered", None),
        (entry_exported_elsewhere, "agent", "not_exported", None),
        (without_virtual_service, "agent", "no_gateway_route", NO_MESH_RULE),
        (of_another_host, "agent", "no_gateway_route", NO_MESH_RULE),
        (without_mesh, "agent", "no_gateway_route", NO_MESH_RULE),
        (exported_to_its_own_namespace, "agent", "no_gateway_route", NO_MESH_RULE),
        (port_of_the_mesh_rule, "agent", "no_gateway_route", NO_MESH_RULE),
        (
            to_a_gateway_that_no_setting_names,
            "agent",
            "no_gateway_route",
            "default/external-api tls[0] leads to another.istio-system.svc.cluster.local, "
            "which is no gateway in egress.gateways",
        ),
        (without_gateway, "gateway", "no_gateway_route", NO_GATEWAY_RULE),
        (of_a_gateway_that_is_not_there, "gateway", "no_gateway_route", NO_GATEWAY_RULE),
        (without_a_rule_for_the_gateway, "gateway", "no_gateway_route", NO_GATEWAY_RULE),
        (selecting_another_workload, "gateway", "no_gateway_route", NO_GATEWAY_RULE),
        (serving_another_host, "gateway", "no_gateway_route", NO_GATEWAY_RULE),
        (serving_another_namespace, "gateway", "no_gateway_route", NO_GATEWAY_RULE),
        (exported_to_the_pod_alone, "gateway", "no_gateway_route", NO_GATEWAY_RULE),
        (port_of_the_gateway_rule, "gateway", "no_gateway_route", NO_GATEWAY_RULE),
        (port_of_the_server, "gateway", "no_gateway_route", NO_GATEWAY_RULE),
        (port_of_the_way_to_the_gateway, "gateway", "no_gateway_route", NO_GATEWAY_RULE),
        (
            to_a_service_that_is_not_registered,
            "gateway",
            "no_gateway_route",
            "default/external-api tls[1]: destination api.external.com is no service of namespace my-namespace "
            "with such a port",
        ),
        (
            to_a_port_that_is_not_registered,
            "gateway",
            "no_gateway_route",
            f"default/external-api tls[1]: destination {SEED_HOST} is no service of namespace my-namespace "
            "with such a port",
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_missing_piece_is_refused_where_it_is_missing(lab, watch, change, role, reason, detail):
    set_unrouted(lab, "deny", "deny")
    full = Full()
    change(full)
    lab.apply("seed.yaml", full.text())
    denied(lab, watch, role, reason, detail)


# Which gateway


def apply_mesh(lab, *services):
    lab.apply("seed.yaml", text_of([Full().entry, *services]))


def test_source_labels_pick_the_gateway(lab, second, watch):
    set_unrouted(lab, "deny")
    apply_mesh(
        lab,
        mesh_service(
            "by-label",
            SEED_HOST,
            "tls",
            tls_rule(to(GATEWAY_NAME, 443), sourceLabels={"app": "a"}),
            tls_rule(to(SECOND_NAME, 443), sourceLabels={"app": "b"}),
        ),
    )
    assert served_by(lab, watch, "gateway", "a")["route"] == "my-namespace/by-label tls[0]"
    assert served_by(lab, watch, "second", "b")["route"] == "my-namespace/by-label tls[1]"


def test_a_pod_without_the_labels_is_refused(lab, second, watch):
    set_unrouted(lab, "deny")
    apply_mesh(
        lab,
        mesh_service("by-label", SEED_HOST, "tls", tls_rule(to(GATEWAY_NAME, 443), sourceLabels={"app": "b"})),
    )
    denied(lab, watch, "agent", "no_gateway_route", NO_MESH_RULE)


def test_the_source_namespace_picks_the_gateway(lab, second, watch):
    set_unrouted(lab, "deny")
    apply_mesh(
        lab,
        mesh_service(
            "by-namespace",
            SEED_HOST,
            "tls",
            tls_rule(to(SECOND_NAME, 443), sourceNamespace="my-namespace"),
            tls_rule(to(GATEWAY_NAME, 443), sourceNamespace="other"),
        ),
    )
    assert served_by(lab, watch, "second", "a")["route"] == "my-namespace/by-namespace tls[0]"
    assert served_by(lab, watch, "gateway", "b")["route"] == "my-namespace/by-namespace tls[1]"


@pytest.mark.parametrize("weights,name", [((100, 0), "gateway"), ((0, 100), "second")])
def test_weights_pick_the_gateway(lab, second, watch, weights, name):
    set_unrouted(lab, "deny")
    routes = [to(n, 443, weight=w) for n, w in zip((GATEWAY_NAME, SECOND_NAME), weights)]
    apply_mesh(lab, mesh_service("by-weight", SEED_HOST, "tls", tls_rule(*routes)))
    for _ in range(20):
        assert lab.pod("a").tls(WEB, SEED_HOST).served_names() == [SEED_HOST]
    wait_for("the records", lambda: len(watch.records(name, event="open")) == 20)
    assert not watch.records("second" if name == "gateway" else "gateway", event="open")


def test_equal_weights_use_both_gateways(lab, second, watch):
    set_unrouted(lab, "deny")
    apply_mesh(
        lab,
        mesh_service(
            "by-weight", SEED_HOST, "tls", tls_rule(to(GATEWAY_NAME, 443, weight=50), to(SECOND_NAME, 443, weight=50))
        ),
    )

    def both_served():
        assert lab.pod("a").tls(WEB, SEED_HOST).served_names() == [SEED_HOST]
        return watch.records("gateway", event="open") and watch.records("second", event="open")

    wait_for("a call by either gateway", both_served)
    only_the_gateway_host_called(watch)


def test_destination_subnets_pick_the_gateway(lab, second, watch):
    set_unrouted(lab, "deny")
    apply_mesh(
        lab,
        mesh_service(
            "by-subnet",
            SEED_HOST,
            "tls",
            tls_rule(to(GATEWAY_NAME, 443), destinationSubnets=[f"{WEB}/32", "2001:db8:5::/64"]),
            tls_rule(to(SECOND_NAME, 443), destinationSubnets=["203.0.113.0/24"]),
        ),
    )
    assert served_by(lab, watch, "gateway", address=WEB)["route"] == "my-namespace/by-subnet tls[0]"
    with lab.watch() as other:
        assert served_by(lab, other, "second", address=EVIL)["route"] == "my-namespace/by-subnet tls[1]"


def test_a_header_for_another_gateway_is_refused(lab, second, watch):
    set_unrouted(lab)
    before = lab.agent.settings["egress"]["gateways"]
    name = "third-egress.istio-system.svc.cluster.local"
    lab.agent.settings["egress"]["gateways"] = [{**before[1], "name": name}]
    lab.agent.restart()
    try:
        apply_mesh(lab)
        with lab.pod("a").connect(WEB, 443) as sock:
            sock.sendall(hello.records(hello.client_hello([SEED_HOST])))
            assert hello.answer(sock) in ("reset", "closed")
        refused = watch.record("second", event="deny")
        assert refused["reason"] == "gateway_denied"
        assert refused["detail"] == f"PROXY header: the header is for gateway {name}"
        assert "pod" not in refused, "who calls is not known by a header that is not believed"
        watch.nothing_left()
    finally:
        lab.agent.settings["egress"]["gateways"] = before
        lab.agent.restart()


# Plain HTTP


def read_answer(sock):
    """Status, and body by Content-Length, of one answer."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive_exactly(sock, 1)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    return int(head.split()[1]), receive_exactly(sock, int(fields[b"content-length"])).decode()


def ask(sock, path):
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: plain.example\r\n\r\n".encode())
    return read_answer(sock)


def test_the_requests_of_one_connection_go_to_the_gateways_of_their_paths(lab, second, watch):
    set_unrouted(lab, "deny")
    lab.apply(
        "seed.yaml",
        text_of(
            [
                mesh_service(
                    "by-path",
                    "plain.example",
                    "http",
                    {"match": [{"uri": {"prefix": "/a/"}}], "route": [to(GATEWAY_NAME, 80)]},
                    {"match": [{"uri": {"prefix": "/b/"}}], "route": [to(SECOND_NAME, 80)]},
                )
            ]
        ),
    )
    with lab.pod("a").connect("203.0.113.13", 80) as sock:
        for path in ("/a/1", "/a/2", "/b/1", "/b/2", "/a/3"):
            status, body = ask(sock, path)
            assert status == 200 and body.startswith("served plain.example at "), body
        status, body = ask(sock, "/c/1")
        assert status == 403 and "plain.example" in body and "no_gateway_route" in body
    opened = watch.record(event="open", http__path="/a/1")
    for path, rule, gateway in (
        ("/a/2", 0, GATEWAY4),
        ("/b/1", 1, SECOND4),
        ("/b/2", 1, SECOND4),
        ("/a/3", 0, GATEWAY4),
    ):
        asked = watch.record(event="request", id=opened["id"], http__path=path)
        assert asked["route"] == f"my-namespace/by-path http[{rule}]" and asked["gateway"] == f"{gateway}:15443", asked
    for path, name in (("/a/1", "gateway"), ("/b/1", "second"), ("/a/3", "gateway")):
        assert watch.record(name, event="open", http__path=path)["pod"]["name"] == "a"
    for path, name in (("/a/2", "gateway"), ("/b/2", "second")):
        watch.record(name, event="request", http__path=path)
    refused = watch.record(event="deny", http__path="/c/1")
    assert refused["reason"] == "no_gateway_route"
    assert refused["detail"] == "my-namespace/by-path: none of its http rules matches the request"
    watch.only_gateway_left(*{p.destination for p in watch.upstream_calls()})
    assert not watch.seen_outside(b"/c/1")


def by_path(gateway):
    return mesh_service(
        "by-path",
        "plain.example",
        "http",
        {"match": [{"uri": {"prefix": "/a/"}}], "route": [to(gateway, 80)]},
    )


def test_the_next_request_of_an_open_connection_follows_the_new_route(lab, second, watch):
    set_unrouted(lab, "deny")
    lab.apply("seed.yaml", text_of([by_path(GATEWAY_NAME)]))
    with lab.pod("a").connect("203.0.113.13", 80) as sock:
        assert ask(sock, "/a/1")[0] == 200
        lab.apply("seed.yaml", text_of([by_path(SECOND_NAME)]))
        assert ask(sock, "/a/2")[0] == 200
        opened = watch.record(event="open", http__path="/a/1")
        assert watch.record(event="request", id=opened["id"], http__path="/a/2")["gateway"] == f"{SECOND4}:15443"
        watch.record("second", event="open", http__path="/a/2")
        lab.apply("seed.yaml", text_of([by_path("another.istio-system.svc.cluster.local")]))
        try:
            status, body = ask(sock, "/a/3")
            assert status == 403 and "no_gateway_route" in body
        except (ConnectionError, EOFError):
            assert watch.record(event="close", id=opened["id"])["close_reason"] == "policy_changed"
    assert not watch.seen_outside(b"/a/3")


@pytest.fixture(params=["agent", "gateway"])
def own_resources(lab, request):
    """A daemon, and a directory that it alone reads besides."""
    daemon = lab.daemons()[request.param]
    before, own = daemon.settings["resources"], lab.directory / f"of-the-{request.param}"
    own.mkdir()
    daemon.settings["resources"] = {"files": [*before["files"], str(own)]}
    daemon.restart()
    yield daemon, own
    daemon.settings["resources"] = before
    daemon.restart()


def dials(watch):
    """How often the agent called the gateway, and the gateway the outside."""
    return len([p for p in watch.at_gateway() if is_syn(p) and p.dport == 15443]), len(watch.upstream_calls())


def test_a_kept_alive_connection_does_not_outlive_the_policy_it_was_dialled_by(lab, watch, own_resources):
    daemon, own = own_resources
    set_unrouted(lab)
    lab.apply("seed.yaml", SEED)
    limits = {"connectionPool": {"tcp": {"connectTimeout": "1s"}}}
    rule = resource("DestinationRule", "plain", "my-namespace", host="plain.example", trafficPolicy=limits)
    with lab.pod("a").connect("203.0.113.13", 80) as sock:
        assert [ask(sock, path)[0] for path in ("/1", "/2")] == [200, 200]
        assert dials(watch) == (1, 1)
        before = daemon.status()["policy"]["generation"]
        (own / "rule.yaml").write_text(text_of([rule]))
        wait_for("the rule to be read", lambda: daemon.status()["policy"]["generation"] > before)
        assert [ask(sock, path)[0] for path in ("/3", "/4")] == [200, 200]
        assert dials(watch) == (2 if daemon is lab.agent else 1, 2)
    opened = watch.record(event="open", http__path="/1")
    for path in ("/2", "/3", "/4"):
        watch.record(event="request", id=opened["id"], http__path=path)


# By address


def database_service(port=5432, gateway=SECOND_NAME):
    return mesh_service(
        "database",
        "database.example",
        "tcp",
        {"match": [{"destinationSubnets": [f"{DATABASE}/32"], "port": port}], "route": [to(gateway, 5432)]},
    )


def test_a_database_is_routed_by_its_subnet_and_port(lab, second, watch):
    set_unrouted(lab, "deny")
    apply_mesh(lab, database_service())
    with lab.pod("a").connect(DATABASE, 5432) as sock:
        assert receive_exactly(sock, 22) == b"READY sluice-database\n"
    opened = watch.record(event="open", protocol="tcp")
    assert opened["route"] == "my-namespace/database tcp[0]" and opened["gateway"] == f"{SECOND4}:15443"
    assert watch.record("second", event="open", id=opened["id"])["upstream"] == f"{DATABASE}:5432"
    watch.only_gateway_left(DATABASE)


def test_a_database_outside_the_subnets_is_refused(lab, second, watch):
    set_unrouted(lab, "deny")
    apply_mesh(lab, database_service())
    try:
        with lab.pod("a").connect(DATABASE6, 5432) as sock:
            assert receive_all(sock) == b""
    except ConnectionResetError:
        pass
    refused = watch.record(event="deny", destination=f"[{DATABASE6}]:5432")
    assert refused["reason"] == "no_gateway_route" and refused["detail"] == NO_MESH_RULE
    watch.nothing_left()


# Live


def is_cut(sock, within_s=LIVE_WITHIN_S + 0.5):
    sock.settimeout(within_s)
    start = time.monotonic()
    try:
        receive_all(sock)
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return time.monotonic() - start < within_s


def goes_on(sock):
    sock.sendall(b"ECHO\nstill here")
    sock.shutdown(1)
    return receive_all(sock).startswith(b"still here")


def test_a_route_that_is_taken_away_cuts_what_it_had_allowed(lab, second, watch):
    set_unrouted(lab, "deny")
    apply_mesh(lab, database_service())
    with lab.pod("a").connect(DATABASE, 5432) as sock:
        assert receive_exactly(sock, 22)
        opened = watch.record(event="open", protocol="tcp")
        lab.apply("seed.yaml", text_of([Full().entry, database_service(port=5433)]))
        assert is_cut(sock)
    assert watch.record(event="close", id=opened["id"])["close_reason"] == "policy_changed"


def test_a_route_that_changes_for_others_leaves_a_connection_alone(lab, second, watch):
    set_unrouted(lab, "deny")
    apply_mesh(lab, database_service())
    with lab.pod("a").connect(DATABASE, 5432) as sock:
        assert receive_exactly(sock, 22)
        changed = database_service()
        changed["spec"]["tcp"].append(copy.deepcopy(changed["spec"]["tcp"][0]))
        changed["spec"]["tcp"][1]["match"][0]["port"] = 5433
        other = mesh_service("elsewhere", SEED_HOST, "tls", tls_rule(to(SECOND_NAME, 443)))
        apply_mesh(lab, changed, other)
        assert goes_on(sock)
    assert watch.record(event="close", protocol="tcp")["close_reason"] == "finished"


def test_the_gateways_own_route_taken_away_cuts_what_it_had_allowed(lab, watch):
    set_unrouted(lab, "deny", "deny")
    lab.apply("seed.yaml", Full().text())
    session = lab.pod("a").tls(WEB, SEED_HOST)
    opened = watch.record(event="open", sni=SEED_HOST)
    full = Full()
    selecting_another_workload(full)
    lab.apply("seed.yaml", full.text())
    assert is_cut(session.sock)
    assert watch.record("gateway", event="close", id=opened["id"])["close_reason"] == "policy_changed"
