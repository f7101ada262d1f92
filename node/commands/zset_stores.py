"""Sorted sets: union, intersection and difference of sorted and plain sets, answered or stored."""

from typing import Final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands.list_common import at_least
from node.commands.reading import integer, read
from node.commands.zset_common import replace, write_pairs
from node.engine import Engine, Handler
from node.errors import SYNTAX, CommandError, WrongTypeError
from node.numbers import NotANumber, parse_double
from node.session import Session
from node.types.set import Set
from node.types.zset import NO_SCORE, ZSet, from_scores

UNION: Final = 0
INTER: Final = 1
DIFF: Final = 2

_SUM: Final = 0
_MIN: Final = 1
_MAX: Final = 2

_PORTION: Final = 1024  # members of a sorted set that are looked at before one asks whether there are enough


class Source:
    """One input: a sorted set, a plain set whose members have the score 1, or nothing."""

    values: ZSet | None
    plain: Set | None
    size: i64
    weight: float

    def __init__(self, value: object | None) -> None:
        self.values = None
        self.plain = None
        self.size = 0
        self.weight = 1.0
        if isinstance(value, ZSet):
            self.values = value
            self.size = value.count
        elif isinstance(value, Set):
            self.plain = value
            self.size = value.count()
        elif value is not None:
            raise WrongTypeError()

    def get(self, member: bytes) -> float:
        """The unweighted score of a member, NO_SCORE when it is not there."""
        values = self.values
        if values is not None:
            return values.get(member)
        plain = self.plain
        return 1.0 if plain is not None and plain.has(member) else NO_SCORE

    def pairs(self) -> tuple[list[bytes], list[float]]:
        """All members with their unweighted scores."""
        members: list[bytes] = []
        scores: list[float] = []
        values = self.values
        plain = self.plain
        if values is not None:
            values.collect(0, values.count, members, scores)
        elif plain is not None:
            members = plain.members()
            scores = [1.0] * len(members)
        return members, scores

    def portions(self) -> i64:
        """How many portions the members come in."""
        plain = self.plain
        return plain.portions() if plain is not None else (self.size + _PORTION - 1) // _PORTION

    def portion(self, i: i64) -> tuple[list[bytes], list[float]]:
        """The members of one portion with their unweighted scores, for those who may not need them all."""
        members: list[bytes] = []
        scores: list[float] = []
        values = self.values
        plain = self.plain
        if values is not None:
            stop = (i + 1) * _PORTION
            values.collect(i * _PORTION, stop if stop < self.size else self.size, members, scores)
        elif plain is not None:
            members = plain.portion(i)
            scores = [1.0] * len(members)
        return members, scores


class Request:
    """The arguments `numkeys key [key ...]` with the options of the operation, and the inputs found at the keys."""

    sources: list[Source]
    aggregate: i64
    with_scores: bool
    limit: i64

    def __init__(
        self, e: Engine, s: Session, args: list[bytes], at: i64, operation: i64, store: bool, count: bool
    ) -> None:
        number = integer(args[at])
        if number < 1:
            raise CommandError(b"ERR at least 1 input key is needed for '" + args[0].lower() + b"' command")
        if number > len(args) - at - 1:
            raise CommandError(SYNTAX)
        self.sources = []
        self.aggregate = _SUM
        self.with_scores = False
        self.limit = 0
        i: i64 = at + 1
        while i <= at + number:
            self.sources.append(Source(read(e, s, key_slot(args[i]), args[i])))
            i += 1
        while i < len(args):
            option = args[i].lower()
            if option == b"weights" and operation != DIFF and not count and i + number < len(args):
                self._weigh(args, i + 1)
                i += number + 1
            elif option == b"aggregate" and operation != DIFF and not count and i + 1 < len(args):
                self.aggregate = _aggregate(args[i + 1])
                i += 2
            elif option == b"withscores" and not store and not count:
                self.with_scores = True
                i += 1
            elif option == b"limit" and count and i + 1 < len(args):
                self.limit = at_least(args[i + 1], 0, b"ERR LIMIT can't be negative")
                i += 2
            else:
                raise CommandError(SYNTAX)

    def _weigh(self, args: list[bytes], at: i64) -> None:
        for source in self.sources:
            try:
                source.weight = parse_double(args[at])
            except NotANumber:
                raise CommandError(b"ERR weight value is not a float") from None
            at += 1


def _aggregate(arg: bytes) -> i64:
    word = arg.lower()
    if word == b"sum":
        return _SUM
    if word == b"min":
        return _MIN
    if word == b"max":
        return _MAX
    raise CommandError(SYNTAX)


def _combine(total: float, score: float, aggregate: i64) -> float:
    if aggregate == _MIN:
        return score if score < total else total
    if aggregate == _MAX:
        return score if score > total else total
    total += score
    return total if total == total else 0.0  # +inf and -inf


def _weighted(score: float, weight: float) -> float:
    score *= weight
    return score if score == score else 0.0  # 0 times inf


def _by_size(source: Source) -> int:
    return source.size


def _union(request: Request) -> dict[bytes, float]:
    result: dict[bytes, float] = {}
    for source in sorted(request.sources, key=_by_size):
        members, scores = source.pairs()
        i: i64 = 0
        while i < len(members):
            member = members[i]
            score = _weighted(scores[i], source.weight)
            before = result.get(member)
            result[member] = score if before is None else _combine(before, score, request.aggregate)
            i += 1
    return result


def _inter(request: Request) -> dict[bytes, float]:
    result: dict[bytes, float] = {}
    sources = sorted(request.sources, key=_by_size)
    i: i64 = 0
    while i < sources[0].portions():
        members, scores = sources[0].portion(i)
        if _inter_portion(request, sources, members, scores, result):
            break
        i += 1
    return result


def _inter_portion(
    request: Request, sources: list[Source], members: list[bytes], scores: list[float], result: dict[bytes, float]
) -> bool:
    """Add what all sources have of some members of the first; True when the limit is reached."""
    rest = sources[1:]
    i: i64 = 0
    while i < len(members):
        member = members[i]
        total = _weighted(scores[i], sources[0].weight)
        for source in rest:
            score = source.get(member)
            if score != score:
                break
            total = _combine(total, score * source.weight, request.aggregate)
        else:
            result[member] = total
            if len(result) == request.limit:
                return True
        i += 1
    return False


def _diff(request: Request) -> dict[bytes, float]:
    first = request.sources[0]
    others = request.sources[1:]
    members, scores = first.pairs()
    result: dict[bytes, float] = {}
    i: i64 = 0
    while i < len(members):
        result[members[i]] = scores[i]
        i += 1
    if first.size * len(request.sources) // 2 > sum([source.size for source in request.sources]):
        for source in others:  # few members are to be taken out: cheaper than asking each source for each member
            for member in source.pairs()[0]:
                result.pop(member, NO_SCORE)
        return result
    for member in members:
        for source in others:
            score = source.get(member)
            if score == score:
                del result[member]
                break
    return result


def _run(request: Request, operation: i64) -> dict[bytes, float]:
    if operation == UNION:
        return _union(request)
    if operation == INTER:
        return _inter(request)
    return _diff(request)


def _answer(e: Engine, s: Session, args: list[bytes], operation: i64) -> None:
    request = Request(e, s, args, 1, operation, False, False)
    members: list[bytes] = []
    scores: list[float] = []
    for score, member in sorted([(score, member) for member, score in _run(request, operation).items()]):
        members.append(member)
        scores.append(score)
    if request.with_scores:
        write_pairs(s, members, scores)
    else:
        s.reply.bulks(members)


def _store(e: Engine, s: Session, args: list[bytes], operation: i64, event: bytes) -> None:
    request = Request(e, s, args, 2, operation, True, False)
    result = from_scores(_run(request, operation))
    replace(e, s, key_slot(args[1]), args[1], result, event)


def zunion(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZUNION numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]."""
    _answer(e, s, args, UNION)


def zinter(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZINTER numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]."""
    _answer(e, s, args, INTER)


def zdiff(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZDIFF numkeys key [key ...] [WITHSCORES]."""
    _answer(e, s, args, DIFF)


def zintercard(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZINTERCARD numkeys key [key ...] [LIMIT limit]."""
    request = Request(e, s, args, 1, INTER, False, True)
    s.reply.integer(len(_inter(request)))


def zunionstore(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM|MIN|MAX]."""
    _store(e, s, args, UNION, b"zunionstore")


def zinterstore(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM|MIN|MAX]."""
    _store(e, s, args, INTER, b"zinterstore")


def zdiffstore(e: Engine, s: Session, args: list[bytes]) -> None:
    """ZDIFFSTORE destination numkeys key [key ...]."""
    _store(e, s, args, DIFF, b"zdiffstore")


HANDLERS: dict[bytes, Handler] = {
    b"zunion": zunion,
    b"zinter": zinter,
    b"zdiff": zdiff,
    b"zintercard": zintercard,
    b"zunionstore": zunionstore,
    b"zinterstore": zinterstore,
    b"zdiffstore": zdiffstore,
}
