"""Commands of a source's stream, or of an append-only file, applied to the target.

A transaction stays one where all of its keys are in one slot; in a sharded target its commands are sent one by one
otherwise. A command whose keys lie in several slots is executed on copies of them, which are brought together in one
slot under other names, and what it changed is copied back.
"""

from __future__ import annotations

from typing import Final

from cluster.link import Reply, ReplyError, Word, encode
from node.moving.errors import MoveError, UnsupportedError
from node.moving.lane import Item
from node.moving.route import Route, Way, cut, renamed, route, without_limit
from node.moving.target import Target

SCRATCH: Final = b"{kvorum-move}:"  # keys of copies: all in one slot


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
        names = [SCRATCH + b"%d" % number for number in range(len(way.uses))]
        fetched = await target.ask([(target.shard_of(use.key), _dump(use.key)) for use in way.uses])
        requests: list[list[Word]] = [["DEL", *names]]
        for name, replies in zip(names, fetched, strict=True):
            copy = self._copy_of(replies, way)
            if copy is not None:
                requests.append(["RESTORE", name, *copy])
        place = len(requests)
        requests.append(list(renamed(args, way.uses, names)))
        changed = [(use.key, name) for use, name in zip(way.uses, names, strict=True) if use.changes]
        for _, name in changed:
            requests += _dump(name)
        requests.append(["DEL", *names])
        [replies] = await target.ask([(target.shard_of(SCRATCH), requests)])
        self._check(replies, place, way)
        for number, (key, _) in enumerate(changed):
            begin = place + 1 + 2 * number
            await self._put(key, self._copy_of(replies[begin : begin + 2], way))

    async def _put(self, key: bytes, copy: list[Word] | None) -> None:
        """Give a key the value of a copy, or none."""
        words: list[Word] = ["DEL", key] if copy is None else ["RESTORE", key, *copy, "REPLACE"]
        await self.target.send(Item(encode(words), b"restore", key, 0, safe=True), self.target.shard_of(key))

    def _copy_of(self, replies: list[Reply], way: Route) -> list[Word] | None:
        """The arguments that RESTORE takes for what `_dump` found; None when there was no such key."""
        payload, until = replies
        if payload is None:
            return None
        if not isinstance(payload, bytes) or not isinstance(until, int):
            raise self._failure(payload if isinstance(payload, ReplyError) else until, way)
        return [max(until, 1), payload, "ABSTTL"] if until >= 0 else [0, payload]

    def _check(self, replies: list[Reply], place: int, way: Route) -> None:
        """Look for errors; that of the command, in its place, may be the source's affair."""
        for number, reply in enumerate(replies):
            if isinstance(reply, ReplyError):
                if number != place or not way.tolerant:
                    raise self._failure(reply, way)
                self.target.refused += 1

    def _failure(self, reply: Reply, way: Route) -> MoveError:
        name = way.name.decode().upper()
        return MoveError(f"'{self.target.service.name}' can't execute {name} of keys in several slots: {reply!s}")


def _dump(key: bytes) -> list[list[Word]]:
    return [["DUMP", key], ["PEXPIRETIME", key]]
