"""Numbers as Valkey reads and writes them: strict integers, doubles, and the 80-bit long doubles of the FLOAT commands.

Facts: an integer is accepted only in the one form in which it would be printed (no sign `+`, no leading zeros, no
spaces, no `-0`), within 64 bits. A double is read as C's strtod reads it, without leading space. INCRBYFLOAT and HINCRBYFLOAT
compute in x87 long doubles (64 bits of mantissa, exponents to 16383), reproduced here with exact integers.
"""

from typing import Final

from mypy_extensions import i64

I64_MAX: Final = 9223372036854775807
I64_MIN: Final = -9223372036854775808

_MAX_DIGITS: Final = b"9223372036854775807"
_MIN_DIGITS: Final = b"9223372036854775808"
_SMALL: Final[list[bytes]] = [str(n).encode() for n in range(1024)]


def is_int(data: bytes) -> bool:
    """Whether the bytes are a 64-bit signed integer in its only accepted form."""
    n: i64 = len(data)
    if n == 0 or n > 20:
        return False
    i: i64 = 0
    if data[0] == 45:  # -
        i = 1
        if n == 1:
            return False
    first: i64 = data[i]
    if first == 48:  # a lone 0
        return n == 1
    digits: i64 = n - i
    while i < n:
        c: i64 = data[i]
        if c < 48 or c > 57:
            return False
        i += 1
    if digits < 19:
        return True
    if digits > 19:
        return False
    if data[0] == 45:
        return data[1:] <= _MIN_DIGITS
    return data <= _MAX_DIGITS


def to_int(data: bytes) -> i64:
    """The integer that the bytes are; only after `is_int` said so."""
    n: i64 = len(data)
    i: i64 = 0
    value: i64 = 0
    if data[0] == 45:
        i = 1
        while i < n:
            value = value * 10 - (data[i] - 48)  # counted downwards: the lowest integer has no positive twin
            i += 1
        return value
    while i < n:
        value = value * 10 + (data[i] - 48)
        i += 1
    return value


def format_int(value: i64) -> bytes:
    """An integer in decimal."""
    if 0 <= value < 1024:
        return _SMALL[value]
    return str(value).encode("ascii")


def add_overflows(a: i64, b: i64) -> bool:
    """Whether a + b leaves the 64 signed bits."""
    if b >= 0:
        return a > I64_MAX - b
    return a < I64_MIN - b
