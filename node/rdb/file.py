"""An RDB file read key by key, in parts: the magic, the fields beside the keys, the functions, the end.

Files of Redis 2.8 to 7.4 (versions up to 12) and of Valkey up to 9 (80 and later) are read. What holds no data of the
keyspace is skipped where that loses nothing (a module's auxiliary data, hints of sizes), and refused otherwise, with
the offset and the reason. Nothing is allocated for a length that the rest of the file can't hold.
"""

import struct
from typing import BinaryIO, Final, final

from mypy_extensions import i64

from node.rdb.opcodes import (
    AUX,
    EOF,
    EXPIRETIME,
    EXPIRETIME_MS,
    FREQ,
    FUNCTION2,
    FUNCTION_PRE_GA,
    HASH_2,
    IDLE,
    MAGIC,
    MAGIC_VALKEY,
    MODULE_AUX,
    MODULE_DOUBLE,
    MODULE_EOF,
    MODULE_FLOAT,
    MODULE_SIGNED,
    MODULE_STRING,
    MODULE_UNSIGNED,
    REDIS_FIELD_TIMES,
    RESIZEDB,
    SELECTDB,
    SLOT_IMPORT,
    SLOT_INFO,
    VERSION_CHECKSUM,
    VERSION_REDIS,
    VERSIONS_VALKEY,
)  # fmt: skip
from node.rdb.reader import Reader, module_name
from node.rdb.values import ValueReader

END: Final = 0  # the file is complete, its checksum right
KEY: Final = 1  # a key is there
PART: Final = 2  # a part of a big value was read; go on

_SECONDS: Final = struct.Struct("<i")
_MILLISECONDS: Final = struct.Struct("<q")
_SLOTS: Final = 16384


def _time(ms: i64) -> i64:
    """An expiry as stores have it: of 0 for never (-1 in the file), and never below 1 else, for that is over."""
    return 0 if ms == -1 else max(ms, 1)


@final
class RdbReader:
    """Pull keys out of a file: `advance` (or `next`) fills the attributes. Every method may raise RdbError."""

    version: i64
    valkey: bool  # by the magic
    aux: dict[bytes, bytes]
    functions: list[bytes]  # the code of each library
    modules: list[str]  # whose auxiliary data were skipped
    importing: list[tuple[int, int]]  # slots that were moving in when the file was written: their keys may be partial
    empty: i64  # keys without a value, left out as Valkey does
    began: i64  # offset of the key's type byte
    dbid: i64
    kind: i64  # the type byte
    key: bytes
    value: object
    expire_at: i64  # Unix ms, 0: never
    idle: i64  # seconds, -1: unknown
    frequency: i64  # LFU counter, -1: unknown
    reader: Reader
    _values: ValueReader
    _inside: bool

    def __init__(self, file: BinaryIO, size: i64) -> None:
        """Read the header of a file that has `size` bytes from where it stands."""
        self.reader = Reader(file, size)
        self._values = ValueReader(self.reader)
        self.version = 0
        self.valkey = False
        self.aux = {}
        self.functions = []
        self.modules = []
        self.importing = []
        self.empty = 0
        self.began = 0
        self.dbid = 0
        self._inside = False
        self._forget()
        self._read_header()

    def _forget(self) -> None:
        self.kind = 0
        self.key = b""
        self.value = None
        self.expire_at = 0
        self.idle = -1
        self.frequency = -1

    def offset(self) -> i64:
        """Of the next byte; after END, of what follows the file's end (the commands of an AOF)."""
        return self.reader.offset()

    def next(self) -> bool:
        """Read the next key with its whole value; False at the end."""
        while True:
            found = self.advance()
            if found != PART:
                return found == KEY

    def advance(self) -> i64:
        """Read on a little: END, KEY or PART."""
        if self._inside:
            if not self._values.step():
                return PART
        else:
            self._forget()
            if not self._read_opcodes():
                return END
            self.key = self.reader.string()
            self._inside = True
            if not self._values.start(self.kind):
                return PART
        self._inside = False
        self.value = self._values.value
        if self.value is None:
            self.empty += 1
            return PART
        return KEY

    def _read_header(self) -> None:
        r = self.reader
        if r.size < 9:
            raise r.error("shorter than an RDB header")
        magic = r.take(9)
        known = False
        if magic.startswith(MAGIC) and magic[5:].isdigit():
            self.version = int(magic[5:])
            known = 1 <= self.version <= VERSION_REDIS
        elif magic.startswith(MAGIC_VALKEY) and magic[6:].isdigit():
            self.valkey = True
            self.version = int(magic[6:])
            known = VERSIONS_VALKEY[0] <= self.version <= VERSIONS_VALKEY[1]
        else:
            raise r.error(f"no RDB file: it begins with {magic!r}")
        if not known:
            raise r.error(f"a version that is not read here: {magic.decode()}")

    def _read_opcodes(self) -> bool:
        """Read up to the type byte of the next key; False at the end of the file."""
        r = self.reader
        while True:
            kind = r.byte()
            if kind == EXPIRETIME_MS:
                self.expire_at = _time(_MILLISECONDS.unpack(r.take(8))[0])
            elif kind == EXPIRETIME:
                seconds = i64(_SECONDS.unpack(r.take(4))[0])
                self.expire_at = _time(seconds * 1000 if seconds != -1 else -1)
            elif kind == IDLE:
                self.idle = r.length()
            elif kind == FREQ:
                self.frequency = r.byte()
            elif kind == SELECTDB:
                self.dbid = r.length()
            elif kind == EOF:
                self._check_end()
                return False
            elif kind < SLOT_IMPORT:
                self._set_kind(kind)
                return True
            else:
                self._read_other(kind)

    def _set_kind(self, kind: i64) -> None:
        """Note a value's type; those of Redis 7.4 have a number that Valkey uses otherwise."""
        self.began = self.reader.offset() - 1
        self.kind = kind
        if kind == HASH_2 and not self.valkey:
            self.kind = REDIS_FIELD_TIMES[0]

    def _read_other(self, kind: i64) -> None:
        """What is no key and belongs to none."""
        r = self.reader
        if kind == AUX:
            name = r.string()
            self.aux[name] = r.string()
        elif kind == RESIZEDB:
            r.length()
            r.length()
        elif kind == SLOT_INFO:
            r.length()
            r.length()
            r.length()
        elif kind == FUNCTION2:
            self.functions.append(r.string())
        elif kind == SLOT_IMPORT:
            self._read_import()
        elif kind == MODULE_AUX:
            self._skip_module()
        elif kind == FUNCTION_PRE_GA:
            raise r.error("functions in a form that only release candidates of Redis 7.0 wrote")
        else:
            raise r.error(f"unknown opcode {kind}")

    def _read_import(self) -> None:
        """A slot import that was under way (Valkey 9): its name, then ranges of slots."""
        r = self.reader
        r.string()
        for _ in range(r.count(2)):
            first = r.length()
            last = r.length()
            if not first <= last < _SLOTS:
                raise r.error("a range of slots beyond all bounds")
            self.importing.append((first, last))

    def _skip_module(self) -> None:
        r = self.reader
        self.modules.append(module_name(r.length64()))
        if r.length() != MODULE_UNSIGNED:
            raise r.error("a module's data don't say where they belong")
        r.length()
        while True:
            kind = r.length()
            if kind == MODULE_EOF:
                return
            if kind in (MODULE_SIGNED, MODULE_UNSIGNED):
                r.length64()
            elif kind == MODULE_FLOAT:
                r.take(4)
            elif kind == MODULE_DOUBLE:
                r.take(8)
            elif kind == MODULE_STRING:
                r.string()
            else:
                raise r.error(f"unknown form {kind} in the data of the module {self.modules[-1]}")

    def _check_end(self) -> None:
        if self.version < VERSION_CHECKSUM:
            return
        r = self.reader
        wanted = r.checksum()
        given = int.from_bytes(r.take(8), "little")
        if given not in (0, wanted):  # 0: written without checksum
            raise r.error("the checksum is wrong")
