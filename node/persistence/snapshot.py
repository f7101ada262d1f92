"""The one snapshot iterator: the whole keyspace as it was at one instant, without fork, in slices.

A snapshot walks slot by slot. Before a command changes a slot that is not written yet, `before_write` sees to it that
what the slot held is not lost: a slot of a few keys is written out at once; of one with many keys the changed keys
alone, from tables whose parts are copied before they change (`Store.freeze`). A big value is not written there and then
but held still (`node.rdb.pieces`) and written in its turn, piece by piece. FLUSHALL and FLUSHDB give the tables that
they drop to the snapshots (`before_clear`); SWAPDB needs nothing, since a snapshot knows the stores and not their
numbers. So no step takes longer than some ten microseconds, whatever the data.

Keys that expire meanwhile may be missing: whoever loads the bytes would drop them too. `Hub` is what the engine knows;
RDB files, full syncs and the append-only file's rewrite each start a `Snapshot` from it and pull its bytes; several may
run at once.
"""

from collections.abc import Callable
from typing import Final, cast, final

from librt.strings import BytesWriter
from mypy_extensions import i64

from cluster.slots import SLOTS
from cluster.version import VALKEY_VERSION
from node.engine import Engine
from node.eviction import CLOCK_MASK, LFU, LRU, POLICIES, lfu_decayed
from node.frozen import Form, FrozenSlot
from node.keyspace import Store
from node.ports import Snapshots
from node.rdb.encode import crc64, header, select, trailer, write_head, write_key, write_string
from node.rdb.opcodes import EOF, FUNCTION2
from node.rdb.pieces import Pieces, is_big
from node.reaper import Reaper
from node.types.hash import Hash

FEW: Final = 128  # keys of a slot that are written out at once
FULL: Final = 1 << 19  # bytes after which `advance` returns, whatever the time
AT_ONCE: Final = 64  # keys written between two looks at the clock
SLOTS_A_LOOK: Final = 64  # empty slots passed between two looks at the clock

_FRESH: Final = 0
_OPEN: Final = 1  # a slot of many keys, some of which are written
_DONE: Final = 2


@final
class _Parked:
    """A big value that waits for its turn."""

    dbid: i64
    key: bytes
    expire_at: i64
    idle: i64
    frequency: i64
    pieces: Pieces

    def __init__(self, dbid: i64, key: bytes, expire_at: i64, idle: i64, frequency: i64, pieces: Pieces) -> None:
        self.dbid = dbid
        self.key = key
        self.expire_at = expire_at
        self.idle = idle
        self.frequency = frequency
        self.pieces = pieces


@final
class _Walk:
    """A slot of many keys of one database, half-way: every key is taken once, by the walk or by who changes it."""

    dbid: i64
    data: FrozenSlot
    next: i64  # part that the walk comes to next
    left: dict[bytes, object]  # of the part before: what is not taken yet
    taken: set[bytes]  # of the parts to come: what is taken already

    def __init__(self, dbid: i64, data: FrozenSlot) -> None:
        self.dbid = dbid
        self.data = data
        self.next = 0
        self.left = {}
        self.taken = set()

    def take(self, key: bytes) -> object | None:
        """The value of a key that is not taken yet, None when it is or was not there."""
        if self.data.index(key) < self.next:
            return self.left.pop(key, None)
        if key in self.taken:
            return None
        self.taken.add(key)
        return self.data.get(key)

    def turn(self, w: BytesWriter, form: Form) -> i64:
        """Go to the next part, and let it write what keys it can: how many."""
        left: dict[bytes, object] = {}
        written = self.data.dump(w, self.next, self.taken, left, form)
        self.left = left
        self.next += 1
        if len(self.taken) > 0:
            for key in list(left):
                if key in self.taken:
                    del left[key]
        return written

    def expire_at(self, key: bytes) -> i64:
        """When a key expires, 0 for never."""
        return self.data.expire_at(key)


@final
class Snapshot:
    """An RDB file in the making; `advance` gives its bytes piece by piece until `finished`."""

    engine: Engine
    finished: bool
    closed: bool
    keys_total: i64  # at the beginning
    keys_done: i64
    _hub: "Hub"
    _stores: list[Store]
    _state: bytearray
    _next: i64  # slot
    _walks: dict[int, list[_Walk]]
    _walking: list[_Walk]  # of the slot that the walk is in
    _parked: list[_Parked]
    _parked_at: i64
    _big: _Parked | None  # the value that is half written: nothing may come between its bytes
    _out: BytesWriter
    _full: list[bytes]  # what came before it, in order
    _dbid: i64
    _side: BytesWriter  # what comes after the big value
    _side_dbid: i64
    _crc: int
    _sums: bool
    _form: Form
    _old: bool

    def __init__(self, hub: "Hub", engine: Engine, fields: dict[bytes, bytes], old: bool, keys: bool) -> None:
        self._hub = hub
        self._old = old
        self.engine = engine
        self.finished = False
        self.closed = False
        self.keys_done = 0
        self.keys_total = 0
        self._stores = list(engine.stores) if keys else []
        for store in self._stores:
            self.keys_total += store.count()
        self._state = bytearray(SLOTS)
        self._next = 0
        self._walks = {}
        self._walking = []
        self._parked = []
        self._parked_at = 0
        self._big = None
        self._out = BytesWriter()
        self._full = []
        self._dbid = -1
        self._side = BytesWriter()
        self._side_dbid = -1
        self._crc = 0
        options = engine.settings.options
        self._sums = options.flag("rdbchecksum")
        clock = POLICIES[engine.settings.maxmemory_policy].clock
        self._form = Form(clock, engine.now_ms, engine.settings.lfu_decay_time, options.flag("rdbcompression"))
        self._begin(fields)

    def _begin(self, fields: dict[bytes, bytes]) -> None:
        e = self.engine
        fixed = {
            b"valkey-ver": VALKEY_VERSION.encode(), b"redis-bits": b"64", b"ctime": b"%d" % (e.now_ms // 1000),
            b"used-mem": b"%d" % e.used_memory(),
        }  # fmt: skip
        field_times = False
        for store in self._stores:
            field_times = field_times or store.inside_count() > 0
        self._out.write(header({**fixed, b"aof-base": b"0", **fields}, field_times, self._old))
        for code in e.scripts.codes():
            self._out.append(FUNCTION2)
            write_string(self._out, code, self._form.compress)

    # --- what the hub tells
    def before_write(self, slot: i64, key: bytes) -> None:
        """A key is about to change: write out what it is, if that is not done yet."""
        state = self._state[slot]
        if state == _DONE:
            return
        if state == _FRESH:
            if self._count(slot) <= FEW:
                self._write_slot(slot)
                if len(self._out) >= FULL:
                    self._set_aside()
                return
            self._open(slot)
        for walk in self._walks[slot]:
            value = walk.take(key)
            if value is not None:
                self._emit(slot, walk.dbid, key, value, walk.expire_at(key))
        if len(self._out) >= FULL:
            self._set_aside()

    def _set_aside(self) -> None:
        """Begin another piece: one of many megabytes would take new memory from the system, which takes long."""
        self._full.append(self._out.getvalue())
        self._out = BytesWriter()

    def holds(self, store: Store) -> bool:
        """Whether keys of this store are still to be written."""
        return not self.finished and self._next < SLOTS and store in self._stores

    def replace(self, store: Store, heir: Store) -> None:
        """The keys of a store have a new home."""
        self._stores[self._stores.index(store)] = heir

    # --- slots
    def _count(self, slot: i64) -> i64:
        total: i64 = 0
        for store in self._stores:
            total += store.count(slot)
        return total

    def _write_slot(self, slot: i64) -> None:
        """Write a slot of few keys at once."""
        form = self._form
        form.now_ms = self.engine.now_ms
        for dbid, store in enumerate(self._stores):
            keys = store.count(slot)
            if keys > 0:
                left = store.dump_slot(self._writer(dbid), slot, form)
                self._state[slot] = _DONE  # not before: without memory for its first keys the slot is as it was
                self.keys_done += keys - len(left)
                for key, value, expire_at in left:
                    self._emit(slot, dbid, key, value, expire_at)
        self._state[slot] = _DONE

    def _open(self, slot: i64) -> None:
        """Hold a slot of many keys still."""
        self._state[slot] = _OPEN
        walks: list[_Walk] = []
        for dbid, store in enumerate(self._stores):
            if store.count(slot) > 0:
                walks.append(_Walk(dbid, store.freeze(slot)))
        self._walks[slot] = walks

    # --- writing
    def _emit(self, slot: i64, dbid: i64, key: bytes, value: object, expire_at: i64) -> None:
        """Write a key, or have it wait when it is big."""
        self.keys_done += 1
        if isinstance(value, Hash) and value.count() == 0:
            return  # its fields have expired since
        idle: i64 = -1
        frequency: i64 = -1
        form = self._form
        if form.clock:
            clock = self._stores[dbid].stored_clock(slot, key)
            if clock >= 0 and form.clock == LRU:
                idle = (self.engine.now_ms // 1000 - clock) & CLOCK_MASK
            elif clock >= 0 and form.clock == LFU:
                frequency = lfu_decayed(clock, (self.engine.now_ms // 60000) & 0xFFFF, form.decay)
        if is_big(value):
            pieces = Pieces(value, form.compress, self._old)
            self._parked.append(_Parked(dbid, key, expire_at, idle, frequency, pieces))
            return
        write_key(self._writer(dbid), key, value, expire_at, idle, frequency, form.compress, self._old)

    def _writer(self, dbid: i64) -> BytesWriter:
        """Where keys of a database are written next; it is selected there."""
        if self._big is None:
            w = self._out
            if dbid != self._dbid:
                w.write(select(dbid))
                self._dbid = dbid
        else:
            w = self._side
            if dbid != self._side_dbid:
                w.write(select(dbid))
                self._side_dbid = dbid
        return w

    def _write_big(self) -> None:
        """One step of the big value whose turn it is."""
        big = self._big
        w = self._out
        if big is None:
            big = self._parked[self._parked_at]
            self._parked_at += 1
            if self._parked_at == len(self._parked):
                self._parked = []
                self._parked_at = 0
            self._big = big
            if big.dbid != self._dbid:
                w.write(select(big.dbid))
                self._dbid = big.dbid
            write_head(w, big.key, big.pieces.kind, big.expire_at, big.idle, big.frequency, self._form.compress)
        if big.pieces.step(w):
            self._big = None
            if len(self._side) > 0:
                w.write(self._side.getvalue())
                self._side = BytesWriter()
                self._dbid = self._side_dbid
                self._side_dbid = -1

    def _walk_on(self) -> None:
        """Write some keys of the slot of many keys that the walk is in."""
        walk = self._walking[-1]
        number: i64 = 0
        while len(walk.left) > 0 and number < AT_ONCE:
            key, value = walk.left.popitem()
            self._emit(self._next, walk.dbid, key, value, walk.expire_at(key))
            number += 1
        if len(walk.left) > 0:
            return
        if walk.next < walk.data.parts():
            self._form.now_ms = self.engine.now_ms
            self.keys_done += walk.turn(self._writer(walk.dbid), self._form)
        else:
            self._hub.bury(self._walking.pop().data.close())
            if not self._walking:
                self._leave()

    def _leave(self) -> None:
        """The slot of many keys is done."""
        self._walks.pop(self._next, None)
        self._state[self._next] = _DONE
        self._next += 1

    def _walk(self) -> None:
        """Come to the next slots."""
        number: i64 = 0
        while self._next < SLOTS and number < SLOTS_A_LOOK:
            slot = self._next
            state = self._state[slot]
            if state == _FRESH:
                keys = self._count(slot)
                number += keys
                if keys > FEW:
                    self._open(slot)
                    state = _OPEN
                elif keys > 0:
                    self._write_slot(slot)
            if state == _OPEN:
                self._walking = self._walks[slot].copy()
                if not self._walking:
                    self._leave()
                return
            self._state[slot] = _DONE
            self._next += 1
            number += 1

    def advance(self, until: float, clock: Callable[[], float]) -> bytes:
        """Walk on until the clock says so, and return what was written since the last call.

        At least one step is made, so that the end comes whatever the time.
        """
        if len(self._full) > 0:
            return self._summed(self._full.pop(0))
        while True:
            if self._big is not None or self._parked_at < len(self._parked):
                self._write_big()
            elif self._walking:
                self._walk_on()
            elif self._next < SLOTS:
                self._walk()
            else:
                return self._last()
            if clock() >= until or len(self._out) >= FULL:
                return self._taken()

    def _taken(self) -> bytes:
        data = self._out.getvalue()
        self._out = BytesWriter()
        return self._summed(data)

    def _summed(self, data: bytes) -> bytes:
        if self._sums:
            self._crc = crc64(data, self._crc)
        return data

    def _last(self) -> bytes:
        if self.finished:
            return b""
        data = self._taken()
        self.finished = True
        return data + (trailer(self._crc) if self._sums else bytes([EOF]) + bytes(8))

    def close(self) -> None:
        """The snapshot is over, at its end or before: writes need not be told any more."""
        if not self.closed:
            self.closed = True
            self._stores = []
            for walks in self._walks.values():
                for walk in walks:
                    walk.data.close()
            self._walks = {}
            self._walking = []
            self._parked = []
            self._hub.forget(self)


@final
class Hub(Snapshots):
    """All snapshots that run; takes the hints of the engine on to each of them."""

    engine: Engine
    running: list[Snapshot]
    _dropped: list[Store]  # what was flushed while a snapshot still needed it
    _dead: Reaper

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._dead = Reaper()
        self.engine = engine
        self.running = []
        self._dropped = []

    def start(self, fields: dict[bytes, bytes], old: bool = False, keys: bool = True) -> Snapshot:
        """Begin a snapshot of this instant; `fields` are auxiliary fields for its header; `old`: Redis 7.0 has to read
        it (times of fields are left out then); without `keys` it holds functions alone.
        """
        snapshot = Snapshot(self, self.engine, fields, old, keys)
        self.running.append(snapshot)
        self.active = True
        return snapshot

    def forget(self, snapshot: Snapshot) -> None:
        """A snapshot has ended."""
        self.running = [other for other in self.running if other is not snapshot]
        self.active = len(self.running) > 0
        if not self.active:
            for store in self._dropped:
                store.clear()  # to be freed in slices

    def before_write(self, slot: i64, key: bytes) -> None:
        """A key of this slot, in whatever database, is about to change."""
        for snapshot in self.running:
            snapshot.before_write(slot, key)

    def before_clear(self, store: Store) -> None:
        """A database is about to be emptied: it goes over to the snapshots that need it."""
        needing = [snapshot for snapshot in self.running if snapshot.holds(store)]
        if needing and store.count() > 0:
            heir = store.hand_over()
            self._dropped.append(heir)
            for snapshot in needing:
                snapshot.replace(store, heir)

    def bury(self, parts: list[dict[bytes, object]]) -> None:
        """Parts of a table of times that nobody needs any more are to be freed in slices."""
        self._dead.heaps.append(cast(list[object], parts))

    def reap(self, pieces: i64) -> bool:
        """Free up to so many pieces of what snapshots held; True when there is more to do."""
        if self._dead.free(pieces):
            return True
        if self.active:
            return False
        while self._dropped:
            if self._dropped[-1].reap(pieces):
                return True
            self._dropped.pop()
        return False


def start_snapshot(e: Engine, fields: dict[bytes, bytes], old: bool = False, keys: bool = True) -> Snapshot:
    """Begin a snapshot of this instant, as `Hub.start`."""
    hub = e.snapshots
    if not isinstance(hub, Hub):
        hub = Hub(e)
        e.snapshots = hub
    return hub.start(fields, old, keys)
