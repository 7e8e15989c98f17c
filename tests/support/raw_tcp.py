"""A TCP client by hand: every segment is the caller's, so that it may be what no kernel would send."""
import random
import socket

import hello
import packets
from namespaces import inside, run, wait_for
from packets import ACK, FIN, PSH, RST, SYN, TCP

MSS_1460 = b"\x02\x04\x05\xb4"
_MASK = 0xFFFFFFFF


def silence_kernel(pod):
    """Makes the pod's own TCP deaf: without addresses it neither answers nor resets what comes."""
    for version in (4, 6):
        run("ip", "-n", pod.netns, f"-{version}", "addr", "flush", "dev", "eth0", "scope", "global")


class RawCall:
    """One connection of a pod whose own TCP is deaf (silence_kernel). Offsets count the bytes after the SYN."""

    def __init__(self, pod, address, port, source_port, first=None):
        self.pod, self.address, self.port, self.source_port = pod, address, port, source_port
        self.source = pod.address(6 if ":" in address else 4)
        self.first = (random.getrandbits(32) if first is None else first) & _MASK  # number of the first byte
        self.acknowledged = 0  # the number that the peer's next byte has
        self._received = {}
        self._expected = None
        self._capture = pod.capture()
        # Of its own: entering a namespace for each segment takes longer than the segment.
        with inside(pod.netns):
            self._sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._sender.bind(("eth0", 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Says nothing to the peer."""
        self._capture.close()
        self._sender.close()

    def send(self, payload=b"", offset=0, flags=ACK | PSH, ack=None, options=b"", urgent=0, window=64240):
        """One segment."""
        segment = packets.tcp(
            self.source,
            self.address,
            self.source_port,
            self.port,
            flags,
            seq=(self.first + offset) & _MASK,
            ack=(self.acknowledged if ack is None else ack) & _MASK if flags & ACK else 0,
            payload=payload,
            options=options,
            urgent=urgent,
            window=window,
        )
        packet = packets.ip(self.source, self.address, TCP, segment)
        self._sender.send(packets.ethernet(self.pod.host_mac, self.pod.mac, packet))

    def send_syn(self, payload=b"", options=MSS_1460):
        self.send(payload, offset=-1, flags=SYN, options=options)

    def connect(self, payload=b"", options=MSS_1460):
        """The three segments of the handshake."""
        self.send_syn(payload, options)
        return self.finish_handshake()

    def finish_handshake(self):
        answer = self.wait_for("the SYN-ACK", lambda p: p.flags & (SYN | RST))
        assert answer.flags & SYN, "the SYN was answered with RST"
        assert answer.acknowledgement == self.first, "a SYN's payload counts for nothing"
        self.acknowledged = self._expected = (answer.sequence + 1) & _MASK
        self.send(flags=ACK)
        return answer

    def seen(self):
        """What came for it so far."""
        return [
            p
            for p in self._capture.drain()
            if p.protocol == TCP
            and (p.source, p.sport, p.destination, p.dport) == (self.address, self.port, self.source, self.source_port)
        ]

    def wait_for(self, what, wanted, timeout_s=5.0):
        return wait_for(what, lambda: [p for p in self.seen() if wanted(p)], timeout_s)[0]

    def wait_acknowledged(self, offset):
        """The peer has what is before the offset."""
        number = (self.first + offset) & _MASK
        return self.wait_for(
            f"byte {offset} to be acknowledged", lambda p: p.flags & ACK and p.acknowledgement == number
        )

    def received(self):
        """The peer's bytes without a gap, which are acknowledged."""
        stream = bytearray()
        for packet in self.seen():
            if packet.flags & (SYN | RST) or self._expected is None:
                continue
            begin = ((packet.sequence - self._expected + 0x80000000) & _MASK) - 0x80000000
            if 0 <= begin and packet.payload:
                self._received[begin] = max(self._received.get(begin, b""), packet.payload, key=len)
        for begin in sorted(self._received):
            if begin > len(stream):
                break
            stream[begin : begin + len(self._received[begin])] = self._received[begin]
        number = (self._expected + len(stream)) & _MASK
        if number != self.acknowledged:
            self.acknowledged = number
            self.send(flags=ACK, offset=self.acknowledged_bytes())
        return bytes(stream)

    def acknowledged_bytes(self):
        """Of this side's, by the peer's newest segment."""
        acknowledged = [p.acknowledgement for p in self.seen() if p.flags & ACK]
        return (acknowledged[-1] - self.first) & _MASK if acknowledged else 0

    def answer(self, timeout_s=5.0):
        """How a hello was answered: "server_hello", "alert NAME" or "reset"."""

        def probe():
            flags = {bit for p in self.seen() for bit in (RST, FIN) if p.flags & bit}
            data = self.received()  # after the flags: with the end its bytes are there
            if len(data) >= 7 and data[0] == 22 and data[5] == 2:
                return "server_hello"
            if len(data) >= 7 and data[0] == 21:
                return f"alert {hello.ALERTS.get(data[6], data[6])}"
            return "reset" if RST in flags else "closed" if FIN in flags else None

        return wait_for("an answer to the hello", probe, timeout_s)

    def reset(self, offset=0):
        self.send(flags=RST, offset=offset)
