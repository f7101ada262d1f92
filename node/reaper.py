"""Freeing in slices: big values that are deleted, and whole tables, are taken apart a little at a time.

Dropping the last reference to a container of a million elements would free all of them at once and hold everybody for
a tenth of a second. Whoever removes one for good buries it here instead; its inner lists (parts, nodes, blocks) are
then emptied from the end, piece by piece, by cron. A piece holds some hundred elements at most.
"""

from typing import Final, cast, final

from mypy_extensions import i64, mypyc_attr

from node.expire import Wheel
from node.keyspace import Value
from node.slotmap import SlotMap

BIG: Final = 1 << 17  # bytes of a value from which freeing it at once could be felt
MANY: Final = 2048  # keys of a table from which it could, the values left aside


@final
@mypyc_attr(acyclic=True)
class Reaper:
    """What waits to be freed."""

    heaps: list[list[object]]
    wheels: list[Wheel]

    def __init__(self) -> None:
        self.heaps = []
        self.wheels = []

    def bury(self, value: object) -> None:
        """Take a removed value that nobody will use again; a small one is freed as the caller drops it."""
        if isinstance(value, Value) and value.used_bytes() > BIG:
            value.dismantle(self.heaps)

    def bury_tables(self, data: SlotMap, side: list[SlotMap], wheel: Wheel) -> None:
        """Take all tables of a database that was emptied."""
        for table in [*side, data]:
            for parts in table.split.values():
                self.heaps.append(cast(list[object], parts.parts))
            if table.total > MANY:
                self.heaps.append(cast(list[object], table.slots))
            elif table.total > 0:
                self._look_through(table)
        self.bury_wheel(wheel)

    def _look_through(self, table: SlotMap) -> None:
        """Of a table that its owner may drop at once, take the big values."""
        for piece in table.slots:
            if piece:
                self._look_into(piece)

    def bury_wheel(self, wheel: Wheel) -> None:
        """Take the entries of a wheel that is not used any more."""
        self.wheels.append(wheel)

    def free(self, pieces: i64) -> bool:
        """Free up to so many pieces; True when there is more to do."""
        while pieces > 0:
            if not self.heaps and not self._open_wheel():
                return False
            heap = self.heaps[-1]
            if not heap:
                self.heaps.pop()
                continue
            piece = heap.pop()
            if isinstance(piece, dict):
                self._look_into(piece)
            pieces -= 1
        return len(self.heaps) > 0 or len(self.wheels) > 0

    def _open_wheel(self) -> bool:
        """Go on with the next tick of a wheel; False when there is none."""
        if not self.wheels:
            return False
        wheel = self.wheels[-1]
        if wheel.ticks:
            _, entries = wheel.ticks.popitem()
            self.heaps.append(cast(list[object], entries))
        else:
            self.wheels.pop()
            self.heaps.append(cast(list[object], wheel.order))
        return True

    def _look_into(self, piece: dict[bytes, object]) -> None:
        """Big values in a part of a database's table are taken apart in their turn."""
        for value in piece.values():
            if not isinstance(value, Value):
                if isinstance(value, bytes):
                    continue
                return  # the table of a container, or of times
            self.bury(value)
