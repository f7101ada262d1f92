"""Replies, skipped over: where one reply ends in a stream of RESP2 or RESP3, without making values of it.

A reply is a tree, yet to find its end a counter suffices: `need` elements are still to come, an aggregate of n adds n.
Nothing is scanned twice: the part of an unfinished reply that has been passed is put aside in `_pieces` and joined
once, at its end. Source of the types: the RESP specification of Redis and Valkey (streamed aggregates `*?` are never
sent by them and refused).
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from cluster.resp.errors import ProtocolError

MAX_REPLY: Final = 1 << 30  # bytes of one reply: a value of 512 MB twice over
MAX_LINE: Final = 64 * 1024
MAX_ELEMENTS: Final = 1 << 31

_ATTRIBUTE: Final = 124  # |


@final
@mypyc_attr(acyclic=True)
class ReplySkipper:
    """Feed it bytes, then call `next` until it answers False; after True `reply()` is the reply and `kind` its first
    byte.

    While `split` is false the reply is `buf[start:end]`, so that it can be written without a copy of its own.
    """

    buf: bytes
    start: i64
    end: i64
    kind: i64
    split: bool
    max_reply: i64
    _pos: i64
    _need: i64  # elements that the reply in progress still lacks, 0 between replies
    _skip: i64  # bytes of the bulk in progress that are still to come, its line break included
    _pieces: list[bytes]
    _held: i64  # bytes in _pieces
    _joined: bytes

    def __init__(self, max_reply: i64 = MAX_REPLY) -> None:
        self.buf = b""
        self.start = 0
        self.end = 0
        self.kind = 0
        self.split = False
        self.max_reply = max_reply
        self._pos = 0
        self._need = 0
        self._skip = 0
        self._pieces = []
        self._held = 0
        self._joined = b""

    def feed(self, data: bytes) -> None:
        """Take what came from the server; call only after `next` has answered False."""
        pos = self._pos
        size: i64 = len(self.buf)
        if self._need > 0 and pos > self.start:
            self._pieces.append(self.buf[self.start : pos])
            self._held += pos - self.start
        if pos >= size:
            self.buf = data
        else:
            self.buf = self.buf[pos:] + data
        self.start = 0
        self._pos = 0

    def unfinished(self) -> bool:
        """Whether a part of a reply has come and its end has not."""
        return self._need > 0 or self._pos < len(self.buf)

    def reply(self) -> bytes:
        """The reply that `next` has found."""
        return self._joined if self.split else self.buf[self.start : self.end]

    def next(self) -> bool:
        """Find the end of one reply; False when more bytes are needed. Raises ProtocolError."""
        buf = self.buf
        size: i64 = len(buf)
        pos: i64 = self._pos
        need: i64 = self._need
        if need == 0:
            if pos >= size:
                return False
            self.start = pos
            self.kind = buf[pos]
            need = 1
        if self._skip > 0:
            if pos + self._skip > size:
                self._skip -= size - pos
                self._stop(size, need)
                return False
            pos += self._skip
            self._skip = 0
            need -= 1
        while need > 0:
            end: i64 = pos + 1
            while end < size and buf[end] != 13:
                end += 1
            if end + 1 >= size:
                if size - pos > MAX_LINE and buf[pos] != 45 and buf[pos] != 43:
                    raise ProtocolError(b"Protocol error: a length line without end from the server")
                self._stop(pos, need)
                return False
            mark: i64 = buf[pos]
            if mark == 36 or mark == 61 or mark == 33:  # $ = !
                length = _length(buf, pos + 1, end)
                pos = end + 2
                if length >= 0:
                    if pos + length + 2 > size:
                        self._skip = pos + length + 2 - size
                        self._stop(size, need)
                        return False
                    pos += length + 2
                need -= 1
            elif mark == 43 or mark == 45 or mark == 58 or mark == 95 or mark == 44 or mark == 35 or mark == 40:
                pos = end + 2
                need -= 1
            else:
                need += _elements(mark, _length(buf, pos + 1, end))
                if need > MAX_ELEMENTS:
                    raise ProtocolError(b"Protocol error: too many elements from the server")
                pos = end + 2
        self._pos = pos
        self._need = 0
        self.end = pos
        self.split = self._held > 0
        if self.split:
            self._pieces.append(buf[self.start : pos])
            self._joined = b"".join(self._pieces)
            self.kind = self._joined[0]
            self._pieces = []
            self._held = 0
        return True

    def _stop(self, pos: i64, need: i64) -> None:
        """Remember how far the unfinished reply has been passed."""
        self._pos = pos
        self._need = need
        if self._held + (len(self.buf) - self.start) + self._skip > self.max_reply:
            raise ProtocolError(b"Protocol error: a reply larger than allowed from the server")


def _elements(mark: i64, count: i64) -> i64:
    """What the head of an aggregate changes in the number of elements to come."""
    if mark == 42 or mark == 126 or mark == 62:  # * ~ >
        return count - 1 if count > 0 else -1
    if mark == 37:  # %
        return 2 * count - 1 if count > 0 else -1
    if mark == _ATTRIBUTE:  # an attribute stands before an element and is none itself
        return 2 * count if count > 0 else 0
    raise ProtocolError(b"Protocol error: unknown reply type from the server")


def _length(buf: bytes, start: i64, end: i64) -> i64:
    """The decimal number in `buf[start:end]`, -1 for null. Raises ProtocolError."""
    if end - start == 2 and buf[start] == 45 and buf[start + 1] == 49:
        return -1
    if start >= end or end - start > 12:
        raise ProtocolError(b"Protocol error: bad length from the server")
    n: i64 = 0
    i: i64 = start
    while i < end:
        digit: i64 = buf[i] - 48
        if digit < 0 or digit > 9:
            raise ProtocolError(b"Protocol error: bad length from the server")
        n = n * 10 + digit
        i += 1
    return n


def elements(reply: bytes) -> list[bytes]:
    """The encoded elements of an array, set or push; [] for null. Raises ProtocolError for anything else."""
    if not reply or reply[0] not in b"*~>":
        if reply[:1] == b"_":
            return []
        raise ProtocolError(b"Protocol error: no array from the server")
    body: i64 = reply.find(b"\r\n") + 2
    skipper = ReplySkipper()
    skipper.feed(reply[body:])
    found: list[bytes] = []
    while skipper.next():
        found.append(skipper.reply())
    return found


def bulk_text(reply: bytes) -> bytes:
    """The text of a bulk, verbatim or simple string; b"" for null."""
    if not reply:
        return b""
    mark = reply[0]
    if mark == 36 or mark == 61:
        line = reply.find(b"\r\n")
        if reply[1:line] == b"-1":
            return b""
        return reply[line + 2 + (4 if mark == 61 else 0) : -2]
    if mark == 95:
        return b""
    return reply[1:-2]
