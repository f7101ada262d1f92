"""The command log: the last commands that were slow, or whose request or reply was large. Three lists, newest first."""

from collections import deque
from typing import Final, final

from mypy_extensions import i64

SLOW: Final = 0
LARGE_REQUEST: Final = 1
LARGE_REPLY: Final = 2
TYPES: Final[dict[bytes, int]] = {b"slow": SLOW, b"large-request": LARGE_REQUEST, b"large-reply": LARGE_REPLY}

_ARGS: Final = 32  # arguments kept of a command, the last one then says how many were left out
_BYTES: Final = 128  # kept of an argument


@final
class Logged:
    """One command: `value` is microseconds, or bytes."""

    id: i64
    time_s: i64
    value: i64
    args: list[bytes]
    address: bytes
    name: bytes

    def __init__(self, id: i64, time_s: i64, value: i64, args: list[bytes], address: bytes, name: bytes) -> None:
        self.id = id
        self.time_s = time_s
        self.value = value
        self.args = args
        self.address = address
        self.name = name


@final
class CommandList:
    """One of the three lists. `threshold` is what a value must reach to be kept, -1 for nothing."""

    threshold: i64
    length: i64  # entries kept at most; 0 keeps what is there and takes no more
    entries: deque[Logged]
    next_id: i64

    def __init__(self) -> None:
        self.threshold = -1
        self.length = 128
        self.entries = deque()
        self.next_id = 0

    def wants(self, value: i64) -> bool:
        """Whether a command of this value is to be kept."""
        return 0 <= self.threshold <= value and self.length > 0

    def add(self, time_s: i64, value: i64, args: list[bytes], address: bytes, name: bytes) -> None:
        """Keep a command, its arguments cut to what is shown."""
        self.entries.appendleft(Logged(self.next_id, time_s, value, trimmed(args), address, name))
        self.next_id += 1
        while len(self.entries) > self.length:
            self.entries.pop()

    def newest(self, count: i64) -> list[Logged]:
        """The `count` newest entries, all for -1."""
        if count < 0 or count > len(self.entries):
            return list(self.entries)
        return [self.entries[i] for i in range(count)]


def trimmed(args: list[bytes]) -> list[bytes]:
    """At most 32 arguments of at most 128 bytes each, with a word on what was left out."""
    count: i64 = len(args)
    kept = args if count <= _ARGS else args[: _ARGS - 1]
    shown = [arg if len(arg) <= _BYTES else b"%b... (%d more bytes)" % (arg[:_BYTES], len(arg) - _BYTES)
             for arg in kept]  # fmt: skip
    if count > _ARGS:
        shown.append(b"... (%d more arguments)" % (count - _ARGS + 1))
    return shown


def request_bytes(args: list[bytes], inline: bool) -> i64:
    """How long a request was on the wire: a multibulk of its arguments, or one line with single spaces."""
    count: i64 = len(args)
    total: i64 = count + 1 if inline else 3 + len(b"%d" % count)
    for arg in args:
        size: i64 = len(arg)
        total += size if inline else size + 5 + len(b"%d" % size)
    return total
