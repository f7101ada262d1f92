"""Times of hash fields: what is hidden, when it is looked at, and what is removed; freeing in slices."""

from __future__ import annotations

import random

from node.expire import Inside
from node.keyspace import Value
from node.reaper import BIG, Reaper
from node.store import PlainStore
from node.types.fieldtimes import FieldTimes
from node.types.hash import Hash
from node.types.quicklist import from_items
from node.types.set import set_from_members
from node.types.zset import from_scores


def timed(count: int, at: int) -> Hash:
    """A hash all of whose fields expire at a time."""
    value = Hash()
    for number in range(count):
        value.set(b"f%d" % number, b"v")
        value.expire(b"f%d" % number, at)
    return value


def test_expired_fields_are_hidden_and_counted() -> None:
    """A field lives in its last millisecond and is hidden after it, but HLEN counts it until it is removed."""
    value = timed(2, 1000)
    value.set(b"live", b"1")
    value.stamp(1000)
    assert value.get(b"f0") == b"v"
    value.stamp(1001)
    assert (value.get(b"f0"), value.has(b"f0"), value.expires(b"f0")) == (None, False, -1)
    assert (value.flat(), value.fields(), value.values(), value.count()) == ([b"live", b"1"], [b"live"], [b"1"], 3)
    assert len(value.pairs()) == 6
    assert value.random_pairs(random.Random(1), 5, False)[::2] == [b"live"] * 5
    assert not value.delete(b"f0")
    assert value.set(b"f1", b"again")
    times = value.times()
    assert times is not None
    assert times.revived


def test_bytes_are_accounted_for() -> None:
    """Whatever is done with times, the hash weighs as much afterwards as its table alone."""
    plain = Hash()
    plain.unpack()
    value = Hash()
    value.set(b"a", b"1")
    value.expire(b"a", 5)
    value.expire(b"a", 7)
    value.persist(b"a")
    for field in (b"b", b"c", b"d", b"e"):
        value.set(field, b"2")
        value.expire(field, 100)
    value.set(b"b", b"3")
    value.delete(b"b")
    value.delete(b"c")
    value.stamp(200)
    assert value.delete_expired(b"d")
    out: list[bytes] = []
    value.expire_inside(1000, 10, out)
    assert out == [b"e"]
    assert plain.table is not None
    assert value.table is not None
    assert value.used_bytes() - value.table.used_bytes() == plain.used_bytes() - plain.table.used_bytes()


def test_the_last_time_that_can_be_told_never_comes() -> None:
    """A field that expires at the end of all time waits, and keeps nobody busy meanwhile."""
    for at in ((1 << 63) - 1, 1 << 62, (1 << 62) - 1):
        value = Hash()
        value.set(b"a", b"1")
        value.expire(b"a", at)
        out: list[bytes] = []
        assert not value.expire_inside(1 << 41, 10, out)
        assert value.next_due() > 1 << 61
        assert (out, value.expires(b"a")) == ([], at)


def test_the_queue_gives_each_due_field_once() -> None:
    """Random changes of times against a plain dict: what is due comes, what is not does not, dead entries go away."""
    rng = random.Random(5)
    times, model, now = FieldTimes(), dict[bytes, int](), 0
    for _ in range(4000):
        field = b"%d" % rng.randrange(60)
        if rng.random() < 0.7:
            at = now + rng.randrange(1, 3000)
            times.put(field, at)
            model[field] = at
        else:
            assert times.drop(field) == (model.pop(field, None) is not None)
        if rng.random() < 0.2:
            now += rng.randrange(400)
            while (due := times.pop_due(now)) is not None:
                assert model.pop(due) < now
                times.drop(due)
            assert all(at >= now - 128 for at in model.values())
        if model:
            assert 0 < times.next_due() <= (min(model.values()) // 128 + 1) * 128
        else:
            assert times.next_due() == 0
    assert sum(len(fields) for fields in times._ticks.values()) <= len(model) * 2 + 65


def test_a_store_takes_fields_in_slices() -> None:
    """Active expiry removes a bounded number at a time, the last with the key; what was replaced is left alone."""
    store = PlainStore(1)
    store.tick(0, 0)
    store.put(1, b"h", timed(100, 500))
    store.put(2, b"other", timed(3, 10_000))
    assert store.inside_count() == 2
    assert store.expire_inside(64) is None
    store.tick(2000, 2)
    first = store.expire_inside(64)
    assert first is not None
    assert (first.key, len(first.elements), first.emptied) == (b"h", 64, False)
    last = store.expire_inside(64)
    assert last is not None
    assert (len(last.elements), last.emptied) == (36, True)
    assert (store.peek(1, b"h"), store.inside_count()) == (None, 1)
    store.set(2, b"other", b"string")
    assert store.inside_count() == 0
    store.tick(20_000, 20)
    assert store.expire_inside(64) is None


def test_a_replica_expires_nothing_inside() -> None:
    """With `keep_expired` fields stay until the primary says so."""
    store = PlainStore(1)
    store.keep_expired = True
    store.put(1, b"h", timed(3, 500))
    store.tick(2000, 2)
    assert store.expire_inside(64) is None


def test_inside_forgets_dead_entries() -> None:
    """A key whose time changes again and again does not fill the wheel."""
    inside = Inside()
    for at in range(1, 20_000):
        inside.arm(0, b"k", at)
    assert inside.wheel.size < 3000


def big_values() -> list[Value]:
    """One big value of each type."""
    names = [b"member:%d" % number for number in range(12_000)]
    table = Hash()
    for name in names:
        table.set(name, name)
    return [table, set_from_members(names), from_scores(dict.fromkeys(names, 1.0)), from_items(names * 3)]


def test_big_values_are_freed_in_slices() -> None:
    """Deleted and flushed containers are taken apart in pieces until nothing is left; small ones cost nothing."""
    for value in big_values():
        assert value.used_bytes() > BIG
        reaper = Reaper()
        reaper.bury(value)
        rounds = 0
        while reaper.free(4):
            rounds += 1
        assert rounds > 1
    store = PlainStore(1)
    for number, value in enumerate(big_values()):
        store.put(number, b"k%d" % number, value)
    for number in range(3000):
        store.set_until(7, b"s%d" % number, b"v", 10**15)
    assert store.discard(0, b"k0")
    store.clear()
    assert (store.count(), store.used_bytes()) == (0, 0)
    rounds = 0
    while store.reap(8):
        rounds += 1
    assert rounds > 20
    small = Hash()
    small.set(b"a", b"b")
    store.put(1, b"small", small)
    store.discard(1, b"small")
    assert not store.reap(1)
