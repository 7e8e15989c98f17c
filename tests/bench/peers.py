"""Other proxies that let TLS through by its SNI: each listens at one address, has the list of allowed hosts, and calls
one upstream. None of them writes a record of a connection. sniproxy has one thread, and squid here too."""
import shutil

import programs
from namespaces import run

MAX_CONNECTIONS = 7500  # two files each and pipes, of the 20,000 files that a process may have


class Peer(programs.Server):
    def __init__(self, lab, where, hosts, listen, upstream, threads):
        super().__init__(lab.directory / f"{self.name}-{where}", listen)
        self._lab, self._where, self._hosts = lab, where, hosts
        self._upstream, self._threads = upstream, threads

    def spawn(self):
        return self._lab.spawn(self._where, f"{self.name}-{self._where}", self.command(), self.listen)

    def listed(self):
        """The file of allowed hosts, one a line."""
        return self.write("hosts", "".join(f"{host}\n" for host in self._hosts))

    @property
    def at(self):
        return "{}:{}".format(*self.listen)

    @property
    def to(self):
        return "{}:{}".format(*self._upstream)


class HAProxy(Peer):
    name = "haproxy"

    def command(self):
        config = self.write(
            "haproxy.cfg",
            f"""
global
  nbthread {self._threads}
  maxconn {MAX_CONNECTIONS}
  stats socket {self.directory}/stats
defaults
  mode tcp
  maxconn {MAX_CONNECTIONS}
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  option splice-auto
frontend bench
  bind {self.at} backlog 4096
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req.ssl_sni -f {self.listed()} }}
  tcp-request content reject if {{ req.ssl_hello_type 1 }}
  default_backend upstream
backend upstream
  server upstream {self.to}
""",
        )
        return ["haproxy", "-db", "-f", config]


class Nginx(Peer):
    name = "nginx"

    def command(self):
        allowed = "".join(f"    {host} {self.to};\n" for host in self._hosts)
        config = self.write(
            "nginx.conf",
            f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
user root; daemon off; pid {self.directory}/pid; error_log {self.directory}/error.log error;
worker_processes {self._threads}; worker_rlimit_nofile 20000;
events {{ worker_connections {2 * MAX_CONNECTIONS}; }}
stream {{
  map_hash_max_size 8192; map_hash_bucket_size 256; access_log off;
  map $ssl_preread_server_name $upstream {{
{allowed}  }}
  server {{
    listen {self.at} backlog=4096 reuseport;
    ssl_preread on; proxy_pass $upstream; proxy_half_close on; proxy_timeout 1h; preread_timeout 5s;
  }}
}}
""",
        )
        return ["nginx", "-c", config, "-e", self.directory / "error.log"]


class Sniproxy(Peer):
    name = "sniproxy"

    def command(self):
        table = "".join("  ^{}$ {} {}\n".format(host.replace(".", r"\."), *self._upstream) for host in self._hosts)
        config = self.write(
            "sniproxy.conf",
            f"""
user root
pidfile {self.directory}/pid
error_log {{
  filename {self.directory}/error.log
  priority error
}}
listener {self.listen[0]} {self.listen[1]} {{
  proto tls
  table allowed
}}
table allowed {{
{table}}}
""",
        )
        return ["sniproxy", "-f", "-c", config]


class Squid(Peer):
    """Calls what the client called, as an intercepting squid does: that must be the upstream. It resolves the names
    itself, by a file."""

    name = "squid"

    def command(self):
        certificate = self.directory / "ca.pem"
        if not certificate.exists():
            new = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bench", "-days", "2")
            run(*new, "-keyout", certificate, "-out", self.directory / "certificate.pem")
            certificate.write_text(certificate.read_text() + (self.directory / "certificate.pem").read_text())
        names = self.write("names", "".join(f"{self._upstream[0]} {host}\n" for host in self._hosts))
        config = self.write(
            "squid.conf",
            f"""
cache_effective_user proxy
pid_filename {self.directory}/pid
cache_log {self.directory}/cache.log
coredump_dir {self.directory}
access_log none
cache_store_log none
cache deny all
memory_cache_shared off
pinger_enable off
netdb_filename none
max_filedescriptors 20000
hosts_file {names}
http_port 127.0.0.1:3128
https_port {self.at} intercept ssl-bump tls-cert={certificate} generate-host-certificates=off
acl hello at_step SslBump1
acl allowed ssl::server_name "{self.listed()}"
ssl_bump peek hello
ssl_bump splice allowed
ssl_bump terminate all
http_access allow all
shutdown_lifetime 0 seconds
""",
        )
        shutil.chown(self.directory, "proxy", "proxy")
        certificate.chmod(0o644)
        # A name of its own: that of what it shares in memory, which outlives a killed one.
        return ["squid", "-N", "-n", self._lab.name("squid").replace("-", ""), "-f", config]


ALL = (HAProxy, Nginx, Sniproxy, Squid)
