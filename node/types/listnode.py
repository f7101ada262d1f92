"""One node of a list: a chunk of elements as listpack entries, or one large element by itself.

A node is sealed (the whole listpack as `bytes`, as it is read, dumped and copied) or open (the entries alone in a
`bytearray`, which grows and shrinks at its end without being copied); each form is made from the other when needed. An
open node collects a few entries pushed at the front before it moves the others to make room.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from node.types import listpack

_PACKED_LIMITS: Final[list[int]] = [4096, 8192, 16384, 32768, 65536]  # list-max-listpack-size -1 to -5
_SAFE_BYTES: Final = 8192  # bound of a node whose limit is a number of elements
_ENTRY_ESTIMATE: Final = 8  # what Valkey adds to a string's length when it asks whether an entry fits
_SHORT: Final = 65  # bytes of the largest entry of a string with a head of one byte


@final
@mypyc_attr(acyclic=True)
class ListLimits:
    """`list-max-listpack-size`: negative -1 to -5 for 4 to 64 KB a node, positive for a number of elements."""

    fill: i64

    def __init__(self) -> None:
        self.fill = -2

    def size_limit(self) -> i64:
        """Bytes that a node may have, 0 when the number of elements is the limit."""
        if self.fill >= 0:
            return 0
        place: i64 = -self.fill - 1
        return _PACKED_LIMITS[place if place < 5 else 4]

    def count_limit(self) -> i64:
        """Elements that a node may have where `size_limit` is 0."""
        return self.fill if self.fill > 0 else 1

    def exceeded(self, size: i64, count: i64) -> bool:
        """Whether a node of so many bytes and elements is too large."""
        limit = self.size_limit()
        if limit > 0:
            return size > limit
        return size > _SAFE_BYTES or count > self.count_limit()

    def is_large(self, size: i64) -> bool:
        """Whether an element of this length gets a node of its own."""
        limit = self.size_limit()
        return size > (limit if limit > 0 else _SAFE_BYTES)

    def small_again(self, size: i64, count: i64, share: i64) -> bool:
        """Whether a single node is at most 1/share of the limit, so that the list may become a listpack."""
        limit = self.size_limit()
        if limit > 0:
            return size <= limit // share
        return count <= self.count_limit() // share


LIMITS: Final = ListLimits()


@final
@mypyc_attr(acyclic=True)
class Node:
    """`count` elements; exactly one of `sealed` and `body` is set. A plain node holds its one element in `sealed`."""

    sealed: bytes | None
    body: bytearray | None
    front: list[bytes] | None  # entries before those of `body`, the first one last
    front_size: i64
    count: i64
    plain: bool

    def __init__(self, sealed: bytes | None, count: i64, plain: bool) -> None:
        self.sealed = sealed
        self.body = bytearray() if sealed is None else None
        self.front = None
        self.front_size = 0
        self.count = count
        self.plain = plain

    def seal(self) -> bytes:
        """The whole listpack, or the element of a plain node."""
        sealed = self.sealed
        if sealed is not None:
            return sealed
        packed = listpack.wrap(bytes(self._whole_body()), self.count)
        self.sealed = packed
        self.body = None
        return packed

    def _open(self) -> bytearray:
        """The entries behind those of `front`, to be changed in place."""
        body = self.body
        if body is not None:
            return body
        sealed = self.sealed
        assert sealed is not None
        body = bytearray(sealed[listpack.FIRST : -1])
        self.body = body
        self.sealed = None
        return body

    def _whole_body(self) -> bytearray:
        """All entries, to be changed in place."""
        body = self._open()
        front = self.front
        if front is not None and self.front_size > 0:
            front.reverse()
            body[0:0] = b"".join(front)
            self.front_size = 0
        self.front = None
        return body

    def size(self) -> i64:
        """Bytes of the listpack or of the plain element."""
        body = self.body
        if body is not None:
            return len(body) + self.front_size + listpack.HEADER
        sealed = self.sealed
        assert sealed is not None
        return len(sealed)

    def copy(self) -> "Node":
        """Return the same elements as a node that can change on its own."""
        return Node(self.seal(), self.count, self.plain)

    def accepts(self, size: i64) -> bool:
        """Whether an element of this length may join the node."""
        if self.plain or LIMITS.is_large(size):
            return False
        return not LIMITS.exceeded(self.size() + size + _ENTRY_ESTIMATE, self.count + 1)

    def push_left(self, value: bytes) -> i64:
        """Add an element at the front; returns by how many bytes the node grew."""
        entry = listpack.entry(value)
        size: i64 = len(entry)
        body = self._open()
        front = self.front
        if front is None:
            front = []
            self.front = front
        front.append(entry)
        self.front_size += size
        self.count += 1
        if len(front) >= 4 + (len(body) >> 8):
            self._whole_body()
        return size

    def push_right(self, value: bytes) -> i64:
        """Add an element at the end; returns by how many bytes the node grew."""
        entry = listpack.entry(value)
        body = self._open()
        body += entry
        self.count += 1
        return len(entry)

    def pop_left(self) -> bytes:
        """Take out the first element."""
        self.count -= 1
        if self.plain:
            return self.seal()
        body = self._open()
        front = self.front
        if front is not None and self.front_size > 0:
            entry = front.pop()
            self.front_size -= len(entry)
            return listpack.at(entry, 0)
        head: i64 = body[0]
        if 128 <= head < 192:
            value = bytes(body[1 : head - 127])
            del body[: head - 126]
            return value
        after = listpack.skip(bytes(body[:9]), 0)
        value = listpack.at(bytes(body[:after]), 0)
        del body[:after]
        return value

    def pop_right(self) -> bytes:
        """Take out the last element."""
        self.count -= 1
        if self.plain:
            return self.seal()
        body = self._open()
        size: i64 = len(body)
        if size == 0:
            body = self._whole_body()
            size = len(body)
        tail = bytes(body[size - _SHORT if size > _SHORT else 0 :])  # bytes are indexed faster than a bytearray
        last: i64 = len(tail) - 1
        back: i64 = tail[last]
        if back <= last and tail[last - back] == back + 127:  # a string of up to 63 bytes
            value = tail[last - back + 1 : last]
            back += 1
        else:
            back = _entry_size(tail)
            value = listpack.at(bytes(body[size - back :]), 0)
        del body[size - back :]
        return value

    def element(self, index: i64) -> bytes:
        """The element at an index from 0."""
        packed = self.seal()
        if self.plain:
            return packed
        return listpack.at(packed, listpack.seek(packed, index))

    def collect(self, start: i64, stop: i64, items: list[bytes]) -> None:
        """Append the elements with index start to stop (exclusive, within bounds) to `items`."""
        packed = self.seal()
        if self.plain:
            items.append(packed)
            return
        pos = listpack.seek(packed, start)
        while start < stop:
            items.append(listpack.at(packed, pos))
            pos = listpack.skip(packed, pos)
            start += 1

    def matches(self, value: bytes, entry: bytes) -> list[int]:
        """The indexes of the elements equal to `value`, whose listpack entry is `entry`."""
        packed = self.seal()
        found: list[int] = []
        if self.plain:
            if packed == value:
                found.append(0)
            return found
        hit: i64 = packed.find(entry, listpack.FIRST)  # may lie across entries; the walk decides
        pos: i64 = listpack.FIRST
        index: i64 = 0
        while hit >= 0 and index < self.count:
            if pos > hit:
                hit = packed.find(entry, pos)
                continue
            if pos == hit:
                found.append(index)
            pos = listpack.skip(packed, pos)
            index += 1
        return found

    def insert(self, index: i64, value: bytes) -> None:
        """Add an element before the one at `index`; with `index` equal to `count` at the end."""
        packed = self.seal()
        pos = listpack.end(packed) if index >= self.count else listpack.seek(packed, index)
        self.sealed = listpack.insert(packed, pos, value)
        self.count += 1

    def replace(self, index: i64, value: bytes) -> None:
        """Put another element in place of the one at `index`; of a plain node a large one only."""
        if self.plain:
            self.sealed = value
            return
        packed = self.seal()
        self.sealed = listpack.replace(packed, listpack.seek(packed, index), value)

    def delete(self, index: i64, number: i64) -> None:
        """Remove `number` elements from `index` on."""
        if not self.plain:
            packed = self.seal()
            self.sealed = listpack.delete(packed, listpack.seek(packed, index), number)
        self.count -= number

    def split(self, index: i64) -> "Node":
        """Cut the node before `index` and return the latter part as a new node; it may be empty."""
        packed = self.seal()
        moved: i64 = self.count - index
        if moved == 0:
            return Node(listpack.EMPTY, 0, False)
        pos = listpack.seek(packed, index)
        self.sealed = listpack.wrap(packed[listpack.FIRST : pos], index)
        self.count = index
        return Node(listpack.wrap(packed[pos:-1], moved), moved, False)

    def join(self, follower: "Node") -> None:
        """Append all elements of the next node."""
        body = self._whole_body()
        body += follower.seal()[listpack.FIRST : -1]
        self.count += follower.count


def _entry_size(tail: bytes) -> i64:
    """Bytes of the last entry, from up to six bytes at its end."""
    i: i64 = len(tail) - 1
    length: i64 = tail[i] & 127
    back: i64 = 1
    while tail[i] & 128:
        i -= 1
        low: i64 = tail[i] & 127
        length |= low << (7 * back)
        back += 1
    return length + back


def mergeable(first: Node, second: Node) -> bool:
    """Whether two neighbours fit into one node."""
    if first.plain or second.plain:
        return False
    size: i64 = first.size() + second.size() - listpack.HEADER
    return not LIMITS.exceeded(size, first.count + second.count)
