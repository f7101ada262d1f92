"""Leaves on dicts and lists, where the packed ones of `node.keytable` are not built; see `node.types.leaf`."""

from itertools import islice
from typing import Final, cast, final

from librt.vecs import append, pop, vec
from mypy_extensions import i64, mypyc_attr

HASH_MASK: Final = 0xFFFFFFFF
PLACES: Final = 1024  # more than an ordered leaf has members
ENTRY_BYTES: Final = 44  # an entry's share of its dict: 24 bytes, index and spare room (measured at 500,000 entries)
LEAF_BYTES: Final = 96  # an empty leaf and its dict
ORDERED_BYTES: Final = 176  # an empty ordered leaf, its list and the head of its vector
PLACE_BYTES: Final = 21  # a member's share of list and vector: 8 bytes each, and spare room
_FLOAT_BYTES: Final = 32
_TEXT: Final = 2


def bytes_cost(length: i64) -> i64:
    """Bytes that a `bytes` object of this length takes from the allocator: 33 of its own, in steps of 16."""
    return (length + 48) & -16


def place_of(key: bytes) -> i64:
    """Where a key stands among the hash values."""
    h: i64 = hash(key)
    return h & HASH_MASK


@final
@mypyc_attr(acyclic=True)
class PlainLeaf:
    """A `Leaf` on a dict."""

    kind: i64
    data: dict[bytes, object]
    held: i64  # bytes

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.data = {}
        self.held = LEAF_BYTES

    def __len__(self) -> int:
        return len(self.data)

    def _cost(self, key: bytes, value: object) -> i64:
        cost = bytes_cost(len(key)) + ENTRY_BYTES
        if isinstance(value, bytes):
            cost += bytes_cost(len(value))
        elif value is not None:
            cost += _FLOAT_BYTES
        return cost

    def has(self, key: bytes, /) -> bool:
        """As in Leaf."""
        return key in self.data

    def get(self, key: bytes, /) -> object | None:
        """As in Leaf."""
        return self.data.get(key)

    def put(self, key: bytes, value: object, /) -> int:
        """As in Leaf."""
        data = self.data
        before = len(data)
        grown = -self._cost(key, data[key]) if key in data else 0
        data[key] = value
        grown += self._cost(key, value)
        self.held += grown
        return grown * 2 + len(data) - before

    def remove(self, key: bytes, /) -> int:
        """As in Leaf."""
        if key not in self.data:
            return 0
        cost = self._cost(key, self.data.pop(key))
        self.held -= cost
        return 1 - cost * 2

    def nth(self, i: int, /) -> bytes:
        """As in Leaf."""
        if i < 0 or i >= len(self.data):
            raise IndexError(i)
        return next(islice(self.data, i, None))

    def keys(self) -> list[bytes]:
        """As in Leaf."""
        return list(self.data)

    def values(self) -> list[bytes]:
        """As in Leaf."""
        return [value for value in self.data.values() if isinstance(value, bytes)]

    def flat(self) -> list[bytes]:
        """As in Leaf."""
        if self.kind != _TEXT:
            return list(self.data)
        out: list[bytes] = []
        for key, value in self.data.items():
            out.append(key)
            out.append(cast(bytes, value))
        return out

    def scan(self, cursor: int, want: int, out: list[bytes], /) -> int:
        """As in Leaf."""
        keys: list[bytes] = []
        places: list[int] = []
        first: i64 = cursor
        for key in self.data:
            place = place_of(key)
            if place >= first:
                keys.append(key)
                places.append(place)
        if len(places) <= want:
            out.extend(keys)
            return -len(places)
        last = sorted(places)[max(want, 1) - 1]
        left = 0
        i: i64 = 0
        while i < len(keys):
            if places[i] <= last:
                out.append(keys[i])
            else:
                left += 1
            i += 1
        return last + 1 if left else -len(keys)

    def divide(self, bit: int, /) -> "tuple[PlainLeaf, PlainLeaf]":
        """As in Leaf."""
        low = PlainLeaf(self.kind)
        high = PlainLeaf(self.kind)
        by: i64 = bit
        for key, value in self.data.items():
            half = high if (place_of(key) >> by) & 1 else low
            half.data[key] = value
            half.held += self._cost(key, value)
        return low, high

    def join(self, other: "PlainLeaf", /) -> "PlainLeaf":
        """As in Leaf."""
        both = self.copy()
        both.data.update(other.data)
        both.held += other.held - LEAF_BYTES
        return both

    def copy(self) -> "PlainLeaf":
        """As in Leaf."""
        twin = PlainLeaf(self.kind)
        twin.data = self.data.copy()
        twin.held = self.held
        return twin

    def weight(self) -> int:
        """As in Leaf."""
        return self.held

    def check(self) -> None:
        """Compare the account with the entries (tests)."""
        assert self.held == LEAF_BYTES + sum([self._cost(key, value) for key, value in self.data.items()])


def _part(scores: vec[float], start: i64, stop: i64) -> vec[float]:
    part = vec[float](capacity=stop - start + 1)
    while start < stop:
        part = append(part, scores[start])
        start += 1
    return part


@final
@mypyc_attr(acyclic=True)
class PlainOrderedLeaf:
    """An `OrderedLeaf` on a vector of scores and a list of members."""

    scores: vec[float]
    members: list[bytes]
    held: i64  # bytes

    def __init__(self) -> None:
        self.scores = vec[float]()
        self.members = []
        self.held = ORDERED_BYTES

    def __len__(self) -> int:
        return len(self.members)

    def rank(self, score: float, member: bytes, /) -> int:
        """As in OrderedLeaf."""
        scores = self.scores
        members = self.members
        low: i64 = 0
        high: i64 = len(members)
        while low < high:
            mid: i64 = (low + high) >> 1
            there = scores[mid]
            if there < score or (there == score and members[mid] < member):
                low = mid + 1
            else:
                high = mid
        return low

    def rank_after(self, score: float, /) -> int:
        """As in OrderedLeaf."""
        scores = self.scores
        low: i64 = 0
        high: i64 = len(scores)
        while low < high:
            mid: i64 = (low + high) >> 1
            if scores[mid] <= score:
                low = mid + 1
            else:
                high = mid
        return low

    def first_score(self) -> float:
        """As in OrderedLeaf."""
        return self.scores[0]

    def starts_by(self, score: float, member: bytes, /) -> bool:
        """As in OrderedLeaf."""
        if not self.members:
            return False
        first = self.scores[0]
        return first < score or (first == score and self.members[0] <= member)

    def insert(self, score: float, member: bytes, /) -> int:
        """As in OrderedLeaf."""
        at: i64 = self.rank(score, member)
        scores = append(self.scores, score)
        i: i64 = len(scores) - 1
        while i > at:
            scores[i] = scores[i - 1]
            i -= 1
        scores[at] = score
        self.scores = scores
        self.members.insert(at, member)
        cost = bytes_cost(len(member)) + PLACE_BYTES
        self.held += cost
        return cost * PLACES + at

    def remove(self, score: float, member: bytes, /) -> int:
        """As in OrderedLeaf."""
        at: i64 = self.rank(score, member)
        if at >= len(self.members) or self.members[at] != member or self.scores[at] != score:
            raise KeyError(member)
        return self.cut(at, at + 1) * PLACES + at

    def _weigh(self, start: i64, stop: i64) -> i64:
        """Bytes of the members at places start to stop."""
        total: i64 = 0
        while start < stop:
            total += bytes_cost(len(self.members[start])) + PLACE_BYTES
            start += 1
        return total

    def _within(self, start: i64, stop: i64) -> None:
        if start < 0 or stop < start or stop > len(self.members):
            raise IndexError((start, stop))

    def cut(self, start: int, stop: int, /) -> int:
        """As in OrderedLeaf."""
        self._within(start, stop)
        cost = self._weigh(start, stop)
        scores = self.scores
        size: i64 = len(scores)
        i: i64 = start
        end: i64 = stop
        while end < size:
            scores[i] = scores[end]
            i += 1
            end += 1
        if i * 2 < size:
            scores = _part(scores, 0, i)  # gives the memory back
        else:
            while size > i:
                scores, _ = pop(scores)
                size -= 1
        self.scores = scores
        del self.members[start:stop]
        self.held -= cost
        return -cost

    def collect(self, start: int, stop: int, members: list[bytes] | None, scores: list[float] | None, /) -> None:
        """As in OrderedLeaf."""
        self._within(start, stop)
        if members is not None:
            members.extend(self.members[start:stop])
        if scores is not None:
            values = self.scores
            i: i64 = start
            end: i64 = stop
            while i < end:
                scores.append(values[i])
                i += 1

    def part(self, start: int, stop: int, /) -> "PlainOrderedLeaf":
        """As in OrderedLeaf."""
        self._within(start, stop)
        some = PlainOrderedLeaf()
        some.scores = _part(self.scores, start, stop)
        some.members = self.members[start:stop]
        some.held += self._weigh(start, stop)
        return some

    def join(self, other: "PlainOrderedLeaf", /) -> "PlainOrderedLeaf":
        """As in OrderedLeaf."""
        both = self.copy()
        scores = both.scores
        i: i64 = 0
        while i < len(other.members):
            scores = append(scores, other.scores[i])
            i += 1
        both.scores = scores
        both.members.extend(other.members)
        both.held += other.held - ORDERED_BYTES
        return both

    def copy(self) -> "PlainOrderedLeaf":
        """As in OrderedLeaf."""
        return self.part(0, len(self.members))

    def weight(self) -> int:
        """As in OrderedLeaf."""
        return self.held

    def check(self) -> None:
        """Compare the account with the members (tests)."""
        assert self.held == ORDERED_BYTES + self._weigh(0, len(self.members))
        assert len(self.scores) == len(self.members)
