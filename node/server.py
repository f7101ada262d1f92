"""The node's edge: trio tasks around the compiled loop.

First what is on disk is loaded, with clients answered LOADING. One task awaits the epoll descriptor and runs turns;
cron does ten times a second what no command triggers; a timer task ends blocking commands whose time is up; a signal
task starts the shutdown. Services (replication, persistence) add tasks of their own.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
import trio

from node.clientmemory import recount
from node.clients import ClientConn, set_clock, takes_snapshot
from node.defrag import Defragmenter
from node.engine import Engine
from node.migration import Migrator
from node.persistence.aof import AofService
from node.persistence.loading import LoadError
from node.persistence.rdbfile import RdbService
from node.persistence.start import load_at_start
from node.replication.manager import Replicator
from node.session import Session
from node.upkeep import Upkeep, pause_seconds
from node.waiting import expire_due, next_deadline, serve_ready

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TURN: Final = 0.005  # seconds after which trio's other tasks get the thread back
CRON: Final = 0.1
REAP_PIECES: Final = 16  # of deleted values, freed between two looks at the clock
REAP_SLICE: Final = 0.0005  # seconds that freeing may take at once
REAP_PAUSE: Final = 0.0045  # seconds that others have the thread between two slices


async def serve(e: Engine, replicator: Replicator) -> str:
    """Load what is on disk, then serve until a signal or SHUTDOWN asks for the end.

    Returns an empty text, or why the files on disk can't be loaded.
    """
    failure = ""
    migrator = Migrator(e)
    e.migration = migrator
    files = RdbService(e)
    appended = AofService(e)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_run_loop, e)
        nursery.start_soon(_await_signals, e)
        try:
            await load_at_start(e, appended)
        except LoadError as error:
            failure = str(error)
            e.shutdown_asked = e.loop.ended = True  # nobody is served by a node that has not its data
        else:
            log.info("ready to accept connections", port=e.settings.port, tls_port=e.settings.tls_port)
        nursery.start_soon(_cron, e, nursery.cancel_scope)
        if not e.shutdown_asked:
            nursery.start_soon(_keep_up, e)
            nursery.start_soon(_free_deleted, e)
            nursery.start_soon(_defragment, e)
            nursery.start_soon(_end_waits, e)
            nursery.start_soon(files.run)
            nursery.start_soon(appended.run)
            nursery.start_soon(replicator.run)
            nursery.start_soon(migrator.run)
    appended.close()
    _close_all(e)
    return failure


async def _run_loop(e: Engine) -> None:
    loop = e.loop
    descriptor = loop.fileno()
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        loop.turn(TURN)
        if loop.ended:
            return
        while loop.pending() and not loop.ended:
            await trio.lowlevel.checkpoint()
            loop.turn(TURN)


async def _await_signals(e: Engine) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("a signal asks for the end", signal=signal.Signals(number).name)
            if e.aof.before_end(False) and e.rdb.before_end(None):
                e.replication.end()
                e.shutdown_asked = True
                e.loop.ended = True
                return
            log.error("the end has to wait: what is in memory can't be saved; SHUTDOWN NOSAVE ends without")


async def _end_waits(e: Engine) -> None:
    """Answer blocking commands whose time is up; wakes at least every 100 ms for those that came meanwhile."""
    while True:
        deadline = next_deadline(e)
        now = trio.current_time()
        set_clock(e)
        wait = CRON if deadline == 0 else min(max((deadline - e.now_ms) / 1000, 0.001), CRON)
        await trio.sleep_until(now + wait)
        if deadline:
            with outside_turn(e):
                expire_due(e)


@contextmanager
def outside_turn(e: Engine) -> Iterator[None]:
    """Do work on sessions and stores outside a turn: with the clock fixed before, and everything sent after."""
    set_clock(e)
    yield
    e.loop.settle()


async def _cron(e: Engine, scope: trio.CancelScope) -> None:
    rounds = 0
    while not e.shutdown_asked:
        await trio.sleep(CRON)
        with outside_turn(e):
            e.stats.sample(e.now_ms, e.loop.read_bytes, e.loop.sent_bytes)
            _end_pause(e)
            if rounds % 10 == 0:
                _look_at_clients(e)
        rounds += 1
    log.info("shutting down")
    scope.cancel()


async def _keep_up(e: Engine) -> None:
    """Active expiry and the rest of evictions: a slice now and then, more often while there is much to do."""
    upkeep = Upkeep(e, trio.current_time)
    pause = CRON
    while True:
        await trio.sleep(pause)
        with outside_turn(e):
            began = trio.current_time()
            more = upkeep.expire()
            took = trio.current_time() - began
            e.latency.add(b"expire-cycle", e.now_ms // 1000, int(took * 1000))
            serve_ready(e)  # XREADGROUP has to hear that its stream is gone
            began = trio.current_time()
            more = upkeep.evict() or more
            took += trio.current_time() - began
        pause = min(pause_seconds(e.settings.active_expire_effort, took), CRON) if more else CRON


async def _defragment(e: Engine) -> None:
    """Have sparse memory of the stores emptied, a slice now and then."""
    work = Defragmenter(e, trio.current_time)
    pause = 0.0
    while True:
        await trio.sleep(pause)
        pause = work.run()


async def _free_deleted(e: Engine) -> None:
    """Free what was deleted, in slices as long as there is something."""
    while True:
        more = _reap(e)
        await trio.sleep(REAP_PAUSE if more else CRON)


def _reap(e: Engine) -> bool:
    """One slice; whether there is more."""
    until = trio.current_time() + REAP_SLICE
    for store in e.stores:
        while store.reap(REAP_PIECES):
            if trio.current_time() > until:
                return True
    while e.snapshots.reap(REAP_PIECES):
        if trio.current_time() > until:
            return True
    return False


def _end_pause(e: Engine) -> None:
    """CLIENT PAUSE is over: go on with the sessions that it held."""
    if e.paused_until_ms == 0 or e.paused_until_ms > e.now_ms:
        return
    e.unpause()


def _look_at_clients(e: Engine) -> None:
    """Once a second: idle clients, output over its soft limit for too long, and the memory that buffers take."""
    buffers = 0
    timeout_ms = e.settings.timeout * 1000
    for session in list(e.sessions.values()):
        conn = session.conn
        if not isinstance(conn, ClientConn):
            continue
        buffers += conn.unsent_bytes + len(conn.out) + session.decoder.held()
        if _over_soft_limit(e, session, conn):
            log.warning("client disconnected: its output stayed over the soft limit", client=session.id)
            e.stats.output_limit_disconnections += 1
            conn.close()
        elif timeout_ms and _may_time_out(session) and e.now_ms - session.last_ms > timeout_ms:
            conn.close()
    e.other_memory = buffers + e.scripts.memory().counted()
    if e.settings.maxmemory_clients != 0:
        recount(e)


def _may_time_out(session: Session) -> bool:
    """Subscribers, blocked clients and replicas are silent by nature."""
    return not session.blocked and session.replica is None and session.subscriptions() == 0


def _over_soft_limit(e: Engine, session: Session, conn: ClientConn) -> bool:
    limit = e.settings.output_limit(session.kind)
    if limit.soft == 0 or takes_snapshot(session) or conn.unsent_bytes <= limit.soft:
        session.soft_since_ms = 0
        return False
    if session.soft_since_ms == 0:
        session.soft_since_ms = e.now_ms
    return e.now_ms - session.soft_since_ms > limit.soft_ms


def _close_all(e: Engine) -> None:
    """The end: what is written is sent as far as sockets take it, then everything is closed."""
    e.loop.flush()
    for session in list(e.sessions.values()):
        if session.conn is not None:
            session.conn.close()
