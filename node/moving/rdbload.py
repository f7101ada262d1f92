"""An RDB file into the target: each key by RESTORE, to the shard that owns it; functions to all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Final

import trio

from cluster.link import Word, encode
from node.moving.errors import MoveError, UnsupportedError
from node.moving.lane import Item
from node.moving.target import Target
from node.moving.values import BIG, PAYLOAD_MAX, commands, is_divisible
from node.rdb.encode import dump
from node.rdb.file import END, KEY, RdbReader
from node.rdb.reader import RdbError

LOOK: Final = 64  # keys between two chances for other tasks


class RdbLoad:
    """Loads one file; `keys` and `offset` tell how far it is. `now_ms` 0 keeps keys whose time is over."""

    def __init__(self, target: Target, what: str, now_ms: int) -> None:
        self.target = target
        self.keys = 0
        self.expired = 0
        self.offset = 0
        self._what = what
        self._now_ms = now_ms

    async def run(self, file: BinaryIO, size: int, progress: Callable[[], None]) -> int:
        """Load; gives the offset behind the file's end. Raises MoveError for what the file or the target can't."""
        try:
            reader = RdbReader(file, size)
            while (found := reader.advance()) != END:
                if found == KEY:
                    await self._keep(reader)
                    if self.keys % LOOK == 0:
                        self.offset = int(reader.offset())
                        progress()
                        await trio.lowlevel.checkpoint()
        except RdbError as error:
            raise MoveError(f"{self._what} is broken: {error}. {self.keys} keys before that were written") from error
        for code in reader.functions:
            await self.target.everywhere([b"FUNCTION", b"LOAD", b"REPLACE", code], safe=True)
        self.offset = int(reader.offset())
        await self.target.drain()
        progress()
        return self.offset

    async def _keep(self, reader: RdbReader) -> None:
        if 0 < reader.expire_at <= self._now_ms:
            self.expired += 1
            return
        db, key = int(reader.dbid), reader.key
        self.target.check_database(db, self._what)
        self.keys += 1
        payload = dump(reader.value)
        if len(payload) > BIG and is_divisible(reader.value):
            await self._keep_pieces(reader)
            return
        if len(payload) >= PAYLOAD_MAX - 4096:
            raise UnsupportedError(
                f"{self._what} holds the key {key[:100]!r} of {len(payload)} bytes; a value of its type may have 512 MB"
            )
        words: list[Word] = ["RESTORE", key, int(reader.expire_at), payload, "REPLACE", "ABSTTL"]
        if reader.idle >= 0:
            words += ["IDLETIME", int(reader.idle)]
        elif reader.frequency >= 0:
            words += ["FREQ", int(reader.frequency)]
        await self._send(Item(encode(words), b"restore", key, db, safe=True))

    async def _keep_pieces(self, reader: RdbReader) -> None:
        db, key = int(reader.dbid), reader.key
        await self._send(Item(encode(["DEL", key]), b"del", key, db, safe=True))
        for words, safe in commands(key, reader.value):
            await self._send(Item(encode(words), words[0].lower(), key, db, safe=safe))
            await trio.lowlevel.checkpoint()
        if reader.expire_at > 0:
            request = encode(["PEXPIREAT", key, int(reader.expire_at)])
            await self._send(Item(request, b"pexpireat", key, db, safe=True))

    async def _send(self, item: Item) -> None:
        await self.target.send(item, self.target.shard_of(item.key))
