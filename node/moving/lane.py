"""One primary of the target: requests out in order, replies in, and which of them are still due."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import hiredis
import trio

from cluster.link import NEED_DATA, LinkError, Reply, ReplyError, Word, encode
from node.moving.errors import MoveError

READ: Final = 64 << 10
OUT: Final = 128 << 10  # bytes that are sent at once
WINDOW: Final = 4 << 20  # bytes of requests whose replies are due
WINDOW_ITEMS: Final = 2000
PATIENCE: Final = 60.0  # seconds without any reply that is due

NOT_NOW: Final = frozenset(["MOVED", "READONLY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "TRYAGAIN", "BUSY", "ASK"])
"""Codes of replies to commands that were not executed and may be sent again, perhaps to another node."""


class Item:
    """A request, or a transaction of several: the bytes, the replies that it gets, the database before and after it.

    `safe`: executing it again, and those behind it, leads to the same data. `start` is where it began in the source's
    stream. `tolerant`: an error is the source's affair too. When `wanted`, `replies` keeps what came.
    """

    __slots__ = (
        "again", "count", "db", "db_after", "done", "got", "key", "name", "order", "refused", "replies", "request",
        "safe", "select", "sent", "start", "tolerant", "wanted",
    )  # fmt: skip

    def __init__(self, request: bytes, name: bytes, key: bytes, db: int, *, safe: bool) -> None:
        self.request = request
        self.name = name
        self.key = key
        self.count = 1
        self.db = db
        self.db_after = db
        self.safe = safe
        self.start = 0
        self.order = 0
        self.tolerant = False
        self.wanted = False
        self.replies: list[Reply] = []
        self.got = 0
        self.select = False  # a SELECT goes before it
        self.refused = False
        self.again = False  # it was sent before, and perhaps executed
        self.sent = False
        self.done = False

    def rewind(self) -> None:
        """Make it ready to be sent again."""
        self.got = 0
        self.replies = []
        self.refused = False
        self.select = False
        self.sent = False


class Lane:
    """A connection to the primary of one shard. One task sends, another reads (`listen`)."""

    def __init__(self, shard: str, failed: Callable[[Item, ReplyError], MoveError | None]) -> None:
        self.shard = shard
        self.due: deque[Item] = deque()
        self.due_bytes = 0
        self.refused: list[Item] = []
        self.mixed = False  # something was executed behind a request that was refused
        self.failure: MoveError | None = None
        self.broken = ""
        self._failed = failed
        self._out: list[bytes] = []
        self._unsent: list[Item] = []
        self._out_bytes = 0
        self._stream: trio.SocketStream | None = None
        self._reader = hiredis.Reader(replyError=ReplyError, notEnoughData=NEED_DATA)
        self._db = 0
        self._news = trio.Event()

    @property
    def troubled(self) -> bool:
        """Whether something has to be mended before anything else is sent."""
        return bool(self.broken or self.refused or self.failure)

    def attach(self, stream: trio.SocketStream) -> None:
        """Use this connection, which is in database 0, from now on."""
        self._stream = stream
        self._reader = hiredis.Reader(replyError=ReplyError, notEnoughData=NEED_DATA)
        self._db = 0
        self.broken = ""
        self.mixed = False
        self._unsent.clear()
        self._out.clear()
        self._out_bytes = 0

    def detach(self) -> list[Item]:
        """Close the connection; gives what is due or was refused, in order."""
        left = sorted([*self.due, *self.refused], key=lambda item: item.order)
        self.due.clear()
        self.due_bytes = 0
        self.refused.clear()
        if self._stream is not None:
            self._stream.socket.close()
            self._stream = None
        return left

    def oldest(self) -> list[Item]:
        """The oldest requests that are not done."""
        return [*self.refused[:1], *([self.due[0]] if self.due else [])]

    # --- sending
    def put(self, item: Item) -> None:
        """Queue a request; `flush` sends it."""
        if item.db != self._db:
            item.select = True
            self._out.append(encode([b"SELECT", item.db]))
        self._db = item.db_after
        self._out.append(item.request)
        self._unsent.append(item)
        self._out_bytes += len(item.request)
        self.due.append(item)
        self.due_bytes += len(item.request)

    def is_full(self) -> bool:
        """Whether it is time to send."""
        return self._out_bytes >= OUT

    async def flush(self) -> None:
        """Send what is queued; a connection that breaks is noted in `broken`."""
        if not self._out or self.broken or self._stream is None:
            return
        data = b"".join(self._out)
        for item in self._unsent:
            item.sent = True
        self._unsent.clear()
        self._out.clear()
        self._out_bytes = 0
        try:
            with trio.fail_after(PATIENCE):
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, OSError) as error:
            self._break(str(error) or type(error).__name__)

    # --- waiting
    async def settle(self, items: int = 0, size: int = 0) -> None:
        """Wait until at most so many requests and bytes are due, or there is trouble."""
        while (len(self.due) > items or self.due_bytes > size) and not self.broken and self.failure is None:
            await self._hear()

    async def until(self, item: Item) -> None:
        """Wait until this request is answered, or there is trouble."""
        while not item.done and not item.refused and not self.broken and self.failure is None:
            await self._hear()

    async def _hear(self) -> None:
        """Wait until something has come; a node that is silent for long counts as lost."""
        self._news = trio.Event()
        with trio.move_on_after(PATIENCE) as scope:
            await self._news.wait()
        if scope.cancelled_caught:
            self._break(f"no reply within {PATIENCE:.0f} s")

    async def listen(self, stream: trio.SocketStream) -> None:
        """Take replies until the connection ends."""
        try:
            while data := await stream.receive_some(READ):
                self._reader.feed(bytes(data))
                while (reply := self._reader.gets()) is not NEED_DATA:
                    self._take(reply)
                self._news.set()
            reason = "the node closed the connection"
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError, hiredis.HiredisError) as error:
            reason = str(error) or type(error).__name__
        if stream is self._stream:
            self._break(reason)

    def _break(self, reason: str) -> None:
        self.broken = self.broken or reason or "broken"
        self._news.set()

    def _take(self, reply: Reply) -> None:
        if not self.due:
            self._break("a reply to nothing")
            return
        item = self.due[0]
        self._judge(item, reply)
        if item.wanted and not item.select:
            item.replies.append(reply)
        if item.select:
            item.select = False
            return
        item.got += 1
        if item.got < item.count:
            return
        self.due.popleft()
        self.due_bytes -= len(item.request)
        if item.refused:
            self.refused.append(item)
            return
        item.done = True
        if self.refused:
            self.mixed = True

    def _judge(self, item: Item, reply: Reply) -> None:
        """Look for errors, those within the reply of EXEC too."""
        if isinstance(reply, list) and item.count > 1:
            for one in reply:
                self._judge(item, one)
        if not isinstance(reply, ReplyError) or self.failure is not None:
            return
        if reply.code in NOT_NOW:
            item.refused = True
        elif not item.refused:
            self.failure = self._failed(item, reply)

    async def ask(self, *requests: list[Word], db: int = 0) -> list[Reply]:
        """Requests that nobody else's stand between, and their replies. Raises LinkError when the connection breaks, or
        the node does not serve now.

        Error replies are values. Only for a lane on which nothing is due.
        """
        items: list[Item] = []
        for words in requests:
            item = Item(encode(words), b"", b"", db, safe=True)
            item.wanted = item.tolerant = True
            items.append(item)
            self.put(item)
        await self.flush()
        await self.settle()
        if self.refused:
            self.broken = self.broken or "the node does not serve now"
            self.refused.clear()
        if self.broken:
            raise LinkError(self.broken)
        return [item.replies[0] for item in items]
