"""Agreement among sentinels: O_DOWN by quorum, votes by majority, and one vote a sentinel for each shard and epoch.
Pure.

Why two sentinels cannot both lead a shard at one epoch: `grant` gives a vote only at an epoch above that of the last
vote given, so a sentinel names one leader an epoch; the vote is on disk before it is told; and a leader needs a
majority of all known sentinels, a number that does not shrink when some are unreachable. Two majorities share a
sentinel.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

from sentinel.events import Action, Emit
from sentinel.health import is_reachable, is_responsive
from sentinel.state import Shard, Stage, describe

ASK_PERIOD: Final = 1.0
ANSWER_VALID: Final = 5 * ASK_PERIOD
ELECTION_TIMEOUT: Final = 1.0
RETRY_CAP: Final = 10.0
RANK_DELAY: Final = 0.06  # a vote's round trip and fsyncs


def voters(shard: Shard) -> int:
    """All sentinels known to watch the shard, this one included."""
    return len(shard.peers) + 1


def votes_needed(shard: Shard) -> int:
    """Votes that make a leader: the majority, and at least the quorum."""
    return max(shard.rules.quorum, voters(shard) // 2 + 1)


def down_votes(shard: Shard, now: float) -> int:
    """How many sentinels see the primary down, this one included."""
    if shard.primary_node.down_since is None:
        return 0
    fresh = (p for p in shard.peers.values() if p.says_down and now - p.answered_at < ANSWER_VALID)
    return 1 + sum(1 for _ in fresh)


def agree(shard: Shard, now: float) -> tuple[Shard, list[Action]]:
    """Renew O_DOWN, with +odown and -odown when it changes."""
    count = down_votes(shard, now)
    down = count >= shard.rules.quorum
    about = describe(shard, shard.primary)
    if down and shard.odown_since is None:
        text = f"{about} #quorum {count}/{shard.rules.quorum}"
        return replace(shard, odown_since=now), [Emit("+odown", text)]
    if not down and shard.odown_since is not None:
        return replace(shard, odown_since=None, attempts=0), [Emit("-odown", about)]
    return shard, []


def see_epoch(shard: Shard, epoch: int) -> tuple[Shard, list[Action]]:
    """Note an epoch that somebody has used."""
    if epoch <= shard.seen_epoch:
        return shard, []
    return replace(shard, seen_epoch=epoch), [Emit("+new-epoch", str(epoch))]


def grant(shard: Shard, candidate: str, epoch: int, now: float, luck: float) -> tuple[Shard, list[Action]]:
    """Vote for `candidate` at `epoch` unless this sentinel has voted at it, knows a newer configuration, or leads.

    The vote that stands is `leader` at `leader_epoch`, whoever asked. A vote for another keeps this sentinel from
    standing itself for one to two election timeouts, by `luck` in [0, 1).
    """
    if epoch <= shard.leader_epoch or epoch <= shard.config_epoch or _is_leading(shard):
        return shard, []
    shard, actions = see_epoch(shard, epoch)
    shard = replace(shard, leader=candidate, leader_epoch=epoch)
    actions.append(Emit("+vote-for-leader", f"{candidate} {epoch}"))
    if candidate != shard.me:
        wait = ELECTION_TIMEOUT * (1 + luck)
        shard = replace(shard, failover=None if shard.stage is Stage.ELECTION else shard.failover)
        shard = replace(shard, next_try_at=max(shard.next_try_at, now + wait))
    return shard, actions


def _is_leading(shard: Shard) -> bool:
    return shard.stage in (Stage.SELECT, Stage.PROMOTE, Stage.CONFIRM)


def votes_won(shard: Shard, epoch: int) -> int:
    """Votes for this sentinel at `epoch`, its own included."""
    own = 1 if (shard.leader, shard.leader_epoch) == (shard.me, epoch) else 0
    return own + sum(1 for p in shard.peers.values() if p.vote == shard.me and p.vote_epoch == epoch)


def is_hopeless(shard: Shard, epoch: int) -> bool:
    """So many peers have answered this election with another name that it can no more be won."""
    refused = (p for p in shard.peers.values() if p.answered_epoch == epoch and p.vote != shard.me)
    return voters(shard) - sum(1 for _ in refused) < votes_needed(shard)


def rank(shard: Shard, now: float) -> int:
    """This sentinel's place, from 0, in the order in which those who can be reached stand for this election.

    The order differs from shard to shard and epoch to epoch, so leaders spread over the sentinels; without an order,
    all who see the same death at once would vote for themselves.
    """
    peers = [p.id for p in shard.peers.values() if is_responsive(p.health, now)]
    return sorted([shard.me, *peers], key=lambda voter: _draw(shard, voter)).index(shard.me)


def _draw(shard: Shard, voter: str) -> bytes:
    return hashlib.sha256(f"{shard.name} {shard.seen_epoch} {voter}".encode()).digest()


def reachable_voters(shard: Shard) -> int:
    """Sentinels whose vote could be had now, this one included."""
    return 1 + sum(1 for p in shard.peers.values() if is_reachable(p.health) and p.down_since is None)


def retry_delay(attempts: int, luck: float, base: float = ELECTION_TIMEOUT) -> float:
    """Seconds until the next try after `attempts` that failed: once to twice `base`, doubling, at most 10 s."""
    return min(base * (1 + luck) * 2.0 ** min(attempts, 10), RETRY_CAP)


def usable(shard: Shard) -> int:
    """Sentinels in sight, this one included: what CKQUORUM counts."""
    return 1 + sum(1 for p in shard.peers.values() if p.health.connected and p.down_since is None)
