"""The plan ladder of a service: how much memory its data may take and how many clients it may have.

The names and figures are those that users of Render know (free, starter, standard, pro, pro_plus, custom). A plan
counts for the whole service: its memory is shared out evenly over the shards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cluster.persistence import BOTH, OFF, Mode

MB: Final = 1 << 20
GB: Final = 1 << 30

OWN_LINKS: Final = 32
"""Connections that a node grants beyond the plan: to its replicas, the sentinels, the proxies and the operator."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One step of the ladder: `memory` in bytes, `clients` at once, and whether the data is kept on disk."""

    name: str
    memory: int
    clients: int
    disk: bool

    @property
    def persistence(self) -> Mode:
        """The mode of a service that names none."""
        return BOTH if self.disk else OFF


LADDER: Final[dict[str, Plan]] = {
    plan.name: plan
    for plan in (
        Plan("free", 25 * MB, 50, disk=False),
        Plan("starter", 256 * MB, 250, disk=True),
        Plan("standard", GB, 1_000, disk=True),
        Plan("pro", 5 * GB, 5_000, disk=True),
        Plan("pro_plus", 10 * GB, 10_000, disk=True),
    )
}

CUSTOM: Final = "custom"
NAMES: Final = (*LADDER, CUSTOM)
DEFAULT: Final = "starter"


def custom(memory: int, clients: int) -> Plan:
    """A plan of one's own size; `memory` in bytes."""
    return Plan(CUSTOM, memory, clients, disk=True)


def node_memory(plan: Plan, shards: int) -> int:
    """The `maxmemory` of each node, in bytes: an even share of the plan, the same for a primary and its replicas."""
    return plan.memory // shards


def node_clients(plan: Plan) -> int:
    """The `maxclients` of each node. Any client may talk to any node, so each one grants the whole plan."""
    return plan.clients + OWN_LINKS
