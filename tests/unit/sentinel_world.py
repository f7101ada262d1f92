"""A world in one thread for the sentinels' deciders: nodes, sentinels, messages with delays, and a clock that is told.

Sentinels can be stopped after any event, between recording and acting, and started again from what was durable.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sentinel import events
from sentinel.decide import decide
from sentinel.state import Address, Durable, Info, Role, Rules, Shard, durable, monitored, restored

NAME = "cache-0"
A, B, C = (Address("10.0.0.1", port) for port in (7001, 7002, 7003))
REPLID = "r" * 40


def sentinel_id(number: int) -> str:
    """The id of the sentinel with this number."""
    return f"{number:040x}"


@dataclass
class NodeModel:
    """A data node as it really is."""

    address: Address
    primary: Address | None = None
    alive: bool = True
    offset: int = 1000

    def info(self, world: World) -> Info:
        """What it says of itself."""
        run_id = f"{self.address.port:040x}"
        if self.primary is None:
            replicas = tuple(n.address for n in world.nodes.values() if n.alive and n.primary == self.address)
            return Info(role=Role.PRIMARY, run_id=run_id, replicas=replicas, offset=self.offset, replids=(REPLID,))
        above = world.nodes[self.primary]
        up = above.alive and above.primary is None
        return Info(
            role=Role.REPLICA, run_id=run_id, primary=self.primary, link_up=up, offset=self.offset, replids=(REPLID,)
        )


@dataclass
class World:
    """`loss` is the share of messages between sentinels that never arrive."""

    sentinels: int
    seed: int = 1
    loss: float = 0.0
    rules: Rules = field(default_factory=lambda: Rules(quorum=2, down_after=1.0))

    def __post_init__(self) -> None:
        self.now = 100.0
        self.random = random.Random(self.seed)
        self.nodes = {A: NodeModel(A), B: NodeModel(B, A, offset=900), C: NodeModel(C, A, offset=950)}
        self.log: list[tuple[float, int, str, str]] = []
        self.promotions: list[tuple[int, int, Address]] = []
        self.votes: dict[tuple[int, int], str] = {}
        self.interrupts: dict[int, int] = {}
        self.applied = 0
        self.dead: set[int] = set()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.shards: dict[int, Shard] = {}
        self.kept: dict[int, Durable] = {}
        for number in range(self.sentinels):
            shard = monitored(NAME, sentinel_id(number), self.rules, A, self.now)
            self.shards[number] = shard
            self.kept[number] = durable(shard)
            self.at(self.random.random() / 10, lambda number=number: self._beat(number, 0))
        self.run(3.0)

    # --- time
    def at(self, delay: float, do: Callable[[], None]) -> None:
        """Have something done after a delay in seconds."""
        heapq.heappush(self._queue, (self.now + delay, next(self._order), do))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; ends early, with True, when `until` holds."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, _, do = heapq.heappop(self._queue)
            do()
            if until():
                return True
        self.now = end
        return until()

    def _beat(self, number: int, count: int) -> None:
        """What a sentinel does every 100 ms: probe, and say hello once a second."""
        self.at(0.1, lambda: self._beat(number, count + 1))
        if number in self.dead:
            return
        self.apply(number, events.Tick())
        for address in tuple(self.shards[number].nodes):
            self._probe(number, address, with_info=count % 10 == 0)
        for peer in range(self.sentinels):
            if peer != number:
                self._probe_peer(number, peer)
                if count % 10 == 5:
                    self._send_hello(number, peer)

    # --- sentinels
    def apply(self, number: int, event: events.Event) -> None:
        """Decide, record, and act, unless this is the event after which the sentinel is to stop."""
        if number in self.dead:
            return
        before = self.shards[number]
        shard, actions = decide(before, event, self.now, self.random.random())
        self.shards[number] = shard
        self.kept[number] = durable(shard)
        vote = self.votes.setdefault((number, shard.leader_epoch), shard.leader)
        assert vote == shard.leader, "a sentinel votes once an epoch"
        self.applied += 1
        if self.interrupts.get(self.applied) is not None:
            self.restart(number, self.interrupts[self.applied] / 1000)
            return
        for action in actions:
            self._perform(number, action)

    def restart(self, number: int, seconds: float) -> None:
        """Stop a sentinel and start it after a while from what was durable."""
        self.dead.add(number)

        def start() -> None:
            self.shards[number] = restored(self.kept[number], sentinel_id(number), self.now)
            self.dead.discard(number)

        self.at(seconds, start)

    def _delay(self) -> float:
        return self.random.uniform(0.0005, 0.004)

    def _is_lost(self) -> bool:
        return self.random.random() < self.loss

    def _perform(self, number: int, action: events.Action) -> None:
        match action:
            case events.Emit(event, text):
                self.log.append((self.now, number, event, text))
            case events.AskPeers():
                for peer in range(self.sentinels):
                    if peer != number and sentinel_id(peer) in self.shards[number].peers:
                        self._ask(number, peer, action)
            case events.FetchInfo(address):
                self._fetch(number, address)
            case events.Promote(address):
                self.promotions.append((number, self.shards[number].failover.epoch, address))
                self.at(self._delay(), lambda: self._promote(number, address))
            case events.Follow(address, primary):
                self.at(self._delay(), lambda: self._follow(address, primary))
            case events.SayHello():
                for peer in range(self.sentinels):
                    if peer != number:
                        self._send_hello(number, peer)
            case events.Switched():
                pass

    # --- messages
    def _probe(self, number: int, address: Address, with_info: bool) -> None:
        self.apply(number, events.Asked(address))
        if self.nodes[address].alive:
            self.apply(number, events.Connected(address))
            self.apply(number, events.Answered(address, True))
            if with_info:
                self._fetch(number, address)
        else:
            self.apply(number, events.Disconnected(address, refused=True))

    def _probe_peer(self, number: int, peer: int) -> None:
        who = sentinel_id(peer)
        if peer in self.dead:
            self.apply(number, events.Disconnected(who, refused=True))
        elif not self._is_lost():
            self.apply(number, events.Connected(who))
            self.apply(number, events.Answered(who, True))

    def _fetch(self, number: int, address: Address) -> None:
        asked_at = self.now

        def answer() -> None:
            node = self.nodes[address]
            if node.alive:
                self.apply(number, events.InfoCame(address, node.info(self), asked_at))

        self.at(self._delay(), answer)

    def _send_hello(self, number: int, peer: int) -> None:
        if self._is_lost():
            return
        shard = self.shards[number]
        hello = events.Hello(
            address=Address("10.0.0.9", 26000 + number),
            id=sentinel_id(number),
            seen_epoch=shard.seen_epoch,
            name=NAME,
            primary=shard.primary,
            config_epoch=shard.config_epoch,
        )
        self.at(self._delay(), lambda: self.apply(peer, hello))

    def _ask(self, number: int, peer: int, question: events.AskPeers) -> None:
        def arrive() -> None:
            if peer in self.dead:
                return
            leader, epoch = "*", 0
            if question.candidate != "*":
                self.apply(peer, events.VoteRequested(question.candidate, question.epoch))
                if peer in self.dead:
                    return
                leader, epoch = self.shards[peer].leader, self.shards[peer].leader_epoch
            down = (
                self.shards[peer].primary == question.primary and self.shards[peer].primary_node.down_since is not None
            )
            asked = question.epoch if question.candidate != "*" else 0
            answer = events.PeerAnswered(sentinel_id(peer), asked, down, leader, epoch)
            if not self._is_lost():
                self.at(self._delay(), lambda: self.apply(number, answer))

        if not self._is_lost():
            self.at(self._delay(), arrive)

    def _promote(self, number: int, address: Address) -> None:
        node = self.nodes[address]
        if node.alive:
            node.primary = None
        self.at(self._delay(), lambda: self.apply(number, events.PromoteAnswered(address, node.alive)))

    def _follow(self, address: Address, primary: Address) -> None:
        node = self.nodes[address]
        if node.alive and address != primary:
            node.primary = primary

    # --- what holds
    def living(self) -> list[int]:
        """Numbers of the sentinels that run."""
        return [n for n in self.shards if n not in self.dead]

    def agreed(self) -> Address | None:
        """The primary on which all living sentinels agree, when it serves and all living nodes follow it."""
        primaries = {self.shards[n].primary for n in self.living()}
        if len(primaries) != 1:
            return None
        (primary,) = primaries
        node = self.nodes[primary]
        if not node.alive or node.primary is not None:
            return None
        others = [n for n in self.nodes.values() if n.alive and n is not node]
        return primary if all(n.primary == primary for n in others) else None

    def is_agreed(self) -> bool:
        """Whether there is such a primary."""
        return self.agreed() is not None

    def check_one_leader_an_epoch(self) -> None:
        """No epoch had two leaders, and no leader promoted two replicas."""
        by_epoch: dict[int, tuple[int, Address]] = {}
        for number, epoch, address in self.promotions:
            assert by_epoch.setdefault(epoch, (number, address)) == (number, address)

    def events_of(self, *names: str) -> list[str]:
        """Names of the events that were emitted, of these only when given."""
        return [event for _, _, event, _ in self.log if not names or event in names]


def with_rules(shard: Shard, **changes: object) -> Shard:
    """The shard with some rules changed."""
    return replace(shard, rules=replace(shard.rules, **changes))
