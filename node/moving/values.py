"""A value as commands of bounded size, for those too big to travel as one payload: building one of hundreds of
megabytes would keep its node from everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from node.numbers import format_double
from node.types import listpack
from node.types.hash import Hash
from node.types.quicklist import List
from node.types.set import Set
from node.types.zset import ZSet

BIG: Final = 8 << 20  # bytes of a payload from which on a container goes in pieces
PIECE: Final = 1 << 20  # bytes of arguments of one command
PAYLOAD_MAX: Final = 512 << 20  # bytes of one argument

Words = list[bytes]


def is_divisible(value: object) -> bool:
    """Whether `commands` knows the type."""
    return isinstance(value, Hash | List | Set | ZSet)


def commands(key: bytes, value: object) -> Iterator[tuple[Words, bool]]:
    """The commands that make a value where there is none, each with whether it may be repeated."""
    if isinstance(value, List):
        for part in _parts(_elements(value), 1):
            yield [b"RPUSH", key, *part], False
    elif isinstance(value, Set):
        for part in _parts(value.members(), 1):
            yield [b"SADD", key, *part], True
    elif isinstance(value, ZSet):
        for part in _parts(_scored(value), 2):
            yield [b"ZADD", key, *part], True
    elif isinstance(value, Hash):
        for part in _parts(value.pairs(), 2):
            yield [b"HSET", key, *part], True
        times = value.times()
        for field, at in times.at.items() if times is not None else ():
            yield [b"HPEXPIREAT", key, b"%d" % at, b"FIELDS", b"1", field], True


def _elements(value: List) -> Iterator[bytes]:
    for plain, data in value.to_nodes():
        if plain:
            yield data
        else:
            yield from listpack.decode(data)


def _scored(value: ZSet) -> Iterator[bytes]:
    members: list[bytes] = []
    scores: list[float] = []
    value.collect(0, value.count, members, scores)
    for member, score in zip(members, scores, strict=True):
        yield format_double(score)
        yield member


def _parts(words: Iterable[bytes], step: int) -> Iterator[Words]:
    """Cut into parts of about PIECE bytes, `step` words stay together."""
    part: Words = []
    size = 0
    for word in words:
        part.append(word)
        size += len(word) + 16
        if size >= PIECE and len(part) % step == 0:
            yield part
            part, size = [], 0
    if part:
        yield part
