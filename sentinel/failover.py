"""A failover, step by step. Pure; the steps are the dict TRANSITIONS, and a step that it lacks is a mistake of ours.

    ELECTION --elected--> SELECT --chosen--> PROMOTE --answered--> CONFIRM --confirmed--> RECONF --done--> (none)

Invariant: this sentinel promotes only at an epoch at which a majority has voted for it, and a replica counts as primary
(`primary`, `config_epoch`, the topology) only after it has itself said `role:master`. Up to CONFIRM everything may be
lost without harm: a restart forgets the failover, not the vote, and the next one has a higher epoch. From CONFIRM on
the new configuration is on disk and spreads by hello.

The place between SELECT and PROMOTE is kept for fencing: there the replicas will be asked to PREPARE the epoch, after
which they take nothing from a primary of a lower one, and the best of their answers is promoted.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from sentinel.choose import choose, is_informed
from sentinel.events import Action, AskPeers, Emit, FetchInfo, Follow, Promote, SayHello, Switched
from sentinel.health import is_reachable, is_responsive
from sentinel.quorum import (
    ASK_PERIOD,
    ELECTION_TIMEOUT,
    RANK_DELAY,
    grant,
    is_hopeless,
    rank,
    reachable_voters,
    retry_delay,
    votes_needed,
    votes_won,
)
from sentinel.state import Address, Failover, Info, Node, Reconf, Role, Shard, Stage, describe, with_node

ASK_AGAIN: Final = 0.1  # seconds between two questions to the peers while something hangs on the answer
ASK_SOON: Final = 0.03  # the same just after this sentinel has lost the primary: the others are about to
INFORM_TIMEOUT: Final = 0.3  # how long SELECT waits for the replicas' offsets
PROMOTE_TIMEOUT: Final = 3.0
RECONF_TIMEOUT: Final = 10.0
REFUSED_BASE: Final = 0.1  # of the delay after a lost, but answered, election


class Step(enum.Enum):
    """What moves a failover on."""

    ELECTED = enum.auto()
    NOT_ELECTED = enum.auto()
    CHOSEN = enum.auto()
    NO_CANDIDATE = enum.auto()
    ANSWERED = enum.auto()
    CONFIRMED = enum.auto()
    NOT_PROMOTED = enum.auto()
    DONE = enum.auto()
    SUPERSEDED = enum.auto()


TRANSITIONS: Final[Mapping[tuple[Stage, Step], Stage]] = {
    (Stage.ELECTION, Step.ELECTED): Stage.SELECT,
    (Stage.ELECTION, Step.NOT_ELECTED): Stage.NONE,
    (Stage.SELECT, Step.CHOSEN): Stage.PROMOTE,
    (Stage.SELECT, Step.NO_CANDIDATE): Stage.NONE,
    (Stage.PROMOTE, Step.ANSWERED): Stage.CONFIRM,
    (Stage.PROMOTE, Step.CONFIRMED): Stage.RECONF,  # its INFO may overtake its answer
    (Stage.PROMOTE, Step.NOT_PROMOTED): Stage.NONE,
    (Stage.CONFIRM, Step.CONFIRMED): Stage.RECONF,
    (Stage.CONFIRM, Step.NOT_PROMOTED): Stage.NONE,
    (Stage.RECONF, Step.DONE): Stage.NONE,
    **{(stage, Step.SUPERSEDED): Stage.NONE for stage in Stage if stage is not Stage.NONE},
}


def move(shard: Shard, step: Step, now: float, candidate: Address | None = None) -> Shard:
    """The shard with its failover moved on by `step`."""
    current = shard.failover
    assert current is not None
    stage = TRANSITIONS[current.stage, step]
    if stage is Stage.NONE:
        return replace(shard, failover=None)
    moved = replace(current, stage=stage, stage_at=now, candidate=candidate or current.candidate)
    return replace(shard, failover=moved)


def advance(shard: Shard, now: float, luck: float) -> tuple[Shard, list[Action]]:
    """Do what is due at this time: start, ask again, choose, give up, reconfigure."""
    if shard.failover is None:
        return _maybe_start(shard, now, luck)
    if shard.stage is Stage.ELECTION:
        return _elect(shard, now, luck)
    if shard.stage is Stage.SELECT:
        return _select(shard, now, luck)
    if shard.stage is Stage.RECONF:
        return _reconfigure(shard, now)
    if now - shard.failover.stage_at > PROMOTE_TIMEOUT:
        return give_up(shard, now, luck)
    return shard, []


def ask_if_down(shard: Shard, now: float) -> tuple[Shard, list[Action]]:
    """While the primary is down here and nobody leads: ask the peers what they see, often at first."""
    since = shard.primary_node.down_since
    if since is None or shard.failover is not None:
        return shard, []
    lost_for = now - since
    pause = ASK_SOON if lost_for < ASK_PERIOD / 2 else ASK_AGAIN if lost_for < 2 * ASK_PERIOD else ASK_PERIOD
    if now - shard.asked_at < pause:
        return shard, []
    return replace(shard, asked_at=now), [AskPeers(shard.primary, shard.seen_epoch, "*")]


def _maybe_start(shard: Shard, now: float, luck: float) -> tuple[Shard, list[Action]]:
    if shard.odown_since is None or now < shard.next_try_at or reachable_voters(shard) < votes_needed(shard):
        return shard, []
    if not any(is_reachable(n.health) for n in shard.replicas):
        return shard, []  # nobody to promote: an election would only wear out epochs
    if shard.attempts == 0 and now < shard.odown_since + RANK_DELAY * rank(shard, now):
        return shard, []
    return start(shard, now, luck)


def start(shard: Shard, now: float, luck: float, forced: bool = False) -> tuple[Shard, list[Action]]:
    """Stand for election at the next epoch, and have the replicas' offsets told meanwhile."""
    epoch = shard.seen_epoch + 1
    about = describe(shard, shard.primary)
    shard, votes = grant(shard, shard.me, epoch, now, luck)
    begun = Failover(stage=Stage.ELECTION, epoch=epoch, started_at=now, stage_at=now, forced=forced, asked_at=now)
    shard = replace(shard, failover=begun)
    shard.check_invariants()
    # As genuine: +new-epoch, then +try-failover, then the vote for itself.
    actions: list[Action] = [votes[0], Emit("+try-failover", about), *votes[1:]]
    actions += [FetchInfo(n.address) for n in shard.replicas if is_reachable(n.health)]
    actions.append(AskPeers(shard.primary, epoch, shard.me))
    shard, more = _elect(shard, now, luck)
    return shard, actions + more


def _elect(shard: Shard, now: float, luck: float) -> tuple[Shard, list[Action]]:
    election = shard.failover
    assert election is not None
    about = describe(shard, shard.primary)
    if votes_won(shard, election.epoch) >= votes_needed(shard):
        won = [Emit("+elected-leader", about), Emit("+failover-state-select-slave", about)]
        shard, actions = _select(move(shard, Step.ELECTED, now), now, luck)
        return shard, [*won, *actions]
    hopeless = is_hopeless(shard, election.epoch)
    if hopeless or now - election.started_at > ELECTION_TIMEOUT:
        # An answered refusal is retried soon (rivals, or a genuine voter ahead of us); silence only after a whole
        # timeout.
        delay = retry_delay(shard.attempts, luck, REFUSED_BASE if hopeless else ELECTION_TIMEOUT)
        return _abort(shard, Step.NOT_ELECTED, "-failover-abort-not-elected", now, delay)
    if now - election.asked_at >= ASK_AGAIN:
        shard = replace(shard, failover=replace(election, asked_at=now))
        return shard, [AskPeers(shard.primary, election.epoch, shard.me)]
    return shard, []


def _select(shard: Shard, now: float, luck: float) -> tuple[Shard, list[Action]]:
    failover = shard.failover
    assert failover is not None
    if not is_informed(shard, failover.started_at) and now - failover.stage_at < INFORM_TIMEOUT:
        return shard, []
    best = choose(shard, now)
    if best is None:
        delay = retry_delay(shard.attempts, luck)
        return _abort(shard, Step.NO_CANDIDATE, "-failover-abort-no-good-slave", now, delay)
    about = describe(shard, best.address)
    events: list[Action] = [Emit("+selected-slave", about), Emit("+failover-state-send-slaveof-noone", about)]
    return move(shard, Step.CHOSEN, now, best.address), [*events, Promote(best.address)]


def give_up(shard: Shard, now: float, luck: float) -> tuple[Shard, list[Action]]:
    """The candidate could not be promoted, or does not say that it was."""
    return _abort(shard, Step.NOT_PROMOTED, "-failover-abort-slave-timeout", now, retry_delay(shard.attempts, luck))


def _abort(shard: Shard, step: Step, event: str, now: float, delay: float) -> tuple[Shard, list[Action]]:
    shard = replace(move(shard, step, now), attempts=shard.attempts + 1, next_try_at=now + delay)
    return shard, [Emit(event, describe(shard, shard.primary))]


def promote_answered(shard: Shard, address: Address, ok: bool, now: float, luck: float) -> tuple[Shard, list[Action]]:
    """The candidate answered the promotion."""
    if shard.failover is None or shard.stage is not Stage.PROMOTE or shard.failover.candidate != address:
        return shard, []
    if not ok:
        return give_up(shard, now, luck)
    waiting = Emit("+failover-state-wait-promotion", describe(shard, address))
    return move(shard, Step.ANSWERED, now), [waiting, FetchInfo(address)]


def info_came(shard: Shard, address: Address, info: Info, asked_at: float, now: float) -> tuple[Shard, list[Action]]:
    """A node's INFO may confirm the promotion, or that a replica has found its new primary."""
    failover = shard.failover
    if failover is None:
        return shard, []
    if failover.stage in (Stage.PROMOTE, Stage.CONFIRM):
        if address != failover.candidate or info.role is not Role.PRIMARY or asked_at < failover.started_at:
            return shard, []
        return _confirm(shard, failover, address, now)
    if failover.stage is Stage.RECONF and address != shard.primary:
        return _note_progress(shard, shard.nodes[address], info, now)
    return shard, []


def _confirm(shard: Shard, failover: Failover, promoted: Address, now: float) -> tuple[Shard, list[Action]]:
    old = shard.primary
    actions: list[Action] = [
        Emit("+promoted-slave", describe(shard, promoted)),
        Emit("+failover-state-reconf-slaves", describe(shard, old)),
    ]
    old_reachable = is_reachable(shard.primary_node.health)
    shard, switched = switch(move(shard, Step.CONFIRMED, now), promoted, failover.epoch, now)
    actions += [*switched, SayHello(), Switched(promoted, failover.epoch)]
    if old_reachable:  # ordered by hand: the old primary lives and still takes writes
        shard, more = _send_follow(shard, shard.nodes[old], now)
        actions += more
    shard.check_invariants()
    return shard, actions


def switch(shard: Shard, primary: Address, epoch: int, now: float) -> tuple[Shard, list[Action]]:
    """Take `primary` as the shard's primary since `epoch`; the old one stays known, as a replica to be."""
    old = shard.primary
    nodes = {
        a: replace(n, linked=None, reconf=Reconf.NONE, demoted=a == old or (n.demoted and a != primary), role_at=now)
        for a, n in shard.nodes.items()
    }
    if primary not in nodes:
        template = shard.primary_node.health
        fresh = replace(template, silent_since=now, gone_since=None, connected=False, pings_due=0)
        nodes[primary] = Node(address=primary, health=fresh, role_at=now)
    shard = replace(
        shard,
        nodes=nodes,
        primary=primary,
        config_epoch=epoch,
        seen_epoch=max(shard.seen_epoch, epoch),
        odown_since=None,
        attempts=0,
        next_try_at=now,
        switched_at=now,
        peers={i: replace(p, says_down=False) for i, p in shard.peers.items()},
    )
    text = f"{shard.name} {old.host} {old.port} {primary.host} {primary.port}"
    return shard, [Emit("+switch-master", text), Emit("+slave", describe(shard, old))]


def _send_follow(shard: Shard, node: Node, now: float) -> tuple[Shard, list[Action]]:
    shard = with_node(shard, replace(node, reconf=Reconf.SENT, reconf_at=now))
    return shard, [Emit("+slave-reconf-sent", describe(shard, node.address)), Follow(node.address, shard.primary)]


def _note_progress(shard: Shard, node: Node, info: Info, now: float) -> tuple[Shard, list[Action]]:
    actions: list[Action] = []
    about = describe(shard, node.address)
    if info.primary != shard.primary:
        return shard, actions
    if node.reconf in (Reconf.NONE, Reconf.SENT):
        node = replace(node, reconf=Reconf.INPROG, reconf_at=now)
        actions.append(Emit("+slave-reconf-inprog", about))
    if node.reconf is Reconf.INPROG and info.link_up:
        node = replace(node, reconf=Reconf.DONE, reconf_at=now)
        actions.append(Emit("+slave-reconf-done", about))
    return with_node(shard, node), actions


def _reconfigure(shard: Shard, now: float) -> tuple[Shard, list[Action]]:
    failover = shard.failover
    assert failover is not None
    actions: list[Action] = []
    if shard.odown_since is not None or now - failover.stage_at > max(shard.rules.failover_timeout, RECONF_TIMEOUT):
        end = Emit("+failover-end-for-timeout", describe(shard, shard.primary))
        return _end(shard, now, end)
    todo = [n for n in shard.replicas if is_responsive(n.health, now) and n.reconf is not Reconf.DONE]
    for node in todo:  # one that hangs must not keep the others waiting
        if node.reconf is not Reconf.NONE and now - node.reconf_at > RECONF_TIMEOUT:
            shard = with_node(shard, replace(node, reconf=Reconf.DONE))
            actions.append(Emit("-slave-reconf-sent-timeout", describe(shard, node.address)))
    busy = sum(1 for n in todo if n.reconf in (Reconf.SENT, Reconf.INPROG))
    for node in [n for n in todo if n.reconf is Reconf.NONE][: max(shard.rules.parallel_syncs - busy, 0)]:
        shard, more = _send_follow(shard, node, now)
        actions += more
    for node in todo:  # hear soon that it is done
        if node.reconf in (Reconf.SENT, Reconf.INPROG) and now - node.asked_info_at >= ASK_AGAIN:
            shard = with_node(shard, replace(shard.nodes[node.address], asked_info_at=now))
            actions.append(FetchInfo(node.address))
    if not todo:
        shard, ended = _end(shard, now, Emit("+failover-end", describe(shard, shard.primary)))
        actions += ended
    return shard, actions


def _end(shard: Shard, now: float, event: Emit) -> tuple[Shard, list[Action]]:
    cleared = {a: replace(n, reconf=Reconf.NONE) for a, n in shard.nodes.items()}
    return replace(move(shard, Step.DONE, now), nodes=cleared), [event]
