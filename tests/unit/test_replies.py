"""The reply writer, frozen: what each method writes in RESP2 and in RESP3, and that hiredis reads it."""

from __future__ import annotations

from collections.abc import Callable

import hiredis
import pytest

from cluster.resp.replies import ReplyWriter

Write = Callable[[ReplyWriter], None]

GOLDEN: list[tuple[str, Write, bytes, bytes]] = [
    ("ok", lambda w: w.ok(), b"+OK\r\n", b"+OK\r\n"),
    ("simple", lambda w: w.simple(b"PONG"), b"+PONG\r\n", b"+PONG\r\n"),
    ("error", lambda w: w.error(b"ERR a\r\nb"), b"-ERR a  b\r\n", b"-ERR a  b\r\n"),
    ("bulk", lambda w: w.bulk(b"a\r\nb"), b"$4\r\na\r\nb\r\n", b"$4\r\na\r\nb\r\n"),
    ("empty bulk", lambda w: w.bulk(b""), b"$0\r\n\r\n", b"$0\r\n\r\n"),
    (
        "large bulk",
        lambda w: w.bulk(b"x" * 2000),
        b"$2000\r\n" + b"x" * 2000 + b"\r\n",
        b"$2000\r\n" + b"x" * 2000 + b"\r\n",
    ),
    ("integer", lambda w: w.integer(9999), b":9999\r\n", b":9999\r\n"),
    ("large integer", lambda w: w.integer(2**63 - 1), b":9223372036854775807\r\n", b":9223372036854775807\r\n"),
    ("negative integer", lambda w: w.integer(-(2**63)), b":-9223372036854775808\r\n", b":-9223372036854775808\r\n"),
    ("null", lambda w: w.null(), b"$-1\r\n", b"_\r\n"),
    ("null array", lambda w: w.null_array(), b"*-1\r\n", b"_\r\n"),
    ("no bulk", lambda w: w.bulk_or_null(None), b"$-1\r\n", b"_\r\n"),
    ("bulks", lambda w: w.bulks([b"a", b""]), b"*2\r\n$1\r\na\r\n$0\r\n\r\n", b"*2\r\n$1\r\na\r\n$0\r\n\r\n"),
    ("double", lambda w: w.double(b"1.5"), b"$3\r\n1.5\r\n", b",1.5\r\n"),
    ("true", lambda w: w.boolean(True), b":1\r\n", b"#t\r\n"),
    ("false", lambda w: w.boolean(False), b":0\r\n", b"#f\r\n"),
    ("verbatim", lambda w: w.verbatim(b"text"), b"$4\r\ntext\r\n", b"=8\r\ntxt:text\r\n"),
]
HEADS: list[tuple[str, Write, bytes, bytes]] = [
    ("array", lambda w: w.array(2), b"*2\r\n", b"*2\r\n"),
    ("large array", lambda w: w.array(5000), b"*5000\r\n", b"*5000\r\n"),
    ("map", lambda w: w.map(2), b"*4\r\n", b"%2\r\n"),
    ("set", lambda w: w.set(3), b"*3\r\n", b"~3\r\n"),
    ("push", lambda w: w.push(3), b"*3\r\n", b">3\r\n"),
]


def written(write: Write, resp3: bool) -> bytes:
    """What one call writes."""
    writer = ReplyWriter()
    writer.resp3 = resp3
    write(writer)
    return writer.out.getvalue()


@pytest.mark.parametrize(("name", "write", "two", "three"), GOLDEN + HEADS, ids=[row[0] for row in GOLDEN + HEADS])
def test_bytes(name: str, write: Write, two: bytes, three: bytes) -> None:
    """Each reply has its form in RESP2 and its form in RESP3."""
    assert (written(write, False), written(write, True)) == (two, three)


@pytest.mark.parametrize(("name", "write", "two", "three"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_hiredis_reads_it(name: str, write: Write, two: bytes, three: bytes) -> None:
    """The parser of the field finds exactly one reply."""
    for data in (two, three):
        reader = hiredis.Reader(notEnoughData=Ellipsis)
        reader.feed(data)
        assert reader.gets() is not Ellipsis
        assert reader.gets() is Ellipsis


def test_help_is_an_array_of_simple_strings() -> None:
    """Each line of HELP is a simple string of one array."""
    writer = ReplyWriter()
    writer.simples([b"PING", b"    Answer."])
    assert writer.out.getvalue() == b"*2\r\n+PING\r\n+    Answer.\r\n"
