"""The outside's servers besides nginx: run as a program inside its namespace.

usage: outside_services.py EVENTS ADDRESSES PORTS   (comma-separated; on the TCP ports nobody is registered)

EVENTS gets one JSON object a line: {"what": ..., "port": ..., "peer": ..., ...}. "ready" comes first.
"""
import asyncio
import hashlib
import json
import socket
import struct
import sys

DATABASE, MAIL, BACKEND = 5432, 587, 8081
UDP_ECHO = (443, 53, 123, 5000)
DISCARD = 9
BANNER = b"READY sluice-database\n"
PATTERN = bytes(range(256)) * 256


class Services:
    def __init__(self, events):
        self._events = open(events, "a", buffering=1)

    def tell(self, what, **facts):
        self._events.write(json.dumps({"what": what, **facts}) + "\n")

    # A server that speaks first. Commands: "ECHO" (echo until end, then "BYE <bytes> <sha256>"), "SEND n", "RESET",
    # "COUNT" (read until end, then the digest).
    async def database(self, reader, writer):
        peer = writer.get_extra_info("peername")[0]
        self.tell("database", peer=peer)
        try:
            writer.write(BANNER)
            command, _, argument = (await reader.readline()).decode().strip().partition(" ")
            if command in ("ECHO", "COUNT"):
                await self._echo(reader, writer, command == "ECHO")
            elif command == "SEND":
                await self._send(writer, int(argument))
            elif command == "RESET":
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return
            self.tell("database_end", peer=peer, command=command)
        except ConnectionResetError:
            self.tell("database_reset", peer=peer)
        finally:
            writer.close()

    async def _echo(self, reader, writer, back):
        digest, count = hashlib.sha256(), 0
        while data := await reader.read(65536):
            digest.update(data)
            count += len(data)
            if back:
                writer.write(data)
                await writer.drain()
        writer.write(f"BYE {count} {digest.hexdigest()}\n".encode())
        await writer.drain()

    async def _send(self, writer, count):
        while count:
            part = PATTERN[:count]
            writer.write(part)
            await writer.drain()
            count -= len(part)

    async def mail(self, reader, writer):
        writer.write(b"220 mail.partner.example ESMTP\r\n")
        while line := await reader.readline():
            if line.upper().startswith(b"QUIT"):
                writer.write(b"221 bye\r\n")
                break
            writer.write(b"250 " + line)
        writer.close()

    # Behind nginx: /digest (sha256 of the body), /bytes/N, /upgrade (echo after 101), /reset.
    async def backend(self, reader, writer):
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _request(self, reader, writer):
        line = (await reader.readline()).decode().split()
        if len(line) < 3:
            return False
        fields = {}
        while field := (await reader.readline()).decode().strip():
            name, _, value = field.partition(":")
            fields[name.lower()] = value.strip()
        if line[1].startswith("/upgrade"):
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            return False
        if line[1].startswith("/reset"):
            writer.transport.abort()
            return False
        digest, left = hashlib.sha256(), int(fields.get("content-length", 0))
        size = left
        while left:
            data = await reader.readexactly(min(left, 65536))
            digest.update(data)
            left -= len(data)
        if line[1].startswith("/bytes/"):
            count = int(line[1].rsplit("/", 1)[1])
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n".encode())
            if line[0] != "HEAD":
                await self._send(writer, count)
            return True
        if line[1].startswith("/chunked/"):
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for part in line[1].rsplit("/", 1)[1].split(","):
                writer.write(f"{len(part):x}\r\n{part}\r\n".encode())
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            return True
        body = f"{size} {digest.hexdigest()}\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        return True

    def sink(self, port):
        async def handle(reader, writer):
            peer = writer.get_extra_info("peername")[0]
            self.tell("sink_open", port=port, peer=peer)
            try:
                while data := await reader.read(65536):
                    self.tell("sink_bytes", port=port, peer=peer, text=data[:200].decode("latin1"))
                    writer.write(data)
            except ConnectionResetError:
                pass
            finally:
                writer.close()

        return handle


class UdpEcho(asyncio.DatagramProtocol):
    def __init__(self, services, port):
        self._services, self._port = services, port

    def connection_made(self, transport):
        self._transport = transport

    def datagram_received(self, data, address):
        if self._port != DISCARD:
            self._services.tell("udp", port=self._port, peer=address[0])
            self._transport.sendto(data, address)


async def main(events, addresses, sinks):
    services = Services(events)
    loop = asyncio.get_running_loop()
    tcp = {DATABASE: services.database, MAIL: services.mail, **{port: services.sink(port) for port in sinks}}
    for port, handler in tcp.items():
        for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            await asyncio.start_server(handler, host, port, family=family, backlog=1024)
    await asyncio.start_server(services.backend, "127.0.0.1", BACKEND, backlog=1024)
    await loop.create_datagram_endpoint(lambda: UdpEcho(services, DISCARD), ("::", DISCARD))  # both families
    for port in UDP_ECHO:
        for host in addresses:  # each by itself: an answer must come from the address that was asked
            await loop.create_datagram_endpoint(lambda port=port: UdpEcho(services, port), (host, port))
    services.tell("ready")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2].split(","), [int(port) for port in sys.argv[3].split(",")]))
