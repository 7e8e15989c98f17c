"""What deploy/kubernetes lets the agent's container do is enough, and nothing of it is too much."""
import pytest
from manifests import container

SEED_HOST = "api.external-service.com"
CONTEXT = container("agent")["securityContext"]
CAPABILITIES = [name.lower() for name in CONTEXT["capabilities"]["add"]]


@pytest.fixture(scope="module")
def lab(bare_lab):
    bare_lab.gateway.start()
    return bare_lab


@pytest.fixture
def agent_with(lab):
    """Starts the agent with these capabilities alone, as a container runtime starts a process of root."""

    def start(capabilities, wait=True):
        chosen = ",".join(["-all", *(f"+{name}" for name in capabilities)])
        lab.agent.under = ["setpriv", "--no-new-privs", f"--bounding-set={chosen}", f"--inh-caps={chosen}", "--"]
        lab.agent.start(wait)
        return lab.agent

    yield start
    lab.agent.stop()
    lab.agent.under = []


def test_the_container_has_no_more_than_its_list():
    assert CONTEXT["privileged"] is False and CONTEXT["allowPrivilegeEscalation"] is False
    assert CONTEXT["readOnlyRootFilesystem"] is True
    assert CONTEXT["capabilities"]["drop"] == ["ALL"]


def test_with_its_list_the_agent_does_all_that_it_does(lab, watch, agent_with):
    agent_with(CAPABILITIES)
    for url in (f"https://{SEED_HOST}/", "http://plain.example/"):
        done = lab.pod("a").curl(url)
        assert done.code == 0, done
    assert {r["datapath"] for r in watch.records(event="open")} == {"gate", "relay"}
    refused = lab.pod("a").curl("https://evil.example.com/")
    assert refused.code != 0
    for record in watch.records(event="open"):
        assert record["process"]["exe"].endswith("/curl"), record


@pytest.mark.parametrize("missing", [name for name in CAPABILITIES if name != "sys_ptrace"])
def test_without_one_of_them_the_agent_does_not_begin_and_says_which(lab, agent_with, missing):
    with pytest.raises(AssertionError, match=f"the agent lacks CAP_{missing.upper()}: "):
        agent_with([name for name in CAPABILITIES if name != missing])
    assert not lab.agent.running()


def test_without_sys_ptrace_records_do_not_name_executables(lab, watch, agent_with):
    agent = agent_with([name for name in CAPABILITIES if name != "sys_ptrace"])
    assert "CAP_SYS_PTRACE" in agent.log_tail()
    assert lab.pod("a").curl(f"https://{SEED_HOST}/").code == 0
    opened = watch.record(event="open", sni=SEED_HOST)
    assert opened["process"]["comm"] == "curl" and "exe" not in opened["process"]
