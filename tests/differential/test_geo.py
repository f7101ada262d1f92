"""Geospatial commands against genuine Valkey: replies in their order and to the last digit, stored results, events."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.differential.keyspace_lines import Command, compare
from tests.differential.twins import Twins, read_reply, start_twins


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair with keyspace events on."""
    with start_twins(tmp_path_factory.mktemp("geo"), "--notify-keyspace-events", "KEgzn") as twins:
        yield twins
        twins.hang_up()


def _place(r: Random) -> Command:
    """A place anywhere, or near 10 E 45 N; seldom one at an edge or none at all."""
    if r.random() < 0.03:
        return [
            r.choice([b"180", b"-180", b"181", b"x", b"0"]),
            r.choice([b"85.05112878", b"-85.05112878", b"86", b"0"]),
        ]
    if r.random() < 0.4:
        return [b"%.6f" % r.uniform(-180, 180), b"%.6f" % r.uniform(-85, 85)]
    return [b"%.6f" % r.gauss(10, 2), b"%.6f" % r.gauss(45, 2)]


def _member(r: Random) -> bytes:
    return b"m%d" % r.randrange(60)


def _unit(r: Random) -> bytes:
    return r.choice([b"m", b"km", b"ft", b"mi", b"KM"]) if r.random() < 0.97 else b"parsec"


def _length(r: Random) -> bytes:
    if r.random() < 0.05:
        return r.choice([b"0", b"-1", b"x", b"inf", b"1e300"])
    return b"%.3f" % (10 ** r.uniform(0, 5))


def _options(r: Random, stores: bool) -> Command:
    made: list[Command] = [
        [w] for w in (b"WITHDIST", b"withhash", b"WITHCOORD") if r.random() < (0.02 if stores else 0.3)
    ]
    if r.random() < 0.4:
        made.append([r.choice([b"asc", b"DESC"])])
    if r.random() < 0.3:
        made.append([b"count", r.choice([b"1", b"3", b"5", b"20", b"20", b"0", b"x"])])
    if r.random() < 0.2:
        made.append([b"any"])
    r.shuffle(made)
    return [word for option in made for word in option]


def _radius(r: Random) -> Command:
    stores = r.random() < 0.2
    if r.random() < 0.5:
        made = [r.choice([b"georadius", b"georadius", b"georadius_ro"]), r.choice([b"g1", b"g2", b"none"]), *_place(r)]
    else:
        name = r.choice([b"georadiusbymember", b"georadiusbymember", b"georadiusbymember_ro"])
        made = [name, r.choice([b"g1", b"g2", b"none"]), _member(r)]
    made += [_length(r), _unit(r), *_options(r, stores)]
    return [*made, r.choice([b"store", b"STOREDIST"]), r.choice([b"dst", b"g2"])] if stores else made


def _search(r: Random) -> Command:
    stores = r.random() < 0.2
    centre = [b"frommember", _member(r)] if r.random() < 0.5 else [b"FROMLONLAT", *_place(r)]
    kind = r.random()
    if kind < 0.4:
        shape = [b"byradius", _length(r), _unit(r)]
    elif kind < 0.7:
        shape = [b"BYBOX", _length(r), _length(r), _unit(r)]
    else:
        corners = r.choice([3, 3, 4, 5, 8])
        told = corners if r.random() < 0.96 else r.choice([2, 0, corners + 1, corners - 1])
        shape = [b"BYPOLYGON", b"%d" % told, *[word for _ in range(corners) for word in _place(r)]]
        if r.random() < 0.97:
            centre = []
    parts = [centre, shape, _options(r, stores), [b"STOREDIST"] if stores and r.random() < 0.3 else []]
    if r.random() < 0.3:
        r.shuffle(parts)
    key = r.choice([b"g1", b"g2", b"g1", b"none"])
    return [
        *([b"geosearchstore", b"dst", key] if stores else [b"geosearch", key]),
        *[w for part in parts for w in part],
    ]


def _command(r: Random) -> Command:
    key = r.choice([b"g1", b"g2"]) if r.random() < 0.95 else b"none"
    match r.randrange(16):
        case 0 | 1 | 2:
            made = [b"geoadd", key, *r.choice([[], [], [], [b"NX"], [b"xx"], [b"CH"], [b"nx", b"xx"], [b"ch", b"nx"]])]
            for _ in range(r.choice([1, 1, 2, 5, 10])):
                made += [*_place(r), _member(r)]
            return made if r.random() < 0.98 else made[:-1]
        case 3:
            return [b"geodist", key, _member(r), _member(r), *r.choice([[], [_unit(r)], [_unit(r)], [b"m", b"x"]])]
        case 4:
            return [r.choice([b"geopos", b"geohash"]), key, *[_member(r) for _ in range(r.randrange(4))]]
        case 5 | 6 | 7 | 8:
            return _radius(r)
        case 14:
            return r.choice(
                [
                    [b"zrange", b"dst", b"0", b"-1", b"withscores"],
                    [b"del", b"g2"],
                    [b"lpush", b"none", b"1"],
                    [b"del", b"none"],
                ]
            )
        case 15:
            scores = [b"-5", b"1e17", b"inf", b"-inf", b"1.5", b"4503599627370496", b"1e19", b"-1e18"]
            return r.choice([[b"zadd", b"z", r.choice(scores), _member(r)], [b"geopos", b"z", _member(r), _member(r)]])
    return _search(r)


@pytest.mark.parametrize(("seed", "protocol"), [(1, 2), (2, 3), (3, 2)])
def test_commands(servers: Twins, seed: int, protocol: int) -> None:
    """Fifteen hundred commands with any good or bad arguments answer as Valkey does."""
    r = Random(seed)
    compare(servers.client(protocol), [[b"FLUSHALL"], *[_command(r) for _ in range(1500)]])


@pytest.mark.parametrize("seed", range(2))
def test_searches_among_many(servers: Twins, seed: int) -> None:
    """Searches of all sizes and shapes among thousands of places find the same, unsorted in the same order."""
    r = Random(seed)
    places = [
        w for i in range(4000) for w in (b"%.6f" % r.uniform(-180, 180), b"%.6f" % r.uniform(-85, 85), b"m%d" % i)
    ]
    steps: list[Command] = [[b"FLUSHALL"], [b"geoadd", b"g", *places]]
    for _ in range(80):
        lon, lat = b"%.4f" % r.uniform(-180, 180), b"%.4f" % r.uniform(-85, 85)
        across = [b"%.3f" % (10 ** r.uniform(1, 4.2)) for _ in range(2)]
        corners = [b"%.3f" % r.uniform(-90, 80) for _ in range(8)]
        steps += [
            [b"geosearch", b"g", b"fromlonlat", lon, lat, b"byradius", across[0], b"km", b"withdist"],
            [
                b"geosearch",
                b"g",
                b"fromlonlat",
                lon,
                lat,
                b"bybox",
                *across,
                b"km",
                b"withhash",
                b"count",
                b"5",
                b"any",
            ],
            [
                b"geosearch",
                b"g",
                b"bypolygon",
                b"4",
                *[c if i % 2 == 0 else b"%.3f" % (float(c) / 2) for i, c in enumerate(corners)],
            ],
        ]
    compare(servers.client(), steps)


def test_keyspace_events(servers: Twins) -> None:
    """A subscriber to all events hears the same from both."""
    worker, listener = servers.client(), servers.client()
    worker.both("FLUSHALL")
    listener.both(b"psubscribe", b"__key*__:*")
    lines = [
        "geoadd g 1 1 a 2 2 b", "geoadd g 1 1 a", "geoadd g xx ch 1 2 a", "georadius g 1 1 900 km store d",
        "geosearchstore d g fromlonlat 1 1 byradius 900 km", "geosearchstore d g fromlonlat 50 1 byradius 1 km",
        "geosearchstore d none fromlonlat 50 1 byradius 1 km", "georadiusbymember g a 1 km storedist d",
    ]  # fmt: skip
    for line in [*lines, "publish __key*__: end"]:
        worker.both(*line.split(" "))
    heard: list[list[bytes]] = []
    for ear in (listener.oracle, listener.node):
        events: list[bytes] = []
        while not (message := read_reply(ear.file)).endswith(b"\r\nend\r\n"):
            events.append(message)
        heard.append(events)

    assert heard[0] == heard[1]
