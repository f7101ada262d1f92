"""What one sentinel knows of one shard: frozen values, replaced and never changed in place. Times are seconds,
monotonic.

Each shard is a Sentinel "master name" and has epochs of its own, so that many shards that fail at once don't disturb
one another's elections. `durable` picks what must be on disk before anything is answered or done.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple


class Address(NamedTuple):
    """Where a process listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is configured for a shard. `down_after` etc. in seconds; the names are those of sentinel.conf."""

    quorum: int
    down_after: float = 30.0
    failover_timeout: float = 180.0
    parallel_syncs: int = 1
    auth_user: str | None = None
    auth_pass: str | None = field(default=None, repr=False)

    @property
    def ping_period(self) -> float:
        """Often enough to notice silence soon after `down_after`: a fifth of it, from 0.1 to 1 s."""
        return min(max(self.down_after / 5, 0.1), 1.0)


class Role(enum.Enum):
    """What a node says that it is; the words are those of INFO."""

    PRIMARY = "master"
    REPLICA = "slave"


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """The fields of a node's INFO that a sentinel reads."""

    role: Role
    run_id: str = ""
    node_id: str = ""
    replicas: tuple[Address, ...] = ()
    primary: Address | None = None
    link_up: bool = False
    link_down_for: float = 0.0
    priority: int = 100
    offset: int = 0
    announced: bool = True
    replids: tuple[str, ...] = ()
    loading: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the probes say of one process.

    `silent_since`: when the oldest unanswered question was asked, None while all are answered. `gone_since`: since when
    there is evidence that the process does not exist, though its host may live: connections are refused, or its agent
    says so. Only a valid answer clears it.
    """

    last_pong: float
    last_reply: float
    silent_since: float | None = None
    gone_since: float | None = None
    connected: bool = False
    pings_due: int = 0


class Reconf(enum.Enum):
    """How far a replica is on its way to the promoted primary; the values are flags of SENTINEL REPLICAS."""

    NONE = ""
    SENT = "reconf_sent"
    INPROG = "reconf_inprog"
    DONE = "reconf_done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One data node of the shard, primary or replica.

    `info_at` is when the INFO that `info` holds was asked for; `asked_info_at` when a decider last wanted a fresh one.
    """

    address: Address
    health: Health
    info: Info | None = None
    info_at: float = 0.0
    asked_info_at: float = 0.0
    role_at: float = 0.0
    down_since: float | None = None
    linked: str | None = None  # the primary's replication id when the link to the present primary was last seen up
    reconf: Reconf = Reconf.NONE
    reconf_at: float = 0.0
    corrected_at: float = 0.0
    demoted: bool = False  # it was the primary, and a newer epoch says that it is not


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another sentinel that watches this shard; `says_down` and the vote are its latest answer."""

    id: str
    address: Address
    health: Health
    hello_at: float = 0.0
    down_since: float | None = None
    says_down: bool = False
    answered_at: float = 0.0
    answered_epoch: int = 0  # the epoch of the vote request that it answered last
    vote: str = "*"
    vote_epoch: int = 0


class Stage(enum.Enum):
    """Steps of a failover; the values are what SENTINEL MASTER shows as failover-state."""

    NONE = "none"
    ELECTION = "wait_start"
    SELECT = "select_slave"
    PROMOTE = "send_slaveof_noone"
    CONFIRM = "wait_promotion"
    RECONF = "reconf_slaves"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """A failover that this sentinel leads or wants to lead at `epoch`."""

    stage: Stage
    epoch: int
    started_at: float
    stage_at: float
    forced: bool = False
    asked_at: float = 0.0
    candidate: Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """All that this sentinel (`me`) knows of one shard.

    `config_epoch` is the epoch at which `primary` was promoted; `leader_epoch` that of the last vote given, to
    `leader`; `seen_epoch` the highest ever heard of. `nodes` holds the primary too.
    """

    name: str
    me: str
    rules: Rules
    primary: Address
    config_epoch: int = 0
    seen_epoch: int = 0
    leader: str = "*"
    leader_epoch: int = 0
    nodes: Mapping[Address, Node] = field(default_factory=dict)
    peers: Mapping[str, Peer] = field(default_factory=dict)
    failover: Failover | None = None
    odown_since: float | None = None
    attempts: int = 0
    next_try_at: float = 0.0
    switched_at: float = 0.0
    asked_at: float = 0.0
    ticked_at: float = 0.0

    @property
    def stage(self) -> Stage:
        """The step of the failover in progress, NONE without one."""
        return Stage.NONE if self.failover is None else self.failover.stage

    @property
    def primary_node(self) -> Node:
        """The node that is primary by the newest configuration known here."""
        return self.nodes[self.primary]

    @property
    def replicas(self) -> tuple[Node, ...]:
        """All nodes but the primary."""
        return tuple(n for n in self.nodes.values() if n.address != self.primary)

    def check_invariants(self) -> None:
        """What holds between any two events."""
        assert self.primary in self.nodes
        assert self.leader_epoch <= self.seen_epoch
        assert self.config_epoch <= self.seen_epoch
        assert self.me not in self.peers
        if self.failover is not None:
            leading = self.failover.stage is not Stage.RECONF
            assert self.failover.epoch <= self.seen_epoch
            if (
                leading
            ):  # a sentinel stands for election only at the epoch of its own last vote, and only above the config
                assert (self.leader, self.leader_epoch) == (self.me, self.failover.epoch)
                assert self.failover.epoch > self.config_epoch
            else:
                assert self.failover.epoch == self.config_epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """What survives a restart, and is fsynced before it is acted on."""

    name: str
    rules: Rules
    primary: Address
    config_epoch: int
    seen_epoch: int
    leader: str
    leader_epoch: int
    nodes: tuple[Address, ...]
    peers: tuple[tuple[str, Address], ...]


def durable(shard: Shard) -> Durable:
    """The part of a shard's state that is kept on disk."""
    return Durable(
        name=shard.name,
        rules=shard.rules,
        primary=shard.primary,
        config_epoch=shard.config_epoch,
        seen_epoch=shard.seen_epoch,
        leader=shard.leader,
        leader_epoch=shard.leader_epoch,
        nodes=tuple(sorted(shard.nodes)),
        peers=tuple(sorted((p.id, p.address) for p in shard.peers.values())),
    )


def restored(kept: Durable, me: str, now: float) -> Shard:
    """The state after a start: what was kept, and nothing yet heard of anybody's health."""
    fresh = Health(last_pong=now, last_reply=now, silent_since=now)
    return Shard(
        name=kept.name,
        me=me,
        rules=kept.rules,
        primary=kept.primary,
        config_epoch=kept.config_epoch,
        seen_epoch=kept.seen_epoch,
        leader=kept.leader,
        leader_epoch=kept.leader_epoch,
        nodes={a: Node(address=a, health=fresh, role_at=now) for a in {kept.primary, *kept.nodes}},
        peers={i: Peer(id=i, address=a, health=fresh, hello_at=now) for i, a in kept.peers if i != me},
        ticked_at=now,
    )


def monitored(name: str, me: str, rules: Rules, primary: Address, now: float) -> Shard:
    """The state of a shard that is watched for the first time."""
    kept = Durable(
        name=name,
        rules=rules,
        primary=primary,
        config_epoch=0,
        seen_epoch=0,
        leader="*",
        leader_epoch=0,
        nodes=(primary,),
        peers=(),
    )
    return restored(kept, me, now)


def with_node(shard: Shard, node: Node) -> Shard:
    """The shard with this node's entry replaced or added."""
    return replace(shard, nodes={**shard.nodes, node.address: node})


def with_peer(shard: Shard, peer: Peer) -> Shard:
    """The shard with this peer's entry replaced or added."""
    return replace(shard, peers={**shard.peers, peer.id: peer})


def describe(shard: Shard, address: Address) -> str:
    """`<type> <name> <ip> <port>[ @ <master> <ip> <port>]` of a node, as events name it."""
    host, port = shard.primary
    if address == shard.primary:
        return f"master {shard.name} {host} {port}"
    return f"slave {address} {address.host} {address.port} @ {shard.name} {host} {port}"


def describe_peer(shard: Shard, peer: Peer) -> str:
    """The same of a sentinel."""
    host, port = shard.primary
    return f"sentinel {peer.id} {peer.address.host} {peer.address.port} @ {shard.name} {host} {port}"
