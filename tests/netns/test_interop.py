"""With software that is not ours: HAProxy and nginx in the gateway's place, and HAProxy before it."""
import contextlib

import pytest
from lab import GATEWAY4, GATEWAY_NAME
from outside import WEB
from pod import REFUSED_WITHIN_MS
from proxy_header import SIGNATURE
from seed_calls import OTHER4, SEED_HOST, curl, in_log, is_served, only_the_gateway_host_called, running

UNSIGNED = 15444  # a port of our gateway that believes headers of OTHER4 without signature


@pytest.fixture(scope="module")
def lab(bare_lab):
    bare_lab.add_gateway_address(OTHER4)
    bare_lab.gateway.settings["gateway"]["listen"].append(
        {"address": f"{GATEWAY4}:{UNSIGNED}", "transport": "proxy", "unsigned_from": [f"{OTHER4}/32"]}
    )
    return bare_lab.start()


@pytest.fixture
def use(lab):
    """Gives the agent a gateway address and transport for one test."""
    before = lab.agent.settings["egress"]

    def change(address, transport, header="signed"):
        gateways = [{"name": GATEWAY_NAME, "addresses": [address], "transport": transport, "header": header}]
        lab.agent.settings["egress"] = {**before, "gateways": gateways}
        lab.agent.restart()

    yield change
    lab.agent.settings["egress"] = before
    lab.agent.restart()


# Other software as the gateway


def haproxy(lab, name, port, accept_proxy, server):
    """HAProxy that sends the seed's host to `server`, and logs whom it serves."""
    config = lab.directory / f"{name}.cfg"
    config.write_text(
        f"""
global
  log stdout format raw local0
defaults
  mode tcp
  log global
  retries 0
  timeout connect 2s
  timeout client 20s
  timeout server 20s
frontend calls
  bind {OTHER4}:{port}{" accept-proxy" if accept_proxy else ""}
  tcp-request inspect-delay 2s
  tcp-request content set-var(sess.name) req_ssl_sni
  tcp-request content accept if {{ req_ssl_hello_type 1 }}
  log-format "call from %ci:%cp to %[var(sess.name)] by %s"
  use_backend registered if {{ req_ssl_sni -i {SEED_HOST} }}
backend registered
  server way-out {server}
"""
    )
    return running(lab, "gateway", name, ["haproxy", "-db", "-f", config], (OTHER4, port))


@contextlib.contextmanager
def nginx(lab, name, port, accept_proxy):
    directory = lab.directory / name
    directory.mkdir()
    log = directory / "calls"
    (directory / "nginx.conf").write_text(
        f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;
events {{}}
stream {{
  map $ssl_preread_server_name $origin {{ {SEED_HOST} {WEB}:443; }}
  log_format calls 'call from {"$proxy_protocol_addr:$proxy_protocol_port" if accept_proxy else "$remote_addr:$remote_port"}'
    ' to $ssl_preread_server_name';
  access_log {log} calls;
  server {{ listen {OTHER4}:{port}{" proxy_protocol" if accept_proxy else ""}; ssl_preread on; proxy_pass $origin; }}
}}
"""
    )
    argv = ["nginx", "-c", directory / "nginx.conf", "-e", directory / "error.log"]
    with running(lab, "gateway", name, argv, (OTHER4, port)):
        yield log


def goes_through(lab, watch, log, sees_pod):
    assert is_served(done := curl(lab, "-4")), done
    opened = watch.record(event="open", sni=SEED_HOST)
    assert opened["gateway"].startswith(f"{OTHER4}:")
    assert watch.record(event="close", id=opened["id"])["close_reason"] == "finished"
    if sees_pod:
        in_log(log, f"call from {opened['source']} to {SEED_HOST}")
    else:
        in_log(log, f"call from {opened['source']}")
    headers = [p for p in watch.at_gateway() if SIGNATURE in p.payload]
    assert bool(headers) == sees_pod
    only_the_gateway_host_called(watch)


@pytest.mark.parametrize("transport", ["raw", "proxy"])
def test_haproxy_is_the_gateway(lab, watch, use, transport):
    use(f"{OTHER4}:8443", transport)
    with haproxy(lab, f"haproxy-{transport}", 8443, transport == "proxy", f"{WEB}:443") as log:
        goes_through(lab, watch, log, transport == "proxy")


def test_haproxy_is_the_gateway_of_plain_http(lab, watch, use):
    use(f"{OTHER4}:8080", "proxy")
    config = lab.directory / "haproxy-http.cfg"
    config.write_text(
        f"""
global
  log stdout format raw local0
defaults
  mode http
  log global
  timeout connect 2s
  timeout client 20s
  timeout server 20s
frontend calls
  bind {OTHER4}:8080 accept-proxy
  log-format "call from %ci:%cp for %HP"
  use_backend registered if {{ hdr(host) -i plain.example }}
backend registered
  server way-out 203.0.113.13:80
"""
    )
    with running(lab, "gateway", "haproxy-http", ["haproxy", "-db", "-f", config], (OTHER4, 8080)) as log:
        done = lab.pod("a").curl("http://plain.example/2", "-4", "http://plain.example/1")
        assert done.out.count("served plain.example at 203.0.113.13 ") == 2, done
        opened = watch.record(event="open", http__path="/1")
        for path in ("/1", "/2"):
            in_log(log, f"call from {opened['source']} for {path}")
    assert len([p for p in watch.at_gateway() if SIGNATURE in p.payload]) == 1, "once a connection, not once a request"
    watch.only_gateway_left("203.0.113.13")


@pytest.mark.parametrize("transport", ["raw", "proxy"])
def test_nginx_is_the_gateway(lab, watch, use, transport):
    # Its version here reads headers of at most 107 bytes.
    use(f"{OTHER4}:8443", transport, header="plain" if transport == "proxy" else "signed")
    with nginx(lab, f"nginx-{transport}", 8443, transport == "proxy") as log:
        goes_through(lab, watch, log, transport == "proxy")


def test_raw_without_a_port_goes_to_the_port_of_the_call(lab, watch, use):
    use(OTHER4, "raw")
    with haproxy(lab, "haproxy-port", 443, False, f"{WEB}:443") as log:
        goes_through(lab, watch, log, False)


# Other software before our gateway


def test_haproxy_before_our_gateway_is_believed_about_addresses_and_not_about_pods(lab, watch, use):
    use(f"{OTHER4}:8443", "proxy")
    server = f"{GATEWAY4}:{UNSIGNED} send-proxy-v2 source {OTHER4}"
    with haproxy(lab, "haproxy-before", 8443, True, server) as log:
        assert is_served(done := curl(lab, "-4")), done
        sent = watch.record(event="open", sni=SEED_HOST)
        in_log(log, f"call from {sent['source']} to {SEED_HOST}")
    opened = watch.record("gateway", event="open", sni=SEED_HOST)
    assert opened["source"] == sent["source"], "of the header that HAProxy wrote"
    assert "pod" not in opened and opened["id"] != sent["id"], "nobody signed who calls"
    only_the_gateway_host_called(watch)


def test_haproxy_from_elsewhere_is_refused(lab, watch, use):
    use(f"{OTHER4}:8443", "proxy")
    server = f"{GATEWAY4}:{UNSIGNED} send-proxy-v2 source {GATEWAY4}"
    with haproxy(lab, "haproxy-elsewhere", 8443, True, server):
        done = curl(lab, "-4")
        assert done.code == 35 and done.milliseconds < REFUSED_WITHIN_MS, done
    denied = watch.record("gateway", event="deny")
    assert denied["reason"] == "gateway_denied" and denied["detail"] == "PROXY header: the header is not signed"
    watch.nothing_left()
