"""Costs that do not grow with the size of a value, shown by what is visited rather than by clocks."""

from __future__ import annotations

import random

from node.expire import Renewal
from node.keyspace import Value
from node.reaper import BIG
from node.slotmap import SlotMap
from node.store import PlainStore
from node.types.quicklist import List, from_items
from node.types.set import Set, set_from_members
from node.types.stream import Stream, radix_nodes
from node.types.zset import ZSet, from_scores

MANY = 20_000
PART = 512  # no part of a table holds more, whatever its number of entries


def big_set() -> Set:
    """A set whose table has many parts."""
    return set_from_members([b"member:%d" % i for i in range(MANY)])


def big_zset() -> ZSet:
    """A sorted set of many blocks."""
    return from_scores({b"member:%d" % i: float(i) for i in range(MANY)})


def test_members_come_in_small_portions() -> None:
    """Who needs ten members of a set does not list all of them, and all portions together are the set."""
    value = big_set()
    portions = [value.portion(i) for i in range(value.portions())]
    assert max(len(portion) for portion in portions) <= PART
    assert sorted(member for portion in portions for member in portion) == sorted(value.members())


def test_a_union_with_a_giant_shares_its_parts() -> None:
    """What is stored from a large set is a copy that shares all parts but those that were changed; neither disturbs the
    other.
    """
    large = big_set()
    union = large.copy()
    union.add(b"new")
    shared = sum(a is b for a, b in zip(large.table.parts, union.table.parts, strict=True))
    assert shared == large.portions() - 1
    large.remove(b"member:7")
    assert (large.count(), union.count()) == (MANY - 1, MANY + 1)
    assert union.has(b"member:7") and not large.has(b"new")


def test_a_pick_of_a_few_visits_no_others() -> None:
    """A few members are picked by chance from parts, each once, with their scores; more than there are is all."""
    value = big_zset()
    for number in (0, 1, 7, 300, MANY // 2, MANY, MANY + 5):
        members: list[bytes] = []
        scores: list[float] = []
        value.pick(random.Random(number), number, members, scores)
        assert len(set(members)) == len(members) == len(scores) == min(number, MANY)
        assert all(member == b"member:%d" % int(score) for member, score in zip(members, scores, strict=True))


def test_picks_are_even() -> None:
    """Over many picks each member comes up about as often as the others (chi square, 60 degrees of freedom)."""
    for value in (big_zset(), from_scores({b"member:%d" % i: float(i) for i in range(61)})):
        rng = random.Random(11)
        seen = [0] * 61
        for _ in range(3000):
            members: list[bytes] = []
            value.pick(rng, 10, members, [])
            for member in members:
                seen[int(member[7:]) % 61] += 1
        expected = 30000 / 61
        assert sum((n - expected) ** 2 / expected for n in seen) < 130


def test_the_weight_of_a_list_is_kept_in_step() -> None:
    """Trimming, setting, inserting and removing count what they change; the sum over all nodes agrees."""
    rng = random.Random(5)
    value = from_items([b"%d" % i * rng.randrange(1, 9) for i in range(MANY)])
    for step in range(300):
        size = value.length
        match step % 6:
            case 0:
                value.trim(rng.randrange(3), size - rng.randrange(3))
            case 1:
                value.set(rng.randrange(size), b"x" * rng.randrange(30))
            case 2:
                value.insert(value.slice(size // 2, size // 2 + 1)[0], b"new%d" % step, step % 4 == 0)
            case 3:
                value.remove(value.slice(5, 6)[0], rng.choice([1, -1, 2, -2]))
            case 4:
                value.push_left(b"y" * rng.randrange(20))
            case _:
                value.trim(rng.randrange(120), size)
        weigh(value)


def weigh(value: List) -> None:
    """Compare a list's accounts with its nodes."""
    assert value.weight == sum(node.size() for node in value.nodes)
    assert value.length == sum(node.count for node in value.nodes)


def test_a_new_wheel_is_made_in_small_steps() -> None:
    """Each step takes over the keys of one part of the table, also when all keys share a slot; none is lost."""
    for slots in (1, 300):
        expiry = SlotMap()
        for i in range(MANY):
            expiry.put(i % slots, b"key:%d" % i, 1000 + i)
        renewal = Renewal()
        done = False
        while not done:
            before = renewal.wheel.size
            done = renewal.step(expiry)
            assert renewal.wheel.size - before <= 4 * PART
        found = set()
        while (entry := renewal.wheel.pop_due(1 << 40)) is not None:
            found.add(entry.key)
        assert found == {b"key:%d" % i for i in range(MANY)}


def test_keys_deleted_and_set_again_expire_all() -> None:
    """The wheel that fills with entries of no use is made anew between writes, and every key expires in its time."""
    store = PlainStore(1)
    now = 1_000_000
    store.tick(now, 0)
    renewed = 0
    for i in range(6 * 3000):
        now += 1
        store.tick(now, 0)
        before = store.wheel
        name = i % 3000
        store.delete(name % 64, b"session:%d" % name)
        store.set_until(name % 64, b"session:%d" % name, b"x", now + 20_000 + i % 7)
        renewed += store.wheel is not before
        assert store.wheel.size <= 4 * 3000 + 4096
    assert renewed > 0
    assert store.volatile_count() == 3000
    store.tick(now + 40_000, 0)
    while store.expire_due(1000):
        pass
    assert (store.count(), store.volatile_count()) == (0, 0)


def test_what_is_replaced_is_freed_in_slices() -> None:
    """A giant that another value takes the place of waits for the reaper instead of being freed at once."""
    giants: list[Value] = [big_set(), big_zset(), from_items([b"x" * 20] * MANY)]
    for giant in giants:
        assert giant.used_bytes() > BIG
        store = PlainStore(1)
        store.put(5, b"a", giant)
        store.put(5, b"a", Set())
        slices = 0
        while store.reap(8):
            slices += 1
        assert slices > 0


def test_the_tree_of_a_stream_is_counted_when_it_changed() -> None:
    """The remembered number of nodes is that of the blocks, whichever blocks came and went between two questions."""
    rng = random.Random(3)
    value = Stream()
    for id in range(1, 6000):
        value.append(id << 64, [b"f", b"x" * 300], 0)
        if rng.random() < 0.3:
            value.delete(rng.randrange(1, id + 1) << 64)
        if rng.random() < 0.02:
            value.trim_length(rng.randrange(1, 3000), True, 0)
        if rng.random() < 0.2:
            assert value.tree_nodes() == radix_nodes(value.masters)


def test_small_databases_are_freed_at_once_when_emptied() -> None:
    """Tables of a few keys do not wait for the reaper, or flushing often would pile up tables of slots."""
    store = PlainStore(1)
    store.set(5, b"text", b"x")
    store.put(6, b"giant", from_items([b"x" * 100] * 3000))

    store.clear()

    assert store.dead.free(1)  # the giant's nodes alone are left
    assert not store.dead.free(100)
