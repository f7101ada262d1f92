"""One snapshot of the whole keyspace without fork: slot by slot, in slices, exact for the instant at which it began.

A write to a slot that is not written out yet writes that slot out first (`before_write`, called by the dispatcher),
so what is written of each slot is what it held when the snapshot began. The slot is the unit of consistency, in
cluster mode and not.
"""

from collections.abc import Callable
from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64

from cluster.slots import SLOTS
from node.engine import Engine
from node.ports import Snapshots
from node.rdb.encode import crc64, header, select, trailer, write_key, write_string
from node.rdb.opcodes import FUNCTION2

CLOCK_LRU: Final = 1
SLOTS_A_LOOK: Final = 8  # slots between two looks at the clock


@final
class Snapshot(Snapshots):
    """An RDB file in the making; `advance` gives its bytes piece by piece until `finished`."""

    engine: Engine
    finished: bool
    _done: bytearray
    _next: i64
    _dbid: i64
    _crc: int
    _out: BytesWriter
    _compress: bool

    def __init__(self, engine: Engine, fields: dict[bytes, bytes]) -> None:
        super().__init__()
        self.engine = engine
        self.finished = False
        self.active = True
        self._done = bytearray(SLOTS)
        self._next = 0
        self._dbid = -1
        self._crc = 0
        self._out = BytesWriter()
        self._compress = engine.settings.options.flag("rdbcompression")
        fixed = {
            b"valkey-ver": b"8.1.0", b"redis-bits": b"64", b"ctime": b"%d" % (engine.now_ms // 1000),
            b"used-mem": b"%d" % engine.used_memory(),
        }  # fmt: skip
        field_times = any(store.inside_count() > 0 for store in engine.stores)
        self._out.write(header({**fixed, **fields, b"aof-base": b"0"}, field_times))

        for code in engine.scripts.codes():
            self._out.append(FUNCTION2)
            write_string(self._out, code, self._compress)

    def before_write(self, dbid: i64, slot: i64) -> None:
        """A command is about to change a slot (-1: all): write out what it holds now."""
        if slot >= 0:
            self._write_slot(slot)
            return
        for each in range(SLOTS):
            self._write_slot(each)

    def _write_slot(self, slot: i64) -> None:
        if self._done[slot]:
            return
        self._done[slot] = 1
        w = self._out
        for dbid, store in enumerate(self.engine.stores):
            if store.count(slot) > 0:
                if dbid != self._dbid:
                    w.write(select(dbid))
                    self._dbid = dbid
                for key, value, expire_at in store.items_in(slot):
                    write_key(w, key, value, expire_at, -1, -1, self._compress)

    def advance(self, until: float, clock: Callable[[], float]) -> bytes:
        """Walk on until the clock says so, and return what was written since the last call."""
        while self._next < SLOTS:
            end = min(self._next + SLOTS_A_LOOK, SLOTS)
            while self._next < end:
                self._write_slot(self._next)
                self._next += 1
            if clock() >= until:
                break
        data = self._out.getvalue()
        self._out = BytesWriter()
        self._crc = crc64(data, self._crc)
        if self._next == SLOTS:
            self.finished = True
            data += trailer(self._crc)
        return data

    def close(self) -> None:
        """The snapshot is over: writes need not be told any more."""
        self.active = False
