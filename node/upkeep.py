"""What goes on between commands, a slice at a time: keys whose time has come are removed, and eviction that was cut
short goes on.

Nobody waits longer than a slice for it, however many keys expire at the same instant. `active-expire-effort` says how
long a slice is and which share of the time all of them may take: 1 ms and half the time at effort 1, and for each
further point 0.25 ms (as Valkey's fast cycle) and 5 % more. Valkey's slow cycle takes 25 % in one piece, and its fast
cycles what lies between them up to another half.
"""

from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64

from node.engine import Engine
from node.memory import make_room

EXPIRE_SLICE: Final = 64  # keys looked at between two looks at the clock


def slice_seconds(effort: i64) -> float:
    """How long expiry may hold everybody up at `active-expire-effort` 1 to 10."""
    return 0.001 + 0.00025 * float(effort - 1)


def pause_seconds(effort: i64, took: float) -> float:
    """How long to leave the thread to others after a slice that took so long, that expiry keeps to its share."""
    share = 0.5 + 0.05 * float(effort - 1)
    return took * (1.0 - share) / share


@final
class Upkeep:
    """The work of one node; `clock` gives seconds."""

    engine: Engine
    clock: Callable[[], float]
    next_db: i64  # where the next slice begins, so that each database gets its turn

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self.engine = engine
        self.clock = clock
        self.next_db = 0

    def expire(self) -> bool:
        """Remove what has expired for one slice, its DELs and events included; True when there is more to do.

        A replica leaves it to its primary.
        """
        e = self.engine
        if not e.replication.primary or not e.active_expire or e.settings.import_mode:
            return False
        until = self.clock() + slice_seconds(e.settings.active_expire_effort)
        left: i64 = len(e.stores)
        while left > 0:
            left -= 1
            dbid = self.next_db % len(e.stores)
            self.next_db = dbid + 1
            if not self._expire_in(dbid, until):
                e.stats.expired_time_cap += 1
                return True
        return False

    def _expire_in(self, dbid: i64, until: float) -> bool:
        """Remove what has expired in a database; False when the time was up before."""
        e = self.engine
        store = e.stores[dbid]
        more = True
        while more:
            more = store.expire_due(EXPIRE_SLICE) >= EXPIRE_SLICE
            e.propagate_expired()
            if more and self.clock() > until:
                return False
        found = store.expire_inside(EXPIRE_SLICE)
        while found is not None:
            e.propagate_fields(dbid, found)
            if self.clock() > until:
                return False
            found = store.expire_inside(EXPIRE_SLICE)
        return True

    def evict(self) -> bool:
        """Go on with an eviction that was cut short; True when there is more to do."""
        e = self.engine
        limit = e.settings.maxmemory
        if limit == 0 or not e.replication.primary or e.used_memory() <= limit:
            return False
        return make_room(e, self.clock) and e.used_memory() > limit
