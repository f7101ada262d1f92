"""Words of a line: quoting, escapes and spaces as genuine Valkey has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.resp.inline import split_words
from tests.conftest import Server
from tests.differential.twins import Line, read_reply

LINES: list[tuple[bytes, list[bytes] | None]] = [
    (b"", []),
    (b"   \t ", []),
    (b"a  b\tc", [b"a", b"b", b"c"]),
    (b'"a b"', [b"a b"]),
    (b'""', [b""]),
    (b'a"b c"d', [b"ab cd"]),
    (b"'a'\"b\"", [b"ab"]),
    (rb"'it\'s'", [b"it's"]),
    (rb"'a\nb'", [rb"a\nb"]),
    (rb'"a\nb\x41\"\q"', [b'a\nbA"q']),
    (rb'"\x4"', [b"x4"]),
    (rb"a\nb", [rb"a\nb"]),
    (b"\va", [b"a"]),
    (b"a\vb", [b"a\vb"]),
    (b'"open', None),
    (b"'open", None),
    (b'"ends\\', None),
    (b'a "', None),
]


@pytest.mark.parametrize(("line", "words"), LINES)
def test_words(line: bytes, words: list[bytes] | None) -> None:
    """A line splits into these words, None when a quote stays open."""
    assert split_words(line) == words


@pytest.mark.parametrize(("line", "words"), [pair for pair in LINES if pair[1] and len(pair[1]) == 1])
def test_words_are_valkeys(oracle: Server, line: bytes, words: list[bytes]) -> None:
    """Genuine Valkey takes an inline request apart in the same way."""
    link = Line(oracle)
    link.socket.sendall(b"ECHO " + line + b"\r\n")
    assert read_reply(link.file) == b"$%d\r\n%b\r\n" % (len(words[0]), words[0])
    link.close()


@given(st.lists(st.binary(max_size=12), max_size=6))
def test_quoted_words_come_back(words: list[bytes]) -> None:
    """Any bytes survive when each is written as an escape in double quotes."""
    line = b" ".join(b'"' + b"".join(b"\\x%02x" % byte for byte in word) + b'"' for word in words)
    assert split_words(line) == words


@given(st.binary(max_size=60))
def test_any_line_is_split_or_refused(line: bytes) -> None:
    """No line raises, and words hold no more bytes than the line."""
    words = split_words(line)
    assert words is None or sum(map(len, words)) <= len(line)
