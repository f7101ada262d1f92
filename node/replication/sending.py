"""Full syncs seen from the primary: snapshots for the replicas that wait for one.

Replicas that wait together and read the same format share one; those that come later get one of their own, beside it.
Diskless (`repl-diskless-sync yes`, and the replica takes it): the snapshot goes to the sockets as it is made, ended by
a mark. Else it is written to a file in `dir`, which goes out as `$<length>` and its bytes, and is removed.

What the stream brings meanwhile is held back for them (`journal.Held`). Who looks for the mark looks for it at the end
of what it reads: not a byte may follow until it has answered.
"""

from typing import BinaryIO, Final

import structlog
import trio

from node.engine import Engine
from node.persistence.snapshot import Snapshot, start_snapshot
from node.replication.intake import temporary
from node.replication.state import RECEIVING, WAITING, Replica, Role, new_id, position
from node.session import KIND_REPLICA

log: structlog.stdlib.BoundLogger = structlog.get_logger()

SLICE: Final = 0.0005  # seconds a snapshot walks before others get the thread back
HELD_BACK: Final = 1 << 20  # unsent bytes of a replica at which its snapshot waits for it
CHUNK: Final = 1 << 18  # bytes of a file that are sent at once
WRITTEN_AT_ONCE: Final = 1 << 20
SNAPSHOTS_AT_ONCE: Final = 4
POLL: Final = 0.005


class Sender:
    """Makes and sends snapshots."""

    def __init__(self, owner: Role, engine: Engine) -> None:
        self.owner = owner
        self.engine = engine
        self._wanted = trio.Event()
        self._slots = trio.Semaphore(SNAPSHOTS_AT_ONCE)

    def queue(self, replica: Replica) -> None:
        """This replica needs a snapshot."""
        replica.state = WAITING
        replica.session.kind = KIND_REPLICA
        replica.session.refresh()
        self._wanted.set()

    async def run(self) -> None:
        """Serve who waits."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                await self._slots.acquire()
                self._start(nursery)

    def _start(self, nursery: trio.Nursery) -> None:
        """Begin a snapshot for the first that waits and all that take the same."""
        waiting = [r for r in self.owner.followers.values() if r.state == WAITING and not r.gone()]
        if not waiting:
            self._slots.release()
            return
        group = [r for r in waiting if self._form(r) == self._form(waiting[0])]
        if len(group) < len(waiting):
            self._wanted.set()
        nursery.start_soon(self._serve, group)

    def _form(self, replica: Replica) -> tuple[bool, bool, bool]:
        """What decides the bytes that a replica gets, and how it gets them."""
        return replica.modern, replica.functions_only, self._is_diskless(replica)

    def _is_diskless(self, replica: Replica) -> bool:
        return replica.sends_eof and self.engine.settings.options.flag("repl-diskless-sync")

    async def _serve(self, replicas: list[Replica]) -> None:
        try:
            snapshot = self._begin(replicas)
            try:
                if self._is_diskless(replicas[0]):
                    await self._stream(replicas, snapshot)
                else:
                    await self._send_file(replicas, snapshot)
            except OSError as error:
                log.error("the snapshot for replicas can't be written", reason=error.strerror or str(error))
                self._give_up(replicas)
            finally:
                snapshot.close()
        finally:
            self._slots.release()

    def _begin(self, replicas: list[Replica]) -> Snapshot:
        """The instant of the snapshot: its place in the stream is told, and what follows is held back."""
        owner, stream = self.owner, self.owner.stream
        stream.flush()
        stream.reselect()
        for replica in replicas:
            replica.state = RECEIVING
            stream.hold(replica.session)
            if replica.psync:
                replica.session.reply.simple(b"FULLRESYNC %b %d" % (owner.lineage.id, stream.offset))
            replica.session.touch()
        fields = {b"repl-stream-db": b"0", **position(owner)}
        first = replicas[0]
        return start_snapshot(self.engine, fields, not first.modern, not first.functions_only)

    def _give_up(self, replicas: list[Replica]) -> None:
        for replica in replicas:
            conn = replica.session.conn
            if conn is not None:
                conn.close()

    # --- diskless
    async def _stream(self, replicas: list[Replica], snapshot: Snapshot) -> None:
        mark = new_id()
        for replica in replicas:
            replica.begun = True
            replica.session.reply.raw(b"$EOF:" + mark + b"\r\n")
            replica.session.touch()
        while not snapshot.finished:
            data = snapshot.advance(trio.current_time() + SLICE, trio.current_time)
            for replica in replicas:
                conn = replica.session.conn
                if data and conn is not None:
                    conn.flush()
                    conn.send(data)
            await self._breathe()
            for replica in replicas:
                await self._let_drain(replica)
            if all(r.gone() for r in replicas):
                return
        self.owner.stream.flush()
        for replica in replicas:
            conn = replica.session.conn
            if conn is None or replica.gone():
                continue
            conn.flush()
            conn.send(mark)
            replica.served = True
            replica.served_at_ms = self.engine.now_ms
            if replica.file_only:
                conn.close_after_flush()
        self.engine.loop.settle()

    async def _breathe(self) -> None:
        self.engine.loop.settle()
        await trio.lowlevel.checkpoint()

    async def _let_drain(self, replica: Replica) -> None:
        """Wait while much of what was sent is not taken; who takes nothing for repl-timeout seconds is given up."""
        conn = replica.session.conn
        if conn is None:
            return
        sent = conn.sent_bytes
        since = trio.current_time()
        while not conn.closed and conn.unsent_bytes > HELD_BACK:
            await trio.sleep(POLL)
            now = trio.current_time()
            if conn.sent_bytes != sent:
                sent = conn.sent_bytes
                since = now
            elif now - since > float(self.engine.settings.repl_timeout):
                log.warning("a replica does not take its snapshot", replica=replica.session.address.decode())
                conn.close()

    # --- disk-backed
    async def _send_file(self, replicas: list[Replica], snapshot: Snapshot) -> None:
        with temporary(self.engine.settings.directory, False) as file:
            held: list[bytes] = []
            size = 0
            while not snapshot.finished:
                data = snapshot.advance(trio.current_time() + SLICE, trio.current_time)
                held.append(data)
                size += len(data)
                if size >= WRITTEN_AT_ONCE or snapshot.finished:
                    await trio.to_thread.run_sync(file.writelines, held)
                    held, size = [], 0
                    if all(r.gone() for r in replicas):
                        return
                await self._breathe()
            await trio.to_thread.run_sync(file.flush)
            async with trio.open_nursery() as nursery:
                for replica in replicas:
                    nursery.start_soon(self._send_copy, replica, file)

    async def _send_copy(self, replica: Replica, file: BinaryIO) -> None:
        """Send the file to one replica, at its pace."""
        conn = replica.session.conn
        if conn is None or conn.closed:
            return
        size = file.seek(0, 2)
        offset = 0
        replica.begun = True
        conn.flush()
        conn.send(b"$%d\r\n" % size)
        while offset < size:
            data = _piece(file, offset)
            offset += len(data)
            conn.send(data)
            await self._breathe()
            await self._let_drain(replica)
            if conn.closed:
                return
        if replica.file_only:
            conn.close_after_flush()
            return
        self.owner.put_online(replica)
        self.owner.refresh()
        self.engine.loop.settle()


def _piece(file: BinaryIO, offset: int) -> bytes:
    """The bytes of a file from an offset on; several readers share it."""
    file.seek(offset)
    return file.read(CHUNK)
