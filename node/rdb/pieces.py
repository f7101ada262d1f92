"""Big values of the RDB format in pieces: held still in no time, then written a little at a time.

What is held shares the parts of the live value; the live value copies a part before it changes it (`ScanDict.frozen`,
`SortedBlocks.frozen`). So a set of a million members costs microseconds when a snapshot first meets it, and its bytes
come in steps of some ten microseconds. Two things are done at once: the blocks of a stream are listed (0.1 us each),
and its consumer groups are encoded (0.2 us for each pending entry).
"""

import struct
from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from node.keyspace import Value
from node.rdb.encode import value_type, write_length, write_stream_end, write_string
from node.rdb.opcodes import QUICKLIST_PACKED, QUICKLIST_PLAIN
from node.types.hash import Hash
from node.types.leaf import Leaf, OrderedLeaf
from node.types.quicklist import List
from node.types.set import LISTPACK, TABLE, Set
from node.types.stream import Stream
from node.types.streamblock import Block as StreamBlock
from node.types.zset import ZSet

BIG: Final = 1 << 10  # bytes of a value from which it waits for its turn: compressing many of them takes time
LONG: Final = 1 << 15  # bytes of a string from which it is written in pieces, and not compressed
PIECE: Final = 1 << 16  # bytes of one step, about
ITEMS: Final = 256  # strings of one step

_DOUBLE: Final = struct.Struct("<d")
_SIGNED: Final = struct.Struct("<q")
_EVERY: Final = 1 << 30  # a stride that no item ends: nothing is raw


def is_big(value: object) -> bool:
    """Whether a value is written apart from others, in pieces if need be."""
    if isinstance(value, bytes):
        return len(value) > BIG
    return isinstance(value, Value) and value.used_bytes() > BIG


@final
@mypyc_attr(acyclic=True)
class Pieces:
    """A value as it was when this was made; `step` writes on until it says that all is written."""

    kind: i64  # RDB type
    _compress: bool
    _old: bool
    _head: BytesWriter  # lengths that come first, then cleared
    _end: bytes
    _items: list[bytes]
    _at: i64
    _stride: i64  # of each so many items ...
    _raw: i64  # ... this one is no string but bytes as they are
    _tables: list[Leaf]
    _times: dict[bytes, int] | None
    _blocks: list[OrderedLeaf]  # of a sorted set
    _entries: list[StreamBlock]
    _nodes: list[tuple[bool, bytes]]
    _long: bytes  # the string being written in pieces
    _long_at: i64

    def __init__(self, value: object, compress: bool, old: bool = False) -> None:
        self.kind = value_type(value, old)
        self._compress = compress
        self._old = old
        self._head = BytesWriter()
        self._end = b""
        self._items = []
        self._at = 0
        self._stride = _EVERY
        self._raw = 0
        self._tables = []
        self._times = None
        self._blocks = []
        self._entries = []
        self._nodes = []
        self._long = b""
        self._long_at = 0
        if isinstance(value, bytes):
            self._items = [value]
            self._raw = -1
        elif isinstance(value, Hash):
            self._hold_hash(value)
        elif isinstance(value, Set):
            self._hold_set(value)
        elif isinstance(value, ZSet):
            self._hold_zset(value)
        elif isinstance(value, List):
            self._nodes = value.to_nodes()
            self._nodes.reverse()
            self._stride = 2
            write_length(self._head, len(self._nodes))
        elif isinstance(value, Stream):
            self._hold_stream(value)
        else:
            raise TypeError(type(value).__name__)

    # --- holding
    def _hold_hash(self, value: Hash) -> None:
        table = value.table
        self._raw = -1
        if table is None:
            self._items = [value.packed]
            return
        times = value.times()
        if value.volatile() and times is not None and not self._old:
            self._times = times.at.copy()
            self._stride = 3
            self._raw = 2
        self._tables = table.frozen()
        write_length(self._head, table.count)

    def _hold_set(self, value: Set) -> None:
        self._raw = -1
        if value.kind != TABLE:
            if self._old and value.kind == LISTPACK:
                self._items = value.members()
                write_length(self._head, len(self._items))
            else:
                self._items = [value.packed]
            return
        self._tables = value.table.frozen()
        write_length(self._head, value.table.count)

    def _hold_zset(self, value: ZSet) -> None:
        order = value.order
        if order is None:
            self._items = [value.packed]
            self._raw = -1
            return
        self._blocks = order.frozen()
        self._stride = 2
        self._raw = 1
        write_length(self._head, value.count)

    def _hold_stream(self, value: Stream) -> None:
        self._raw = -1
        value.settle()
        for block in value.blocks:
            self._entries.append(block.copy())
        self._entries.reverse()
        write_length(self._head, len(self._entries))
        end = BytesWriter()
        write_stream_end(end, value, self._compress, self._old)
        self._end = end.getvalue()

    # --- writing
    def step(self, w: BytesWriter) -> bool:
        """Write on, about PIECE bytes or ITEMS strings; True when that was the end."""
        if len(self._head) > 0:
            w.write(self._head.getvalue())
            self._head = BytesWriter()
        if self._long:
            self._write_long(w)
            return False
        start: i64 = len(w)
        left: i64 = ITEMS
        while left > 0 and len(w) - start < PIECE:
            if self._at >= len(self._items):
                if not self._refill():
                    w.write(self._end)
                    return True
                continue
            item = self._items[self._at]
            raw = self._raw >= 0 and self._at % self._stride == self._raw
            self._at += 1
            left -= 1
            if raw:
                w.write(item)
            elif len(item) > LONG:
                write_length(w, len(item))
                self._long = item
                self._long_at = 0
                return False
            else:
                write_string(w, item, self._compress)
        return False

    def _write_long(self, w: BytesWriter) -> None:
        end: i64 = min(self._long_at + PIECE, i64(len(self._long)))
        w.write(self._long[self._long_at : end])
        self._long_at = end
        if end == len(self._long):
            self._long = b""

    def _refill(self) -> bool:
        """Take the items of the next part; False when there is none. Parts are let go one by one, lest dropping all of
        them take long.
        """
        self._at = 0
        items: list[bytes] = []
        if len(self._tables) > 0:
            self._take_table(self._tables.pop(), items)
        elif len(self._blocks) > 0:
            self._take_block(self._blocks.pop(), items)
        elif len(self._entries) > 0:
            entries = self._entries.pop()
            items.append(entries.master.to_bytes(16, "big"))
            items.append(entries.packed())
        elif len(self._nodes) > 0:
            plain, data = self._nodes.pop()
            items.append(bytes([QUICKLIST_PLAIN if plain else QUICKLIST_PACKED]))
            items.append(data)
        else:
            self._items = []
            return False
        self._items = items
        return True

    def _take_block(self, block: OrderedLeaf, items: list[bytes]) -> None:
        """Members and scores from the highest score down, as Valkey does."""
        members: list[bytes] = []
        scores: list[float] = []
        block.collect(0, len(block), members, scores)
        i: i64 = len(members) - 1
        while i >= 0:
            items.append(members[i])
            items.append(_DOUBLE.pack(scores[i]))
            i -= 1

    def _take_table(self, table: Leaf, items: list[bytes]) -> None:
        times = self._times
        if times is None:
            items.extend(table.flat())
            return
        flat = table.flat()
        i: i64 = 0
        while i < len(flat):
            items.append(flat[i])
            items.append(flat[i + 1])
            items.append(_SIGNED.pack(times.get(flat[i], -1)))
            i += 2
