"""The world outside the cluster: addresses, names, certificates, nginx, dnsmasq. Documentation addresses throughout."""
import json
import pathlib

from namespaces import Spawned, run, wait_for

# name -> IPv4, IPv6 (None: no such record). Every name but the last group has a TLS and an HTTP server of its own.
NAMES = {
    "api.external-service.com": ("203.0.113.10", "2001:db8:5::10"),
    "four.partner.example": ("203.0.113.11", None),
    "six.partner.example": (None, "2001:db8:5::11"),
    "a.b.partner.example": ("203.0.113.12", None),
    "plain.example": ("203.0.113.13", "2001:db8:5::13"),
    "static.example": ("203.0.113.20", None),  # its ServiceEntry has an endpoint of its own: STATIC_ENDPOINT
    "evil.example": ("203.0.113.20", "2001:db8:5::20"),
    "hidden.example": ("203.0.113.21", None),
    "database.example": ("203.0.113.30", "2001:db8:5::30"),
    "mail.example": ("203.0.113.32", None),
}
STATIC_ENDPOINT = "203.0.113.14"
# Names whose answer is a trap: no server of theirs is outside.
TRAPS = {
    "inside.example": ("10.2.0.1", None),
    "metadata.example": ("169.254.169.254", None),
    "loop.example": ("127.0.0.1", "::1"),
    "silent.example": ("203.0.113.99", None),  # routed there, and nobody answers
    "refusing.example": ("203.0.113.15", None),  # nobody listens on its port
}
WEB, EVIL, DATABASE, OTHER_DATABASE, MAIL = (
    "203.0.113.10",
    "203.0.113.20",
    "203.0.113.30",
    "203.0.113.31",
    "203.0.113.32",
)
WEB6, EVIL6, DATABASE6, OTHER_DATABASE6 = ("2001:db8:5::10", "2001:db8:5::20", "2001:db8:5::30", "2001:db8:5::31")
UNREGISTERED_PORTS = (22, 8080, 8443, 9999)


def addresses():
    found = {a for pair in NAMES.values() for a in pair if a}
    found |= {STATIC_ENDPOINT, OTHER_DATABASE, OTHER_DATABASE6, TRAPS["refusing.example"][0]}
    return sorted(found)


def write_certificates(directory):
    """ca.pem and one NAME.pem (certificate and key) for each name."""
    directory.mkdir()
    new = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    run(*new, "-keyout", directory / "ca.key", "-out", directory / "ca.pem", "-subj", "/CN=Lab CA")
    for name in [*NAMES, "default.outside.example"]:
        certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
        run(
            *new,
            "-CA",
            directory / "ca.pem",
            "-CAkey",
            directory / "ca.key",
            "-keyout",
            key,
            "-out",
            certificate,
            "-subj",
            f"/CN={name}",
            "-addext",
            f"subjectAltName=DNS:{name}",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        )
        (directory / f"{name}.pem").write_text(certificate.read_text() + key.read_text())


def _nginx_server(name, certificates, default):
    flag = " default_server" if default else ""
    return f"""
  server {{
    server_name {name};
    listen 443 ssl http2{flag}; listen [::]:443 ssl http2{flag}; listen 80{flag}; listen [::]:80{flag};
    ssl_certificate {certificates}/{name}.pem; ssl_certificate_key {certificates}/{name}.pem;
    location / {{ return 200 "served {name} at $server_addr from $remote_addr\\n"; }}
    location ~ ^/(digest|bytes|chunked|reset) {{ proxy_pass http://127.0.0.1:8081; proxy_http_version 1.1; }}
    location /upgrade {{
      proxy_pass http://127.0.0.1:8081; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
    }}
  }}"""


def write_nginx(directory, certificates):
    """nginx.conf for every name; requests are told as JSON lines in requests.jsonl."""
    directory.mkdir()
    temporary = "\n".join(
        f"  {kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    names = ["default.outside.example", *NAMES]
    servers = "".join(_nginx_server(name, certificates, name == names[0]) for name in names)
    (directory / "nginx.conf").write_text(
        f"""
daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log notice;
events {{ worker_connections 4096; }}
http {{
{temporary}
  client_max_body_size 0; keepalive_requests 1000000; server_names_hash_bucket_size 128; default_type text/plain;
  log_format facts escape=json '{{"server":"$server_name","at":"$server_addr","from":"$remote_addr","host":"$http_host",'
    '"sni":"$ssl_server_name","request":"$request","status":"$status"}}';
  access_log {directory}/requests.jsonl facts;
{servers}
}}
"""
    )
    return directory / "nginx.conf"


class Outside:
    """Servers of the outside namespace, and what they saw."""

    def __init__(self, namespace, directory, support):
        self.directory = directory
        directory.mkdir()
        write_certificates(directory / "tls")
        self.ca = directory / "tls" / "ca.pem"
        self._events = directory / "events.jsonl"
        config = write_nginx(directory / "nginx", directory / "tls")
        self._children = [
            Spawned(
                "nginx",
                ["nginx", "-c", config, "-e", directory / "nginx" / "error.log"],
                directory / "nginx.log",
                namespace,
            ),
            Spawned(
                "outside_services.py",
                [
                    "/usr/bin/python3",
                    support / "outside_services.py",
                    self._events,
                    ",".join(addresses()),
                    ",".join(map(str, UNREGISTERED_PORTS)),
                ],
                directory / "services.log",
                namespace,
            ),
        ]
        wait_for("the outside's servers", self._ready)

    def _ready(self):
        for child in self._children:
            if not child.alive():
                raise RuntimeError(f"{child.name} ended:\n{child.log.read_text()}")
        return (self.directory / "nginx" / "pid").exists() and any(e["what"] == "ready" for e in self.events())

    def events(self):
        """What the servers of outside_services.py told, oldest first."""
        return _json_lines(self._events)

    def requests(self):
        """What nginx served, oldest first."""
        return _json_lines(self.directory / "nginx" / "requests.jsonl")

    def stop(self):
        for child in self._children:
            child.stop()


class NameServer:
    """dnsmasq with the names above; answer() changes one."""

    def __init__(self, namespace, directory, listen):
        self._hosts = directory / "dns-hosts"
        self._names = {**NAMES, **TRAPS}
        self._write()
        self._child = Spawned(
            "dnsmasq",
            [
                "dnsmasq",
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
                "--pid-file",
                "--local-ttl=1",
                "--address=/#/",
                f"--addn-hosts={self._hosts}",
                "--bind-interfaces",
                *[f"--listen-address={a}" for a in listen],
            ],
            directory / "dnsmasq.log",
            namespace,
        )

    def _write(self):
        lines = [f"{a} {name}" for name, pair in self._names.items() for a in pair if a]
        self._hosts.write_text("\n".join(lines) + "\n")

    def answer(self, name, *addresses):
        self._names[name] = addresses
        self._write()
        self._child.send_signal(1)  # SIGHUP: read again

    def stop(self):
        self._child.stop()


def _json_lines(path: pathlib.Path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(errors="replace").splitlines() if line.endswith("}")]
