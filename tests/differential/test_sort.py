"""SORT and SORT_RO against genuine Valkey: every option, values of each type, errors, STORE, cluster mode."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.differential.harness import Session, check, report, seeds
from tests.differential.sequences import heard
from tests.differential.twins import Twins, start_twins

Words = list[bytes]

SETUP: list[Words] = [line.split() for line in (
    b"rpush nums 3 1 2 10 1.5 -4 2", b"rpush words b a C aa A 10 9 _ word", b"sadd set c a b 1", b"sadd ints 3 1 2",
    b"zadd z 3 a 1 b 2 c 5 10", b"rpush odd 1 nope 2", b"rpush inf inf 1 -inf +5 1e3", b"set str x",
    b"mset w_1 9 w_2 8 w_3 7 w_10 6 w_a 3 w_b 2 w_c 1 bad_1 x", b"hset h_1 f 5 n x", b"hset h_2 f 4 n b",
    b"hset h_3 f 3 n a", b"hset h_a f 1 n q", b"hset h_b f 2 n p", b"rpush w_4 list", b"hset w_9 a b",
)]  # fmt: skip
KEYS = [b"nums", b"words", b"set", b"ints", b"z", b"odd", b"inf", b"str", b"none", b"target"]
PATTERNS = [b"w_*", b"h_*->f", b"h_*->n", b"nosort", b"bad_*", b"none_*", b"w_*->a", b"h_*->", b"*", b"x*y*", b"#", b""]
NUMBERS = [b"0", b"1", b"2", b"-1", b"5", b"100", b"9223372036854775807", b"x", b"-9223372036854775808"]


def _options(rng: random.Random) -> Words:
    words: Words = []
    for _ in range(rng.choices([0, 1, 2, 3, 4], [2, 4, 4, 3, 1])[0]):
        kind = rng.randrange(8)
        if kind == 0:
            words += [b"by", rng.choice(PATTERNS)]
        elif kind <= 2:
            words += [b"GET", rng.choice(PATTERNS)]
        elif kind == 3:
            words += [b"limit", rng.choice(NUMBERS), rng.choice(NUMBERS)]
        elif kind == 4:
            words.append(rng.choice([b"asc", b"DESC", b"desc"]))
        elif kind == 5:
            words.append(b"ALPHA")
        elif kind == 6:
            words += [b"store", b"target"]
        else:
            words.append(rng.choice([b"bogus", b"limit", b"by", b"get", b"store", b"alpha", b"alpha", b"alpha"]))
    return words


def _defined(words: Words) -> bool:
    """Whether the order is one that Valkey promises: not that of a set, nor that of texts which are the same."""
    lower = [word.lower() for word in words]
    by = [lower[i + 1] for i, word in enumerate(lower[:-1]) if word == b"by"]
    unordered = lower[1] in (b"set", b"ints") and any(b"*" not in pattern for pattern in by)
    return not unordered and not (by and b"alpha" in lower)


def _sequence(rng: random.Random, length: int) -> list[Words]:
    made: list[Words] = []
    while len(made) < length:
        words = [rng.choice([b"sort", b"SORT_RO", b"sort"]), rng.choice(KEYS), *_options(rng)]
        if _defined(words):
            made += [words, [b"lrange", b"target", b"0", b"-1"]]
        if rng.random() < 0.1:
            made.append([b"del", b"target"])
    return made


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair with keyspace events."""
    with start_twins(tmp_path_factory.mktemp("sort"), *OPTIONS) as twins:
        yield twins
        twins.hang_up()


@pytest.mark.parametrize("protocol", [2, 3])
def test_generated(servers: Twins, protocol: int) -> None:
    """Random options over values of each type agree, and so does what STORE leaves."""
    count = 0
    for seed in seeds(31):
        rng = random.Random(seed)
        for _ in range(10):
            count += check(lambda: Session(servers, protocol, packed=False), SETUP, _sequence(rng, 150), seed)
    report(f"sort: {count} commands agree")


def test_inside_a_transaction(servers: Twins) -> None:
    """The same between MULTI and EXEC."""
    for seed in seeds(32):
        steps = [[b"multi"], *_sequence(random.Random(seed), 60), [b"exec"]]
        check(lambda: Session(servers, 2, packed=False), SETUP, steps, seed)


def test_events(servers: Twins) -> None:
    """STORE sends sortstore, or del when nothing is left."""
    for seed in seeds(33):
        rng = random.Random(seed)
        for _ in range(10):
            sequence = [*SETUP, *_sequence(rng, 12)]
            theirs, ours = heard(servers, sequence)
            assert theirs == ours, f"KVORUM_DIFF_SEED={seed}: {sequence[len(SETUP) :]}"


@pytest.mark.parametrize("limit", [[], [b"limit", b"0", b"10"], [b"limit", b"990", b"20"], [b"limit", b"5000", b"-1"]])
@pytest.mark.parametrize("order", [[], [b"desc"], [b"alpha"], [b"alpha", b"desc"]])
def test_many_elements(servers: Twins, limit: Words, order: Words) -> None:
    """A part of many elements is the same whether it was picked out or everything was sorted."""
    rng = random.Random(7)
    twin = servers.client()
    twin.both(b"del", b"many")
    twin.both(b"sadd", b"many", *[b"%d" % rng.randrange(10**6) for _ in range(8000)])
    theirs, ours = twin.both(b"sort", b"many", *limit, *order)
    assert theirs == ours
    twin.close()


OPTIONS = ("--notify-keyspace-events", "KEAn")
LINES = """command getkeys sort l by x store q
command getkeys sort l store a store b
command getkeys sort l get # limit 0 store
command getkeys sort l by store store
command getkeys sort_ro l by x
command getkeys migrate h 1 k 0 1
command getkeys migrate h 1 k 0 1 keys a b
command getkeys migrate h 1 "" 0 1 auth keys keys a b
command getkeysandflags sort l store a
command getkeysandflags migrate h 1 k 0 1""".splitlines()


@pytest.mark.parametrize("line", [
    b"sort p", b"sort p alpha desc", b"sort p by nosort", b"sort p by nosort limit 9 1", b"sort p store q",
    b"sort_ro p", b"sort p get bad", b"sort p limit x 1", b"sort w",
])  # fmt: skip
def test_a_sorted_zset_becomes_a_skiplist(servers: Twins, line: bytes) -> None:
    """Sorting a packed sorted set leaves a skiplist behind, as in Valkey, whatever comes of it; a refusal does not."""
    twin = servers.client()
    twin.both(b"del", b"p", b"w", b"q")
    twin.both(b"zadd", b"p", b"1", b"2", b"2", b"1")
    twin.both(b"zadd", b"w", b"1", b"word")
    for words in (line.split(), [b"object", b"encoding", b"p"], [b"object", b"encoding", b"w"]):
        theirs, ours = twin.both(*words)
        assert theirs == ours
    twin.close()


@pytest.mark.parametrize("line", LINES)
def test_keys_of_a_request(servers: Twins, line: str) -> None:
    """The keys of SORT and MIGRATE are found as Valkey finds them."""
    twin = servers.client()
    twin.same(line)
    twin.close()
