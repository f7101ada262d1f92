"""Loading an RDB file: at the start in slices, with clients answered LOADING; for DEBUG RELOAD at once.

A file that can't be read stops the start: the reason with its offset, and what to do, are for whoever reads the log.
Memory is that of the data: the file is read in pieces of a megabyte.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import structlog
import trio

from node.engine import Engine
from node.rdb.decode import StoreLoader
from node.rdb.file import END
from node.rdb.reader import RdbError

log: structlog.stdlib.BoundLogger = structlog.get_logger()

SLICE: Final = 0.005  # seconds of loading before clients are answered
STEPS_A_LOOK: Final = 16


def shown(text: str) -> str:
    """A text with the names of files, which may be any bytes, as logs can hold it."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class LoadError(Exception):
    """The file can't be loaded; the text tells why and what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(shown(text))


def _recipe(path: Path, reason: str) -> LoadError:
    return LoadError(
        f"{path} can't be loaded: {reason}. The file was left as it is. Look into it with `kvorum check {path}`, put a "
        f"backup in its place, or move it away to start without its data (a replica then fetches them from its primary)"
    )


def _steps(e: Engine, file: BinaryIO, starting: bool) -> Iterator[None]:
    """Load a file bit by bit, keeping the account of it; at the start its history is gone on with."""
    progress = e.stats.load
    size = os.fstat(file.fileno()).st_size
    progress.begin(e.now_ms, size)
    loader = StoreLoader(file, size, e.stores, e.now_ms, e.replication.primary)
    step = 0
    while True:
        found = loader.step()
        if starting and step == 0:
            e.replication.restore(loader.file.aux)
        if found == END:
            break
        step += 1
        if step % STEPS_A_LOOK == 0:
            _note(e, loader)
            _propagate(e, loader)
            yield
    e.scripts.adopt(loader.file.functions)
    _note(e, loader)
    _propagate(e, loader)


def _propagate(e: Engine, loader: StoreLoader) -> None:
    """Replicas that continue may still hold the keys that were left out because their time was over."""
    dropped = loader.dropped
    loader.dropped = []
    if e.journal.active:
        for dbid, key in dropped:
            e.journal.command(dbid, [b"DEL", key])
        e.journal.flush()


def _note(e: Engine, loader: StoreLoader) -> None:
    progress = e.stats.load
    progress.loaded = loader.file.offset()
    progress.keys_loaded = loader.keys
    progress.keys_expired = loader.expired
    claimed = loader.file.aux.get(b"used-mem", b"")
    progress.used_mem = int(claimed) if claimed.isdigit() and len(claimed) < 19 else 0


def set_loading(e: Engine, loading: bool) -> None:
    """Have clients answered LOADING, or not any more."""
    e.replication.loading = loading
    e.guard()


async def load_rdb(e: Engine, path: Path) -> None:
    """Load a file in slices; stops early when the process is asked to end. Raises LoadError."""
    set_loading(e, True)
    try:
        with path.open("rb") as file:
            until = trio.current_time() + SLICE
            for _ in _steps(e, file, True):
                if trio.current_time() > until:
                    await trio.lowlevel.checkpoint()
                    if e.shutdown_asked:
                        return
                    until = trio.current_time() + SLICE
    except RdbError as error:
        raise _recipe(path, str(error)) from None
    except OSError as error:
        raise _recipe(path, error.strerror or str(error)) from None
    finally:
        set_loading(e, False)
    progress = e.stats.load
    log.info("loaded", path=str(path), keys=int(progress.keys_loaded), expired=int(progress.keys_expired))


def load_now(e: Engine, path: Path, empty: bool) -> bytes:
    """Load a file at once, into the emptied node or over what is there; the reason when that fails, else empty."""
    if empty:
        e.break_all_watches(-1)
        for store in e.stores:
            if e.snapshots.active:
                e.snapshots.before_clear(store)
            store.clear()
    try:
        with path.open("rb") as file:
            for _ in _steps(e, file, False):
                pass
    except (RdbError, OSError) as error:
        log.error("the RDB file can't be loaded", path=str(path), reason=str(error))
        return str(error).encode()
    return b""
