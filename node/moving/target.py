"""The service that is filled: lanes to its primaries, kept up over failovers, and its import mode.

`send` and `flush` deliver in order per shard. A request whose connection broke is sent again to whoever leads now when
that is safe; when nobody can know whether it was executed, RestartError says so. No guess is ever made.
"""

from __future__ import annotations

import contextlib
from typing import Final

import trio

from cluster.agent.sentinels import Sentinels
from cluster.link import LinkError, Reply, ReplyError, Word, encode, open_link
from cluster.moving import TargetService
from cluster.slots import SLOTS, key_slot
from cluster.topology import Topology, slot_owners
from node.moving.errors import MoveError, RestartError, UnsupportedError
from node.moving.lane import WINDOW, WINDOW_ITEMS, Item, Lane, Mark, parse_info

RECOVERY: Final = 120.0  # seconds for a shard to get a primary again
RETRY: Final = 0.2
LEAVING: Final = 15.0  # seconds for a node that restarts to answer
PATIENCE: Final = 5.0
_OPENING: Final[tuple[list[Word], ...]] = (
    ["CLIENT", "SETNAME", "kvorum-move"],
    ["CLIENT", "NO-EVICT", "ON"],
    ["CONFIG", "SET", "import-mode", "yes"],
    ["CLIENT", "IMPORT-SOURCE", "ON"],
    ["ROLE"],
)


def keyspace(info: dict[str, str]) -> dict[int, int]:
    """Keys by database, from the fields of INFO keyspace."""
    return {
        int(name[2:]): int(value.partition(",")[0].removeprefix("keys="))
        for name, value in info.items()
        if name.startswith("db") and name[2:].isdigit() and value.startswith("keys=")
    }


class Target:
    """The primaries of a service. Everything raises MoveError when it can't go on; use it inside `nursery`."""

    def __init__(self, service: TargetService, nursery: trio.Nursery) -> None:
        self.service = service
        self.sharded = service.shards > 1
        self.recoveries = 0
        self.refused = 0  # errors that were the source's affair
        self.evicted_before = 0
        self.databases = 1
        self._nursery = nursery
        self._sentinels = Sentinels([_address(one) for one in service.sentinels])
        self._topology = Topology(service.name, (), ())
        self._lanes: list[Lane] = []
        self._owners: list[int] = [0] * SLOTS
        self._slots: tuple[object, ...] = ()
        self._entering = trio.CancelScope()
        self._order = 0
        self._submitted = 0

    # --- opening and closing
    async def open(self) -> None:
        """Connect to every primary, and put all nodes into import mode."""
        with trio.move_on_after(RECOVERY) as scope:
            while not await self._learn():  # noqa: ASYNC110 - other processes tell nobody when they are ready
                await trio.sleep(RETRY)
        if scope.cancelled_caught:
            raise MoveError(f"no sentinel tells who leads in '{self.service.name}'; see 'kvorum status'")
        self._slots = tuple(shard.slots for shard in self._topology.shards)
        names = [shard.name for shard in self._topology.shards]
        self._lanes = [Lane(name, self._judge) for name in names]
        if self.sharded:
            owners = slot_owners(self._topology)
            if None in owners:
                raise MoveError(f"some slots of '{self.service.name}' have no owner; see 'kvorum status'")
            self._owners = [names.index(owner.name) for owner in owners if owner is not None]
        await self.enter_import_mode()
        for lane in self._lanes:
            await self._connect_patiently(lane)
        if not self.sharded:
            [reply] = await self._lanes[0].ask(["CONFIG", "GET", "databases"])
            self.databases = int(reply[1]) if isinstance(reply, list) and isinstance(reply[1], bytes) else 1
        self.evicted_before = await self.evicted()

    async def _learn(self) -> bool:
        self._topology = await self._sentinels.newest(self._topology)
        return len(self._topology.shards) > 0

    async def aclose(self) -> None:
        """Close all connections."""
        for lane in self._lanes:
            lane.detach()
        await self._sentinels.aclose()

    async def enter_import_mode(self) -> None:
        """Put every node into import mode, replicas too since they may be promoted."""
        with trio.CancelScope() as self._entering:
            await self._tell_all("yes", self._addresses())

    async def leave_import_mode(self) -> list[str]:
        """Take every node out of import mode; those that do not answer for so long that they can't be restarting."""
        self._entering.cancel()
        missed = await self._tell_all("no", self._addresses())
        with trio.move_on_after(LEAVING):
            while missed:
                await trio.sleep(RETRY)
                missed = await self._tell_all("no", missed)
        return missed

    def _addresses(self) -> list[str]:
        return sorted({*self.service.nodes, *(f"{node.host}:{node.port}" for node in self._topology.nodes)})

    async def _tell_all(self, mode: str, addresses: list[str]) -> list[str]:
        """Set the import mode of nodes; those that did not answer."""
        missed: list[str] = []

        async def tell(address: str) -> None:
            try:
                async with await open_link(*_address(address), connect_timeout=PATIENCE, timeout=PATIENCE) as link:
                    await link.ask("CONFIG", "SET", "import-mode", mode)
                    if mode == "no" and self.recoveries:
                        await link.ask("CONFIG", "REWRITE")  # a promotion has written it down
            except LinkError:
                missed.append(address)

        async with trio.open_nursery() as nursery:
            for address in addresses:
                nursery.start_soon(tell, address)
        return missed

    async def _connect(self, lane: Lane) -> None:
        """Connect to who leads now. Raises LinkError and OSError."""
        shard = self._topology.shard(lane.shard)
        node = self._topology.node(shard.primary) if shard is not None else None
        if node is None:
            raise LinkError("nobody leads")
        with trio.fail_after(PATIENCE):
            stream = await trio.open_tcp_stream(node.host, node.port)
        lane.attach(stream, node.id)
        self._nursery.start_soon(lane.listen, stream)
        replies = await lane.ask(*_OPENING)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise reply
        role = replies[-1]
        if not isinstance(role, list) or role[0] != b"master":
            raise LinkError("the node is no primary")

    async def _connect_patiently(self, lane: Lane) -> None:
        """Connect as soon as the shard has a primary."""
        reason = ""
        with trio.move_on_after(RECOVERY):
            while True:
                try:
                    await self._connect(lane)
                    return
                except (LinkError, OSError, trio.TooSlowError) as error:
                    reason = str(error) or type(error).__name__
                    lane.detach()
                    await trio.sleep(RETRY)
                    await self._learn()
        raise MoveError(f"no primary of {lane.shard} answers ({reason}); see 'kvorum status'")

    # --- sending
    def shard_of(self, key: bytes) -> int:
        """The lane that a key belongs to."""
        return self._owners[key_slot(key)] if self.sharded else 0

    def place(self, slot: int) -> int:
        """The lane of a slot; of no slot (-1), the first."""
        return self._owners[slot] if self.sharded and slot >= 0 else 0

    @property
    def width(self) -> int:
        """Number of lanes."""
        return len(self._lanes)

    async def send(self, item: Item, place: int) -> None:
        """Queue a request for a lane; sends when enough has gathered."""
        lane = self._lanes[place]
        if lane.troubled:
            await self._mend()
        self._order += 1
        item.order = self._order
        item.start = self._submitted
        lane.put(item)
        if lane.is_full():
            await lane.flush()
            await lane.settle(WINDOW_ITEMS, WINDOW)
            if lane.troubled:
                await self._mend()

    async def everywhere(self, words: list[bytes], *, safe: bool, db: int = 0) -> None:
        """Queue a request for every lane."""
        request = encode(words)
        for place in range(self.width):
            await self.send(Item(request, words[0], b"", db, safe=safe), place)

    def submitted(self, offset: int) -> None:
        """All of the source's stream up to here was sent or queued."""
        self._submitted = offset

    def applied(self) -> int:
        """Offset of the source's stream up to which everything is answered."""
        starts = [item.start for lane in self._lanes for item in lane.oldest()]
        return min(starts, default=self._submitted)

    async def flush(self) -> None:
        """Send what is queued, and again what mending a lane has queued."""
        while True:
            for lane in self._lanes:
                await lane.flush()
            if not any(lane.troubled for lane in self._lanes):
                return
            await self._mend()

    async def drain(self) -> None:
        """Send what is queued, and wait for every reply."""
        while True:
            await self.flush()
            for lane in self._lanes:
                await lane.settle()
            if not any(lane.troubled or lane.due for lane in self._lanes):
                return
            await self._mend()

    async def ask(self, asked: list[tuple[int, list[list[Word]]]]) -> list[list[Reply]]:
        """For each lane and its requests, their replies, errors too. They go behind all that was sent to that lane, and
        again from the first when the connection breaks: so repeating them must be safe.
        """
        items: list[tuple[Item, int]] = []
        for place, requests in asked:
            item = Item(b"".join(map(encode, requests)), b"", b"", 0, safe=True)
            item.count = len(requests)
            item.wanted = item.tolerant = True
            items.append((item, place))
            await self.send(item, place)
        while True:
            await self.flush()
            for item, place in items:
                await self._lanes[place].until(item)
            if all(item.done for item, _ in items):
                return [item.replies for item, _ in items]
            await self._mend()

    # --- trouble
    def _judge(self, item: Item, reply: ReplyError) -> MoveError | None:
        """An error that the target answered: what it means for the move."""
        if item.tolerant:
            self.refused += not item.wanted
            return None
        if item.again:
            return RestartError(f"{_shown(item)} can't be repeated: {reply.text}")
        if reply.code == "OOM":
            return MoveError(
                f"'{self.service.name}' is full: {reply.text} Choose a larger plan in the blueprint, or an eviction "
                "policy if the data are a cache"
            )
        return MoveError(f"'{self.service.name}' refuses {_shown(item)}: {reply.text}")

    async def _mend(self) -> None:
        """Bring every lane in order again, and send what was not answered."""
        for lane in self._lanes:
            if lane.failure is not None:
                raise lane.failure
        for lane in self._lanes:
            if not lane.troubled:
                continue
            if lane.refused and not lane.broken:
                await lane.flush()
                await lane.settle()
            if lane.failure is not None:
                raise lane.failure
            await self._mend_lane(lane)

    async def _mend_lane(self, lane: Lane) -> None:
        reason = lane.broken or "the node does not serve now"
        mixed, mark = lane.mixed, lane.mark
        doubtful = {item.order for item in lane.due if item.sent}
        left = lane.detach()
        if mixed and left:
            raise RestartError(f"commands for {lane.shard} were executed out of order in a failover")
        _check_doubtful(lane, [item for item in left if item.order in doubtful], reason)
        self.recoveries += 1
        await trio.sleep(RETRY)
        await self._learn()
        if tuple(shard.slots for shard in self._topology.shards) != self._slots:
            raise RestartError("slots have moved to other shards")
        answered, lane.unmarked = lane.unmarked, []
        await self._connect_patiently(lane)
        self._nursery.start_soon(self.enter_import_mode)
        for item in sorted([*_not_proven(lane, mark, answered), *left], key=lambda item: item.order):
            item.rewind()
            lane.put(item)
            if lane.is_full():
                await lane.flush()

    async def confirm(self) -> None:
        """Wait until all that was sent is answered, by the nodes that lead now."""
        await self.drain()
        await self._learn()
        for lane in self._lanes:
            shard = self._topology.shard(lane.shard)
            if shard is not None and shard.primary != lane.node:
                lane.give_up("another node leads")
        await self.drain()

    # --- what it holds
    async def run_ids(self) -> set[str]:
        """The run IDs of all nodes that answer."""
        found: set[str] = set()

        async def ask(address: str) -> None:
            with contextlib.suppress(LinkError):
                async with await open_link(*_address(address), connect_timeout=PATIENCE, timeout=PATIENCE) as link:
                    found.add(parse_info(await link.ask("INFO", "server")).get("run_id", ""))

        async with trio.open_nursery() as nursery:
            for address in self._addresses():
                nursery.start_soon(ask, address)
        return found - {""}

    async def keys(self) -> dict[int, int]:
        """Keys by database."""
        total: dict[int, int] = {}
        for lane in self._lanes:
            [reply] = await lane.ask(["INFO", "keyspace"])
            for db, count in keyspace(parse_info(reply)).items():
                total[db] = total.get(db, 0) + count
        return total

    async def evicted(self) -> int:
        """Keys that the target evicted since its nodes started."""
        total = 0
        for lane in self._lanes:
            [reply] = await lane.ask(["INFO", "stats"])
            total += int(parse_info(reply).get("evicted_keys", "0"))
        return total

    async def memory(self) -> tuple[int, str]:
        """Bytes that the data may take (0: no limit), and what is evicted beyond."""
        total, policy = 0, ""
        for lane in self._lanes:
            [reply] = await lane.ask(["INFO", "memory"])
            info = parse_info(reply)
            total += int(info.get("maxmemory", "0"))
            policy = info.get("maxmemory_policy", "")
        return total, policy

    async def has_functions(self) -> bool:
        """Whether libraries of functions are loaded."""
        for lane in self._lanes:
            [reply] = await lane.ask(["FUNCTION", "LIST"])
            if reply:
                return True
        return False

    async def clear(self) -> None:
        """Remove all keys and functions."""
        for lane in self._lanes:
            for reply in await lane.ask(["FLUSHALL"], ["FUNCTION", "FLUSH"]):
                if isinstance(reply, ReplyError):
                    raise MoveError(f"'{self.service.name}' can't be emptied: {reply.text}")

    def check_database(self, db: int, what: str) -> None:
        """Raise UnsupportedError for a database that the target can't have; `what` holds keys in it."""
        if db < self.databases:
            return
        if self.sharded:
            raise UnsupportedError(
                f"{what} holds keys in database {db}, and a sharded service has database 0 alone. Move into a service "
                "with 'shards: 1', or bring the keys to database 0 first"
            )
        raise UnsupportedError(f"{what} holds keys in database {db}, and '{self.service.name}' has {self.databases}")


def _check_doubtful(lane: Lane, items: list[Item], reason: str) -> None:
    """Nobody knows what became of these; note that they are sent again. Raises RestartError where that does harm."""
    for item in items:
        if not item.safe:
            raise RestartError(
                f"nobody knows whether {_shown(item)} was executed: the connection to {lane.shard} was lost ({reason})"
            )
        item.again = True


def _not_proven(lane: Lane, before: Mark | None, answered: list[Item]) -> list[Item]:
    """What was answered behind the last mark and has to be sent again, now that the lane is connected anew. Raises
    RestartError when who leads now lacks something that was answered.
    """
    now = lane.mark
    if before is None or now is None:
        raise RestartError(f"nobody knows what {lane.shard} holds")
    if not now.follows(before):
        raise RestartError(f"{lane.shard} has lost writes that were answered, in a failover or restart")
    if now.id == before.id:
        return []  # the node went on: what it answered it has
    _check_doubtful(lane, answered, "a failover")
    return answered


def _shown(item: Item) -> str:
    name = item.name.decode("utf-8", "backslashreplace").upper()
    return f"{name} of the key {item.key[:100]!r}" if item.key else name


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)
