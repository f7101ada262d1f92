"""A corpus of values for files: every type, in every encoding and size class, and what stands beside the keys.

`fill` writes it to a server, `Contents` is what a server holds, told so that two servers can be compared.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import redis

FAR = 4_000_000_000_000  # Unix ms
DATABASES = (0, 1, 5, 15)
LIBRARIES = (
    "#!lua name=one\nredis.register_function('f', function(keys, args) return args[1] end)",
    "#!lua name=two\nredis.register_function{function_name='g', callback=function() return 1 end, "
    "flags={'no-writes'}, description='reads'}",
)
# Sizes of nodes and packed values small enough that a corpus of some megabytes has many of each.
DIRECTIVES = ("--stream-node-max-entries", "7", "--list-compress-depth", "1", "--databases", "16")

_INTEGERS = [
    0, 1, -1, 12, 13, 63, 64, 127, 128, -128, -129, 4095, 4096, -4096, -4097, 32767, 32768, -32768, -32769, 8388607,
    8388608, -8388608, -8388609, 2147483647, 2147483648, -2147483648, -2147483649, 9999999999, (1 << 63) - 1,
    -(1 << 63),
]  # fmt: skip


class Corpus:
    """Writes the values with one seed; `new`: with what Valkey 9 has and Redis 7.0 has not."""

    def __init__(self, client: redis.Redis, seed: int, new: bool) -> None:
        self.client = client
        self.rng = random.Random(seed)
        self.new = new
        self.pipe = client.pipeline(transaction=False)

    def _text(self, size: int) -> bytes:
        """Bytes that compress somewhat."""
        return b"".join(self.rng.choices((b"ab", b"abcd", b"\x00\x01", b"zzz "), k=size // 2 + 1))[:size]

    def strings(self) -> None:
        """Numbers of each width, embedded, long, compressible and not, as long as three reads of a file."""
        values = [b"%d" % n for n in _INTEGERS]
        values += [b"", b"007", b"+1", b"-0", b" 1", b"9223372036854775808", b"1.5", b"\xff\x00\r\n", b"-"]
        values += [b"a" * size for size in (4, 5, 19, 20, 21, 22, 43, 44, 45, 63, 64, 65, 16383, 16384, 16385)]
        values += [self._text(size) for size in (30, 264, 300, 5000, 32767, 32769, 70_000)]
        values += [self.rng.randbytes(size) for size in (20, 44, 500, 33_000, 300_000)]
        values.append(self._text(100_000) * 25)
        for number, value in enumerate(values):
            self.pipe.set(b"string %d" % number, value)
        for number, value in enumerate((b"1", b"text", self._text(400))):
            self.pipe.set(b"volatile string %d" % number, value, pxat=FAR + number)
        self.pipe.setbit("bits", 80_001, 1)
        self.pipe.pfadd("hll sparse", "a", "b")
        self.pipe.pfadd("hll dense", *range(3000))

    def lists(self) -> None:
        """One listpack, many nodes, nodes that are one long element; numbers of each width inside."""
        push = self.pipe.rpush
        push("list one", "x")
        push("list numbers", *_INTEGERS)
        push("list texts", *(b"t" * size for size in (0, 1, 63, 64, 4095, 4096, 5000)))
        push("list nodes", *(b"item %d %s" % (n, b"y" * (n % 60)) for n in range(3000)))
        push("list popped", *(b"item %d" % n for n in range(3000)))
        for _ in range(700):
            self.pipe.lpop("list popped")
            self.pipe.rpop("list popped")
        push("list plain", self._text(9000))
        push("list plain inside", "a", "b", self._text(20_000), "c", self.rng.randbytes(9000), self._text(100_000), "d")
        push("list megabytes", "a", self._text(1_300_000), "b", self.rng.randbytes(1_100_000))
        self.pipe.linsert("list nodes", "before", b"item 1500 " + b"y" * 0, b"new")
        self.pipe.lset("list nodes", 100, b"z" * 9500)
        self.pipe.pexpireat("list one", FAR)

    def sets(self) -> None:
        """Intsets of each width, listpacks, tables of numbers and of texts."""
        add = self.pipe.sadd
        add("intset 16", *range(-300, 200, 7))
        add("intset 32", 1, 40_000, -40_000)
        add("intset 64", 1, 1 << 40, -(1 << 63))
        add("set packed", "a", "b", 3, 70_000, "x" * 64)
        add("set packed numbers", "a", *_INTEGERS)
        add("set full", *(b"m%d" % n for n in range(128)))
        add("set long member", "a", "x" * 65)
        add("set table", *(b"m%d" % n for n in range(2500)))
        add("set of numbers", *range(100_000, 101_500))
        self.pipe.pexpireat("set table", FAR + 5)

    def hashes(self) -> None:
        """Listpacks, tables by number and by length, fields that expire."""
        put = self.pipe.hset
        put("hash one", "f", "v")
        put("hash packed", mapping={b"f%d" % n: b"%d" % number for n, number in enumerate(_INTEGERS)})
        put("hash long value", mapping={"a": "x" * 5000, "b": "2"})
        put("hash long field", mapping={"x" * 300: "1", "b": "2"})
        put("hash table", mapping={b"f%d" % n: self._text(n % 100) for n in range(2500)})
        self.pipe.pexpireat("hash one", FAR)
        if not self.new:
            return
        put("timed", mapping={"a": "1", "b": "2", "c": "3"})
        self.pipe.execute_command("HPEXPIREAT", "timed", FAR, "FIELDS", 2, "a", "c")
        put("timed table", mapping={b"f%d" % n: b"v%d" % n for n in range(1000)})
        timed = [b"f%d" % n for n in range(300)]
        self.pipe.execute_command("HPEXPIREAT", "timed table", FAR + 1, "FIELDS", len(timed), *timed)
        put("timed no more", mapping={"a": "1", "b": "2"})
        self.pipe.execute_command("HPEXPIREAT", "timed no more", FAR, "FIELDS", 1, "a")
        self.pipe.execute_command("HPERSIST", "timed no more", "FIELDS", 1, "a")

    def sorted_sets(self) -> None:
        """Listpacks and skiplists with all kinds of scores."""
        scores = [0.0, -0.0, 1, -1, 0.1, 1 / 3, 1e300, -1e300, 5e-324, 1e17, 123456789012345678, 3.0000000000000004,
                  float("inf"), float("-inf"), 2.5, 4e9]  # fmt: skip
        self.pipe.zadd("zset packed", {b"m%d" % n: score for n, score in enumerate(scores)})
        self.pipe.zadd("zset numbers", {b"%d" % n: n for n in _INTEGERS})
        self.pipe.zadd("zset long member", {b"x" * 65: 1, b"b": 1})
        self.pipe.zadd("zset table", {b"m%d" % n: self.rng.choice((*scores, n)) for n in range(2500)})
        self.pipe.zadd("zset ties", {b"m%d" % n: 7 for n in range(500)})
        self.pipe.geoadd("geo", [13.36, 38.11, "Palermo", 15.08, 37.5, "Catania"])
        self.pipe.pexpireat("zset table", FAR)

    def streams(self) -> None:
        """Blocks of equal and of other fields, deleted entries and blocks, groups, consumers, what is pending."""
        pipe = self.pipe
        for n in range(200):
            fields = {"n": n, "t": b"x" * (n % 30)} if n % 9 else {"other": "1", "n": n, "m": ""}
            pipe.xadd("stream", fields, id=f"{n + 1}-{n % 3}")
        pipe.xdel("stream", "5-1", "6-2", "200-1", *(f"{n + 1}-{n % 3}" for n in range(70, 98)))
        pipe.xgroup_create("stream", "group", "3-1")
        pipe.xgroup_create("stream", "end", "$")
        pipe.xgroup_create("stream", "start", "0")
        pipe.xgroup_create("stream", "unread", "0")
        pipe.xreadgroup("group", "alice", {"stream": ">"}, count=40)
        pipe.xreadgroup("group", "bob", {"stream": ">"}, count=3)
        pipe.xreadgroup("start", "alice", {"stream": ">"}, count=2, noack=True)
        pipe.xgroup_createconsumer("stream", "end", "idle")
        pipe.xack("stream", "group", "8-1", "9-2")
        pipe.execute_command("XCLAIM", "stream", "group", "bob", 0, "10-0", "TIME", 1_700_000_000_000, "RETRYCOUNT", 9)
        pipe.xdel("stream", "12-2")  # it stays pending
        pipe.xgroup_create("stream empty", "group", "$", mkstream=True)
        pipe.xadd("stream emptied", {"a": "1"}, id="7-7")
        pipe.xdel("stream emptied", "7-7")
        for n in range(60):
            pipe.xadd("stream trimmed", {"f": n}, id=f"{n + 1}", maxlen=20, approximate=n % 2 == 0)
        pipe.execute_command("XSETID", "stream trimmed", "100-1", "ENTRIESADDED", 500, "MAXDELETEDID", "40-0")
        pipe.xadd("stream large", {"f": self._text(30_000), "g": self.rng.randbytes(9000)}, id=f"{(1 << 64) - 1}-1")
        pipe.xadd("stream numbers", {b"%d" % n: n for n in _INTEGERS}, id="1-1")
        pipe.pexpireat("stream large", FAR)

    def beside(self) -> None:
        """Databases, libraries, keys of odd names, keys whose time is over before anybody reads the file."""
        for dbid in DATABASES[1:]:
            self.pipe.execute_command("SELECT", dbid)
            self.pipe.set("elsewhere", dbid)
            self.pipe.rpush(b"list \xff\x00\r\n", 1, 2)
            self.pipe.set(b"k" * 3000, "long name", pxat=FAR)
            self.pipe.set(b"12345", "a number")
            self.pipe.set(b"", "no name")
        self.pipe.execute_command("SELECT", 0)
        for code in LIBRARIES:
            self.pipe.function_load(code)


def fill(client: redis.Redis, seed: int, new: bool) -> None:
    """Write the corpus to an empty server."""
    corpus = Corpus(client, seed, new)
    corpus.strings()
    corpus.lists()
    corpus.sets()
    corpus.hashes()
    corpus.sorted_sets()
    corpus.streams()
    corpus.beside()
    corpus.pipe.execute()


def change(client: redis.Redis) -> None:
    """Changes that an append-only file gets in other words than they came in, in transactions, from scripts."""
    pipe = client.pipeline(transaction=True)
    pipe.set("by transaction", "1")
    pipe.incrbyfloat("float", 1.25)
    pipe.set("volatile", "x", ex=100_000)
    pipe.execute()
    client.spop("set table", 20)
    client.eval("redis.call('set', KEYS[1], 1) redis.call('incr', KEYS[1]) redis.call('select', 5) "
                "redis.call('append', KEYS[1], 'x')", 1, "by script")  # fmt: skip
    client.xadd("stream", {"f": "v"})
    client.xreadgroup("group", "carol", {"stream": ">"}, count=2)
    client.xautoclaim("stream", "group", "dave", 0, count=3)
    client.lmove("list nodes", "list one", "LEFT", "RIGHT")
    client.sort("intset 16", store="sorted")
    client.delete("string 3", "list popped")
    client.copy("zset table", "zset copy")
    client.rename("hash one", "hash renamed")
    client.getex("volatile string 1", persist=True)


PACKED = (b"listpack", b"intset", b"quicklist", b"int", b"embstr", b"raw")


@dataclass
class Contents:
    """What a server holds: each key by (database, name), and the libraries of functions."""

    keys: dict[tuple[int, bytes], dict[str, object]] = field(default_factory=dict)
    functions: list[object] = field(default_factory=list)
    types: dict[int, dict[str, int]] = field(default_factory=dict)


def contents(client: redis.Redis, exact: bool, counters: bool = False) -> Contents:
    """What a server holds; `exact`: with the bytes of packed values and the times at which consumers were seen, which
    differ where commands were executed again; `counters`: with those of LFU.
    """
    found = Contents()
    for dbid in DATABASES:
        client.select(dbid)
        names = sorted(client.keys())
        counts: dict[str, int] = {}
        for name, told in zip(names, _told(client, dbid, names, exact, counters), strict=True):
            kind = told["type"].decode()  # type: ignore[attr-defined]
            counts[kind] = counts.get(kind, 0) + 1
            if not exact or told["encoding"] not in PACKED:
                told.pop("dump")
            found.keys[dbid, name] = told
        if counts:
            found.types[dbid] = counts
    client.select(0)
    found.functions = sorted(
        (_pairs(library)[b"library_code"] for library in client.function_list(withcode=True)), key=repr
    )
    return found


def _told(client: redis.Redis, dbid: int, names: list[bytes], exact: bool, counters: bool) -> list[dict[str, object]]:
    pipe = client.pipeline(transaction=False)  # on a connection of its own
    pipe.execute_command("SELECT", dbid)
    for name in names:
        pipe.type(name)
        pipe.object("ENCODING", name)
        pipe.pexpiretime(name)
        pipe.execute_command("DEBUG", "DIGEST-VALUE", name)
        pipe.dump(name)
        if counters:
            pipe.object("FREQ", name)
    width = 6 if counters else 5
    answers = pipe.execute_command("SELECT", 0).execute()[1:-1]
    rows = [answers[i : i + width] for i in range(0, len(answers), width)]
    labels = ("type", "encoding", "expires", "digest", "dump", "frequency")
    told = [dict(zip(labels, row, strict=False)) for row in rows]
    for name, key in zip(names, told, strict=True):
        key["dump"] = key["dump"][:-10]  # without version and checksum
        if key["type"] == b"zset":  # Redis 7.0 has another digest of scores
            key["zset"] = client.zrange(name, 0, -1, withscores=True)
        if key["type"] == b"stream":
            key["stream"], seen = _stream(client, name)
            if exact:
                key["seen"] = seen
        if name.startswith(b"timed"):
            fields = sorted(client.hkeys(name))
            key["times"] = client.execute_command("HPEXPIRETIME", name, "FIELDS", len(fields), *fields)
    return told


def _stream(client: redis.Redis, name: bytes) -> tuple[object, object]:
    """All of a stream: entries, accounts, groups, consumers, what is pending and since when; and, apart from that, the
    times at which consumers were seen.
    """
    told = _pairs(client.execute_command("XINFO", "STREAM", name, "FULL", "COUNT", 0))
    groups = [_pairs(group) for group in told[b"groups"]]  # type: ignore[attr-defined]
    seen: list[object] = []
    for group in groups:
        consumers = [_pairs(consumer) for consumer in group[b"consumers"]]  # type: ignore[attr-defined]
        group[b"consumers"] = [{k: v for k, v in each.items() if not k.endswith(b"-time")} for each in consumers]
        seen += [{k: v for k, v in each.items() if k.endswith(b"-time")} for each in consumers]
    return {k: groups if k == b"groups" else v for k, v in told.items() if not k.startswith(b"radix-tree")}, seen


def _pairs(flat: object) -> dict[bytes, object]:
    if isinstance(flat, dict):
        return flat
    assert isinstance(flat, list)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def difference(one: object, other: object, path: str = "") -> str:
    """Where two nested values differ first; empty when they don't."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        inner = ((f"{path}[{key!r:.60}]", one[key], other[key]) for key in one)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        inner = ((f"{path}[{i}]", a, b) for i, (a, b) in enumerate(zip(one, other, strict=True)))
    else:
        return "" if one == other else f"{path}: {one!r:.300} != {other!r:.300}"
    return next((found for where, a, b in inner if (found := difference(a, b, where))), "")
