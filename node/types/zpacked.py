"""A small sorted set as listpack bytes: member, score, member, score, … in the order of (score, member).

A score that is an integer is stored as one, any other in the text of `format_double`, as Valkey does. Positions are
byte offsets of members; an update builds new bytes.
"""

from mypy_extensions import i64

from node.numbers import format_double
from node.types import listpack


def find(lp: bytes, member: bytes) -> i64:
    """The position of a member, listpack.NOT_FOUND when it is not there."""
    return listpack.find(lp, listpack.entry(member), 2)


def _score_here(lp: bytes, pos: i64) -> float:
    if listpack.is_number(lp, pos):
        return float(listpack.number_at(lp, pos))
    return float(listpack.at(lp, pos))


def score_of(lp: bytes, pos: i64) -> float:
    """The score of the member at `pos`."""
    return _score_here(lp, listpack.skip(lp, pos))


def insert(lp: bytes, score: float, member: bytes) -> bytes:
    """With one member more, which is not there yet."""
    pos: i64 = listpack.FIRST
    stop: i64 = len(lp) - 1
    while pos < stop:
        at_score = listpack.skip(lp, pos)
        there = _score_here(lp, at_score)
        if there > score or (there == score and listpack.at(lp, pos) > member):
            break
        pos = listpack.skip(lp, at_score)
    return listpack.splice(lp, pos, pos, _entries(score, member), 2)


def build(members: list[bytes], scores: list[float]) -> bytes:
    """The listpack of members in order."""
    items: list[bytes] = []
    i: i64 = 0
    while i < len(members):
        items.append(members[i])
        items.append(format_double(scores[i] + 0.0))
        i += 1
    return listpack.build(items)


def _entries(score: float, member: bytes) -> bytes:
    return listpack.entry_pair(member, format_double(score + 0.0))  # -0 becomes the integer 0


def remove(lp: bytes, pos: i64) -> bytes:
    """Without the member at `pos`."""
    return listpack.delete(lp, pos, 2)


def rank_at(lp: bytes, pos: i64) -> i64:
    """How many members stand before `pos`."""
    here: i64 = listpack.FIRST
    rank: i64 = 0
    while here < pos:
        here = listpack.skip(lp, listpack.skip(lp, here))
        rank += 1
    return rank


def below(lp: bytes, score: float, inclusive: bool) -> i64:
    """How many members have a score lower than `score`, or with `inclusive` not higher."""
    pos: i64 = listpack.FIRST
    stop: i64 = len(lp) - 1
    rank: i64 = 0
    while pos < stop:
        pos = listpack.skip(lp, pos)
        there = _score_here(lp, pos)
        if there > score or (there == score and not inclusive):
            break
        pos = listpack.skip(lp, pos)
        rank += 1
    return rank


def lex_below(lp: bytes, bound: bytes, inclusive: bool) -> i64:
    """How many members from the first are below `bound`, or with `inclusive` not above it."""
    pos: i64 = listpack.FIRST
    stop: i64 = len(lp) - 1
    rank: i64 = 0
    while pos < stop:
        there = listpack.at(lp, pos)
        if there > bound or (there == bound and not inclusive):
            break
        pos = listpack.skip(lp, listpack.skip(lp, pos))
        rank += 1
    return rank


def collect(lp: bytes, start: i64, stop: i64, members: list[bytes] | None, scores: list[float] | None) -> None:
    """Append the elements of ranks start to stop (exclusive, both within bounds) to the lists that are given."""
    if start >= stop:
        return
    pos = listpack.seek(lp, start * 2)
    while start < stop:
        if members is not None:
            members.append(listpack.at(lp, pos))
        pos = listpack.skip(lp, pos)
        if scores is not None:
            scores.append(_score_here(lp, pos))
        pos = listpack.skip(lp, pos)
        start += 1


def remove_range(lp: bytes, start: i64, stop: i64) -> bytes:
    """Without the members of ranks start to stop (exclusive, both within bounds)."""
    if start >= stop:
        return lp
    return listpack.delete(lp, listpack.seek(lp, start * 2), (stop - start) * 2)
