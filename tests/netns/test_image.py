"""The image runs each role under a container runtime with what deploy/kubernetes gives it, and no more."""
import copy
import json
import os
import pathlib
import shutil

import pytest
from container import Container, Image
from namespaces import cgroup2_root, run

SEED_HOST = "api.external-service.com"


@pytest.fixture(scope="module")
def image(bare_lab):
    return Image(bare_lab.binary, bare_lab.directory)


@pytest.fixture
def volumes(bare_lab, tmp_path):
    """The settings of a lab's role with the paths that its container has, and what its volumes are."""

    def prepare(daemon, owner):
        settings = copy.deepcopy(daemon.settings)
        settings["resources"]["files"] = ["/etc/sluice/resources"]
        settings["audit"]["path"] = "/var/log/sluice/audit.jsonl"
        settings["admin"]["socket"] = "/run/sluice/admin.sock"
        binds = {"/etc/sluice": "settings", "/run/sluice": "run", "/var/log/sluice": "log"}
        for place, name in binds.items():
            binds[place] = tmp_path / daemon.role / name
            binds[place].mkdir(parents=True)
            os.chown(binds[place], owner, owner)
        if daemon.role == "agent":
            key = pathlib.Path(settings["egress"]["key_file"])
            settings["egress"]["key_file"] = f"/etc/sluice-key/{key.name}"
            binds["/etc/sluice-key"] = key.parent
            settings["node"]["bpffs"] = "/sys/fs/bpf/sluice"
            binds["/sys/fs/bpf"] = bare_lab.pins.parent
            cgroups = pathlib.Path(cgroup2_root())
            settings["node"]["cgroup"] = str("/sys/fs/cgroup" / bare_lab.cgroup.relative_to(cgroups))
            binds["/sys/fs/cgroup"] = cgroups
        else:
            settings["gateway"]["node_keys"] = "/etc/sluice-nodes"
            signed = [one for one in settings["gateway"]["listen"] if one["transport"] == "proxy"]
            settings["gateway"]["listen"] = signed  # the others' ports are for who may have them
            binds["/etc/sluice-nodes"] = bare_lab.node_keys
        shutil.copytree(bare_lab.resources, binds["/etc/sluice"] / "resources")
        (binds["/etc/sluice"] / f"{daemon.role}.yaml").write_text(json.dumps(settings))
        return binds

    return prepare


def test_nothing_is_in_it_but_the_binary_what_it_links_and_certificates(image):
    files = sorted(str(p.relative_to(image.root)) for p in image.root.rglob("*") if p.is_file() and not p.is_symlink())
    known = ("usr/bin/sluice", "usr/lib/", "usr/lib64/", "var/lib/dpkg/status.d/", "etc/ssl/certs/ca-certificates.crt")
    others = [name for name in files if not name.startswith(known)]
    assert others == ["etc/group", "etc/nsswitch.conf", "etc/passwd"]
    assert [name for name in files if name.startswith("usr/bin")] == ["usr/bin/sluice"]


def test_the_same_binary_makes_the_same_image(image, bare_lab, tmp_path):
    again = Image(bare_lab.binary, tmp_path)
    assert again.manifest == image.manifest


def test_every_part_says_of_which_package_it_is(image):
    status = list((image.root / "var/lib/dpkg/status.d").iterdir())
    assert {"libc6", "libssl3", "ca-certificates"} <= {file.name for file in status}
    for file in status:
        text = file.read_text()
        assert f"Package: {file.name}\n" in text and "\nVersion: " in text


def test_as_anybody_it_runs(image):
    assert image.config["config"]["User"] == "65532:65532"
    done = run("chroot", "--userspec=65532:65532", image.root, "/usr/bin/sluice", "version")
    assert done.stdout.startswith("sluice ")


def test_agent_and_gateway_do_their_work_in_it(bare_lab, image, volumes, tmp_path):
    lab = bare_lab
    gateway = Container(image, "gateway", lab.gateway.namespace, tmp_path / "g", volumes(lab.gateway, 65532))
    agent_volumes = volumes(lab.agent, 0)
    with gateway, Container(image, "agent", lab.node, tmp_path / "a", agent_volumes) as agent:
        for each in (gateway, agent):
            each.wait_ready()
            assert each.probe("live").returncode == 0
        for url in (f"https://{SEED_HOST}/", "http://plain.example/"):
            done = lab.pod("a").curl(url)
            assert done.code == 0, done
        assert lab.pod("a").curl("https://evil.example/").code != 0
        records = [
            json.loads(line) for line in (agent_volumes["/var/log/sluice"] / "audit.jsonl").read_text().splitlines()
        ]
        opened = [record for record in records if record["event"] == "open"]
        assert {record["datapath"] for record in opened} == {"gate", "relay"}
        assert all(record["process"]["exe"].endswith("/curl") for record in opened), "it sees the node's processes"
        status = agent.run("sluice", "status")
        assert status.returncode == 0, status
