"""When defragmentation begins, how much of the time it takes and when it ends, on stores that only pretend."""

from __future__ import annotations

import random

import pytest

from cluster.options import OptionError
from node.defrag import IDLE, REST, STEP_SECONDS, Defragmenter, share_for
from node.engine import Engine
from node.keyspace import Store
from node.lifecycle import StartError, build_engine
from node.settings import new_settings
from node.store import PlainStore

NOW_MS = 1_790_000_000_000
MEGABYTE = 1 << 20


class Clock:
    """Stands still but for what work takes."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Sparse(Store):
    """Holds `held` bytes for `small`; each step takes 0.1 ms and moves 10 blocks, 8 of them keys'."""

    def __init__(self, clock: Clock, held: int, small: int, steps: int) -> None:
        super().__init__()
        self.defragments = True
        self.time = clock
        self.held, self.small = held, small
        self.left = self.steps = steps
        self.total = self.stops = 0
        self.looks: list[float] = []

    def track_clock(self, mode: int, lfu_factor: int = 10, lfu_decay_minutes: int = 1) -> None:
        """There are no keys."""

    def used_bytes(self) -> int:
        return self.small

    def held_bytes(self) -> int:
        return self.held

    def small_bytes(self) -> int:
        return self.small

    def defragment(self, work: int) -> int:
        if self.left == 0:
            self.looks.append(self.time.now)
            return -1
        self.time.now += STEP_SECONDS
        self.total += 1
        self.left -= 1
        if self.left > 0:
            return 1
        self.held = self.small
        self.left = 0
        return 0

    def stop_defragmenting(self) -> None:
        self.stops += 1
        self.left = 1

    def moved(self) -> tuple[int, int, int, int]:
        return self.total * 10, self.total * 3, self.total * 8, self.total * 2


def engine(*stores: Store, **options: int | str) -> Engine:
    """An engine on these stores; options with underlines for hyphens."""
    made = build_engine(new_settings(), NOW_MS, random.Random(1))
    made.stores[:] = stores
    made.now_ms = NOW_MS
    words = {"active_defrag_ignore_bytes": 1, **options}
    pairs = [(name.replace("_", "-").encode(), str(value).encode()) for name, value in words.items()]
    made.settings.options.set_pairs(pairs, True)
    return made


@pytest.mark.parametrize(("excess", "share"), [
    (0, 0), (9, 0), (10, 1), (11, 1), (30, 6), (55, 13), (99, 24), (100, 25), (900, 25),
])  # fmt: skip
def test_the_share_grows_from_the_lower_threshold_to_the_upper(excess: int, share: int) -> None:
    """Between the thresholds the percentage is between cycle-min and cycle-max, below the lower there is none."""
    clock = Clock()
    stores = [Sparse(clock, 100_000 + excess * 1000, 100_000, 1)]
    assert share_for(engine(*stores, activedefrag="yes")) == share
    assert share_for(engine(*stores)) == 0


@pytest.mark.parametrize(("options", "share"), [
    ({"active_defrag_ignore_bytes": 50_001}, 0),
    ({"active_defrag_ignore_bytes": 50_000}, 11),
    ({"active_defrag_threshold_lower": 51}, 0),
    ({"active_defrag_threshold_lower": 50, "active_defrag_threshold_upper": 50}, 25),
    ({"active_defrag_threshold_lower": 40, "active_defrag_threshold_upper": 20}, 25),
    ({"active_defrag_cycle_min": 30, "active_defrag_cycle_max": 20}, 30),
    ({"active_defrag_cycle_min": 99, "active_defrag_cycle_max": 99}, 99),
])  # fmt: skip
def test_the_share_by_its_options(options: dict[str, int], share: int) -> None:
    """Bytes that are ignored, thresholds and shares, also where they contradict each other; all databases count."""
    clock = Clock()
    stores = [Sparse(clock, 100_000, 50_000, 1), Sparse(clock, 50_000, 50_000, 1)]
    assert share_for(engine(*stores, activedefrag="yes", **options)) == share


def test_what_is_held_for_nothing_counts_as_sparse() -> None:
    """Chunks without any block are the most of fragmentation, not an error."""
    assert share_for(engine(Sparse(Clock(), 65536, 0, 1), activedefrag="yes")) == 25


@pytest.mark.parametrize(("cycle_us", "steps"), [(0, 1), (100, 1), (500, 4), (2000, 19)])
def test_a_slice_is_bounded(cycle_us: int, steps: int) -> None:
    """A slice ends before active-defrag-cycle-us, and the pause after it keeps work to its share."""
    clock = Clock()
    store = Sparse(clock, 2 * MEGABYTE, MEGABYTE, 1000)
    work = Defragmenter(engine(store, activedefrag="yes", active_defrag_cycle_us=cycle_us), clock)
    for i in range(1, 6):
        pause = work.run()
        assert store.total == pytest.approx(i * steps, abs=i)
        took = store.total * STEP_SECONDS / i
        assert took / (took + pause) == pytest.approx(0.25, rel=0.5)
    assert work.engine.stats.defrag_share == 25


def test_a_pass_goes_over_all_databases_and_is_counted() -> None:
    """Each one's turn ends with its pass; INFO's counters tell what was moved and looked at."""
    clock = Clock()
    stores = [Sparse(clock, 2 * MEGABYTE, MEGABYTE, 7), Sparse(clock, 5, 5, 0), Sparse(clock, 9, 2, 5)]
    e = engine(*stores, activedefrag="yes")
    work = Defragmenter(e, clock)
    for _ in range(20):
        work.run()
        e.now_ms += 10
    stats = e.stats
    assert [store.total for store in stores] == [7, 0, 5]
    assert (stats.defrag_hits, stats.defrag_misses) == (120, 36)
    assert (stats.defrag_key_hits, stats.defrag_key_misses) == (96, 24)
    assert (stats.defrag_share, stats.defrag_ms > 0) == (0, True)
    stats.reset(0, 0, 0, 0)
    assert (stats.defrag_hits, stats.defrag_key_misses, stats.defrag_ms) == (0, 0, 0)


def test_the_share_of_a_pass_only_rises() -> None:
    """While a pass empties chunks its share stays, and more fragmentation raises it."""
    clock = Clock()
    store = Sparse(clock, 1_500_000, 1_000_000, 1000)
    e = engine(store, activedefrag="yes")
    work = Defragmenter(e, clock)
    shares = []
    for held in (1_500_000, 1_200_000, 1_800_000, 1_000_001):
        store.held = held
        work.run()
        shares.append(int(e.stats.defrag_share))
    assert shares == [11, 11, 19, 19]


def test_what_can_not_be_moved_is_not_tried_all_the_time() -> None:
    """After a pass in which nothing was worth moving there is a rest."""
    clock = Clock()
    store = Sparse(clock, 2 * MEGABYTE, MEGABYTE, 0)
    work = Defragmenter(engine(store, activedefrag="yes"), clock)
    for _ in range(30):
        clock.now += work.run()
    assert len(store.looks) == int(30 * IDLE / REST)


def test_a_purge_is_one_pass_whatever_the_options_say() -> None:
    """MEMORY PURGE begins a pass of the largest share; without activedefrag there is no second one."""
    clock = Clock()
    store = Sparse(clock, 1_010_000, 1_000_000, 9)
    e = engine(store, active_defrag_cycle_max=40)
    work = Defragmenter(e, clock)
    work.run()
    assert store.total == 0
    e.purge_asked = True
    work.run()
    assert e.stats.defrag_share == 40
    for _ in range(10):
        work.run()
    assert (store.total, store.stops, e.purge_asked) == (9, 0, False)


def test_switching_it_off_ends_a_pass() -> None:
    """The database that the pass is in is told once, the next ones are not looked at."""
    clock = Clock()
    stores = [Sparse(clock, 2 * MEGABYTE, MEGABYTE, 1000), Sparse(clock, 2 * MEGABYTE, MEGABYTE, 5)]
    e = engine(*stores, activedefrag="yes")
    work = Defragmenter(e, clock)
    work.run()
    before = stores[0].total
    e.settings.options.set_pairs([(b"activedefrag", b"no")], True)
    for _ in range(5):
        work.run()
    assert (stores[0].total, stores[0].stops, stores[1].total) == (before + 1, 1, 0)
    assert e.stats.defrag_share == 0


def test_the_plain_store_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`activedefrag yes` is an error at start and by CONFIG SET where memory is the interpreter's, and stays no."""
    monkeypatch.setenv("KVORUM_STORE", "plain")
    e = build_engine(new_settings(), NOW_MS, random.Random(1))
    assert isinstance(e.stores[0], PlainStore)
    with pytest.raises(OptionError, match="Active defragmentation cannot be enabled"):
        e.settings.options.set_pairs([(b"activedefrag", b"yes")], False)
    assert not e.settings.options.flag("activedefrag")
    assert share_for(e) == 0
    settings = new_settings()
    settings.options.put("activedefrag", (b"yes",))
    with pytest.raises(StartError, match="Active defragmentation cannot be enabled"):
        build_engine(settings, NOW_MS, random.Random(1))
