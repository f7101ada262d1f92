"""The records of replication: a replica of ours, the history that this node has, and what its role's parts share."""

import os
from typing import Final, final

from mypy_extensions import i64

from node.engine import Engine
from node.ports import Replication
from node.replication.backlog import Backlog
from node.replication.journal import Stream
from node.session import KIND_REPLICA, Session

NO_ID: Final = b"0" * 40

HANDSHAKE: Final = 0
WAITING: Final = 1  # for a snapshot to begin
RECEIVING: Final = 2  # the snapshot
ONLINE: Final = 3

STATES: Final = ["wait_bgsave", "wait_bgsave", "send_bulk", "online"]


def new_id() -> bytes:
    """40 random hex digits."""
    return os.urandom(20).hex().encode()


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
    begun: bool  # the first bytes of its snapshot are sent
    served: bool  # the mark is sent: its first acknowledgement will say that it has found it
    served_at_ms: i64
    psync: bool  # it asked by PSYNC and not by SYNC
    psync2: bool
    modern: bool  # a Valkey from 8 on: it said its version; others may be as old as Redis 7.0
    file_only: bool  # wants the snapshot and nothing behind it (valkey-cli --rdb)
    functions_only: bool  # wants no keys in it (valkey-cli --functions-rdb)

    def __init__(self, session: Session) -> None:
        self.session = session
        self.state = HANDSHAKE
        self.port = 0
        self.address = session.address.decode().rsplit(":", 1)[0]
        self.acked = 0
        self.synced = 0
        self.acked_at_ms = 0
        self.sends_eof = False
        self.begun = False
        self.served = False
        self.served_at_ms = 0
        self.psync = False
        self.psync2 = False
        self.modern = False
        self.file_only = False
        self.functions_only = False

    def gone(self) -> bool:
        """Whether its connection is closed."""
        return self.session.conn is None or self.session.closed()


@final
class Lineage:
    """Which history this node has: `id` now, and `previous_id` up to `previous_end` (exclusive), from before a
    failover or restart.
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


class Role(Replication):
    """What the parts of replication need from the role that owns them."""

    stream: Stream
    lineage: Lineage
    followers: dict[int, Replica]
    database: i64  # that the stream of our primary has selected
    sync_total: int = 0  # bytes of the snapshot that comes in; 0 where the primary does not tell
    sync_read: int = 0

    def refresh(self) -> None:
        """The flags that the dispatcher tests have to be computed anew."""
        raise NotImplementedError

    def in_sync(self) -> None:
        """The dataset is the primary's, the stream begins."""
        raise NotImplementedError

    def drop_followers(self) -> None:
        """Our history changes hands: replicas come back and ask whether they may continue."""
        raise NotImplementedError

    def forget_history(self) -> None:
        """The dataset is dropped: from now on nothing can be continued."""
        raise NotImplementedError

    def put_online(self, replica: Replica) -> None:
        """A replica has its snapshot: send what it has missed, and the stream from now on."""
        raise NotImplementedError


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
    stream.online = [*stream.online, replica.session]


def position(role: Role) -> dict[bytes, bytes]:
    """The auxiliary fields of a snapshot of this instant by which who loads it may go on from here; none when nobody
    keeps what comes after it.
    """
    stream = role.stream
    if role.primary:
        if stream.backlog is None:
            return {}
        database = stream.database()
    elif stream.offset == 0 and stream.backlog is None:
        return {}
    else:
        database = role.database
    return {
        b"repl-stream-db": b"%d" % database, b"repl-id": role.lineage.id, b"repl-offset": b"%d" % stream.offset
    }  # fmt: skip


class Position:
    """What `position` has written, read again."""

    def __init__(self, id: bytes, offset: int, database: int) -> None:
        self.id = id
        self.offset = offset
        self.database = database


def saved_position(aux: dict[bytes, bytes]) -> Position | None:
    """The position that a snapshot was taken at, if it tells one."""
    id, offset, database = aux.get(b"repl-id", b""), aux.get(b"repl-offset", b""), aux.get(b"repl-stream-db", b"")
    if len(id) != 40 or not offset.isdigit() or not database.isdigit() or len(offset) > 18 or len(database) > 9:
        return None
    return Position(id, int(offset), int(database)) if int(offset) > 0 else None
