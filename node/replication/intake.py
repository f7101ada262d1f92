"""A full sync seen from the replica: the snapshot is spooled, then takes the place of the dataset.

It is spooled to a file in `dir` (with `repl-diskless-load on-empty-db` or `flush-before-load` to memory), so a link
that dies half-way costs no data. While it is loaded the node answers LOADING.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import structlog
import trio

from node.engine import Engine
from node.rdb.decode import StoreLoader
from node.rdb.file import END
from node.rdb.reader import RdbError
from node.replication.state import Role
from node.replication.wire import LinkError, Wire

log: structlog.stdlib.BoundLogger = structlog.get_logger()

EOF_MARK: Final = 40
LOAD_SLICE: Final = 0.002
STEPS_A_LOOK: Final = 16

Write = Callable[[bytes], int]


@contextlib.contextmanager
def temporary(directory: str, in_memory: bool) -> Iterator[BinaryIO]:
    """A file that is gone afterwards. Raises OSError."""
    if in_memory:
        with os.fdopen(os.memfd_create("sync"), "w+b") as file:
            yield file
        return
    handle, name = tempfile.mkstemp(prefix=f"sync-{os.getpid()}-", suffix=".rdb", dir=directory)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
    finally:
        with contextlib.suppress(OSError):
            Path(name).unlink()


class Intake:
    """Takes one snapshot."""

    def __init__(self, owner: Role, engine: Engine, wire: Wire) -> None:
        self.owner = owner
        self.engine = engine
        self.wire = wire
        self.abandoned = False  # the role has changed: the dataset is not touched any more

    async def take(self) -> dict[bytes, bytes]:
        """Replace the dataset by what the primary sends; returns the auxiliary fields."""
        settings = self.engine.settings
        way = settings.options.string("repl-diskless-load")
        in_memory = way == "flush-before-load" or (way == "on-empty-db" and self._is_empty())
        if way == "flush-before-load":
            self._clear()
            self.owner.loading = True
            self.owner.refresh()
        with temporary(settings.directory, in_memory) as spool:

            def write(data: bytes) -> int:
                self.owner.sync_read += len(data)
                return spool.write(data)

            self.owner.sync_total = self.owner.sync_read = 0
            await self._spool(write)
            spool.flush()
            spool.seek(0)
            return await self._load(spool)

    def _is_empty(self) -> bool:
        return not any(store.count() for store in self.engine.stores)

    async def _spool(self, write: Write) -> None:
        """Take the snapshot: `$<length>`, or `$EOF:<mark>` and everything up to the mark."""
        head = await self.wire.line()
        if not head.startswith(b"$"):
            raise LinkError(f"the primary sent no snapshot but {head[:100].decode('latin-1')!r}")
        if head.startswith(b"$EOF:") and len(head) == 5 + EOF_MARK:
            await self._spool_to_mark(write, head[5:])
            return
        if not head[1:].isdigit() or len(head) > 18:
            raise LinkError("the snapshot's length is no number")
        missing = self.owner.sync_total = int(head[1:])
        while missing:
            data = await self.wire.some()
            if len(data) > missing:
                self.wire.give_back(data[missing:])
                data = data[:missing]
            write(data)
            missing -= len(data)

    async def _spool_to_mark(self, write: Write, mark: bytes) -> None:
        held = b""
        while True:
            held += await self.wire.some()
            found = held.find(mark)
            if found >= 0:
                write(held[:found])
                self.wire.give_back(held[found + EOF_MARK :])
                return
            keep = EOF_MARK - 1
            if len(held) > keep:
                write(held[:-keep])
                held = held[-keep:]

    def _clear(self) -> None:
        """Drop the dataset, and with it the claim to continue from where it stood."""
        if self.abandoned:
            raise LinkError("the role has changed")
        e = self.engine
        self.owner.forget_history()
        e.break_all_watches(-1)
        e.tracking.flushed()
        for store in e.stores:
            if e.snapshots.active:
                e.snapshots.before_clear(store)
            store.clear()

    async def _load(self, spool: BinaryIO) -> dict[bytes, bytes]:
        """In slices; clients are answered LOADING meanwhile."""
        owner, e = self.owner, self.engine
        self._clear()
        owner.loading = True
        owner.refresh()
        try:
            loader = StoreLoader(spool, os.fstat(spool.fileno()).st_size, e.stores, e.now_ms, False)
            progress = e.stats.load
            progress.begin(e.now_ms, os.fstat(spool.fileno()).st_size)
            until = trio.current_time() + LOAD_SLICE
            step = 0
            while loader.step() != END:
                step += 1
                if step % STEPS_A_LOOK == 0 and trio.current_time() > until:
                    progress.loaded = loader.file.offset()
                    progress.keys_loaded = loader.keys
                    await trio.lowlevel.checkpoint()
                    until = trio.current_time() + LOAD_SLICE
            progress.keys_loaded = loader.keys
            e.scripts.adopt(loader.file.functions)
            return loader.file.aux
        except RdbError:
            for store in e.stores:
                store.clear()
            raise
        finally:
            owner.loading = False
            owner.refresh()
