"""Cuts what a primary sends at the places where nothing is half done: behind whole commands, outside transactions.

Only such pieces are applied and passed on. So dataset, offset and what our own replicas have agree at every instant,
and a link that breaks in the middle of a command or transaction is continued from before it.
"""

from typing import Final, final

from librt.strings import read_i16_le
from mypy_extensions import i64

LINE_MAX: Final = 64 * 1024
DIGITS_MAX: Final = 15
SMALLEST_ARGUMENT: Final = 6  # bytes: $0, an empty text, and their line ends
COLLECT_FROM: Final = 64 * 1024  # missing bytes from which on pieces are joined only once all are there

_STAR: Final = 42
_DOLLAR: Final = 36
_CR: Final = 13
_LF: Final = 10
_CR_LF: Final = 0x0A0D  # read as one little-endian number


class StreamError(Exception):
    """What came is no stream of commands."""


@final
class Cutter:
    """Feed it bytes; `take` gives what may be applied. Raises StreamError."""

    _done: list[bytes]  # whole commands of a transaction whose end has not come
    _buf: bytes
    _start: i64  # in _buf: behind what was given out
    _whole: i64  # behind the last command that may be given out
    _command: i64  # where the command begins that is being looked at
    _pos: i64  # how far it was looked at
    _left: i64  # arguments that it lacks, 0: its head
    _named: bool  # its name was seen
    _transaction: bool  # behind MULTI
    _pieces: list[bytes]  # collected, to be joined
    _have: i64  # bytes of them
    _need: i64  # bytes before which the command can't be whole

    def __init__(self) -> None:
        self._done = []
        self._buf = b""
        self._start = 0
        self._whole = 0
        self._command = 0
        self._pos = 0
        self._left = 0
        self._named = False
        self._transaction = False
        self._pieces = []
        self._have = 0
        self._need = 0

    def feed(self, data: bytes) -> None:
        """Take what came."""
        if self._have > 0:
            self._pieces.append(data)
            self._have += len(data)
            return
        base = self._start
        if self._whole == self._start and self._command > base:  # of a transaction
            self._done.append(self._buf[base : self._command])
            base = self._command
        rest = self._buf[base:]
        self._pos -= base
        self._command -= base
        self._whole = max(self._whole - base, 0)
        self._start = 0
        if len(rest) > 0 and self._command == 0 and self._need - len(rest) - len(data) >= COLLECT_FROM:
            self._pieces = [rest, data]
            self._have = len(rest) + len(data)
            self._buf = b""
        else:
            self._buf = rest + data if len(rest) > 0 else data

    def take(self, limit: i64) -> bytes:
        """The next whole commands: as many as reach `limit` bytes, or a whole transaction; empty when more has to come
        first.
        """
        if self._have > 0:
            if self._have < self._need:
                return b""
            self._buf = b"".join(self._pieces)
            self._pieces = []
            self._have = 0
        while self._whole - self._start < limit and self._next():
            self._command = self._pos
            if not self._transaction:
                self._whole = self._pos
        if self._whole == self._start:
            return b""
        data = self._buf[self._start : self._whole]
        self._start = self._whole
        if len(self._done) > 0:
            self._done.append(data)
            data = b"".join(self._done)
            self._done = []
        return data

    def pending(self) -> i64:
        """Bytes that came and were not given out."""
        size: i64 = len(self._buf) - self._start + self._have
        for part in self._done:
            size += len(part)
        return size

    def _next(self) -> bool:
        """Look at the next command up to its end; False when it has not come."""
        if self._left == 0:
            self._need = 0  # that of the command before says nothing of this one
            if self._pos >= len(self._buf):
                return False
            if self._buf[self._pos] != _STAR:
                return self._inline()
            count = self._number(_STAR)
            if count < 0:
                return False
            self._left = count
            self._named = False
        buf = self._buf
        size: i64 = len(buf)
        pos: i64 = self._pos
        left: i64 = self._left
        while left > 0:
            # The usual `$<up to 4 digits>\r\n` without a call; anything else by the slow way.
            i: i64 = pos + 1
            length: i64 = 0
            while i < size and i < pos + 5:
                digit: i64 = buf[i] - 48
                if digit < 0 or digit > 9:
                    break
                length = length * 10 + digit
                i += 1
            if i + 1 < size and i > pos + 1 and buf[pos] == _DOLLAR and read_i16_le(buf, i) == _CR_LF:
                begin: i64 = i + 2
            else:
                self._pos = pos
                self._left = left
                length = self._number(_DOLLAR)
                if length < 0:
                    self._need = pos - self._command + left * SMALLEST_ARGUMENT
                    return False
                begin = self._pos
            end: i64 = begin + length + 2
            if end > size:
                self._need = end - self._command + (left - 1) * SMALLEST_ARGUMENT
                self._pos = pos
                self._left = left
                return False
            if not self._named:
                self._named = True
                if 4 <= length <= 7:
                    self._note(buf[begin : begin + length])
            pos = end
            left -= 1
        self._pos = pos
        self._left = 0
        return True

    def _note(self, name: bytes) -> None:
        """A command's name: transactions begin and end."""
        word = name.lower()
        if word == b"multi":
            self._transaction = True
        elif word == b"exec" or word == b"discard":
            self._transaction = False

    def _inline(self) -> bool:
        """A line that is no multibulk request: a lone line end, or a command in words."""
        end: i64 = self._buf.find(b"\n", self._pos)
        if end < 0:
            if len(self._buf) - self._pos > LINE_MAX:
                raise StreamError("a line without end")
            return False
        words = self._buf[self._pos : end].split()
        if len(words) > 0:
            self._note(words[0])
        self._pos = end + 1
        return True

    def _number(self, kind: i64) -> i64:
        """The number of a `*` or `$` line, behind which `_pos` stands then; -1 when the line is not complete."""
        buf = self._buf
        size: i64 = len(buf)
        pos: i64 = self._pos
        if pos < size and buf[pos] != kind:
            raise StreamError("an argument without its length")
        pos += 1
        number: i64 = 0
        first: i64 = pos
        while pos < size and 48 <= buf[pos] <= 57:
            number = number * 10 + (buf[pos] - 48)
            pos += 1
            if pos - first > DIGITS_MAX:
                raise StreamError("a length that no command has")
        if pos < size and (buf[pos] != _CR or pos == first):
            raise StreamError("a length that is no number")
        if pos + 1 >= size:
            return -1
        if buf[pos + 1] != _LF:
            raise StreamError("a length without its line end")
        self._pos = pos + 2
        return number
