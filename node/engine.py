"""The engine: the state of a running node, and the hooks by which commands change it.

How a handler `(e, s, args) -> None` works, in this order:

1. read: `value = s.store.get(e.slot, key)` for the first key (the dispatcher has put its slot into `e.slot`), for
   others `s.store.get(key_slot(other), other)`. Check the type with isinstance; raise `WrongTypeError()`.
2. change: `s.store.put/set/delete(...)`; a container that was changed in place is told by `s.store.grew(slot, key,
   bytes)`.
3. tell: `e.changed(s, key, NOTIFY_HASH, b"hset")` once for each key changed (it counts one change for
   `rdb_changes_since_last_save`, breaks WATCH, sends the keyspace event; `count` gives more than one change, as
   Valkey's `server.dirty += n`). `e.notify(...)` alone sends a further event; `e.dirty += n` alone counts further
   changes.
4. answer: `s.reply.…`. Raise `CommandError(text)` for errors; what the handler has written before is taken back.

A command that changed something is propagated as it came in. `e.replace_with([...])` propagates other commands instead
(call it once for each; with `e.replace_with_nothing()` none). Expired keys' DELs are propagated before, by the engine.
Blocking: `node.blocking` holds who waits for which key (`e.blocking`, it knows sessions); `node.waiting`, above the
engine, has `block(e, s, keys, ...)`, `serve_ready(e)` (the dispatcher calls it after a command or transaction while
`e.blocking.ready` is not empty; a woken session's command is executed again), `expire_due(e)` for timeouts and
`unblock(e, s, ...)`. Handlers that push call `e.blocking.signal(dbid, key)` when `e.blocking.count` is not 0.
Times: `e.now_ms` is the batch's wall clock, fixed while a command, a transaction or a script runs.
"""

import random
from collections.abc import Callable
from typing import Final

from mypy_extensions import i64

from cluster.loop import Loop
from cluster.slots import key_slot
from node.acl import Acl
from node.blocking import Blocking
from node.commandlog import CommandList
from node.gate import Gate
from node.keyspace import Expired, Store
from node.latency import LatencyMonitor
from node.monitors import Monitors
from node.ports import AppendFile, Journal, Migration, RdbFiles, Replication, Scripts, Snapshots
from node.pubsub import PubSub
from node.session import Executor, Session
from node.settings import Settings
from node.slotstats import SlotStats
from node.stats import Stats
from node.table import Entry
from node.tracking import Tracking

# Classes of keyspace events, the letters of notify-keyspace-events. Source: Valkey's notify-keyspace-events
# documentation.
NOTIFY_KEYSPACE: Final = 1  # K
NOTIFY_KEYEVENT: Final = 2  # E
NOTIFY_GENERIC: Final = 4  # g
NOTIFY_STRING: Final = 8  # $
NOTIFY_LIST: Final = 16  # l
NOTIFY_SET: Final = 32  # s
NOTIFY_HASH: Final = 64  # h
NOTIFY_ZSET: Final = 128  # z
NOTIFY_EXPIRED: Final = 256  # x
NOTIFY_EVICTED: Final = 512  # e
NOTIFY_STREAM: Final = 1024  # t
NOTIFY_KEY_MISS: Final = 2048  # m
NOTIFY_MODULE: Final = 8192  # d
NOTIFY_NEW: Final = 16384  # n

_LETTERS: Final[list[tuple[int, int]]] = [
    (NOTIFY_KEYSPACE, 75), (NOTIFY_KEYEVENT, 69), (NOTIFY_GENERIC, 103), (NOTIFY_STRING, 36), (NOTIFY_LIST, 108),
    (NOTIFY_SET, 115), (NOTIFY_HASH, 104), (NOTIFY_ZSET, 122), (NOTIFY_EXPIRED, 120), (NOTIFY_EVICTED, 101),
    (NOTIFY_STREAM, 116), (NOTIFY_KEY_MISS, 109), (NOTIFY_MODULE, 100), (NOTIFY_NEW, 110),
]  # fmt: skip
NEVER: Final = float("inf")  # seconds
NOTHING_SO_LARGE: Final = (1 << 62) - 1  # bytes; the largest number that compiled code holds without an object

_ALL: Final = 4 | 8 | 16 | 32 | 64 | 128 | 256 | 512 | 1024 | 8192  # A = g$lshzxetd


def notify_flags(letters: bytes) -> int | None:
    """The bit mask of a notify-keyspace-events value; None when it holds an unknown letter."""
    flags = 0
    known = {letter: bit for bit, letter in _LETTERS}
    for letter in letters:
        if letter == 65:  # A
            flags |= _ALL
        elif letter in known:
            flags |= known[letter]
        else:
            return None
    return flags


def _keep_nothing(topology: bytes) -> None:
    """Stands where the edge has not said yet where topologies are kept."""


class Engine:
    """The node's state. One a process; made by node.lifecycle."""

    settings: Settings
    stats: Stats
    acl: Acl
    loop: Loop
    stores: list[Store]
    sessions: dict[int, Session]
    table: dict[bytes, Entry]
    executor: Executor
    blocking: Blocking
    pubsub: PubSub
    tracking: Tracking
    monitors: Monitors
    command_lists: list[CommandList]  # by node.commandlog's SLOW, LARGE_REQUEST, LARGE_REPLY
    latency: LatencyMonitor
    slot_stats: SlotStats
    gate: Gate
    journal: Journal
    snapshots: Snapshots
    rdb: RdbFiles
    aof: AppendFile
    rdb_refusal: bytes  # the error for writes while RDB files can't be written, else empty
    aof_refusal: bytes  # the same of the append-only file
    disk_refusal: bytes  # the first of them; kept by `guard`
    replication: Replication
    migration: Migration
    scripts: Scripts
    rng: random.Random
    now_ms: i64
    now_us: i64
    slot: i64
    dirty: i64
    notify_mask: i64
    watched: dict[tuple[int, bytes], list[Session]]
    keys_observed: bool  # somebody watches or tracks keys; kept by `observe`
    slow_after: float  # seconds from which a command is looked at for SLOWLOG and LATENCY
    timed_after: float  # seconds from which a command's time goes into its histogram, the rest is counted as calls
    large_request: i64  # bytes from which a command is looked at for COMMANDLOG
    large_reply: i64
    client_memory: i64  # bytes of the clients that maxmemory-clients bounds; kept only while it does
    next_id: i64
    paused_until_ms: i64  # CLIENT PAUSE
    paused_writes_only: bool
    paused_sessions: dict[int, Session]  # those with a postponed command
    guarded: bool  # some condition of the whole node makes the dispatcher look closely; kept by `guard`
    other_memory: i64  # bytes that count as used beside the stores: client buffers, backlog; kept by cron
    executing: Session | None  # whose command runs now
    in_transaction: bool
    replaced: bool
    effects: list[list[bytes]]
    messages: bool  # the effects are for replicas alone
    keep_topology: Callable[[bytes], None]  # writes the topology to disk, synced, before it is acted on
    shutdown_asked: bool
    active_expire: bool  # off by DEBUG SET-ACTIVE-EXPIRE 0
    purge_asked: bool  # MEMORY PURGE wants a pass of defragmentation
    _transaction_open: bool

    def __init__(
        self, settings: Settings, stats: Stats, acl: Acl, loop: Loop, stores: list[Store], rng: random.Random
    ) -> None:
        self.settings = settings
        self.stats = stats
        self.acl = acl
        self.loop = loop
        self.stores = stores
        self.sessions = {}
        self.table = {}
        self.executor = Executor()
        self.blocking = Blocking()
        self.pubsub = PubSub()
        self.tracking = Tracking(self.sessions)
        self.monitors = Monitors()
        self.command_lists = [CommandList(), CommandList(), CommandList()]
        self.latency = LatencyMonitor()
        self.slot_stats = SlotStats()
        self.gate = Gate()
        self.journal = Journal()
        self.snapshots = Snapshots()
        self.rdb = RdbFiles()
        self.aof = AppendFile()
        self.rdb_refusal = b""
        self.aof_refusal = b""
        self.disk_refusal = b""
        self.replication = Replication()
        self.migration = Migration()
        self.scripts = Scripts()
        self.rng = rng
        self.now_ms = 0
        self.now_us = 0
        self.slot = 0
        self.dirty = 0
        self.notify_mask = 0
        self.watched = {}
        self.keys_observed = False
        self.slow_after = NEVER
        self.timed_after = NEVER
        self.large_request = NOTHING_SO_LARGE
        self.large_reply = NOTHING_SO_LARGE
        self.client_memory = 0
        self.next_id = 1
        self.paused_until_ms = 0
        self.paused_writes_only = False
        self.paused_sessions = {}
        self.guarded = False
        self.other_memory = 0
        self.executing = None
        self.in_transaction = False
        self.replaced = False
        self.effects = []
        self.messages = False
        self.keep_topology = _keep_nothing
        self.shutdown_asked = False
        self.active_expire = True
        self.purge_asked = False
        self._transaction_open = False

    # --- what handlers call
    def changed(self, s: Session, key: bytes, kind: i64, event: bytes, count: i64 = 1) -> None:
        """The value of `key` in the session's database has changed."""
        self.dirty += count
        if self.keys_observed:
            self.tell_observers(s.dbid, key)
        if self.notify_mask & kind:
            self.notify(kind, event, key, s.dbid)

    def changed_in(self, dbid: i64, key: bytes, kind: i64, event: bytes, count: i64 = 1) -> None:
        """As `changed`, for another database."""
        self.dirty += count
        if self.keys_observed:
            self.tell_observers(dbid, key)
        if self.notify_mask & kind:
            self.notify(kind, event, key, dbid)

    def notify(self, kind: i64, event: bytes, key: bytes, dbid: i64) -> None:
        """Publish a keyspace event if its class is switched on; after those of keys that were found expired before."""
        mask = self.notify_mask
        if not mask & kind:
            return
        if kind != NOTIFY_EXPIRED and len(self.stores[dbid].expired) > 0:
            self.propagate_expired()
        if mask & NOTIFY_KEYSPACE:
            self.publish(b"__keyspace@%d__:%b" % (dbid, key), event)
        if mask & NOTIFY_KEYEVENT:
            self.publish(b"__keyevent@%d__:%b" % (dbid, event), key)

    def publish(self, channel: bytes, message: bytes) -> i64:
        """Deliver to subscribers of this node; returns how many got it."""
        return self.pubsub.publish(channel, message)

    def replace_with(self, args: list[bytes]) -> None:
        """Propagate this command instead of the one that came in; may be called several times."""
        self.replaced = True
        if self.journal.active:
            self.effects.append(args)

    def send(self, args: list[bytes]) -> None:
        """Have replicas get this command, and the append-only file nothing."""
        self.replace_with(args)
        self.messages = len(self.effects) > 0

    def replace_with_nothing(self) -> None:
        """Propagate nothing for the running command."""
        self.replaced = True
        if len(self.effects) > 0:
            self.effects = []

    def store_of(self, dbid: i64) -> Store:
        """The store of a database."""
        return self.stores[dbid]

    def used_memory(self) -> i64:
        """Bytes in use: all stores, and what cron has added up of buffers."""
        used: i64 = self.other_memory
        for store in self.stores:
            used += store.used_bytes()
        if used > self.stats.peak_memory:
            self.stats.peak_memory = used
        return used

    def unpause(self) -> None:
        """End CLIENT PAUSE: the sessions that it held go on with their postponed commands."""
        self.paused_until_ms = 0
        self.guard()
        held = self.paused_sessions
        self.paused_sessions = {}
        for session in held.values():
            conn = session.conn
            if conn is not None:
                conn.resume()

    def guard(self) -> None:
        """Recompute `guarded`; to be called when the role, loading, CLIENT PAUSE, min-replicas-to-write or the state
        of the disk have changed.
        """
        self.disk_refusal = self.rdb_refusal or self.aof_refusal
        self.guarded = (
            not self.replication.primary
            or len(self.disk_refusal) > 0
            or self.replication.loading
            or self.paused_until_ms > 0
            or self.scripts.busy
            or self.settings.min_replicas_to_write > 0
            or self.monitors.active
            or self.slot_stats.active
        )

    # --- who wants to know of changed keys
    def observe(self) -> None:
        """Recompute `keys_observed`; to be called when somebody begins or ends to watch or track."""
        self.keys_observed = len(self.watched) > 0 or self.tracking.used or self.blocking.fragile > 0

    def tell_observers(self, dbid: i64, key: bytes) -> None:
        """A key has changed or is gone: break WATCH, invalidate what clients have cached."""
        if len(self.watched) > 0:
            self.break_watch(dbid, key)
        if self.tracking.used:
            self.tracking.changed(key)
        if self.blocking.fragile > 0:
            self.blocking.touch(dbid, key)

    # --- WATCH
    def watch(self, s: Session, key: bytes) -> None:
        """Have EXEC of this session answer null once `key` has changed."""
        place = (s.dbid, key)
        sessions = self.watched.setdefault(place, [])
        if s in sessions:
            return
        sessions.append(s)
        self.keys_observed = True
        s.watching.append((s.dbid, key, self.exists(s.dbid, key)))

    def exists(self, dbid: i64, key: bytes) -> bool:
        """Whether a key is there and not expired; touches nothing, removes nothing."""
        return self.stores[dbid].lives(key_slot(key), key)

    def unwatch(self, s: Session) -> None:
        """Forget what the session watches."""
        for dbid, key, _ in s.watching:
            place = (dbid, key)
            others = self.watched.get(place)
            if others is None:
                continue
            others.remove(s)
            if not others:
                del self.watched[place]
        if len(s.watching) > 0:
            s.watching = []
            self.observe()
        s.watch_broken = False

    def break_watch(self, dbid: i64, key: bytes) -> None:
        """Mark the sessions that watch this key."""
        sessions = self.watched.get((dbid, key))
        if sessions is not None:
            for session in sessions:
                session.watch_broken = True

    def _break_expired(self, dbid: i64, key: bytes) -> None:
        """Mark the sessions that watch a key which was found expired, unless it was expired already when they began."""
        for session in self.watched.get((dbid, key), []):
            for watched_db, watched_key, existed in session.watching:
                if existed and watched_db == dbid and watched_key == key:
                    session.watch_broken = True

    def break_all_watches(self, dbid: i64) -> None:
        """A database was emptied or swapped: mark sessions that watch a key of it (-1: of any)."""
        for place, sessions in self.watched.items():
            if dbid < 0 or place[0] == dbid:
                store = self.stores[place[0]]
                for session in sessions:
                    if store.peek(key_slot(place[1]), place[1]) is not None:
                        session.watch_broken = True

    # --- propagation; called by the dispatcher
    def propagate(self, s: Session, buf: bytes, start: i64, end: i64, args: list[bytes]) -> None:
        """Hand the effects of a command that has changed something to the journal; `start` < 0: it has to be
        encoded.
        """
        journal = self.journal
        effects = self.effects
        if not self.replaced:
            if self.in_transaction and not self._transaction_open:
                self._open_transaction()
            if start >= 0:
                journal.raw(s.dbid, buf, start, end)
            else:
                journal.command(s.dbid, args)
        elif len(effects) > 0:
            self.effects = []
            wrap = len(effects) > 1 and not self.in_transaction
            if self.in_transaction and not self._transaction_open and not self.messages:
                self._open_transaction()
            if wrap:
                journal.command(-1, [b"MULTI"])
            for effect in effects:
                if self.messages:
                    journal.message(s.dbid, effect)
                else:
                    journal.command(s.dbid, effect)
            self.messages = False
            if wrap:
                journal.command(-1, [b"EXEC"])
        s.write_offset = journal.offset

    def propagate_expired(self) -> None:
        """Hand a DEL for every key that was found expired to the journal, and send its event."""
        for dbid in range(len(self.stores)):
            store = self.stores[dbid]
            if len(store.expired) == 0:
                continue
            keys = store.expired
            store.expired = []
            for key in keys:
                self.stats.expired_keys += 1
                if len(self.watched) > 0:
                    self._break_expired(dbid, key)
                if self.tracking.used:
                    self.tracking.changed(key)
                if self.blocking.fragile > 0:
                    self.blocking.touch(dbid, key)
                if self.journal.active:
                    if self.in_transaction and not self._transaction_open:
                        self._open_transaction()
                    self.journal.command(dbid, [b"DEL", key])
                self.notify(NOTIFY_EXPIRED, b"expired", key, dbid)

    def propagate_fields(self, dbid: i64, found: Expired) -> None:
        """Hand an HDEL for the fields that active expiry has removed to the journal, and send the events."""
        self.stats.expired_fields += len(found.elements)
        if self.keys_observed:
            self.tell_observers(dbid, found.key)
        self.notify(NOTIFY_HASH, b"hexpired", found.key, dbid)
        if found.emptied:
            self.notify(NOTIFY_GENERIC, b"del", found.key, dbid)
        if self.journal.active:
            if found.emptied:  # as a whole, so that no replica shows an empty hash
                self.journal.command(dbid, [b"UNLINK", found.key])
            else:
                self.journal.command(dbid, [b"HDEL", found.key, *found.elements])

    def _open_transaction(self) -> None:
        self._transaction_open = True
        self.journal.command(-1, [b"MULTI"])

    def end_transaction(self) -> None:
        """The queue of EXEC is done: close what was opened in the journal."""
        self.in_transaction = False
        if self._transaction_open:
            self._transaction_open = False
            self.journal.command(-1, [b"EXEC"])


Handler = Callable[[Engine, Session, list[bytes]], None]
