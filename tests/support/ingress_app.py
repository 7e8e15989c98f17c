"""An application behind an ingress, as plain as HTTP/1.1 gets: `ingress_app.py ADDRESS:PORT...`. Each address is a server of
its own, and its name is its address. It tells what it saw, on /echo, and does what the other paths say."""
import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit


class Request:
    def __init__(self, method, target, headers, body, trailers):
        self.method, self.target, self.headers, self.body, self.trailers = method, target, headers, body, trailers
        self.path, self.query = urlsplit(target).path, parse_qs(urlsplit(target).query)

    def number(self, name, default=0):
        return int(self.query.get(name, [default])[0])


class Application:
    def __init__(self, name):
        self.name = name
        self.connections = self.requests = 0
        self.left_to_fail = 0
        self.seen = []

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while request := await self.read(reader, writer):
                self.requests += 1
                host = dict((name.lower(), value) for name, value in request.headers).get("host")
                body = request.body[:20].decode("latin-1")
                self.seen = [
                    *self.seen,
                    {"method": request.method, "target": request.target, "host": host, "body": body},
                ][-50:]
                if not await self.answer(request, reader, writer):
                    break
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def read(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
        if not head:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        headers = [tuple(line.split(": ", 1)) for line in lines]
        found = {name.lower(): value for name, value in headers}
        body, trailers = b"", []
        if target.startswith("/early"):
            return Request(method, target, headers, body, trailers)
        if found.get("transfer-encoding") == "chunked":
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                body += (await reader.readexactly(size + 2))[:-2]
            while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
                trailers.append(line.decode().strip().split(": ", 1))
        elif "content-length" in found:
            body = await reader.readexactly(int(found["content-length"]))
        return Request(method, target, headers, body, trailers)

    def send(self, writer, status, body=b"", *fields, head_only=False):
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *fields]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if head_only else body))

    async def answer(self, request, reader, writer):
        handler = getattr(self, "do_" + request.path.strip("/").split("/")[0], self.do_hello)
        return await handler(request, reader, writer) is not False

    async def do_hello(self, request, _reader, writer):
        self.send(writer, "200 OK", f"hello from {self.name}\n".encode(), head_only=request.method == "HEAD")

    async def do_echo(self, request, _reader, writer):
        seen = {
            "server": self.name,
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            "body_bytes": len(request.body),
            "body": request.body[:200].decode("latin-1"),
            "trailers": request.trailers,
            "connections": self.connections,
        }
        self.send(writer, "200 OK", json.dumps(seen).encode(), "content-type: application/json", "x-app: seen")

    async def do_copies(self, _request, _reader, writer):
        """The last requests of all connections."""
        self.send(writer, "200 OK", json.dumps(self.seen).encode())

    async def do_status(self, request, _reader, writer):
        self.send(writer, request.path.split("/")[2] + " Because", f"status of {self.name}\n".encode())

    async def do_flaky(self, request, _reader, writer):
        """Fails so many times as /fail/N said."""
        if self.left_to_fail > 0:
            self.left_to_fail -= 1
            return self.send(writer, "503 Not Now", b"flaky\n")
        self.send(writer, "200 OK", f"recovered {self.name}\n".encode())

    async def do_fail(self, request, _reader, writer):
        self.left_to_fail = int(request.path.split("/")[2])
        self.send(writer, "200 OK", b"will fail\n")

    async def do_big(self, request, _reader, writer):
        size = request.number("bytes")
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode())
        block = bytes(range(256)) * 256
        for at in range(0, size, len(block)):
            writer.write(block[: size - at])
            await writer.drain()

    async def do_chunks(self, request, _reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n")
        for number in range(request.number("count", 3)):
            text = f"chunk {number}\n".encode()
            writer.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\nx-sum: 42\r\n\r\n")

    async def do_unframed(self, _request, _reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nup to the end\n")
        return False

    async def do_early(self, _request, _reader, writer):
        self.send(writer, "403 No", b"before the body\n")
        return False

    async def do_slow(self, request, _reader, writer):
        await asyncio.sleep(request.number("ms") / 1000)
        self.send(writer, "200 OK", b"slow\n")

    async def do_cut(self, _request, _reader, writer):
        """Half an answer."""
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        return False

    async def do_nothing(self, _request, _reader, _writer):
        return False

    async def do_last(self, _request, _reader, writer):
        """Says that it keeps the connection, and closes it."""
        self.send(writer, "200 OK", b"last\n")
        return False

    async def do_upgrade(self, request, reader, writer):
        found = {name.lower(): value for name, value in request.headers}
        if "upgrade" not in found.get("connection", "").lower():
            return self.send(writer, "400 Bad Request", b"no upgrade\n")
        writer.write(
            f"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {found['upgrade']}\r\n\r\n".encode()
        )
        while data := await reader.read(4096):
            writer.write(b"echo:" + data)
            await writer.drain()
        return False


async def main(addresses):
    servers = []
    for address in addresses:
        host, port = address.rsplit(":", 1)
        servers.append(await asyncio.start_server(Application(address).serve, host, int(port), limit=1 << 20))
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
