"""What the geo commands share: places and units in arguments, and how places and distances are answered."""

from typing import Final

from mypy_extensions import i64

from node.errors import NOT_A_FLOAT, CommandError
from node.numbers import NotANumber, parse_double
from node.session import Session
from node.types.geohash import LAT_MAX, LON_MAX, Point

_UNITS: Final[dict[bytes, float]] = {b"m": 1.0, b"km": 1000.0, b"ft": 0.3048, b"mi": 1609.34}


def number(arg: bytes, refusal: bytes) -> float:
    """A float argument; raises CommandError with the text."""
    try:
        return parse_double(arg)
    except NotANumber:
        raise CommandError(refusal) from None


def coordinates(args: list[bytes], at: i64) -> Point:
    """Longitude and latitude; raises CommandError."""
    lon = number(args[at], NOT_A_FLOAT)
    lat = number(args[at + 1], NOT_A_FLOAT)
    if not (-LON_MAX <= lon <= LON_MAX and -LAT_MAX <= lat <= LAT_MAX):
        raise CommandError(f"ERR invalid longitude,latitude pair {lon:f},{lat:f}".encode())
    return Point(lon, lat)


def unit_of(arg: bytes) -> float:
    """The meters of a unit; raises CommandError."""
    unit = _UNITS.get(arg.lower())
    if unit is None:
        raise CommandError(b"ERR unsupported unit provided. please use M, KM, FT, MI")
    return unit


def distance_text(distance: float) -> bytes:
    """A distance with four decimals."""
    scaled = round(distance * 10000.0)
    return f"{scaled // 10000}.{scaled % 10000:04d}".encode()


def _degrees(value: float) -> bytes:
    """A coordinate with up to 17 decimals, as long doubles are printed for people."""
    text = f"{value:.17f}".rstrip("0").rstrip(".")
    return b"0" if text == "-0" else text.encode()


def write_place(s: Session, place: Point) -> None:
    """Longitude and latitude."""
    s.reply.array(2)
    s.reply.double(_degrees(place.lon))
    s.reply.double(_degrees(place.lat))
