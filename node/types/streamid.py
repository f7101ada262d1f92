"""Stream IDs: milliseconds and a sequence number of 64 bits each, kept as one integer so that they compare as one.

Text form `ms-seq`. Numbers in it are read as C's strtoull reads them, as in Valkey: leading spaces and zeros and a `+`
are taken, and what is below zero wraps around, unless it has the plain form of a negative number.
"""

import re
from typing import Final, final

from mypy_extensions import i64

from node.numbers import format_int, is_int

MASK: Final = 0xFFFFFFFFFFFFFFFF
ID_MIN: Final = 0
ID_MAX: Final = (1 << 128) - 1
_LONGEST: Final = 127  # bytes of an ID that is looked at at all
_DIGITS: Final = re.compile(rb"[ \t\n\v\f\r]*([+-]?)([0-9]+)")


class BadId(ValueError):
    """The bytes are no stream ID."""


def wrapped(n: int) -> i64:
    """The number as 64 signed bits hold it: counters that clients may set to any value wrap, as Valkey's do."""
    n &= MASK
    return i64(n - (1 << 64) if n >> 63 else n)


def make_id(ms: int, seq: int) -> int:
    """The ID of these two parts."""
    return (ms << 64) | seq


@final
class _Milliseconds:
    """The last milliseconds that were written, and their text: IDs come in runs."""

    ms: int
    text: bytes

    def __init__(self) -> None:
        self.ms = 0
        self.text = b"0-"


_LAST: Final = _Milliseconds()


def format_id(id: int) -> bytes:
    """`ms-seq`."""
    last = _LAST
    ms = id >> 64
    if ms != last.ms:
        last.ms = ms
        last.text = b"%d-" % ms
    seq = id & MASK
    return last.text + (format_int(i64(seq)) if seq < 1024 else b"%d" % seq)


def parse_number(text: bytes) -> int:
    """An unsigned 64-bit number; raises BadId."""
    found = _DIGITS.fullmatch(text)
    if found is None or len(text) > _LONGEST:
        raise BadId
    value = int(found[2])
    if value > MASK:
        raise BadId
    if found[1] == b"-":
        if is_int(text):
            raise BadId
        return -value & MASK
    return value


def parse_id(text: bytes, missing_seq: int) -> int:
    """An ID `ms-seq`, or `ms` with `missing_seq`; raises BadId."""
    if len(text) > _LONGEST:
        raise BadId
    cut = text.find(b"\0")
    if cut >= 0:  # Valkey reads it as a C string
        text = text[:cut]
    dash = text.find(b"-")
    if dash < 0:
        return (parse_number(text) << 64) | missing_seq
    return (parse_number(text[:dash]) << 64) | parse_number(text[dash + 1 :])


def parse_range_id(text: bytes, missing_seq: int) -> int:
    """As `parse_id`, with `-` and `+` for the lowest and the highest."""
    if text == b"-":
        return ID_MIN
    if text == b"+":
        return ID_MAX
    return parse_id(text, missing_seq)
