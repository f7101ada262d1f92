"""The stream that a primary writes: effects of commands, with SELECT where the database changes.

What comes from clients as multibulk goes in as slices of what they sent; adjacent slices of one buffer are joined
before they are cut, so a pipeline of SETs is copied once. At the end of a batch the stream's new bytes go to backlog
and replicas.
"""

from typing import final

from mypy_extensions import i64

from cluster.resp.encode import encode_request
from node.ports import Journal
from node.replication.backlog import Backlog
from node.session import Session


@final
class Stream(Journal):
    """The journal of a node; `active` while a backlog exists and the node is a primary."""

    backlog: Backlog | None
    online: list[Session]  # replicas that get new bytes at once
    waiting: dict[int, list[bytes]]  # session id -> bytes for a replica that is being sent a snapshot
    waiting_bytes: dict[int, i64]
    _parts: list[bytes]
    _buf: bytes
    _start: i64
    _end: i64
    _dbid: i64

    def __init__(self) -> None:
        super().__init__()
        self.backlog = None
        self.online = []
        self.waiting = {}
        self.waiting_bytes = {}
        self._parts = []
        self._buf = b""
        self._start = 0
        self._end = 0
        self._dbid = -1

    def raw(self, dbid: i64, buf: bytes, start: i64, end: i64) -> None:
        """A command as it came in."""
        if dbid != self._dbid:
            self._select(dbid)
        self.offset += end - start
        if buf is self._buf and start == self._end:
            self._end = end
            return
        self._cut()
        self._buf = buf
        self._start = start
        self._end = end

    def command(self, dbid: i64, args: list[bytes]) -> None:
        """A command that has to be encoded."""
        if dbid >= 0 and dbid != self._dbid:
            self._select(dbid)
        self._cut()
        data = encode_request(args)
        self._parts.append(data)
        self.offset += len(data)

    def _select(self, dbid: i64) -> None:
        self._dbid = dbid
        self.command(-1, [b"SELECT", b"%d" % dbid])

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
        """Hand the batch's bytes on."""
        self._cut()
        if len(self._parts) == 0:
            return
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
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
        for id in self.waiting:
            self.waiting[id].append(data)
            self.waiting_bytes[id] += len(data)
