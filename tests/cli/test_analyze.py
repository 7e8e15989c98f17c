"""sluice analyze, as it is called: paths, output, exit codes."""

import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED = ROOT / "config" / "resources" / "seed.yaml"

GOOD = """apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: inside, namespace: ns}
spec:
  hosts: [a.example.com]
  location: MESH_INTERNAL
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: DNS
"""
DOUBTFUL = GOOD + "  future: 1\n"


def analyze(*arguments, stdin=""):
    return subprocess.run([os.environ["SLUICE_BINARY"], "analyze", *map(str, arguments)], input=stdin,
                          capture_output=True, text=True, timeout=30, check=False)


def test_nothing_found_is_zero(tmp_path):
    (tmp_path / "good.yaml").write_text(GOOD)
    run = analyze(tmp_path)
    assert (run.returncode, run.stdout) == (0, "0 errors, 0 warnings; 1 object in force\n")


def test_errors_are_one_and_read_like_a_compilers():
    run = analyze(SEED)
    assert run.returncode == 1
    lines = run.stdout.splitlines()
    assert (f"{SEED}:40: error IST0101: VirtualService default/external-api: spec.gateways[0]: there is no Gateway "
            "default/egress-gateway: is it istio-system/my-egress-gateway?") in lines
    assert lines[-1] == "2 errors, 6 warnings; 3 objects in force"


def test_a_warning_alone_is_one():
    run = analyze("-", stdin=DOUBTFUL)
    assert run.returncode == 1
    assert run.stdout.splitlines() == [
        "-:9: warning IST0133: ServiceEntry ns/inside: spec.future: is not a known key; known are addresses, "
        "endpoints, exportTo, hosts, location, ports, resolution, subjectAltNames, workloadSelector",
        "0 errors, 1 warning; 1 object in force"]


def test_json_has_every_part_of_each_finding():
    run = analyze("-o", "json", "-", stdin=DOUBTFUL)
    assert run.returncode == 1
    (finding,) = json.loads(run.stdout)
    assert finding.pop("message").startswith("is not a known key")
    assert finding == {"file": "-", "line": 9, "severity": "warning", "code": "IST0133",
                       "object": "ServiceEntry ns/inside", "field": "spec.future"}
    assert json.loads(analyze("-o", "json", "-", stdin=GOOD).stdout) == []


def test_a_directory_is_its_yaml_files(tmp_path):
    (tmp_path / "a.yml").write_text(GOOD)
    (tmp_path / "b.txt").write_text(DOUBTFUL)
    (tmp_path / ".c.yaml").write_text(DOUBTFUL)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "d.yaml").write_text(DOUBTFUL)
    assert analyze(tmp_path).returncode == 0


def test_several_paths_are_seen_together(tmp_path):
    documents = SEED.read_text().split("---\n")
    for index, document in enumerate(documents):
        (tmp_path / f"{index}.yaml").write_text(document)
    apart = analyze(*[tmp_path / f"{index}.yaml" for index in range(len(documents))])
    assert apart.stdout.splitlines()[-1] == analyze(SEED).stdout.splitlines()[-1]


def test_what_cannot_be_read_is_two(tmp_path):
    run = analyze(tmp_path / "missing.yaml")
    assert (run.returncode, run.stdout) == (2, "")
    assert "missing.yaml: cannot be read" in run.stderr
    assert analyze().returncode == 2
    assert analyze("-o", "xml", SEED).returncode == 2
    run = analyze("-", stdin="{")
    assert run.returncode == 2
    assert "SLU0004" in run.stdout
