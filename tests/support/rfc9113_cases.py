"""What a server must make of frames, right and wrong: a row for each demand of RFC 9113 (and 7541, 8441) that a client can
put to the test. Each is sent on a connection of its own."""
import struct
from dataclasses import dataclass, field

from http2_raw import (
    ACK,
    CANCEL,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    fields,
    frame,
    indexed,
    literal,
    reset,
    settings,
    window_update,
)

HOST = "h2.example.com"
MAX_STREAMS = 20
MAX_HEAD = 16 * 1024
WINDOW = 256 * 1024  # of a stream, once the client has acknowledged the server's SETTINGS


@dataclass
class Outcome:
    """`kind` and `codes` of the first event that says how it went; `serves`: the connection goes on after it."""

    kind: str
    codes: tuple = ()
    stream: int = 1
    serves: bool = True


def goaway(*codes):
    return Outcome("goaway", codes, 0, serves=False)


def at_last(*codes):
    """The same, sooner or later."""
    return Outcome("at_last", codes, 0, serves=False)


def ended(*codes):
    """The same, or the connection just ends."""
    return Outcome("ended", codes, 0, serves=False)


def rst(*codes, stream=1):
    return Outcome("reset", codes, stream)


def either(*codes):
    """Where the RFC leaves it to the server whether the stream or the connection ends."""
    return Outcome("either", codes)


def status(code, stream=1):
    return Outcome("status", (code,), stream)


served = Outcome("served")
pong = lambda payload: Outcome("pong", (payload,), 0)  # noqa: E731
settings_ack = Outcome("settings_ack", (b"",), 0)


def echo(name, value):
    """The upstream has seen it."""
    return Outcome("echo", (name, value))


@dataclass
class Case:
    section: str
    name: str
    frames: list
    outcome: Outcome
    opening: bytes = field(default=PREFACE + frame(SETTINGS, 0, 0))

    def __str__(self):
        return f"{self.section} {self.name}"


def pseudo(path="/echo", method="GET", authority=HOST, scheme="https"):
    return fields((":method", method), (":scheme", scheme), (":path", path), (":authority", authority))


def get(*more, stream=1, flags=END_STREAM | END_HEADERS, **how):
    return frame(HEADERS, flags, stream, pseudo(**how) + fields(*more))


def post(*more, stream=1, flags=END_HEADERS, **how):
    return frame(HEADERS, flags, stream, pseudo(method="POST", **how) + fields(*more))


def block(*pairs):
    return frame(HEADERS, END_STREAM | END_HEADERS, 1, fields(*pairs))


def raw_block(payload, stream=1, flags=END_STREAM | END_HEADERS):
    return frame(HEADERS, flags, stream, payload)


def data(payload=b"", stream=1, flags=0):
    return frame(DATA, flags, stream, payload)


def padded(length, payload, padding):
    return bytes([length]) + payload + b"\0" * padding


REQUEST = pseudo()
OPEN = post()  # a stream whose request goes on
ENDED = get(path="/slow?ms=3000")  # half-closed (remote): the answer is not there yet

OPENING = [
    Case("3.4", "the preface in single bytes", [get()], status(200), opening="bytewise"),
    Case("3.4", "a request before the server's SETTINGS", [], status(200), PREFACE + frame(SETTINGS, 0, 0) + get()),
    Case("3.4", "no preface", [], ended(PROTOCOL_ERROR), b"GET / HTTP/1.1\r\nHost: h2.example.com\r\n\r\n"),
    Case("3.4", "a preface with another end", [], ended(PROTOCOL_ERROR), PREFACE[:-4] + b"XX\r\n" + settings()),
    Case("3.4", "HEADERS before SETTINGS", [], goaway(PROTOCOL_ERROR), PREFACE + get()),
    Case("3.4", "PING before SETTINGS", [], goaway(PROTOCOL_ERROR), PREFACE + frame(PING, 0, 0, bytes(8))),
    Case("3.4", "WINDOW_UPDATE before SETTINGS", [], goaway(PROTOCOL_ERROR), PREFACE + window_update(0, 1)),
    Case("3.4", "an unknown frame before SETTINGS", [], goaway(PROTOCOL_ERROR), PREFACE + frame(0x42, 0, 0, b"x")),
    Case("3.4", "an acknowledgement as first SETTINGS", [], goaway(PROTOCOL_ERROR), PREFACE + frame(SETTINGS, ACK, 0)),
]

FRAMES = [
    Case("4.1", "an unknown frame type on stream 0", [frame(0x16, 0xFF, 0, b"x" * 100)], served),
    Case("4.1", "an unknown frame type on an idle stream", [frame(0xBC, 0, 5, b"x")], served),
    Case("4.1", "an unknown frame type on an open stream", [OPEN, frame(0x16, 1, 1, b"x"), data(flags=1)], status(200)),
    Case("4.1", "flags that HEADERS does not have", [get(flags=END_STREAM | END_HEADERS | 0xD2)], status(200)),
    Case("4.1", "flags that PING does not have", [frame(PING, 0xFE, 0, b"12345678")], pong(b"12345678")),
    Case("4.1", "flags that SETTINGS does not have", [frame(SETTINGS, 0xFE, 0)], served),
    Case("4.1", "the reserved bit of a stream's number", [frame(HEADERS, 5, 1 | 1 << 31, REQUEST)], status(200)),
    Case("4.2", "DATA of the greatest size", [OPEN, data(bytes(16384), flags=END_STREAM)], echo("body_bytes", 16384)),
    Case("4.2", "DATA over the greatest size", [OPEN, data(bytes(16385))], either(FRAME_SIZE_ERROR)),
    Case(
        "4.2",
        "HEADERS over the greatest size",
        [raw_block(REQUEST + literal("x", "y" * 17000))],
        goaway(FRAME_SIZE_ERROR),
    ),
    Case("4.2", "SETTINGS over the greatest size", [frame(SETTINGS, 0, 0, bytes(16386))], goaway(FRAME_SIZE_ERROR)),
    Case("4.2", "an unknown frame over the greatest size", [frame(0x42, 0, 0, bytes(16385))], goaway(FRAME_SIZE_ERROR)),
    Case("4.2", "a frame over any size", [b"\xff\xff\xff" + frame(DATA, 0, 1)[3:]], goaway(FRAME_SIZE_ERROR)),
]

COMPRESSION = [
    Case("4.3", "index 0", [raw_block(REQUEST + b"\x80")], goaway(COMPRESSION_ERROR)),
    Case("4.3", "an index beyond the tables", [raw_block(REQUEST + b"\xff\x00")], goaway(COMPRESSION_ERROR)),
    Case("4.3", "a name's index beyond the tables", [raw_block(REQUEST + b"\x7f\x00\x01x")], goaway(COMPRESSION_ERROR)),
    Case("4.3", "an integer without end", [raw_block(REQUEST + b"\xff" * 12)], goaway(COMPRESSION_ERROR)),
    Case("4.3", "a text longer than the block", [raw_block(REQUEST + b"\x00\x01x\x7f\x10y")], goaway(COMPRESSION_ERROR)),
    Case("4.3", "a field that is cut off", [raw_block(REQUEST + b"\x00\x01x")], goaway(COMPRESSION_ERROR)),
    Case("4.3", "Huffman's end of string", [raw_block(REQUEST + b"\x00\x01x\x84\xff\xff\xff\xff")], goaway(COMPRESSION_ERROR)),
    Case("4.3", "Huffman padding of zeros", [raw_block(REQUEST + b"\x00\x01x\x81\x00")], goaway(COMPRESSION_ERROR)),
    Case("4.3", "Huffman padding of a whole byte", [raw_block(REQUEST + b"\x00\x01x\x82\x1f\xff")], goaway(COMPRESSION_ERROR)),
    Case("4.3.1", "a table greater than allowed", [raw_block(b"\x3f\xe2\x1f" + REQUEST)], goaway(COMPRESSION_ERROR)),
    Case("4.3.1", "a table's new size in the middle", [raw_block(REQUEST + b"\x20")], goaway(COMPRESSION_ERROR)),
    Case("4.3.1", "a smaller table at the start", [raw_block(b"\x20" + REQUEST)], status(200)),
    Case("4.3", "an entry is there for the next request",
         [raw_block(REQUEST + indexed("x-kept", "one")), raw_block(REQUEST + b"\xbe", stream=3)],
         Outcome("echo", ("x-kept", "one"), 3)),
    Case("4.3", "an entry of a refused request is there for the next",
         [raw_block(REQUEST + indexed("x-kept", "two") + literal("connection", "close")),
          raw_block(REQUEST + b"\xbe", stream=3)],
         Outcome("echo", ("x-kept", "two"), 3)),
    Case("4.3", "an emptied table", [raw_block(REQUEST + indexed("x", "1")), raw_block(b"\x20" + REQUEST + b"\xbe", 3)],
         at_last(COMPRESSION_ERROR)),
    Case("4.3", "a block in three pieces",
         [raw_block(REQUEST[:20], flags=END_STREAM), frame(CONTINUATION, 0, 1, REQUEST[20:30]),
          frame(CONTINUATION, END_HEADERS, 1, REQUEST[30:])], status(200)),
]  # fmt: skip

PART = raw_block(REQUEST[:20], flags=END_STREAM)
REST = frame(CONTINUATION, END_HEADERS, 1, REQUEST[20:])
BLOCKS = [
    Case("4.3", "DATA within a block", [OPEN, raw_block(REQUEST[:20], 3, 1), data(b"x"), REST], goaway(PROTOCOL_ERROR)),
    Case("4.3", "PING within a block", [PART, frame(PING, 0, 0, bytes(8)), REST], goaway(PROTOCOL_ERROR)),
    Case("4.3", "HEADERS within a block", [PART, get(stream=3)], goaway(PROTOCOL_ERROR)),
    Case("4.3", "SETTINGS within a block", [PART, frame(SETTINGS, 0, 0)], goaway(PROTOCOL_ERROR)),
    Case("4.3", "RST_STREAM within a block", [PART, reset(1)], goaway(PROTOCOL_ERROR)),
    Case("4.3", "WINDOW_UPDATE within a block", [PART, window_update(0, 1)], goaway(PROTOCOL_ERROR)),
    Case("5.5", "an unknown frame within a block", [PART, frame(0x42, 0, 0, b"x"), REST], goaway(PROTOCOL_ERROR)),
    Case("4.3", "CONTINUATION of another stream", [PART, frame(CONTINUATION, 4, 3, REQUEST)], goaway(PROTOCOL_ERROR)),
    Case("6.10", "CONTINUATION on stream 0", [PART, frame(CONTINUATION, 4, 0, REQUEST[20:])], goaway(PROTOCOL_ERROR)),
    Case("6.10", "CONTINUATION of nothing", [frame(CONTINUATION, END_HEADERS, 1, REQUEST)], goaway(PROTOCOL_ERROR)),
    Case(
        "6.10", "CONTINUATION behind a whole block", [OPEN, frame(CONTINUATION, END_HEADERS, 1)], goaway(PROTOCOL_ERROR)
    ),
    Case(
        "6.10", "CONTINUATION behind DATA", [OPEN, data(b"x"), frame(CONTINUATION, 4, 1, b"")], goaway(PROTOCOL_ERROR)
    ),
    Case("6.10", "an empty CONTINUATION", [PART, frame(CONTINUATION, 0, 1), REST], status(200)),
]

# DATA on a closed stream is passed over, its window given back: nghttp2 does not tell what was on its way when it was
# reset from what should not have been sent.
STATES = [
    Case("5.1", "DATA on an idle stream", [data(b"x")], goaway(PROTOCOL_ERROR)),
    Case("5.1", "RST_STREAM on an idle stream", [reset(1)], goaway(PROTOCOL_ERROR)),
    Case("5.1", "WINDOW_UPDATE on an idle stream", [window_update(1, 10)], goaway(PROTOCOL_ERROR)),
    Case("5.1", "PRIORITY on an idle stream", [frame(PRIORITY, 0, 5, b"\0\0\0\0\x10")], served),
    Case("5.1", "DATA behind the end", [ENDED, data(b"x")], either(STREAM_CLOSED)),
    Case("5.1", "HEADERS behind the end", [ENDED, get()], either(STREAM_CLOSED)),
    Case("5.1", "WINDOW_UPDATE behind the end", [get(), window_update(1, 10)], status(200)),
    Case("5.1", "PRIORITY behind the end", [get(), frame(PRIORITY, 0, 1, b"\0\0\0\0\x10")], status(200)),
    Case("5.1", "DATA behind the client's RST_STREAM", [OPEN, reset(1), data(b"x")], served),
    Case("5.1", "HEADERS behind the client's RST_STREAM", [OPEN, reset(1), get()], either(STREAM_CLOSED)),
    Case("5.1", "RST_STREAM behind RST_STREAM", [OPEN, reset(1), reset(1)], served),
    Case("5.1", "WINDOW_UPDATE behind RST_STREAM", [OPEN, reset(1), window_update(1, 1)], served),
    Case("5.1", "DATA behind the server's RST_STREAM", [post(("te", "gzip")), data(b"x"), data(b"y")], rst(PROTOCOL_ERROR)),
    Case("5.1", "DATA behind the whole answer", [get(), "wait body 1", data(b"x")], served),
    Case("5.1", "much DATA behind the whole answer", [get(), "wait body 1"] + [data(bytes(16384))] * 100, served),
    Case("5.1", "HEADERS behind the whole answer", [get(), "wait body 1", get()], either(STREAM_CLOSED)),
    Case("5.1", "RST_STREAM behind the whole answer", [get(), "wait body 1", reset(1)], served),
    Case("5.1", "WINDOW_UPDATE behind the whole answer", [get(), "wait body 1", window_update(1, 1)], served),
    Case("5.1.1", "a stream of the server's number", [get(stream=2)], goaway(PROTOCOL_ERROR)),
    Case("5.1.1", "a number smaller than the one before", [get(stream=5), get(stream=3)], at_last(PROTOCOL_ERROR, STREAM_CLOSED)),
    Case("5.1.1", "numbers that are left out", [get(stream=7)], status(200, 7)),
    Case("5.1.1", "DATA on a number that was left out", [get(stream=7), data(b"x", 5)], status(200, 7)),
    Case("5.1.1", "HEADERS on stream 0", [get(stream=0)], goaway(PROTOCOL_ERROR)),
    Case("5.1.1", "the greatest number", [get(stream=0x7FFFFFFF)], Outcome("status", (200,), 0x7FFFFFFF, serves=False)),
    Case("5.1.2", "more streams than allowed before the SETTINGS are acknowledged",
         [post(stream=1 + 2 * n) for n in range(MAX_STREAMS + 1)], rst(REFUSED_STREAM, stream=1 + 2 * MAX_STREAMS)),
    Case("5.1.2", "more streams than allowed",
         ["wait settings", frame(SETTINGS, ACK, 0)] + [post(stream=1 + 2 * n) for n in range(MAX_STREAMS + 1)],
         either(PROTOCOL_ERROR, REFUSED_STREAM)),
    Case("5.3.1", "HEADERS with a priority", [raw_block(b"\0\0\0\0\x10" + REQUEST, flags=5 | WITH_PRIORITY)], status(200)),
    Case("5.5", "an unknown setting", [settings((0x1F, 1))], settings_ack),
]  # fmt: skip

PAYLOADS = [
    Case("6.1", "DATA on stream 0", [data(b"x", 0)], goaway(PROTOCOL_ERROR)),
    Case("6.1", "padded DATA", [OPEN, data(padded(5, b"abc", 5), flags=END_STREAM | PADDED)], echo("body", "abc")),
    Case("6.1", "DATA of padding alone", [OPEN, data(padded(9, b"", 9), flags=END_STREAM | PADDED)], echo("body", "")),
    Case("6.1", "padding as long as DATA", [OPEN, data(padded(4, b"abc", 0), flags=PADDED)], goaway(PROTOCOL_ERROR)),
    Case("6.1", "padding longer than DATA", [OPEN, data(padded(200, b"abc", 0), flags=PADDED)], goaway(PROTOCOL_ERROR)),
    Case("6.1", "padded DATA of no byte", [OPEN, data(b"", flags=PADDED)], goaway(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    Case("6.1", "empty DATA at the end", [OPEN, data(b"xy"), data(flags=END_STREAM)], echo("body", "xy")),
    Case("6.2", "padded HEADERS", [raw_block(padded(3, REQUEST, 3), flags=5 | PADDED)], status(200)),
    Case("6.2", "padding longer than HEADERS", [raw_block(padded(250, REQUEST[:80], 0), flags=5 | PADDED)], goaway(PROTOCOL_ERROR)),
    Case("6.2", "a priority that is cut off", [raw_block(b"\0\0", flags=5 | WITH_PRIORITY)], goaway(FRAME_SIZE_ERROR)),
    Case("6.3", "PRIORITY on stream 0", [frame(PRIORITY, 0, 0, bytes(5))], goaway(PROTOCOL_ERROR)),
    Case("6.3", "PRIORITY of four bytes", [OPEN, frame(PRIORITY, 0, 1, bytes(4))], either(FRAME_SIZE_ERROR)),
    Case("6.4", "RST_STREAM on stream 0", [reset(0)], goaway(PROTOCOL_ERROR)),
    Case("6.4", "RST_STREAM of three bytes", [OPEN, frame(RST_STREAM, 0, 1, bytes(3))], goaway(FRAME_SIZE_ERROR)),
    Case("6.4", "RST_STREAM of an unknown code", [OPEN, reset(1, 0xFFFF)], served),
    Case("6.5", "SETTINGS on a stream", [frame(SETTINGS, 0, 1)], goaway(PROTOCOL_ERROR)),
    Case("6.5", "SETTINGS of five bytes", [frame(SETTINGS, 0, 0, bytes(5))], goaway(FRAME_SIZE_ERROR)),
    Case("6.5", "an acknowledgement with a payload", [frame(SETTINGS, ACK, 0, bytes(6))], goaway(FRAME_SIZE_ERROR)),
    Case("6.5", "an acknowledgement too many", [frame(SETTINGS, ACK, 0)] * 2, either(PROTOCOL_ERROR)),
    Case("6.5.2", "ENABLE_PUSH of 2", [settings((2, 2))], goaway(PROTOCOL_ERROR)),
    Case("6.5.2", "an initial window over 2^31-1", [settings((4, 1 << 31))], goaway(FLOW_CONTROL_ERROR)),
    Case("6.5.2", "the greatest initial window", [settings((4, (1 << 31) - 1)), get()], status(200)),
    Case("6.5.2", "frames smaller than 16384", [settings((5, 16383))], goaway(PROTOCOL_ERROR)),
    Case("6.5.2", "frames over 2^24-1", [settings((5, 1 << 24))], goaway(PROTOCOL_ERROR)),
    Case("6.5.2", "frames of 2^24-1", [settings((5, (1 << 24) - 1)), get()], status(200)),
    Case("6.5.2", "no table for the answer's fields", [settings((1, 0)), get()], status(200)),
    Case("6.5.3", "SETTINGS are acknowledged", [], settings_ack),
    Case("6.5.3", "of two values the later is in force", [settings((4, 1 << 20), (4, 1)), get()], Outcome("window", (1,))),
    Case("6.6", "PUSH_PROMISE of a client", [OPEN, frame(PUSH_PROMISE, 4, 1, b"\0\0\0\2" + REQUEST)], goaway(PROTOCOL_ERROR)),
    Case("6.7", "PING is answered with what it had", [frame(PING, 0, 0, b"sluice!!")], pong(b"sluice!!")),
    Case("6.7", "an answer to no PING", [frame(PING, ACK, 0, bytes(8))], served),
    Case("6.7", "PING on a stream", [frame(PING, 0, 1, bytes(8))], goaway(PROTOCOL_ERROR)),
    Case("6.7", "PING of seven bytes", [frame(PING, 0, 0, bytes(7))], goaway(FRAME_SIZE_ERROR)),
    Case("6.8", "GOAWAY on a stream", [frame(GOAWAY, 0, 1, bytes(8))], goaway(PROTOCOL_ERROR)),
    Case("6.8", "GOAWAY of seven bytes", [frame(GOAWAY, 0, 0, bytes(7))], goaway(FRAME_SIZE_ERROR)),
    Case("6.8", "a request under way when the client says GOAWAY", [get(path="/slow?ms=100"), frame(GOAWAY, 0, 0, bytes(8))],
         Outcome("status", (200,), serves=False)),
]  # fmt: skip

BIG = get(path="/big?bytes=100000")
WINDOWS = [
    Case("6.9", "no WINDOW_UPDATE of 0 on a stream", [OPEN, window_update(1, 0)], either(PROTOCOL_ERROR)),
    Case("6.9", "no WINDOW_UPDATE of 0 on stream 0", [window_update(0, 0)], goaway(PROTOCOL_ERROR)),
    Case("6.9", "WINDOW_UPDATE of three bytes", [frame(WINDOW_UPDATE, 0, 0, bytes(3))], goaway(FRAME_SIZE_ERROR)),
    Case("6.9.1", "a stream's window over 2^31-1", [OPEN, window_update(1, (1 << 31) - 1)], rst(FLOW_CONTROL_ERROR)),
    Case("6.9.1", "the connection's window over 2^31-1", [window_update(0, (1 << 31) - 1)], goaway(FLOW_CONTROL_ERROR)),
    Case("6.9.1", "an answer greater than the window waits for more",
         [BIG, "wait window 65535", window_update(0, 1 << 20), window_update(1, 1 << 20)], Outcome("body", (100000,))),
    Case("6.9.1", "more than the window without an acknowledgement",
         [post(path="/held")] + [data(bytes(16384))] * 5, either(FLOW_CONTROL_ERROR)),
    Case("6.9.1", "more than the window",
         ["wait settings", frame(SETTINGS, ACK, 0), post(path="/held")] + [data(bytes(16384))] * (WINDOW // 16384 + 1),
         either(FLOW_CONTROL_ERROR)),
    Case("6.9.2", "a window of 0 holds the answer's content",
         [settings((4, 0)), BIG, "wait window 0", window_update(1, 1 << 20), window_update(0, 1 << 20)],
         Outcome("body", (100000,))),
    Case("6.9.2", "a window that becomes greater lets the answer go on",
         [settings((4, 10)), BIG, "wait window 10", settings((4, 1 << 20)), window_update(0, 1 << 20)],
         Outcome("body", (100000,))),
    Case("6.9.2", "a window that becomes negative",
         [BIG, "wait window 65535", settings((4, 0)), window_update(1, 65535), window_update(0, 1 << 20),
          frame(PING, 0, 0, b"nothing!"), "wait pong", window_update(1, 34465)], Outcome("body", (100000,))),
    Case("6.9.2", "a setting that brings a window over 2^31-1",
         [OPEN, window_update(1, (1 << 31) - 1 - 65535), settings((4, 65536))], either(FLOW_CONTROL_ERROR)),
]  # fmt: skip


def request(*pairs):
    return [frame(HEADERS, END_STREAM | END_HEADERS, 1, fields(*pairs))]


M, S, P, A = (":method", "GET"), (":scheme", "https"), (":path", "/echo"), (":authority", HOST)
MALFORMED = rst(PROTOCOL_ERROR)
BODY_OF_3 = data(b"abc", flags=END_STREAM)
MESSAGES = [
    Case("8.1", "trailers arrive",
         [OPEN, data(b"x"), raw_block(literal("x-sum", "7"))], echo("trailers", [["x-sum", "7"]])),
    Case("8.1", "trailers without the end", [OPEN, raw_block(literal("x-sum", "7"), flags=4)], either(PROTOCOL_ERROR)),
    Case("8.1", "a pseudo-field in trailers", [OPEN, raw_block(literal(":path", "/"))], MALFORMED),
    Case("8.1", "a field of one hop in trailers", [OPEN, raw_block(literal("connection", "x"))], MALFORMED),
    Case("8.1", "an answer before the request's end", [post(path="/early")], Outcome("early", (403, NO_ERROR))),
    Case("8.1.1", "less content than content-length", [post(("content-length", "4")), BODY_OF_3], MALFORMED),
    Case("8.1.1", "more content than content-length", [post(("content-length", "2")), BODY_OF_3], MALFORMED),
    Case("8.1.1", "no content, but content-length", [get(("content-length", "2"))], MALFORMED),
    Case("8.1.1", "trailers before the content is whole",
         [post(("content-length", "4")), data(b"abc"), raw_block(literal("x", "y"))], MALFORMED),
    Case("8.1.1", "content-length as it is", [post(("content-length", "3")), BODY_OF_3], echo("body", "abc")),
    Case("8.1.1", "content-length that is no number", [post(("content-length", "0x3")), BODY_OF_3], MALFORMED),
    Case("8.1.1", "content-length that is negative", [post(("content-length", "-3")), BODY_OF_3], MALFORMED),
    Case("8.1.1", "two lengths", [post(("content-length", "3"), ("content-length", "4")), BODY_OF_3], MALFORMED),
    Case("8.1.1", "the same length twice", [post(("content-length", "3"), ("content-length", "3")), BODY_OF_3], MALFORMED),
    Case("8.1.1", "a list of lengths", [post(("content-length", "3, 3")), BODY_OF_3], MALFORMED),
    Case("8.2", "an upper-case name", [get(("X-Upper", "1"))], MALFORMED),
    Case("8.2.1", "an empty name", [get(("", "1"))], MALFORMED),
    Case("8.2.1", "a space in a name", [get(("x y", "1"))], MALFORMED),
    Case("8.2.1", "a colon in a name", [get(("x:y", "1"))], MALFORMED),
    Case("8.2.1", "NUL in a name", [get(("x\0", "1"))], MALFORMED),
    Case("8.2.1", "LF in a name", [get(("x\n", "1"))], MALFORMED),
    Case("8.2.1", "DEL in a name", [get(("x\x7f", "1"))], MALFORMED),
    Case("8.2.1", "a byte beyond ASCII in a name", [get((b"x\xc3", "1"))], MALFORMED),
    Case("8.2.1", "NUL in a value", [get(("x", "a\0b"))], MALFORMED),
    Case("8.2.1", "CR in a value", [get(("x", "a\rb"))], MALFORMED),
    Case("8.2.1", "LF in a value", [get(("x", "a\nb: c"))], MALFORMED),
    Case("8.2.1", "a value that begins with a space", [get(("x", " a"))], MALFORMED),
    Case("8.2.1", "a value that ends in a tab", [get(("x", "a\t"))], MALFORMED),
    Case("8.2.1", "a tab within a value", [get(("x", "a\tb"))], echo("x", "a\tb")),
    Case("8.2.1", "bytes beyond ASCII in a value", [get(("x", b"\xc3\xa4"))], echo("x", "\xc3\xa4")),
    Case("8.2.1", "an empty value", [get(("x", ""))], echo("x", "")),
    Case("8.2.2", "connection", [get(("connection", "close"))], MALFORMED),
    Case("8.2.2", "keep-alive", [get(("keep-alive", "5"))], MALFORMED),
    Case("8.2.2", "proxy-connection", [get(("proxy-connection", "close"))], MALFORMED),
    Case("8.2.2", "transfer-encoding", [post(("transfer-encoding", "chunked")), BODY_OF_3], MALFORMED),
    Case("8.2.2", "upgrade", [get(("upgrade", "websocket"))], MALFORMED),
    Case("8.2.2", "te of more than trailers", [get(("te", "trailers, gzip"))], MALFORMED),
    Case("8.2.2", "te: trailers", [get(("te", "trailers"))], status(200)),
    Case("8.2.3", "cookies become one field", [get(("cookie", "a=1"), ("cookie", "b=2"))], echo("cookie", "a=1; b=2")),
    Case("8.3", "a pseudo-field behind others", request(M, S, P, ("x", "y"), A), MALFORMED),
    Case("8.3", "an unknown pseudo-field", request(M, S, P, A, (":sluice", "x")), MALFORMED),
    Case("8.3", "an answer's pseudo-field", request(M, S, P, A, (":status", "200")), MALFORMED),
    Case("8.3.1", "no :method", request(S, P, A), MALFORMED),
    Case("8.3.1", "no :scheme", request(M, P, A), MALFORMED),
    Case("8.3.1", "no :path", request(M, S, A), MALFORMED),
    Case("8.3.1", "two :method", request(M, M, S, P, A), MALFORMED),
    Case("8.3.1", "two :scheme", request(M, S, S, P, A), MALFORMED),
    Case("8.3.1", "two :path", request(M, S, P, P, A), MALFORMED),
    Case("8.3.1", "two :authority", request(M, S, P, A, A), MALFORMED),
    Case("8.3.1", "an empty :path", request(M, S, (":path", ""), A), MALFORMED),
    Case("8.3.1", "an empty :method", request((":method", ""), S, P, A), MALFORMED),
    Case("8.3.1", "a :method that is no token", request((":method", "GE T"), S, P, A), MALFORMED),
    Case("8.3.1", "a :path that begins elsewhere", request(M, S, (":path", "echo"), A), MALFORMED),
    Case("8.3.1", "a :path with a space", request(M, S, (":path", "/a b"), A), either(PROTOCOL_ERROR, 400)),
    Case("8.3.1", "a :path with a fragment", request(M, S, (":path", "/a#b"), A), status(400)),
    Case("8.3.1", "the :path of an absolute URI", request(M, S, (":path", f"https://{HOST}/"), A), MALFORMED),
    Case("8.3.1", "an asterisk with OPTIONS", request((":method", "OPTIONS"), S, (":path", "*"), A), status(404)),
    Case("8.3.1", "an asterisk with GET", request(M, S, (":path", "*"), A), MALFORMED),
    Case("8.3.1", "host instead of :authority", request(M, S, P, ("host", HOST)), echo("host", HOST)),
    Case("8.3.1", "the same host twice", request(M, S, P, A, ("host", HOST.upper())), echo("host", HOST)),
    Case("8.3.1", "another host", request(M, S, P, A, ("host", "b.example.com")), status(400)),
    Case("8.3.1", "two host fields", request(M, S, P, ("host", HOST), ("host", "b.example.com")), MALFORMED),
    Case("8.3.1", "no host at all", request(M, S, P), MALFORMED),
    Case("8.3.1", "an empty :authority", request(M, S, P, (":authority", "")), MALFORMED),
    Case("8.3.1", "userinfo in :authority", request(M, S, P, (":authority", f"me@{HOST}")), status(400)),
    Case("8.3.1", "a port in :authority", request(M, S, P, (":authority", f"{HOST}:443")), status(200)),
    Case("8.3.1", "another :scheme", request(M, (":scheme", "ftp"), P, A), status(400)),
    Case("8.5", "CONNECT", request((":method", "CONNECT"), (":authority", f"{HOST}:443")), status(400)),
    Case("8.5", "CONNECT with a :path", request((":method", "CONNECT"), S, P, A), MALFORMED),
    Case("8.5", "CONNECT without :authority", request((":method", "CONNECT")), MALFORMED),
    Case("9.1.2", "a host of another server", request(M, S, P, (":authority", "b.example.com")), status(421)),
]  # fmt: skip


def large_head(size):
    """A request with so many bytes of fields, in as many frames as it takes."""
    text = REQUEST
    number = 0
    while len(text) < size:
        text += literal(f"x-{number}", "y" * 1000)
        number += 1
    parts = [text[at : at + 16384] for at in range(0, len(text), 16384)]
    frames = [frame(HEADERS, END_STREAM | (END_HEADERS if len(parts) == 1 else 0), 1, parts[0])]
    frames += [frame(CONTINUATION, 0, 1, part) for part in parts[1:-1]]
    return frames + [frame(CONTINUATION, END_HEADERS, 1, part) for part in parts[1:][-1:]]


FLOODS = [
    Case("10.5", "PING without end", [frame(PING, 0, 0, bytes(8)) * 100] * 100, at_last(ENHANCE_YOUR_CALM)),
    Case("10.5", "SETTINGS without end", [frame(SETTINGS, 0, 0) * 100] * 100, at_last(ENHANCE_YOUR_CALM)),
    Case("10.5", "PRIORITY without end", [frame(PRIORITY, 0, 3, bytes(5)) * 100] * 100, at_last(ENHANCE_YOUR_CALM)),
    Case("10.5", "many unknown frames", [frame(0x42, 0, 0) * 100] * 100, served),
    Case("10.5", "empty DATA without end", [post(path="/held")] + [data() * 100] * 100, at_last(ENHANCE_YOUR_CALM)),
    Case("10.5", "streams that are reset without end",
         [get(stream=n, path="/slow?ms=50") + reset(n) for n in range(1, 4001, 2)], at_last(ENHANCE_YOUR_CALM)),
    Case("10.5", "malformed requests without end",
         [get(("te", "x"), stream=n) for n in range(1, 4001, 2)], at_last(ENHANCE_YOUR_CALM)),
    Case("10.5", "CONTINUATION without end", [PART] + [frame(CONTINUATION, 0, 1)] * 1000,
         at_last(ENHANCE_YOUR_CALM, PROTOCOL_ERROR)),
    Case("10.5", "WINDOW_UPDATE without end",
         [window_update(0, 1) * 1000] * 100, at_last(ENHANCE_YOUR_CALM)),
    Case("10.5.1", "a head over the limit", large_head(2 * MAX_HEAD), status(431)),
    Case("10.5.1", "a head far over the limit", large_head(8 * MAX_HEAD), Outcome("refused")),
    Case("10.5.1", "a head within the limit", large_head(MAX_HEAD - 3000), status(200)),
]  # fmt: skip


def connect(*more, path="/upgrade", protocol="websocket", stream=1):
    return frame(
        HEADERS,
        END_HEADERS,
        stream,
        fields((":method", "CONNECT"), (":protocol", protocol), (":scheme", "https"), (":path", path), A, *more),
    )


TUNNELS = [
    Case("8441 4", "a tunnel carries bytes both ways until either ends",
         [connect(), "wait status", data(b"one"), data(b" two", flags=END_STREAM)], Outcome("tunnel", (b"one two",))),
    Case("8441 4", "bytes before the tunnel wait for it", [connect(), data(b"early"), data(flags=END_STREAM)],
         Outcome("tunnel", (b"early",))),
    Case("8441 4", "bytes before a tunnel that is refused are no request",
         [connect(path="/echo/upgrade"), data(b"GET /status/299 HTTP/1.1\r\nHost: x\r\n\r\n")], rst(2)),
    Case("8441 4", "a server that refuses the tunnel", [connect(path="/status/403")], status(403)),
    Case("8441 4", "a server that makes something else of it", [connect(path="/hello")], rst(2)),
    Case("8441 4", "another protocol", [connect(protocol="connect-udp")], status(501)),
    Case("8441 4", ":protocol without CONNECT", request((":protocol", "websocket"), M, S, P, A), MALFORMED),
    Case("8441 4", ":protocol without :path", request((":method", "CONNECT"), (":protocol", "websocket"), S, A), MALFORMED),
    Case("8441 4", "two :protocol", [connect((":protocol", "websocket"))], MALFORMED),
]  # fmt: skip

CASES = OPENING + FRAMES + COMPRESSION + BLOCKS + STATES + PAYLOADS + WINDOWS + MESSAGES + TUNNELS + FLOODS
