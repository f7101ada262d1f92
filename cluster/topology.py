"""The topology of a service: who owns which slots, who is primary. Frozen values, compared shard by shard by epoch.

Sentinels decide it; nodes and proxies keep the newest record of each shard and refuse older ones. Identity is the
node id; an address is only an attribute of it. The JSON form is what is kept on disk and pushed over the wire.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

import msgspec

from cluster.slots import SLOTS

MAX_JSON: Final = 4 << 20
MAX_SHARDS: Final = 1024
MAX_NODES: Final = 8192

_NODE_ID: Final = re.compile(r"[0-9a-f]{40}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class TopologyError(ValueError):
    """A topology that contradicts itself, or bytes that are no topology; the text says which field and why."""


class Node(msgspec.Struct, frozen=True):
    """One process with data: `id` is 40 hex digits, `host` an IP address or a name, `shard` the name of its shard."""

    id: str
    host: str
    port: int
    shard: str
    tls_port: int = 0


class Shard(msgspec.Struct, frozen=True):
    """A primary, its replicas and the slots they own; `epoch` rises with every change, `slots` are inclusive ranges."""

    name: str
    epoch: int
    primary: str
    replicas: tuple[str, ...]
    slots: tuple[tuple[int, int], ...]

    def members(self) -> tuple[str, ...]:
        """Ids of the shard's nodes, the primary first."""
        return (self.primary, *self.replicas)


class Topology(msgspec.Struct, frozen=True):
    """The shards and nodes of one service."""

    service: str
    shards: tuple[Shard, ...]
    nodes: tuple[Node, ...]

    def node(self, node_id: str) -> Node | None:
        """The node with this id, or None."""
        return next((n for n in self.nodes if n.id == node_id), None)

    def shard(self, name: str) -> Shard | None:
        """The shard with this name, or None."""
        return next((s for s in self.shards if s.name == name), None)

    def shard_of(self, node_id: str) -> Shard | None:
        """The shard that has this node as primary or replica, or None."""
        return next((s for s in self.shards if node_id in s.members()), None)

    def at(self, host: str, port: int) -> Node | None:
        """The node at this address, or None."""
        return next((n for n in self.nodes if n.host == host and n.port == port), None)

    @property
    def epoch(self) -> int:
        """The highest epoch of any shard: what CLUSTER INFO calls the current epoch."""
        return max((s.epoch for s in self.shards), default=0)


def slot_owners(topology: Topology) -> list[Shard | None]:
    """A table of 16384 places: the shard that owns each slot, or None."""
    owners: list[Shard | None] = [None] * SLOTS
    for shard in topology.shards:
        for first, last in shard.slots:
            owners[first : last + 1] = [shard] * (last - first + 1)
    return owners


def even_slots(shards: int) -> list[tuple[int, int]]:
    """Cut 0 to 16383 into `shards` ranges whose lengths differ by at most one."""
    cuts = [round(i * SLOTS / shards) for i in range(shards + 1)]
    return [(cuts[i], cuts[i + 1] - 1) for i in range(shards)]


def merge(old: Topology | None, new: Topology) -> Topology:
    """Take, shard by shard, the record with the higher epoch; nodes come from the side whose shard record was taken.

    Raises TopologyError when `new` describes another service. Returns `old` itself when nothing in `new` is newer.
    """
    if old is None:
        return new
    if old.service != new.service:
        raise TopologyError(f"this is the topology of service '{new.service}', not of '{old.service}'")
    newer = {s.name: s for s in new.shards if (mine := old.shard(s.name)) is None or s.epoch > mine.epoch}
    if not newer:
        return old
    shards = tuple(newer.pop(s.name, s) for s in old.shards) + tuple(newer.values())
    taken = {s.name for s in shards if s in new.shards}
    nodes = tuple(n for n in old.nodes if n.shard not in taken) + tuple(n for n in new.nodes if n.shard in taken)
    merged = Topology(old.service, shards, nodes)
    check(merged)
    return merged


def with_primary(topology: Topology, shard: str, primary: str, epoch: int) -> Topology:
    """The topology after `primary` was promoted in `shard` at `epoch`; the old primary becomes its last replica.

    Raises TopologyError when the shard is unknown, the node is no member, or the epoch is not newer.
    """
    record = topology.shard(shard)
    if record is None:
        raise TopologyError(f"unknown shard '{shard}'")
    if primary not in record.members():
        raise TopologyError(f"node {primary} is no member of shard '{shard}'")
    if epoch <= record.epoch:
        raise TopologyError(f"epoch {epoch} of shard '{shard}' is not newer than {record.epoch}")
    others = (*[r for r in record.replicas if r != primary], *([record.primary] if record.primary != primary else []))
    changed = Shard(shard, epoch, primary, others, record.slots)
    shards = tuple(changed if s.name == shard else s for s in topology.shards)
    return Topology(topology.service, shards, topology.nodes)


def check(topology: Topology) -> None:
    """Raise TopologyError unless names, ids, addresses and slot ranges are sound and no slot has two owners."""
    if not _NAME.fullmatch(topology.service):
        raise TopologyError(f"service name {topology.service!r}: letters, digits, '.', '_' and '-' only, at most 63")
    if len(topology.shards) > MAX_SHARDS or len(topology.nodes) > MAX_NODES:
        raise TopologyError(f"at most {MAX_SHARDS} shards and {MAX_NODES} nodes")
    ids = {n.id for n in topology.nodes}
    if len(ids) != len(topology.nodes):
        raise TopologyError("two nodes have the same id")
    for node in topology.nodes:
        _check_node(node)
    taken: list[tuple[int, int, str]] = []
    for shard in topology.shards:
        _check_shard(shard, topology)
        taken += [(first, last, shard.name) for first, last in shard.slots]
    taken.sort()
    for (_, last, one), (first, _, other) in pairwise(taken):
        if first <= last:
            raise TopologyError(f"slot {first} belongs to both '{one}' and '{other}'")


def _check_node(node: Node) -> None:
    if not _NODE_ID.fullmatch(node.id):
        raise TopologyError(f"node id {node.id!r}: 40 hex digits expected")
    if not 0 < node.port < 65536 or not 0 <= node.tls_port < 65536:
        raise TopologyError(f"node {node.id}: port {node.port} or TLS port {node.tls_port} is out of range")
    if not 0 < len(node.host) <= 255 or any(c.isspace() or not c.isprintable() for c in node.host):
        raise TopologyError(f"node {node.id}: bad host {node.host!r}")


def _check_shard(shard: Shard, topology: Topology) -> None:
    if not _NAME.fullmatch(shard.name) or shard.epoch < 0:
        raise TopologyError(f"shard {shard.name!r}: bad name or epoch")
    if len(set(shard.members())) != len(shard.members()):
        raise TopologyError(f"shard '{shard.name}' names a node twice")
    for member in shard.members():
        node = topology.node(member)
        if node is None or node.shard != shard.name:
            raise TopologyError(f"shard '{shard.name}': member {member} is not among its nodes")
    for first, last in shard.slots:
        if not 0 <= first <= last < SLOTS:
            raise TopologyError(f"shard '{shard.name}': slots {first}-{last} are out of range")


def to_json(topology: Topology) -> bytes:
    """The JSON form, one line."""
    return msgspec.json.encode(topology)


def from_json(data: bytes) -> Topology:
    """Read the JSON form; raises TopologyError for anything too large, malformed or unsound."""
    if len(data) > MAX_JSON:
        raise TopologyError(f"a topology of {len(data)} bytes is larger than {MAX_JSON}")
    try:
        topology = msgspec.json.decode(data, type=Topology)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TopologyError(f"no topology: {error}") from error
    check(topology)
    return topology
