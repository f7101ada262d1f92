"""What a node's role does without any socket."""

from __future__ import annotations

import random

from cluster.slots import key_slot
from node.engine import Engine
from node.lifecycle import build_engine
from node.replication.manager import Replicator
from node.settings import new_settings
from node.upkeep import Upkeep

NOW_MS = 1_790_000_000_000
POSITION = {b"repl-id": b"a" * 40, b"repl-offset": b"1000", b"repl-stream-db": b"0"}


def primary() -> tuple[Engine, Replicator]:
    """A primary whose stream is at offset 1000 and kept for replicas."""
    engine = build_engine(new_settings(), NOW_MS, random.Random(1))
    replicator = Replicator(engine)
    replicator.restore(POSITION)
    at(engine, NOW_MS)
    return engine, replicator


def at(e: Engine, now_ms: int) -> None:
    """Move the engine's time."""
    e.now_ms = now_ms
    for store in e.stores:
        store.tick(now_ms, now_ms // 1000)


def keep(e: Engine, key: bytes, at_ms: int) -> None:
    """A string that expires."""
    e.stores[0].put(key_slot(key), key, b"1")
    e.stores[0].set_expire(key_slot(key), key, at_ms)


def test_nothing_is_sent_behind_the_file_of_the_end() -> None:
    """What was written before the end goes out; DELs of keys that expire later and PINGs do not, nor do they count."""
    e, replicator = primary()
    stream = replicator.stream
    upkeep = Upkeep(e, lambda: 1.0)
    keep(e, b"a", NOW_MS + 10)
    keep(e, b"b", NOW_MS + 1010)
    at(e, NOW_MS + 500)
    upkeep.expire()
    told = int(replicator.position()[b"repl-offset"])
    assert told > 1000
    replicator.end()
    assert stream.backlog is not None
    assert stream.backlog.end == told + 1
    at(e, NOW_MS + 2000)
    upkeep.expire()
    stream.command(-1, [b"PING"])
    stream.flush()
    assert e.stores[0].count() == 0
    assert (stream.offset, stream.backlog.end) == (told, told + 1)
