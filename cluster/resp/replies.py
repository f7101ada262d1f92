"""Replies, encoded: one writer a connection, RESP2 or RESP3 as the client asked for by HELLO."""

from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

_BULKS: Final[list[bytes]] = [b"$%d\r\n" % n for n in range(1024)]
_INTEGERS: Final[list[bytes]] = [b":%d\r\n" % n for n in range(10000)]
_ARRAYS: Final[list[bytes]] = [b"*%d\r\n" % n for n in range(1024)]
_LINE_BREAKS: Final = bytes.maketrans(b"\r\n", b"  ")


def write_bulk(out: BytesWriter, value: bytes) -> None:
    """Write a bulk string."""
    size: i64 = len(value)
    if size < 1024:
        out.write(_BULKS[size])
    else:
        out.write(b"$%d\r\n" % size)
    out.write(value)
    out.write(b"\r\n")


@final
@mypyc_attr(acyclic=True)
class ReplyWriter:
    """Writes replies into `out`; `resp3` chooses the form of those that differ."""

    out: BytesWriter
    resp3: bool

    def __init__(self) -> None:
        self.out = BytesWriter()
        self.resp3 = False

    def ok(self) -> None:
        """`+OK`."""
        self.out.write(b"+OK\r\n")

    def simple(self, text: bytes) -> None:
        """A simple string, which must not hold CR or LF."""
        out = self.out
        out.append(43)
        out.write(text)
        out.write(b"\r\n")

    def error(self, text: bytes) -> None:
        """An error, its code included: `ERR no such key`. Line breaks inside become spaces, as in Valkey."""
        out = self.out
        out.append(45)
        out.write(text.translate(_LINE_BREAKS))
        out.write(b"\r\n")

    def bulk(self, value: bytes) -> None:
        """A bulk string."""
        write_bulk(self.out, value)

    def bulk_or_null(self, value: bytes | None) -> None:
        """A bulk string, or null for None."""
        if value is None:
            self.null()
        else:
            self.bulk(value)

    def integer(self, n: i64) -> None:
        """An integer."""
        if 0 <= n < 10000:
            self.out.write(_INTEGERS[n])
        else:
            self.out.write(b":%d\r\n" % n)

    def null(self) -> None:
        """No value: `$-1`, or `_` in RESP3."""
        self.out.write(b"_\r\n" if self.resp3 else b"$-1\r\n")

    def null_array(self) -> None:
        """No array: `*-1`, or `_` in RESP3."""
        self.out.write(b"_\r\n" if self.resp3 else b"*-1\r\n")

    def array(self, n: i64) -> None:
        """The head of an array of n elements, which follow."""
        if n < 1024:
            self.out.write(_ARRAYS[n])
        else:
            self.out.write(b"*%d\r\n" % n)

    def simples(self, texts: list[bytes]) -> None:
        """An array of simple strings, as HELP answers."""
        self.array(len(texts))
        for text in texts:
            self.simple(text)

    def bulks(self, values: list[bytes]) -> None:
        """An array of bulk strings."""
        self.array(len(values))
        for value in values:
            self.bulk(value)

    def map(self, pairs: i64) -> None:
        """The head of a map of n pairs: `%n`, in RESP2 an array of 2n."""
        if self.resp3:
            self.out.write(b"%%%d\r\n" % pairs)
        else:
            self.array(pairs * 2)

    def set(self, n: i64) -> None:
        """The head of a set of n members: `~n`, in RESP2 an array."""
        if self.resp3:
            self.out.write(b"~%d\r\n" % n)
        else:
            self.array(n)

    def push(self, n: i64) -> None:
        """The head of a push message of n elements: `>n`, in RESP2 an array."""
        if self.resp3:
            self.out.write(b">%d\r\n" % n)
        else:
            self.array(n)

    def double(self, text: bytes) -> None:
        """A double, already formatted (node.numbers): `,text`, in RESP2 a bulk string."""
        if self.resp3:
            out = self.out
            out.append(44)
            out.write(text)
            out.write(b"\r\n")
        else:
            self.bulk(text)

    def boolean(self, value: bool) -> None:
        """`#t` or `#f`, in RESP2 1 or 0."""
        if self.resp3:
            self.out.write(b"#t\r\n" if value else b"#f\r\n")
        else:
            self.out.write(b":1\r\n" if value else b":0\r\n")

    def verbatim(self, value: bytes, kind: bytes = b"txt") -> None:
        """A text with its three-letter format: `=n txt:…`, in RESP2 a bulk string."""
        if self.resp3:
            self.out.write(b"=%d\r\n%b:%b\r\n" % (len(value) + 4, kind, value))
        else:
            self.bulk(value)

    def raw(self, encoded: bytes) -> None:
        """Bytes that are RESP already."""
        self.out.write(encoded)
