"""One typical command of each family, on values prepared before: how fast it is beside Valkey."""

import socket
from dataclasses import dataclass, field

import hiredis

from bench.load import Load
from bench.memory import encoded
from bench.servers import Server

SCRIPT = b"redis.call('INCR', KEYS[1]) return redis.call('GET', KEYS[1])"
LIBRARY = b"#!lua name=bench\nredis.register_function('bench', function(keys) return redis.call('GET', keys[1]) end)"
SHAPES = ((1, 50, 40_000), (16, 50, 150_000))  # pipeline depth, clients, requests


@dataclass(frozen=True)
class Family:
    """A command with what has to be there before; `{sha}` is the digest of SCRIPT, `__rand_int__` a random number."""

    name: str
    words: str
    before: list[list[bytes]] = field(default_factory=list)
    cost: int = 1  # how many times as much work as a GET, roughly: so many times fewer requests are sent


def _numbered(name: bytes, verb: bytes, count: int, *form: bytes) -> list[bytes]:
    """A command on `name` with `count` elements; `%d` in the form is the element's number."""
    words = [verb, name]
    for i in range(count):
        words += [part % i if b"%" in part else part for part in form]
    return words


def families() -> list[Family]:
    """All of them, in the order of the table."""
    places = [b"GEOADD", b"places"]
    for i in range(1000):
        places += [b"%f" % (13 + (i % 40) / 10), b"%f" % (37 + (i // 40) / 10), b"place:%d" % i]
    stream = [[b"XADD", b"events", b"%d-1" % (i + 1), b"job", b"%d" % i, b"state", b"waiting"] for i in range(1000)]
    person = _numbered(b"person", b"HSET", 10, b"field:%d", b"value:%d")
    queue = _numbered(b"queue", b"RPUSH", 1000, b"element:%d")
    return [
        Family("MSET 10 keys", "MSET" + " key:__rand_int__ value" * 10, cost=5),
        Family("APPEND", "APPEND text:__rand_int__ word"),
        Family("EXPIRE", "EXPIRE key 1000", [[b"SET", b"key", b"value"]]),
        Family("HGETALL of 10", "HGETALL person", [person], 2),
        Family("HEXPIRE", "HEXPIRE person 1000 FIELDS 1 field:1", [person]),
        Family("LRANGE 0 9", "LRANGE queue 0 9", [queue], 2),
        Family("LMOVE", "LMOVE queue queue RIGHT LEFT", [queue]),
        Family("SADD", "SADD tags:__rand_int__ member"),
        Family("SINTER of 2 x 100", "SINTER red blue",
               [_numbered(b"red", b"SADD", 100, b"m:%d"), _numbered(b"blue", b"SADD", 100, b"m:1%d")], 20),
        Family("ZRANGE 0 9", "ZRANGE board 0 9", [_numbered(b"board", b"ZADD", 1000, b"%d", b"player:%d")], 2),
        Family("SORT of 100", "SORT numbers", [_numbered(b"numbers", b"RPUSH", 100, b"%d")], 20),
        Family("SETBIT", "SETBIT seen:__rand_int__ 100 1"),
        Family("BITCOUNT of 1 KB", "BITCOUNT bits", [[b"SET", b"bits", b"x" * 1024]]),
        Family("BITFIELD", "BITFIELD counters:__rand_int__ INCRBY u8 0 1"),
        Family("PFADD", "PFADD visitors __rand_int__"),
        Family("GEOSEARCH of 1000", "GEOSEARCH places FROMLONLAT 15 38 BYRADIUS 30 km COUNT 10 ASC", [places], 20),
        Family("XADD", "XADD log:__rand_int__ * job 1 state waiting", cost=2),
        Family("XADD MAXLEN", "XADD log MAXLEN ~ 1000 * job 1 state waiting", cost=2),
        Family("XRANGE COUNT 10", "XRANGE events - + COUNT 10", stream, 5),
        Family("PUBLISH", "PUBLISH news hello"),
        Family("EVALSHA, 2 calls", "EVALSHA {sha} 1 count:__rand_int__", [[b"SCRIPT", b"LOAD", SCRIPT]], 3),
        Family("FCALL, 1 call", "FCALL bench 1 count:__rand_int__", [[b"FUNCTION", b"LOAD", b"REPLACE", LIBRARY]], 3),
    ]  # fmt: skip


def prepare(server: Server, family: Family) -> str:
    """Have on the server what the command works on; returns the last string that was answered (a script's digest)."""
    answer = ""
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    with socket.create_connection(("127.0.0.1", server.port), 30) as link:
        for words in [[b"FLUSHALL", b"SYNC"], *family.before]:
            link.sendall(encoded(words))
            while (reply := reader.gets()) is Ellipsis:
                reader.feed(link.recv(65536))
            if isinstance(reply, hiredis.ReplyError):
                raise SystemExit(f"{server.name} refused to prepare {family.name}: {reply}")
            answer = reply.decode() if isinstance(reply, bytes) else answer
    return answer


def loads_of(family: Family, sha: str, scale: float) -> list[Load]:
    """A load for each depth."""
    words = tuple(word.replace("{sha}", sha) for word in family.words.split(" "))
    return [
        Load(family.name, depth, clients, int(requests * scale / family.cost), words)
        for depth, clients, requests in SHAPES
    ]
