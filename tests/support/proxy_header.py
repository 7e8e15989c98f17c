"""PROXY protocol version 2 headers as agents send them (agent/wire/proxy_v2.h), true and false ones."""
import hashlib
import hmac
import ipaddress
import os
import struct
import time

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
SEAL, GATEWAY_PORT, HOP_SOURCE = 0xE9, 0xE7, 0xE8
TEXTS = {
    "authority": 0x02,
    "node": 0xE0,
    "pod_namespace": 0xE1,
    "pod_name": 0xE2,
    "service_account": 0xE3,
    "rule": 0xE4,
    "connection_id": 0xE5,
    "gateway": 0xE6,
}
MAC_BYTES = 32


def value(kind, data):
    return struct.pack("!BH", kind, len(data)) + data


def now_ms():
    return time.time_ns() // 1_000_000


def key_id(key):
    """Of a key of 64 hexadecimal digits, as key files have them."""
    return hashlib.sha256(bytes.fromhex(key)).digest()[:4]


def encode(source, destination, hop_source=None, gateway_port=0, key=None, claimed_key=None, signed_ms=None, **texts):
    """Bytes of a header; addresses are (text, port). With `key` it is signed; `claimed_key` is the one it names, when
    that is another. `more` in texts: bytes of further values, before the signature."""
    more = texts.pop("more", b"")
    ends = [ipaddress.ip_address(address) for address, _ in (source, destination)]
    family = 0x11 if all(end.version == 4 for end in ends) else 0x21
    out = b"".join(end.packed for end in ends) + struct.pack("!HH", source[1], destination[1])
    for name, text in texts.items():
        out += value(TEXTS[name], text.encode()) if text else b""
    if gateway_port:
        out += value(GATEWAY_PORT, struct.pack("!H", gateway_port))
    if hop_source:
        address = ipaddress.ip_address(hop_source[0])
        mapped = address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
        out += value(HOP_SOURCE, mapped + struct.pack("!H", hop_source[1]))
    out += more
    if key:
        stamp = key_id(claimed_key or key) + struct.pack("!Q", now_ms() if signed_ms is None else signed_ms)
        out += value(SEAL, b"\1" + stamp + os.urandom(16) + bytes(MAC_BYTES))
    out = SIGNATURE + struct.pack("!BBH", 0x21, family, len(out)) + out
    return seal(out, key) if key else out


def seal(header, key):
    """The header with its last bytes made the MAC of all before."""
    signed = header[:-MAC_BYTES]
    return signed + hmac.digest(bytes.fromhex(key), signed, "sha256")
