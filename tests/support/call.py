"""A client for pods: call.py tcp|udp ADDRESS PORT. Prints "served" (the peer spoke), "refused" (at once), or what else."""
import socket
import sys
import time

AT_ONCE_S = 0.5


def main(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    start = time.monotonic()
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        try:
            sock.connect((address, int(port)))
            if kind == "udp":
                sock.send(b"anybody?")
            return "served" if sock.recv(1000) else "closed"
        except ConnectionRefusedError:
            took = time.monotonic() - start
            return "refused" if took < AT_ONCE_S else f"refused after {took:.1f} s"
        except OSError as error:
            return f"{type(error).__name__} after {time.monotonic() - start:.1f} s"


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
