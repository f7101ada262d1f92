"""Hit rates of caches that hold half of what is asked for: each policy on both servers, which get the same requests.

Keys are asked for with Zipf's frequencies; what is missed is set, as a cache is used. Both servers are asked in step,
so that the same seconds pass for their clocks. The second half of the requests counts.
"""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random

import hiredis

from bench.memory import encoded, info_field
from bench.servers import Server

POLICIES = ("allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-ttl")
EXPONENT = 0.9  # of Zipf's law
BATCH = 50
VALUE = b"v" * 200
PATIENCE = 30.0  # seconds for the first half of the keys to go
PERSISTENT = 8  # under a volatile policy every eighth key has no time to live


@dataclass
class Cache:
    """A server under measurement."""

    sock: socket.socket
    reader: hiredis.Reader
    port: int
    hits: int = 0

    def ask(self, commands: list[list[bytes]]) -> list[object]:
        """The replies to a batch."""
        self.sock.sendall(b"".join(encoded(words) for words in commands))
        replies: list[object] = []
        while len(replies) < len(commands):
            reply = self.reader.gets()
            if reply is Ellipsis:
                self.reader.feed(self.sock.recv(65536))
            elif isinstance(reply, hiredis.ReplyError):
                raise SystemExit(f"a server under measurement answered {reply}")
            else:
                replies.append(reply)
        return replies

    def used(self) -> int:
        """Bytes in use as the server counts them."""
        return int(info_field(self.port, "memory", "used_memory"))


def _setting(number: int, volatile: bool) -> list[bytes]:
    """The SET of a key; times to live are far away and have nothing to do with how often a key is asked for."""
    words = [b"SET", b"key:%012d" % number, VALUE]
    if volatile and number % PERSISTENT:
        words += [b"EX", b"%d" % (100_000 + number * 7919 % 100_003)]
    return words


def _numbers(keys: int, count: int) -> Iterator[int]:
    """Which key is asked for, over and over the same ones."""
    weights = list(accumulate(1 / (rank**EXPONENT) for rank in range(1, keys + 1)))
    rng = Random(1)
    order = list(range(keys))
    rng.shuffle(order)
    for _ in range(count):
        yield order[rng.choices(range(keys), cum_weights=weights)[0]]


def _limit(cache: Cache, policy: str, keys: int, volatile: bool) -> None:
    """Bound the memory to half of what all keys take, and wait until the server keeps to it."""
    cache.ask([b"CONFIG SET maxmemory 0".split(), b"FLUSHALL SYNC".split()])
    cache.ask([[b"CONFIG", b"SET", b"maxmemory-policy", policy.encode()]])
    empty = cache.used()
    for start in range(0, keys, 1000):
        cache.ask([_setting(number, volatile) for number in range(start, start + 1000)])
    limit = empty + (cache.used() - empty) // 2
    cache.ask([[b"CONFIG", b"SET", b"maxmemory", b"%d" % limit]])
    until = time.monotonic() + PATIENCE
    while cache.used() > limit and time.monotonic() < until:
        time.sleep(0.05)


def hit_rates(servers: list[Server], policy: str, keys: int, requests: int) -> list[float]:
    """Percent of the requests that each server could answer; `keys` are whole thousands."""
    caches = [
        Cache(
            socket.create_connection(("127.0.0.1", server.port), 60),
            hiredis.Reader(notEnoughData=Ellipsis),
            server.port,
        )
        for server in servers
    ]
    volatile = policy.startswith("volatile")
    for cache in caches:
        _limit(cache, policy, keys, volatile)
    numbers = list(_numbers(keys, requests))
    for start in range(0, requests, BATCH):
        batch = numbers[start : start + BATCH]
        for cache in caches:
            found = cache.ask([[b"GET", b"key:%012d" % number] for number in batch])
            missed = [number for number, value in zip(batch, found, strict=True) if value is None]
            if start >= requests // 2:
                cache.hits += len(batch) - len(missed)
            if missed:
                cache.ask([_setting(number, volatile) for number in dict.fromkeys(missed)])
    for cache in caches:
        cache.sock.close()
    return [100 * cache.hits / (requests - requests // 2 // BATCH * BATCH) for cache in caches]
