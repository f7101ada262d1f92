"""The listening side of a sentinel: connections of clients, other sentinels, agent and proxies, on plain trio
streams.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Final

import trio

from cluster.logs import get_logger
from cluster.resp.errors import ProtocolError
from cluster.resp.requests import RequestDecoder
from sentinel.commands import execute
from sentinel.engine import Engine
from sentinel.session import Session

READ_SIZE: Final = 16384
MAX_BULK: Final = 8 << 20  # a topology is the largest thing that anybody sends
MAX_OUTPUT: Final = 8 << 20  # what a client that does not read may leave waiting
SEND_TIMEOUT: Final = 30.0

log = get_logger()


class SentinelServer:
    """All connections to one sentinel."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.sessions: dict[int, Session] = {}
        self.started = engine.now()
        self.connections_received = 0
        self.commands_processed = 0
        self._scope = trio.CancelScope()
        self._listeners: list[trio.SocketListener] = []
        engine.publish = self.publish

    def stop(self) -> None:
        """End the process in an orderly way."""
        self._scope.cancel()

    def publish(self, channel: str, payload: bytes) -> None:
        """Send a message to all who subscribe to its channel."""
        name = channel.encode()
        for session in tuple(self.sessions.values()):
            session.deliver(name, payload)

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch and serve until stopped; says on which port. Listens first unless that has been done."""
        if not self._listeners:
            await self.listen()
        port = self.engine.port
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.engine.run)
                serve = partial(trio.serve_listeners, self._serve, self._listeners)
                nursery.start_soon(serve)
                log.info("ready", port=port, id=self.engine.me)
                task_status.started(port)

    async def listen(self) -> None:
        """Take the addresses and the port. Raises OSError, with a text for the operator, when they cannot be had."""
        settings = self.engine.settings
        listeners = self._listeners
        for host in settings.bind:
            optional = host.startswith("-")
            port = int(listeners[0].socket.getsockname()[1]) if listeners and not settings.port else settings.port
            try:
                listeners += await trio.open_tcp_listeners(port, host=_bind_host(host.removeprefix("-")), backlog=511)
            except OSError as error:
                if not optional or not listeners:
                    raise OSError(f"cannot listen on {host}, port {port}: {os.strerror(error.errno or 0)}") from error
        self.engine.port = int(listeners[0].socket.getsockname()[1])

    async def _serve(self, stream: trio.SocketStream) -> None:
        self.connections_received += 1
        client = Client(self, stream, self.connections_received)
        if len(self.sessions) >= self.engine.settings.maxclients:
            client.session.writer.error(b"ERR max number of clients reached")
            client.session.closing = True
        self.sessions[client.session.id] = client.session
        try:
            await client.run()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            del self.sessions[client.session.id]
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)


class Client:
    """The tasks of one connection: one reads and executes, one sends, so that messages and replies never mix."""

    def __init__(self, server: SentinelServer, stream: trio.SocketStream, number: int) -> None:
        self._server = server
        self._stream = stream
        self._dirty = trio.Event()
        self._scope = trio.CancelScope()
        here, there = stream.socket.getsockname(), stream.socket.getpeername()
        now = server.engine.now()
        self.session = Session(number, f"{there[0]}:{there[1]}", f"{here[0]}:{here[1]}", now, self._wake)
        self.session.trusted = not server.engine.settings.requirepass

    async def run(self) -> None:
        """Serve until either side ends the connection."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                if not self.session.closing:
                    await self._read()
                self.session.closing = True
                self._wake()

    def _wake(self) -> None:
        if len(self.session.writer.out) > MAX_OUTPUT:
            log.warning("client does not read", address=self.session.address)
            self._scope.cancel()
        self._dirty.set()

    async def _read(self) -> None:
        session = self.session
        decoder = RequestDecoder(session.trusted, MAX_BULK)
        while not session.closing:
            data = await self._stream.receive_some(READ_SIZE)
            if not data:
                return
            session.active = self._server.engine.now()
            try:
                decoder.feed(bytes(data))
                while not session.closing and decoder.next():
                    self._server.commands_processed += 1
                    execute(self._server, session, decoder.args)
                    decoder.trusted = session.trusted
            except ProtocolError as error:
                session.writer.error(b"ERR " + error.text)
                return
            finally:
                self._wake()

    async def _write(self) -> None:
        out = self.session.writer.out
        while len(out) or not self.session.closing:
            await self._dirty.wait()
            self._dirty = trio.Event()
            data = out.getvalue()
            out.truncate(0)
            with trio.move_on_after(SEND_TIMEOUT) as scope:
                await self._stream.send_all(data)
            if scope.cancelled_caught:
                self._scope.cancel()


def _bind_host(host: str) -> str | None:
    return None if host == "*" else host
