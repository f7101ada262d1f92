"""Loading the files of an append-only set: at the start in slices, with clients answered LOADING; for DEBUG LOADAOF at
once.

The base may be an RDB file, or an RDB file with commands behind it (Redis 4 to 6), or commands. A file that ends
inside a command or transaction is cut there if it is the last that holds anything, and `aof-load-truncated` is yes;
anything else that can't be read stops the start.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import structlog
import trio

from node.engine import Engine
from node.persistence.aof_apply import AofApplier
from node.persistence.aof_files import (
    Place,
    adopt_nameless,
    adopt_single,
    drop_history,
    read_manifest,
)
from node.persistence.aofparse import AofError, AofReader, TornError
from node.persistence.loading import SLICE, LoadError, set_loading, shown
from node.persistence.manifest import Manifest, ManifestError
from node.rdb.decode import StoreLoader
from node.rdb.file import END
from node.rdb.opcodes import MAGIC, MAGIC_VALKEY
from node.rdb.reader import RdbError

log: structlog.stdlib.BoundLogger = structlog.get_logger()

COMMANDS_A_LOOK: Final = 64
STEPS_A_LOOK: Final = 16
NOWHERE: Final = 0  # target of the journal: what is loaded is not propagated
EVERYWHERE: Final = 3


@dataclass(frozen=True)
class AofSet:
    """What was found: the manifest (None: there are no files) and bytes."""

    manifest: Manifest | None
    size: int = 0
    base_size: int = 0


def _recipe(place: Place, path: Path, reason: str) -> LoadError:
    return LoadError(
        f"{path} can't be loaded: {reason}. The files were left as they are. `kvorum check {place.manifest()}` tells "
        f"where they break, and with --fix cuts off an end that is torn; or put a backup in the place of "
        f"{place.folder}, or move it away to start without its data (a replica then fetches them from its primary)"
    )


def _find(place: Place) -> Manifest | None:
    """The manifest, a single file of older servers brought over. Raises LoadError."""
    try:
        return adopt_single(place, read_manifest(place)) or adopt_nameless(place)
    except ManifestError as error:
        raise _recipe(place, place.manifest(), str(error)) from None
    except OSError as error:
        raise _recipe(place, place.manifest(), error.strerror or str(error)) from None


def _sizes(place: Place, manifest: Manifest) -> list[int]:
    """Bytes of each file. Raises LoadError."""
    sizes: list[int] = []
    for part in manifest.files():
        try:
            sizes.append(place.file(part).stat().st_size)
        except OSError as error:
            raise _recipe(place, place.file(part), error.strerror or str(error)) from None
    return sizes


def _steps(e: Engine, place: Place, manifest: Manifest, sizes: list[int]) -> Iterator[None]:
    """Load the set bit by bit. Raises LoadError."""
    e.stats.load.begin(e.now_ms, sum(sizes))
    applier = AofApplier(e)
    dirty = e.dirty
    before = 0
    for store in e.stores:
        store.ignore_expiry = True  # a command counts with what was there when it was executed
    try:
        for number, part in enumerate(manifest.files()):
            path = place.file(part)
            last = not any(sizes[number + 1 :])
            for offset in _load(e, place, path, applier, last):
                e.stats.load.loaded = before + offset
                yield
            before += sizes[number]
    finally:
        for store in e.stores:
            store.ignore_expiry = False
        e.replace_with_nothing()
        e.replaced = False
        e.dirty = dirty
    if applier.refused:
        log.error(
            "commands of the append-only file were refused",
            number=int(applier.refused), first=applier.refusal.decode("utf-8", "replace"),
        )  # fmt: skip


def _load(e: Engine, place: Place, path: Path, applier: AofApplier, last: bool) -> Iterator[int]:
    """Load one file; yields how far it is."""
    try:
        with path.open("rb") as file:
            offset = 0
            if _is_rdb(file):
                for offset in _load_rdb(e, file):
                    yield offset
            reader = AofReader(file, offset)
            applier.begin(offset)
            while applier.step(reader, COMMANDS_A_LOOK):
                yield int(reader.offset)
    except TornError as error:
        if not last or not e.settings.options.flag("aof-load-truncated"):
            hint = "" if last else "; it is not the last file, so what follows would not fit"
            raise _recipe(place, path, f"{error}{hint}") from None
        _cut(place, path, applier)
    except (AofError, RdbError) as error:
        raise _recipe(place, path, str(error)) from None
    except OSError as error:
        raise _recipe(place, path, error.strerror or str(error)) from None


def _is_rdb(file: BinaryIO) -> bool:
    head = file.read(len(MAGIC_VALKEY))
    file.seek(0)
    return head.startswith((MAGIC, MAGIC_VALKEY))


def _load_rdb(e: Engine, file: BinaryIO) -> Iterator[int]:
    """The RDB part of a file; yields offsets, at last that behind it. Keys whose time is over stay: commands follow."""
    loader = StoreLoader(file, os.fstat(file.fileno()).st_size, e.stores, e.now_ms, False)
    step = 0
    while loader.step() != END:
        step += 1
        if step % STEPS_A_LOOK == 0:
            e.stats.load.keys_loaded = loader.keys
            yield int(loader.file.offset())
    e.scripts.adopt(loader.file.functions)
    e.stats.load.keys_loaded = loader.keys
    yield int(loader.file.offset())


def _cut(place: Place, path: Path, applier: AofApplier) -> None:
    """Cut a torn end off. Raises LoadError."""
    applier.drop_transaction()
    good = int(applier.good)
    try:
        size = path.stat().st_size
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, good)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _recipe(place, path, f"its torn end can't be cut off: {error.strerror}") from None
    log.warning("the append-only file ended inside a command: the end was cut off", path=shown(str(path)), kept=good,
                cut=size - good)  # fmt: skip


def _found(place: Place, manifest: Manifest) -> AofSet:
    """What was loaded, history removed."""
    manifest = drop_history(place, manifest)
    sizes = _sizes(place, manifest)
    return AofSet(manifest, sum(sizes), sizes[0] if manifest.base else 0)


async def load_set(e: Engine, place: Place) -> AofSet:
    """Load the files in slices; stops early when the process is asked to end. Raises LoadError."""
    manifest = _find(place)
    if manifest is None:
        return AofSet(None)
    sizes = _sizes(place, manifest)
    set_loading(e, True)
    try:
        until = trio.current_time() + SLICE
        for _ in _steps(e, place, manifest, sizes):
            if trio.current_time() > until:
                await trio.lowlevel.checkpoint()
                if e.shutdown_asked:
                    break
                until = trio.current_time() + SLICE
    finally:
        set_loading(e, False)
    log.info("loaded", path=str(place.manifest()), bytes=sum(sizes), keys=sum(int(s.count()) for s in e.stores))
    return _found(place, manifest)


def load_set_now(e: Engine, place: Place) -> bytes:
    """Empty the node and load the files at once; the reason when that fails, else empty."""
    e.break_all_watches(-1)
    e.tracking.flushed()
    e.journal.aim(NOWHERE)
    try:
        manifest = _find(place)
        if manifest is None:
            return b"there is no append-only file"
        for store in e.stores:
            if e.snapshots.active:
                e.snapshots.before_clear(store)
            store.clear()
        for _ in _steps(e, place, manifest, _sizes(place, manifest)):
            pass
    except LoadError as error:
        log.error("the append-only file can't be loaded", reason=str(error))
        return str(error).encode()
    finally:
        e.journal.aim(EVERYWHERE)
    return b""
