"""RDB files: SAVE, BGSAVE, saves by schedule and at the end. The file on disk is always a whole one.

What is written stands beside its place under a name of its own, is fsynced, renamed into its place, and the folder is
fsynced. BGSAVE pulls the snapshot in slices on the loop and gives its bytes, a megabyte at a time, to a thread that
writes them: the loop never waits for the disk, and no more than that is held back.
"""

import contextlib
import os
from pathlib import Path
from typing import Final, final

import structlog
import trio

from cluster.files import fsync_folder
from node.engine import Engine
from node.persistence.loading import load_now
from node.persistence.snapshot import Snapshot, start_snapshot
from node.ports import RdbFiles

log: structlog.stdlib.BoundLogger = structlog.get_logger()

SLICE: Final = 0.0005  # seconds that a snapshot walks before others get the thread back
LONG_SLICE: Final = 0.05  # when nobody is served anyway
CHUNK: Final = 1 << 20  # bytes that the writing thread gets at once
PIECES: Final = 512  # of them that the system takes at once (IOV_MAX is 1024)
SYNC_EVERY: Final = 4 << 20  # bytes after which what is written is brought to the disk (rdb-save-incremental-fsync)
RETRY_MS: Final = 5000  # after a save that failed

MISCONF: Final = (
    b"MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that "
    b"may modify the data set are disabled, because this instance is configured to report errors during writes if RDB "
    b"snapshotting fails (stop-writes-on-bgsave-error option). Please check the Valkey logs for details about the RDB "
    b"error."
)


def rdb_path(e: Engine) -> Path:
    """Where the RDB file of the node stands: `dbfilename` in `dir`."""
    options = e.settings.options
    return Path(options.string("dir")) / options.string("dbfilename")


class RdbFile:
    """A file in the making; every method may raise OSError, after which `drop` is to be called."""

    def __init__(self, path: Path, sync_often: bool) -> None:
        self.path = path
        self.temporary = path.with_name(f"temp-{os.getpid()}-{id(self):x}.rdb")
        self._sync_often = sync_often
        self._descriptor = -1
        self._unsynced = 0

    def write(self, *pieces: bytes) -> None:
        """Append bytes; the first ones make the file. They are not joined: that would take a megabyte anew each time,
        and where the system has to clear or find huge pages for it, milliseconds.
        """
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._descriptor = os.open(self.temporary, flags, 0o640)
        for first in range(0, len(pieces), PIECES):
            self._append(pieces[first : first + PIECES])
        if self._sync_often and self._unsynced >= SYNC_EVERY:
            self._unsynced = 0
            os.fdatasync(self._descriptor)

    def _append(self, pieces: tuple[bytes, ...]) -> None:
        size = sum(map(len, pieces))
        self._unsynced += size
        done = os.writev(self._descriptor, pieces)
        if done < size:  # the disk is about to be full, or a signal came
            view = memoryview(b"".join(pieces))[done:]
            while view:
                view = view[os.write(self._descriptor, view) :]

    def finish(self, *pieces: bytes) -> None:
        """Append the last bytes and put the file into its place."""
        self.write(*pieces)
        os.fsync(self._descriptor)
        self._close()
        os.rename(self.temporary, self.path)
        fsync_folder(self.path.parent)

    def drop(self) -> None:
        """Remove what was written, if it is not in its place."""
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(OSError):
            self.temporary.unlink()

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


async def write_beside(snapshot: Snapshot, file: RdbFile) -> None:
    """Pull a snapshot in slices and have a thread write it; the file is in its place afterwards. Raises OSError."""
    held: list[bytes] = []
    size = 0
    while not snapshot.finished:
        data = snapshot.advance(trio.current_time() + SLICE, trio.current_time)
        held.append(data)
        size += len(data)
        if size >= CHUNK and not snapshot.finished:
            await trio.to_thread.run_sync(file.write, *held)
            held = []
            size = 0
        await trio.lowlevel.checkpoint()
    await trio.to_thread.run_sync(file.finish, *held)


@final
class RdbService(RdbFiles):
    """The RDB file of one node."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self._snapshot: Snapshot | None = None
        self._scope: trio.CancelScope | None = None
        self._wanted = trio.Event()
        self._dirty_base = 0  # engine.dirty of the last file
        self._dirty_begun = 0  # engine.dirty of the file in the making
        self._begun_ms = 0
        self._tried_ms = 0
        self._failed = False
        self._seconds = -1
        engine.rdb = self

    def _points(self) -> list[tuple[int, int]]:
        words = self.engine.settings.options.words("save")
        return [(int(words[i]), int(words[i + 1])) for i in range(0, len(words), 2)]

    def _begin(self) -> Snapshot:
        e = self.engine
        e.stats.rdb_saves += 1
        self._dirty_begun = e.dirty
        return start_snapshot(e, e.replication.position())

    def _file(self) -> RdbFile:
        return RdbFile(rdb_path(self.engine), self.engine.settings.options.flag("rdb-save-incremental-fsync"))

    # --- at once
    def save(self) -> bool:
        """SAVE."""
        snapshot = self._begin()
        file = self._file()
        try:
            data = snapshot.advance(trio.current_time() + LONG_SLICE, trio.current_time)
            while not snapshot.finished:
                file.write(data)
                data = snapshot.advance(trio.current_time() + LONG_SLICE, trio.current_time)
            file.finish(data)
        except OSError as error:
            file.drop()
            log.error("the RDB file can't be written", path=str(file.path), reason=error.strerror)
            return False
        finally:
            snapshot.close()
        self._saved(self._dirty_begun)
        log.info("saved", path=str(file.path), keys=int(snapshot.keys_done))
        return True

    def _saved(self, dirty: int) -> None:
        self._dirty_base = dirty
        self._failed = False
        self.engine.stats.last_save_ms = self.engine.now_ms
        self.judge()

    # --- beside the work
    def start(self) -> None:
        """BGSAVE."""
        self.scheduled = False
        self.saving = True
        self._begun_ms = self._tried_ms = self.engine.now_ms
        self._snapshot = self._begin()
        self._wanted.set()

    def cancel(self) -> None:
        """BGSAVE CANCEL."""
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None
        self.saving = False
        if self._scope is not None:
            self._scope.cancel()

    async def run(self) -> None:
        """The tasks: files that were asked for, and the schedule."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                if self._snapshot is not None:
                    await self._save_beside(self._snapshot)

    async def _watch(self) -> None:
        while True:
            await trio.sleep(0.1)
            if self._due() and not self.saving:
                self.start()

    def _due(self) -> bool:
        """Whether it is time for a file, by schedule or because BGSAVE had to wait."""
        e = self.engine
        if self._failed and e.now_ms - self._tried_ms < RETRY_MS:
            return False
        if self.scheduled:
            return True
        changes = e.dirty - self._dirty_base
        elapsed = e.now_ms - e.stats.last_save_ms
        return any(changes >= least and elapsed > seconds * 1000 for seconds, least in self._points() if changes)

    async def _save_beside(self, snapshot: Snapshot) -> None:
        dirty = self._dirty_begun
        file = self._file()
        done = False
        with trio.CancelScope() as scope:
            self._scope = scope
            try:
                await write_beside(snapshot, file)
                done = True
            except OSError as error:
                log.error("the RDB file can't be written", path=str(file.path), reason=error.strerror)
            finally:
                self._scope = None
                snapshot.close()
                if not done:
                    file.drop()
        if self._snapshot is not snapshot:
            log.info("saving was cancelled")
            return
        self.saving = False
        self._snapshot = None
        self._seconds = int(self.engine.now_ms - self._begun_ms) // 1000
        if done:
            self._saved(dirty)
            log.info("saved", path=str(file.path), keys=int(snapshot.keys_done))
        else:
            self._failed = True
            self.judge()

    # --- what depends on it
    def judge(self) -> None:
        """Refuse writes after a save that failed, where the options want it so."""
        e = self.engine
        stop = self._failed and e.settings.options.flag("stop-writes-on-bgsave-error") and bool(self._points())
        e.rdb_refusal = MISCONF if stop else b""
        e.guard()

    def before_end(self, wanted: bool | None) -> bool:
        """The process is about to end."""
        if self.engine.replication.loading:
            return True
        if self.saving:
            self.cancel()
        if wanted is None:
            wanted = bool(self._points())
        return self.save() if wanted else True

    def reload(self, empty: bool) -> bytes:
        """DEBUG RELOAD."""
        return load_now(self.engine, rdb_path(self.engine), empty)

    def info(self) -> list[tuple[str, str]]:
        """The fields of INFO persistence about RDB files."""
        e = self.engine
        snapshot = self._snapshot
        keys = (snapshot.keys_done, snapshot.keys_total) if snapshot else e.aof.progress()
        done, total = int(keys[0]), int(keys[1])
        current = int(e.now_ms - self._begun_ms) // 1000 if self.saving else -1
        return [
            ("current_cow_peak", "0"),
            ("current_cow_size", "0"),
            ("current_cow_size_age", "0"),
            ("current_fork_perc", f"{100 * done / total if total else 0:.2f}"),
            ("current_save_keys_processed", str(done)),
            ("current_save_keys_total", str(total)),
            ("rdb_changes_since_last_save", str(int(e.dirty) - self._dirty_base)),
            ("rdb_bgsave_in_progress", "1" if self.saving else "0"),
            ("rdb_last_save_time", str(e.stats.last_save_ms // 1000)),
            ("rdb_last_bgsave_status", "err" if self._failed else "ok"),
            ("rdb_last_bgsave_time_sec", str(self._seconds)),
            ("rdb_current_bgsave_time_sec", str(current)),
            ("rdb_saves", str(e.stats.rdb_saves)),
            ("rdb_last_cow_size", "0"),
        ]
