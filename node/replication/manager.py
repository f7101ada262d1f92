"""The role: primary or replica, switched at run time; the tasks that belong to it.

As a primary: PSYNC answers with a partial resync from the backlog when history and offset allow, else `sending` makes
a snapshot. As a replica: `link` follows the primary and this class keeps what survives the link's death (replication
ID, offset, selected database), so that the next link can continue; so does what a file tells at the start.
"""

from typing import Final, final

import structlog
import trio
from mypy_extensions import i64

from node.engine import Engine
from node.replication.journal import Stream
from node.replication.link import PrimaryLink
from node.replication.sending import Sender
from node.replication.shown import replication_fields
from node.replication.state import (
    ONLINE,
    RECEIVING,
    STATES,
    WAITING,
    Lineage,
    Replica,
    Role,
    become_replica,
    make_backlog,
    mark_online,
    new_id,
    position,
    saved_position,
)  # fmt: skip
from node.replication.waits import Waits
from node.session import KIND_REPLICA, Session
from node.waiting import release_all

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TICK: Final = 1.0


@final
class Replicator(Role):
    """Replication of one node."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.stream = Stream()
        self.stream.on_overflow = self._overflowed
        self.lineage = Lineage(new_id())
        self.followers = {}
        self.database = 0
        self.waits = Waits(self, engine)
        self.sender = Sender(self, engine)
        self.link: PrimaryLink | None = None
        self.link_down_since_ms = 0
        self._changed = trio.Event()
        self._backlog_idle_since_ms = 0
        engine.journal = self.stream
        engine.replication = self
        self.read_only = engine.settings.replica_read_only
        primary = engine.settings.options.words("replicaof")
        if primary:
            self.follow(primary[0].decode(), int(primary[1]))

    # --- the role
    def offset(self) -> i64:
        """Written as primary, applied as replica."""
        return self.stream.offset

    def follow(self, host: str, port: i64) -> None:
        """REPLICAOF host port: drop what we are and follow; the history that we have is offered to the new primary."""
        e = self.engine
        if not self.primary and (host, port) == (self.primary_host, self.primary_port):
            return
        if self.primary:
            release_all(e)
            self.stream.flush()
            self.database = self.stream.database()
        elif self.link is not None:
            self.link.abandon()
        self.primary = False
        self.primary_host = host
        self.primary_port = port
        self.link_up = False
        self.link_state = b"connect"
        self.link_down_since_ms = e.now_ms
        self.stream.set_role(False, False)
        for store in e.stores:
            store.keep_expired = True
        self.read_only = e.settings.replica_read_only
        e.settings.options.put("replicaof", (host.encode(), b"%d" % port))
        self.drop_followers()
        log.info("following a primary", host=host, port=port)
        self._role_changed()

    def stop_following(self) -> None:
        """REPLICAOF NO ONE: the history goes on under a new ID; replicas of the old one may continue up to here."""
        if self.primary:
            return
        e = self.engine
        if self.link is not None:
            self.link.abandon()
        self.primary = True
        self.primary_host = ""
        self.primary_port = 0
        self.link_up = False
        self.link_state = b"none"
        self.stale_refused = False
        self.loading = False
        for store in e.stores:
            store.keep_expired = e.settings.import_mode
        self.lineage.shift(new_id(), self.stream.offset + 1)
        self.stream.set_role(True, self.stream.backlog is not None)
        self.stream.reselect()
        e.settings.options.put("replicaof", ())
        self.drop_followers()
        log.info("promoted: this node is a primary now", replid=self.lineage.id.decode())
        self._role_changed()

    def end(self) -> None:
        """The process is about to end, its RDB file is written. Replicas that had more than the file holds (a PING, the
        DEL of a key that expires now) could not continue from this node once it has started again.
        """
        self.stream.flush()
        self.stream.set_role(self.primary, False)
        if self.link is not None:
            self.link.abandon()

    def _role_changed(self) -> None:
        self.refresh()
        self._changed.set()
        self._changed = trio.Event()

    def refresh(self) -> None:
        """Recompute the flags that the dispatcher tests."""
        e = self.engine
        self.stale_refused = not self.primary and not self.link_up and not e.settings.replica_serve_stale_data
        self.read_only = e.settings.replica_read_only
        now = e.now_ms
        lag = e.settings.min_replicas_max_lag * 1000
        self.good_replicas = sum(
            1 for r in self.followers.values() if r.state == ONLINE and now - r.acked_at_ms <= lag
        )
        e.guard()

    def in_sync(self) -> None:
        """The link's dataset is the primary's and the stream begins."""
        self.link_up = True
        self.link_state = b"connected"
        self.link_down_since_ms = 0
        self.refresh()

    # --- the history
    def change_id(self) -> None:
        """DEBUG CHANGE-REPL-ID."""
        self.lineage = Lineage(new_id())

    def forget_history(self) -> None:
        """The dataset is dropped: nobody may continue, neither we nor replicas of ours."""
        self.drop_followers()
        self.lineage = Lineage(new_id())
        self.stream.offset = 0
        self.stream.backlog = None

    def position(self) -> dict[bytes, bytes]:
        """The auxiliary fields of an RDB file."""
        return position(self)

    def restore(self, aux: dict[bytes, bytes]) -> None:
        """At the start, of a file that is being loaded: as a replica offer the primary to continue from there; as a
        primary have replicas continue that were not ahead of it.
        """
        saved = saved_position(aux)
        if saved is None:
            return
        self.stream.offset = saved.offset
        self.lineage = Lineage(saved.id)
        if not self.primary:
            self.database = saved.database if saved.database < len(self.engine.stores) else 0
            return
        self.lineage.shift(new_id(), saved.offset + 1)
        make_backlog(self.engine, self.stream)
        self._activate()

    async def run(self) -> None:
        """The tasks of replication: cron, snapshots for replicas, and the link while this node is a replica."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cron)
            nursery.start_soon(self.sender.run)
            nursery.start_soon(self._keep_link)

    async def _keep_link(self) -> None:
        """Follow the primary that is wanted now; begin anew whenever it changes or the link dies."""
        while True:
            changed = self._changed
            if self.primary:
                await changed.wait()
                continue
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow_until_changed)
                await changed.wait()
                nursery.cancel_scope.cancel()
            self.link = None

    async def _follow_until_changed(self) -> None:
        pause = 0.05
        while not self.engine.loop.ended:
            self.link = PrimaryLink(self, self.engine)
            lived = await self.link.follow(self.primary_host, self.primary_port)
            self.link = None
            self.lost_link()
            pause = 0.05 if lived else min(pause * 2, 1.0)
            await trio.sleep(pause)

    def lost_link(self) -> None:
        """The link is gone; history and offset stay."""
        if self.link_up or self.link_down_since_ms == 0:
            self.link_down_since_ms = self.engine.now_ms
        self.link_up = False
        self.loading = False
        if not self.primary:
            self.link_state = b"connect"
        self.refresh()

    # --- replicas of ours
    def synchronize(self, session: Session, args: list[bytes]) -> None:
        """PSYNC id offset, or SYNC."""
        e = self.engine
        if session.replica is not None and session.kind == KIND_REPLICA:
            return
        if not self.primary and not self.link_up:
            session.reply.error(b"NOMASTERLINK Can't SYNC while not connected with my master")
            return
        replica = become_replica(session)
        self.stream.flush()
        if len(args) == 3 and self._continue(replica, args[1], args[2]):
            return
        e.stats.sync_full += 1
        if len(args) == 3 and args[1] != b"?":
            e.stats.sync_partial_err += 1
        self._ensure_backlog()
        replica.psync = len(args) == 3
        self.followers[session.id] = replica
        log.info("a replica asks for a full sync", replica=session.address.decode())
        self.sender.queue(replica)

    def _continue(self, replica: Replica, id: bytes, wanted: bytes) -> bool:
        """Partial resync: possible when history and backlog allow; sends what is missing."""
        backlog = self.stream.backlog
        session = replica.session
        conn = session.conn
        offset = int(wanted[:18]) if wanted.isdigit() else -1
        if backlog is None or conn is None or not self.lineage.knows(id, offset) or not backlog.has(offset):
            return False
        session.reply.simple(b"CONTINUE " + self.lineage.id if replica.psync2 else b"CONTINUE")
        conn.flush()
        for missed in backlog.since(offset):
            conn.send(missed)
        replica.acked = offset - 1
        self.followers[session.id] = replica
        mark_online(replica, self.stream, self.engine.now_ms)
        self.engine.stats.sync_partial_ok += 1
        self._activate()
        log.info("a replica continues", replica=session.address.decode(), offset=offset)
        return True

    def _ensure_backlog(self) -> None:
        if self.stream.backlog is None:
            if self.primary:
                self.lineage = Lineage(new_id())
            make_backlog(self.engine, self.stream)
        self._activate()

    def _activate(self) -> None:
        self.stream.set_role(self.primary, self.primary and self.stream.backlog is not None)
        self.refresh()

    def put_online(self, replica: Replica) -> None:
        """The replica has its snapshot: send what it has missed, and the stream from now on."""
        replica.served = False
        self.stream.flush()
        conn = replica.session.conn
        missed = self.stream.release(replica.session)
        if conn is None or replica.gone():
            return
        conn.flush()
        for data in missed:
            conn.send(data)
        mark_online(replica, self.stream, self.engine.now_ms)
        log.info("a replica has its snapshot", replica=replica.session.address.decode())

    def configure(self, session: Session, args: list[bytes]) -> None:
        """REPLCONF option value [option value ...]."""
        if len(args) % 2 == 0:
            session.reply.error(b"ERR syntax error")
            return
        for name, value in zip(args[1::2], args[2::2], strict=True):
            option = name.lower()
            if option == b"ack":
                on_disk = len(args) == 5 and args[3].lower() == b"fack"
                self._acknowledged(session, value, args[4] if on_disk else b"")
                return
            if option == b"getack":
                if session.primary_link and self.link is not None:
                    self.link.acknowledge()
                return
            refusal = _describe(become_replica(session), option, value)
            if refusal:
                session.reply.error(refusal)
                return
        session.reply.ok()

    def _acknowledged(self, session: Session, value: bytes, on_disk: bytes) -> None:
        replica = self.followers.get(session.id)
        if replica is None or not value.isdigit():
            return
        replica.acked = max(replica.acked, int(value[:18]))
        replica.acked_at_ms = self.engine.now_ms
        if replica.served and not replica.file_only:
            self.put_online(replica)
            self.refresh()
        if on_disk.isdigit():
            replica.synced = max(replica.synced, int(on_disk[:18]))
        self.engine.aof.acknowledged()
        self.waits.answer()
        if self.engine.settings.min_replicas_to_write > 0:
            self.refresh()

    def forget(self, session: Session) -> None:
        """A client is gone that was a replica or waits for replicas."""
        self.waits.forget(session)
        if self.followers.pop(session.id, None) is not None:
            log.info("a replica is gone", replica=session.address.decode())
        self.stream.drop(session)
        self.refresh()

    def drop_followers(self) -> None:
        """Our history changes hands: replicas come back and ask whether they may continue."""
        for replica in list(self.followers.values()):
            conn = replica.session.conn
            if conn is not None:
                conn.close()

    # --- WAIT
    def wait(self, session: Session, args: list[bytes], wanted: i64, timeout_ms: i64) -> None:
        """WAIT numreplicas timeout."""
        self.waits.wait(session, args, wanted, timeout_ms)

    def synced(self, offset: i64) -> i64:
        """How many replicas have everything up to this offset on their disks."""
        count: i64 = 0
        for replica in self.followers.values():
            if replica.state == ONLINE and replica.synced >= offset:
                count += 1
        return count

    def ask(self) -> None:
        """Have the replicas tell at once how far they are."""
        self.stream.command(-1, [b"REPLCONF", b"GETACK", b"*"])
        self.stream.flush()

    # --- once a second
    async def _cron(self) -> None:
        """Pings, timeouts and the flags."""
        seconds = 0
        while True:
            await trio.sleep(TICK)
            seconds += 1
            self._tick(seconds)

    def _tick(self, seconds: int) -> None:
        e = self.engine
        if self.primary and self.followers and seconds % e.settings.repl_ping_period == 0:
            self.stream.command(-1, [b"PING"])
        for replica in list(self.followers.values()):
            self._look_at(replica)
        self._keep_backlog()
        self._bound_held()
        self.refresh()
        e.loop.settle()

    def _look_at(self, replica: Replica) -> None:
        """Close a replica that is silent for too long; keep one that waits for its snapshot from giving up."""
        session = replica.session
        since = replica.acked_at_ms if replica.state == ONLINE else replica.served_at_ms if replica.served else -1
        if since >= 0 and self.engine.now_ms - since > self.engine.settings.repl_timeout * 1000:
            log.warning("a replica has not been heard of for too long", replica=session.address.decode())
            if session.conn is not None:
                session.conn.close()
        elif replica.state in (WAITING, RECEIVING) and not replica.begun:
            session.reply.raw(b"\n")
            session.touch()

    def _bound_held(self) -> None:
        """The limits of a replica's output hold for what waits for the end of its snapshot too."""
        settings, now = self.engine.settings, self.engine.now_ms
        limit = settings.output_limit(KIND_REPLICA)
        self.stream.limit = max(limit.hard, settings.repl_backlog_size) if limit.hard else 0
        for held in list(self.stream.waiting.values()):
            if limit.soft == 0 or held.size <= limit.soft:
                held.soft_since_ms = 0
            elif held.soft_since_ms == 0:
                held.soft_since_ms = now
            elif now - held.soft_since_ms > limit.soft_ms:
                self._overflowed(held.session)

    def _overflowed(self, session: Session) -> None:
        """More waits for a replica than its output may hold."""
        log.warning("a replica was disconnected: too much waits for the end of its snapshot",
                    replica=session.address.decode())  # fmt: skip
        self.engine.stats.output_limit_disconnections += 1
        if session.conn is not None:
            session.conn.close()

    def _keep_backlog(self) -> None:
        """The backlog has the size of the settings, and is given up when no replica came for repl-backlog-ttl
        seconds.
        """
        settings, now = self.engine.settings, self.engine.now_ms
        backlog = self.stream.backlog
        if backlog is None:
            return
        backlog.size = settings.repl_backlog_size
        if self.followers or not self.primary or settings.repl_backlog_ttl == 0:
            self._backlog_idle_since_ms = 0
        elif self._backlog_idle_since_ms == 0:
            self._backlog_idle_since_ms = now
        elif now - self._backlog_idle_since_ms > settings.repl_backlog_ttl * 1000:
            self._backlog_idle_since_ms = 0
            self.stream.backlog = None
            self.stream.set_role(True, False)
            self.lineage = Lineage(new_id())  # what is written from now on is not recorded: nobody may continue
            log.info("no replica has come for long: the replication backlog is given up")

    # --- what INFO shows
    def replicas(self) -> list[tuple[str, i64, str, i64, i64]]:
        """(address, port, state, acknowledged offset, lag in seconds) of each replica."""
        now = self.engine.now_ms
        return [
            (r.address, r.port, STATES[r.state], r.acked, (now - r.acked_at_ms) // 1000 if r.state == ONLINE else 0)
            for r in self.followers.values()
        ]

    def info(self) -> list[tuple[str, str]]:
        """INFO replication after `role`."""
        last_io = self.link.seconds_since_io() if self.link is not None else -1
        return replication_fields(self.engine, self, last_io, self.link_down_since_ms)


def _describe(replica: Replica, option: bytes, value: bytes) -> bytes:
    """Note what a replica tells of itself; the error if that can't be, else empty."""
    if option == b"listening-port":
        if not value.isdigit() or not 0 < int(value[:6]) < 65536:
            return b"ERR value is not an integer or out of range"
        replica.port = int(value)
    elif option == b"ip-address":
        replica.address = value[:255].decode("latin-1")
    elif option == b"capa":
        replica.sends_eof = replica.sends_eof or value.lower() == b"eof"
        replica.psync2 = replica.psync2 or value.lower() == b"psync2"
    elif option == b"version":
        replica.modern = True
    elif option == b"rdb-only":
        replica.file_only = value == b"1"
    elif option == b"rdb-filter-only":
        if value.lower() != b"functions":
            return b"ERR Unsupported rdb-filter-only option: " + value
        replica.functions_only = True
    elif option != b"rdb-channel":
        return b"ERR Unrecognized REPLCONF option: " + option
    return b""
