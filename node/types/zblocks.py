"""Members in the order of (score, member): blocks of up to 256 elements with counts for ranks.

A block is an ordered leaf (`node.types.leaf`). Every question about order is answered in ranks (0 = lowest), so that a
range by score, by member or by rank is the same pair of ranks, walked in either direction. Cost, n elements in
b = n/128 blocks: a search is a binary search over the first scores of the blocks and one inside a block; a rank adds
the counts of the blocks before (a native loop over `vec[i64]`).
"""

from typing import Final, final

from librt.vecs import append, pop, vec
from mypy_extensions import i64, mypyc_attr

from node.types.leaf import OrderedLeaf, new_ordered_leaf
from node.types.plainleaf import PLACES

BLOCK_MAX: Final = 256  # a block that grows beyond is split in halves
BLOCK_LOW: Final = 48  # a block that shrinks below joins a neighbour when both fit into half a block
FEW: Final = 16  # a block of more is split already when it is heavy, so that no change moves many bytes
HEAVY: Final = 16384  # bytes
_SELF_BYTES: Final = 320  # an empty SortedBlocks with list and vectors
_BLOCK_BYTES: Final = 33  # a block's places in them, and spare room


def _insert_i64(items: vec[i64], at: i64, item: i64) -> vec[i64]:
    items = append(items, item)
    i: i64 = len(items) - 1
    while i > at:
        items[i] = items[i - 1]
        i -= 1
    items[at] = item
    return items


def _insert_float(items: vec[float], at: i64, item: float) -> vec[float]:
    items = append(items, item)
    i: i64 = len(items) - 1
    while i > at:
        items[i] = items[i - 1]
        i -= 1
    items[at] = item
    return items


def _remove_i64(items: vec[i64], at: i64) -> vec[i64]:
    last: i64 = len(items) - 1
    while at < last:
        items[at] = items[at + 1]
        at += 1
    items, _ = pop(items)
    return items


def _remove_float(items: vec[float], at: i64) -> vec[float]:
    last: i64 = len(items) - 1
    while at < last:
        items[at] = items[at + 1]
        at += 1
    items, _ = pop(items)
    return items


def _copied_i64(items: vec[i64]) -> vec[i64]:
    n: i64 = len(items)
    out = vec[i64](capacity=n)
    i: i64 = 0
    while i < n:
        out = append(out, items[i])
        i += 1
    return out


def _copied_float(items: vec[float]) -> vec[float]:
    n: i64 = len(items)
    out = vec[float](capacity=n)
    i: i64 = 0
    while i < n:
        out = append(out, items[i])
        i += 1
    return out


@final
@mypyc_attr(acyclic=True)
class SortedBlocks:
    """The order of a big sorted set; `counts` and `firsts` mirror the length and the first score of each block."""

    blocks: list[OrderedLeaf]
    counts: vec[i64]
    firsts: vec[float]
    length: i64
    weight: i64  # bytes of the blocks
    borrowed: list[bool] | None  # blocks that a copy or a snapshot shares: they are copied before the first change

    def __init__(self) -> None:
        self.blocks = []
        self.counts = vec[i64]()
        self.firsts = vec[float]()
        self.length = 0
        self.weight = 0
        self.borrowed = None

    def used_bytes(self) -> i64:
        """Bytes that the order takes."""
        return _SELF_BYTES + len(self.blocks) * _BLOCK_BYTES + self.weight

    def copy(self) -> "SortedBlocks":
        """Return the same order as a value that can change on its own; blocks are shared until one side changes
        them.
        """
        twin = SortedBlocks()
        twin.blocks = self.frozen()
        twin.borrowed = [True] * len(self.blocks)
        twin.counts = _copied_i64(self.counts)
        twin.firsts = _copied_float(self.firsts)
        twin.length = self.length
        twin.weight = self.weight
        return twin

    def frozen(self) -> list[OrderedLeaf]:
        """The blocks as they are now, which nobody changes any more: changes from now on are made to copies."""
        self.borrowed = [True] * len(self.blocks)
        return self.blocks.copy()

    def _own(self, at: i64) -> OrderedLeaf:
        """A block for changing it."""
        borrowed = self.borrowed
        if borrowed is not None and borrowed[at]:
            self.blocks[at] = self.blocks[at].copy()
            borrowed[at] = False
        return self.blocks[at]

    def _put_block(self, at: i64, block: OrderedLeaf) -> None:
        """Let a new block take the place of one."""
        self.weight += block.weight() - self.blocks[at].weight()
        self.blocks[at] = block
        if self.borrowed is not None:
            self.borrowed[at] = False
        self.counts[at] = len(block)
        self.firsts[at] = block.first_score()

    def _insert_block(self, at: i64, block: OrderedLeaf) -> None:
        self.blocks.insert(at, block)
        if self.borrowed is not None:
            self.borrowed.insert(at, False)
        self.counts = _insert_i64(self.counts, at, len(block))
        self.firsts = _insert_float(self.firsts, at, block.first_score())
        self.weight += block.weight()

    def append_last(self, score: float, member: bytes) -> None:
        """Add an element that is known to come after all others (loading)."""
        last: i64 = len(self.blocks) - 1
        if last < 0 or self.counts[last] >= BLOCK_MAX // 2:
            self._first_of_block(last + 1, score, member)
        else:
            self._insert_into(last, score, member)

    def _first_of_block(self, at: i64, score: float, member: bytes) -> None:
        block = new_ordered_leaf()
        block.insert(score, member)
        self._insert_block(at, block)
        self.length += 1

    def _block_of(self, score: float, member: bytes) -> i64:
        """The last block that starts at or before (score, member); 0 when none does."""
        firsts = self.firsts
        low: i64 = 0
        high: i64 = len(self.blocks)
        while low < high:
            mid: i64 = (low + high) >> 1
            first = firsts[mid]
            if first < score or (first == score and self.blocks[mid].starts_by(score, member)):
                low = mid + 1
            else:
                high = mid
        return low - 1 if low > 0 else 0

    def insert(self, score: float, member: bytes) -> None:
        """Add an element that is not there yet."""
        if not self.blocks:
            self._first_of_block(0, score, member)
        else:
            self._insert_into(self._block_of(score, member), score, member)

    def _insert_into(self, at: i64, score: float, member: bytes) -> None:
        block = self._own(at)
        done: i64 = block.insert(score, member)
        self.length += 1
        self.counts[at] += 1
        if done & (PLACES - 1) == 0:
            self.firsts[at] = score
        size: i64 = self.counts[at]
        grown: i64 = done // PLACES
        self.weight += grown
        if size > BLOCK_MAX or (grown > 0 and size > FEW and block.weight() > HEAVY):
            self._split(at)

    def _split(self, at: i64) -> None:
        """Make two blocks of one; without memory, later."""
        block = self.blocks[at]
        size: i64 = self.counts[at]
        half: i64 = size >> 1
        if at == len(self.blocks) - 1:
            half = size - (size >> 3)  # growing at the end (rising scores) leaves full blocks behind
        try:
            lower = block.part(0, half)
            upper = block.part(half, size)
            self._insert_block(at + 1, upper)
        except MemoryError:
            return
        self._put_block(at, lower)

    def remove(self, score: float, member: bytes) -> None:
        """Take out an element that is there."""
        at = self._block_of(score, member)
        block = self._own(at)
        if self.counts[at] == 1:
            self._drop_block(at)
            self.length -= 1
            return
        done: i64 = block.remove(score, member)
        self.weight += done // PLACES
        self.length -= 1
        self.counts[at] -= 1
        if done & (PLACES - 1) == 0:
            self.firsts[at] = block.first_score()
        if self.counts[at] < BLOCK_LOW:
            self._join(at)

    def _drop_block(self, at: i64) -> None:
        self.weight -= self.blocks.pop(at).weight()
        if self.borrowed is not None:
            self.borrowed.pop(at)
        self.counts = _remove_i64(self.counts, at)
        self.firsts = _remove_float(self.firsts, at)

    def _join(self, at: i64) -> None:
        """Join block `at` with its follower, or else with the one before, when the result stays small."""
        if not self._fits(at):
            at -= 1
            if at < 0 or not self._fits(at):
                return
        try:
            both = self.blocks[at].join(self.blocks[at + 1])
        except MemoryError:
            return
        self._drop_block(at + 1)
        self._put_block(at, both)

    def _fits(self, at: i64) -> bool:
        """Whether a block and its follower may become one."""
        if at + 1 >= len(self.blocks) or self.counts[at] + self.counts[at + 1] > BLOCK_MAX // 2:
            return False
        return self.blocks[at].weight() + self.blocks[at + 1].weight() <= HEAVY // 2

    def _before_block(self, at: i64) -> i64:
        counts = self.counts
        total: i64 = 0
        i: i64 = 0
        while i < at:
            total += counts[i]
            i += 1
        return total

    def rank(self, score: float, member: bytes) -> i64:
        """How many elements come before (score, member), which need not be there itself."""
        if not self.blocks:
            return 0
        at = self._block_of(score, member)
        return self._before_block(at) + self.blocks[at].rank(score, member)

    def rank_after_score(self, score: float) -> i64:
        """How many elements have a score lower than or equal to `score`."""
        firsts = self.firsts
        low: i64 = 0
        high: i64 = len(self.blocks)
        while low < high:
            mid: i64 = (low + high) >> 1
            if firsts[mid] <= score:
                low = mid + 1
            else:
                high = mid
        if low == 0:
            return 0
        at: i64 = low - 1
        return self._before_block(at) + self.blocks[at].rank_after(score)

    def lex_rank(self, bound: bytes, inclusive: bool) -> i64:
        """How many members are below `bound`, or with `inclusive` not above it; for sets of one score."""
        if not self.blocks:
            return 0
        # The shortest member above `bound` is `bound` with a zero byte.
        return self.rank(self.firsts[0], bound + b"\0" if inclusive else bound)

    def collect(self, start: i64, stop: i64, members: list[bytes] | None, scores: list[float] | None) -> None:
        """Append the elements of ranks start to stop (exclusive, both within bounds) to the lists that are given."""
        at: i64 = 0
        while start < stop and start >= self.counts[at]:
            start -= self.counts[at]
            stop -= self.counts[at]
            at += 1
        while start < stop:
            size: i64 = self.counts[at]
            self.blocks[at].collect(start, stop if stop < size else size, members, scores)
            start = 0
            stop -= size
            at += 1

    def remove_range(self, start: i64, stop: i64) -> list[bytes]:
        """Take out the elements of ranks start to stop (exclusive) and return their members."""
        removed: list[bytes] = []
        at: i64 = 0
        while start < stop and start >= self.counts[at]:
            start -= self.counts[at]
            stop -= self.counts[at]
            at += 1
        todo: i64 = stop - start
        first: i64 = at
        drop_from: i64 = at
        drop_to: i64 = at
        while todo > 0:
            size: i64 = self.counts[at]
            end: i64 = start + todo if start + todo < size else size
            self.blocks[at].collect(start, end, removed, None)
            if start == 0 and end == size:
                if drop_from == drop_to:
                    drop_from = at
                drop_to = at + 1
            else:
                self._cut(at, start, end)
            todo -= end - start
            start = 0
            at += 1
        self.length -= len(removed)
        if drop_to > drop_from:
            self._drop_blocks(drop_from, drop_to)
        if first < len(self.blocks) and self.counts[first] < BLOCK_LOW:
            self._join(first)
        return removed

    def _cut(self, at: i64, start: i64, end: i64) -> None:
        """Remove places start to end of one block, which keeps at least one element."""
        block = self._own(at)
        self.weight += block.cut(start, end)
        self.counts[at] -= end - start
        if start == 0:
            self.firsts[at] = block.first_score()

    def _drop_blocks(self, start: i64, stop: i64) -> None:
        for block in self.blocks[start:stop]:
            self.weight -= block.weight()
        self.blocks = self.blocks[:start] + self.blocks[stop:]
        borrowed = self.borrowed
        if borrowed is not None:
            self.borrowed = borrowed[:start] + borrowed[stop:]
        counts = vec[i64]()
        firsts = vec[float]()
        i: i64 = 0
        while i < len(self.counts):
            if i < start or i >= stop:
                counts = append(counts, self.counts[i])
                firsts = append(firsts, self.firsts[i])
            i += 1
        self.counts = counts
        self.firsts = firsts
