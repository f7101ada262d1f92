"""`kvorum backup` and `kvorum restore` from outside: one instant over all shards, into another number of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from cluster.slots import key_slot
from tests.system.test_up import PATIENCE, House, kvorum, start

BLUEPRINT = """\
sentinels: 1
services:
- {type: keyvalue, name: cache, shards: 3, replicas: 0, ipAllowList: []}
- {type: keyvalue, name: copy, shards: 5, replicas: 0, ipAllowList: []}
"""
LIBRARY = b"#!lua name=tests\nredis.register_function('twice', function(keys, args) return args[1] * 2 end)"
SLOTS = ((0, 5460), (5461, 10922), (10923, 16383))


@pytest.fixture
def house(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[House]:
    """Two services: one of three shards, and an empty one of five."""
    blueprint = tmp_path / "kvorum.yaml"
    ports = [free_port(), free_port()]
    lines = BLUEPRINT.splitlines()
    for number, port in enumerate(ports):
        lines[2 + number] = lines[2 + number].replace("ipAllowList", f"port: {port}, ipAllowList")
    blueprint.write_text("\n".join(lines) + "\n")
    found = start(tmp_path / "home", str(blueprint))
    yield found
    found.stop(signal.SIGTERM)
    assert found.process.stdout is not None
    found.process.stdout.close()


def client(house: House, index: int) -> redis.Redis:
    """A client of a service at its internal endpoint."""
    return redis.Redis.from_url(house.report["services"][index]["internal_url"])


def nodes(house: House, service: str) -> list[redis.Redis]:
    """Clients of all nodes of a service."""
    return [redis.Redis(port=p["port"]) for p in house.report["processes"] if p["service"] == service and p["node"]]


def key_on(shard: int) -> str:
    """A key that belongs to a shard of the three."""
    low, high = SLOTS[shard]
    return next(key for number in range(1000) if low <= key_slot((key := f"mark:{number}").encode()) <= high)


class Writer(threading.Thread):
    """Counts up three keys on three shards, one after the other: each is at most one ahead of the next."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self.keys = [key_on(shard) for shard in range(3)]
        self.count = 0
        self.longest = 0.0
        self._client = client(house, 0)
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            self.count += 1
            for key in self.keys:
                self._client.set(key, self.count)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(PATIENCE)
        self._client.close()


def fill(target: redis.Redis) -> list[str]:
    """Keys of every type, some with times; gives their names."""
    pipe = target.pipeline(transaction=False)
    for number in range(1500):
        pipe.set(f"string:{number}", f"value {number}" * (number % 7))
    for number in range(40):
        pipe.rpush(f"list:{number}", *range(number * 9 + 1))
        pipe.hset(f"hash:{number}", mapping={f"field{i}": i for i in range(number * 9 + 1)})
        pipe.sadd(f"set:{number}", *(f"member{i}" for i in range(number * 9 + 1)))
        pipe.zadd(f"zset:{number}", {f"member{i}": i / 3 for i in range(number * 9 + 1)})
        pipe.xadd(f"stream:{number}", {"field": number})
        pipe.set(f"timed:{number}", number, px=10_000_000 + number)
    pipe.execute()
    return sorted(key.decode() for key in target.scan_iter(count=1000) if not key.startswith(b"mark:"))


def content(target: redis.Redis, keys: list[str]) -> list[object]:
    """DUMP and time of each key; of sets and hashes, which have no order, the members instead."""
    pipe = target.pipeline(transaction=False)
    for key in keys:
        kind = key.partition(":")[0]
        {"set": pipe.smembers, "hash": pipe.hgetall}.get(kind, pipe.dump)(key)
        pipe.pexpiretime(key)
    return pipe.execute()


def restored(house: House, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Restore into the service of five shards."""
    return kvorum(house.home, "restore", str(folder), "copy", *arguments)


def test_three_shards_under_writes_into_five(house: House, tmp_path: Path) -> None:
    """The backup shows one instant of all shards; what it restores is equal, functions and times included."""
    source, copy = client(house, 0), client(house, 1)
    keys = fill(source)
    source.function_load(LIBRARY)
    folder = tmp_path / "backup"
    writer = Writer(house)
    writer.start()
    try:
        done = kvorum(house.home, "backup", "cache", str(folder), "--json")
    finally:
        writer.stop()
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr, events[-1]["event"]) == (0, "", "done")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(os.listdir(folder)) == ["manifest.json", "shard-0.rdb", "shard-1.rdb", "shard-2.rdb"]
    assert manifest["service"] == "cache"
    assert manifest["paused_ms"] <= 1000
    assert sum(shard["keys"] for shard in manifest["shards"]) == len(keys) + 3
    assert [shard["slots"] for shard in manifest["shards"]] == [f"{low}-{high}" for low, high in SLOTS]
    assert all(shard["offset"] > 0 and len(shard["replid"]) == 40 for shard in manifest["shards"])

    back = restored(house, folder)
    assert (back.returncode, back.stderr) == (0, "")
    assert copy.dbsize() == len(keys) + 3
    first, second, third = (int(copy.get(key)) for key in writer.keys)
    assert first >= second >= third >= first - 1
    assert 0 < first < writer.count
    assert content(copy, keys) == content(source, keys)
    for node in nodes(house, "copy"):
        assert node.function_list(withcode=True) == source.function_list(withcode=True)
        node.close()

    for node in nodes(house, "cache"):
        assert node.info("clients")["blocked_clients"] == 0
        node.close()
    replaced(house, folder, copy)
    source.close()
    copy.close()


def replaced(house: House, folder: Path, copy: redis.Redis) -> None:
    """A target that is not empty is left as it is; --replace replaces."""
    count = copy.dbsize()
    copy.set("own", 1)
    assert "'copy' is not empty" in restored(house, folder).stderr
    done = restored(house, folder, "--replace", "--confirm", "copy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (copy.dbsize(), copy.exists("own")) == (count, 0)
