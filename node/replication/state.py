"""The role of this node and its replicas: what INFO, ROLE, WAIT and the dispatcher ask about."""

from typing import Final, final

from mypy_extensions import i64

from node.engine import Engine
from node.replication.backlog import Backlog
from node.replication.journal import Stream
from node.session import KIND_REPLICA, Session

NO_ID: Final = b"0" * 40

HANDSHAKE: Final = 0
WAITING: Final = 1  # for a snapshot to begin
RECEIVING: Final = 2  # the snapshot
ONLINE: Final = 3

STATES: Final = ["wait_bgsave", "wait_bgsave", "send_bulk", "online"]


@final
class Replica:
    """One client that follows us."""

    session: Session
    state: i64
    port: i64  # as it announced itself
    address: str
    acked: i64
    synced: i64  # what it has acknowledged to be on its disk
    acked_at_ms: i64
    sends_eof: bool  # takes a snapshot of unknown length, ended by a mark
    served: bool  # the mark is sent: its first acknowledgement will say that it has found it
    psync2: bool
    modern: bool  # a Valkey from 8 on: it said its version; others may be as old as Redis 7.0
    version: bytes

    def __init__(self, session: Session) -> None:
        self.session = session
        self.state = HANDSHAKE
        self.port = 0
        self.address = session.address.decode().rsplit(":", 1)[0]
        self.acked = 0
        self.synced = 0
        self.acked_at_ms = 0
        self.sends_eof = False
        self.served = False
        self.psync2 = False
        self.modern = False
        self.version = b""


@final
class Lineage:
    """Which history this node has: `id` now, and `previous_id` up to `previous_end` (exclusive), from before a
    failover.
    """

    id: bytes
    previous_id: bytes
    previous_end: i64

    def __init__(self, id: bytes) -> None:
        self.id = id
        self.previous_id = NO_ID
        self.previous_end = -1

    def shift(self, new_id: bytes, end: i64) -> None:
        """A new history begins after offset `end` - 1; who has the old one up to there may continue."""
        self.previous_id = self.id
        self.previous_end = end
        self.id = new_id

    def knows(self, id: bytes, offset: i64) -> bool:
        """Whether a replica that has `id` and asks for `offset` shares our history."""
        return id == self.id or (id == self.previous_id and offset <= self.previous_end)


def make_backlog(e: Engine, stream: Stream) -> Backlog:
    """Begin to keep the stream, from the next byte on."""
    backlog = Backlog(e.settings.repl_backlog_size, stream.offset + 1)
    stream.backlog = backlog
    stream.reselect()
    return backlog


def count_acked(replicas: dict[int, Replica], offset: i64) -> i64:
    """How many replicas have acknowledged everything up to `offset`."""
    count: i64 = 0
    for replica in replicas.values():
        if replica.state == ONLINE and replica.acked >= offset:
            count += 1
    return count


def become_replica(s: Session) -> Replica:
    """Turn a client into a replica record; it has the output limits of its class from now on."""
    known = s.replica
    if isinstance(known, Replica):
        return known
    replica = Replica(s)
    s.replica = replica
    return replica


def mark_online(replica: Replica, stream: Stream, now_ms: i64) -> None:
    """From now on the replica gets every byte of the stream at once."""
    replica.state = ONLINE
    replica.acked_at_ms = now_ms
    replica.session.kind = KIND_REPLICA
    replica.session.refresh()
    stream.online.append(replica.session)
