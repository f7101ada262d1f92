"""ScanDict: the table of a big hash, set or sorted set; a dict that a cursor can walk and chance can pick from.

A plain dict gives neither: its order changes with it, and it has no n-th entry. Here entries are divided by 32 bits of
their hash into parts of about a hundred, each a leaf (`node.types.leaf`) that owns an interval of hash values; the
parts stand in the order of these intervals. A cursor is a position among the hash values, so whatever is added or
removed, and however the parts are divided meanwhile, a walk returns every entry that is there all the time, and returns
it once.

Parts are divided one at a time, as linear hashing does (no pause when a big table grows): with 2**bits + ahead parts,
the first 2 * ahead own intervals of half the width. Parts with long entries are divided earlier, so that no change
moves more than some ten thousand bytes. Bytes hash with a seed of the process, so clients cannot aim at a part.
"""

from random import Random
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from node.types.fieldtimes import FieldTimes
from node.types.leaf import Leaf, new_leaf
from node.types.plainleaf import place_of

HASH_BITS: Final = 32
HASH_MASK: Final = 0xFFFFFFFF
FULL: Final = 128  # entries a part on average, above which one is divided
FEW: Final = 16  # as FULL, when they are heavy
HEAVY: Final = 8192  # bytes a part on average above which they are
SPARSE: Final = 24  # entries a part on average below which two are joined, unless they are half heavy
_SELF_BYTES: Final = 200  # a ScanDict and an empty list
_PART_BYTES: Final = 9  # a part's place in the list, and spare room


def below(rng: Random, n: i64) -> i64:
    """A random integer of 0 to n - 1."""
    return i64(int(rng.random() * float(n)))


@final
@mypyc_attr(acyclic=True)
class ScanDict:
    """Bytes to values of one kind (`node.types.leaf`); `count` is the number of entries."""

    kind: i64
    parts: list[Leaf]
    count: i64
    weight: i64  # bytes of the parts
    shift: i64  # HASH_BITS - bits
    ahead: i64
    widest: i64  # no part holds more; what makes random picks even
    borrowed: list[bool] | None  # parts that a copy shares: they are copied before the first change
    times: FieldTimes | None  # of a hash whose fields expire

    def __init__(self, kind: i64) -> None:
        self.kind = kind
        self.clear()

    def clear(self) -> None:
        """Remove everything."""
        first = new_leaf(self.kind)
        self.parts = [first]
        self.count = 0
        self.weight = first.weight()
        self.shift = HASH_BITS
        self.ahead = 0
        self.widest = 1
        self.borrowed = None
        self.times = None

    def used_bytes(self) -> i64:
        """Bytes that the table takes, the times of fields left aside."""
        return _SELF_BYTES + len(self.parts) * _PART_BYTES + self.weight

    def _index(self, place: i64) -> i64:
        """Which part owns a hash value."""
        i: i64 = place >> self.shift
        if i < self.ahead:
            return place >> (self.shift - 1)
        return i + self.ahead

    def _part(self, key: bytes) -> Leaf:
        if self.shift == HASH_BITS:
            return self.parts[0]
        place: i64 = place_of(key)
        return self.parts[self._index(place)]

    def _own_part(self, key: bytes) -> Leaf:
        """The part of a key for changing it."""
        borrowed = self.borrowed
        if borrowed is None:
            return self._part(key)
        i = self._index(place_of(key))
        if borrowed[i]:
            self.parts[i] = self.parts[i].copy()
            borrowed[i] = False
        return self.parts[i]

    def has(self, key: bytes) -> bool:
        """Whether the key is there."""
        return self._part(key).has(key)

    def get(self, key: bytes) -> object | None:
        """The value of a key, None when it is not there."""
        return self._part(key).get(key)

    def put(self, key: bytes, value: object) -> bool:
        """Set the value of a key; True when the key is new."""
        part = self._own_part(key)
        done: i64 = part.put(key, value)
        if done == 0:
            return False
        self.weight += done >> 1
        if done & 1:
            self.count += 1
            size: i64 = len(part)
            if size > self.widest:
                self.widest = size
        n: i64 = len(self.parts)
        if self.count > n * FULL or (self.weight > n * HEAVY and self.count > n * FEW):
            self._divide()
        return done & 1 != 0

    def remove(self, key: bytes) -> bool:
        """Remove a key; False when it was not there."""
        done: i64 = self._own_part(key).remove(key)
        if done == 0:
            return False
        self.weight += done >> 1
        self.count -= 1
        n: i64 = len(self.parts)
        if self.count < n * SPARSE and n > 1 and (self.weight * 4 < n * HEAVY or self.count * 4 < n * FEW):
            self._join()
        return True

    def _divide(self) -> None:
        """Give the upper half of the first undivided part's interval to a new part after it; without memory, later."""
        at: i64 = self.ahead * 2
        old = self.parts[at]
        try:
            low, high = old.divide(self.shift - 1)
            self.parts.insert(at + 1, high)
        except MemoryError:
            return
        self.parts[at] = low
        self.weight += low.weight() + high.weight() - old.weight()
        if self.borrowed is not None:
            self.borrowed[at] = False
            self.borrowed.insert(at + 1, False)
        self.ahead += 1
        if self.ahead == 1 << (HASH_BITS - self.shift):
            self.shift -= 1
            self.ahead = 0

    def _join(self) -> None:
        """Undo the last division; without memory, later."""
        ahead: i64 = self.ahead
        shift: i64 = self.shift
        if ahead == 0:
            shift += 1
            ahead = 1 << (HASH_BITS - shift)
        ahead -= 1
        at: i64 = ahead * 2
        low = self.parts[at]
        try:
            joined = low.join(self.parts[at + 1])
        except MemoryError:
            return
        high = self.parts.pop(at + 1)
        self.parts[at] = joined
        self.weight += joined.weight() - low.weight() - high.weight()
        self.shift = shift
        self.ahead = ahead
        if self.borrowed is not None:
            self.borrowed.pop(at + 1)
            self.borrowed[at] = False
        if len(joined) > self.widest:
            self.widest = len(joined)

    # --- walking

    def scan(self, cursor: i64, want: i64, out: list[bytes]) -> i64:
        """Append the next `want` keys (more when hash values are equal) and return the next cursor, 0 at the end."""
        if cursor < 0 or cursor > HASH_MASK:
            return 0
        i = self._index(cursor)
        left: i64 = want
        while i < len(self.parts):
            found: i64 = self.parts[i].scan(cursor, left, out)
            if found > 0:
                return found & HASH_MASK
            left += found
            i += 1
            if left <= 0:
                break
        return self._start(i) if i < len(self.parts) else 0

    def _start(self, i: i64) -> i64:
        """The lowest hash value that part `i` owns."""
        if i < self.ahead * 2:
            return i << (self.shift - 1)
        return (i - self.ahead) << self.shift

    def keys(self) -> list[bytes]:
        """All keys."""
        out: list[bytes] = []
        for part in self.parts:
            out.extend(part.keys())
        return out

    def values(self) -> list[bytes]:
        """All values, in the order of `keys`."""
        out: list[bytes] = []
        for part in self.parts:
            out.extend(part.values())
        return out

    def flat(self) -> list[bytes]:
        """Key, value, key, value, …"""
        out: list[bytes] = []
        for part in self.parts:
            out.extend(part.flat())
        return out

    def random(self, rng: Random) -> bytes:
        """A key, each with the same chance; the table must not be empty."""
        n: i64 = len(self.parts)
        while True:
            part = self.parts[below(rng, n)]
            nth: i64 = below(rng, self.widest)
            if nth < len(part):
                return part.nth(nth)

    def frozen(self) -> list[Leaf]:
        """The parts as they are now, which nobody changes any more: changes from now on are made to copies."""
        self.borrowed = [True] * len(self.parts)
        return self.parts.copy()

    def copy(self) -> "ScanDict":
        """A copy that shares the values, made in no time: each side copies a part when it first changes it."""
        twin = ScanDict(self.kind)
        twin.parts = self.parts.copy()
        twin.borrowed = [True] * len(self.parts)
        self.borrowed = [True] * len(self.parts)
        twin.count = self.count
        twin.weight = self.weight
        twin.shift = self.shift
        twin.ahead = self.ahead
        twin.widest = self.widest
        times = self.times
        if times is not None:
            twin.times = times.copy()
        return twin
