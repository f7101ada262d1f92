"""`kvorum import`: files of genuine servers into services of one and of many shards; broken files change nothing."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.system.corpus import fill
from tests.system.moving_rig import (
    FAR,
    Mover,
    client_of,
    empty,
    holds,
    import_modes,
    open_house,
    source_process,
    write,
)
from tests.system.test_up import House


@pytest.fixture(scope="module")
def the_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house for all tests of this file."""
    yield from open_house(tmp_path_factory.mktemp("import"))


@pytest.fixture
def house(the_house: House) -> House:
    """The house with empty services."""
    empty(the_house)
    return the_house


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A function that starts genuine servers; they end with the test."""
    servers: list[Server] = []

    def make(kind: str, *directives: str) -> Server:
        servers.append(source_process(kind, tmp_path, *directives))
        return servers[-1]

    yield make
    for server in servers:
        server.stop(signal.SIGKILL)


def folder_of(server: Server) -> Path:
    """Where a server keeps its files."""
    return server.log.parent


def bring(house: House, *arguments: object) -> Mover:
    """`kvorum import` to its end."""
    mover = Mover(house, "import", *map(str, arguments))
    mover.end()
    return mover


def test_a_dump_of_every_encoding(house: House, source: Callable[..., Server]) -> None:
    """All databases of a file of Valkey 9.1 go into one shard, with expiry and functions; what had expired is left out;
    a sharded service refuses it before anything is written, and takes a file that has database 0 alone.
    """
    server = source("valkey", "--maxmemory-policy", "allkeys-lru", "--maxmemory", "1gb")
    client = server.client()
    fill(client, 7, True)
    client.save()
    file = folder_of(server) / "dump.rdb"
    mover = bring(house, file, "one")
    assert mover.process.returncode == 0, mover.events
    done = mover.events[-1]
    assert done["target_keys"] == done["source_keys"] > 100
    with client_of(house, "one") as target:
        for db in range(16):
            assert holds(target, db) == holds(client, db), db
        assert len(target.function_list()) == 2
    mover = bring(house, file, "many")
    assert mover.process.returncode == 1
    assert "a sharded service has database 0 alone" in mover.texts("error")[0]
    with client_of(house, "many") as target:
        assert target.dbsize() == 0
        for db in range(1, 16):
            client.select(db)
            client.flushdb()
        client.select(0)
        client.save()
        mover = bring(house, file, "many")
        assert mover.process.returncode == 0, mover.events
        assert holds(target) == holds(client)
    assert import_modes(house) == {"no"}


def test_an_append_only_set(house: House, source: Callable[..., Server]) -> None:
    """Base and increments of Redis 7.0, with commands over several slots and transactions, go into many shards; an end
    that is torn is left out, and told.
    """
    server = source("redis", "--appendonly", "yes", "--appendfsync", "always")
    client = server.client()
    rng = random.Random(5)
    write(client, rng, 200)
    client.bgrewriteaof()
    while client.info("persistence")["aof_rewrite_in_progress"] or client.info("persistence")["aof_rewrite_scheduled"]:
        time.sleep(0.02)  # another process offers no event
    client.set("short", 1, px=300)
    client.pexpireat("short", FAR)
    write(client, rng, 400)
    expected = holds(client)
    folder = folder_of(server) / "appendonlydir"
    [last] = folder.glob("*.incr.aof")
    with last.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\ntorn\r\n$100\r\nxx")
    mover = bring(house, folder, "many")
    assert mover.process.returncode == 0, mover.events
    assert "are left out" in mover.texts("warning")[0]
    with client_of(house, "many") as target:
        assert holds(target) == expected
        assert target.pexpiretime("short") == FAR


def test_one_append_only_file(house: House, tmp_path: Path) -> None:
    """An old file of commands alone goes in as well; EVAL with keys in it, SELECT within a transaction."""
    file = tmp_path / "appendonly.aof"
    lines = [
        "SELECT 0", "SET a 1", "MULTI", "INCR a", "SELECT 2", "SET b 1", "EXEC", "SELECT 0",
        "EVAL return(redis.call('set',KEYS[1],ARGV[1])) 1 c 3", "SETEX d 1000 x",
    ]  # fmt: skip
    data = b""
    for line in lines:
        words = line.encode().split(b" ")
        data += b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    file.write_bytes(data)
    mover = bring(house, file, "one")
    assert mover.process.returncode == 0, mover.events
    with client_of(house, "one") as target:
        assert sorted(target.keys()) == [b"a", b"c", b"d"]
        assert (target.get("a"), target.get("c")) == (b"2", b"3")
        assert list(holds(target, 2)) == [b"b"]


def test_what_is_broken_changes_nothing(house: House, source: Callable[..., Server], tmp_path: Path) -> None:
    """A damaged file, a file of something else and a folder without a manifest are refused with offset and reason; what
    the target held stays, unless it is replaced on purpose.
    """
    server = source("redis")
    client = server.client()
    client.mset({f"key:{n}": "value" * 9 for n in range(500)})
    client.save()
    data = (folder_of(server) / "dump.rdb").read_bytes()
    broken, other = tmp_path / "broken.rdb", tmp_path / "other.rdb"
    broken.write_bytes(data[:2000] + b"\xff" + data[2001:])
    other.write_bytes(b"PK\x03\x04" + bytes(100))
    with client_of(house, "many") as target:
        target.set("mine", 1)
        for path, expected in (
            (broken, "is broken at offset "),
            (other, "is neither an RDB file"),
            (tmp_path, "no manifest of an append-only file"),
            (folder_of(server) / "dump.rdb", "is not empty (1 keys)"),
        ):
            mover = bring(house, path, "many")
            assert mover.process.returncode == 1
            assert expected in mover.texts("error")[0]
            assert target.keys() == [b"mine"]
        mover = bring(house, folder_of(server) / "dump.rdb", "many", "--replace", "--confirm", "many")
        assert mover.process.returncode == 0, mover.events
        assert target.dbsize() == 500
        assert target.get("mine") is None


def test_large_values_go_in_pieces(house: House, source: Callable[..., Server]) -> None:
    """Containers of many megabytes arrive whole, with their times."""
    server = source("valkey")
    client = server.client()
    rng = random.Random(3)
    large = [b"%d:" % n + rng.randbytes(100_000) for n in range(90)]
    client.rpush("list", *large, *range(10))
    client.hset("hash", mapping={member: n for n, member in enumerate(large)})
    client.zadd("zset", {member: n / 3 for n, member in enumerate(large)})
    client.sadd("set", *large)
    client.execute_command("HPEXPIREAT", "hash", FAR, "FIELDS", 1, large[7])
    client.pexpireat("zset", FAR)
    client.save()
    mover = bring(house, folder_of(server) / "dump.rdb", "many")
    assert mover.process.returncode == 0, mover.events
    with client_of(house, "many") as target:
        assert holds(target) == holds(client)
        assert target.execute_command("HPEXPIRETIME", "hash", "FIELDS", 1, large[7]) == [FAR]
