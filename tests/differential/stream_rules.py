"""When replies about streams agree: times of delivery and idleness are those of two clocks, the rest is equal.

Times agree within `SLACK` ms; dumps agree when they are equal but for the times in them.
"""

from __future__ import annotations

from collections.abc import Callable

from node.rdb.decode import restore
from node.rdb.encode import dump
from node.rdb.reader import RdbError
from node.types.stream import Stream

SLACK = 20_000
NOW = 1_500_000_000_000  # integers above it are taken for times
_CLOCKS = {b"idle", b"inactive", b"seen-time", b"active-time"}
STREAM_DUMP = b"\x15"


def _times(a: object, b: object, least: int) -> bool:
    """Whether two integer replies are times that are close, neither below `least`."""
    if not (isinstance(a, list) and isinstance(b, list) and a[0] == b[0] == b":"):
        return False
    one, other = int(a[1]), int(b[1])
    return one == other or (min(one, other) >= least and abs(one - other) <= SLACK)


def _alike(a: object, b: object, part: Callable[[list[object], int], bool]) -> bool:
    """Whether two replies are equal but for times; `part` tells which elements of an array are small times."""
    if a == b:
        return True
    if not (isinstance(a, list) and isinstance(b, list)) or a[0] != b[0] or len(a) != len(b):
        return False
    if a[0] == b":":
        return _times(a, b, NOW)
    if a[0] not in (b"*", b"%", b"~"):
        return False
    return all(
        _alike(a[i], b[i], part) or (part(a, i) and _times(a[i], b[i], 0)) for i in range(1, len(a))
    )


def _pending_idle(array: list[object], index: int) -> bool:
    return len(array) == 5 and index == 3


def _labelled_clock(array: list[object], index: int) -> bool:
    label = array[index - 1]
    return isinstance(label, list) and len(label) == 2 and label[1] in _CLOCKS


def agree_on_streams(name: bytes, theirs: list[object], ours: list[object]) -> bool:
    """Whether the replies of XPENDING and XINFO agree."""
    return _alike(theirs, ours, _pending_idle if name == b"xpending" else _labelled_clock)


def timeless(payload: bytes) -> bytes:
    """The DUMP payload of a stream with every time in it set to nothing."""
    value = restore(payload)
    assert isinstance(value, Stream)
    for group in value.groups.values():
        for pending in group.pending.values():
            pending.delivered_ms = 0
        for consumer in group.consumers.values():
            consumer.seen_ms = 0
            consumer.active_ms = min(consumer.active_ms, 0)
    return dump(value)[:-10]


def stream_dumps_agree(theirs: bytes, ours: bytes) -> bool:
    """Whether two payloads hold the same stream, laid out the same; what we can't read does not agree."""
    try:
        return len(theirs) == len(ours) and timeless(theirs) == timeless(ours)
    except RdbError:
        return False
