"""ClientHellos, ordinary and odd, and a TLS client whose first bytes may be cut as one likes."""
import os
import socket
import ssl
import struct
import time

ALERTS = {
    40: "handshake_failure",
    47: "illegal_parameter",
    49: "access_denied",
    50: "decode_error",
    80: "internal_error",
    112: "unrecognized_name",
}
X25519, MLKEM = 0x001D, 0x11EC


def _vector(data, width):
    return len(data).to_bytes(width, "big") + data


def extension(number, data):
    return struct.pack("!H", number) + _vector(data, 2)


def sni(*names):
    """server_name with these host_name entries (bytes or text), in one list."""
    entries = b"".join(b"\0" + _vector(n if isinstance(n, bytes) else n.encode(), 2) for n in names)
    return extension(0, _vector(entries, 2))


def key_shares(*shares):
    return extension(51, _vector(b"".join(struct.pack("!H", group) + _vector(key, 2) for group, key in shares), 2))


def client_hello(names=(), share_bytes=0, extra=b"", alpn=("http/1.1",), record_version=0x0301, pad_bytes=0):
    """The handshake message of a TLS 1.3 hello that a real server answers with a ServerHello. `share_bytes` adds a key
    share of that size before the x25519 one, as post-quantum groups do."""
    shares = [(MLKEM, os.urandom(share_bytes))] if share_bytes else []
    # Any 32 bytes are an x25519 public key.
    shares.append((X25519, os.urandom(32)))
    extensions = (sni(*names) if names else b"") + extension(10, _vector(struct.pack("!HHH", MLKEM, X25519, 23), 2))
    extensions += extension(13, _vector(struct.pack("!HHHH", 0x0403, 0x0804, 0x0401, 0x0806), 2))
    extensions += extension(43, _vector(struct.pack("!HH", 0x0304, 0x0303), 1))
    extensions += extension(11, b"\1\0") + extension(45, b"\1\1") + key_shares(*shares) + extra
    if alpn:
        extensions += extension(16, _vector(b"".join(_vector(a.encode(), 1) for a in alpn), 2))
    if pad_bytes:
        extensions += extension(21, bytes(pad_bytes))
    body = struct.pack("!H", 0x0303) + os.urandom(32) + _vector(os.urandom(32), 1)
    body += _vector(struct.pack("!HHHHH", 0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F), 2) + b"\1\0" + _vector(extensions, 2)
    return b"\1" + _vector(body, 3)


def records(message, sizes=(), version=0x0301):
    """The handshake message cut in records of these sizes; the rest, if any, in records of at most 16384 bytes."""
    out, sizes = b"", list(sizes)
    while message:
        size = sizes.pop(0) if sizes else 16384
        part, message = message[:size], message[size:]
        out += struct.pack("!BH", 22, version) + _vector(part, 2)
    return out


def reframe(data, sizes):
    """Handshake records on the wire, cut anew in records of these sizes."""
    message = b""
    while data:
        length = int.from_bytes(data[3:5], "big")
        message, data = message + data[5 : 5 + length], data[5 + length :]
    return records(message, sizes)


def answer(sock, timeout_s=5.0):
    """How the peer answers a hello: "server_hello", "alert <name>", "closed", "reset" or "other <hex>"."""
    sock.settimeout(timeout_s)
    data = b""
    try:
        while len(data) < 7:
            more = sock.recv(7 - len(data))
            if not more:
                break
            data += more
    except ConnectionResetError:
        return "reset"
    if not data:
        return "closed"
    if data[0] == 21 and len(data) >= 7:
        return f"alert {ALERTS.get(data[6], data[6])}"
    if data[0] == 22 and data[5] == 2:
        return "server_hello"
    return f"other {data.hex()}"


class TlsClient:
    """TLS over a connected socket, by memory BIOs: `shape(bytes) -> list of chunks` cuts the first flight."""

    def __init__(self, sock, name, ca=None, shape=None, alpn=("http/1.1",), check=True):
        context = ssl.create_default_context(cafile=ca)
        context.check_hostname = False
        if not check:
            context.verify_mode = ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols(list(alpn))
        self.sock, self._in, self._out = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        self._shape = shape
        self._loop(self._tls.do_handshake)

    def _flush(self):
        data = self._out.read()
        if not data:
            return
        chunks, self._shape = (self._shape(data) if self._shape else [data]), None
        if len(chunks) > 1:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for chunk in chunks:
            self.sock.sendall(chunk)

    def _loop(self, step):
        while True:
            try:
                result = step()
                self._flush()
                return result
            except ssl.SSLWantReadError:
                self._flush()
                data = self.sock.recv(65536)
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()

    def served_names(self):
        """The DNS names of the certificate that the server showed."""
        return [value for kind, value in self._tls.getpeercert().get("subjectAltName", ()) if kind == "DNS"]

    def send(self, data):
        self._loop(lambda: self._tls.write(data))

    def recv(self, size=65536):
        try:
            return self._loop(lambda: self._tls.read(size))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def get(self, host, path="/"):
        """One HTTP/1.1 request with Connection: close; the whole answer."""
        self.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        out = b""
        while data := self.recv():
            out += data
        return out


def one_byte_segments(data):
    return [data[i : i + 1] for i in range(len(data))]


def three_records(data):
    third = max(1, (len(data) - 5) // 3)
    return [reframe(data, (third, third))]


def milliseconds_since(start):
    return (time.monotonic() - start) * 1000
