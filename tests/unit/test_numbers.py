"""Integers, doubles, long doubles and glob patterns, against golden answers of a genuine Valkey."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import numbers
from node.match import Glob, glob_match


@pytest.mark.parametrize(
    ("text", "good"),
    [(b"0", True), (b"-1", True), (b"9223372036854775807", True), (b"-9223372036854775808", True), (b"", False),
     (b"-", False), (b"-0", False), (b"+1", False), (b"01", False), (b"-01", False), (b" 1", False), (b"1 ", False),
     (b"9223372036854775808", False), (b"-9223372036854775809", False), (b"99999999999999999999", False),
     (b"1a", False), (b"1.0", False), (b"10000000000000000000", False)],
)  # fmt: skip
def test_strict_integers(text: bytes, good: bool) -> None:
    """Only the one printed form of a 64-bit integer is an integer."""
    assert numbers.is_int(text) == good
    if good:
        assert numbers.to_int(text) == int(text)


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_round_trip(n: int) -> None:
    """Formatting and reading give back the integer."""
    text = numbers.format_int(n)
    assert text == str(n).encode()
    assert numbers.is_int(text)
    assert numbers.to_int(text) == n


@pytest.mark.parametrize(
    ("text", "value"),
    [(b"5", 5.0), (b"+5", 5.0), (b".5", 0.5), (b"5.", 5.0), (b"1e5", 1e5), (b"inf", float("inf")),
     (b"-INF", -float("inf")),
     (b"infinity", float("inf")), (b"5e-324", 5e-324), (b"0e999", 0.0), (b"-3.25E+2", -325.0)],
)  # fmt: skip
def test_doubles_are_read(text: bytes, value: float) -> None:
    """Everything that Valkey takes as a score."""
    assert numbers.parse_double(text) == value


@pytest.mark.parametrize(
    "text",
    [b"", b" 5", b"5 ", b"1_0", b"nan", b"0x10", b"1e400", b"-1e400", b"1e-400", b"infinit", b"1e", b"e5", b".", b"--1",
     b"1,5", b"\xd9\xa1"],
)  # fmt: skip
def test_what_is_no_double(text: bytes) -> None:
    """Spaces, NaN, hexadecimal and what does not fit are refused."""
    with pytest.raises(numbers.NotANumber):
        numbers.parse_double(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, b"0"), (-0.0, b"-0"), (3.0, b"3"), (1e17, b"100000000000000000"), (1e20, b"1e+20"), (1e21, b"1e+21"),
     (123456789012345680000.0, b"123456789012345680000"), (1.1e20, b"1.1e+20"), (1e-5, b"0.00001"), (1e-6, b"0.000001"),
     (1e-7, b"1e-7"), (1.234e-5, b"1.234e-5"), (1234.5678, b"1234.5678"), (0.1, b"0.1"), (-1.5e-9, b"-1.5e-9"),
     (1.7976931348623157e308, b"1.7976931348623157e+308"), (5e-324, b"5e-324"), (float("inf"), b"inf"),
     (float("-inf"), b"-inf"), (12345678901234.567, b"12345678901234.566"), (5e18, b"5e+18"),
     (-36800.50192249264, b"-3.6800501922492636e+4"), (1626983080611305.8, b"1626983080611305.7"),
     (2.454440643907477e-95, b"2.4544406439074772e-95"), (-96259102217807.88, b"-96259102217807.87")],
)  # fmt: skip
def test_doubles_are_written_as_valkey_writes_them(value: float, text: bytes) -> None:
    """Plain or exponent notation by Valkey's rules."""
    assert numbers.format_double(value) == text


@given(st.integers(0, 2**64 - 1))
def test_every_double_reads_back(bits: int) -> None:
    """The text of a double is the same double again."""
    value: float = struct.unpack("d", struct.pack("Q", bits))[0]
    if value == value:
        assert numbers.parse_double(numbers.format_double(value)) == value


@pytest.mark.parametrize(
    ("a", "b", "total"),
    [(b"10.5", b"0.1", b"10.6"), (b"0.1", b"0.2", b"0.3"), (b"3", b"-3", b"0"), (b"0x10", b"0", b"16"),
     (b"0x1p3", b"0", b"8"), (b"5.0e3", b"200", b"5200"), (b"1e-400", b"0", b"0"), (b"-1e-19", b"0", b"0"),
     (b"3.0000000000000001", b"0", b"3.0000000000000001"), (b"1e19", b"0.5", b"10000000000000000000")],
)  # fmt: skip
def test_long_doubles_add_like_x87(a: bytes, b: bytes, total: bytes) -> None:
    """Sums rounded to 64 bits of mantissa, printed with at most 17 decimals."""
    result = numbers.add_long_doubles(numbers.parse_long_double(a), numbers.parse_long_double(b))
    assert numbers.format_long_double(result) == total


def test_long_double_range() -> None:
    """Too large and too small are no numbers, infinity is one."""
    for text in (b"1e5000", b"1e-5000", b"1e99999999999999", b"0x", b"nan", b"", b" 1", b"1" * 5120):
        with pytest.raises(numbers.NotANumber):
            numbers.parse_long_double(text)
    assert numbers.parse_long_double(b"-inf").infinite
    big = numbers.parse_long_double(b"1e4932")
    assert numbers.add_long_doubles(big, big).infinite
    assert len(numbers.format_long_double(big)) == 4933


@pytest.mark.parametrize(
    ("pattern", "text", "hit"),
    [(b"*", b"", True), (b"h?llo", b"hello", True), (b"h?llo", b"hllo", False), (b"h*llo", b"heeello", True),
     (b"h[ae]llo", b"hallo", True), (b"h[ae]llo", b"hillo", False), (b"h[^e]llo", b"hallo", True),
     (b"h[^e]llo", b"hello", False), (b"h[a-b]llo", b"hbllo", True), (b"h[b-a]llo", b"hallo", True),
     (b"a\\*b", b"a*b", True), (b"a\\*b", b"axb", False), (b"[abc", b"b", True), (b"[abc", b"d", False),
     (b"[", b"[", False),
     (b"[^", b"x", True), (b"\\", b"\\", True), (b"a*b*c", b"aXbYc", True), (b"a*b*c", b"aXbY", False),
     (b"[\\]]", b"]", True), (b"**a", b"ba", True), (b"abc", b"abc", True), (b"abc*", b"ab", False),
     (b"*c", b"abc", True),
     (b"[a-]", b"]", True), (b"[a-]", b"-", False), (b"**", b"", False), (b"", b"", True), (b"", b"a", False)],
)  # fmt: skip
def test_globs(pattern: bytes, text: bytes, hit: bool) -> None:
    """Stars, questions, classes, escapes, and their unfinished forms."""
    assert glob_match(pattern, text) == hit


def test_globs_without_case() -> None:
    """CONFIG GET ignores the case of names."""
    assert glob_match(b"MAX*", b"maxmemory", True)
    assert glob_match(b"[M]ax", b"mAX", True)
    assert Glob(b"maxMemory", True).matches(b"MAXMEMORY")


def test_a_hostile_pattern_is_cheap() -> None:
    """Many stars on a long text that fails at its end take pattern times text steps, not exponentially many."""
    assert not glob_match(b"a*" * 20 + b"b", b"a" * 2000)
