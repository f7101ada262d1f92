"""Listpack: Valkey's packed sequence of strings and integers, as immutable `bytes`; an update builds new bytes.

Format (Valkey `listpack.md`): u32 total bytes, u16 number of elements (65535 = unknown, count them), the entries, 0xFF.
An entry is encoding and data, then its own length once more, readable backwards (backlen). Encodings by first byte:
    0xxxxxxx                 integer 0 to 127
    10llllll                 string of up to 63 bytes
    110iiiii i8              13-bit signed integer
    1110llll l8              string of up to 4095 bytes
    11110000 l32             string
    11110001 to 11110100     signed integer of 2, 3, 4, 8 bytes, little endian
Strings that are integers in their one accepted form are stored as integers, always in the shortest encoding. Functions
here trust their input; bytes from outside go through `validate` or `canonical` first. Positions are byte offsets of
entries.
"""

from typing import Final

from librt.strings import BytesWriter, read_i16_le, read_i32_le, read_i64_le, write_i64_le
from mypy_extensions import i64, u8

from node.numbers import format_int, is_int, to_int

EMPTY: Final = b"\x07\x00\x00\x00\x00\x00\xff"
FIRST: Final = 6  # offset of the first entry
HEADER: Final = 7  # bytes of an empty listpack
COUNT_UNKNOWN: Final = 65535
NOT_FOUND: Final = -1

_SCRATCH: Final = BytesWriter()
_BYTES: Final[list[bytes]] = [bytes([n]) for n in range(256)]


class CorruptListpack(ValueError):
    """Bytes from outside that are not a well-formed listpack."""


# --- writing entries


def _write_backlen(w: BytesWriter, n: i64) -> None:
    if n <= 127:
        w.append(u8(n))
        return
    if n < 16383:
        w.append(u8(n >> 7))
    elif n < 2097151:
        w.append(u8(n >> 14))
        w.append(u8((n >> 7) & 127 | 128))
    elif n < 268435455:
        w.append(u8(n >> 21))
        w.append(u8((n >> 14) & 127 | 128))
        w.append(u8((n >> 7) & 127 | 128))
    else:
        w.append(u8(n >> 28))
        w.append(u8((n >> 21) & 127 | 128))
        w.append(u8((n >> 14) & 127 | 128))
        w.append(u8((n >> 7) & 127 | 128))
    w.append(u8(n & 127 | 128))


def write_int(w: BytesWriter, n: i64) -> None:
    """Append the whole entry of an integer."""
    if 0 <= n <= 127:
        w.append(u8(n))
        w.append(1)
    elif -4096 <= n <= 4095:
        w.append(u8(((n >> 8) & 31) | 192))
        w.append(u8(n & 255))
        w.append(2)
    elif -32768 <= n <= 32767:
        w.append(0xF1)
        w.append(u8(n & 255))
        w.append(u8((n >> 8) & 255))
        w.append(3)
    elif -8388608 <= n <= 8388607:
        w.append(0xF2)
        w.append(u8(n & 255))
        w.append(u8((n >> 8) & 255))
        w.append(u8((n >> 16) & 255))
        w.append(4)
    elif -2147483648 <= n <= 2147483647:
        w.append(0xF3)
        w.append(u8(n & 255))
        w.append(u8((n >> 8) & 255))
        w.append(u8((n >> 16) & 255))
        w.append(u8((n >> 24) & 255))
        w.append(5)
    else:
        w.append(0xF4)
        write_i64_le(w, n)
        w.append(9)


def write_entry(w: BytesWriter, value: bytes) -> None:
    """Append the whole entry of a value."""
    n: i64 = len(value)
    if n <= 20 and is_int(value):
        write_int(w, to_int(value))
    elif n < 64:
        w.append(u8(n | 128))
        w.write(value)
        w.append(u8(n + 1))
    elif n < 4096:
        w.append(u8((n >> 8) | 0xE0))
        w.append(u8(n & 255))
        w.write(value)
        _write_backlen(w, n + 2)
    else:
        w.append(0xF0)
        w.append(u8(n & 255))
        w.append(u8((n >> 8) & 255))
        w.append(u8((n >> 16) & 255))
        w.append(u8((n >> 24) & 255))
        w.write(value)
        _write_backlen(w, n + 5)


def entry(value: bytes) -> bytes:
    """The whole entry of a value: encoding, data and backlen."""
    n: i64 = len(value)
    if n < 64 and not is_int(value):
        return b"%b%b%b" % (_BYTES[n | 128], value, _BYTES[n + 1])
    w = _SCRATCH if len(value) < 8192 else BytesWriter()  # the scratch writer keeps its memory
    w.truncate(0)
    write_entry(w, value)
    return w.getvalue()


def entry_pair(first: bytes, second: bytes) -> bytes:
    """Two entries in a row (field and value, member and score)."""
    w = _SCRATCH if len(first) + len(second) < 8192 else BytesWriter()
    w.truncate(0)
    write_entry(w, first)
    write_entry(w, second)
    return w.getvalue()


def wrap(entries: bytes, count: i64) -> bytes:
    """A listpack of `count` entries that are encoded already."""
    if count > COUNT_UNKNOWN:
        count = COUNT_UNKNOWN
    size: i64 = len(entries) + HEADER
    return b"%b%b%b%b%b%b%b\xff" % (
        _BYTES[size & 255], _BYTES[(size >> 8) & 255], _BYTES[(size >> 16) & 255], _BYTES[(size >> 24) & 255],
        _BYTES[count & 255], _BYTES[(count >> 8) & 255], entries,
    )  # fmt: skip


def build(items: list[bytes]) -> bytes:
    """The listpack of these elements."""
    w = BytesWriter()
    for item in items:
        write_entry(w, item)
    return wrap(w.getvalue(), len(items))


# --- reading


def total_bytes(lp: bytes) -> i64:
    """The size that the header states."""
    return i64(read_i32_le(lp, 0)) & 0xFFFFFFFF


def skip(lp: bytes, pos: i64) -> i64:
    """The position after the entry at `pos`."""
    b: i64 = lp[pos]
    n: i64 = 0
    if b < 128:
        return pos + 2
    if b < 192:
        return pos + (b & 63) + 2
    if b < 224:
        return pos + 3
    if b < 240:
        n = ((b & 15) << 8) + lp[pos + 1] + 2
    elif b == 0xF0:
        n = (i64(read_i32_le(lp, pos + 1)) & 0xFFFFFFFF) + 5
    elif b == 0xF4:
        return pos + 10
    else:
        return pos + b - 0xF0 + 3
    if n <= 127:
        return pos + n + 1
    if n < 16383:
        return pos + n + 2
    if n < 2097151:
        return pos + n + 3
    if n < 268435455:
        return pos + n + 4
    return pos + n + 5


def previous(lp: bytes, pos: i64) -> i64:
    """The position of the entry before `pos`, which may be the end mark; NOT_FOUND at the first."""
    if pos <= FIRST:
        return NOT_FOUND
    i: i64 = pos - 1
    n: i64 = lp[i] & 127
    shift: i64 = 7
    while lp[i] & 128 and shift <= 28:  # at most five bytes
        i -= 1
        low: i64 = lp[i] & 127
        n |= low << shift
        shift += 7
    return i - n


def end(lp: bytes) -> i64:
    """The position of the end mark."""
    return len(lp) - 1


def count(lp: bytes) -> i64:
    """Number of elements; they are counted when the header does not know."""
    n: i64 = lp[4]
    high: i64 = lp[5]
    n |= high << 8
    if n < COUNT_UNKNOWN:
        return n
    n = 0
    pos: i64 = FIRST
    stop: i64 = len(lp) - 1
    while pos < stop:
        pos = skip(lp, pos)
        n += 1
    return n


def is_number(lp: bytes, pos: i64) -> bool:
    """Whether the entry at `pos` is encoded as an integer."""
    b: i64 = lp[pos]
    return b < 128 or (b >= 192 and b < 224) or b > 0xF0


def number_at(lp: bytes, pos: i64) -> i64:
    """The integer at `pos`, where `is_number` holds."""
    b: i64 = lp[pos]
    if b < 128:
        return b
    low: i64 = lp[pos + 1]
    if b < 224:
        b = ((b & 31) << 8) | low
        return b - 8192 if b >= 4096 else b
    if b == 0xF1:
        return i64(read_i16_le(lp, pos + 1))
    if b == 0xF2:
        mid: i64 = lp[pos + 2]
        high: i64 = lp[pos + 3]
        low |= (mid << 8) | (high << 16)
        return low - 16777216 if low >= 8388608 else low
    if b == 0xF3:
        return i64(read_i32_le(lp, pos + 1))
    return read_i64_le(lp, pos + 1)


def at(lp: bytes, pos: i64) -> bytes:
    """The element at `pos`; an integer in decimal."""
    b: i64 = lp[pos]
    n: i64 = 0
    if b < 128:
        return format_int(b)
    if b < 192:
        return lp[pos + 1 : pos + 1 + (b & 63)]
    if b >= 224 and b < 240:
        n = ((b & 15) << 8) + lp[pos + 1]
        return lp[pos + 2 : pos + 2 + n]
    if b == 0xF0:
        n = i64(read_i32_le(lp, pos + 1)) & 0xFFFFFFFF
        return lp[pos + 5 : pos + 5 + n]
    return format_int(number_at(lp, pos))


def value_length(lp: bytes, pos: i64) -> i64:
    """Bytes of the element at `pos` as a string (of an integer: its decimal digits)."""
    b: i64 = lp[pos]
    if b >= 128 and b < 192:
        return b & 63
    return len(at(lp, pos))


def decode(lp: bytes) -> list[bytes]:
    """All elements."""
    items: list[bytes] = []
    pos: i64 = FIRST
    stop: i64 = len(lp) - 1
    while pos < stop:
        items.append(at(lp, pos))
        pos = skip(lp, pos)
    return items


def decode_step(lp: bytes, start: i64, step: i64) -> list[bytes]:
    """Every `step`-th element from the one with index `start` (fields of a hash: 0, 2; its values: 1, 2)."""
    items: list[bytes] = []
    pos: i64 = FIRST
    stop: i64 = len(lp) - 1
    wait: i64 = start
    while pos < stop:
        if wait == 0:
            items.append(at(lp, pos))
            wait = step
        wait -= 1
        pos = skip(lp, pos)
    return items


def seek(lp: bytes, index: i64) -> i64:
    """The position of the element with this index (negative: from the end); NOT_FOUND when out of range."""
    stop: i64 = len(lp) - 1
    pos: i64 = 0
    known: i64 = lp[4]
    high: i64 = lp[5]
    known |= high << 8
    if known < COUNT_UNKNOWN:
        if index >= known or index < -known:
            return NOT_FOUND
        if index < 0:
            index += known
        if index > known >> 1:
            index -= known  # the end is nearer
    if index >= 0:
        pos = FIRST
        while index > 0 and pos < stop:
            pos = skip(lp, pos)
            index -= 1
        return pos if pos < stop else NOT_FOUND
    pos = stop
    while index < 0:
        pos = previous(lp, pos)
        if pos == NOT_FOUND:
            return NOT_FOUND
        index += 1
    return pos


def find(lp: bytes, wanted: bytes, step: i64) -> i64:
    """The position of the entry `wanted` (encoded, as `entry` makes it) among every `step`-th entry from the first."""
    pos: i64 = FIRST
    stop: i64 = len(lp) - 1
    size: i64 = len(wanted)
    limit: i64 = stop - size
    first: i64 = wanted[0]
    last: i64 = wanted[size - 2]  # the byte before backlen: where names that are numbered differ
    wait: i64 = 0
    while pos < stop:
        b: i64 = lp[pos]
        if wait == 0:
            if b == first and pos <= limit and lp[pos + size - 2] == last and _same(lp, pos, wanted):
                return pos
            wait = step
        wait -= 1
        if b < 128:
            pos += 2
        elif b < 192:
            pos += (b & 63) + 2
        else:
            pos = skip(lp, pos)
    return NOT_FOUND


def _same(lp: bytes, pos: i64, wanted: bytes) -> bool:
    i: i64 = len(wanted) - 1
    while i > 0:
        if lp[pos + i] != wanted[i]:
            return False
        i -= 1
    return True


# --- updating


def splice(lp: bytes, start: i64, stop: i64, entries: bytes, delta: i64) -> bytes:
    """Replace the entries in `lp[start:stop]` by encoded `entries`; the number of elements changes by `delta`."""
    known: i64 = lp[4]
    high: i64 = lp[5]
    known |= high << 8
    if known < COUNT_UNKNOWN:
        known += delta
        if known > COUNT_UNKNOWN:
            known = COUNT_UNKNOWN
    size: i64 = len(lp) - (stop - start) + len(entries)
    return b"%b%b%b%b%b%b%b%b%b" % (
        _BYTES[size & 255], _BYTES[(size >> 8) & 255], _BYTES[(size >> 16) & 255], _BYTES[(size >> 24) & 255],
        _BYTES[known & 255], _BYTES[(known >> 8) & 255], lp[FIRST:start], entries, lp[stop:],
    )  # fmt: skip


def append(lp: bytes, value: bytes) -> bytes:
    """With one element more at the end."""
    stop: i64 = len(lp) - 1
    return splice(lp, stop, stop, entry(value), 1)


def prepend(lp: bytes, value: bytes) -> bytes:
    """With one element more at the front."""
    return splice(lp, FIRST, FIRST, entry(value), 1)


def insert(lp: bytes, pos: i64, value: bytes) -> bytes:
    """With one element more before the entry at `pos`."""
    return splice(lp, pos, pos, entry(value), 1)


def replace(lp: bytes, pos: i64, value: bytes) -> bytes:
    """With another element at `pos`."""
    return splice(lp, pos, skip(lp, pos), entry(value), 0)


def delete(lp: bytes, pos: i64, number: i64 = 1) -> bytes:
    """Without `number` elements from the one at `pos` (fewer when the end comes first)."""
    stop: i64 = len(lp) - 1
    after: i64 = pos
    gone: i64 = 0
    while gone < number and after < stop:
        after = skip(lp, after)
        gone += 1
    return splice(lp, pos, after, b"", -gone)


# --- bytes from outside


def _backlen_bytes(total: i64) -> i64:
    """How many of the bytes of a whole entry are its length."""
    if total <= 128:
        return 1
    if total < 16385:
        return 2
    if total < 2097154:
        return 3
    return 4 if total < 268435459 else 5


def _entry_end(lp: bytes, pos: i64, stop: i64) -> i64:
    """The position after the entry at `pos`, every byte of it checked to lie before `stop`; raises CorruptListpack."""
    b: i64 = lp[pos]
    if b > 0xF4:
        raise CorruptListpack("unknown encoding")
    if (b >= 224 and b < 240 and pos + 2 > stop) or (b == 0xF0 and pos + 5 > stop):
        raise CorruptListpack("length beyond the end")
    after: i64 = skip(lp, pos)
    if after > stop:
        raise CorruptListpack("element beyond the end")
    if previous(lp, after) != pos or lp[after - _backlen_bytes(after - pos)] & 128:
        raise CorruptListpack("wrong backward length")
    return after


def validate(lp: bytes, max_elements: i64 = -1) -> i64:
    """Check every byte that the other functions rely on; return the number of elements or raise CorruptListpack.

    `max_elements` of -1 sets no bound.
    """
    size: i64 = len(lp)
    if size < HEADER or total_bytes(lp) != size or lp[size - 1] != 0xFF:
        raise CorruptListpack("wrong size or no end mark")
    pos: i64 = FIRST
    stop: i64 = size - 1
    n: i64 = 0
    while pos < stop:
        pos = _entry_end(lp, pos, stop)
        n += 1
        if max_elements >= 0 and n > max_elements:
            raise CorruptListpack("too many elements")
    known: i64 = lp[4]
    high: i64 = lp[5]
    known |= high << 8
    if known != COUNT_UNKNOWN and known != n:
        raise CorruptListpack("wrong number of elements")
    return n


def _is_shortest(lp: bytes, pos: i64) -> bool:
    """Whether the entry at `pos`, which is well-formed, is what `write_entry` makes of its value."""
    b: i64 = lp[pos]
    if b < 128:
        return True
    if b < 192:
        return (b & 63) > 20 or not is_int(at(lp, pos))
    if b < 224:
        n = number_at(lp, pos)
        return n < 0 or n > 127
    if b < 240:
        return value_length(lp, pos) >= 64
    if b == 0xF0:
        return (i64(read_i32_le(lp, pos + 1)) & 0xFFFFFFFF) >= 4096
    n = number_at(lp, pos)
    if b == 0xF1:
        return n < -4096 or n > 4095
    if b == 0xF2:
        return n < -32768 or n > 32767
    if b == 0xF3:
        return n < -8388608 or n > 8388607
    return n < -2147483648 or n > 2147483647


def canonical(lp: bytes, max_elements: i64 = -1) -> bytes:
    """The checked listpack, every element in its shortest encoding, as `find` needs it; raises CorruptListpack.

    One that is so already, as all that Valkey writes are, is returned itself, and nothing is allocated for it.
    """
    number = validate(lp, max_elements)
    pos: i64 = FIRST
    stop: i64 = len(lp) - 1
    while pos < stop and _is_shortest(lp, pos):
        pos = skip(lp, pos)
    if pos >= stop:
        return lp if number >= COUNT_UNKNOWN or _states_count(lp) else wrap(lp[FIRST:stop], number)
    w = BytesWriter()
    pos = FIRST
    while pos < stop:
        write_entry(w, at(lp, pos))
        pos = skip(lp, pos)
    return wrap(w.getvalue(), number)


def _states_count(lp: bytes) -> bool:
    """Whether the header knows the number of elements."""
    return lp[4] != 255 or lp[5] != 255
