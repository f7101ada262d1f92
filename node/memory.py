"""Making room before a command that may use more memory: eviction by the configured policy until `maxmemory` is
kept.
"""

from collections.abc import Callable
from typing import Final

from librt.time import time as wall_time
from mypy_extensions import i64

from node.engine import NOTIFY_EVICTED, Engine
from node.eviction import POLICIES, Pool, choose_victim
from node.keyspace import Store

_AT_ONCE: Final = 16  # keys evicted between two looks at the clock

_pool: Final = Pool()


def eviction_seconds(tenacity: i64) -> float:
    """How long one command may be held up by evicting, for `maxmemory-eviction-tenacity`: 50 us a point up to 10,
    15 % more for each above, without limit at 100. Source: Valkey's eviction.
    """
    if tenacity <= 10:
        return 0.00005 * float(tenacity)
    return 0.0005 * 1.15 ** float(tenacity - 10) if tenacity < 100 else float("inf")


def make_room(e: Engine, clock: Callable[[], float] = wall_time) -> bool:
    """Evict until memory in use is within `maxmemory`; False when it is not and nothing may be evicted.

    What is left when the time for it is up goes with the next commands, and between them (node.upkeep). A replica never
    evicts: its primary's DELs arrive by the stream.
    """
    limit = e.settings.maxmemory
    if e.used_memory() <= limit or not e.replication.primary:
        return True
    policy = POLICIES[e.settings.maxmemory_policy]
    stores: list[Store | None] = [*e.stores]
    evicted: i64 = 0
    until = clock() + eviction_seconds(e.settings.eviction_tenacity)
    while e.used_memory() > limit:
        victim = choose_victim(
            stores, policy, e.settings.maxmemory_samples, e.now_ms, e.settings.lfu_decay_time, _pool
        )
        if victim is None:
            return False
        if e.snapshots.active:
            e.snapshots.before_write(victim.slot, victim.key)
        e.stores[victim.dbid].discard(victim.slot, victim.key)
        e.stats.evicted_keys += 1
        if e.journal.active:
            e.journal.command(victim.dbid, [b"DEL", victim.key])
        if e.keys_observed:
            e.tell_observers(victim.dbid, victim.key)
        e.notify(NOTIFY_EVICTED, b"evicted", victim.key, victim.dbid)
        evicted += 1
        if evicted % _AT_ONCE == 0 and clock() >= until:
            return True
    return True
