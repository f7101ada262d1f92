"""The one door to stored data: the `Store` interface, one store a database.

Rules that make a store replaceable (they are kept by every command):
1. no command keeps a reference to a stored string across commands or mutates it;
2. container values are mutable native objects, found by `get`, and removed with `delete` when empty;
3. expiry, clock and hit/miss counting live inside the store; keys that it finds expired are appended to `expired`,
   which the engine drains to propagate a DEL for each; a replica's store (`keep_expired`) only hides them;
4. the int encoding is derived from the bytes; a RAW flag remembers that a string was grown in place (`set_raw`);
5. the engine parses up to 64 commands ahead and calls `prefetch` with their keys while `prefetches` says so.

Slots are always used, in cluster mode and not: that gives SCAN cursors, slot counting, migration, sampling, snapshots.
"""

from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from node.frozen import Form, FrozenSlot

MISSING: Final = 0
DONE: Final = 1
WRONG_TYPE: Final = -1
NOT_AN_INTEGER: Final = -2
OVERFLOW: Final = -3
LARGE: Final = 4
BY_REFERENCE: Final = 64 * 1024  # bytes from which copying a string takes longer than sending it by itself


@mypyc_attr(allow_interpreted_subclasses=True)
@mypyc_attr(acyclic=True)
class Value:
    """A stored container: the base of List, Hash, Set, ZSet. Strings are plain `bytes` and not of this class."""

    def type_name(self) -> bytes:
        """What TYPE answers."""
        raise NotImplementedError

    def encoding(self) -> bytes:
        """What OBJECT ENCODING answers."""
        raise NotImplementedError

    def copy(self) -> "Value":
        """An independent copy (COPY, snapshots)."""
        raise NotImplementedError

    def used_bytes(self) -> i64:
        """Bytes that the value takes, known without walking it; commands report every change of it by `Store.grew`."""
        raise NotImplementedError

    def dismantle(self, heaps: list[list[object]]) -> None:
        """Give away the lists of which a big value consists, to be freed piece by piece; it is dead then."""

    def next_due(self) -> i64:
        """When something inside the value expires, Unix ms, or a little earlier; 0 = never."""
        return 0

    def expire_inside(self, now_ms: i64, limit: i64, out: list[bytes]) -> bool:
        """Remove up to `limit` elements whose time is over and append them to `out`; True when none is left at all."""
        return False


@mypyc_attr(acyclic=True)
class Expired:
    """Elements that active expiry has removed from one value; `emptied`: the key went with the last of them."""

    key: bytes
    elements: list[bytes]
    emptied: bool

    def __init__(self, key: bytes, elements: list[bytes], emptied: bool) -> None:
        self.key = key
        self.elements = elements
        self.emptied = emptied


_LARGE: Final = 4096  # from here on a patched string is joined from views, which copies it once and not twice


def patched(old: bytes, at: i64, patch: bytes) -> bytes:
    """The string with `patch` in place of what was at `at`; zero bytes fill a gap behind its end."""
    size: i64 = len(old)
    stop: i64 = at + len(patch)
    if at > size:
        return b"".join((old, bytes(at - size), patch))
    if size < _LARGE:
        return old[:at] + patch + old[stop:]
    view = memoryview(old)
    return b"".join((view[:at], patch, view[stop:]))


@mypyc_attr(allow_interpreted_subclasses=True)
class Store:
    """The interface, all of it overridden by an implementation. Times are Unix milliseconds, `slot` is 0 to 16383."""

    kind: str  # its name, as INFO and KVORUM_STORE have it
    defragments: bool  # `defragment` does something
    prefetches: bool  # `prefetch` does something, and there are so many keys that parsing ahead pays
    hits: i64
    misses: i64
    expired_count: i64  # keys removed because their time had come, since start
    expired: list[bytes]  # keys removed by expiry and not yet propagated
    keep_expired: bool  # a replica hides expired keys, the primary's DEL removes them
    ignore_expiry: bool  # set while the primary's stream or a file is applied: every key counts as live
    no_touch: bool  # set while a client with CLIENT NO-TOUCH is served: access clocks stay
    now_ms: i64
    clock: i64  # LRU seconds, 24 bits

    def __init__(self) -> None:
        self.kind = "plain"
        self.defragments = False
        self.prefetches = False
        self.hits = 0
        self.misses = 0
        self.expired_count = 0
        self.expired = []
        self.keep_expired = False
        self.ignore_expiry = False
        self.no_touch = False
        self.now_ms = 0
        self.clock = 0

    def tick(self, now_ms: i64, clock: i64) -> None:
        """Set the time by which expiry and access clocks are judged; called once a batch and before EXEC and scripts.

        `clock` is Unix seconds & 0xFFFFFF; the minutes of LFU follow from `now_ms`.
        """
        self.now_ms = now_ms
        self.clock = clock

    def track_clock(self, mode: i64, lfu_factor: i64 = 10, lfu_decay_minutes: i64 = 1) -> None:
        """Which access clock is kept: 0 none, 1 LRU, 2 LFU (Valkey's 16 bit minutes and 8 bit logarithmic counter).

        The mode of a policy is `node.eviction.POLICIES[name].clock`; the others are lfu-log-factor and lfu-decay-time.
        """
        raise NotImplementedError

    def prefetch(self, keys: list[bytes]) -> None:
        """Touch the memory of keys that are about to be used."""

    # --- strings, the fast path: a code is returned, the reply is written in place
    def get_into(self, w: BytesWriter, slot: i64, key: bytes) -> i64:
        """Write the value as a RESP bulk string and return DONE, or return MISSING or WRONG_TYPE and write nothing;
        also LARGE, of a string of BY_REFERENCE bytes or more, which `peek` gives.
        """
        raise NotImplementedError

    def set(self, slot: i64, key: bytes, value: bytes) -> None:
        """Store a string; an old value of any type and its expiry are dropped."""
        raise NotImplementedError

    def set_until(self, slot: i64, key: bytes, value: bytes, at_ms: i64) -> None:
        """Store a string that expires at a Unix time in ms; what was there is dropped."""
        raise NotImplementedError

    def incr_into(self, w: BytesWriter, slot: i64, key: bytes, by: i64) -> i64:
        """Add to the integer at `key` (0 when missing), write `:n` and return DONE; else a code and nothing written."""
        raise NotImplementedError

    # --- any type
    def get(self, slot: i64, key: bytes) -> object | None:
        """The value: bytes or the List, Hash, Set, ZSet, … object; None when missing. Counts hit or miss, touches."""
        raise NotImplementedError

    def peek(self, slot: i64, key: bytes) -> object | None:
        """As `get`, without touching the access clock and without counting."""
        raise NotImplementedError

    def use(self, slot: i64, key: bytes) -> None:
        """Touch the access clock alone, for a command that changes something else than the value."""
        hits, misses = self.hits, self.misses
        self.get(slot, key)
        self.hits, self.misses = hits, misses

    def lives(self, slot: i64, key: bytes) -> bool:
        """Whether a key is there and not expired; unlike `peek` it leaves an expired key where it is."""
        raise NotImplementedError

    def put(self, slot: i64, key: bytes, value: object) -> None:
        """Store a value of any type; an expiry that the key has is kept."""
        raise NotImplementedError

    def put_raw(self, slot: i64, key: bytes, value: bytes) -> None:
        """As `put` and `set_raw`, for a string that was grown or patched in place."""
        raise NotImplementedError

    def patch(self, slot: i64, key: bytes, at: i64, data: bytes) -> i64:
        """Write into a string (an empty one when missing) at an offset, as `put_raw`; zero bytes fill a gap. Its new
        length. Whoever holds the string while it calls this has it copied.
        """
        old = self.peek(slot, key)
        value = patched(old if isinstance(old, bytes) else b"", at, data)
        self.put_raw(slot, key, value)
        return len(value)

    def delete(self, slot: i64, key: bytes) -> bool:
        """Remove a key; False when there was none (an expired key counts as none)."""
        raise NotImplementedError

    def discard(self, slot: i64, key: bytes) -> bool:
        """As `delete`, for a value that nobody will use again: what is big is freed in slices by `reap`."""
        return self.delete(slot, key)

    def reap(self, pieces: i64) -> bool:
        """Free up to so many pieces of what was discarded; True when there is more to do."""
        return False

    def set_raw(self, slot: i64, key: bytes) -> None:
        """Remember that this string was grown in place: OBJECT ENCODING answers raw until it is set anew."""
        raise NotImplementedError

    def set_text(self, slot: i64, key: bytes) -> None:
        """Remember that this string is no int although it looks like one (INCRBYFLOAT): OBJECT ENCODING tells."""
        raise NotImplementedError

    def is_raw(self, slot: i64, key: bytes) -> bool:
        """Whether `set_raw` was called since the string was set."""
        raise NotImplementedError

    def is_text(self, slot: i64, key: bytes) -> bool:
        """Whether `set_text` was called since the string was set."""
        raise NotImplementedError

    # --- expiry
    def expire_at(self, slot: i64, key: bytes) -> i64:
        """When the key expires, Unix ms; 0 when it never does, -1 when there is no such key."""
        raise NotImplementedError

    def set_expire(self, slot: i64, key: bytes, at_ms: i64) -> bool:
        """Set (or with 0 remove) the expiry of an existing key; False when there is no such key."""
        raise NotImplementedError

    def expire_due(self, limit: i64) -> i64:
        """Active expiry: remove up to `limit` keys whose time has come, into `expired`; returns how many it saw."""
        raise NotImplementedError

    # --- elements that expire (fields of hashes)
    def arm_inside(self, slot: i64, key: bytes, at_ms: i64) -> None:
        """Have `expire_inside` look into a stored value at this Unix time in ms (0: never).

        Commands say it whenever `Value.next_due` may have changed; a value that is `put` is asked by the store.
        """
        raise NotImplementedError

    def expire_inside(self, limit: i64) -> Expired | None:
        """Active expiry of elements: remove up to `limit` that are due from one value; None when nothing is due."""
        raise NotImplementedError

    def inside_count(self) -> i64:
        """Number of keys in whose values something expires."""
        raise NotImplementedError

    # --- access clocks and eviction
    def clock_of(self, slot: i64, key: bytes) -> i64:
        """The 24-bit access clock of a key (LRU seconds, or LFU), -1 when missing.

        While no clock is tracked a store may answer more coarsely, with the LRU seconds of the key's slot.
        """
        raise NotImplementedError

    def set_clock(self, slot: i64, key: bytes, clock: i64) -> None:
        """Set the access clock (RESTORE IDLETIME and FREQ, the RDB loader)."""
        raise NotImplementedError

    def sample(self, n: i64, volatile: bool) -> list[tuple[i64, bytes, i64, i64]]:
        """Up to n random keys as (slot, key, clock, expire_at); with `volatile` only keys that have an expiry."""
        raise NotImplementedError

    def random_key(self) -> bytes | None:
        """A key chosen uniformly enough for RANDOMKEY; None when the database is empty."""
        raise NotImplementedError

    # --- walking
    def count(self, slot: i64 = -1) -> i64:
        """Number of keys in a slot, or with -1 in all."""
        raise NotImplementedError

    def volatile_count(self) -> i64:
        """Number of keys that have an expiry."""
        raise NotImplementedError

    def expiry_average(self) -> i64:
        """Average time to live in ms of the keys that have an expiry, estimated; 0 when there are none."""
        raise NotImplementedError

    def scan(self, cursor: i64, want: i64, slot: i64 = -1) -> tuple[i64, list[bytes]]:
        """One SCAN step of at least `want` keys where there are as many: the next cursor (0 = done) and keys.

        With a `slot` the walk stays in that slot, whatever slot the cursor names.
        Every key that exists from the first call to the last is returned at least once, whatever comes and goes.
        """
        raise NotImplementedError

    def keys_in(self, slot: i64, limit: i64) -> list[bytes]:
        """Up to `limit` keys of a slot (-1: all of them)."""
        raise NotImplementedError

    def items_in(self, slot: i64) -> list[tuple[bytes, object, i64]]:
        """Every key of a slot with its value and expiry (0 = none), expired ones too (snapshots)."""
        raise NotImplementedError

    def dump_slot(self, w: BytesWriter, slot: i64, form: Form) -> list[tuple[bytes, object, i64]]:
        """Write keys of a slot as `node.rdb.encode.write_key` does; which ones is the store's choice. What is left is
        returned, as of `items_in`. Nothing is written when it raises MemoryError.
        """
        return self.items_in(slot)

    def freeze(self, slot: i64) -> FrozenSlot:
        """The keys of a slot with their values and times as they are now, in no time; containers stay live.

        To be closed by whoever got it.
        """
        raise NotImplementedError

    def stored_clock(self, slot: i64, key: bytes) -> i64:
        """The access clock that is kept for a key, -1 when none is; no expiry is judged and nothing touched."""
        raise NotImplementedError

    def hand_over(self) -> "Store":
        """Give all keys away, in no time, to a store that is returned; this one is empty afterwards."""
        raise NotImplementedError

    def occupied_slots(self) -> list[int]:
        """The slots that hold a key, ascending."""
        raise NotImplementedError

    def all_keys(self) -> list[bytes]:
        """Every key that is not expired (KEYS)."""
        raise NotImplementedError

    def clear(self, slot: i64 = -1) -> None:
        """Remove every key of a slot, or with -1 of all slots."""
        raise NotImplementedError

    def used_bytes(self) -> i64:
        """Bytes that the stored data takes, table overhead included, kept up to date incrementally."""
        raise NotImplementedError

    def held_bytes(self) -> i64:
        """Bytes taken from the system in chunks, from which small blocks are cut; 0 when memory comes otherwise."""
        return 0

    def small_bytes(self) -> i64:
        """Bytes of the blocks in use in these chunks."""
        return 0

    def defragment(self, work: i64) -> i64:
        """Begin to empty sparse chunks, or go on with it, for about so much work (a bucket or a block moved is one).

        1: there is more to do, 0: this pass is over, -1: there was nothing worth moving. Nothing that can be read
        changes.
        """
        return -1

    def stop_defragmenting(self) -> None:
        """Have a pass that was begun be over after the next few steps."""

    def give_back(self) -> None:
        """Have the system get at once what the process's allocator keeps, where that can be done."""

    def moved(self) -> tuple[i64, i64, i64, i64]:
        """Blocks moved so far, blocks looked at and left; of both, how many were keys'. Goes back to 0 at will."""
        return 0, 0, 0, 0

    def key_bytes(self, slot: i64, key: bytes, samples: i64) -> i64:
        """Bytes of one key with its value (MEMORY USAGE), -1 when missing; `samples` elements are measured, 0 = all."""
        raise NotImplementedError

    def grew(self, slot: i64, key: bytes, by: i64) -> None:
        """Account that a container value changed its size by `by` bytes (negative: shrank)."""
        raise NotImplementedError
