"""Who is down in this sentinel's eyes (S_DOWN): from silence, from evidence, from what a node says of itself. Pure.

Silence is waited for (`down_after`). Evidence is not: when a primary's host says that nobody listens, or its agent
that the process is dead, and every replica that can be reached says, asked after that moment, that its link to the
primary is broken, then these are several witnesses, and the primary is down at once. The other sentinels each come to
their own view so, and a quorum of them is still needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from sentinel.events import Action, Emit, FetchInfo
from sentinel.state import Health, Node, Peer, Role, Shard, describe, describe_peer, with_node, with_peer

INFO_PERIOD: Final = 1.0  # seconds between two INFO of a node
RESPONSE_TIME: Final = 1.0  # a replica that has kept a question open for longer is no witness
WITNESS_PERIOD: Final = 0.1  # the same, of replicas while there is evidence against their primary

Change: TypeAlias = Callable[[Health], Health]


def asked(health: Health, now: float) -> Health:
    """A PING went out."""
    since = health.silent_since if health.silent_since is not None else now
    return replace(health, silent_since=since, pings_due=health.pings_due + 1)


def answered(health: Health, valid: bool, now: float) -> Health:
    """A reply to PING came in; only a valid one proves life."""
    due = max(health.pings_due - 1, 0)
    if not valid:
        return replace(health, last_reply=now, pings_due=due)
    return replace(health, last_reply=now, last_pong=now, silent_since=None, gone_since=None, pings_due=due)


def connected(health: Health) -> Health:
    """A connection stands, which alone proves only that the host's kernel lives and somebody listens."""
    return replace(health, connected=True, pings_due=0)


def disconnected(health: Health, refused: bool, now: float) -> Health:
    """A connection broke or was refused: silence begins, and with a refusal the evidence."""
    return replace(
        health,
        connected=False,
        pings_due=0,
        silent_since=health.silent_since if health.silent_since is not None else now,
        gone_since=dead(health, now).gone_since if refused else health.gone_since,
    )


def dead(health: Health, now: float) -> Health:
    """There is evidence that the process is gone; the time of the first piece counts."""
    since = health.silent_since if health.silent_since is not None else now
    gone = health.gone_since if health.gone_since is not None else now
    return replace(health, silent_since=since, gone_since=gone)


def awake(health: Health, gap: float) -> Health:
    """After this sentinel itself stood still for `gap` seconds: its own sleep is not other people's silence."""
    shifted = health.silent_since + gap if health.silent_since is not None else None
    gone = health.gone_since + gap if health.gone_since is not None else None
    return replace(health, silent_since=shifted, gone_since=gone)


def is_silent(health: Health, down_after: float, now: float) -> bool:
    """No valid answer for longer than `down_after`."""
    return health.silent_since is not None and now - health.silent_since > down_after


def is_reachable(health: Health) -> bool:
    """Connected and without evidence of death, so that asking it makes sense."""
    return health.connected and health.gone_since is None


def _is_down(shard: Shard, node: Node, now: float) -> bool:
    if is_silent(node.health, shard.rules.down_after, now):
        return True
    if node.address != shard.primary:  # nothing is decided by it, so evidence alone is enough
        return node.health.gone_since is not None
    if node.down_since is not None and node.health.gone_since is not None:
        return True  # what was witnessed stays true until the process answers
    return _is_witnessed_dead(shard, node, now) or _denies(shard, node, now)


def is_responsive(health: Health, now: float) -> bool:
    """Reachable, and no question has been open for long."""
    return is_reachable(health) and not is_silent(health, RESPONSE_TIME, now)


def _is_witnessed_dead(shard: Shard, primary: Node, now: float) -> bool:
    since = primary.health.gone_since
    if since is None:
        return False
    witnesses = [n for n in shard.replicas if is_responsive(n.health, now)]
    return bool(witnesses) and all(_link_broke(shard, n, since) for n in witnesses)


def _link_broke(shard: Shard, replica: Node, since: float) -> bool:
    info = replica.info
    if info is None or replica.info_at < since:
        return False
    return info.role is Role.PRIMARY or not info.link_up or info.primary != shard.primary


def _denies(shard: Shard, node: Node, now: float) -> bool:
    """A primary that has long said that it is a replica serves nobody."""
    if node.info is None or node.info.role is Role.PRIMARY:
        return False
    return now - node.role_at > shard.rules.down_after + 2 * INFO_PERIOD


def judge(shard: Shard, now: float) -> tuple[Shard, list[Action]]:
    """Renew who is down here, with +sdown and -sdown for each change; ask witnesses while there is evidence."""
    actions: list[Action] = []
    for node in tuple(shard.nodes.values()):
        down = _is_down(shard, node, now)
        if down != (node.down_since is not None):
            shard = with_node(shard, replace(node, down_since=now if down else None))
            actions.append(Emit("+sdown" if down else "-sdown", describe(shard, node.address)))
    for peer in tuple(shard.peers.values()):
        down = is_silent(peer.health, shard.rules.down_after, now)
        if down != (peer.down_since is not None):
            shard = with_peer(shard, replace(peer, down_since=now if down else None))
            actions.append(Emit("+sdown" if down else "-sdown", describe_peer(shard, peer)))
    return _question_witnesses(shard, actions, now)


def _question_witnesses(shard: Shard, actions: list[Action], now: float) -> tuple[Shard, list[Action]]:
    primary = shard.primary_node
    since = primary.health.gone_since
    if since is None or primary.down_since is not None:
        return shard, actions
    for node in shard.replicas:
        # The question must be younger than the evidence, or its answer would bear no witness (info_at is when it was
        # asked).
        due = node.asked_info_at < since or now - node.asked_info_at >= WITNESS_PERIOD
        if is_reachable(node.health) and due:
            actions.append(FetchInfo(node.address))
            shard = with_node(shard, replace(node, asked_info_at=now))
    return shard, actions


def with_health(shard: Shard, node: Node, health: Health) -> Shard:
    """The shard with a node's health renewed."""
    return with_node(shard, replace(node, health=health))


def with_peer_health(shard: Shard, peer: Peer, health: Health) -> Shard:
    """The shard with a peer's health renewed."""
    return with_peer(shard, replace(peer, health=health))
