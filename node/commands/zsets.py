"""Sorted sets: members and their scores; and the table of the whole family."""

from mypy_extensions import i64

from node.commands import zset_blocking, zset_ranges, zset_stores
from node.commands.list_common import at_least, symmetric
from node.commands.scanning import ScanOptions, parse_cursor, reply_scan
from node.commands.zset_common import (
    PopRequest,
    added,
    pop,
    pop_first_filled,
    removed,
    score_argument,
    write_pairs,
    zset_at,
    zset_to_read,
)
from node.engine import NOTIFY_ZSET, Engine, Handler
from node.errors import SYNTAX, CommandError
from node.numbers import I64_MAX, format_double
from node.session import Session
from node.types.zset import ZSet

_NOT_A_SCORE = b"ERR resulting score is not a number (NaN)"

# --- adding


class AddFlags:
    """The options of ZADD; `at` is the place of the first score."""

    nx: bool
    xx: bool
    gt: bool
    lt: bool
    ch: bool
    incr: bool
    at: i64

    def __init__(self, args: list[bytes], incr: bool) -> None:
        self.nx = False
        self.xx = False
        self.gt = False
        self.lt = False
        self.ch = False
        self.incr = incr
        self.at = 2
        if incr:  # ZINCRBY has no options
            return
        while self.at < len(args) and self._take(args[self.at].lower()):
            self.at += 1

    def _take(self, option: bytes) -> bool:
        if option == b"nx":
            self.nx = True
        elif option == b"xx":
            self.xx = True
        elif option == b"gt":
            self.gt = True
        elif option == b"lt":
            self.lt = True
        elif option == b"ch":
            self.ch = True
        elif option == b"incr":
            self.incr = True
        else:
            return False
        return True

    def check(self, number: i64) -> None:
        """Raise CommandError for options that contradict each other; `number` is that of the arguments left."""
        if number % 2 or number == 0:
            raise CommandError(SYNTAX)
        if self.nx and self.xx:
            raise CommandError(b"ERR XX and NX options at the same time are not compatible")
        if (self.gt and (self.nx or self.lt)) or (self.lt and self.nx):
            raise CommandError(b"ERR GT, LT, and/or NX options at the same time are not compatible")
        if self.incr and number > 2:
            raise CommandError(b"ERR INCR option supports a single increment-element pair")


_NO_FLAGS = AddFlags([], True)
_NO_FLAGS.incr = False


def zadd(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member [score member ...]."""
    flags = _NO_FLAGS
    first: i64 = args[2][0] if len(args[2]) > 0 else 0
    if first >= 65:  # a letter: an option, or `inf`
        flags = AddFlags(args, False)
    flags.check(len(args) - flags.at)
    _add(e, s, args, flags)


def zincrby(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZINCRBY key increment member."""
    _add(e, s, args, AddFlags(args, True))


def _add(e: Engine, s: Session, args: list[bytes], flags: AddFlags) -> None:
    scores: list[float] = []
    longest: i64 = 0
    i: i64 = flags.at
    while i < len(args):
        scores.append(score_argument(args[i]))
        if len(args[i + 1]) > longest:
            longest = len(args[i + 1])
        i += 2
    key = args[1]
    found = zset_at(s, e.slot, key)
    if found is None and flags.xx:
        _answer_add(s, flags, 0, 0, None)
        return
    values = ZSet() if found is None else found
    before = values.used_bytes()
    values.expect(len(scores), longest)
    new: i64 = 0
    updated: i64 = 0
    result: float | None = None
    i = 0
    while i < len(scores):
        member = args[flags.at + 2 * i + 1]
        score = scores[i]
        i += 1
        old = values.get(member)
        if old != old:
            if flags.xx:
                continue
            values.add(member, score)
            new += 1
        else:
            if flags.nx:
                continue
            if flags.incr:
                score += old
                if score != score:
                    raise CommandError(_NOT_A_SCORE)
            if (flags.lt and score >= old) or (flags.gt and score <= old):
                continue
            if score != old:
                values.change(member, old, score)
                updated += 1
        result = score
    if found is None:
        added(e, s, e.slot, key, values)
    else:
        s.store.grew(e.slot, key, values.used_bytes() - before)
    _answer_add(s, flags, new, updated, result)
    if new + updated > 0:
        e.changed(s, key, NOTIFY_ZSET, b"zincr" if flags.incr else b"zadd", new + updated)


def _answer_add(s: Session, flags: AddFlags, new: i64, updated: i64, result: float | None) -> None:
    if not flags.incr:
        s.reply.integer(new + updated if flags.ch else new)
    elif result is None:
        s.reply.null()
    else:
        s.reply.double(format_double(result))


# --- removing


def zrem(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZREM key member [member ...]."""
    values = zset_at(s, e.slot, args[1])
    count: i64 = 0
    if values is not None:
        before = values.used_bytes()
        for member in args[2:]:
            if values.remove(member):
                count += 1
        if count > 0:
            removed(e, s, e.slot, args[1], values, before, b"zrem", count)
    s.reply.integer(count)


def _pop(e: Engine, s: Session, args: list[bytes], lowest: bool) -> None:
    if len(args) > 3:
        raise CommandError(SYNTAX)
    counted = len(args) == 3
    count: i64 = at_least(args[2], 0, b"ERR value is out of range, must be positive") if counted else 1
    members: list[bytes] = []
    scores: list[float] = []
    pop(e, s, e.slot, args[1], lowest, count, members, scores)
    if counted or len(members) == 0:
        write_pairs(s, members, scores)
    else:  # one pair without a count is flat in RESP3 too
        s.reply.array(2)
        s.reply.bulk(members[0])
        s.reply.double(format_double(scores[0]))


def zpopmin(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZPOPMIN key [count]."""
    _pop(e, s, args, True)


def zpopmax(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZPOPMAX key [count]."""
    _pop(e, s, args, False)


def zmpop(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZMPOP numkeys key [key ...] MIN|MAX [COUNT count]."""
    if not pop_first_filled(e, s, PopRequest(args, 1)):
        s.reply.null_array()


# --- reading


def zcard(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZCARD key."""
    values = zset_to_read(e, s, args[1])
    s.reply.integer(0 if values is None else values.count)


def _write_score(s: Session, score: float) -> None:
    if score != score:
        s.reply.null()
    else:
        s.reply.double(format_double(score))


def zscore(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZSCORE key member."""
    values = zset_to_read(e, s, args[1])
    if values is None:
        s.reply.null()
    else:
        _write_score(s, values.get(args[2]))


def zmscore(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZMSCORE key member [member ...]."""
    values = zset_to_read(e, s, args[1])
    s.reply.array(len(args) - 2)
    for member in args[2:]:
        if values is None:
            s.reply.null()
        else:
            _write_score(s, values.get(member))


def _rank(e: Engine, s: Session, args: list[bytes], reverse: bool) -> None:
    with_score = len(args) > 3
    if len(args) > 4:
        name = b"zrevrank" if reverse else b"zrank"
        raise CommandError(b"ERR wrong number of arguments for '" + name + b"' command")
    if with_score and args[3].lower() != b"withscore":
        raise CommandError(SYNTAX)
    values = zset_to_read(e, s, args[1])
    rank: i64 = -1 if values is None else values.rank(args[2])
    if values is None or rank < 0:
        if with_score:
            s.reply.null_array()
        else:
            s.reply.null()
        return
    if reverse:
        rank = values.count - 1 - rank
    if with_score:
        s.reply.array(2)
    s.reply.integer(rank)
    if with_score:
        _write_score(s, values.get(args[2]))


def zrank(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZRANK key member [WITHSCORE]."""
    _rank(e, s, args, False)


def zrevrank(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZREVRANK key member [WITHSCORE]."""
    _rank(e, s, args, True)


def zrandmember(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZRANDMEMBER key [count [WITHSCORES]]."""
    if len(args) == 2:
        single = zset_to_read(e, s, args[1])
        if single is None:
            s.reply.null()
        else:
            s.reply.bulk(single.random(e.rng))
        return
    count = symmetric(args[2])
    with_scores = len(args) > 3
    if len(args) > 4 or (with_scores and args[3].lower() != b"withscores"):
        raise CommandError(SYNTAX)
    if with_scores and not -(I64_MAX // 2) <= count <= I64_MAX // 2:
        raise CommandError(b"ERR value is out of range")
    values = zset_to_read(e, s, args[1])
    if values is None:
        s.reply.array(0)
    elif count < 0:
        _write_repeated(e, s, values, -count, with_scores)
    else:
        _write_distinct(e, s, values, count, with_scores)


def _write_distinct(e: Engine, s: Session, values: ZSet, count: i64, with_scores: bool) -> None:
    members: list[bytes] = []
    scores: list[float] = []
    values.pick(e.rng, count, members, scores)
    if with_scores:
        write_pairs(s, members, scores)
    else:
        s.reply.bulks(members)


def _write_repeated(e: Engine, s: Session, values: ZSet, count: i64, with_scores: bool) -> None:
    """Members that may repeat, written one by one: `count` may be any number."""
    reply = s.reply
    pairs = with_scores and reply.resp3
    reply.array(count * 2 if with_scores and not pairs else count)
    while count > 0 and not s.closed():
        member = values.random(e.rng)
        if pairs:
            reply.array(2)
        reply.bulk(member)
        if with_scores:
            reply.double(format_double(values.get(member)))
        count -= 1


def zscan(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZSCAN key cursor [MATCH pattern] [COUNT count] [NOSCORES]."""
    cursor = parse_cursor(args[2])
    values = zset_to_read(e, s, args[1])
    if values is None:  # the options of a missing key are not looked at
        reply_scan(s, 0, [])
        return
    for arg in args[3:]:
        if arg.lower() == b"novalues":
            raise CommandError(b"ERR NOVALUES option can only be used in HSCAN")
    options = ScanOptions(args, 3, b"noscores")
    members: list[bytes] = []
    cursor = values.scan(cursor, options.count, members)
    members = options.keep(members)
    if options.flag:
        reply_scan(s, cursor, members)
        return
    items: list[bytes] = []
    for member in members:
        items.append(member)
        items.append(_scanned_score(values, member))
    reply_scan(s, cursor, items)


def _scanned_score(values: ZSet, member: bytes) -> bytes:
    """A score as ZSCAN shows it: of a skiplist with 17 digits, be they needed or not, as Valkey does."""
    score = values.get(member)
    if values.order is None:
        return format_double(score)
    return ("%.17g" % score).encode()  # noqa: UP031 - the one C format that has these digits


HANDLERS: dict[bytes, Handler] = {
    b"zadd": zadd,
    b"zincrby": zincrby,
    b"zrem": zrem,
    b"zpopmin": zpopmin,
    b"zpopmax": zpopmax,
    b"zmpop": zmpop,
    b"zcard": zcard,
    b"zscore": zscore,
    b"zmscore": zmscore,
    b"zrank": zrank,
    b"zrevrank": zrevrank,
    b"zrandmember": zrandmember,
    b"zscan": zscan,
    **zset_ranges.HANDLERS,
    **zset_stores.HANDLERS,
    **zset_blocking.HANDLERS,
}
