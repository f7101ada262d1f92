"""What commands on the keys of each slot have cost; kept only while `cluster-slot-stats-enabled` says so."""

from typing import Final, final

from mypy_extensions import i64

METRICS: Final = (b"key-count", b"cpu-usec", b"network-bytes-in", b"network-bytes-out")


@final
class SlotCost:
    """One slot's sums: microseconds, and bytes of requests and replies."""

    cpu_us: i64
    bytes_in: i64
    bytes_out: i64

    def __init__(self) -> None:
        self.cpu_us = 0
        self.bytes_in = 0
        self.bytes_out = 0


@final
class SlotStats:
    """The sums of all slots that have any."""

    active: bool
    costs: dict[int, SlotCost]

    def __init__(self) -> None:
        self.active = False
        self.costs = {}

    def add(self, slot: i64, seconds: float, bytes_in: i64, bytes_out: i64) -> None:
        """Count a command."""
        cost = self.costs.get(slot)
        if cost is None:
            cost = SlotCost()
            self.costs[slot] = cost
        cost.cpu_us += i64(seconds * 1e6)
        cost.bytes_in += bytes_in
        cost.bytes_out += bytes_out

    def of(self, slot: i64) -> SlotCost:
        """A slot's sums; changing them changes nothing when there are none yet."""
        return self.costs.get(slot) or SlotCost()
