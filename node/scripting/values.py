"""Values between Lua and RESP: arguments of `server.call` in, a command's encoded reply out.

Replies are read from the bytes that the command has written, since handlers write RESP straight into a buffer; the
usual ones (one string, one number, a flat array) are found out by their first byte.
"""

import math
from typing import Final

from mypy_extensions import i64

from node.numbers import format_double, to_int

STATUS: Final = 1
ERROR: Final = 2
FLAT: Final = 3
TOKENS: Final = 4
EXHAUSTED: Final = 9  # no memory for the reply

LARGEST_EXACT: Final = 1 << 52  # as far as a double is written as an integer
FLAT_MOST: Final = 200  # elements that are handed over as values of one call
PORTION: Final = 400  # kinds and values of tokens handed over at once

# kinds of tokens
_VALUE: Final = 0
_ARRAY: Final = 3
_MAP: Final = 4
_SET: Final = 5
_DOUBLE: Final = 6
_BIG: Final = 7
_VERBATIM: Final = 8
_NIL: Final = 9

_INT_MIN: Final = -(1 << 63)


def argument(value: object) -> bytes | None:
    """A Lua value as a command's argument: a string, or a number as Valkey prints it; None for anything else."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        if -LARGEST_EXACT <= value <= LARGEST_EXACT:
            return b"%d" % value
        return format_double(float(value))
    if isinstance(value, float):
        return number_text(value)
    return None


def number_text(value: float) -> bytes:
    """A double as the shortest decimal that reads back the same; `nan` with its sign."""
    if value != value:
        return b"-nan" if math.copysign(1.0, value) < 0 else b"nan"
    return format_double(value)


def truncated(value: float) -> int:
    """A double as an integer reply: cut, and what does not fit is the least integer, as the machine converts it."""
    if value != value or value >= 9223372036854775808.0 or value < -9223372036854775808.0:
        return _INT_MIN
    return int(value)


def to_lua(data: bytes, tokens: list[object]) -> object:
    """One encoded reply as what the prelude expects; a nested one goes into `tokens` (emptied before)."""
    first: i64 = data[0]
    if first == 58:
        return to_int(data[1:-2])
    if first == 36:
        start: i64 = data.find(b"\r\n") + 2
        size: i64 = len(data)
        if start == size:  # $-1
            return False
        return data[start : size - 2]
    if first == 43:
        return (None, STATUS, data[1:-2])
    if first == 45:
        return (None, ERROR, data[1:-2], True)
    if first == 42 and data[1] == 45:  # *-1
        return False
    tokens.clear()
    flat = tokenize(data, tokens)
    if flat and len(tokens) <= 2 * FLAT_MOST:
        values = tokens[3::2]
        tokens.clear()
        return (None, FLAT, *values)
    if len(tokens) == 2 and tokens[0] == _VALUE:
        single = tokens[1]
        tokens.clear()
        return single
    return (None, TOKENS)


def tokenize(data: bytes, tokens: list[object]) -> bool:
    """Append kind and value of every element in the order of the bytes; True when it is one array of plain values."""
    at: i64 = 0
    size: i64 = len(data)
    flat = data[0] == 42
    while at < size:
        kind: i64 = data[at]
        end: i64 = data.find(b"\r\n", at)
        if kind == 36 or kind == 61:  # $ =
            length: i64 = int(data[at + 1 : end])
            at = end + 2
            if length < 0:
                tokens.append(_VALUE)
                tokens.append(False)
                continue
            tokens.append(_VALUE if kind == 36 else _VERBATIM)
            tokens.append(data[at : at + length])
            flat = flat and kind == 36
            at += length + 2
            continue
        text = data[at + 1 : end]
        plain = kind == 58 or (kind == 42 and at == 0)
        at = end + 2
        if not plain:
            flat = False
        _line(kind, text, tokens)
    return flat


def _line(kind: i64, text: bytes, tokens: list[object]) -> None:
    """One element that is a line of its own, or the head of a container."""
    if kind == 58:
        _add(tokens, _VALUE, int(text))
    elif kind == 42 or kind == 62:  # * >
        count = int(text)
        if count < 0:
            _add(tokens, _VALUE, False)
        else:
            _add(tokens, _ARRAY, count)
    elif kind == 37:
        _add(tokens, _MAP, int(text))
    elif kind == 126:
        _add(tokens, _SET, int(text))
    elif kind == 44:
        _add(tokens, _DOUBLE, float(text))
    elif kind == 35:
        _add(tokens, _VALUE, text == b"t")
    elif kind == 40:
        _add(tokens, _BIG, text)
    elif kind == 43:
        _add(tokens, STATUS, text)
    elif kind == 45:
        _add(tokens, ERROR, text)
    else:
        _add(tokens, _NIL, 0)


def _add(tokens: list[object], kind: int, value: object) -> None:
    tokens.append(kind)
    tokens.append(value)
