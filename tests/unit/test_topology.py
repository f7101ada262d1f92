"""Topologies: merged by epoch, promoted, checked, and kept as JSON."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.topology import (
    MAX_JSON,
    Node,
    Shard,
    Topology,
    TopologyError,
    check,
    even_slots,
    from_json,
    merge,
    slot_owners,
    to_json,
    with_primary,
)  # fmt: skip

A, B, C, D = (letter * 40 for letter in "abcd")


def topology(epochs: tuple[int, int] = (1, 1), service: str = "cache") -> Topology:
    """Two shards with a primary and a replica each."""
    first, second = even_slots(2)
    shards = (
        Shard("cache-0", epochs[0], A, (B,), (first,)),
        Shard("cache-1", epochs[1], C, (D,), (second,)),
    )
    names = {A: "cache-0", B: "cache-0", C: "cache-1", D: "cache-1"}
    return Topology(service, shards, tuple(Node(id, "127.0.0.1", 7000 + n, names[id]) for n, id in enumerate(names)))


def test_json_and_back() -> None:
    """A topology survives its JSON form."""
    assert from_json(to_json(topology())) == topology()


def test_merge_takes_the_newer_record_of_each_shard() -> None:
    """Shard by shard the higher epoch wins, whichever side it is on; nothing newer gives the old one itself."""
    old, new = topology((3, 1)), topology((2, 2))
    merged = merge(old, new)
    assert [shard.epoch for shard in merged.shards] == [3, 2]
    assert merge(merged, new) is merged
    assert merge(None, new) is new


def test_merge_refuses_another_service() -> None:
    """The topology of another service is refused."""
    with pytest.raises(TopologyError, match="service"):
        merge(topology(), topology(service="other"))


def test_promotion() -> None:
    """The promoted replica leads at the new epoch, the old primary follows it; nothing else changes."""
    changed = with_primary(topology(), "cache-0", B, 2)
    assert (changed.shards[0].primary, changed.shards[0].replicas, changed.shards[0].epoch) == (B, (A,), 2)
    assert changed.shards[1] == topology().shards[1]
    assert changed.epoch == 2


@pytest.mark.parametrize(("shard", "node", "epoch"), [("cache-9", B, 2), ("cache-0", C, 2), ("cache-0", B, 1)])
def test_promotions_that_are_refused(shard: str, node: str, epoch: int) -> None:
    """No unknown shard, no stranger, no epoch that is not newer."""
    with pytest.raises(TopologyError):
        with_primary(topology(), shard, node, epoch)


def test_two_owners_of_a_slot_are_refused() -> None:
    """Ranges that overlap are refused, in one shard or two."""
    good = topology()
    shards = (good.shards[0], msgspec.structs.replace(good.shards[1], slots=((8191, 16383),)))
    with pytest.raises(TopologyError, match="8191"):
        check(Topology("cache", shards, good.nodes))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'{"service":1,"shards":[],"nodes":[]}', b'{"service":"../x","shards":[],"nodes":[]}',
     b"\xff", to_json(topology()).replace(b"7000", b"70000"), to_json(topology()).replace(b"a" * 40, b"a" * 39),
     to_json(topology()).replace(b"16383", b"16384"), b" " * (MAX_JSON + 1)],
)  # fmt: skip
def test_what_is_no_topology_is_refused(data: bytes) -> None:
    """Bytes that are too many, malformed or unsound raise TopologyError and nothing else."""
    with pytest.raises(TopologyError):
        from_json(data)


@given(st.integers(1, 1000))
def test_even_slots_cover_all(shards: int) -> None:
    """Every slot has one owner, and shares differ by at most one."""
    ranges = even_slots(shards)
    assert [slot for first, last in ranges for slot in range(first, last + 1)] == list(range(16384))
    sizes = {last - first for first, last in ranges}
    assert max(sizes) - min(sizes) <= 1


def test_owners() -> None:
    """The table of owners names the shard of each slot."""
    owners = slot_owners(topology())
    assert (owners[0], owners[16383]) == topology().shards
