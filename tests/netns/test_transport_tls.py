"""Transport tls, with openssl at either end of it and of the calls in it: what it hides, and who is not believed."""
import os
import re
import shutil

import hello
import pytest
from authority import Authority
from lab import GATEWAY4, GATEWAY_NAME
from namespaces import wait_for
from outside import WEB
from proxy_header import SIGNATURE
from seed_calls import OTHER4, SEED_HOST, curl, in_log, is_served, only_the_gateway_host_called, running

TLS = 15445
ORIGIN_HOST, ORIGIN4, ORIGIN_PORT = "refusing.example", "203.0.113.15", 4443  # where nothing but a test listens
NODE_IDENTITY, GATEWAY_IDENTITY = "spiffe://lab/node/lab-agent", "spiffe://lab/gateway"


class Certificates:
    """What agent and gateway use, under names that a test may replace the files of."""

    def __init__(self, directory):
        self.authority, self.stranger = Authority(directory / "authority"), Authority(directory / "stranger")
        self.directory = directory / "in-use"
        self.directory.mkdir()
        self.node = self.authority.issue("node", f"URI:{NODE_IDENTITY}")
        self.gateway = self.authority.issue("gateway", f"URI:{GATEWAY_IDENTITY}")
        self.reset()

    def settings(self, side):
        return {
            "certificate_file": str(self.directory / f"{side}.pem"),
            "key_file": str(self.directory / f"{side}.key"),
            "ca_file": str(self.directory / f"{side}-ca.pem"),
        }

    def use(self, side, issued, ca=None):
        """Replaces the files of "agent" or "gateway" as an operator does: each by a rename, the key first."""
        certificate, key = issued
        for source, name in (
            (key, f"{side}.key"),
            (certificate, f"{side}.pem"),
            (ca or self.authority.ca, f"{side}-ca.pem"),
        ):
            fresh = self.directory / f"{name}.new"
            shutil.copy(source, fresh)
            fresh.replace(self.directory / name)

    def reset(self):
        self.use("agent", self.node)
        self.use("gateway", self.gateway)


@pytest.fixture(scope="module")
def certificates(bare_lab):
    return Certificates(bare_lab.directory)


@pytest.fixture(scope="module")
def lab(bare_lab, certificates):
    bare_lab.add_gateway_address(OTHER4)
    gateway = bare_lab.gateway.settings["gateway"]
    gateway["listen"].append({"address": f"{GATEWAY4}:{TLS}", "transport": "tls"})
    gateway["tls"] = certificates.settings("gateway")
    return bare_lab.start()


@pytest.fixture
def use(lab, certificates):
    """Gives the agent a gateway address and transport for one test; restores all."""
    before = lab.agent.settings["egress"]

    def change(address, transport, **egress):
        gateways = [{"name": GATEWAY_NAME, "addresses": [address], "transport": transport}]
        more = {}
        if transport == "tls":
            more = {"tls": certificates.settings("agent"), "gateway_identity": GATEWAY_IDENTITY}
        lab.agent.settings["egress"] = {**before, "gateways": gateways, **more, **egress}
        lab.agent.restart()

    yield change
    certificates.reset()
    lab.agent.settings["egress"] = before
    lab.agent.restart()


def openssl_server(lab, where, name, address, port, issued, *options):
    """openssl s_server, whose standard input never ends."""
    fifo = lab.directory / f"{name}.in"
    os.mkfifo(fifo)
    certificate, key = issued
    serve = ("openssl", "s_server", "-accept", f"{address}:{port}", "-cert", certificate, "-key", key)
    return running(lab, where, name, ["sh", "-c", 'exec "$@" 0<>"$0"', fifo, *serve, *options], listens=(address, port))


def openssl_client(lab, *options):
    """openssl s_client on the node, to our gateway's tls listener, until that ends it."""
    return lab.on_node(
        *("timeout", "5", "openssl", "s_client", "-connect", f"{GATEWAY4}:{TLS}", "-ign_eof", *options), check=False
    )


def denied(lab, watch, detail, role="agent", reason="gateway_unreachable"):
    """One call, refused for what a certificate says."""
    with lab.pod("a").connect(WEB, 443) as sock:
        sock.sendall(hello.records(hello.client_hello([SEED_HOST])))
        found = hello.answer(sock)
    assert found == "alert internal_error" if role == "agent" else found in ("reset", "closed"), found
    record = watch.record(role, event="deny")
    assert record["reason"] == reason and re.search(detail, record["detail"]), record
    watch.nothing_left()


def test_tls_from_openssl_to_openssl(lab, watch, use, certificates):
    use(f"{GATEWAY4}:{TLS}", "tls")
    issued = certificates.authority.issue("origin", f"DNS:{ORIGIN_HOST}")
    with openssl_server(lab, "outside", "origin", ORIGIN4, ORIGIN_PORT, issued, "-rev"):
        done = lab.pod("a").run(
            *("openssl", "s_client", "-connect", f"{ORIGIN4}:{ORIGIN_PORT}", "-servername", ORIGIN_HOST, "-quiet"),
            *("-CAfile", certificates.authority.ca, "-verify_hostname", ORIGIN_HOST, "-verify_return_error"),
            input=b"forward and back\nCLOSE\n",
        )
    assert done.out.strip() == "kcab dna drawrof", done
    opened = watch.record(event="open", sni=ORIGIN_HOST)
    at_gateway = watch.record("gateway", event="open", id=opened["id"])
    assert at_gateway["pod"]["name"] == "a" and at_gateway["source"] == opened["source"]
    watch.only_gateway_left(ORIGIN4)


def seen_at_gateway(watch, *texts):
    payloads = [p.payload for p in watch.at_gateway()]
    return [text for text in texts if any(text in payload for payload in payloads)]


def test_tls_hides_the_header_and_the_name(lab, watch, use):
    secrets = (SIGNATURE, SEED_HOST.encode(), b"my-namespace", b"lab-agent")
    use(f"{GATEWAY4}:15443", "proxy")
    with lab.watch() as clear:
        assert is_served(done := curl(lab, "-4")), done
        assert seen_at_gateway(clear, *secrets) == [*secrets], "without TLS all of it is in the clear"
    use(f"{GATEWAY4}:{TLS}", "tls")
    with lab.watch() as hidden:
        assert is_served(done := curl(lab, "-4")), done
        assert any(p.dport == TLS and p.payload for p in hidden.at_gateway())
        assert seen_at_gateway(hidden, *secrets) == []
    only_the_gateway_host_called(watch)


def test_a_gateway_of_another_authority_is_not_spoken_to(lab, watch, use, certificates):
    certificates.use("agent", certificates.node, ca=certificates.stranger.ca)
    use(f"{GATEWAY4}:{TLS}", "tls")
    denied(lab, watch, f"{GATEWAY4}:{TLS}.*certificate of {GATEWAY_IDENTITY}: .*(issuer|self-signed)")


def test_a_gateway_of_another_identity_is_not_spoken_to(lab, watch, use):
    use(f"{GATEWAY4}:{TLS}", "tls", gateway_identity="spiffe://lab/another")
    denied(lab, watch, f"wrong identity: expected spiffe://lab/another, found {GATEWAY_IDENTITY}")


def test_an_expired_gateway_is_not_spoken_to(lab, watch, use, certificates):
    expired = certificates.authority.issue("expired-gateway", f"URI:{GATEWAY_IDENTITY}", days=-1)
    use(f"{OTHER4}:{TLS}", "tls")
    with openssl_server(lab, "gateway", "expired", OTHER4, TLS, expired):
        denied(lab, watch, f"{OTHER4}:{TLS}.*certificate of {GATEWAY_IDENTITY}: certificate has expired")


def test_a_node_of_another_authority_is_refused(lab, watch, use, certificates):
    certificates.use("agent", certificates.stranger.issue("node", f"URI:{NODE_IDENTITY}"))
    use(f"{GATEWAY4}:{TLS}", "tls")
    denied(lab, watch, f"certificate of {NODE_IDENTITY}: .*(issuer|self-signed)", "gateway", "gateway_denied")


def test_the_certificate_of_another_node_is_refused(lab, watch, use, certificates):
    certificates.use("agent", certificates.authority.issue("other", "URI:spiffe://lab/node/other"))
    use(f"{GATEWAY4}:{TLS}", "tls")
    detail = 'of node "lab-agent", in a connection of spiffe://lab/node/other'
    denied(lab, watch, detail, "gateway", "gateway_denied")


def test_an_expired_node_is_refused(lab, watch, certificates):
    certificate, key = certificates.authority.issue("expired-node", f"URI:{NODE_IDENTITY}", days=-1)
    done = openssl_client(lab, "-cert", certificate, "-key", key)
    assert "certificate expired" in done.stdout + done.stderr, done
    refused = watch.record("gateway", event="deny")
    assert refused["reason"] == "gateway_denied"
    assert f"certificate of {NODE_IDENTITY}: certificate has expired" in refused["detail"]


def test_openssl_without_a_certificate_is_refused(lab, watch, certificates):
    done = openssl_client(lab, "-CAfile", certificates.authority.ca)
    assert "certificate required" in done.stdout + done.stderr, done
    refused = watch.record("gateway", event="deny")
    assert refused["reason"] == "gateway_denied" and "did not return a certificate" in refused["detail"], refused
    watch.nothing_left()


def test_openssl_without_tls_1_3_is_refused(lab, watch, certificates):
    certificate, key = certificates.node
    done = openssl_client(lab, "-tls1_2", "-cert", certificate, "-key", key)
    assert "protocol version" in done.stdout + done.stderr, done
    assert watch.record("gateway", event="deny")["reason"] == "gateway_denied"


def test_openssl_with_a_certificate_and_without_a_header_is_refused(lab, watch, certificates):
    certificate, key = certificates.node
    done = openssl_client(lab, "-cert", certificate, "-key", key, "-CAfile", certificates.authority.ca)
    assert "Verify return code: 0 (ok)" in done.stdout, done
    refused = watch.record("gateway", event="deny")
    assert refused["reason"] == "gateway_denied" and "PROXY header took too long" in refused["detail"], refused


def test_openssl_in_the_gateways_place_receives_the_agents_connection(lab, watch, use, certificates):
    use(f"{OTHER4}:{TLS}", "tls")
    options = ("-Verify", "1", "-verify_return_error", "-CAfile", certificates.authority.ca, "-tls1_3")
    with openssl_server(lab, "gateway", "mutual", OTHER4, TLS, certificates.gateway, *options) as log:
        with lab.pod("a").connect(WEB, 443) as sock:
            sock.sendall(hello.records(hello.client_hello([SEED_HOST])))
            in_log(log, SEED_HOST)
        text = log.read_bytes()
    assert b"subject=CN = node" in text and b"verify error" not in text
    assert SIGNATURE in text and b"my-namespace" in text
    assert text.index(SIGNATURE) < text.index(b"\x16\x03\x01"), "the header, then the pod's own hello"
    watch.nothing_left()


def test_a_later_connection_resumes_the_session_of_an_earlier_one(lab, use, certificates):
    use(f"{OTHER4}:{TLS}", "tls")
    options = ("-Verify", "1", "-verify_return_error", "-CAfile", certificates.authority.ca, "-tls1_3")
    with openssl_server(lab, "gateway", "resuming", OTHER4, TLS, certificates.gateway, *options) as log:
        for number in range(2):
            with lab.pod("a").connect(WEB, 443) as sock:
                sock.sendall(hello.records(hello.client_hello([SEED_HOST])))
                wait_for("the hello", lambda n=number: log.read_bytes().count(SIGNATURE) == n + 1)
        text = log.read_text(errors="replace")
    assert text.count("Reused session-id") == 1, "the second one alone"


# Certificates that are replaced


def is_denied(lab):
    with lab.pod("a").connect(WEB, 443) as sock:
        sock.sendall(hello.records(hello.client_hello([SEED_HOST])))
        return hello.answer(sock) != "server_hello"


def is_allowed(lab):
    return not is_denied(lab)


@pytest.mark.parametrize("side", ["agent", "gateway"])
def test_certificates_replaced_on_disk_are_those_of_new_connections(lab, watch, use, certificates, side):
    use(f"{GATEWAY4}:{TLS}", "tls")
    pids = (lab.agent.pid, lab.gateway.pid)
    old = lab.pod("a").tls(WEB, SEED_HOST)
    other = certificates.authority.issue("other", "URI:spiffe://lab/node/other")
    certificates.use(side, other)
    wait_for("the other certificate to be used", lambda: is_denied(lab))
    if side == "agent":
        refused = watch.record("gateway", event="deny", reason="gateway_denied")
    else:
        refused = watch.record(event="deny", reason="gateway_unreachable")
    assert "spiffe://lab/node/other" in refused["detail"], refused
    assert b"served" in old.get(SEED_HOST), "what was open goes on"
    certificates.reset()
    wait_for("the right certificate to be used", lambda: is_allowed(lab))
    assert (lab.agent.pid, lab.gateway.pid) == pids and lab.agent.running() and lab.gateway.running()


def test_a_broken_certificate_on_disk_is_not_used_and_status_says_so(lab, use, certificates):
    use(f"{GATEWAY4}:{TLS}", "tls")
    broken = certificates.directory / "broken"
    broken.write_text("no certificate")
    certificates.use("gateway", (broken, certificates.gateway[1]))

    def reported():
        return "gateway.pem" in lab.sluice("status", "--socket", lab.gateway.socket).stdout

    wait_for("the file in status", reported)
    assert is_allowed(lab)
    certificates.reset()
    wait_for("status to be well again", lambda: not reported())
