"""The snapshot iterator under writes: what it writes is the keyspace of the instant at which it began."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.resp.encode import encode_request
from cluster.slots import key_slot
from node.engine import Engine
from node.lifecycle import build_engine
from node.persistence.snapshot import Snapshot, start_snapshot
from node.rdb.decode import load
from node.rdb.encode import dump
from node.session import Session
from node.settings import new_settings
from node.store import PlainStore
from node.types.hash import Hash
from node.types.set import Set
from node.types.zset import ZSet

NOW_MS = 1_790_000_000_000
Content = dict[tuple[int, bytes], tuple[object, int]]


class Clock:
    """A clock that has always run out: every `advance` makes one step."""

    def __call__(self) -> float:
        return 1.0


def new_engine() -> Engine:
    """An engine without sockets, whose clock stands still."""
    e = build_engine(new_settings(), NOW_MS, random.Random(1))
    e.now_ms = NOW_MS
    for store in e.stores:
        store.tick(NOW_MS, (NOW_MS // 1000) & 0xFFFFFF)
    return e


class Client:
    """Commands in process; replies are looked at only for errors that no random command may give."""

    def __init__(self, e: Engine) -> None:
        self.session = Session(1, e.executor, e.stores[0], e.acl.default_user, 1 << 26, NOW_MS)

    def __call__(self, *args: bytes) -> bytes:
        self.session.decoder.feed(encode_request(list(args)))
        self.session.executor.run(self.session)
        reply = self.session.reply.out.getvalue()
        self.session.reply.out.truncate(0)
        assert b"internal error" not in reply, (args[:3], reply)
        return reply


def plain(value: object) -> object:
    """A value as something that can be compared, whatever its encoding or order inside."""
    if isinstance(value, Hash):
        times = value.times()
        flat = value.pairs()
        return ("hash", dict(zip(flat[::2], flat[1::2], strict=True)), dict(times.at) if times else {})
    if isinstance(value, Set):
        return ("set", frozenset(value.members()))
    if isinstance(value, ZSet):
        members: list[bytes] = []
        scores: list[float] = []
        value.collect(0, value.count, members, scores)
        return ("zset", tuple(zip(members, scores, strict=True)))
    return value if isinstance(value, bytes) else dump(value)


def content(stores: list[PlainStore]) -> Content:
    """Everything that is stored."""
    return {
        (dbid, key): (plain(value), int(expire_at))
        for dbid, store in enumerate(stores)
        for slot in store.occupied_slots()
        for key, value, expire_at in store.items_in(slot)
    }


def decoded(data: bytes, tmp_path: Path) -> Content:
    """What an RDB file holds; every key must be there once."""
    path = tmp_path / "snapshot.rdb"
    path.write_bytes(data)
    stores = [PlainStore(1) for _ in range(16)]
    keys = 0
    with path.open("rb") as file:
        for _ in load(file, list(stores), NOW_MS, False, []):
            keys += 1
    found = content(stores)
    assert keys == len(found), "a key is there twice"
    return found


def finish(snapshot: Snapshot, out: io.BytesIO, between: Callable[[], object] = lambda: None) -> bytes:
    """Pull the rest, one step at a time."""
    while not snapshot.finished:
        out.write(snapshot.advance(0.0, Clock()))
        between()
    snapshot.close()
    return out.getvalue()


def test_what_writes_push_out_comes_in_pieces(tmp_path: Path) -> None:
    """However much is written out between two slices, no piece takes much more than half a megabyte."""
    e = new_engine()
    client = Client(e)
    for number in range(3000):
        client(b"SET", b"key:%d" % number, b"%d" % number * 200)
    expected = content(e.stores)
    snapshot = start_snapshot(e, {})
    for number in range(3000):
        client(b"SET", b"key:%d" % number, b"new")
    pieces: list[bytes] = []
    while not snapshot.finished:
        pieces.append(snapshot.advance(0.0, Clock()))
    snapshot.close()
    assert len(pieces) > 4
    assert max(map(len, pieces)) < 600_000
    assert decoded(b"".join(pieces), tmp_path) == expected


@pytest.mark.parametrize("tag", [b"", b"{tag}"], ids=["spread", "one-slot"])
def test_without_memory_a_step_is_repeated(tag: bytes, tmp_path: Path) -> None:
    """A step that could not write its strings has written none: after it every key is written and counted once."""
    keytable = pytest.importorskip("node.keytable.table", reason="the key table is not built")
    e = new_engine()
    if e.stores[0].kind != "compact":
        pytest.skip("the plain store writes nothing by itself")
    client = Client(e)
    assert client(b"CONFIG", b"SET", b"rdbcompression", b"no") == b"+OK\r\n"
    for number in range(400):
        client(b"SET", tag + b"key:%d" % number, b"%d" % number * 300)
    expected = content(e.stores)
    snapshot = start_snapshot(e, {})
    out = io.BytesIO()
    failures = 0
    while not snapshot.finished:
        keytable.fail_in(failures % 3)
        try:
            out.write(snapshot.advance(0.0, Clock()))
        except MemoryError:
            failures += 1
        finally:
            keytable.fail_in(-1)
    snapshot.close()
    assert failures > 2
    assert decoded(out.getvalue(), tmp_path) == expected
    assert snapshot.keys_done == 400


# --- random writes
def fill(c: Client, rng: random.Random, keys: int) -> None:
    """Values of every type, some big, some keys under one tag, in three databases."""
    for dbid in (b"0", b"9"):
        c(b"SELECT", dbid)
        for _ in range(keys):
            write(c, rng, grow=True)
        for kind in range(6):
            giant(c, b"giant%d" % kind if dbid == b"0" else b"{tag}giant%d" % kind, kind)
        for i in range(1100 if dbid == b"0" else 300):
            c(b"SET", b"{tag}%d" % i, b"v%d" % i)
            if i % 5 == 0:
                c(b"PEXPIREAT", b"{tag}%d" % i, b"%d" % (NOW_MS + 10**6 + i))
    c(b"SELECT", b"0")


def giant(c: Client, key: bytes, kind: int) -> None:
    """A value that is written in pieces."""
    many = range(1200)
    if kind == 0:
        c(b"HSET", key, *[word for i in many for word in (b"f%d" % i, b"value%d" % i)])
        c(b"HPEXPIREAT", key, b"%d" % (NOW_MS + 10**7), b"FIELDS", b"2", b"f1", b"f2")
    elif kind == 1:
        c(b"SADD", key, *[b"member%d" % i for i in many])
    elif kind == 2:
        c(b"ZADD", key, *[word for i in many for word in (b"%d" % (i % 700), b"member%d" % i)])
    elif kind == 3:
        c(b"RPUSH", key, *[b"element%d" % i for i in many], b"x" * 100_000)
    elif kind == 4:
        c(b"SET", key, b"long" * 40_000)
    else:
        for i in range(200):
            c(b"XADD", key, b"%d-1" % (i + 1), b"field", b"value" * 20)
        c(b"XGROUP", b"CREATE", key, b"group", b"0")
        c(b"XREADGROUP", b"GROUP", b"group", b"consumer", b"COUNT", b"50", b"STREAMS", key, b">")


def some_key(rng: random.Random) -> bytes:
    """A key that is likely to be there."""
    dice = rng.randrange(10)
    if dice < 3:
        return b"{tag}%d" % rng.randrange(1600)
    if dice < 5:
        return rng.choice([b"", b"{tag}"]) + b"giant%d" % rng.randrange(6)
    return b"k%d" % rng.randrange(400)


def write(c: Client, rng: random.Random, grow: bool = False) -> None:
    """One random command."""
    key = b"k%d" % rng.randrange(400) if grow else some_key(rng)
    word = b"w%d" % rng.randrange(4000)
    commands: list[list[bytes]] = [
        [b"SET", key, word * rng.randrange(1, 30)],
        [b"APPEND", key, word],
        [b"HSET", key, word, b"x", b"f%d" % rng.randrange(1200), b"y"],
        [b"SADD", key, word],
        [b"ZADD", key, b"%d" % rng.randrange(900), word, b"5", b"member%d" % rng.randrange(1200)],
        [b"RPUSH", key, word],
        [b"XADD", key, b"*", word, word],
    ]  # fmt: skip
    if not grow:
        commands += [
            [b"DEL", key],
            [b"UNLINK", key],
            [b"RENAME", key, some_key(rng)],
            [b"COPY", key, some_key(rng), b"DB", b"%d" % rng.choice([0, 1, 9]), b"REPLACE"],
            [b"MOVE", key, b"1"],
            [b"PEXPIREAT", key, b"%d" % (NOW_MS + rng.randrange(10**6, 10**7))],
            [b"PERSIST", key],
            [b"HDEL", key, b"f%d" % rng.randrange(1200)],
            [b"SREM", key, b"member%d" % rng.randrange(1200)],
            [b"SPOP", key, b"20"],
            [b"ZREM", key, b"member%d" % rng.randrange(1200)],
            [b"ZREMRANGEBYRANK", key, b"3", b"40"],
            [b"LPOP", key, b"5"],
            [b"LTRIM", key, b"0", b"100"],
            [b"LREM", key, b"0", b"element7"],
            [b"XTRIM", key, b"MAXLEN", b"10"],
            [b"XACK", key, b"group", b"%d-1" % rng.randrange(50)],
            [b"XDEL", key, b"%d-1" % rng.randrange(400)],
            [b"SELECT", rng.choice([b"0", b"1", b"9"])],
            [b"SORT", key, b"ALPHA", b"STORE", some_key(rng)],
            [b"EVAL", b"return redis.call('set', KEYS[1], 'script')", b"1", key],
            [b"EVAL", b"return redis.pcall('del', '{tag}giant1')", b"0"],
        ]
    c(*rng.choice(commands))


DROPS: list[list[list[bytes]]] = [
    [], [[b"FLUSHALL"]], [[b"FLUSHDB"]], [[b"SWAPDB", b"0", b"9"]],
    [[b"SWAPDB", b"0", b"1"], [b"FLUSHDB", b"ASYNC"], [b"SWAPDB", b"1", b"9"]],
]  # fmt: skip


@pytest.mark.parametrize("drops", DROPS, ids=["writes", "flushall", "flushdb", "swapdb", "both"])
@pytest.mark.parametrize("seed", range(2))
def test_a_snapshot_is_the_instant_of_its_beginning(seed: int, drops: list[list[bytes]], tmp_path: Path) -> None:
    """Whatever is written between the steps, whole databases dropped and swapped included, the file has what was."""
    rng = random.Random(seed)
    e = new_engine()
    c = Client(e)
    fill(c, rng, 300)
    expected = content(e.stores)  # type: ignore[arg-type]
    snapshot = start_snapshot(e, {})
    drop_at = rng.randrange(100)
    steps = iter(range(1 << 30))

    def disturb() -> None:
        if next(steps) == drop_at:
            for drop in drops:
                c(*drop)
        for _ in range(6):
            write(c, rng)

    data = finish(snapshot, io.BytesIO(), disturb)
    found = decoded(data, tmp_path)
    assert found.keys() == expected.keys()
    assert found == expected
    assert not e.snapshots.active
    assert snapshot.keys_done == snapshot.keys_total == len(expected)


@pytest.mark.parametrize("seed", range(2))
def test_several_snapshots_at_once_have_each_its_own_instant(seed: int, tmp_path: Path) -> None:
    """Three snapshots that overlap, with writes and a FLUSHALL between them, do not get in each other's way."""
    rng = random.Random(seed)
    e = new_engine()
    c = Client(e)
    fill(c, rng, 200)
    expected: list[Content] = []
    snapshots: list[Snapshot] = []
    outs = [io.BytesIO(), io.BytesIO(), io.BytesIO()]
    for turn in range(3):
        expected.append(content(e.stores))  # type: ignore[arg-type]
        snapshots.append(start_snapshot(e, {}))
        for _ in range(40):
            for snapshot, out in zip(snapshots, outs, strict=False):
                out.write(snapshot.advance(0.0, Clock()))
            for _ in range(5):
                write(c, rng)
        if turn == 1:
            c(b"FLUSHALL")
    while not all(snapshot.finished for snapshot in snapshots):
        for snapshot, out in zip(snapshots, outs, strict=True):
            out.write(snapshot.advance(0.0, Clock()))
        write(c, rng)
    for snapshot in snapshots:
        snapshot.close()
    for out, wanted in zip(outs, expected, strict=True):
        assert decoded(out.getvalue(), tmp_path) == wanted
    while e.snapshots.reap(64):
        pass
    assert not e.snapshots.active


def test_expiry_and_eviction_leave_the_file_sound(tmp_path: Path) -> None:
    """What expires during the snapshot, key or field, may be missing; nothing else is, and the file is whole."""
    e = new_engine()
    c = Client(e)
    for i in range(2000):
        c(b"SET", b"{tag}%d" % i, b"x", b"PXAT", b"%d" % (NOW_MS + (10 if i % 2 else 10**9)))
        c(b"HSET", b"{hash}%d" % i, b"f", b"x")
        c(b"HPEXPIREAT", b"{hash}%d" % i, b"%d" % (NOW_MS + 10), b"FIELDS", b"1", b"f")
    expected = content(e.stores)  # type: ignore[arg-type]
    snapshot = start_snapshot(e, {})
    store = e.stores[0]
    out = io.BytesIO()
    out.write(snapshot.advance(0.0, Clock()))

    def expire() -> None:
        store.tick(NOW_MS + 1000, 1)
        store.expire_due(20)
        store.expire_inside(20)

    found = decoded(finish(snapshot, out, expire), tmp_path)
    assert found.items() <= expected.items()
    for place, kept in expected.items():
        if place[1].startswith(b"{tag}") and int(place[1][5:]) % 2 == 0:
            assert found[place] == kept


def test_a_step_writes_little_whatever_the_value() -> None:
    """A giant is not encoded at one go: each step gives some hundred kilobytes at most."""
    e = new_engine()
    c = Client(e)
    for start in range(0, 60_000, 5000):
        c(b"HSET", b"hash", *[b"%d" % i for i in range(start, start + 10_000)])
        c(b"ZADD", b"zset", *[b"%d" % i for i in range(start, start + 10_000)])
    c(b"SET", b"string", bytes(5 << 20))
    snapshot = start_snapshot(e, {})
    for key in (b"hash", b"zset", b"string"):
        c(b"DEL", key)
    sizes: list[int] = []
    while not snapshot.finished:
        sizes.append(len(snapshot.advance(0.0, Clock())))
    assert max(sizes) < 1 << 18
    assert sum(sizes) > 5 << 20
    snapshot.close()


def test_access_clocks_are_written_when_the_policy_keeps_them(tmp_path: Path) -> None:
    """Idle seconds with an LRU policy, the counter with an LFU one, and they come back when the file is loaded."""
    for policy, clock in ((b"allkeys-lru", (NOW_MS // 1000 - 500) & 0xFFFFFF), (b"allkeys-lfu", 0)):
        e = new_engine()
        c = Client(e)
        c(b"CONFIG", b"SET", b"maxmemory-policy", policy)
        c(b"SET", b"k", b"v")
        slot = key_slot(b"k")
        if policy == b"allkeys-lfu":
            clock = (((NOW_MS // 60000) & 0xFFFF) << 8) | 77
        e.stores[0].set_clock(slot, b"k", clock)
        data = finish(start_snapshot(e, {}), io.BytesIO())
        path = tmp_path / "f.rdb"
        path.write_bytes(data)
        target = PlainStore(1)
        target.track_clock(1 if policy == b"allkeys-lru" else 2)
        with path.open("rb") as file:
            for _ in load(file, [target], NOW_MS, False, []):
                pass
        assert target.clock_of(slot, b"k") == clock


def test_a_snapshot_for_old_servers_uses_what_they_know(tmp_path: Path) -> None:
    """Version 10 for Redis 7.0: sets as lists of members, streams without the newest accounts, no times of fields."""
    e = new_engine()
    c = Client(e)
    fill(c, random.Random(1), 100)
    c(b"SADD", b"packed", b"a", b"b")
    c(b"HSET", b"timed", b"f", b"x")
    c(b"HPEXPIREAT", b"timed", b"%d" % (NOW_MS + 10**6), b"FIELDS", b"1", b"f")
    snapshot = start_snapshot(e, {}, old=True)
    data = finish(snapshot, io.BytesIO())
    assert data.startswith(b"REDIS0010")
    assert b"\x02\x06packed\x02" in data
    assert b"\x04\x05timed\x01\x01f\x01x" in data
    found = decoded(data, tmp_path)
    expected = content(e.stores)  # type: ignore[arg-type]
    assert found.keys() == expected.keys()
    assert found[0, b"packed"] == expected[0, b"packed"]
    assert found[0, b"timed"] == (("hash", {b"f": b"x"}, {}), 0)
