"""Many shards that fail at the same moment: each has elections and epochs of its own."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from tests.conftest import Server, find_free_port, start_server
from tests.system.sentinel_rig import start_genuine_node, wait_for

SHARDS = 8


def watches_all(sentinel: Server) -> bool:
    """Whether a sentinel knows its peers, and the replica of every shard as one that is in sync and may be promoted."""
    client = sentinel.client(decode_responses=True)
    try:
        shards = client.sentinel_masters()
        return len(shards) == SHARDS and all(
            shard["num-other-sentinels"] == 2
            and [replica["master-link-status"] for replica in client.sentinel_slaves(name)] == ["ok"]
            for name, shard in shards.items()
        )
    finally:
        client.close()


def takes_writes(node: Server) -> bool:
    """Whether a node is a primary that serves."""
    client = node.client()
    try:
        return bool(client.set("key", "value"))
    except redis.RedisError:
        return False
    finally:
        client.close()


@pytest.mark.slow
def test_all_primaries_killed_at_once(tmp_path: Path) -> None:
    """Every shard recovers, is switched once for each sentinel, and all sentinels agree on its epoch and primary."""
    primaries: list[Server] = []
    replicas: list[Server] = []
    sentinels: list[Server] = []
    try:
        for _ in range(SHARDS):
            primaries.append(start_genuine_node(tmp_path))
            replicas.append(start_genuine_node(tmp_path, "--replicaof", "127.0.0.1", str(primaries[-1].port)))
        with ThreadPoolExecutor() as pool:
            sentinels += pool.map(lambda port: start_sentinel(tmp_path, port, primaries), find_ports(3))
        wait_for(lambda: all(map(watches_all, sentinels)), "every sentinel to know all shards")
        for primary in primaries:
            primary.process.kill()
        wait_for(lambda: all(map(takes_writes, replicas)), "every shard to take writes again")
        wait_for(lambda: len(set(map(told, sentinels))) == 1, "the sentinels to agree")
        ports = dict(entry[:2] for entry in told(sentinels[0]))
        assert ports == {f"cache-{n}": replica.port for n, replica in enumerate(replicas)}
    finally:
        for server in (*sentinels, *primaries, *replicas):
            server.kill()


def told(sentinel: Server) -> tuple[tuple[str, int, int], ...]:
    """Name, port of the primary and epoch of each shard."""
    client = sentinel.client(decode_responses=True)
    shards = client.sentinel_masters()
    client.close()
    return tuple(sorted((name, s["port"], s["config-epoch"]) for name, s in shards.items()))


def find_ports(count: int) -> list[int]:
    """So many free ports."""
    return [find_free_port() for _ in range(count)]


def start_sentinel(folder: Path, port: int, primaries: list[Server]) -> Server:
    """A sentinel of ours that watches all shards."""
    place = folder / f"sentinel-{port}"
    place.mkdir()
    lines = [f"port {port}", "bind 127.0.0.1", f"dir {place}"]
    for number, primary in enumerate(primaries):
        lines.append(f"sentinel monitor cache-{number} 127.0.0.1 {primary.port} 2")
        lines.append(f"sentinel down-after-milliseconds cache-{number} 5000")
    (place / "sentinel.conf").write_text("\n".join(lines) + "\n")
    return start_server([sys.executable, "-m", "sentinel", str(place / "sentinel.conf")], place, port)
