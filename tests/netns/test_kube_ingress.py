"""An ingress that a real API server tells everything: Gateways, VirtualServices, Services, their endpoints, and Secrets."""
import contextlib
import copy
import threading

import pytest
from daemon import Daemon
from ingress import SERVICE, IngressScene, answer_of, resource
from kube import INGRESS_RBAC, ApiServer
from namespaces import wait_for

ADDRESS = "10.99.0.1"
HOST = "one.example.com"
OWN, APPS = "istio-system", "my-namespace"
FIRST, SECOND, OTHER = "127.0.0.2:8080", "127.0.0.3:8080", "127.0.0.4:9090"
LIVE_WITHIN_S = 1.0
PORT = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"}


def gateway(credential="ingress-cert"):
    tls = {"mode": "SIMPLE", "credentialName": credential}
    server = {"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": [HOST], "tls": tls}
    plain = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [HOST]}
    return resource("Gateway", "edge", OWN, selector={"istio": "ingressgateway"}, servers=[server, plain])


def routes(host=SERVICE):
    destination = {"host": host, "port": {"number": 80}}
    http = [{"route": [{"destination": destination}]}]
    return resource("VirtualService", "all", APPS, hosts=[HOST], gateways=[f"{OWN}/edge"], http=http)


def slice_port(address, name="http"):
    return [{"name": name, "port": int(address.rsplit(":", 1)[1]), "protocol": "TCP"}]


def put_endpoints(api, *addresses, ready=True):
    hosts = [address.rsplit(":", 1)[0] for address in addresses]
    api.put_slice(APPS, "myapp-service", slice_port(addresses[0]), *hosts, ready=ready)


def put_certificate(api, scene, name="ingress-cert", host=HOST):
    certificate, key = scene.authority.issue("one", f"DNS:{host}")
    api.put_secret(OWN, name, tls_crt=certificate, tls_key=key)
    return certificate


@pytest.fixture(scope="module")
def scene():
    with IngressScene() as scene:
        yield scene


@pytest.fixture(scope="module")
def api(scene):
    server = ApiServer(scene.directory / "kube", scene.namespace, ADDRESS)
    try:
        server.install_crds()
        server.make_account(INGRESS_RBAC, OWN)
        server.make_namespace(APPS)
        server.put_service(APPS, "myapp-service", [PORT])
        put_endpoints(server, FIRST)
        put_certificate(server, scene)
        server.create("gateways", gateway(), "v1beta1")
        server.create("virtualservices", routes(), "v1beta1")
        (scene.directory / "token").write_text(server.make_token("first"))
        server.write_kubeconfig(scene.directory / "kubeconfig", "token")
        scene.start_apps(FIRST, SECOND, OTHER)
        settings = scene.ingress.settings
        kubernetes = {"kubeconfig": str(scene.directory / "kubeconfig")}
        settings["resources"] = {"source": "kubernetes", "kubernetes": kubernetes}
        del settings["ingress"]["secrets"], settings["ingress"]["services"]
        scene.ingress.start()
        yield server
    finally:
        server.close()


def ask(scene, path="/"):
    """Status of a request by TLS on a connection of its own, and who served it."""
    with scene.tls(HOST) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        return answer_of(sock)


def serial(scene):
    with scene.tls(HOST) as sock:
        return sock.getpeercert()["serialNumber"]


def upstream(scene):
    """Which endpoint the newest record names; nothing when the request was not served."""
    before = len(scene.records(event="request"))
    status = ask(scene)[0]
    records = wait_for("its record", lambda: scene.records(event="request")[before:])
    return records[-1].get("upstream") if status == 200 else status


def test_an_ingress_that_is_ready_serves_by_what_the_api_server_tells(api, scene):
    assert ask(scene)[0] == 200
    assert scene.ingress.status()["wrong"] == []


def test_endpoints_are_followed_with_their_port_and_those_that_are_not_ready_get_nothing(api, scene):
    assert upstream(scene) == FIRST
    put_endpoints(api, SECOND)
    wait_for("the second to serve", lambda: upstream(scene) == SECOND, LIVE_WITHIN_S)
    put_endpoints(api, OTHER)
    wait_for("the other port", lambda: upstream(scene) == OTHER, LIVE_WITHIN_S)
    put_endpoints(api, OTHER, ready=False)
    wait_for("nobody to be left", lambda: upstream(scene) == 503, LIVE_WITHIN_S)
    put_endpoints(api, FIRST)
    wait_for("the first to serve again", lambda: upstream(scene) == FIRST, LIVE_WITHIN_S)


def test_a_service_that_comes_and_goes_is_a_destination_for_as_long(api, scene):
    api.patch("virtualservices", APPS, "all", {"spec": routes("late.my-namespace.svc.cluster.local")["spec"]})
    wait_for("it to be missed", lambda: upstream(scene) in (500, 503), LIVE_WITHIN_S)
    api.put_service(APPS, "late", [PORT])
    api.put_slice(APPS, "late", slice_port(SECOND), SECOND.rsplit(":", 1)[0])
    wait_for("it to serve", lambda: upstream(scene) == SECOND, LIVE_WITHIN_S)
    api.request("DELETE", f"/api/v1/namespaces/{APPS}/services/late")
    wait_for("it to be gone", lambda: upstream(scene) in (500, 503), LIVE_WITHIN_S)
    api.patch("virtualservices", APPS, "all", {"spec": routes()["spec"]})
    wait_for("all to be as before", lambda: upstream(scene) == FIRST, LIVE_WITHIN_S)


@contextlib.contextmanager
def loses_no_request(scene):
    """Three clients ask for as long as it lasts, each request on a connection of its own."""
    wrong, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            try:
                status = ask(scene)[0]
            except OSError as error:
                status = repr(error)
            if status != 200:
                wrong.append(status)

    clients = [threading.Thread(target=load) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert wrong == []


def test_a_secret_that_is_rotated_under_load_loses_no_request(api, scene):
    before = serial(scene)
    with loses_no_request(scene):
        for _ in range(3):
            put_certificate(api, scene)
            wait_for("the new certificate", lambda b=before: serial(scene) != b, LIVE_WITHIN_S)
            before = serial(scene)


def test_another_takes_the_place_once_the_api_server_has_told_it_everything(api, scene):
    first, before = scene.ingress, serial(scene)
    second = Daemon(scene, "ingress", scene.namespace, copy.deepcopy(first.settings), name="ingress-b")
    try:
        with loses_no_request(scene):
            for old, new in ((first, second), (second, first)):
                new.start(options=("--take-over", old.socket))
                wait_for("the one before to end", lambda o=old: not o.running(), timeout_s=20)
                assert old.stop() == 0
                assert serial(scene) == before
    finally:
        second.stop()
    assert "has taken over" in second.log.read_text() and scene.ingress.status()["wrong"] == []


def test_a_bad_secret_and_one_that_is_deleted_leave_the_certificate_before_in_use(api, scene):
    before = serial(scene)
    put_certificate(api, scene, host="elsewhere.example")
    said = lambda text: text in "\n".join(scene.ingress.status()["wrong"])  # noqa: E731
    wait_for("status to say so", lambda: said("none of the hosts"), LIVE_WITHIN_S)
    assert serial(scene) == before
    api.request("DELETE", f"/api/v1/namespaces/{OWN}/secrets/ingress-cert")
    wait_for("status to say so", lambda: said("Secret ingress-cert: no certificate"), LIVE_WITHIN_S)
    assert serial(scene) == before
    put_certificate(api, scene)
    wait_for("it to be well", lambda: serial(scene) != before and scene.ingress.status()["wrong"] == [], LIVE_WITHIN_S)


def test_a_secret_that_nobody_gave_the_right_to_is_not_read_and_that_is_said(api, scene):
    put_certificate(api, scene, "another")
    api.patch("gateways", OWN, "edge", {"spec": gateway("another")["spec"]})
    told = lambda: "\n".join(scene.ingress.status()["wrong"])  # noqa: E731
    wait_for("status to say so", lambda: "Secret another cannot be read" in told(), LIVE_WITHIN_S)
    assert "the right to list and watch it is missing" in told()
    api.patch("gateways", OWN, "edge", {"spec": gateway()["spec"]})
    wait_for("it to be well", lambda: told() == "" and ask(scene)[0] == 200, 5)
