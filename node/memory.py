"""Making room before a command that may use more memory: eviction by the configured policy until `maxmemory` is
kept.
"""

from typing import Final

from node.engine import NOTIFY_EVICTED, Engine
from node.eviction import POLICIES, Pool, choose_victim
from node.keyspace import Store

# keys evicted for one command at most: the rest goes with the next ones, so that no command stalls
_AT_ONCE: Final = 1024

_pool: Final = Pool()


def make_room(e: Engine) -> bool:
    """Evict until memory in use is within `maxmemory`; False when it is not and nothing may be evicted.

    A replica never evicts: its primary's DELs arrive by the stream.
    """
    limit = e.settings.maxmemory
    if e.used_memory() <= limit or not e.replication.primary:
        return True
    policy = POLICIES[e.settings.maxmemory_policy]
    stores: list[Store | None] = [*e.stores]
    evicted = 0
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
        if evicted >= _AT_ONCE:
            return True
    return True
