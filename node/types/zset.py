"""Sorted sets: `listpack` encoding while small, else `skiplist`: a table of scores by member, and blocks in order.

(Valkey's name of the second encoding is kept; the order is held in blocks, see `node.types.zblocks`.) All questions
about order are answered in ranks, 0 for the lowest; a range is a pair of ranks, the second exclusive.
"""

from random import Random
from typing import Final, cast, final

from mypy_extensions import i64, mypyc_attr

from node.keyspace import Value
from node.types import listpack, zpacked
from node.types.leaf import SCORE
from node.types.scan import ScanDict
from node.types.scan import below as random_below
from node.types.zblocks import SortedBlocks

NO_SCORE: Final = float("nan")  # no member has it: NaN is refused as a score

_OBJECT_BYTES: Final = 96  # the ZSet and its empty listpack


@final
@mypyc_attr(acyclic=True)
class ZSetLimits:
    """`zset-max-listpack-entries` and `zset-max-listpack-value`."""

    entries: i64
    value: i64

    def __init__(self) -> None:
        self.entries = 128
        self.value = 64


LIMITS: Final = ZSetLimits()

_NOTHING: Final = ScanDict(SCORE)  # stands for the table of a small set; never written


@final
@mypyc_attr(acyclic=True)
class ZSet(Value):
    """A sorted set value; a listpack in `packed` as long as `order` is None."""

    packed: bytes
    scores: ScanDict  # to floats; in use while `order` is there
    order: SortedBlocks | None
    count: i64

    def __init__(self) -> None:
        self.packed = listpack.EMPTY
        self.scores = _NOTHING
        self.order = None
        self.count = 0

    def type_name(self) -> bytes:
        """What TYPE answers."""
        return b"zset"

    def encoding(self) -> bytes:
        """What OBJECT ENCODING answers."""
        return b"listpack" if self.order is None else b"skiplist"

    def used_bytes(self) -> i64:
        """Bytes that the value takes, objects included."""
        order = self.order
        if order is None:
            return _OBJECT_BYTES + len(self.packed)
        return _OBJECT_BYTES + self.scores.used_bytes() + order.used_bytes()

    def dismantle(self, heaps: list[list[object]]) -> None:
        """Give away table and blocks."""
        order = self.order
        if order is not None:
            heaps.append(cast(list[object], self.scores.parts))
            heaps.append(cast(list[object], order.blocks))

    def copy(self) -> "ZSet":
        """Return an equal set that can change on its own."""
        twin = ZSet()
        twin.packed = self.packed
        twin.count = self.count
        order = self.order
        if order is not None:
            twin.scores = self.scores.copy()
            twin.order = order.copy()
        return twin

    # --- encoding

    def expect(self, number: i64, longest: i64) -> None:
        """Become a skiplist at once if so many members, the longest of so many bytes, are about to be added."""
        if number > LIMITS.entries or longest > LIMITS.value:
            self.expand()

    def expand(self) -> None:
        """Become a skiplist."""
        if self.order is not None:
            return
        members: list[bytes] = []
        values: list[float] = []
        zpacked.collect(self.packed, 0, self.count, members, values)
        self._fill(members, values)
        self.packed = listpack.EMPTY

    def _fill(self, members: list[bytes], values: list[float]) -> None:
        """Take over elements that are in order."""
        order = SortedBlocks()
        scores = ScanDict(SCORE)
        i: i64 = 0
        while i < len(members):
            member = members[i]
            order.append_last(values[i], member)
            scores.put(member, values[i])
            i += 1
        self.order = order
        self.scores = scores
        self.count = len(members)

    def compact(self) -> None:
        """Become a listpack if the members are few and short."""
        order = self.order
        if order is None or self.count > LIMITS.entries:
            return
        members: list[bytes] = []
        values: list[float] = []
        order.collect(0, self.count, members, values)
        for member in members:
            if len(member) > LIMITS.value:
                return
        self.packed = zpacked.build(members, values)
        self.order = None
        self.scores = _NOTHING

    # --- members

    def get(self, member: bytes) -> float:
        """The score of a member, NO_SCORE (which is not equal to itself) when it is not there."""
        if self.order is not None:
            return self._score_in_table(member)
        pos = zpacked.find(self.packed, member)
        return NO_SCORE if pos < 0 else zpacked.score_of(self.packed, pos)

    def _score_in_table(self, member: bytes) -> float:
        score = self.scores.get(member)
        return NO_SCORE if score is None else cast(float, score)

    def has(self, member: bytes) -> bool:
        """Whether the member is there."""
        if self.order is not None:
            return self.scores.has(member)
        return zpacked.find(self.packed, member) >= 0

    def put(self, member: bytes, score: float) -> None:
        """Add a member or give it another score."""
        old = self.get(member)
        if old != old:
            self.add(member, score)
        elif old != score:
            self.change(member, old, score)

    def add(self, member: bytes, score: float) -> None:
        """Add a member that is not there."""
        if self.order is None:
            if self.count < LIMITS.entries and len(member) <= LIMITS.value:
                self.packed = zpacked.insert(self.packed, score, member)
                self.count += 1
                return
            self.expand()
        order = self.order
        assert order is not None
        self.scores.put(member, score)
        try:
            order.insert(score, member)
        except MemoryError:
            self.scores.remove(member)
            raise
        self.count += 1

    def change(self, member: bytes, old: float, score: float) -> None:
        """Give a member that has the score `old` another one."""
        order = self.order
        if order is None:
            packed = zpacked.remove(self.packed, zpacked.find(self.packed, member))
            self.packed = zpacked.insert(packed, score, member)
            return
        self.scores.put(member, score)
        order.insert(score, member)
        order.remove(old, member)

    def remove(self, member: bytes) -> bool:
        """Take a member out; False when it was not there."""
        order = self.order
        if order is None:
            pos = zpacked.find(self.packed, member)
            if pos < 0:
                return False
            self.packed = zpacked.remove(self.packed, pos)
        else:
            score = self._score_in_table(member)
            if score != score:
                return False
            order.remove(score, member)
            self.scores.remove(member)
        self.count -= 1
        return True

    # --- order

    def rank(self, member: bytes) -> i64:
        """How many members stand before this one, -1 when it is not there."""
        order = self.order
        if order is None:
            pos = zpacked.find(self.packed, member)
            return -1 if pos < 0 else zpacked.rank_at(self.packed, pos)
        score = self._score_in_table(member)
        return -1 if score != score else order.rank(score, member)

    def below(self, score: float, inclusive: bool) -> i64:
        """How many members have a score lower than `score`, or with `inclusive` not higher."""
        order = self.order
        if order is None:
            return zpacked.below(self.packed, score, inclusive)
        return order.rank_after_score(score) if inclusive else order.rank(score, b"")

    def lex_below(self, bound: bytes, inclusive: bool) -> i64:
        """How many members are below `bound`, or with `inclusive` not above it; for sets of one score."""
        order = self.order
        if order is None:
            return zpacked.lex_below(self.packed, bound, inclusive)
        return order.lex_rank(bound, inclusive)

    def members(self, start: i64, stop: i64) -> list[bytes]:
        """The members of ranks start to stop, both within bounds."""
        found: list[bytes] = []
        order = self.order
        if order is None:
            zpacked.collect(self.packed, start, stop, found, None)
        else:
            order.collect(start, stop, found, None)
        return found

    def collect(self, start: i64, stop: i64, members: list[bytes] | None, scores: list[float]) -> None:
        """Append scores and, where they are asked for, members of ranks start to stop, both within bounds."""
        order = self.order
        if order is None:
            zpacked.collect(self.packed, start, stop, members, scores)
        else:
            order.collect(start, stop, members, scores)

    def random(self, rng: Random) -> bytes:
        """A member, each with the same chance; the set must not be empty."""
        if self.order is not None:
            return self.scores.random(rng)
        rank = random_below(rng, self.count)
        return self.members(rank, rank + 1)[0]

    def pick(self, rng: Random, number: i64, members: list[bytes], scores: list[float]) -> None:
        """Append so many different members chosen at random; all of them, in order, when there are not more."""
        left = self.count
        if number < left // 3 and self.order is not None:
            taken: dict[bytes, None] = {}
            while len(taken) < number:
                taken[self.scores.random(rng)] = None
            for member in taken:
                members.append(member)
                scores.append(self._score_in_table(member))
            return
        every: list[bytes] = []
        values: list[float] = []
        self.collect(0, left, every, values)
        i: i64 = 0
        while i < len(every) and number > 0:
            if number >= left or random_below(rng, left) < number:
                members.append(every[i])
                scores.append(values[i])
                number -= 1
            left -= 1
            i += 1

    def scan(self, cursor: i64, want: i64, members: list[bytes]) -> i64:
        """One ZSCAN step: append members and return the next cursor, 0 at the end. A small set is returned whole."""
        if self.order is None:
            zpacked.collect(self.packed, 0, self.count, members, None)
            return 0
        return self.scores.scan(cursor, want, members)

    def remove_range(self, start: i64, stop: i64) -> i64:
        """Take out the members of ranks start to stop, both within bounds; returns how many."""
        if start >= stop:
            return 0
        order = self.order
        if order is None:
            self.packed = zpacked.remove_range(self.packed, start, stop)
        else:
            for member in order.remove_range(start, stop):
                self.scores.remove(member)
        self.count -= stop - start
        return stop - start


def from_listpack(packed: bytes) -> ZSet:
    """The set of a canonical listpack in order (RDB type ZSET_LISTPACK); a skiplist when there are too many members."""
    made = ZSet()
    made.packed = packed
    made.count = listpack.count(packed) // 2
    if made.count > LIMITS.entries:
        made.expand()
    return made


def from_pairs(members: list[bytes], scores: list[float]) -> ZSet:
    """The set of these members, which come in order. A listpack when they are few and short."""
    made = ZSet()
    made._fill(members, scores)
    made.compact()
    return made


def from_scores(scores: dict[bytes, float]) -> ZSet:
    """The set of these members in any order. A listpack when they are few and short."""
    members: list[bytes] = []
    values: list[float] = []
    for score, member in sorted([(score, member) for member, score in scores.items()]):
        members.append(member)
        values.append(score)
    return from_pairs(members, values)


@final
@mypyc_attr(acyclic=True)
class Filling:
    """A sorted set out of members in any order, a little at a time (loading): `take` each, then `step` until done.

    Members from the highest score down, as Valkey's files have them, need not be sorted.
    """

    made: ZSet
    _members: list[bytes]
    _values: list[float]
    _falling: bool
    _left: i64  # members to be put in order, -1: not begun

    def __init__(self) -> None:
        self.made = ZSet()
        self.made.scores = ScanDict(SCORE)
        self._members = []
        self._values = []
        self._falling = True
        self._left = -1

    def take(self, member: bytes, score: float) -> bool:
        """Note a member; False when it is there already."""
        if not self.made.scores.put(member, score):
            return False
        if self._members:
            last = self._values[-1]
            self._falling = self._falling and (score < last or (score == last and member < self._members[-1]))
        self._members.append(member)
        self._values.append(score)
        return True

    def step(self, number: i64) -> bool:
        """Put so many members more in their order; True when all are."""
        made = self.made
        if self._left < 0:
            self._begin()
        order = made.order
        assert order is not None
        while number > 0 and self._left > 0:
            self._left -= 1
            number -= 1
            member = self._members[self._left]
            order.append_last(self._values[self._left], member)
            made.count += 1
        if self._left > 0:
            return False
        made.compact()
        return True

    def _begin(self) -> None:
        if not self._falling:
            pairs = [(self._values[i], member) for i, member in enumerate(self._members)]
            pairs.sort(reverse=True)
            self._values = [pair[0] for pair in pairs]
            self._members = [pair[1] for pair in pairs]
        self._left = len(self._members)
        self.made.order = SortedBlocks()
