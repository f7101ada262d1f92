"""Bytes of the RDB format, read one by one: lengths, strings, checksum. Every length is checked before it is used."""

from typing import BinaryIO, Final, final

import lzf
from mypy_extensions import i64

from node.rdb.encode import crc64
from node.rdb.opcodes import ENCODED, INT8, INT16, INT32, LENGTH_32, LENGTH_64, LZF

CHUNK: Final = 1 << 20
EXPANSION_MAX: Final = 1 << 29  # bytes of one compressed string when it is unpacked, as proto-max-bulk-len
EXPANSION: Final = 88  # LZF's greatest: three bytes stand for up to 264


class RdbError(Exception):
    """The bytes are no sound RDB; the text tells the offset and the reason."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"RDB, offset {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class PayloadError(RdbError):
    """A DUMP payload whose trailer (version, checksum) is wrong."""


_MODULE_CHARACTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def module_name(id: int) -> str:
    """The name of a module's type: nine characters of six bits, above ten bits of its version."""
    return "".join(_MODULE_CHARACTERS[(id >> (10 + 6 * n)) & 63] for n in range(8, -1, -1))


@final
class Reader:
    """Bytes of a file, bounded by its size, with the checksum of what was consumed."""

    _file: BinaryIO
    _buf: bytes
    _pos: i64
    _base: i64  # offset in the file of _buf[0]
    size: i64
    crc: int

    def __init__(self, file: BinaryIO, size: i64) -> None:
        self._file = file
        self._buf = b""
        self._pos = 0
        self._base = 0
        self.size = size
        self.crc = 0

    def offset(self) -> i64:
        """Of the next byte."""
        return self._base + self._pos

    def left(self) -> i64:
        """Bytes to the end of the file."""
        return self.size - self.offset()

    def error(self, reason: str) -> RdbError:
        """The exception for something wrong just here."""
        return RdbError(self.offset(), reason)

    def take(self, n: i64) -> bytes:
        """The next n bytes."""
        if n > self.left():
            raise self.error(f"{n} bytes expected, {self.left()} are left")
        end = self._pos + n
        if end <= len(self._buf):
            data = self._buf[self._pos : end]
            self._pos = end
            return data
        head = self._buf[self._pos :]
        self._turn()
        missing = n - len(head)
        if missing >= CHUNK:
            body = self._file.read(missing)
            self._base += len(body)
            self.crc = crc64(body, self.crc)
        else:
            self._buf = self._file.read(CHUNK)
            body = self._buf[:missing]
            self._pos = len(body)
        if len(body) < missing:
            raise self.error("the file ends early")
        return head + body

    def _turn(self) -> None:
        """Account for the buffer, all of which has been taken."""
        self.crc = crc64(self._buf, self.crc)
        self._base += len(self._buf)
        self._buf = b""
        self._pos = 0

    def checksum(self) -> int:
        """Of everything taken so far."""
        return crc64(self._buf[: self._pos], self.crc)

    def byte(self) -> i64:
        """The next byte."""
        if self._pos < len(self._buf):
            n: i64 = self._buf[self._pos]
            self._pos += 1
            return n
        return self.take(1)[0]

    def length(self) -> i64:
        """A plain length."""
        n, special = self._length()
        if special:
            raise self.error("a special string where a length belongs")
        return n

    def length64(self) -> int:
        """A number of 64 bits, unsigned, in the form of a length (what is no length may use them all)."""
        first = self.byte()
        if first == LENGTH_64:
            return int.from_bytes(self.take(8), "big")
        n, special = self._length_from(first)
        if special:
            raise self.error("a special string where a number belongs")
        return int(n)

    def _length(self) -> tuple[i64, bool]:
        return self._length_from(self.byte())

    def _length_from(self, first: i64) -> tuple[i64, bool]:
        kind = first >> 6
        if kind == 0:
            return first, False
        if kind == 1:
            return ((first & 0x3F) << 8) | self.byte(), False
        if kind == ENCODED:
            return first & 0x3F, True
        if first == LENGTH_32:
            return int.from_bytes(self.take(4), "big"), False
        if first == LENGTH_64:
            n = int.from_bytes(self.take(8), "big")
            if n >= 1 << 62:
                raise self.error("a length beyond all bounds")
            return n, False
        raise self.error(f"unknown length form {first}")

    def string(self) -> bytes:
        """A string in any of its forms."""
        n, special = self._length()
        if not special:
            return self.take(n)
        if n == INT8:
            return b"%d" % int.from_bytes(self.take(1), "little", signed=True)
        if n == INT16:
            return b"%d" % int.from_bytes(self.take(2), "little", signed=True)
        if n == INT32:
            return b"%d" % int.from_bytes(self.take(4), "little", signed=True)
        if n != LZF:
            raise self.error(f"unknown string form {n}")
        packed = self.length()
        size = self.length()
        if packed > self.left() or size > EXPANSION_MAX or size > packed * EXPANSION:
            raise self.error(f"a compressed string of {packed} bytes claims to hold {size}")
        try:
            data = lzf.decompress(self.take(packed), size)
        except ValueError as error:
            raise self.error(f"a compressed string is broken: {error}") from None
        if data is None or len(data) != size:
            raise self.error("a compressed string is broken")
        return bytes(data)

    def count(self, least: i64) -> i64:
        """A number of elements that take at least `least` bytes each."""
        n = self.length()
        if n > self.left() // least:
            raise self.error(f"{n} elements can't be in {self.left()} bytes")
        return n
