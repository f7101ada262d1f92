"""Members in the order of (score, member): blocks of up to 256 elements with counts for ranks.

Every question about order is answered in ranks (0 = lowest), so that a range by score, by member or by rank is the same
pair of ranks, walked in either direction. Cost, n elements in b = n/128 blocks: a search is a binary search over the
first scores of the blocks and one inside a block; a rank adds the counts of the blocks before (a native loop over
`vec[i64]`).
"""

from typing import Final, final

from librt.vecs import append, pop, vec
from mypy_extensions import i64, mypyc_attr

BLOCK_MAX: Final = 256  # a block that grows beyond is split in halves
BLOCK_LOW: Final = 48  # a block that shrinks below joins a neighbour when both fit into half a block


@final
@mypyc_attr(acyclic=True)
class Block:
    """Up to BLOCK_MAX neighbours in order: unboxed scores, and members that are shared with the dict of the zset."""

    scores: vec[float]
    members: list[bytes]
    shared: bool  # a copy or a snapshot may hold it too: it is copied before the first change

    def __init__(self, scores: vec[float], members: list[bytes]) -> None:
        self.scores = scores
        self.members = members
        self.shared = False

    def copy(self) -> "Block":
        """Return a block with the same elements that can change on its own."""
        return Block(_part(self.scores, 0, len(self.members)), self.members.copy())


def _part(scores: vec[float], start: i64, stop: i64) -> vec[float]:
    part = vec[float](capacity=stop - start + 1)
    while start < stop:
        part = append(part, scores[start])
        start += 1
    return part


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


def _place(block: Block, score: float, member: bytes) -> i64:
    """How many elements of the block come before (score, member)."""
    scores = block.scores
    members = block.members
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


def _lex_below(member: bytes, bound: bytes, inclusive: bool) -> bool:
    return member <= bound if inclusive else member < bound


@final
@mypyc_attr(acyclic=True)
class SortedBlocks:
    """The order of a big sorted set; `counts` and `firsts` mirror the length and the first score of each block."""

    blocks: list[Block]
    counts: vec[i64]
    firsts: vec[float]
    length: i64

    def __init__(self) -> None:
        self.blocks = []
        self.counts = vec[i64]()
        self.firsts = vec[float]()
        self.length = 0

    def copy(self) -> "SortedBlocks":
        """Return the same order as a value that can change on its own; blocks are shared until one side changes
        them.
        """
        twin = SortedBlocks()
        for block in self.frozen():
            twin._add_block(block)
        return twin

    def frozen(self) -> list[Block]:
        """The blocks as they are now, which nobody changes any more: changes from now on are made to copies."""
        for block in self.blocks:
            block.shared = True
        return self.blocks.copy()

    def _own(self, at: i64) -> Block:
        """A block for changing it."""
        block = self.blocks[at]
        if block.shared:
            block = block.copy()
            self.blocks[at] = block
        return block

    def _add_block(self, block: Block) -> None:
        self.blocks.append(block)
        self.counts = append(self.counts, i64(len(block.members)))
        self.firsts = append(self.firsts, block.scores[0])
        self.length += len(block.members)

    def append_last(self, score: float, member: bytes) -> None:
        """Add an element that is known to come after all others (loading)."""
        last: i64 = len(self.blocks) - 1
        if last < 0 or len(self.blocks[last].members) >= BLOCK_MAX // 2:
            self._add_block(Block(append(vec[float](capacity=BLOCK_MAX // 2), score), [member]))
            return
        block = self._own(last)
        block.scores = append(block.scores, score)
        block.members.append(member)
        self.counts[last] += 1
        self.length += 1

    def _block_of(self, score: float, member: bytes) -> i64:
        """The last block that starts at or before (score, member); 0 when none does."""
        firsts = self.firsts
        low: i64 = 0
        high: i64 = len(self.blocks)
        while low < high:
            mid: i64 = (low + high) >> 1
            first = firsts[mid]
            if first < score or (first == score and self.blocks[mid].members[0] <= member):
                low = mid + 1
            else:
                high = mid
        return low - 1 if low > 0 else 0

    def insert(self, score: float, member: bytes) -> None:
        """Add an element that is not there yet."""
        if not self.blocks:
            self.append_last(score, member)
            return
        at = self._block_of(score, member)
        block = self._own(at)
        place = _place(block, score, member)
        block.scores = _insert_float(block.scores, place, score)
        block.members.insert(place, member)
        self.length += 1
        self.counts[at] += 1
        if place == 0:
            self.firsts[at] = score
        if len(block.members) > BLOCK_MAX:
            self._split(at)

    def _split(self, at: i64) -> None:
        block = self.blocks[at]
        size: i64 = len(block.members)
        half: i64 = size >> 1
        if at == len(self.blocks) - 1:
            half = size - (size >> 3)  # growing at the end (rising scores) leaves full blocks behind
        upper = Block(_part(block.scores, half, size), block.members[half:])
        block.scores = _part(block.scores, 0, half)
        block.members = block.members[:half]
        self.blocks.insert(at + 1, upper)
        self.counts[at] = half
        self.counts = _insert_i64(self.counts, at + 1, size - half)
        self.firsts = _insert_float(self.firsts, at + 1, upper.scores[0])

    def remove(self, score: float, member: bytes) -> bytes:
        """Take out an element that is there and return the stored member object."""
        at = self._block_of(score, member)
        block = self._own(at)
        place = _place(block, score, member)
        stored = block.members.pop(place)
        block.scores = _remove_float(block.scores, place)
        self.length -= 1
        self.counts[at] -= 1
        size: i64 = len(block.members)
        if size == 0:
            self._drop_block(at)
        else:
            if place == 0:
                self.firsts[at] = block.scores[0]
            if size < BLOCK_LOW:
                self._join(at)
        return stored

    def _drop_block(self, at: i64) -> None:
        self.blocks.pop(at)
        self.counts = _remove_i64(self.counts, at)
        self.firsts = _remove_float(self.firsts, at)

    def _join(self, at: i64) -> None:
        """Join block `at` with its follower, or else with the one before, when the result stays small."""
        count: i64 = len(self.blocks)
        if at + 1 >= count or self.counts[at] + self.counts[at + 1] > BLOCK_MAX // 2:
            at -= 1
            if at < 0 or self.counts[at] + self.counts[at + 1] > BLOCK_MAX // 2:
                return
        block = self._own(at)
        upper = self.blocks[at + 1]
        scores = block.scores
        i: i64 = 0
        size: i64 = len(upper.members)
        while i < size:
            scores = append(scores, upper.scores[i])
            i += 1
        block.scores = scores
        block.members.extend(upper.members)
        self.counts[at] += size
        self._drop_block(at + 1)

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
        return self._before_block(at) + _place(self.blocks[at], score, member)

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
        scores = self.blocks[at].scores
        low = 0
        high = len(scores)
        while low < high:
            mid = (low + high) >> 1
            if scores[mid] <= score:
                low = mid + 1
            else:
                high = mid
        return self._before_block(at) + low

    def lex_rank(self, bound: bytes, inclusive: bool) -> i64:
        """How many members are below `bound`, or with `inclusive` not above it; for sets of one score."""
        low: i64 = 0
        high: i64 = len(self.blocks)
        while low < high:
            mid: i64 = (low + high) >> 1
            if _lex_below(self.blocks[mid].members[0], bound, inclusive):
                low = mid + 1
            else:
                high = mid
        if low == 0:
            return 0
        at: i64 = low - 1
        members = self.blocks[at].members
        low = 0
        high = len(members)
        while low < high:
            mid = (low + high) >> 1
            if _lex_below(members[mid], bound, inclusive):
                low = mid + 1
            else:
                high = mid
        return self._before_block(at) + low

    def collect(self, start: i64, stop: i64, members: list[bytes], scores: list[float] | None) -> None:
        """Append the elements of ranks start to stop (exclusive, both within bounds) to the given lists."""
        at: i64 = 0
        while start < stop and start >= self.counts[at]:
            start -= self.counts[at]
            stop -= self.counts[at]
            at += 1
        while start < stop:
            block = self.blocks[at]
            size: i64 = len(block.members)
            end: i64 = stop if stop < size else size
            members.extend(block.members[start:end])
            if scores is not None:
                values = block.scores
                while start < end:
                    scores.append(values[start])
                    start += 1
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
            members = self.blocks[at].members
            size: i64 = len(members)
            end: i64 = start + todo if start + todo < size else size
            removed.extend(members[start:end])
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
        scores = block.scores
        size: i64 = len(scores)
        i: i64 = start
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
        block.scores = scores
        removed: i64 = len(block.members) - i
        if start == 0 and removed == 1:
            block.members.pop(0)
        else:
            block.members = block.members[:start] + block.members[start + removed :]
        self.counts[at] = i
        self.firsts[at] = scores[0]

    def _drop_blocks(self, start: i64, stop: i64) -> None:
        self.blocks = self.blocks[:start] + self.blocks[stop:]
        counts = vec[i64]()
        firsts = vec[float]()
        for block in self.blocks:
            counts = append(counts, i64(len(block.members)))
            firsts = append(firsts, block.scores[0])
        self.counts = counts
        self.firsts = firsts
