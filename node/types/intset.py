"""Intset: Valkey's sorted array of integers, as immutable `bytes`; an update builds new bytes.

Format: u32 width of an integer (2, 4 or 8 bytes), u32 number of integers, the integers ascending, all little endian.
The width is that of the largest integer ever added; it never shrinks.
"""

from typing import Final

from librt.strings import BytesWriter, read_i16_le, read_i32_le, read_i64_le, write_i64_le
from mypy_extensions import i64, u8

HEADER: Final = 8
EMPTY: Final = b"\x02\x00\x00\x00\x00\x00\x00\x00"


class CorruptIntset(ValueError):
    """Bytes from outside that are not a well-formed intset."""


def width(data: bytes) -> i64:
    """Bytes of one integer."""
    return data[0]


def count(data: bytes) -> i64:
    """Number of integers."""
    return i64(read_i32_le(data, 4)) & 0xFFFFFFFF


def at(data: bytes, index: i64) -> i64:
    """The integer with this index, which must be in range."""
    w: i64 = data[0]
    if w == 2:
        return i64(read_i16_le(data, HEADER + index * 2))
    if w == 4:
        return i64(read_i32_le(data, HEADER + index * 4))
    return read_i64_le(data, HEADER + index * 8)


def place(data: bytes, n: i64) -> i64:
    """The index of the first integer that is not below `n`; the count when all are."""
    low: i64 = 0
    high: i64 = count(data)
    if high > 0 and at(data, high - 1) < n:
        return high
    while low < high:
        middle: i64 = (low + high) >> 1
        if at(data, middle) < n:
            low = middle + 1
        else:
            high = middle
    return low


def has(data: bytes, n: i64) -> bool:
    """Whether the integer is there."""
    i = place(data, n)
    return i < count(data) and at(data, i) == n


def _width_of(n: i64) -> i64:
    if -32768 <= n <= 32767:
        return 2
    if -2147483648 <= n <= 2147483647:
        return 4
    return 8


def _write(w: BytesWriter, n: i64, size: i64) -> None:
    if size == 8:
        write_i64_le(w, n)
        return
    while size > 0:
        w.append(u8(n & 255))
        n >>= 8
        size -= 1


def _head(w: BytesWriter, size: i64, number: i64) -> None:
    w.append(u8(size))
    w.append(0)
    w.append(0)
    w.append(0)
    _write(w, number, 4)


def add(data: bytes, n: i64) -> bytes:
    """With the integer added; the same object when it was there."""
    i = place(data, n)
    number = count(data)
    if i < number and at(data, i) == n:
        return data
    size = _width_of(n)
    if size > width(data):
        data = _widened(data, size)
    else:
        size = width(data)
    w = BytesWriter()
    _head(w, size, number + 1)
    w.write(data[HEADER : HEADER + i * size])
    _write(w, n, size)
    w.write(data[HEADER + i * size :])
    return w.getvalue()


def _widened(data: bytes, size: i64) -> bytes:
    w = BytesWriter()
    number = count(data)
    _head(w, size, number)
    i: i64 = 0
    while i < number:
        _write(w, at(data, i), size)
        i += 1
    return w.getvalue()


def remove(data: bytes, n: i64) -> bytes:
    """Without the integer; the same object when it was not there."""
    i = place(data, n)
    number = count(data)
    if i >= number or at(data, i) != n:
        return data
    size = width(data)
    w = BytesWriter()
    _head(w, size, number - 1)
    w.write(data[HEADER : HEADER + i * size])
    w.write(data[HEADER + (i + 1) * size :])
    return w.getvalue()


def build(numbers: list[int]) -> bytes:
    """The intset of these integers, in any order, repetitions allowed."""
    size: i64 = 2
    unique = sorted(set(numbers))
    if unique:
        size = max(_width_of(unique[0]), _width_of(unique[-1]))
    w = BytesWriter()
    _head(w, size, len(unique))
    for n in unique:
        _write(w, n, size)
    return w.getvalue()


def validate(data: bytes) -> i64:
    """Check size, width and order of bytes from outside; return the number of integers or raise CorruptIntset."""
    if len(data) < HEADER:
        raise CorruptIntset("shorter than its header")
    if read_i32_le(data, 0) not in (2, 4, 8):
        raise CorruptIntset("unknown width")
    number = count(data)
    if len(data) != HEADER + number * width(data):
        raise CorruptIntset("wrong size")
    i: i64 = 1
    while i < number:
        if at(data, i - 1) >= at(data, i):
            raise CorruptIntset("not in ascending order")
        i += 1
    return number
