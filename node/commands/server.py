"""The server family without INFO, CONFIG and DEBUG: whole databases, time, role, memory, shutdown."""

from node.commands.reading import integer_or_none
from node.engine import Engine, Handler
from node.errors import DB_OUT_OF_RANGE, SYNTAX, CommandError
from node.session import Session

_SAMPLES = 5  # elements that MEMORY USAGE measures unless told otherwise


def dbsize(e: Engine, s: Session, args: list[bytes]) -> None:
    """DBSIZE."""
    s.reply.integer(s.store.count())


# --- emptying and swapping
def flushdb(e: Engine, s: Session, args: list[bytes]) -> None:
    """FLUSHDB [ASYNC|SYNC]."""
    _check_flush(args)
    removed = _empty(e, s.dbid)
    e.dirty += removed
    e.tracking.flushed()
    if removed == 0:
        e.replace_with(args)  # a replica may hold keys where we hold none
    s.reply.ok()


def flushall(e: Engine, s: Session, args: list[bytes]) -> None:
    """FLUSHALL [ASYNC|SYNC]."""
    _check_flush(args)
    for dbid in range(len(e.stores)):
        e.dirty += _empty(e, dbid)
    e.tracking.flushed()
    e.dirty += 1
    s.reply.ok()


def _check_flush(args: list[bytes]) -> None:
    """ASYNC and SYNC are both taken: the memory of a dropped table is given back at once, in either mode."""
    if len(args) > 2 or (len(args) == 2 and args[1].lower() not in (b"async", b"sync")):
        raise CommandError(SYNTAX)


def _empty(e: Engine, dbid: int) -> int:
    """Remove every key of a database; returns how many there were."""
    store = e.stores[dbid]
    count = store.count()
    if count:
        if len(e.watched) > 0:
            e.break_all_watches(dbid)
        if e.snapshots.active:
            e.snapshots.before_clear(store)
        store.clear()
        if e.blocking.fragile > 0:
            e.blocking.touch_all()
    return count


def swapdb(e: Engine, s: Session, args: list[bytes]) -> None:
    """SWAPDB index1 index2: every client sees the other database's keys from now on."""
    if e.settings.cluster_enabled:
        raise CommandError(b"ERR SWAPDB is not allowed in cluster mode")
    first, second = integer_or_none(args[1]), integer_or_none(args[2])
    if first is None or not -(2**31) <= first < 2**31:
        raise CommandError(b"ERR invalid first DB index")
    if second is None or not -(2**31) <= second < 2**31:
        raise CommandError(b"ERR invalid second DB index")
    if not (0 <= first < len(e.stores) and 0 <= second < len(e.stores)):
        raise CommandError(DB_OUT_OF_RANGE)
    if first != second:
        _swap(e, s, first, second)
    e.dirty += 1
    s.reply.ok()


def _swap(e: Engine, s: Session, first: int, second: int) -> None:
    """Exchange two stores. A watched key breaks its WATCH when it exists in either database."""
    watched = len(e.watched) > 0
    if watched:
        e.break_all_watches(first)
        e.break_all_watches(second)
    stores = e.stores
    stores[first], stores[second] = stores[second], stores[first]
    if watched:
        e.break_all_watches(first)
        e.break_all_watches(second)
    s.store = stores[s.dbid]
    for other in e.sessions.values():
        other.store = stores[other.dbid]
    if e.blocking.count > 0:
        e.blocking.signal_all(first)
        e.blocking.signal_all(second)


# --- facts
def time(e: Engine, s: Session, args: list[bytes]) -> None:
    """TIME: seconds and microseconds."""
    seconds, rest = divmod(int(e.now_us), 1_000_000)
    s.reply.bulks([b"%d" % seconds, b"%d" % rest])


def role(e: Engine, s: Session, args: list[bytes]) -> None:
    """ROLE."""
    w = s.reply
    replication = e.replication
    if replication.primary:
        replicas = [entry for entry in replication.replicas() if entry[2] == "online"]
        w.array(3)
        w.bulk(b"master")
        w.integer(replication.offset())
        w.array(len(replicas))
        for address, port, _state, acked, _lag in replicas:
            w.bulks([address.encode(), b"%d" % port, b"%d" % acked])
    else:
        w.array(5)
        w.bulk(b"slave")
        w.bulk(replication.primary_host.encode())
        w.integer(replication.primary_port)
        w.bulk(replication.link_state)
        w.integer(replication.offset() if replication.link_up else -1)


# --- the end
def shutdown(e: Engine, s: Session, args: list[bytes]) -> None:
    """SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [SAFE] | ABORT: the connection just ends when it succeeds."""
    words = [word.lower() for word in args[1:]]
    unknown = [word for word in words if word not in (b"nosave", b"save", b"now", b"force", b"safe", b"abort")]
    if unknown or (b"abort" in words and set(words) != {b"abort"}) or (b"save" in words and b"nosave" in words):
        raise CommandError(SYNTAX)
    if e.scripts.busy and b"nosave" not in words:
        raise CommandError(e.scripts.busy_text)
    if b"abort" in words:
        if not e.shutdown_asked:
            raise CommandError(b"ERR No shutdown in progress.")
        e.shutdown_asked = False
        s.reply.ok()
        return
    wanted = True if b"save" in words else False if b"nosave" in words else None
    forced = b"force" in words
    if not (e.aof.before_end(forced) and e.rdb.before_end(wanted)) and not forced:
        raise CommandError(b"ERR Errors trying to SHUTDOWN. Check logs.")
    e.replication.end()
    e.shutdown_asked = True
    e.loop.ended = True  # what came after the file was written would be acknowledged and lost
    if s.conn is not None:
        s.conn.close()


HANDLERS: dict[bytes, Handler] = {
    b"dbsize": dbsize,
    b"flushdb": flushdb,
    b"flushall": flushall,
    b"swapdb": swapdb,
    b"time": time,
    b"role": role,
    b"shutdown": shutdown,
}
