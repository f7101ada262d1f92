"""Defragmentation of the key table: what it moves stays what it is, and memory comes back.

Built for a sanitizer there are no chunks, and a pass moves every block that could lie in one.
"""

import os
import random
from pathlib import Path

import pytest

from tests.conformance.test_keytable import Box, Twin, chunks, in_phases, keytable

STATM = Path("/proc/self/statm")
STEP = 64


def whole_pass(table: "keytable.KeyTable") -> int:
    """Steps of one pass until it is over; -1: nothing was worth it."""
    steps = 0
    while True:
        steps += 1
        code = table.defragment(STEP)
        if code <= 0:
            return steps if code == 0 else -1


def resident() -> int:
    """Bytes of this process in physical memory."""
    return int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def overhang(table: "keytable.KeyTable") -> int:
    """Bytes of chunks that no block has, in excess of one sparse chunk for each class."""
    return int(table.held() - table.small() - 65 * 65536)


def filled(keys: int, kept: float, seed: int = 1, slots: int = 16384, size: int = 20) -> "keytable.KeyTable":
    """A table of as many keys, of which a random share is left; every third key expires."""
    rng, table = random.Random(seed), keytable.KeyTable(seed)
    table.at_time(1000, 77, 0)
    for i in range(keys):
        if i % 3:
            table.set(i % slots, b"key:%08d" % i, b"%d" % i * 2 + b"v" * size)
        else:
            table.set_until(i % slots, b"key:%08d" % i, b"%d" % i * 2 + b"v" * size, 5000 + i)
    for i in range(keys):
        if rng.random() >= kept:
            table.remove(i % slots, b"key:%08d" % i, True)
    return table


def contents(table: "keytable.KeyTable", slots: int = 16384) -> list[object]:
    """Everything that is stored, in the order of the buckets, with access clocks."""
    return [
        (slot, *item, table.clock_of(slot, item[0])) for slot in range(slots) for item in table.items_in(slot)
    ]  # fmt: skip


class Moving(Twin):
    """A twin whose table is defragmented between operations, with blocks of few sizes, that chunks have many."""

    def value(self) -> bytes:
        return b"%d" % self.rng.randrange(10) + b"v" * self.rng.choice([3, 3, 3, 3, 60, 60, 300, 1200])

    def step(self, removals: float) -> None:
        super().step(removals)
        chance = self.rng.random()
        if chance < 0.3:
            self.move()
        elif chance < 0.301:
            self.table.stop_pass()

    def move(self) -> None:
        """One step of a pass; it is told by nothing but the addresses of blocks."""
        if self.scarce and self.rng.random() < 0.2:
            keytable.fail_in(self.rng.randrange(10))
        used, held = self.table.used(), self.table.held()
        try:
            self.table.defragment(self.rng.choice([1, 5, 40, 300]))
        finally:
            keytable.fail_in(-1)
        assert self.table.used() == used
        assert self.table.held() <= held + 65536 * 4


def play(seed: int, operations: int, scarce: bool) -> Moving:
    """A twin after so many operations, in phases with more or fewer removals, checked now and then."""
    rng = random.Random(seed)
    count = rng.choice([12_000, 30_000])
    keys = [b"key:%06d" % i + (b"x" * rng.randrange(600) if i % 50 == 0 else b"") for i in range(count)]
    twin = Moving(rng, rng.choice([1, 3, 40]), keys, scarce)
    for slot, key in ((twin.home[key], key) for key in keys):
        if rng.random() < 0.7:
            twin.set(slot, key)
    in_phases(twin, rng, operations, 5000, 0.95)
    return twin


@pytest.mark.parametrize("scarce", [False, True], ids=["enough", "scarce"])
@pytest.mark.parametrize("seed", range(3))
def test_random_operations_between_steps_agree_with_a_dict(seed: int, scarce: bool) -> None:
    """Keys, expiry, open views and accounts are right whatever moved between two operations, with little memory too."""
    twin = play(seed, 25_000, scarce)
    assert twin.table.moved()[0] > 0
    twin.views.clear()
    for slot, key in list(twin.data):
        assert twin.table.remove(slot, key, True) is not None
    twin.table.check()
    assert (twin.table.used(), twin.table.viewed()) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("scarce", [False, True], ids=["enough", "scarce"])
@pytest.mark.parametrize("seed", range(10, 12))
def test_many_random_operations_between_steps_agree_with_a_dict(seed: int, scarce: bool) -> None:
    """As above, half a million operations in all; a table that is dropped in the middle of a pass gives all back."""
    twin = play(seed, 125_000, scarce)
    twin.views.clear()
    twin.table.defragment(1)
    while twin.table.drain(16, []):
        pass
    assert (twin.table.used(), twin.table.held()) == (0, 0)


@pytest.mark.parametrize("slots", [1, 3, 16384], ids=["giant", "three", "all"])
def test_a_pass_changes_nothing_that_can_be_read(slots: int) -> None:
    """Keys, values, times, clocks, their order and the bytes in use are the same, in a slot of segments too."""
    table = filled(60_000, 0.2, slots=slots)
    table.put(0, b"box", Box(), False)
    before, used, strings = contents(table, slots), table.used(), table.volatile()
    assert whole_pass(table) > 0
    table.check()
    assert (contents(table, slots), table.used(), table.volatile()) == (before, used, strings)
    moved, _stayed, keys_moved, keys_stayed = table.moved()
    assert moved >= keys_moved > 1000
    assert keys_moved + keys_stayed == table.count(-1)


@chunks
@pytest.mark.parametrize("kept", [0.5, 0.1, 0.01])
def test_held_bytes_fall_near_the_used_ones(kept: float) -> None:
    """After random deletions one pass brings the chunks down to what their blocks need."""
    table = filled(300_000, kept)
    sparse = table.held() - table.small()
    assert sparse > table.small() * (1 - kept) / 2
    assert whole_pass(table) > 0
    table.check()
    assert overhang(table) < table.small() * 0.03
    assert whole_pass(table) == -1  # what is dense is left alone


@chunks
def test_a_dense_table_is_left_alone() -> None:
    """Keys that came and stayed are not worth a pass, nor is an empty table."""
    table = filled(100_000, 1.0)
    held = table.held()
    for _ in range(3):
        assert whole_pass(table) == -1
    assert (table.held(), table.moved()) == (held, (0, 0, 0, 0))
    assert whole_pass(keytable.KeyTable(1)) == -1


@chunks
@pytest.mark.skipif(not STATM.exists(), reason="the system does not tell what is resident")
def test_the_system_gets_the_memory_back() -> None:
    """What the process has in physical memory falls by most of what the pass gave back."""

    table = filled(500_000, 0.1)
    rss, held = resident(), table.held()
    assert whole_pass(table) > 0
    freed = held - table.held()
    assert freed > 20_000_000
    assert rss - resident() > freed * 0.8


@chunks
def test_new_blocks_are_not_cut_from_what_is_leaving() -> None:
    """Keys that come in the middle of a pass do not hold it up, and those that go give their chunks back."""
    table = filled(200_000, 0.1, size=40)
    held = table.held()
    for i in range(7000):
        assert table.defragment(4) == 1
        table.set(i % 16384, b"key:%08d" % i, b"%d" % i * 2 + b"v" * 40)
        table.remove(i * 7 % 16384, b"key:%08d" % (i * 7), True)
    while table.defragment(STEP) == 1:
        pass
    table.check()
    assert table.held() < held / 4


def test_views_show_what_they_froze_while_blocks_move() -> None:
    """A frozen slot is moved like others; its views give out keys and values of then, moved twice and changed since."""
    table = filled(20_000, 0.3, slots=2)
    want = [{key: (value, at) for key, value, at in table.items_in(slot)} for slot in range(2)]
    views = [table.freeze(slot) for slot in range(2)]
    assert whole_pass(table) > 0
    for slot in range(2):
        for key in list(want[slot])[::2]:
            table.remove(slot, key, True)
        for i in range(3000):
            table.set(slot, b"new:%d" % i, b"v" * 30)
    whole_pass(table)
    table.check()
    for slot, view in enumerate(views):
        got = {}
        for part in range(view.parts()):
            got.update({key: (value, view.expire_at(key)) for key, value in view.take(part).items()})
            table.defragment(STEP)
        assert got == want[slot]
        view.close()
    table.check()


@pytest.mark.parametrize("after", [0, 1, 2, 10, 500])
def test_a_pass_without_memory_ends_and_changes_nothing(after: int) -> None:
    """Whichever allocation of a pass fails, the table is whole, the pass is over, and the next one does the rest."""
    table = filled(30_000, 0.2, slots=600)
    before, used = contents(table, 600), table.used()
    keytable.fail_in(after)
    try:
        while table.defragment(STEP) == 1:
            pass
    finally:
        failed = keytable.failing() < 0
        keytable.fail_in(-1)
    assert failed
    table.check()
    assert (contents(table, 600), table.used()) == (before, used)
    assert whole_pass(table) > 0
    table.check()
    assert contents(table, 600) == before


@chunks
def test_a_pass_that_is_stopped_puts_its_chunks_back() -> None:
    """After the order to stop few steps are left, and new keys are cut from the sparse chunks again."""
    table = filled(200_000, 0.1)
    while not table.moved()[0]:
        assert table.defragment(STEP) == 1
    table.stop_pass()
    assert whole_pass(table) < 20
    table.check()
    held, small = table.held(), table.small()
    for i in range(100_000):
        table.set(i % 16384, b"new:%08d" % i, b"%d" % i * 2 + b"v" * 20)
    assert table.held() - held < (table.small() - small) / 2


@chunks
def test_a_table_goes_in_the_middle_of_a_pass() -> None:
    """Removing everything, or dropping the table, leaves no chunk behind that was being emptied."""
    table = filled(100_000, 0.1)
    while not table.moved()[0]:
        table.defragment(STEP)
    for slot in range(16384):
        table.clear_slot(slot, [])
    table.check()
    assert table.used() == 0
    assert whole_pass(table) >= 0
    table = filled(100_000, 0.1)
    table.defragment(10_000)
    while table.drain(64, []):
        pass
    assert table.held() == 0


@chunks
@pytest.mark.skipif(not STATM.exists(), reason="the system does not tell what is resident")
def test_free_pages_of_the_heap_can_be_given_back() -> None:
    """Arrays of buckets that shrank leave holes in malloc's heap, which the system gets when it is asked for."""
    table = filled(1_000_000, 0.05)
    before = resident()
    assert keytable.trim()
    assert before - resident() > 5_000_000
    table.check()


@chunks
@pytest.mark.parametrize("order", [1, -1], ids=["oldest", "newest"])
def test_regions_go_while_chunks_are_counted_and_marked(order: int) -> None:
    """A region at a time is looked at, and those not seen yet, or next in turn, are unmapped meanwhile."""
    table = filled(300_000, 0.9, size=100)
    held = table.held()
    assert held > 15 * 2_097_152
    for n, i in enumerate(range(300_000)[::order]):
        table.remove(i % 16384, b"key:%08d" % i, True)
        if n % 7000 == 0:
            table.defragment(1)
    table.check()
    assert table.held() < held / 8
    while table.defragment(STEP) == 1:
        pass
    table.check()
    assert (table.used(), table.count(-1)) == (0, 0)
