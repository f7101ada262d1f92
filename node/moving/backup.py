"""`kvorum backup`: the RDB files of all shards as of one instant, and a manifest.

Writes are paused on every primary (CLIENT PAUSE WRITE, which ends by itself), a full synchronization is begun on each,
and the pause is ended: a node's snapshot shows the instant in which it began, so the files together show one in which
no write was under way anywhere. If not all begin before the first pause could end, everything is begun anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

import trio

from cluster import backup
from cluster.agent.ready import parse_info
from cluster.agent.sentinels import Sentinels
from cluster.files import fsync_folder, write_file
from cluster.link import Link, LinkError, Reply, open_link
from cluster.moving import Event, Job
from cluster.topology import Shard, Topology
from cluster.version import KVORUM_VERSION
from node.moving.errors import DroppedError, MoveError, unwrapped
from node.moving.report import Reporter
from node.moving.source import Address, Source, Stream
from node.moving.spool import Spool
from node.rdb.survey import survey

ATTEMPTS: Final = 5
PAUSE_MS: Final = 1000
"""For how long writes may wait; the usual pause is a few milliseconds."""
MARGIN: Final = 0.1
"""Seconds of the pause in which nothing may be begun any more."""
SYNC_SECONDS: Final = 120.0
"""How long to wait for a full synchronization of a replica that is under way, since the next one has to wait for it."""
PATIENCE: Final = 5.0
LOOK_EVERY: Final = 0.1


class _LateError(MoveError):
    """The instant was missed, or the service changed meanwhile: begin anew."""


class _Sum:
    """A file that is hashed while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """As of a file."""
        self._file.write(data)
        self.sha256.update(data)
        self.size += len(data)
        return len(data)


@dataclass
class _Part:
    """One shard under way."""

    shard: Shard
    host: str
    port: int
    path: Path
    stream: Stream
    begun: trio.Event = field(default_factory=trio.Event)
    size: int = 0
    sha256: str = ""
    keys: int = 0
    replid: str = ""
    offset: int = 0

    @property
    def temporary(self) -> Path:
        """The file in the making."""
        return self.path.with_name(f".{self.path.name}.part")


class Backup:
    """One job: `job.source` is the folder that is made."""

    def __init__(self, job: Job, report: Reporter) -> None:
        self.job = job
        self.report = report
        self.folder = Path(job.source)
        addresses = [(host, int(port)) for host, _, port in (one.rpartition(":") for one in job.target.sentinels)]
        self._sentinels = Sentinels(addresses)
        self._instant = ""
        self._paused_ms = 0
        self._parts: list[_Part] = []

    async def run(self) -> None:
        """Do it. Raises MoveError."""
        self.report.enter("check", f"backing up '{self.job.target.name}' into {self.folder}")
        self._make_folder()
        self._spool = Spool(self.folder)
        try:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    self._parts = await self._plan()
                    await unwrapped(self._take, self._parts)
                    break
                except (_LateError, DroppedError) as error:
                    self._drop()
                    if attempt == ATTEMPTS:
                        raise MoveError(f"no backup was taken: {error}") from error
                    self.report.say(Event("restart", phase=self.report.phase, text=f"{error}; it is tried again"))
                    await trio.sleep(LOOK_EVERY * attempt)
            await self._finish(self._parts)
        except OSError as error:
            raise MoveError(f"{error.filename or self.folder} can't be written: {error.strerror}") from error
        finally:
            self._drop()
            self._spool.close()
            with trio.CancelScope(shield=True):
                await self._sentinels.aclose()

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            taken = any(self.folder.iterdir())
        except OSError as error:
            raise MoveError(f"{self.folder} can't be made: {error.strerror}") from error
        if taken:
            raise MoveError(f"{self.folder} is not empty: a backup needs a folder of its own. Nothing was changed")

    def _drop(self) -> None:
        for part in self._parts:
            part.temporary.unlink(missing_ok=True)

    # --- the instant
    async def _topology(self) -> Topology:
        topology = await self._sentinels.newest(Topology(self.job.target.name, (), ()))
        if not topology.shards:
            raise _LateError(f"no sentinel tells who leads in '{self.job.target.name}'")
        return topology

    async def _plan(self) -> list[_Part]:
        topology = await self._topology()
        parts: list[_Part] = []
        for index, shard in enumerate(topology.shards):
            node = topology.node(shard.primary)
            assert node is not None
            source = Source(Address(f"redis://{node.host}:{node.port}"), None)
            stream = Stream(source, self._spool, self.report.note)
            parts.append(_Part(shard, node.host, node.port, self.folder / backup.file_name(index), stream))
        return parts

    async def _take(self, parts: list[_Part]) -> None:
        """Have every shard begin in one pause, and fetch all files."""
        links: list[Link] = []
        try:
            for part in parts:
                links.append(await _connect(part))
            for part, link in zip(parts, links, strict=True):
                await self._until_idle(part, link)
                await part.stream.prepare()
            async with trio.open_nursery() as nursery:
                await self._begin(parts, links, nursery)
                await self._check(parts)
        except LinkError as error:
            raise _LateError(str(error)) from error
        finally:
            with trio.CancelScope(shield=True):
                for link in links:
                    await link.aclose()
                for part in parts:
                    await part.stream.aclose()

    async def _begin(self, parts: list[_Part], links: list[Link], nursery: trio.Nursery) -> None:
        paused_at = trio.current_time()
        try:
            with trio.fail_after(PAUSE_MS / 1000 - MARGIN):
                await _everywhere(links, "CLIENT", "PAUSE", PAUSE_MS, "WRITE")
                for reply, part in zip(await _everywhere(links, "ROLE"), parts, strict=True):
                    if not isinstance(reply, list) or reply[0] != b"master":
                        raise _LateError(f"{part.shard.name} is led by another node now")
                self._instant = datetime.now(UTC).isoformat(timespec="milliseconds")
                self.report.enter("snapshot", "writes are paused for an instant")
                for part in parts:
                    nursery.start_soon(self._fetch, part)
                for part in parts:
                    await part.begun.wait()
        except LinkError as error:
            raise _LateError(str(error)) from error
        except trio.TooSlowError as error:
            raise _LateError(f"not every shard began within {PAUSE_MS} ms") from error
        finally:
            with trio.CancelScope(shield=True):
                await _unpause(links)
            self._paused_ms = int((trio.current_time() - paused_at) * 1000)

    async def _check(self, parts: list[_Part]) -> None:
        """Was each of them the primary at that instant, as the sentinels see it?"""
        topology = await self._topology()
        if any(topology.shard(part.shard.name) != part.shard for part in parts):
            raise _LateError("a shard was led by another node at that instant")

    async def _until_idle(self, part: _Part, link: Link) -> None:
        """A node serves one full synchronization at a time: wait for one that is under way."""
        until = trio.current_time() + SYNC_SECONDS
        while trio.current_time() < until:
            info = parse_info(await link.ask("INFO", "replication"))
            if not any("state=wait_bgsave" in value or "state=send_bulk" in value for value in info.values()):
                return
            self.report.progress(Event("", text=f"{part.shard.name} is sending a snapshot to a replica"))
            await trio.sleep(LOOK_EVERY)
        raise _LateError(f"{part.shard.name} is busy with the full synchronization of a replica")

    # --- the files
    async def _fetch(self, part: _Part) -> None:
        with _private(part.temporary) as file:
            summed = _Sum(file)

            def progress(_done: int, _total: int | None) -> None:
                part.begun.set()
                part.size = summed.size
                self._progress()

            await part.stream.synchronize(progress, cast("BinaryIO", summed))
            await part.stream.aclose()
            file.flush()
            await trio.to_thread.run_sync(os.fsync, file.fileno())
        part.size, part.sha256 = summed.size, summed.sha256.hexdigest()
        part.replid, part.offset = part.stream.id.decode(), part.stream.base

    def _progress(self) -> None:
        self.report.progress(Event("", bytes=sum(part.size for part in self._parts)))

    async def _finish(self, parts: list[_Part]) -> None:
        """Look into every file, put it into its place, and write the manifest."""
        self.report.enter("check", "reading the files")
        total = sum(part.size for part in parts)
        done = 0
        for part in parts:
            part.keys = await trio.to_thread.run_sync(_count, part)
            os.rename(part.temporary, part.path)
            done += part.size
            self.report.progress(Event("", bytes=done, total=total, keys=sum(one.keys for one in parts)))
        fsync_folder(self.folder)
        keys = sum(part.keys for part in parts)
        manifest = backup.Manifest(
            service=self.job.target.name,
            time=self._instant,
            kvorum=KVORUM_VERSION,
            paused_ms=self._paused_ms,
            shards=tuple(_entry(part) for part in parts),
        )
        write_file(self.folder / backup.MANIFEST, backup.to_json(manifest))
        self.report.say(
            Event(
                "done",
                phase="done",
                text=f"{self.folder} holds '{manifest.service}' as of {manifest.time}: {keys:,} keys; writes were "
                f"paused for {manifest.paused_ms} ms",
                bytes=total,
                total=total,
                keys=keys,
                next=f"bring it back by 'kvorum restore {self.folder} NAME'",
            )
        )


def _private(path: Path) -> BinaryIO:
    """A new file that its owner alone may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


async def _connect(part: _Part) -> Link:
    return await open_link(
        part.host, part.port, connect_timeout=PATIENCE, timeout=PATIENCE, client_name="kvorum-backup"
    )


async def _everywhere(links: list[Link], *words: str | int) -> list[Reply]:
    """Ask all at the same time; raises LinkError, the first of those that came."""
    replies: list[Reply] = [None] * len(links)
    failures: list[LinkError] = []

    async def ask(index: int) -> None:
        try:
            replies[index] = await links[index].ask(*words)
        except LinkError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        for index in range(len(links)):
            nursery.start_soon(ask, index)
    if failures:
        raise failures[0]
    return replies


async def _unpause(links: list[Link]) -> None:
    """End the pause at once where that is possible; elsewhere it ends by itself."""
    with contextlib.suppress(LinkError):
        await _everywhere(links, "CLIENT", "UNPAUSE")


def _count(part: _Part) -> int:
    """The keys in a file. Raises MoveError for a file that can't be read."""
    with part.temporary.open("rb") as file:
        found = survey(file, part.size)
    if found.error is not None or found.trailing:
        reason = found.error.reason if found.error is not None else "bytes behind its end"
        raise MoveError(f"the file of {part.shard.name} is broken ({reason}); no backup was taken")
    return sum(int(database.keys) for database in found.databases.values())


def _entry(part: _Part) -> backup.ShardFile:
    slots = " ".join(f"{first}-{last}" if first != last else f"{first}" for first, last in part.shard.slots)
    return backup.ShardFile(
        name=part.shard.name,
        file=part.path.name,
        size=part.size,
        sha256=part.sha256,
        keys=part.keys,
        slots=slots,
        node=part.shard.primary,
        epoch=part.shard.epoch,
        replid=part.replid,
        offset=part.offset,
    )
