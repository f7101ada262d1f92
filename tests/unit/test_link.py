"""The RESP client: order of replies, push messages, limits, timeouts and how connections end."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
import trio.testing
import trustme

from cluster.link import (
    Link,
    LinkClosed,
    LinkProtocolError,
    LinkRefused,
    LinkTimeout,
    ReplyError,
    encode,
    open_link,
)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Link, trio.testing.MemoryReceiveStream | trio.StapledStream]]:
    """A link and the server's end of its stream."""
    mine, theirs = trio.testing.memory_stream_pair()
    async with Link(mine, timeout=5) as link:
        yield link, theirs


async def test_pipelined_replies_come_in_order_and_errors_are_values(ends) -> None:
    """Three requests go out at once and their replies, an error among them, come back in order."""
    link, server = ends
    await server.send_all(b"+OK\r\n-WRONGTYPE bad kind\r\n$3\r\nabc\r\n")
    first, second, third = await link.pipeline([["A"], ["B", 1], ["C", b"\xff"]])
    assert first == b"OK"
    assert third == b"abc"
    assert isinstance(second, ReplyError)
    assert (second.code, second.text) == ("WRONGTYPE", "WRONGTYPE bad kind")
    sent = b"*1\r\n$1\r\nA\r\n", b"*2\r\n$1\r\nB\r\n$1\r\n1\r\n", b"*2\r\n$1\r\nC\r\n$1\r\n\xff\r\n"
    assert await server.receive_some() == b"".join(sent)


async def test_ask_raises_the_error_reply_and_the_link_stays_usable(ends) -> None:
    """An error reply breaks nothing."""
    link, server = ends
    await server.send_all(b"-ERR no\r\n")
    with pytest.raises(ReplyError, match="ERR no"):
        await link.ask("X")
    await server.send_all(b"+PONG\r\n")
    assert await link.call("PING") == b"PONG"


async def test_many_tasks_share_one_link(ends, autojump_clock) -> None:
    """Whichever task reads, every task gets its own reply, also when replies come byte by byte."""
    link, server = ends
    got: dict[int, object] = {}

    async def one(number: int) -> None:
        got[number] = await link.call("ECHO", number)

    async def answer() -> None:
        data = b""
        while data.count(b"ECHO") < 20:
            data += await server.receive_some()
        numbers = data.split(b"\r\n")[4::5]
        for byte in b"".join(b":%s\r\n" % n for n in numbers):
            await server.send_all(bytes([byte]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        for number in range(20):
            nursery.start_soon(one, number)
    assert got == {n: n for n in range(20)}


async def test_a_cancelled_reader_hands_the_reading_on(ends, autojump_clock) -> None:
    """When the task that reads is cancelled, another waiting task takes over, and the orphaned reply is skipped."""
    link, server = ends
    got: list[object] = []

    async def second() -> None:
        got.append(await link.call("TWO"))

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            nursery.start_soon(second)
            await link.call("ONE")
        requests = (await server.receive_some()).split(b"\r\n")[2::3]
        await server.send_all(b"".join(b"+%s\r\n" % r for r in requests))
    assert got == [b"TWO"]


@pytest.mark.parametrize("protocol", [2, 3])
async def test_push_messages_do_not_disturb_replies(ends, protocol: int) -> None:
    """Messages go to their own queue in RESP2 (arrays) and RESP3 (pushes)."""
    link, server = ends
    mark = b"*" if protocol == 2 else b">"
    await server.send_all(mark + b"3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
    await link.subscribe("c")
    assert await link.push() == [b"subscribe", b"c", 1]
    await server.send_all(mark + b"3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n")
    assert await link.call("PING") == [b"pong", b""]
    assert await link.push() == [b"message", b"c", b"hi"]


async def test_resp3_values(ends) -> None:
    """Maps, booleans, doubles, nulls and incomplete false values are told apart."""
    link, server = ends
    await server.send_all(b"%2\r\n+a\r\n#f\r\n+b\r\n,1.5\r\n#f\r\n_\r\n")
    assert await link.pipeline([["A"], ["B"], ["C"]]) == [{b"a": False, b"b": 1.5}, False, None]


async def test_a_refused_subscription_breaks_the_link_with_its_text(ends) -> None:
    """An error that answers no request is the reason why the link ends."""
    link, server = ends
    await link.subscribe("c")
    await server.send_all(b"-NOPERM no channels\r\n")
    with pytest.raises(LinkProtocolError, match="NOPERM no channels"):
        await link.push()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", LinkClosed),
        (b"hello\r\n", LinkProtocolError),
        (b"+OK\r\n:1\r\n", None),
        (b"$2000\r\n" + b"x" * 1500, LinkProtocolError),
    ],
    ids=["end", "no RESP", "surplus", "too large"],
)
async def test_bad_streams(data: bytes, error: type[Exception] | None) -> None:
    """A peer that ends, talks nonsense or too much breaks the link; the reply before it still counts."""
    mine, theirs = trio.testing.memory_stream_pair()
    async with Link(mine, timeout=5, max_reply=1000) as link:
        await (theirs.send_all(data) if data else theirs.aclose())
        if error is None:
            assert await link.call("X") == b"OK"
            error = LinkProtocolError
        for _ in range(2):
            with pytest.raises(error):
                await link.call("X")


async def test_a_slow_reply_closes_the_link(ends, autojump_clock) -> None:
    """After a timeout nobody can tell whose reply comes next, so every later call fails too."""
    link, _server = ends
    with pytest.raises(LinkTimeout):
        await link.call("X", timeout=1)
    with pytest.raises(LinkTimeout):
        await link.call("Y")


async def test_detach_gives_the_stream_only_when_nothing_is_due(ends) -> None:
    """A replica goes on with the bytes itself, from an exact place."""
    link, server = ends
    await server.send_all(b"+OK\r\n")
    await link.call("REPLCONF")
    stream = link.detach()
    await server.send_all(b"raw")
    assert await stream.receive_some() == b"raw"
    with pytest.raises(LinkClosed):
        await link.call("PING")


async def serve(nursery: trio.Nursery, handler: Callable[[trio.SocketStream], Awaitable[None]]) -> int:
    """Serve `handler` on a free port."""
    listeners = await nursery.start(trio.serve_tcp, handler, 0)
    return int(listeners[0].socket.getsockname()[1])


async def test_open_link_logs_in_and_names_itself() -> None:
    """AUTH, HELLO and CLIENT SETNAME go out in one write; a refused name does not matter."""
    seen = bytearray()

    async def handler(stream: trio.SocketStream) -> None:
        seen.extend(await stream.receive_some())
        await stream.send_all(b"+OK\r\n%0\r\n-NOPERM x\r\n")
        await stream.receive_some()

    async with trio.open_nursery() as nursery:
        port = await serve(nursery, handler)
        async with await open_link("127.0.0.1", port, username="u", password="p", protocol=3, client_name="n"):
            expected = [["AUTH", "u", "p"], ["HELLO", 3], ["CLIENT", "SETNAME", "n"]]
            assert bytes(seen) == b"".join(encode(words) for words in expected)
        nursery.cancel_scope.cancel()


async def test_open_link_raises_the_refused_login() -> None:
    """A wrong password is an error of the caller, not of the connection."""

    async def handler(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"-WRONGPASS invalid\r\n")

    async with trio.open_nursery() as nursery:
        port = await serve(nursery, handler)
        with pytest.raises(ReplyError, match="WRONGPASS"):
            await open_link("127.0.0.1", port, password="p")
        nursery.cancel_scope.cancel()


async def test_refused_is_told_apart() -> None:
    """A closed port is LinkRefused: evidence that the host lives and the process does not."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    with pytest.raises(LinkRefused):
        await open_link("127.0.0.1", port)


async def test_a_silent_peer_times_out() -> None:
    """A stopped process accepts the connection through its kernel and never says a word."""

    async def handler(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        port = await serve(nursery, handler)
        with pytest.raises(LinkTimeout):
            await open_link("127.0.0.1", port, password="p", connect_timeout=0.2)
        nursery.cancel_scope.cancel()


async def test_over_tls_the_certificate_is_verified() -> None:
    """With the CA the link works and knows its own address; without it, or for another name, it is refused."""
    ca = trustme.CA()
    serving, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    ca.issue_cert("localhost").configure_cert(serving)
    ca.configure_trust(trusting)

    async def handler(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, serving, server_side=True)
        with contextlib.suppress(trio.BrokenResourceError):
            while await secure.receive_some():
                await secure.send_all(b"+OK\r\n")

    async with trio.open_nursery() as nursery:
        port = await serve(nursery, handler)
        async with await open_link("127.0.0.1", port, tls=trusting, server_name="localhost", password="p") as link:
            assert await link.call("PING") == b"OK"
            assert link.local_host == "127.0.0.1"
        for context, name in ((ssl.create_default_context(), "localhost"), (trusting, "example.org")):
            with pytest.raises(LinkClosed, match="no TLS"):
                await open_link("127.0.0.1", port, tls=context, server_name=name)
        nursery.cancel_scope.cancel()
