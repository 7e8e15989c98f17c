"""Calls to the seed's host: how they are made and what they show, also with software that is not ours in their way."""
import contextlib

from namespaces import wait_for
from outside import WEB, WEB6

SEED_HOST = "api.external-service.com"
OTHER4 = "10.2.0.4"  # of the gateway host, where other software listens in the gateway's place


def curl(lab, *options):
    return lab.pod("a").curl(f"https://{SEED_HOST}/", *options)


def is_served(done):
    return done.code == 0 and done.out.startswith(f"served {SEED_HOST} at ")


def only_the_gateway_host_called(watch):
    """The outside saw the gateway host's address alone, calling the seed's host."""
    called = {p.destination for p in watch.upstream_calls()}
    assert called and called <= {WEB, WEB6}
    watch.only_gateway_left(*called)


@contextlib.contextmanager
def running(lab, where, name, argv, listens):
    """Other software at work; its log."""
    child = lab.spawn(where, name, argv, listens)
    try:
        yield child.log
    finally:
        child.stop()


def in_log(log, text):
    wait_for(f"{text} in {log.name}", lambda: log.exists() and text in log.read_text(errors="replace"))
