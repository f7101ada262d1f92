"""Streams as they are read from the RDB format: three versions, each with more of the groups' accounts.

Source: Valkey's rdb.c. Blocks are taken as they are once every byte of them was checked: their listpack, the master
entry, each entry's flags, fields and backward count, the counters, and that IDs ascend.
"""

import struct
from typing import Final, final

from mypy_extensions import i64

from node.rdb.opcodes import STREAM, STREAM_2, STREAM_3
from node.rdb.reader import Reader
from node.types import listpack
from node.types.listpack import CorruptListpack
from node.types.stream import Stream
from node.types.streamblock import DELETED, SAMEFIELDS, Block, Cursor
from node.types.streamgroup import UNKNOWN_READ, Group, Pending
from node.types.streamid import MASK, make_id

STREAMS: Final = (STREAM, STREAM_2, STREAM_3)
_ID_BYTES: Final = 16
_I64_MAX: Final = (1 << 63) - 1


BLOCKS_A_STEP: Final = 16


@final
class StreamReader:
    """A stream after its type byte, a few blocks at a step; raises RdbError, CorruptListpack."""

    stream: Stream
    _r: Reader
    _kind: i64
    _blocks: list[Block]
    _last: int
    _left: i64

    def __init__(self, r: Reader, kind: i64) -> None:
        self.stream = Stream()
        self._r = r
        self._kind = kind
        self._blocks = []
        self._last = -1
        self._left = r.count(_ID_BYTES + 2)

    def step(self) -> bool:
        """Read on; True when the stream is complete."""
        n: i64 = BLOCKS_A_STEP
        while n > 0 and self._left > 0:
            self._read_block()
            self._left -= 1
            n -= 1
        if self._left > 0:
            return False
        self._read_accounts()
        return True

    def _read_block(self) -> None:
        r = self._r
        key = r.string()
        if len(key) != _ID_BYTES:
            raise r.error("a stream's block has no ID")
        block = _block(int.from_bytes(key, "big"), r.string())
        if block.master <= self._last:
            raise r.error("a stream's blocks are not in order")
        self._last = block.last
        self._blocks.append(block)

    def _read_accounts(self) -> None:
        r = self._r
        stream = self.stream
        stream.adopt(self._blocks)
        if r.length64() != stream.length:
            raise r.error("a stream's length is not the number of its entries")
        stream.last_id = _id(r)
        if stream.last_id < self._last:
            raise r.error("a stream's last ID is lower than that of an entry")
        if self._kind == STREAM:
            stream.added = stream.length
            stream.find_first()
        else:
            stream.first_id = _id(r)
            stream.max_deleted = _id(r)
            stream.added = _signed(r.length64())
            if stream.length > 0 and stream.first_id != stream.edge(False):
                stream.find_first()
        for _ in range(r.count(6)):
            _read_group(r, self._kind, stream)


def _id(r: Reader) -> int:
    ms = r.length64()
    return make_id(ms, r.length64())


def _time(r: Reader) -> int:
    """Unix ms, -1 for never."""
    ms = int(struct.unpack("<q", r.take(8))[0])
    if ms < -1:
        raise r.error("a time before 1970")
    return ms


def _signed(n: int) -> int:
    return n - (1 << 64) if n > _I64_MAX else n


def _read_group(r: Reader, kind: i64, stream: Stream) -> None:
    name = r.string()
    if name in stream.groups:
        raise r.error("a consumer group is there twice")
    last_id = _id(r)
    read = stream.estimate_read(last_id) if kind == STREAM else _signed(r.length64())
    if read < UNKNOWN_READ:
        raise r.error("a consumer group has read a negative number of entries")
    group = Group(last_id, read)
    times: dict[int, tuple[int, int]] = {}
    for _ in range(r.count(_ID_BYTES + 9)):
        id = int.from_bytes(r.take(_ID_BYTES), "big")
        delivered = _time(r)
        if id in times:
            raise r.error("a pending entry is there twice")
        times[id] = (delivered, _signed(r.length64()))
    for _ in range(r.count(10)):
        _read_consumer(r, kind, group, times)
    if len(group.pending) != len(times):
        raise r.error("a pending entry has no consumer")
    stream.groups[name] = group


def _read_consumer(r: Reader, kind: i64, group: Group, times: dict[int, tuple[int, int]]) -> None:
    name = r.string()
    if name in group.consumers:
        raise r.error("a consumer is there twice")
    seen = _time(r)
    consumer = group.add_consumer(name, seen)
    consumer.active_ms = _time(r) if kind == STREAM_3 else seen
    for _ in range(r.count(_ID_BYTES)):
        id = int.from_bytes(r.take(_ID_BYTES), "big")
        found = times.get(id)
        if found is None or id in group.pending:
            raise r.error("a consumer's entry is not pending in its group, or is another's too")
        group.pending[id] = Pending(consumer, found[0], found[1])
        group.order.add(id)
        consumer.pending.add(id)


# --- blocks


def _number(packed: bytes, pos: i64) -> i64:
    """The integer of the element at `pos`; raises CorruptListpack when it is none."""
    if pos >= len(packed) - 1 or not listpack.is_number(packed, pos):
        raise CorruptListpack("a number is missing in a stream's block")
    return listpack.number_at(packed, pos)


def _skip(packed: bytes, pos: i64, elements: i64) -> i64:
    """The position after so many elements; raises CorruptListpack when there are not so many."""
    stop: i64 = len(packed) - 1
    if elements > stop:
        raise CorruptListpack("a stream's block claims more elements than it holds")
    while elements > 0:
        if pos >= stop:
            raise CorruptListpack("an element is missing in a stream's block")
        pos = listpack.skip(packed, pos)
        elements -= 1
    return pos


def _block(master: int, packed: bytes) -> Block:
    """A checked block; raises CorruptListpack."""
    elements = listpack.validate(packed)
    pos: i64 = listpack.FIRST
    count = _number(packed, pos)
    pos = _skip(packed, pos, 1)
    deleted = _number(packed, pos)
    head_at = _skip(packed, pos, 1)
    fields = _number(packed, head_at)
    if fields < 0:
        raise CorruptListpack("a negative number of fields")
    pos = _skip(packed, _skip(packed, head_at, 1), fields)
    if _number(packed, pos) != 0:
        raise CorruptListpack("no end of the master entry")
    body_at = _skip(packed, pos, 1)
    block = Block(master, packed[head_at:body_at], elements - 2)
    block.body = packed[body_at:-1]
    gone: i64 = 0
    there: i64 = 0
    pos = body_at
    while pos < len(packed) - 1:
        if _number(packed, pos) & DELETED:
            gone += 1
        else:
            there += 1
        pos = _check_entry(packed, pos, fields)
    if there != count or gone != deleted or there + gone == 0:  # trimming may leave a block of deleted entries alone
        raise CorruptListpack("wrong counters of a stream's block")
    block.count = count
    block.deleted = deleted
    _find_last(block)
    return block


def _check_entry(packed: bytes, pos: i64, fields: i64) -> i64:
    """The position after the entry at `pos`; raises CorruptListpack."""
    flags = _number(packed, pos)
    if not 0 <= flags <= 3 or packed[pos] > 3:
        raise CorruptListpack("unknown flags of an entry")
    start: i64 = pos
    pos = _skip(packed, pos, 1)
    _number(packed, pos)
    pos = _skip(packed, pos, 1)
    _number(packed, pos)
    pos = _skip(packed, pos, 1)
    elements: i64 = fields + 3
    if flags & SAMEFIELDS:
        pos = _skip(packed, pos, fields)
    else:
        number = _number(packed, pos)
        if number < 0 or number > len(packed):
            raise CorruptListpack("a negative number of fields")
        pos = _skip(packed, pos, number * 2 + 1)
        elements = number * 2 + 4
    if _number(packed, pos) != elements or start == pos:
        raise CorruptListpack("wrong backward count of an entry")
    return _skip(packed, pos, 1)


def _find_last(block: Block) -> None:
    """Set `last`, seeing to it that IDs ascend; raises CorruptListpack."""
    cursor = Cursor(block)
    last = -1
    while cursor.next():
        id = cursor.id()
        if id <= last or id >> 64 > MASK or id < block.master:
            raise CorruptListpack("IDs of a stream's block are not in order")
        last = id
    block.last = last
