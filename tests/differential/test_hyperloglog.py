"""HyperLogLog against genuine Valkey: replies, and every byte of the values."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.differential.keyspace_lines import Command, compare
from tests.differential.twins import Twins, read_reply, start_twins

KEYS = [b"h1", b"h2", b"h3", b"list", b"bad"]
SPARSE = b"HYLL\x01" + bytes(10) + b"\x80"  # a header whose estimate is out of date
BAD = [
    b"HYLL", b"HYLX\x01" + bytes(40), b"HYLL\x02" + bytes(20), b"HYLL\x00" + bytes(11) + b"x" * 12287,
    b"HYLL\x00" + bytes(11) + b"x" * 12288, b"HYLL\x01" + bytes(11), b"HYLL\x01" + bytes(11) + b"\x7f",
    SPARSE, SPARSE + b"\x7f", SPARSE + b"\x7f\xfe", SPARSE + b"\xff\x7f\xff", SPARSE + b"\xff\x7f\xff\x7f\xff",
    SPARSE + bytes(300), SPARSE + b"\x7f\xf0\x0e", SPARSE + b"\xff\x7f\xfb",
]  # fmt: skip
# Not among them: a run cut in its middle, whose rest Valkey reads behind the value when it adds to it.
WHOLE = [value for value in BAD if not value.endswith(b"\x7f")]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair with keyspace events on."""
    with start_twins(tmp_path_factory.mktemp("hll"), "--notify-keyspace-events", "KEg$n") as twins:
        yield twins
        twins.hang_up()


def _elements(r: Random, number: int) -> Command:
    return [b"%d" % r.randrange(100_000) if r.random() < 0.9 else r.randbytes(r.randrange(40)) for _ in range(number)]


def _command(r: Random) -> Command:
    key = r.choice(KEYS[:3] if r.random() < 0.85 else KEYS)
    match r.randrange(16):
        case 0 | 1 | 2 | 3 | 4:
            # A damaged value takes what comes before the damage in Valkey, and nothing here: one element each.
            return [b"pfadd", key, *_elements(r, 1 if key == b"bad" else r.choice([0, 1, 1, 2, 10, 100, 400]))]
        case 5:
            return [b"pfcount", key]
        case 6:
            return [b"pfcount", *[r.choice(KEYS) for _ in range(r.randint(1, 4))]]
        case 7:
            return [b"pfmerge", *[r.choice(KEYS) for _ in range(r.randint(1, 3))]]
        case 8 | 9:
            return [b"pfdebug", r.choice([b"decode", b"decode", b"encoding", b"TODENSE", b"getreg", b"foo"]), key]
        case 10:
            return r.choice([[b"del", key], [b"set", b"bad", r.choice(WHOLE)], [b"lpush", b"list", b"1"]])
        case 11:
            return [
                b"config",
                b"set",
                b"hll-sparse-max-bytes",
                r.choice([b"3000", b"3000", b"100", b"20", b"9000", b"0"]),
            ]
        case 12:
            return [b"object", b"encoding", key]
    return [b"get", key]


@pytest.mark.parametrize(("seed", "protocol"), [(1, 2), (2, 3), (3, 3)])
def test_commands(servers: Twins, seed: int, protocol: int) -> None:
    """Commands with good and bad arguments on good, dense, sparse and damaged values: equal replies, equal bytes."""
    r = Random(seed)
    compare(servers.client(protocol), [[b"FLUSHALL"], *[_command(r) for _ in range(700)], *[[b"get", k] for k in KEYS]])


def test_growth_from_sparse_to_dense(servers: Twins) -> None:
    """The value is the same after each of the steps that fill it, and the estimate with it."""
    r = Random(4)
    steps: list[Command] = [[b"FLUSHALL"], [b"config", b"set", b"hll-sparse-max-bytes", b"3000"]]
    for _ in range(60):
        steps += [[b"pfadd", b"h", *_elements(r, 60)], [b"get", b"h"], [b"pfcount", b"h"], [b"get", b"h"]]
    compare(servers.client(), steps)


def test_damaged_values_are_refused(servers: Twins) -> None:
    """Every command answers each damaged value as Valkey does."""
    steps: list[Command] = []
    for value in WHOLE:
        for command in (
            [b"pfadd", b"bad", b"x"], [b"pfadd", b"bad"], [b"pfcount", b"bad"], [b"pfcount", b"bad", b"h"],
            [b"pfmerge", b"new", b"bad"], [b"pfmerge", b"bad", b"h"], [b"pfdebug", b"todense", b"bad"],
            [b"pfdebug", b"getreg", b"bad"],
        ):  # fmt: skip
            steps += [[b"FLUSHALL"], [b"pfadd", b"h", b"a"], [b"set", b"bad", value], command, [b"exists", b"new"]]
    compare(servers.client(), steps)


def test_keyspace_events(servers: Twins) -> None:
    """A subscriber to all events hears the same from both."""
    worker, listener = servers.client(), servers.client()
    worker.both("FLUSHALL")
    listener.both(b"psubscribe", b"__key*__:*")
    lines = [
        "pfadd a",
        "pfadd a",
        "pfadd a x",
        "pfadd a x",
        "pfcount a",
        "pfmerge b a",
        "pfmerge b",
        "pfdebug todense a",
    ]
    for line in [*lines, "publish __key*__: end"]:
        worker.both(*line.split(" "))
    heard: list[list[bytes]] = []
    for ear in (listener.oracle, listener.node):
        events: list[bytes] = []
        while not (message := read_reply(ear.file)).endswith(b"\r\nend\r\n"):
            events.append(message)
        heard.append(events)

    assert heard[0] == heard[1]


def test_self_test(servers: Twins) -> None:
    """PFSELFTEST passes."""
    servers.client().same("pfselftest")
