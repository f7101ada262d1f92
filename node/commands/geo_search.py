"""Searches in geospatial indexes: GEOSEARCH, GEORADIUS and their relatives, answered or stored."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from cluster.slots import key_slot
from node.commands.geo_common import coordinates, distance_text, number, unit_of, write_place
from node.commands.reading import integer, shown
from node.commands.zset_common import zset_to_read_at
from node.engine import NOTIFY_GENERIC, NOTIFY_NEW, NOTIFY_ZSET, Engine, Handler
from node.errors import SYNTAX, CommandError
from node.numbers import is_int, to_int
from node.session import Session
from node.types import geohash
from node.types.geohash import BOX, CIRCLE, POLYGON, Point, Shape
from node.types.zset import ZSet, from_scores

_RADIUS: Final = 0  # GEORADIUS
_MEMBER: Final = 1  # GEORADIUSBYMEMBER
_SEARCH: Final = 2  # GEOSEARCH
_STORE: Final = 3  # GEOSEARCHSTORE

_UNSORTED: Final = 0
_NEAREST: Final = 1
_FARTHEST: Final = 2

_FEW: Final = 8  # members for each one that is wanted


@final
@mypyc_attr(acyclic=True)
class Found:
    """A member in the shape."""

    rank: i64
    member: bytes  # empty until it is looked up by its rank
    score: float
    away: float  # meters from the centre

    def __init__(self, rank: i64, member: bytes, score: float, away: float) -> None:
        self.rank = rank
        self.member = member
        self.score = score
        self.away = away


def _nearness(found: Found) -> float:
    return found.away


@final
@mypyc_attr(acyclic=True)
class Request:
    """The arguments of a search."""

    command: i64
    stores: bool  # STORE and STOREDIST may be given
    shape: Shape
    values: ZSet | None
    from_member: bool
    from_place: bool
    by_radius: bool
    by_box: bool
    by_polygon: bool
    with_dist: bool
    with_hash: bool
    with_place: bool
    order: i64
    count: i64
    any: bool
    target: bytes | None
    store_dist: bool

    def __init__(self, e: Engine, s: Session, args: list[bytes], command: i64, stores: bool) -> None:
        self.command = command
        self.stores = stores
        self.shape = Shape()
        self.from_member = False
        self.from_place = False
        self.by_radius = False
        self.by_box = False
        self.by_polygon = False
        self.with_dist = False
        self.with_hash = False
        self.with_place = False
        self.order = _UNSORTED
        self.count = 0
        self.any = False
        self.target = args[1] if command == _STORE else None
        self.store_dist = False
        source = args[2] if command == _STORE else args[1]
        self.values = zset_to_read_at(e, s, key_slot(source), source)
        i = self._take_place(args)
        while i < len(args):
            i = self._take_option(args, i)
        self._check(args)

    def _take_place(self, args: list[bytes]) -> i64:
        """Read the centre and the radius of the older commands; where the options begin."""
        if self.command == _SEARCH:
            return 2
        if self.command == _STORE:
            return 3
        if self.command == _RADIUS:
            self._centre(coordinates(args, 2))
            self._take_radius(args, 4)
            return 6
        if self.values is not None:
            self._centre_on(self.values, args[2])
            self._take_radius(args, 3)
        return 5

    def _centre(self, place: Point) -> None:
        self.shape.lon = place.lon
        self.shape.lat = place.lat

    def _centre_on(self, values: ZSet, member: bytes) -> None:
        score = values.get(member)
        if score != score:
            raise CommandError(b"ERR member %b does not exist" % shown(member))
        self._centre(geohash.place_of(score))

    def _take_radius(self, args: list[bytes], at: i64) -> None:
        radius = number(args[at], b"ERR need numeric radius")
        if radius < 0.0:
            raise CommandError(b"ERR radius cannot be negative")
        self.shape.kind = CIRCLE
        self.shape.radius = radius
        self.shape.unit = unit_of(args[at + 1])

    def _take_box(self, args: list[bytes], at: i64) -> None:
        width = number(args[at], b"ERR need numeric width")
        height = number(args[at + 1], b"ERR need numeric height")
        if height < 0.0 or width < 0.0:
            raise CommandError(b"ERR height or width cannot be negative")
        self.shape.kind = BOX
        self.shape.width = width
        self.shape.height = height
        self.shape.unit = unit_of(args[at + 2])

    def _take_polygon(self, args: list[bytes], at: i64) -> i64:
        """Read the vertices; returns the place behind them."""
        if not is_int(args[at]) or not -2147483648 <= to_int(args[at]) <= 2147483647:
            raise CommandError(b"ERR invalid number of vertices")
        vertices = to_int(args[at])
        if vertices < 3:
            raise CommandError(b"ERR GEOSEARCH BYPOLYGON must have at least 3 vertices")
        at += 1
        if vertices > (len(args) - at) // 2:
            raise CommandError(b"ERR GEOSEARCH BYPOLYGON must have at least 3 vertices")
        self.shape.kind = POLYGON
        self.shape.lons = []
        self.shape.lats = []
        while vertices > 0:
            place = coordinates(args, at)
            self.shape.lons.append(place.lon)
            self.shape.lats.append(place.lat)
            vertices -= 1
            at += 2
        self.shape.centre_polygon()
        return at

    def _take_option(self, args: list[bytes], i: i64) -> i64:
        """Read one option; returns the place behind it."""
        word = args[i].lower()
        left: i64 = len(args) - i - 1
        if word == b"withdist":
            self.with_dist = True
        elif word == b"withhash":
            self.with_hash = True
        elif word == b"withcoord":
            self.with_place = True
        elif word == b"any":
            self.any = True
        elif word == b"asc":
            self.order = _NEAREST
        elif word == b"desc":
            self.order = _FARTHEST
        elif word == b"count" and left >= 1:
            self.count = integer(args[i + 1])
            if self.count <= 0:
                raise CommandError(b"ERR COUNT must be > 0")
            return i + 2
        elif self.stores and left >= 1 and (word == b"store" or word == b"storedist"):
            self.target = args[i + 1]
            self.store_dist = word == b"storedist"
            return i + 2
        elif self.command >= _SEARCH:
            return self._take_search_option(args, i, word, left)
        else:
            raise CommandError(SYNTAX)
        return i + 1

    def _take_search_option(self, args: list[bytes], i: i64, word: bytes, left: i64) -> i64:
        if word == b"frommember" and left >= 1 and not self.from_place and not self.by_polygon:
            if self.values is not None:
                self._centre_on(self.values, args[i + 1])
            self.from_member = True
            return i + 2
        if word == b"fromlonlat" and left >= 2 and not self.from_member and not self.by_polygon:
            self._centre(coordinates(args, i + 1))
            self.from_place = True
            return i + 3
        if word == b"byradius" and left >= 2 and not self.by_box and not self.by_polygon:
            self._take_radius(args, i + 1)
            self.by_radius = True
            return i + 3
        if word == b"bybox" and left >= 3 and not self.by_radius and not self.by_polygon:
            self._take_box(args, i + 1)
            self.by_box = True
            return i + 4
        if word == b"bypolygon" and left >= 1 and not (
            self.by_radius or self.by_box or self.from_member or self.from_place
        ):
            self.by_polygon = True
            return self._take_polygon(args, i + 1)
        if word == b"storedist" and self.command == _STORE:
            self.store_dist = True
            return i + 1
        raise CommandError(SYNTAX)

    def _check(self, args: list[bytes]) -> None:
        """Refuse what contradicts itself or is missing."""
        if self.target is not None and (self.with_dist or self.with_hash or self.with_place):
            who = b"GEOSEARCHSTORE" if self.command == _STORE else b"STORE option in GEORADIUS"
            raise CommandError(b"ERR %b is not compatible with WITHDIST, WITHHASH and WITHCOORD options" % who)
        if self.command >= _SEARCH and not self.by_polygon:
            if not self.from_member and not self.from_place:
                raise CommandError(
                    b"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for %b" % shown(args[0])
                )
            if not self.by_radius and not self.by_box:
                raise CommandError(
                    b"ERR exactly one of BYRADIUS, BYBOX and BYPOLYGON can be specified for %b" % shown(args[0])
                )
        if self.any and self.count == 0:
            raise CommandError(b"ERR the ANY argument requires COUNT argument")
        if self.count > 0 and self.order == _UNSORTED and not self.any:
            self.order = _NEAREST


def _collect(values: ZSet, request: Request, named: bool) -> list[Found]:
    """The members in the shape, box by box, with or without their names; with ANY no more than COUNT of them."""
    limit: i64 = request.count if request.any else 0
    shape = request.shape
    found: list[Found] = []
    for low, high in geohash.boxes(shape):
        if limit and len(found) >= limit:
            break
        rank = values.below(float(low), False)
        stop = values.below(float(high), False)
        while rank < stop and not (limit and len(found) >= limit):
            end: i64 = rank + 1000
            if end > stop:
                end = stop
            members: list[bytes] | None = [] if named else None
            scores: list[float] = []
            values.collect(rank, end, members, scores)
            _keep(shape, rank, members, scores, limit, found)
            rank = end
    return found


def _keep(
    shape: Shape, rank: i64, members: list[bytes] | None, scores: list[float], limit: i64, found: list[Found]
) -> None:
    i: i64 = 0
    while i < len(scores):
        score = scores[i]
        away = shape.distance_to(score)
        if away >= 0.0:
            found.append(Found(rank + i, b"" if members is None else members[i], score, away))
            if limit and len(found) >= limit:
                return
        i += 1


def _ranked(request: Request) -> list[Found]:
    values = request.values
    if values is None:
        return []
    # Where few of many are wanted, it takes less to look up their names at the end than to make all.
    named = request.count == 0 or values.count < _FEW * request.count
    found = _collect(values, request, named)
    if request.order != _UNSORTED:
        found.sort(key=_nearness, reverse=request.order == _FARTHEST)
    if request.count > 0:
        del found[request.count :]
    if not named:
        for one in found:
            one.member = values.members(one.rank, one.rank + 1)[0]
    return found


def _answer(s: Session, request: Request, found: list[Found]) -> None:
    reply = s.reply
    reply.array(len(found))
    options: i64 = 0
    for wanted in (request.with_dist, request.with_hash, request.with_place):
        if wanted:
            options += 1
    for one in found:
        if options:
            reply.array(options + 1)
        reply.bulk(one.member)
        if request.with_dist:
            reply.bulk(distance_text(one.away / request.shape.unit))
        if request.with_hash:
            reply.integer(geohash.hash_of_score(one.score))
        if request.with_place:
            write_place(s, geohash.place_of(one.score))


def _store(e: Engine, s: Session, request: Request, target: bytes, found: list[Found]) -> None:
    slot = key_slot(target)
    existed = s.store.discard(slot, target)
    if found:
        scores: dict[bytes, float] = {}
        for one in found:
            scores[one.member] = one.away / request.shape.unit if request.store_dist else one.score
        s.store.put(slot, target, from_scores(scores))
        if not existed:
            e.notify(NOTIFY_NEW, b"new", target, s.dbid)
        if e.blocking.count > 0:
            e.blocking.signal(s.dbid, target)
        event = b"geosearchstore" if request.command >= _SEARCH else b"georadiusstore"
        e.changed(s, target, NOTIFY_ZSET, event, len(found))
    elif existed:
        e.changed(s, target, NOTIFY_GENERIC, b"del")
    s.reply.integer(len(found))


def _run(e: Engine, s: Session, args: list[bytes], command: i64, stores: bool) -> None:
    request = Request(e, s, args, command, stores)
    found = _ranked(request)
    if request.target is None:
        _answer(s, request, found)
    else:
        _store(e, s, request, request.target, found)


def georadius(e: Engine, s: Session, args: list[bytes]) -> None:
    """GEORADIUS key longitude latitude radius unit [options] [STORE key | STOREDIST key]."""
    _run(e, s, args, _RADIUS, True)


def georadius_ro(e: Engine, s: Session, args: list[bytes]) -> None:
    """GEORADIUS_RO key longitude latitude radius unit [options]."""
    _run(e, s, args, _RADIUS, False)


def georadiusbymember(e: Engine, s: Session, args: list[bytes]) -> None:
    """GEORADIUSBYMEMBER key member radius unit [options] [STORE key | STOREDIST key]."""
    _run(e, s, args, _MEMBER, True)


def georadiusbymember_ro(e: Engine, s: Session, args: list[bytes]) -> None:
    """GEORADIUSBYMEMBER_RO key member radius unit [options]."""
    _run(e, s, args, _MEMBER, False)


def geosearch(e: Engine, s: Session, args: list[bytes]) -> None:
    """GEOSEARCH key FROMMEMBER m | FROMLONLAT lon lat, BYRADIUS r unit | BYBOX w h unit | BYPOLYGON n ..., options."""
    _run(e, s, args, _SEARCH, False)


def geosearchstore(e: Engine, s: Session, args: list[bytes]) -> None:
    """GEOSEARCHSTORE destination source, as GEOSEARCH, [STOREDIST]."""
    _run(e, s, args, _STORE, False)


HANDLERS: dict[bytes, Handler] = {
    b"georadius": georadius,
    b"georadius_ro": georadius_ro,
    b"georadiusbymember": georadiusbymember,
    b"georadiusbymember_ro": georadiusbymember_ro,
    b"geosearch": geosearch,
    b"geosearchstore": geosearchstore,
}
