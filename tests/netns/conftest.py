"""Fixtures of the network tests, each file of which has a lab of its own. A skip is a failure."""
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from gate_calls import Origin  # noqa: E402  (found by the path above, like the following)
from lab import Lab  # noqa: E402

RESOURCES = [ROOT / "config" / "resources" / "seed.yaml", ROOT / "tests" / "netns" / "scene.yaml"]


def pytest_configure():
    if os.geteuid() != 0:
        pytest.exit("the network tests make namespaces: run them as root", returncode=1)


@pytest.fixture(scope="module")
def bare_lab(request):
    """A lab without agent and gateway: packets go wherever they are routed."""
    with Lab(resources=RESOURCES) as lab:
        failed_before = request.session.testsfailed
        yield lab
        if os.environ.get("SLUICE_LAB_HOLD") and request.session.testsfailed > failed_before:
            with open("/dev/tty", "r+") as tty:
                tty.write(f"\n{lab.explain()}\nEnter removes the lab ")
                tty.flush()
                tty.readline()


@pytest.fixture(scope="module")
def lab(bare_lab):
    """A lab with agent and gateway at work."""
    return bare_lab.start()


@pytest.fixture(scope="module")
def origin(lab):
    """Servers outside that do what a call through the gate asks of them."""
    origin = Origin(lab)
    yield origin
    origin.close()


@pytest.fixture
def watch(bare_lab):
    """What happens during the test, seen at the outside, at the gateway and in the audit logs."""
    with bare_lab.watch() as watch:
        yield watch


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.skipped:
        report.outcome, report.longrepr = "failed", f"skipped is not passed: {report.longrepr}"
    if report.failed and "bare_lab" in getattr(item, "funcargs", {}):
        report.sections.append(("the lab", item.funcargs["bare_lab"].explain()))
