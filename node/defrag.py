"""Active defragmentation between commands: sparse chunks of the stores' memory are emptied, a slice at a time.

When to begin, and which share of the time it may take, is Valkey's rule: nothing below `active-defrag-ignore-bytes` and
`active-defrag-threshold-lower` (bytes held in excess of those in use, percent), from there on `active-defrag-cycle-min`
percent of the time, and `active-defrag-cycle-max` from `active-defrag-threshold-upper` on. A slice is
`active-defrag-cycle-us` long. MEMORY PURGE has a pass begin at once, whatever the options say.
"""

from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64

from node.engine import Engine

STEP: Final = 128  # buckets looked at between two looks at the clock: up to 100 us
STEP_SECONDS: Final = 0.0001
IDLE: Final = 0.1  # seconds from one look at the fragmentation to the next
REST: Final = 1.0  # seconds after a pass that found nothing worth moving

REFUSED: Final = (
    "Active defragmentation cannot be enabled: it requires the compact store, and this node has the plain one"
)


def unsupported(e: Engine) -> bool:
    """Whether `activedefrag yes` has to be refused, with REFUSED: the stores' memory is the interpreter's."""
    return e.settings.options.flag("activedefrag") and not e.stores[0].defragments


def fragmentation(e: Engine) -> tuple[int, int]:
    """Bytes that are held for small blocks, and those of blocks in use among them, of all databases."""
    held: i64 = 0
    small: i64 = 0
    for store in e.stores:
        held += store.held_bytes()
        small += store.small_bytes()
    return int(held), int(small)


def share_for(e: Engine) -> i64:
    """Percent of the time that defragmentation should take by the options; 0: none."""
    o = e.settings.options
    if not o.flag("activedefrag"):
        return 0
    held, small = fragmentation(e)
    excess = 100.0 * (held - small) / max(small, 1)
    lower, upper = float(o.number("active-defrag-threshold-lower")), float(o.number("active-defrag-threshold-upper"))
    if excess < lower or held - small < o.number("active-defrag-ignore-bytes"):
        return 0
    least: i64 = o.number("active-defrag-cycle-min")
    most: i64 = o.number("active-defrag-cycle-max")
    if excess >= upper or most <= least:
        return max(least, most) if excess >= upper else least
    return least + i64((excess - lower) / (upper - lower) * float(most - least))


@final
class Defragmenter:
    """The work of one node; `clock` gives seconds."""

    engine: Engine
    clock: Callable[[], float]
    at: i64  # the database that a pass is in, -1: there is no pass
    ending: bool  # the pass goes no further than the database it is in
    asked: bool  # by MEMORY PURGE
    gained: bool  # something was worth moving
    rest_until: float

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self.engine = engine
        self.clock = clock
        self.at = -1
        self.ending = False
        self.asked = False
        self.gained = False
        self.rest_until = 0.0

    def run(self) -> float:
        """Work for a slice if there is reason to; how many seconds to leave the thread to others afterwards."""
        e = self.engine
        share = share_for(e)
        if self.at < 0 and not self._begin(share):
            return IDLE
        if share > e.stats.defrag_share:
            e.stats.defrag_share = share
        if not self.asked and not self.ending and not e.settings.options.flag("activedefrag"):
            self.ending = True
            e.stores[self.at].stop_defragmenting()
        began = self.clock()
        more = self._work(began + float(e.settings.options.number("active-defrag-cycle-us")) / 1e6 - STEP_SECONDS)
        took = self.clock() - began
        e.latency.add(b"active-defrag-cycle", e.now_ms // 1000, i64(took * 1000))
        if not more:
            self._end()
            return IDLE
        percent = float(e.stats.defrag_share)
        return took * (100.0 - percent) / percent

    def _begin(self, share: i64) -> bool:
        """Begin a pass if there is reason to."""
        e = self.engine
        self.asked = e.purge_asked
        e.purge_asked = False
        if self.asked:
            share = max(share, i64(e.settings.options.number("active-defrag-cycle-max")))
        elif share == 0 or self.clock() < self.rest_until:
            return False
        self.at = 0
        self.ending = self.gained = False
        e.stats.defrag_share = share
        e.stats.defrag_since_ms = e.now_ms
        return True

    def _work(self, until: float) -> bool:
        """Go on with the pass until its slice is over, for one step at least; False when the pass is over, too."""
        stores = self.engine.stores
        while self.at < len(stores):
            store = stores[self.at]
            before = store.moved()
            code: i64 = 1
            while code > 0:
                code = store.defragment(STEP)
                if self.clock() >= until:
                    break
            self._count(before, store.moved())
            if code <= 0:
                self.gained = self.gained or code == 0
                self.at += 1
                if self.ending:
                    return False
            if self.clock() >= until:
                break
        return self.at < len(stores)

    def _count(self, before: tuple[i64, i64, i64, i64], after: tuple[i64, i64, i64, i64]) -> None:
        stats = self.engine.stats
        stats.defrag_hits += after[0] - before[0]
        stats.defrag_misses += after[1] - before[1]
        stats.defrag_key_hits += after[2] - before[2]
        stats.defrag_key_misses += after[3] - before[3]

    def _end(self) -> None:
        stats = self.engine.stats
        self.at = -1
        stats.defrag_share = 0
        stats.defrag_ms += self.engine.now_ms - stats.defrag_since_ms
        if not self.gained:
            self.rest_until = self.clock() + REST
