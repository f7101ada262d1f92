"""A block of a stream: consecutive entries in one listpack, in Valkey's own layout, so that DUMP writes it as it is.

Layout (Valkey t_stream.c): the master entry `count deleted number-of-fields field… 0`, where the fields are those of
the first entry; then each entry `flags ms-diff seq-diff [number-of-fields] [field] value … lp-count`. The differences
are to the block's key, the ID of its first entry. With the flag SAMEFIELDS the fields are the master's and left out;
DELETED marks an entry that is gone. `lp-count` is the number of elements before it, to walk backwards.
Counters are kept beside the bytes: `head` begins after `count` and `deleted`, `body` are the entries.
"""

from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from node.types import listpack
from node.types.streamid import MASK

DELETED: Final = 1
SAMEFIELDS: Final = 2
OBJECT_BYTES: Final = 232  # a Block, its two bytes objects, its IDs, its places in two lists
_LARGE: Final = 1 << 62
_FAR: Final = 1 << 126  # from this ID on milliseconds are large
_ENVELOPE: Final = 7  # header and end mark of the listpack


@final
@mypyc_attr(acyclic=True)
class Block:
    """Entries from the ID `master` to the ID `last`; both may be marked deleted."""

    master: int
    last: int
    count: i64  # entries that are there
    deleted: i64  # entries that are marked
    elements: i64  # of head and body
    head: bytes
    body: bytes

    def __init__(self, master: int, head: bytes, elements: i64) -> None:
        self.master = master
        self.last = master
        self.count = 0
        self.deleted = 0
        self.elements = elements
        self.head = head
        self.body = b""

    def copy(self) -> "Block":
        """A block that can change on its own; the bytes are shared."""
        twin = Block(self.master, self.head, self.elements)
        twin.last = self.last
        twin.count = self.count
        twin.deleted = self.deleted
        twin.body = self.body
        return twin

    def fields(self) -> list[bytes]:
        """The names of the master entry."""
        head = self.head
        n: i64 = listpack.number_at(head, 0)
        pos: i64 = listpack.skip(head, 0)
        names: list[bytes] = []
        while n > 0:
            names.append(listpack.at(head, pos))
            pos = listpack.skip(head, pos)
            n -= 1
        return names

    def packed(self) -> bytes:
        """The whole listpack."""
        w = BytesWriter()
        listpack.write_int(w, self.count)
        listpack.write_int(w, self.deleted)
        w.write(self.head)
        w.write(self.body)
        return listpack.wrap(w.getvalue(), self.elements + 2)

    def size_with(self, body: i64) -> i64:
        """Bytes of the listpack if the body had so many."""
        return _ENVELOPE + number_bytes(self.count) + number_bytes(self.deleted) + len(self.head) + body

    def mark(self, at: i64) -> None:
        """Mark the entry whose flags are at this place of the body as deleted."""
        body = self.body
        self.body = body[:at] + bytes([body[at] | DELETED]) + body[at + 1 :]
        self.count -= 1
        self.deleted += 1


def number_bytes(n: i64) -> i64:
    """Bytes of a listpack's entry for a number that is not negative."""
    if n <= 127:
        return 2
    if n <= 4095:
        return 3
    if n <= 32767:
        return 4
    if n <= 8388607:
        return 5
    return 6 if n <= 2147483647 else 10


def head_of(args: list[bytes], at: i64) -> bytes:
    """The master entry's rest for an entry with these fields and values."""
    w = BytesWriter()
    listpack.write_int(w, (len(args) - at) // 2)
    i: i64 = at
    while i < len(args):
        listpack.write_entry(w, args[i])
        i += 2
    listpack.write_int(w, 0)
    return w.getvalue()


def write_difference(w: BytesWriter, difference: int) -> None:
    """A difference of two unsigned 64-bit numbers, which wraps."""
    if difference >= 1 << 63:
        difference -= 1 << 64
    elif difference < -(1 << 63):
        difference += 1 << 64
    listpack.write_int(w, i64(difference))


def _before(body: bytes, pos: i64) -> i64:
    """The position of the element that ends at `pos`."""
    i: i64 = pos - 1
    n: i64 = body[i]
    if n <= 127:
        return i - n
    n &= 127
    shift: i64 = 7
    while body[i] & 128:
        i -= 1
        low: i64 = body[i] & 127
        n |= low << shift
        shift += 7
    return i - n


@final
@mypyc_attr(acyclic=True)
class Cursor:
    """Walks over the entries of one block, deleted ones too: by `next` forwards or by `previous` backwards."""

    flags: i64
    at: i64  # the place of the entry's flags in the body
    _ms_more: i64  # the entry's differences to the block's key
    _seq_more: i64
    _fields: i64  # of the master entry
    _number: i64  # of the entry's fields
    _values: i64  # the place of the first value, or of the first field
    _pos: i64  # where `next` goes on
    _end: i64  # where `previous` goes on
    _stop: i64
    _ms: int
    _seq: int
    _names: list[bytes] | None
    _block: Block
    _body: bytes

    def __init__(self, block: Block) -> None:
        self.flags = 0
        self.at = 0
        self._ms_more = 0
        self._seq_more = 0
        self._fields = listpack.number_at(block.head, 0)
        self._number = 0
        self._values = 0
        self._pos = 0
        self._stop = len(block.body)
        self._end = self._stop
        self._ms = block.master >> 64
        self._seq = block.master & MASK
        self._names = None
        self._block = block
        self._body = block.body

    def id(self) -> int:
        """The entry's ID."""
        return (((self._ms + int(self._ms_more)) & MASK) << 64) | ((self._seq + int(self._seq_more)) & MASK)

    def next(self) -> bool:
        """Step to the next entry; False at the end."""
        pos = self._pos
        if pos >= self._stop:
            return False
        body = self._body
        self.at = pos
        flags: i64 = body[pos]
        self.flags = flags
        pos += 2
        self._ms_more = listpack.number_at(body, pos)
        pos = listpack.skip(body, pos)
        self._seq_more = listpack.number_at(body, pos)
        pos = listpack.skip(body, pos)
        steps: i64 = self._fields
        if flags & SAMEFIELDS:
            self._number = steps
        else:
            self._number = listpack.number_at(body, pos)
            pos = listpack.skip(body, pos)
            steps = self._number * 2
        self._values = pos
        while steps > 0:
            b: i64 = body[pos]
            if b < 128:
                pos += 2
            elif b < 192:
                pos += (b & 63) + 2
            else:
                pos = listpack.skip(body, pos)
            steps -= 1
        self._pos = listpack.skip(body, pos)
        return True

    def previous(self) -> bool:
        """Step to the entry before, the first time to the last one; False at the beginning."""
        if self._end <= 0:
            return False
        body = self._body
        pos: i64 = _before(body, self._end)
        steps: i64 = listpack.number_at(body, pos)
        while steps > 0:
            pos = _before(body, pos)
            steps -= 1
        self._end = pos
        self._pos = pos
        return self.next()

    def skip_below(self, start: int) -> bool:
        """Step to the first entry whose ID is not below `start`; False when there is none."""
        if start >= _FAR or self._block.last >= _FAR or self._seq >= _LARGE or start & MASK >= _LARGE:
            while self.next():
                if self.id() >= start:
                    return True
            return False
        ms_more: i64 = (start >> 64) - self._ms
        seq_more: i64 = (start & MASK) - self._seq
        least: i64 = -self._seq
        while self.next():
            if self._ms_more < ms_more:
                continue
            if self._ms_more > ms_more:
                return True
            found: i64 = self._seq_more
            if found < least or found > _LARGE // 2:  # a sequence number so large that the difference may have wrapped
                if self.id() >= start:
                    return True
            elif found >= seq_more:
                return True
        return False

    def seek(self, id: int) -> bool:
        """Step to the entry with this ID; False when it is not there, or deleted."""
        return self.skip_below(id) and self.id() == id and self.flags & DELETED == 0

    def pairs(self) -> list[bytes]:
        """Fields and values of the entry, in turn."""
        body = self._body
        pos = self._values
        found: list[bytes] = []
        n: i64 = 0
        if self.flags & SAMEFIELDS:
            names = self._names
            if names is None:
                names = self._block.fields()
                self._names = names
            while n < len(names):
                found.append(names[n])
                found.append(listpack.at(body, pos))
                pos = listpack.skip(body, pos)
                n += 1
            return found
        n = self._number * 2
        while n > 0:
            found.append(listpack.at(body, pos))
            pos = listpack.skip(body, pos)
            n -= 1
        return found
