"""Reading the RDB format: files (a full sync's, today) and RESTORE payloads. Every length is checked first.

`load` is a generator so that its caller can let others run between keys; it raises RdbError with the offset and the
reason for whatever is not sound, and never allocates more than the file holds.
"""

import io
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.keyspace import Store
from node.rdb.encode import crc64
from node.rdb.opcodes import (
    AUX,
    EOF,
    EXPIRETIME,
    EXPIRETIME_MS,
    FREQ,
    FUNCTION2,
    HASH,
    HASH_2,
    HASH_LISTPACK,
    IDLE,
    LIST,
    LIST_QUICKLIST_2,
    MAGIC,
    MAGIC_VALKEY,
    QUICKLIST_PACKED,
    QUICKLIST_PLAIN,
    RESIZEDB,
    SELECTDB,
    SET,
    SET_INTSET,
    SET_LISTPACK,
    SLOT_INFO,
    STRING,
    VERSION,
    ZSET,
    ZSET_2,
    ZSET_LISTPACK,
)  # fmt: skip
from node.rdb.reader import PayloadError, Reader
from node.rdb.streams import STREAMS, read_stream
from node.types import intset, listpack, quicklist, zset
from node.types.hash import Hash, hash_from_flat, hash_from_listpack
from node.types.set import set_from_intset, set_from_listpack, set_from_members

VALKEY_VERSIONS: Final = (80, 89)  # of files with the magic VALKEY


def read_value(r: Reader, kind: i64) -> object:
    """The value of a type byte."""
    try:
        if kind == STRING:
            return r.string()
        if kind == LIST_QUICKLIST_2:
            return _nodes(r)
        if kind == LIST:
            return quicklist.from_items([r.string() for _ in range(_some(r, 1))])
        if kind == HASH:
            return hash_from_flat([r.string() for _ in range(2 * _some(r, 2))])
        if kind == HASH_2:
            return _timed_hash(r)
        if kind == HASH_LISTPACK:
            return hash_from_listpack(listpack.canonical(r.string()))
        if kind == SET:
            return set_from_members([r.string() for _ in range(_some(r, 1))])
        if kind == SET_INTSET:
            return set_from_intset(r.string())
        if kind == SET_LISTPACK:
            return set_from_listpack(listpack.canonical(r.string()))
        if kind == ZSET_LISTPACK:
            return _packed_zset(r)
        if kind in STREAMS:
            return read_stream(r, kind)
        if kind in (ZSET, ZSET_2):
            return _zset(r, kind == ZSET_2)
    except (listpack.CorruptListpack, intset.CorruptIntset) as error:
        raise r.error(str(error)) from None
    raise r.error(f"values of type {kind} are not known to this version")


def _timed_hash(r: Reader) -> Hash:
    value = Hash()
    value.unpack()
    for _ in range(_some(r, 10)):
        field = r.string()
        if not value.set(field, r.string()):
            raise r.error("a field is there twice")
        at = struct.unpack("<q", r.take(8))[0]
        if at >= 0:
            value.expire(field, at)
        elif at != -1:
            raise r.error("a field expires at a negative time")
    return value


def _some(r: Reader, least: i64) -> i64:
    """The number of elements of a container, which has at least one."""
    n = r.count(least)
    if n == 0:
        raise r.error("an empty container")
    return n


def _nodes(r: Reader) -> quicklist.List:
    nodes: list[tuple[bool, bytes]] = []
    for _ in range(_some(r, 2)):
        container = r.length()
        data = r.string()
        if container == QUICKLIST_PACKED:
            nodes.append((False, listpack.canonical(data)))
        elif container == QUICKLIST_PLAIN:
            nodes.append((True, data))
        else:
            raise r.error(f"unknown list node form {container}")
    made = quicklist.from_nodes(nodes)
    if made.length == 0:
        raise r.error("an empty list")
    return made


def _packed_zset(r: Reader) -> zset.ZSet:
    packed = listpack.canonical(r.string())
    items = listpack.decode(packed)
    scores: dict[bytes, float] = {}
    previous: tuple[float, bytes] | None = None
    ordered = True
    for i in range(0, len(items) - 1, 2):
        try:
            score = float(items[i + 1])
        except ValueError:
            raise r.error("a score is no number") from None
        if score != score:
            raise r.error("a score is not a number")
        ordered = ordered and (previous is None or previous < (score, items[i]))
        previous = (score, items[i])
        scores[items[i]] = score
    if not items or len(scores) * 2 != len(items):
        raise r.error("members without scores, twice, or none")
    return zset.from_listpack(packed) if ordered else zset.from_scores(scores)


def _zset(r: Reader, binary: bool) -> zset.ZSet:
    scores: dict[bytes, float] = {}
    for _ in range(_some(r, 9 if binary else 2)):
        member = r.string()
        score = struct.unpack("<d", r.take(8))[0] if binary else _text_score(r)
        if score != score or member in scores:
            raise r.error("a score is not a number, or a member is there twice")
        scores[member] = score
    return zset.from_scores(scores)


def _text_score(r: Reader) -> float:
    n = r.byte()
    if n == 253:
        return float("nan")
    if n == 254:
        return float("inf")
    if n == 255:
        return float("-inf")
    try:
        return float(r.take(n))
    except ValueError:
        raise r.error("a score is no number") from None


def read_header(r: Reader) -> None:
    """Magic and version."""
    magic = r.take(9)
    known = False
    if magic.startswith(MAGIC) and magic[5:].isdigit():
        known = 1 <= int(magic[5:]) <= VERSION
    elif magic.startswith(MAGIC_VALKEY) and magic[6:].isdigit():
        known = VALKEY_VERSIONS[0] <= int(magic[6:]) <= VALKEY_VERSIONS[1]
    if not known:
        raise r.error(f"no RDB file of a known version: {magic!r}")


def load(
    file: BinaryIO, stores: list[Store], now_ms: i64, drop_expired: bool, functions: list[bytes]
) -> Iterator[None]:
    """Put every key of a file into the stores, and the code of each library of functions into `functions`; yields after
    each key and each database.
    """
    r = Reader(file, os.fstat(file.fileno()).st_size)
    read_header(r)
    store = stores[0]
    expire_at: i64 = 0
    idle: i64 = -1
    frequency: i64 = -1
    while True:
        kind = r.byte()
        if kind == EXPIRETIME_MS:
            expire_at = struct.unpack("<q", r.take(8))[0]
        elif kind == EXPIRETIME:
            expire_at = struct.unpack("<i", r.take(4))[0] * 1000
        elif kind == IDLE:
            idle = r.length()
        elif kind == FREQ:
            frequency = r.byte()
        elif kind == SELECTDB:
            store = _store(r, stores)
        elif kind == EOF:
            _check_end(r)
            return
        elif kind == FUNCTION2:
            functions.append(r.string())
        elif not _skipped(r, kind):
            key = r.string()
            value = read_value(r, kind)
            if not (drop_expired and 0 < expire_at <= now_ms):
                _keep(store, key, value, expire_at, idle, frequency, now_ms)
            expire_at, idle, frequency = 0, -1, -1
            yield


def _store(r: Reader, stores: list[Store]) -> Store:
    number = r.length()
    if number >= len(stores):
        raise r.error(f"database {number}, but this node has {len(stores)}; raise `databases`, or leave cluster mode")
    return stores[number]


def _skipped(r: Reader, kind: i64) -> bool:
    """Read what is no key and of no use here; False when it is a key's type."""
    if kind == AUX:
        r.string()
        r.string()
    elif kind == RESIZEDB:
        r.length()
        r.length()
    elif kind == SLOT_INFO:
        r.length()
        r.length()
        r.length()
    elif kind == FUNCTION2:
        raise r.error("the file holds functions, which this version can't keep")
    else:
        return False
    return True


def _keep(store: Store, key: bytes, value: object, expire_at: i64, idle: i64, frequency: i64, now_ms: i64) -> None:
    slot = key_slot(key)
    store.put(slot, key, value)
    if expire_at > 0:
        store.set_expire(slot, key, expire_at)
    if idle >= 0:
        store.set_clock(slot, key, (now_ms // 1000 - idle) & 0xFFFFFF)
    elif frequency >= 0:
        store.set_clock(slot, key, (((now_ms // 60000) & 0xFFFF) << 8) | frequency)


def _check_end(r: Reader) -> None:
    wanted = r.checksum()
    given = int.from_bytes(r.take(8), "little")
    if given not in (0, wanted):  # 0: written without checksum
        raise r.error("the checksum is wrong")


def _payload(payload: bytes) -> Reader:
    """What a DUMP payload holds, its trailer checked. Raises PayloadError."""
    if len(payload) < 10:
        raise PayloadError("the payload is shorter than its trailer")
    version = int.from_bytes(payload[-10:-8], "little")
    if version > VERSION and not VALKEY_VERSIONS[0] <= version <= VALKEY_VERSIONS[1]:
        raise PayloadError(f"a payload of RDB version {version}")
    given = int.from_bytes(payload[-8:], "little")
    if given not in (0, crc64(payload[:-8])):
        raise PayloadError("the payload's checksum is wrong")
    body = payload[:-10]
    return Reader(io.BytesIO(body), len(body))


def restore(payload: bytes) -> object:
    """The value of a DUMP payload; raises PayloadError for its trailer, RdbError for its content."""
    r = _payload(payload)
    value = read_value(r, r.byte())
    if r.left():
        raise r.error("bytes are left after the value")
    return value


def function_codes(payload: bytes) -> list[bytes]:
    """The codes of the libraries in a FUNCTION DUMP payload; raises as `restore` does."""
    r = _payload(payload)
    codes: list[bytes] = []
    while r.left():
        if r.byte() != FUNCTION2:
            raise r.error("no function")
        codes.append(r.string())
    return codes
