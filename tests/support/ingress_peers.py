"""Both ends of WebSocket and of gRPC for an ingress between them, by the Python libraries of Debian:
ingress_peers.py websocket-serve ADDRESS PORT
ingress_peers.py websocket-call HOST PORT CA TEXT...     each text is sent and its echo printed
ingress_peers.py grpc-serve ADDRESS PORT
ingress_peers.py grpc-call HOST PORT CA                  every kind of call; prints what came of them as JSON
Calls go to 127.0.0.1 and name HOST. gRPC messages are plain bytes, so that nothing has to be generated."""
import asyncio
import concurrent.futures
import json
import queue
import ssl
import sys
import threading

SERVICE = "sluice.Echo"
LARGE = 3_000_000


async def serve_websockets(address, port):
    import websockets

    async def echo(socket, path):
        async for message in socket:
            await socket.send(f"{path} {message}" if isinstance(message, str) else message)

    async with websockets.serve(echo, address, int(port), max_size=None):
        await asyncio.Future()


async def call_websocket(host, port, ca, *texts):
    import websockets

    context = ssl.create_default_context(cafile=ca)
    # Host and port of the socket: the name is in the URI.
    options = {"host": "127.0.0.1", "port": int(port), "ssl": context, "server_hostname": host, "max_size": None}
    async with websockets.connect(f"wss://{host}:{port}/chat", **options) as socket:
        for text in texts:
            await socket.send(text)
            print(await socket.recv())
        await socket.send(bytes(LARGE))
        print(len(await socket.recv()))
        await (await socket.ping())


def serve_grpc(address, port):
    import grpc

    def unary(request, context):
        context.set_trailing_metadata([("x-seen-by", "server")])
        return request

    def fail(_request, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

    def sleep(_request, context):
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait()
        return b""

    def count(request, _context):
        for number in range(int(request)):
            yield str(number).encode()

    def add_up(requests, _context):
        return str(sum(len(request) for request in requests)).encode()

    def converse(requests, _context):
        for request in requests:
            yield b"re: " + request

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "AddUp": grpc.stream_unary_rpc_method_handler(add_up),
        "Converse": grpc.stream_stream_rpc_method_handler(converse),
    }
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    server.add_insecure_port(f"{address}:{port}")
    server.start()
    server.wait_for_termination()


def converse(channel, turns):
    """Sends each message only when the one before was answered."""
    to_send = queue.Queue()
    answers = channel.stream_stream(f"/{SERVICE}/Converse")(iter(to_send.get, None), timeout=20)
    heard = []
    for turn in range(turns):
        to_send.put(f"turn {turn}".encode())
        heard.append(next(answers).decode())
    to_send.put(None)
    return heard + [item.decode() for item in answers]


def call_grpc(host, port, ca):
    import grpc

    with open(ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options = [("grpc.ssl_target_name_override", host), ("grpc.default_authority", host)]
    channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials, options)

    def status_of(method, timeout):
        try:
            channel.unary_unary(f"/{SERVICE}/{method}")(b"", timeout=timeout)
        except grpc.RpcError as error:
            return [error.code().name, error.details()]

    answer, call = channel.unary_unary(f"/{SERVICE}/Unary").with_call(bytes(LARGE), timeout=20)
    result = {
        "unary": len(answer),
        "trailers": dict(call.trailing_metadata()),
        "count": [item.decode() for item in channel.unary_stream(f"/{SERVICE}/Count")(b"100", timeout=20)],
        "sum": channel.stream_unary(f"/{SERVICE}/AddUp")(iter([bytes(10_000)] * 100), timeout=20).decode(),
        "conversation": converse(channel, 20),
        "failure": status_of("Fail", 20),
        "unknown": status_of("Absent", 20),
        "deadline": status_of("Sleep", 0.2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "websocket-serve":
        asyncio.run(serve_websockets(*rest))
    elif what == "websocket-call":
        asyncio.run(call_websocket(*rest))
    elif what == "grpc-serve":
        serve_grpc(*rest)
    else:
        call_grpc(*rest)
