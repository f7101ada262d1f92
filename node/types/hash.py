"""Hashes: a listpack of fields and values while they are few and short, then a table; never back.

The listpack holds field, value, field, value, … in the order of their addition, as Valkey's does, so that DUMP and RDB
write it as it is. Thresholds: `hash-max-listpack-entries` and `hash-max-listpack-value`.
"""

from random import Random
from typing import Final, cast, final

from mypy_extensions import i64, mypyc_attr

from node.keyspace import Value
from node.types import listpack
from node.types.scan import ENTRY_BYTES, ScanDict, below, bytes_cost

_OBJECT_BYTES: Final = 48  # a Hash
_TABLE_BYTES: Final = 400  # an empty ScanDict with its list and first part


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
    weight: i64  # bytes of the table's entries

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
        return _OBJECT_BYTES + _TABLE_BYTES + self.weight

    def copy(self) -> "Hash":
        """An independent copy."""
        twin = Hash()
        twin.packed = self.packed
        twin.weight = self.weight
        if self.table is not None:
            twin.table = self.table.copy()
        return twin

    def count(self) -> i64:
        """Number of fields."""
        table = self.table
        if table is None:
            return listpack.count(self.packed) >> 1
        return table.count

    # --- fields

    def get(self, field: bytes) -> bytes | None:
        """The value of a field, None when there is none."""
        table = self.table
        if table is not None:
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

    def _table_set(self, table: ScanDict, field: bytes, value: bytes) -> bool:
        old = table.get(field)
        table.put(field, value)
        if old is None:
            self.weight += bytes_cost(len(field)) + bytes_cost(len(value)) + ENTRY_BYTES
            return True
        self.weight += bytes_cost(len(value)) - bytes_cost(len(cast(bytes, old)))
        return False

    def delete(self, field: bytes) -> bool:
        """Remove a field; False when there was none."""
        table = self.table
        if table is not None:
            old = table.pop(field)
            if old is None:
                return False
            self.weight -= bytes_cost(len(field)) + bytes_cost(len(cast(bytes, old))) + ENTRY_BYTES
            return True
        pos = listpack.find(self.packed, listpack.entry(field), 2)
        if pos < 0:
            return False
        self.packed = listpack.delete(self.packed, pos, 2)
        return True

    def unpack(self) -> None:
        """Change from listpack to table."""
        flat = listpack.decode(self.packed)
        table = ScanDict()
        self.table = table
        self.packed = listpack.EMPTY
        i: i64 = 0
        while i < len(flat):
            self._table_set(table, flat[i], flat[i + 1])
            i += 2

    # --- all of it

    def fields(self) -> list[bytes]:
        """All fields."""
        table = self.table
        if table is None:
            return listpack.decode_step(self.packed, 0, 2)
        return table.keys()

    def values(self) -> list[bytes]:
        """All values, in the order of `fields`."""
        table = self.table
        if table is None:
            return listpack.decode_step(self.packed, 1, 2)
        out: list[bytes] = []
        for part in table.parts:
            for value in part.values():
                out.append(cast(bytes, value))
        return out

    def flat(self) -> list[bytes]:
        """Field, value, field, value, …"""
        table = self.table
        if table is None:
            return listpack.decode(self.packed)
        out: list[bytes] = []
        for part in table.parts:
            for field, value in part.items():
                out.append(field)
                out.append(cast(bytes, value))
        return out

    def scan(self, cursor: i64, want: i64, out: list[bytes]) -> i64:
        """Append the fields of one HSCAN step (a listpack: all of them); returns the next cursor, 0 at the end."""
        table = self.table
        if table is not None:
            return table.scan(cursor, want, out)
        out.extend(self.fields())
        return 0

    def random_pairs(self, rng: Random, number: i64, distinct: bool) -> list[bytes]:
        """Field, value, … of randomly chosen fields; with `distinct` each at most once, all when there are not more."""
        size = self.count()
        if distinct and number >= size:
            return self.flat()
        if distinct and number * 3 > size:
            return self._sampled(rng, number)
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

    def _sampled(self, rng: Random, number: i64) -> list[bytes]:
        """So many distinct pairs, chosen in one pass over all."""
        flat = self.flat()
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


def hash_from_listpack(data: bytes) -> Hash:
    """The hash of a listpack from outside (RDB, RESTORE), bytes already checked by `listpack.canonical`.

    Raises CorruptListpack when there are no fields, one is there twice, or the last has no value.
    """
    flat = listpack.decode(data)
    value = Hash()
    fields: dict[bytes, None] = {}
    for field in flat[::2]:
        fields[field] = None
    if not flat or len(fields) * 2 != len(flat):
        raise listpack.CorruptListpack("fields without values, twice, or none")
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
