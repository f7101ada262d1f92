"""The one RESP client: requests out, replies in, over any trio stream. Sentinels, agent, CLI, proxy and replicas use
it.

    async with await open_link("127.0.0.1", 6379, password="secret") as link:
        await link.call("SET", "k", "v")            # b"OK"
        await link.pipeline([["GET", "k"], ["DEL", "k"]])
        await link.subscribe("__sentinel__:hello")
        kind, channel, payload = await link.push()

No task of its own: of all the tasks that wait for something, one reads and hands on what it finds, so a Link needs no
nursery and cannot outlive its owner. Replies come in the order of requests; push messages go to a queue of their own.

Errors: whatever breaks the connection is a LinkError, and the link is closed for good after it (whether a request had
an effect is then unknown). An error reply is a *value*, a ReplyError, because many are expected answers; `ask` raises
it.
"""

# ruff: noqa: ASYNC109 - a deadline that breaks the link belongs to the link, not to its caller
from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self, TypeAlias

import hiredis
import trio

READ_SIZE: Final = 65536
MAX_REPLY: Final = 512 << 20  # bytes of one unfinished reply: the most that a string value may hold
MAX_PUSHES: Final = 16384  # messages waiting for a reader that does not come

_PUSH_KINDS: Final = frozenset(
    prefix + kind for prefix in (b"", b"p", b"s") for kind in (b"message", b"subscribe", b"unsubscribe")
)


class LinkError(Exception):
    """The connection is of no more use: refused, cut, too slow, or the peer does not speak RESP."""


class LinkRefused(LinkError):
    """The peer's host answered that nobody listens there: evidence that the process is gone."""


class LinkClosed(LinkError):
    """The peer, or this side, has closed the connection."""


class LinkTimeout(LinkError):
    """No connection or no reply within the time allowed."""


class LinkProtocolError(LinkError):
    """The peer sent something that is not RESP, not asked for, or larger than allowed."""


class ReplyError(LinkError):
    """An error reply such as `-WRONGTYPE Operation …`; the link itself is fine."""

    @property
    def text(self) -> str:
        """The whole reply without the leading '-'."""
        return str(self.args[0])

    @property
    def code(self) -> str:
        """The first word of the reply: ERR, NOAUTH, READONLY, MOVED, …"""
        return self.text.partition(" ")[0]


class _NeedData:
    """What the reader gives while a reply is incomplete; its default, False, is also a RESP3 value."""


NEED_DATA: Final = _NeedData()

Reply: TypeAlias = "bool | int | float | bytes | ReplyError | list[Reply] | dict[bytes, Reply] | None"
Word: TypeAlias = "str | bytes | int | float"
Request: TypeAlias = "Sequence[Word]"


class _Pending:
    """A place in the queue of replies; `reply` holds a value once `done`."""

    __slots__ = ("done", "reply")

    def __init__(self) -> None:
        self.done = False
        self.reply: Reply = None


class Link:
    """A connection to a RESP server. Any number of tasks may use it at once; their requests are pipelined.

    `timeout` is in seconds and holds for each call that names no other. Times out, and the link is closed, because the
    late reply could no more be told from the next one's.
    """

    def __init__(self, stream: trio.abc.Stream, *, timeout: float = 5.0, max_reply: int = MAX_REPLY) -> None:
        self.stream = stream
        self.timeout = timeout
        self.max_reply = max_reply
        self.broken: LinkError | None = None
        self._reader = hiredis.Reader(protocolError=LinkProtocolError, replyError=ReplyError, notEnoughData=NEED_DATA)
        self._unfinished = 0  # bytes since the last complete reply
        self._replies: deque[_Pending] = deque()
        self._pushes: deque[list[Reply]] = deque()
        self._subscriber = False
        self._reading = False
        self._waiting = trio.lowlevel.ParkingLot()
        self._writing = trio.StrictFIFOLock()

    def __repr__(self) -> str:
        state = "open" if self.broken is None else f"broken: {self.broken}"
        return f"<Link {state}, {len(self._replies)} replies due, {len(self._pushes)} pushes>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection at once; whoever waits gets LinkClosed."""
        self._break(LinkClosed("closed by this side"))
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self.stream)

    @property
    def local_host(self) -> str:
        """The address of this end, as the peer sees it; "" on a stream that has none."""
        stream = self.stream.transport_stream if isinstance(self.stream, trio.SSLStream) else self.stream
        return str(stream.socket.getsockname()[0]) if isinstance(stream, trio.SocketStream) else ""

    async def call(self, *words: Word, timeout: float | None = None) -> Reply:
        """Send one request and wait for its reply; an error reply is returned, not raised."""
        return (await self.pipeline([words], timeout=timeout))[0]

    async def ask(self, *words: Word, timeout: float | None = None) -> Reply:
        """As `call`, but raises the ReplyError."""
        reply = await self.call(*words, timeout=timeout)
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    async def pipeline(self, requests: Sequence[Request], *, timeout: float | None = None) -> list[Reply]:
        """Send requests in one go and wait for all of their replies, in order; error replies are values in the list."""
        limit = self.timeout if timeout is None else timeout
        places = [_Pending() for _ in requests]
        try:
            with trio.fail_after(limit):
                await self._send(requests, places)
                await self._read_until(places[-1] if places else None)
        except trio.TooSlowError as error:
            self._break(LinkTimeout(f"no reply within {limit} s"))
            raise self._fault() from error
        return [place.reply for place in places]

    async def subscribe(self, *channels: Word, command: str = "SUBSCRIBE") -> None:
        """Send SUBSCRIBE (or PSUBSCRIBE, SSUBSCRIBE, UNSUBSCRIBE …); the confirmations come as push messages."""
        self._subscriber = True
        with trio.move_on_after(self.timeout) as scope:
            await self._send([(command, *channels)], [])
        if scope.cancelled_caught:
            self._break(LinkTimeout(f"no room to send within {self.timeout} s"))
            raise self._fault()

    async def push(self) -> list[Reply]:
        """The next push message: [kind, channel, payload] and the like. Waits without limit; cancel it freely."""
        while not self._pushes:
            await self._read_some()
        return self._pushes.popleft()

    def detach(self) -> trio.abc.Stream:
        """Give up the stream to a caller that goes on with bytes (a replica after its handshake).

        Raises LinkProtocolError when replies are due or bytes have already been read beyond the last one.
        """
        if self._replies or self._unfinished or self.broken is not None:
            raise LinkProtocolError("the link is in use and cannot be detached")
        self._break(LinkClosed("detached"))
        return self.stream

    async def _send(self, requests: Sequence[Request], places: list[_Pending]) -> None:
        data = b"".join([encode(words) for words in requests])
        async with self._writing:
            if self.broken is not None:
                raise self._fault()
            self._replies.extend(places)
            try:
                await self.stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError, ssl.SSLError) as error:
                self._break(LinkClosed(f"the connection broke: {error}"))
                raise self._fault() from error
            except trio.Cancelled:
                self._break(LinkClosed("cancelled in the middle of a request"))
                raise

    async def _read_until(self, place: _Pending | None) -> None:
        while place is not None and not place.done:
            await self._read_some()

    async def _read_some(self) -> None:
        """Read once, or wait until the task that is reading has done so."""
        if self.broken is not None:
            raise self._fault()
        if self._reading:
            await self._waiting.park()
            return
        self._reading = True
        try:
            self._feed(await self.stream.receive_some(READ_SIZE))
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError, ssl.SSLError) as error:
            self._break(LinkClosed(f"the connection broke: {error}"))
            raise self._fault() from error
        finally:
            self._reading = False
            self._waiting.unpark_all()

    def _feed(self, data: bytes | bytearray) -> None:
        if not data:
            self._break(LinkClosed("closed by the peer"))
            return
        self._unfinished += len(data)
        try:
            self._reader.feed(bytes(data))
            while (reply := self._reader.gets()) is not NEED_DATA:
                self._unfinished = 1 if self._reader.has_data() else 0
                self._take(reply)
        except LinkError as error:
            self._break(error)
        if self._unfinished > self.max_reply:
            self._break(LinkProtocolError(f"a reply of more than {self.max_reply} bytes"))

    def _take(self, reply: Reply) -> None:
        if self._is_push(reply):
            assert isinstance(reply, list)
            self._pushes.append(reply)
            if len(self._pushes) > MAX_PUSHES:
                raise LinkProtocolError(f"more than {MAX_PUSHES} push messages that nobody reads")
        elif self._replies:
            place = self._replies.popleft()
            place.reply, place.done = reply, True
        elif isinstance(reply, ReplyError):
            raise LinkProtocolError(reply.text)  # a refused SUBSCRIBE, or a farewell such as max clients
        else:
            raise LinkProtocolError("a reply to nothing")

    def _is_push(self, reply: Reply) -> bool:
        if isinstance(reply, hiredis.PushNotification):
            return True
        if not self._subscriber or not isinstance(reply, list) or not reply:
            return False
        return isinstance(reply[0], bytes) and reply[0] in _PUSH_KINDS

    def _break(self, error: LinkError) -> None:
        if self.broken is None:
            self.broken = error
        self._waiting.unpark_all()

    def _fault(self) -> LinkError:
        """A fresh exception of the kind that broke the link: one instance must not be raised in several tasks."""
        assert self.broken is not None
        return type(self.broken)(*self.broken.args)


def encode(words: Request) -> bytes:
    """One request as a RESP array of bulk strings; numbers as their decimal text."""
    packed = hiredis.pack_command(tuple(words))  # type: ignore[arg-type]  # its stub means tuple[…, ...]
    assert isinstance(packed, bytes)
    return packed


async def open_link(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
    username: str | None = None,
    password: str | None = None,
    protocol: int = 2,
    client_name: str | None = None,
    connect_timeout: float = 5.0,
    timeout: float = 5.0,
    max_reply: int = MAX_REPLY,
) -> Link:
    """Connect to `host:port`, log in, name the connection, and choose RESP2 or RESP3.

    `server_name` is the name that the certificate must have, by default `host`. `connect_timeout` (seconds) is for
    all of it. Raises LinkRefused, LinkTimeout or LinkClosed, and ReplyError when the server refuses the login.
    """
    try:
        with trio.fail_after(connect_timeout):
            stream = await _connect(host, port, tls, server_name)
            link = Link(stream, timeout=timeout, max_reply=max_reply)
            try:
                await _greet(link, username, password, protocol, client_name)
            except BaseException:
                await link.aclose()
                raise
            return link
    except trio.TooSlowError as error:
        raise LinkTimeout(f"{host}:{port} did not answer within {connect_timeout} s") from error


async def _connect(host: str, port: int, tls: ssl.SSLContext | None, server_name: str | None) -> trio.abc.Stream:
    try:
        stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        cause: BaseException | None = error
        while isinstance(cause, OSError) and cause.errno is None and cause.__cause__ is not None:
            cause = cause.__cause__
        causes = cause.exceptions if isinstance(cause, BaseExceptionGroup) else (cause,)
        if all(isinstance(one, ConnectionRefusedError) for one in causes):
            raise LinkRefused(f"{host}:{port} refuses connections") from error
        raise LinkClosed(f"cannot connect to {host}:{port}: {error}") from error
    if tls is None:
        return stream
    secure = trio.SSLStream(stream, tls, server_hostname=server_name or host)
    try:
        await secure.do_handshake()
    except (trio.BrokenResourceError, ssl.SSLError) as error:
        await trio.aclose_forcefully(secure)
        raise LinkClosed(f"no TLS with {host}:{port}: {error.__cause__ or error}") from error
    except trio.Cancelled:
        await trio.aclose_forcefully(secure)
        raise
    return secure


async def _greet(
    link: Link, username: str | None, password: str | None, protocol: int, client_name: str | None
) -> None:
    requests: list[Request] = []
    if password is not None:
        requests.append(["AUTH", password] if username is None else ["AUTH", username, password])
    if protocol != 2:
        requests.append(["HELLO", protocol])
    if client_name is not None:
        requests.append(["CLIENT", "SETNAME", client_name])
    for reply, request in zip(await link.pipeline(requests), requests, strict=True):
        if isinstance(reply, ReplyError) and request[0] != "CLIENT":
            raise reply
