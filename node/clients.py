"""Connections of clients: the loop's sockets joined to sessions, with the output limits of their class."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from librt.time import time as wall_time
from mypy_extensions import i64

from cluster.loop import READ_LARGE, READ_SIZE, Conn, Listener, Loop
from node.clientmemory import account, evict, release
from node.engine import Engine
from node.replication.state import ONLINE, Replica
from node.session import KIND_REPLICA, Session
from node.waiting import drop_waiter

_MAX_CLIENTS: Final = b"-ERR max number of clients reached\r\n"
_PROTECTED: Final = (
    b"-DENIED Valkey is running in protected mode because protected mode is enabled and no password is set for the "
    b"default user. In this mode connections are only accepted from the loopback interface. Set a password with the "
    b"requirepass option, bind to a private address, or switch protected-mode off.\r\n"
)


class NodeLoop(Loop):
    """The loop of a node: fixes the clock before each batch, hands the journal on after it."""

    engine: Engine | None

    def __init__(self) -> None:
        super().__init__()
        self.engine = None

    def before_batch(self) -> None:
        """Read the clock once for the whole batch."""
        engine = self.engine
        if engine is not None:
            set_clock(engine)

    def after_batch(self) -> None:
        """Hand what was propagated to replicas and file, tell who tracks prefixes of what has changed."""
        engine = self.engine
        if engine is None:
            return
        if engine.journal.active:
            engine.journal.flush()
        if engine.tracking.waiting:
            engine.tracking.broadcast()
        if engine.settings.maxmemory_clients != 0:
            self.evict_clients(engine)

    def evict_clients(self, engine: Engine) -> None:
        """Disconnect the largest clients while all together are above `maxmemory-clients`."""
        for conn in self.unflushed:
            if isinstance(conn, ClientConn):
                account(engine, conn.session)
        for session in evict(engine):
            engine.stats.evicted_clients += 1
            if session.conn is not None:
                session.conn.close()


def set_clock(e: Engine) -> None:
    """Fix the engine's time, and with it that of every store."""
    now = wall_time()
    e.now_us = i64(now * 1e6)
    now_ms: i64 = e.now_us // 1000
    e.now_ms = now_ms
    clock: i64 = (now_ms // 1000) & 0xFFFFFF
    for store in e.stores:
        store.tick(now_ms, clock)


class ClientConn(Conn):
    """One client's socket."""

    session: Session
    engine: Engine
    stalled: bool  # stopped at the output bound until everything is sent

    def __init__(self, loop: Loop, sock: socket.socket, engine: Engine, session: Session, handshaking: bool) -> None:
        super().__init__(loop, sock, handshaking)
        self.engine = engine
        self.session = session
        self.stalled = False
        session.conn = self
        session.reply.out = self.out

    def new_out(self) -> None:
        """Have replies go to the fresh writer."""
        self.session.reply.out = self.out

    def on_data(self, data: bytes) -> None:
        """Execute what came."""
        session = self.session
        if len(data) > 0:
            session.net_in += len(data)
            session.last_ms = self.engine.now_ms
            session.decoder.feed(data)
        session.executor.run(session)
        if self.engine.settings.maxmemory_clients != 0 and not self.closed:
            account(self.engine, session)
        if self.full() and not self.closed and not self.closing:
            self.loop.after_batch()
            self.flush()
            if self.unsent_bytes == 0:
                self.again()
            else:
                self.stalled = True
        elif (session.blocked or session.postponed is not None) and session.decoder.held() > READ_SIZE:
            # Later requests wait in the kernel; up to here a little is still read, so that a hang-up is noticed.
            self.set_reading(False)

    def on_drained(self) -> None:
        """Go on after a stop at the output bound."""
        if self.stalled:
            self.stalled = False
            self.again()

    def read_size(self) -> i64:
        """More than usual only while one large argument is on its way."""
        wanted = self.session.decoder.wanted()
        if wanted <= READ_SIZE:
            return READ_SIZE
        return wanted if wanted < READ_LARGE else READ_LARGE

    def over_limit(self) -> bool:
        """The hard limit of the session's class; the soft one is cron's."""
        session = self.session
        if takes_snapshot(session):
            return False
        hard = self.engine.settings.output_limit(session.kind).hard
        if session.kind == KIND_REPLICA and hard > 0:
            hard = max(hard, self.engine.settings.repl_backlog_size)
        if hard == 0 or self.unsent_bytes <= hard:
            return False
        self.engine.stats.output_limit_disconnections += 1
        return True

    def on_close(self) -> None:
        """Forget the client everywhere."""
        forget(self.engine, self.session)


def takes_snapshot(s: Session) -> bool:
    """Whether what waits for a client is the snapshot that it asked for, whose sender goes at its pace."""
    replica = s.replica
    return isinstance(replica, Replica) and replica.state != ONLINE


def forget(e: Engine, s: Session) -> None:
    """The client is gone: drop its subscriptions, watches and waits."""
    e.sessions.pop(s.id, None)
    e.paused_sessions.pop(s.id, None)
    release(e, s)
    e.unwatch(s)
    e.tracking.forget(s)
    e.observe()
    if s.monitor:
        e.monitors.remove(s)
        e.guard()
    if s.subscriptions() > 0:
        e.pubsub.forget(s)
    if s.blocked:
        drop_waiter(e, s)
    if s.replica is not None:
        e.replication.forget(s)


class ClientListener(Listener):
    """Accepts clients on one listening socket."""

    engine: Engine
    loop: Loop
    context: ssl.SSLContext | None

    def __init__(self, loop: Loop, sock: socket.socket, engine: Engine, context: ssl.SSLContext | None) -> None:
        super().__init__(loop, sock)
        self.loop = loop
        self.engine = engine
        self.context = context

    def on_accept(self, client: socket.socket) -> None:
        """Greet a client, or turn it away when there are too many."""
        e = self.engine
        e.stats.connections += 1
        if len(e.sessions) >= e.settings.max_clients:
            e.stats.rejected_connections += 1
            _turn_away(client, _MAX_CLIENTS)
            return
        unix = client.family == socket.AF_UNIX
        if not unix:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _keep_alive(client, e.settings.tcp_keepalive)
        try:
            address, local = _addresses(client, unix, e.settings.unix_socket)
        except OSError:
            client.close()
            return
        if e.settings.protected_mode and e.acl.default_user.nopass and not unix and not _is_loopback(address):
            _turn_away(client, _PROTECTED)
            return
        context = self.context
        if context is not None:
            client = context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        session = Session(e.next_id, e.executor, e.stores[0], e.acl.default_user, e.settings.max_bulk, e.now_ms)
        e.next_id += 1
        session.address = address
        session.local_address = local
        session.authenticated = e.acl.open()
        session.decoder.trusted = session.authenticated
        session.refresh()
        ClientConn(self.loop, client, e, session, context is not None)
        e.sessions[session.id] = session


def _turn_away(client: socket.socket, text: bytes) -> None:
    try:
        client.send(text)
    except OSError:
        pass
    client.close()


def _keep_alive(client: socket.socket, seconds: i64) -> None:
    """Have the kernel notice a peer that has vanished after about two thirds more than `seconds` (as Valkey does)."""
    if seconds > 0:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(seconds // 3, 1))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def _addresses(client: socket.socket, unix: bool, path: str) -> tuple[bytes, bytes]:
    """Peer and local address as CLIENT LIST shows them."""
    if unix:
        shown = path.encode() + b":0"
        return shown, shown
    return _shown(client.getpeername()), _shown(client.getsockname())


def _shown(address: tuple[str, int]) -> bytes:
    host = address[0]
    if ":" in host:
        return b"[%b]:%d" % (host.encode(), address[1])
    return b"%b:%d" % (host.encode(), address[1])


def _is_loopback(address: bytes) -> bool:
    return address.startswith((b"127.", b"[::1]", b"[::ffff:127."))
