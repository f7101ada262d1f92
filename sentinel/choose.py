"""Which replica becomes the primary. Pure.

Order as genuine: lower replica-priority (0 = never), then the larger replication offset, then the smaller run id.
Stricter than genuine: only a replica that says that it follows this primary and holds data of it, or one that was
seen in sync with it in the present configuration, may be chosen; an empty or foreign one must not take over a shard,
nor one that is loading: what it has so far is a part.
"""

from __future__ import annotations

from typing import Final

from sentinel.health import INFO_PERIOD, is_reachable
from sentinel.state import Info, Node, Role, Shard


def valid_for(shard: Shard) -> float:
    """Seconds for which a replica's last answers count: covers several PING and INFO periods, whatever they are set
    to.
    """
    return max(5 * shard.rules.ping_period, 3 * INFO_PERIOD)


NEVER: Final = 0


def is_eligible(shard: Shard, node: Node, now: float) -> bool:
    """May this node be promoted now?"""
    info = node.info
    if info is None or info.role is not Role.REPLICA or info.priority == NEVER or info.loading:
        return False
    if node.down_since is not None or not is_reachable(node.health):
        return False
    if now - node.health.last_pong > valid_for(shard) or now - node.info_at > valid_for(shard):
        return False
    return _has_the_data(shard, node, info) and info.link_down_for <= _longest_break(shard, now)


def _has_the_data(shard: Shard, node: Node, info: Info) -> bool:
    if info.primary != shard.primary or (info.offset <= 0 and node.linked is None):
        return False
    return node.linked is None or not info.replids or node.linked in info.replids


def _longest_break(shard: Shard, now: float) -> float:
    """How long the link may have been down, in seconds: since the primary is, and ten times down-after before."""
    since = shard.primary_node.down_since
    return (now - since if since is not None else 0.0) + 10 * shard.rules.down_after


def choose(shard: Shard, now: float) -> Node | None:
    """The best eligible replica, or None."""
    eligible = [n for n in shard.replicas if is_eligible(shard, n, now)]
    return min(eligible, key=_merit, default=None)


def _merit(node: Node) -> tuple[int, int, bool, str]:
    info = node.info
    assert info is not None
    return info.priority, -info.offset, not info.run_id, info.run_id


def is_informed(shard: Shard, since: float) -> bool:
    """Has every replica in reach told its offset after `since`?"""
    return all(n.info_at >= since for n in shard.replicas if is_reachable(n.health))
