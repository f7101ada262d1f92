"""The cluster gate: may this node serve these keys? MOVED, ASK, CROSSSLOT and CLUSTERDOWN are decided here, purely.

Order of the checks as in Valkey's getNodeByQuery: different slots, slot without owner, slots elsewhere, replica
without READONLY.
"""

from typing import Final

from mypy_extensions import i64

from cluster.slots import SLOTS
from cluster.topology import Topology, merge, slot_owners

UNSERVED: Final = b"CLUSTERDOWN Hash slot not served"
DOWN_FOR_WRITES: Final = b"CLUSTERDOWN The cluster is down and only accepts read commands"
DOWN: Final = b"CLUSTERDOWN The cluster is down"

_MINE: Final = 0
_REPLICATED: Final = 1  # owned by the primary that this node follows
_ELSEWHERE: Final = 2
_NOBODY: Final = 3


class Gate:
    """What the node knows of the topology, as a table a slot. `active` is False for a plain service: everything
    passes.
    """

    active: bool
    node_id: str
    topology: Topology | None
    require_full_coverage: bool
    reads_when_down: bool  # cluster-allow-reads-when-down
    covered: bool  # every slot has an owner
    _state: bytearray
    _addresses: list[bytes]  # of the owning primaries, `host:port`
    _tls_addresses: list[bytes]
    _owner: list[int]  # slot -> place in _addresses

    def __init__(self) -> None:
        self.active = False
        self.node_id = ""
        self.topology = None
        self.require_full_coverage = True
        self.reads_when_down = False
        self.covered = False
        self._state = bytearray([_NOBODY]) * SLOTS
        self._addresses = []
        self._tls_addresses = []
        self._owner = [0] * SLOTS

    def offer(self, topology: Topology) -> Topology | None:
        """What would be known with this one too; None when nothing in it is newer. Raises TopologyError."""
        merged = merge(self.topology, topology)
        return None if merged is self.topology else merged

    def adopt(self, topology: Topology) -> None:
        """Follow this topology from now on."""
        self.topology = topology
        state = bytearray([_NOBODY]) * SLOTS
        owner = [0] * SLOTS
        addresses: list[bytes] = []
        tls_addresses: list[bytes] = []
        for shard in topology.shards:
            primary = topology.node(shard.primary)
            if primary is None:
                continue
            if shard.primary == self.node_id:
                kind = _MINE
            elif self.node_id in shard.replicas:
                kind = _REPLICATED
            else:
                kind = _ELSEWHERE
            for first, last in shard.slots:
                state[first : last + 1] = bytes([kind]) * (last + 1 - first)
                owner[first : last + 1] = [len(addresses)] * (last + 1 - first)
            addresses.append(b"%b:%d" % (primary.host.encode(), primary.port))
            tls_addresses.append(b"%b:%d" % (primary.host.encode(), primary.tls_port or primary.port))
        self._state = state
        self._owner = owner
        self._addresses = addresses
        self._tls_addresses = tls_addresses
        self.covered = all(o is not None for o in slot_owners(topology))

    def owns(self, slot: i64) -> bool:
        """Whether this node is the primary of a slot."""
        return self._state[slot] == _MINE

    def refusal(self, slot: i64, write: bool, readonly_client: bool, tls: bool) -> bytes | None:
        """The error for a command on `slot`, or None when it may run here. `readonly_client`: the client has sent
        READONLY.
        """
        state: i64 = self._state[slot]
        if state == _MINE and (self.covered or not self.require_full_coverage):
            return None
        if state == _NOBODY:
            return UNSERVED
        if not self.covered and self.require_full_coverage:
            if not self.reads_when_down:
                return DOWN
            if write:
                return DOWN_FOR_WRITES
            if state == _MINE:
                return None
        if state == _REPLICATED and readonly_client and not write:
            return None
        addresses = self._tls_addresses if tls else self._addresses
        return b"MOVED %d %b" % (slot, addresses[self._owner[slot]])
