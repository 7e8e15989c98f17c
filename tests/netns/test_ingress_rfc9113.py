"""RFC 9113 at `sluice ingress`, by a table of what clients may do and of what must come of it."""
import json

import pytest
from http2_raw import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    NO_ERROR,
    PING,
    PREFACE,
    REFUSED_STREAM,
    SETTINGS,
    Session,
    frame,
)
from ingress import APP, SERVICE, IngressScene, resource
from rfc9113_cases import CASES, HOST, MAX_HEAD, MAX_STREAMS, get

PROBE = 0x7FFFFFFD


@pytest.fixture(scope="module")
def scene():
    with IngressScene() as scene:
        scene.ingress.settings["ingress"].update(max_streams=MAX_STREAMS, max_head_bytes=MAX_HEAD)
        scene.start_apps(APP)
        scene.secret("tls-cert", HOST, "b.example.com")
        tls = {"mode": "SIMPLE", "credentialName": "tls-cert"}
        port = {"number": 443, "name": "https", "protocol": "HTTPS"}
        gateway = resource(
            "Gateway",
            "h2",
            "istio-system",
            selector={"istio": "ingressgateway"},
            servers=[
                {"port": port, "tls": tls, "hosts": [HOST]},
                {"port": {**port, "name": "https-b"}, "tls": tls, "hosts": ["b.example.com"]},
            ],
        )
        to_app = [{"destination": {"host": SERVICE, "port": {"number": 80}}}]
        held = {"delay": {"fixedDelay": "20s", "percentage": {"value": 100}}}
        routes = resource(
            "VirtualService",
            "h2",
            "my-namespace",
            hosts=[HOST],
            gateways=["istio-system/h2"],
            http=[
                {"match": [{"uri": {"prefix": "/held"}}], "fault": held, "route": to_app},
                {"match": [{"uri": {"prefix": "/"}}], "route": to_app},
            ],
        )
        scene.write("h2", gateway, routes)
        scene.ingress.start()
        scene.wait_listening("127.0.0.1:443")
        yield scene


def open_session(scene, case):
    sock = scene.tls(HOST, alpn=["h2"])
    if case.opening != "bytewise":
        return Session(sock, case.opening)
    session = Session(sock, b"")
    for byte in PREFACE + frame(SETTINGS, 0, 0):
        session.send(bytes([byte]))
    return session


def next_of(events, *kinds, stream=None, value=None):
    for event in events:
        if event[0] in kinds and stream in (None, event[1]) and value in (None, event[2]):
            return event
    return ("end", 0, b"")


def wait(events, kind, value=None):
    if kind == "window":
        # So much of the answer and no more: what came too early would be seen by what comes next.
        found = ("data", 1, 0) if value == 0 else next_of(events, "data", "end", "goaway", stream=1, value=value)
    elif kind == "body":
        found = next_of(events, "body", "end", stream=value)
    else:
        found = next_of(events, kind, "end", "goaway")
    assert found[0] in (kind, "data"), found


def play(case, session, events):
    """Sends the frames; a server that has hung up meanwhile may have its reasons."""
    try:
        for step in case.frames:
            if isinstance(step, str):
                _, kind, *value = step.split()
                wait(events, kind, *map(int, value))
            else:
                session.send(step)
    except (BrokenPipeError, ConnectionResetError):
        pass


def check_served(session, events):
    session.send(frame(HEADERS, END_STREAM | END_HEADERS, PROBE, get(path="/hello")[9:]))
    for event in events:
        assert event[0] not in ("goaway", "end"), event
        if event[1] == PROBE and event[0] in ("status", "reset"):
            assert event[0] == "status" and event[2] == 200, event
            return


def check_echo(events, stream, name, value):
    found = next_of(events, "body", "reset", "goaway", stream=stream)
    assert found[0] == "body", found
    seen = json.loads(found[2])
    if name in seen:
        assert seen[name] == value
    else:
        assert [v for n, v in seen["headers"] if n.lower() == name] == [value], seen


def check_tunnel(events, sent):
    """The server sends back what it gets, a mark before each piece."""
    found = next_of(events, "body", "reset", "goaway")
    assert found[0] == "body" and found[2].replace(b"echo:", b"") == sent, found


def check_window(session, events, size):
    """The content that comes is so much until more is allowed."""
    assert next_of(events, "data", "goaway", "reset")[2] == size
    session.send(frame(PING, 0, 0, b"no more?"))
    assert next_of(events, "data", "pong", "goaway")[0] == "pong"


def check(case, session, events):
    outcome = case.outcome
    kind, codes, stream = outcome.kind, outcome.codes, outcome.stream
    if kind == "served":
        return check_served(session, events)
    if kind == "echo":
        check_echo(events, stream, *codes)
        return check_served(session, events)
    if kind == "tunnel":
        check_tunnel(events, *codes)
        return check_served(session, events)
    if kind == "window":
        return check_window(session, events, *codes)
    if kind == "body":
        found = next_of(events, "body", "reset", "goaway")
        assert (found[0], len(found[2])) == ("body", codes[0])
        return check_served(session, events)
    if kind == "early":
        assert next_of(events, "status", "reset", "goaway")[2] == codes[0]
        assert next_of(events, "reset", "goaway")[::2] == ("reset", codes[1])
        return check_served(session, events)
    if kind in ("pong", "settings_ack"):
        assert next_of(events, kind, "goaway", "end")[2] in codes
        return check_served(session, events)
    if kind == "at_last":
        assert next_of(events, "goaway", "end")[::2] in [("goaway", code) for code in codes]
        return
    found = next_of(events, "reset", "goaway", "status", "end")
    if kind == "ended":
        assert found[0] == "end" or found[::2] in [("goaway", code) for code in codes]
        return
    if kind == "refused":
        assert found[0] in ("reset", "goaway") or found[::2] == ("status", 431), found
    elif kind == "either":
        assert found[2] in codes and (found[0] == "goaway" or found[1] in (0, 1) or found[2] == REFUSED_STREAM), found
    else:
        assert found[0] == kind and found[1] == stream and found[2] in codes, found
    if found[0] == "goaway":
        assert found[2] != NO_ERROR and next_of(events, "end")[0] == "end"
    elif outcome.serves and found[2] != REFUSED_STREAM:
        check_served(session, events)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_frames_come_to_what_the_rfc_demands(scene, case):
    session = open_session(scene, case)
    events = session.events()
    try:
        play(case, session, events)
        check(case, session, events)
    finally:
        session.sock.close()


def test_the_table_is_a_table_of_the_whole_rfc():
    assert len(CASES) >= 150 and len({str(case) for case in CASES}) == len(CASES)
    sections = {case.section.split(".")[0] for case in CASES}
    assert sections == {"3", "4", "5", "6", "8", "9", "10", "8441 4"}
