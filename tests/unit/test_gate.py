"""The cluster gate: what a node answers for slots that are its own, another's, its primary's, or nobody's."""

from __future__ import annotations

import pytest

from cluster.topology import Node, Shard, Topology, TopologyError, with_primary
from node.gate import DOWN, UNSERVED, Gate

A, B, C = (letter * 40 for letter in "abc")
NODES = (
    Node(A, "10.0.0.1", 7000, "s-0", 7100),
    Node(B, "10.0.0.2", 7001, "s-0"),
    Node(C, "10.0.0.3", 7002, "s-1"),
)


def topology(last: int = 16383) -> Topology:
    """A and its replica B own the lower half, C the upper up to `last`."""
    return Topology("s", (Shard("s-0", 1, A, (B,), ((0, 8191),)), Shard("s-1", 1, C, (), ((8192, last),))), NODES)


def gate(node: str, known: Topology | None = None) -> Gate:
    """The gate of one of the nodes."""
    made = Gate()
    made.active = True
    made.node_id = node
    made.adopt(known or topology())
    return made


def test_own_slots_pass() -> None:
    """A primary serves its slots, and no others."""
    assert gate(A).refusal(100, True, False, False) is None
    assert gate(A).owns(8191)
    assert not gate(A).owns(8192)


def test_moved_names_the_primary() -> None:
    """Slots elsewhere are answered by MOVED with the address that this client can use."""
    assert gate(C).refusal(100, False, False, False) == b"MOVED 100 10.0.0.1:7000"
    assert gate(C).refusal(100, False, False, True) == b"MOVED 100 10.0.0.1:7100"
    assert gate(A).refusal(9000, True, False, True) == b"MOVED 9000 10.0.0.3:7002"


@pytest.mark.parametrize(
    ("write", "readonly", "moved"), [(False, True, False), (False, False, True), (True, True, True)]
)
def test_replicas_serve_reads_of_readonly_clients(write: bool, readonly: bool, moved: bool) -> None:
    """A replica passes reads after READONLY, and sends all else to its primary."""
    answer = gate(B).refusal(100, write, readonly, False)
    assert (answer == b"MOVED 100 10.0.0.1:7000") if moved else (answer is None)


def test_slots_of_nobody() -> None:
    """A slot without owner is down; so is everything else as long as full coverage is required."""
    held = gate(A, topology(last=16000))
    assert held.refusal(16001, False, False, False) == UNSERVED
    assert held.refusal(100, True, False, False) == DOWN
    held.require_full_coverage = False
    assert held.refusal(100, True, False, False) is None


def test_newer_records_are_offered_and_older_refused() -> None:
    """`offer` gives what would be known, None for news that is old; adopting it turns the roles."""
    held = gate(A)
    assert held.offer(topology()) is None
    changed = held.offer(with_primary(topology(), "s-0", B, 2))
    assert changed is not None
    held.adopt(changed)
    assert held.refusal(100, True, False, False) == b"MOVED 100 10.0.0.2:7001"
    with pytest.raises(TopologyError):
        held.offer(Topology("other", (), ()))
