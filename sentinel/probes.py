"""Connections to nodes and to other sentinels: they ask, and report what they hear as events. One task tree a process.

A node gets two connections, as from a genuine sentinel: one for commands, one that listens to the hello channel. A peer
gets one, shared by all shards. After a connection breaks the next try is made at once, since a refusal is evidence;
after that one a ping period is between two tries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from cluster.link import Link, LinkError, LinkRefused, Reply, ReplyError, Request, open_link
from cluster.topology import Topology, TopologyError, from_json, merge, to_json
from sentinel import events
from sentinel.events import AskPeers, Event
from sentinel.health import INFO_PERIOD
from sentinel.hello import CHANNEL, MAX_EPOCH, write_hello
from sentinel.info import parse_info
from sentinel.learn import HELLO_PERIOD
from sentinel.state import Address, Peer, Shard

PING_TIMEOUT = 5.0
MAX_REPLY = 8 << 20
_ALIVE = (b"PONG", b"LOADING", b"MASTERDOWN")


class Owner(Protocol):
    """What probes need of the engine that owns them."""

    shards: dict[str, Shard]

    def now(self) -> float:
        """Monotonic seconds."""

    def apply(self, name: str, event: Event) -> None:
        """Let a shard's decider take an event."""

    def heard(self, data: bytes) -> None:
        """Take a hello message."""

    def apply_peer(self, peer: str, event: Event) -> None:
        """Let the deciders of all shards that a peer watches take an event."""

    def own_address(self, local_host: str) -> Address:
        """Where others reach this sentinel."""

    def topology_of(self, name: str) -> Topology | None:
        """The topology that a shard belongs to."""

    def peer_login(self) -> tuple[str | None, str | None]:
        """User and password for other sentinels."""


def is_member(topology: Topology | None, shard: str, address: Address, node_id: str) -> bool:
    """Is this process one of the shard's nodes: by its id, by its address when it has none, or is no record kept?

    An address that a node once had may have passed to a stranger: another shard's node, or somebody's own server. What
    it says is no news of our shard, and it must never be told to follow our primary.
    """
    record = topology.shard(shard) if topology is not None else None
    if topology is None or record is None:
        return True
    if not node_id:
        node = topology.at(*address)
        node_id = node.id if node is not None else ""
    return node_id in record.members()


class Probe:
    """What the probes of nodes and peers have in common: connect, run the jobs, report, and again."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.link: Link | None = None
        self.connects = 0
        self._hello_due = trio.Event()
        self._scope = trio.CancelScope()

    def stop(self) -> None:
        """End the probe's tasks."""
        self._scope.cancel()

    def say_hello(self) -> None:
        """Have the next hello sent now."""
        self._hello_due.set()

    async def _keep(
        self,
        connect: Callable[[], Awaitable[Link]],
        jobs: Callable[[Link], list[Callable[[], Awaitable[None]]]],
        report: Callable[[bool | LinkError], None],
        period: Callable[[], float],
    ) -> None:
        """Stay connected for as long as the probe lives; `report` hears True, or the error that ended a connection."""
        while True:
            began = self.owner.now()
            try:
                async with await connect() as link:
                    report(True)
                    await _together(jobs(link))
            except* LinkError as group:
                report(_first(group))
            except* OSError as group:
                report(LinkError(str(group)))
            if self.owner.now() - began < period():
                await trio.sleep(period())

    async def _every(self, seconds: Callable[[], float], job: Callable[[], Awaitable[object]]) -> None:
        while True:
            await job()
            await trio.sleep(seconds())

    async def _greet_forever(self, publish: Callable[[], Awaitable[object]]) -> None:
        while True:
            self._hello_due = trio.Event()
            await publish()
            with trio.move_on_after(HELLO_PERIOD):
                await self._hello_due.wait()


async def _notice_end(link: Link) -> None:
    """Read all the time, so that the end of the connection is seen when it comes and not at the next question."""
    while True:
        await link.push()


async def _together(jobs: list[Callable[[], Awaitable[None]]]) -> None:
    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(job)


def _first(group: BaseExceptionGroup[LinkError]) -> LinkError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, LinkError)
    return error


def _is_alive(reply: Reply) -> bool:
    text = reply.text.encode() if isinstance(reply, ReplyError) else reply
    return isinstance(text, bytes) and text.startswith(_ALIVE)


class NodeProbe(Probe):
    """The connections to one node of one shard."""

    def __init__(self, owner: Owner, name: str, address: Address) -> None:
        super().__init__(owner)
        self.name = name
        self.address = address
        self._push_due = trio.Event()

    async def run(self) -> None:
        """Probe until stopped."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep, self._connect, self._jobs, self._report, self._period)
                nursery.start_soon(self._keep, self._connect_listener, self._listening, self._ignore, self._period)

    def push_topology(self) -> None:
        """Have the node told of a new topology now."""
        self._push_due.set()

    async def fetch_info(self) -> None:
        """Ask for INFO beside the regular ones; without a connection, or when it breaks, nothing comes."""
        link = self.link
        if link is not None:
            try:
                await self._info(link)
            except LinkError:
                return

    async def transact(self, requests: list[Request]) -> Reply:
        """Run requests as one MULTI … EXEC, and INFO after it; gives the reply of EXEC, the INFO goes its usual way.

        Where EXEC is refused, because a command in it is, the first request is tried alone. Raises LinkError.
        """
        link = self.link
        if link is None:
            raise LinkError(f"no connection to {self.address}")
        asked_at = self.owner.now()
        replies = await link.pipeline([["MULTI"], *requests, ["EXEC"], ["INFO"]])
        answer, info = replies[-2], replies[-1]
        if isinstance(answer, ReplyError):
            asked_at = self.owner.now()
            answer, info = await link.pipeline([requests[0], ["INFO"]])
        self._report_info(info, asked_at)
        return answer

    def _rules_period(self) -> float:
        shard = self.owner.shards.get(self.name)
        return shard.rules.ping_period if shard is not None else 1.0

    _period = _rules_period

    async def _connect(self) -> Link:
        """Connect and ask who is there: a stranger at the address is as good as nobody, and must be told nothing."""
        link = await self._open("cmd")
        try:
            await self._info(link)
        except BaseException:
            await link.aclose()
            raise
        return link

    async def _connect_listener(self) -> Link:
        return await self._open("pubsub")

    async def _open(self, purpose: str) -> Link:
        shard = self._shard()
        rules = shard.rules
        return await open_link(
            *self.address,
            username=rules.auth_user,
            password=rules.auth_pass,
            client_name=f"sentinel-{shard.me[:8]}-{purpose}",
            connect_timeout=max(rules.down_after / 2, 0.5),
            timeout=max(rules.down_after, PING_TIMEOUT),
            max_reply=MAX_REPLY,
        )

    def _report(self, state: bool | LinkError) -> None:
        if state is True:
            self.connects += 1
            self.owner.apply(self.name, events.Connected(self.address))
        else:
            self.link = None
            refused = isinstance(state, LinkRefused)
            self.owner.apply(self.name, events.Disconnected(self.address, refused))

    def _ignore(self, state: bool | LinkError) -> None:
        """A lost listener alone says nothing: CLIENT KILL TYPE pubsub is part of every promotion."""

    def _jobs(self, link: Link) -> list[Callable[[], Awaitable[None]]]:
        self.link = link
        return [
            lambda: self._every(self._rules_period, lambda: self._ping(link)),
            lambda: self._inform_forever(link),
            lambda: self._greet_forever(lambda: self._publish(link)),
            lambda: self._push_forever(link),
            lambda: _notice_end(link),
        ]

    async def _ping(self, link: Link) -> None:
        self.owner.apply(self.name, events.Asked(self.address))
        reply = await link.call("PING")
        self.owner.apply(self.name, events.Answered(self.address, _is_alive(reply)))

    async def _inform_forever(self, link: Link) -> None:
        while True:
            await trio.sleep(INFO_PERIOD)
            await self._info(link)

    async def _info(self, link: Link) -> None:
        asked_at = self.owner.now()
        self._report_info(await link.call("INFO"), asked_at)

    def _report_info(self, reply: Reply, asked_at: float) -> None:
        if not isinstance(reply, bytes):
            return
        info = parse_info(reply)
        if not is_member(self.owner.topology_of(self.name), self.name, self.address, info.node_id):
            raise LinkRefused(f"{self.address} belongs to another process now")
        self.owner.apply(self.name, events.InfoCame(self.address, info, asked_at))

    def _shard(self) -> Shard:
        shard = self.owner.shards.get(self.name)
        if shard is None:
            raise LinkError("the shard is watched no more")
        return shard

    async def _publish(self, link: Link) -> None:
        message = write_hello(self._shard(), self.owner.own_address(link.local_host))
        await link.call("PUBLISH", CHANNEL, message)

    def _listening(self, link: Link) -> list[Callable[[], Awaitable[None]]]:
        async def listen() -> None:
            await link.subscribe(CHANNEL)
            while True:
                message = await link.push()
                if message[0] == b"message" and isinstance(message[-1], bytes):
                    self.owner.heard(message[-1])

        async def stay() -> None:  # a silent connection may be dead; genuine and our nodes answer PING here too
            await link.call("PING")

        return [listen, lambda: self._every(lambda: 2 * HELLO_PERIOD, stay)]

    async def _push_forever(self, link: Link) -> None:
        """See that the node has the newest topology; a node that knows no topologies is asked once a connection."""
        while True:
            self._push_due = trio.Event()
            if not await self._push(link):
                return
            with trio.move_on_after(2 * INFO_PERIOD):
                await self._push_due.wait()

    async def _push(self, link: Link) -> bool:
        ours = self.owner.topology_of(self.name)
        if ours is None:
            return True
        theirs = await link.call("KVORUM", "TOPOLOGY", "GET")
        if isinstance(theirs, ReplyError):
            return False
        try:
            old = from_json(theirs) if isinstance(theirs, bytes) and theirs else None
            behind = merge(old, ours) is not old
        except TopologyError:
            behind = True  # the node says what is wrong with it when it refuses ours
        if behind:
            await link.call("KVORUM", "TOPOLOGY", "SET", to_json(ours))
        return True


class PeerProbe(Probe):
    """The connection to another sentinel, for all the shards that both watch."""

    def __init__(self, owner: Owner, peer: str, address: Address) -> None:
        super().__init__(owner)
        self.peer = peer
        self.address = address

    async def run(self) -> None:
        """Probe until stopped."""
        with self._scope:
            await self._keep(self._connect, self._jobs, self._report, self._period)

    async def ask(self, name: str, question: AskPeers) -> None:
        """Ask is-master-down-by-addr, and report the answer; nothing is reported without one."""
        link = self.link
        if link is None:
            return
        host, port = question.primary
        try:
            reply = await link.call(
                "SENTINEL", "is-master-down-by-addr", host, port, question.epoch, question.candidate
            )
        except LinkError:
            return
        if isinstance(reply, list) and len(reply) == 3 and not isinstance(reply[2], ReplyError):
            down, leader, epoch = reply
            if isinstance(leader, bytes) and isinstance(epoch, int) and 0 <= epoch <= MAX_EPOCH:
                asked = question.epoch if question.candidate != "*" else 0
                answer = events.PeerAnswered(self.peer, asked, down == 1, leader.decode("latin-1"), epoch)
                self.owner.apply(name, answer)

    def _shards(self) -> list[Shard]:
        return [s for s in self.owner.shards.values() if self.peer in s.peers]

    def _entry(self) -> Peer | None:
        return next((s.peers[self.peer] for s in self._shards()), None)

    def _period(self) -> float:
        return min((s.rules.ping_period for s in self._shards()), default=1.0)

    async def _connect(self) -> Link:
        entry = self._entry()
        if entry is not None:
            self.address = entry.address
        shards = self._shards()
        username, password = self.owner.peer_login()
        return await open_link(
            *self.address,
            username=username,
            password=password,
            client_name=f"sentinel-{shards[0].me[:8]}-cmd" if shards else None,
            connect_timeout=2.0,
            timeout=PING_TIMEOUT,
            max_reply=MAX_REPLY,
        )

    def _report(self, state: bool | LinkError) -> None:
        if state is True:
            self.connects += 1
            self.owner.apply_peer(self.peer, events.Connected(self.peer))
        else:
            self.link = None
            refused = isinstance(state, LinkRefused)
            self.owner.apply_peer(self.peer, events.Disconnected(self.peer, refused))

    def _jobs(self, link: Link) -> list[Callable[[], Awaitable[None]]]:
        self.link = link
        return [
            lambda: self._every(self._period, lambda: self._ping(link)),
            lambda: self._greet_forever(lambda: self._publish(link)),
            lambda: _notice_end(link),
        ]

    async def _ping(self, link: Link) -> None:
        entry = self._entry()
        if entry is not None and entry.address != self.address:
            raise LinkError("the peer has moved")
        self.owner.apply_peer(self.peer, events.Asked(self.peer))
        reply = await link.call("PING")
        self.owner.apply_peer(self.peer, events.Answered(self.peer, _is_alive(reply)))

    async def _publish(self, link: Link) -> None:
        me = self.owner.own_address(link.local_host)
        greetings: list[Request] = [["PUBLISH", CHANNEL, write_hello(s, me)] for s in self._shards()]
        if greetings:
            await link.pipeline(greetings)
