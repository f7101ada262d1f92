"""Sorted sets against a plain model, in both encodings."""

import random

import pytest

from node.commands.zset_common import score_argument
from node.errors import CommandError
from node.numbers import NotANumber, parse_double
from node.types import zset
from node.types.zblocks import SortedBlocks
from node.types.zset import ZSet, from_listpack, from_scores


def _ordered(model: dict[bytes, float]) -> list[tuple[float, bytes]]:
    return sorted((score, member) for member, score in model.items())


def _check(z: ZSet, model: dict[bytes, float]) -> None:
    members: list[bytes] = []
    scores: list[float] = []
    z.collect(0, z.count, members, scores)
    assert list(zip(scores, members, strict=True)) == _ordered(model)
    order = z.order
    if order is not None:
        names = z.scores.keys()
        assert {member: z.scores.get(member) for member in names} == model
        assert order.length == len(model)
        assert [len(block) for block in order.blocks] == list(order.counts)
        assert [block.first_score() for block in order.blocks] == list(order.firsts)
        assert order.weight == sum(block.weight() for block in order.blocks)
        assert z.scores.weight == sum(part.weight() for part in z.scores.parts)


def _step(z: ZSet, model: dict[bytes, float], chance: random.Random, names: int) -> None:
    member = b"m%d" % chance.randrange(names)
    if chance.random() < 0.6:
        score = chance.choice([float(chance.randrange(20)), chance.random() * 100, float("inf"), float("-inf")])
        z.put(member, score)
        model[member] = score
        return
    assert z.remove(member) == (member in model)
    model.pop(member, None)
    if model and chance.random() < 0.1:
        ordered = _ordered(model)
        start = chance.randrange(len(ordered))
        stop = min(len(ordered), start + chance.choice([0, 1, 2, 40, 300]))
        assert z.remove_range(start, stop) == stop - start
        for _, gone in ordered[start:stop]:
            del model[gone]


def _ask(z: ZSet, model: dict[bytes, float], chance: random.Random, names: int) -> None:
    ordered = _ordered(model)
    member = b"m%d" % chance.randrange(names)
    assert z.has(member) == (member in model)
    if member in model:
        assert z.get(member) == model[member]
        assert z.rank(member) == ordered.index((model[member], member))
    else:
        assert z.get(member) != z.get(member)
        assert z.rank(member) == -1
    bound = chance.choice([float(chance.randrange(20)), 33.3, float("inf"), float("-inf")])
    assert z.below(bound, False) == sum(score < bound for score, _ in ordered)
    assert z.below(bound, True) == sum(score <= bound for score, _ in ordered)


@pytest.mark.parametrize(("names", "steps"), [(20, 600), (100, 1500), (3000, 9000)])
def test_random_changes_agree_with_a_model(names: int, steps: int) -> None:
    """Additions, updates and removals leave what a dict and a sort say, in small and in big sets."""
    chance = random.Random(names)
    z = ZSet()
    model: dict[bytes, float] = {}
    for step in range(steps):
        _step(z, model, chance, names)
        if step % 20 == 0:
            _ask(z, model, chance, names)
            _check(z, model)
    _check(z, model)
    _check(z.copy(), model)


def test_lexicographic_bounds() -> None:
    """With one score the number of members below a bound is exact in both encodings."""
    members = [b"%c%c" % (a, b) for a in b"abcdefgh" for b in b"xyz"]
    big = from_scores(dict.fromkeys(members, 1.0))
    big.expand()
    small = from_scores(dict.fromkeys(members, 1.0))

    assert (small.encoding(), big.encoding()) == (b"listpack", b"skiplist")
    for bound in [b"", b"a", b"ax", b"axx", b"dz", b"h", b"hz", b"i"]:
        for inclusive in (False, True):
            expected = sum(member < bound or (inclusive and member == bound) for member in members)
            assert small.lex_below(bound, inclusive) == expected
            assert big.lex_below(bound, inclusive) == expected


def test_becomes_a_skiplist_by_number_and_by_length() -> None:
    """The thresholds are those of the settings; the encoding does not come back by itself."""
    z = ZSet()
    for n in range(zset.LIMITS.entries):
        z.put(b"%d" % n, float(n))
    assert z.encoding() == b"listpack"

    z.put(b"one more", 1.0)
    assert z.encoding() == b"skiplist"
    z.remove(b"one more")
    assert z.encoding() == b"skiplist"

    long = ZSet()
    long.put(b"x" * (zset.LIMITS.value + 1), 1.0)
    assert long.encoding() == b"skiplist"


def test_listpack_round_trip() -> None:
    """What a small set keeps can be read back as a set."""
    scores = {b"a": 1.5, b"b": -3.0, b"12": 1e300, b"c": float("inf")}
    packed = from_scores(scores).packed

    again = from_listpack(packed)

    assert again.encoding() == b"listpack"
    _check(again, scores)


def test_rising_scores_fill_the_blocks() -> None:
    """Members that come in order, as a log by time does, leave blocks that are mostly full."""
    order = SortedBlocks()
    for n in range(10000):
        order.insert(float(n), b"%d" % n)

    assert len(order.blocks) < 10000 / 200


def test_changes_of_a_copy_stay_its_own() -> None:
    """A snapshot's shallow copy is not touched by later writes."""
    model = {b"m%d" % n: float(n) for n in range(1000)}
    z = from_scores(model)
    twin = z.copy()
    for n in range(0, 1000, 3):
        z.remove(b"m%d" % n)
        z.put(b"n%d" % n, 5.0)

    _check(twin, model)


def test_plain_scores_are_read_exactly() -> None:
    """The quick way to read a score gives the double that the general parser gives, or leaves it to that."""
    chance = random.Random(3)
    texts = ["0", "-0", "-0.0", ".5", "5.", "-.5", "-", ".", "-.", "007", "1.2.3", "--5", "1e5", " 5", "5 ", "+5"]
    texts += [f"{chance.uniform(-(10**6), 10**6):.{places}f}" for places in range(10) for _ in range(200)]
    texts += [str(chance.randrange(-(10**14), 10**15)) for _ in range(500)]
    for text in texts:
        try:
            expected = repr(parse_double(text.encode()))
        except NotANumber:
            with pytest.raises(CommandError):
                score_argument(text.encode())
            continue
        assert repr(score_argument(text.encode())) == expected


def test_heavy_blocks_are_divided_early() -> None:
    """Blocks of long members stay small, and are no more than they were when members come and go."""
    z, model = ZSet(), {}
    for n in range(1000):
        model[b"%d" % n * 100] = float(n % 10)
        z.put(b"%d" % n * 100, float(n % 10))
    _check(z, model)
    order = z.order
    assert order is not None
    assert max(len(block) for block in order.blocks) < 100
    for n in range(990):
        z.remove(b"%d" % n * 100)
        del model[b"%d" % n * 100]
    _check(z, model)
    assert len(order.blocks) < 3
