"""Commands of an append-only file, read one by one from wherever the file stands, each length checked before use.

Between commands may stand lines that begin with `#`: annotations such as `#TS:<Unix seconds>`. Numbers of the format
are those of requests (RESP arrays of bulk strings).
"""

import os
from typing import BinaryIO, Final, final

from mypy_extensions import i64

CHUNK: Final = 1 << 20
LINE_MAX: Final = 1024  # of an annotation
NUMBER_MAX: Final = 32  # bytes of a length with its line's end
ARGUMENTS_MAX: Final = 1 << 20


class AofError(Exception):
    """The file is not in the format of an append-only file; the text tells the offset and the reason."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"AOF, offset {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class TornError(AofError):
    """The file ends inside a command."""


@final
class AofReader:
    """Pulls commands out of a file: `next` fills `args`, `began` and `offset`. Raises AofError and OSError."""

    size: i64  # of the whole file
    args: list[bytes]
    began: i64  # offset of the last command
    offset: i64  # behind it
    timestamp: i64  # of the last annotation, Unix seconds, 0: none yet
    _file: BinaryIO
    _buf: bytes
    _pos: i64
    _base: i64  # offset of _buf[0]

    def __init__(self, file: BinaryIO, offset: i64) -> None:
        """Read on from `offset`."""
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        file.seek(offset)
        self.args = []
        self.began = offset
        self.offset = offset
        self.timestamp = 0
        self._buf = b""
        self._pos = 0
        self._base = offset

    def _torn(self) -> TornError:
        return TornError(self.size, f"the file ends inside the command that begins at offset {self.began}")

    def _fill(self, wanted: i64) -> None:
        """Have `wanted` bytes from `_pos` on, or as many as there are."""
        have: i64 = len(self._buf) - self._pos
        if have >= wanted:
            return
        if self._base + self._pos + wanted > self.size:
            wanted = self.size - self._base - self._pos
        rest = self._buf[self._pos :]
        self._base += self._pos
        self._pos = 0
        if wanted > have:
            more = max(wanted - have, CHUNK)
            parts = [rest]
            while have < wanted:
                data = self._file.read(more)
                if len(data) == 0:
                    break
                parts.append(data)
                have += len(data)
                more -= len(data)
            rest = b"".join(parts)
        self._buf = rest

    def _line(self, longest: i64) -> bytes:
        """The next line without its end."""
        end: i64 = self._buf.find(b"\n", self._pos, self._pos + longest)
        if end < 0:
            self._fill(longest)
            end = self._buf.find(b"\n", self._pos, self._pos + longest)
            if end < 0:
                if len(self._buf) - self._pos < longest:
                    raise self._torn()
                raise AofError(self._base + self._pos, "a line that does not end")
        line = self._buf[self._pos : end]
        self._pos = end + 1
        return line

    def _number(self, sign: bytes) -> i64:
        self._fill(1)
        at = self._base + self._pos
        found = self._buf[self._pos : self._pos + 1]
        if len(found) == 1 and found != sign:
            raise AofError(at, f"expected {sign.decode()!r}, found {found!r}")
        line = self._line(NUMBER_MAX)
        digits = line[1 : max(len(line) - 1, 1)]  # compiled, a slice may not end before it begins
        if not line.endswith(b"\r") or not digits.isdigit() or len(digits) > 18:
            raise AofError(at, f"no number: {line!r}")
        return int(digits)

    def next(self) -> bool:
        """Read the next command; False at the end of the file."""
        while True:
            self.began = self._base + self._pos
            if self._pos >= len(self._buf):
                self._fill(1)
                if len(self._buf) == 0:
                    self.offset = self.began
                    return False
            if self._buf[self._pos] != 35:  # not "#"
                break
            line = self._line(LINE_MAX)
            if line.startswith(b"#TS:") and 5 < len(line) < 24 and line[4:-1].isdigit():
                self.timestamp = int(line[4:-1])
        count = self._number(b"*")
        if count < 1 or count > ARGUMENTS_MAX:
            raise AofError(self.began, f"a command of {count} arguments")
        args: list[bytes] = []
        number: i64 = 0
        while number < count:
            args.append(self._argument())
            number += 1
        self.args = args
        self.offset = self._base + self._pos
        return True

    def _argument(self) -> bytes:
        length = self._number(b"$")
        at = self._base + self._pos
        if at + length + 2 > self.size:
            raise self._torn()
        self._fill(length + 2)
        end = self._pos + length
        if len(self._buf) < end + 2:
            raise self._torn()
        if self._buf[end] != 13 or self._buf[end + 1] != 10:
            raise AofError(at + length, "an argument longer than its length says")
        arg = self._buf[self._pos : end]
        self._pos = end + 2
        return arg
