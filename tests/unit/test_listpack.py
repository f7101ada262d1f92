"""The listpack format: golden bytes, every operation against a plain list, hostile bytes refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.types import listpack as lp

INTEGERS = [0, 127, 128, -1, 4095, 4096, -4096, -4097, 32767, 32768, -32768, -32769, 8388607, 8388608, -8388608,
            -8388609, 2147483647, 2147483648, -2147483648, -2147483649, 2**63 - 1, -(2**63)]  # fmt: skip
STRINGS = [b"", b"a", b"x" * 63, b"x" * 64, b"y" * 125, b"y" * 126]
LONG_STRINGS = [b"z" * 4095, b"z" * 4096, b"w" * 16380, b"w" * 20000]
LOOKALIKES = [b"-0", b"+1", b"007", b" 1", b"1 ", b"-", b"9223372036854775808", b"-9223372036854775809", b"1" * 21]
EVERYTHING = [str(n).encode() for n in INTEGERS] + STRINGS + LONG_STRINGS + LOOKALIKES

elements = st.one_of(
    st.binary(max_size=8), st.sampled_from(EVERYTHING), st.integers(-(2**63), 2**63 - 1).map(lambda n: str(n).encode())
)
lists = st.lists(elements, max_size=30)


def test_golden_bytes_of_the_format() -> None:
    """The bytes are those that the format document prescribes."""
    assert lp.build([]) == lp.EMPTY
    assert lp.build([b"a", b"127"]) == bytes.fromhex("0c000000 0200 816102 7f01 ff")
    assert lp.build([b"128", b"10000"]) == bytes.fromhex("0e000000 0200 c08002 f1102703 ff")
    assert lp.build([b"-1"]) == bytes.fromhex("0a000000 0100 dfff02 ff")


def test_every_encoding_survives_the_round_trip() -> None:
    """Each border of each encoding decodes to what went in, forwards and backwards."""
    packed = lp.build(EVERYTHING)
    assert lp.validate(packed) == len(EVERYTHING)
    assert lp.decode(packed) == EVERYTHING
    backwards, pos = [], lp.previous(packed, lp.end(packed))
    while pos != lp.NOT_FOUND:
        backwards.append(lp.at(packed, pos))
        pos = lp.previous(packed, pos)
    assert backwards[::-1] == EVERYTHING


@given(lists, st.integers(-35, 35))
def test_seek_is_list_indexing(items: list[bytes], index: int) -> None:
    """Seeking by index finds what a list would, from both ends."""
    packed = lp.build(items)
    pos = lp.seek(packed, index)
    if -len(items) <= index < len(items):
        assert lp.at(packed, pos) == items[index]
    else:
        assert pos == lp.NOT_FOUND


@given(lists, elements, st.integers(1, 3))
def test_find_is_the_first_equal_element_at_its_step(items: list[bytes], wanted: bytes, step: int) -> None:
    """Finding compares whole elements only, at every step-th place."""
    while len(items) % step:
        items.pop()
    packed = lp.build(items)
    pos = lp.find(packed, lp.entry(wanted), step)
    places = [i for i in range(0, len(items), step) if items[i] == wanted]
    assert pos == (lp.seek(packed, places[0]) if places else lp.NOT_FOUND)


@given(lists, elements, st.data())
def test_updates_are_list_updates(items: list[bytes], value: bytes, data: st.DataObject) -> None:
    """Insert, replace, delete, append and prepend give exactly the listpack of the changed list."""
    packed = lp.build(items)
    assert lp.append(packed, value) == lp.build([*items, value])
    assert lp.prepend(packed, value) == lp.build([value, *items])
    if not items:
        return
    i = data.draw(st.integers(0, len(items) - 1))
    n = data.draw(st.integers(1, 4))
    pos = lp.seek(packed, i)
    assert lp.insert(packed, pos, value) == lp.build([*items[:i], value, *items[i:]])
    assert lp.replace(packed, pos, value) == lp.build([*items[:i], value, *items[i + 1 :]])
    assert lp.delete(packed, pos, n) == lp.build(items[:i] + items[i + n :])


def test_more_elements_than_the_header_can_count() -> None:
    """Above 65534 elements the header says unknown, and counting walks."""
    packed = lp.build([b"1"] * 65534)
    assert lp.count(packed) == 65534
    packed = lp.append(lp.append(packed, b"2"), b"3")
    assert packed[4:6] == b"\xff\xff"
    assert lp.count(packed) == 65536
    assert lp.at(packed, lp.seek(packed, -1)) == b"3"
    assert lp.at(packed, lp.seek(packed, 65534)) == b"2"
    assert lp.validate(packed) == 65536


@pytest.mark.parametrize(
    "data",
    [b"", b"\x07\x00\x00\x00\x00\x00", b"\x08\x00\x00\x00\x00\x00\xff", b"\x07\x00\x00\x00\x01\x00\xff",
     b"\x07\x00\x00\x00\x00\x00\x00", b"\x09\x00\x00\x00\x01\x00\x01\x02\xff", b"\x09\x00\x00\x00\x01\x00\xf5\x01\xff",
     b"\x0a\x00\x00\x00\x01\x00\xf0\xff\xff\xff", b"\x0a\x00\x00\x00\x01\x00\xbf\x00\x40\xff"],
)  # fmt: skip
def test_malformed_bytes_are_refused(data: bytes) -> None:
    """Sizes, counts, encodings and backward lengths that do not fit raise CorruptListpack."""
    with pytest.raises(lp.CorruptListpack):
        lp.validate(data)


@given(st.one_of(st.binary(max_size=40), st.tuples(lists, st.integers(0, 200), st.integers(0, 255)).map(
    lambda t: (b := bytearray(lp.build(t[0][:6])), b.__setitem__(t[1] % len(b), t[2]), bytes(b))[2])))  # fmt: skip
def test_whatever_passes_validation_can_be_read(data: bytes) -> None:
    """Arbitrary and damaged bytes either raise CorruptListpack or decode to the stated number of elements."""
    try:
        n = lp.validate(data)
    except lp.CorruptListpack:
        return
    assert len(lp.decode(data)) == n == lp.count(data)


def test_canonical_shortens_longer_encodings() -> None:
    """A number that came as a string is stored as a number, so that finding it works."""
    odd = b"\x0a\x00\x00\x00\x01\x00\x811\x02\xff"
    assert lp.canonical(odd) == lp.build([b"1"])
