"""A session: everything the node remembers about one client, socket apart.

`slow` is the one flag that the hot path tests: `refresh` sets it whenever the session is in any unusual state, and
only then the dispatcher looks at the states one by one. Sessions without a connection exist too: the link to a
primary applies its stream through one, with `primary_link` set and replies discarded.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from cluster.loop import Conn
from cluster.resp.replies import ReplyWriter
from cluster.resp.requests import RequestDecoder
from node.acl import User
from node.keyspace import BY_REFERENCE, Store
from node.table import Entry

REPLY_ON: Final = 0
REPLY_OFF: Final = 1
REPLY_SKIP: Final = 2  # discard the reply of the next command
REPLY_SKIPPING: Final = 3  # discard the reply of this command

KIND_NORMAL: Final = 0
KIND_REPLICA: Final = 1
KIND_PUBSUB: Final = 2
KIND_PRIMARY: Final = 3


@mypyc_attr(allow_interpreted_subclasses=True)
class Executor:
    """What runs requests; implemented by node.dispatch, declared here so that connections and EXEC can call it."""

    def run(self, session: "Session") -> None:
        """Decode and execute what the session's decoder holds, until it is empty, blocked, full or closed."""
        raise NotImplementedError

    def call(self, session: "Session", args: list[bytes]) -> None:
        """Execute one command that has passed the checks, as EXEC does with each that it queued."""
        raise NotImplementedError

    def call_from_script(self, session: "Session", args: list[bytes]) -> bytes | None:
        """Execute one command of a script in its session; returns the error of a command that was not executed."""
        raise NotImplementedError

    def call_entry(self, session: "Session", entry: Entry, args: list[bytes]) -> bytes | None:
        """As `call_from_script`, for a command that was found in the table before."""
        raise NotImplementedError

    def may_run(self, session: "Session", args: list[bytes]) -> bool | None:
        """Whether the session's user may run this command; None when there is no such command."""
        raise NotImplementedError

    def recheck(self, session: "Session", args: list[bytes]) -> bytes | None:
        """The error that a command, checked some time ago, would get now; None when it may still run."""
        raise NotImplementedError


@final
@mypyc_attr(acyclic=True)
class Request:
    """A request that was parsed ahead; `buf[start:end]` is its multibulk form, `start` -1 when there is none."""

    args: list[bytes]
    buf: bytes
    start: i64
    end: i64

    def __init__(self, args: list[bytes], buf: bytes, start: i64, end: i64) -> None:
        self.args = args
        self.buf = buf
        self.start = start
        self.end = end


@final
class Session:
    """One client."""

    id: i64
    conn: Conn | None
    reply: ReplyWriter
    decoder: RequestDecoder
    executor: Executor
    parsed: list[Request]  # requests that were parsed ahead and are still to be executed
    store: Store
    dbid: i64
    user: User
    authenticated: bool
    slow: bool
    # identity, for CLIENT LIST
    name: bytes
    lib_name: bytes
    lib_version: bytes
    address: bytes  # ip:port, or unix-socket-path:0
    local_address: bytes
    created_ms: i64
    last_ms: i64  # of the last request
    last_command: bytes
    commands: i64
    net_in: i64
    # transaction
    multi: bool
    multi_failed: bool  # a queued command was refused: EXEC aborts
    queue: list[list[bytes]]
    queue_bytes: i64
    executing: bool  # EXEC is running the queue
    watching: list[tuple[i64, bytes, bool]]  # database, key, and whether it existed when it was watched
    watch_broken: bool  # a watched key has changed: EXEC answers null
    # publish and subscribe
    channels: dict[bytes, None]
    patterns: dict[bytes, None]
    shard_channels: dict[bytes, None]
    # blocking
    blocked: bool
    waiter: object | None  # node.blocking's record while blocked
    # modes
    reply_mode: i64
    asking: bool  # the next command may touch an importing slot
    readonly: bool  # READONLY: reads are served by this replica in cluster mode
    no_evict: bool
    no_touch: bool
    import_source: bool  # sees expired keys while the node is in import mode
    redirects: bool  # CLIENT CAPA REDIRECT: a replica sends it to the primary
    monitor: bool  # is shown every command
    evict_bytes: i64  # its memory as it stands in the sum that maxmemory-clients bounds
    # client-side caching; node.tracking changes these
    tracking: bool
    broadcast: bool  # hears of prefixes instead of the keys that it has read
    opt_in: bool
    opt_out: bool
    no_loop: bool  # is not told of its own changes
    caching: bool  # CLIENT CACHING was given for the next command
    broken_redirect: bool
    redirect: i64  # id of the session that is told in its place, 0 for itself
    redirected_to: bool  # another session's invalidations come here
    prefixes: dict[bytes, None]
    running: bool  # a command of a session that may be told of invalidations runs
    pushes: list[bytes]  # what it is told once its reply is written
    kind: i64
    primary_link: bool
    replica: object | None  # replication's record while this client is a replica of ours
    write_offset: i64  # stream offset after this session's last write, for WAIT
    referred: i64  # bytes of replies that left the writer before they were sent (`bulk`)
    postponed: list[bytes] | None  # the command that CLIENT PAUSE holds back
    soft_since_ms: i64  # since when its output is over the soft limit, 0 when it is not

    def __init__(self, id: i64, executor: Executor, store: Store, user: User, max_bulk: i64, now_ms: i64) -> None:
        self.id = id
        self.conn = None
        self.reply = ReplyWriter()
        self.decoder = RequestDecoder(True, max_bulk)
        self.executor = executor
        self.parsed = []
        self.store = store
        self.dbid = 0
        self.user = user
        self.authenticated = True
        self.slow = False
        self.name = b""
        self.lib_name = b""
        self.lib_version = b""
        self.address = b""
        self.local_address = b""
        self.created_ms = now_ms
        self.last_ms = now_ms
        self.last_command = b"NULL"
        self.commands = 0
        self.net_in = 0
        self.multi = False
        self.multi_failed = False
        self.queue = []
        self.queue_bytes = 0
        self.executing = False
        self.watching = []
        self.watch_broken = False
        self.channels = {}
        self.patterns = {}
        self.shard_channels = {}
        self.blocked = False
        self.waiter = None
        self.reply_mode = REPLY_ON
        self.asking = False
        self.readonly = False
        self.no_evict = False
        self.no_touch = False
        self.import_source = False
        self.redirects = False
        self.monitor = False
        self.evict_bytes = 0
        self.tracking = False
        self.broadcast = False
        self.opt_in = False
        self.opt_out = False
        self.no_loop = False
        self.caching = False
        self.broken_redirect = False
        self.redirect = 0
        self.redirected_to = False
        self.prefixes = {}
        self.running = False
        self.pushes = []
        self.kind = KIND_NORMAL
        self.primary_link = False
        self.replica = None
        self.write_offset = 0
        self.referred = 0
        self.postponed = None
        self.soft_since_ms = 0

    def bulk(self, value: bytes) -> None:
        """Answer a bulk string that may be large: by reference where the reply goes straight to a connection."""
        conn = self.conn
        if conn is None or self.slow or self.executing or len(value) < BY_REFERENCE:
            self.reply.bulk(value)
            return
        self.reply.raw(b"$%d\r\n" % len(value))
        self.referred += conn.refer(value)
        self.reply.raw(b"\r\n")

    def subscriptions(self) -> i64:
        """How many channels, patterns and shard channels the session is subscribed to."""
        return len(self.channels) + len(self.patterns) + len(self.shard_channels)

    def refresh(self) -> None:
        """Recompute `slow`; to be called after any state that the dispatcher tests has changed."""
        self.slow = (
            self.multi
            or not self.authenticated
            or self.user.restricted
            or self.reply_mode != REPLY_ON
            or self.asking
            or self.primary_link
            or self.kind != KIND_NORMAL
            or self.no_touch
            or self.tracking
            or self.redirected_to
            or self.monitor
            or self.import_source
            or (not self.reply.resp3 and self.subscriptions() > 0)
        )

    def closed(self) -> bool:
        """Whether the connection is gone; a session without one is never closed."""
        conn = self.conn
        return conn is not None and (conn.closed or conn.closing)

    def stopped(self) -> bool:
        """Whether no further request should be executed now."""
        if self.blocked or self.postponed is not None:
            return True
        conn = self.conn
        return conn is not None and (conn.closed or conn.closing or conn.full())

    def touch(self) -> None:
        """Have the output flushed at the end of this batch; after writes from outside the session's own command."""
        conn = self.conn
        if conn is not None:
            conn.touch()
