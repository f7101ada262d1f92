"""Streams: entries in blocks that are Valkey's own listpacks, found by bisection over the blocks' first IDs.

The last block's entries are written into a growing buffer (`_tail`) and taken over as bytes when they are read, so that
adding an entry copies nothing but the entry. IDs are integers (node.types.streamid).
"""

from bisect import bisect_right
from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from node.keyspace import Value
from node.numbers import I64_MAX, I64_MIN
from node.types import listpack
from node.types.streamblock import (
    DELETED,
    OBJECT_BYTES,
    SAMEFIELDS,
    Block,
    Cursor,
    head_of,
    write_difference,
)
from node.types.streamgroup import UNKNOWN_READ, Group
from node.types.streamid import ID_MAX, MASK, wrapped

_STREAM_BYTES: Final = 900  # the Stream, its lists and the buffer of its last block
LARGEST: Final = 1 << 30  # bytes of one block


@final
@mypyc_attr(acyclic=True)
class StreamLimits:
    """`stream-node-max-bytes` and `stream-node-max-entries`; 0 sets no bound."""

    bytes: i64
    entries: i64

    def __init__(self) -> None:
        self.bytes = 4096
        self.entries = 100


LIMITS: Final = StreamLimits()


@final
@mypyc_attr(acyclic=True)
class Stream(Value):
    """A stream value."""

    blocks: list[Block]
    masters: list[int]  # their first IDs
    length: i64
    last_id: int
    first_id: int  # of the entries that are there, 0 when there is none
    max_deleted: int
    added: i64  # entries ever added
    groups: dict[bytes, Group]
    _bytes: i64  # of blocks, whole
    _tail: BytesWriter | None  # the last block's body while it grows
    _stale: bool  # the last block's `body` is not up to date
    _fields: list[bytes]  # the last block's
    _ms: int  # the last block's master, in two parts
    _seq: int
    _nodes: i64  # of the tree when it had `_tree` blocks, the last of which was `_tree_last`
    _tree: i64
    _tree_last: int

    def __init__(self) -> None:
        self.blocks = []
        self.masters = []
        self.length = 0
        self.last_id = 0
        self.first_id = 0
        self.max_deleted = 0
        self.added = 0
        self.groups = {}
        self._bytes = 0
        self._tail = None
        self._stale = False
        self._fields = []
        self._ms = 0
        self._seq = 0
        self._nodes = 1
        self._tree = 0
        self._tree_last = 0

    def type_name(self) -> bytes:
        """What TYPE answers."""
        return b"stream"

    def encoding(self) -> bytes:
        """What OBJECT ENCODING answers."""
        return b"stream"

    def used_bytes(self) -> i64:
        """Bytes that the value takes, objects included."""
        total: i64 = _STREAM_BYTES + self._bytes
        for name, group in self.groups.items():
            total += len(name) + group.used_bytes()
        return total

    def entry_bytes(self) -> i64:
        """Bytes of the entries alone: what adding and removing entries changes."""
        return self._bytes

    def copy(self) -> "Stream":
        """Return an equal stream that can change on its own."""
        self.settle()
        twin = Stream()
        twin.blocks = [block.copy() for block in self.blocks]
        twin.masters = list(self.masters)
        twin.length = self.length
        twin.last_id = self.last_id
        twin.first_id = self.first_id
        twin.max_deleted = self.max_deleted
        twin.added = self.added
        twin._bytes = self._bytes
        for name, group in self.groups.items():
            twin.groups[name] = group.copy()
        return twin

    def sorted_groups(self) -> list[bytes]:
        """The names of the groups in order."""
        return sorted(self.groups)

    # --- adding

    def append(self, id: int, args: list[bytes], at: i64) -> None:
        """Add an entry with an ID above `last_id`; its fields and values are `args` from `at` on."""
        weight: i64 = 0
        i: i64 = at
        while i < len(args):
            weight += len(args[i])
            i += 1
        tail = self._tail
        n: i64 = len(self.blocks)
        if n == 0 or not self._fits(self.blocks[n - 1], weight):
            tail = self._open(id, args, at)
        elif tail is None:
            tail = self._reopen()
        block = self.blocks[len(self.blocks) - 1]
        before: i64 = len(tail)
        block.elements += self._write(tail, id, args, at)
        block.count += 1
        block.last = id
        self._stale = True
        self._bytes += len(tail) - before
        self.length += 1
        self.added = self.added + 1 if self.added != I64_MAX else I64_MIN
        self.last_id = id
        if self.length == 1:
            self.first_id = id

    def _fits(self, block: Block, weight: i64) -> bool:
        limit: i64 = LIMITS.bytes
        if limit == 0 or limit > LARGEST:
            limit = LARGEST
        tail = self._tail
        size: i64 = len(block.body) if tail is None else len(tail)
        if block.size_with(size) + weight >= limit:
            return False
        return LIMITS.entries == 0 or block.count + block.deleted < LIMITS.entries

    def _open(self, id: int, args: list[bytes], at: i64) -> BytesWriter:
        """Begin a block; the one before is closed."""
        self.settle()
        head = head_of(args, at)
        n: i64 = len(self.blocks)
        if n > 0 and self.blocks[n - 1].head == head:
            head = self.blocks[n - 1].head  # the usual case: all entries have the same fields
        number: i64 = (len(args) - at) // 2
        self.blocks.append(Block(id, head, number + 2))
        self.masters.append(id)
        self._bytes += OBJECT_BYTES + len(head)
        fields: list[bytes] = []
        i: i64 = at
        while i < len(args):
            fields.append(args[i])
            i += 2
        self._fields = fields
        self._ms = id >> 64
        self._seq = id & MASK
        tail = self._tail
        if tail is None or len(tail) > 1 << 16:  # a large buffer is not kept for blocks that are small
            tail = BytesWriter()
            self._tail = tail
        tail.truncate(0)
        return tail

    def _reopen(self) -> BytesWriter:
        """Go on with the last block of a stream that was loaded or copied."""
        block = self.blocks[len(self.blocks) - 1]
        self._fields = block.fields()
        self._ms = block.master >> 64
        self._seq = block.master & MASK
        tail = BytesWriter()
        tail.write(block.body)
        self._tail = tail
        return tail

    def _write(self, w: BytesWriter, id: int, args: list[bytes], at: i64) -> i64:
        """Write the entry; returns its number of elements."""
        number: i64 = (len(args) - at) // 2
        same = self._same_fields(args, at)
        listpack.write_int(w, SAMEFIELDS if same else 0)
        write_difference(w, (id >> 64) - self._ms)
        write_difference(w, (id & MASK) - self._seq)
        i: i64 = at
        elements: i64 = 0
        if same:
            i += 1
            while i < len(args):
                listpack.write_entry(w, args[i])
                i += 2
            elements = number + 3
        else:
            listpack.write_int(w, number)
            while i < len(args):
                listpack.write_entry(w, args[i])
                i += 1
            elements = number * 2 + 4
        listpack.write_int(w, elements)
        return elements + 1

    def _same_fields(self, args: list[bytes], at: i64) -> bool:
        fields = self._fields
        n: i64 = len(fields)
        if len(args) - at != n * 2:
            return False
        i: i64 = 0
        while i < n:
            if args[at + 2 * i] != fields[i]:
                return False
            i += 1
        return True

    def settle(self) -> None:
        """Bring the last block's bytes up to date; to be called before blocks are read."""
        tail = self._tail
        if self._stale and tail is not None:
            self.blocks[len(self.blocks) - 1].body = tail.getvalue()
            self._stale = False

    def _unsettle(self, index: i64) -> None:
        """The bytes of a block have changed; should it be the last one, its buffer is no longer true."""
        if index == len(self.blocks) - 1:
            self._tail = None

    # --- reading

    def has(self, id: int) -> bool:
        """Whether an entry is there."""
        at = self._block_of(id)
        return at >= 0 and Cursor(self.blocks[at]).seek(id)

    def entry(self, id: int) -> list[bytes] | None:
        """Fields and values of an entry, None when it is not there."""
        at = self._block_of(id)
        if at < 0:
            return None
        cursor = Cursor(self.blocks[at])
        return cursor.pairs() if cursor.seek(id) else None

    def _block_of(self, id: int) -> i64:
        """The index of the block that an ID belongs to, -1 when it lies outside of all."""
        self.settle()
        at: i64 = bisect_right(self.masters, id) - 1
        if at < 0 or self.blocks[at].last < id:
            return -1
        return at

    def collect(self, start: int, end: int, limit: i64, ids: list[int], entries: list[list[bytes]]) -> None:
        """Append what lies from start to end, both included, in order; at most `limit` entries (0: all)."""
        self.settle()
        at: i64 = bisect_right(self.masters, start) - 1
        if at < 0:
            at = 0
        while at < len(self.blocks) and self.masters[at] <= end:
            block = self.blocks[at]
            at += 1
            if block.last < start:
                continue
            cursor = Cursor(block)
            bounded = block.last > end
            more = cursor.skip_below(start) if block.master < start else cursor.next()
            while more:
                if not cursor.flags & DELETED:
                    id = cursor.id()
                    if bounded and id > end:
                        return
                    ids.append(id)
                    entries.append(cursor.pairs())
                    if limit > 0 and len(ids) >= limit:
                        return
                more = cursor.next()

    def collect_reverse(self, start: int, end: int, limit: i64, ids: list[int], entries: list[list[bytes]]) -> None:
        """As `collect`, from end down to start."""
        self.settle()
        at: i64 = bisect_right(self.masters, end) - 1
        while at >= 0 and self.blocks[at].last >= start:
            cursor = Cursor(self.blocks[at])
            while cursor.previous():
                if cursor.flags & DELETED:
                    continue
                id = cursor.id()
                if id < start:
                    return
                if id > end:
                    continue
                ids.append(id)
                entries.append(cursor.pairs())
                if limit > 0 and len(ids) >= limit:
                    return
            at -= 1

    def last_valid_id(self) -> int:
        """The ID of the last entry that is there; 0 when there is none."""
        if self.length == 0:
            return 0
        n: i64 = len(self.blocks)
        if n > 0 and self.blocks[n - 1].deleted == 0:
            return self.blocks[n - 1].last
        ids: list[int] = []
        self.collect_reverse(0, ID_MAX, 1, ids, [])
        return ids[0]

    def edge(self, tombstones: bool) -> int:
        """The ID of the first entry, of a deleted one too if so wanted; ID_MAX when there is none."""
        self.settle()
        for block in self.blocks:
            if tombstones:
                return block.master
            cursor = Cursor(block)
            while cursor.next():
                if not cursor.flags & DELETED:
                    return cursor.id()
        return ID_MAX

    # --- removing

    def delete(self, id: int) -> bool:
        """Take an entry out; False when it is not there. `removed` has to be called when all are out."""
        at = self._block_of(id)
        if at < 0:
            return False
        block = self.blocks[at]
        cursor = Cursor(block)
        if not cursor.seek(id):
            return False
        if block.count == 1:
            self._drop(at)
        else:
            block.mark(cursor.at)
            self._unsettle(at)
        self.length -= 1
        if id > self.max_deleted:
            self.max_deleted = id
        return True

    def _drop(self, at: i64) -> None:
        """Remove a whole block."""
        block = self.blocks[at]
        self._unsettle(at)
        self._bytes -= OBJECT_BYTES + len(block.head) + len(block.body)
        del self.blocks[at]
        del self.masters[at]

    def find_first(self) -> None:
        """Set `first_id` after entries were removed."""
        self.first_id = 0 if self.length == 0 else self.edge(False)

    def trim_length(self, most: i64, approximate: bool, limit: i64) -> i64:
        """Remove the oldest entries beyond `most`; with `approximate` whole blocks alone, no more than `limit` entries
        (0: any number). Returns how many.
        """
        self.settle()
        gone: i64 = 0
        dropped: i64 = 0
        while dropped < len(self.blocks) and self.length > most:
            block = self.blocks[dropped]
            if limit > 0 and gone + block.count > limit:
                break
            if self.length - block.count < most:
                if not approximate:
                    gone += self._cut(dropped, self.length - most, 0)
                break
            self.length -= block.count
            gone += block.count
            dropped += 1
        self._drop_first(dropped)
        if gone > 0 or self.length == 0:
            self.find_first()
        return gone

    def trim_id(self, lowest: int, approximate: bool, limit: i64) -> i64:
        """Remove the entries below an ID; otherwise as `trim_length`."""
        self.settle()
        gone: i64 = 0
        dropped: i64 = 0
        while dropped < len(self.blocks):
            block = self.blocks[dropped]
            if limit > 0 and gone + block.count > limit:
                break
            if block.last >= lowest:
                if not approximate:
                    gone += self._cut(dropped, -1, lowest)
                break
            self.length -= block.count
            gone += block.count
            dropped += 1
        self._drop_first(dropped)
        if gone > 0 or self.length == 0:
            self.find_first()
        return gone

    def _drop_first(self, number: i64) -> None:
        if number == 0:
            return
        self._unsettle(number - 1)
        i: i64 = 0
        while i < number:
            block = self.blocks[i]
            self._bytes -= OBJECT_BYTES + len(block.head) + len(block.body)
            i += 1
        del self.blocks[:number]
        del self.masters[:number]

    def _cut(self, at: i64, number: i64, lowest: int) -> i64:
        """Mark the first entries of a block deleted: so many, or with -1 those below `lowest`; returns how many."""
        block = self.blocks[at]
        places: list[int] = []
        cursor = Cursor(block)
        while number != 0 and cursor.next():
            if number < 0 and cursor.id() >= lowest:
                break
            if not cursor.flags & DELETED:
                places.append(cursor.at)
                if number > 0:
                    number -= 1
        if len(places) == 0:
            return 0
        body = bytearray(block.body)
        for place in places:
            body[place] |= DELETED
        block.body = bytes(body)
        gone: i64 = len(places)
        block.count -= gone
        block.deleted += gone
        self.length -= gone
        self._unsettle(at)
        return gone

    # --- counting reads of groups

    def has_tombstones_after(self, start: int) -> bool:
        """Whether an entry above or at this ID may have been deleted."""
        return self.length > 0 and self.max_deleted > 0 and start <= self.max_deleted

    def estimate_read(self, id: int) -> i64:
        """How many entries were ever added up to this ID; UNKNOWN_READ when that can't be told."""
        if self.added == 0:
            return 0
        if self.length == 0 and id <= self.last_id:
            return self.added
        if id > 0 and id < self.max_deleted:
            return UNKNOWN_READ
        if id == self.last_id:
            return self.added
        if id > self.last_id:
            return UNKNOWN_READ
        if self.max_deleted == 0 or self.max_deleted < self.first_id:
            if id < self.first_id:
                return wrapped(int(self.added) - int(self.length))
            if id == self.first_id:
                return wrapped(int(self.added) - int(self.length) + 1)
        return UNKNOWN_READ

    def tree_nodes(self) -> i64:
        """The nodes of Valkey's radix tree of the blocks, counted anew when blocks came or went.

        Blocks come at the end alone, with higher IDs: their number and the last ID tell whether one did.
        """
        n: i64 = len(self.masters)
        last = self.masters[n - 1] if n > 0 else 0
        if n != self._tree or last != self._tree_last:
            self._nodes = radix_nodes(self.masters)
            self._tree = n
            self._tree_last = last
        return self._nodes

    # --- loading

    def adopt(self, blocks: list[Block]) -> None:
        """Take over blocks in order (node.rdb)."""
        self.blocks = blocks
        self.masters = [block.master for block in blocks]
        for block in blocks:
            self.length += block.count
            self._bytes += OBJECT_BYTES + len(block.head) + len(block.body)


def radix_nodes(keys: list[int]) -> i64:
    """The number of nodes of the radix tree in which Valkey would keep these keys, sorted, of 16 bytes each.

    A branch is a node; the bytes in a row between two branches, or before a leaf, are one node; a leaf is a node.
    """
    n: i64 = len(keys)
    if n == 0:
        return 1
    nodes: i64 = n  # leaves
    open_depths: list[int] = []  # depths of the branches on the path to the current key, deeper ones later
    i: i64 = 1
    previous: i64 = -1  # depth of the branch below which the current leaf hangs
    while i <= n:
        depth: i64 = -1 if i == n else 15 - ((keys[i - 1] ^ keys[i]).bit_length() - 1) // 8
        child: i64 = 16
        top: i64 = previous if previous > depth else depth
        if top < 15 and child - top > 1:  # bytes between the leaf and its branch
            nodes += 1
        while len(open_depths) > 0 and open_depths[len(open_depths) - 1] > depth:
            child = open_depths.pop()
            above: i64 = open_depths[len(open_depths) - 1] if len(open_depths) > 0 else -1
            if above < depth:
                above = depth
            if child - above > 1:  # bytes between two branches, or before the first
                nodes += 1
        if depth >= 0 and (len(open_depths) == 0 or open_depths[len(open_depths) - 1] < depth):
            open_depths.append(depth)
            nodes += 1
        previous = depth
        i += 1
    return nodes
