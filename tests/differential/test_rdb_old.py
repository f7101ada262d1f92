"""RDB as genuine servers write and read it: old payloads restored side by side, and their files decoded here."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from node.rdb.decode import restore
from node.rdb.encode import dump
from node.rdb.file import RdbReader
from node.rdb.reader import RdbError
from tests.conftest import Server, find_free_port, start_server
from tests.unit import old_rdb as old

REDIS = shutil.which("redis-server")
PACKED = (b"listpack", b"intset", b"embstr", b"raw", b"int", b"quicklist", b"stream")


def encoding(value: object) -> bytes:
    """What OBJECT ENCODING would answer, of a string nothing."""
    return b"" if isinstance(value, bytes) else value.encoding()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("name", [*old.VALUES, "field times"])
def test_old_payloads_become_what_they_become_in_valkey(oracle: Server, name: str) -> None:
    """The same elements, encoding and, while it is packed, bytes."""
    kind, value = old.VALUES.get(name, old.FIELD_TIMES)
    payload = old.payload(kind, value)
    client = oracle.client()
    client.flushall()
    client.restore("theirs", 0, payload)
    ours = restore(payload)
    client.restore("ours", 0, dump(ours))
    digests = [client.execute_command("DEBUG", "DIGEST-VALUE", key) for key in ("theirs", "ours")]
    assert digests[0] == digests[1]
    theirs = client.object("encoding", "theirs")
    assert encoding(ours) in (b"", theirs)
    if theirs in PACKED:
        assert dump(ours)[:-10] == client.dump("theirs")[:-10]


CORRUPT = {
    "zipmap twice": (9, old.string(old.zipmap([(b"a", b"1"), (b"a", b"2")]))),
    "zipmap empty": (9, old.string(old.zipmap([]))),
    "zipmap cut": (9, old.string(b"\x01\x03foo\x09\x00bar\xff")),
    "ziplist cut": (10, old.string(old.ziplist([b"a", b"b"])[:-2] + b"\xff")),
    "ziplist empty": (10, old.string(old.ziplist([]))),
    "ziplist count": (13, old.string(old.ziplist([b"a", 1])[:8] + b"\x04\0" + old.ziplist([b"a", 1])[10:])),
    "hash odd": (13, old.string(old.ziplist([b"a", 1, b"b"]))),
    "hash twice": (13, old.string(old.ziplist([b"a", 1, b"a", 2]))),
    "zset twice": (12, old.string(old.ziplist([b"a", 1, b"a", 2]))),
    "zset nan": (12, old.string(old.ziplist([b"a", b"nan"]))),
    "quicklist of nothing": (14, b"\x01" + old.string(old.ziplist([]))),
    "set twice": (2, b"\x02" + old.string(b"a", b"a")),
    "hash table twice": (4, b"\x02" + old.string(b"a", b"1", b"a", b"2")),
    "no members": (2, b"\0"),
    "field time": (22, b"\x01" + old.string(b"a", b"1") + b"\xfb" + b"\xff" * 7),
    "Redis 7.4": (24, b"\x01" + old.string(b"a", b"1") + b"\xff" * 8),
    "module": (7, b"\x81" + old.module_id("ReJSON-RL", 3).to_bytes(8, "big") + b"\0"),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_what_valkey_refuses_is_refused_here(oracle: Server, name: str) -> None:
    """Valkey's default checks refuse these, and so do ours."""
    kind, value = CORRUPT[name]
    payload = old.payload(kind, value)
    client = oracle.client()
    client.flushall()
    with pytest.raises(redis.ResponseError):
        client.restore("k", 0, payload)
    with pytest.raises(RdbError):
        restore(payload)


def fill(client: redis.Redis, full: bool) -> None:
    """Keys of every type and encoding in two databases; `full`: with what Redis 7.0 does not have."""
    client.set("int", 12345)
    client.set("text", "x" * 5000, px=10**10)
    client.set("binary", bytes(range(256)) * 3)
    client.rpush("small list", "a", 1, -70000)
    client.rpush("long list", *(f"item {n}" for n in range(5000)), "y" * 20000)
    client.sadd("numbers", *range(-50, 50), 1 << 40)
    client.sadd("few", "a", "b", 3)
    client.sadd("many", *(f"m{n}" for n in range(3000)))
    client.zadd("small scores", {"a": 1, "b": 2.5, "c": float("inf"), "d": -0.1})
    client.zadd("scores", {f"m{n}": n / 7 for n in range(2000)})
    client.hset("small hash", mapping={"a": 1, "b": "two"})
    client.hset("hash", mapping={f"f{n}": "v" * (n % 90) for n in range(2000)})
    for n in range(300):
        client.xadd("stream", {"n": n, "text": "t" * (n % 40)}, id=f"{n + 1}-1")
    client.xdel("stream", "5-1", "6-1")
    client.xgroup_create("stream", "group", "3-1")
    client.xreadgroup("group", "consumer", {"stream": ">"}, count=20)
    client.function_load("#!lua name=lib\nredis.register_function('f', function() return 1 end)")
    client.execute_command("SELECT", 5)
    client.set("elsewhere", "5", ex=10**6)
    if full:
        client.execute_command("HSETEX", "timed", "PX", 10**10, "FIELDS", 2, "a", "1", "b", "2")
    client.execute_command("SELECT", 0)
    client.save()


def compare(source: redis.Redis, judge: redis.Redis, path: Path) -> RdbReader:
    """Each key of a file as decoded here against its source: the judge, a genuine Valkey, holds both and digests."""
    with path.open("rb") as file:
        r = RdbReader(file, path.stat().st_size)
        keys: dict[int, set[bytes]] = {}
        while r.next():
            keys.setdefault(int(r.dbid), set()).add(r.key)
            source.execute_command("SELECT", int(r.dbid))
            assert r.expire_at == max(source.pexpiretime(r.key), 0)
            judge.restore("theirs", 0, source.dump(r.key), replace=True)
            judge.restore("ours", 0, dump(r.value), replace=True)
            theirs, ours = judge.dump("theirs"), judge.dump("ours")
            digests = [judge.execute_command("DEBUG", "DIGEST-VALUE", key) for key in ("theirs", "ours")]
            assert theirs == ours or digests[0] == digests[1], r.key
            if not isinstance(r.value, bytes):
                assert encoding(r.value) == judge.object("encoding", "theirs"), r.key
    for dbid, found in keys.items():
        source.execute_command("SELECT", dbid)
        assert found == set(source.keys())
    return r


def test_a_file_of_valkey_decodes_to_its_content(oracle: Server, oracle_process: Callable[..., Server]) -> None:
    """Every type and encoding, with and without compression."""
    server = oracle_process("--maxmemory-policy", "allkeys-lfu")
    client = server.client(single_connection_client=True)
    fill(client, True)
    judge = oracle.client()
    r = compare(client, judge, server.log.parent / "dump.rdb")
    assert (r.valkey, len(r.functions), r.aux[b"valkey-ver"][:2]) == (True, 1, b"9.")
    client.config_set("rdbcompression", "no")
    client.execute_command("SELECT", 0)
    client.save()
    compare(client, judge, server.log.parent / "dump.rdb")


@pytest.mark.skipif(REDIS is None, reason="no redis-server here")
def test_a_file_of_redis_decodes_to_its_content(oracle: Server, tmp_path: Path) -> None:
    """The same from genuine Redis 7.0, whose payloads and files are version 10."""
    port = find_free_port()
    command = [str(REDIS), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""]
    server = start_server(command, tmp_path, port)
    try:
        client = server.client(single_connection_client=True)
        fill(client, False)
        r = compare(client, oracle.client(), tmp_path / "dump.rdb")
        assert (r.valkey, len(r.functions), int(r.version)) == (False, 1, 10)
    finally:
        server.stop(signal.SIGKILL)
