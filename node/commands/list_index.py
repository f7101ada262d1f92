"""Lists: reading and changing elements by index and by value."""

from mypy_extensions import i64

from node.commands.list_common import at_least, list_at, list_to_read, removed, symmetric, window
from node.commands.reading import integer
from node.engine import NOTIFY_LIST, Engine, Handler
from node.errors import NO_SUCH_KEY, OUT_OF_RANGE, SYNTAX, CommandError
from node.session import Session

# --- by index


def llen(e: Engine, s: Session, args: list[bytes]) -> None:
    """LLEN key."""
    values = list_to_read(e, s, args[1])
    s.reply.integer(0 if values is None else values.length)


def lindex(e: Engine, s: Session, args: list[bytes]) -> None:
    """LINDEX key index."""
    values = list_to_read(e, s, args[1])
    if values is None:
        s.reply.null()
    else:
        s.reply.bulk_or_null(values.element(integer(args[2])))


def lrange(e: Engine, s: Session, args: list[bytes]) -> None:
    """LRANGE key start stop."""
    start = integer(args[2])
    stop = integer(args[3])
    values = list_to_read(e, s, args[1])
    if values is None:
        s.reply.array(0)
        return
    length = values.length
    start, stop = window(start, stop, length)
    s.reply.bulks(values.slice(start, stop))


def ltrim(e: Engine, s: Session, args: list[bytes]) -> None:
    """LTRIM key start stop."""
    start = integer(args[2])
    stop = integer(args[3])
    values = list_at(s, e.slot, args[1])
    if values is not None:
        length = values.length
        before = values.used_bytes()
        start, stop = window(start, stop, length)
        values.trim(start, stop)
        removed(e, s, e.slot, args[1], values, before, b"ltrim", length - values.length)
    s.reply.ok()


def lset(e: Engine, s: Session, args: list[bytes]) -> None:
    """LSET key index element."""
    values = list_at(s, e.slot, args[1])
    if values is None:
        raise CommandError(NO_SUCH_KEY)
    index = integer(args[2])
    before = values.used_bytes()
    values.before_adding(args, 3, 3)
    there = values.set(index, args[3])
    if there:
        values.after_removing()
    s.store.grew(e.slot, args[1], values.used_bytes() - before)
    if not there:
        raise CommandError(OUT_OF_RANGE)
    e.changed(s, args[1], NOTIFY_LIST, b"lset")
    s.reply.ok()


# --- by value


def linsert(e: Engine, s: Session, args: list[bytes]) -> None:
    """LINSERT key BEFORE|AFTER pivot element."""
    where = args[2].lower()
    if where not in (b"before", b"after"):
        raise CommandError(SYNTAX)
    values = list_at(s, e.slot, args[1])
    if values is None:
        s.reply.integer(0)
        return
    before = values.used_bytes()
    values.before_adding(args, 4, 4)
    there = values.insert(args[3], args[4], where == b"after")
    s.store.grew(e.slot, args[1], values.used_bytes() - before)
    if not there:
        s.reply.integer(-1)
        return
    e.changed(s, args[1], NOTIFY_LIST, b"linsert")
    s.reply.integer(values.length)


def lrem(e: Engine, s: Session, args: list[bytes]) -> None:
    """LREM key count element."""
    limit = symmetric(args[2])
    values = list_at(s, e.slot, args[1])
    if values is None:
        s.reply.integer(0)
        return
    before = values.used_bytes()
    count = values.remove(args[3], limit)
    if count > 0:
        removed(e, s, e.slot, args[1], values, before, b"lrem", count)
    else:
        s.store.grew(e.slot, args[1], values.used_bytes() - before)
    s.reply.integer(count)


def lpos(e: Engine, s: Session, args: list[bytes]) -> None:
    """LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]."""
    rank: i64 = 1
    count: i64 = -1
    maxlen: i64 = 0
    i: i64 = 3
    while i < len(args):
        option = args[i].lower()
        if i + 1 >= len(args):
            raise CommandError(SYNTAX)
        if option == b"rank":
            rank = _rank(args[i + 1])
        elif option == b"count":
            count = at_least(args[i + 1], 0, b"ERR COUNT can't be negative")
        elif option == b"maxlen":
            maxlen = at_least(args[i + 1], 0, b"ERR MAXLEN can't be negative")
        else:
            raise CommandError(SYNTAX)
        i += 2
    values = list_to_read(e, s, args[1])
    found: list[int] = [] if values is None else values.positions(args[2], rank, 1 if count < 0 else count, maxlen)
    if count >= 0:
        s.reply.array(len(found))
        for index in found:
            s.reply.integer(index)
    elif found:
        s.reply.integer(found[0])
    else:
        s.reply.null()


def _rank(arg: bytes) -> i64:
    rank = symmetric(arg)
    if rank == 0:
        raise CommandError(
            b"ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
            b"or use negative to start from the end of the list"
        )
    return rank


HANDLERS: dict[bytes, Handler] = {
    b"llen": llen,
    b"lindex": lindex,
    b"lrange": lrange,
    b"ltrim": ltrim,
    b"lset": lset,
    b"linsert": linsert,
    b"lrem": lrem,
    b"lpos": lpos,
}
