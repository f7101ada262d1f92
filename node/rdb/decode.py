"""Loading RDB files into stores, and the payloads of RESTORE and FUNCTION RESTORE."""

import io
import os
from collections.abc import Iterator
from typing import BinaryIO, final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.keyspace import Store
from node.rdb.encode import crc64
from node.rdb.file import END, KEY, RdbReader
from node.rdb.opcodes import FUNCTION2, VERSION, VERSION_FIELDS
from node.rdb.reader import PayloadError, Reader
from node.rdb.values import ValueReader


@final
class StoreLoader:
    """Puts the keys of a file into stores, a key or a part of a big one at each `step`. Raises RdbError."""

    file: RdbReader
    keys: i64  # that were put into a store
    expired: i64  # that were left out because their time was over
    dropped: list[tuple[i64, bytes]]  # these: database and key; for the caller to take and empty
    _stores: list[Store]
    _now_ms: i64
    _drop_expired: bool

    def __init__(self, file: BinaryIO, size: i64, stores: list[Store], now_ms: i64, drop_expired: bool) -> None:
        self.file = RdbReader(file, size)
        self.keys = 0
        self.expired = 0
        self.dropped = []
        self._stores = stores
        self._now_ms = now_ms
        self._drop_expired = drop_expired

    def step(self) -> i64:
        """Read on a little: END, KEY or PART."""
        f = self.file
        found = f.advance()
        if found == KEY:
            there = len(self._stores)
            if f.dbid >= there:
                raise f.reader.error(
                    f"database {f.dbid}, but there are {there}; raise `databases`, or leave cluster mode"
                )
            if self._drop_expired and 0 < f.expire_at <= self._now_ms:
                self.expired += 1
                self.dropped.append((f.dbid, f.key))
            else:
                self._keep(f)
        return found

    def _keep(self, f: RdbReader) -> None:
        store = self._stores[f.dbid]
        slot = key_slot(f.key)
        store.put(slot, f.key, f.value)
        self.keys += 1
        if f.expire_at > 0:
            store.set_expire(slot, f.key, f.expire_at)
        if f.idle >= 0:
            store.set_clock(slot, f.key, (self._now_ms // 1000 - f.idle) & 0xFFFFFF)
        elif f.frequency >= 0:
            store.set_clock(slot, f.key, (((self._now_ms // 60000) & 0xFFFF) << 8) | f.frequency)


def load(
    file: BinaryIO, stores: list[Store], now_ms: i64, drop_expired: bool, functions: list[bytes]
) -> Iterator[None]:
    """Put every key of a file into the stores, and the code of each library of functions into `functions`; yields after
    each key.
    """
    loader = StoreLoader(file, os.fstat(file.fileno()).st_size, stores, now_ms, drop_expired)
    found = loader.step()
    while found != END:
        if found == KEY:
            yield
        found = loader.step()
    functions.extend(loader.file.functions)


def _payload(payload: bytes) -> Reader:
    """What a DUMP payload holds, its trailer checked. Raises PayloadError."""
    if len(payload) < 10:
        raise PayloadError(0, "the payload is shorter than its trailer")
    version = int.from_bytes(payload[-10:-8], "little")
    if version > VERSION and version != VERSION_FIELDS:
        raise PayloadError(len(payload) - 10, f"a payload of RDB version {version}")
    given = int.from_bytes(payload[-8:], "little")
    if given not in (0, crc64(payload[:-8])):
        raise PayloadError(len(payload) - 8, "the payload's checksum is wrong")
    body = payload[:-10]
    return Reader(io.BytesIO(body), len(body))


def restore(payload: bytes) -> object:
    """The value of a DUMP payload; raises PayloadError for its trailer, RdbError for its content."""
    r = _payload(payload)
    value = ValueReader(r).read(r.byte())
    if value is None:
        raise r.error("an empty container")
    if r.left():
        raise r.error("bytes are left after the value")
    return value


def function_codes(payload: bytes) -> list[bytes]:
    """The codes of the libraries in a FUNCTION DUMP payload; raises as `restore` does."""
    r = _payload(payload)
    codes: list[bytes] = []
    while r.left():
        if r.byte() != FUNCTION2:
            raise r.error("no function")
        codes.append(r.string())
    return codes
