"""Bytes that arrived and were not applied yet, in a file: a source must not wait, or it drops its replica."""

import os
import tempfile
from pathlib import Path
from typing import Final

import trio

READ: Final = 256 << 10
SHRINK_FROM: Final = 16 << 20


class Spool:
    """A queue of bytes; `received` counts all that were ever put in."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`; it has no name
        self._written = 0
        self._taken = 0
        self.received = 0
        self._arrived = trio.Event()

    def close(self) -> None:
        """Give back the space."""
        self._file.close()

    def put(self, data: bytes) -> None:
        """Append. Raises OSError when the disk is full."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self._file.fileno(), view, self._written)
            self._written += count
            view = view[count:]
        self.received += len(data)
        self._arrived.set()

    def take(self) -> bytes:
        """The next bytes, b"" when there are none."""
        data = os.pread(self._file.fileno(), min(READ, self._written - self._taken), self._taken)
        self._taken += len(data)
        if self._taken == self._written:
            if self._written >= SHRINK_FROM:
                os.ftruncate(self._file.fileno(), 0)
            self._written = self._taken = 0
            self._arrived = trio.Event()
        return data

    async def wait(self, seconds: float) -> None:
        """Wait until there is something, or for so long."""
        with trio.move_on_after(seconds):
            await self._arrived.wait()
