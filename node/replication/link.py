"""The link to a primary: handshake, PSYNC, the snapshot (`intake`), then the stream, applied as it comes.

The stream is applied by a session without a socket, whole commands and transactions at a time (`cutter`); every byte is
passed on to our own replicas once it is applied.
"""

from typing import Final

import structlog
import trio

from node.engine import Engine
from node.rdb.reader import RdbError
from node.replication.cutter import Cutter, StreamError
from node.replication.intake import Intake
from node.replication.state import Lineage, Role, make_backlog, new_id
from node.replication.wire import LinkError, Wire, connect
from node.session import KIND_PRIMARY, Session

log: structlog.stdlib.BoundLogger = structlog.get_logger()

READS_AS: Final = b"9.1.0"  # the Valkey whose snapshots we read: some send older ones less
APPLY_SLICE: Final = 16 * 1024  # bytes of the stream that are applied before clients get their turn
ACK_EVERY: Final = 1.0  # seconds
NO_BOUND: Final = 1 << 60  # bytes of an argument: the primary has decided what it takes

LINK_FAILURES: Final = (
    LinkError, StreamError, RdbError, OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError,
)  # fmt: skip


class PrimaryLink:
    """One connection to a primary, from connect to loss."""

    def __init__(self, owner: Role, engine: Engine) -> None:
        self.owner = owner
        self.engine = engine
        self._wire: Wire | None = None
        self._intake: Intake | None = None
        self._ack_wanted = trio.Event()
        self._abandoned = False
        self._acknowledges = True

    def seconds_since_io(self) -> int:
        """Seconds since the primary was last heard of, -1 before."""
        return -1 if self._wire is None else int(trio.current_time() - self._wire.last_io)

    def abandon(self) -> None:
        """The role has changed: whatever is still to come is not applied."""
        self._abandoned = True
        if self._intake is not None:
            self._intake.abandoned = True

    def acknowledge(self) -> None:
        """The primary wants to know at once how far we are."""
        self._ack_wanted.set()

    async def follow(self, host: str, port: int) -> bool:
        """Follow until the link dies; True when it had been in sync. Never raises for what the network or primary
        does.
        """
        in_sync = False
        try:
            wire = await connect(host, port, self.engine)
            self._wire = wire
            async with wire.stream:
                with trio.fail_after(wire.patience()):
                    await self._handshake(wire)
                await self._synchronize(wire)
                in_sync = True
                await self._apply(wire)
        except* LINK_FAILURES as group:
            error: BaseException = group  # the nursery of `_apply` wraps what breaks the link
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            if not self._abandoned:
                reason = str(error) or str(error.__cause__ or "") or type(error).__name__
                log.warning("the link to the primary is down", host=host, port=port, reason=reason)
        return in_sync

    # --- handshake
    async def _handshake(self, wire: Wire) -> None:
        settings = self.engine.settings
        options = settings.options
        self.owner.link_state = b"connecting"
        answer = await wire.ask(b"PING")
        if not answer.startswith((b"+", b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted")):
            raise LinkError(f"PING was answered by {answer[:100]!r}")
        password = options.text("primaryauth")
        if password:
            user = options.text("primaryuser")
            answer = await wire.ask(b"AUTH", *([user] if user else []), password)
            if not answer.startswith(b"+"):
                raise LinkError("the primary refused primaryauth; set it to the primary's password")
        secure = options.flag("tls-replication") and settings.tls_port > 0
        port = options.number("replica-announce-port") or (settings.tls_port if secure else settings.port)
        await wire.ask(b"REPLCONF", b"listening-port", b"%d" % port)
        announced = options.text("replica-announce-ip")
        if announced:
            await wire.ask(b"REPLCONF", b"ip-address", announced)
        await wire.ask(b"REPLCONF", b"capa", b"eof", b"capa", b"psync2")
        await wire.ask(b"REPLCONF", b"version", READS_AS)  # an error from old ones, which is fine

    async def _synchronize(self, wire: Wire) -> None:
        """PSYNC; afterwards the dataset and the offset are the primary's."""
        owner = self.owner
        if owner.stream.offset > 0 or owner.stream.backlog is not None:
            request = (owner.lineage.id, b"%d" % (owner.stream.offset + 1))
        else:
            request = (b"?", b"-1")
        answer = await wire.ask(b"PSYNC", *request)
        words = answer.split()
        if words[0] == b"+CONTINUE" and request[0] != b"?":
            self._continue(words[1] if len(words) > 1 else owner.lineage.id)
        elif words[0] == b"+FULLRESYNC" and len(words) == 3 and len(words[1]) == 40 and words[2].isdigit():
            await self._full_sync(wire, words[1], int(words[2][:18]))
        elif words[0] == b"-ERR":  # no PSYNC there: Redis before 2.8, or a service that has it switched off
            log.info("the primary does not know PSYNC", answer=answer[:100].decode("latin-1"))
            await wire.send(b"SYNC")
            self._acknowledges = False
            await self._full_sync(wire, new_id(), 0)
        else:
            raise LinkError(f"PSYNC was answered by {answer[:100].decode('latin-1')!r}")
        if self._abandoned:
            raise LinkError("the role has changed")
        owner.in_sync()

    def _continue(self, id: bytes) -> None:
        """The primary sends what we lack, under this ID from now on."""
        owner = self.owner
        if id != owner.lineage.id:
            owner.lineage.shift(id, owner.stream.offset + 1)
            owner.drop_followers()  # they have to learn the ID, and may continue under it
        if owner.stream.backlog is None:
            make_backlog(self.engine, owner.stream)
        log.info("continuing from the primary's backlog", offset=owner.stream.offset + 1)

    async def _full_sync(self, wire: Wire, id: bytes, offset: int) -> None:
        owner = self.owner
        owner.link_state = b"sync"
        self._intake = Intake(owner, self.engine, wire)
        fields = await self._intake.take()
        selected = fields.get(b"repl-stream-db", b"")
        owner.database = int(selected) if selected.isdigit() and int(selected) < len(self.engine.stores) else 0
        owner.drop_followers()
        owner.lineage = Lineage(id)
        owner.stream.offset = offset
        make_backlog(self.engine, owner.stream)
        self.engine.aof.renew()
        log.info("full sync done", replid=id.decode(), offset=offset)

    # --- the stream
    async def _apply(self, wire: Wire) -> None:
        """Apply what comes. At every checkpoint dataset, offset and backlog agree."""
        e, owner = self.engine, self.owner
        session = Session(0, e.executor, e.stores[owner.database], e.acl.default_user, NO_BOUND, e.now_ms)
        session.dbid = owner.database
        session.primary_link = True
        session.kind = KIND_PRIMARY
        session.refresh()
        cutter = Cutter()
        async with trio.open_nursery() as nursery:
            if self._acknowledges:
                nursery.start_soon(self._keep_acknowledging, wire)
            while True:
                data = cutter.take(APPLY_SLICE)
                if not data:
                    cutter.feed(await wire.some())
                    continue
                if self._abandoned:
                    raise LinkError("the role has changed")
                e.loop.before_batch()  # the clock
                session.store = e.stores[session.dbid]  # a client may have swapped databases, where clients may write
                session.decoder.feed(data)
                session.executor.run(session)
                if session.decoder.held() or session.multi:
                    raise LinkError("the primary's stream is damaged")
                owner.database = session.dbid
                owner.stream.offset += len(data)
                owner.stream.spread(data)
                e.loop.settle()
                await trio.lowlevel.checkpoint()

    async def _keep_acknowledging(self, wire: Wire) -> None:
        """Tell how far we are, once a second and whenever it is asked for. The only task that sends."""
        while True:
            self._ack_wanted = trio.Event()
            request = [b"REPLCONF", b"ACK", b"%d" % self.owner.stream.offset]
            on_disk = self.engine.aof.durable()
            if on_disk >= 0:
                request += [b"FACK", b"%d" % on_disk]
            await wire.send(*request)
            with trio.move_on_after(ACK_EVERY):
                await self._ack_wanted.wait()
