"""The one decider of a shard: `(state, event, now, luck) -> (state, actions)`. Pure; everything else on this floor
serves it.

An event is first taken in, then everything that time and state now allow is done, so a failover moves on within the
same call as the answer that it waited for. The caller has to put `durable(state)` on disk before it performs any of
the actions or answers anybody.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sentinel import events, failover, health, learn, quorum
from sentinel.events import Action, Emit, Event
from sentinel.state import Address, Shard, Stage, describe, with_peer

OVERSLEPT: Final = 2.0  # seconds between two events after which the time in between counts for nobody


def decide(shard: Shard, event: Event, now: float, luck: float) -> tuple[Shard, list[Action]]:
    """Take in one event at time `now` (seconds, monotonic); `luck` in [0, 1) decides delays."""
    shard, actions = _after_sleep(shard, now)
    shard, more = _take(shard, event, now, luck)
    actions += more
    for step in (health.judge, quorum.agree, failover.ask_if_down):
        shard, more = step(shard, now)
        actions += more
    shard, more = failover.advance(shard, now, luck)
    actions += more
    shard.check_invariants()
    return shard, actions


def _after_sleep(shard: Shard, now: float) -> tuple[Shard, list[Action]]:
    gap = now - shard.ticked_at
    slept = replace(shard, ticked_at=now)
    if gap < OVERSLEPT:
        return slept, []
    nodes = {a: replace(n, health=health.awake(n.health, gap)) for a, n in shard.nodes.items()}
    peers = {i: replace(p, health=health.awake(p.health, gap)) for i, p in shard.peers.items()}
    text = f"{describe(shard, shard.primary)} #slept {gap:.1f} s"
    return replace(slept, nodes=nodes, peers=peers), [Emit("+overslept", text)]


def _take(shard: Shard, event: Event, now: float, luck: float) -> tuple[Shard, list[Action]]:
    match event:
        case events.Tick():
            return shard, []
        case events.Asked(who):
            return _with_health(shard, who, lambda h: health.asked(h, now)), []
        case events.Answered(who, valid):
            return _with_health(shard, who, lambda h: health.answered(h, valid, now)), []
        case events.Connected(who):
            return _with_health(shard, who, health.connected), []
        case events.Disconnected(who, refused):
            return _with_health(shard, who, lambda h: health.disconnected(h, refused, now)), []
        case events.ProcessDead(address):
            return _with_health(shard, address, lambda h: health.dead(h, now)), []
        case events.InfoCame():
            return _take_info(shard, event, now)
        case events.Hello():
            return learn.hello_came(shard, event, now)
        case events.TopologyCame():
            return learn.topology_came(shard, event, now)
        case events.VoteRequested(candidate, epoch):
            return quorum.grant(shard, candidate, epoch, now, luck)
        case events.PeerAnswered():
            return _take_answer(shard, event, now)
        case events.PromoteAnswered(address, ok):
            return failover.promote_answered(shard, address, ok, now, luck)
        case events.FailoverOrdered():
            if shard.stage not in (Stage.NONE, Stage.RECONF):
                return shard, []
            return failover.start(replace(shard, failover=None, attempts=0), now, luck, forced=True)
        case events.RulesSet(rules):
            return replace(shard, rules=rules), []
        case events.ResetOrdered():
            return _reset(shard)


def _with_health(shard: Shard, who: Address | str, change: health.Change) -> Shard:
    if isinstance(who, Address):
        node = shard.nodes.get(who)
        return shard if node is None else health.with_health(shard, node, change(node.health))
    peer = shard.peers.get(who)
    return shard if peer is None else health.with_peer_health(shard, peer, change(peer.health))


def _take_info(shard: Shard, event: events.InfoCame, now: float) -> tuple[Shard, list[Action]]:
    if event.address not in shard.nodes:
        return shard, []
    shard, actions = learn.info_came(shard, event, now)
    shard, more = failover.info_came(shard, event.address, event.info, event.asked_at, now)
    return shard, actions + more


def _take_answer(shard: Shard, event: events.PeerAnswered, now: float) -> tuple[Shard, list[Action]]:
    peer = shard.peers.get(event.id)
    if peer is None:
        return shard, []
    asked = event.asked_epoch or peer.answered_epoch
    answered = replace(peer, says_down=event.down, answered_at=now, answered_epoch=asked)
    if event.leader != "*":
        answered = replace(answered, vote=event.leader, vote_epoch=event.leader_epoch)
    elif event.asked_epoch:
        answered = replace(answered, vote="*", vote_epoch=0)
    return quorum.see_epoch(with_peer(shard, answered), event.leader_epoch)


def _reset(shard: Shard) -> tuple[Shard, list[Action]]:
    primary = shard.primary_node
    shard = replace(shard, nodes={shard.primary: primary}, peers={}, failover=None, odown_since=None)
    return shard, [Emit("+reset-master", describe(shard, shard.primary))]
