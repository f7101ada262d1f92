"""Commands of a source's stream, or of an append-only file, applied to the target.

A transaction stays one where all of its keys are in one slot; in a sharded target its commands are sent one by one
otherwise. A command whose keys lie in several slots is executed on copies of them, which are brought together in one
slot under other names, and what it changed is copied back.
"""

from __future__ import annotations

from typing import Final

from cluster.link import Reply, ReplyError, Word, encode
from node.moving.errors import MoveError, RestartError, UnsupportedError
from node.moving.lane import Item
from node.moving.route import Route, Use, Way, cut, renamed, route, without_limit
from node.moving.target import Target

SCRATCH: Final = b"{kvorum-move}:"


class Applier:
    """Takes commands one after the other, SELECT, MULTI and EXEC among them. Raises MoveError."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.commands = 0
        self._db = 0
        self._queue: list[list[bytes]] | None = None

    @property
    def inside(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return self._queue is not None

    async def take(self, args: list[bytes], raw: bytes = b"") -> None:
        """Apply a command; `raw` are its bytes as they came, if they are at hand."""
        name = args[0].lower()
        self.commands += 1
        if name == b"multi" and len(args) == 1:
            self._queue = []
        elif name == b"exec" and self._queue is not None:
            queue, self._queue = self._queue, None
            await self._transact(queue)
        elif self._queue is not None:
            self._queue.append(args)
        else:
            await self._apply(args, raw)

    def begin_file(self) -> None:
        """A new file begins in database 0."""
        self._db = 0
        self._queue = None

    async def _apply(self, args: list[bytes], raw: bytes) -> None:
        if args[0].lower() == b"select":
            self._select(args)
            return
        way = route(args, sharded=self.target.sharded)
        if way.way is Way.DROP:
            return
        fixed = without_limit(args)
        if fixed is not args:
            args, raw = fixed, b""
        if way.way is Way.ONE:
            item = Item(raw or encode(args), way.name, way.key, self._db, safe=way.safe)
            item.tolerant = way.tolerant
            await self.target.send(item, self._place(way))
        elif way.way is Way.EVERY:
            await self.target.everywhere(args, safe=False, db=self._db)
        elif way.way is Way.CUT:
            for key, part in cut(args):
                item = Item(encode(part), way.name, key, 0, safe=way.safe)
                await self.target.send(item, self.target.shard_of(key))
        else:
            await self._gather(args, way)

    def _place(self, way: Route) -> int:
        return self.target.place(way.slot)

    def _select(self, args: list[bytes]) -> None:
        if len(args) != 2 or not args[1].isdigit() or len(args[1]) > 9:
            raise UnsupportedError(f"the source sends a SELECT that makes no sense: {args[1:2]!r}")
        self.target.check_database(int(args[1]), "the source")
        self._db = int(args[1])

    # --- transactions
    async def _transact(self, queue: list[list[bytes]]) -> None:
        """Apply a transaction: as one where that is possible."""
        ways = [route(args, sharded=self.target.sharded) for args in queue if args[0].lower() != b"select"]
        ways = [way for way in ways if way.way is not Way.DROP]
        slots = {way.slot for way in ways}
        if len(queue) < 2 or any(way.way is not Way.ONE for way in ways) or len(slots) != 1:
            for args in queue:
                await self._apply(args, b"")
            return
        before = self._db
        requests = [encode([b"MULTI"])]
        for args in queue:
            if args[0].lower() == b"select":
                self._select(args)
                if self.target.sharded:
                    continue
            elif route(args, sharded=self.target.sharded).way is Way.DROP:
                continue
            requests.append(encode(without_limit(args)))
        requests.append(encode([b"EXEC"]))
        safe = all(way.safe for way in ways)
        item = Item(b"".join(requests), b"exec", ways[0].key, before, safe=safe)
        item.count = len(requests)
        item.db_after = self._db
        item.tolerant = any(way.tolerant for way in ways)
        await self.target.send(item, self._place(ways[0]))

    # --- commands over several slots
    async def _gather(self, args: list[bytes], way: Route) -> None:
        """Execute a command on copies of its keys in one slot, and copy back what it may have changed."""
        target = self.target
        await target.drain()
        names = [SCRATCH + b"%d" % number for number in range(len(way.uses))]
        home = target.shard_of(SCRATCH + b"0")
        copies: list[list[Word]] = [["DEL", *names]]
        for use, name in zip(way.uses, names, strict=True):
            copy = await self._fetch(target.shard_of(use.key), use.key)
            if copy is not None:
                copies.append(["RESTORE", name, *copy])
        copies.append(list(renamed(args, way.uses, names)))
        replies = await target.ask(home, *copies)
        self._check(replies[:-1], way)
        if isinstance(replies[-1], ReplyError) and not way.tolerant:
            raise MoveError(f"'{target.service.name}' refuses {way.name.decode().upper()}: {replies[-1].text}")
        for use, name in zip(way.uses, names, strict=True):
            if use.changes:
                await self._put_back(home, name, use, way)
        self._check(await target.ask(home, ["DEL", *names]), way)

    async def _fetch(self, place: int, key: bytes) -> list[Word] | None:
        """The arguments that RESTORE takes for a copy of a key; None when there is no such key."""
        payload, until = await self.target.ask(place, ["DUMP", key], ["PEXPIRETIME", key])
        if payload is None:
            return None
        if not isinstance(payload, bytes) or not isinstance(until, int):
            raise RestartError(f"the key {key[:100]!r} can't be copied: {payload!r}")
        return [max(until, 1), payload, "ABSTTL"] if until >= 0 else [0, payload]

    async def _put_back(self, home: int, name: bytes, use: Use, way: Route) -> None:
        copy = await self._fetch(home, name)
        place = self.target.shard_of(use.key)
        words: list[Word] = ["DEL", use.key] if copy is None else ["RESTORE", use.key, *copy, "REPLACE"]
        self._check(await self.target.ask(place, words), way)

    def _check(self, replies: list[Reply], way: Route) -> None:
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise MoveError(
                    f"'{self.target.service.name}' can't execute {way.name.decode().upper()} of keys on several "
                    f"shards: {reply.text}"
                )
