"""`kvorum fork`: everything a live server holds, then everything that changes there, until the cut-over.

An attempt takes the source's snapshot into a file, loads it, and applies the stream, which is spooled meanwhile. When
nobody can know any more whether the target equals the source, the target is emptied (all it holds came from here) and
the next attempt begins.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, Final, cast

import msgspec
import trio

from cluster.link import ReplyError
from cluster.moving import Event, Job, MovingFiles
from cluster.resp.errors import ProtocolError
from cluster.resp.requests import RequestDecoder
from node.moving.apply import Applier
from node.moving.errors import DroppedError, MoveError, RestartError, UnsupportedError, unwrapped
from node.moving.rdbload import RdbLoad
from node.moving.report import Reporter
from node.moving.source import Address, Source, Steering, Stream, tls_context
from node.moving.spool import Spool
from node.moving.target import Target, keyspace, parse_info

ATTEMPTS: Final = 10
FRUITLESS: Final = 3  # attempts in a row that gave no snapshot
PAUSE_BETWEEN: Final = 2.0
LOOK: Final = 64  # commands between two chances for other tasks
BULK_MAX: Final = 1 << 40  # a source has its own bound
QUIET: Final = 1.5  # seconds without a word that prove the end of a stream whose offset is unknown
WAIT: Final = 0.1
REPAUSE: Final = 0.5  # part of the pause after which it is renewed while it is still needed


class Fork:
    """One job, from the first connection to the cut-over."""

    def __init__(self, job: Job, files: MovingFiles, report: Reporter) -> None:
        self.job = job
        self.files = files
        self.report = report
        address = Address(job.source)
        self.source = Source(address, tls_context(address, job.ca, insecure=job.insecure))
        self.steering = Steering(self.source)
        self.paused = False
        self.loaded = False  # what the target holds came from here

    async def run(self) -> None:
        """Do it. Raises MoveError."""
        self.files.forget()
        try:
            await self._look_at_source()
            await self._persist()
        finally:
            with trio.move_on_after(5, shield=True):
                await self._resume_source()
                await self.steering.aclose()
            self.files.forget()

    async def _persist(self) -> None:
        """Attempt until it is done."""
        clear = self.job.replace
        fruitless = 0
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await unwrapped(self._attempt, clear, attempt == 1)
                return
            except (RestartError, DroppedError) as error:
                fruitless = fruitless + 1 if self.report.phase in ("connect", "snapshot") else 0
                if attempt == ATTEMPTS or fruitless == FRUITLESS:
                    raise
                await self._resume_source()
                self.report.say(Event("restart", phase=self.report.phase, text=f"{error}: everything is copied again"))
                clear = clear or self.loaded
                await trio.sleep(PAUSE_BETWEEN)

    # --- before
    async def _look_at_source(self) -> None:
        """What the source is and holds, as far as it tells."""
        self.report.enter("connect", f"connecting to {self.source.address}")
        link = await self.source.login()
        await link.aclose()
        info = parse_info(await self.steering.call("INFO"))
        if not info:
            self.report.note("the source does not answer INFO: its size and offset stay unknown")
            return
        name = "Valkey" if "valkey_version" in info else "Redis"
        version = info.get("valkey_version") or info.get("redis_version", "unknown")
        keys = sum(keyspace(info).values())
        self.report.note(f"the source is {name} {version} ({info.get('role', 'unknown')}), {keys} keys")
        if info.get("cluster_enabled") == "1":
            state = parse_info(await self.steering.call("CLUSTER", "INFO"))
            if state.get("cluster_size", "1") not in ("0", "1"):
                raise UnsupportedError(
                    f"{self.source.address} is one shard of a cluster of {state['cluster_size']}: following it alone "
                    "would leave the others behind. Take an RDB file of each shard and import one after the other"
                )

    async def _check_fit(self, target: Target) -> None:
        """Refuse before anything is copied what the target can't have; warn of what it may not."""
        info = parse_info(await self.steering.call("INFO"))
        if info.get("run_id") in await target.run_ids():
            raise MoveError(f"{self.source.address} is a node of '{self.job.target.name}' itself")
        for db in keyspace(info):
            target.check_database(db, "the source")
        limit, policy = await target.memory()
        used = int(info.get("used_memory_dataset", "0") or 0)
        if 0 < limit < used:
            fate = "writes will be refused" if policy == "noeviction" else f"keys will be evicted ({policy})"
            self.report.warn(f"the source's data take {used} bytes, '{self.job.target.name}' may hold {limit}: {fate}")

    async def _attempt(self, clear: bool, first: bool) -> None:
        spool = Spool(self.files.folder)
        stream = Stream(self.source, spool, self.report.note)
        try:
            async with trio.open_nursery() as nursery:
                target = Target(self.job.target, nursery)
                try:
                    await target.open()
                    if not clear:
                        await check_empty(target)
                    if first:
                        await self._check_fit(target)
                    await self._copy(target, stream, spool, nursery, clear)
                finally:
                    with trio.move_on_after(30, shield=True):
                        await target.leave_import_mode()
                    await target.aclose()
                nursery.cancel_scope.cancel()
        finally:
            await stream.aclose()
            spool.close()

    async def _copy(self, target: Target, stream: Stream, spool: Spool, nursery: trio.Nursery, clear: bool) -> None:
        """Snapshot, stream and cut-over."""
        with tempfile.TemporaryFile(dir=self.files.folder) as file:
            snapshot = cast("BinaryIO", file)
            self.report.enter("snapshot", "waiting for the source's snapshot")
            await stream.synchronize(self._snapshot_progress, snapshot)
            size = snapshot.tell()
            snapshot.flush()
            snapshot.seek(0)
            following = Following(self, target, stream, spool)
            nursery.start_soon(stream.run)
            # Not before the snapshot is here: a source that refuses must not cost the target its data.
            await (empty(target, self.report) if clear else check_empty(target))
            self.loaded = True
            self.report.enter("load", "loading the snapshot")
            load = RdbLoad(target, "the source's snapshot", 0)
            total = await self.keys()

            def progress() -> None:
                event = Event("", bytes=load.offset, total=size, keys=load.keys, total_keys=total)
                self.report.progress(following.with_lag(event), keys=load.keys)

            await load.run(snapshot, size, progress)
        self.report.say(Event("progress", phase="load", bytes=size, total=size, keys=load.keys, total_keys=load.keys))
        self.report.enter("follow", "following the source")
        await following.run()

    def _snapshot_progress(self, size: int, total: int | None) -> None:
        self.report.progress(Event("", bytes=size, total=total))

    async def keys(self) -> int | None:
        """Keys of the source, None when it does not tell."""
        info = parse_info(await self.steering.call("INFO", "keyspace"))
        return sum(keyspace(info).values()) if info else None

    # --- the source at the cut-over
    async def offset(self) -> int:
        """The source's offset, -1 when it does not tell."""
        info = parse_info(await self.steering.call("INFO", "replication"))
        text = info.get("master_repl_offset", "")
        return int(text) if text.isdigit() else -1

    async def pause(self) -> str:
        """Pause writes on the source; what it answers when it refuses, else ""."""
        info = parse_info(await self.steering.call("INFO", "replication"))
        if info.get("role", "master") != "master":
            return "it is a replica itself; pause its primary"
        reply = await self.steering.call("CLIENT", "PAUSE", int(self.job.pause * 1000), "WRITE")
        if isinstance(reply, ReplyError):
            return reply.text
        self.paused = True
        return ""

    async def _resume_source(self) -> None:
        """End the pause, if there is one."""
        if self.paused:
            self.paused = False
            await self.steering.call("CLIENT", "UNPAUSE")


class Following:
    """The stream applied, from the end of the snapshot to the cut-over."""

    def __init__(self, fork: Fork, target: Target, stream: Stream, spool: Spool) -> None:
        self.fork = fork
        self.target = target
        self.stream = stream
        self.spool = spool
        self.applier = Applier(target)
        self._decoder = RequestDecoder(True, BULK_MAX)
        self._goal = -1  # offset up to which everything has to be applied; -1: not yet cutting over
        self._cutting = False
        self._refusal = ""  # why the source is not paused
        self._paused_until = datetime.fromtimestamp(0, UTC)
        self._repause_at = 0.0
        self._last_word = 0.0
        self._fed = 0  # bytes of the stream
        self._head: int | None = None  # the source's offset as it was told last, -1: it does not tell
        self._marks: list[tuple[int, float]] = []  # offsets received, and when
        target.submitted(stream.base)
        stream.ack = self.applied

    def applied(self) -> int:
        """Offset up to which the target has everything."""
        return max(self.target.applied(), self.stream.base)

    def with_lag(self, event: Event) -> Event:
        """The event with how far the target is behind: bytes, and seconds since the oldest of them arrived."""
        now = trio.current_time()
        received, applied = self.stream.received, self.applied()
        if not self._marks or received > self._marks[-1][0]:
            self._marks.append((received, now))
        while self._marks and self._marks[0][0] <= applied:
            self._marks.pop(0)
        seconds = now - self._marks[0][1] if self._marks else 0.0
        behind = max(received, self._head or 0) - applied
        return msgspec.structs.replace(event, lag_bytes=behind, lag_seconds=round(seconds, 1))

    async def run(self) -> None:
        """Apply until the cut-over is done."""
        fork, name = self.fork, self.fork.job.target.name
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_head)
            self._last_word = trio.current_time()
            synced = False
            while True:
                data = self.spool.take()
                if data:
                    self._last_word = trio.current_time()
                    await self._feed(data)
                    continue
                await self.target.flush()
                await self.target.drain()
                self._progress()
                if not synced and self._head is not None and self.applied() >= self._head:
                    synced = True
                    text = f"'{name}' has caught up; to cut over: kvorum fork --cut-over {name}"
                    fork.report.say(self.with_lag(Event("synced", phase="follow", text=text)))
                if not self._cutting and (fork.files.asked() or (fork.job.at_once and synced)):
                    await self._begin_cut_over()
                if self._cutting and await self._is_through():
                    break
                await self.spool.wait(WAIT)
            await self._end()
            nursery.cancel_scope.cancel()

    async def _feed(self, data: bytes) -> None:
        """Apply a piece of the stream."""
        decoder = self._decoder
        decoder.feed(data)
        count = 0
        try:
            while decoder.next():
                count += 1
                await self._take(decoder)
                if count % LOOK == 0:
                    self._progress()
                    await trio.lowlevel.checkpoint()
        except ProtocolError as error:
            raise RestartError(f"the stream makes no sense: {error}") from error
        # What came in this piece counts as applied once all of it is answered.
        self._fed += len(data)
        self.target.submitted(self.stream.base + self._fed - int(decoder.held()))

    async def _take(self, decoder: RequestDecoder) -> None:
        args = decoder.args
        if not args:
            return
        if args[0].upper() == b"REPLCONF":
            if len(args) > 1 and args[1].upper() == b"GETACK":
                self.stream.answer_now()
            return
        await self.applier.take(args, decoder.buf[decoder.start : decoder.end] if decoder.raw else b"")

    def _progress(self) -> None:
        count = self.applier.commands
        self.fork.report.progress(self.with_lag(Event("", commands=count)), commands=count)

    async def _watch_head(self) -> None:
        """Ask the source each second how far it is."""
        while True:
            self._head = await self.fork.offset() if self.stream.id else -1
            if self._head < 0:
                return
            await trio.sleep(1)

    # --- the cut-over
    async def _begin_cut_over(self) -> None:
        fork = self.fork
        self._cutting = True
        fork.report.enter("cut-over", "pausing writes on the source")
        await self._pause()
        if self._refusal:
            fork.report.warn(
                f"the source can't be paused ({self._refusal}): what is written there after this moment stays behind"
            )
        self._goal = await fork.offset() if self.stream.id else -1
        self._last_word = trio.current_time()

    async def _pause(self) -> None:
        self._refusal = await self.fork.pause()
        self._paused_until = datetime.now(UTC) + timedelta(seconds=self.fork.job.pause)
        self._repause_at = trio.current_time() + self.fork.job.pause * REPAUSE

    async def _is_through(self) -> bool:
        """Whether everything up to the goal is applied; the pause is renewed as long as it is not."""
        if self.applier.inside:
            return False
        if self._goal >= 0:
            through = self.applied() >= self._goal
        else:
            through = trio.current_time() - self._last_word > QUIET
        if not through and not self._refusal and trio.current_time() > self._repause_at:
            await self._pause()
        return through

    async def _end(self) -> None:
        """Count, and report."""
        fork, target = self.fork, self.target
        here = sum((await target.keys()).values())
        there = await fork.keys()
        evicted = await target.evicted() - target.evicted_before
        name, url = fork.job.target.name, fork.job.target.url
        if evicted:
            fork.report.warn(f"'{name}' evicted {evicted} keys: it is too small for the data")
        if target.refused:
            fork.report.warn(f"{target.refused} commands of scripts answered errors, as they may have on the source")
        if not self._refusal and there is not None and here != there:
            raise MoveError(
                f"the source holds {there} keys and '{name}' {here}; the source goes on, and nothing was cut over. "
                "Try again with --replace"
            )
        for address in await target.leave_import_mode():
            fork.report.warn(f"the node {address} does not answer: it may still be in import mode (see docs/moving.md)")
        until = "" if self._refusal else f"{self._paused_until:%Y-%m-%d %H:%M:%S} UTC"
        later = f"; the source refuses writes until {until}" if until else ""
        fork.report.say(
            Event(
                "done",
                phase="cut-over",
                text=f"'{name}' holds all that the source held at the cut-over",
                commands=self.applier.commands,
                source_keys=there,
                target_keys=here,
                paused_until=until,
                next=f"point the clients to {url}{later}",
            )
        )
        fork.paused = False  # it ends by itself: who is not pointed elsewhere by then writes to the source again


async def check_empty(target: Target) -> None:
    """Refuse a target that holds anything."""
    count = sum((await target.keys()).values())
    if count or await target.has_functions():
        what = f"{count} keys" if count else "functions"
        raise MoveError(
            f"'{target.service.name}' is not empty ({what}). Nothing was changed; --replace empties it first"
        )


async def empty(target: Target, report: Reporter) -> None:
    """Remove all that the target holds."""
    count = sum((await target.keys()).values())
    if count:
        report.note(f"'{target.service.name}' is emptied ({count} keys)")
    await target.clear()
