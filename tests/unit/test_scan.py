"""ScanDict against a plain dict: contents, cursors that survive growth and shrinking, even chances."""

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from node.types.leaf import SCORE, TEXT
from node.types.scan import FULL, ScanDict


def _key(n: int) -> bytes:
    return b"member:%d" % n


def _filled(n: int) -> ScanDict:
    table = ScanDict(TEXT)
    for i in range(n):
        assert table.put(_key(i), b"%d" % i)
    return table


def _check(table: ScanDict, model: dict[bytes, object]) -> None:
    assert table.count == len(model)
    assert sorted(table.keys()) == sorted(model)
    flat = table.flat()
    assert dict(zip(flat[::2], flat[1::2], strict=True)) == model
    assert flat[1::2] == table.values()
    assert table.weight == sum(part.weight() for part in table.parts)
    starts = [table._start(i) for i in range(len(table.parts))]
    assert starts == sorted(set(starts))
    for i, part in enumerate(table.parts):
        part.check()
        assert len(part) <= table.widest
        for key in part.keys():  # noqa: SIM118 - no dict
            assert table._index(hash(key) & 0xFFFFFFFF) == i


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 900)), max_size=12))
def test_it_is_a_dict(steps: list[tuple[bool, int]]) -> None:
    """Runs of additions and removals leave exactly what a dict holds, every key in the part that owns its hash."""
    table, model, added = ScanDict(TEXT), {}, 0
    for add, n in steps:
        for _ in range(n):
            if add:
                model[_key(added)] = b"v" * (added % 50)
                assert table.put(_key(added), model[_key(added)])
                added += 1
            elif model:
                key, value = model.popitem()
                assert table.get(key) == value
                assert table.remove(key)
                assert not table.has(key)
        _check(table, model)
        _check(table.copy(), model)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_copies_go_their_own_ways(seed: int) -> None:
    """Copies of copies share parts, yet a change of one is never seen in another, while parts divide and join."""
    rng = random.Random(seed)
    first = _filled(rng.randrange(1500))
    pairs = [(first, {key: first.get(key) for key in first.keys()})]  # noqa: SIM118 - no dict
    for step in range(12):
        table, model = rng.choice(pairs)
        if len(pairs) < 4:
            pairs.append((table.copy(), dict(model)))
        for _ in range(rng.randrange(600)):
            key = _key(rng.randrange(3000))
            if rng.random() < 0.5:
                model[key] = b"v" * step * step
                table.put(key, model[key])
            else:
                assert table.remove(key) == (model.pop(key, None) is not None)
        for other, expected in pairs:
            _check(other, expected)
            assert all(other.get(key) == value for key, value in expected.items())


def test_setting_anew_is_not_adding() -> None:
    """A second put changes the value only; a key that is not there is not removed."""
    table = _filled(10)
    assert not table.put(_key(3), b"x")
    assert table.get(_key(3)) == b"x"
    assert table.count == 10
    assert not table.remove(b"none")
    assert table.count == 10


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 400))
def test_a_quiet_scan_returns_each_key_once(n: int, want: int) -> None:
    """Without changes meanwhile a walk is the whole table, each step as long as wanted but for the last."""
    table, cursor, seen = _filled(n), 0, []
    while True:
        step: list[bytes] = []
        cursor = table.scan(cursor, want, step)
        seen += step
        if cursor == 0:
            break
        assert want <= len(step) <= want + 2
    assert sorted(seen) == sorted(table.keys())
    assert len(seen) == n


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 200))
def test_a_scan_misses_nothing_that_stays(seed: int, want: int) -> None:
    """Keys that are there from the first call to the last are returned once, however the table grows and shrinks."""
    rng = random.Random(seed)
    staying = [b"stay:%d" % i for i in range(500)]
    table = _filled(rng.randrange(0, 4000))
    for key in staying:
        table.put(key, b"")
    cursor, seen, added = 0, [], 10000
    for _ in range(5000):
        cursor = table.scan(cursor, want, seen)
        if cursor == 0:
            break
        if rng.random() < 0.1:
            for _ in range(rng.randrange(1500)):
                added += 1
                table.put(_key(added), b"new")
        elif rng.random() < 0.1:
            present = table.keys()
            for key in present[: rng.randrange(3000)]:
                if not key.startswith(b"stay"):
                    table.remove(key)
    else:
        raise AssertionError("the walk did not end")
    assert set(staying) <= set(seen)
    assert all(n == 1 for key, n in Counter(seen).items() if key.startswith(b"stay"))


def test_foreign_cursors_end_the_walk_or_go_on() -> None:
    """Any cursor that a client may invent is harmless."""
    table = _filled(1000)
    for cursor in (-1, 2**32, 2**62):
        assert table.scan(cursor, 10, []) == 0
    out: list[bytes] = []
    table.scan(2**32 - 1, 10, out)
    assert len(out) <= 1


def test_picks_are_even() -> None:
    """Every key is picked about as often, whichever part it is in (chi squared, fixed seed)."""
    table, rng, picks = _filled(FULL * 5 + 17), random.Random(7), Counter()
    n, rounds = table.count, 100
    for _ in range(n * rounds):
        picks[table.random(rng)] += 1
    chi = sum((picks[key] - rounds) ** 2 / rounds for key in picks)
    assert abs(chi - n) < 5 * (2 * n) ** 0.5


def test_heavy_parts_are_divided_early_and_not_joined_at_once() -> None:
    """Parts of long entries stay small, whatever comes and goes; entries that are referred to do not weigh on them."""
    for size in (300, 500, 5000):
        table = ScanDict(TEXT)
        for i in range(2000):
            table.put(_key(i), b"v" * size)
        assert len(table.parts) > 2000 // FULL
        assert max(len(part) for part in table.parts) < FULL
        parts = len(table.parts)
        for i in range(300):
            table.remove(_key(i))
            table.put(_key(i), b"v" * size)
        assert abs(len(table.parts) - parts) <= parts // 10
        for i in range(1990):
            table.remove(_key(i))
        assert len(table.parts) < 5
        _check(table, {_key(i): b"v" * size for i in range(1990, 2000)})


def test_scores_are_values() -> None:
    """Of a sorted set the floats come back."""
    table = ScanDict(SCORE)
    for i in range(1000):
        assert table.put(_key(i), i / 3)
    assert all(table.get(_key(i)) == i / 3 for i in range(1000))
    assert table.get(b"none") is None
    assert table.flat() == table.keys()
