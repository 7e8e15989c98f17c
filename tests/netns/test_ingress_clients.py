"""Clients and servers that others made, on both sides of `sluice ingress`: h2load, nghttp, Chromium, WebSocket and gRPC of
Python and Node, nginx and Node."""
import json
import os
import re
import subprocess
import sys

import pytest
from ingress import APP, ROOT, SERVICE, IngressScene, resource
from namespaces import NETNS
from PIL import Image

PEERS = ROOT / "tests" / "support" / "ingress_peers.py"
NODE_APP = ROOT / "tests" / "support" / "node_app.js"
HOST = "www.example.com"
# Where Debian has the modules of its packages for Node.
NODE = {**os.environ, "NODE_PATH": "/usr/share/nodejs"}
UPSTREAMS = {
    "nginx": ("127.0.0.11:8080", "http"),
    "node": ("127.0.0.12:8080", "http"),
    "websocket": ("127.0.0.13:8080", "http"),
    "grpc": ("127.0.0.14:8080", "grpc"),
}
COLOUR = (18, 52, 86)
PAGE = """<!doctype html><title>page</title><link rel="stylesheet" href="/style.css"><script src="/script.js"></script>
<body><div id="box"></div><div id="talk"></div></body>"""
STYLE = (
    "body { margin: 0; background: rgb(18, 52, 86) } div { width: 50px; height: 50px; background: rgb(250, 200, 0) }"
)
SCRIPT = """
const paint = (id, colour) => { document.getElementById(id).style.background = colour };
fetch('/colour.json').then(r => r.json()).then(colour => paint('box', colour));
const socket = new WebSocket('wss://www.example.com/chat');
socket.onopen = () => socket.send('hello');
socket.onmessage = (event) => { if (event.data === '/chat hello') paint('talk', 'rgb(7, 8, 200)') };
"""
TALKED = (7, 8, 200)
FETCHED = (1, 200, 99)


def host_of(name):
    return f"{name}.my-namespace.svc.cluster.local"


def start_nginx(scene, address):
    root = scene.directory / "nginx"
    root.mkdir()
    files = {"index.html": PAGE, "style.css": STYLE, "script.js": SCRIPT, "colour.json": json.dumps("rgb(1, 200, 99)")}
    for name, text in files.items():
        (root / name).write_text(text)
    (root / "large").write_bytes(os.urandom(5_000_000))
    config = scene.directory / "nginx.conf"
    config.write_text(
        f"daemon off; pid {root}/pid; error_log stderr; worker_processes 1; events {{}}\n"
        f"http {{ types {{ text/html html; text/css css; text/javascript js; application/json json; }}\n"
        f"access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; gzip on; gzip_types *;\n"
        f"fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n"
        f"server {{ listen {address}; root {root}; }} }}\n"
    )
    root.chmod(0o755)
    scene.spawn("nginx", ["nginx", "-c", config])


def start_upstreams(scene):
    scene.start_apps(APP)
    start_nginx(scene, UPSTREAMS["nginx"][0])
    scene.spawn("node", ["node", NODE_APP, "serve", *UPSTREAMS["node"][0].split(":")], env=NODE)
    for name in ("websocket", "grpc"):
        scene.spawn(name, [sys.executable, PEERS, f"{name}-serve", *UPSTREAMS[name][0].split(":")])
    for address, _ in UPSTREAMS.values():
        scene.wait_listening(address)


@pytest.fixture(scope="module")
def scene():
    with IngressScene() as scene:
        services = scene.ingress.settings["ingress"]["services"]
        for name, (address, protocol) in UPSTREAMS.items():
            services.append(scene.service(host_of(name), 80, address, protocol=protocol))
        start_upstreams(scene)
        scene.secret("tls-cert", HOST)
        gateway = resource(
            "Gateway",
            "www",
            "istio-system",
            selector={"istio": "ingressgateway"},
            servers=[
                {
                    "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                    "tls": {"mode": "SIMPLE", "credentialName": "tls-cert"},
                    "hosts": [HOST],
                },
                {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [HOST]},
            ],
        )
        to = lambda host: [{"destination": {"host": host, "port": {"number": 80}}}]  # noqa: E731
        prefixes = {"/node": "node", "/chat": "websocket", "/sluice.Echo/": "grpc"}
        rules = [
            {"match": [{"uri": {"prefix": prefix}}], "route": to(host_of(name))} for prefix, name in prefixes.items()
        ]
        app = {"match": [{"uri": {"prefix": "/app/"}}], "rewrite": {"uri": "/"}, "route": to(SERVICE)}
        rules += [app, {"route": to(host_of("nginx"))}]
        scene.write(
            "www",
            gateway,
            resource("VirtualService", "www", "my-namespace", hosts=[HOST], gateways=["istio-system/www"], http=rules),
        )
        scene.ingress.start()
        scene.wait_listening("127.0.0.1:443")
        yield scene


# Load


@pytest.mark.parametrize("version", ["h2", "http/1.1"])
def test_h2load_loses_no_request(scene, version):
    done = scene.run(
        *("h2load", f"--npn-list={version}", "-n", "20000", "-c", "20", "-m", "10" if version == "h2" else "1"),
        *("--connect-to=127.0.0.1:443", f"https://{HOST}/app/hello"),
    )
    assert (
        "20000 total, 20000 started, 20000 done, 20000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout
    ), done
    assert "status codes: 20000 2xx" in done.stdout and f"Application protocol: {version}" in done.stdout, done


def test_h2load_sends_bodies_on_many_streams(scene, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(os.urandom(200_000))
    done = scene.run(
        *("h2load", "-n", "400", "-c", "4", "-m", "20", "-d", body, "--connect-to=127.0.0.1:443"),
        f"https://{HOST}/node/upload",
    )
    assert "400 succeeded, 0 failed" in done.stdout and "status codes: 400 2xx" in done.stdout, done


def test_nghttp_loads_a_page_with_what_belongs_to_it(scene):
    # It takes no other address for a name: the name is in the request.
    done = scene.run("nghttp", "-nvas", "-H", f":authority: {HOST}", "https://127.0.0.1/", "--no-verify-peer")
    assert done.returncode == 0, done
    assert "The negotiated protocol: h2" in done.stdout
    fetched = re.findall(r"^\s*\d+\s.* 200 .* (/\S*)$", done.stdout, re.M)
    assert sorted(fetched) == ["/", "/script.js", "/style.css"], done.stdout


# Servers


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_large_file_of_nginx_comes_whole(scene, tmp_path, version):
    got = tmp_path / "large"
    assert scene.curl(f"https://{HOST}/large", version, "-o", got).returncode == 0
    assert got.read_bytes() == (scene.directory / "nginx" / "large").read_bytes()


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_ranges_conditions_and_compression_of_nginx_pass_through(scene, version):
    url = f"https://{HOST}/style.css"
    whole = scene.curl(url, version, "-i")
    etag = re.search(r"(?i)^etag: (.*?)\r?$", whole.stdout, re.M).group(1)
    assert scene.curl(url, version, "-r", "0-3").stdout == STYLE[:4]
    assert scene.curl(url, version, "-w", "%{http_code}", "-H", f"If-None-Match: {etag}").stdout == "304"
    compressed = scene.curl(f"https://{HOST}/", version, "--compressed", "-i")
    assert "gzip" in compressed.stdout and compressed.stdout.endswith(PAGE), compressed


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_node_gets_what_was_sent(scene, version):
    seen = json.loads(scene.curl(f"https://{HOST}/node/x?y=%20z", version, "-d", "a" * 100_000).stdout)
    assert seen["server"].startswith("node ") and seen["url"] == "/node/x?y=%20z" and seen["bytes"] == 100_000
    assert seen["headers"]["host"] == HOST and seen["headers"]["x-forwarded-proto"] == "https"


# WebSocket and gRPC


def test_python_websockets_talk_through_it(scene):
    done = scene.run(sys.executable, PEERS, "websocket-call", HOST, 443, scene.authority.ca, "one", "two")
    assert done.stdout.splitlines() == ["/chat one", "/chat two", "3000000"], done
    record = scene.record(event="request", rule="my-namespace/www http[1]")
    assert record["http"]["status"] == 101


def test_node_websockets_talk_through_it(scene):
    done = subprocess.run(
        ["nsenter", f"--net={NETNS / scene.namespace}", "node", NODE_APP, "call", HOST, "443", scene.authority.ca]
        + ["one", "two"],
        env=NODE,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout.splitlines() == ["/node one", "/node two", "closed 1000"], done


def test_every_kind_of_grpc_call_goes_through(scene):
    done = scene.run(sys.executable, PEERS, "grpc-call", HOST, 443, scene.authority.ca)
    assert done.returncode == 0, done
    result = json.loads(done.stdout)
    assert result["unary"] == 3_000_000 and result["trailers"] == {"x-seen-by": "server"}
    assert result["count"] == [str(number) for number in range(100)] and result["sum"] == "1000000"
    assert result["conversation"] == [f"re: turn {turn}" for turn in range(20)]
    assert result["failure"] == ["NOT_FOUND", "no such thing"]
    assert result["unknown"][0] == "UNIMPLEMENTED"
    assert result["deadline"][0] == "DEADLINE_EXCEEDED"


# A browser


def browse(scene, home, shot):
    """A picture of the page, by a browser that trusts the test's authority and nothing else of it."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    nss = f"sql:{database}"
    subprocess.run(["certutil", "-N", "-d", nss, "--empty-password"], check=True)
    subprocess.run(["certutil", "-A", "-d", nss, "-n", "ca", "-t", "C,,", "-i", scene.authority.ca], check=True)
    return subprocess.run(
        ["nsenter", f"--net={NETNS / scene.namespace}", "chromium", "--headless", "--no-sandbox", "--disable-gpu"]
        + [f"--user-data-dir={home}/data", f"--host-resolver-rules=MAP {HOST} 127.0.0.1", "--window-size=300,300"]
        + ["--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage", "--virtual-time-budget=5000"]
        + ["--hide-scrollbars", f"--screenshot={shot}", f"https://{HOST}/"],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_chromium_shows_a_page_that_came_by_http_2(scene, tmp_path):
    shot = tmp_path / "page.png"
    done = browse(scene, tmp_path / "home", shot)
    assert shot.exists(), done.stderr
    picture = Image.open(shot).convert("RGB")
    # The style sheet, what the script fetched and the WebSocket's answer had to come too.
    assert picture.getpixel((200, 200)) == COLOUR and picture.getpixel((20, 20)) == FETCHED
    assert picture.getpixel((20, 70)) == TALKED
    for path in ("/", "/style.css", "/script.js", "/colour.json"):
        record = scene.record(**{"http.path": path, "http.method": "GET", "alpn": ["h2"], "http.status": 200})
        assert record["http"]["host"] == HOST
    # RFC 8441: on the connection that the page came by. Its record is written when the browser goes.
    assert scene.record(**{"http.path": "/chat", "alpn": ["h2"], "http.status": 101})
