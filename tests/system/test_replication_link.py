"""The link to a primary, which the test plays: where it is continued, what is acknowledged, what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from node.rdb.file import END, RdbReader
from tests.conftest import Server
from tests.system.fake_primary import ID, FakePrimary, command, empty_snapshot
from tests.system.test_replication import until


@pytest.fixture
def fake() -> Iterator[FakePrimary]:
    """A primary that the test plays."""
    made = FakePrimary()
    yield made
    made.close()


def followed(node_process: Callable[..., Server], fake: FakePrimary, *directives: str) -> Server:
    """A node that follows it."""
    return node_process("--replicaof", f"127.0.0.1 {fake.port}", "--repl-timeout", "5", *directives)


FIRST = command(b"SELECT", b"3") + command(b"INCR", b"n")


@pytest.mark.parametrize(
    "half",
    [
        command(b"SET", b"a", b"b")[:9],
        command(b"MULTI") + command(b"INCR", b"n") + command(b"INCR", b"n"),
        command(b"RPUSH", b"l", *[b"x"] * 9)[:-5],
        command(b"SET", b"a", b"x" * 100_000)[:70_000],
    ],
    ids=["command", "transaction", "arguments", "large"],
)
def test_a_broken_link_is_continued_from_whole_commands(
    node_process: Callable[..., Server], fake: FakePrimary, half: bytes
) -> None:
    """What came in half is not counted: after the break the replica asks for it anew, and in the same database."""
    node = followed(node_process, fake)
    assert fake.meet() == [b"PSYNC", b"?", b"-1"]
    fake.full_sync(100)
    fake.send(FIRST + half)
    fake.acknowledged(100 + len(FIRST))
    fake.hang_up()
    assert fake.meet() == [b"PSYNC", ID, b"%d" % (101 + len(FIRST))]
    fake.send(b"+CONTINUE\r\n" + command(b"INCR", b"n"))
    fake.acknowledged(100 + len(FIRST) + len(command(b"INCR", b"n")))
    assert node.client(db=3).get("n") == b"2"


def test_the_snapshot_tells_the_database_of_the_stream(node_process: Callable[..., Server], fake: FakePrimary) -> None:
    """A primary that is itself a replica passes on a stream whose last SELECT came before its snapshot."""
    node = followed(node_process, fake)
    fake.meet()
    fake.full_sync(7, {b"repl-stream-db": b"5"})
    fake.send(command(b"SET", b"a", b"1"))
    fake.acknowledged(7 + len(command(b"SET", b"a", b"1")))
    assert node.client(db=5).get("a") == b"1"


def test_many_questions_at_once(node_process: Callable[..., Server], fake: FakePrimary) -> None:
    """GETACK after GETACK while acknowledgements are on their way: each is answered, by one writer at a time."""
    followed(node_process, fake)
    fake.meet()
    fake.full_sync(1)
    question = command(b"REPLCONF", b"GETACK", b"*")
    offset = 1
    for _ in range(300):
        fake.send(question)
        offset += len(question)
        fake.acknowledged(offset)


def test_a_snapshot_that_breaks_leaves_no_history(node_process: Callable[..., Server], fake: FakePrimary) -> None:
    """After a snapshot that could not be loaded the replica is empty, and asks for all of it instead of the rest."""
    node = followed(node_process, fake)
    fake.meet()
    fake.full_sync(1)
    fake.send(command(b"SET", b"a", b"1"))
    until(lambda: node.client().get("a") == b"1", "the first sync")
    fake.hang_up()
    assert fake.meet()[1] == ID
    fake.send(b"+FULLRESYNC %b 5\r\n$20\r\nREDIS0011 and no more" % (b"d" * 40))
    fake.hang_up()
    assert fake.meet() == [b"PSYNC", b"?", b"-1"]
    assert node.client().dbsize() == 0


def test_a_snapshot_that_is_cut_short_costs_no_data(node_process: Callable[..., Server], fake: FakePrimary) -> None:
    """Until the snapshot is whole the old data are served, and nothing is left in the folder."""
    node = followed(node_process, fake)
    fake.meet()
    fake.full_sync(1)
    fake.send(command(b"SET", b"a", b"1"))
    until(lambda: node.client().get("a") == b"1", "the first sync")
    fake.hang_up()
    fake.meet()
    fake.send(b"+FULLRESYNC %b 5\r\n$1000\r\nREDIS0011" % (b"d" * 40))
    fake.hang_up()
    assert fake.meet() == [b"PSYNC", ID, b"%d" % (2 + len(command(b"SET", b"a", b"1")))]
    assert node.client().get("a") == b"1"
    assert list(node.log.parent.glob("sync-*")) == []


@pytest.mark.parametrize("way", ["on-empty-db", "flush-before-load"])
def test_diskless_load(node_process: Callable[..., Server], fake: FakePrimary, way: str) -> None:
    """A snapshot is taken without a file in the folder, which may even be read-only."""
    node = followed(node_process, fake, "--repl-diskless-load", way)
    fake.meet()
    snapshot = b"x" * 40
    fake.send(b"+FULLRESYNC %b 5\r\n$EOF:%b\r\n" % (ID, snapshot))
    until(lambda: node.client().info("replication")["master_sync_in_progress"] == 1, "the sync begins")
    assert list(node.log.parent.glob("sync-*")) == []
    fake.hang_up()
    fake.meet()
    fake.full_sync(9)
    fake.acknowledged(9)


def test_a_primary_without_psync(node_process: Callable[..., Server], fake: FakePrimary) -> None:
    """An old primary, or a service that has PSYNC switched off, is followed by SYNC."""
    node = followed(node_process, fake)
    assert fake.meet()[0] == b"PSYNC"
    fake.send(b"-ERR unknown command 'PSYNC'\r\n")
    assert fake.read() == [b"SYNC"]
    snapshot = empty_snapshot({})
    fake.send(b"$%d\r\n" % len(snapshot) + snapshot + command(b"SET", b"a", b"1"))
    until(lambda: node.client().get("a") == b"1", "the stream")


@pytest.mark.parametrize("stream", [b"*1\r\n+PING\r\n", b"*x\r\n", b"*1\r\n$99999999999999999\r\n"])
def test_nonsense_ends_the_link(node_process: Callable[..., Server], fake: FakePrimary, stream: bytes) -> None:
    """A stream that is none is refused; the node goes on and asks again from where it stood."""
    followed(node_process, fake)
    fake.meet()
    fake.full_sync(1)
    fake.send(command(b"SET", b"a", b"1"))
    fake.acknowledged(1 + len(command(b"SET", b"a", b"1")))
    fake.send(stream)
    assert fake.meet() == [b"PSYNC", ID, b"%d" % (2 + len(command(b"SET", b"a", b"1")))]


# --- what files tell
def fields_of(path: Path) -> dict[bytes, bytes]:
    """The fields of an RDB file that concern replication."""
    with path.open("rb") as file:
        reader = RdbReader(file, os.fstat(file.fileno()).st_size)
        while reader.advance() != END:
            pass
        return {name: value for name, value in reader.aux.items() if name.startswith(b"repl-")}


def test_files_tell_where_the_stream_stood(node_process: Callable[..., Server], fake: FakePrimary) -> None:
    """As Valkey: nothing of a primary that nobody followed or of a base; ID, offset and database of a replica."""
    alone = node_process("--enable-debug-command", "yes")
    alone.client().save()
    assert fields_of(alone.log.parent / "dump.rdb") == {}

    node = followed(node_process, fake, "--appendonly", "yes")
    fake.meet()
    fake.full_sync(100)
    fake.send(FIRST)
    fake.acknowledged(100 + len(FIRST))
    node.client().save()
    expected = {b"repl-stream-db": b"3", b"repl-id": ID, b"repl-offset": b"%d" % (100 + len(FIRST))}
    assert fields_of(node.log.parent / "dump.rdb") == expected
    until(lambda: list(node.log.parent.glob("appendonlydir/*.base.rdb")) != [], "a base")
    for base in node.log.parent.glob("appendonlydir/*.base.rdb"):
        assert fields_of(base) == {}

    node.client().execute_command("REPLICAOF", "NO", "ONE")
    client = redis.Redis(port=node.port, db=4)
    client.set("b", 2)
    client.save()
    told = client.info("replication")
    client.close()
    assert fields_of(node.log.parent / "dump.rdb") == {
        b"repl-stream-db": b"4", b"repl-id": told["master_replid"].encode(),
        b"repl-offset": b"%d" % told["master_repl_offset"],
    }  # fmt: skip
