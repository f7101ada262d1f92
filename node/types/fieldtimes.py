"""When fields of a hash expire: their times, and in which order to look at them.

Only a hash that ever had a field with a time to live owns such a record, beside its table. Expired fields stay in the
table, hidden, until they are overwritten or active expiry takes them; HLEN and DUMP count them, as in Valkey.

The clock is an argument that is left here once: whoever finds the hash stamps `now` before it is read or written, so
that every method of Hash judges by the same time; with 0 every field counts as live (the primary's stream).
"""

from heapq import heappop, heappush
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

TIME_BYTES: Final = 112  # a field's share of the two tables, its int and its place in the queue
_TICK_BITS: Final = 7  # 128 ms, as keys
_LAST_TICK: Final = 1 << 55  # stands for all later ones, whose beginning in ms could not be told
_SPARE: Final = 64  # dead entries of the queue that are always tolerated


@final
@mypyc_attr(acyclic=True)
class FieldTimes:
    """Unix times in ms by field. A field in the queue is only a reason to look: times that grow leave it there."""

    at: dict[bytes, int]
    now: i64
    revived: bool  # a field that had expired was overwritten since this was last set to False
    _ticks: dict[int, list[bytes]]
    _order: list[int]  # heap of the ticks that have fields
    _queued: i64

    def __init__(self) -> None:
        self.at = {}
        self.now = 0
        self.revived = False
        self._ticks = {}
        self._order = []
        self._queued = 0

    def gone(self, field: bytes) -> bool:
        """Whether the field has expired: it lives in its last millisecond."""
        at = self.at.get(field)
        return at is not None and i64(at) < self.now

    def put(self, field: bytes, at_ms: i64) -> bool:
        """Set the time of a field; True when it had none."""
        old = self.at.get(field)
        self.at[field] = at_ms
        if old is None or at_ms < i64(old):
            self._enqueue(field, at_ms)
            if self._queued > len(self.at) * 2 + _SPARE:
                self._rebuild()
        return old is None

    def drop(self, field: bytes) -> bool:
        """Forget the time of a field; False when it had none."""
        return self.at.pop(field, None) is not None

    def next_due(self) -> i64:
        """When to look again, Unix ms: at or before the earliest time; 0 when there is none."""
        if not self.at or not self._order:
            return 0
        return max(i64(self._order[0]) << _TICK_BITS, 1)

    def pop_due(self, now_ms: i64) -> bytes | None:
        """The next field whose time is over, None when there is none; the caller removes it and drops its time."""
        while self._order:
            tick = self._order[0]
            if i64(tick) << _TICK_BITS > now_ms:
                return None
            fields = self._ticks[tick]
            while fields:
                field = fields.pop()
                self._queued -= 1
                at = self.at.get(field)
                if at is None:
                    continue
                if i64(at) < now_ms:
                    return field
                self._enqueue(field, at)  # its time was lengthened: a later tick
            del self._ticks[tick]
            heappop(self._order)
        return None

    def _enqueue(self, field: bytes, at_ms: i64) -> None:
        tick: i64 = min((at_ms >> _TICK_BITS) + 1, _LAST_TICK)  # begins when the time is over
        fields = self._ticks.get(tick)
        if fields is None:
            self._ticks[tick] = [field]
            heappush(self._order, tick)
        else:
            fields.append(field)
        self._queued += 1

    def _rebuild(self) -> None:
        """Drop what is dead in the queue; each change pays a constant part of this."""
        self._ticks = {}
        self._order = []
        self._queued = 0
        for field, at in self.at.items():
            self._enqueue(field, at)

    def copy(self) -> "FieldTimes":
        """An independent copy."""
        twin = FieldTimes()
        twin.now = self.now
        twin.at = self.at.copy()
        twin._rebuild()
        return twin
