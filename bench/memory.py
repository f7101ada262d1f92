"""Bytes a key, and bytes an element of a collection: growth of resident and of used memory while they are added."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import hiredis

from bench.servers import Server

BATCH = 1000


@dataclass(frozen=True)
class Bytes:
    """Bytes a key, key and value included."""

    rss: float
    used: float


def exchange(port: int, requests: bytes, replies: int) -> bytes:
    """Send requests and read so many replies; returns the last one that is a string."""
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    last = b""
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        sock.sendall(requests)
        while replies:
            reader.feed(sock.recv(65536))
            while replies and (reply := reader.gets()) is not Ellipsis:
                if isinstance(reply, hiredis.ReplyError):
                    raise SystemExit(f"a server under measurement answered {reply}")
                last = reply if isinstance(reply, bytes) else last
                replies -= 1
    return last


def info_field(port: int, section: str, name: str) -> str:
    """One field of INFO."""
    data = exchange(port, f"INFO {section}\r\n".encode(), 1)
    for line in data.decode().splitlines():
        if line.startswith(name + ":"):
            return line.split(":", 1)[1]
    raise SystemExit(f"INFO {section} shows no {name}")


def _used(port: int) -> int:
    return int(info_field(port, "memory", "used_memory"))


def encoded(words: list[bytes]) -> bytes:
    """A command as clients send it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _measure(server: Server, commands: Iterator[list[bytes]], units: int) -> Bytes:
    """Run commands on an empty server; the growth divided by `units`."""
    exchange(server.port, b"FLUSHALL SYNC\r\n", 1)
    rss, used = server.rss(), _used(server.port)
    batch: list[bytes] = []
    for words in commands:
        batch.append(encoded(words))
        if len(batch) == BATCH:
            exchange(server.port, b"".join(batch), BATCH)
            batch = []
    if batch:
        exchange(server.port, b"".join(batch), len(batch))
    return Bytes((server.rss() - rss) / units, (_used(server.port) - used) / units)


def fill(server: Server, keys: int, size: int) -> Bytes:
    """Add `keys` keys with values of `size` bytes to an empty server; it holds them afterwards."""
    value = b"v" * size
    return _measure(server, ([b"SET", b"key:%012d" % i, value] for i in range(keys)), keys)


# How one element is added to a collection of a type.
ADD: dict[str, Callable[[bytes, int], list[bytes]]] = {
    "hash": lambda key, i: [b"HSET", key, b"field:%06d" % i, b"value:%02d" % (i % 100)],
    "set": lambda key, i: [b"SADD", key, b"member:%06d" % i],
    "zset": lambda key, i: [b"ZADD", key, b"%d" % i, b"member:%06d" % i],
    "list": lambda key, i: [b"RPUSH", key, b"element:%06d" % i],
    "stream": lambda key, i: [b"XADD", key, b"%d-1" % (i + 1), b"job", b"%06d" % i, b"state", b"waiting"],
}
LENGTHS = (10, 100, 100_000)


def fill_collections(server: Server, kind: str, length: int, elements: int) -> Bytes:
    """Add `elements` elements in collections of `length` to an empty server; bytes an element, keys included."""
    count = max(elements // length, 1)
    add = ADD[kind]
    commands = (add(b"%b:%08d" % (kind.encode(), k), i) for k in range(count) for i in range(length))
    return _measure(server, commands, count * length)
