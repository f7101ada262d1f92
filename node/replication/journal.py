"""The stream that a primary writes: effects of commands, with SELECT where the database changes.

What comes from clients as multibulk goes in as slices of what they sent; adjacent slices of one buffer are joined
before they are cut, so a pipeline of SETs is copied once. At the end of a batch the stream's new bytes go to backlog
and replicas, and the same bytes to the append-only file. Both have the same SELECTs: one that only the other needs
does no harm. A replica's own effects go to its file alone: its replicas get its primary's stream.
"""

from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64

from cluster.resp.encode import encode_request
from node.ports import AppendFile, Journal
from node.replication.backlog import Backlog
from node.session import Session

TO_FILE: Final = 1
TO_REPLICAS: Final = 2
TO_ALL: Final = 3


def _ignore(session: Session) -> None:
    """Nobody wants to know."""


@final
class Held:
    """What the stream brought while a replica is sent a snapshot, which must come first."""

    session: Session
    parts: list[bytes]
    size: i64
    soft_since_ms: i64  # since when it is over the soft limit of replicas' output, 0 when it is not

    def __init__(self, session: Session) -> None:
        self.session = session
        self.parts = []
        self.size = 0
        self.soft_since_ms = 0


@final
class Stream(Journal):
    """The journal of a node; `active` while a backlog exists and the node is a primary, or a file is appended to."""

    backlog: Backlog | None
    file: AppendFile
    primary: bool
    replicating: bool  # bytes count for the offset, and go to backlog and replicas
    targets: i64  # of the running command
    online: list[Session]  # replicas that get new bytes at once; never changed in place
    waiting: dict[int, Held]  # by session id: replicas that are being sent a snapshot
    limit: i64  # bytes that wait for one of them at most, 0 for any number
    on_overflow: Callable[[Session], None]  # more wait for it
    _parts: list[bytes]
    _buf: bytes
    _start: i64
    _end: i64
    _dbid: i64
    _streams: bool  # effects go to replicas now
    _files: bool  # effects go to the file now
    _step: i64  # by which the offset grows with each command while nothing is replicated

    def __init__(self) -> None:
        super().__init__()
        self.backlog = None
        self.file = AppendFile()
        self.primary = True
        self.replicating = False
        self.targets = TO_ALL
        self._streams = False
        self._files = False
        self._step = 0
        self.online = []
        self.waiting = {}
        self.limit = 0
        self.on_overflow = _ignore
        self._parts = []
        self._buf = b""
        self._start = 0
        self._end = 0
        self._dbid = -1

    # --- who gets what
    def attach(self, file: AppendFile) -> None:
        """Effects go to this file too, while it is on."""
        self.file = file
        self.judge()

    def set_role(self, primary: bool, replicating: bool) -> None:
        """Whether effects count for the offset and go to replicas; those of a replica never do."""
        self.primary = primary
        self.replicating = replicating
        self.judge()

    def judge(self) -> None:
        """Say anew who gets effects."""
        self._streams = self.replicating and self.targets & TO_REPLICAS != 0
        self._files = self.file.on and self.targets & TO_FILE != 0
        # Without replicas too the offset tells WAITAOF which of two commands came later; as in Valkey it counts them.
        self._step = 1 if self._files and self.primary and self.targets & TO_REPLICAS != 0 else 0
        self.active = self._streams or self._files

    def aim(self, targets: i64) -> None:
        """Where effects go from now on: the file, replicas, both or none."""
        if targets == self.targets:
            return
        self._hand_on()
        self.targets = targets
        self._dbid = -1
        self.judge()

    # --- effects
    def raw(self, dbid: i64, buf: bytes, start: i64, end: i64) -> None:
        """A command as it came in."""
        if dbid != self._dbid:
            self._select(dbid)
        self.offset += end - start if self._streams else self._step
        if buf is self._buf and start == self._end:
            self._end = end
            return
        self._cut()
        self._buf = buf
        self._start = start
        self._end = end

    def command(self, dbid: i64, args: list[bytes]) -> None:
        """A command that has to be encoded."""
        if dbid < 0:
            if self.targets != TO_ALL and self.targets != 0:  # a transaction is opened and closed for all
                targets = self.targets
                self.aim(TO_ALL)
                self._encoded(args)
                self.aim(targets)
                return
        elif dbid != self._dbid:
            self._select(dbid)
        self._encoded(args)

    def message(self, dbid: i64, args: list[bytes]) -> None:
        """A command for replicas alone, which the file does not keep: PUBLISH."""
        if not self._files:
            self.command(dbid, args)
        elif self._streams:
            targets = self.targets
            self.aim(TO_REPLICAS)
            self.command(dbid, args)
            self.aim(targets)

    def _encoded(self, args: list[bytes]) -> None:
        self._cut()
        data = encode_request(args)
        self._parts.append(data)
        self.offset += len(data) if self._streams else self._step

    def _select(self, dbid: i64) -> None:
        self._dbid = dbid
        self._encoded([b"SELECT", b"%d" % dbid])

    def _cut(self) -> None:
        if self._end > self._start:
            self._parts.append(self._buf[self._start : self._end])
        self._buf = b""
        self._start = 0
        self._end = 0

    def reselect(self) -> None:
        """Write SELECT before the next command: somebody reads the stream from here on without knowing the database."""
        self._dbid = -1

    def flush(self) -> None:
        """Hand the batch's bytes on; the file is written before replicas or clients are told of anything."""
        data = self._taken()
        if self._files and len(data) > 0:
            self.file.append(data, self.offset)
        if self.file.on:
            self.file.flush()
        if self._streams and len(data) > 0:
            self.spread(data)

    def _taken(self) -> bytes:
        self._cut()
        if len(self._parts) == 0:
            return b""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        return data

    def _hand_on(self) -> None:
        """Give what was written so far to those that it was meant for; it is flushed with the batch."""
        data = self._taken()
        if len(data) == 0:
            return
        if self._files:
            self.file.append(data, self.offset)
        if self._streams:
            self.spread(data)

    def spread(self, data: bytes) -> None:
        """Give bytes of the stream to backlog and replicas; a replica's own primary's stream is passed on this way
        too.
        """
        backlog = self.backlog
        if backlog is not None:
            backlog.append(data)
        for session in self.online:
            conn = session.conn
            if conn is not None and not conn.closed:
                conn.flush()
                conn.send(data)
        if len(self.waiting) > 0:
            self._hold_back(data)

    def _hold_back(self, data: bytes) -> None:
        """Keep bytes for the replicas that wait for the end of their snapshots."""
        over: list[Session] = []
        for held in self.waiting.values():
            held.parts.append(data)
            held.size += len(data)
            if self.limit > 0 and held.size > self.limit:
                over.append(held.session)
        for session in over:
            self.on_overflow(session)

    def hold(self, session: Session) -> None:
        """A snapshot of this instant begins for this replica."""
        self.waiting[session.id] = Held(session)

    def release(self, session: Session) -> list[bytes]:
        """The replica has its snapshot, or is gone: what was kept for it."""
        held = self.waiting.pop(session.id, None)
        return [] if held is None else held.parts

    def drop(self, session: Session) -> None:
        """The replica is gone; its connection may have been closed while the stream was handed to the others."""
        self.waiting.pop(session.id, None)
        self.online = [other for other in self.online if other is not session]

    def database(self) -> i64:
        """The database that the stream has selected last; 0 when the next command brings a SELECT."""
        return max(self._dbid, 0)
