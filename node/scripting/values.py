"""Values between Lua and RESP: arguments of `server.call` in, a command's encoded reply out.

Replies are read from the bytes that the command has written, since handlers write RESP straight into a buffer; the
usual ones (one string, one number, a flat array) are found out by their first byte.
"""

import math
from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from node.numbers import format_double, to_int

STATUS: Final = 1
ERROR: Final = 2
FLAT: Final = 3
TOKENS: Final = 4
EXHAUSTED: Final = 9  # no memory for the reply

OK: Final = 0.5  # stands for the status reply `OK`: no command's reply is this number

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


def plain(out: BytesWriter) -> object:
    """The encoded reply in the writer if it is an integer, a string, RESP2's null or `OK`; None for all others."""
    size: i64 = len(out)
    first: i64 = i64(out[0])
    if first == 58:
        return _integer(out, size)
    if first == 36:
        if i64(out[1]) == 45:  # $-1
            return False
        start: i64 = 2
        while i64(out[start]) != 10:
            start += 1
        return out.getvalue()[start + 1 : size - 2]
    if first == 43 and size == 5 and i64(out[1]) == 79 and i64(out[2]) == 75:
        return OK
    return None


def _integer(out: BytesWriter, size: i64) -> i64:
    """The integer reply in the writer."""
    negative = i64(out[1]) == 45
    at: i64 = 2 if negative else 1
    value: i64 = 0
    while at < size - 2:
        digit: i64 = i64(out[at]) - 48
        value = value * 10 - digit  # counted downwards: the lowest integer has no positive twin
        at += 1
    return value if negative else -value


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
    if first == 42:
        values = _flat(data)
        if values is not None:
            return tuple(values)
    tokens.clear()
    tokenize(data, tokens)
    if len(tokens) == 2 and tokens[0] == _VALUE:
        single = tokens[1]
        tokens.clear()
        return single
    return (None, TOKENS)


def _flat(data: bytes) -> list[object] | None:
    """An array of strings, integers and nulls as the values of one call; None when it is longer or holds others."""
    size: i64 = len(data)
    at: i64 = 1
    while data[at] != 10:
        at += 1
    if at > 4:  # a thousand or more
        return None
    at += 1
    values: list[object] = [None, FLAT]
    while at < size:
        kind: i64 = data[at]
        number: i64 = 0
        at += 1
        negative = data[at] == 45
        if negative:
            at += 1
        while data[at] != 13:
            number = number * 10 - (data[at] - 48)
            at += 1
        at += 2
        if kind == 58:
            values.append(number if negative else -number)
        elif kind != 36:
            return None
        elif negative:
            values.append(False)
        else:
            values.append(data[at : at - number])
            at += 2 - number
    return values if len(values) <= FLAT_MOST + 2 else None


def tokenize(data: bytes, tokens: list[object]) -> None:
    """Append kind and value of every element in the order of the bytes."""
    at: i64 = 0
    size: i64 = len(data)
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
            at += length + 2
            continue
        text = data[at + 1 : end]
        at = end + 2
        _line(kind, text, tokens)


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
