"""The agent's links to its sentinels: what it tells them, and what it learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from cluster.link import Link, LinkError, Reply, open_link
from cluster.topology import Topology, TopologyError, from_json, merge, to_json

PATIENCE: Final = 1.0
DEAD_TRIES: Final = 20


class Sentinels:
    """Links to all sentinels, opened when needed and again after they broke."""

    def __init__(self, addresses: Sequence[tuple[str, int]]) -> None:
        self._addresses = tuple(addresses)
        self._links: dict[tuple[str, int], Link] = {}
        self._opening = {address: trio.Lock() for address in self._addresses}

    async def aclose(self) -> None:
        """Close all links."""
        for link in self._links.values():
            await link.aclose()
        self._links.clear()

    async def _ask(self, address: tuple[str, int], *words: str) -> Reply:
        """One request to one sentinel; raises LinkError."""
        async with self._opening[address]:
            link = self._links.get(address)
            if link is None or link.broken is not None:
                link = await open_link(*address, connect_timeout=PATIENCE, timeout=PATIENCE, client_name="kvorum-agent")
                self._links[address] = link
        return await link.ask(*words)

    async def newest(self, known: Topology) -> Topology:
        """The newest topology that `known` and the sentinels together have; `known` itself when nothing is newer."""
        newest = known

        async def get(address: tuple[str, int]) -> None:
            nonlocal newest
            try:
                reply = await self._ask(address, "KVORUM", "TOPOLOGY", "GET", known.service)
                if isinstance(reply, bytes):
                    newest = merge(newest, from_json(reply))
            except (LinkError, TopologyError):
                return  # the others have it too

        async with trio.open_nursery() as nursery:
            for address in self._addresses:
                nursery.start_soon(get, address)
        return newest

    async def announce(self, topology: Topology) -> None:
        """Give every sentinel that answers a topology with newer epochs."""

        async def give(address: tuple[str, int]) -> None:
            try:
                await self._ask(address, "KVORUM", "TOPOLOGY", "SET", to_json(topology).decode())
            except LinkError:
                return  # it learns it from the others

        async with trio.open_nursery() as nursery:
            for address in self._addresses:
                nursery.start_soon(give, address)

    async def tell_dead(self, node: str) -> None:
        """Witness before every sentinel that this node's process has ended; one that does not answer is asked again."""

        async def tell(address: tuple[str, int]) -> None:
            for _ in range(DEAD_TRIES):
                try:
                    await self._ask(address, "KVORUM", "PROCESS-DEAD", node)
                    return
                except LinkError:
                    await trio.sleep(PATIENCE / 4)

        async with trio.open_nursery() as nursery:
            for address in self._addresses:
                nursery.start_soon(tell, address)
