"""Streams in memory against models; the RDB form, whole and damaged."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.rdb.decode import restore
from node.rdb.encode import crc64, dump
from node.rdb.reader import RdbError
from node.types import listpack
from node.types.stream import LIMITS, Stream, radix_nodes
from node.types.streamgroup import Group, SortedIds
from node.types.streamid import ID_MAX, BadId, format_id, make_id, parse_id, parse_range_id

FIELDS = [[b"a", b"b"], [b"a"], [b"", b"x" * 70], [b"1", b"-5"]]
VALUES = [b"", b"1", b"-7", b"127", b"4095", b"70000", b"9223372036854775807", b"text", b"y" * 64, b"z" * 5000, b"01"]
STEPS = [1, 2, 1 << 64, (1 << 64) - 3, 5 << 64, 1 << 100, (1 << 63) + 1, 1 << 127]


def entries(
    stream: Stream, start: int = 0, end: int = ID_MAX, limit: int = 0, *, reverse: bool = False
) -> list[object]:
    """What a range of the stream holds, as pairs of ID and fields."""
    ids: list[int] = []
    found: list[list[bytes]] = []
    (stream.collect_reverse if reverse else stream.collect)(start, end, limit, ids, found)
    return list(zip(ids, found, strict=True))


@pytest.fixture(params=[(4096, 100), (0, 3), (120, 0)], ids=["stock", "3entries", "120bytes"])
def limits(request: pytest.FixtureRequest) -> None:
    """Different bounds of blocks."""
    LIMITS.bytes, LIMITS.entries = request.param


@pytest.mark.parametrize("seed", range(6))
def test_streams_follow_a_model(limits: object, seed: int) -> None:
    """Adding, removing, trimming, copying and reloading leave what a plain dict would hold, and true accounts."""
    rng = Random(seed)
    stream, model = Stream(), dict[int, list[bytes]]()
    for _ in range(600):
        what = rng.random()
        if what < 0.6 and stream.last_id < ID_MAX - (1 << 101):
            id = stream.last_id + rng.choice(STEPS[:6])
            pairs = [item for field in rng.choice(FIELDS) for item in (field, rng.choice(VALUES))]
            stream.append(id, [b"key", *pairs], 1)
            model[id] = pairs
        elif what < 0.75 and model:
            id = rng.choice(list(model)) if rng.random() < 0.8 else rng.randrange(stream.last_id + 2)
            assert stream.delete(id) == (model.pop(id, None) is not None)
            stream.find_first()
        elif what < 0.79:
            keep = rng.randrange(len(model) + 2)
            gone = stream.trim_length(keep, False, 0)
            assert gone == max(len(model) - keep, 0)
            model = dict(list(model.items())[gone:])
        elif what < 0.83 and model:
            low = rng.choice(list(model)) + rng.choice([0, 1])
            assert stream.trim_id(low, False, 0) == sum(id < low for id in model)
            model = {id: pairs for id, pairs in model.items() if id >= low}
        elif what < 0.86:
            before = list(model)
            gone = stream.trim_length(len(model) // 2, True, rng.choice([0, 1, 5]))
            model = {id: model[id] for id in before[gone:]}
        elif what < 0.9:
            stream = stream.copy()
        elif what < 0.94:
            payload = dump(stream)
            again = restore(payload)
            assert isinstance(again, Stream)
            assert dump(again) == payload
            assert again.used_bytes() == stream.used_bytes()
            stream = again
        start, end = sorted([rng.choice([0, ID_MAX, *model]), rng.choice([0, ID_MAX, *model])])
        wanted = [(id, pairs) for id, pairs in model.items() if start <= id <= end]
        limit = rng.choice([0, 1, 3])
        assert entries(stream, start, end, limit) == (wanted[:limit] if limit else wanted)
        assert entries(stream, start, end, limit, reverse=True) == (wanted[::-1][:limit] if limit else wanted[::-1])
        assert stream.length == len(model)
        assert stream.last_valid_id() == max(model, default=0)
        assert stream.first_id == min(model, default=0)
    for block in stream.blocks:
        listpack.validate(block.packed())


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 400)), max_size=300))
def test_sorted_ids_follow_a_model(steps: list[tuple[bool, int]]) -> None:
    """IDs come out in order after any insertions and removals."""
    ids, model = SortedIds(), set[int]()
    for add, id in steps:
        if add and id not in model:
            ids.add(id)
            model.add(id)
        elif not add and id in model:
            ids.remove(id)
            model.discard(id)
    assert ids.range(0, 400, -1) == sorted(model)
    assert ids.range(100, 300, 7) == [id for id in sorted(model) if 100 <= id <= 300][:7]
    assert ids.count == len(model)


def test_sorted_ids_stay_in_order_when_they_are_many() -> None:
    """Thousands of IDs in any order split and empty chunks."""
    rng = Random(3)
    order = list(range(5000))
    rng.shuffle(order)
    ids = SortedIds()
    for id in order:
        ids.add(id)
    rng.shuffle(order)
    for id in order[:4000]:
        ids.remove(id)
    assert ids.range(0, ID_MAX, -1) == sorted(order[4000:])
    assert (ids.first(), ids.last()) == (min(order[4000:]), max(order[4000:]))


def trie_nodes(keys: list[bytes]) -> int:
    """Nodes of a radix tree by its definition."""
    if len(keys) == 1:
        return 2 if keys[0] else 1
    shared = 0
    while len({key[shared] for key in keys}) == 1:
        shared += 1
    children: dict[int, list[bytes]] = {}
    for key in keys:
        children.setdefault(key[shared], []).append(key[shared + 1 :])
    return (shared > 0) + 1 + sum(trie_nodes(group) for group in children.values())


ANY_ID = st.one_of(st.integers(0, 300), st.integers(0, ID_MAX), st.integers(1 << 64, (1 << 64) + 70000))


@given(st.sets(ANY_ID, max_size=40))
def test_radix_nodes_count_a_radix_tree(keys: set[int]) -> None:
    """The figure is that of a radix tree over the same keys."""
    wanted = trie_nodes([key.to_bytes(16, "big") for key in sorted(keys)]) if keys else 1
    assert radix_nodes(sorted(keys)) == wanted


@given(st.integers(0, ID_MAX))
def test_ids_are_read_as_they_are_written(id: int) -> None:
    """An ID survives its text form."""
    assert parse_id(format_id(id), 0) == id


@pytest.mark.parametrize(
    "text", [b"", b"x", b"1-", b"-1", b"1-2-3", b"1--5", b"18446744073709551616", b"1" * 200, b"(1"]
)
def test_bad_ids_are_refused(text: bytes) -> None:
    """What is no ID raises BadId."""
    with pytest.raises(BadId):
        parse_range_id(text, 0)


def busy_stream() -> Stream:
    """A stream with blocks, tombstones, groups, consumers and pending entries."""
    LIMITS.entries = 4
    stream = Stream()
    for n in range(1, 12):
        stream.append(make_id(n, 5 - n % 3), [b"f", b"%d" % n, b"g", b"value"] if n % 4 else [b"other", b"x"], 0)
    LIMITS.entries = 100
    stream.delete(make_id(5, 3))
    group = Group(make_id(9, 5), 9)
    stream.groups[b"g"] = group
    for number, name in enumerate((b"one", b"two", b"idle")):
        consumer = group.add_consumer(name, 1000 + number)
        for n in range(1 + number, 9, 3) if number < 2 else ():
            group.deliver(make_id(n, 5 - n % 3), consumer, 2000, n)
    stream.groups[b"empty"] = Group(0, -1)
    return stream


def test_groups_survive_copy_and_reload() -> None:
    """Groups, consumers and pending entries come back, and a copy changes on its own."""
    stream = busy_stream()
    payload = dump(stream)
    twin = stream.copy()
    again = restore(payload)

    twin.groups[b"g"].acknowledge(make_id(1, 4))
    twin.groups[b"g"].remove_consumer(twin.groups[b"g"].consumers[b"two"])
    twin.append(ID_MAX, [b"a", b"b"], 0)

    assert dump(stream) == payload == dump(again)
    assert dump(twin) != payload


@settings(deadline=None, max_examples=600)
@given(st.data())
def test_damaged_payloads_are_refused_or_sound(data: st.DataObject) -> None:
    """A payload with wrong bytes and a right checksum is refused, or makes a stream that all reads survive."""
    body = bytearray(dump(busy_stream())[:-8])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 3))
        if data.draw(st.booleans()):
            body[place] = data.draw(st.integers(0, 255))
        else:
            del body[place : place + data.draw(st.integers(1, 4))]
    payload = bytes(body) + crc64(bytes(body)).to_bytes(8, "little")
    try:
        value = restore(payload)
    except RdbError:
        return
    if isinstance(value, Stream):
        assert len(entries(value)) == value.length
        assert entries(value, reverse=True) == entries(value)[::-1]
        value.append(ID_MAX, [b"f", b"v"], 0) if value.last_id < ID_MAX else None
        value.trim_length(1, False, 0)
        for group in value.groups.values():
            assert sum(c.pending.count for c in group.consumers.values()) == len(group.pending) == group.order.count
        dump(value)
