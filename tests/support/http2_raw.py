"""HTTP/2 (RFC 9113) by the frame, right or wrong: what a library would refuse to send."""
import struct

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
(
    NO_ERROR,
    PROTOCOL_ERROR,
    INTERNAL_ERROR,
    FLOW_CONTROL_ERROR,
    SETTINGS_TIMEOUT,
    STREAM_CLOSED,
    FRAME_SIZE_ERROR,
    REFUSED_STREAM,
    CANCEL,
    COMPRESSION_ERROR,
    CONNECT_ERROR,
    ENHANCE_YOUR_CALM,
) = range(12)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(*entries):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *entry) for entry in entries))


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def reset(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def _string(value):
    text = value if isinstance(value, bytes) else value.encode()
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest = len(text) - 127
    size = b"\x7f"
    while rest >= 128:
        size += bytes([rest % 128 + 128])
        rest //= 128
    return size + bytes([rest]) + text


def literal(name, value):
    """One field, neither indexed nor compressed (RFC 7541 section 6.2.2)."""
    return b"\x00" + _string(name) + _string(value)


def indexed(name, value):
    """One field that goes into the dynamic table (RFC 7541 section 6.2.1)."""
    return b"\x40" + _string(name) + _string(value)


def fields(*pairs):
    return b"".join(literal(name, value) for name, value in pairs)


class Session:
    """Frames over a socket of TLS, as they are. `opening`: what is sent first."""

    def __init__(self, sock, opening=PREFACE + frame(SETTINGS, 0, 0)):
        self.sock = sock
        self.rest = b""
        self.decoder = hpack.Decoder()
        self.sock.sendall(opening)

    def send(self, *frames):
        self.sock.sendall(b"".join(frames))

    def frames(self):
        """What comes, until the end."""
        while True:
            while len(self.rest) >= 9:
                size = int.from_bytes(self.rest[:3], "big")
                if len(self.rest) < 9 + size:
                    break
                kind, flags = self.rest[3], self.rest[4]
                stream = int.from_bytes(self.rest[5:9], "big") & 0x7FFFFFFF
                payload, self.rest = self.rest[9 : 9 + size], self.rest[9 + size :]
                yield kind, flags, stream, payload
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                return
            if not data:
                return
            self.rest += data

    def first(self, *kinds, stream=None):
        for kind, flags, on, payload in self.frames():
            if kind in kinds and stream in (None, on):
                return kind, flags, on, payload
        return None

    def error(self):
        """The code of the RST_STREAM or GOAWAY that comes next; None: the connection just ended."""
        found = self.first(RST_STREAM, GOAWAY)
        if found is None:
            return None
        return int.from_bytes(found[3][0:4] if found[0] == RST_STREAM else found[3][4:8], "big")

    def events(self):
        """What comes until the end, in the words of a test: (what, stream, value)."""
        body = {}
        for kind, flags, stream, payload in self.frames():
            if kind == HEADERS:
                got = dict(self.decoder.decode(payload))
                if ":status" in got:
                    yield "status", stream, int(got[":status"])
                body.setdefault(stream, b"")
            elif kind == DATA:
                body[stream] += payload
                yield "data", stream, len(body[stream])
            elif kind == RST_STREAM:
                yield "reset", stream, int.from_bytes(payload, "big")
            elif kind == GOAWAY:
                yield "goaway", 0, int.from_bytes(payload[4:8], "big")
            elif kind == PING and flags & ACK:
                yield "pong", 0, payload
            elif kind == SETTINGS and flags & ACK:
                yield "settings_ack", 0, b""
            elif kind == SETTINGS:
                yield "settings", 0, payload
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                yield "body", stream, body[stream]
        yield "end", 0, b""
