"""What deploy/kubernetes comes to, as kubectl renders it."""
import functools
import pathlib

import yaml
from namespaces import run

KUBERNETES = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"


@functools.cache
def rendered(directory="base"):
    """The objects of a kustomize directory, by kind and name."""
    text = run("kubectl", "kustomize", KUBERNETES / directory).stdout
    objects = list(yaml.safe_load_all(text))
    found = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    assert len(found) == len(objects), "two objects have one name"
    return found


def workload(role):
    kind = "DaemonSet" if role == "agent" else "Deployment"
    return rendered()[kind, f"sluice-{role}"]


def container(role):
    return workload(role)["spec"]["template"]["spec"]["containers"][0]
