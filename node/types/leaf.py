"""What big hashes, sets and sorted sets are made of: leaves of some hundred elements, packed or plain.

Packed leaves are those of `node.keytable`, one block of memory each; plain ones (`node.types.plainleaf`) stand on dicts
and lists, and serve where the extension is not built, or with KVORUM_STORE=plain. Accounts of bytes come from the
leaves themselves: packed ones tell exactly what they have allocated.
"""

import os
import sys
from collections.abc import Callable
from typing import Final, Protocol, Self

from node.types.plainleaf import PlainLeaf, PlainOrderedLeaf

# Kinds of leaf: what a key has for a value.
NOTHING: Final = 0
SCORE: Final = 1  # a float
TEXT: Final = 2  # bytes


class Leaf(Protocol):
    """Keys with values of one kind. Nothing has changed when a method raises MemoryError."""

    def __len__(self) -> int: ...

    def has(self, key: bytes, /) -> bool:
        """Whether the key is there."""

    def get(self, key: bytes, /) -> object | None:
        """The value of a key; None when it is not there, and where keys have none."""

    def put(self, key: bytes, value: object, /) -> int:
        """Set the value of a key: by how many bytes the leaf became heavier, times two, and 1 when the key is new."""

    def remove(self, key: bytes, /) -> int:
        """Remove a key: 0 when it was not there, else 1 and by how many bytes the leaf became heavier, times two."""

    def nth(self, i: int, /) -> bytes:
        """Any key, each by one number below the length. Raises IndexError."""

    def keys(self) -> list[bytes]:
        """All keys."""

    def values(self) -> list[bytes]:
        """All values, in the order of the keys."""

    def flat(self) -> list[bytes]:
        """Key, value, key, value, …; the keys alone where values are no bytes."""

    def scan(self, cursor: int, want: int, out: list[bytes], /) -> int:
        """Append the keys whose hash values (32 bits) are not below `cursor`, about `want` of the lowest.

        Returns the hash value to go on with, or, when all were appended, how many, negative.
        """

    def divide(self, bit: int, /) -> tuple[Self, Self]:
        """Two new leaves: of the keys in whose hash this bit is not set, and is."""

    def join(self, other: Self, /) -> Self:
        """A new leaf with the keys of both, which have none in common."""

    def copy(self) -> Self:
        """A new leaf of the same weight."""

    def weight(self) -> int:
        """Bytes in use, objects that are referred to included."""


class OrderedLeaf(Protocol):
    """Members in the order of (score, member). Nothing has changed when a method raises MemoryError."""

    def __len__(self) -> int: ...

    def rank(self, score: float, member: bytes, /) -> int:
        """How many come before (score, member)."""

    def rank_after(self, score: float, /) -> int:
        """How many have a score lower than or equal to this one."""

    def first_score(self) -> float:
        """The score of the first; raises IndexError when there is none."""

    def starts_by(self, score: float, member: bytes, /) -> bool:
        """Whether the first comes before (score, member), or is it."""

    def insert(self, score: float, member: bytes, /) -> int:
        """Add a member that is not there: by how many bytes the leaf became heavier, times PLACES, plus its place."""

    def remove(self, score: float, member: bytes, /) -> int:
        """Take a member out: as `insert`. Raises KeyError when it is not there."""

    def cut(self, start: int, stop: int, /) -> int:
        """Take out those at places start to stop: by how many bytes the leaf became heavier. Raises IndexError."""

    def collect(self, start: int, stop: int, members: list[bytes] | None, scores: list[float] | None, /) -> None:
        """Append those at places start to stop to the lists that are given. Raises IndexError."""

    def part(self, start: int, stop: int, /) -> Self:
        """A new leaf with those at places start to stop. Raises IndexError."""

    def join(self, other: Self, /) -> Self:
        """A new leaf with the members of this one, then those of another."""

    def copy(self) -> Self:
        """A new leaf of the same weight."""

    def weight(self) -> int:
        """Bytes in use, objects that are referred to included."""


# How leaves are made in this process: as `node.stores` chooses.
new_leaf: Callable[[int], Leaf] = PlainLeaf
new_ordered_leaf: Callable[[], OrderedLeaf] = PlainOrderedLeaf
try:
    from node.keytable.table import Leaf as PackedLeaf
    from node.keytable.table import OrderedLeaf as PackedOrderedLeaf
except ImportError:
    pass  # no extension
else:
    if os.environ.get("KVORUM_STORE") != "plain" and sys.flags.hash_randomization:
        new_leaf = PackedLeaf
        new_ordered_leaf = PackedOrderedLeaf
