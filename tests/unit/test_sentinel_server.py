"""The listening side of a sentinel: subscriptions, limits, hostile clients, and how it stops."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from cluster.link import Link, LinkClosed, LinkProtocolError, ReplyError, open_link
from sentinel.engine import Engine
from sentinel.server import MAX_OUTPUT, SentinelServer
from sentinel.settings import load
from sentinel.store import Store


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SentinelServer]:
    """A server of a sentinel that watches nothing yet, for three clients at most."""
    file = tmp_path / "sentinel.conf"
    file.write_text("port 0\nbind 127.0.0.1\nmaxclients 3\n")
    store = Store(tmp_path)
    engine = Engine(load([str(file)]), store, "a" * 40, clock=time.monotonic, luck=lambda: 0.5)
    engine.load([])
    made = SentinelServer(engine)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield made
        made.stop()
    store.close()


async def connect(server: SentinelServer, protocol: int = 2) -> Link:
    """A client of the server."""
    return await open_link("127.0.0.1", server.engine.port, protocol=protocol)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_events_reach_channels_and_patterns(server: SentinelServer, protocol: int) -> None:
    """A client gets an event once for the channel and once for each pattern that matches; node-redis' pattern too."""
    async with await connect(server, protocol) as link:
        await link.subscribe("+sdown")
        await link.subscribe("[-+]sdown", "*", "x*", command="PSUBSCRIBE")
        for _ in range(4):
            await link.push()
        server.engine.emit("+sdown", "master cache-0 127.0.0.1 7001")
        server.engine.emit("-odown", "master cache-0 127.0.0.1 7001")
        got = [await link.push() for _ in range(4)]
        assert [m[:-1] for m in got] == [
            [b"message", b"+sdown"],
            [b"pmessage", b"[-+]sdown", b"+sdown"],
            [b"pmessage", b"*", b"+sdown"],
            [b"pmessage", b"*", b"-odown"],
        ]
        assert {m[-1] for m in got} == {b"master cache-0 127.0.0.1 7001"}


async def test_in_resp2_a_subscriber_may_do_little_else(server: SentinelServer) -> None:
    """RESP2 cannot tell messages from replies, so other commands are refused there; PING has the form of a message."""
    async with await connect(server) as link:
        await link.subscribe("a")
        await link.push()
        refused = await link.call("SENTINEL", "MYID")
        assert isinstance(refused, ReplyError)
        assert refused.text.startswith("ERR Can't execute 'sentinel|myid': only (P|S)SUBSCRIBE")
        assert await link.call("PING") == [b"pong", b""]
        await link.subscribe(command="UNSUBSCRIBE")
        assert await link.push() == [b"unsubscribe", b"a", 0]
        assert await link.call("SENTINEL", "MYID") == b"a" * 40


async def until_clients(server: SentinelServer, count: int) -> None:
    """Wait until the server has no more than so many clients."""
    for _ in range(2000):
        if len(server.sessions) <= count:
            return
        await trio.sleep(0.005)
    raise AssertionError(f"still {len(server.sessions)} clients")


async def test_too_many_clients(server: SentinelServer) -> None:
    """One more than maxclients is told so and turned away; a place that becomes free can be taken."""
    links = [await connect(server) for _ in range(3)]
    for link in links:
        assert await link.call("PING") == b"PONG"
    async with await connect(server) as late:
        with pytest.raises(LinkProtocolError, match="ERR max number of clients reached"):
            await late.push()
    await links[0].aclose()
    await until_clients(server, 2)
    async with await connect(server) as link:
        assert await link.call("PING") == b"PONG"
    for link in links[1:]:
        await link.aclose()


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"*1\r\n$-5\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*99999999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n$99999999\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b'PING "\r\n', b"-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"PING\r\n*1\r\n!\r\n", b"+PONG\r\n-ERR Protocol error: expected '$', got '!'\r\n"),
    ],
)
async def test_broken_requests_end_the_connection(server: SentinelServer, data: bytes, reply: bytes) -> None:
    """The text is Valkey's, what came before is answered, and then the connection is closed."""
    stream = await trio.open_tcp_stream("127.0.0.1", server.engine.port)
    await stream.send_all(data)
    got = b""
    while chunk := await stream.receive_some():
        got += chunk
    assert got == reply
    await stream.aclose()


async def test_a_subscriber_that_does_not_read_is_dropped(server: SentinelServer) -> None:
    """What waits for it is bounded; the others are not held up."""
    deaf, other = await connect(server), await connect(server)
    await deaf.subscribe("+x")
    await deaf.push()
    text = "x" * 100_000
    for _ in range(3 * MAX_OUTPUT // len(text)):
        server.engine.publish("+x", text.encode())
        await trio.lowlevel.checkpoint()
    await until_clients(server, 1)
    assert await other.call("PING") == b"PONG"
    await deaf.aclose()
    await other.aclose()


async def test_a_pattern_cannot_hold_up_the_sentinel(server: SentinelServer) -> None:
    """A pattern made to be slow is as fast as any other."""
    async with await connect(server) as link:
        await link.subscribe("*a" * 200 + "b", command="PSUBSCRIBE")
        await link.push()
        server.engine.publish("a" * 300, b"")
        server.engine.publish("a" * 300 + "b", b"end")
        assert (await link.push())[-1] == b"end"


async def test_a_taken_port_is_named(server: SentinelServer) -> None:
    """Who cannot listen says where and why."""
    engine = server.engine
    engine.settings.port = engine.port
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {engine.port}: Address already in use"):
        await SentinelServer(engine).listen()


async def test_shutdown_ends_it(server: SentinelServer) -> None:
    """SHUTDOWN closes all connections without a reply."""
    async with await connect(server) as link:
        with pytest.raises(LinkClosed):
            await link.call("SHUTDOWN")
