"""CompactStore: the `Store` on the compact key table of `node.keytable`, as small as Valkey's.

Keys, strings, expiry times and access clocks lie in the table; containers are referred to from there. What is Python
here: what a code of the table means for the counters, for keys found expired, and for containers that go. The table's
methods are bound once, and called with small integers where possible: such a call costs about 15 ns.
"""

# ruff: noqa: D102 - the methods are described by the interface
from collections.abc import Callable
from typing import Final, cast, final

from librt.strings import BytesWriter
from mypy_extensions import i64

from node.eviction import NO_CLOCK
from node.expire import Inside
from node.frozen import Form, FrozenSlot
from node.frozentable import FrozenTable
from node.keyspace import DONE, MISSING, Expired, Store, Value, patched
from node.keytable.table import KeyTable, trim
from node.reaper import Reaper

_SAME: Final = 3
_EXPIRED: Final = -4
_CONTAINER: Final = -5
_PREFETCH_FROM: Final = 50_000  # keys from which parsing ahead pays (measured: it costs on small keyspaces)
_DRAIN: Final = 4  # buckets of a dropped table that are one piece of the reaper's
_AT_ONCE: Final = 2048  # keys of a slot, or of all, that are removed at once

_Call2 = Callable[[object, object], object]
_Call3 = Callable[[object, object, object], object]
_Call4 = Callable[[object, object, object, object], object]


@final
class CompactStore(Store):
    """One database."""

    table: KeyTable
    used_before: bool  # a key may be there
    containers: i64  # bytes of them, as they count themselves
    inside: Inside
    dead: Reaper
    dropped: list[KeyTable]
    condemned: bool  # a slot of the table was removed as a whole, and is not freed yet
    mode: i64
    lfu_factor: i64
    lfu_decay_minutes: i64
    seed: i64
    stale: bool  # the table does not know what time it is, or what flags are set
    t_get_into: _Call3
    t_set: _Call3
    t_set_until: _Call4
    t_incr_into: _Call4
    t_get: _Call2
    t_peek: _Call2
    t_put: _Call4
    t_remove: _Call3
    t_status: _Call2
    t_expire_at: _Call2
    t_used: Callable[[], object]

    def __init__(self, seed: i64) -> None:
        super().__init__()
        self.kind = "compact"
        self.defragments = True
        self.seed = seed
        self.inside = Inside()
        self.dead = Reaper()
        self.dropped = []
        self.mode = NO_CLOCK
        self.lfu_factor = 10
        self.lfu_decay_minutes = 1
        self._use_table(KeyTable(seed))

    def _use_table(self, table: KeyTable) -> None:
        self.table = table
        self.used_before = False
        self.condemned = False
        self.containers = 0
        self.stale = True
        self.t_get_into = cast(_Call3, table.get_into)
        self.t_set = cast(_Call3, table.set)
        self.t_set_until = cast(_Call4, table.set_until)
        self.t_incr_into = cast(_Call4, table.incr_into)
        self.t_get = cast(_Call2, table.get)
        self.t_peek = cast(_Call2, table.peek)
        self.t_put = cast(_Call4, table.put)
        self.t_remove = cast(_Call3, table.remove)
        self.t_status = cast(_Call2, table.status)
        self.t_expire_at = cast(_Call2, table.expire_at)
        self.t_used = table.used
        table.track_clock(self.mode, self.lfu_factor, self.lfu_decay_minutes)

    def tick(self, now_ms: i64, clock: i64) -> None:
        if now_ms != self.now_ms or clock != self.clock:
            self.now_ms = now_ms
            self.clock = clock
            self.stale = True

    def _sync(self) -> None:
        """Tell the table the time and the flags, before it judges by them."""
        special = self.ignore_expiry or self.no_touch
        self.table.at_time(self.now_ms, self.clock, (1 if self.ignore_expiry else 0) | (2 if self.no_touch else 0))
        self.prefetches = self.table.count(-1) >= _PREFETCH_FROM
        self.stale = special  # flags change without a word: while one is set, they are told each time

    def track_clock(self, mode: i64, lfu_factor: i64 = 10, lfu_decay_minutes: i64 = 1) -> None:
        self.mode = mode
        self.lfu_factor = lfu_factor
        self.lfu_decay_minutes = lfu_decay_minutes
        self.table.track_clock(mode, lfu_factor, lfu_decay_minutes)

    def prefetch(self, keys: list[bytes]) -> None:
        self.table.prefetch(keys)

    # --- strings
    def get_into(self, w: BytesWriter, slot: i64, key: bytes) -> i64:
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        code: i64 = cast(int, self.t_get_into(w, slot, key))
        if code == DONE:
            self.hits += 1
            return code
        if code == MISSING:
            self.misses += 1
            return code
        if code == _EXPIRED:
            self._found_expired(slot, key)
            self.misses += 1
            return MISSING
        self.hits += 1
        return code

    def set(self, slot: i64, key: bytes, value: bytes) -> None:
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        code: i64 = cast(int, self.t_set(slot, key, value))
        if code == DONE:
            return
        if code == _CONTAINER:
            self._bury(key, self.t_remove(slot, key, True))
            self.t_set(slot, key, value)
        self.used_before = True

    def set_until(self, slot: i64, key: bytes, value: bytes, at_ms: i64) -> None:
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        code: i64 = cast(int, self.t_set_until(slot, key, value, at_ms))
        if code == _CONTAINER:
            self._bury(key, self.t_remove(slot, key, True))
            self.t_set_until(slot, key, value, at_ms)
        self.used_before = True

    def incr_into(self, w: BytesWriter, slot: i64, key: bytes, by: i64) -> i64:
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        code: i64 = cast(int, self.t_incr_into(w, slot, key, by))
        if code == _EXPIRED:
            code = self._incr_expired(w, slot, key, by)
        self.used_before = True
        return code

    def _incr_expired(self, w: BytesWriter, slot: i64, key: bytes, by: i64) -> i64:
        """On a replica the expired key is still there: it counts as missing, but keeps its time."""
        at: i64 = 0
        if self.keep_expired:
            at = self._stored_expiry(slot, key)
            self._bury(key, self.t_remove(slot, key, True))
        else:
            self._expire(slot, key)
        code: i64 = cast(int, self.t_incr_into(w, slot, key, by))
        if at:
            self.table.set_expire(slot, key, at)
        return code

    # --- any type
    def get(self, slot: i64, key: bytes) -> object | None:
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        value = self.t_get(slot, key)
        if value is None or value is False:
            if value is False:
                self._found_expired(slot, key)
            self.misses += 1
            return None
        self.hits += 1
        return value

    def peek(self, slot: i64, key: bytes) -> object | None:
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        value = self.t_peek(slot, key)
        if value is False:
            self._found_expired(slot, key)
            return None
        return value

    def use(self, slot: i64, key: bytes) -> None:
        if self._status(slot, key) == DONE:
            self.table.touch_key(slot, key)

    def lives(self, slot: i64, key: bytes) -> bool:
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        code: i64 = cast(int, self.t_status(slot, key))
        return code == DONE

    def _status(self, slot: i64, key: bytes) -> i64:
        """Whether a key is there: DONE or MISSING; an expired one is dealt with."""
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        code: i64 = cast(int, self.t_status(slot, key))
        if code == _EXPIRED:
            self._found_expired(slot, key)
            return MISSING
        return code

    def put(self, slot: i64, key: bytes, value: object) -> None:
        self._put(slot, key, value, False)
        if isinstance(value, Value):
            due = value.next_due()
            if due or self.inside.at:
                self.inside.arm(slot, key, due)

    def put_raw(self, slot: i64, key: bytes, value: bytes) -> None:
        self._put(slot, key, value, True)

    def patch(self, slot: i64, key: bytes, at: i64, data: bytes) -> i64:
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        size: i64 = self.table.patch(slot, key, at, data)
        if size >= 0:
            return size
        old = self.peek(slot, key)
        value = patched(old if isinstance(old, bytes) else b"", at, data)
        self._put(slot, key, value, True)
        return len(value)

    def _put(self, slot: i64, key: bytes, value: object, raw: bool) -> None:
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        self.used_before = True
        old: object = None
        code: i64 = cast(int, self.t_put(slot, key, value, raw))
        if code == _EXPIRED:
            code = self._put_on_expired(slot, key, value, raw)
        if code == _SAME:
            return
        if code == _CONTAINER:
            old = self.table.swap(slot, key, value)
            if raw:
                self.table.mark(slot, key, True)
        if isinstance(value, Value):
            self.containers += value.used_bytes()
        if old is not None:
            self._bury(key, old)

    def _put_on_expired(self, slot: i64, key: bytes, value: object, raw: bool) -> i64:
        """On a replica the expired key is still there: the new value gets its time."""
        if not self.keep_expired:
            self._expire(slot, key)
            return cast(int, self.t_put(slot, key, value, raw))
        at = self._stored_expiry(slot, key)
        self._bury(key, self.t_remove(slot, key, True))
        code: i64 = cast(int, self.t_put(slot, key, value, raw))
        self.table.set_expire(slot, key, at)
        return code

    def delete(self, slot: i64, key: bytes) -> bool:
        return self._take(slot, key) is not None

    def discard(self, slot: i64, key: bytes) -> bool:
        old = self._take(slot, key)
        if isinstance(old, Value):
            self.dead.bury(old)
        return old is not None

    def _take(self, slot: i64, key: bytes) -> object | None:
        """Remove a key that is not expired: its container, True for a string, None when there was none."""
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        old = self.t_remove(slot, key, False)
        if old is None or old is True:
            return old
        if old is False:
            self._found_expired(slot, key)
            return None
        self._forget(key, old)
        return old

    def _forget(self, key: bytes, old: object) -> None:
        """A container is out of the table."""
        if isinstance(old, Value):
            self.containers -= old.used_bytes()
            if self.inside.at:
                self.inside.at.pop(key, None)

    def _bury(self, key: bytes, old: object) -> None:
        """A container is out of the table, and nobody will use it again."""
        if isinstance(old, Value):
            self._forget(key, old)
            self.dead.bury(old)

    def reap(self, pieces: i64) -> bool:
        if self.dead.free(pieces):
            return True
        while self.dropped:
            if self._drain(self.dropped[-1], pieces * _DRAIN):
                return True
            self.dropped.pop()
        if self.condemned:
            found: list[object] = []
            self.condemned = self.table.free_condemned(pieces * _DRAIN, found)
            self._bury_all(found)
        return self.condemned or len(self.dead.heaps) > 0

    def _drain(self, table: KeyTable, buckets: i64) -> bool:
        """Free so many buckets of a table that nobody uses any more, big values aside; True when there is more."""
        found: list[object] = []
        more = table.drain(buckets, found)
        for value in found:
            self.dead.bury(value)
        return more

    def set_raw(self, slot: i64, key: bytes) -> None:
        self.table.mark(slot, key, True)

    def set_text(self, slot: i64, key: bytes) -> None:
        self.table.mark(slot, key, False)

    def is_raw(self, slot: i64, key: bytes) -> bool:
        return self.table.marked(slot, key) == 1

    def is_text(self, slot: i64, key: bytes) -> bool:
        return self.table.marked(slot, key) == 2

    # --- expiry
    def _found_expired(self, slot: i64, key: bytes) -> None:
        """A key that is there has expired: it goes, except on a replica."""
        if not self.keep_expired:
            self._expire(slot, key)

    def _expire(self, slot: i64, key: bytes) -> None:
        self._bury(key, self.t_remove(slot, key, True))
        self.expired.append(key)
        self.expired_count += 1

    def _stored_expiry(self, slot: i64, key: bytes) -> i64:
        """The time of a key, past or not."""
        self.table.at_time(self.now_ms, self.clock, 1)
        self.stale = True
        at: i64 = cast(int, self.t_expire_at(slot, key))
        self._sync()
        return at

    def expire_at(self, slot: i64, key: bytes) -> i64:
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        at: i64 = cast(int, self.t_expire_at(slot, key))
        if at == _EXPIRED:
            self._found_expired(slot, key)
            return -1
        return at

    def set_expire(self, slot: i64, key: bytes, at_ms: i64) -> bool:
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        code: i64 = self.table.set_expire(slot, key, at_ms)
        if code == _EXPIRED:
            self._found_expired(slot, key)
            return False
        return code == DONE

    def expire_due(self, limit: i64) -> i64:
        if self.keep_expired or not self.used_before:
            return 0
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        keys: list[bytes] = []
        found: list[object] = []
        looked: i64 = self.table.expire_due(limit, keys, found)
        if keys:
            for value in found:
                if isinstance(value, Value):
                    self.containers -= value.used_bytes()
                    self.dead.bury(value)
            for key in keys:
                if self.inside.at:
                    self.inside.at.pop(key, None)
                self.expired.append(key)
            self.expired_count += len(keys)
        return looked

    # --- elements that expire
    def arm_inside(self, slot: i64, key: bytes, at_ms: i64) -> None:
        self.inside.arm(slot, key, at_ms)

    def expire_inside(self, limit: i64) -> Expired | None:
        while not self.keep_expired:
            entry = self.inside.pop_due(self.now_ms)
            if entry is None:
                return None
            self._sync()
            value = self.t_peek(entry.slot, entry.key)
            if isinstance(value, Value):
                found = self._expire_in(entry.slot, entry.key, value, limit)
                if found is not None:
                    return found
        return None

    def _expire_in(self, slot: i64, key: bytes, value: Value, limit: i64) -> Expired | None:
        before = value.used_bytes()
        gone: list[bytes] = []
        emptied = value.expire_inside(self.now_ms, limit, gone)
        self.containers += value.used_bytes() - before
        self.inside.arm(slot, key, value.next_due())
        if not gone:
            return None
        if emptied:
            self._forget(key, self.t_remove(slot, key, True))
        return Expired(key, gone, emptied)

    def inside_count(self) -> i64:
        return len(self.inside.at)

    # --- access clocks and eviction
    def clock_of(self, slot: i64, key: bytes) -> i64:
        if self._status(slot, key) != DONE:
            return -1
        clock: i64 = self.table.clock_of(slot, key)
        return clock if clock >= 0 else -1

    def set_clock(self, slot: i64, key: bytes, clock: i64) -> None:
        if self.mode and self._status(slot, key) == DONE:
            self.table.set_clock(slot, key, clock)

    def stored_clock(self, slot: i64, key: bytes) -> i64:
        clock: i64 = self.table.clock_of(slot, key) if self.mode else -1
        return clock if clock >= 0 else -1

    def sample(self, n: i64, volatile: bool) -> list[tuple[i64, bytes, i64, i64]]:
        return cast(list[tuple[i64, bytes, i64, i64]], self.table.sample(n, volatile))

    def random_key(self) -> bytes | None:
        tries: i64 = 0
        while True:
            for slot, key, _clock, _at in self.table.sample(1, False):
                tries += 1
                if self._status(slot, key) == DONE or tries >= 100:
                    return key
            if self.table.count(-1) == 0:
                return None

    # --- walking
    def count(self, slot: i64 = -1) -> i64:
        return self.table.count(slot)

    def volatile_count(self) -> i64:
        return self.table.volatile()

    def expiry_average(self) -> i64:
        total: i64 = 0
        n: i64 = 0
        for _slot, _key, _clock, at in self.table.sample(64, True):
            left: i64 = at - self.now_ms
            total += left if left > 0 else 0
            n += 1
        return total // n if n else 0

    def scan(self, cursor: i64, want: i64, slot: i64 = -1) -> tuple[i64, list[bytes]]:
        step, keys = self.table.scan(cursor & 0x7FFFFFFFFFFFFFF, want, slot)
        return step, keys

    def keys_in(self, slot: i64, limit: i64) -> list[bytes]:
        return self.table.keys_in(slot, limit)

    def items_in(self, slot: i64) -> list[tuple[bytes, object, i64]]:
        return cast(list[tuple[bytes, object, i64]], self.table.items_in(slot))

    def dump_slot(self, w: BytesWriter, slot: i64, form: Form) -> list[tuple[bytes, object, i64]]:
        left = self.table.dump_slot(w, slot, form.clock, form.now_ms, form.decay, form.compress)
        return cast(list[tuple[bytes, object, i64]], left)

    def freeze(self, slot: i64) -> FrozenSlot:
        return FrozenTable(self.table.freeze(slot))

    def hand_over(self) -> Store:
        twin = CompactStore(0)
        twin.mode = self.mode
        twin.lfu_factor = self.lfu_factor
        twin.lfu_decay_minutes = self.lfu_decay_minutes
        twin.now_ms = self.now_ms
        twin.clock = self.clock
        twin.keep_expired = True
        twin._use_table(self.table)
        twin.used_before = self.used_before
        twin.containers = self.containers
        twin.condemned = self.condemned
        self._forget_all()
        return twin

    def occupied_slots(self) -> list[int]:
        return self.table.occupied_slots()

    def all_keys(self) -> list[bytes]:
        if self.stale or self.ignore_expiry or self.no_touch:
            self._sync()
        return self.table.live_keys()

    def clear(self, slot: i64 = -1) -> None:
        if slot < 0:
            if self.used_before and (self.condemned or self.table.count(-1) > _AT_ONCE):
                self.dropped.append(self.table)
            elif self.used_before:  # at once, or emptying it often would pile up tables between two turns
                while self._drain(self.table, _AT_ONCE):
                    pass
            self.dead.bury_wheel(self.inside.wheel)
            self._forget_all()
            return
        if not self.inside.at and self.table.count(slot) > _AT_ONCE and self.table.condemn_slot(slot):
            self.condemned = True
            return
        if self.inside.at:
            for key in self.table.keys_in(slot, -1):
                self.inside.at.pop(key, None)
        found: list[object] = []
        self.table.clear_slot(slot, found)
        self._bury_all(found)

    def _bury_all(self, found: list[object]) -> None:
        """Containers are out of the table."""
        for value in found:
            if isinstance(value, Value):
                self.containers -= value.used_bytes()
                self.dead.bury(value)

    def _forget_all(self) -> None:
        self.inside = Inside()
        self.seed += 1
        self._use_table(KeyTable(self.seed))

    def used_bytes(self) -> i64:
        if not self.used_before:
            return 0
        used: i64 = cast(int, self.t_used())
        used += self.containers
        return used if used > 0 else 0

    def held_bytes(self) -> i64:
        return self.table.held()

    def small_bytes(self) -> i64:
        return self.table.small()

    def defragment(self, work: i64) -> i64:
        return self.table.defragment(work)

    def stop_defragmenting(self) -> None:
        self.table.stop_pass()

    def give_back(self) -> None:
        trim()

    def moved(self) -> tuple[i64, i64, i64, i64]:
        return cast(tuple[i64, i64, i64, i64], self.table.moved())

    def key_bytes(self, slot: i64, key: bytes, samples: i64) -> i64:
        cost: i64 = self.table.size_of(slot, key)
        if cost < 0:
            return -1
        self.table.at_time(self.now_ms, self.clock, 1)
        self.stale = True
        value = self.t_peek(slot, key)
        if isinstance(value, Value):
            cost += value.used_bytes()
        return cost

    def grew(self, slot: i64, key: bytes, by: i64) -> None:
        self.containers += by
