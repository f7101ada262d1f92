"""`python -m sentinel FILE [--directive value …]`: one sentinel."""

from __future__ import annotations

import os
import random
import secrets
import signal
import sys
import time
from pathlib import Path

import trio

from cluster.configfile import ConfigFileError
from cluster.logs import LEVELS, get_logger, set_up
from cluster.topology import Topology, TopologyError, from_json
from sentinel.engine import Engine
from sentinel.server import SentinelServer
from sentinel.settings import Settings, load
from sentinel.store import Store, StoreError


def main() -> None:
    """Run until SIGINT, SIGTERM or SHUTDOWN. A mistake in the configuration ends with status 1 and its text."""
    os.umask(0o077)
    try:
        settings = load(sys.argv[1:])
        set_up(f"sentinel-{settings.port}", level=settings.loglevel if settings.loglevel in LEVELS else "notice")
        settings.folder.mkdir(parents=True, exist_ok=True)
        engine = prepare(settings, Store(settings.folder))
        trio.run(serve, engine)
    except (ConfigFileError, StoreError, TopologyError, OSError) as error:
        print(f"kvorum-sentinel: {error}", file=sys.stderr)
        sys.exit(1)


def prepare(settings: Settings, store: Store) -> Engine:
    """An engine that has taken up what was kept and what is configured. Raises StoreError, TopologyError and
    OSError.
    """
    me = settings.myid or store.kept.me or secrets.token_hex(20)
    chance = random.SystemRandom()
    engine = Engine(settings, store, me, clock=time.monotonic, luck=chance.random)
    engine.load([_topology(path) for path in settings.topology_files])
    return engine


def _topology(path: Path) -> Topology:
    return from_json(path.read_bytes())


async def serve(engine: Engine) -> None:
    """Serve until a signal or SHUTDOWN."""
    server = SentinelServer(engine)
    await server.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, server, nursery.cancel_scope)
        await server.run()
        get_logger().info("stopped")
        nursery.cancel_scope.cancel()


async def _stop_on_signal(server: SentinelServer, scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            server.stop()


if __name__ == "__main__":
    main()
