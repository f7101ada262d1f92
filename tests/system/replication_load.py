"""Writes of every kind for replication tests, and what two servers hold, compared type by type."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from typing import Any

import redis

DATABASES = (0, 1, 2)
NAMES = 40
SCRIPT = """
redis.call('SELECT', ARGV[2])
local n = redis.call('INCR', KEYS[1])
redis.call('RPUSH', KEYS[2], n, ARGV[1])
if n % 3 == 0 then redis.call('LTRIM', KEYS[2], 0, 20) end
return redis.call('HSET', KEYS[3], ARGV[1], n)
"""
CONSUMERS = ("c1", "c2", "c3")
SHOWN = 1500  # characters of a value in a failure

Pipe = Any  # redis-py's pipelines have no types of their own


class Writer:
    """Random writes, drawn from one seed, to whatever server it is given."""

    def __init__(self, seed: int, modern: bool) -> None:
        self._rng = random.Random(seed)
        self._kinds: list[Callable[[Pipe], None]] = [
            self._string, self._string, self._counter, self._list, self._list_move, self._set, self._hash, self._zset,
            self._stream, self._group, self._log, self._expiry, self._key, self._script, self._bits,
        ]  # fmt: skip
        if modern:
            self._kinds.append(self._field_time)

    def _name(self, kind: str) -> str:
        return f"{kind}:{self._rng.randrange(NAMES)}"

    def write(self, client: redis.Redis, count: int) -> None:
        """So many commands, some of them in transactions, spread over three databases."""
        done = 0
        while done < count:
            pipe = client.pipeline(transaction=self._rng.random() < 0.3)
            pipe.execute_command("SELECT", self._rng.choice(DATABASES))
            size = self._rng.randrange(1, 40)
            for _ in range(size):
                self._rng.choice(self._kinds)(pipe)
            pipe.execute(raise_on_error=False)  # such as RENAME of no key
            done += size

    def _string(self, pipe: Pipe) -> None:
        rng = self._rng
        kind = rng.randrange(6)
        if kind < 3:
            pipe.set(self._name("s"), "v" * rng.choice((1, 30, 300)), px=rng.choice((None, 10_000_000)))
        elif kind == 3:
            pipe.append(self._name("s"), rng.randbytes(rng.randrange(1, 50)))
        elif kind == 4:
            pipe.setrange(self._name("s"), rng.randrange(200), "range")
        elif rng.random() < 0.1:
            pipe.set(self._name("s"), rng.randbytes(200_000))
        else:
            pipe.getex(self._name("s"), px=10_000_000)

    def _counter(self, pipe: Pipe) -> None:
        if self._rng.random() < 0.7:
            pipe.incrby(self._name("n"), self._rng.randrange(-50, 50))
        else:
            pipe.incrbyfloat(self._name("f"), self._rng.randrange(100) / 8)

    def _list(self, pipe: Pipe) -> None:
        push = pipe.rpush if self._rng.random() < 0.6 else pipe.lpush
        push(self._name("l"), *[self._rng.randrange(10_000) for _ in range(self._rng.randrange(1, 6))])

    def _list_move(self, pipe: Pipe) -> None:
        kind = self._rng.randrange(4)
        if kind == 0:
            pipe.lmove(self._name("l"), self._name("l"))
        elif kind == 1:
            pipe.lpop(self._name("l"), 3)
        elif kind == 2:
            pipe.linsert(self._name("l"), "before", self._rng.randrange(10_000), "x" * 70)
        else:
            pipe.execute_command("LMPOP", 2, self._name("l"), self._name("l"), "LEFT", "COUNT", 2)

    def _set(self, pipe: Pipe) -> None:
        kind = self._rng.randrange(6)
        if kind < 3:
            members = range(self._rng.randrange(1, 8))
            pipe.sadd(self._name("t"), *[self._rng.choice((self._rng.randrange(900), "m" * 9)) for _ in members])
        elif kind == 3:
            pipe.spop(self._name("t"), self._rng.randrange(1, 5))
        elif kind == 4:
            pipe.sunionstore(self._name("t"), self._name("t"), self._name("t"))
        else:
            pipe.smove(self._name("t"), self._name("t"), self._rng.randrange(900))

    def _hash(self, pipe: Pipe) -> None:
        if self._rng.random() < 0.8:
            pipe.hset(self._name("h"), f"f{self._rng.randrange(600)}", self._rng.randrange(10**6))
        else:
            pipe.hincrbyfloat(self._name("h"), f"f{self._rng.randrange(600)}", 0.5)

    def _field_time(self, pipe: Pipe) -> None:
        pipe.execute_command("HPEXPIRE", self._name("h"), self._rng.choice((20, 10_000_000)), "FIELDS", 2,
                             f"f{self._rng.randrange(600)}", f"f{self._rng.randrange(600)}")  # fmt: skip

    def _zset(self, pipe: Pipe) -> None:
        kind = self._rng.randrange(5)
        if kind < 3:
            pipe.zadd(self._name("z"), {f"m{self._rng.randrange(300)}": self._rng.randrange(1000) / 4})
        elif kind == 3:
            pipe.zpopmin(self._name("z"), 2)
        else:
            pipe.zunionstore(self._name("z"), [self._name("z"), self._name("z")])

    def _stream(self, pipe: Pipe) -> None:
        kind = self._rng.randrange(5)
        if kind < 3:
            pipe.xadd(self._name("x"), {"a": self._rng.randrange(100), "b": "text"})
        elif kind == 3:
            pipe.execute_command("XADD", self._name("x"), "MAXLEN", "~", 50, "*", "c", 1)
        else:
            pipe.xtrim(self._name("x"), 30, approximate=False)

    def _group(self, pipe: Pipe) -> None:
        name, consumer = self._name("x"), self._rng.choice(CONSUMERS)
        kind = self._rng.randrange(5)
        if kind == 0:
            pipe.xgroup_create(name, "g", id="0", mkstream=True)
        elif kind < 3:
            pipe.xreadgroup("g", consumer, {name: ">"}, count=3)
        elif kind == 3:
            pipe.xautoclaim(name, "g", consumer, 0, count=2)
        else:
            pipe.xack(name, "g", "0-1")

    def _log(self, pipe: Pipe) -> None:
        if self._rng.random() < 0.8:
            pipe.pfadd(self._name("p"), *[self._rng.randrange(10**6) for _ in range(5)])
        else:
            pipe.pfmerge(self._name("p"), self._name("p"))

    def _expiry(self, pipe: Pipe) -> None:
        kind = self._rng.randrange(4)
        name = self._name(self._rng.choice("slhtz"))
        if kind == 0:
            pipe.set(self._name("short"), 1, px=self._rng.randrange(1, 80))
        elif kind == 1:
            pipe.pexpire(name, 10_000_000)
        elif kind == 2:
            pipe.persist(name)
        else:
            pipe.expire(name, 0 if self._rng.random() < 0.1 else 100_000)

    def _key(self, pipe: Pipe) -> None:
        kind = self._rng.choice("slhtzx")
        action = self._rng.randrange(40)
        if action < 10:
            pipe.delete(self._name(kind))
        elif action < 20:
            pipe.unlink(self._name(kind), self._name(kind))
        elif action < 26:
            pipe.rename(self._name(kind), self._name(kind))
        elif action < 32:
            pipe.copy(self._name(kind), self._name(kind), replace=True)
        elif action < 37:
            pipe.move(self._name(kind), self._rng.choice(DATABASES))
        elif action < 38:
            pipe.swapdb(0, self._rng.choice((1, 2)))
        elif action < 39:
            pipe.execute_command("SORT", self._name("l"), "ALPHA", "STORE", self._name("l"))
        else:
            pipe.geoadd(self._name("z"), (13.3, 38.1, "place"))

    def _script(self, pipe: Pipe) -> None:
        keys = [self._name("n"), self._name("l"), self._name("h")]
        pipe.eval(SCRIPT, 3, *keys, f"f{self._rng.randrange(50)}", self._rng.choice(DATABASES))

    def _bits(self, pipe: Pipe) -> None:
        if self._rng.random() < 0.5:
            pipe.setbit(self._name("s"), self._rng.randrange(2000), self._rng.randrange(2))
        else:
            pipe.execute_command("BITFIELD", self._name("s"), "INCRBY", "u8", self._rng.randrange(500), 7)


class Load:
    """A writer that goes on in a thread until it is stopped, has written `most` rounds, or the server is gone."""

    def __init__(self, port: int, writer: Writer, most: int) -> None:
        self._most = most
        self._stop = threading.Event()
        self._begun = threading.Event()
        self._port = port
        self._writer = writer
        self.rounds = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._begun.wait(30), "no write went through"

    def _run(self) -> None:
        with redis.Redis(port=self._port, retry=None) as client, contextlib.suppress(redis.ConnectionError):
            while self.rounds < self._most and not self._stop.is_set():
                self._writer.write(client, 100)
                client.wait(1, 30)  # a replica that is slower than its primary shall not fall behind for ever
                self.rounds += 1
                self._begun.set()

    def stop(self) -> None:
        """End it; what it has written is written then."""
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "a write hangs"


# --- what is there
def _fields(flat: Any) -> dict[bytes, Any]:
    return flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))


def _stream(reply: Any, counted: bool) -> object:
    """A stream without what a replica is not told: radix trees, visits, and consumers without anything pending.

    Redis 7.0 does not tell how many entries a group has read either.
    """
    full = _fields(reply)
    groups = []
    for group in map(_fields, full[b"groups"]):
        consumers = [_fields(consumer) for consumer in group[b"consumers"]]
        group[b"consumers"] = sorted((c[b"name"], c[b"pending"]) for c in consumers if c[b"pending"])
        groups.append(group if counted else {**group, b"entries-read": 0, b"lag": 0})
    full[b"groups"] = groups
    return {name: value for name, value in full.items() if not name.startswith(b"radix-tree")}


READS = {
    b"string": ("GET",), b"list": ("LRANGE", None, 0, -1), b"set": ("SMEMBERS",), b"hash": ("HGETALL",),
    b"zset": ("ZRANGE", None, 0, -1, "WITHSCORES"), b"stream": ("XINFO", "STREAM", None, "FULL", "COUNT", 0),
}  # fmt: skip


def _ask(pipe: Pipe, kind: bytes, key: bytes) -> None:
    """Ask for a value; what redis-py makes of replies does not matter here."""
    words = READS.get(kind, ("GET",))
    pipe.execute_command(*[key if word is None else word for word in words], *([] if None in words else [key]))


def _plain(kind: bytes, reply: Any, modern: bool) -> object:
    if kind == b"stream":
        return _stream(reply, modern)
    if kind == b"set":
        return sorted(reply)
    return sorted(_fields(reply).items()) if kind == b"hash" else reply


def _field_times(client: redis.Redis, found: dict[tuple[int, bytes], Any], database: int) -> None:
    """Add the times of fields to the hashes of a database."""
    keys = [key for place, key in found if place == database and found[place, key][1]]
    pipe = client.pipeline(transaction=False)
    for key in keys:
        fields = [name for name, _ in found[database, key][1]]
        pipe.execute_command("HPEXPIRETIME", key, "FIELDS", len(fields), *fields)
    for key, times in zip(keys, pipe.execute(), strict=True):
        found[database, key] = (*found[database, key], times)


def contents(port: int, modern: bool) -> dict[str, dict[tuple[int, bytes], Any]]:
    """By type: database and key, with the time at which the key expires, and the value."""
    found: dict[str, dict[tuple[int, bytes], Any]] = {}
    for database in DATABASES:
        with redis.Redis(port=port, db=database) as client:
            keys = sorted(client.scan_iter(count=1000))
            pipe = client.pipeline(transaction=False)
            for key in keys:
                pipe.type(key)
                pipe.pexpiretime(key)
            facts = pipe.execute()
            kinds, expires = facts[::2], facts[1::2]
            for kind, key in zip(kinds, keys, strict=True):
                _ask(pipe, kind, key)
            for i, reply in enumerate(pipe.execute()):
                value = (expires[i], _plain(kinds[i], reply, modern))
                found.setdefault(kinds[i].decode(), {})[database, keys[i]] = value
            if modern:
                _field_times(client, found.get("hash", {}), database)
    return found


def differences(primary: int, replica: int, modern: bool) -> str:
    """What two servers do not hold alike, by type; empty when all is well. `modern`: both are Valkey 9.1 or ours."""
    left, right = contents(primary, modern), contents(replica, modern)
    found = []
    for kind in sorted(left.keys() | right.keys()):
        ours, theirs = left.get(kind, {}), right.get(kind, {})
        wrong = [key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)]
        if wrong:
            both = [str(side.get(wrong[0]))[:SHOWN] for side in (ours, theirs)]
            found.append(f"{len(wrong)} of type {kind}, such as {wrong[0]}:\n{both[0]}\nand\n{both[1]}")
    return "\n".join(found)
