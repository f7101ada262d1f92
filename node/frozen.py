"""A slot of a database held still: what a store gives to a snapshot, whatever becomes of the slot meanwhile."""

# ruff: noqa: D102 - the methods are described by the interface
from typing import Final, cast, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

_TAKEN: Final[dict[bytes, object]] = {}


@final
@mypyc_attr(acyclic=True)
class Form:
    """How a snapshot writes keys."""

    clock: i64  # the access clock that goes with each: NO_CLOCK, LRU or LFU of node.eviction
    now_ms: i64  # what it is compared with
    decay: i64  # minutes, as of lfu_decayed
    compress: bool

    def __init__(self, clock: i64, now_ms: i64, decay: i64, compress: bool) -> None:
        self.clock = clock
        self.now_ms = now_ms
        self.decay = decay
        self.compress = compress


class FrozenSlot:
    """One slot of a database as it was at some instant, in parts; containers in it stay live."""

    def parts(self) -> i64:
        """Number of parts."""
        raise NotImplementedError

    def index(self, key: bytes) -> i64:
        """Which part a key belongs to, be it there or not."""
        raise NotImplementedError

    def get(self, key: bytes) -> object | None:
        """The value of a key whose part was not taken yet, None when there was none."""
        raise NotImplementedError

    def take(self, part: i64) -> dict[bytes, object]:
        """The keys of a part with their values, for the caller to keep; parts are taken once, in their order."""
        raise NotImplementedError

    def dump(self, w: BytesWriter, part: i64, taken: set[bytes], left: dict[bytes, object], form: Form) -> i64:
        """Take a part and write keys of it, as `Store.dump_slot`: how many. None that is among those taken is written;
        what is not written goes into `left`, where taken ones may be, too.
        """
        left.update(self.take(part))
        return 0

    def expire_at(self, key: bytes) -> i64:
        """When a key of the last answer of `get`, `take` or `dump` expires, Unix ms, 0 for never."""
        raise NotImplementedError

    def close(self) -> list[dict[bytes, object]]:
        """Nothing more is wanted; what is returned may be worth freeing in slices."""
        raise NotImplementedError


@final
@mypyc_attr(acyclic=True)
class FrozenParts:
    """One slot of a table as it was at some instant: parts by linear hashing, one or none where it was not split."""

    parts: list[dict[bytes, object]]
    mask: i64

    def __init__(self, parts: list[dict[bytes, object]], mask: i64) -> None:
        self.parts = parts
        self.mask = mask

    def index(self, key: bytes) -> i64:
        """Which part a key belongs to, be it there or not."""
        if len(self.parts) <= 1:
            return 0
        h: i64 = hash(key)
        i: i64 = h & (self.mask * 2 + 1)
        return i if i < len(self.parts) else h & self.mask

    def get(self, key: bytes) -> object | None:
        """The object of a key, None when there was none."""
        return self.parts[self.index(key)].get(key) if self.parts else None


@final
class FrozenDicts(FrozenSlot):
    """A slot as it was at some instant, from the tables of its values and of its times."""

    data: FrozenParts
    expiry: FrozenParts

    def __init__(self, data: FrozenParts, expiry: FrozenParts) -> None:
        super().__init__()
        self.data = data
        self.expiry = expiry

    def parts(self) -> i64:
        return len(self.data.parts)

    def index(self, key: bytes) -> i64:
        return self.data.index(key)

    def get(self, key: bytes) -> object | None:
        return self.data.get(key)

    def take(self, part: i64) -> dict[bytes, object]:
        taken = self.data.parts[part].copy()
        self.data.parts[part] = _TAKEN  # let go one by one: dropping all of them at the end would take long
        return taken

    def expire_at(self, key: bytes) -> i64:
        at = self.expiry.get(key)
        return 0 if at is None else cast(int, at)

    def close(self) -> list[dict[bytes, object]]:
        return self.expiry.parts
