"""Expiry and eviction with a replica: the primary decides, the replica has what the primary has."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.conftest import Server
from tests.system.test_replication import in_sync, until

KEYS = 3000


def pair(node_process: Callable[..., Server], primary: list[str], replica: list[str]) -> tuple[Server, Server]:
    """A primary and its replica, in sync."""
    first = node_process(*primary)
    second = node_process(*replica, "--replicaof", "127.0.0.1", str(first.port))
    until(lambda: in_sync(first.client(), second.client()), "the replica is in sync")
    return first, second


def names(server: Server) -> set[bytes]:
    """All keys that are stored."""
    return set(server.client().scan_iter(count=1000))


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-ttl"])
def test_a_replica_loses_what_its_primary_evicts(node_process: Callable[..., Server], policy: str) -> None:
    """Both have the same keys when the primary has evicted many; the replica, of less memory, evicts none itself."""
    limits = ["--maxmemory", "600kb", "--maxmemory-policy", policy]
    first, second = pair(node_process, limits, ["--maxmemory", "1kb", "--maxmemory-policy", "allkeys-random"])
    pipe = first.client().pipeline(transaction=False)
    for i in range(KEYS):
        pipe.set(f"key:{i}", "x" * 300, ex=1000 + i)
    pipe.execute()

    def alike() -> bool:
        """Now: a key more may go whenever cron has counted the clients' buffers."""
        kept = names(first)
        evicted = first.client().info("stats")["evicted_keys"]
        return 0 < len(kept) < KEYS and names(second) == kept and evicted == KEYS - len(kept)

    until(alike, "both hold what was not evicted")
    assert second.client().info("stats")["evicted_keys"] == 0


def test_a_replica_that_becomes_primary_evicts_at_once(node_process: Callable[..., Server]) -> None:
    """Without any command that would make it: what is too much goes by itself, in slices."""
    limits = ["--maxmemory", "300kb", "--maxmemory-policy", "allkeys-random"]
    first, second = pair(node_process, [], limits)
    pipe = first.client().pipeline(transaction=False)
    for i in range(KEYS):
        pipe.set(f"key:{i}", "x" * 300)
    pipe.execute()
    until(lambda: in_sync(first.client(), second.client()), "all keys have arrived")
    client = second.client()
    assert client.dbsize() == KEYS
    client.execute_command("REPLICAOF", "NO", "ONE")
    until(lambda: client.info("memory")["used_memory"] <= 300 * 1024, "the memory is within its bounds")
    assert 0 < client.dbsize() < KEYS


def test_many_keys_of_one_instant_expire_everywhere(node_process: Callable[..., Server]) -> None:
    """Keys with a common time go by themselves from the primary, and by its word from the replica; others stay."""
    first, second = pair(node_process, [], [])
    client = first.client()
    instant = int(time.time() * 1000) + 1500
    pipe = client.pipeline(transaction=False)
    for i in range(KEYS):
        pipe.set(f"key:{i}", i, pxat=instant)
        pipe.hset(f"hash:{i % 50}", f"f{i}", i)
    pipe.execute()
    until(lambda: client.dbsize() == 50, "all have expired")
    until(lambda: in_sync(client, second.client()), "the replica has heard")
    assert second.client().dbsize() == 50
    assert client.info("stats")["expired_keys"] == KEYS
