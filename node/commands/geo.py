"""Geospatial indexes: sorted sets whose scores are geohashes. Searches are in geo_search."""

from math import inf
from typing import Final

from mypy_extensions import i64

from node.commands import geo_search, zsets
from node.commands.geo_common import coordinates, distance_text, unit_of, write_place
from node.commands.zset_common import zset_to_read
from node.engine import Engine, Handler
from node.errors import SYNTAX, CommandError
from node.numbers import format_int
from node.session import Session
from node.types import geohash

_OPTIONS: Final = (b"nx", b"xx", b"ch")


def geoadd(e: Engine, s: Session, args: list[bytes]) -> None:
    """GEOADD key [NX|XX] [CH] longitude latitude member [...]: a ZADD, and propagated as one."""
    first: i64 = 2
    seen: list[bytes] = []
    while first < len(args) and args[first].lower() in _OPTIONS:
        seen.append(args[first].lower())
        first += 1
    if (len(args) - first) % 3 or (b"nx" in seen and b"xx" in seen):
        raise CommandError(SYNTAX)
    command = [b"ZADD", *args[1:first]]
    i: i64 = first
    while i < len(args):
        place = coordinates(args, i)
        command.append(format_int(geohash.encode(place.lon, place.lat)))
        command.append(args[i + 2])
        i += 3
    before = e.dirty
    zsets.zadd(e, s, command)
    if e.dirty != before:
        e.replace_with(command)


def geodist(e: Engine, s: Session, args: list[bytes]) -> None:
    """GEODIST key member1 member2 [M|KM|FT|MI]."""
    unit = 1.0
    if len(args) == 5:
        unit = unit_of(args[4])
    elif len(args) > 5:
        raise CommandError(SYNTAX)
    values = zset_to_read(e, s, args[1])
    if values is None:
        s.reply.null()
        return
    one, other = values.get(args[2]), values.get(args[3])
    if one != one or other != other:
        s.reply.null()
        return
    a, b = geohash.place_of(one), geohash.place_of(other)
    s.reply.bulk(distance_text(geohash.distance(a.lon, a.lat, b.lon, b.lat) / unit))


def geohash_command(e: Engine, s: Session, args: list[bytes]) -> None:
    """GEOHASH key [member ...]."""
    values = zset_to_read(e, s, args[1])
    s.reply.array(len(args) - 2)
    for member in args[2:]:
        score = inf - inf if values is None else values.get(member)
        if score != score:
            s.reply.null()
        else:
            s.reply.bulk(geohash.text_of(geohash.place_of(score)))


def geopos(e: Engine, s: Session, args: list[bytes]) -> None:
    """GEOPOS key [member ...]."""
    values = zset_to_read(e, s, args[1])
    s.reply.array(len(args) - 2)
    for member in args[2:]:
        score = inf - inf if values is None else values.get(member)
        if score != score:
            s.reply.null_array()
        else:
            write_place(s, geohash.place_of(score))


HANDLERS: dict[bytes, Handler] = {
    b"geoadd": geoadd,
    b"geodist": geodist,
    b"geohash": geohash_command,
    b"geopos": geopos,
    **geo_search.HANDLERS,
}
