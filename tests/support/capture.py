"""What passed an interface, by AF_PACKET sockets, without sleeping for luck.

A capture is read up to its markers: datagrams that the lab sends, after the call in question, down the same path from
every CPU. veth queues are first in, first out per CPU, so when all markers have arrived, so has all that went before.
"""
import os
import select
import socket
import struct
import time

from namespaces import inside
from packets import ICMP6, SYN, TCP, Packet, parse

MARKER_PORT = 9
SNAP_BYTES = 4096
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_ETH_P_ALL = 0x0003
_SO_RCVBUFFORCE = 33
_next_marker = 0


class Capture:
    """Packets of some interfaces of one namespace, incoming and outgoing."""

    def __init__(self, namespace, interfaces):
        self._sockets = {}
        self._packets = []
        with inside(namespace):
            for interface in interfaces:
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
                sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
                sock.bind((interface, _ETH_P_ALL))
                sock.setblocking(False)
                self._sockets[interface] = sock

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for sock in self._sockets.values():
            sock.close()
        self._sockets = {}

    def _drain(self, interface):
        while True:
            try:
                frame = self._sockets[interface].recv(SNAP_BYTES)
            except BlockingIOError:
                return
            packet = parse(interface, frame)
            if packet is not None and not _is_noise(packet):
                self._packets.append(packet)

    def read_until(self, marker, count, interface, timeout_s=5.0):
        """Reads until `count` datagrams with the payload `marker` came in by `interface`."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.drain()
            if sum(p.payload == marker and p.interface == interface for p in self._packets) >= count:
                break
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"marker did not arrive at {interface} within {timeout_s} s")
            select.select(list(self._sockets.values()), [], [], left)
        for name, sock in self._sockets.items():
            seen, dropped = struct.unpack("II", sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
            if dropped:
                raise AssertionError(f"capture on {name} lost {dropped} of {seen} packets: nothing can be said")

    def drain(self):
        """Reads what has arrived by now; all packets so far."""
        for name in self._sockets:
            self._drain(name)
        return self.packets()

    def packets(self):
        """What was read so far, markers left out."""
        return [p for p in self._packets if p.dport != MARKER_PORT or p.protocol != 17]


def send_markers(namespace, destinations):
    """Sends one marker from each CPU to each address; {address: (payload, count)}."""
    global _next_marker
    sent = {}
    cpus = os.sched_getaffinity(0)
    try:
        with inside(namespace):
            for destination in destinations:
                _next_marker += 1
                payload = f"marker {os.getpid()} {_next_marker}".encode()
                family = socket.AF_INET6 if ":" in destination else socket.AF_INET
                with socket.socket(family, socket.SOCK_DGRAM) as sock:
                    for cpu in cpus:
                        os.sched_setaffinity(0, {cpu})
                        sock.sendto(payload, (destination, MARKER_PORT))
                sent[destination] = (payload, len(cpus))
    finally:
        os.sched_setaffinity(0, cpus)
    return sent


def _is_noise(packet: Packet):
    """Neighbour discovery, router solicitation and multicast reports: the link's own talk."""
    return packet.protocol == ICMP6 and packet.icmp_type in (130, 131, 132, 133, 134, 135, 136, 143)


def is_syn(packet):
    return packet.protocol == TCP and packet.flags & (SYN | 16) == SYN
