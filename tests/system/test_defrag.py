"""Active defragmentation through a socket: fragmentation falls while clients are served."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import redis

from node import stores
from tests.conftest import Server
from tests.system.test_replication import until

KEYS = 100_000

built = pytest.mark.skipif(stores.choose() != stores.COMPACT, reason="memory is the interpreter's on the plain store")


def fill_and_thin(client: redis.Redis) -> dict[str, str]:
    """As many small keys, of which a random twelfth is left: what those hold."""
    rng = random.Random(5)
    pipe = client.pipeline(transaction=False)
    for at in range(0, KEYS, 10_000):
        pipe.mset({f"key:{i:08}": f"{i:08}" * 15 for i in range(at, at + 10_000)})
    pipe.execute()
    kept = {f"key:{i:08}": f"{i:08}" * 15 for i in rng.sample(range(KEYS), KEYS // 12)}
    gone = [name for name in (f"key:{i:08}" for i in range(KEYS)) if name not in kept]
    for at in range(0, len(gone), 10_000):
        pipe.delete(*gone[at : at + 10_000])
    pipe.execute()
    return kept


def sparse(client: redis.Redis) -> tuple[int, float]:
    """Bytes held for nothing, and the ratio."""
    info = client.info("memory")
    return info["allocator_frag_bytes"], info["allocator_frag_ratio"]


def check(client: redis.Redis, kept: dict[str, str]) -> None:
    """Everything is still there."""
    names = list(kept)
    assert client.dbsize() == len(names)
    assert client.mget(names) == [kept[name].encode() for name in names]


@built
def test_fragmentation_falls_once_it_is_switched_on(node_process: Callable[..., Server]) -> None:
    """Most keys are deleted and nothing comes back; with `activedefrag yes` the bytes do, and are counted."""
    server = node_process("--active-defrag-ignore-bytes", "1mb")
    client = server.client()
    kept = fill_and_thin(client)
    held, ratio = sparse(client)
    used, resident = client.info("memory")["used_memory"], server.resident()
    assert held > 8_000_000
    assert ratio > 3
    assert client.config_set("activedefrag", "yes")
    until(lambda: sparse(client)[0] < 2_000_000, "the chunks are given back")
    until(lambda: client.info("memory")["active_defrag_running"] == 0, "the pass is over")
    assert sparse(client)[1] < 2
    assert server.resident() < resident - held / 2
    assert client.info("memory")["used_memory"] == pytest.approx(used, abs=200_000)
    stats = client.info("stats")
    assert stats["active_defrag_hits"] >= stats["active_defrag_key_hits"] > len(kept) / 2
    assert stats["active_defrag_key_hits"] + stats["active_defrag_key_misses"] >= len(kept)
    assert client.execute_command("MEMORY", "STATS")[b"allocator-fragmentation.bytes"] < 2_000_000
    check(client, kept)
    client.config_resetstat()
    assert client.info("stats")["active_defrag_hits"] == 0


@built
def test_a_purge_moves_keys_together_once(node_process: Callable[..., Server]) -> None:
    """By default nothing is moved; MEMORY PURGE has a pass made once, also while a snapshot is written."""
    server = node_process()
    client = server.client()
    kept = fill_and_thin(client)
    assert client.config_get("activedefrag") == {"activedefrag": "no"}
    assert sparse(client)[0] > 10 << 20
    client.set("big", b"x" * 6_000_000)  # of less nothing is said
    assert b"scattered" in client.execute_command("MEMORY", "DOCTOR")
    client.delete("big")
    client.bgsave()
    assert client.memory_purge()
    for i in range(200):
        client.set(f"new:{i}", i)
    until(lambda: sparse(client)[0] < 2_000_000, "the chunks are given back")
    until(lambda: client.info("memory")["active_defrag_running"] == 0, "the pass is over")
    until(lambda: client.info("persistence")["rdb_bgsave_in_progress"] == 0, "the snapshot is written")
    client.delete(*(f"new:{i}" for i in range(200)))
    check(client, kept)
    hits = client.info("stats")["active_defrag_hits"]
    assert hits > 0
    assert client.config_get("activedefrag") == {"activedefrag": "no"}


def test_the_plain_store_has_none(node_process: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses the option as a Valkey without jemalloc does; PURGE answers, and nothing is fragmented."""
    monkeypatch.setenv("KVORUM_STORE", "plain")
    client = node_process().client()
    with pytest.raises(redis.ResponseError, match="Active defragmentation cannot be enabled"):
        client.config_set("activedefrag", "yes")
    assert client.config_get("activedefrag") == {"activedefrag": "no"}
    assert client.memory_purge()
    assert sparse(client) == (0, 1.0)
    assert client.info("memory")["active_defrag_running"] == 0
