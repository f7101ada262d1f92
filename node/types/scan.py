"""ScanDict: the table of a big hash, set or sorted set; a dict that a cursor can walk and chance can pick from.

A plain dict gives neither: its order changes with it, and it has no n-th entry. Here entries are divided by 32 bits of
their hash into parts of about a hundred, each a plain dict that owns an interval of hash values; the parts stand in the
order of these intervals. A cursor is a position among the hash values, so whatever is added or removed, and however
the parts are divided meanwhile, a walk returns every entry that is there all the time, and returns it once.

Parts are divided one at a time, as linear hashing does (no pause when a big table grows): with 2**bits + ahead parts,
the first 2 * ahead own intervals of half the width. Bytes hash with a seed of the process, so clients cannot aim at a
part.
"""

from itertools import islice
from random import Random
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from node.types.fieldtimes import FieldTimes

HASH_BITS: Final = 32
HASH_MASK: Final = 0xFFFFFFFF
FULL: Final = 128  # entries a part on average, above which one is divided
SPARSE: Final = 24  # and below which two are joined
ENTRY_BYTES: Final = 44  # an entry's share of its dict: 24 bytes, index and spare room (measured at 500,000 entries)


def bytes_cost(length: i64) -> i64:
    """Bytes that a `bytes` object of this length takes from the allocator: 33 of its own, in steps of 16."""
    return (length + 48) & -16


def below(rng: Random, n: i64) -> i64:
    """A random integer of 0 to n - 1."""
    return i64(int(rng.random() * float(n)))


def _place(key: bytes) -> i64:
    """Where a key stands among the hash values."""
    h: i64 = hash(key)
    return h & HASH_MASK


@final
@mypyc_attr(acyclic=True)
class ScanDict:
    """Bytes to objects; `count` is the number of entries. `get` and `pop` cannot tell a stored None from nothing."""

    parts: list[dict[bytes, object]]
    count: i64
    shift: i64  # HASH_BITS - bits
    ahead: i64
    widest: i64  # no part holds more; what makes random picks even
    borrowed: list[bool] | None  # parts that a copy shares: they are copied before the first change
    times: FieldTimes | None  # of a hash whose fields expire

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove everything."""
        first: dict[bytes, object] = {}
        self.parts = [first]
        self.count = 0
        self.shift = HASH_BITS
        self.ahead = 0
        self.widest = 1
        self.borrowed = None
        self.times = None

    def _index(self, place: i64) -> i64:
        """Which part owns a hash value."""
        i: i64 = place >> self.shift
        if i < self.ahead:
            return place >> (self.shift - 1)
        return i + self.ahead

    def _part(self, key: bytes) -> dict[bytes, object]:
        if self.shift == HASH_BITS:
            return self.parts[0]
        place: i64 = _place(key)
        return self.parts[self._index(place)]

    def _own_part(self, key: bytes) -> dict[bytes, object]:
        """The part of a key for changing it."""
        borrowed = self.borrowed
        if borrowed is None:
            return self._part(key)
        i = self._index(_place(key))
        if borrowed[i]:
            borrowed[i] = False
            self.parts[i] = self.parts[i].copy()
        return self.parts[i]

    def has(self, key: bytes) -> bool:
        """Whether the key is there."""
        return key in self._part(key)

    def get(self, key: bytes) -> object | None:
        """The value of a key, None when it is not there."""
        return self._part(key).get(key)

    def put(self, key: bytes, value: object) -> bool:
        """Set the value of a key; True when the key is new."""
        part = self._own_part(key)
        before = len(part)
        part[key] = value
        size: i64 = len(part)
        if size == before:
            return False
        self.count += 1
        if size > self.widest:
            self.widest = size
        if self.count > len(self.parts) * FULL:
            self._divide()
        return True

    def pop(self, key: bytes) -> object | None:
        """Remove a key and return its value, None when it was not there."""
        part = self._own_part(key)
        before = len(part)
        value = part.pop(key, None)
        if len(part) != before:
            self.count -= 1
            if self.count < len(self.parts) * SPARSE and len(self.parts) > 1:
                self._join()
        return value

    def remove(self, key: bytes) -> bool:
        """Remove a key; False when it was not there."""
        before = self.count
        self.pop(key)
        return self.count != before

    def _divide(self) -> None:
        """Give the upper half of the first undivided part's interval to a new part after it."""
        at: i64 = self.ahead * 2
        bit: i64 = self.shift - 1
        low: dict[bytes, object] = {}
        high: dict[bytes, object] = {}
        for key, value in self.parts[at].items():
            place: i64 = _place(key)
            if (place >> bit) & 1:
                high[key] = value
            else:
                low[key] = value
        self.parts[at] = low
        self.parts.insert(at + 1, high)
        if self.borrowed is not None:
            self.borrowed[at] = False
            self.borrowed.insert(at + 1, False)
        self.ahead += 1
        if self.ahead == 1 << (HASH_BITS - self.shift):
            self.shift -= 1
            self.ahead = 0

    def _join(self) -> None:
        """Undo the last division."""
        if self.ahead == 0:
            self.shift += 1
            self.ahead = 1 << (HASH_BITS - self.shift)
        self.ahead -= 1
        at: i64 = self.ahead * 2
        joined: dict[bytes, object] = {}
        joined.update(self.parts[at])
        joined.update(self.parts.pop(at + 1))
        self.parts[at] = joined
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
            keys: list[bytes] = []
            places: list[int] = []
            for key in self.parts[i]:
                place: i64 = _place(key)
                if place >= cursor:
                    keys.append(key)
                    places.append(place)
            last: i64 = HASH_MASK
            if len(places) <= left:
                out.extend(keys)
            else:
                last = sorted(places)[left - 1]
                j: i64 = 0
                while j < len(keys):
                    if places[j] <= last:
                        out.append(keys[j])
                    j += 1
            left -= len(places)
            if left < 0:
                return (last + 1) & HASH_MASK
            i += 1
            if left == 0:
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
            out.extend(part)
        return out

    def random(self, rng: Random) -> bytes:
        """A key, each with the same chance; the table must not be empty."""
        n: i64 = len(self.parts)
        while True:
            part = self.parts[below(rng, n)]
            nth: i64 = below(rng, self.widest)
            if nth < len(part):
                return next(islice(part, nth, None))

    def frozen(self) -> list[dict[bytes, object]]:
        """The parts as they are now, which nobody changes any more: changes from now on are made to copies."""
        self.borrowed = [True] * len(self.parts)
        return self.parts.copy()

    def copy(self) -> "ScanDict":
        """A copy that shares the values, made in no time: each side copies a part when it first changes it."""
        twin = ScanDict()
        twin.parts = self.parts.copy()
        twin.borrowed = [True] * len(self.parts)
        self.borrowed = [True] * len(self.parts)
        twin.count = self.count
        twin.shift = self.shift
        twin.ahead = self.ahead
        twin.widest = self.widest
        times = self.times
        if times is not None:
            twin.times = times.copy()
        return twin
