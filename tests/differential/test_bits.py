"""Bitmaps, bit fields and the late string commands against genuine Valkey: replies, values, events."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.differential.keyspace_lines import Command, compare
from tests.differential.twins import Twins, read_reply, start_twins

KEYS = [b"a", b"b", b"c", b"list", b"num"]
OFFSETS = [
    b"0", b"1", b"7", b"8", b"63", b"#1", b"#3", b"-1", b"4294967296", b"x", b"", b"#", b"#x", b"#-1", b"40000",
    b"9223372036854775807", b"#9223372036854775807",
]  # fmt: skip
BOUNDS = [b"0", b"1", b"-1", b"2", b"5", b"-3", b"-100", b"100", b"9223372036854775807", b"-9223372036854775808", b"x"]
BAD_TYPES = [b"u64", b"i65", b"u0", b"i0", b"x8", b"U8", b"i", b"u", b"", b"i08", b"i-1"]
NUMBERS = [b"0", b"1", b"-1", b"255", b"256", b"-128", b"9223372036854775807", b"-9223372036854775808", b"x"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair with keyspace events on."""
    with start_twins(tmp_path_factory.mktemp("bits"), "--notify-keyspace-events", "KEg$lshzxen") as twins:
        yield twins
        twins.hang_up()


def _offset(r: Random) -> bytes:
    if r.random() < 0.2:
        return r.choice(OFFSETS)
    return b"%d" % r.randrange(200) if r.random() < 0.8 else b"#%d" % r.randrange(20)


def _type(r: Random) -> bytes:
    if r.random() < 0.06:
        return r.choice(BAD_TYPES)
    return r.choice([b"u%d" % r.randint(1, 63), b"i%d" % r.randint(1, 64), b"u8", b"i64", b"u63"])


def _number(r: Random) -> bytes:
    return r.choice([*NUMBERS, b"%d" % r.randrange(-(2**63), 2**63), b"%d" % r.randrange(-300, 300)])


def _bounds(r: Random) -> Command:
    unit = r.choice([[], [], [b"BIT"], [b"byte"], [b"x"]])
    return [r.choice(BOUNDS) for _ in range(r.choice([0, 1, 2, 2, 2, 3]))] + unit


def _field_operation(r: Random, read: bool) -> Command:
    made: Command = []
    if r.random() < 0.3:
        made += [b"OVERFLOW", r.choice([b"wrap", b"SAT", b"fail", b"FAIL", b"sat", b"Wrap", b"foo"])]
    name = b"get" if read else r.choice([b"GET", b"set", b"incrby", b"incrby", b"set"])
    made += [name, _type(r), _offset(r)]
    return made if name.lower() == b"get" or r.random() < 0.03 else [*made, _number(r)]


def _bit_command(r: Random) -> Command:
    key = r.choice(KEYS)
    match r.randrange(12):
        case 0:
            return [b"setbit", key, _offset(r), r.choice([b"0", b"1", b"1", b"2", b"x", b"01"])]
        case 1:
            return [b"getbit", key, _offset(r)]
        case 2:
            return [b"bitcount", key, *_bounds(r)]
        case 3:
            return [b"bitpos", key, r.choice([b"0", b"1", b"0", b"1", b"2", b"x"]), *_bounds(r)]
        case 4:
            operation = r.choice([b"and", b"or", b"XOR", b"not", b"not", b"foo"])
            return [b"bitop", operation, *[r.choice(KEYS) for _ in range(r.choice([2, 2, 2, 3, 4]))]]
        case 5 | 6 | 7 | 8:
            read = r.random() < 0.15
            name = b"bitfield_ro" if read else b"bitfield"
            return [name, key, *[word for _ in range(r.choice([0, 1, 2, 4])) for word in _field_operation(r, read)]]
        case 9:
            random_bytes = r.randbytes(r.choice([0, 1, 5, 30]))
            return r.choice(
                [[b"set", key, random_bytes], [b"set", key, b"\xff" * r.randrange(12)], [b"del", key],
                 [b"set", b"num", b"10"], [b"lpush", b"list", b"x"]]
            )  # fmt: skip
        case 10:
            return [b"object", b"encoding", key]
    return [b"get", key]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_bit_commands(servers: Twins, seed: int, protocol: int) -> None:
    """Three thousand bit commands with any good or bad arguments answer as Valkey does, and leave the same values."""
    r = Random(seed * 10 + protocol)
    compare(
        servers.client(protocol), [[b"FLUSHALL"], *[_bit_command(r) for _ in range(3000)], *[[b"get", k] for k in KEYS]]
    )


def test_long_strings(servers: Twins) -> None:
    """Strings of many chunks are counted, searched, combined and patched as Valkey does."""
    r = Random(7)
    long, sparse = r.randbytes(200_003), bytes(150_000) + b"\x10" + bytes(9999)
    steps: list[Command] = [
        [b"FLUSHALL"], [b"set", b"a", long],
        [b"set", b"b", sparse], [b"set", b"c", b"\xff" * 140_001],
        [b"bitop", b"and", b"d", b"a", b"b"], [b"bitop", b"or", b"e", b"a", b"b", b"c"],
        [b"bitop", b"xor", b"f", b"a", b"c"], [b"bitop", b"not", b"g", b"a"], [b"setbit", b"a", b"1000001", b"1"],
        [b"bitfield", b"a", b"set", b"u63", b"800001", b"77"],
    ]  # fmt: skip
    for key in (b"a", b"b", b"c", b"d", b"e", b"f", b"g"):
        steps += [[b"bitcount", key], [b"bitcount", key, b"70000", b"-3"], [b"bitcount", key, b"5", b"1000003", b"bit"]]
        steps += [[b"bitpos", key, b"1"], [b"bitpos", key, b"0"], [b"bitpos", key, b"1", b"9000", b"-1", b"bit"]]
        steps += [[b"bitpos", key, b"0", b"3"], [b"get", key]]
    compare(servers.client(), steps)


CASES = [
    "set a 1|lcs a b|lcs a b LEN|lcs a b IDX|lcs a|lcs a b LEN IDX|lcs a b foo|lcs a b MINMATCHLEN|"
    "lcs a b MINMATCHLEN x",
    "set a ohmytext|set b mynewtext|lcs a b|lcs a b len|lcs a b idx|lcs a b IDX MINMATCHLEN 4|lcs b a idx withmatchlen",
    "set a ohmytext|set b mynewtext|lcs a b idx minmatchlen -5 withmatchlen|lcs a b minmatchlen 3|"
    "lcs a b len withmatchlen",
    "lpush l x|lcs a l|lcs l a|set a rnaxyzrna|set b rnarna|lcs a b idx withmatchlen|lcs b a idx|"
    "lcs a a idx|lcs a nokey idx",
    "msetex 2 a 1 b 2|msetex 2 a 1|msetex 0 a 1|msetex -1 a 1|msetex x a 1|msetex 2147483648 a 1|"
    "msetex 1 a 1 b 2|get b",
    "msetex 2 a 1 b 2 NX|msetex 2 a 3 c 2 NX|exists c|msetex 2 a 1 c 2 XX|msetex 2 a 5 b 6 xx ex 100|ttl a|get b|ttl b",
    "msetex 1 a 1 ex 100|msetex 1 a 2 keepttl|ttl a|msetex 1 a 3|ttl a|msetex 1 a 1 ex 10 px 10|msetex 1 a 1 ex|get a",
    "msetex 1 a 1 ex 0|msetex 1 a 1 px -1|msetex 1 a 1 exat x|msetex 1 a 1 get|msetex 1 a 1 ifeq 1|"
    "msetex 1 a 1 nx xx|get a",
    "msetex 1 a 1 exat 1|exists a|msetex 2 a 1 a 2 nx pxat 9999999999999|get a|lpush l 1|"
    "msetex 1 l 1 persist|msetex 1 l 1",
    "set a v|delifeq a x|get a|delifeq a v|exists a|delifeq a v|lpush l 1|delifeq l 1|set a 10|delifeq a 10|delifeq a",
    "setbit a 0 1|object encoding a|set a 1|setbit a 7 1|object encoding a|get a|setbit a 4294967296 1|setbit a -1 0",
    "bitfield a overflow fail set u8 0 300|exists a|bitfield a incrby i5 100 1 get u4 0|"
    "bitfield a overflow sat incrby u2 0 9",
    "set a foobar|bitop not a|bitop not b a b|bitop and b a nokey|get b|bitop or a nokey|exists a|"
    "lpush l 1|bitop or a l",
]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_cases(servers: Twins, case: str, protocol: int) -> None:
    """What each option is for, one short story each."""
    twin = servers.client(protocol)
    twin.both("FLUSHALL")
    for line in case.split("|"):
        twin.same(line)


@pytest.mark.parametrize("case", CASES)
def test_keyspace_events(servers: Twins, case: str) -> None:
    """A subscriber to all events hears the same from both, in the same order."""
    worker, listener = servers.client(), servers.client()
    worker.both("FLUSHALL")
    listener.both(b"psubscribe", b"__key*__:*")
    for line in [*case.split("|"), "publish __key*__: end"]:
        worker.both(*line.split(" "))
    heard: list[list[bytes]] = []
    for ear in (listener.oracle, listener.node):
        events: list[bytes] = []
        while not (message := read_reply(ear.file)).endswith(b"\r\nend\r\n"):
            events.append(message)
        heard.append(events)

    assert heard[0] == heard[1]


@pytest.mark.parametrize("seed", range(4))
def test_common_subsequences(servers: Twins, seed: int) -> None:
    """LCS of random strings of few letters: text, length and pieces."""
    r = Random(seed)
    steps: list[Command] = []
    for _ in range(60):
        letters = r.choice([b"ab", b"abc", b"abcdefgh"])
        for key in (b"a", b"b"):
            steps.append([b"set", key, bytes(r.choice(letters) for _ in range(r.randrange(60)))])
        steps += [[b"lcs", b"a", b"b"], [b"lcs", b"a", b"b", b"len"], [b"lcs", b"a", b"b", b"idx", b"withmatchlen"]]
    compare(servers.client(3), steps)


def test_size_of_lcs_is_bounded(servers: Twins) -> None:
    """Strings whose table would take more than proto-max-bulk-len are refused, as by Valkey."""
    twin = servers.client()
    for key in ("a", "b"):
        twin.both("set", key, "x" * 12_000)
    twin.same("lcs a b len")
