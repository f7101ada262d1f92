"""Values and keys in the RDB format (version 11), and the payload of DUMP."""

from typing import Final

import anycrc
import lzf
from librt.strings import BytesWriter, write_f64_le, write_i16_le, write_i64_le
from mypy_extensions import i64, u8

from node.numbers import is_int, to_int
from node.rdb.opcodes import (
    AUX,
    EOF,
    EXPIRETIME_MS,
    FREQ,
    HASH,
    HASH_2,
    HASH_LISTPACK,
    IDLE,
    LENGTH_32,
    LENGTH_64,
    LIST_QUICKLIST_2,
    LZF,
    MAGIC,
    MAGIC_VALKEY,
    QUICKLIST_PACKED,
    QUICKLIST_PLAIN,
    SELECTDB,
    SET,
    SET_INTSET,
    SET_LISTPACK,
    STREAM_2,
    STREAM_3,
    STRING,
    VERSION,
    VERSION_FIELDS,
    VERSION_OLD,
    ZSET_2,
    ZSET_LISTPACK,
)  # fmt: skip
from node.types.hash import Hash
from node.types.quicklist import List
from node.types.set import INTSET, LISTPACK, Set
from node.types.stream import Stream
from node.types.streamgroup import Group
from node.types.streamid import MASK
from node.types.zset import ZSet

COMPRESS_FROM: Final = 21  # bytes: shorter strings are never smaller compressed (Valkey's bound)

_crc64: Final = anycrc.Model("CRC64-REDIS")


def crc64(data: bytes, crc: int = 0) -> int:
    """The checksum of RDB files and DUMP payloads, continued from `crc`."""
    return int(_crc64.calc(data, crc))


def write_length(w: BytesWriter, n: i64) -> None:
    """A length: 1, 2, 5 or 9 bytes, big endian."""
    if n < 64:
        w.append(u8(n))
    elif n < 16384:
        w.append(u8(0x40 | (n >> 8)))
        w.append(u8(n & 0xFF))
    elif n < 1 << 32:
        w.append(LENGTH_32)
        w.write(int(n).to_bytes(4, "big"))
    else:
        w.append(LENGTH_64)
        w.write(int(n).to_bytes(8, "big"))


def write_string(w: BytesWriter, value: bytes, compress: bool) -> None:
    """A string: as an integer where that is shorter, else compressed where that helps, else as it is."""
    size: i64 = len(value)
    if size <= 11 and is_int(value) and _write_integer(w, to_int(value)):
        return
    if compress and size >= COMPRESS_FROM:
        packed = lzf.compress(value, size - 5)  # Valkey's LZF gives up a byte earlier than its bound of size - 4
        if packed is not None:
            w.append(0xC0 | LZF)
            write_length(w, len(packed))
            write_length(w, size)
            w.write(packed)
            return
    write_length(w, size)
    w.write(value)


def _write_integer(w: BytesWriter, n: i64) -> bool:
    if -128 <= n <= 127:
        w.append(0xC0)
        w.append(u8(n & 0xFF))
    elif -32768 <= n <= 32767:
        w.append(0xC1)
        w.append(u8(n & 0xFF))
        w.append(u8((n >> 8) & 0xFF))
    elif -(1 << 31) <= n < 1 << 31:
        w.append(0xC2)
        w.write(int(n).to_bytes(4, "little", signed=True))
    else:
        return False
    return True


def value_type(value: object, old: bool = False) -> i64:
    """The RDB type of a value as it is encoded now; `old`: as Redis 7.0 reads it."""
    if isinstance(value, bytes):
        return STRING
    if isinstance(value, List):
        return LIST_QUICKLIST_2
    if isinstance(value, Hash):
        return HASH_LISTPACK if value.table is None else HASH_2 if value.volatile() and not old else HASH
    if isinstance(value, Set):
        if old and value.kind == LISTPACK:
            return SET
        return SET_INTSET if value.kind == INTSET else SET_LISTPACK if value.kind == LISTPACK else SET
    if isinstance(value, ZSet):
        return ZSET_LISTPACK if value.order is None else ZSET_2
    if isinstance(value, Stream):
        return STREAM_2 if old else STREAM_3
    raise TypeError(type(value).__name__)


def write_value(w: BytesWriter, value: object, compress: bool, old: bool = False) -> None:
    """The value after its type byte; `old` as of `value_type`."""
    if isinstance(value, bytes):
        write_string(w, value, compress)
    elif isinstance(value, List):
        _write_list(w, value, compress)
    elif isinstance(value, Hash):
        if value.table is None:
            write_string(w, value.packed, compress)
            return
        _write_hash(w, value, compress, old)
    elif isinstance(value, Set):
        if value.kind == INTSET or (value.kind == LISTPACK and not old):
            write_string(w, value.packed, compress)
            return
        members = value.members()
        write_length(w, len(members))
        for member in members:
            write_string(w, member, compress)
    elif isinstance(value, ZSet):
        _write_zset(w, value, compress)
    elif isinstance(value, Stream):
        _write_stream(w, value, compress, old)
    else:
        raise TypeError(type(value).__name__)


def _write_hash(w: BytesWriter, value: Hash, compress: bool, old: bool) -> None:
    """A hash that is a table; once a field has a time to live each field's time follows it, -1 for none."""
    pairs = value.pairs()
    times = value.times() if value.volatile() and not old else None
    write_length(w, len(pairs) // 2)
    i: i64 = 0
    while i < len(pairs):
        write_string(w, pairs[i], compress)
        write_string(w, pairs[i + 1], compress)
        if times is not None:
            write_i64_le(w, i64(times.at.get(pairs[i], -1)))
        i += 2


def _write_number(w: BytesWriter, n: int) -> None:
    """An unsigned 64-bit number (a negative one wraps) in the form of a length."""
    if 0 <= n < 1 << 32:
        write_length(w, i64(n))
    else:
        w.append(LENGTH_64)
        w.write((n & MASK).to_bytes(8, "big"))


def _write_id(w: BytesWriter, id: int) -> None:
    _write_number(w, id >> 64)
    _write_number(w, id & MASK)


def _write_stream(w: BytesWriter, value: Stream, compress: bool, old: bool) -> None:
    value.settle()
    write_length(w, len(value.blocks))
    for block in value.blocks:
        write_string(w, block.master.to_bytes(16, "big"), compress)
        write_string(w, block.packed(), compress)
    write_stream_end(w, value, compress, old)


def write_stream_end(w: BytesWriter, value: Stream, compress: bool, old: bool) -> None:
    """What follows the blocks of a stream: its accounts and consumer groups."""
    write_length(w, value.length)
    _write_id(w, value.last_id)
    _write_id(w, value.first_id)
    _write_id(w, value.max_deleted)
    _write_number(w, int(value.added))
    write_length(w, len(value.groups))
    for name in value.sorted_groups():
        write_string(w, name, compress)
        _write_group(w, value.groups[name], compress, old)


def _write_group(w: BytesWriter, group: Group, compress: bool, old: bool) -> None:
    """A consumer group: what is pending in it, then each consumer with the IDs of what is pending for it."""
    _write_id(w, group.last_id)
    _write_number(w, int(group.entries_read))
    write_length(w, group.order.count)
    for chunk in group.order.chunks:
        for id in chunk:
            pending = group.pending[id]
            w.write(id.to_bytes(16, "big"))
            write_i64_le(w, pending.delivered_ms)
            _write_number(w, int(pending.deliveries))
    write_length(w, len(group.consumers))
    for consumer in group.sorted_consumers():
        write_string(w, consumer.name, compress)
        write_i64_le(w, consumer.seen_ms)
        if not old:
            write_i64_le(w, consumer.active_ms)
        write_length(w, consumer.pending.count)
        for chunk in consumer.pending.chunks:
            for id in chunk:
                w.write(id.to_bytes(16, "big"))


def _write_list(w: BytesWriter, value: List, compress: bool) -> None:
    nodes = value.to_nodes()
    write_length(w, len(nodes))
    for plain, data in nodes:
        write_length(w, QUICKLIST_PLAIN if plain else QUICKLIST_PACKED)
        write_string(w, data, compress)


def _write_zset(w: BytesWriter, value: ZSet, compress: bool) -> None:
    if value.order is None:
        write_string(w, value.packed, compress)
        return
    members: list[bytes] = []
    scores: list[float] = []
    value.collect(0, value.count, members, scores)
    write_length(w, value.count)
    i: i64 = value.count - 1
    while i >= 0:  # from the highest score down, as Valkey does: a loader then inserts at the head
        write_string(w, members[i], compress)
        write_f64_le(w, scores[i])
        i -= 1


def write_key(
    w: BytesWriter,
    key: bytes,
    value: object,
    expire_at: i64,
    idle: i64,
    frequency: i64,
    compress: bool,
    old: bool = False,
) -> None:
    """One key with what belongs to it; `expire_at` 0: never, `idle` (seconds) and `frequency` -1: not kept; `old` as
    of `value_type`.
    """
    write_head(w, key, value_type(value, old), expire_at, idle, frequency, compress)
    write_value(w, value, compress, old)


def write_head(
    w: BytesWriter, key: bytes, kind: i64, expire_at: i64, idle: i64, frequency: i64, compress: bool
) -> None:
    """What comes before the value of a key."""
    if expire_at > 0:
        w.append(EXPIRETIME_MS)
        write_i64_le(w, expire_at)
    if idle >= 0:
        w.append(IDLE)
        write_length(w, idle)
    elif frequency >= 0:
        w.append(FREQ)
        w.append(frequency)
    w.append(kind)
    write_string(w, key, compress)


def header(fields: dict[bytes, bytes], field_times: bool = False, old: bool = False) -> bytes:
    """The beginning of a file: magic, version, auxiliary fields; `field_times`: some hash has fields that expire;
    `old`: for Redis 7.0.
    """
    w = BytesWriter()
    if field_times and not old:
        w.write(MAGIC_VALKEY + b"%03d" % VERSION_FIELDS)
    else:
        w.write(MAGIC + b"%04d" % (VERSION_OLD if old else VERSION))
    for name, value in fields.items():
        w.append(AUX)
        write_string(w, name, False)
        write_string(w, value, False)
    return w.getvalue()


def select(dbid: i64) -> bytes:
    """From here on keys belong to this database."""
    w = BytesWriter()
    w.append(SELECTDB)
    write_length(w, dbid)
    return w.getvalue()


def trailer(crc: int) -> bytes:
    """The end of a file whose bytes so far have this checksum (the EOF byte is added to it here)."""
    return bytes([EOF]) + crc64(bytes([EOF]), crc).to_bytes(8, "little")


def dump(value: object) -> bytes:
    """The payload of DUMP: type, value, RDB version, checksum."""
    w = BytesWriter()
    kind = value_type(value)
    w.append(kind)
    write_value(w, value, True)
    write_i16_le(w, VERSION_FIELDS if kind == HASH_2 else VERSION)
    body = w.getvalue()
    return body + crc64(body).to_bytes(8, "little")
