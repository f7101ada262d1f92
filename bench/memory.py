"""Bytes a key: resident growth and used_memory while keys of 16 bytes are added, for values of several sizes."""

import socket
from dataclasses import dataclass

from bench.servers import Server

BATCH = 1000


@dataclass(frozen=True)
class Bytes:
    """Bytes a key, key and value included."""

    rss: float
    used: float


def _exchange(port: int, requests: bytes, replies: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        sock.sendall(requests)
        data = b""
        while data.count(b"\r\n") < replies:
            data += sock.recv(65536)
        return data


def info_field(port: int, section: str, name: str) -> str:
    """One field of INFO."""
    data = _exchange(port, f"INFO {section}\r\n".encode(), 3)
    for line in data.decode().splitlines():
        if line.startswith(name + ":"):
            return line.split(":", 1)[1]
    raise SystemExit(f"INFO {section} shows no {name}")


def _used(port: int) -> int:
    return int(info_field(port, "memory", "used_memory"))


def fill(server: Server, keys: int, size: int) -> Bytes:
    """Add `keys` keys with values of `size` bytes to an empty server; it holds them afterwards."""
    _exchange(server.port, b"FLUSHALL SYNC\r\n", 1)
    rss, used = server.rss(), _used(server.port)
    value = b"v" * size
    for first in range(0, keys, BATCH):
        batch = b"".join(
            b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%b\r\n" % (i, size, value)
            for i in range(first, min(first + BATCH, keys))
        )
        _exchange(server.port, batch, min(BATCH, keys - first))
    return Bytes((server.rss() - rss) / keys, (_used(server.port) - used) / keys)
