"""Geohashes: places as 52-bit numbers that sort by neighbourhood, and the search of shapes by boxes of them.

A hash of `step` bits a coordinate halves the ranges of latitude and longitude so many times; the bits are interleaved,
latitude in the even ones. Latitudes end at 85.05112878 degrees, as in Web Mercator. A search looks at the box around
the centre and its eight neighbours, of a step at which they cover the shape. Distances are haversine on a sphere of
6372797.560856 m. All of it in the order and to the digit that Valkey's GEO commands have.
"""

from math import asin, atan2, cos, fabs, pi, sin, sqrt
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

LON_MAX: Final = 180.0
LAT_MAX: Final = 85.05112878
EARTH_RADIUS: Final = 6372797.560856  # meters
_MERCATOR_MAX: Final = 20037726.37  # meters, half of the equator in Web Mercator
_RADIAN: Final = pi / 180.0
STEPS: Final = 26
_CELL: Final = 1.0 / 67108864.0  # 2**-STEPS: exact, and so is a product with it
_DEGREE: Final = EARTH_RADIUS * _RADIAN  # meters along a meridian
_INF: Final = float("inf")
_MARGIN: Final = 1.000001  # far more than rounding can make of a distance
_EVEN: Final = i64(0x5555555555555555)  # the even bits; compiled, a literal from 2**62 on would be slow
_ALPHABET: Final = b"0123456789bcdefghjkmnpqrstuvwxyz"

CIRCLE: Final = 0
BOX: Final = 1
POLYGON: Final = 2


# --- hashes
def _spread(value: i64) -> i64:
    """The 32 bits of a number in the even bits of 64; the highest stays away from the sign."""
    value &= 0x7FFFFFFF
    value = (value | (value << 16)) & 0x0000FFFF0000FFFF
    value = (value | (value << 8)) & 0x00FF00FF00FF00FF
    value = (value | (value << 4)) & 0x0F0F0F0F0F0F0F0F
    value = (value | (value << 2)) & 0x3333333333333333
    return (value | (value << 1)) & _EVEN


def _gather(value: i64) -> i64:
    """The even bits of a number side by side."""
    value &= _EVEN
    value = (value | (value >> 1)) & 0x3333333333333333
    value = (value | (value >> 2)) & 0x0F0F0F0F0F0F0F0F
    value = (value | (value >> 4)) & 0x00FF00FF00FF00FF
    value = (value | (value >> 8)) & 0x0000FFFF0000FFFF
    return (value | (value >> 16)) & 0x00000000FFFFFFFF


def _cell(value: float, low: float, high: float, step: i64) -> i64:
    """Which of 2**step parts of a range a value lies in; the upper end is behind the last."""
    return i64(int((value - low) / (high - low) * float(1 << step)))


def encode(lon: float, lat: float, step: i64 = STEPS) -> i64:
    """The hash of a place in range."""
    return _spread(_cell(lat, -LAT_MAX, LAT_MAX, step)) | (_spread(_cell(lon, -LON_MAX, LON_MAX, step)) << 1)


def hash_of_score(score: float) -> i64:
    """A score as the unsigned 64 bits that C makes of it, in a signed number."""
    if score < 9223372036854775808.0:
        if score < -9223372036854775808.0:
            return -9223372036854775808
        return i64(int(score))
    score -= 9223372036854775808.0
    if score >= 9223372036854775808.0:
        return 0
    return i64(int(score) - 9223372036854775808)


@final
@mypyc_attr(acyclic=True)
class Area:
    """The ranges of a hash in degrees."""

    lon_min: float
    lon_max: float
    lat_min: float
    lat_max: float

    def __init__(self, bits: i64, step: i64) -> None:
        cells = float(1 << step)
        lat = _gather(bits)
        lon = _gather(bits >> 1)
        self.lat_min = -LAT_MAX + (float(lat) * 1.0 / cells) * (LAT_MAX - -LAT_MAX)
        self.lat_max = -LAT_MAX + ((float(lat) + 1.0) / cells) * (LAT_MAX - -LAT_MAX)
        self.lon_min = -LON_MAX + (float(lon) * 1.0 / cells) * (LON_MAX - -LON_MAX)
        self.lon_max = -LON_MAX + ((float(lon) + 1.0) / cells) * (LON_MAX - -LON_MAX)


def _clamped(value: float, limit: float) -> float:
    if value > limit:
        return limit
    return -limit if value < -limit else value


@final
@mypyc_attr(acyclic=True)
class Point:
    """A place in degrees."""

    lon: float
    lat: float

    def __init__(self, lon: float, lat: float) -> None:
        self.lon = lon
        self.lat = lat


def _middle(cell: i64, limit: float) -> float:
    """The middle of a cell of the finest division of -limit to limit."""
    low = -limit + (float(cell) * _CELL) * (limit + limit)
    high = -limit + ((float(cell) + 1.0) * _CELL) * (limit + limit)
    return _clamped((low + high) / 2.0, limit)


def place_of(score: float) -> Point:
    """The middle of what a score covers."""
    bits = hash_of_score(score)
    return Point(_middle(_gather(bits >> 1), LON_MAX), _middle(_gather(bits), LAT_MAX))


def text_of(place: Point) -> bytes:
    """The geohash that others know: 11 letters, of latitudes to 90 degrees; the last would need more bits and is 0."""
    bits = _spread(_cell(place.lat, -90.0, 90.0, STEPS)) | (_spread(_cell(place.lon, -180.0, 180.0, STEPS)) << 1)
    letters: list[int] = []
    shift: i64 = 47
    while shift > 0:
        letters.append(_ALPHABET[(bits >> shift) & 31])
        shift -= 5
    letters.append(_ALPHABET[0])
    return bytes(letters)


# --- distances
def _lat_distance(lat1: float, lat2: float) -> float:
    return EARTH_RADIUS * fabs(lat2 * _RADIAN - lat1 * _RADIAN)


def distance(lon1: float, lat1: float, lon2: float, lat2: float, limit: float = _INF) -> float:
    """Meters between two places; infinite when it is cheap to see that they are farther apart than `limit`."""
    v = sin((lon2 * _RADIAN - lon1 * _RADIAN) / 2.0)
    if v == 0.0:
        return _lat_distance(lat1, lat2)
    lat1r = lat1 * _RADIAN
    lat2r = lat2 * _RADIAN
    u = sin((lat2r - lat1r) / 2.0)
    chord = sqrt(u * u + cos(lat1r) * cos(lat2r) * v * v)
    if 2.0 * EARTH_RADIUS * chord > limit * _MARGIN:  # an arc is longer than its chord
        return _INF
    return 2.0 * EARTH_RADIUS * asin(chord if chord < 1.0 else 1.0)


def _cosine(angle: float) -> float:
    """As in C: of an infinite angle no number, where Python would raise."""
    return _INF - _INF if fabs(angle) == _INF else cos(angle)


# --- shapes
@final
@mypyc_attr(acyclic=True)
class Shape:
    """What is searched: a circle, a box or a polygon. Lengths are in units of `unit` meters."""

    kind: i64
    lon: float  # the centre
    lat: float
    unit: float
    radius: float
    width: float
    height: float
    lons: list[float]  # the polygon's vertices
    lats: list[float]

    def __init__(self) -> None:
        self.kind = CIRCLE
        self.lon = 0.0
        self.lat = 0.0
        self.unit = 1.0
        self.radius = 0.0
        self.width = 0.0
        self.height = 0.0
        self.lons = []
        self.lats = []

    def centre_polygon(self) -> None:
        """Put the centre where the mean of the vertices' directions from the middle of the Earth points."""
        x = 0.0
        y = 0.0
        z = 0.0
        number: i64 = len(self.lons)
        i: i64 = 0
        while i < number:
            lon = self.lons[i] * _RADIAN
            lat = self.lats[i] * _RADIAN
            x += cos(lat) * cos(lon)
            y += cos(lat) * sin(lon)
            z += sin(lat)
            i += 1
        x /= float(number)
        y /= float(number)
        z /= float(number)
        self.lon = atan2(y, x) / _RADIAN
        self.lat = atan2(z, sqrt(x * x + y * y)) / _RADIAN

    def distance_to(self, score: float) -> float:
        """Meters from the centre to the place of a score in the shape, -1 for one outside."""
        bits = hash_of_score(score)
        lat = _middle(_gather(bits), LAT_MAX)
        if self.kind == CIRCLE:
            limit = self.radius * self.unit
            if fabs(lat - self.lat) * _DEGREE > limit * _MARGIN:
                return -1.0
            away = distance(self.lon, self.lat, _middle(_gather(bits >> 1), LON_MAX), lat, limit)
            return -1.0 if away > limit else away
        lon = _middle(_gather(bits >> 1), LON_MAX)
        if self.kind == BOX:
            if _lat_distance(lat, self.lat) > self.height * self.unit / 2.0:
                return -1.0
            if distance(lon, lat, self.lon, lat) > self.width * self.unit / 2.0:
                return -1.0
        elif not self._encloses(lon, lat):
            return -1.0
        return distance(self.lon, self.lat, lon, lat)

    def _encloses(self, lon: float, lat: float) -> bool:
        """Whether a ray from the place crosses the polygon's sides an odd number of times."""
        inside = False
        number: i64 = len(self.lons)
        j: i64 = number - 1
        i: i64 = 0
        while i < number:
            here = self.lats[i]
            other = self.lats[j]
            if (here > lat) != (other > lat) and lon < (self.lons[j] - self.lons[i]) * (lat - here) / (
                other - here
            ) + self.lons[i]:
                inside = not inside
            j = i
            i += 1
        return inside


@final
@mypyc_attr(acyclic=True)
class Bounds:
    """The rectangle in degrees that a shape fits into."""

    west: float
    south: float
    east: float
    north: float
    reach: float  # meters from the centre that are covered at least

    def __init__(self, shape: Shape) -> None:
        if shape.kind == POLYGON:
            self._of_polygon(shape)
            return
        height = shape.unit * (shape.radius if shape.kind == CIRCLE else shape.height / 2.0)
        width = shape.unit * (shape.radius if shape.kind == CIRCLE else shape.width / 2.0)
        lat_delta = height / EARTH_RADIUS / _RADIAN
        top = width / EARTH_RADIUS / _cosine((shape.lat + lat_delta) * _RADIAN) / _RADIAN
        bottom = width / EARTH_RADIUS / _cosine((shape.lat - lat_delta) * _RADIAN) / _RADIAN
        side = bottom if shape.lat < 0.0 else top
        self.west = shape.lon - side
        self.east = shape.lon + side
        self.south = shape.lat - lat_delta
        self.north = shape.lat + lat_delta
        self.reach = (
            shape.radius
            if shape.kind == CIRCLE
            else sqrt((shape.width / 2.0) * (shape.width / 2.0) + (shape.height / 2.0) * (shape.height / 2.0))
        ) * shape.unit

    def _of_polygon(self, shape: Shape) -> None:
        self.west = min(shape.lons)
        self.east = max(shape.lons)
        self.south = min(shape.lats)
        self.north = max(shape.lats)
        self.reach = 0.0
        for lon in (self.west, self.east):
            for lat in (self.south, self.north):
                away = distance(shape.lon, shape.lat, lon, lat)
                if away > self.reach:
                    self.reach = away


def _estimate_step(reach: float, lat: float) -> i64:
    """The step at which a box and its neighbours cover so many meters, wider towards the poles."""
    if reach == 0.0:
        return STEPS
    step: i64 = 1
    while reach < _MERCATOR_MAX:
        reach *= 2.0
        step += 1
    step -= 2
    if lat > 66.0 or lat < -66.0:
        step -= 1
        if lat > 80.0 or lat < -80.0:
            step -= 1
    if step < 1:
        return 1
    return STEPS if step > STEPS else step


def _neighbour(bits: i64, step: i64, east: i64, north: i64) -> i64:
    """The box so many boxes to the east and north, around the world."""
    mask: i64 = (1 << step) - 1
    row: i64 = _gather(bits)
    column: i64 = _gather(bits >> 1)
    if north != 0:  # a place at the very end of a range is in a box of its own behind the last: it stays there
        row = (row + north) & mask
    if east != 0:
        column = (column + east) & mask
    return _spread(row) | (_spread(column) << 1)


# The centre, then the neighbours as they are searched: (east, north).
_EAST: Final[list[int]] = [0, 0, 0, 1, -1, 1, -1, 1, -1]
_NORTH: Final[list[int]] = [0, 1, -1, 0, 0, 1, 1, -1, -1]


def _covers(bits: i64, step: i64, bounds: Bounds) -> bool:
    """Whether the box and its neighbours reach the bounds on every side."""
    return not (
        Area(_neighbour(bits, step, 0, 1), step).lat_max < bounds.north
        or Area(_neighbour(bits, step, 0, -1), step).lat_min > bounds.south
        or Area(_neighbour(bits, step, 1, 0), step).lon_max < bounds.east
        or Area(_neighbour(bits, step, -1, 0), step).lon_min > bounds.west
    )


def boxes(shape: Shape) -> list[tuple[int, int]]:
    """The ranges of hashes to search, lowest and first beyond, in the order in which Valkey searches them."""
    bounds = Bounds(shape)
    step = _estimate_step(bounds.reach, shape.lat)
    centre = encode(shape.lon, shape.lat, step)
    if step > 1 and not _covers(centre, step, bounds):
        step -= 1
        centre = encode(shape.lon, shape.lat, step)
    area = Area(centre, step)
    shift: i64 = 52 - step * 2
    found: list[tuple[int, int]] = []
    last: i64 = -1
    i: i64 = 0
    while i < 9:
        east: i64 = _EAST[i]
        north: i64 = _NORTH[i]
        useless = step >= 2 and (
            (north < 0 and area.lat_min < bounds.south)
            or (north > 0 and area.lat_max > bounds.north)
            or (east < 0 and area.lon_min < bounds.west)
            or (east > 0 and area.lon_max > bounds.east)
        )
        bits = centre if i == 0 else _neighbour(centre, step, east, north)
        if not useless and bits != last:
            found.append((int(bits << shift), int((bits + 1) << shift)))
            if i > 0:  # as in Valkey, the centre alone does not count as searched before
                last = bits
        i += 1
    return found
