"""Requests, decoded: bytes in, argument lists out, nothing allocated that the peer has not sent.

The bounds and the texts are Valkey's: an inline request or a length line is at most 64 KB, a count at most 2^31-1, an
argument at most `max_bulk` bytes; before AUTH a request has at most 10 arguments of at most 16 KB. Source: Valkey's
networking.c.

`buf[start:end]` is the request as it came in whenever `raw` is true, so that it can be passed on without encoding it
again. An argument that is split over reads and large is collected in pieces and joined once, so a 512 MB value costs
one copy.
"""

from typing import Final, final

from librt.strings import read_i16_le
from mypy_extensions import i64, mypyc_attr

from cluster.resp.errors import ProtocolError
from cluster.resp.inline import split_words

INLINE_MAX: Final = 64 * 1024
UNAUTHENTICATED_COUNT: Final = 10
UNAUTHENTICATED_BULK: Final = 16 * 1024
_COUNT_MAX: Final = 2**31 - 1
_COLLECT_FROM: Final = 32 * 1024

_CR_LF: Final = 0x0A0D  # read as one little-endian number
_BAD_END: Final = b"Protocol error: invalid CRLF in request"
_LOWEST: Final = b"9223372036854775808"  # 2^63
_BAD_NUMBER: Final = -(2**62)
_NO_LINE: Final = -1
_BLANK: Final = 0
_TAKEN: Final = 1


@final
@mypyc_attr(acyclic=True)
class RequestDecoder:
    """Feed it bytes, then call `next` until it answers False; after True the request is in `args`."""

    buf: bytes
    pos: i64
    args: list[bytes]
    start: i64
    end: i64
    raw: bool
    trusted: bool
    max_bulk: i64
    _missing: i64  # arguments that the request in progress still lacks
    _bulk: i64  # length of the argument in progress, -1 when its length line has not come
    _partial: list[bytes]
    _whole: bool  # the request in progress began in this buf
    _pieces: list[bytes]  # of a large argument
    _have: i64  # bytes in _pieces

    def __init__(self, trusted: bool, max_bulk: i64) -> None:
        self.buf = b""
        self.pos = 0
        self.args = []
        self.start = 0
        self.end = 0
        self.raw = False
        self.trusted = trusted
        self.max_bulk = max_bulk
        self._missing = 0
        self._bulk = -1
        self._partial = []
        self._whole = True
        self._pieces = []
        self._have = 0

    def feed(self, data: bytes) -> None:
        """Take what came from the peer."""
        if self._have > 0:
            self._pieces.append(data)
            self._have += len(data)
            return
        if self.pos >= len(self.buf):
            self.buf = data
        else:
            self.buf = self.buf[self.pos :] + data
        self.pos = 0
        self._whole = self._missing == 0

    def held(self) -> i64:
        """Bytes that are held and not yet part of a finished request."""
        return len(self.buf) - self.pos + self._have

    def wanted(self) -> i64:
        """How many bytes the large argument in progress still lacks, 0 when there is none: sizes the next read."""
        if self._have == 0:
            return 0
        return max(self._bulk + 2 - self._have, 0)

    def next(self) -> bool:
        """Decode one request into `args`; False when more bytes are needed. Raises ProtocolError."""
        if self._have > 0 and not self._join():
            return False
        if self._missing > 0:
            args = self._partial
            self._partial = []
            return self._arguments(args)
        while self._missing == 0:
            pos: i64 = self.pos
            buf = self.buf
            size: i64 = len(buf)
            if pos >= size:
                return False
            self.start = pos
            if buf[pos] != 42:  # *
                line = self._inline()
                if line == _BLANK:
                    continue
                return line == _TAKEN
            # The usual `*<one digit>\r\n` without a call; anything else by the slow way.
            if pos + 3 < size and read_i16_le(buf, pos + 2) == _CR_LF and 49 <= buf[pos + 1] <= 57:
                self._missing = i64(buf[pos + 1]) - 48
                self.pos = pos + 4
                self._whole = True
            elif not self._count():
                return False
        return self._arguments([])

    def _join(self) -> bool:
        """Make the collected pieces the buffer again once the large argument is complete."""
        if self._have < self._bulk + 2:
            return False
        self.buf = b"".join(self._pieces)
        self.pos = 0
        self._pieces = []
        self._have = 0
        return True

    def _count(self) -> bool:
        """Read `*<count>`; an empty request is skipped. False when the line is not complete."""
        buf = self.buf
        line_end = self._line_end(b"Protocol error: too big mbulk count string")
        if line_end < 0:
            return False
        if self.buf[line_end + 1] != 10:
            raise ProtocolError(_BAD_END)
        count = _number(buf, self.pos + 1, line_end)
        if count > _COUNT_MAX or count == _BAD_NUMBER:
            raise ProtocolError(b"Protocol error: invalid multibulk length")
        if count > UNAUTHENTICATED_COUNT and not self.trusted:
            raise ProtocolError(b"Protocol error: unauthenticated multibulk length")
        self.pos = line_end + 2
        if count > 0:
            self._missing = count
            self._whole = True
        return True

    def _arguments(self, args: list[bytes]) -> bool:
        """Read the arguments that are missing behind `args`; False when more bytes are needed."""
        buf = self.buf
        size: i64 = len(buf)
        pos: i64 = self.pos
        missing: i64 = self._missing
        bulk: i64 = self._bulk
        while missing > 0:
            if bulk < 0:
                # The usual `$<up to 4 digits>\r\n` without a call; anything else by the slow way.
                i: i64 = pos + 1
                n: i64 = 0
                while i < size and i < pos + 5:
                    digit: i64 = buf[i] - 48
                    if digit < 0 or digit > 9:
                        break
                    n = n * 10 + digit
                    i += 1
                padded = i > pos + 2 and buf[pos + 1] == 48
                if i + 1 < size and read_i16_le(buf, i) == _CR_LF and buf[pos] == 36 and i > pos + 1 and not padded:
                    bulk = n
                    pos = i + 2
                else:
                    self.pos = pos
                    self._missing = missing
                    self._bulk = -1  # of the argument before, which may have been completed just now
                    bulk = self._length()
                    if bulk < 0:
                        self._partial = args
                        return False
                    pos = self.pos
            if pos + bulk + 2 > size:
                self.pos = pos
                self._missing = missing
                self._bulk = bulk
                self._partial = args
                if bulk >= _COLLECT_FROM:
                    self._pieces = [buf[pos:]] if pos < size else []
                    self._have = size - pos
                    if self._have == 0:
                        self._pieces = []
                    self.buf = b""
                    self.pos = 0
                    self._whole = False
                return False
            args.append(buf[pos : pos + bulk])
            pos += bulk
            if read_i16_le(buf, pos) != _CR_LF:
                raise ProtocolError(_BAD_END)
            pos += 2
            bulk = -1
            missing -= 1
        self.pos = pos
        self._missing = 0
        self._bulk = -1
        self.args = args
        self.end = pos
        self.raw = self._whole
        return True

    def _length(self) -> i64:
        """Read `$<length>`; -1 when the line is not complete."""
        if self.pos >= len(self.buf):
            return -1
        line_end = self._line_end(b"Protocol error: too big bulk count string")
        if line_end < 0:
            return -1
        first: i64 = self.buf[self.pos]
        if first != 36:
            shown = b" " if first == 10 or first == 13 else bytes([first])
            raise ProtocolError(b"Protocol error: expected '$', got '" + shown + b"'")
        if self.buf[line_end + 1] != 10:
            raise ProtocolError(_BAD_END)
        length = _number(self.buf, self.pos + 1, line_end)
        if length < 0 or length > self.max_bulk:
            raise ProtocolError(b"Protocol error: invalid bulk length")
        if length > UNAUTHENTICATED_BULK and not self.trusted:
            raise ProtocolError(b"Protocol error: unauthenticated bulk length")
        self.pos = line_end + 2
        return length

    def _line_end(self, too_big: bytes) -> i64:
        """Index of the CR that ends the line at `pos`, -1 when line and LF are not there yet."""
        line_end: i64 = self.buf.find(b"\r", self.pos)
        size: i64 = len(self.buf)
        if line_end < 0:
            if size - self.pos > INLINE_MAX:
                raise ProtocolError(too_big)
            return _NO_LINE
        if line_end + 1 >= size:
            return _NO_LINE
        return line_end

    def _inline(self) -> i64:
        """Read one inline line: _TAKEN when `args` has its words, _BLANK when it has none, _NO_LINE when it is not
        complete.
        """
        newline: i64 = self.buf.find(b"\n", self.pos)
        if newline < 0:
            if len(self.buf) - self.pos > INLINE_MAX:
                raise ProtocolError(b"Protocol error: too big inline request")
            return _NO_LINE
        line_end: i64 = newline
        if line_end > self.pos and self.buf[line_end - 1] == 13:
            line_end -= 1
        words = split_words(self.buf[self.pos : line_end])
        if words is None:
            raise ProtocolError(b"Protocol error: unbalanced quotes in request")
        self.pos = newline + 1
        if not words:
            return _BLANK
        self.args = words
        self.end = self.pos
        self.raw = False
        return _TAKEN


def _number(buf: bytes, start: i64, end: i64) -> i64:
    """A decimal integer without leading zeros or plus sign, or _BAD_NUMBER; above 18 digits only the sign is told."""
    i: i64 = start
    negative = i < end and buf[i] == 45
    if negative:
        i += 1
    if i >= end or end - i > 19 or (buf[i] == 48 and (end - i > 1 or negative)):
        return _BAD_NUMBER
    if end - i == 19:  # a count that fits into 64 bits is taken if it is negative, which asks for nothing
        digits = buf[i:end]
        return -1 if negative and digits.isdigit() and digits <= _LOWEST else _BAD_NUMBER
    n: i64 = 0
    while i < end:
        digit: i64 = buf[i] - 48
        if digit < 0 or digit > 9:
            return _BAD_NUMBER
        n = n * 10 + digit
        i += 1
    return -n if negative else n
