"""What `openssl s_client` is shown by `sluice ingress`: versions, suites, certificates by the client's algorithms, tickets,
OCSP staples, and clients that are revoked or not wanted."""
import hashlib
import re

import pytest
from authority import Authority
from ingress import APP, SERVICE, IngressScene, resource
from namespaces import run, wait_for

HOST = "tls.example.com"
REQUEST = f"GET /hello HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
SUITE = "ECDHE-ECDSA-AES256-GCM-SHA384"
PORTS = {
    "pair": 443,
    "only_1_2": 444,
    "only_1_3": 445,
    "one_suite": 446,
    "mutual": 447,
    "named": 448,
    "hashed": 449,
    "spki": 450,
}


def fingerprint(certificate):
    """verifyCertificateHash."""
    der = run("openssl", "x509", "-in", certificate, "-outform", "DER", "-out", str(certificate) + ".der")
    assert der.returncode == 0
    return hashlib.sha256(open(str(certificate) + ".der", "rb").read()).hexdigest()


def public_key_hash(certificate):
    """verifyCertificateSpki: base64 of the hash of the DER of the public key."""
    command = f"openssl x509 -in {certificate} -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary"
    return run("sh", "-c", f"{command} | openssl base64").stdout.strip()


@pytest.fixture(scope="module")
def scene():
    with IngressScene() as scene:
        scene.start_apps(APP)
        certificates = {}
        for key_type in ("ec", "rsa"):
            certificate, key = scene.authority.issue(key_type, f"DNS:{HOST}", key_type=key_type)
            certificates[key_type] = certificate
            files = {"tls.crt": certificate.read_bytes(), "tls.key": key.read_bytes()}
            if key_type == "ec":
                files["tls.ocsp-staple"] = scene.authority.ocsp_response(certificate)
            scene.put_secret(key_type, files)
        scene.clients = Authority(scene.directory / "clients")
        scene.good = scene.clients.issue("good", "URI:spiffe://example/good")
        scene.other = scene.clients.issue("other", "URI:spiffe://example/other")
        put_roots(scene)
        gateway = resource(
            "Gateway",
            "tls",
            "istio-system",
            selector={"istio": "ingressgateway"},
            servers=[
                server("pair", credentialNames=["rsa", "ec"]),
                server("only_1_2", credentialName="ec", maxProtocolVersion="TLSV1_2"),
                server("only_1_3", credentialName="ec", minProtocolVersion="TLSV1_3"),
                server("one_suite", credentialName="ec", cipherSuites=[SUITE], maxProtocolVersion="TLSV1_2"),
                server("mutual", credentialName="ec", mode="MUTUAL"),
                server("named", credentialName="ec", mode="MUTUAL", subjectAltNames=["spiffe://example/good"]),
                server(
                    "hashed", credentialName="ec", mode="MUTUAL", verifyCertificateHash=[fingerprint(scene.good[0])]
                ),
                server(
                    "spki", credentialName="ec", mode="MUTUAL", verifyCertificateSpki=[public_key_hash(scene.good[0])]
                ),
            ],
        )
        routes = resource(
            "VirtualService",
            "tls",
            "my-namespace",
            hosts=[HOST],
            gateways=["istio-system/tls"],
            http=[{"route": [{"destination": {"host": SERVICE, "port": {"number": 80}}}]}],
        )
        scene.write("tls", gateway, routes)
        scene.ingress.start()
        scene.wait_listening("127.0.0.1:443")
        yield scene


def server(name, **tls):
    number = {"number": PORTS[name], "name": name.replace("_", "-"), "protocol": "HTTPS"}
    return {"port": number, "hosts": [HOST], "tls": {"mode": "SIMPLE", **tls}}


def put_roots(scene, *revoked):
    crl = scene.clients.revoke(*revoked)
    scene.put_secret("ec-cacert", {"ca.crt": scene.clients.ca.read_bytes(), "ca.crl": crl.read_bytes()})


def s_client(scene, server, *options, input=REQUEST):
    return scene.run(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{PORTS[server]}", "-servername", HOST, "-ign_eof"),
        *("-CAfile", scene.authority.ca, "-verify_return_error", *options),
        input=input,
    ).stdout


def is_served(text):
    return "HTTP/1.1 200 OK" in text and "Verify return code: 0 (ok)" in text


def by(pair):
    return "-cert", pair[0], "-key", pair[1]


@pytest.mark.parametrize(
    "server, option, version",
    [
        ("pair", "-tls1_2", "TLSv1.2"),
        ("pair", "-tls1_3", "TLSv1.3"),
        ("pair", "-tls1_1", None),
        ("only_1_2", "-tls1_2", "TLSv1.2"),
        ("only_1_2", "-tls1_3", None),
        ("only_1_3", "-tls1_2", None),
        ("only_1_3", "-tls1_3", "TLSv1.3"),
    ],
)
def test_versions_are_those_between_the_least_and_the_greatest(scene, server, option, version):
    text = s_client(scene, server, option, "-cipher", "DEFAULT@SECLEVEL=0")
    assert is_served(text) == (version is not None), text
    if version:
        assert f"New, {version}, Cipher is" in text, text


@pytest.mark.parametrize("offer, taken", [(SUITE, True), (f"ECDHE-ECDSA-AES128-GCM-SHA256:{SUITE}", True)])
def test_the_suites_of_the_gateway_are_the_ones_in_use(scene, offer, taken):
    text = s_client(scene, "one_suite", "-cipher", offer)
    assert is_served(text) and f"Cipher is {SUITE}" in text, text


def test_other_suites_are_refused(scene):
    assert not is_served(s_client(scene, "one_suite", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"))


@pytest.mark.parametrize(
    "algorithms, kind",
    [
        ("ECDSA+SHA256", "id-ecPublicKey"),
        ("RSA-PSS+SHA256:RSA+SHA256", "rsaEncryption"),
        ("ECDSA+SHA256:RSA-PSS+SHA256", "id-ecPublicKey"),
    ],
)
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_of_two_certificates_the_client_gets_the_one_it_can_verify(scene, version, algorithms, kind):
    text = s_client(scene, "pair", version, "-sigalgs", algorithms, "-showcerts")
    assert is_served(text), text
    leaf = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.S).group()
    shown = run("openssl", "x509", "-noout", "-text", input=leaf).stdout
    assert f"Public Key Algorithm: {kind}" in shown, shown


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_tickets_resume_sessions(scene, tmp_path, version):
    ticket = tmp_path / "ticket"
    first = s_client(scene, "only_1_2" if version == "-tls1_2" else "only_1_3", version, "-sess_out", ticket)
    assert is_served(first) and "\nNew, " in first, first
    again = s_client(scene, "only_1_2" if version == "-tls1_2" else "only_1_3", version, "-sess_in", ticket)
    assert "HTTP/1.1 200 OK" in again and "\nReused, " in again, again


def test_a_ticket_of_one_server_is_none_for_another(scene, tmp_path):
    """What a client was let in with there says nothing here."""
    ticket = tmp_path / "ticket"
    assert is_served(s_client(scene, "pair", "-tls1_3", "-sess_out", ticket))
    text = s_client(scene, "mutual", "-tls1_3", "-sess_in", ticket)
    assert "Reused" not in text and "200 OK" not in text, text


def test_the_staple_is_that_of_the_certificate_that_is_shown(scene):
    with_staple = s_client(scene, "pair", "-status", "-sigalgs", "ECDSA+SHA256")
    assert "OCSP Response Status: successful" in with_staple and "Cert Status: good" in with_staple, with_staple
    assert "OCSP response: no response sent" in s_client(scene, "pair", "-status", "-sigalgs", "RSA-PSS+SHA256")


def test_a_new_staple_is_sent_without_a_restart(scene):
    def update():
        text = s_client(scene, "pair", "-status", "-sigalgs", "ECDSA+SHA256")
        return re.search(r"Produced At: (.*)", text).group(1)

    before = update()
    certificate, key = (scene.authority.directory / f"ec.{kind}" for kind in ("pem", "key"))

    def renew():
        staple = scene.authority.ocsp_response(certificate)
        files = {"tls.crt": certificate.read_bytes(), "tls.key": key.read_bytes(), "tls.ocsp-staple": staple}
        scene.put_secret("ec", files)
        return update() != before

    wait_for("a newer staple", renew, interval_s=0.5)


def test_a_client_without_a_certificate_is_refused_where_one_is_required(scene):
    assert is_served(s_client(scene, "mutual", *by(scene.good)))
    text = s_client(scene, "mutual")
    assert "200 OK" not in text and "Acceptable client certificate CA names\nCN = clients" in text, text


@pytest.mark.parametrize("server", ["named", "hashed", "spki"])
def test_of_the_clients_with_a_certificate_only_those_that_are_named_are_served(scene, server):
    assert is_served(s_client(scene, server, *by(scene.good)))
    assert "200 OK" not in s_client(scene, server, *by(scene.other))


def test_a_revoked_client_is_refused_as_soon_as_the_list_says_so(scene):
    revoked = scene.clients.issue("revoked", "URI:spiffe://example/good")
    assert is_served(s_client(scene, "mutual", *by(revoked)))
    put_roots(scene, revoked[0])
    wait_for("the list", lambda: "200 OK" not in s_client(scene, "mutual", *by(revoked)), interval_s=0.2)
    assert is_served(s_client(scene, "mutual", *by(scene.good)))
    assert scene.record(verdict="deny", detail=re.compile("revoked"))
