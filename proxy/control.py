"""Word from the sentinels: one task each, and of all they say the newest topology counts."""

from __future__ import annotations

from collections.abc import Callable

import trio

from cluster.link import LinkError, ReplyError, open_link
from cluster.logs import get_logger
from cluster.topology import Topology, TopologyError, from_json, merge

CHANNEL = "+topology"
RETRY_FIRST = 0.2
RETRY_MOST = 2.0
CHECK_EVERY = 5.0

log = get_logger()


class Control:
    """The topology as it is known; `changed` hears of every newer one."""

    def __init__(self, service: str, changed: Callable[[Topology], None]) -> None:
        self.service = service
        self.changed = changed
        self.topology: Topology | None = None

    def take(self, data: bytes, source: str) -> None:
        """Merge what somebody says; news of other services and nonsense are passed over."""
        try:
            told = from_json(data)
            if told.service != self.service:
                return
            newest = merge(self.topology, told)
        except TopologyError as error:
            log.warning("a topology was refused", source=source, reason=str(error))
            return
        if newest is not self.topology:
            self.topology = newest
            log.info("topology", source=source, epoch=newest.epoch, shards=len(newest.shards))
            self.changed(newest)

    async def follow(self, host: str, port: int, password: str) -> None:
        """Stay in touch with one sentinel for ever."""
        pause = RETRY_FIRST
        while True:
            try:
                await self._listen(host, port, password)
                pause = RETRY_FIRST
            except LinkError as error:
                log.debug("sentinel out of reach", sentinel=f"{host}:{port}", reason=str(error))
            await trio.sleep(pause)
            pause = min(pause * 2, RETRY_MOST)

    async def _listen(self, host: str, port: int, password: str) -> None:
        """Subscribe first and ask afterwards, so that nothing falls in between; ask again after a silence.

        Asking takes a connection of its own, since in RESP2 a subscriber may not ask.
        """
        async with await open_link(host, port, password=password or None, client_name="kvorum-proxy") as link:
            await link.subscribe(CHANNEL)
            await link.push()
            while True:
                await self._ask(host, port, password)
                with trio.move_on_after(CHECK_EVERY):
                    while True:
                        message = await link.push()
                        if len(message) == 3 and isinstance(message[2], bytes):
                            self.take(message[2], f"{host}:{port}")

    async def _ask(self, host: str, port: int, password: str) -> None:
        """Fetch the topology of the service."""
        async with await open_link(host, port, password=password or None) as link:
            reply = await link.call("KVORUM", "TOPOLOGY", "GET", self.service)
        if isinstance(reply, bytes):
            self.take(reply, f"{host}:{port}")
        elif isinstance(reply, ReplyError):
            log.warning("a sentinel does not tell the topology", sentinel=f"{host}:{port}", reason=str(reply))
