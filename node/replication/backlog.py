"""The replication backlog: the last bytes of the stream, from which a replica that was away for a while is brought up
to date.
"""

from collections import deque
from typing import final

from mypy_extensions import i64


@final
class Backlog:
    """Blocks of the stream; `first` is the offset of the oldest byte held, `end` that of the next byte to come.

    Offsets count from 1 as in Valkey: a replica that has everything up to offset n asks for n + 1.
    """

    size: i64
    first: i64
    end: i64
    _blocks: deque[bytes]
    _held: i64

    def __init__(self, size: i64, end: i64) -> None:
        self.size = size
        self.first = end
        self.end = end
        self._blocks = deque()
        self._held = 0

    def append(self, data: bytes) -> None:
        """Take the next bytes of the stream; whole blocks that are not needed for `size` bytes any more are dropped."""
        self._blocks.append(data)
        self._held += len(data)
        self.end += len(data)
        while len(self._blocks) > 1 and self._held - len(self._blocks[0]) >= self.size:
            oldest = self._blocks.popleft()
            self._held -= len(oldest)
            self.first += len(oldest)

    def has(self, offset: i64) -> bool:
        """Whether everything from `offset` on is held."""
        return self.first <= offset <= self.end

    def since(self, offset: i64) -> list[bytes]:
        """The bytes from `offset` on, which must be held, as blocks."""
        skip: i64 = offset - self.first
        found: list[bytes] = []
        for block in self._blocks:
            if skip >= len(block):
                skip -= len(block)
                continue
            found.append(block[skip:] if skip > 0 else block)
            skip = 0
        return found

    def held(self) -> i64:
        """Bytes held."""
        return self._held
