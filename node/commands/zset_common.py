"""What the files of sorted set commands share: arguments, replies with scores, and the ways in which a set changes."""

from typing import Final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands.list_common import at_least
from node.commands.reading import read
from node.engine import NOTIFY_GENERIC, NOTIFY_NEW, NOTIFY_ZSET, Engine
from node.errors import NOT_A_FLOAT, SYNTAX, CommandError, WrongTypeError
from node.numbers import NotANumber, format_double, format_int, parse_double
from node.session import Session
from node.types.zset import NO_SCORE, ZSet

_POWERS: Final[list[float]] = [10.0**n for n in range(16)]


def zset_at(s: Session, slot: i64, key: bytes) -> ZSet | None:
    """The sorted set at a key, None when there is no key; raises WrongTypeError."""
    value = s.store.get(slot, key)
    if value is None:
        return None
    if isinstance(value, ZSet):
        return value
    raise WrongTypeError()


def zset_to_read(e: Engine, s: Session, key: bytes) -> ZSet | None:
    """As `zset_at` for the first key of a reading command."""
    return zset_to_read_at(e, s, e.slot, key)


def zset_to_read_at(e: Engine, s: Session, slot: i64, key: bytes) -> ZSet | None:
    """As `zset_to_read`, for any key."""
    value = read(e, s, slot, key)
    if value is None:
        return None
    if isinstance(value, ZSet):
        return value
    raise WrongTypeError()


def score_argument(arg: bytes) -> float:
    """A score or an increment; raises CommandError."""
    size: i64 = len(arg)
    if 0 < size <= 15:
        quick = _quick_score(arg, size)
        if quick == quick:
            return quick
    try:
        return parse_double(arg)
    except NotANumber:
        raise CommandError(NOT_A_FLOAT) from None


def _quick_score(arg: bytes, size: i64) -> float:
    """The number when it is plain digits with at most one point, NO_SCORE when it may be something else.

    Exact: up to 15 digits and the power of ten are doubles without rounding, and one division rounds correctly.
    """
    number: i64 = 0
    decimals: i64 = -1
    digits: i64 = 0
    i: i64 = 1 if arg[0] == 45 else 0
    while i < size:
        c: i64 = arg[i]
        if 48 <= c <= 57:
            number = number * 10 + (c - 48)
            digits += 1
            if decimals >= 0:
                decimals += 1
        elif c == 46 and decimals < 0:
            decimals = 0
        else:
            return NO_SCORE
        i += 1
    if digits == 0 or (arg[0] == 45 and number == 0):
        return NO_SCORE
    value = float(number)
    if decimals > 0:
        value /= _POWERS[decimals]
    return -value if arg[0] == 45 else value


# --- replies


def write_pairs(s: Session, members: list[bytes], scores: list[float]) -> None:
    """Members with scores: pairs in RESP3, in RESP2 one flat array."""
    reply = s.reply
    count: i64 = len(members)
    reply.array(count if reply.resp3 else count * 2)
    i: i64 = 0
    while i < count:
        if reply.resp3:
            reply.array(2)
        reply.bulk(members[i])
        reply.double(format_double(scores[i]))
        i += 1


# --- changes


def added(e: Engine, s: Session, slot: i64, key: bytes, values: ZSet) -> None:
    """Store a new sorted set, and wake who waits for it."""
    s.store.put(slot, key, values)
    if e.blocking.count > 0:
        e.blocking.signal(s.dbid, key)
    if e.notify_mask & NOTIFY_NEW:
        e.notify(NOTIFY_NEW, b"new", key, s.dbid)


def removed(e: Engine, s: Session, slot: i64, key: bytes, values: ZSet, before: i64, event: bytes, count: i64) -> None:
    """Members were removed: account, tell, and drop the set when empty. `before`: its bytes before."""
    s.store.grew(slot, key, values.used_bytes() - before)
    e.changed(s, key, NOTIFY_ZSET, event, count)
    if values.count == 0:
        s.store.delete(slot, key)
        e.notify(NOTIFY_GENERIC, b"del", key, s.dbid)


def pop(
    e: Engine, s: Session, slot: i64, key: bytes, lowest: bool, count: i64, members: list[bytes], scores: list[float]
) -> bool:
    """Take out up to `count` members from one end, the outermost first; False when there is no set."""
    values = zset_at(s, slot, key)
    if values is None:
        return False
    size = values.count
    if count > size:
        count = size
    if count == 0:
        return True
    before = values.used_bytes()
    start: i64 = 0 if lowest else size - count
    values.collect(start, start + count, members, scores)
    if not lowest:
        members.reverse()
        scores.reverse()
    values.remove_range(start, start + count)
    removed(e, s, slot, key, values, before, b"zpopmin" if lowest else b"zpopmax", count)
    return True


def replace(e: Engine, s: Session, slot: i64, key: bytes, values: ZSet, event: bytes) -> None:
    """Put a result in place of whatever is at the key, or delete that when it is empty; answers its size."""
    existed = s.store.discard(slot, key)
    if values.count > 0:
        if existed:
            s.store.put(slot, key, values)
        else:
            added(e, s, slot, key, values)
        e.changed(s, key, NOTIFY_ZSET, event)
    elif existed:
        e.changed(s, key, NOTIFY_GENERIC, b"del")
    s.reply.integer(values.count)


class PopRequest:
    """The arguments `numkeys key [key ...] MIN|MAX [COUNT count]`."""

    keys: list[bytes]
    lowest: bool
    count: i64

    def __init__(self, args: list[bytes], at: i64) -> None:
        number = at_least(args[at], 1, b"ERR numkeys should be greater than 0")
        if number >= len(args) - at - 1:
            raise CommandError(SYNTAX)
        where: i64 = at + 1 + number
        self.keys = args[at + 1 : where]
        side = args[where].lower()
        if side not in (b"min", b"max"):
            raise CommandError(SYNTAX)
        self.lowest = side == b"min"
        self.count = 1
        if where + 1 < len(args):
            if args[where + 1].lower() != b"count" or where + 2 >= len(args):
                raise CommandError(SYNTAX)
            self.count = at_least(args[where + 2], 1, b"ERR count should be greater than 0")
            if where + 3 < len(args):
                raise CommandError(SYNTAX)


def pop_first_filled(e: Engine, s: Session, request: PopRequest) -> bool:
    """Answer from the first key that holds a set, to be propagated as ZPOPMIN or ZPOPMAX; False when none does."""
    members: list[bytes] = []
    scores: list[float] = []
    for key in request.keys:
        if not pop(e, s, key_slot(key), key, request.lowest, request.count, members, scores):
            continue
        reply = s.reply
        reply.array(2)
        reply.bulk(key)
        reply.array(len(members))
        i: i64 = 0
        while i < len(members):
            reply.array(2)
            reply.bulk(members[i])
            reply.double(format_double(scores[i]))
            i += 1
        e.replace_with([b"ZPOPMIN" if request.lowest else b"ZPOPMAX", key, format_int(len(members))])
        return True
    return False
