"""The hash type against a dict: contents, encodings, accounts of memory, forms from outside."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.types import listpack
from node.types.hash import Hash, hash_from_flat, hash_from_listpack
from node.types.leaf import TEXT
from node.types.scan import ScanDict

texts = st.one_of(st.integers(0, 40).map(lambda n: b"f%d" % n), st.binary(max_size=3), st.just(b"x" * 64))
steps = st.lists(st.tuples(texts, st.none() | texts), max_size=60)


@settings(deadline=None)
@given(steps, st.booleans())
def test_it_is_a_dict(changes: list[tuple[bytes, bytes | None]], big: bool) -> None:
    """Setting and removing fields leaves what a dict holds, in both encodings."""
    value, model = Hash(), {}
    if big:
        value.unpack()
    for field, text in changes:
        if text is None:
            assert value.delete(field) == (model.pop(field, None) is not None)
        else:
            assert value.set(field, text) == (field not in model)
            model[field] = text
        assert value.get(field) == model.get(field)
        assert value.has(field) == (field in model)
        assert value.count() == len(model)
    assert dict(zip(value.fields(), value.values(), strict=True)) == model
    flat = value.flat()
    assert dict(zip(flat[::2], flat[1::2], strict=True)) == model
    assert value.encoding() == (b"hashtable" if big else b"listpack")
    if big:
        assert value.table is not None
        assert value.table.weight == sum(part.weight() for part in value.table.parts)


def test_the_listpack_ends_where_valkeys_does() -> None:
    """513 fields, or 65 bytes of field or value, make a table, and it stays one."""
    value = Hash()
    for i in range(512):
        value.set(b"%d" % i, b"x")
    assert value.encoding() == b"listpack"
    value.set(b"511", b"y" * 64)
    assert value.encoding() == b"listpack"
    value.set(b"512", b"x")
    assert value.encoding() == b"hashtable"
    assert value.get(b"511") == b"y" * 64
    for i in range(513):
        value.delete(b"%d" % i)
    assert value.encoding() == b"hashtable"
    assert value.weight == 0
    assert value.table is not None
    assert value.table.weight == ScanDict(TEXT).weight
    for field, text in ((b"f" * 65, b"x"), (b"f", b"x" * 65)):
        value = Hash()
        value.set(field, text)
        assert value.encoding() == b"hashtable"
        assert value.get(field) == text


def test_arguments_decide_in_advance() -> None:
    """A command with too many or too long arguments makes a table before it sets anything, as in Valkey."""
    value = Hash()
    value.expect([b"hset", b"k"] + [b"f", b"v"] * 512, 2)
    assert value.encoding() == b"listpack"
    value.expect([b"hset", b"k"] + [b"f", b"v"] * 513, 2)
    assert value.encoding() == b"hashtable"


def test_copies_are_independent() -> None:
    """A change of the one is not seen in the other."""
    for size in (3, 600):
        value = hash_from_flat([x for i in range(size) for x in (b"f%d" % i, b"v")])
        twin = value.copy()
        twin.set(b"f1", b"other")
        twin.delete(b"f2")
        assert value.get(b"f1") == b"v"
        assert value.count() == size
        assert twin.count() == size - 1
        assert twin.encoding() == value.encoding()


@pytest.mark.parametrize("items", [[], [b"a"], [b"a", b"1", b"a", b"2"]])
def test_listpacks_that_are_no_hash(items: list[bytes]) -> None:
    """Nothing, a field without value, or a field twice: refused."""
    with pytest.raises(listpack.CorruptListpack):
        hash_from_listpack(listpack.build(items))


def test_listpacks_from_outside_are_kept_as_they_are() -> None:
    """The bytes that came are the bytes that will be dumped; one that is too long becomes a table."""
    packed = listpack.build([b"b", b"1", b"a", b"x" * 100])
    value = hash_from_listpack(packed)
    assert value.packed == packed
    assert value.get(b"a") == b"x" * 100
    long = hash_from_listpack(listpack.build([x for i in range(600) for x in (b"%d" % i, b"v")]))
    assert long.encoding() == b"hashtable"
    assert long.count() == 600


@pytest.mark.parametrize("size", [10, 900])
@pytest.mark.parametrize("number", [1, 3, 8, 9])
def test_random_pairs_are_even(size: int, number: int) -> None:
    """Each field is drawn about as often, however many are asked for at once."""
    value, rng = hash_from_flat([x for i in range(size) for x in (b"f%d" % i, b"v%d" % i)]), random.Random(3)
    number = number * size // 10
    rounds = 40000 // max(number, 1)
    drawn = dict.fromkeys(value.fields(), 0)
    for _ in range(rounds):
        flat = value.random_pairs(rng, number, True)
        assert len(set(flat[::2])) == number
        for field in flat[::2]:
            drawn[field] += 1
    mean = rounds * number / size
    chi = sum((n - mean) ** 2 / mean for n in drawn.values())
    assert chi < size + 6 * (2 * size) ** 0.5
