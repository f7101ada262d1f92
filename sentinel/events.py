"""What can happen to a shard, and what its decider may ask for. Plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from sentinel.state import Address, Info, Rules


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; comes about every 100 ms."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A PING has gone out to a node, or to a peer (its id)."""

    who: Address | str


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply to PING; `valid` when it proves that the process serves (PONG, LOADING, MASTERDOWN)."""

    who: Address | str
    valid: bool


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection stands."""

    who: Address | str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection broke or could not be made; `refused` when the host said that nobody listens."""

    who: Address | str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class ProcessDead:
    """The agent on its host says that this node's process is dead."""

    address: Address


@dataclass(frozen=True, slots=True)
class InfoCame:
    """A node's INFO, and when it was asked for."""

    address: Address
    info: Info
    asked_at: float


@dataclass(frozen=True, slots=True)
class Hello:
    """A hello message: the eight fields of `ip,port,runid,current_epoch,name,ip,port,config_epoch`."""

    address: Address
    id: str
    seen_epoch: int
    name: str
    primary: Address
    config_epoch: int


@dataclass(frozen=True, slots=True)
class VoteRequested:
    """A peer asks for this sentinel's vote at an epoch."""

    candidate: str
    epoch: int


@dataclass(frozen=True, slots=True)
class PeerAnswered:
    """A peer's answer to is-master-down-by-addr; `asked_epoch` is 0 when no vote was asked for."""

    id: str
    asked_epoch: int
    down: bool
    leader: str
    leader_epoch: int


@dataclass(frozen=True, slots=True)
class PromoteAnswered:
    """The candidate's answer to being promoted."""

    address: Address
    ok: bool


@dataclass(frozen=True, slots=True)
class FailoverOrdered:
    """An operator wants another primary. The decider refuses by leaving the state as it is."""


@dataclass(frozen=True, slots=True)
class RulesSet:
    """An operator changed the shard's settings."""

    rules: Rules


@dataclass(frozen=True, slots=True)
class ResetOrdered:
    """An operator wants replicas and peers forgotten and found again."""


@dataclass(frozen=True, slots=True)
class TopologyCame:
    """The agent (or the file at start) says who the members are, and who is primary at `epoch`."""

    primary: Address
    members: tuple[Address, ...]
    epoch: int


Event: TypeAlias = (
    Tick
    | Asked
    | Answered
    | Connected
    | Disconnected
    | ProcessDead
    | InfoCame
    | Hello
    | VoteRequested
    | PeerAnswered
    | PromoteAnswered
    | FailoverOrdered
    | RulesSet
    | ResetOrdered
    | TopologyCame
)


@dataclass(frozen=True, slots=True)
class Emit:
    """Log an event and publish it on the channel of its name."""

    event: str
    text: str


@dataclass(frozen=True, slots=True)
class AskPeers:
    """Ask all peers whether they see the primary down; with `candidate` not "*" also for their vote at `epoch`."""

    primary: Address
    epoch: int
    candidate: str


@dataclass(frozen=True, slots=True)
class FetchInfo:
    """Ask a node for INFO now."""

    address: Address


@dataclass(frozen=True, slots=True)
class Promote:
    """Make this replica the primary, and say what it answered."""

    address: Address


@dataclass(frozen=True, slots=True)
class Follow:
    """Make this node a replica of `primary`."""

    address: Address
    primary: Address


@dataclass(frozen=True, slots=True)
class SayHello:
    """Publish hello everywhere now instead of at the next turn."""


@dataclass(frozen=True, slots=True)
class Switched:
    """`primary` holds the shard as of `epoch`: write the topology record and push it."""

    primary: Address
    epoch: int


Action: TypeAlias = Emit | AskPeers | FetchInfo | Promote | Follow | SayHello | Switched
