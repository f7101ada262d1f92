"""Values of the RDB format, in every encoding from Redis 2.8 to Valkey 9, read a part at a time.

A part is some hundred elements, so that whoever loads a set of a million members can let others run meanwhile. Packed
forms (listpack, ziplist, zipmap, intset) are taken whole and checked byte by byte, always, as Valkey does when told
`sanitize-dump-payload yes`; they become the value's own bytes where Valkey keeps them packed.
"""

import struct
from typing import Final, final

from mypy_extensions import i64

from node.numbers import NotANumber, parse_double
from node.rdb.opcodes import (
    HASH,
    HASH_2,
    HASH_LISTPACK,
    HASH_ZIPLIST,
    HASH_ZIPMAP,
    LIST,
    LIST_QUICKLIST,
    LIST_QUICKLIST_2,
    LIST_ZIPLIST,
    MODULE,
    MODULE_2,
    QUICKLIST_PACKED,
    QUICKLIST_PLAIN,
    REDIS_FIELD_TIMES,
    SET,
    SET_INTSET,
    SET_LISTPACK,
    STREAM,
    STREAM_2,
    STREAM_3,
    STRING,
    ZSET,
    ZSET_2,
    ZSET_LISTPACK,
    ZSET_ZIPLIST,
)  # fmt: skip
from node.rdb.reader import Reader, module_name
from node.rdb.streams import StreamReader
from node.types import hash as hashes
from node.types import intset, listpack, quicklist, ziplist, zset
from node.types.hash import Hash, hash_from_listpack
from node.types.set import Set, new_set, set_from_intset, set_from_listpack

ELEMENTS_A_STEP: Final = 256
NODES_A_STEP: Final = 16

# Bytes that an element of a container takes at least.
_LEAST: Final[dict[int, int]] = {
    LIST: 1, SET: 1, ZSET: 2, HASH: 2, ZSET_2: 9, HASH_2: 10, LIST_QUICKLIST: 1, LIST_QUICKLIST_2: 2,
}  # fmt: skip
_DOUBLE: Final = struct.Struct("<d")
_SIGNED: Final = struct.Struct("<q")


@final
class ValueReader:
    """Reads values one after another: `start`, then `step` until one of them says that the value is complete."""

    value: object  # the complete value; None: an empty container, which Valkey leaves out
    _r: Reader
    _kind: i64
    _left: i64  # elements to come
    _hash: Hash
    _set: Set
    _list: quicklist.List
    _filling: zset.Filling
    _nodes: list[tuple[bool, bytes]]
    _stream: StreamReader | None

    def __init__(self, r: Reader) -> None:
        self._r = r
        self._clear()

    def _clear(self) -> None:
        self.value = None
        self._kind = STRING
        self._left = 0
        self._hash = _NO_HASH
        self._set = _NO_SET
        self._list = _NO_LIST
        self._filling = _NO_FILLING
        self._nodes = []
        self._stream = None

    def start(self, kind: i64) -> bool:
        """Begin with the value of a type byte; True when it is complete. Raises RdbError."""
        self._clear()
        self._kind = kind
        try:
            return self._start(kind)
        except (listpack.CorruptListpack, intset.CorruptIntset, ziplist.CorruptZiplist) as error:
            raise self._r.error(str(error)) from None

    def step(self) -> bool:
        """Read on; True when the value is complete. Raises RdbError."""
        try:
            return self._step()
        except (listpack.CorruptListpack, ziplist.CorruptZiplist) as error:
            raise self._r.error(str(error)) from None

    def read(self, kind: i64) -> object:
        """The whole value at once, None for an empty container. Raises RdbError."""
        if not self.start(kind):
            while not self.step():
                pass
        return self.value

    def _start(self, kind: i64) -> bool:
        r = self._r
        if kind == STRING:
            self.value = r.string()
            return True
        if kind in (STREAM, STREAM_2, STREAM_3):
            self._stream = StreamReader(r, kind)
            return False
        least = _LEAST.get(int(kind))
        if least is None:
            self.value = self._packed(kind)
            return True
        self._left = r.count(i64(least))
        if self._left == 0:
            return True
        if kind in (HASH, HASH_2):
            self._hash = Hash()
            if kind == HASH_2 or self._left > hashes.LIMITS.entries:
                self._hash.unpack()
        elif kind == LIST:
            self._list = quicklist.growing()
        elif kind in (ZSET, ZSET_2):
            self._filling = zset.Filling()
        elif kind == SET:
            first = r.string()
            self._set = new_set(first, self._left)
            self._set.add(first)
            self._left -= 1
        return False

    # --- packed forms

    def _packed(self, kind: i64) -> object:
        r = self._r
        if kind == HASH_LISTPACK:
            return _hash_of(listpack.canonical(r.string()))
        if kind == HASH_ZIPLIST:
            return _hash_of(ziplist.to_listpack(r.string()))
        if kind == HASH_ZIPMAP:
            return _hash_of_zipmap(ziplist.zipmap_to_listpack(r.string()))
        if kind == ZSET_LISTPACK:
            return self._zset_of(listpack.canonical(r.string()))
        if kind == ZSET_ZIPLIST:
            return self._zset_of(ziplist.to_listpack(r.string()))
        if kind == SET_INTSET:
            data = r.string()
            return None if intset.validate(data) == 0 else set_from_intset(data)
        if kind == SET_LISTPACK:
            packed = listpack.canonical(r.string())
            return None if listpack.count(packed) == 0 else set_from_listpack(packed)
        if kind == LIST_ZIPLIST:
            return _list_of(ziplist.to_listpack(r.string()))
        raise self._unknown(kind)

    def _unknown(self, kind: i64) -> Exception:
        r = self._r
        if kind == MODULE_2:
            return r.error(f"a value of the module type {module_name(r.length64())}, which this server does not have")
        if kind == MODULE:
            return r.error("a value of a module, in a form that was never released")
        if kind in REDIS_FIELD_TIMES:
            return r.error(
                "a hash with fields that expire, as Redis 7.4 writes it; only Valkey's form of it is read here"
            )
        return r.error(f"values of type {kind} are not known to this version")

    def _zset_of(self, packed: bytes) -> object:
        """The sorted set of a checked listpack; kept as it is when it is in order."""
        scores: dict[bytes, float] = {}
        pos: i64 = listpack.FIRST
        stop: i64 = listpack.end(packed)
        ordered = True
        before = b""
        lower = 0.0
        while pos < stop:
            member = listpack.at(packed, pos)
            pos = listpack.skip(packed, pos)
            if pos >= stop or member in scores:
                raise listpack.CorruptListpack("a member without score, or a member twice")
            score = self._score(listpack.at(packed, pos))
            pos = listpack.skip(packed, pos)
            if scores and (lower > score or (lower == score and before > member)):
                ordered = False
            scores[member] = score
            before = member
            lower = score
        if not scores:
            return None
        return zset.from_listpack(packed) if ordered else zset.from_scores(scores)

    def _score(self, text: bytes) -> float:
        try:
            return parse_double(text)
        except NotANumber:
            raise self._r.error("a score is no number") from None

    # --- elements

    def _step(self) -> bool:
        stream = self._stream
        if stream is not None:
            if not stream.step():
                return False
            self.value = stream.stream
            return True
        kind = self._kind
        n: i64 = NODES_A_STEP if kind in (LIST_QUICKLIST, LIST_QUICKLIST_2) else ELEMENTS_A_STEP
        while n > 0 and self._left > 0:
            self._element(kind)
            self._left -= 1
            n -= 1
        if self._left > 0:
            return False
        if kind in (ZSET, ZSET_2) and not self._filling.step(n):
            return False
        self._complete(kind)
        return True

    def _element(self, kind: i64) -> None:
        r = self._r
        if kind == LIST:
            self._list.push_right(r.string())
        elif kind == SET:
            if not self._set.add(r.string()):
                raise r.error("a member is there twice")
        elif kind in (HASH, HASH_2):
            self._field(kind == HASH_2)
        elif kind in (ZSET, ZSET_2):
            self._member(kind == ZSET_2)
        else:
            self._node(kind == LIST_QUICKLIST_2)

    def _field(self, timed: bool) -> None:
        r = self._r
        field = r.string()
        if not self._hash.set(field, r.string()):
            raise r.error("a field is there twice")
        if not timed:
            return
        at = i64(_SIGNED.unpack(r.take(8))[0])
        if at >= 0:
            self._hash.expire(field, at)
        elif at != -1:
            raise r.error("a field expires at a negative time")

    def _member(self, binary: bool) -> None:
        r = self._r
        member = r.string()
        score = float(_DOUBLE.unpack(r.take(8))[0]) if binary else self._text_score()
        if score != score:
            raise r.error("a score is not a number")
        if not self._filling.take(member, score):
            raise r.error("a member is there twice")

    def _text_score(self) -> float:
        n = self._r.byte()
        if n == 253:
            return float("nan")
        if n == 254:
            return float("inf")
        if n == 255:
            return float("-inf")
        return self._score(self._r.take(n))

    def _node(self, second: bool) -> None:
        r = self._r
        if not second:
            self._nodes.append((False, ziplist.to_listpack(r.string())))
            return
        container = r.length()
        data = r.string()
        if container == QUICKLIST_PACKED:
            self._nodes.append((False, listpack.canonical(data)))
        elif container == QUICKLIST_PLAIN:
            self._nodes.append((True, data))
        else:
            raise r.error(f"unknown list node form {container}")

    def _complete(self, kind: i64) -> None:
        if kind == LIST:
            self.value = quicklist.grown(self._list)
        elif kind == SET:
            self.value = self._set
        elif kind in (HASH, HASH_2):
            self.value = self._hash
        elif kind in (ZSET, ZSET_2):
            self.value = self._filling.made
        else:
            made = quicklist.from_nodes(self._nodes)
            self.value = made if made.length > 0 else None


_NO_HASH: Final = Hash()  # what stands in a reader while it reads something else; never written
_NO_SET: Final = Set()
_NO_LIST: Final = quicklist.List()
_NO_FILLING: Final = zset.Filling()


def _hash_of(packed: bytes) -> object:
    """The hash of a checked listpack; None when it is empty."""
    return None if listpack.count(packed) == 0 else hash_from_listpack(packed)


def _hash_of_zipmap(packed: bytes) -> object:
    """As `_hash_of`; unlike a ziplist's, a zipmap's long fields and values make a table of it."""
    if listpack.count(packed) == 0:
        return None
    value = hash_from_listpack(packed)
    pos: i64 = listpack.FIRST
    stop: i64 = listpack.end(packed)
    while value.table is None and pos < stop:
        if listpack.value_length(packed, pos) > hashes.LIMITS.value:
            value.unpack()
        pos = listpack.skip(packed, pos)
    return value


def _list_of(packed: bytes) -> object:
    """The list of a ziplist's elements; it stays a quicklist, as Valkey's does, however small; None when empty."""
    made = quicklist.growing()
    pos: i64 = listpack.FIRST
    stop: i64 = listpack.end(packed)
    while pos < stop:
        made.push_right(listpack.at(packed, pos))
        pos = listpack.skip(packed, pos)
    return made if made.length > 0 else None
