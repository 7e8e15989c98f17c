"""Containers of the image that deploy/image.py makes, run by runc as deploy/kubernetes says."""
import hashlib
import json
import pathlib
import subprocess
import tarfile

from manifests import container, workload
from namespaces import NETNS, run, wait_for

IMAGE_SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "image.py"


class Image:
    """Built from `binary` into `directory`, and unpacked as an engine does it: every digest is checked."""

    def __init__(self, binary, directory):
        self.layout = directory / "image"
        run("/usr/bin/python3", "-B", IMAGE_SCRIPT, binary, self.layout, "test", timeout=120)
        index = json.loads((self.layout / "index.json").read_text())
        self.manifest = json.loads(self.blob(index["manifests"][0]))
        self.config = json.loads(self.blob(self.manifest["config"]))
        self.root = directory / "rootfs"
        for layer in self.manifest["layers"]:
            self.blob(layer)
            with tarfile.open(self._path(layer), "r:gz") as archive:
                archive.extractall(self.root, numeric_owner=True)

    def _path(self, descriptor):
        algorithm, digest = descriptor["digest"].split(":")
        return self.layout / "blobs" / algorithm / digest

    def blob(self, descriptor):
        data = self._path(descriptor).read_bytes()
        assert hashlib.sha256(data).hexdigest() == descriptor["digest"].split(":")[1]
        assert len(data) == descriptor["size"]
        return data


class Container:
    """One role in one network namespace. `binds`: what its volumes are, by the place where the manifest mounts them."""

    def __init__(self, image, role, namespace, bundle, binds):
        self.name = f"{namespace}-{role}"
        self._bundle = bundle
        bundle.mkdir()
        spec = container(role)
        context = spec["securityContext"]
        capabilities = [f"CAP_{name}" for name in context["capabilities"].get("add", [])]
        user = context.get("runAsUser", int(image.config["config"]["User"].split(":")[0]))
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]},
        ]
        places = {mount["mountPath"]: mount.get("readOnly", False) for mount in spec["volumeMounts"]}
        assert places.keys() == binds.keys(), "each volume of the manifest is something here"
        for place, read_only in places.items():
            options = ["rbind", "ro" if read_only else "rw"]
            mounts.append({"destination": place, "type": "bind", "source": str(binds[place]), "options": options})
        # The node's processes, where the manifest says so.
        alone = [] if workload(role)["spec"]["template"]["spec"].get("hostPID") else [{"type": "pid"}]
        (bundle / "config.json").write_text(
            json.dumps(
                {
                    "ociVersion": "1.0.2",
                    "process": {
                        "args": image.config["config"]["Entrypoint"] + spec["args"],
                        "env": image.config["config"]["Env"],
                        "cwd": "/",
                        "user": {"uid": user, "gid": user},
                        "capabilities": {each: capabilities for each in ("bounding", "effective", "permitted")},
                        "noNewPrivileges": not context["allowPrivilegeEscalation"],
                    },
                    "root": {"path": str(image.root), "readonly": context["readOnlyRootFilesystem"]},
                    "mounts": mounts,
                    "linux": {
                        "namespaces": [
                            {"type": "mount"},
                            {"type": "uts"},
                            {"type": "ipc"},
                            {"type": "network", "path": str(NETNS / namespace)},
                            *alone,
                        ],
                        "resources": {},
                    },
                }
            )
        )

    def __enter__(self):
        self.log = self._bundle / "log"
        with open(self.log, "wb") as out:
            argv = ["runc", "run", "--bundle", self._bundle, self.name]
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/")
        return self

    def __exit__(self, *_):
        run("runc", "kill", self.name, "TERM", check=False)
        try:
            self._process.wait(10)
        finally:
            run("runc", "delete", "--force", self.name, check=False)

    def probe(self, what):
        return self.run("sluice", "status", "--probe", what)

    def run(self, *argv):
        return run("runc", "exec", self.name, *argv, check=False)

    def wait_ready(self):
        def ready():
            assert self._process.poll() is None, self.log.read_text()
            return self.probe("ready").returncode == 0

        wait_for(f"{self.name} to be ready", ready, 15, 0.1)
