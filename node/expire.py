"""When to look at which key for expiry: a wheel of short ticks, and the rules of time that all expiry follows.

Every key with an expiry has at least one entry at or before its time; an entry is only a reason to look. So lengthening
the time of a key costs nothing, and removing it neither: whoever fires an entry asks the store whether the key is due,
and arms it again when it is not.
"""

from heapq import heappop, heappush
from typing import Final, cast, final

from mypy_extensions import i64, mypyc_attr

from cluster.slots import key_slot
from node.slotmap import SlotMap

_TICK_BITS: Final = 7  # 128 ms: a key is removed at most that long after its time, when the cron keeps up


@final
@mypyc_attr(acyclic=True)
class Entry:
    """A key to look at; the slot saves hashing it again."""

    slot: i64
    key: bytes

    def __init__(self, slot: i64, key: bytes) -> None:
        self.slot = slot
        self.key = key


@final
@mypyc_attr(acyclic=True)
class Wheel:
    """Entries by tick of 128 ms."""

    ticks: dict[int, list[Entry]]
    order: list[int]  # heap of the ticks that have entries
    size: i64

    def __init__(self) -> None:
        self.ticks = {}
        self.order = []
        self.size = 0

    def add(self, slot: i64, key: bytes, at_ms: i64) -> None:
        """Arm a key for a Unix time in ms."""
        tick: i64 = at_ms >> _TICK_BITS
        entries = self.ticks.get(tick)
        if entries is None:
            self.ticks[tick] = [Entry(slot, key)]
            heappush(self.order, tick)
        else:
            entries.append(Entry(slot, key))
        self.size += 1

    def pop_due(self, now_ms: i64) -> Entry | None:
        """The next entry whose whole tick has passed, None when there is none."""
        if not self.order:
            return None
        tick = self.order[0]
        if tick >= now_ms >> _TICK_BITS:
            return None
        entries = self.ticks[tick]
        entry = entries.pop()
        self.size -= 1
        if not entries:
            del self.ticks[tick]
            heappop(self.order)
        return entry


@final
@mypyc_attr(acyclic=True)
class Renewal:
    """A new wheel in the making, for one most of whose entries are of no use any more.

    Looking at a million keys at once would stall everybody for a second, so each call of `step` takes over the keys of
    one small part of the table. The old wheel stays in use until all are there; what is armed meanwhile goes into both.
    """

    wheel: Wheel
    _cursor: i64

    def __init__(self) -> None:
        self.wheel = Wheel()
        self._cursor = 0

    def step(self, expiry: SlotMap) -> bool:
        """Take over the keys of the next part; True when that was the last one."""
        keys: list[bytes] = []
        slot: i64 = self._cursor & 16383
        bucket = expiry.scan(self._cursor, keys)
        for key in keys:
            at = expiry.get(slot, key)
            if at is not None:
                self.wheel.add(slot, key, cast(int, at))
        if bucket:
            self._cursor = bucket << 14 | slot
            return False
        self._cursor = expiry.next_occupied(slot + 1)
        return self._cursor < 0


@final
@mypyc_attr(acyclic=True)
class Inside:
    """Keys in whose values something expires (fields of hashes), and when to look into each."""

    at: dict[bytes, int]  # Unix ms
    wheel: Wheel

    def __init__(self) -> None:
        self.at = {}
        self.wheel = Wheel()

    def arm(self, slot: i64, key: bytes, at_ms: i64) -> None:
        """Look into the value at this time, 0: never."""
        if at_ms == 0:
            self.at.pop(key, None)
            return
        old = self.at.get(key)
        if old is not None and i64(old) == at_ms:
            return
        self.at[key] = at_ms
        self.wheel.add(slot, key, at_ms)
        if self.wheel.size > len(self.at) * 2 + 1024:
            self._rebuild()

    def pop_due(self, now_ms: i64) -> Entry | None:
        """The next key whose time has come, forgotten until it is armed again; None when there is none."""
        while True:
            entry = self.wheel.pop_due(now_ms)
            if entry is None:
                return None
            at = self.at.get(entry.key)
            if at is not None and i64(at) < now_ms:  # else another entry is responsible
                del self.at[entry.key]
                return entry

    def _rebuild(self) -> None:
        self.wheel = Wheel()
        for key, at in self.at.items():
            self.wheel.add(key_slot(key), key, at)


def is_past(at_ms: i64, now_ms: i64) -> bool:
    """Whether a key that expires at `at_ms` (0 = never) is gone at `now_ms`: it lives in that very millisecond."""
    return at_ms != 0 and now_ms > at_ms


def round_seconds(ms: i64) -> i64:
    """Milliseconds as the seconds that TTL and EXPIRETIME answer: rounded to the nearest, half up."""
    return ms // 1000 + (1 if ms % 1000 >= 500 else 0)  # ms + 500 could leave the 64 bits
