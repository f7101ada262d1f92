"""Ziplist and zipmap: the packed forms of Redis before 7, only ever read, and turned into listpacks.

Ziplist: u32 total bytes, u32 offset of the last entry, u16 number of entries (65535 = unknown), the entries, 0xFF. An
entry is the length of the one before (one byte, or 0xFE and u32), then encoding and data. Encodings by first byte:
    00llllll                 string of up to 63 bytes
    01llllll l8              string of up to 16383 bytes
    10...... l32             string, length big endian
    0xC0 0xD0 0xE0           signed integer of 2, 4, 8 bytes, little endian
    0xF0 0xFE                signed integer of 3 bytes, of 1 byte
    0xF1 to 0xFD             integer 0 to 12
Zipmap (Redis up to 2.4): u8 number of pairs (254 = unknown), the pairs, 0xFF. A pair is the field's length and bytes,
the value's length, u8 of unused bytes, the value, the unused bytes. A length is one byte up to 253, or 0xFE and u32.
Source: the comments of Redis' ziplist.c and zipmap.c.
"""

from typing import Final

from librt.strings import BytesWriter, read_i16_le, read_i32_le, read_i64_le
from mypy_extensions import i64

from node.types import listpack

HEADER: Final = 10  # bytes before the first entry of a ziplist
COUNT_UNKNOWN: Final = 65535
_BIG: Final = 254  # the length is in the next four bytes
_END: Final = 255


class CorruptZiplist(ValueError):
    """Bytes from outside that are no well-formed ziplist or zipmap."""


def _u32(data: bytes, pos: i64) -> i64:
    return i64(read_i32_le(data, pos)) & 0xFFFFFFFF


def _encoded_bytes(data: bytes, pos: i64, stop: i64) -> i64:
    """Bytes of encoding and data of an entry whose encoding is at `pos`; at least one byte is there."""
    b: i64 = data[pos]
    if b < 0x40:
        return 1 + b
    if b < 0x80:
        if pos + 2 > stop:
            raise CorruptZiplist("a length beyond the end of a ziplist")
        low: i64 = data[pos + 1]
        return 2 + ((b & 63) << 8) + low
    if b < 0xC0:
        if pos + 5 > stop:
            raise CorruptZiplist("a length beyond the end of a ziplist")
        return 5 + i64(int.from_bytes(data[pos + 1 : pos + 5], "big"))
    if b == 0xC0:
        return 3
    if b == 0xD0:
        return 5
    if b == 0xE0:
        return 9
    if b == 0xF0:
        return 4
    if b == 0xFE:
        return 2
    if 0xF1 <= b <= 0xFD:
        return 1
    raise CorruptZiplist("an unknown encoding in a ziplist")


def _number(data: bytes, pos: i64) -> i64:
    """The integer whose encoding is at `pos`."""
    b: i64 = data[pos]
    if b == 0xC0:
        return i64(read_i16_le(data, pos + 1))
    if b == 0xD0:
        return i64(read_i32_le(data, pos + 1))
    if b == 0xE0:
        return read_i64_le(data, pos + 1)
    if b == 0xF0:
        return i64(int.from_bytes(data[pos + 1 : pos + 4], "little", signed=True))
    if b == 0xFE:
        n: i64 = data[pos + 1]
        return n - 256 if n >= 128 else n
    return b - 0xF1


def _append(w: BytesWriter, data: bytes, pos: i64, size: i64) -> None:
    """Write the entry whose encoding is at `pos` as one of a listpack."""
    b: i64 = data[pos]
    if b >= 0xC0:
        listpack.write_int(w, _number(data, pos))
        return
    head: i64 = 1 if b < 0x40 else 2 if b < 0x80 else 5
    listpack.write_entry(w, data[pos + head : pos + size])


def to_listpack(data: bytes) -> bytes:
    """The listpack of a ziplist from outside, every byte of which is checked; raises CorruptZiplist."""
    size: i64 = len(data)
    if size < HEADER + 1 or _u32(data, 0) != size or data[size - 1] != _END:
        raise CorruptZiplist("wrong size or no end mark of a ziplist")
    stop: i64 = size - 1
    w = BytesWriter()
    pos: i64 = HEADER
    last: i64 = HEADER
    before: i64 = 0
    n: i64 = 0
    while pos < stop:
        start = pos
        length: i64 = data[pos]
        pos += 1
        if length == _BIG:
            if pos + 4 > stop:
                raise CorruptZiplist("an entry beyond the end of a ziplist")
            length = _u32(data, pos)
            pos += 4
        if length != before or pos >= stop:
            raise CorruptZiplist("a wrong backward length in a ziplist")
        body = _encoded_bytes(data, pos, stop)
        if pos + body > stop:
            raise CorruptZiplist("an entry beyond the end of a ziplist")
        _append(w, data, pos, body)
        pos += body
        last = start
        before = pos - start
        n += 1
    low: i64 = data[8]
    known: i64 = data[9]
    known = (known << 8) | low
    if _u32(data, 4) != last or (known != COUNT_UNKNOWN and known != n):
        raise CorruptZiplist("a wrong number of entries, or last entry, of a ziplist")
    return listpack.wrap(w.getvalue(), n)


def _map_length(data: bytes, pos: i64, stop: i64) -> tuple[i64, i64]:
    """A length of a zipmap, and the position after it."""
    if pos >= stop:
        raise CorruptZiplist("a length beyond the end of a zipmap")
    n: i64 = data[pos]
    if n < _BIG:
        return n, pos + 1
    if n == _END or pos + 5 > stop:
        raise CorruptZiplist("a length beyond the end of a zipmap")
    return _u32(data, pos + 1), pos + 5


def zipmap_to_listpack(data: bytes) -> bytes:
    """The listpack (field, value, …) of a zipmap from outside, every byte checked; raises CorruptZiplist."""
    size: i64 = len(data)
    if size < 2 or data[size - 1] != _END:
        raise CorruptZiplist("no end mark of a zipmap")
    stop: i64 = size - 1
    w = BytesWriter()
    pos: i64 = 1
    n: i64 = 0
    while pos < stop:
        length, pos = _map_length(data, pos, stop)
        if pos + length > stop:
            raise CorruptZiplist("a field beyond the end of a zipmap")
        listpack.write_entry(w, data[pos : pos + length])
        length, pos = _map_length(data, pos + length, stop)
        if pos >= stop or pos + 1 + length + i64(data[pos]) > stop:
            raise CorruptZiplist("a value beyond the end of a zipmap")
        listpack.write_entry(w, data[pos + 1 : pos + 1 + length])
        unused: i64 = data[pos]
        pos += 1 + length + unused
        n += 1
    if data[0] < _BIG and data[0] != n:
        raise CorruptZiplist("a wrong number of pairs of a zipmap")
    return listpack.wrap(w.getvalue(), n * 2)
