"""PlainStore: the `Store` in plain typed Python, with no object a key.

Values stand straight in the dict of their slot; expiry times and access clocks live in side tables that cost nothing
while they are not used. `used` is kept up to date from the sizes that CPython gives these objects, so that maxmemory
acts on what the process really takes: see `bytes_cost` and the constants below (measured: 152 bytes for a 16 byte key
with an 8 byte value at a million keys).
"""

# ruff: noqa: D102 - the methods are described by the interface
from typing import Final, cast, final

from librt.random import Random
from librt.strings import BytesWriter
from mypy_extensions import i64

from cluster.resp.replies import write_bulk
from node.eviction import LFU_START, LRU, NO_CLOCK, lfu_decayed, lfu_hit
from node.expire import Inside, Renewal, Wheel
from node.frozen import FrozenDicts, FrozenSlot
from node.keyspace import (
    BY_REFERENCE,
    DONE,
    LARGE,
    MISSING,
    NOT_AN_INTEGER,
    OVERFLOW,
    WRONG_TYPE,
    Expired,
    Store,
    Value,
)  # fmt: skip
from node.numbers import add_overflows, decimal, is_int, short_number, to_int
from node.reaper import Reaper
from node.slotmap import SlotMap

_ENTRY_BYTES: Final = 38  # a key's share of its dict
_SLOT_BYTES: Final = 184  # what the dict of a slot costs before its share
_EXPIRY_BYTES: Final = 38 + 32 + 56  # side table entry, its int, the wheel's entry
_CLOCK_BYTES: Final = 38

_NO_CLOCKS: Final[list[object]] = [0] * 16384


def bytes_cost(length: i64) -> i64:
    """Bytes that a `bytes` object of `length` takes from the allocator: 33 of its own, in steps of 16."""
    return (length + 48) & -16


def value_cost(value: object) -> i64:
    """Bytes that a value takes: a string, or a container that counts itself."""
    if isinstance(value, bytes):
        return bytes_cost(len(value))
    if isinstance(value, Value):
        return value.used_bytes()
    raise TypeError(type(value))


@final
class PlainStore(Store):
    """One database."""

    data: SlotMap
    expiry: SlotMap
    clocks: SlotMap
    raws: dict[bytes, bool]  # strings grown in place (True), and those that only look like an int (False)
    wheel: Wheel
    renewal: Renewal | None  # of the wheel, while one is being made
    inside: Inside
    dead: Reaper
    used: i64
    mode: i64
    clock_box: object  # the LRU clock as the one object that all keys of this second share
    slot_clocks: list[object]  # without a policy that needs more: when a key of the slot was used last
    chance: Random
    lfu_factor: i64
    lfu_decay_minutes: i64

    def __init__(self, seed: i64) -> None:
        super().__init__()
        self.data = SlotMap()
        self.expiry = SlotMap()
        self.clocks = SlotMap()
        self.raws = {}
        self.wheel = Wheel()
        self.renewal = None
        self.inside = Inside()
        self.dead = Reaper()
        self.used = 0
        self.mode = NO_CLOCK
        self.clock_box = 0
        self.slot_clocks = _NO_CLOCKS
        self.chance = Random(seed)
        self.lfu_factor = 10
        self.lfu_decay_minutes = 1

    def tick(self, now_ms: i64, clock: i64) -> None:
        self.now_ms = now_ms
        if clock != self.clock:
            self.clock = clock
            self.clock_box = clock

    def track_clock(self, mode: i64, lfu_factor: i64 = 10, lfu_decay_minutes: i64 = 1) -> None:
        self.lfu_factor = lfu_factor
        self.lfu_decay_minutes = lfu_decay_minutes
        if mode != self.mode:
            self.used -= self._clocks_cost()
            self.clocks = SlotMap()
            self.mode = mode

    def prefetch(self, keys: list[bytes]) -> None:
        """Nothing: a dict cannot be touched ahead more cheaply than it is looked up."""

    # --- strings
    def get_into(self, w: BytesWriter, slot: i64, key: bytes) -> i64:
        value = self.data.slots[slot].get(key)
        if value is None:
            value = self.data.find_split(slot, key)
            if value is None:
                self.misses += 1
                return MISSING
        if self.expiry.total and self._hidden(slot, key):
            self.misses += 1
            return MISSING
        self.hits += 1
        if self.mode or self.no_touch:
            self._touch(slot, key)
        else:
            self.slot_clocks[slot] = self.clock_box
        if not isinstance(value, bytes):
            return WRONG_TYPE
        if len(value) >= BY_REFERENCE:
            return LARGE
        write_bulk(w, value)
        return DONE

    def set(self, slot: i64, key: bytes, value: bytes) -> None:
        if self.expiry.total:
            self._forget_expiry(slot, key)
        self._put_string(slot, key, value)

    def set_until(self, slot: i64, key: bytes, value: bytes, at_ms: i64) -> None:
        self._put_string(slot, key, value)
        self._arm(slot, key, at_ms)

    def incr_into(self, w: BytesWriter, slot: i64, key: bytes, by: i64) -> i64:
        # The usual case, a short counter without expiry, in one lookup.
        d = self.data.slots[slot]
        found = d.get(key)
        if isinstance(found, bytes) and not self.expiry.total and not self.raws:
            count = short_number(found)
            if count >= 0 and 0 <= count + by < 100000000:
                text = decimal(count + by)
                d[key] = text
                self.used += bytes_cost(len(text)) - bytes_cost(len(found))
                if self.mode:
                    self._touch(slot, key)
                else:
                    self.slot_clocks[slot] = self.clock_box
                w.append(58)
                w.write(text)
                w.write(b"\r\n")
                return DONE
        old = self.data.get(slot, key)
        number: i64 = 0
        if old is not None and self.expiry.total and self._hidden(slot, key):
            old = None
        if old is not None:
            if not isinstance(old, bytes):
                return WRONG_TYPE
            if not is_int(old):
                return NOT_AN_INTEGER
            number = to_int(old)
        if add_overflows(number, by):
            return OVERFLOW
        number += by
        self._put_string(slot, key, decimal(number))
        w.write(b":%d\r\n" % number)
        return DONE

    def _put_string(self, slot: i64, key: bytes, value: bytes, raw: bool = False) -> None:
        """Store a string and keep the accounts; the expiry is not looked at. `raw`: a mark in `raws` may stay."""
        d = self.data.slots[slot]
        if len(d) == 0:
            d = self.data.home(slot, key)
        old = d.get(key)
        d[key] = value
        if old is None:
            self._added(slot, key, bytes_cost(len(value)))
        else:
            if isinstance(old, bytes):
                self.used += bytes_cost(len(value)) - bytes_cost(len(old))
            else:
                self.used += bytes_cost(len(value)) - value_cost(old)
                self.dead.bury(old)
                if self.inside.at:
                    self.inside.at.pop(key, None)
            if self.raws and not raw:
                self.raws.pop(key, None)
        if self.mode:
            self._touch(slot, key)
        else:
            self.slot_clocks[slot] = self.clock_box

    # --- any type
    def get(self, slot: i64, key: bytes) -> object | None:
        value = self.data.get(slot, key)
        if value is None or (self.expiry.total and self._hidden(slot, key)):
            self.misses += 1
            return None
        self.hits += 1
        self._touch(slot, key)
        return value

    def peek(self, slot: i64, key: bytes) -> object | None:
        value = self.data.get(slot, key)
        if value is None or (self.expiry.total and self._hidden(slot, key)):
            return None
        return value

    def lives(self, slot: i64, key: bytes) -> bool:
        if self.data.get(slot, key) is None:
            return False
        return self.ignore_expiry or not self._is_past(slot, key)

    def put(self, slot: i64, key: bytes, value: object) -> None:
        if isinstance(value, bytes):
            if self.expiry.total:
                self._hidden(slot, key)
            self._put_string(slot, key, value)
            return
        if self.expiry.total:
            self._hidden(slot, key)
        home = self.data.home(slot, key)
        old = home.get(key)
        if old is value:
            return
        home[key] = value
        if old is None:
            self._added(slot, key, value_cost(value))
        else:
            self.used += value_cost(value) - value_cost(old)
            self.dead.bury(old)
            self.raws.pop(key, None)
        if isinstance(value, Value):
            due = value.next_due()
            if due or self.inside.at:
                self.inside.arm(slot, key, due)
        self._touch(slot, key)

    def put_raw(self, slot: i64, key: bytes, value: bytes) -> None:
        if self.expiry.total:
            self._hidden(slot, key)
        self._put_string(slot, key, value, True)
        self.raws[key] = True

    def delete(self, slot: i64, key: bytes) -> bool:
        if self.expiry.total and self._hidden(slot, key):
            return False
        return self._remove(slot, key)

    def discard(self, slot: i64, key: bytes) -> bool:
        value = self.data.get(slot, key)
        if not self.delete(slot, key):
            return False
        self.dead.bury(value)
        return True

    def reap(self, pieces: i64) -> bool:
        return self.dead.free(pieces)

    def set_raw(self, slot: i64, key: bytes) -> None:
        self.raws[key] = True

    def set_text(self, slot: i64, key: bytes) -> None:
        self.raws[key] = False

    def is_raw(self, slot: i64, key: bytes) -> bool:
        return self.raws.get(key, False)

    def is_text(self, slot: i64, key: bytes) -> bool:
        return not self.raws.get(key, True)

    def _added(self, slot: i64, key: bytes, cost: i64) -> None:
        if self.slot_clocks is _NO_CLOCKS:
            self.slot_clocks = _NO_CLOCKS.copy()
        before = self.data.occupied
        self.data.added(slot)
        self.used += cost + bytes_cost(len(key)) + _ENTRY_BYTES + (self.data.occupied - before) * _SLOT_BYTES

    def _remove(self, slot: i64, key: bytes) -> bool:
        before = self.data.occupied
        value = self.data.pop(slot, key)
        if value is None:
            return False
        cost = value_cost(value) + bytes_cost(len(key)) + _ENTRY_BYTES
        self.used -= cost + (before - self.data.occupied) * _SLOT_BYTES
        if self.expiry.total:
            self._forget_expiry(slot, key)
        if self.mode and self.clocks.pop(slot, key) is not None:
            self.used -= _CLOCK_BYTES + bytes_cost(len(key))
        if self.raws:
            self.raws.pop(key, None)
        if self.inside.at:
            self.inside.at.pop(key, None)
        if self.data.total == 0:
            self.used = 0
        return True

    # --- expiry
    def _expiry_of(self, slot: i64, key: bytes) -> i64:
        at = self.expiry.get(slot, key)
        return 0 if at is None else cast(int, at)

    def _is_past(self, slot: i64, key: bytes) -> bool:
        at = self.expiry.get(slot, key)
        return at is not None and cast(int, at) < self.now_ms

    def _hidden(self, slot: i64, key: bytes) -> bool:
        """Whether a key that is stored has expired; it is removed then, except on a replica."""
        if self.ignore_expiry or not self._is_past(slot, key):
            return False
        if not self.keep_expired:
            self._expire(slot, key)
        return True

    def _expire(self, slot: i64, key: bytes) -> None:
        value = self.data.get(slot, key)
        if self._remove(slot, key):
            self.dead.bury(value)
            self.expired.append(key)
            self.expired_count += 1

    def _arm(self, slot: i64, key: bytes, at_ms: i64) -> None:
        old = self._expiry_of(slot, key)
        self.expiry.put(slot, key, at_ms)
        if old == 0:
            self.used += _EXPIRY_BYTES + bytes_cost(len(key))
        if old == 0 or at_ms < old:
            self.wheel.add(slot, key, at_ms)
            if self.renewal is not None or self.wheel.size > self.expiry.total * 2 + 1024:
                self._renew_wheel(slot, key, at_ms)

    def _forget_expiry(self, slot: i64, key: bytes) -> None:
        if self.expiry.pop(slot, key) is not None:
            self.used -= _EXPIRY_BYTES + bytes_cost(len(key))

    def _renew_wheel(self, slot: i64, key: bytes, at_ms: i64) -> None:
        """Drop the entries of keys that no longer expire or do so later; each write does a small part of this."""
        renewal = self.renewal
        if renewal is None:
            renewal = Renewal()
            self.renewal = renewal
        renewal.wheel.add(slot, key, at_ms)
        if renewal.step(self.expiry):
            self.dead.bury_wheel(self.wheel)
            self.wheel = renewal.wheel
            self.renewal = None

    def expire_at(self, slot: i64, key: bytes) -> i64:
        if self.peek(slot, key) is None:
            return -1
        return self._expiry_of(slot, key)

    def set_expire(self, slot: i64, key: bytes, at_ms: i64) -> bool:
        if self.peek(slot, key) is None:
            return False
        if at_ms == 0:
            self._forget_expiry(slot, key)
        else:
            self._arm(slot, key, at_ms)
        return True

    def expire_due(self, limit: i64) -> i64:
        looked: i64 = 0
        if self.keep_expired:
            return looked
        while looked < limit:
            entry = self.wheel.pop_due(self.now_ms)
            if entry is None:
                break
            looked += 1
            at = self._expiry_of(entry.slot, entry.key)
            if at == 0:
                continue
            if at < self.now_ms:
                self._expire(entry.slot, entry.key)
            else:
                self.wheel.add(entry.slot, entry.key, at)
        return looked

    # --- elements that expire
    def arm_inside(self, slot: i64, key: bytes, at_ms: i64) -> None:
        self.inside.arm(slot, key, at_ms)

    def expire_inside(self, limit: i64) -> Expired | None:
        while not self.keep_expired:
            entry = self.inside.pop_due(self.now_ms)
            if entry is None:
                return None
            value = self.data.get(entry.slot, entry.key)
            if isinstance(value, Value):
                found = self._expire_in(entry.slot, entry.key, value, limit)
                if found is not None:
                    return found
        return None

    def _expire_in(self, slot: i64, key: bytes, value: Value, limit: i64) -> Expired | None:
        before = value.used_bytes()
        gone: list[bytes] = []
        emptied = value.expire_inside(self.now_ms, limit, gone)
        self.used += value.used_bytes() - before
        self.inside.arm(slot, key, value.next_due())
        if not gone:
            return None
        if emptied:
            self._remove(slot, key)
        return Expired(key, gone, emptied)

    def inside_count(self) -> i64:
        return len(self.inside.at)

    # --- access clocks and eviction
    def _touch(self, slot: i64, key: bytes) -> None:
        """Note an access: the second for LRU, minutes and hit counter for LFU; else the slot's second."""
        if self.no_touch:
            return
        if self.mode == NO_CLOCK:
            self.slot_clocks[slot] = self.clock_box
            return
        if self.mode == LRU:
            self._set_clock(slot, key, self.clock_box)
            return
        minutes: i64 = (self.now_ms // 60000) & 0xFFFF
        old = self.clocks.get(slot, key)
        counter: i64 = LFU_START
        if old is not None:
            counter = lfu_decayed(cast(int, old), minutes, self.lfu_decay_minutes)
            counter = lfu_hit(counter, self.lfu_factor, self.chance.random())
        self._set_clock(slot, key, minutes << 8 | counter)

    def _set_clock(self, slot: i64, key: bytes, clock: object) -> None:
        before = self.clocks.total
        self.clocks.put(slot, key, clock)
        if self.clocks.total != before:
            self.used += _CLOCK_BYTES + bytes_cost(len(key))

    def _clocks_cost(self) -> i64:
        cost: i64 = 0
        for slot in self.clocks.occupied_slots():
            for key in self.clocks.keys(slot, -1):
                cost += _CLOCK_BYTES + bytes_cost(len(key))
        return cost

    def clock_of(self, slot: i64, key: bytes) -> i64:
        if self.peek(slot, key) is None:
            return -1
        clock = self.clocks.get(slot, key) if self.mode else self.slot_clocks[slot]
        return -1 if clock is None else cast(int, clock)

    def set_clock(self, slot: i64, key: bytes, clock: i64) -> None:
        if self.mode and self.peek(slot, key) is not None:
            self._set_clock(slot, key, clock)

    def sample(self, n: i64, volatile: bool) -> list[tuple[i64, bytes, i64, i64]]:
        table = self.expiry if volatile else self.data
        out: list[tuple[i64, bytes, i64, i64]] = []
        while table.total and len(out) < n:
            slot, key = table.random(self.chance)
            clock = self.clocks.get(slot, key) if self.mode else None
            known: i64 = -1 if clock is None else cast(int, clock)
            out.append((slot, key, known, self._expiry_of(slot, key)))
        return out

    def random_key(self) -> bytes | None:
        tries: i64 = 0
        while self.data.total:
            slot, key = self.data.random(self.chance)
            tries += 1
            if not self.expiry.total or not self._hidden(slot, key) or tries >= 100:
                return key
        return None

    # --- walking
    def count(self, slot: i64 = -1) -> i64:
        return self.data.total if slot < 0 else self.data.count(slot)

    def volatile_count(self) -> i64:
        return self.expiry.total

    def expiry_average(self) -> i64:
        total: i64 = 0
        n: i64 = 0
        while self.expiry.total and n < 64:
            slot, key = self.expiry.random(self.chance)
            left = self._expiry_of(slot, key) - self.now_ms
            total += left if left > 0 else 0
            n += 1
        return total // n if n else 0

    def scan(self, cursor: i64, want: i64, slot: i64 = -1) -> tuple[i64, list[bytes]]:
        out: list[bytes] = []
        if slot >= 0:
            cursor = (cursor & ~16383) | slot
        here = cursor & 16383
        while True:
            if slot < 0:
                here = self.data.next_occupied(cursor & 16383)
                if here != cursor & 16383:
                    if here < 0:
                        return 0, out
                    cursor = here
            bucket = self.data.scan(cursor, out)
            if bucket:
                cursor = bucket << 14 | here
            else:
                cursor = -1 if slot >= 0 else self.data.next_occupied(here + 1)
                if cursor < 0:
                    return 0, out
            if len(out) >= want:
                return cursor, out

    def keys_in(self, slot: i64, limit: i64) -> list[bytes]:
        return self.data.keys(slot, limit)

    def items_in(self, slot: i64) -> list[tuple[bytes, object, i64]]:
        out: list[tuple[bytes, object, i64]] = []
        for key in self.data.keys(slot, -1):
            value = self.data.get(slot, key)
            if value is not None:
                out.append((key, value, self._expiry_of(slot, key) if self.expiry.total else 0))
        return out

    def freeze(self, slot: i64) -> FrozenSlot:
        return FrozenDicts(self.data.frozen(slot), self.expiry.frozen(slot))

    def stored_clock(self, slot: i64, key: bytes) -> i64:
        clock = self.clocks.get(slot, key) if self.mode else None
        return -1 if clock is None else cast(int, clock)

    def hand_over(self) -> Store:
        twin = PlainStore(0)
        twin.data = self.data
        twin.expiry = self.expiry
        twin.clocks = self.clocks
        twin.wheel = self.wheel
        twin.mode = self.mode
        twin.keep_expired = True
        self._forget_all()
        return twin

    def occupied_slots(self) -> list[int]:
        return self.data.occupied_slots()

    def all_keys(self) -> list[bytes]:
        out: list[bytes] = []
        for slot in self.data.occupied_slots():
            for key in self.data.keys(slot, -1):
                if not self.expiry.total or self.ignore_expiry or not self._is_past(slot, key):
                    out.append(key)
        return out

    def clear(self, slot: i64 = -1) -> None:
        if slot >= 0:
            for key in self.data.keys(slot, -1):
                self._remove(slot, key)
            return
        self.dead.bury_tables(self.data, [self.expiry, self.clocks], self.wheel)
        self.dead.bury_wheel(self.inside.wheel)
        self._forget_all()

    def _forget_all(self) -> None:
        self.data = SlotMap()
        self.expiry = SlotMap()
        self.clocks = SlotMap()
        self.raws = {}
        self.wheel = Wheel()
        self.renewal = None
        self.inside = Inside()
        self.slot_clocks = _NO_CLOCKS
        self.used = 0

    def used_bytes(self) -> i64:
        return self.used if self.used > 0 else 0

    def key_bytes(self, slot: i64, key: bytes, samples: i64) -> i64:
        value = self.data.get(slot, key)
        if value is None:
            return -1
        cost = value_cost(value) + bytes_cost(len(key)) + _ENTRY_BYTES
        if self._expiry_of(slot, key):
            cost += _EXPIRY_BYTES + bytes_cost(len(key))
        return cost

    def grew(self, slot: i64, key: bytes, by: i64) -> None:
        self.used += by
