"""TLS at `sluice ingress`: which certificate, which clients, what is passed through, and what changes while it runs."""
import json
import shutil
import socket
import ssl

import pytest
from authority import Authority
from ingress import APP, SERVICE, IngressScene, answer_of, resource
from namespaces import wait_for

TLS_APP = "127.0.0.6:8443"
PASSED = "passed.example.com"


def server(port, name, *hosts, **tls):
    number = {"number": port, "name": name, "protocol": "TLS" if tls.get("mode") == "PASSTHROUGH" else "HTTPS"}
    return {"port": number, "hosts": list(hosts), "tls": {"mode": "SIMPLE", **tls}}


@pytest.fixture(scope="module")
def scene():
    with IngressScene() as scene:
        services = scene.ingress.settings["ingress"]["services"]
        services.append(scene.service("secure.my-namespace.svc.cluster.local", 443, TLS_APP, protocol="tcp"))
        services.append(scene.service("raw.my-namespace.svc.cluster.local", 9000, APP, protocol="tcp"))
        scene.start_apps(APP)
        scene.secret("exact", "one.example.com")
        scene.secret("wild", "*.example.com")
        scene.secret("changing", "changing.example.com")
        scene.clients = Authority(scene.directory / "clients")
        scene.put_secret("exact-cacert", {"ca.crt": scene.clients.ca.read_bytes()})
        start_passed(scene)
        gateway = resource(
            "Gateway",
            "tls",
            "istio-system",
            selector={"istio": "ingressgateway"},
            servers=[
                server(443, "wild", "*.example.com", credentialName="wild"),
                server(443, "one", "one.example.com", credentialName="exact"),
                server(443, "changing", "changing.example.com", credentialName="changing"),
                server(443, "passed", PASSED, mode="PASSTHROUGH"),
                server(444, "mutual", "one.example.com", credentialName="exact", mode="MUTUAL"),
                server(445, "optional", "one.example.com", credentialName="exact", mode="OPTIONAL_MUTUAL"),
                server(446, "newest", "one.example.com", credentialName="exact", minProtocolVersion="TLSV1_3"),
                {"port": {"number": 9000, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]},
            ],
        )
        routes = resource(
            "VirtualService",
            "all",
            "my-namespace",
            hosts=["*.example.com"],
            gateways=["istio-system/tls"],
            http=[{"route": [{"destination": {"host": SERVICE, "port": {"number": 80}}}]}],
            tls=[
                {
                    "match": [{"sniHosts": [PASSED]}],
                    "route": [
                        {"destination": {"host": "secure.my-namespace.svc.cluster.local", "port": {"number": 443}}}
                    ],
                }
            ],
            tcp=[
                {
                    "match": [{"port": 9000}],
                    "route": [
                        {"destination": {"host": "raw.my-namespace.svc.cluster.local", "port": {"number": 9000}}}
                    ],
                }
            ],
        )
        scene.write("tls", gateway, routes)
        scene.ingress.start()
        scene.wait_listening("127.0.0.1:443")
        yield scene


def start_passed(scene):
    certificate, key = scene.authority.issue("passed", f"DNS:{PASSED}")
    host, port = TLS_APP.split(":")
    answer = ("openssl", "s_server", "-quiet", "-cert", certificate, "-key", key, "-accept", f"{host}:{port}", "-www")
    scene.spawn("passed", answer)
    scene.wait_listening(TLS_APP)


def names_of(sock):
    return {value for _, value in sock.getpeercert()["subjectAltName"]}


def get(sock, host):
    sock.sendall(f"GET /hello HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return answer_of(sock)


def test_the_exact_host_goes_before_the_wildcard(scene):
    with scene.tls("one.example.com") as sock:
        assert names_of(sock) == {"one.example.com"} and get(sock, "one.example.com")[0] == 200
    with scene.tls("two.example.com") as sock:
        assert names_of(sock) == {"*.example.com"} and get(sock, "two.example.com")[0] == 200


@pytest.mark.parametrize(
    "offer, chosen", [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), (["http/1.1", "h2"], "h2")]
)
def test_the_protocol_is_negotiated(scene, offer, chosen):
    with scene.tls("one.example.com", alpn=offer) as sock:
        assert sock.selected_alpn_protocol() == chosen


def test_an_sni_that_no_server_has_is_refused_by_alert_and_recorded(scene):
    with pytest.raises(ssl.SSLError, match="(?i)unrecognized|alert"):
        scene.tls("elsewhere.org")
    record = scene.record(sni="elsewhere.org")
    assert record["verdict"] == "deny" and record["reason"] == "host_not_registered" and record["detail"] == "no_server"


def test_a_request_for_a_host_of_another_server_is_421(scene):
    with scene.tls("one.example.com") as sock:
        status, fields, _ = get(sock, "two.example.com")
        assert (status, fields["x-sluice-reason"]) == (421, "misdirected")


def test_what_is_no_hello_is_refused(scene):
    with scene.connect(443) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: one.example.com\r\n\r\n")
        assert sock.recv(100)[:1] in (b"\x15", b"")


def test_a_hello_in_single_bytes_is_a_hello(scene):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=scene.authority.ca)
    tls = context.wrap_bio(incoming, outgoing, server_hostname="one.example.com")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with scene.connect(443) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in outgoing.read():
            sock.sendall(bytes([byte]))
        assert sock.recv(1) == b"\x16"


def test_mutual_asks_for_a_certificate_of_its_roots(scene):
    certificate = scene.clients.issue("client", "DNS:client.example")
    with scene.tls("one.example.com", 444, certificate=certificate) as sock:
        assert get(sock, "one.example.com")[0] == 200
    for wrong in (None, scene.authority.issue("stranger", "DNS:client.example")):
        with pytest.raises(OSError):
            with scene.tls("one.example.com", 444, certificate=wrong) as sock:
                get(sock, "one.example.com")


def test_optional_mutual_asks_and_does_not_insist(scene):
    with scene.tls("one.example.com", 445) as sock:
        assert get(sock, "one.example.com")[0] == 200
    with pytest.raises(OSError):
        stranger = scene.authority.issue("stranger2", "DNS:client.example")
        with scene.tls("one.example.com", 445, certificate=stranger) as sock:
            get(sock, "one.example.com")


def test_the_least_version_is_kept(scene):
    context = ssl.create_default_context(cafile=scene.authority.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with scene.tls("one.example.com", context=context) as sock:
        assert sock.version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError):
        scene.tls("one.example.com", 446, context=context)


def test_sessions_are_resumed(scene):
    ticket = scene.directory / "ticket"
    command = (
        "openssl",
        "s_client",
        "-connect",
        "127.0.0.1:443",
        "-servername",
        "one.example.com",
        "-CAfile",
        scene.authority.ca,
    )
    request = "GET /hello HTTP/1.1\r\nHost: one.example.com\r\nConnection: close\r\n\r\n"
    first = scene.run(*command, "-sess_out", ticket, "-ign_eof", input=request)
    assert "HTTP/1.1 200 OK" in first.stdout, first
    assert "Reused, TLSv1.3" in scene.run(*command, "-sess_in", ticket, "-ign_eof", input=request).stdout


def test_tls_is_passed_through_by_its_sni(scene):
    done = scene.curl(f"https://{PASSED}/", "-o", "/dev/null", "-w", "%{http_code} %{ssl_verify_result}")
    assert done.stdout == "200 0", done
    record = scene.record(sni=PASSED, event="close")
    assert record["role"] == "ingress" and record["upstream"] == TLS_APP and record["rule"] == "my-namespace/all tls[0]"


def test_what_is_no_http_is_relayed_by_its_port(scene):
    with scene.connect(9000) as sock:
        assert get(sock, "anything")[0] == 200


def test_a_renewed_certificate_is_shown_to_new_connections(scene):
    with scene.tls("changing.example.com") as before:
        serial = before.getpeercert()["serialNumber"]
        scene.secret("changing", "changing.example.com")

        def is_renewed():
            with scene.tls("changing.example.com") as sock:
                return sock.getpeercert()["serialNumber"] != serial

        wait_for("the new certificate", is_renewed)
        assert get(before, "changing.example.com")[0] == 200


def test_a_bad_renewal_changes_nothing_and_is_said(scene):
    good, key = scene.authority.issue("spare", "DNS:changing.example.com")
    for files, what in [
        (
            {"tls.crt": good.read_bytes(), "tls.key": (scene.authority.directory / "exact.key").read_bytes()},
            "is not the key",
        ),
        ({"tls.crt": b"nonsense", "tls.key": key.read_bytes()}, "no certificate"),
    ]:
        scene.put_secret("changing", files)
        wait_for(what, lambda: any(what in line for line in scene.ingress.status()["wrong"]))
        with scene.tls("changing.example.com") as sock:
            assert get(sock, "changing.example.com")[0] == 200
    scene.secret("changing", "changing.example.com")
    wait_for("a healthy status", lambda: scene.ingress.status()["healthy"])


def test_a_secret_that_comes_later_is_taken_up(scene):
    shutil.rmtree(scene.secrets / "changing")
    scene.ingress.restart()
    scene.wait_listening("127.0.0.1:443")
    with pytest.raises(OSError):
        scene.tls("changing.example.com")
    with scene.tls("one.example.com") as sock:
        assert get(sock, "one.example.com")[0] == 200
    scene.secret("changing", "changing.example.com")
    wait_for("a healthy status", lambda: scene.ingress.status()["healthy"])
    with scene.tls("changing.example.com") as sock:
        assert json.dumps(get(sock, "changing.example.com")[0]) == "200"
