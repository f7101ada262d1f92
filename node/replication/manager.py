"""The role: primary or replica, switched at run time; the tasks that belong to it.

As a primary: PSYNC answers with a partial resync from the backlog when history and offset allow, else queues the
replica for a snapshot; one snapshot serves all replicas that wait when it begins. As a replica: `link` follows the
primary and this class keeps what survives the link's death (replication ID and offset), so that the next link can
continue.
"""

import os
from typing import Final, final

import structlog
import trio
from mypy_extensions import i64

from node.engine import Engine
from node.persistence.snapshot import start_snapshot
from node.replication.journal import Stream
from node.replication.link import Follower, PrimaryLink
from node.replication.state import (
    ONLINE,
    RECEIVING,
    STATES,
    WAITING,
    Lineage,
    Replica,
    become_replica,
    count_acked,
    make_backlog,
    mark_online,
)  # fmt: skip
from node.session import KIND_REPLICA, Session
from node.waiting import block, may_block, release_all, resume

log: structlog.stdlib.BoundLogger = structlog.get_logger()

SLICE: Final = 0.0005  # seconds a snapshot walks before others get the thread back
HELD_BACK: Final = 16 << 20  # unsent bytes of the slowest replica at which the snapshot waits for it
TICK: Final = 1.0


def new_id() -> bytes:
    """40 random hex digits."""
    return os.urandom(20).hex().encode()


@final
class Replicator(Follower):
    """Replication of one node."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.stream = Stream()
        self.lineage = Lineage(new_id())
        self.followers: dict[int, Replica] = {}
        self.waits: list[tuple[Session, i64]] = []
        self.link: PrimaryLink | None = None
        self.link_down_since_ms = 0
        self._changed = trio.Event()
        self._snapshot_wanted = trio.Event()
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
        self._drop_followers()
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
        log.info("promoted: this node is a primary now", replid=self.lineage.id.decode())
        self._role_changed()

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

    def change_id(self) -> None:
        """DEBUG CHANGE-REPL-ID."""
        self.lineage = Lineage(new_id())

    async def run(self) -> None:
        """The tasks of replication: cron, snapshots for replicas, and the link while this node is a replica."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cron)
            nursery.start_soon(self._send_snapshots)
            nursery.start_soon(self._keep_link)

    async def _keep_link(self) -> None:
        """Follow the primary that is wanted now; begin anew whenever it changes or the link dies."""
        while True:
            changed = self._changed
            if self.primary:
                await changed.wait()
                continue
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow_until_changed, nursery.cancel_scope)
                await changed.wait()
                nursery.cancel_scope.cancel()

    async def _follow_until_changed(self, scope: trio.CancelScope) -> None:
        pause = 0.05
        while True:
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
        replica.state = WAITING
        replica.version = args[0].upper()
        self.followers[session.id] = replica
        session.kind = KIND_REPLICA
        session.refresh()
        log.info("a replica asks for a full sync", replica=session.address.decode())
        self._snapshot_wanted.set()

    def _continue(self, replica: Replica, id: bytes, wanted: bytes) -> bool:
        """Partial resync: possible when history and backlog allow; sends what is missing."""
        backlog = self.stream.backlog
        session = replica.session
        conn = session.conn
        try:
            offset = int(wanted)
        except ValueError:
            offset = -1
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

    async def _send_snapshots(self) -> None:
        while True:
            await self._snapshot_wanted.wait()
            self._snapshot_wanted = trio.Event()
            waiting = [r for r in self.followers.values() if r.state == WAITING]
            if waiting:
                await self._send_snapshot(waiting)

    async def _send_snapshot(self, replicas: list[Replica]) -> None:
        """Walk the keyspace once for all these replicas, holding the stream back for them meanwhile."""
        e, stream = self.engine, self.stream
        stream.flush()
        stream.reselect()
        mark = new_id()
        for replica in replicas:
            session = replica.session
            replica.state = RECEIVING
            stream.waiting[session.id] = []
            stream.waiting_bytes[session.id] = 0
            if replica.version == b"PSYNC":
                session.reply.simple(b"FULLRESYNC %b %d" % (self.lineage.id, stream.offset))
            if replica.sends_eof:
                session.reply.raw(b"$EOF:" + mark + b"\r\n")
            session.touch()
        position = {b"repl-id": self.lineage.id, b"repl-offset": b"%d" % stream.offset}
        snapshot = start_snapshot(e, {b"repl-stream-db": b"0", **position}, not all(r.modern for r in replicas))
        whole: list[bytes] = []
        needs_length = any(not r.sends_eof for r in replicas)
        try:
            while not snapshot.finished:
                data = snapshot.advance(trio.current_time() + SLICE, trio.current_time)
                if needs_length:
                    whole.append(data)
                self._give(replicas, data)
                await self._let_drain(replicas)
                if all(r.session.closed() for r in replicas):
                    return
        finally:
            snapshot.close()
        self._finish(replicas, mark, b"".join(whole))

    def _give(self, replicas: list[Replica], data: bytes) -> None:
        for replica in replicas:
            conn = replica.session.conn
            if replica.sends_eof and data and conn is not None:
                conn.flush()
                conn.send(data)

    async def _let_drain(self, replicas: list[Replica]) -> None:
        self.engine.loop.settle()
        await trio.lowlevel.checkpoint()
        while True:
            slow = [c for r in replicas if (c := r.session.conn) is not None and c.unsent_bytes > HELD_BACK]
            if not slow:
                return
            await trio.sleep(0.005)

    def _finish(self, replicas: list[Replica], mark: bytes, whole: bytes) -> None:
        """The snapshot is sent: end it, and hand over what the stream brought meanwhile.

        Who looks for a mark looks for it at the end of what it reads: not a byte may follow until it has answered.
        """
        self.stream.flush()
        for replica in replicas:
            session = replica.session
            conn = session.conn
            if conn is None or session.closed() or session.id not in self.followers:
                self._release(replica)
            elif replica.sends_eof:
                conn.send(mark)
                replica.served = True
            else:
                conn.send(b"$%d\r\n" % len(whole))
                conn.send(whole)
                self._put_online(replica)
        self.refresh()
        self.engine.loop.settle()

    def _release(self, replica: Replica) -> list[bytes]:
        """What the stream brought while it was held back for a replica."""
        self.stream.waiting_bytes.pop(replica.session.id, None)
        return self.stream.waiting.pop(replica.session.id, [])

    def _put_online(self, replica: Replica) -> None:
        """The replica has its snapshot: send what it has missed, and the stream from now on."""
        replica.served = False
        self.stream.flush()
        conn = replica.session.conn
        missed = self._release(replica)
        if conn is None or replica.session.closed():
            return
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
                    self.link.wants_ack = True
                return
            replica = become_replica(session)
            if option == b"listening-port":
                if not value.isdigit() or not 0 < int(value) < 65536:
                    session.reply.error(b"ERR value is not an integer or out of range")
                    return
                replica.port = int(value)
            elif option == b"ip-address":
                replica.address = value[:255].decode("latin-1")
            elif option == b"capa":
                replica.sends_eof = replica.sends_eof or value.lower() == b"eof"
                replica.psync2 = replica.psync2 or value.lower() == b"psync2"
            elif option == b"version":
                replica.modern = True
            elif option not in (b"rdb-only", b"rdb-filter-only", b"rdb-channel"):
                session.reply.error(b"ERR Unrecognized REPLCONF option: " + name)
                return
        session.reply.ok()

    def _acknowledged(self, session: Session, value: bytes, on_disk: bytes) -> None:
        replica = self.followers.get(session.id)
        if replica is None or not value.isdigit():
            return
        replica.acked = max(replica.acked, int(value[:18]))
        replica.acked_at_ms = self.engine.now_ms
        if on_disk.isdigit():
            replica.synced = max(replica.synced, int(on_disk[:18]))
            self.engine.aof.acknowledged()
        if replica.served:
            self._put_online(replica)
            self.refresh()
        if self.waits:
            self._answer_waits()
        if self.engine.settings.min_replicas_to_write > 0:
            self.refresh()

    def forget(self, session: Session) -> None:
        """A client is gone that was a replica or waits for replicas."""
        self.waits = [w for w in self.waits if w[0] is not session]
        if self.followers.pop(session.id, None) is not None:
            log.info("a replica is gone", replica=session.address.decode())
        if session in self.stream.online:
            self.stream.online.remove(session)
        self.stream.waiting.pop(session.id, None)
        self.stream.waiting_bytes.pop(session.id, None)
        self.refresh()

    def _drop_followers(self) -> None:
        """Our history changes hands: replicas come back and ask whether they may continue."""
        for replica in list(self.followers.values()):
            conn = replica.session.conn
            if conn is not None:
                conn.close()

    # --- WAIT
    def wait(self, session: Session, args: list[bytes], wanted: i64, timeout_ms: i64) -> None:
        """WAIT numreplicas timeout; executed again when an ACK comes that is enough."""
        e = self.engine
        self.stream.flush()
        have = count_acked(self.followers, session.write_offset)
        if have >= wanted or not may_block(e, session):
            session.reply.integer(have)
            return
        block(e, session, args, [], b"", e.now_ms + timeout_ms if timeout_ms else 0, self._answer_wait)
        self.waits.append((session, wanted))
        self.ask()

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

    def _answer_wait(self, session: Session) -> None:
        """The time is up: answer how many there are."""
        session.reply.integer(count_acked(self.followers, session.write_offset))

    def _answer_waits(self) -> None:
        waits, self.waits = self.waits, []
        for session, wanted in waits:
            if not session.blocked:
                continue
            if count_acked(self.followers, session.write_offset) >= wanted:
                resume(self.engine, session)
            else:
                self.waits.append((session, wanted))

    async def _cron(self) -> None:
        """Once a second: pings, timeouts and the flags."""
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
            conn = replica.session.conn
            if replica.state == ONLINE and e.now_ms - replica.acked_at_ms > e.settings.repl_timeout * 1000 and conn:
                log.warning("a replica has not been heard of for too long", replica=replica.session.address.decode())
                conn.close()
            elif replica.state in (WAITING, RECEIVING) and not replica.sends_eof:
                replica.session.reply.raw(b"\n")
                replica.session.touch()
        self._keep_backlog()
        self.refresh()
        e.loop.settle()

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
        e, stream = self.engine, self.stream
        fields: list[tuple[str, str]] = []
        if not self.primary:
            fields += [
                ("master_host", self.primary_host),
                ("master_port", str(self.primary_port)),
                ("master_link_status", "up" if self.link_up else "down"),
                ("master_last_io_seconds_ago", str(self.link.seconds_since_io() if self.link_up and self.link else -1)),
                ("master_sync_in_progress", "1" if self.link_state == b"sync" else "0"),
                ("slave_read_repl_offset", str(stream.offset)),
                ("slave_repl_offset", str(stream.offset)),
            ]
            if not self.link_up:
                down = (e.now_ms - self.link_down_since_ms) // 1000 if self.link_down_since_ms else -1
                fields.append(("master_link_down_since_seconds", str(down)))
            fields += [
                ("slave_priority", str(e.settings.replica_priority)),
                ("slave_read_only", "1" if self.read_only else "0"),
                ("replica_announced", "1" if e.settings.options.flag("replica-announced") else "0"),
            ]
        shown = self.replicas()
        fields.append(("connected_slaves", str(len(shown))))
        if e.settings.min_replicas_to_write:
            fields.append(("min_slaves_good_slaves", str(self.good_replicas)))
        for i, (address, port, state, acked, lag) in enumerate(shown):
            shown_as = f"ip={address},port={port},state={state},offset={acked},lag={lag},type=replica"
            fields.append((f"slave{i}", shown_as))
        backlog = stream.backlog
        fields += [
            ("master_failover_state", "no-failover"),
            ("master_replid", self.lineage.id.decode()),
            ("master_replid2", self.lineage.previous_id.decode()),
            ("master_repl_offset", str(stream.offset)),
            ("second_repl_offset", str(self.lineage.previous_end)),
            ("repl_backlog_active", "1" if backlog else "0"),
            ("repl_backlog_size", str(e.settings.repl_backlog_size)),
            ("repl_backlog_first_byte_offset", str(backlog.first if backlog else 0)),
            ("repl_backlog_histlen", str(backlog.held() if backlog else 0)),
        ]
        return fields
