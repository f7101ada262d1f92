"""LCS: the longest subsequence that two strings have in common, its length, or where its pieces are.

The table of lengths is never kept: two rows make the next, and what walking back needs is one bit a cell (whether to go
up or to the left where the bytes differ). So 32 times less memory is taken than the 4 bytes a cell by which Valkey
limits the sizes, and the same strings are refused.
"""

from typing import Final, final

from librt.strings import BytesWriter
from librt.vecs import append, vec
from mypy_extensions import i64, mypyc_attr

from cluster.slots import key_slot
from node.commands.reading import integer, read
from node.engine import Engine, Handler
from node.errors import SYNTAX, CommandError
from node.session import Session

_NOT_STRINGS: Final = b"ERR The specified keys must contain string values"
_TOO_LARGE: Final = b"ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"


@final
@mypyc_attr(acyclic=True)
class _Options:
    """LEN, IDX, MINMATCHLEN n and WITHMATCHLEN."""

    length: bool
    pieces: bool
    shortest: i64
    with_lengths: bool

    def __init__(self, args: list[bytes]) -> None:
        self.length = False
        self.pieces = False
        self.shortest = 0
        self.with_lengths = False
        i: i64 = 3
        while i < len(args):
            word = args[i].lower()
            if word == b"idx":
                self.pieces = True
            elif word == b"len":
                self.length = True
            elif word == b"withmatchlen":
                self.with_lengths = True
            elif word == b"minmatchlen" and i + 1 < len(args):
                i += 1
                self.shortest = integer(args[i])
            else:
                raise CommandError(SYNTAX)
            i += 1
        if self.length and self.pieces:
            raise CommandError(b"ERR If you want both the length and indexes, please just use IDX.")


@final
@mypyc_attr(acyclic=True)
class _Table:
    """The lengths of common subsequences of all beginnings of `a` and `b`, and the ways back if they are wanted."""

    length: i64  # of the whole strings
    ways: bytes  # a bit a cell: set where the way back goes up, a byte earlier in `a`
    width: i64  # bytes a row of `ways`

    def __init__(self, a: bytes, b: bytes, back: bool) -> None:
        self.width = (len(b) + 7) // 8
        row = vec[i64](capacity=len(b) + 1)
        j: i64 = 0
        while j <= len(b):
            row = append(row, 0)
            j += 1
        out = BytesWriter()
        i: i64 = 0
        while i < len(a):
            if back:
                self._fill_back(row, a[i], b, out)
            else:
                self._fill(row, a[i], b)
            i += 1
        self.length = row[len(b)]
        self.ways = out.getvalue()

    def _fill(self, row: vec[i64], byte: i64, b: bytes) -> None:
        """Make the next row of the one before."""
        size: i64 = len(b)
        corner: i64 = 0
        left: i64 = 0
        j: i64 = 0
        while j < size:
            above: i64 = row[j + 1]
            if b[j] == byte:
                left = corner + 1
            elif above > left:
                left = above
            row[j + 1] = left
            corner = above
            j += 1

    def _fill_back(self, row: vec[i64], byte: i64, b: bytes, out: BytesWriter) -> None:
        """As `_fill`, and note the ways back."""
        size: i64 = len(b)
        corner: i64 = 0
        left: i64 = 0
        bits: i64 = 0
        j: i64 = 0
        while j < size:
            above: i64 = row[j + 1]
            if b[j] == byte:
                left = corner + 1
            elif above > left:
                left = above
                bits |= 1 << (j & 7)
            row[j + 1] = left
            corner = above
            j += 1
            if j & 7 == 0:
                out.append(bits)
                bits = 0
        if size & 7:
            out.append(bits)

    def up(self, i: i64, j: i64) -> bool:
        """Whether the way back from bytes i and j, which differ, goes to the byte before i."""
        return (self.ways[i * self.width + (j >> 3)] >> (j & 7)) & 1 != 0


@final
@mypyc_attr(acyclic=True)
class _Piece:
    """A stretch that both strings share: where it begins in each, and its length."""

    a: i64
    b: i64
    length: i64

    def __init__(self, a: i64, b: i64, length: i64) -> None:
        self.a = a
        self.b = b
        self.length = length


def _pieces(a: bytes, b: bytes, table: _Table) -> list[_Piece]:
    """The stretches of the longest common subsequence, the last one first."""
    found: list[_Piece] = []
    i: i64 = len(a)
    j: i64 = len(b)
    run: i64 = 0
    while i > 0 and j > 0:
        if a[i - 1] == b[j - 1]:
            i -= 1
            j -= 1
            run += 1
            continue
        if run > 0:
            found.append(_Piece(i, j, run))
            run = 0
        if table.up(i - 1, j - 1):
            i -= 1
        else:
            j -= 1
    if run > 0:
        found.append(_Piece(i, j, run))
    return found


def _source(e: Engine, s: Session, key: bytes) -> object:
    value = read(e, s, key_slot(key), key)
    return b"" if value is None else value


def lcs(e: Engine, s: Session, args: list[bytes]) -> None:
    """LCS key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]."""
    a = _source(e, s, args[1])
    b = _source(e, s, args[2])
    if not isinstance(a, bytes) or not isinstance(b, bytes):
        raise CommandError(_NOT_STRINGS)
    options = _Options(args)
    if (len(a) + 1) * (len(b) + 1) * 4 > e.settings.max_bulk:
        raise CommandError(_TOO_LARGE)
    table = _Table(a, b, not options.length)
    if options.length:
        s.reply.integer(table.length)
        return
    pieces = _pieces(a, b, table)
    if options.pieces:
        _write_pieces(s, pieces, table.length, options)
        return
    pieces.reverse()
    s.reply.bulk(b"".join([a[piece.a : piece.a + piece.length] for piece in pieces]))


def _write_pieces(s: Session, pieces: list[_Piece], length: i64, options: _Options) -> None:
    reply = s.reply
    kept = [piece for piece in pieces if piece.length >= options.shortest]
    reply.map(2)
    reply.bulk(b"matches")
    reply.array(len(kept))
    for piece in kept:
        reply.array(3 if options.with_lengths else 2)
        for start in (piece.a, piece.b):
            reply.array(2)
            reply.integer(start)
            reply.integer(start + piece.length - 1)
        if options.with_lengths:
            reply.integer(piece.length)
    reply.bulk(b"len")
    reply.integer(length)


HANDLERS: dict[bytes, Handler] = {b"lcs": lcs}
