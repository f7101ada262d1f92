"""A table of keys by hash slot: the plain store's building block for values, expiry times and access clocks.

A slot is one dict, created when its first key comes. A slot that grows beyond `SPLIT_AT` keys (everything under one
hash tag) is split into parts by linear hashing: one part is divided at a time, so nothing stalls, one part is small
enough to be returned by one SCAN step, and a random key is found without walking a giant dict.

Two empty dicts stand for "nothing here yet" and "this slot is split": a lookup that finds its key never has to ask
which of the three it met.

SCAN cursors are `bucket << 14 | slot`, where the bucket counts in reverse binary as in Valkey's hash tables: a cursor
stays valid while parts are split or put together, because each bucket of a coarse division is the union of the buckets
with the same low bits in a finer one. A slot that is one dict is divided for SCAN only, by the same hash bits.
The hash is Python's own: seeded a process, so that no client can aim at one part.
"""

from itertools import islice
from typing import Final, final

from librt.random import Random
from mypy_extensions import i64, mypyc_attr

from node.frozen import FrozenParts

SPLIT_AT: Final = 1024  # keys in a slot that is still one dict
PART_FILL: Final = 128  # average keys of a part
JOIN_AT: Final = 256  # a split slot with fewer keys becomes one dict again
_STEP: Final = 32  # keys that one SCAN step of an unsplit slot returns, about
_GROUP: Final = 128  # slots whose keys are counted together

_EMPTY: Final[dict[bytes, object]] = {}
_SPLIT: Final[dict[bytes, object]] = {}
_NO_SLOTS: Final[list[dict[bytes, object]]] = [_EMPTY] * 16384


@final
@mypyc_attr(acyclic=True)
class _Parts:
    """The parts of a split slot: part i holds the keys whose hash ends in i, by linear hashing."""

    parts: list[dict[bytes, object]]
    count: i64
    mask: i64  # 2^level - 1; there are 2^level to 2^(level+1) - 1 parts
    shared: list[bool] | None  # parts that a snapshot holds: they are copied before the first change

    def __init__(self, whole: dict[bytes, object]) -> None:
        self.shared = None
        self.parts = [{}]
        self.count = 0
        self.mask = 0
        n: i64 = len(whole)
        while len(self.parts) * PART_FILL < n:
            self._grow()
        for key, value in whole.items():
            self.part(key)[key] = value
        self.count = n

    def part(self, key: bytes) -> dict[bytes, object]:
        h: i64 = hash(key)
        i: i64 = h & (self.mask * 2 + 1)
        if i >= len(self.parts):
            i = h & self.mask
        return self.parts[i]

    def own(self, key: bytes) -> dict[bytes, object]:
        """The part of a key for changing it."""
        if self.shared is None:
            return self.part(key)
        h: i64 = hash(key)
        i: i64 = h & (self.mask * 2 + 1)
        if i >= len(self.parts):
            i = h & self.mask
        self._unshare(i)
        return self.parts[i]

    def _unshare(self, i: i64) -> None:
        shared = self.shared
        if shared is not None and shared[i]:
            shared[i] = False
            self.parts[i] = self.parts[i].copy()

    def _grow(self) -> None:
        """Divide the next part in two."""
        n: i64 = len(self.parts)
        low: i64 = n - self.mask - 1
        bit: i64 = self.mask + 1
        stay: dict[bytes, object] = {}
        move: dict[bytes, object] = {}
        for key, value in self.parts[low].items():
            h: i64 = hash(key)
            if h & bit:
                move[key] = value
            else:
                stay[key] = value
        self.parts[low] = stay
        self.parts.append(move)
        shared = self.shared
        if shared is not None:
            shared[low] = False
            shared.append(False)
        if n + 1 == (self.mask + 1) * 2:
            self.mask = self.mask * 2 + 1

    def added(self) -> None:
        self.count += 1
        if self.count > len(self.parts) * PART_FILL:
            self._grow()

    def removed(self) -> None:
        """Count a key less; thinly filled parts are put together one at a time, the last with the one it came from."""
        self.count -= 1
        n: i64 = len(self.parts)
        if n > 1 and self.count * 4 < n * PART_FILL:
            if n == self.mask + 1:
                self.mask >>= 1
            last = self.parts.pop()
            low: i64 = n - 2 - self.mask
            self._unshare(low)
            if self.shared is not None:
                self.shared.pop()
            self.parts[low].update(last)

    def joined(self) -> dict[bytes, object]:
        whole: dict[bytes, object] = {}
        for part in self.parts:
            whole.update(part)
        return whole


def _index(d: dict[bytes, object], i: i64) -> bytes:
    for key in islice(d, i, None):
        return key
    raise IndexError(i)


def _next_bucket(bucket: i64, mask: i64) -> i64:
    """The bucket after `bucket` in reverse binary order; 0 when that was the last."""
    bucket &= mask
    bit: i64 = (mask + 1) >> 1
    while bit and bucket & bit:
        bucket ^= bit
        bit >>= 1
    return bucket | bit


@final
@mypyc_attr(acyclic=True)
class SlotMap:
    """Keys of up to 16384 slots, each with an object."""

    slots: list[dict[bytes, object]]  # one dict a slot: the keys, _EMPTY or _SPLIT
    split: dict[int, _Parts]
    total: i64
    occupied: i64  # slots that hold a key
    groups: list[int]  # keys of each run of _GROUP slots

    def __init__(self) -> None:
        self.slots = _NO_SLOTS
        self.split = {}
        self.total = 0
        self.occupied = 0
        self.groups = [0] * (16384 // _GROUP)

    # --- one key
    def get(self, slot: i64, key: bytes) -> object | None:
        """The object of a key, None when there is none."""
        d = self.slots[slot]
        if d is _SPLIT:
            d = self.split[slot].part(key)
        return d.get(key)

    def find_split(self, slot: i64, key: bytes) -> object | None:
        """The object of a key that the slot's own dict does not have."""
        if self.slots[slot] is _SPLIT:
            return self.split[slot].part(key).get(key)
        return None

    def home(self, slot: i64, key: bytes) -> dict[bytes, object]:
        """The dict that a key belongs in; call `added` after a key came into it."""
        d = self.slots[slot]
        if d is _EMPTY:
            if self.slots is _NO_SLOTS:
                self.slots = _NO_SLOTS.copy()
            d = {}
            self.slots[slot] = d
        elif d is _SPLIT:
            d = self.split[slot].own(key)
        return d

    def added(self, slot: i64) -> None:
        """Count a key that was put into its home."""
        self.total += 1
        group: i64 = slot // _GROUP
        self.groups[group] += 1
        d = self.slots[slot]
        n: i64 = len(d)
        if n == 1:
            self.occupied += 1
        elif n == 0:
            self.split[slot].added()
        elif n > SPLIT_AT:
            self.split[slot] = _Parts(d)
            self.slots[slot] = _SPLIT

    def put(self, slot: i64, key: bytes, value: object) -> None:
        """Set the object of a key."""
        d = self.home(slot, key)
        n: i64 = len(d)
        d[key] = value
        if len(d) != n:
            self.added(slot)

    def pop(self, slot: i64, key: bytes) -> object | None:
        """Remove a key; its object, None when there was none."""
        d = self.slots[slot]
        if d is _SPLIT:
            d = self.split[slot].own(key)
        value = d.pop(key, None)
        if value is not None:
            self._removed(slot)
        return value

    def _removed(self, slot: i64) -> None:
        self.total -= 1
        group: i64 = slot // _GROUP
        self.groups[group] -= 1
        d = self.slots[slot]
        if d is _SPLIT:
            parts = self.split[slot]
            parts.removed()
            if parts.count < JOIN_AT:
                self.slots[slot] = parts.joined()
                del self.split[slot]
        elif len(d) == 0:
            self.slots[slot] = _EMPTY
            self.occupied -= 1

    def drop(self, slot: i64) -> None:
        """Remove every key of a slot."""
        n = self.count(slot)
        if n:
            self.total -= n
            self.occupied -= 1
            group: i64 = slot // _GROUP
            self.groups[group] -= n
            if self.slots[slot] is _SPLIT:
                del self.split[slot]
            self.slots[slot] = _EMPTY

    # --- walking
    def count(self, slot: i64) -> i64:
        """Keys of one slot."""
        d = self.slots[slot]
        if d is _SPLIT:
            return self.split[slot].count
        return len(d)

    def keys(self, slot: i64, limit: i64) -> list[bytes]:
        """Up to `limit` keys of a slot, -1 for all of them."""
        n = self.count(slot)
        if limit < 0 or limit > n:
            limit = n
        d = self.slots[slot]
        if d is not _SPLIT:
            return list(d) if limit == n else list(islice(d, limit))
        out: list[bytes] = []
        for part in self.split[slot].parts:
            out.extend(part)
            if len(out) >= limit:
                break
        del out[limit:]
        return out

    def frozen(self, slot: i64) -> FrozenParts:
        """The keys of a slot and their objects as they are now: changes from now on are made to copies."""
        d = self.slots[slot]
        if d is not _SPLIT:
            return FrozenParts([d.copy()] if d else [], 0)
        parts = self.split[slot]
        parts.shared = [True] * len(parts.parts)
        return FrozenParts(parts.parts.copy(), parts.mask)

    def occupied_slots(self) -> list[int]:
        """The slots that hold a key, ascending."""
        return [slot for slot in range(16384) if self.slots[slot] is not _EMPTY] if self.total else []

    def next_occupied(self, slot: i64) -> i64:
        """The first slot from `slot` on that holds a key; -1 when there is none."""
        if self.total:
            while slot < 16384:
                if self.slots[slot] is not _EMPTY:
                    return slot
                slot += 1
        return -1

    def scan(self, cursor: i64, out: list[bytes]) -> i64:
        """Append the keys of the bucket at `cursor`; returns the next bucket of the same slot, 0 after the last."""
        slot: i64 = cursor & 16383
        bucket: i64 = cursor >> 14
        d = self.slots[slot]
        if d is _SPLIT:
            parts = self.split[slot]
            mask: i64 = parts.mask
            i: i64 = bucket & mask
            out.extend(parts.parts[i])
            i += mask + 1
            if i < len(parts.parts):
                out.extend(parts.parts[i])
            return _next_bucket(bucket, mask)
        mask = 0
        while (mask + 1) * 2 * _STEP <= len(d):
            mask = mask * 2 + 1
        bucket &= mask
        if mask == 0:
            out.extend(d)
        else:
            for key in d:
                h: i64 = hash(key)
                if h & mask == bucket:
                    out.append(key)
        return _next_bucket(bucket, mask)

    # --- chance
    def random(self, chance: Random) -> tuple[i64, bytes]:
        """The slot of a random key and the key, each alike; the table must not be empty."""
        place = chance.randrange(self.total)
        group: i64 = 0
        here: i64 = self.groups[0]
        while place >= here:
            place -= here
            group += 1
            here = self.groups[group]
        slot: i64 = group * _GROUP
        while True:
            here = self.count(slot)
            if place < here:
                break
            place -= here
            slot += 1
        d = self.slots[slot]
        if d is not _SPLIT:
            return slot, _index(d, place)
        return slot, self._random_in(self.split[slot].parts, chance)

    def _random_in(self, parts: list[dict[bytes, object]], chance: Random) -> bytes:
        """A random key of a split slot: a random place in a part of up to 4 average fills, drawn again when empty."""
        while True:
            part = parts[chance.randrange(len(parts))]
            place = chance.randrange(PART_FILL * 4)
            if place < len(part):
                return _index(part, place)
