"""Hashes: a listpack of fields and values while they are few and short, then a table; never back.

The listpack holds field, value, field, value, … in the order of their addition, as Valkey's does, so that DUMP and RDB
write it as it is. Thresholds: `hash-max-listpack-entries` and `hash-max-listpack-value`.

A hash one of whose fields has a time to live is a table too, with `FieldTimes` beside it. All that reads or changes
fields hides those that are expired at `FieldTimes.now`; `count`, `pairs` and `copy` do not.
"""

from random import Random
from typing import Final, cast, final

from mypy_extensions import i64, mypyc_attr

from node.keyspace import Value
from node.types import listpack
from node.types.fieldtimes import TIME_BYTES, FieldTimes
from node.types.leaf import TEXT
from node.types.plainleaf import bytes_cost
from node.types.scan import ScanDict, below

_OBJECT_BYTES: Final = 48  # a Hash


@final
@mypyc_attr(acyclic=True)
class HashLimits:
    """What fits into a listpack: number of fields, and bytes of each field and value."""

    entries: i64
    value: i64

    def __init__(self) -> None:
        self.entries = 512
        self.value = 64


LIMITS: Final = HashLimits()


@final
@mypyc_attr(acyclic=True)
class Hash(Value):
    """A hash value; empty only until its first field is set."""

    packed: bytes  # the listpack, while there is no table
    table: ScanDict | None
    weight: i64  # bytes of the times of fields

    def __init__(self) -> None:
        self.packed = listpack.EMPTY
        self.table = None
        self.weight = 0

    def type_name(self) -> bytes:
        """What TYPE answers."""
        return b"hash"

    def encoding(self) -> bytes:
        """What OBJECT ENCODING answers."""
        return b"listpack" if self.table is None else b"hashtable"

    def used_bytes(self) -> i64:
        """Bytes that the hash takes."""
        table = self.table
        if table is None:
            return _OBJECT_BYTES + bytes_cost(len(self.packed))
        return _OBJECT_BYTES + table.used_bytes() + self.weight

    def copy(self) -> "Hash":
        """An independent copy."""
        twin = Hash()
        twin.packed = self.packed
        twin.weight = self.weight
        if self.table is not None:
            twin.table = self.table.copy()
        return twin

    def dismantle(self, heaps: list[list[object]]) -> None:
        """Give away the parts of the table."""
        table = self.table
        if table is not None:
            heaps.append(cast(list[object], table.parts))

    def count(self) -> i64:
        """Number of fields, expired ones that are still there included."""
        table = self.table
        if table is None:
            return listpack.count(self.packed) >> 1
        return table.count

    # --- fields

    def get(self, field: bytes) -> bytes | None:
        """The value of a field, None when there is none."""
        table = self.table
        if table is not None:
            times = table.times
            if times is not None and times.gone(field):
                return None
            return cast(bytes | None, table.get(field))
        packed = self.packed
        pos = listpack.find(packed, listpack.entry(field), 2)
        if pos < 0:
            return None
        return listpack.at(packed, listpack.skip(packed, pos))

    def value_length(self, field: bytes) -> i64:
        """Bytes of a field's value, 0 when there is none."""
        value = self.get(field)
        return 0 if value is None else len(value)

    def has(self, field: bytes) -> bool:
        """Whether the field is there."""
        table = self.table
        if table is not None:
            times = table.times
            if times is not None and times.gone(field):
                return False
            return table.has(field)
        return listpack.find(self.packed, listpack.entry(field), 2) >= 0

    def expect(self, args: list[bytes], start: i64) -> None:
        """Become a table at once if the fields and values in `args[start:]`, about to be set, would not fit."""
        if self.table is not None:
            return
        n: i64 = len(args)
        if (n - start) >> 1 > LIMITS.entries:
            self.unpack()
            return
        longest = LIMITS.value
        i: i64 = start
        while i < n:
            if len(args[i]) > longest:
                self.unpack()
                return
            i += 1

    def set(self, field: bytes, value: bytes) -> bool:
        """Set a field; True when it is new."""
        if self.table is None and (len(field) > LIMITS.value or len(value) > LIMITS.value):
            self.unpack()
        table = self.table
        if table is not None:
            return self._table_set(table, field, value)
        packed = self.packed
        name = listpack.entry(field)
        pos = listpack.find(packed, name, 2)
        if pos >= 0:
            self.packed = listpack.replace(packed, listpack.skip(packed, pos), value)
            return False
        stop = listpack.end(packed)
        self.packed = listpack.splice(packed, stop, stop, name + listpack.entry(value), 2)
        if listpack.count(self.packed) > LIMITS.entries * 2:
            self.unpack()
        return True

    def update(self, field: bytes, value: bytes) -> bool:
        """As `set`, but a time to live that the field has stays (HINCRBY), unless it is over."""
        if self.times() is None:
            return self.set(field, value)
        at = self.expires(field)
        new = self.set(field, value)
        if at > 0:
            self.expire(field, at)
        return new

    def _table_set(self, table: ScanDict, field: bytes, value: bytes) -> bool:
        new = table.put(field, value)
        times = table.times
        return new or (times is not None and self._forget_time(times, field))

    def delete(self, field: bytes) -> bool:
        """Remove a field; False when there was none."""
        table = self.table
        if table is not None:
            times = table.times
            if times is not None:
                if times.gone(field):
                    return False
                if times.drop(field):
                    self.weight -= _time_cost(field)
            return table.remove(field)
        pos = listpack.find(self.packed, listpack.entry(field), 2)
        if pos < 0:
            return False
        self.packed = listpack.delete(self.packed, pos, 2)
        return True

    def unpack(self) -> None:
        """Change from listpack to table."""
        flat = listpack.decode(self.packed)
        table = ScanDict(TEXT)
        self.table = table
        self.packed = listpack.EMPTY
        i: i64 = 0
        while i < len(flat):
            self._table_set(table, flat[i], flat[i + 1])
            i += 2

    # --- times to live

    def stamp(self, now_ms: i64) -> None:
        """Judge from now on by this time what has expired; 0: nothing has."""
        times = self.times()
        if times is not None:
            times.now = now_ms
            times.revived = False

    def times(self) -> FieldTimes | None:
        """The times of fields, None for a hash that never had any."""
        table = self.table
        return None if table is None else table.times

    def volatile(self) -> bool:
        """Whether a field has a time to live, be it over or not."""
        times = self.times()
        return times is not None and len(times.at) > 0

    def next_due(self) -> i64:
        """When active expiry should look at the hash, Unix ms; 0 = never."""
        times = self.times()
        return 0 if times is None else times.next_due()

    def expires(self, field: bytes) -> i64:
        """When a field expires, Unix ms; 0 = never, -1 = there is no such field."""
        if not self.has(field):
            return -1
        times = self.times()
        at = None if times is None else times.at.get(field)
        return 0 if at is None else max(i64(at), 1)

    def expire(self, field: bytes, at_ms: i64) -> None:
        """Set the time of a field that is there."""
        if self.table is None:
            self.unpack()
        table = self.table
        assert table is not None
        times = table.times
        if times is None:
            times = FieldTimes()
            table.times = times
        if times.put(field, at_ms):
            self.weight += _time_cost(field)

    def delete_expired(self, field: bytes) -> bool:
        """Remove a field whose time is over; False when it is not."""
        table = self.table
        times = self.times()
        if table is None or times is None or not times.gone(field):
            return False
        times.drop(field)
        self.weight -= _time_cost(field)
        return table.remove(field)

    def drop_expired(self) -> i64:
        """Remove every field whose time is over, unless that leaves none; returns how many went (COPY)."""
        table = self.table
        times = self.times()
        if table is None or times is None:
            return 0
        gone: list[bytes] = []
        for field in times.at:
            if times.gone(field):
                gone.append(field)
        if len(gone) == table.count:
            return 0
        for field in gone:
            self.delete_expired(field)
        return len(gone)

    def persist(self, field: bytes) -> bool:
        """Remove the time of a field; False when it had none or is not there."""
        times = self.times()
        if times is None or times.gone(field) or not times.drop(field):
            return False
        self.weight -= _time_cost(field)
        return True

    def _forget_time(self, times: FieldTimes, field: bytes) -> bool:
        """A field is overwritten: True when it had expired and so counts as new."""
        gone = times.gone(field)
        if gone:
            times.revived = True
        if times.drop(field):
            self.weight -= _time_cost(field)
        return gone

    def expire_inside(self, now_ms: i64, limit: i64, out: list[bytes]) -> bool:
        """Active expiry: remove up to `limit` fields whose time is over into `out`; True when no field is left."""
        table = self.table
        times = self.times()
        if table is None or times is None:
            return False
        while limit > 0:
            field = times.pop_due(now_ms)
            if field is None:
                break
            times.drop(field)
            self.weight -= _time_cost(field)
            table.remove(field)
            out.append(field)
            limit -= 1
        return table.count == 0

    # --- all of it

    def fields(self) -> list[bytes]:
        """All fields."""
        table = self.table
        if table is None:
            return listpack.decode_step(self.packed, 0, 2)
        return self._live(table.keys())

    def _live(self, fields: list[bytes]) -> list[bytes]:
        """Those of the fields that have not expired."""
        if not self.volatile():
            return fields
        times = self.times()
        assert times is not None
        out: list[bytes] = []
        for field in fields:
            if not times.gone(field):
                out.append(field)
        return out

    def values(self) -> list[bytes]:
        """All values, in the order of `fields`."""
        table = self.table
        if table is None:
            return listpack.decode_step(self.packed, 1, 2)
        if self.volatile():
            return self.flat()[1::2]
        return table.values()

    def flat(self) -> list[bytes]:
        """Field, value, field, value, …"""
        if not self.volatile():
            return self.pairs()
        table = self.table
        assert table is not None
        out: list[bytes] = []
        for field in self._live(table.keys()):
            out.append(field)
            out.append(cast(bytes, table.get(field)))
        return out

    def pairs(self) -> list[bytes]:
        """As `flat`, with the expired fields (DUMP, RDB)."""
        table = self.table
        if table is None:
            return listpack.decode(self.packed)
        return table.flat()

    def scan(self, cursor: i64, want: i64, out: list[bytes]) -> i64:
        """Append the fields of one HSCAN step (a listpack: all of them); returns the next cursor, 0 at the end."""
        table = self.table
        if table is not None:
            if not self.volatile():
                return table.scan(cursor, want, out)
            found: list[bytes] = []
            cursor = table.scan(cursor, want, found)
            out.extend(self._live(found))
            return cursor
        out.extend(self.fields())
        return 0

    def random_pairs(self, rng: Random, number: i64, distinct: bool) -> list[bytes]:
        """Field, value, … of randomly chosen fields; with `distinct` each at most once, all when there are not more."""
        if self.volatile():
            return self._picked(rng, self.flat(), number, distinct)
        size = self.count()
        if distinct and number >= size:
            return self.flat()
        if distinct and number * 3 > size:
            return self._sampled(rng, self.flat(), number)
        out: list[bytes] = []
        taken: set[bytes] = set()
        while number > 0:
            field = self._random_field(rng)
            if distinct:
                if field in taken:
                    continue
                taken.add(field)
            value = self.get(field)
            out.append(field)
            out.append(value if value is not None else b"")
            number -= 1
        return out

    def _random_field(self, rng: Random) -> bytes:
        table = self.table
        if table is not None:
            return table.random(rng)
        pos = listpack.seek(self.packed, below(rng, self.count()) * 2)
        return listpack.at(self.packed, pos)

    def _picked(self, rng: Random, flat: list[bytes], number: i64, distinct: bool) -> list[bytes]:
        """Random pairs of a hash in which some may have expired: chosen among those that have not."""
        size: i64 = len(flat) >> 1
        if distinct:
            return flat if number >= size else self._sampled(rng, flat, number)
        out: list[bytes] = []
        while number > 0 and size > 0:
            at = below(rng, size) * 2
            out.append(flat[at])
            out.append(flat[at + 1])
            number -= 1
        return out

    def _sampled(self, rng: Random, flat: list[bytes], number: i64) -> list[bytes]:
        """So many distinct pairs, chosen in one pass over all."""
        left: i64 = len(flat) >> 1
        out: list[bytes] = []
        i: i64 = 0
        while number > 0:
            if below(rng, left) < number:
                out.append(flat[i])
                out.append(flat[i + 1])
                number -= 1
            left -= 1
            i += 2
        return out


def _time_cost(field: bytes) -> i64:
    """Bytes that the time of a field takes, the name in the records of times included."""
    return TIME_BYTES + bytes_cost(len(field))


def hash_from_listpack(data: bytes) -> Hash:
    """The hash of a listpack from outside (RDB, RESTORE), bytes already checked by `listpack.canonical`.

    Raises CorruptListpack when there are no fields, one is there twice, or the last has no value.
    """
    value = Hash()
    fields: dict[bytes, None] = {}
    pos: i64 = listpack.FIRST
    stop: i64 = listpack.end(data)
    number: i64 = 0
    while pos < stop:  # not decoded at once: what claims a million times the same field must not take memory
        fields[listpack.at(data, pos)] = None
        pos = listpack.skip(data, pos)
        number += 1
        if pos >= stop or len(fields) != number:
            raise listpack.CorruptListpack("a field without value, or a field twice")
        pos = listpack.skip(data, pos)
    if number == 0:
        raise listpack.CorruptListpack("no fields")
    value.packed = data
    if len(fields) > LIMITS.entries:
        value.unpack()
    return value


def hash_from_flat(flat: list[bytes]) -> Hash:
    """The hash of field, value, field, value, …; of a field that is there twice the last value counts."""
    value = Hash()
    value.expect(flat, 0)
    i: i64 = 0
    while i + 1 < len(flat):
        value.set(flat[i], flat[i + 1])
        i += 2
    return value
