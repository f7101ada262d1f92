"""BITFIELD's fields: what is read, written and said of overflows equals arithmetic with integers of any size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.commands.bitfield import leaves, overflow_of, read_field, write_field

WORDS = st.integers(-(1 << 63), (1 << 63) - 1)
SMALL_OR_ANY = st.one_of(st.integers(-300, 300), WORDS)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, bool]:
    """A width, and whether the field is signed."""
    signed = draw(st.booleans())
    return draw(st.integers(1, 64 if signed else 63)), signed


def as_field(value: int, bits: int, signed: bool) -> int:
    """A number cut to a field."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


@given(st.binary(max_size=20), st.integers(0, 200), shapes())
def test_read(data: bytes, offset: int, shape: tuple[int, bool]) -> None:
    """A field is its bits in the string with zero bytes behind its end."""
    bits, signed = shape
    whole = data.ljust(40, b"\0")
    value = int.from_bytes(whole, "big") >> (len(whole) * 8 - offset - bits)
    assert read_field(data, offset, bits, signed) == as_field(value, bits, signed)


@given(st.binary(min_size=9, max_size=9), st.integers(0, 7), shapes(), WORDS)
def test_write(data: bytes, offset: int, shape: tuple[int, bool], value: int) -> None:
    """Writing changes the bits of the field alone."""
    bits, signed = shape
    place = data[: (offset + bits - 1 >> 3) + 1]
    value = as_field(value, bits, signed)
    shift = len(place) * 8 - offset - bits
    mask = ((1 << bits) - 1) << shift
    word = int.from_bytes(place, "big") & ~mask | value << shift & mask
    assert write_field(place, offset, bits, value) == word.to_bytes(len(place), "big")


@given(shapes(), SMALL_OR_ANY, SMALL_OR_ANY)
def test_overflow(shape: tuple[int, bool], value: int, by: int) -> None:
    """A sum of a value that fits overflows exactly when it does not fit."""
    bits, signed = shape
    value = as_field(value, bits, signed)
    fits = as_field(value + by, bits, signed) == value + by
    where = 0 if fits else 1 if by > 0 else -1
    assert leaves(value, by, bits, signed) == overflow_of(value, by, bits, signed) == where


@given(shapes(), WORDS)
def test_overflow_of_what_does_not_fit(shape: tuple[int, bool], value: int) -> None:
    """A value that is set and does not fit is told of as the general rule says."""
    bits, signed = shape
    assert leaves(value, 0, bits, signed) == overflow_of(value, 0, bits, signed)
