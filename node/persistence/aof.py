"""The append-only file of a node: switched on and off, synced by its policy, rewritten beside the work.

Off, or on; in between, after `appendonly yes` on a running node, commands go to a file beside the set until the first
base is written (`_first`). A rewrite takes a new file to append to at the instant of a snapshot, writes the snapshot as
the new base, and replaces the manifest: at each instant the manifest on disk names a set that holds everything.
"""

import contextlib
import errno
import os
from pathlib import Path
from typing import Final, final

import structlog
import trio
from mypy_extensions import i64

from node.engine import Engine
from node.persistence.aof_commands import commands_in
from node.persistence.aof_files import (
    Place,
    drop_history,
    make_folder,
    open_to_append,
    read_manifest,
    write_manifest,
)
from node.persistence.aof_load import AofSet, load_set_now
from node.persistence.aof_waits import AofWaits
from node.persistence.aof_writer import AofWriter, FatalError
from node.persistence.loading import set_loading
from node.persistence.manifest import Manifest, ManifestError
from node.persistence.rdbfile import CHUNK, SLICE, RdbFile, write_beside
from node.persistence.snapshot import Snapshot, start_snapshot
from node.ports import AppendFile
from node.rdb.reader import RdbError
from node.session import Session

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TICK: Final = 0.1
SYNC_EVERY: Final = 1.0  # seconds (appendfsync everysec)
LIMITED_FROM: Final = 3  # rewrites that failed one after the other, from which on the next waits
LIMIT_FIRST_MS: Final = 60_000
LIMIT_MOST_MS: Final = 3_600_000


def place_of(e: Engine) -> Place:
    """Where the options want the files."""
    options = e.settings.options
    directory = Path(options.string("dir"))
    return Place(directory, directory / options.string("appenddirname"), options.string("appendfilename"))


async def _fdatasync(descriptor: int) -> str:
    """Bring a file to the disk, in a thread; why that failed, or empty. What was begun is waited for."""
    try:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(os.fdatasync, descriptor)
    except OSError as error:
        return error.strerror or str(error)
    return ""


async def _convert(beside: Path, file: RdbFile) -> None:
    """Write an RDB file again as commands, in slices. Raises OSError and RdbError."""
    held: list[bytes] = []
    size = 0
    until = trio.current_time() + SLICE
    for data in commands_in(beside):
        held.append(data)
        size += len(data)
        if size >= CHUNK:
            await trio.to_thread.run_sync(file.write, b"".join(held))
            held = []
            size = 0
        elif trio.current_time() > until:
            await trio.lowlevel.checkpoint()
            until = trio.current_time() + SLICE
    await trio.to_thread.run_sync(file.finish, b"".join(held))


@final
class AofService(AppendFile):
    """The append-only file of one node."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.place = place_of(engine)
        self.writer = AofWriter()
        self.waits = AofWaits(engine, self)
        self._manifest: Manifest | None = None
        self._settled = 0  # bytes of the files before the one that is appended to
        self._base_size = 0  # bytes of all after the last rewrite
        self._first = False
        self._generation = 0  # how often the file was switched off
        self._snapshot: Snapshot | None = None
        self._scope: trio.CancelScope | None = None
        self._wanted = trio.Event()
        self._synced_at = 0.0
        self._retired: list[int] = []  # descriptors to be closed once they are synced
        self._stamp = 0
        self._begun_ms = 0
        self._tried_ms = 0
        self._seconds = -1
        self._failures = 0
        self._failed = False
        self._rewrites = 0
        engine.aof = self
        engine.journal.attach(self)

    # --- at the start
    async def open(self, found: AofSet) -> None:
        """Append from now on to what was loaded; without files the set begins with what is in memory.

        Raises OSError.
        """
        self.enabled = True
        self._manifest = found.manifest
        if found.manifest is None:
            await self._write_first()
        elif not found.manifest.increments:
            self._manifest = self._add_increment(found.manifest)
        assert self._manifest is not None
        path = self.place.file(self._manifest.increments[-1])
        descriptor = open_to_append(path, False)
        size = os.fstat(descriptor).st_size
        self._settled = max(found.size - size, 0)
        self._base_size = found.base_size
        self._begin(descriptor, size)

    async def _write_first(self) -> None:
        """A base of what is in memory, and an empty file to append to."""
        make_folder(self.place)
        snapshot = start_snapshot(self.engine, {b"aof-base": b"1"})
        set_loading(self.engine, True)  # nobody may write yet what no file would get
        try:
            name = await self._save(snapshot, 1)
        finally:
            snapshot.close()
            set_loading(self.engine, False)
        self._manifest = self._add_increment(Manifest().with_base(name, 0))

    async def _save(self, snapshot: Snapshot, seq: int) -> str:
        """Write a snapshot as the base of this number, in the form that the options want; returns its name."""
        options = self.engine.settings.options
        often = options.flag("aof-rewrite-incremental-fsync")
        rdb = options.flag("aof-use-rdb-preamble")
        name = self.place.base_name(seq, rdb)
        path = self.place.folder / name
        beside = self.place.folder / f"temp-{os.getpid()}-base.rdb"
        file = RdbFile(path if rdb else beside, often)
        try:
            await write_beside(snapshot, file)
            if not rdb:
                file = RdbFile(path, often)
                await _convert(beside, file)
        except BaseException:
            file.drop()
            raise
        finally:
            with contextlib.suppress(OSError):
                beside.unlink()
        return name

    def _add_increment(self, manifest: Manifest) -> Manifest:
        """A new file to append to, empty, named by the manifest."""
        manifest = manifest.with_increment(self.place.increment_name(manifest.increment_seq + 1))
        os.close(open_to_append(self.place.file(manifest.increments[-1]), True))
        write_manifest(self.place, manifest)
        return manifest

    def _begin(self, descriptor: int, size: i64) -> None:
        self.writer.switch(descriptor, size)
        self.writer.obey(self._policy())
        offset = self.engine.journal.offset
        self.writer.offset = self.writer.written = self.writer.synced = self.synced = offset
        self.on = True
        self.engine.journal.judge()
        self.engine.journal.reselect()

    def _policy(self) -> str:
        return self.engine.settings.options.string("appendfsync")

    # --- on and off
    def judge(self) -> bool:
        """Follow a change of options."""
        wanted = self.engine.settings.options.flag("appendonly")
        self.writer.obey(self._policy())
        if wanted == self.enabled or self.engine.replication.loading:
            return True
        if wanted:
            return self._switch_on()
        self._switch_off()
        return True

    def _switch_on(self) -> bool:
        """Have a base written; from its instant on commands are kept."""
        place = place_of(self.engine)
        if place != self.place:
            self.place = place
            self._manifest = None
        try:
            make_folder(self.place)
            os.close(open_to_append(self.place.unfinished(), True))
            self._manifest = self._manifest or read_manifest(self.place)
        except (OSError, ManifestError) as error:
            log.error("the append-only file can't be switched on", reason=str(error))
            return False
        self.enabled = True
        self._first = True
        if self.rewriting:
            self._cancel()
            self.scheduled = True
        else:
            self.start_rewrite()
        return True

    def _switch_off(self) -> None:
        self.engine.journal.flush()
        self._cancel()
        self._generation += 1
        self.scheduled = False
        self.enabled = False
        self._close(True)
        if self._first:
            self._first = False
            with contextlib.suppress(OSError):
                self.place.unfinished().unlink()
        self.waits.switched_off()

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def _close(self, sync: bool) -> None:
        """End appending, everything written."""
        if self.on:
            self._flush(True)
            self.on = False
            self.engine.journal.judge()
        descriptor = self.writer.switch(-1, 0)
        self.writer.forget()
        self._tell()
        if descriptor >= 0:
            if sync:
                with contextlib.suppress(OSError):
                    os.fdatasync(descriptor)
            if self.writer.syncing:
                self._retired.append(descriptor)
            else:
                os.close(descriptor)

    def renew(self) -> None:
        """The dataset is another one: begin anew with a base of it."""
        if self.enabled:
            self._switch_off()
        if not self.judge():
            log.error("the append-only file is off: what the primary sent is not on disk")

    # --- writing
    def append(self, data: bytes, offset: i64) -> None:
        """Keep whole commands for the next flush."""
        if self.engine.settings.options.flag("aof-timestamp-enabled"):
            now = self.engine.now_ms // 1000
            if now > self._stamp:
                self._stamp = now
                self.writer.append(b"#TS:%d\r\n" % now, offset)
        self.writer.append(data, offset)

    def flush(self) -> None:
        """Before replies are sent."""
        if self.writer.buffered > 0:
            self._flush(False)
        elif not self.writer.unsynced and not self.writer.syncing and not self.writer.retiring:
            self.writer.synced = self.writer.written = self.engine.journal.offset
        self._note_synced()

    def _flush(self, force: bool) -> None:
        began = trio.current_time()
        try:
            changed = self.writer.flush(began, force)
        except FatalError as error:
            log.critical("the node ends: what it would acknowledge is not on disk", reason=str(error))
            os._exit(1)
        took = int((trio.current_time() - began) * 1000)
        self.engine.latency.add(b"aof-write", self.engine.now_ms // 1000, took)
        if changed:
            self._tell()

    def _note_synced(self) -> None:
        if self.writer.synced > self.synced:
            self.synced = self.writer.synced
            self.waits.answer()

    def _tell(self) -> None:
        """Refuse writes while the disk does not take them."""
        e = self.engine
        reason = self.writer.error or self.writer.sync_error
        refusal = b"MISCONF Errors writing to the AOF file: " + reason.encode() if reason else b""
        if refusal == e.aof_refusal:
            return
        if refusal:
            log.error("the append-only file can't be written: writes are refused until it can", reason=reason)
        else:
            log.info("the append-only file can be written again")
        e.aof_refusal = refusal
        e.guard()

    # --- tasks
    async def run(self) -> None:
        """Syncing, rewrites that are asked for, rewrites by size."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_synced)
            nursery.start_soon(self._watch)
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                await self._rewrite()

    async def _keep_synced(self) -> None:
        while True:
            await trio.sleep(TICK)
            if not self.on:
                continue
            if self.writer.buffered > 0:
                self._flush(False)
            if self._sync_due():
                await self._sync()
            self._note_synced()
            self.engine.loop.settle()

    def _sync_due(self) -> bool:
        writer = self.writer
        if not writer.unsynced or writer.syncing or writer.retiring or not writer.patient:
            return False
        if trio.current_time() - self._synced_at < SYNC_EVERY:
            return False
        busy = self.rewriting or self.engine.rdb.saving
        return not (busy and self.engine.settings.options.flag("no-appendfsync-on-rewrite"))

    async def _sync(self) -> None:
        """Bring to the disk what is written, in a thread."""
        writer = self.writer
        self._synced_at = trio.current_time()
        offset = writer.begin_sync()
        writer.end_sync(offset, await _fdatasync(writer.descriptor))
        while self._retired:
            os.close(self._retired.pop())
        self._tell()
        self._flush(False)

    async def _watch(self) -> None:
        while True:
            await trio.sleep(TICK)
            busy = self.rewriting or self.engine.rdb.saving or self.engine.replication.loading
            if busy or self._limited():
                continue
            if self.scheduled or self._grown():
                self.start_rewrite()

    def _grown(self) -> bool:
        """Whether the file is due for a rewrite by its size."""
        options = self.engine.settings.options
        percent = options.number("auto-aof-rewrite-percentage")
        size = self._size()
        if not self.on or percent == 0 or size <= options.number("auto-aof-rewrite-min-size"):
            return False
        base = self._base_size or 1
        return size * 100 // base - 100 >= percent

    def _limited(self) -> bool:
        """Whether to wait on after rewrites that failed."""
        if self._failures < LIMITED_FROM:
            return False
        pause = min(LIMIT_FIRST_MS << (self._failures - LIMITED_FROM), LIMIT_MOST_MS)
        return self.engine.now_ms - self._tried_ms < pause

    # --- rewriting
    def start_rewrite(self) -> None:
        """BGREWRITEAOF: the task does it, at an instant between two commands."""
        self.scheduled = False
        self.rewriting = True
        self._rewrites += 1
        self._begun_ms = self._tried_ms = self.engine.now_ms
        self._wanted.set()

    async def _rewrite(self) -> None:
        done = False
        with trio.CancelScope() as scope:
            self._scope = scope
            try:
                await self._write_base()
                done = True
            except (OSError, ManifestError, RdbError) as error:
                log.error("the append-only file can't be rewritten", reason=str(error))
            finally:
                self._scope = None
        self.rewriting = False
        self._seconds = int(self.engine.now_ms - self._begun_ms) // 1000
        if scope.cancelled_caught:
            log.info("rewriting the append-only file was cancelled")
        elif done:
            self._failed = False
            self._failures = 0
        else:
            self._failed = True
            self._failures += 1
        if self._first and self.enabled and (not done or not self.on):
            self.scheduled = True

    async def _write_base(self) -> None:
        """The steps of a rewrite; each leaves a set on disk that holds everything."""
        e = self.engine
        first = self._first
        manifest = await trio.to_thread.run_sync(self._prepare)
        while e.replication.loading:  # noqa: ASYNC110 - a state of the engine, which knows no events
            await trio.sleep(TICK)
        if self.on and self.writer.unsynced and not self.writer.syncing:
            await self._sync()  # so that little is left to be synced when the next file has its first commands
        await trio.lowlevel.checkpoint_if_cancelled()
        path = self.place.unfinished() if first else self.place.file(manifest.increments[-1]) if self.on else None
        descriptor = -1 if path is None else open_to_append(path, first)
        before = self._turn(descriptor, first)
        self._snapshot = snapshot = start_snapshot(e, {b"aof-base": b"1"})
        try:
            await self._retire(before)
            name = await self._save(snapshot, manifest.base_seq + 1)
        finally:
            self._snapshot = None
            snapshot.close()
        with trio.CancelScope(shield=True):
            await self._replace(manifest, name, first)
        log.info("the append-only file was rewritten", base=name, keys=int(snapshot.keys_done))

    def _prepare(self) -> Manifest:
        """In a thread: the set as it is on disk, with one more file to append to where one is appended to."""
        make_folder(self.place)
        manifest = self._manifest or read_manifest(self.place) or Manifest()
        if self.on and not self._first:
            manifest = self._add_increment(manifest)
        self._manifest = manifest if manifest != Manifest() else None
        return manifest

    def _turn(self, descriptor: int, first: bool) -> int:
        """The instant of the snapshot: what comes from now on goes to another file. Returns the one before."""
        if descriptor < 0:
            return -1
        self.engine.journal.flush()
        if first:
            self._close(False)
            self._begin(descriptor, 0)
            return -1
        self._flush(True)
        if self.writer.buffered > 0:  # what the snapshot holds must not come after it once more
            os.close(descriptor)
            raise OSError(errno.EIO, "what waits to be appended can't be written")
        self._settled += self.writer.size
        self.engine.journal.reselect()
        return self.writer.switch(descriptor, 0)

    async def _retire(self, descriptor: int) -> None:
        """Sync and close what was appended to so far; what comes after counts as synced only then."""
        if descriptor < 0:
            return
        writer = self.writer
        with trio.CancelScope(shield=True):
            while writer.syncing:  # noqa: ASYNC110 - as above, and seldom
                await trio.sleep(0.001)
        offset = writer.begin_sync()
        error = await _fdatasync(descriptor)
        os.close(descriptor)
        writer.end_sync(offset, error)
        self._tell()
        self._flush(False)
        self._note_synced()

    async def _replace(self, manifest: Manifest, name: str, first: bool) -> None:
        """The new base is there: name it in the manifest, and remove what it replaces."""
        if first:
            increment = self.place.increment_name(manifest.increment_seq + 1)
            await trio.to_thread.run_sync(os.rename, self.place.unfinished(), self.place.folder / increment)
            manifest = manifest.with_increment(increment)
        generation = self._generation
        wanted = manifest.with_base(name, 1 if self.on else 0)
        await trio.to_thread.run_sync(write_manifest, self.place, wanted)
        self._manifest = wanted  # from here on no older one may be written: what it names goes
        self._manifest = await trio.to_thread.run_sync(drop_history, self.place, wanted)
        if generation != self._generation:
            return  # switched off meanwhile
        self._first = False
        base = await trio.to_thread.run_sync(os.stat, self.place.folder / name)
        self._settled = base.st_size
        self._base_size = self._size()

    def _size(self) -> int:
        return self._settled + int(self.writer.size)

    # --- the rest of the port
    def wait(self, session: Session, args: list[bytes], local: i64, replicas: i64, timeout_ms: i64) -> None:
        """WAITAOF."""
        self.waits.wait(session, args, local, replicas, timeout_ms)

    def acknowledged(self) -> None:
        """A replica has told how far it is."""
        self.waits.answer()

    def reload(self) -> bytes:
        """DEBUG LOADAOF."""
        if self.on:
            self.engine.journal.flush()
            self._flush(True)
        return load_set_now(self.engine, self.place)

    def before_end(self, forced: bool) -> bool:
        """The process is about to end."""
        if self._first and self.rewriting and not forced:
            log.error("the end has to wait: the first base of the append-only file is being written")
            return False
        self._cancel()
        if self.on:
            if self.engine.journal.active:
                self.engine.journal.flush()
            self._flush(True)
            with contextlib.suppress(OSError):
                os.fdatasync(self.writer.descriptor)
        return True

    def close(self) -> None:
        """The process ends now."""
        if self.on:
            self._close(True)

    def info(self) -> list[tuple[str, str]]:
        """The fields of INFO persistence that every node has."""
        current = int(self.engine.now_ms - self._begun_ms) // 1000 if self.rewriting else -1
        return [
            ("aof_enabled", "1" if self.enabled else "0"),
            ("aof_rewrite_in_progress", "1" if self.rewriting else "0"),
            ("aof_rewrite_scheduled", "1" if self.scheduled else "0"),
            ("aof_last_rewrite_time_sec", str(self._seconds)),
            ("aof_current_rewrite_time_sec", str(current)),
            ("aof_last_bgrewrite_status", "err" if self._failed else "ok"),
            ("aof_rewrites", str(self._rewrites)),
            ("aof_rewrites_consecutive_failures", str(self._failures)),
            ("aof_last_write_status", "err" if self.engine.aof_refusal else "ok"),
            ("aof_last_cow_size", "0"),
        ]

    def sizes(self) -> list[tuple[str, str]]:
        """The fields of INFO persistence that only a node with an append-only file has."""
        if not self.enabled:
            return []
        return [
            ("aof_current_size", str(self._size())),
            ("aof_base_size", str(self._base_size)),
            ("aof_pending_rewrite", "1" if self.scheduled else "0"),
            ("aof_buffer_length", str(self.writer.buffered)),
            ("aof_pending_bio_fsync", "1" if self.writer.syncing else "0"),
            ("aof_delayed_fsync", str(self.writer.delayed)),
        ]

    def progress(self) -> tuple[i64, i64]:
        """Keys that a rewrite has written, and has to write; zeros when none runs."""
        snapshot = self._snapshot
        return (snapshot.keys_done, snapshot.keys_total) if snapshot is not None else (0, 0)

    def durable(self) -> i64:
        """The offset of the stream up to which a restart would find everything; -1: nothing at all."""
        return self.synced if self.on and not self._first else -1

    def buffered(self) -> i64:
        """Bytes that wait to be written."""
        return self.writer.buffered
