"""Proxies that end TLS and send requests on to one upstream over kept connections of HTTP/1.1, and that upstream. None of
them writes a log."""
import programs

MAX_CONNECTIONS = 7500
MANY = 1_000_000_000  # requests of one connection: how often it is made anew is not what is measured


class Server(programs.Server):
    def __init__(self, scene, threads, listen):
        super().__init__(scene.directory / f"bench-{self.name}", listen)
        self._scene, self._threads = scene, threads

    def spawn(self):
        child = self._scene.spawn(self.name, self.command())
        self._scene.wait_listening(self.listen)
        return child

    def nginx(self, text):
        config = self.write(
            "nginx.conf",
            f"""
user root; daemon off; pid {self.directory}/pid; error_log {self.directory}/error.log error;
worker_processes {self._threads}; worker_rlimit_nofile 20000;
events {{ worker_connections {2 * MAX_CONNECTIONS}; }}
http {{
  access_log off; keepalive_timeout 1h; keepalive_requests {MANY}; client_body_temp_path {self.directory}/body;
{text}
}}
""",
        )
        return ["nginx", "-c", config, "-e", self.directory / "error.log"]


class Upstream(Server):
    """Files of 1 KiB and of 1 MiB."""

    name = "upstream"

    def command(self):
        self.write("1k", "k" * 1024)
        self.write("1m", "m" * 1024 * 1024)
        return self.nginx(
            f"""
  sendfile on; tcp_nopush on; open_file_cache max=10 inactive=1h; root {self.directory};
  server {{ listen {self.listen} backlog=4096 reuseport; }}
"""
        )


class Terminator(Server):
    """`certificate`, `key`: paths."""

    def __init__(self, scene, threads, listen, upstream, certificate, key):
        super().__init__(scene, threads, listen)
        self._upstream, self._certificate, self._key = upstream, certificate, key


class Nginx(Terminator):
    name = "nginx"

    def command(self):
        return self.nginx(
            f"""
  ssl_certificate {self._certificate}; ssl_certificate_key {self._key}; ssl_protocols TLSv1.2 TLSv1.3;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Request-Id $request_id;
  upstream app {{ server {self._upstream}; keepalive 512; keepalive_requests {MANY}; keepalive_timeout 1h; }}
  server {{ listen {self.listen} ssl http2 backlog=4096 reuseport; location / {{ proxy_pass http://app; }} }}
"""
        )


class HAProxy(Terminator):
    name = "haproxy"

    def command(self):
        pair = self.write("pair.pem", self._certificate.read_text() + self._key.read_text())
        config = self.write(
            "haproxy.cfg",
            f"""
global
  nbthread {self._threads}
  maxconn {MAX_CONNECTIONS}
defaults
  mode http
  maxconn {MAX_CONNECTIONS}
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  option forwardfor
  http-reuse always
frontend bench
  bind {self.listen} backlog 4096 ssl crt {pair} alpn h2,http/1.1
  http-request set-header x-forwarded-proto https
  unique-id-format %{{+X}}o%ci:%cp_%Ts_%rt
  unique-id-header x-request-id
  default_backend upstream
backend upstream
  server upstream {self._upstream}
""",
        )
        return ["haproxy", "-db", "-f", config]
