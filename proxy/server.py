"""The edge: one trio task runs the loop of all connections, others tick, follow the sentinels and await signals."""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import ssl
import time
from pathlib import Path
from typing import Final

import trio

from cluster.catalog import COMMANDS
from cluster.logs import get_logger
from cluster.loop import Loop
from cluster.tls import server_context
from cluster.topology import Topology, TopologyError, from_json
from proxy.control import Control
from proxy.hub import Hub
from proxy.lanes import Fleet
from proxy.listener import BindError, Door, bind, close_doors
from proxy.routing import build_plans
from proxy.session import Access
from proxy.settings import Settings

TURN: Final = 0.005  # seconds of the thread that the loop may take before other tasks get it
TICK: Final = 0.02
GRACE: Final = 5.0  # seconds for replies that are due when the proxy is asked to end
COLLECT_EVERY: Final = 30.0

log = get_logger()


class StartError(Exception):
    """The proxy cannot start; the text says why and names the file or port."""


class ProxyLoop(Loop):
    """The loop that keeps the clock of the fleet."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet: Fleet | None = None

    def before_batch(self) -> None:
        """One clock a batch."""
        if self.fleet is not None:
            self.fleet.now = time.monotonic()


class Proxy:
    """All of one proxy process; `open` it, then `run` it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.loop = ProxyLoop()
        self.fleet = Fleet(self.loop, settings.park_timeout, settings.park_bytes, settings.upstream_auth)
        self.fleet.cut_unknown = settings.cut_unknown
        self.loop.fleet = self.fleet
        self.fleet.now = time.monotonic()
        chance = random.Random()
        self.hub = Hub(self.fleet, build_plans(COMMANDS), lambda: chance.getrandbits(48), noted)
        self.hub.allowlist = settings.allowlist
        self.hub.max_clients = settings.max_clients
        self.hub.timeout = float(settings.timeout)
        self.hub.output_limit = settings.output_limit
        self.hub.pubsub_limit = settings.pubsub_limit
        self.control = Control(settings.service, self.changed)
        self.doors: list[Door] = []
        self._bound: list[tuple[socket.socket, Access, ssl.SSLContext | None]] = []
        self._known = trio.Event()
        self.port = 0
        self.tls_port = 0

    def changed(self, topology: Topology) -> None:
        """A newer topology is known: turn to its primaries."""
        self.fleet.now = time.monotonic()
        self.fleet.apply(topology)
        self._known.set()
        self.hub.pool.retarget()
        self.loop.settle()

    def open(self) -> None:
        """Read the first topology and open the endpoints. Raises StartError."""
        settings = self.settings
        if settings.topology_file:
            self._read_topology(Path(settings.topology_file))
        internal = Access(False, settings.internal_auth, settings.password)
        if settings.port:
            self.port = self._open_doors(settings.port, internal, False)
        if settings.tls_port and not settings.allowlist:
            log.warning(
                "the external endpoint stays closed: the allowlist has no entry",
                service=settings.service,
                port=settings.tls_port,
            )
        elif settings.tls_port:
            self.tls_port = self._open_doors(settings.tls_port, Access(True, True, settings.password), True)
        self.hub.facts = {"process_id": str(os.getpid()), "tcp_port": str(self.port)}

    def _read_topology(self, path: Path) -> None:
        try:
            topology = from_json(path.read_bytes())
        except FileNotFoundError:
            if self.settings.sentinels:
                return
            raise StartError(f"there is no topology file {path}") from None
        except (OSError, TopologyError) as error:
            raise StartError(f"{path}: {error}") from error
        if topology.service != self.settings.service:
            raise StartError(
                f"{path} is the topology of service '{topology.service}', not of '{self.settings.service}'"
            )
        self.control.take(path.read_bytes(), str(path))

    def _open_doors(self, port: int, access: Access, tls: bool) -> int:
        settings = self.settings
        try:
            context = server_context(Path(settings.certificate), Path(settings.key)) if tls else None
        except OSError as error:
            raise StartError(f"TLS certificate or key: {error}") from error
        try:
            sockets = bind(settings.tls_bind if tls else settings.bind, port, settings.backlog)
        except BindError as error:
            raise StartError(str(error)) from error
        self._bound += [(sock, access, context) for sock in sockets]
        return int(sockets[0].getsockname()[1])

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then let replies that are due go out, for a bounded time."""
        gc.collect()
        gc.freeze()
        gc.disable()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._turns)
            nursery.start_soon(self._ticks)
            for host, port in self.settings.sentinels:
                nursery.start_soon(self.control.follow, host, port, self.settings.sentinel_auth)
            nursery.start_soon(self._accept)
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for number in signals:
                    log.info("a signal asks for the end", signal=signal.Signals(number).name)
                    break
            close_doors(self.loop, self.doors)
            for sock, _, _ in self._bound:
                sock.close()
            with trio.move_on_after(GRACE):
                while any(peer.due for peer in self.hub.peers.values()):  # noqa: ASYNC110 - no event of trio's
                    await trio.sleep(TICK)
            nursery.cancel_scope.cancel()
        self.hub.close()
        self.loop.close()
        log.info("ended")

    async def _accept(self) -> None:
        """Accept clients from the moment that the shards are known; until then they wait in the sockets' backlog."""
        if not self._known.is_set():
            log.info("waiting for the topology", service=self.settings.service)
            await self._known.wait()
        self.doors = [Door(self.hub, *bound, self.settings.keepalive) for bound in self._bound]
        log.info("ready", service=self.settings.service, port=self.port, tls_port=self.tls_port)

    async def _turns(self) -> None:
        descriptor = self.loop.fileno()
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            self.loop.turn(TURN)
            while self.loop.pending():
                await trio.lowlevel.checkpoint()
                self.loop.turn(TURN)

    async def _ticks(self) -> None:
        collected = time.monotonic()
        while True:
            await trio.sleep(TICK)
            now = time.monotonic()
            self.hub.tick(now)
            self.loop.settle()
            if now - collected > COLLECT_EVERY:
                collected = now
                gc.collect()


def noted(event: str, detail: str) -> None:
    """Log what the floors below have noticed."""
    log.warning(event, detail=detail)
