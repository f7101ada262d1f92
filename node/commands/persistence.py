"""Saving the dataset to files on request: SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE."""

from node.engine import Engine, Handler
from node.errors import SYNTAX, CommandError
from node.session import Session

_IN_PROGRESS = b"ERR Background save already in progress"


def save(e: Engine, s: Session, args: list[bytes]) -> None:
    """SAVE."""
    if e.rdb.saving:
        raise CommandError(_IN_PROGRESS)
    if not e.rdb.save():
        raise CommandError(b"ERR")  # as Valkey: the log says why
    s.reply.ok()


def bgsave(e: Engine, s: Session, args: list[bytes]) -> None:
    """BGSAVE [SCHEDULE | CANCEL]."""
    word = args[1].lower() if len(args) == 2 else b""
    if len(args) > 2 or word not in (b"", b"schedule", b"cancel"):
        raise CommandError(SYNTAX)
    if word == b"cancel":
        _cancel(e, s)
    elif e.rdb.saving:
        raise CommandError(_IN_PROGRESS)
    elif e.in_transaction:
        e.rdb.scheduled = True
        s.reply.simple(b"Background saving scheduled")
    else:
        e.rdb.start()
        s.reply.simple(b"Background saving started")


def _cancel(e: Engine, s: Session) -> None:
    if e.rdb.saving:
        e.rdb.cancel()
        s.reply.simple(b"Background saving cancelled")
    elif e.rdb.scheduled:
        e.rdb.scheduled = False
        s.reply.simple(b"Scheduled background saving cancelled")
    else:
        raise CommandError(b"ERR Background saving is currently not in progress or scheduled")


def bgrewriteaof(e: Engine, s: Session, args: list[bytes]) -> None:
    """BGREWRITEAOF."""
    if e.aof.rewriting:
        raise CommandError(b"ERR Background append only file rewriting already in progress")
    if e.rdb.saving or e.in_transaction:
        e.aof.scheduled = True
        s.reply.simple(b"Background append only file rewriting scheduled")
        return
    e.aof.start_rewrite()
    s.reply.simple(b"Background append only file rewriting started")


def lastsave(e: Engine, s: Session, args: list[bytes]) -> None:
    """LASTSAVE."""
    s.reply.integer(e.stats.last_save_ms // 1000)


HANDLERS: dict[bytes, Handler] = {
    b"save": save, b"bgsave": bgsave, b"bgrewriteaof": bgrewriteaof, b"lastsave": lastsave,
}  # fmt: skip
