"""MULTI, EXEC, DISCARD, WATCH and UNWATCH."""

from node.engine import Engine, Handler
from node.errors import EXEC_ABORT, CommandError
from node.session import Session


def multi(e: Engine, s: Session, args: list[bytes]) -> None:
    """MULTI: queue the commands that follow."""
    if s.multi:
        raise CommandError(b"ERR MULTI calls can not be nested")
    s.multi = True
    s.refresh()
    s.reply.ok()


def leave(e: Engine, s: Session) -> None:
    """End the transaction state, whatever became of the queue."""
    s.multi = False
    s.multi_failed = False
    s.queue = []
    s.queue_bytes = 0
    e.unwatch(s)
    s.refresh()


def discard(e: Engine, s: Session, args: list[bytes]) -> None:
    """DISCARD: forget the queue."""
    if not s.multi:
        raise CommandError(b"ERR DISCARD without MULTI")
    leave(e, s)
    s.reply.ok()


def execute(e: Engine, s: Session, args: list[bytes]) -> None:
    """EXEC: run the queue, unless a watched key has changed or a queued command was refused."""
    if not s.multi:
        raise CommandError(b"ERR EXEC without MULTI")
    broken = s.watch_broken or _watched_expired(e, s)
    if s.multi_failed:
        leave(e, s)
        raise CommandError(EXEC_ABORT)
    if broken:
        leave(e, s)
        s.reply.null_array()
        return
    queue = s.queue
    refusal = None if s.primary_link else _refusal(e, s, queue)
    leave(e, s)
    if refusal is not None:
        raise CommandError(aborted(refusal))
    s.executing = True
    nested = e.in_transaction
    e.in_transaction = True
    s.reply.array(len(queue))
    try:
        for queued in queue:
            e.executor.call(s, queued)
    finally:
        s.executing = False
        if not nested:
            e.end_transaction()
    e.replace_with_nothing()


def aborted(reason: bytes) -> bytes:
    """The error of an EXEC that is refused for `reason`, an error text with its code."""
    return b"EXECABORT Transaction discarded because of: " + reason.removeprefix(b"ERR ")


def _watched_expired(e: Engine, s: Session) -> bool:
    """Whether a key that existed when it was watched has expired since, without having been removed yet."""
    return any(existed and not e.exists(dbid, key) for dbid, key, existed in s.watching)


def _refusal(e: Engine, s: Session, queue: list[list[bytes]]) -> bytes | None:
    """What has come in the way of a queued command since: the role has changed, memory ran out, a slot moved."""
    multi_state = s.multi
    s.multi = False
    found: bytes | None = None
    for queued in queue:
        found = e.executor.recheck(s, queued)
        if found is not None:
            break
    s.multi = multi_state
    return found


def watch(e: Engine, s: Session, args: list[bytes]) -> None:
    """WATCH key [key ...]."""
    if s.multi:
        raise CommandError(b"ERR WATCH inside MULTI is not allowed")
    if not s.watch_broken:
        for key in args[1:]:
            e.watch(s, key)
    s.reply.ok()


def unwatch(e: Engine, s: Session, args: list[bytes]) -> None:
    """UNWATCH."""
    e.unwatch(s)
    s.reply.ok()


HANDLERS: dict[bytes, Handler] = {
    b"multi": multi,
    b"exec": execute,
    b"discard": discard,
    b"watch": watch,
    b"unwatch": unwatch,
}
