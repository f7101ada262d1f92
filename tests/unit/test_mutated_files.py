"""Thousands of damaged RDB and append-only files through the loader: each is refused with offset and reason, or loads,
and then whatever it brought is sound: it can be read, changed, saved and loaded again.

A run prints nothing unless a file does anything else; then its seed, which `KVORUM_SEEDS=seed` makes again.
"""

from __future__ import annotations

import re
import resource
from pathlib import Path
from random import Random

import pytest

from cluster.resp.encode import encode_request
from node.clients import set_clock
from node.engine import Engine
from node.lifecycle import build_engine
from node.persistence.aof import place_of
from node.persistence.aof_load import load_set_now
from node.persistence.loading import load_now
from node.persistence.snapshot import start_snapshot
from node.replication.journal import Stream as Journal
from node.session import Session
from node.settings import new_settings
from tests.unit import old_rdb as old
from tests.unit.mutations import Mutator, broken_commands, seeds
from tests.unit.test_rdb_decode_old import whole

NOW_MS = 1_790_000_000_000
GROWTH = 200 << 10  # KB that the process may grow by while it loads thousands of files
SMALL = b"""CONFIG SET hash-max-listpack-entries 4 set-max-listpack-entries 4 zset-max-listpack-entries 4
 set-max-intset-entries 5 list-max-listpack-size 3 hash-max-listpack-value 20 stream-node-max-entries 3""".split()
FILL = [line.split() for line in (
    b"SET num -70000", b"SET text some-text", b"SET lzf " + b"ab" * 300, b"SET volatile x PXAT 4000000000000",
    b"RPUSH list a b c 1 2 3 d e f g h " + b"x" * 40, b"RPUSH short a -5", b"SADD ints 1 2 -40000",
    b"SADD many a b c d e f g", b"SADD few a 1 b", b"SADD wide 1 2 3 4 5 6 7 8",
    b"HSET packed a 1 b two", b"HSET table a 1 b 2 c 3 d 4 e 5", b"HSET timed a 1 b 2",
    b"HPEXPIREAT timed 4000000000000 FIELDS 1 a", b"ZADD zpacked 1 a 2.5 b",
    b"ZADD zmany 1 a 1 b 2 c 3.25 d -inf e 7 f",
    b"XADD stream 1-1 f v g w", b"XADD stream 1-2 f x g y", b"XADD stream 2-1 other 1", b"XADD stream 3-1 f v g w",
    b"XADD stream 9-1 f v g w", b"XDEL stream 1-2", b"XGROUP CREATE stream g 0", b"XGROUP CREATE stream h 2-1",
    b"XREADGROUP GROUP g alice COUNT 2 STREAMS stream >", b"XREADGROUP GROUP g bob COUNT 1 STREAMS stream >",
    b"PFADD hll a b c", b"SELECT 3", b"SET elsewhere 1", b"SELECT 0",
)]  # fmt: skip
# What is done to a value that came from a damaged file; ? is its key.
USES: dict[bytes, tuple[bytes, ...]] = {
    b"string": (b"GET ?", b"APPEND ? x", b"STRLEN ?", b"GETRANGE ? 0 -1"),
    b"list": (b"LRANGE ? 0 -1", b"LPUSH ? x", b"RPOP ?", b"LINSERT ? BEFORE a y", b"LREM ? 0 a", b"LTRIM ? 1 -2"),
    b"set": (b"SMEMBERS ?", b"SADD ? 1 x yy", b"SREM ? a 1", b"SPOP ?", b"SISMEMBER ? b"),
    b"hash": (b"HGETALL ?", b"HSET ? a x new 1", b"HDEL ? b", b"HINCRBY ? count 1", b"HPTTL ? FIELDS 1 a"),
    b"zset": (b"ZRANGE ? 0 -1 WITHSCORES", b"ZADD ? 5 new 0 a", b"ZRANK ? b", b"ZPOPMIN ?", b"ZCOUNT ? -inf 3"),
    b"stream": (b"XINFO STREAM ? FULL", b"XADD ? * f v", b"XRANGE ? - +", b"XREADGROUP GROUP g alice STREAMS ? >",
                b"XPENDING ? g - + 10", b"XAUTOCLAIM ? g bob 0 0", b"XDEL ? 1-1", b"XTRIM ? MAXLEN 2"),
}  # fmt: skip


class Node:
    """An engine without sockets and a client of it."""

    def __init__(self, folder: Path) -> None:
        settings = new_settings()
        for name, value in (("dir", str(folder)), ("save", "")):
            settings.options.put(name, tuple(value.encode().split()))
        settings.refresh()
        self.engine: Engine = build_engine(settings, NOW_MS, Random(1))
        self.engine.journal = Journal()
        self.engine.now_ms = NOW_MS
        set_clock(self.engine)
        self.session = Session(1, self.engine.executor, self.engine.stores[0], self.engine.acl.default_user, 1 << 26, 0)

    def do(self, words: list[bytes], name: str = "") -> bytes:
        """The reply to a command; an internal error is a fault."""
        self.session.decoder.feed(encode_request(words))
        self.session.executor.run(self.session)
        reply = self.session.reply.out.getvalue()
        self.session.reply.out.truncate(0)
        assert b"internal error" not in reply, f"{name}: {words[:3]} answers {reply[:200]!r}"
        return reply

    def fill(self) -> None:
        """Small values of every type and encoding."""
        assert self.do(SMALL) == b"+OK\r\n"
        for words in FILL:
            assert not self.do(words).startswith(b"-"), words

    def file(self) -> bytes:
        """The RDB file of what is there."""
        snapshot = start_snapshot(self.engine, {})
        data = snapshot.advance(float("inf"), lambda: 0.0)
        assert snapshot.finished
        snapshot.close()
        return data

    def sound(self, rng: Random, name: str) -> None:
        """See that every value is whole, and use some of them."""
        found: list[tuple[int, bytes, object]] = []
        for dbid, store in enumerate(self.engine.stores):
            for slot in store.occupied_slots():  # type: ignore[attr-defined]
                found += [(dbid, key, value) for key, value, _ in store.items_in(slot)]
        for _, _, value in found:
            whole(value, name)
        for dbid, key, _ in rng.sample(found, min(4, len(found))):
            self.do([b"SELECT", b"%d" % dbid], name)
            kind = self.do([b"TYPE", key], name)[1:-2]
            uses = USES.get(kind, ())
            for use in rng.sample(uses, min(3, len(uses))):
                self.do([key if word == b"?" else word for word in use.split()], name)
        self.do([b"SELECT", b"0"], name)
        if rng.random() < 0.1:
            self.engine.journal = Journal()  # it would grow without end


def peak() -> int:
    """The most memory that this process has had, in KB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def sources(node: Node) -> list[bytes]:
    """Sound files: all values that old servers wrote, each of them alone, and what we write."""
    node.fill()
    values = [*old.VALUES.values(), old.FIELD_TIMES]
    single = [old.file(bytes([kind]) + old.string(b"k") + value, b"VALKEY080") for kind, value in values]
    return [old.all_values(), *[node.file()] * 8, *(data for data in single if len(data) < 2000)]


def damaged_snapshots(folder: Path, run: range) -> tuple[int, int]:
    """Load the damaged files of these seeds; how many were loaded, and refused."""
    node = Node(folder)
    mutator = Mutator(sources(node))
    path = folder / "dump.rdb"
    loaded = 0
    for seed in run:
        rng = Random(seed)
        data = mutator.file(rng)
        path.write_bytes(data)
        reason = load_now(node.engine, path, True)
        if reason:
            offset = re.match(rb"RDB, offset (\d+): ..", reason)
            assert offset and int(offset[1]) <= len(data), f"seed {seed}: {reason!r}"
        else:
            loaded += 1
            node.sound(rng, f"seed {seed}")
    return loaded, len(run) - loaded


@pytest.mark.parametrize(
    "number", [pytest.param(600, id="some"), pytest.param(7000, id="many", marks=pytest.mark.slow)]
)
def test_damaged_rdb_files(number: int, tmp_path: Path) -> None:
    """Refused with an offset inside the file, or loaded with sound values."""
    before = peak()
    loaded, refused = damaged_snapshots(tmp_path, seeds(number))
    assert peak() - before < GROWTH
    if len(seeds(number)) > 100:
        assert loaded > number // 20 and refused > number // 2


# --- append-only files
APPENDED = [line.split() for line in (
    b"SELECT 0", b"SET a 1", b"SET num 5 PXAT 4000000000000", b"MULTI", b"INCR num", b"RPUSH list x y", b"EXEC",
    b"HSET packed c 3", b"HPEXPIREAT table 4000000000000 FIELDS 1 a", b"ZADD zmany 9 new", b"SELECT 3", b"SADD s a b",
    b"XADD stream 10-1 f v", b"SELECT 0", b"XADD stream 11-1 f v",
    b"XCLAIM stream g bob 0 1-1 TIME 5 RETRYCOUNT 2 FORCE",
    b"XGROUP SETID stream g 10-1 ENTRIESREAD 3", b"DEL text short", b"RENAME few fewer",
    b"PEXPIREAT many 4000000000000",
    b"SETBIT bits 70 1", b"PFADD hll d", b"LSET list 0 z", b"COPY zpacked zcopy", b"SWAPDB 0 3", b"SPOP many",
)]  # fmt: skip
MANIFEST = b"file a.1.base.%b seq 1 type b\nfile a.1.incr.aof seq 1 type i\nfile a.2.incr.aof seq 2 type i\n"


def placed(folder: Path, base: bytes, rdb: bool, rng: Random, mutator: Mutator, appended: bytes) -> None:
    """A set of files of which one is damaged; the base is an RDB file, has one at its front, or is commands."""
    names = [b"manifest", b"a.1.base.rdb" if rdb else b"a.1.base.aof", b"a.1.incr.aof", b"a.2.incr.aof"]
    files = dict(zip(names, (MANIFEST % (b"rdb" if rdb else b"aof"), base, appended[:300], appended), strict=True))
    files[names[2]] = b"#TS:1700000000\r\n" + appended
    broken = rng.choices(names, [1, 3, 3, 4])[0]
    data = files[broken]
    files[broken] = mutator.file(rng) if rdb and broken == names[1] else broken_commands(data, rng)
    folder.mkdir(exist_ok=True)
    for old_one in folder.iterdir():
        old_one.unlink()
    for name, data in files.items():
        (folder / ("a.manifest" if name == b"manifest" else name.decode())).write_bytes(data)


def damaged_sets(folder: Path, run: range) -> tuple[int, int]:
    """Load the damaged sets of these seeds; how many were loaded, and refused."""
    node = Node(folder)
    mutator = Mutator(sources(node))
    snapshot = node.file()
    appended = b"".join(map(encode_request, APPENDED))
    commands = b"".join(map(encode_request, FILL))
    node.do([b"CONFIG", b"SET", b"appendfilename", b"a"])
    node.engine.settings.options.put("appendfilename", (b"a",))
    place = place_of(node.engine)
    loaded = 0
    for seed in run:
        rng = Random(seed)
        rdb = rng.random() < 0.5
        base = snapshot if rdb else rng.choice((commands, snapshot + commands))
        node.do([b"CONFIG", b"SET", b"aof-load-truncated", rng.choice((b"yes", b"no"))])
        placed(place.folder, base, rdb, rng, mutator, appended)
        reason = load_set_now(node.engine, place)
        if reason:
            told = re.search(rb"offset \d+: |line \d+|No such file|names no file|no append-only|longer than", reason)
            told = (b"kvorum check" in reason and told) or reason == b"there is no append-only file"
            assert told, f"seed {seed}: {reason!r}"
        else:
            loaded += 1
            node.sound(rng, f"seed {seed}")
        assert not node.engine.replication.loading and not node.engine.shutdown_asked, f"seed {seed}"
    return loaded, len(run) - loaded


@pytest.mark.parametrize(
    "number", [pytest.param(300, id="some"), pytest.param(3000, id="many", marks=pytest.mark.slow)]
)
def test_damaged_append_only_files(number: int, tmp_path: Path) -> None:
    """The same of a set of base, appended files and manifest, of which one is damaged."""
    before = peak()
    loaded, refused = damaged_sets(tmp_path, seeds(number))
    assert peak() - before < GROWTH
    if len(seeds(number)) > 100:
        assert loaded > number // 20 and refused > number // 4
