"""What to do when a process dies: a pure decider. `decide(state, event, now)` gives the next state and the actions.

- Whatever dies is told to the sentinels when it is a node: 'process dead, host alive'.
- A replica, a proxy or a sentinel is started again at once; when it dies again soon, after a pause that doubles.
- A primary with a running replica is not started again before a new primary shows in the topology: it would come
  back as a primary, without its data if nothing keeps them on disk, and its replicas would follow it into emptiness.
  It then comes back as a replica of the new one. If no failover comes in time, it is started in place; without a
  journal only when no replica has anything that it would lose: else it goes on waiting, and that is told.
- A primary without a running replica is started in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from cluster.topology import Shard, Topology

STABLE_SECONDS: Final = 30.0
"""A process that ran this long before it died starts with a clean record."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0

FAILOVER_SECONDS: Final = 10.0
"""How long a dead primary waits for its successor when a journal has what it had acknowledged."""
FAILOVER_SECONDS_WITHOUT_JOURNAL: Final = 60.0
"""After how long the replicas are asked whether they have what a start in place would lose; and asked again."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A process under watch. `restart_at`: when to start it, None while it runs. `awaits`: waits for a new primary."""

    name: str
    node: str = ""
    service: str = ""
    running: bool = True
    started: float = 0.0
    deaths: int = 0
    restart_at: float | None = None
    awaits: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """All processes by name, the newest topology of each service, and the services whose nodes keep a journal."""

    watched: Mapping[str, Watched]
    topologies: Mapping[str, Topology]
    journaled: frozenset[str] = frozenset()

    def check_invariants(self) -> None:
        """A process runs or has a time to start; only a dead node awaits a new primary."""
        for one in self.watched.values():
            assert one.running == (one.restart_at is None), one
            assert not one.awaits or (not one.running and one.node), one


@dataclass(frozen=True, slots=True)
class Died:
    """A process has ended, whatever its exit status."""

    name: str


@dataclass(frozen=True, slots=True)
class TopologyChanged:
    """The sentinels have a newer topology."""

    topology: Topology


@dataclass(frozen=True, slots=True)
class ModeChanged:
    """Nodes of a service keep a journal from now on, or no longer do."""

    service: str
    journal: bool


@dataclass(frozen=True, slots=True)
class NothingToLose:
    """No running replica of this dead primary holds any key."""

    name: str


@dataclass(frozen=True, slots=True)
class Woke:
    """The time that `next_wake` named has come."""


@dataclass(frozen=True, slots=True)
class TellDead:
    """Tell every sentinel that this node's process is dead."""

    node: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start a process; a node as replica of the node with the id `primary`, or as primary when that is empty."""

    name: str
    primary: str = ""


@dataclass(frozen=True, slots=True)
class AskReplicas:
    """Find out whether running replicas of this dead primary hold keys; if not, send `NothingToLose`."""

    name: str
    replicas: tuple[str, ...]


Event: TypeAlias = Died | TopologyChanged | ModeChanged | NothingToLose | Woke
Action: TypeAlias = TellDead | Start | AskReplicas


def decide(state: State, event: Event, now: float) -> tuple[State, list[Action]]:
    """The next state, and what to do; `now` in seconds of a monotonic clock."""
    actions: list[Action] = []
    if isinstance(event, TopologyChanged):
        topologies = {**state.topologies, event.topology.service: event.topology}
        state = replace(state, topologies=topologies)
    elif isinstance(event, ModeChanged):
        others = state.journaled - {event.service}
        state = replace(state, journaled=others | {event.service} if event.journal else others)
    elif isinstance(event, NothingToLose) and state.watched[event.name].awaits:
        state = _with(state, replace(state.watched[event.name], awaits=False, restart_at=now))
    elif isinstance(event, Died) and state.watched[event.name].running:
        dead = _died(state, state.watched[event.name], now)
        state = _with(state, dead)
        if dead.node:
            actions.append(TellDead(dead.node))
    state = _end_waits(state, now)
    state, starts = _start_due(state, now)
    state.check_invariants()
    return state, actions + starts


def next_wake(state: State) -> float | None:
    """When to send `Woke`, or None when nothing is due."""
    return min((one.restart_at for one in state.watched.values() if one.restart_at is not None), default=None)


def primary_of(state: State, one: Watched) -> str:
    """The id of the node that this node must follow, or '' when it is the primary itself or no node."""
    shard = _shard(state, one)
    return "" if shard is None or shard.primary == one.node else shard.primary


def _shard(state: State, one: Watched) -> Shard | None:
    topology = state.topologies.get(one.service)
    return topology.shard_of(one.node) if topology is not None and one.node else None


def _with(state: State, one: Watched) -> State:
    return replace(state, watched={**state.watched, one.name: one})


def _died(state: State, one: Watched, now: float) -> Watched:
    deaths = 1 if now - one.started >= STABLE_SECONDS else one.deaths + 1
    awaits = _has_successor(state, one)
    wait = _patience(state, one) if awaits else _pause(deaths)
    return replace(one, running=False, deaths=deaths, awaits=awaits, restart_at=now + wait)


def _pause(deaths: int) -> float:
    """Seconds before the start after the n-th death in a row: 0, then 0.5, 1, 2, up to 30."""
    return 0.0 if deaths <= 1 else min(FIRST_PAUSE * 2.0 ** min(deaths - 2, 16), LONGEST_PAUSE)


def _patience(state: State, one: Watched) -> float:
    return FAILOVER_SECONDS if one.service in state.journaled else FAILOVER_SECONDS_WITHOUT_JOURNAL


def _successors(state: State, one: Watched) -> tuple[str, ...]:
    """The names of the running replicas of a shard's primary; empty for other processes."""
    shard = _shard(state, one)
    if shard is None or shard.primary != one.node:
        return ()
    return tuple(other.name for other in state.watched.values() if other.running and other.node in shard.replicas)


def _has_successor(state: State, one: Watched) -> bool:
    return bool(_successors(state, one))


def _end_waits(state: State, now: float) -> State:
    """Whoever waits for a new primary and has one, or can have none any more, is due after its pause."""
    for one in list(state.watched.values()):
        if one.awaits and not _has_successor(state, one):
            state = _with(state, replace(one, awaits=False, restart_at=now + _pause(one.deaths)))
    return state


def _start_due(state: State, now: float) -> tuple[State, list[Action]]:
    actions: list[Action] = []
    for one in list(state.watched.values()):
        if one.restart_at is None or one.restart_at > now:
            continue
        if one.awaits and one.service not in state.journaled:
            actions.append(AskReplicas(one.name, _successors(state, one)))
            state = _with(state, replace(one, restart_at=now + FAILOVER_SECONDS_WITHOUT_JOURNAL))
        else:
            actions.append(Start(one.name, primary_of(state, one)))
            state = _with(state, replace(one, running=True, started=now, restart_at=None, awaits=False))
    return state, actions
