"""A real API server: etcd and kube-apiserver as processes in a namespace of the lab, and a client with every right."""
import base64
import http.client
import json
import os
import pathlib
import ssl
import subprocess

import yaml
from authority import Authority
from namespaces import Spawned, inside, ip_batch, run, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
CRDS = sorted((ROOT / "deploy" / "crds").glob("*.yaml"))
AGENT_RBAC = ROOT / "deploy" / "kubernetes" / "base" / "agent-rbac.yaml"
GROUP = "networking.istio.io"
INGRESS_RBAC = AGENT_RBAC.with_name("ingress-rbac.yaml")
START_TIMEOUT_S = 90
SERVICE_ACCOUNT = ("sluice-system", "sluice")


def _apiserver_binary():
    """Where kube-apiserver is; builds it the first time, which takes minutes."""
    script = ROOT / "tests" / "kube" / "apiserver.sh"
    done = subprocess.run([script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, f"kube-apiserver cannot be built:\n{done.stderr[-3000:]}"
    return done.stdout.strip()


class ApiServer:
    """Starts both; close() ends them. Its address is one of `namespace`'s own, which has to be routed there."""

    port = 6443

    def __init__(self, directory, namespace, address):
        self.directory, self.namespace, self.address = directory, namespace, address
        directory.mkdir()
        self._binary = _apiserver_binary()
        ip_batch(namespace, f"addr add {address}/32 dev lo")
        self.authority = Authority(directory / "authority")
        self._certificate = self.authority.issue("apiserver", f"IP:{address}")
        self._admin = self._issue_admin()
        self._account_key = directory / "service-account.key"
        run("openssl", "genrsa", "-out", self._account_key, "2048")
        self._etcd = self._server = None
        self.start_etcd()
        self.start()

    def _issue_admin(self):
        """A client certificate of the group system:masters, whom RBAC allows everything."""
        request, certificate, key = (self.directory / f"admin.{kind}" for kind in ("csr", "pem", "key"))
        subject = "/O=system:masters/CN=admin"
        run(
            *("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject),
            *("-keyout", key, "-out", request),
        )
        run(
            *("openssl", "x509", "-req", "-in", request, "-CA", self.authority.ca, "-days", "2"),
            *("-CAkey", self.authority.directory / "ca.key", "-out", certificate),
        )
        return certificate, key

    # Life

    def start_etcd(self):
        self._etcd = Spawned(
            "etcd",
            [
                "etcd",
                f"--data-dir={self.directory / 'etcd'}",
                "--listen-client-urls=http://127.0.0.1:2379",
                "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--unsafe-no-fsync",
            ],
            self.directory / "etcd.log",
            self.namespace,
            {**os.environ, "GOMAXPROCS": "2"},
        )

    def start(self, wait=True):
        certificate, key = self._certificate
        self._server = Spawned(
            "kube-apiserver",
            [
                self._binary,
                "--etcd-servers=http://127.0.0.1:2379",
                f"--bind-address={self.address}",
                f"--advertise-address={self.address}",
                f"--secure-port={self.port}",
                f"--tls-cert-file={certificate}",
                f"--tls-private-key-file={key}",
                f"--client-ca-file={self.authority.ca}",
                "--authorization-mode=RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={self._account_key}",
                f"--service-account-signing-key-file={self._account_key}",
                "--service-cluster-ip-range=10.97.0.0/24",
                f"--cert-dir={self.directory / 'certs'}",
            ],
            self.directory / "apiserver.log",
            self.namespace,
        )
        if wait:
            self.wait_ready()

    def wait_ready(self):
        def probe():
            assert self._server.alive(), "kube-apiserver ended:\n" + self.log_tail()
            try:
                return self.request("GET", "/readyz")[0] == 200
            except OSError:
                return False

        wait_for("kube-apiserver to be ready", probe, START_TIMEOUT_S, 0.2)

    def kill(self):
        self._server.stop(9)

    def close(self):
        for process in (self._server, self._etcd):
            if process:
                process.stop(9)

    def log_tail(self):
        return "\n".join((self.directory / "apiserver.log").read_text(errors="replace").splitlines()[-20:])

    # Requests, as the administrator

    def _connect(self):
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        context.load_cert_chain(*map(str, self._admin))
        connection = http.client.HTTPSConnection(self.address, self.port, timeout=10, context=context)
        with inside(self.namespace):
            connection.connect()
        return connection

    def request(self, method, path, body=None, content_type="application/json"):
        """Status and answer."""
        connection = self._connect()
        try:
            data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": content_type})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text.decode(errors="replace")

    def ask(self, method, path, body=None, content_type="application/json"):
        """The answer to what must succeed."""
        status, answer = self.request(method, path, body, content_type)
        assert 200 <= status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def ensure(self, path, body):
        """Makes it unless it is there."""
        status, answer = self.request("POST", path, body)
        assert status in (201, 409), f"POST {path}: {status} {answer}"

    # What the tests begin with

    def install_crds(self, paths=CRDS):
        for path in paths:
            self.ask(
                "PATCH",
                f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{path.stem}.{GROUP}"
                "?fieldManager=tests&force=true",
                path.read_text(),
                "application/apply-patch+yaml",
            )
        for path in paths:
            wait_for(
                f"{path.stem} to be served",
                lambda p=path: self.request("GET", f"/apis/{GROUP}/v1/{p.stem}")[0] == 200,
                30,
                0.1,
            )

    def remove_crd(self, plural):
        self.ask("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{GROUP}")

    def make_namespace(self, name):
        self.ensure("/api/v1/namespaces", {"metadata": {"name": name}})

    def make_account(self, rbac=AGENT_RBAC, role_namespace=None):
        """The account that Sluice runs as, which may do what `rbac` says and nothing else; its Role, if it has one, in
        `role_namespace`."""
        namespace, name = SERVICE_ACCOUNT
        self.make_namespace(namespace)
        self.ensure(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})
        for each in yaml.safe_load_all(rbac.read_text()):
            if each["kind"] not in ("ClusterRole", "Role"):
                continue
            base = "/apis/rbac.authorization.k8s.io/v1"
            if each["kind"] == "Role":
                self.make_namespace(role_namespace)
                base += f"/namespaces/{role_namespace}"
            self.ensure(f"{base}/{each['kind'].lower()}s", {"metadata": {"name": name}, "rules": each["rules"]})
            binding = {
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": each["kind"], "name": name},
                "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}],
            }
            self.ensure(f"{base}/{each['kind'].lower()}bindings", binding)

    def make_token(self, bound_to):
        """A token of that account, good for as long as the Secret `bound_to` is there."""
        namespace, name = SERVICE_ACCOUNT
        self.ensure(f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": bound_to}})
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": ["https://kubernetes.default.svc"],
                "expirationSeconds": 3600,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": bound_to},
            },
        }
        answer = self.ask("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", request)
        return answer["status"]["token"]

    def revoke_token(self, bound_to):
        self.ask("DELETE", f"/api/v1/namespaces/{SERVICE_ACCOUNT[0]}/secrets/{bound_to}")

    def write_kubeconfig(self, path, token_file=None):
        """As a file of the same machine, with the authority inside; without a token with the administrator's own
        certificate and key inside."""

        def inline(file):
            return base64.b64encode(file.read_bytes()).decode()

        cluster = {
            "server": f"https://{self.address}:{self.port}",
            "certificate-authority-data": inline(self.authority.ca),
        }
        certificate, key = self._admin
        user = {"client-certificate-data": inline(certificate), "client-key-data": inline(key)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "sluice"}}],
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "sluice", "user": {"tokenFile": token_file} if token_file else user}],
        }
        path.write_text(json.dumps(config, indent=1))

    def renew_authority(self):
        """Everything of a new authority, from the next start on."""
        self.authority = Authority(self.directory / "authority-2")
        self._certificate = self.authority.issue("apiserver", f"IP:{self.address}")
        self._admin = self._issue_admin()

    # Pods and nodes, of which no kubelet tells

    def make_pod(self, pod, node, namespace=None, **spec):
        """`pod` of the lab, as the scheduler and the runtime leave it: on `node`, without an address yet. Its uid."""
        namespace = namespace or pod.namespace
        self.make_namespace(namespace)
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self.ensure(accounts, {"metadata": {"name": pod.service_account}})
        body = {
            "metadata": {"name": pod.name, "labels": {"app": pod.name}},
            "spec": {
                "nodeName": node,
                "serviceAccountName": pod.service_account,
                "automountServiceAccountToken": False,
                "containers": [{"name": "c", "image": "none"}],
                **spec,
            },
        }
        return self.ask("POST", f"/api/v1/namespaces/{namespace}/pods", body)["metadata"]["uid"]

    def set_pod_status(self, namespace, name, phase="Running", addresses=()):
        status = {"phase": phase, "podIPs": [{"ip": address} for address in addresses]}
        if addresses:
            status["podIP"] = addresses[0]
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        self.ask("PATCH", path, {"status": status}, "application/merge-patch+json")

    def remove_pod(self, namespace, name):
        """At once, as when its kubelet says that it is over."""
        self.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", {"gracePeriodSeconds": 0})

    def make_node(self, name, *addresses, pod_cidrs=()):
        spec = {"podCIDR": pod_cidrs[0], "podCIDRs": list(pod_cidrs)} if pod_cidrs else {}
        self.ensure("/api/v1/nodes", {"metadata": {"name": name}, "spec": spec})
        status = {"addresses": [{"type": "InternalIP", "address": address} for address in addresses]}
        self.ask("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, "application/merge-patch+json")

    def remove_node(self, name):
        self.request("DELETE", f"/api/v1/nodes/{name}")

    # Secrets, Services and their EndpointSlices, which no controller makes

    def put_secret(self, namespace, name, **files):
        """Keys are names with "_" for "."."""
        self.make_namespace(namespace)
        data = {key.replace("_", "."): base64.b64encode(path.read_bytes()).decode() for key, path in files.items()}
        self._apply(f"/api/v1/namespaces/{namespace}/secrets/{name}", "v1", "Secret", {"data": data})

    def put_service(self, namespace, name, ports):
        self.make_namespace(namespace)
        self._apply(f"/api/v1/namespaces/{namespace}/services/{name}", "v1", "Service", {"spec": {"ports": ports}})

    def put_slice(self, namespace, service, ports, *addresses, ready=True):
        version = "discovery.k8s.io/v1beta1"
        self._apply(
            f"/apis/{version}/namespaces/{namespace}/endpointslices/{service}-one",
            version,
            "EndpointSlice",
            {
                "metadata": {"labels": {"kubernetes.io/service-name": service}},
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses],
            },
        )

    def _apply(self, path, version, kind, body):
        metadata = {**body.pop("metadata", {}), "name": path.rsplit("/", 1)[1]}
        whole = {"apiVersion": version, "kind": kind, "metadata": metadata, **body}
        self.ask("PATCH", path + "?fieldManager=tests&force=true", whole, "application/apply-patch+yaml")

    # Istio's objects

    @staticmethod
    def _path(plural, namespace, name=None, version="v1"):
        path = f"/apis/{GROUP}/{version}/namespaces/{namespace}/{plural}"
        return f"{path}/{name}" if name else path

    def create(self, plural, body, version="v1"):
        return self.ask("POST", self._path(plural, body["metadata"]["namespace"], version=version), body)

    def create_all(self, plural, bodies):
        """Many of them, by one connection."""
        self.send_all([("POST", self._path(plural, body["metadata"]["namespace"]), body) for body in bodies])

    def send_all(self, requests):
        """Many of (method, path, body), each of which must succeed, by one connection; patches are merged."""
        connection = self._connect()
        try:
            for method, path, body in requests:
                kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
                connection.request(method, path, json.dumps(body), {"Content-Type": kind})
                answer = connection.getresponse()
                text = answer.read()
                assert answer.status in (200, 201), text
        finally:
            connection.close()

    def patch(self, plural, namespace, name, change):
        return self.ask("PATCH", self._path(plural, namespace, name), change, "application/merge-patch+json")

    def delete(self, plural, namespace, name):
        return self.ask("DELETE", self._path(plural, namespace, name))

    def compact(self):
        """etcd forgets every version but the newest."""

        def etcd(path, body):
            connection = http.client.HTTPConnection("127.0.0.1", 2379, timeout=10)
            with inside(self.namespace):
                connection.connect()
            connection.request("POST", path, json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
            connection.close()
            assert answer.status == 200, text
            return json.loads(text)

        revision = etcd("/v3/kv/range", {"key": base64.b64encode(b"x").decode()})["header"]["revision"]
        etcd("/v3/kv/compaction", {"revision": revision, "physical": True})
