"""`kvorum import`: an RDB file, an append-only file, or the folder of a set of them, into the target.

Every file is read to its end before anything is written, so that a broken one changes nothing. A torn end of the last
append-only file is left out, as servers do that load one.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

import trio

from cluster.moving import Event, Job
from node.moving.apply import Applier
from node.moving.errors import MoveError, RestartError, UnsupportedError, unwrapped
from node.moving.fork import check_empty, empty
from node.moving.rdbload import RdbLoad
from node.moving.report import Reporter
from node.moving.target import Target
from node.persistence.aof_survey import survey_aof
from node.persistence.aofparse import AofError, AofReader
from node.persistence.manifest import SIZE_MAX, ManifestError, parse
from node.rdb.opcodes import MAGIC, MAGIC_VALKEY
from node.rdb.survey import Survey, survey

ATTEMPTS: Final = 3
LOOK: Final = 64


class _Watched(io.BufferedReader):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path), 1 << 16)
        self._progress = progress

    def read(self, size: int | None = -1) -> bytes:
        """As of BufferedReader."""
        data = super().read(size)
        self._progress(len(data))
        return data


@dataclass(frozen=True)
class Part:
    """One file: whether it begins with an RDB, the bytes that count, and how many keys and commands they hold."""

    path: Path
    rdb: bool
    size: int
    keys: int
    commands: int


class Import:
    """One job. `paths` are the files to load when not all that `job.source` is or names."""

    def __init__(self, job: Job, report: Reporter, paths: list[Path] | None = None) -> None:
        self.job = job
        self._paths = paths
        self.report = report
        self._read = 0
        self._total = 0

    async def run(self) -> None:
        """Do it. Raises MoveError."""
        path = Path(self.job.source)
        self.report.enter("check", f"reading {path}")
        try:
            parts, most = self._survey(self._paths or _paths(path))
        except OSError as error:
            raise MoveError(f"{error.filename or path} can't be read: {error.strerror}") from error
        clear = self.job.replace
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await unwrapped(self._attempt, parts, most, clear)
                return
            except RestartError as error:
                if attempt == ATTEMPTS:
                    raise
                self.report.say(Event("restart", phase="load", text=f"{error}: everything is written again"))
                clear = True

    # --- looking before writing
    def _survey(self, paths: list[Path]) -> tuple[list[Part], int]:
        """What the files hold, and the highest database. Raises MoveError for broken ones, and OSError."""
        self._total = sum(path.stat().st_size for path in paths)
        parts: list[Part] = []
        most = 0
        for number, path in enumerate(paths):
            last = not any(other.stat().st_size for other in paths[number + 1 :])
            part, highest = self._survey_file(path, last=last)
            parts.append(part)
            most = max(most, highest)
        return parts, most

    def _survey_file(self, path: Path, *, last: bool) -> tuple[Part, int]:
        with _Watched(path, self._advance) as file:
            size = path.stat().st_size
            head = file.read(len(MAGIC_VALKEY))
            file.seek(0)
            rdb = head.startswith((MAGIC, MAGIC_VALKEY))
            if not rdb and size and not head.startswith((b"*", b"#")):
                raise MoveError(
                    f"{path} is neither an RDB file (it begins neither with REDIS nor with VALKEY) nor an append-only "
                    "file. Nothing was written"
                )
            if rdb and path.suffix != ".aof":
                found = survey(cast("BinaryIO", file), size)
                if found.error is not None:
                    raise _broken(path, found.error.offset, found.error.reason)
                if not found.trailing:
                    return Part(path, True, size, _keys(found), 0), max(found.databases, default=0)
                file.seek(0)
            account = survey_aof(cast("BinaryIO", file))
            if account.error is not None and not (account.torn() and last):
                raise _broken(path, account.error.offset, account.error.reason)
            if account.error is not None:
                self.report.warn(
                    f"{path} ends inside a command or transaction: the last {size - account.good} of its {size} bytes "
                    "are left out"
                )
            found_rdb = account.preamble
            most = max(found_rdb.databases, default=0) if found_rdb is not None else 0
            begin = size - found_rdb.trailing if found_rdb is not None else 0
            most = max(most, _highest(cast("BinaryIO", file), begin, account.good))
            keys = _keys(found_rdb) if found_rdb is not None else 0
            return Part(path, rdb, account.good, keys, account.commands), most

    def _advance(self, size: int) -> None:
        self._read += size
        self.report.progress(Event("", bytes=min(self._read, self._total), total=self._total))

    # --- writing
    async def _attempt(self, parts: list[Part], most: int, clear: bool) -> None:
        async with trio.open_nursery() as nursery:
            target = Target(self.job.target, nursery)
            try:
                await target.open()
                target.check_database(most, self.job.source)
                await (empty(target, self.report) if clear else check_empty(target))
                await self._load(target, parts)
            finally:
                with trio.move_on_after(30, shield=True):
                    await target.leave_import_mode()
                await target.aclose()
            nursery.cancel_scope.cancel()

    async def _load(self, target: Target, parts: list[Part]) -> None:
        self.report.enter("load", "writing")
        applier = Applier(target)
        keys = expired = before = 0
        plain = not any(part.commands for part in parts)
        for part in parts:
            applier.begin_file()
            with part.path.open("rb") as file:
                offset = 0
                if part.rdb:
                    # Before commands, keys whose time is over count: a command may have given them another one.
                    load = RdbLoad(target, str(part.path), int(time.time() * 1000) if plain else 0)
                    offset = await load.run(file, part.size, self._progress_of(load, before, keys))
                    keys += load.keys
                    expired += load.expired
                await self._apply(applier, file, offset, part, before)
            before += part.size
        await target.drain()
        if expired:
            self.report.note(f"{expired} keys had expired and were left out")
        for address in await target.leave_import_mode():
            self.report.warn(f"the node {address} does not answer: it may still be in import mode (see docs/moving.md)")
        await self._end(target, keys, applier.commands)

    def _progress_of(self, load: RdbLoad, before: int, keys: int) -> Callable[[], None]:
        def progress() -> None:
            done = keys + load.keys
            event = Event("", bytes=before + load.offset, total=self._total, keys=done)
            self.report.progress(event, keys=done)

        return progress

    async def _apply(self, applier: Applier, file: BinaryIO, offset: int, part: Part, before: int) -> None:
        if offset >= part.size:
            return
        reader = AofReader(file, offset)
        count = 0
        try:
            while reader.offset < part.size and reader.next():
                await applier.take(reader.args)
                count += 1
                if count % LOOK == 0:
                    event = Event("", bytes=before + int(reader.offset), total=self._total, commands=applier.commands)
                    self.report.progress(event, commands=applier.commands)
                    await trio.lowlevel.checkpoint()
        except AofError as error:
            raise MoveError(f"{part.path} is broken: {error}. {applier.commands} commands were executed") from error
        except UnsupportedError as error:
            raise UnsupportedError(f"{part.path}, offset {int(reader.began)}: {error}") from error

    async def _end(self, target: Target, keys: int, commands: int) -> None:
        evicted = await target.evicted() - target.evicted_before
        name = self.job.target.name
        if evicted:
            self.report.warn(f"'{name}' evicted {evicted} keys: it is too small for the data")
        if target.refused:
            self.report.warn(f"{target.refused} commands of scripts answered errors")
        here = sum((await target.keys()).values())
        self.report.say(
            Event(
                "done",
                phase="load",
                text=f"'{name}' holds what {self.job.source} held",
                bytes=self._total,
                total=self._total,
                source_keys=None if commands else keys,
                target_keys=here,
                commands=commands or None,
                next=f"point the clients to {self.job.target.url}",
            )
        )


def _broken(path: Path, offset: int, reason: str) -> MoveError:
    return MoveError(
        f"{path} is broken at offset {offset}: {reason}. Nothing was written; 'kvorum check {path}' tells more"
    )


def _keys(found: Survey) -> int:
    return sum(database.keys for database in found.databases.values())


def _highest(file: BinaryIO, begin: int, end: int) -> int:
    """The highest database that commands select. The file is sound up to `end`."""
    reader = AofReader(file, begin)
    most = 0
    while reader.offset < end and reader.next():
        args = reader.args
        if len(args) == 2 and len(args[0]) == 6 and args[0].lower() == b"select" and args[1].isdigit():
            most = max(most, int(args[1][:10]))
    return most


def _paths(path: Path) -> list[Path]:
    """The files to read, in order. Raises MoveError and OSError."""
    if path.is_dir():
        manifests = sorted(path.glob("*.manifest"))
        if len(manifests) != 1:
            found = f"{len(manifests)} manifests" if manifests else "no manifest of an append-only file"
            raise MoveError(
                f"{path} holds {found}. Give the folder 'appendonlydir' of a server, or one file: dump.rdb, "
                "appendonly.aof"
            )
        path = manifests[0]
    if path.suffix != ".manifest":
        return [path]
    with path.open("rb") as file:
        data = file.read(SIZE_MAX + 1)
    try:
        manifest = parse(data)
    except ManifestError as error:
        raise MoveError(f"{path} is broken: {error}. Nothing was written") from error
    return [path.parent / part.name for part in manifest.files()]
