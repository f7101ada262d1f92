"""Lists against a plain Python list, at every threshold of entries and nodes."""

import random

import pytest

from node.types.listnode import LIMITS
from node.types.quicklist import List, from_items, from_nodes


def _value(chance: random.Random) -> bytes:
    kind = chance.random()
    if kind < 0.3:
        return b"%d" % chance.choice([0, 5, 127, 128, -1, 4095, -4096, 70000, -9999999, 2**31, 2**60])
    if kind < 0.9:
        return chance.choice([b"a", b"b", b"c"]) * chance.choice([0, 1, 5, 63, 64, 100, 300])
    return b"z" * chance.choice([4000, 4095, 4096, 5000, 8191, 8192, 8193, 20000])


def _check(values: List, model: list[bytes]) -> None:
    assert values.length == len(model)
    assert values.items() == model
    assert all(node.count > 0 for node in values.nodes)
    assert values.weight == sum(node.size() for node in values.nodes)
    assert not values.small or (values.packed and not values.nodes)
    assert not values.packed or len(values.nodes) <= 1


def _change_ends(values: List, model: list[bytes], value: bytes, chance: random.Random) -> None:
    left = chance.random() < 0.5
    if chance.random() < 0.7 or not model:
        values.before_adding([value], 0, 0)
        values.push(value, left)
        model.insert(0 if left else len(model), value)
        return
    assert values.pop(left) == model.pop(0 if left else -1)
    values.after_removing()


def _change_inside(values: List, model: list[bytes], value: bytes, chance: random.Random) -> None:
    index = chance.randrange(-len(model), len(model))
    values.before_adding([value], 0, 0)
    if chance.random() < 0.5:
        assert values.set(index, value)
        model[index] = value
        values.after_removing()
        return
    pivot, after = model[index], chance.random() < 0.5
    assert values.insert(pivot, value, after)
    model.insert(model.index(pivot) + after, value)


def _remove(values: List, model: list[bytes], chance: random.Random) -> None:
    value, limit = chance.choice(model), chance.choice([0, 1, -1, 2, -2])
    places = [index for index, other in enumerate(model) if other == value]
    places = places[:limit] if limit > 0 else places[limit:] if limit < 0 else places
    assert values.remove(value, limit) == len(places)
    for index in reversed(places):
        del model[index]
    values.after_removing()


def _ask(values: List, model: list[bytes], chance: random.Random) -> None:
    index = chance.randrange(-len(model), len(model))
    assert values.element(index) == model[index]
    assert values.element(len(model)) is None
    start = chance.randrange(len(model))
    stop = chance.randrange(start, len(model) + 1)
    assert values.slice(start, stop) == model[start:stop]
    places = [place for place, other in enumerate(model) if other == model[index]]
    bound = chance.randrange(1, len(model) + 2)
    assert values.positions(model[index], 1, 0, 0) == places
    assert values.positions(model[index], -1, 0, 0) == places[::-1]
    assert values.positions(model[index], 2, 1, 0) == places[1:2]
    assert values.positions(model[index], 1, 0, bound) == [place for place in places if place < bound]
    near = [place for place in places[::-1] if len(model) - place <= bound]
    assert values.positions(model[index], -1, 0, bound) == near


@pytest.fixture(params=[-2, -1, 3, 0])
def limit(request: pytest.FixtureRequest) -> int:
    """Each kind of `list-max-listpack-size`."""
    LIMITS.fill = request.param
    return LIMITS.fill


@pytest.mark.parametrize("seed", range(4))
def test_random_changes_agree_with_a_list(limit: int, seed: int) -> None:
    """Every operation leaves what the same one leaves in a Python list, whatever the nodes look like."""
    chance = random.Random(seed)
    values = List()
    model: list[bytes] = []
    for step in range(500):
        kind = chance.random()
        if kind < 0.6 or not model:
            _change_ends(values, model, _value(chance), chance)
        elif kind < 0.85:
            _change_inside(values, model, _value(chance), chance)
        else:
            _remove(values, model, chance)
        if step % 5 == 0:
            _check(values, model)
            if model:
                _ask(values, model, chance)
    _check(values, model)
    _check(values.copy(), model)
    _check(from_nodes(values.to_nodes()), model)
    _check(from_items(model), model)


def test_trim_at_every_place() -> None:
    """What is kept by a trim is the slice, for all ends near node boundaries."""
    items = [b"%d" % n * 40 for n in range(200)]
    for start in (0, 1, 49, 50, 51, 99, 199):
        for stop in (0, 1, 50, 100, 101, 199, 200):
            values = from_items(items)
            values.trim(start, stop) if start < stop else values.trim(0, 0)
            _check(values, items[start:stop])


def test_encoding_follows_the_thresholds() -> None:
    """Above 8 KB a quicklist, at half of that a listpack again."""
    values = List()
    for _ in range(81):
        values.before_adding([b"x" * 98], 0, 0)
        values.push_right(b"x" * 98)
    assert values.encoding() == b"listpack"

    values.before_adding([b"x" * 98], 0, 0)
    values.push_right(b"x" * 98)
    assert values.encoding() == b"quicklist"

    while values.encoding() == b"quicklist":
        values.pop_right()
        values.after_removing()
    assert 3900 < values.weight <= 4096


def test_a_large_element_is_alone() -> None:
    """An element beyond the limit gets a plain node, which is stored as it is."""
    values = from_items([b"a", b"b" * 9000, b"c"])

    assert [(plain, len(data)) for plain, data in values.to_nodes()] == [(False, 10), (True, 9000), (False, 10)]


def test_changes_of_a_copy_stay_its_own() -> None:
    """A snapshot's copy is not touched by later writes to either."""
    values = from_items([b"%d" % n for n in range(3000)])
    twin = values.copy()
    values.push_left(b"x")
    values.pop_right()
    twin.push_right(b"y")

    assert values.items() == [b"x", *[b"%d" % n for n in range(2999)]]
    assert twin.items() == [*[b"%d" % n for n in range(3000)], b"y"]
