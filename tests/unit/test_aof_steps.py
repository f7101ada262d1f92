"""A rewrite of the append-only file, stopped between any two of its steps: the folder always holds a set that loads."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from cluster.resp.encode import encode_request
from cluster.slots import key_slot
from node.clients import set_clock
from node.engine import Engine
from node.lifecycle import build_engine
from node.persistence.aof import AofService, place_of
from node.persistence.aof_load import AofSet, load_set
from node.persistence.aof_writer import AofWriter, FatalError
from node.persistence.loading import LoadError
from node.replication.journal import Stream
from node.session import Session
from node.settings import new_settings

STEPS = ("open", "rename", "unlink", "fsync", "fdatasync")


def new_engine(folder: Path, *options: tuple[str, str]) -> Engine:
    """An engine without sockets, with a journal."""
    settings = new_settings()
    for name, value in (("dir", str(folder)), ("save", ""), *options):
        settings.options.put(name, tuple(value.encode().split()))
    settings.refresh()
    e = build_engine(settings, 1_790_000_000_000, random.Random(1))
    e.journal = Stream()
    set_clock(e)
    return e


def keys(e: Engine) -> set[bytes]:
    """The keys of database 0."""
    return {key for slot in range(16384) if e.stores[0].count(slot) for key, _, _ in e.stores[0].items_in(slot)}


class Folder:
    """Copies a folder before each step of the file system that is taken on it, with what had been acknowledged then."""

    def __init__(self, folder: Path, copies: Path) -> None:
        self.folder = folder
        self.copies = copies
        self.acknowledged: list[bytes] = []
        self.taken: list[tuple[str, Path, int]] = []
        self._inside = threading.local()
        self._lock = threading.Lock()

    def before(self, step: str, call: Callable[..., object]) -> Callable[..., object]:
        """The call with the copying in front of it."""

        def wrapped(*args: object, **more: object) -> object:
            if getattr(self._inside, "now", False):
                return call(*args, **more)
            with self._lock:  # around the step too: it would remove what another thread is copying
                self._inside.now = True
                number = len(self.acknowledged)
                copy = self.copies / str(len(self.taken))
                shutil.copytree(self.folder, copy, ignore_dangling_symlinks=True)
                self.taken.append((step, copy, number))
                self._inside.now = False
                return call(*args, **more)

        return wrapped


async def write_on(e: Engine, folder: Folder) -> None:
    """Write a key every millisecond; acknowledged once the journal was flushed."""
    session = Session(1, e.executor, e.stores[0], e.acl.default_user, 1 << 26, e.now_ms)
    while True:
        key = b"n:%d" % len(folder.acknowledged)
        session.decoder.feed(encode_request([b"SET", key, b"x"]))
        session.executor.run(session)
        session.reply.out.truncate(0)
        e.journal.flush()
        folder.acknowledged.append(key)
        await trio.sleep(0.001)


@pytest.mark.parametrize("policy", ["always", "everysec"])
@pytest.mark.parametrize("first", [False, True])
def test_each_step_leaves_a_set_that_loads(
    first: bool, policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing missing that was acknowledged, but for the first base: until that is there, it is as it was off.

    With everysec the last of what waited for a sync of the same file may be missing.
    """
    source = tmp_path / "source"
    source.mkdir()
    e = new_engine(source, ("appendonly", "yes"), ("appendfsync", policy))
    folder = Folder(source, tmp_path / "copies")

    async def run() -> None:
        service = AofService(e)
        if not first:
            await service.open(AofSet(None))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_on, e, folder)
            await trio.sleep(0.02)
            for step in STEPS:
                monkeypatch.setattr(os, step, folder.before(step, getattr(os, step)))
            nursery.start_soon(service.run)
            if first:
                assert service.judge()
            else:
                service.start_rewrite()
            with trio.fail_after(30):
                while service.rewriting:  # noqa: ASYNC110 - INFO shows it, no event
                    await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        monkeypatch.undo()
        service.close()

    trio.run(run)
    assert {step for step, _, _ in folder.taken} >= {"rename", "fsync", "open"}
    complete = 0
    for step, copy, number in [*folder.taken, ("end", source, len(folder.acknowledged))]:
        other = new_engine(copy, ("appendonly", "yes"))
        found = trio.run(load_set, other, place_of(other))
        acknowledged = folder.acknowledged[:number]
        missing = set(acknowledged) - keys(other)
        if first and (found.manifest is None or not found.manifest.increments):
            assert complete == 0, step
            continue
        complete += 1
        assert missing == set(acknowledged[number - len(missing) :]), step
        assert not missing or policy == "everysec", step
        assert all(other.stores[0].peek(key_slot(key), key) == b"x" for key in keys(other))
    assert complete > 1


# --- the writer
def opened(path: Path) -> int:
    """A descriptor to append to."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def test_a_write_waits_two_seconds_for_a_sync(tmp_path: Path) -> None:
    """Then it is written whatever the sync does, and counted; without a sync it is written at once."""
    path = tmp_path / "aof"
    writer = AofWriter()
    writer.obey("everysec")
    writer.switch(opened(path), 0)
    writer.append(b"one", 3)
    writer.flush(100.0)
    assert path.read_bytes() == b"one"
    assert writer.begin_sync() == 3
    writer.append(b"two", 6)
    for now in (100.5, 101.0, 102.4):
        writer.flush(now)
        assert path.read_bytes() == b"one"
    writer.flush(102.6)
    assert (path.read_bytes(), writer.delayed) == (b"onetwo", 1)
    writer.end_sync(3, "")
    assert (writer.synced, writer.unsynced, writer.written) == (3, True, 6)


@pytest.mark.parametrize("policy", ["no", "always"])
def test_only_everysec_waits_for_a_sync(policy: str, tmp_path: Path) -> None:
    """With the other policies the system has what is acknowledged, whoever syncs the file: SIGKILL takes nothing."""
    path = tmp_path / "aof"
    writer = AofWriter()
    writer.obey(policy)
    writer.switch(opened(path), 0)
    writer.append(b"one", 3)
    writer.flush(100.0)
    writer.begin_sync()
    writer.append(b"two", 6)
    writer.flush(100.1)
    assert (path.read_bytes(), writer.buffered) == (b"onetwo", 0)


@pytest.mark.parametrize("running", [False, True])
def test_the_sync_of_the_file_before_holds_nothing_back(running: bool, tmp_path: Path) -> None:
    """After a switch commands are written at once; they count as synced once both files are, in their order."""
    writer = AofWriter()
    writer.obey("everysec")
    writer.switch(opened(tmp_path / "one"), 0)
    writer.append(b"one", 3)
    writer.flush(100.0)
    offset = writer.begin_sync() if running else 0
    assert writer.switch(opened(tmp_path / "two"), 0) >= 0
    writer.append(b"two", 6)
    writer.flush(100.1)
    assert (tmp_path / "two").read_bytes() == b"two"
    if running:
        writer.end_sync(offset, "")
    assert writer.retiring and writer.unsynced
    assert writer.begin_sync() == 3
    writer.append(b"more", 10)
    writer.flush(100.2)
    assert (tmp_path / "two").read_bytes() == b"twomore"
    writer.end_sync(3, "")
    assert (writer.synced, writer.unsynced, writer.retiring) == (3, True, False)
    assert writer.begin_sync() == 10


def test_always_claims_nothing_before_the_file_before_is_synced(tmp_path: Path) -> None:
    """A policy that changes between a switch and the sync of the file before must not hide what that still lacks."""
    writer = AofWriter()
    writer.obey("no")
    writer.switch(opened(tmp_path / "one"), 0)
    writer.append(b"one", 3)
    writer.flush(100.0)
    writer.switch(opened(tmp_path / "two"), 0)
    writer.obey("always")
    writer.append(b"two", 6)
    writer.flush(100.1)
    assert (writer.synced, writer.unsynced) == (0, False)
    writer.end_sync(writer.begin_sync(), "")
    assert writer.synced == 3


def test_half_a_write_is_taken_back_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the file ends with a whole command; the state of errors is told when it changes."""
    path = tmp_path / "aof"
    writer = AofWriter()
    writer.switch(opened(path), 0)
    write = os.write
    left = [4]

    def full(descriptor: int, data: bytes) -> int:
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        done = write(descriptor, bytes(data)[: left[0]])
        left[0] -= done
        return done

    monkeypatch.setattr(os, "write", full)
    writer.append(b"hello world", 11)
    assert writer.flush(1.0)
    assert (path.read_bytes(), writer.error, writer.buffered) == (b"", "No space left on device", 11)
    writer.append(b"!", 12)
    assert not writer.flush(1.05)
    left[0] = 100
    assert not writer.flush(1.05)  # too early for another try
    assert writer.flush(1.2)
    assert (path.read_bytes(), writer.error, writer.written) == (b"hello world!", "", 12)


def test_always_raises_rather_than_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed sync is no less fatal than a failed write."""

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    writer = AofWriter()
    writer.obey("always")
    writer.switch(opened(tmp_path / "aof"), 0)
    writer.append(b"a", 1)
    writer.flush(1.0)
    assert writer.synced == 1
    monkeypatch.setattr(os, "fdatasync", fail)
    writer.append(b"b", 2)
    with pytest.raises(FatalError, match="Input/output error"):
        writer.flush(2.0)
    assert writer.synced == 1


# --- loading
def placed(folder: Path, data: bytes) -> Path:
    """A set of one appended file with this content."""
    place = folder / "appendonlydir"
    place.mkdir(exist_ok=True)
    (place / "appendonly.aof.manifest").write_bytes(b"file appendonly.aof.1.incr.aof seq 1 type i\n")
    (place / "appendonly.aof.1.incr.aof").write_bytes(data)
    return place / "appendonly.aof.1.incr.aof"


def loaded(e: Engine) -> dict[bytes, object]:
    """Load the set into the emptied engine. Raises LoadError."""
    for store in e.stores:
        store.clear()
    trio.run(load_set, e, place_of(e))
    return {key: e.stores[0].peek(key_slot(key), key) for key in keys(e)}


def test_a_torn_end_is_cut_at_every_byte(tmp_path: Path) -> None:
    """Of the last command, and of a transaction that is the last: nothing of it is executed."""
    e = new_engine(tmp_path)
    head = encode_request([b"SELECT", b"0"]) + encode_request([b"SET", b"a", b"1"])
    last = encode_request([b"SET", b"a", b"2"])
    transaction = b"".join(map(encode_request, ([b"MULTI"], [b"SET", b"a", b"2"], [b"SET", b"b", b"2"], [b"EXEC"])))
    for tail in (last, transaction):
        for cut in range(len(tail)):
            path = placed(tmp_path, head + tail[:cut])
            assert loaded(e) == {b"a": b"1"}, cut
            assert path.read_bytes() == head
        placed(tmp_path, head + tail)
        assert loaded(e)[b"a"] == b"2"


def test_a_lost_manifest_loses_nothing(tmp_path: Path) -> None:
    """A base and one file appended to it are the set; where several can be meant the start stops, and all stay."""
    e = new_engine(tmp_path)
    appended = placed(tmp_path, b"")
    folder = appended.parent
    (folder / "appendonly.aof.manifest").unlink()
    (folder / "appendonly.aof.4.base.aof").write_bytes(encode_request([b"SET", b"a", b"1"]))
    appended.write_bytes(encode_request([b"SET", b"b", b"1"]))
    assert loaded(e) == {b"a": b"1", b"b": b"1"}
    assert (folder / "appendonly.aof.manifest").read_bytes() == (
        b"file appendonly.aof.4.base.aof seq 4 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
    )
    (folder / "appendonly.aof.manifest").unlink()
    (folder / "appendonly.aof.2.incr.aof").write_bytes(b"")
    with pytest.raises(LoadError, match=r"missing.*appendonly\.aof\.1\.incr\.aof"):
        loaded(e)
    assert appended.exists() and not (folder / "appendonly.aof.manifest").exists()


COMMANDS = (
    (b"SET", b"s", b"value", b"PX", b"100000"), (b"RPUSH", b"l", b"a", b"b"), (b"SADD", b"set", b"1", b"x"),
    (b"ZADD", b"z", b"1.5", b"m"), (b"HSET", b"h", b"f", b"v"), (b"XADD", b"x", b"1-1", b"f", b"v"),
    (b"XGROUP", b"CREATE", b"x", b"g", b"0"), (b"SETBIT", b"bits", b"77", b"1"), (b"PFADD", b"hll", b"a"),
    (b"EVAL", b"return redis.call('incr', KEYS[1])", b"1", b"n"), (b"LPOP", b"l"), (b"SELECT", b"3"), (b"MULTI",),
    (b"EXPIRE", b"s", b"100"), (b"EXEC",), (b"SELECT", b"0"), (b"COPY", b"h", b"h2"), (b"SORT", b"l", b"STORE", b"l2"),
    (b"BLPOP", b"none", b"0"), (b"SUBSCRIBE", b"c"), (b"SHUTDOWN",), (b"FLUSHALL",), (b"DEL", b"s"), (b"PING",),
)  # fmt: skip


def test_mutated_files_are_refused_or_loaded(tmp_path: Path) -> None:
    """Of a thousand none does anything else, whatever it asks for."""
    e = new_engine(tmp_path)
    rng = random.Random(9)
    kept = 0
    refusals: list[str] = []
    for _ in range(1000):
        chosen = [COMMANDS[rng.randrange(len(COMMANDS))] for _ in range(8)]
        data = bytearray(b"".join(map(encode_request, chosen)))
        for _ in range(rng.randrange(3)):
            data[rng.randrange(len(data))] = rng.choice(b"\r\n*$0189x#-\0\xff")
        placed(tmp_path, bytes(data))
        try:
            loaded(e)
            kept += 1
        except LoadError as error:
            refusals.append(str(error))
        assert not e.shutdown_asked and not e.replication.loading
    assert kept > 200 and len(refusals) > 100
    assert all("kvorum check" in refusal for refusal in refusals)
