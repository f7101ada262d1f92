"""The mover's target over a failover, step by step: what was answered is on the new primary, or all begins anew."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import redis
import trio

from cluster.link import encode
from cluster.moving import TargetService
from cluster.topology import Node, Shard, Topology
from node.moving.errors import RestartError
from node.moving.lane import Item
from node.moving.target import Target
from tests.conftest import Server
from tests.system.test_replication import in_sync, until

LOST = "has lost writes that were answered"


class Place:
    """A shard of two nodes, and in place of sentinels who leads it: `leader` 0 or 1."""

    def __init__(self, nodes: list[Server]) -> None:
        self.nodes = nodes
        self.leader = 0

    async def newest(self, known: Topology) -> Topology:
        """As `Sentinels.newest`."""
        names = ["a" * 40, "b" * 40]
        nodes = tuple(Node(name, "127.0.0.1", one.port, "s") for name, one in zip(names, self.nodes, strict=True))
        shard = Shard("s", self.leader + 1, names[self.leader], (names[1 - self.leader],), ((0, 16383),))
        return Topology("one", (shard,), nodes)

    async def aclose(self) -> None:
        """As `Sentinels.aclose`."""

    def clients(self) -> tuple[redis.Redis, redis.Redis]:
        """Of both nodes."""
        return self.nodes[0].client(), self.nodes[1].client()

    def promote(self) -> None:
        """The replica becomes a primary; the old one does not know yet."""
        old, new = self.clients()
        until(partial(in_sync, old, new), "the replica has it all")
        new.replicaof("NO", "ONE")

    def demote(self) -> None:
        """The old primary follows the new one, and everybody is told."""
        old, _ = self.clients()
        old.replicaof("127.0.0.1", self.nodes[1].port)
        self.leader = 1


@pytest.fixture
def place(node_process: Callable[..., Server]) -> Place:
    """Two nodes of which the second follows the first."""
    made = Place([node_process(), node_process()])
    old, new = made.clients()
    new.replicaof("127.0.0.1", made.nodes[0].port)
    until(partial(in_sync, old, new), "the full sync")
    return made


@asynccontextmanager
async def target_at(place: Place) -> AsyncIterator[Target]:
    """The mover's view of the place."""
    async with trio.open_nursery() as nursery:
        target = Target(TargetService("one", 1, (), (), ""), nursery)
        target._sentinels = place  # type: ignore[assignment]
        await target.open()
        try:
            yield target
        finally:
            with trio.CancelScope(shield=True):
                await target.leave_import_mode()
                await target.aclose()
            nursery.cancel_scope.cancel()


async def write(target: Target, *words: bytes, safe: bool = False) -> None:
    """Send a command and wait for its answer."""
    await target.send(Item(encode(words), words[0].lower(), words[1], 0, safe=safe), 0)
    await target.drain()


async def test_a_failover_that_loses_nothing_goes_on(place: Place) -> None:
    """What the old primary answered the new one has: commands that can't be repeated are no reason to begin anew."""
    async with target_at(place) as target:
        for _ in range(3):
            await write(target, b"INCR", b"n")
        await trio.to_thread.run_sync(place.promote)
        await trio.to_thread.run_sync(place.demote)
        await write(target, b"INCR", b"n")
        await target.confirm()
        assert target.recoveries == 1
    assert place.nodes[1].client().get("n") == b"4"


@pytest.mark.parametrize("safe", [False, True])
async def test_writes_that_a_failover_lost_are_noticed(place: Place, safe: bool) -> None:
    """What the old primary answered after the promotion of its replica is gone: everything has to be copied again."""
    async with target_at(place) as target:
        await write(target, b"SET", b"a", b"1", safe=True)
        await trio.to_thread.run_sync(place.promote)
        await write(target, b"SET", b"b", b"1", safe=safe)
        await trio.to_thread.run_sync(place.demote)
        with pytest.raises(RestartError, match=LOST):
            await write(target, b"SET", b"c", b"1", safe=safe)


async def test_lost_writes_are_noticed_when_nothing_is_written_any_more(place: Place) -> None:
    """At the end it is confirmed that those who answered still lead."""
    async with target_at(place) as target:
        await trio.to_thread.run_sync(place.promote)
        await write(target, b"SET", b"b", b"1", safe=True)
        place.leader = 1  # and the old primary still believes that it leads
        with pytest.raises(RestartError, match=LOST):
            await target.confirm()


async def test_a_connection_that_breaks_is_no_failover(place: Place) -> None:
    """The same primary has what it answered; what it did not answer is sent again."""
    async with target_at(place) as target:
        await write(target, b"INCR", b"n")
        old, _ = place.clients()
        await trio.to_thread.run_sync(lambda: old.client_kill_filter(_type="normal", skipme=True))
        await write(target, b"SET", b"a", b"1", safe=True)
        await write(target, b"INCR", b"n")
        assert target.recoveries == 1
    assert (place.nodes[0].client().get("n"), place.nodes[0].client().get("a")) == (b"2", b"1")


async def test_what_is_queued_when_the_connection_breaks_is_sent(place: Place) -> None:
    """On the new connection, and at once: nobody waits for a reply to what was never sent."""
    async with target_at(place) as target:
        await target.send(Item(encode([b"INCR", b"n"]), b"incr", b"n", 0, safe=False), 0)
        old, _ = place.clients()
        await trio.to_thread.run_sync(lambda: old.client_kill_filter(_type="normal", skipme=True))
        with trio.fail_after(20):
            while not target._lanes[0].troubled:  # noqa: ASYNC110 - the reader tells only who waits for a reply
                await trio.sleep(0.01)
            await target.drain()
    assert place.nodes[0].client().get("n") == b"1"


async def test_a_primary_that_restarts_empty_is_noticed(place: Place, node_process: Callable[..., Server]) -> None:
    """The same address and role, and nothing of what was answered."""
    async with target_at(place) as target:
        await write(target, b"SET", b"a", b"1", safe=True)
        old = place.nodes[0]
        await trio.to_thread.run_sync(old.kill)
        place.nodes[0] = await trio.to_thread.run_sync(partial(node_process, port=old.port))
        with pytest.raises(RestartError, match=LOST):
            await write(target, b"SET", b"b", b"1", safe=True)
