"""What a store writes of a slot by itself, and the rest written key by key, is what `write_key` writes for each key."""

import random
from collections.abc import Callable

import pytest
from librt.strings import BytesWriter

from node.eviction import CLOCK_MASK, LFU, LRU, NO_CLOCK, lfu_decayed
from node.frozen import Form
from node.keyspace import Store
from node.rdb.encode import write_key
from node.store import PlainStore
from node.types.set import Set

try:
    from node.compact import CompactStore
    from node.keytable import table as keytable
except ImportError:  # the extension is not built: there is one store
    keytable = None  # type: ignore[assignment]

STORES: dict[str, Callable[[int], Store]] = {"plain": PlainStore}
if keytable is not None:
    STORES["compact"] = CompactStore
needs_table = pytest.mark.skipif(keytable is None, reason="the key table is not built")

NOW_MS = 1_790_000_000_000
DECAYS = [0, 1, 7]
NUMBERS = [
    b"0", b"-0", b"00", b"+1", b"-1", b"-", b"01", b"1 ", b"127", b"128", b"-128", b"-129", b"32767", b"32768",
    b"-32768", b"-32769", b"2147483647", b"2147483648", b"-2147483648", b"-2147483649", b"02147483647", b"9999999999",
    b"12345678901", b"-1234567890", b"9223372036854775807", b"-9223372036854775808", b"1.0", b"1e3", b"\xb2", b"-\xb2",
]  # fmt: skip
SIZES = [0, 1, 3, 11, 12, 20, 21, 22, 63, 64, 65, 200, 255, 256, 1023, 1024, 1025, 3000, 16383, 16384, 20_000]


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest) -> Store:
    """An empty store of each implementation."""
    made = STORES[request.param](7)
    made.tick(NOW_MS, (NOW_MS // 1000) & CLOCK_MASK)
    return made


def text(rng: random.Random) -> bytes:
    """A number in one spelling or another, or bytes that compress well or not at all."""
    dice = rng.random()
    if dice < 0.2:
        return rng.choice(NUMBERS)
    if dice < 0.4:
        return b"%d" % rng.randrange(-(1 << rng.randrange(1, 40)), 1 << rng.randrange(1, 40))
    size = rng.choice(SIZES) if dice < 0.5 else rng.randrange(30)
    return rng.randbytes(size) if dice < 0.8 else (b"word" * size)[:size]


def fill(store: Store, rng: random.Random, slots: int, keys: int) -> None:
    """Keys of every length and kind: strings, containers, some to expire, some past, clocks of the past."""
    for _ in range(keys):
        slot = rng.randrange(slots)
        key = b"%d:" % rng.randrange(9) + text(rng) if rng.random() < 0.5 else text(rng)
        if store.peek(slot, key) is not None:
            continue
        dice = rng.random()
        if dice < 0.1:
            store.put(slot, key, Set())
        elif dice < 0.2:
            store.put_raw(slot, key, text(rng))
        elif dice < 0.5:
            store.set_until(slot, key, text(rng), rng.choice([1, NOW_MS - 1, NOW_MS + 5, NOW_MS << 15]))
            continue  # what is past would go when it is looked at
        else:
            store.set(slot, key, text(rng))
        clock = rng.choice([0, rng.randrange(1 << 24), (NOW_MS // 1000 - rng.randrange(99)) & CLOCK_MASK])
        store.set_clock(slot, key, clock)


def written(store: Store, slot: int, form: Form, key: bytes, value: object, expire_at: int) -> bytes:
    """One key as it is written from objects."""
    w = BytesWriter()
    idle = frequency = -1
    clock = store.stored_clock(slot, key) if form.clock else -1
    if clock >= 0 and form.clock == LRU:
        idle = (form.now_ms // 1000 - clock) & CLOCK_MASK
    elif clock >= 0 and form.clock == LFU:
        frequency = lfu_decayed(clock, (form.now_ms // 60000) & 0xFFFF, form.decay)
    write_key(w, key, value, expire_at, idle, frequency, form.compress)
    return w.getvalue()


def forms() -> list[Form]:
    """Every clock, with compression and without."""
    return [
        Form(clock, NOW_MS + 12_345_678, decay, compress)
        for clock in (NO_CLOCK, LRU, LFU)
        for decay in (DECAYS if clock == LFU else [1])
        for compress in (False, True)
    ]


def left_to_python(value: object, key: bytes, compress: bool) -> bool:
    """Whether the key table may not write this."""
    return not isinstance(value, bytes) or len(value) > 1024 or (compress and max(len(key), len(value)) > 20)


@pytest.mark.parametrize("mode", [NO_CLOCK, LRU, LFU])
@pytest.mark.parametrize("seed", range(3))
def test_a_slot_dumped_is_what_is_written_key_by_key(store: Store, seed: int, mode: int) -> None:
    """For a slot of one key the very bytes; for one of many keys each key's once, in whatever order."""
    rng = random.Random(seed)
    store.track_clock(mode)
    fill(store, rng, 3000, 2000)  # mostly one key a slot
    fill(store, rng, 3, 900)
    compact = store.kind == "compact"
    for form in forms():
        for slot in store.occupied_slots():
            items = store.items_in(slot)
            w = BytesWriter()
            w.write(b"before")
            left = store.dump_slot(w, slot, form)
            names = {key for key, _, _ in left}
            direct = [written(store, slot, form, *item) for item in items if item[0] not in names]
            data = w.getvalue()
            assert sorted(left, key=lambda item: item[0]) == sorted(
                (item for item in items if not compact or left_to_python(item[1], item[0], form.compress)),
                key=lambda item: item[0],
            )
            assert len(left) == len(names)
            if len(direct) == 1:
                assert data == b"before" + direct[0]
            assert_made_of(data[len(b"before") :], direct)


def assert_made_of(data: bytes, entries: list[bytes]) -> None:
    """The data is these entries, one behind the other, in some order."""
    waiting = set(entries)
    assert len(waiting) == len(entries)
    sizes = sorted({len(entry) for entry in entries}, reverse=True)
    at = 0
    while at < len(data):
        found = next((data[at : at + size] for size in sizes if data[at : at + size] in waiting), None)
        assert found is not None, data[at : at + 60]
        waiting.remove(found)
        at += len(found)
    assert not waiting


@pytest.mark.parametrize("mode", [NO_CLOCK, LRU, LFU])
@pytest.mark.parametrize("seed", range(3))
def test_a_frozen_slot_dumped_is_what_is_written_key_by_key(store: Store, seed: int, mode: int) -> None:
    """Part by part, while keys of other parts were given out one by one and the slot changes."""
    rng = random.Random(seed)
    store.track_clock(mode)
    for form in forms():
        store.clear()
        fill(store, rng, 1, 700)
        items = {key: (value, at) for key, value, at in store.items_in(0)}
        expected = {key: written(store, 0, form, key, *item) for key, item in items.items()}
        view = store.freeze(0)
        taken: set[bytes] = set()
        done: dict[bytes, object] = {}
        for part in range(view.parts()):
            for key in rng.sample(sorted(items), 9):
                if view.index(key) < part or key in taken:
                    continue
                value, clock = view.get(key), store.stored_clock(0, key)
                assert (value, view.expire_at(key)) == items[key]
                taken.add(key)
                done[key] = value
                if rng.random() < 0.6:  # else it is only said that it would change
                    store.put(0, key, b"another")
                    store.set_clock(0, key, max(clock, 0))
            w = BytesWriter()
            left: dict[bytes, object] = {}
            number = view.dump(w, part, taken, left, form)
            for key in [key for key in left if key in taken]:
                del left[key]
            for key, value in left.items():
                assert (value, view.expire_at(key)) == items[key]
            direct = [key for key in items if view.index(key) == part and key not in taken and key not in left]
            assert number == len(direct)
            assert_made_of(w.getvalue(), [expected[key] for key in direct])
            done.update(left)
            done.update((key, items[key][0]) for key in direct)
        assert done == {key: value for key, (value, _) in items.items()}
        view.close()


def test_a_clock_of_another_kind_is_not_written(store: Store) -> None:
    """After a change of policy an entry has a clock of the old kind until it is used."""
    store.track_clock(LRU)
    store.set(3, b"key", b"value")
    store.track_clock(LFU)
    for form in forms():
        w = BytesWriter()
        left = store.dump_slot(w, 3, form)
        for key, value, at in left:
            w.write(written(store, 3, form, key, value, at))
        assert w.getvalue() == written(store, 3, form, b"key", b"value", 0)


@needs_table
@pytest.mark.parametrize("frozen", [False, True], ids=["slot", "frozen"])
def test_without_memory_nothing_is_written(frozen: bool) -> None:
    """Whichever time the writer can't grow, it is as it was; the next time everything is written once."""
    store = CompactStore(7)
    store.tick(NOW_MS, 1)
    for number in range(600):
        store.set(0, b"key:%d" % number, b"%d" % number * 40)
    form = Form(NO_CLOCK, NOW_MS, 1, False)
    view = store.freeze(0)
    keys = [key for key, _, _ in store.items_in(0) if not frozen or view.index(key) == 0]
    expected = [written(store, 0, form, key, store.peek(0, key), 0) for key in keys]
    failures = 0
    while True:
        w = BytesWriter()
        w.write(b"before")
        keytable.fail_in(failures)
        try:
            if frozen:
                assert view.dump(w, 0, set(), {}, form) == len(keys)
            else:
                assert store.dump_slot(w, 0, form) == []
            break
        except MemoryError:
            failures += 1
            assert w.getvalue() == b"before"
        finally:
            keytable.fail_in(-1)
    assert failures > 2
    assert w.getvalue().startswith(b"before")
    assert_made_of(w.getvalue()[6:], expected)
    store.table.check()
    view.close()


@needs_table
def test_it_asks_for_a_writer() -> None:
    """Anything else is refused before anything is written into it."""
    table = keytable.KeyTable(1)
    with pytest.raises(TypeError):
        table.dump_slot(bytearray(), 0, 0, 0, 0, False)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        table.freeze(0).dump(bytearray(), 0, set(), {}, 0, 0, 0, False)  # type: ignore[arg-type]
    assert table.dump_slot(BytesWriter(), 20_000, 0, 0, 0, False) == []
