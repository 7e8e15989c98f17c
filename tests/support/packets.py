"""Packets by hand: what no well-behaved socket would send, and reading what a capture saw."""
import dataclasses
import ipaddress
import struct

ETH_IPV4, ETH_IPV6, ETH_VLAN = 0x0800, 0x86DD, 0x8100
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _pseudo(source, destination, protocol, length):
    source, destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if source.version == 4:
        return source.packed + destination.packed + struct.pack("!BBH", 0, protocol, length)
    return source.packed + destination.packed + struct.pack("!IHBB", length, 0, 0, protocol)


def tcp(
    source,
    destination,
    sport,
    dport,
    flags=SYN,
    seq=0x01020304,
    ack=0,
    payload=b"",
    window=64240,
    options=b"",
    urgent=0,
):
    options += b"\0" * (-len(options) % 4)
    header = (
        struct.pack("!HHIIBBHHH", sport, dport, seq, ack, (5 + len(options) // 4) << 4, flags, window, 0, urgent)
        + options
    )
    total = checksum(_pseudo(source, destination, TCP, len(header) + len(payload)) + header + payload)
    return header[:16] + struct.pack("!H", total) + header[18:] + payload


def udp(source, destination, sport, dport, payload=b""):
    header = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0)
    total = checksum(_pseudo(source, destination, UDP, len(header) + len(payload)) + header + payload) or 0xFFFF
    return header[:6] + struct.pack("!H", total) + payload


def echo_request(source, destination, payload=b"", identifier=7, sequence=1):
    if ipaddress.ip_address(source).version == 4:
        body = struct.pack("!BBHHH", 8, 0, 0, identifier, sequence) + payload
        return body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    body = struct.pack("!BBHHH", 128, 0, 0, identifier, sequence) + payload
    total = checksum(_pseudo(source, destination, ICMP6, len(body)) + body)
    return body[:2] + struct.pack("!H", total) + body[4:]


def icmp_of(address):
    return ICMP if ipaddress.ip_address(address).version == 4 else ICMP6


def ip(
    source,
    destination,
    protocol,
    payload,
    ttl=64,
    identification=0,
    more_fragments=False,
    offset=0,
    options=b"",
    extension=b"",
    first_header=None,
):
    """An IPv4 or IPv6 packet. `offset` in bytes makes it a fragment (in IPv6 by a fragment header); `options` are IPv4's;
    `extension` with `first_header` puts IPv6 extension headers before the payload."""
    source, destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if source.version == 4:
        options += b"\0" * (-len(options) % 4)
        length = 20 + len(options)
        fragment = (0x2000 if more_fragments else 0) | offset // 8
        header = (
            struct.pack(
                "!BBHHHBBH", 0x40 | length // 4, 0, length + len(payload), identification, fragment, ttl, protocol, 0
            )
            + source.packed
            + destination.packed
            + options
        )
        return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload
    following = first_header if extension else protocol
    body = extension + payload
    if more_fragments or offset:
        body = struct.pack("!BBHI", following, 0, offset | (1 if more_fragments else 0), identification) + body
        following = 44
    return struct.pack("!IHBB", 0x60000000, len(body), following, ttl) + source.packed + destination.packed + body


def ethernet(to_mac, from_mac, packet, vlan=None):
    kind = ETH_IPV4 if packet[0] >> 4 == 4 else ETH_IPV6
    tag = struct.pack("!HH", ETH_VLAN, vlan) if vlan is not None else b""
    return (
        bytes.fromhex(to_mac.replace(":", ""))
        + bytes.fromhex(from_mac.replace(":", ""))
        + tag
        + struct.pack("!H", kind)
        + packet
    )


@dataclasses.dataclass
class Packet:
    """What a capture saw of one packet."""

    interface: str
    source: str
    destination: str
    protocol: int
    sport: int = 0
    dport: int = 0
    flags: int = 0
    icmp_type: int = -1
    payload: bytes = b""
    fragment: bool = False
    sequence: int = 0
    acknowledgement: int = 0
    options: bytes = b""

    def __str__(self):
        names = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMP6: "icmp6"}
        flags = "".join(
            letter for bit, letter in ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, ".")) if self.flags & bit
        )
        return (
            f"{self.interface}: {names.get(self.protocol, self.protocol)} {self.source}:{self.sport} > "
            f"{self.destination}:{self.dport} {flags} {len(self.payload)} bytes"
            f"{' fragment' if self.fragment else ''}"
        )


def parse(interface, frame):
    """A Packet, or None for what is not IP."""
    kind = int.from_bytes(frame[12:14], "big")
    body = frame[14:]
    while kind in (ETH_VLAN, 0x88A8):
        kind, body = int.from_bytes(body[2:4], "big"), body[4:]
    if kind == ETH_IPV4 and len(body) >= 20:
        length, fragment = (body[0] & 15) * 4, int.from_bytes(body[6:8], "big") & 0x3FFF
        packet = Packet(
            interface,
            str(ipaddress.IPv4Address(body[12:16])),
            str(ipaddress.IPv4Address(body[16:20])),
            body[9],
            fragment=fragment != 0,
        )
        rest, hidden = body[length : int.from_bytes(body[2:4], "big") or None], fragment & 0x1FFF
    elif kind == ETH_IPV6 and len(body) >= 40:
        packet = Packet(
            interface, str(ipaddress.IPv6Address(body[8:24])), str(ipaddress.IPv6Address(body[24:40])), body[6]
        )
        rest, hidden = body[40:], 0
        while packet.protocol in (0, 43, 44, 60) and len(rest) >= 8:
            if packet.protocol == 44:
                packet.fragment, hidden = True, int.from_bytes(rest[2:4], "big") & 0xFFF8
                packet.protocol, rest = rest[0], rest[8:]
            else:
                packet.protocol, rest = rest[0], rest[8 + rest[1] * 8 :]
    else:
        return None
    if hidden:
        packet.payload = rest
    else:
        _transport(packet, rest)
    return packet


def _transport(packet, rest):
    if packet.protocol == TCP and len(rest) >= 20:
        packet.sport, packet.dport, packet.flags = *struct.unpack("!HH", rest[:4]), rest[13]
        packet.sequence, packet.acknowledgement = struct.unpack("!II", rest[4:12])
        packet.options = rest[20 : (rest[12] >> 4) * 4]
        packet.payload = rest[(rest[12] >> 4) * 4 :]
    elif packet.protocol == UDP and len(rest) >= 8:
        packet.sport, packet.dport = struct.unpack("!HH", rest[:4])
        packet.payload = rest[8:]
    elif packet.protocol in (ICMP, ICMP6) and len(rest) >= 4:
        packet.icmp_type, packet.payload = rest[0], rest[4:]
    else:
        packet.payload = rest
