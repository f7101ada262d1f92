"""One command for many shards, many replies for one client: how a command is cut and how the answers are put together.

Pure functions over encoded requests and replies. The response policies are those of Valkey's command tips.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cluster.resp.encode import encode_request
from cluster.slots import key_slot
from proxy.skipper import bulk_text, elements
from proxy.texts import BAD_CURSOR

Merge = Callable[[list[bytes]], bytes]

SHARD_BITS: Final = 10  # of a SCAN cursor: the shard in the low bits, the node's own cursor above
_CURSOR_MAX: Final = 2**64


def split_keys(args: list[bytes], step: int) -> list[tuple[int, list[int]]]:
    """Slots of a multi-key command and, for each, the places (in `args`) of its keys, in order of first appearance.

    By slot and not by shard, because a node refuses keys of different slots in one command even when it has both.
    """
    by_slot: dict[int, list[int]] = {}
    for place in range(1, len(args), step):
        by_slot.setdefault(int(key_slot(args[place])), []).append(place)
    return list(by_slot.items())


def part_request(args: list[bytes], places: list[int], step: int) -> bytes:
    """The request for one slot: the command's name and its keys with what belongs to each."""
    words = [args[0]]
    for place in places:
        words += args[place : place + step]
    return encode_request(words)


def msetex_parts(args: list[bytes]) -> list[tuple[int, bytes]]:
    """Slots and requests of a well-formed `MSETEX numkeys key value … [option …]` that may be cut: each part carries
    the options. None at all when a condition on all keys (NX, XX) or a missing value makes that impossible.
    """
    end = 2 + 2 * int(args[1])
    options = args[end:]
    if end > len(args) or any(option.lower() in (b"nx", b"xx") for option in options):
        return []
    by_slot: dict[int, list[bytes]] = {}
    for place in range(2, end, 2):
        by_slot.setdefault(int(key_slot(args[place])), []).extend(args[place : place + 2])
    return [
        (slot, encode_request([args[0], b"%d" % (len(pairs) // 2), *pairs, *options]))
        for slot, pairs in by_slot.items()
    ]


class InOrder:
    """Merges MGET: each part's elements go back to the places of their keys."""

    def __init__(self, parts: list[list[int]]) -> None:
        self.parts = parts

    def __call__(self, replies: list[bytes]) -> bytes:
        """One array in the order of the keys; an error when a part failed."""
        failed = first_error(replies)
        if failed:
            return failed
        total = sum([len(part) for part in self.parts])
        merged = [b""] * total
        for part, reply in zip(self.parts, replies, strict=True):
            for place, element in zip(part, elements(reply), strict=True):
                merged[place - 1] = element
        return b"*%d\r\n" % total + b"".join(merged)


def first_error(replies: list[bytes]) -> bytes:
    """The first reply that is an error, b"" when there is none."""
    for reply in replies:
        if reply.startswith(b"-"):
            return reply
    return b""


def all_succeeded(replies: list[bytes]) -> bytes:
    """The first error, else the first reply."""
    return first_error(replies) or replies[0]


def one_succeeded(replies: list[bytes]) -> bytes:
    """The first reply that is no error, else the first error."""
    for reply in replies:
        if not reply.startswith(b"-"):
            return reply
    return replies[0]


def _numbers(reply: bytes) -> list[int]:
    """The integers of a reply: one, or an array's."""
    if reply.startswith(b":"):
        return [int(reply[1:-2])]
    return [int(element[1:-2]) for element in elements(reply)]


def _columns(replies: list[bytes], reduce: Callable[[list[int]], int]) -> bytes:
    """Reduce integers, or arrays of integers place by place."""
    failed = first_error(replies)
    if failed:
        return failed
    rows = [_numbers(reply) for reply in replies]
    merged = [reduce(list(column)) for column in zip(*rows, strict=True)]
    body = b"".join([b":%d\r\n" % n for n in merged])
    return body if replies[0].startswith(b":") else b"*%d\r\n" % len(merged) + body


def agg_sum(replies: list[bytes]) -> bytes:
    """The sum."""
    return _columns(replies, sum)


def agg_min(replies: list[bytes]) -> bytes:
    """The smallest."""
    return _columns(replies, min)


def agg_max(replies: list[bytes]) -> bytes:
    """The largest."""
    return _columns(replies, max)


def _all(column: list[int]) -> int:
    return int(all(column))


def _any(column: list[int]) -> int:
    return int(any(column))


def agg_and(replies: list[bytes]) -> bytes:
    """1 where all say 1."""
    return _columns(replies, _all)


def agg_or(replies: list[bytes]) -> bytes:
    """1 where one says 1."""
    return _columns(replies, _any)


def concatenated(replies: list[bytes]) -> bytes:
    """The elements of all arrays in one; for replies that are no arrays, the first."""
    failed = first_error(replies)
    if failed:
        return failed
    if replies[0][:1] not in (b"*", b"~"):
        return replies[0]
    parts = [elements(reply) for reply in replies]
    total = sum([len(part) for part in parts])
    return replies[0][:1] + b"%d\r\n" % total + b"".join([b"".join(part) for part in parts])


def united(replies: list[bytes]) -> bytes:
    """As `concatenated`, each element once."""
    failed = first_error(replies)
    if failed:
        return failed
    seen = dict.fromkeys([element for reply in replies for element in elements(reply)])
    return replies[0][:1] + b"%d\r\n" % len(seen) + b"".join(seen)


def summed_pairs(replies: list[bytes]) -> bytes:
    """Arrays of name, count, name, count …: the counts of the same place are added (PUBSUB NUMSUB)."""
    failed = first_error(replies)
    if failed:
        return failed
    rows = [elements(reply) for reply in replies]
    merged = list(rows[0])
    for place in range(1, len(merged), 2):
        merged[place] = b":%d\r\n" % sum([int(row[place][1:-2]) for row in rows])
    return replies[0][:1] + b"%d\r\n" % len(merged) + b"".join(merged)


_POLICIES: Final[dict[str, Merge]] = {
    "all_succeeded": all_succeeded,
    "one_succeeded": one_succeeded,
    "agg_sum": agg_sum,
    "agg_min": agg_min,
    "agg_max": agg_max,
    "agg_logical_and": agg_and,
    "agg_logical_or": agg_or,
}


def merge_for(policy: str) -> Merge:
    """The merge of a response policy; commands without one have their arrays put behind each other."""
    return _POLICIES.get(policy, concatenated)


class RandomPick:
    """Merges RANDOMKEY: one of the keys that shards named, chosen by a number that the caller has drawn."""

    def __init__(self, draw: int) -> None:
        self.draw = draw

    def __call__(self, replies: list[bytes]) -> bytes:
        """One of the replies that are no null; null when every shard is empty."""
        failed = first_error(replies)
        if failed:
            return failed
        named = [reply for reply in replies if reply not in (b"$-1\r\n", b"_\r\n")]
        return named[self.draw % len(named)] if named else replies[0]


def read_cursor(text: bytes, shards: int) -> tuple[int, int] | None:
    """Shard and the node's own cursor from the cursor a client gives; None when it is none of ours."""
    if not text.isdigit() or len(text) > 20 or int(text) >= _CURSOR_MAX:
        return None
    shard = int(text) & ((1 << SHARD_BITS) - 1)
    return (shard, int(text) >> SHARD_BITS) if shard < shards else None


class NextCursor:
    """Rewrites the cursor in a SCAN reply: on within the shard, then to the next one, and 0 after the last."""

    def __init__(self, shard: int, shards: int) -> None:
        self.shard = shard
        self.shards = shards

    def __call__(self, replies: list[bytes]) -> bytes:
        """The reply with the client's cursor in it."""
        reply = replies[0]
        if reply.startswith(b"-"):
            return reply
        cursor, keys = elements(reply)
        inner = int(bulk_text(cursor))
        if inner:
            outer = inner << SHARD_BITS | self.shard
        else:
            outer = self.shard + 1 if self.shard + 1 < self.shards else 0
        if outer >= _CURSOR_MAX:
            return BAD_CURSOR
        text = b"%d" % outer
        return b"*2\r\n$%d\r\n%b\r\n%b" % (len(text), text, keys)
