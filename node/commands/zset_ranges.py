"""Sorted sets: counting, reading, storing and removing ranges by rank, score and member.

Every range ends as a pair of ranks, lowest first and the second exclusive; a reversed one is read from the same pair.
"""

from typing import Final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands.list_common import window
from node.commands.reading import integer
from node.commands.zset_common import removed, replace, write_pairs, zset_at, zset_to_read, zset_to_read_at
from node.engine import Engine, Handler
from node.errors import SYNTAX, CommandError
from node.numbers import NotANumber, parse_double
from node.session import Session
from node.types.zset import ZSet

BY_RANK: Final = 0
BY_SCORE: Final = 1
BY_LEX: Final = 2

_BAD_SCORE: Final = b"ERR min or max is not a float"
_BAD_LEX: Final = b"ERR min or max not valid string range item"


class ScoreBound:
    """One end of a range by score: `5`, `(5`, `-inf`."""

    value: float
    exclusive: bool

    def __init__(self, arg: bytes) -> None:
        self.exclusive = arg[:1] == b"("
        text = (arg[1:] if self.exclusive else arg).partition(b"\0")[0]  # Valkey reads it as a C string
        self.value = 0.0
        if len(text) > 0:  # an empty number is read as 0
            try:
                self.value = parse_double(text)
            except NotANumber:
                self.value = _beyond(text)


def _beyond(text: bytes) -> float:
    """A bound may lie outside the range of a double: it is infinite or 0 then. Raises CommandError."""
    if len(text.strip(b"0123456789+-.eE")) == 0:
        try:
            return float(text)
        except ValueError:
            pass
    raise CommandError(_BAD_SCORE)


class LexBound:
    """One end of a range by member: `-`, `+`, `[member`, `(member`. `side` is -1 or 1 for the infinite ones."""

    member: bytes
    exclusive: bool
    side: i64

    def __init__(self, arg: bytes) -> None:
        self.member = b""
        self.exclusive = False
        self.side = 0
        if arg == b"-":
            self.side = -1
        elif arg == b"+":
            self.side = 1
        elif arg[:1] == b"(" or arg[:1] == b"[":
            self.exclusive = arg[:1] == b"("
            self.member = arg[1:]
        else:
            raise CommandError(_BAD_LEX)

    def below(self, values: ZSet, inclusive: bool) -> i64:
        """How many members are below the bound, or not above it."""
        if self.side != 0:
            return 0 if self.side < 0 else values.count
        return values.lex_below(self.member, inclusive)


class Range:
    """The two ends of a range of one kind, parsed; `ranks` finds the pair of ranks in a set."""

    kind: i64
    first: i64
    last: i64
    min_score: ScoreBound | None
    max_score: ScoreBound | None
    min_lex: LexBound | None
    max_lex: LexBound | None

    def __init__(self, kind: i64, low: bytes, high: bytes) -> None:
        self.kind = kind
        self.first = 0
        self.last = 0
        self.min_score = None
        self.max_score = None
        self.min_lex = None
        self.max_lex = None
        if kind == BY_RANK:
            self.first = integer(low)
            self.last = integer(high)
        elif kind == BY_SCORE:
            self.min_score = ScoreBound(low)
            self.max_score = ScoreBound(high)
        else:
            self.min_lex = LexBound(low)
            self.max_lex = LexBound(high)

    def ranks(self, values: ZSet, reverse: bool) -> tuple[i64, i64]:
        """The ranks from and to (exclusive); with `reverse` indexes count from the highest member."""
        start: i64 = 0
        stop: i64 = 0
        if self.kind == BY_RANK:
            start, stop = window(self.first, self.last, values.count)
            if reverse:
                return values.count - stop, values.count - start
            return start, stop
        min_score = self.min_score
        max_score = self.max_score
        if min_score is not None and max_score is not None:
            start = values.below(min_score.value, min_score.exclusive)
            stop = values.below(max_score.value, not max_score.exclusive)
        min_lex = self.min_lex
        max_lex = self.max_lex
        if min_lex is not None and max_lex is not None:
            start = min_lex.below(values, min_lex.exclusive)
            stop = max_lex.below(values, not max_lex.exclusive)
        return (start, stop) if start < stop else (0, 0)


class Query:
    """The arguments of ZRANGE and its relatives after the key: a range with its options."""

    range: Range
    reverse: bool
    with_scores: bool
    offset: i64
    limit: i64

    def __init__(self, args: list[bytes], at: i64, kind: i64, reverse: i64, store: bool) -> None:
        """`kind` and `reverse` are -1 where options decide; `at` is the place of the lower end."""
        self.with_scores = False
        self.offset = 0
        self.limit = -1
        i: i64 = at + 2
        while i < len(args):
            option = args[i].lower()
            if option == b"withscores" and not store:
                self.with_scores = True
            elif option == b"limit" and i + 2 < len(args):
                self.offset = integer(args[i + 1])
                self.limit = integer(args[i + 2])
                i += 2
            elif option == b"rev" and reverse < 0:
                reverse = 1
            elif option == b"bylex" and kind < 0:
                kind = BY_LEX
            elif option == b"byscore" and kind < 0:
                kind = BY_SCORE
            else:
                raise CommandError(SYNTAX)
            i += 1
        self.reverse = reverse > 0
        if kind < 0:
            kind = BY_RANK
        if self.limit != -1 and kind == BY_RANK:
            raise CommandError(SYNTAX + b", LIMIT is only supported in combination with either BYSCORE or BYLEX")
        if self.with_scores and kind == BY_LEX:
            raise CommandError(SYNTAX + b", WITHSCORES not supported in combination with BYLEX")
        swapped = self.reverse and kind != BY_RANK  # these take the higher end first
        self.range = Range(kind, args[at + 1 if swapped else at], args[at if swapped else at + 1])

    def find(self, values: ZSet, members: list[bytes], scores: list[float]) -> None:
        """Append what the query selects, in the order of the answer."""
        start, stop = self.range.ranks(values, self.reverse)
        if self.range.kind != BY_RANK:
            start, stop = self._limited(values, start, stop)
        values.collect(start, stop, members, scores)
        if self.reverse:
            members.reverse()
            scores.reverse()


    def _limited(self, values: ZSet, start: i64, stop: i64) -> tuple[i64, i64]:
        """Apply LIMIT. A negative offset selects nothing in a listpack; in a skiplist it counts from the other end."""
        size = stop - start
        skipped = self.offset
        if skipped < 0:
            if values.order is None or skipped < -size:
                return 0, 0
            skipped += size
        if skipped >= size:
            return 0, 0
        taken = size - skipped
        if self.limit >= 0 and self.limit < taken:
            taken = self.limit
        if self.reverse:
            return stop - skipped - taken, stop - skipped
        return start + skipped, start + skipped + taken


def _read(e: Engine, s: Session, args: list[bytes], kind: i64, reverse: i64) -> None:
    query = Query(args, 2, kind, reverse, False)
    values = zset_to_read(e, s, args[1])
    members: list[bytes] = []
    scores: list[float] = []
    if values is not None:
        query.find(values, members, scores)
    if query.with_scores:
        write_pairs(s, members, scores)
    else:
        s.reply.bulks(members)


def zrange(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZRANGE key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]."""
    _read(e, s, args, -1, -1)


def zrevrange(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZREVRANGE key start stop [WITHSCORES]."""
    _read(e, s, args, BY_RANK, 1)


def zrangebyscore(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]."""
    _read(e, s, args, BY_SCORE, 0)


def zrevrangebyscore(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]."""
    _read(e, s, args, BY_SCORE, 1)


def zrangebylex(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZRANGEBYLEX key min max [LIMIT offset count]."""
    _read(e, s, args, BY_LEX, 0)


def zrevrangebylex(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZREVRANGEBYLEX key max min [LIMIT offset count]."""
    _read(e, s, args, BY_LEX, 1)


def zrangestore(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZRANGESTORE destination source min max [BYSCORE|BYLEX] [REV] [LIMIT offset count]."""
    query = Query(args, 3, -1, -1, True)
    values = zset_to_read_at(e, s, key_slot(args[2]), args[2])
    members: list[bytes] = []
    scores: list[float] = []
    if values is not None:
        query.find(values, members, scores)
    result = ZSet()
    if query.range.kind == BY_RANK:  # the other kinds do not know their number beforehand
        result.expect(len(members), 0)
    i: i64 = 0
    while i < len(members):
        result.add(members[i], scores[i])
        i += 1
    replace(e, s, e.slot, args[1], result, b"zrangestore")


def _count(e: Engine, s: Session, args: list[bytes], kind: i64) -> None:
    wanted = Range(kind, args[2], args[3])
    values = zset_to_read(e, s, args[1])
    if values is None:
        s.reply.integer(0)
        return
    start, stop = wanted.ranks(values, False)
    s.reply.integer(stop - start)


def zcount(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZCOUNT key min max."""
    _count(e, s, args, BY_SCORE)


def zlexcount(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZLEXCOUNT key min max."""
    _count(e, s, args, BY_LEX)


def _remove(e: Engine, s: Session, args: list[bytes], kind: i64, event: bytes) -> None:
    wanted = Range(kind, args[2], args[3])
    values = zset_at(s, e.slot, args[1])
    count: i64 = 0
    if values is not None:
        before = values.used_bytes()
        start, stop = wanted.ranks(values, False)
        count = values.remove_range(start, stop)
        if count > 0:
            removed(e, s, e.slot, args[1], values, before, event, count)
    s.reply.integer(count)


def zremrangebyrank(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZREMRANGEBYRANK key start stop."""
    _remove(e, s, args, BY_RANK, b"zremrangebyrank")


def zremrangebyscore(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZREMRANGEBYSCORE key min max."""
    _remove(e, s, args, BY_SCORE, b"zremrangebyscore")


def zremrangebylex(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZREMRANGEBYLEX key min max."""
    _remove(e, s, args, BY_LEX, b"zremrangebylex")


HANDLERS: dict[bytes, Handler] = {
    b"zrange": zrange,
    b"zrevrange": zrevrange,
    b"zrangebyscore": zrangebyscore,
    b"zrevrangebyscore": zrevrangebyscore,
    b"zrangebylex": zrangebylex,
    b"zrevrangebylex": zrevrangebylex,
    b"zrangestore": zrangestore,
    b"zcount": zcount,
    b"zlexcount": zlexcount,
    b"zremrangebyrank": zremrangebyrank,
    b"zremrangebyscore": zremrangebyscore,
    b"zremrangebylex": zremrangebylex,
}
