"""The pure parts of moving in: where a command goes, what a lane makes of replies, big values in pieces, URLs."""

from __future__ import annotations

import random

import pytest
import trio

from cluster.link import ReplyError
from cluster.slots import key_slot
from node.moving.errors import RestartError, SourceError, UnsupportedError, unwrapped
from node.moving.lane import Item, Lane
from node.moving.route import Way, cut, renamed, route, without_limit
from node.moving.source import Address
from node.moving.spool import SHRINK_FROM, Spool
from node.moving.values import PIECE, commands, is_divisible
from node.types.hash import Hash
from node.types.quicklist import from_items
from node.types.set import set_from_members
from node.types.zset import from_pairs


def words(line: str) -> list[bytes]:
    """A line as arguments."""
    return line.encode().split(b" ")


@pytest.mark.parametrize(
    ("line", "way"),
    [
        ("SET a 1", Way.ONE),
        ("del a", Way.ONE),
        ("DEL a b c", Way.CUT),
        ("MSET a 1 b 2", Way.CUT),
        ("MSET {t}a 1 {t}b 2", Way.ONE),
        ("RENAME a b", Way.GATHER),
        ("SUNIONSTORE a b c", Way.GATHER),
        ("EVALSHA 0123 2 a b x", Way.GATHER),
        ("FLUSHALL", Way.EVERY),
        ("FLUSHDB ASYNC", Way.EVERY),
        ("FUNCTION LOAD code", Way.EVERY),
        ("SCRIPT LOAD x", Way.EVERY),
        ("PUBLISH channel x", Way.ONE),
        ("SPUBLISH channel x", Way.ONE),
        ("PUBLISH __sentinel__:hello x", Way.DROP),
        ("PING", Way.DROP),
        ("REPLCONF GETACK *", Way.DROP),
    ],
)
def test_the_way_into_shards(line: str, way: Way) -> None:
    """By keys where there are some, to all shards where there are none."""
    assert route(words(line), sharded=True).way is way


def test_the_way_into_one_shard() -> None:
    """Everything goes there, whatever its keys."""
    for line in ("DEL a b c", "RENAME a b", "FLUSHALL", "SWAPDB 0 1", "MOVE a 3", "EVAL x 0"):
        assert route(words(line), sharded=False).way is Way.ONE


@pytest.mark.parametrize("line", ["SWAPDB 0 1", "MOVE a 1", "EVAL x 0", "BF.ADD a b", "NONSENSE"])
def test_what_shards_cannot_have(line: str) -> None:
    """Other databases, scripts without keys and commands that nobody here knows."""
    with pytest.raises(UnsupportedError):
        route(words(line), sharded=True)


@pytest.mark.parametrize(
    ("line", "safe"),
    [
        ("SET a 1 PXAT 99", True),
        ("SET a 1 NX", False),
        ("SET a 1 KEEPTTL", False),
        ("DEL a", True),
        ("HSET a f 1", True),
        ("PEXPIREAT a 5", True),
        ("PEXPIREAT a 5 GT", False),
        ("INCR a", False),
        ("RPUSH a 1", False),
        ("ZADD a INCR 1 m", False),
        ("SETRANGE a 1 x", False),
    ],
)
def test_what_may_be_repeated(line: str, safe: bool) -> None:
    """Only what sets or removes whole values or elements, without a condition that the data decide."""
    assert route(words(line), sharded=False).safe is safe


def test_cutting_and_renaming() -> None:
    """A cut command keeps every argument, slot by slot; a renamed one changes its keys alone, wherever they stand."""
    args = words("MSET a 1 b 2 a 3 {a}c 4")
    parts = cut(args)
    assert [key for key, _ in parts] == [b"a", b"b"]
    assert [part for _, part in parts] == [words("MSET a 1 a 3 {a}c 4"), words("MSET b 2")]
    assert all(len({key_slot(key) for key in part[1::2]}) == 1 for _, part in parts)

    way = route(words("ZUNIONSTORE a 3 b a c WEIGHTS 1 2 3"), sharded=True)
    assert [(use.key, use.changes) for use in way.uses] == [(b"a", True), (b"b", False), (b"c", False)]
    assert renamed(words("ZUNIONSTORE a 3 b a c WEIGHTS 1 2 3"), way.uses, [b"x", b"y", b"z"]) == words(
        "ZUNIONSTORE x 3 y x z WEIGHTS 1 2 3"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("XADD k MAXLEN = 5 LIMIT 3 1-1 f v", "XADD k MAXLEN = 5 1-1 f v"),
        ("XADD k NOMKSTREAM MINID = 5-0 LIMIT 3 1-1 limit v", "XADD k NOMKSTREAM MINID = 5-0 1-1 limit v"),
        ("XTRIM k MAXLEN = 5 LIMIT 0", "XTRIM k MAXLEN = 5"),
        ("XADD k MAXLEN ~ 5 LIMIT 3 1-1 f v", None),
        ("XADD k 1-1 maxlen limit", None),
        ("SET limit LIMIT", None),
    ],
)
def test_a_limit_that_only_primaries_may_send(line: str, expected: str | None) -> None:
    """It is taken out of exact trimming, and from nowhere else."""
    assert without_limit(words(line)) == words(expected or line)


def test_pieces_make_the_value_again() -> None:
    """The commands of a big value hold all of its elements, in order, none of them much larger than a piece."""
    rng = random.Random(1)
    items = [b"%d " % n + rng.randbytes(200_000) for n in range(20)]
    hash_ = Hash()
    for number, item in enumerate(items):
        hash_.set(item, b"%d" % number)
    scores = [float(n) for n in range(20)]
    for value, name, expected in (
        (from_items(items), b"RPUSH", items),
        (set_from_members(items), b"SADD", set(items)),
        (from_pairs(items, scores), b"ZADD", [word for n, item in enumerate(items) for word in (b"%d" % n, item)]),
        (hash_, b"HSET", None),
    ):
        assert is_divisible(value)
        made = [args for args, _ in commands(b"key", value)]
        assert len(made) > 3
        assert {args[0] for args in made} == {name}
        assert max(sum(map(len, args)) for args in made) < PIECE + 2 * 200_100
        found = [word for args in made for word in args[2:]]
        if isinstance(expected, set):
            assert (set(found), len(found)) == (expected, len(expected))
        elif expected is not None:
            assert found == expected
        else:
            assert dict(zip(found[::2], found[1::2], strict=True)) == {
                item: b"%d" % number for number, item in enumerate(items)
            }
    assert not is_divisible(b"text")


async def test_a_spool_is_a_queue(tmp_path) -> None:
    """What goes in comes out in order, and the space of what was taken is given back."""
    spool = Spool(tmp_path)
    data = random.Random(2).randbytes(SHRINK_FROM + 12345)
    spool.put(data[:1000])
    assert spool.take() == data[:1000]
    assert spool.take() == b""
    spool.put(data)
    taken = b""
    while piece := spool.take():
        taken += piece
    assert taken == data
    assert spool.received == len(data) + 1000
    with trio.move_on_after(60) as scope:
        spool.put(b"x")
        await spool.wait(600)
    assert not scope.cancelled_caught
    assert spool.take() == b"x"
    spool.close()


def _lane() -> tuple[Lane, list[str]]:
    failures: list[str] = []

    def failed(item: Item, error: ReplyError) -> None:
        failures.append(error.text)

    return Lane("cache-0", failed), failures


def _item(order: int, *, safe: bool = True, db: int = 0, count: int = 1) -> Item:
    item = Item(b"", b"set", b"k", db, safe=safe)
    item.order, item.count = order, count
    return item


def test_replies_find_their_requests() -> None:
    """A SELECT before a change of the database takes a reply of its own; a transaction takes all of its replies."""
    lane, failures = _lane()
    first, second, third = _item(1), _item(2, db=3), _item(3, db=3, count=3)
    for item in (first, second, third):
        lane.put(item)
    for reply in (b"OK", b"OK", b"OK", b"OK", b"QUEUED"):
        lane._take(reply)
    assert [item.done for item in (first, second, third)] == [True, True, False]
    lane._take([b"OK", ReplyError("WRONGTYPE no")])
    assert third.done
    assert failures == ["WRONGTYPE no"]
    assert not lane.due


def test_what_was_not_executed_is_kept_in_order() -> None:
    """Refusals of a node that does not serve are no failures; something executed behind them is noticed."""
    lane, failures = _lane()
    items = [_item(number) for number in range(1, 5)]
    for item in items:
        lane.put(item)
    lane._take(b"OK")
    lane._take(ReplyError("READONLY You can't write against a read only replica."))
    assert not lane.mixed
    lane._take(b"OK")
    assert (lane.mixed, failures) == (True, [])
    assert [item.order for item in lane.oldest()] == [2, 4]
    assert [item.order for item in lane.detach()] == [2, 4]
    assert not lane.due


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host", ("host", 6379, None, None, False)),
        ("rediss://h:p%40ss%3A@host:7000/3", ("host", 7000, "h", "p@ss:", True)),
        ("redis://:secret@[::1]:7000", ("::1", 7000, None, "secret", False)),
        ("valkeys://user:@host", ("host", 6379, "user", "", True)),
    ],
)
def test_urls(url: str, expected: tuple[object, ...]) -> None:
    """User and password are decoded; the password is not shown."""
    address = Address(url)
    assert (address.host, address.port, address.user, address.password, address.tls) == expected
    assert "secret" not in f"{address} {address!r}"


@pytest.mark.parametrize("url", ["host:6379", "http://host", "redis://", "redis://u:sesame@host:port", "-"])
def test_urls_that_are_none(url: str) -> None:
    """The error shows how one looks, and not the password in it."""
    with pytest.raises(SourceError) as caught:
        Address(url)
    assert "redis://user:password@host:6379" in str(caught.value)
    assert "sesame" not in str(caught.value)


async def test_the_gravest_error_of_a_group() -> None:
    """What ends the move goes before what would only begin it anew; errors of ours stay in their group."""

    async def fail(*errors: BaseException) -> None:
        raise ExceptionGroup("nursery", [ExceptionGroup("inner", [errors[0]]), *errors[1:]])  # type: ignore[list-item]

    with pytest.raises(SourceError):
        await unwrapped(fail, RestartError("again"), SourceError("refused"))
    with pytest.raises(ExceptionGroup):
        await unwrapped(fail, RestartError("again"), ValueError("a bug"))
