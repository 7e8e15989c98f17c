#!/usr/bin/env python3
"""Makes Sluice's container image: deploy/image.py BINARY DIRECTORY [TAG]

DIRECTORY becomes an OCI image layout (https://github.com/opencontainers/image-spec): push it with skopeo, or load it with
any engine. In it are the binary, the shared libraries that it takes, the certificates of the public authorities, and
nothing else: no shell, no package manager. Everything comes from Debian packages that are installed here; which ones
stands in /var/lib/dpkg/status.d, where scanners look. The same input gives the same image, byte for byte.

deploy/image.py --rootfs BINARY DIRECTORY makes the root file system alone (deploy/Dockerfile does)."""
import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

USER = 65532  # of roles that need no rights on the node; the agent's DaemonSet says otherwise
CERTIFICATES = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
ACCOUNTS = {
    "etc/passwd": f"root:x:0:0:root:/:/sbin/nologin\nsluice:x:{USER}:{USER}:sluice:/:/sbin/nologin\n",
    "etc/group": f"root:x:0:\nsluice:x:{USER}:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
DIRECTORIES = ["etc/sluice", "proc", "run/sluice", "sys", "tmp", "var/log/sluice"]


def told(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def libraries(binary):
    """The paths by which the loader finds what `binary` takes, its own included."""
    found = []
    for line in told("ldd", binary).splitlines():
        words = line.split()
        if "not found" in line:
            sys.exit(f"image.py: {line.strip()}: install the package that has it")
        path = words[2] if "=>" in words else words[0]
        if path.startswith("/"):
            found.append(pathlib.Path(path))
    return found


def package_of(path):
    """The installed package that a file is of; it may know it by its name before or after the merge of /usr."""
    real = path.resolve()
    for candidate in (path, real, pathlib.Path(str(real).removeprefix("/usr"))):
        done = subprocess.run(["dpkg", "-S", candidate], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.split(": ")[0].split(",")[0]
    sys.exit(f"image.py: no package has {path}")


def make_rootfs(binary, root):
    for directory in ("usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "var/lib/dpkg/status.d", *DIRECTORIES):
        (root / directory).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    shutil.copyfile(binary, root / "usr/bin/sluice")
    os.chmod(root / "usr/bin/sluice", 0o755)
    subprocess.run(["strip", "--strip-unneeded", root / "usr/bin/sluice"], check=True)
    packages = {"ca-certificates"}
    for path in libraries(binary):
        packages.add(package_of(path))
        place = root / "usr" / str(path).removeprefix("/usr").lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path.resolve(), place)
        os.chmod(place, 0o755)
    place = root / str(CERTIFICATES).lstrip("/")
    place.parent.mkdir(parents=True)
    shutil.copyfile(CERTIFICATES, place)
    for name, text in ACCOUNTS.items():
        (root / name).write_text(text)
    for package in packages:
        (root / "var/lib/dpkg/status.d" / package.split(":")[0]).write_text(told("dpkg-query", "-s", package))


def owner_of(name):
    return USER if name in ("run/sluice", "var/log/sluice") else 0


def pack(root):
    """The tar archive of `root`; it knows no times, and no owners of this machine."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            entry = archive.gettarinfo(path, name)
            entry.mtime = 0
            entry.uid = entry.gid = owner_of(name)
            entry.uname = entry.gname = ""
            if entry.isdir():
                entry.mode = 0o1777 if name == "tmp" else 0o755
            elif entry.isfile():
                entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            with open(path, "rb") if entry.isfile() else io.BytesIO() as data:
                archive.addfile(entry, data if entry.isfile() else None)
    return out.getvalue()


class Layout:
    def __init__(self, directory):
        self._blobs = directory / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        self._directory = directory

    def put(self, media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        (self._blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(data)}

    def put_json(self, media_type, value):
        return self.put(media_type, json.dumps(value, indent=2, sort_keys=True).encode() + b"\n")

    def name(self, manifest, tag):
        manifest["annotations"] = {"org.opencontainers.image.ref.name": tag}
        index = {"schemaVersion": 2, "manifests": [manifest]}
        (self._directory / "index.json").write_text(json.dumps(index, indent=2) + "\n")
        (self._directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}\n')


def make_image(root, directory, tag):
    layout = Layout(directory)
    archive = pack(root)
    layer = layout.put("layer.v1.tar+gzip", gzip.compress(archive, 6, mtime=0))
    config = {
        "architecture": told("dpkg", "--print-architecture").strip(),
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/bin/sluice"],
            "Env": ["PATH=/usr/bin"],
            "User": f"{USER}:{USER}",
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(archive).hexdigest()}"]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "deploy/image.py"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.put_json("config.v1+json", config),
        "layers": [layer],
    }
    layout.name(layout.put_json("manifest.v1+json", manifest), tag)


def main(argv):
    alone = argv[:1] == ["--rootfs"]
    argv = argv[1:] if alone else argv
    if not 2 <= len(argv) <= 3 or (alone and len(argv) == 3):
        sys.exit(__doc__)
    binary, directory = pathlib.Path(argv[0]), pathlib.Path(argv[1])
    if directory.exists() and any(directory.iterdir()):
        sys.exit(f"image.py: {directory} is not empty")
    directory.mkdir(parents=True, exist_ok=True)
    if alone:
        return make_rootfs(binary, directory)
    root = directory / "rootfs"
    make_rootfs(binary, root)
    make_image(root, directory, argv[2] if len(argv) == 3 else "latest")
    shutil.rmtree(root)


if __name__ == "__main__":
    main(sys.argv[1:])
