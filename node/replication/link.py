"""The link to a primary: handshake, PSYNC, the snapshot, then the stream, applied as it comes.

The snapshot is spooled to a file in `dir` and loaded once it is whole, so a link that dies half-way costs no data.
While it is loaded the node answers LOADING. The stream is applied by a session without a socket; every byte is passed
on to our own replicas.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
import trio

from cluster.resp.encode import encode_request
from node.engine import Engine
from node.ports import Replication
from node.rdb.decode import load
from node.rdb.reader import RdbError
from node.replication.journal import Stream
from node.replication.state import Lineage, make_backlog
from node.session import KIND_PRIMARY, Session

log: structlog.stdlib.BoundLogger = structlog.get_logger()

READ: Final = 64 * 1024
LINE_MAX: Final = 1024
EOF_MARK: Final = 40
READS_AS: Final = b"9.1.0"  # the Valkey whose snapshots we read: some send older ones less
APPLY_SLICE: Final = 16 * 1024  # bytes of the stream that are applied before clients get their turn
LOAD_SLICE: Final = 0.002


class LinkError(Exception):
    """The link can't go on; the text says why."""


LINK_FAILURES: Final = (
    LinkError, RdbError, OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError,
)  # fmt: skip

Write = Callable[[bytes], int]


class Follower(Replication):
    """What the link needs from the role that owns it."""

    stream: Stream
    lineage: Lineage

    def refresh(self) -> None:
        """The flags that the dispatcher tests have to be computed anew."""
        raise NotImplementedError

    def in_sync(self) -> None:
        """The dataset is the primary's, the stream begins."""
        raise NotImplementedError


class PrimaryLink:
    """One connection to a primary, from connect to loss."""

    def __init__(self, owner: Follower, engine: Engine) -> None:
        self.owner = owner
        self.engine = engine
        self.wants_ack = False
        self._buffer = bytearray()
        self._stream: trio.SocketStream | None = None
        self._last_io = trio.current_time()
        self._abandoned = False

    def seconds_since_io(self) -> int:
        """Seconds since the primary was last heard of."""
        return int(trio.current_time() - self._last_io)

    def _patience(self) -> float:
        """Seconds of silence after which the primary counts as lost (repl-timeout)."""
        return float(self.engine.settings.repl_timeout)

    def abandon(self) -> None:
        """The role has changed: whatever is still to come is not applied."""
        self._abandoned = True

    async def follow(self, host: str, port: int) -> bool:
        """Follow until the link dies; True when it had been in sync. Never raises for what the network or primary
        does.
        """
        in_sync = False
        try:
            with trio.fail_after(self._patience()):
                stream = await trio.open_tcp_stream(host, port)
            self._stream = stream
            async with stream:
                with trio.fail_after(self._patience()):
                    await self._handshake(stream)
                await self._synchronize(stream)
                in_sync = True
                await self._apply(stream)
        except* LINK_FAILURES as group:
            error: BaseException = group  # the nursery of `_apply` wraps what breaks the link
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            if not self._abandoned:
                reason = str(error) or type(error).__name__
                log.warning("the link to the primary is down", host=host, port=port, reason=reason)
        return in_sync

    # --- reading
    async def _fill(self, stream: trio.SocketStream) -> None:
        with trio.fail_after(self._patience()):
            data = await stream.receive_some(READ)
        if not data:
            raise LinkError("the primary closed the connection")
        self._last_io = trio.current_time()
        self.engine.stats.repl_input += len(data)
        self._buffer += data

    async def _line(self, stream: trio.SocketStream) -> bytes:
        """The next line that is not empty (empty ones keep the link alive while the primary prepares)."""
        while True:
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > LINE_MAX:
                    raise LinkError("the primary sent a line without end")
                await self._fill(stream)
                continue
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            if line:
                return line

    async def _ask(self, stream: trio.SocketStream, *args: bytes) -> bytes:
        await stream.send_all(encode_request(args))
        return await self._line(stream)

    # --- handshake
    async def _handshake(self, stream: trio.SocketStream) -> None:
        settings = self.engine.settings
        self.owner.link_state = b"connecting"
        answer = await self._ask(stream, b"PING")
        if not answer.startswith((b"+", b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted")):
            raise LinkError(f"PING was answered by {answer[:100]!r}")
        password = settings.options.text("primaryauth")
        if password:
            user = settings.options.text("primaryuser")
            answer = await self._ask(stream, b"AUTH", *([user] if user else []), password)
            if not answer.startswith(b"+"):
                raise LinkError("the primary refused primaryauth; set it to the primary's password")
        port = settings.options.number("replica-announce-port") or settings.port
        await self._ask(stream, b"REPLCONF", b"listening-port", b"%d" % port)
        announced = settings.options.text("replica-announce-ip")
        if announced:
            await self._ask(stream, b"REPLCONF", b"ip-address", announced)
        await self._ask(stream, b"REPLCONF", b"capa", b"eof", b"capa", b"psync2")
        await self._ask(stream, b"REPLCONF", b"version", READS_AS)  # an error from old ones, which is fine

    async def _synchronize(self, stream: trio.SocketStream) -> None:
        """PSYNC; afterwards the dataset and the offset are the primary's."""
        owner = self.owner
        if owner.stream.offset > 0 or owner.stream.backlog is not None:
            request = (owner.lineage.id, b"%d" % (owner.stream.offset + 1))
        else:
            request = (b"?", b"-1")
        with trio.fail_after(self._patience()):
            answer = await self._ask(stream, b"PSYNC", *request)
        words = answer.split()
        if words[0] == b"+CONTINUE":
            if len(words) > 1 and words[1] != owner.lineage.id:
                owner.lineage.shift(words[1], owner.stream.offset + 1)
            if owner.stream.backlog is None:
                make_backlog(self.engine, owner.stream)
            log.info("continuing from the primary's backlog", offset=owner.stream.offset + 1)
        elif words[0] == b"+FULLRESYNC" and len(words) == 3 and len(words[1]) == 40 and words[2].isdigit():
            await self._full_sync(stream, words[1], int(words[2]))
        else:
            raise LinkError(f"PSYNC was answered by {answer[:100].decode('latin-1')!r}")
        if self._abandoned:
            raise LinkError("the role has changed")
        owner.in_sync()

    async def _full_sync(self, stream: trio.SocketStream, id: bytes, offset: int) -> None:
        owner = self.owner
        owner.link_state = b"sync"
        prefix = f"sync-{os.getpid()}-"  # by which the next process knows what this one left unfinished
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=".rdb", dir=self.engine.settings.directory)
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as spool:
                await self._spool(stream, spool.write)
            await self._load(path)
        finally:
            path.unlink()  # noqa: ASYNC240 - one directory entry, as short as the opening of the spool
        owner.lineage = Lineage(id)
        owner.stream.offset = offset
        make_backlog(self.engine, owner.stream)
        self.engine.aof.renew()
        log.info("full sync done", replid=id.decode(), offset=offset)

    async def _spool(self, stream: trio.SocketStream, write: Write) -> None:
        """Take the snapshot: `$<length>`, or `$EOF:<mark>` and everything up to the mark."""
        head = await self._line(stream)
        if not head.startswith(b"$"):
            raise LinkError(f"the primary sent no snapshot but {head[:100].decode('latin-1')!r}")
        if head.startswith(b"$EOF:") and len(head) == 5 + EOF_MARK:
            await self._spool_to_mark(stream, write, head[5:])
            return
        if not head[1:].isdigit():
            raise LinkError("the snapshot's length is no number")
        missing = int(head[1:])
        while missing:
            if not self._buffer:
                await self._fill(stream)
            piece = bytes(self._buffer[:missing])
            del self._buffer[: len(piece)]
            write(piece)
            missing -= len(piece)

    async def _spool_to_mark(self, stream: trio.SocketStream, write: Write, mark: bytes) -> None:
        while True:
            found = self._buffer.find(mark)
            if found >= 0:
                write(bytes(self._buffer[:found]))
                del self._buffer[: found + EOF_MARK]
                return
            keep = EOF_MARK - 1
            if len(self._buffer) > keep:
                write(bytes(self._buffer[:-keep]))
                del self._buffer[:-keep]
            await self._fill(stream)

    async def _load(self, path: Path) -> None:
        """Replace the dataset by the snapshot, in slices; clients are answered LOADING meanwhile."""
        owner, e = self.owner, self.engine
        if self._abandoned:
            raise LinkError("the role has changed")
        owner.loading = True
        owner.refresh()
        e.break_all_watches(-1)
        e.tracking.flushed()
        for store in e.stores:
            if e.snapshots.active:
                e.snapshots.before_clear(store)
            store.clear()
        try:
            with path.open("rb") as file:
                until = trio.current_time() + LOAD_SLICE
                functions: list[bytes] = []
                for _ in load(file, e.stores, e.now_ms, False, functions):
                    if trio.current_time() > until:
                        await trio.lowlevel.checkpoint()
                        until = trio.current_time() + LOAD_SLICE
            e.scripts.adopt(functions)
        except RdbError:
            for store in e.stores:
                store.clear()
            raise
        finally:
            owner.loading = False
            owner.refresh()

    # --- the stream
    async def _apply(self, stream: trio.SocketStream) -> None:
        e, owner = self.engine, self.owner
        session = Session(0, e.executor, e.stores[0], e.acl.default_user, e.settings.max_bulk, e.now_ms)
        session.primary_link = True
        session.kind = KIND_PRIMARY
        session.refresh()
        received = owner.stream.offset
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._acknowledge, stream)
            while True:
                if not self._buffer:
                    await self._fill(stream)
                piece = bytes(self._buffer[:APPLY_SLICE])
                del self._buffer[: len(piece)]
                if self._abandoned:
                    raise LinkError("the role has changed")
                received += len(piece)
                self._run(session, piece)
                owner.stream.spread(piece)
                if not session.multi:
                    owner.stream.offset = received - session.decoder.held()
                e.loop.settle()
                if self.wants_ack:
                    await self._send_ack(stream)
                await trio.lowlevel.checkpoint()

    def _run(self, session: Session, piece: bytes) -> None:
        session.decoder.feed(piece)
        session.executor.run(session)

    async def _acknowledge(self, stream: trio.SocketStream) -> None:
        while True:
            await self._send_ack(stream)
            await trio.sleep(1)

    async def _send_ack(self, stream: trio.SocketStream) -> None:
        self.wants_ack = False
        request = [b"REPLCONF", b"ACK", b"%d" % self.owner.stream.offset]
        on_disk = self.engine.aof.durable()
        if on_disk >= 0:
            request += [b"FACK", b"%d" % on_disk]
        await stream.send_all(encode_request(request))
