"""The reply skipper: where replies end, whatever the cuts, and what it refuses."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.resp.errors import ProtocolError
from proxy.skipper import ReplySkipper, bulk_text, elements

CASES = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":-12\r\n",
    b"$0\r\n\r\n",
    b"$5\r\na\r\nbc\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n*0\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"(123456789012345678901234567890\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"!5\r\nERR x\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n",
    b"%0\r\n",
    b"~1\r\n+a\r\n",
    b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
    b"|1\r\n+ttl\r\n:5\r\n*1\r\n:1\r\n",
    b"$70000\r\n" + b"x" * 70000 + b"\r\n",
]


def skip_all(chunks: list[bytes]) -> list[bytes]:
    """The replies that a skipper finds in these chunks."""
    skipper = ReplySkipper()
    found = []
    for chunk in chunks:
        skipper.feed(chunk)
        while skipper.next():
            found.append(skipper.reply())
            assert skipper.kind == found[-1][0]
    return found


@pytest.mark.parametrize("reply", CASES, ids=lambda reply: repr(reply[:24]))
def test_a_reply_whole_bytewise_and_with_trailing_data(reply: bytes) -> None:
    """Every case gives itself back when it comes whole, byte by byte, and before the beginning of another."""
    assert skip_all([reply]) == [reply]
    assert skip_all([bytes([byte]) for byte in reply]) == [reply]
    assert skip_all([reply + b"*2\r\n:1"]) == [reply]


def encode(value: object) -> bytes:
    """A RESP3 form of nested lists, dicts, bytes, integers and None."""
    if value is None:
        return b"_\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, dict):
        return b"%%%d\r\n" % len(value) + b"".join(encode(k) + encode(v) for k, v in value.items())
    assert isinstance(value, list)
    return b"*%d\r\n" % len(value) + b"".join(encode(item) for item in value)


VALUES = st.recursive(
    st.none() | st.integers(-(2**40), 2**40) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(VALUES, max_size=6), st.lists(st.integers(0, 400), max_size=8))
def test_cuts_change_nothing(values: list[object], cuts: list[int]) -> None:
    """However a stream of replies is cut, the same replies come out, byte for byte."""
    replies = [encode(value) for value in values]
    stream = b"".join(replies)
    edges = [0, *sorted({cut for cut in cuts if cut < len(stream)}), len(stream)]

    assert skip_all([stream[a:b] for a, b in pairwise(edges)]) == replies


@given(st.lists(VALUES, max_size=8))
def test_elements_are_those_of_the_array(values: list[object]) -> None:
    """An array falls apart into its encoded elements."""
    assert elements(encode(values)) == [encode(value) for value in values]


@pytest.mark.parametrize(
    "stream",
    [b"?3\r\n", b"$x\r\n", b"*?\r\n", b"$9999999999999\r\n", b"*99999999999\r\n", b"\r\nx\r\n"],
)
def test_what_is_no_reply_is_refused(stream: bytes) -> None:
    """Unknown types, bad lengths, streamed aggregates and absurd sizes raise ProtocolError."""
    with pytest.raises(ProtocolError):
        skip_all([stream])


def test_an_endless_length_line_is_refused() -> None:
    """A length line without an end does not grow for ever."""
    with pytest.raises(ProtocolError):
        skip_all([b"$" + b"1" * 70000])


def test_a_reply_beyond_the_limit_is_refused_before_it_has_come() -> None:
    """The announced length counts, so that nothing is kept of a reply that is too large."""
    skipper = ReplySkipper(1000)
    skipper.feed(b"*2\r\n$4000\r\nab")
    with pytest.raises(ProtocolError):
        skipper.next()


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (b"$3\r\nabc\r\n", b"abc"),
        (b"=7\r\ntxt:abc\r\n", b"abc"),
        (b"+OK\r\n", b"OK"),
        (b"$-1\r\n", b""),
        (b"_\r\n", b""),
    ],
)
def test_bulk_text(reply: bytes, text: bytes) -> None:
    """Bulk, verbatim and simple strings give their text."""
    assert bulk_text(reply) == text
