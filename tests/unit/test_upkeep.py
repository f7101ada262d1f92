"""Expiry and eviction in slices, by a clock that the test moves: nobody waits longer, however much is due."""

from __future__ import annotations

import random

import pytest

from node.engine import Engine
from node.lifecycle import build_engine
from node.memory import eviction_seconds, make_room
from node.ports import Journal
from node.settings import new_settings
from node.upkeep import EXPIRE_SLICE, Upkeep, pause_seconds, slice_seconds

NOW_MS = 1_790_000_000_000
STEP = 0.0001  # seconds that each look at the clock takes


class Clock:
    """Goes on by STEP with every look."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += STEP
        return self.now


class Written(Journal):
    """What replicas would get."""

    def __init__(self) -> None:
        super().__init__()
        self.active = True
        self.commands: list[tuple[int, list[bytes]]] = []

    def command(self, dbid: int, args: list[bytes]) -> None:
        self.commands.append((dbid, args))


def engine(*options: str) -> Engine:
    """An engine without sockets, its stores at NOW_MS."""
    made = build_engine(new_settings(), NOW_MS, random.Random(1))
    for name, value in zip(options[::2], options[1::2], strict=True):
        made.settings.options.set_pairs([(name.encode(), value.encode())], True)
    at(made, NOW_MS)
    return made


def at(e: Engine, now_ms: int) -> None:
    """Move the engine's time."""
    e.now_ms = now_ms
    for store in e.stores:
        store.tick(now_ms, now_ms // 1000)


def fill(e: Engine, dbid: int, count: int, at_ms: int) -> None:
    """Strings that all expire at the same instant."""
    for i in range(count):
        e.stores[dbid].set_until(i % 16384, b"k%d" % i, b"v", at_ms)


@pytest.mark.parametrize("effort", [1, 4, 10])
def test_a_slice_of_expiry_is_bounded(effort: int) -> None:
    """Of 20,000 keys due at once each slice takes as many as the clock allows at this effort, until none is left."""
    e = engine("active-expire-effort", str(effort))
    fill(e, 0, 20_000, NOW_MS + 1)
    at(e, NOW_MS + 1000)
    most = (int(slice_seconds(effort) / STEP) + 1) * EXPIRE_SLICE
    upkeep = Upkeep(e, Clock())
    slices, before, more = 0, e.stores[0].count(), True
    while more:
        more = upkeep.expire()
        after = e.stores[0].count()
        assert 0 < before - after <= most
        before = after
        slices += 1
    assert before == 0
    assert slices >= 20_000 // most
    assert e.stats.expired_keys == 20_000
    assert e.stats.expired_time_cap == slices - 1


def test_more_effort_is_longer_slices_and_a_greater_share() -> None:
    """Half of the time at effort 1, 95 % at effort 10."""
    assert slice_seconds(1) == pytest.approx(0.001)
    assert slice_seconds(10) == pytest.approx(0.00325)
    for effort, share in ((1, 0.5), (10, 0.95)):
        assert 1 / (1 + pause_seconds(effort, 1.0)) == pytest.approx(share)


def test_databases_take_turns() -> None:
    """With more due than a slice can take in two databases, two slices take from both."""
    e = engine()
    fill(e, 0, 5000, NOW_MS + 1)
    fill(e, 3, 5000, NOW_MS + 1)
    at(e, NOW_MS + 1000)
    upkeep = Upkeep(e, Clock())
    assert upkeep.expire()
    assert upkeep.expire()
    assert 0 < e.stores[0].count() < 5000
    assert 0 < e.stores[3].count() < 5000


def test_replicas_get_a_del_for_each_key_of_a_slice() -> None:
    """What a slice has removed is in the journal when it ends."""
    e = engine()
    written = Written()
    e.journal = written
    fill(e, 2, 5000, NOW_MS + 1)
    at(e, NOW_MS + 1000)
    assert Upkeep(e, Clock()).expire()
    assert len(written.commands) == 5000 - e.stores[2].count()
    assert all(dbid == 2 and args[0] == b"DEL" for dbid, args in written.commands)


@pytest.mark.parametrize("why", ["off", "import"])
def test_nothing_expires_by_itself_where_it_must_not(why: str) -> None:
    """DEBUG SET-ACTIVE-EXPIRE 0 and import-mode stop active expiry."""
    e = engine(*(("import-mode", "yes") if why == "import" else ()))
    e.active_expire = why != "off"
    fill(e, 0, 10, NOW_MS + 1)
    at(e, NOW_MS + 1000)
    assert not Upkeep(e, Clock()).expire()
    assert e.stores[0].count() == 10


@pytest.mark.parametrize("tenacity", [0, 10, 20])
def test_an_eviction_is_bounded_and_goes_on_between_commands(tenacity: int) -> None:
    """A command evicts for the time that maxmemory-eviction-tenacity gives it; upkeep evicts the rest."""
    e = engine("maxmemory-policy", "allkeys-random", "maxmemory-eviction-tenacity", str(tenacity))
    for i in range(2000):
        e.stores[0].set(i, b"k%d" % i, b"v" * 100)
    limit = e.used_memory() // 2
    e.settings.options.set_pairs([(b"maxmemory", b"%d" % limit)], True)
    most = (int(eviction_seconds(tenacity) / STEP) + 1) * 16
    clock = Clock()
    assert make_room(e, clock)
    assert 0 < 2000 - e.stores[0].count() <= most
    upkeep = Upkeep(e, clock)
    more = True
    while more:
        before = e.stores[0].count()
        more = upkeep.evict()
        assert before - e.stores[0].count() <= most
    assert e.used_memory() <= limit
    assert e.stats.evicted_keys == 2000 - e.stores[0].count()


def test_tenacity_100_knows_no_limit() -> None:
    """All that is too much goes at once."""
    e = engine("maxmemory-policy", "allkeys-lru", "maxmemory-eviction-tenacity", "100")
    for i in range(2000):
        e.stores[0].set(i, b"k%d" % i, b"v" * 100)
    limit = e.used_memory() // 2
    e.settings.options.set_pairs([(b"maxmemory", b"%d" % limit)], True)
    assert make_room(e, Clock())
    assert e.used_memory() <= limit
    assert not Upkeep(e, Clock()).evict()
