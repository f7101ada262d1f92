"""The set type and the intset format: contents, encodings, accounts of memory, forms from outside."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.types import intset, listpack
from node.types.set import Set, new_set, set_from_intset, set_from_listpack, set_from_members

integers = st.one_of(st.integers(-40, 40), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**15, -(2**31) - 1]))
members = st.one_of(integers.map(lambda n: b"%d" % n), st.binary(max_size=3), st.just(b"y" * 65))


@given(st.lists(integers, max_size=40), st.lists(integers, max_size=40))
def test_intsets_are_sorted_sets_of_integers(added: list[int], removed: list[int]) -> None:
    """Adding one by one gives the sorted integers; removing leaves the others; what is not there changes nothing."""
    data, model = intset.EMPTY, set()
    for n in added:
        after = intset.add(data, n)
        assert (after is data) == (n in model)
        data, model = after, model | {n}
    for n in removed:
        after = intset.remove(data, n)
        assert (after is data) == (n not in model)
        data, model = after, model - {n}
        assert not intset.has(data, n)
    assert [intset.at(data, i) for i in range(intset.count(data))] == sorted(model)
    assert intset.validate(data) == len(model)
    assert all(intset.has(data, n) for n in model)


def test_golden_bytes_of_an_intset() -> None:
    """The format of RDB files: width, count, ascending integers; wider only when needed."""
    assert intset.build([5, -1]) == bytes.fromhex("02000000 02000000 ffff 0500")
    assert intset.add(intset.build([5]), 70000) == bytes.fromhex("04000000 02000000 05000000 70110100")
    assert intset.build([2**40]) == bytes.fromhex("08000000 01000000 0000000000010000")


@pytest.mark.parametrize(
    "text",
    ["", "02000000", "03000000 00000000", "02000000 02000000 0100", "02000000 02000000 0200 0100",
     "02000000 02000000 0100 0100", "02000000 ffffffff 0100", "02010000 01000000 0100"],
)  # fmt: skip
def test_malformed_intsets_are_refused(text: str) -> None:
    """Wrong width, size or order raises CorruptIntset."""
    with pytest.raises(intset.CorruptIntset):
        intset.validate(bytes.fromhex(text))


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), members), max_size=80))
def test_it_is_a_set(steps: list[tuple[bool, bytes]]) -> None:
    """Adding and removing leaves what a Python set holds, whatever the encoding has become."""
    value, model = Set(), set()
    for add, member in steps:
        if add:
            assert value.add(member) == (member not in model)
            model.add(member)
        else:
            assert value.remove(member) == (member in model)
            model.discard(member)
        assert value.has(member) == (member in model)
        assert value.count() == len(model)
    assert sorted(value.members()) == sorted(model)
    if value.encoding() == b"hashtable":
        assert value.table.weight == sum(part.weight() for part in value.table.parts)
    twin = value.copy()
    twin.add(b"only the twin")
    assert not value.has(b"only the twin")


def test_encodings_change_where_valkeys_do() -> None:
    """512 integers are an intset, 128 words a listpack; more, or 65 bytes, make a table."""
    value = set_from_members([b"%d" % i for i in range(512)])
    assert value.encoding() == b"intset"
    value.add(b"512")
    assert value.encoding() == b"hashtable"
    value = set_from_members([b"%d" % i for i in range(127)])
    value.add(b"word")
    assert value.encoding() == b"listpack"
    value.add(b"another")
    assert value.encoding() == b"hashtable"
    value = set_from_members([b"%d" % i for i in range(128)])
    value.add(b"word")
    assert value.encoding() == b"hashtable"
    value = Set()
    value.add(b"z" * 65)
    assert value.encoding() == b"hashtable"


@pytest.mark.parametrize(
    ("first", "number", "encoding"),
    [(b"1", 512, b"intset"), (b"1", 513, b"hashtable"), (b"x", 128, b"listpack"), (b"x", 129, b"hashtable")],
)
def test_a_new_set_is_encoded_for_what_comes(first: bytes, number: int, encoding: bytes) -> None:
    """The announced number of members decides the first encoding."""
    assert new_set(first, number).encoding() == encoding


def test_packed_forms_from_outside_are_kept() -> None:
    """Intsets and listpacks of files stay as they came when they fit; empty and doubled ones are refused."""
    ints = intset.build([3, 1, 2])
    assert set_from_intset(ints).packed == ints
    assert set_from_intset(ints).members() == [b"1", b"2", b"3"]
    packed = listpack.build([b"b", b"a", b"7"])
    assert set_from_listpack(packed).packed == packed
    assert set_from_intset(intset.build(list(range(600)))).encoding() == b"hashtable"
    assert set_from_listpack(listpack.build([b"%d" % i for i in range(200)])).encoding() == b"hashtable"
    with pytest.raises(intset.CorruptIntset):
        set_from_intset(intset.EMPTY)
    for items in ([], [b"a", b"a"]):
        with pytest.raises(listpack.CorruptListpack):
            set_from_listpack(listpack.build(items))


@pytest.mark.parametrize("content", [list(range(10)), [f"m{i}" for i in range(10)], [f"m{i}" for i in range(600)]])
@pytest.mark.parametrize("tenths", [1, 3, 5, 9])
def test_random_members_are_even(content: list[object], tenths: int) -> None:
    """Each member is drawn about as often, however many are asked for at once."""
    value, rng = set_from_members([str(m).encode() for m in content]), random.Random(11)
    size = len(content)
    number = size * tenths // 10
    rounds = 40000 // number
    drawn = dict.fromkeys(value.members(), 0)
    for _ in range(rounds):
        found = value.random_distinct(rng, number)
        assert len(set(found)) == number
        for member in found:
            drawn[member] += 1
    mean = rounds * number / size
    assert sum((n - mean) ** 2 / mean for n in drawn.values()) < size + 6 * (2 * size) ** 0.5
