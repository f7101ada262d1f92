"""The key table by itself: random operations against a dict, while slots are frozen and memory runs out.

`KeyTable.check` walks the whole table and compares it with every count that it keeps, bytes in use included.
"""

import random
from dataclasses import dataclass, field

import pytest
from librt.strings import BytesWriter

keytable = pytest.importorskip("node.keytable.table", reason="the key table is not built")

chunks = pytest.mark.skipif(keytable.CHECKED, reason="built for a sanitizer, which has every block by itself")

EXPIRED = -4
CONTAINER = -5
VIEWS = 12


class Box:
    """A container."""


@dataclass
class Frozen:
    """A view, and what it has to show."""

    view: "keytable.View"
    want: dict[bytes, tuple[object, int]]
    parts: int
    next: int = 0


@dataclass
class Twin:
    """A table beside a dict of (slot, key) -> (value, expiry)."""

    rng: random.Random
    slots: int
    keys: list[bytes]
    scarce: bool  # allocations fail now and then
    now: int = 1000
    data: dict[tuple[int, bytes], tuple[object, int]] = field(default_factory=dict)
    views: list[Frozen] = field(default_factory=list)
    refused: int = 0
    condemned: int = 0  # containers in slots that were removed as a whole and are not freed yet

    def __post_init__(self) -> None:
        self.table = keytable.KeyTable(self.rng.getrandbits(60))
        self.table.at_time(self.now, 1, 0)
        self.home = {key: self.rng.randrange(self.slots) for key in self.keys}

    def value(self) -> bytes:
        """In the entry, of its short form or long form, or referred to."""
        size = self.rng.choice([3, 40, 40, 300, 1200, 3000])
        if self.rng.random() < 0.3:
            return b"%d" % self.rng.randrange(-(10 ** self.rng.randrange(1, 18)), 10**18)
        return self.rng.randbytes(self.rng.randrange(size))

    def step(self, removals: float) -> None:
        """One random operation; without memory it must leave everything as it is."""
        key = self.rng.choice(self.keys)
        slot = self.home[key]
        if self.scarce and self.rng.random() < 0.3:
            keytable.fail_in(self.rng.randrange(6))
        try:
            if self.rng.random() < removals:
                self.remove(slot, key)
            else:
                self.rng.choice(self.ACTIONS)(self, slot, key)
        except MemoryError:
            self.refused += 1
        finally:
            keytable.fail_in(-1)

    def past(self, slot: int, key: bytes) -> bool:
        entry = self.data.get((slot, key))
        return entry is not None and 0 < entry[1] < self.now

    def remove(self, slot: int, key: bytes) -> None:
        had = self.data.get((slot, key))
        got = self.table.remove(slot, key, True)
        assert (got is None) == (had is None)
        if had is not None:
            assert not isinstance(had[0], Box) or got is had[0]
            del self.data[slot, key]

    def set(self, slot: int, key: bytes) -> None:
        value = self.value()
        if self.table.set(slot, key, value) == CONTAINER:
            assert isinstance(self.data[slot, key][0], Box)
        else:
            self.data[slot, key] = (value, 0)

    def set_until(self, slot: int, key: bytes) -> None:
        value, at = self.value(), self.now + self.rng.randrange(1, 50)
        if self.table.set_until(slot, key, value, at) == CONTAINER:
            assert isinstance(self.data[slot, key][0], Box)
        else:
            self.data[slot, key] = (value, at)

    def put(self, slot: int, key: bytes) -> None:
        value: object = self.rng.choice([self.value(), Box()])
        old = self.data.get((slot, key))
        code = self.table.put(slot, key, value, self.rng.random() < 0.5)
        if self.past(slot, key):
            assert code == EXPIRED
            return
        if old is not None and isinstance(old[0], Box):
            assert code == CONTAINER
            assert self.table.swap(slot, key, value) is old[0]
        self.data[slot, key] = (value, old[1] if old else 0)

    def set_expire(self, slot: int, key: bytes) -> None:
        at = self.rng.choice([0, self.now + self.rng.randrange(1, 50)])
        code = self.table.set_expire(slot, key, at)
        if (slot, key) not in self.data:
            assert code == 0
        elif self.past(slot, key):
            assert code == EXPIRED
        else:
            assert code == 1
            self.data[slot, key] = (self.data[slot, key][0], at)

    def incr(self, slot: int, key: bytes) -> None:
        writer, by = BytesWriter(), self.rng.choice([1, -1, 10**17])
        old = self.data.get((slot, key), (b"0", 0))
        if self.table.incr_into(writer, slot, key, by) == 1:
            assert isinstance(old[0], bytes)
            total = b"%d" % (int(old[0]) + by)
            self.data[slot, key] = (total, old[1])
            assert writer.getvalue() == b":%b\r\n" % total

    def patch(self, slot: int, key: bytes) -> None:
        entry = self.data.get((slot, key))
        held = self.table.peek(slot, key) if self.rng.random() < 0.3 else None
        was = bytes(bytearray(held)) if isinstance(held, bytes) else None
        data, at = self.rng.randbytes(self.rng.choice([0, 1, 20, 900])), self.rng.randrange(self.rng.choice([5, 2000]))
        size = self.table.patch(slot, key, at, data)
        assert was is None or held == was  # what somebody holds does not change
        if entry is None or self.past(slot, key) or not isinstance(entry[0], bytes):
            assert size == -1
            return
        text = bytearray(entry[0]).ljust(at, b"\0")
        text[at : at + len(data)] = data
        assert size == len(text)
        self.data[slot, key] = (bytes(text), entry[1])

    def read(self, slot: int, key: bytes) -> None:
        writer = BytesWriter()
        code, value = self.table.get_into(writer, slot, key), self.table.get(slot, key)
        entry = self.data.get((slot, key))
        if entry is None:
            assert (code, value) == (0, None)
        elif self.past(slot, key):
            assert (code, value) == (EXPIRED, False)
        elif isinstance(entry[0], bytes):
            assert (code, value) == (1, entry[0])
            assert writer.getvalue() == b"$%d\r\n%b\r\n" % (len(entry[0]), entry[0])
        else:
            assert (code, value) == (-1, entry[0])

    def expire(self, slot: int, key: bytes) -> None:
        if self.rng.random() < 0.1:
            self.now += 1
            self.table.at_time(self.now, 1, 0)
        gone: list[bytes] = []
        self.table.expire_due(self.rng.choice([1, 10, 1000]), gone, [])
        for name in gone:
            assert self.data.pop((self.home[name], name))[1] < self.now

    def freeze(self, slot: int, key: bytes) -> None:
        if len(self.views) < VIEWS and self.rng.random() < 0.1:
            want = {name: entry for (place, name), entry in self.data.items() if place == slot}
            view = self.table.freeze(slot)
            self.views.append(Frozen(view, want, view.parts()))

    def look(self, slot: int, key: bytes) -> None:
        """Ask a view for a key, take its next part, or let it go."""
        if not self.views:
            return
        frozen = self.rng.choice(self.views)
        view = frozen.view
        if self.rng.random() < 0.5:
            got = view.get(key)
            if view.index(key) < frozen.next or key not in frozen.want:
                assert got is None
            else:
                assert (got, view.expire_at(key)) == frozen.want[key]
        elif frozen.next < frozen.parts:
            part = frozen.next
            frozen.next += 1
            taken = {name: (value, view.expire_at(name)) for name, value in view.take(part).items()}
            assert taken == {name: entry for name, entry in frozen.want.items() if view.index(name) == part}
        else:
            self.views.remove(frozen)
            if self.rng.random() < 0.5:
                view.close()

    def chance(self, slot: int, key: bytes) -> None:
        volatile = self.rng.random() < 0.5
        for place, name, _clock, at in self.table.sample(3, volatile):
            assert self.data[place, name][1] == at
            assert at or not volatile

    def clear(self, slot: int, key: bytes) -> None:
        if self.rng.random() < 0.003:
            containers: list[object] = []
            gone = [place for place in self.data if place[0] == slot]
            boxes = sum(isinstance(self.data[place][0], Box) for place in gone)
            if self.rng.random() < 0.5 and self.table.condemn_slot(slot):
                self.condemned += boxes
            else:
                self.table.clear_slot(slot, containers)
                assert len(containers) == boxes
            for place in gone:
                del self.data[place]

    def free(self, slot: int, key: bytes) -> None:
        """Some of the condemned; more is there as long as the table says so."""
        containers: list[object] = []
        more = self.table.free_condemned(self.rng.randrange(1, 20), containers)
        self.condemned -= len(containers)
        assert more or self.condemned == 0

    ACTIONS = (set, set, set, set_until, put, set_expire, incr, patch, read, read, expire, freeze, look, look, chance,
               clear, free)  # fmt: skip

    def check(self) -> None:
        """The table holds what the dict holds."""
        self.table.check()
        assert (self.table.count(-1), self.table.volatile()) == (
            len(self.data),
            sum(1 for entry in self.data.values() if entry[1]),
        )
        for slot in range(self.slots):
            held = {key: (value, at) for key, value, at in self.table.items_in(slot)}
            assert held == {key: entry for (place, key), entry in self.data.items() if place == slot}


def play(seed: int, operations: int, scarce: bool) -> Twin:
    """A twin after so many operations, in phases with more or fewer removals."""
    rng = random.Random(seed)
    count = rng.choice([50, 500, 5000, 20_000])
    keys = [b"key:%d" % i + (b"x" * rng.randrange(600) if i % 20 == 0 else b"") for i in range(count)]
    twin = Twin(rng, rng.choice([1, 3, 40]), keys, scarce)
    in_phases(twin, rng, operations, 10_000, 0.9)
    return twin


def in_phases(twin: Twin, rng: random.Random, operations: int, between_checks: int, most: float) -> None:
    """So many operations, up to `most` of a phase's removals, checked now and then and at the end."""
    removals = 0.1
    for i in range(operations):
        if i % 3000 == 0:
            removals = rng.choice([0.0, 0.1, 0.5, most])
        if i % between_checks == 0:
            twin.check()
        twin.step(removals)
    twin.check()


@pytest.mark.parametrize("scarce", [False, True], ids=["enough", "scarce"])
@pytest.mark.parametrize("seed", range(4))
def test_random_operations_agree_with_a_dict(seed: int, scarce: bool) -> None:
    """Keys, expiry, views and accounts are right throughout, and a refused allocation changes nothing."""
    twin = play(seed, 30_000, scarce)
    assert (twin.refused > 0) == scarce
    twin.views.clear()
    while twin.condemned:
        twin.free(0, b"")
    while twin.table.free_condemned(1000, []):
        pass
    for slot, key in list(twin.data):
        assert twin.table.remove(slot, key, True) is not None
    twin.table.check()
    assert (twin.table.used(), twin.table.viewed()) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("scarce", [False, True], ids=["enough", "scarce"])
@pytest.mark.parametrize("seed", range(10, 16))
def test_many_random_operations_agree_with_a_dict(seed: int, scarce: bool) -> None:
    """As above, two million operations in all, and a dropped table gives all of its memory back."""
    twin = play(seed, 170_000, scarce)
    twin.views.clear()
    while twin.table.drain(16, []):
        pass
    assert twin.table.used() == 0


@chunks
def test_a_table_that_is_dropped_gives_its_chunks_back() -> None:
    """Freed in slices, a hundred thousand entries leave no chunk behind; containers are handed out."""
    table = keytable.KeyTable(1)
    for i in range(100_000):
        table.set(i & 16383, b"key:%d" % i, b"v" * (i % 300))
    table.put(5, b"box", Box(), False)
    assert table.held() > 10_000_000
    found: list[object] = []
    slices = 0
    while table.drain(256, found):
        slices += 1
    assert slices > 50
    assert (table.used(), table.held(), len(found)) == (0, 0, 1)


@chunks
def test_keys_that_go_give_their_chunks_back() -> None:
    """When most keys are deleted, most of the chunks go back to the system."""
    table = keytable.KeyTable(1)
    for i in range(100_000):
        table.set(i & 16383, b"key:%d" % i, b"v" * 50)
    full = table.held()
    for i in range(99_000):
        table.remove(i & 16383, b"key:%d" % i, True)
    table.check()
    assert table.held() < full // 10


CHUNK = 65536
FEW = 16  # 64 buckets or keys may take about this many with them, the last of them through a chain included


def one_slot(expire_at: int) -> "keytable.KeyTable":
    """Two hundred thousand keys, spread over 150 chunks by the chance of their hashes."""
    table = keytable.KeyTable(7)
    for i in range(200_000):
        table.set(5, b"key:%06d" % i, b"value:%06d" % i)
        if expire_at:
            table.set_expire(5, b"key:%06d" % i, expire_at)
    assert table.held() > 100 * CHUNK
    return table


@chunks
def test_the_last_keys_of_a_flushed_slot_go_a_few_chunks_at_a_time() -> None:
    """Nearly all chunks become empty by the last keys, and each takes a system call to go back."""
    table = one_slot(0)
    assert table.condemn_slot(5)
    most, more = 0, True
    while more:
        before = table.held()
        more = table.free_condemned(64, [])
        most = max(most, before - table.held())
    assert table.used() == 0
    assert most <= FEW * CHUNK


@chunks
def test_the_last_keys_that_expire_go_a_few_chunks_at_a_time() -> None:
    """As above, by their time."""
    table = one_slot(1000)
    table.at_time(5000, 1, 0)
    most, seen = 0, 64
    while seen >= 64:
        before = table.held()
        seen = table.expire_due(64, [], [])
        most = max(most, before - table.held())
    assert table.count(-1) == 0
    assert most <= FEW * CHUNK


def test_slots_are_those_of_the_cluster() -> None:
    """The slot that prefetch computes is the one that commands use."""
    from cluster.slots import key_slot

    for key in (b"", b"foo", b"{user1000}.following", b"foo{}{bar}", b"foo{{bar}}zap", b"foo{bar}{zap}", b"{", b"}{a}"):
        assert keytable.slot_of(key) == key_slot(key)


def test_wrong_arguments_are_refused() -> None:
    """A slot outside 0 to 16383, or a key that is not bytes, never reaches the table."""
    table = keytable.KeyTable(1)
    for slot, key in ((16384, b"k"), (5, "k"), (5, None)):
        with pytest.raises(TypeError):
            table.set(slot, key, b"v")
    with pytest.raises(OverflowError):
        table.get(-1, b"k")
    with pytest.raises(TypeError):
        table.set(5, b"k", bytearray(b"v"))
    with pytest.raises(TypeError):
        table.incr_into(b"", 5, b"k", 1)
    assert (table.keys_in(20_000, -1), table.items_in(20_000), table.count(20_000)) == ([], [], 0)
