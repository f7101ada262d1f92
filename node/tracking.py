"""Client-side caching: which session has read which key, who listens to which prefix, and the invalidations told them.

Keys are remembered by name alone, whatever their database. What the session whose command runs is to hear waits until
its reply is written (`begin` … `end`); prefix listeners hear of the keys of a whole batch in one message (`broadcast`).
"""

from itertools import islice
from typing import Final, final

from mypy_extensions import i64

from node.pubsub import encode
from node.session import Session

CHANNEL: Final = b"__redis__:invalidate"  # where a RESP2 client to which others redirect hears of invalidations
_PUSH: Final = b">2\r\n$10\r\ninvalidate\r\n"
_MESSAGE: Final = b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n"
_VICTIMS: Final = 256  # keys that are chosen at once when the table is over its bound


def keys_array(keys: list[bytes]) -> bytes:
    """The names of keys as RESP: an array of bulk strings."""
    return encode(keys, False)


@final
class Prefix:
    """The listeners of one prefix, and the keys changed since they were told last, each with who changed it last."""

    sessions: dict[Session, None]
    changed: dict[bytes, Session | None]

    def __init__(self) -> None:
        self.sessions = {}
        self.changed = {}


@final
class Tracking:
    """The tracking table of a node."""

    sessions: dict[int, Session]  # the engine's: all connected clients
    clients: i64  # sessions that track
    table: dict[bytes, set[int]]  # key name: ids of the sessions that have read it
    items: i64  # ids in the table
    prefixes: dict[bytes, Prefix]
    used: bool  # somebody may want to hear of a change
    waiting: bool  # some prefix has keys to be told
    current: Session | None  # the tracking (or listening) session whose command runs
    _victims: list[bytes]

    def __init__(self, sessions: dict[int, Session]) -> None:
        self.sessions = sessions
        self.clients = 0
        self.table = {}
        self.items = 0
        self.prefixes = {}
        self.used = False
        self.waiting = False
        self.current = None
        self._victims = []

    # --- who tracks
    def switch_on(self, s: Session, redirect: i64, broadcast: bool, prefixes: list[bytes]) -> None:
        """Begin to track, or change how; the caller has checked that the options fit each other."""
        if not s.tracking:
            self.clients += 1
        s.tracking = True
        s.broken_redirect = False
        s.broadcast = False
        s.opt_in = False
        s.opt_out = False
        s.no_loop = False
        s.redirect = redirect
        target = self.sessions.get(redirect) if redirect else None
        if target is not None:
            target.redirected_to = True
            target.refresh()
        if broadcast:
            s.broadcast = True
            for prefix in prefixes if prefixes else [b""]:
                s.prefixes[prefix] = None
                listeners = self.prefixes.get(prefix)
                if listeners is None:
                    listeners = Prefix()
                    self.prefixes[prefix] = listeners
                listeners.sessions[s] = None
        self.used = True
        s.refresh()

    def switch_off(self, s: Session) -> None:
        """Stop to track; what the session has read stays in the table until it changes, as in Valkey."""
        for prefix in s.prefixes:
            listeners = self.prefixes[prefix]
            del listeners.sessions[s]
            if len(listeners.sessions) == 0:
                del self.prefixes[prefix]
        s.prefixes = {}
        if s.tracking:
            self.clients -= 1
            s.tracking = False
            s.broken_redirect = False
            s.broadcast = False
            s.caching = False
            s.opt_in = False
            s.opt_out = False
            s.no_loop = False
            s.redirect = 0
            self.used = self.clients > 0 or len(self.table) > 0
            s.refresh()

    def forget(self, s: Session) -> None:
        """The client is gone."""
        if not s.tracking:
            return
        self.switch_off(s)
        if self.clients == 0:  # nobody is left who could hear of these keys
            self.table = {}
            self.items = 0
            self.used = False

    # --- what was read
    def remember(self, s: Session, keys: list[bytes]) -> None:
        """The session has read these keys by a command: it will hear of their next change."""
        if s.broadcast or (s.opt_in and not s.caching) or (s.opt_out and s.caching):
            return
        table = self.table
        ident = s.id
        for key in keys:
            readers = table.get(key)
            if readers is None:
                table[key] = {ident}
                self.items += 1
            elif ident not in readers:
                readers.add(ident)
                self.items += 1

    def limit(self, keys: i64) -> None:
        """Forget keys, the longest remembered first, until at most `keys` are in the table; their readers are told."""
        while len(self.table) > keys:
            if len(self._victims) == 0:
                self._victims = list(islice(self.table, _VICTIMS))
                self._victims.reverse()
            self._tell_readers(self._victims.pop())

    # --- what has changed
    def changed(self, key: bytes) -> None:
        """A key has changed, or is gone."""
        if len(self.prefixes) > 0:
            cause = self.current
            for prefix, listeners in self.prefixes.items():
                if key.startswith(prefix) and key not in listeners.changed:
                    listeners.changed[key] = cause
                    self.waiting = True
        self._tell_readers(key)

    def _tell_readers(self, key: bytes) -> None:
        readers = self.table.pop(key, None)
        if readers is None:
            return
        self.items -= len(readers)
        message = keys_array([key])
        for ident in readers:
            reader = self.sessions.get(ident)
            if reader is None or not reader.tracking or reader.broadcast:
                continue
            if reader.no_loop and reader is self.current:
                continue
            self._send(reader, message)

    def flushed(self) -> None:
        """A database was emptied: everybody is told to drop everything."""
        for s in list(self.sessions.values()):
            if s.tracking:
                self._send(s, b"_\r\n" if s.reply.resp3 else b"$-1\r\n")
        self.table = {}
        self.items = 0

    def broadcast(self) -> None:
        """The batch is over: tell the listeners of each prefix which keys have changed."""
        self.waiting = False
        for name in sorted(self.prefixes):
            prefix = self.prefixes[name]
            if len(prefix.changed) == 0:
                continue
            changed = prefix.changed
            prefix.changed = {}
            keys = sorted(changed)
            message = keys_array(keys)
            for s in prefix.sessions:
                if not s.no_loop:
                    self._send(s, message)
                    continue
                others = [key for key in keys if changed[key] is not s]
                if len(others) > 0:
                    self._send(s, keys_array(others))

    # --- telling
    def begin(self, s: Session) -> Session | None:
        """A command of this session begins; returns whose ran around it, to be given to `end`."""
        before = self.current
        self.current = s
        s.running = True
        return before

    def end(self, s: Session, before: Session | None) -> None:
        """The session's command is over and its reply written: what it has to hear comes now."""
        self.current = before
        s.running = False
        if len(s.pushes) > 0:
            for message in s.pushes:
                s.reply.out.write(message)
            s.pushes = []
            s.touch()

    def _send(self, s: Session, value: bytes) -> None:
        """Tell a tracking session, or the one to which it redirects, of `value`: encoded key names, or null."""
        target = s
        if s.redirect != 0:
            found = self.sessions.get(s.redirect)
            if found is None:
                s.broken_redirect = True
                if s.reply.resp3:
                    self._write(s, b">2\r\n$21\r\ntracking-redir-broken\r\n:%d\r\n" % s.redirect)
                return
            target = found
        if target.reply.resp3:
            self._write(target, _PUSH + value)
        elif target is not s and target.subscriptions() > 0:
            self._write(target, _MESSAGE + value)

    def _write(self, s: Session, message: bytes) -> None:
        if s.running:
            s.pushes.append(message)
        else:
            s.reply.out.write(message)
            s.touch()
