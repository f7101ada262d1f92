"""THE one path of a command: decoded, found, checked, run, counted, propagated.

`execute` is the hot path and tests a handful of precomputed flags; when one says that something is unusual (the
session is `slow`, or the engine is `guarded`) `_execute_guarded` goes through Valkey's checks one by one
(`node.admission`) and through whatever else is unusual.
"""

from collections.abc import Callable
from typing import Final

from librt.time import time as wall_time
from mypy_extensions import i64

from cluster.catalog.keys import KeysError, key_positions
from cluster.catalog.model import ADMIN, SKIP_MONITOR
from cluster.resp.errors import ProtocolError
from cluster.slots import key_slot
from node.acl.check import check
from node.admission import pauses, refused, refused_by_gate, refused_now
from node.commands.denials import revocation
from node.commands.denials import script_refusal as refused_by_acl
from node.commands.transactions import aborted, leave
from node.engine import NOTHING_SO_LARGE, Engine
from node.errors import NO_AUTH, OUT_OF_MEMORY, CommandError
from node.memory import make_room
from node.redaction import redacted
from node.script_checks import EVERYWHERE
from node.script_checks import UNKNOWN as UNKNOWN_IN_SCRIPT
from node.script_checks import WRONG_ARGUMENTS as WRONG_ARGUMENTS_IN_SCRIPT
from node.script_checks import refusal as script_refusal
from node.session import KIND_REPLICA, REPLY_ON, REPLY_SKIP, REPLY_SKIPPING, Executor, Request, Session
from node.table import Entry, unknown
from node.timing import count_time, inferred_size, log_command, log_reply
from node.waiting import serve_ready

AHEAD: Final = 64
OUR_BUGS: Final = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
# Shown to monitors before the commands that they run; the keys that they read are those of these commands.
_SCRIPTS: Final = frozenset([b"eval", b"eval_ro", b"evalsha", b"evalsha_ro", b"fcall", b"fcall_ro"])
_RUN_IN_MULTI: Final = frozenset([b"exec", b"discard", b"multi", b"watch", b"quit", b"reset"])


class Dispatcher(Executor):
    """Runs the requests of sessions against an engine."""

    engine: Engine
    table: dict[bytes, Entry]
    on_bug: Callable[[str, BaseException], None]  # a handler raised what it should not have
    ahead: bool  # parse ahead whatever the number of keys (for tests)
    _word: bytes  # the last command's name as it came in: commands come in runs
    _entry: Entry | None  # and what the table has for it
    _clock: float
    _hashed: bytes  # the first key of a script's last command
    _hashed_slot: i64
    _outer_mark: i64  # where the reply of the client's own command begins, for what runs inside EXEC

    def __init__(self, engine: Engine, table: dict[bytes, Entry], on_bug: Callable[[str, BaseException], None]) -> None:
        self.engine = engine
        self.table = table
        self.on_bug = on_bug
        self.ahead = False
        self._word = b""
        self._entry = None
        self._clock = wall_time()
        self._hashed = b""
        self._hashed_slot = 0
        self._outer_mark = 0

    def run(self, session: Session) -> None:
        """Execute what the decoder holds until it is empty or the session stops; a protocol error closes the
        connection.
        """
        s = session
        if s.blocked:
            return
        if s.postponed is not None and not self._retry(s):
            return
        decoder = s.decoder
        self._clock = wall_time()
        try:
            while not s.stopped():
                if len(s.parsed) > 0:
                    self._run_parsed(s)
                elif self.ahead or s.store.prefetches:
                    if not self._parse_ahead(s):
                        break
                elif decoder.next():
                    raw = decoder.raw
                    start: i64 = decoder.start if raw else i64(-1)
                    self.execute(s, decoder.args, decoder.buf, start, decoder.end if raw else i64(NOTHING_SO_LARGE))
                else:
                    break
        except ProtocolError as error:
            self.engine.stats.count_error(b"ERR")
            s.reply.error(b"ERR " + error.text)
            conn = s.conn
            if conn is not None:
                conn.close_after_flush()
            return
        except OUR_BUGS as bug:  # outside any handler: this client goes, the node stays
            self.on_bug("dispatch", bug)
            if s.conn is not None:
                s.conn.close()
            return
        if decoder.held() > self.engine.settings.query_buffer_limit and s.conn is not None:
            self.engine.stats.query_limit_disconnections += 1
            s.conn.close()

    def _parse_ahead(self, s: Session) -> bool:
        """Parse up to 64 requests and touch their keys' memory; False when there is none.

        A protocol error is raised only once the requests before it are done. Before AUTH nothing is parsed ahead: the
        bounds of what follows depend on it.
        """
        decoder = s.decoder
        limit: i64 = AHEAD if decoder.trusted else 1
        keys: list[bytes] = []
        while len(s.parsed) < limit:
            try:
                if not decoder.next():
                    break
            except ProtocolError:
                if len(s.parsed) > 0:
                    break
                raise
            args = decoder.args
            start: i64 = decoder.start if decoder.raw else i64(-1)
            s.parsed.append(Request(args, decoder.buf, start, decoder.end if decoder.raw else i64(NOTHING_SO_LARGE)))
            if len(args) > 1:
                keys.append(args[1])
        if len(s.parsed) == 0:
            return False
        s.store.prefetch(keys)
        return True

    def _run_parsed(self, s: Session) -> None:
        """Execute what was parsed ahead; what is left when the session stops is kept."""
        parsed = s.parsed
        done: i64 = 0
        while done < len(parsed) and not s.stopped():
            request = parsed[done]
            done += 1
            self.execute(s, request.args, request.buf, request.start, request.end)
        s.parsed = parsed[done:]

    def _retry(self, s: Session) -> bool:
        """Execute the command that CLIENT PAUSE held back; False when the session has to wait on."""
        args = s.postponed
        s.postponed = None
        if args is not None:
            self.execute(s, args, b"", -1, 0)
        return s.postponed is None and not s.stopped()

    def find(self, args: list[bytes]) -> Entry | None:
        """The table's entry for a command line, a container resolved to its subcommand; None when unknown."""
        entry = self._entry
        if args[0] != self._word:
            entry = self.table.get(args[0]) or self.table.get(args[0].lower())
            if entry is None:
                return None
            self._word = args[0]
            self._entry = entry
        if entry is not None and entry.container and len(args) > 1:
            return entry.subcommands.get(args[1].lower())
        return entry

    def execute(self, s: Session, args: list[bytes], buf: bytes, start: i64, end: i64) -> None:
        """Check and run one command. `buf[start:end]` is its multibulk form; `start` is -1 when there is none, and
        `end` then NOTHING_SO_LARGE when its length is not known.
        """
        e = self.engine
        entry = self.find(args)
        if entry is None:
            self._reject(s, None, unknown(self.table, args) if (s.authenticated or e.acl.open()) else NO_AUTH)
            return
        count: i64 = len(args)
        arity = entry.arity
        if (arity > 0 and count != arity) or count < -arity:
            text = b"ERR wrong number of arguments for '" + entry.name + b"' command"
            self._reject(s, entry, text if s.authenticated or entry.no_auth or e.acl.open() else NO_AUTH)
            return
        if s.slow or e.guarded:
            self._execute_guarded(s, entry, args, buf, start, end)
            return
        if entry.keyed:
            if entry.first_key > 0:
                e.slot = key_slot(args[entry.first_key])
            if e.gate.active:
                refusal = refused_by_gate(e, s, entry, args)
                if refusal is not None:
                    self._reject(s, entry, refusal)
                    return
        if entry.checked:
            if entry.denyoom and e.settings.maxmemory > 0 and not make_room(e):
                self._reject(s, entry, OUT_OF_MEMORY)
                return
            if e.snapshots.active and entry.write:
                self._warn_snapshots(s, entry, args)
        self.invoke(s, entry, args, buf, start, end)

    def _execute_guarded(self, s: Session, entry: Entry, args: list[bytes], buf: bytes, start: i64, end: i64) -> None:
        """As `execute`, with every check."""
        e = self.engine
        if s.primary_link:
            if entry.first_key > 0:
                e.slot = key_slot(args[entry.first_key])
            self._run_silently(s, entry, args, buf, start, end)
            return
        refusal = refused(e, s, entry, args)
        if refusal is not None:
            if s.multi:
                s.multi_failed = True
            self._reject(s, entry, refusal)
            return
        if s.multi and not s.executing and entry.name not in _RUN_IN_MULTI:
            s.queue.append(args)
            s.queue_bytes += sum([len(a) for a in args])
            s.reply.simple(b"QUEUED")
            self._mute(s, 0)
            return
        if e.paused_until_ms > e.now_ms and pauses(e, entry) and s.kind != KIND_REPLICA:
            s.postponed = args
            e.paused_sessions[s.id] = s
            return
        if entry.first_key > 0:
            e.slot = key_slot(args[entry.first_key])
        if e.snapshots.active and entry.write:
            self._warn_snapshots(s, entry, args)
        asking = s.asking
        mark: i64 = len(s.reply.out)
        self._outer_mark = mark
        if s.reply_mode == REPLY_SKIP and entry.name != b"client|reply":
            s.reply_mode = REPLY_SKIPPING
        if s.tracking or s.redirected_to:
            self._invoke_tracked(s, entry, args, buf, start, end, mark)
        else:
            self._invoke_shown(s, entry, args, buf, start, end, mark)
        if asking and s.asking and entry.name != b"asking":
            s.asking = False
            s.refresh()

    def _invoke_shown(
        self, s: Session, entry: Entry, args: list[bytes], buf: bytes, start: i64, end: i64, mark: i64
    ) -> None:
        """As `invoke`, for what may be unusual: no access clocks, no reply, monitors."""
        monitors = self.engine.monitors
        first = monitors.active and entry.name in _SCRIPTS
        if first:
            monitors.show(wall_time(), s, args)
        if s.no_touch and entry.name != b"touch":
            self._invoke_untouching(s, entry, args, buf, start, end)
        elif s.import_source:
            self._invoke_importing(s, entry, args, buf, start, end)
        elif self.engine.slot_stats.active and entry.first_key > 0:
            self._invoke_counted(s, entry, args, buf, start, end, mark)
        else:
            self.invoke(s, entry, args, buf, start, end)
        self._mute(s, mark)
        if monitors.active and not first:
            self._show(s, entry, args)

    def _invoke_counted(
        self, s: Session, entry: Entry, args: list[bytes], buf: bytes, start: i64, end: i64, mark: i64
    ) -> None:
        """As `invoke`, adding what it cost to the sums of its slot."""
        slot = self.engine.slot
        began = wall_time()
        referred = s.referred
        self.invoke(s, entry, args, buf, start, end)
        size: i64 = end - start if start >= 0 else inferred_size(args)
        self.engine.slot_stats.add(slot, wall_time() - began, size, len(s.reply.out) - mark + s.referred - referred)

    def _show(self, s: Session, entry: Entry, args: list[bytes]) -> None:
        """Show a command to the monitors, but for those of administrators."""
        if entry.command.flags & (SKIP_MONITOR | ADMIN) == 0:
            self.engine.monitors.show(wall_time(), s, redacted(entry.name, args))

    def _invoke_tracked(
        self, s: Session, entry: Entry, args: list[bytes], buf: bytes, start: i64, end: i64, mark: i64
    ) -> None:
        """As `_invoke_shown`, for a client that tracks keys or hears for another: it is told after its reply."""
        tracking = self.engine.tracking
        before = tracking.begin(s)
        self._invoke_shown(s, entry, args, buf, start, end, mark)
        self._remember(s, entry, args)
        tracking.end(s, before)
        most = self.engine.settings.tracking_table_max_keys
        if most > 0:
            tracking.limit(most)
        if s.caching and not s.multi and not entry.name.startswith(b"client|"):
            s.caching = False

    def _remember(self, reader: Session, entry: Entry, args: list[bytes]) -> None:
        """Note which keys a tracking client has read."""
        if not reader.tracking or not entry.readonly or entry.pubsub or entry.name in _SCRIPTS or not entry.keyed:
            return
        try:
            positions = key_positions(entry.command, args)
        except KeysError:
            return
        self.engine.tracking.remember(reader, [args[position] for position in positions])

    def _mute(self, s: Session, mark: i64) -> None:
        """Take back the reply of a client that has asked for none."""
        if s.reply_mode == REPLY_ON or s.reply_mode == REPLY_SKIP:
            return
        if len(s.reply.out) > mark:
            s.reply.out.truncate(mark)
        if s.reply_mode == REPLY_SKIPPING:
            s.reply_mode = REPLY_ON
            s.refresh()

    def _run_silently(self, s: Session, entry: Entry, args: list[bytes], buf: bytes, start: i64, end: i64) -> None:
        """Apply a command of the primary's stream: nothing is refused and nothing answered."""
        if s.multi and not s.executing and entry.name not in _RUN_IN_MULTI:
            s.queue.append(args)
            return
        if self.engine.snapshots.active and entry.write:
            self._warn_snapshots(s, entry, args)
        stores = self.engine.stores
        for store in stores:  # the primary decides what has expired: by our clock it may be early
            store.ignore_expiry = True
        try:
            self.invoke(s, entry, args, buf, start, end)
        finally:
            for store in stores:
                store.ignore_expiry = False
        s.reply.out.truncate(0)

    def _invoke_untouching(self, s: Session, entry: Entry, args: list[bytes], buf: bytes, start: i64, end: i64) -> None:
        """As `invoke`, for a client with CLIENT NO-TOUCH: access clocks stay."""
        stores = self.engine.stores
        for store in stores:
            store.no_touch = True
        try:
            self.invoke(s, entry, args, buf, start, end)
        finally:
            for store in stores:
                store.no_touch = False

    def _invoke_importing(self, s: Session, entry: Entry, args: list[bytes], buf: bytes, start: i64, end: i64) -> None:
        """As `invoke`, for the source of an import: expired keys are still there."""
        stores = self.engine.stores
        for store in stores:
            store.ignore_expiry = self.engine.settings.import_mode
        try:
            self.invoke(s, entry, args, buf, start, end)
        finally:
            for store in stores:
                store.ignore_expiry = False

    def _warn_snapshots(self, s: Session, entry: Entry, args: list[bytes]) -> None:
        """Let snapshots write out what this command is about to change."""
        snapshots = self.engine.snapshots
        try:
            positions = key_positions(entry.command, args)
        except KeysError:
            return
        for position in positions:
            snapshots.before_write(key_slot(args[position]), args[position])

    def invoke(self, s: Session, entry: Entry, args: list[bytes], buf: bytes, start: i64, end: i64) -> None:
        """Run a command that has passed the checks, count it and propagate what it did."""
        e = self.engine
        dirty = e.dirty
        began = self._clock
        e.replaced = False
        s.commands += 1
        s.last_command = entry.name
        mark: i64 = len(s.reply.out)
        referred = s.referred
        try:
            entry.handler(e, s, args)
        except CommandError as error:
            s.reply.out.truncate(mark)
            self.fail(s, entry, error.text)
        except OUR_BUGS as bug:
            s.reply.out.truncate(mark)
            self.on_bug(entry.name.decode(), bug)
            self.fail(s, entry, b"ERR internal error while executing '" + entry.name + b"', see the log")
        now = wall_time()
        took = now - began
        entry.calls += 1
        entry.microseconds += took * 1e6
        self._clock = now
        e.stats.commands += 1
        if took >= e.timed_after:
            count_time(entry, took)
        reply: i64 = len(s.reply.out) - mark + s.referred - referred
        if took >= e.slow_after or end - start >= e.large_request or reply >= e.large_reply:
            log_command(e, s, entry, args, took, start, end, reply)
        if len(s.store.expired) > 0:
            e.propagate_expired()
        if (e.dirty != dirty or e.replaced) and e.journal.active:
            e.propagate(s, buf, start, end, args)
        if len(e.blocking.ready) > 0 and not e.in_transaction:
            serve_ready(e)

    def call(self, session: Session, args: list[bytes]) -> None:
        """Execute a command that was checked when it was queued, or before it blocked; its user's rules may have
        changed since.
        """
        entry = self.find(args)
        assert entry is not None
        if session.user.restricted and not session.primary_link:
            refusal = revocation(self.engine, session, entry.command, args)
            if refusal is not None:
                if session.executing:
                    self.fail(session, None, refusal)
                else:
                    self._reject(session, entry, refusal)
                return
        if entry.first_key > 0:
            self.engine.slot = key_slot(args[entry.first_key])
        if self.engine.snapshots.active and entry.write:
            self._warn_snapshots(session, entry, args)
        tracking = self.engine.tracking
        if (session.tracking or session.redirected_to) and not session.running:
            before = tracking.begin(session)
            self.invoke(session, entry, args, b"", -1, 0)
            self._remember(session, entry, args)
            tracking.end(session, before)
            return
        self.invoke(session, entry, args, b"", -1, 0)
        if session.executing:
            self.after_inner(session, session, entry, args)
            reply: i64 = len(session.reply.out) - self._outer_mark
            if reply >= self.engine.large_reply:
                log_reply(self.engine, session, entry, args, reply)

    def call_from_script(self, session: Session, args: list[bytes]) -> bytes | None:
        """Execute one command of the running script in its session; the error of one that was not executed."""
        e = self.engine
        entry = self.find(args)
        if entry is None:
            text = unknown(self.table, args) if args[0].lower() in self.table else UNKNOWN_IN_SCRIPT
            e.stats.count_error(text)
            return text
        return self.call_entry(session, entry, args)

    def call_entry(self, session: Session, entry: Entry, args: list[bytes]) -> bytes | None:
        """As `call_from_script`, for a command that was found before."""
        e = self.engine
        count: i64 = len(args)
        arity = entry.arity
        if (arity > 0 and count != arity) or count < -arity:
            refused: bytes | None = WRONG_ARGUMENTS_IN_SCRIPT
        else:
            if session.user.restricted and not entry.noscript:
                refused = refused_by_acl(e, session, entry.command, args)
                if refused is not None:
                    entry.rejected += 1
                    return refused
            refused = script_refusal(e, session, entry, args)
        if refused is not None:
            entry.rejected += 1
            e.stats.count_error(refused)
            return refused
        if entry.first_key > 0:
            e.slot = self._slot_of(args[entry.first_key])
        if e.snapshots.active and entry.write:
            self._warn_snapshots(session, entry, args)
        scripts = e.scripts
        aside = scripts.targets != EVERYWHERE
        if aside:
            e.journal.aim(scripts.targets)
        self._clock = wall_time()  # what Lua did since the last command is not this one's time
        self.invoke(session, entry, args, b"", -1, 0)
        if aside:
            e.journal.aim(EVERYWHERE)
        caller = scripts.caller
        if caller is not None and (caller.running or e.monitors.active):
            self.after_inner(caller, session, entry, args)
        return None

    def _slot_of(self, key: bytes) -> i64:
        """The slot of a key of a script, whose commands are mostly about one and the same."""
        if key != self._hashed:
            self._hashed = key
            self._hashed_slot = key_slot(key)
        return self._hashed_slot

    def may_run(self, session: Session, args: list[bytes]) -> bool | None:
        """Whether the session's user may run this command; None when there is no such command."""
        entry = self.find(args)
        if entry is None:
            return None
        return check(session.user, entry.command, args, session.dbid, len(self.engine.stores)) is None

    def after_inner(self, outer: Session, session: Session, entry: Entry, args: list[bytes]) -> None:
        """A command that EXEC or a script of `outer` ran is over: monitors are shown it, and its keys remembered."""
        if outer.running:
            self._remember(outer, entry, args)
        if self.engine.monitors.active:
            self._show(session, entry, args)

    def recheck(self, session: Session, args: list[bytes]) -> bytes | None:
        """What EXEC must find right again for a queued command: keys, role and memory; None when all is well."""
        entry = self.find(args)
        return None if entry is None else refused_now(self.engine, session, entry, args)

    def fail(self, s: Session, entry: Entry | None, text: bytes) -> None:
        """Answer an error and count it."""
        if entry is not None:
            entry.failed += 1
        self.engine.stats.count_error(text)
        s.reply.error(text)

    def _reject(self, s: Session, entry: Entry | None, text: bytes) -> None:
        """Answer an error for a command that was not run."""
        if entry is not None:
            entry.rejected += 1
        if s.multi:
            s.multi_failed = True
        if entry is not None and entry.name == b"exec":
            leave(self.engine, s)
            text = aborted(text)
        self.engine.stats.count_error(text)
        if s.primary_link:
            return
        mark: i64 = len(s.reply.out)
        s.reply.error(text)
        if s.slow:
            if s.reply_mode == REPLY_SKIP:
                s.reply_mode = REPLY_SKIPPING
            self._mute(s, mark)
            if not s.multi and (entry is None or not entry.name.startswith(b"client|")):
                s.caching = False
