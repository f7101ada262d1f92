"""Sets: an intset while all members are integers, a listpack while they are few and short, then a table.

Encodings change where Valkey's do: `set-max-intset-entries`, `set-max-listpack-entries`, `set-max-listpack-value`, also
by the number of members that a command announces (`new_set`, `expect`).
"""

from random import Random
from typing import Final, cast, final

from mypy_extensions import i64, mypyc_attr

from node.keyspace import Value
from node.numbers import format_int, is_int, to_int
from node.types import intset, listpack
from node.types.leaf import NOTHING
from node.types.plainleaf import bytes_cost
from node.types.scan import ScanDict, below

INTSET: Final = 0
LISTPACK: Final = 1
TABLE: Final = 2

_OBJECT_BYTES: Final = 56  # a Set
_NAMES: Final[list[bytes]] = [b"intset", b"listpack", b"hashtable"]


@final
@mypyc_attr(acyclic=True)
class SetLimits:
    """What fits into an intset (members) and into a listpack (members, bytes of a member)."""

    intset_entries: i64
    listpack_entries: i64
    listpack_value: i64

    def __init__(self) -> None:
        self.intset_entries = 512
        self.listpack_entries = 128
        self.listpack_value = 64


LIMITS: Final = SetLimits()


@final
@mypyc_attr(acyclic=True)
class Set(Value):
    """A set value; empty only until its first member is added."""

    kind: i64
    packed: bytes  # the intset or listpack
    table: ScanDict

    def __init__(self, kind: i64 = INTSET) -> None:
        self.kind = kind
        self.packed = listpack.EMPTY if kind == LISTPACK else intset.EMPTY
        self.table = ScanDict(NOTHING) if kind == TABLE else _NO_TABLE

    def type_name(self) -> bytes:
        """What TYPE answers."""
        return b"set"

    def encoding(self) -> bytes:
        """What OBJECT ENCODING answers."""
        return _NAMES[self.kind]

    def used_bytes(self) -> i64:
        """Bytes that the set takes."""
        if self.kind == TABLE:
            return _OBJECT_BYTES + self.table.used_bytes()
        return _OBJECT_BYTES + bytes_cost(len(self.packed))

    def dismantle(self, heaps: list[list[object]]) -> None:
        """Give away the parts of the table."""
        if self.kind == TABLE:
            heaps.append(cast(list[object], self.table.parts))

    def copy(self) -> "Set":
        """An independent copy."""
        twin = Set(self.kind)
        twin.packed = self.packed
        if self.kind == TABLE:
            twin.table = self.table.copy()
        return twin

    def count(self) -> i64:
        """Number of members."""
        if self.kind == TABLE:
            return self.table.count
        if self.kind == INTSET:
            return intset.count(self.packed)
        return listpack.count(self.packed)

    # --- members

    def has(self, member: bytes) -> bool:
        """Whether the member is there."""
        if self.kind == TABLE:
            return self.table.has(member)
        if self.kind == INTSET:
            return is_int(member) and intset.has(self.packed, to_int(member))
        if len(member) > LIMITS.listpack_value and len(member) > len(self.packed):
            return False
        return listpack.find(self.packed, listpack.entry(member), 1) >= 0

    def expect(self, number: i64) -> None:
        """Become a table at once if so many members, about to be added, could not stay packed."""
        if (self.kind == LISTPACK and number > LIMITS.listpack_entries) or (
            self.kind == INTSET and number > LIMITS.intset_entries
        ):
            self.to_table()

    def add(self, member: bytes) -> bool:
        """Add a member; False when it was there."""
        if self.kind == TABLE:
            return self.table.put(member, None)
        if self.kind == INTSET:
            if is_int(member):
                return self._intset_add(to_int(member))
            self._leave_intset(member)
            return self.add(member)
        new = listpack.entry(member)
        if listpack.find(self.packed, new, 1) >= 0:
            return False
        if listpack.count(self.packed) < LIMITS.listpack_entries and len(member) <= LIMITS.listpack_value:
            stop = listpack.end(self.packed)
            self.packed = listpack.splice(self.packed, stop, stop, new, 1)
            return True
        self.to_table()
        return self.table.put(member, None)

    def _intset_add(self, n: i64) -> bool:
        packed = intset.add(self.packed, n)
        if packed is self.packed:
            return False
        self.packed = packed
        if intset.count(packed) > LIMITS.intset_entries:
            self.to_table()
        return True

    def _leave_intset(self, member: bytes) -> None:
        """Become what can hold the first member that is no integer."""
        number = intset.count(self.packed)
        longest: i64 = 0
        if number > 0:
            longest = len(format_int(intset.at(self.packed, number - 1)))
            lowest: i64 = len(format_int(intset.at(self.packed, 0)))
            if lowest > longest:
                longest = lowest
        limit = LIMITS.listpack_value
        if number < LIMITS.listpack_entries and len(member) <= limit and longest <= limit:
            self.packed = listpack.build(self.members())
            self.kind = LISTPACK
        else:
            self.to_table()

    def remove(self, member: bytes) -> bool:
        """Remove a member; False when it was not there."""
        if self.kind == TABLE:
            return self.table.remove(member)
        if self.kind == INTSET:
            if not is_int(member):
                return False
            packed = intset.remove(self.packed, to_int(member))
            if packed is self.packed:
                return False
            self.packed = packed
            return True
        pos = listpack.find(self.packed, listpack.entry(member), 1)
        if pos < 0:
            return False
        self.packed = listpack.delete(self.packed, pos)
        return True

    def to_table(self) -> None:
        """Change from intset or listpack to table."""
        members = self.members()
        self.kind = TABLE
        table = ScanDict(NOTHING)
        self.table = table
        self.packed = intset.EMPTY
        for member in members:
            table.put(member, None)

    def repack(self) -> None:
        """Become a listpack again if a table has few members (what SPOP leaves of a set that it nearly emptied)."""
        if self.kind != TABLE:
            return
        small = Set(LISTPACK)
        for member in self.members():
            small.add(member)
        self.kind = small.kind
        self.packed = small.packed
        self.table = small.table

    def try_intset(self) -> None:
        """Become an intset, all members being integers, if they are not too many (the result of SINTERSTORE)."""
        if self.kind == INTSET or self.count() > LIMITS.intset_entries:
            return
        numbers: list[int] = []
        for member in self.members():
            numbers.append(to_int(member))
        self.packed = intset.build(numbers)
        self.kind = INTSET
        self.table = _NO_TABLE

    # --- all of it

    def members(self) -> list[bytes]:
        """All members: integers of an intset ascending, those of a listpack in the order of their addition."""
        if self.kind == TABLE:
            return self.table.keys()
        if self.kind == LISTPACK:
            return listpack.decode(self.packed)
        out: list[bytes] = []
        i: i64 = 0
        while i < intset.count(self.packed):
            out.append(format_int(intset.at(self.packed, i)))
            i += 1
        return out

    def portions(self) -> i64:
        """How many portions the members come in: parts of a table, else one."""
        return len(self.table.parts) if self.kind == TABLE else 1

    def portion(self, i: i64) -> list[bytes]:
        """The members of one portion, for those who may not need them all; in the order of `members`."""
        return self.table.parts[i].keys() if self.kind == TABLE else self.members()

    def scan(self, cursor: i64, want: i64, out: list[bytes]) -> i64:
        """Append the members of one SSCAN step (packed: all of them); returns the next cursor, 0 at the end."""
        if self.kind == TABLE:
            return self.table.scan(cursor, want, out)
        out.extend(self.members())
        return 0

    def random(self, rng: Random) -> bytes:
        """A member, each with the same chance; the set must not be empty."""
        if self.kind == TABLE:
            return self.table.random(rng)
        i = below(rng, self.count())
        if self.kind == INTSET:
            return format_int(intset.at(self.packed, i))
        return listpack.at(self.packed, listpack.seek(self.packed, i))

    def random_distinct(self, rng: Random, number: i64) -> list[bytes]:
        """So many different members chosen at random; all of them when there are not more."""
        size = self.count()
        if number >= size:
            return self.members()
        if number * 3 <= size:
            taken: dict[bytes, None] = {}
            while len(taken) < number:
                taken[self.random(rng)] = None
            return list(taken)
        out: list[bytes] = []
        for member in self.members():
            if below(rng, size) < number:
                out.append(member)
                number -= 1
            size -= 1
            if number == 0:
                break
        return out


_NO_TABLE: Final = ScanDict(NOTHING)  # what sets without a table point to; nothing is ever put into it


def stays_table(value: Set) -> bool:
    """Whether a set is a table, and would become one again whatever way its members were added."""
    number = value.count()
    return value.kind == TABLE and number > LIMITS.intset_entries and number > LIMITS.listpack_entries


def new_set(first: bytes, number: i64) -> Set:
    """The empty set into which `number` members, beginning with `first`, are about to be added."""
    if is_int(first) and number <= LIMITS.intset_entries:
        return Set(INTSET)
    if number <= LIMITS.listpack_entries:
        return Set(LISTPACK)
    return Set(TABLE)


def set_from_intset(data: bytes) -> Set:
    """The set of an intset from outside (RDB, RESTORE); raises CorruptIntset."""
    if intset.validate(data) == 0:
        raise intset.CorruptIntset("empty")
    value = Set(INTSET)
    value.packed = data
    if intset.count(data) > LIMITS.intset_entries:
        value.to_table()
    return value


def set_from_listpack(data: bytes) -> Set:
    """The set of a listpack from outside, bytes already checked by `listpack.canonical`; raises CorruptListpack."""
    members: dict[bytes, None] = {}
    pos: i64 = listpack.FIRST
    stop: i64 = listpack.end(data)
    while pos < stop:  # not decoded at once: what claims a million times the same member must not take memory
        before: i64 = len(members)
        members[listpack.at(data, pos)] = None
        if len(members) == before:
            raise listpack.CorruptListpack("a member is there twice")
        pos = listpack.skip(data, pos)
    if not members:
        raise listpack.CorruptListpack("no members")
    value = Set(LISTPACK)
    value.packed = data
    if len(members) > LIMITS.listpack_entries:
        value.to_table()
    return value


def set_from_members(members: list[bytes]) -> Set:
    """The set of these members, encoded as if they had been added one by one."""
    value = new_set(members[0], len(members)) if members else Set()
    for member in members:
        value.add(member)
    return value
