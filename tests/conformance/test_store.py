"""Every implementation of Store does the same: random operations against a dict, walks, chance, accounts."""

import random
from collections.abc import Callable
from itertools import islice

import pytest
from librt.strings import BytesWriter

from cluster.slots import key_slot
from node.keyspace import DONE, MISSING, NOT_AN_INTEGER, OVERFLOW, WRONG_TYPE, Store, Value
from node.store import PlainStore

STORES: dict[str, Callable[[int], Store]] = {"plain": PlainStore}
try:
    from node.compact import CompactStore as Compact

    STORES["compact"] = Compact
except ImportError:  # the extension is not built: there is one store

    class Compact(PlainStore):  # type: ignore[no-redef]
        """Never made."""


class Bag(Value):
    """A container whose size the test sets."""

    def __init__(self, size: int) -> None:
        self.size = size

    def type_name(self) -> bytes:
        return b"bag"

    def encoding(self) -> bytes:
        return b"plain"

    def copy(self) -> "Bag":
        return Bag(self.size)

    def used_bytes(self) -> int:
        return self.size


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest) -> Store:
    """An empty store of each implementation, at time 1000 s."""
    made = STORES[request.param](7)
    made.tick(1_000_000, 1000)
    return made


def read(store: Store, key: bytes) -> tuple[int, bytes]:
    """The code and the bytes written by get_into."""
    writer = BytesWriter()
    return store.get_into(writer, key_slot(key), key), writer.getvalue()


class Model:
    """A store as one dict: key -> (value, expiry, raw)."""

    def __init__(self, store: Store, rng: random.Random, keys: list[bytes]) -> None:
        self.store = store
        self.rng = rng
        self.keys = keys
        self.data: dict[bytes, tuple[object, int, bool]] = {}
        self.now = 1_000_000
        self.deletions = 0.0  # share of deletions, beside those among the actions

    def live(self, key: bytes) -> tuple[object, int, bool] | None:
        """The model's entry, removed when its time has come."""
        entry = self.data.get(key)
        if entry is not None and entry[1] and self.now > entry[1]:
            del self.data[key]
            return None
        return entry

    def step(self) -> None:
        """One random operation on both."""
        key = self.rng.choice(self.keys)
        action = Model.delete if self.rng.random() < self.deletions else self.rng.choice(self.ACTIONS)
        action(self, key, key_slot(key))

    def get(self, key: bytes, slot: int) -> None:
        entry = self.live(key)
        if entry is None:
            assert read(self.store, key) == (MISSING, b"")
            assert self.store.get(slot, key) is None
        elif isinstance(entry[0], bytes):
            assert read(self.store, key) == (DONE, b"$%d\r\n%b\r\n" % (len(entry[0]), entry[0]))
            assert self.store.peek(slot, key) == entry[0]
        else:
            assert read(self.store, key) == (WRONG_TYPE, b"")
            assert self.store.get(slot, key) is entry[0]

    def set(self, key: bytes, slot: int) -> None:
        value = self.rng.choice([b"%d" % self.rng.randrange(99), self.rng.randbytes(self.rng.randrange(80))])
        self.store.set(slot, key, value)
        self.data[key] = (value, 0, False)

    def set_until(self, key: bytes, slot: int) -> None:
        at = self.now + self.rng.randrange(1, 5000)
        self.store.set_until(slot, key, b"soon", at)
        self.data[key] = (b"soon", at, False)

    def put(self, key: bytes, slot: int) -> None:
        entry = self.live(key)
        value: object = self.rng.choice([Bag(self.rng.randrange(100)), b"text"])
        self.store.put(slot, key, value)
        self.data[key] = (value, entry[1] if entry else 0, False)

    def grow(self, key: bytes, slot: int) -> None:
        entry = self.live(key)
        if entry and isinstance(entry[0], Bag):
            more = self.rng.randrange(50)
            entry[0].size += more
            self.store.grew(slot, key, more)

    def incr(self, key: bytes, slot: int) -> None:
        entry = self.live(key)
        by = self.rng.choice([1, -1, 5000, 1 << 62])
        writer = BytesWriter()
        code = self.store.incr_into(writer, slot, key, by)
        old = entry[0] if entry else b"0"
        if not isinstance(old, bytes):
            assert code == WRONG_TYPE
        elif not old.lstrip(b"-").isdigit() or b"%d" % int(old) != old:
            assert code == NOT_AN_INTEGER
        elif not -(1 << 63) <= int(old) + by < 1 << 63:
            assert code == OVERFLOW
        else:
            assert (code, writer.getvalue()) == (DONE, b":%d\r\n" % (int(old) + by))
            self.data[key] = (b"%d" % (int(old) + by), entry[1] if entry else 0, False)

    def delete(self, key: bytes, slot: int) -> None:
        assert self.store.delete(slot, key) == (self.live(key) is not None)
        self.data.pop(key, None)

    def raw(self, key: bytes, slot: int) -> None:
        entry = self.live(key)
        if entry and self.store.peek(slot, key) is not None:
            self.store.set_raw(slot, key)
            self.data[key] = (entry[0], entry[1], True)

    def put_raw(self, key: bytes, slot: int) -> None:
        entry = self.live(key)
        value = self.rng.randbytes(self.rng.randrange(3000))
        self.store.put_raw(slot, key, value)
        self.data[key] = (value, entry[1] if entry else 0, True)

    def discard(self, key: bytes, slot: int) -> None:
        assert self.store.discard(slot, key) == (self.live(key) is not None)
        self.data.pop(key, None)
        self.store.reap(10)

    def lives(self, key: bytes, slot: int) -> None:
        assert self.store.lives(slot, key) == (self.live(key) is not None)

    def chance(self, key: bytes, slot: int) -> None:
        drawn = self.store.random_key()
        if drawn is None:
            assert not any(self.live(name) for name in list(self.data))
        else:
            assert self.live(drawn) is not None

    def expire(self, key: bytes, slot: int) -> None:
        at = self.rng.choice([0, self.now + self.rng.randrange(1, 3000), self.now + 10_000])
        entry = self.live(key)
        assert self.store.set_expire(slot, key, at) == (entry is not None)
        if entry:
            self.data[key] = (entry[0], at, entry[2])

    def times(self, key: bytes, slot: int) -> None:
        entry = self.live(key)
        assert self.store.expire_at(slot, key) == (-1 if entry is None else entry[1])
        assert entry is None or self.store.is_raw(slot, key) == entry[2]

    def tick(self, key: bytes, slot: int) -> None:
        self.now += self.rng.randrange(300)
        self.store.tick(self.now, self.now // 1000)

    def active(self, key: bytes, slot: int) -> None:
        assert self.store.expire_due(5) <= 5

    ACTIONS = (get, get, set, set, set_until, put, grow, incr, delete, raw, expire, times, tick, active,
               put_raw, discard, lives, chance)  # fmt: skip

    def check(self) -> None:
        """Both hold the same."""
        for key in list(self.data):
            self.live(key)
        assert sorted(self.store.all_keys()) == sorted(self.data)
        for key in self.keys:
            self.get(key, key_slot(key))
            self.times(key, key_slot(key))
        assert self.store.count() == len(self.data)
        assert self.store.volatile_count() == sum(1 for entry in self.data.values() if entry[1])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", [b"k%d", b"{one}%d"])
@pytest.mark.parametrize("clock", [0, 1, 2])
def test_random_operations_agree_with_a_dict(store: Store, seed: int, form: bytes, clock: int) -> None:
    """Ten thousand operations leave the store as a plain dict would be, spread over slots or all in one."""
    store.track_clock(clock)
    model = Model(store, random.Random(seed), [form % i for i in range(60 if seed % 2 else 3000)])
    for _ in range(10_000):
        model.step()
    model.check()
    for key in model.keys:
        store.delete(key_slot(key), key)
    assert (store.count(), store.volatile_count(), store.used_bytes()) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("form", [b"k%d", b"{one}%d"])
@pytest.mark.parametrize("clock", [0, 2])
def test_a_million_random_operations_agree_with_a_dict(store: Store, form: bytes, clock: int) -> None:
    """In phases in which keys come, and others in which nearly all are deleted."""
    store.track_clock(clock)
    model = Model(store, random.Random(11), [form % i for i in range(30_000)])
    for phase in range(10):
        model.deletions = 0.95 if phase % 3 == 2 else 0.0
        for _ in range(25_000):
            model.step()
        model.check()
    store.clear()
    while store.reap(100):
        pass
    assert (store.count(), store.volatile_count(), store.used_bytes()) == (0, 0, 0)


@pytest.mark.parametrize("form", [b"k%d", b"{one}%d"])
@pytest.mark.parametrize("count", [300, 6000])
def test_a_frozen_slot_stays_as_it_was(store: Store, form: bytes, count: int) -> None:
    """While its slot grows tenfold and is emptied, what was frozen shows every key with its value and time, once."""
    keys = [form % i for i in range(count)]
    slot = key_slot(keys[0])
    for i, key in enumerate(keys):
        if i % 3:
            store.set(key_slot(key), key, b"%d" % i * (i % 50 + 1))
        else:
            store.set_until(key_slot(key), key, b"%d" % i, 2_000_000 + i)
    want = {key: (value, at) for key, value, at in store.items_in(slot)}
    frozen = [store.freeze(slot), store.freeze(slot)]
    rng = random.Random(3)
    shown: dict[bytes, tuple[object, int]] = {}
    next_part = 0
    for i in range(count * 10):
        key = form % rng.randrange(count * 10)
        rng.choice([
            lambda key=key: store.set(key_slot(key), key, b"new"),
            lambda key=key: store.delete(key_slot(key), key),
            lambda key=key: store.set_expire(key_slot(key), key, 3_000_000),
        ])()  # fmt: skip
        if i % 100 == 0 and next_part < frozen[0].parts():
            shown |= {key: (value, frozen[0].expire_at(key)) for key, value in frozen[0].take(next_part).items()}
            next_part += 1
    for i in range(count * 10):
        store.delete(key_slot(form % i), form % i)
    while next_part < frozen[0].parts():
        shown |= {key: (value, frozen[0].expire_at(key)) for key, value in frozen[0].take(next_part).items()}
        next_part += 1
    assert shown == want
    assert {key: (frozen[1].get(key), frozen[1].expire_at(key)) for key in want} == want
    assert frozen[1].get(form % (count * 10)) is None
    for view in frozen:
        view.close()
    assert (store.count(), store.used_bytes()) == (0, 0)


@pytest.mark.parametrize("form", [b"k%d", b"{one}%d"])
def test_when_every_key_expires_none_stays(store: Store, form: bytes) -> None:
    """Twenty thousand keys of random times, a third of which are put off, are removed at theirs and not before."""
    rng = random.Random(5)
    times = {form % i: 1_000_000 + rng.randrange(1, 60_000) for i in range(20_000)}
    for key, at in times.items():
        store.set_until(key_slot(key), key, b"v", at)
    for key in list(times)[::3]:
        times[key] += 30_000
        store.set_expire(key_slot(key), key, times[key])
    for now in range(1_000_000, 1_100_000, 1000):
        store.tick(now, now // 1000)
        while store.expire_due(64) >= 64:
            pass
        gone, store.expired = store.expired, []
        assert all(times.pop(key) < now for key in gone)
        assert all(at >= now - 128 for at in times.values())
    assert (times, store.count(), store.volatile_count(), store.used_bytes()) == ({}, 0, 0, 0)


def test_accounts_follow_each_change(store: Store) -> None:
    """What a change adds to used_bytes, undoing it takes away, for values, expiry and access clocks."""
    for clock in (0, 1, 2):
        store.track_clock(clock)
        levels = [store.used_bytes()]
        for i in range(300):
            key = b"{t}%d" % i
            levels.append(store.used_bytes())
            store.set(key_slot(key), key, b"v" * i)
            store.set_expire(key_slot(key), key, 9_000_000)
            store.get(key_slot(key), key)
        for i in reversed(range(300)):
            key = b"{t}%d" % i
            store.set_expire(key_slot(key), key, 0)
            store.delete(key_slot(key), key)
            # Buckets go later than they come, and chains differ: that is up to some 32 bytes a key.
            slack = i * 32 + 192 if isinstance(store, Compact) else 0
            assert abs(store.used_bytes() - levels.pop()) <= slack
        assert store.used_bytes() == 0


def test_clearing_a_slot_leaves_the_others(store: Store) -> None:
    """clear(slot) removes that slot's keys with their bytes; clear() removes all."""
    for i in range(5000):
        key = b"{a}%d" % i if i % 2 else b"{b}%d" % i
        store.set_until(key_slot(key), key, b"x", 5_000_000)
    half = store.used_bytes() // 2
    store.clear(key_slot(b"a"))
    assert store.count() == store.volatile_count() == store.count(key_slot(b"b")) == 2500
    assert store.count(key_slot(b"a")) == 0
    assert not [key for key in store.all_keys() if key.startswith(b"{a}")]
    store.set(key_slot(b"a"), b"{a}1", b"again")
    while store.reap(1):  # many keys are freed later
        pass
    assert (store.count(key_slot(b"a")), store.get(key_slot(b"a"), b"{a}1")) == (1, b"again")
    store.delete(key_slot(b"a"), b"{a}1")
    assert abs(store.used_bytes() - half) < half // 100
    store.clear()
    assert (store.count(), store.volatile_count(), store.used_bytes(), store.random_key()) == (0, 0, 0, None)
    assert store.scan(0, 10) == (0, [])


def scan_all(store: Store, between: Callable[[], None], want: int = 10, slot: int = -1) -> list[bytes]:
    """Every key that a whole SCAN returns, with `between` called after each step."""
    seen: list[bytes] = []
    cursor = 0
    for _ in range(100_000):
        cursor, keys = store.scan(cursor, want, slot)
        seen += keys
        if cursor == 0:
            return seen
        between()
    raise AssertionError("SCAN does not end")


@pytest.mark.parametrize("form", [b"k%d", b"{one}%d", b"{t%%d}%d"])
def test_scan_of_a_resting_store_returns_each_key_once(store: Store, form: bytes) -> None:
    """Without writes no key is returned twice and none is missed, whatever their spread over slots."""
    form = form.replace(b"%%d", b"1")
    for count in (1, 5, 100, 1024, 1025, 1500, 7000):
        store.clear()
        keys = [form % i for i in range(count)]
        for key in keys:
            store.set(key_slot(key), key, b"v")
        assert sorted(scan_all(store, lambda: None)) == sorted(keys)
        assert sorted(scan_all(store, lambda: None, slot=key_slot(keys[0]))) == sorted(
            key for key in keys if key_slot(key) == key_slot(keys[0])
        )


@pytest.mark.parametrize("form", [b"k%d", b"{one}%d"])
@pytest.mark.parametrize(("start", "step"), [(200, 37), (5000, 211), (900, 60)])
def test_scan_returns_what_was_there_all_the_time(store: Store, form: bytes, start: int, step: int) -> None:
    """Keys present from the first call to the last are returned while others come (10 times as many) and go."""
    stay = [form % i for i in range(start)]
    for key in stay:
        store.set(key_slot(key), key, b"v")
    more = iter([form % i for i in range(start, start * 11)])
    grown: list[bytes] = []

    def churn() -> None:
        come = list(islice(more, step))
        for key in come:
            store.set(key_slot(key), key, b"v")
        grown.extend(come)
        if not come:
            for _ in range(min(step * 3, len(grown))):
                key = grown.pop()
                store.delete(key_slot(key), key)

    assert set(stay) <= set(scan_all(store, churn))


def test_scan_returns_what_stays_while_a_slot_shrinks(store: Store) -> None:
    """Keys that stay are returned although 95 of 100 keys of their slot go during the scan."""
    keys = [b"{one}%d" % i for i in range(20_000)]
    for key in keys:
        store.set(key_slot(key), key, b"v")
    stay = keys[::20]
    go = [key for i, key in enumerate(keys) if i % 20]

    def shrink() -> None:
        for _ in range(min(400, len(go))):
            key = go.pop()
            store.delete(key_slot(key), key)

    assert set(stay) <= set(scan_all(store, shrink))


def test_scan_takes_any_cursor(store: Store) -> None:
    """A cursor that no call returned does no harm, and the scan still ends."""
    for i in range(3000):
        key = b"{one}%d" % i
        store.set(key_slot(key), key, b"v")
    rng = random.Random(1)
    for _ in range(200):
        cursor = rng.getrandbits(rng.randrange(1, 63))
        for _ in range(1000):
            cursor, _keys = store.scan(cursor, 10)
            if cursor == 0:
                break
        assert cursor == 0


def test_a_giant_slot_is_returned_in_pieces(store: Store) -> None:
    """100,000 keys under one hash tag: no step returns more than a part of them."""
    for i in range(100_000):
        key = b"{one}%d" % i
        store.set(8, key, b"v")
    cursor = 0
    steps = 0
    while True:
        cursor, keys = store.scan(cursor, 10, 8)
        steps += 1
        assert len(keys) < 1000
        if cursor == 0:
            break
    assert steps > 300


@pytest.mark.parametrize("form", [b"k%d", b"{one}%d"])
@pytest.mark.parametrize("count", [50, 3000])
def test_chance_reaches_every_key_alike(store: Store, form: bytes, count: int) -> None:
    """random_key and sample draw every key, none much more often than the others."""
    keys = [form % i for i in range(count)]
    for key in keys:
        store.set_until(key_slot(key), key, b"v", 99_000_000)
    drawn = dict.fromkeys(keys, 0)
    for _ in range(count * 15):
        key = store.random_key()
        assert key is not None
        drawn[key] += 1
    for slot, key, clock, at in store.sample(count * 15, True):
        assert (slot, clock, at) == (key_slot(key), -1, 99_000_000)
        drawn[key] += 1
    assert min(drawn.values()) > 3
    assert max(drawn.values()) < 80


def test_volatile_sample_meets_only_keys_with_expiry(store: Store) -> None:
    """sample(volatile) leaves keys out that never expire; without any it is empty."""
    for i in range(1000):
        store.set(key_slot(b"%d" % i), b"%d" % i, b"v")
    assert store.sample(5, True) == []
    store.set_expire(key_slot(b"7"), b"7", 5_000_000)
    assert {key for _, key, _, _ in store.sample(5, True)} == {b"7"}


def test_active_expiry_removes_in_pieces(store: Store) -> None:
    """Due keys go by the limit a call, are listed for propagation, and keys whose time was moved stay."""
    for i in range(1000):
        store.set_until(key_slot(b"%d" % i), b"%d" % i, b"v", 1_000_500 + i)
    for i in range(100):
        store.set_expire(key_slot(b"%d" % i), b"%d" % i, 9_000_000)
    for i in range(100, 200):
        store.set(key_slot(b"%d" % i), b"%d" % i, b"lasts")
    assert store.expire_due(100) == 0
    store.tick(1_005_000, 1005)
    assert store.expire_due(300) == 300
    while store.expire_due(300):
        pass
    assert (store.count(), len(store.expired), store.expired_count) == (200, 800, 800)
    store.tick(9_000_200, 9000)
    assert store.expire_due(1000) == 100
    assert (store.count(), store.volatile_count()) == (100, 0)


def test_a_key_lives_in_its_last_millisecond(store: Store) -> None:
    """A key is gone only after its time, and then it is listed once."""
    store.set_until(5, b"k", b"v", 1_000_010)
    store.tick(1_000_010, 1000)
    assert store.get(5, b"k") == b"v"
    assert store.lives(5, b"k")
    store.tick(1_000_011, 1000)
    assert (store.lives(5, b"k"), store.lives(5, b"none"), store.expired) == (False, False, [])
    assert store.get(5, b"k") is None
    assert store.delete(5, b"k") is False
    assert store.expired == [b"k"]


def test_a_replica_hides_what_expired(store: Store) -> None:
    """With keep_expired nothing is removed; with ignore_expiry the key is there for the primary's stream."""
    store.keep_expired = True
    store.set_until(5, b"k", b"v", 1_000_010)
    store.tick(1_000_500, 1000)
    assert store.get(5, b"k") is None
    assert store.expire_due(10) == 0
    assert (store.count(), store.expired, store.all_keys()) == (1, [], [])
    store.ignore_expiry = True
    assert store.get(5, b"k") == b"v"
    assert store.expire_at(5, b"k") == 1_000_010
    assert store.all_keys() == [b"k"]


def test_lru_clock_follows_access(store: Store) -> None:
    """Reads and writes set the clock, peek does not, set_clock does; without a policy it may be that of the slot."""
    store.set(5, b"k", b"v")
    assert store.clock_of(5, b"k") == 1000
    store.track_clock(1)
    store.tick(1_007_000, 1007)
    store.get(5, b"k")
    store.tick(1_009_000, 1009)
    store.peek(5, b"k")
    assert store.clock_of(5, b"k") == 1007
    store.set_clock(5, b"k", 44)
    assert store.clock_of(5, b"k") == 44
    store.no_touch = True
    store.get(5, b"k")
    assert store.clock_of(5, b"k") == 44
    assert store.clock_of(5, b"none") == -1


def test_lfu_counter_grows_slowly_and_decays(store: Store) -> None:
    """A thousand reads in a minute give a counter between 8 and 30; it loses one a minute afterwards."""
    store.track_clock(2)
    store.set(5, b"k", b"v")
    assert store.clock_of(5, b"k") & 255 == 5
    for _ in range(1000):
        store.get(5, b"k")
    hot = store.clock_of(5, b"k") & 255
    assert 8 < hot < 30
    store.tick(1_000_000 + 7 * 60_000, 1420)
    store.get(5, b"k")
    assert hot - 7 <= store.clock_of(5, b"k") & 255 <= hot - 6


def test_items_in_gives_a_slot_with_its_times(store: Store) -> None:
    """Snapshots read (key, value, expiry) of a slot, and occupied_slots names the slots that hold keys."""
    store.set(5, b"a", b"1")
    store.set_until(5, b"b", b"2", 7_000_000)
    store.set(9, b"c", b"3")
    assert sorted(store.items_in(5)) == [(b"a", b"1", 0), (b"b", b"2", 7_000_000)]
    assert store.occupied_slots() == [5, 9]
    assert store.keys_in(5, 1) in ([b"a"], [b"b"])


def test_key_bytes_grows_with_the_value(store: Store) -> None:
    """MEMORY USAGE: a longer value costs more, an expiry too, and a missing key answers -1."""
    store.set(5, b"k", b"v" * 10)
    small = store.key_bytes(5, b"k", 5)
    store.set(5, b"k", b"v" * 1000)
    large = store.key_bytes(5, b"k", 5)
    assert 900 < large - small < 1100
    store.set_expire(5, b"k", 9_000_000)
    assert store.key_bytes(5, b"k", 5) > large
    assert store.key_bytes(5, b"none", 5) == -1


def test_a_session_that_renews_its_expiry_costs_no_memory(store: Store) -> None:
    """Setting the same keys with a new expiry over and over leaves a bounded number of entries to look at."""
    for i in range(20_000):
        store.tick(1_000_000 + i * 10, 1000 + i // 100)
        key = b"%d" % (i % 50)
        store.delete(key_slot(key), key)
        store.set_until(key_slot(key), key, b"v", store.now_ms + 3_600_000)
    store.tick(9_000_000, 9000)
    looked = 0
    while True:
        step = store.expire_due(100)
        looked += step
        if step == 0:
            break
    assert looked < 3000
    assert store.count() == 0


def test_emptying_small_databases_leaves_nothing_behind(store: Store) -> None:
    """Their tables do not wait for a turn of the loop: emptying one all the time fills nothing."""
    for _ in range(50):
        store.set(5, b"text", b"x" * 100)
        store.put(6, b"bag", Bag(100))
        store.clear()
    assert not store.reap(1)
    assert store.count() == store.used_bytes() == 0
