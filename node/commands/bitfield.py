"""BITFIELD: integers of any width up to 64 bits anywhere in a string, with a choice of what an overflow does."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from node.commands.bits import bit_offset
from node.commands.reading import announce_new, integer, peek_string, read_string
from node.commands.strings_set import set_string
from node.engine import Engine, Handler
from node.errors import SYNTAX, CommandError
from node.numbers import is_int, to_int
from node.session import Session

_BAD_TYPE: Final = (
    b"ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
)

_GET: Final = 0
_SET: Final = 1
_INCRBY: Final = 2

_UNTOUCHED: Final = 0
_WRITTEN: Final = 1  # but with what was there
_CHANGED: Final = 2

_WRAP: Final = 0
_SAT: Final = 1
_FAIL: Final = 2
_OVERFLOWS: Final[dict[bytes, int]] = {b"wrap": _WRAP, b"sat": _SAT, b"fail": _FAIL}


@final
@mypyc_attr(acyclic=True)
class Operation:
    """One GET, SET or INCRBY. Values are Python integers: sums leave 64 bits."""

    kind: i64
    signed: bool
    bits: i64
    offset: i64
    value: int
    overflow: i64

    def __init__(self, kind: i64, signed: bool, bits: i64, offset: i64, value: int, overflow: i64) -> None:
        self.kind = kind
        self.signed = signed
        self.bits = bits
        self.offset = offset
        self.value = value
        self.overflow = overflow


def _field_type(arg: bytes) -> i64:
    """The width of `u8`, or of `i8` negated; raises CommandError."""
    sign = arg[:1]
    if (sign == b"i" or sign == b"u") and is_int(arg[1:]):
        bits = to_int(arg[1:])
        if 1 <= bits <= (64 if sign == b"i" else 63):
            return -bits if sign == b"i" else bits
    raise CommandError(_BAD_TYPE)


def _parse(e: Engine, s: Session, args: list[bytes]) -> list[Operation]:
    made: list[Operation] = []
    overflow: i64 = _WRAP
    i: i64 = 2
    while i < len(args):
        left: i64 = len(args) - i - 1
        word = args[i].lower()
        if word == b"get" and left >= 2:
            kind: i64 = _GET
        elif word == b"set" and left >= 3:
            kind = _SET
        elif word == b"incrby" and left >= 3:
            kind = _INCRBY
        elif word == b"overflow" and left >= 1:
            overflow = _OVERFLOWS.get(args[i + 1].lower(), -1)
            if overflow < 0:
                raise CommandError(b"ERR Invalid OVERFLOW type specified")
            i += 2
            continue
        else:
            raise CommandError(SYNTAX)
        width = _field_type(args[i + 1])
        bits: i64 = -width if width < 0 else width
        offset = bit_offset(e, s, args[i + 2], bits)
        value: i64 = 0
        if kind != _GET:
            value = integer(args[i + 3])
        made.append(Operation(kind, width < 0, bits, offset, int(value), overflow))
        i += 3 if kind == _GET else 4
    return made


# Python integers from here on: compiled, a mixture with 64-bit ones would be cut to 64 bits.
def read_field(data: bytes, offset: int, bits: int, signed: bool) -> int:
    """The field at a bit offset; what lies behind the end of the string is 0."""
    first: int = offset >> 3
    stop: int = ((offset + bits - 1) >> 3) + 1
    part = data[first:stop]
    value: int = int.from_bytes(part, "big") << ((stop - first - len(part)) * 8)
    return _wrapped(value >> (stop * 8 - offset - bits), bits, signed)


def write_field(data: bytes, offset: int, bits: int, value: int) -> bytes:
    """The bytes, which hold the whole field, with the field changed."""
    shift: int = len(data) * 8 - offset - bits
    mask: int = ((1 << bits) - 1) << shift
    word: int = int.from_bytes(data, "big") & ~mask
    word |= (value << shift) & mask
    return word.to_bytes(len(data), "big")


def _wrapped(value: int, bits: int, signed: bool) -> int:
    value &= (1 << bits) - 1
    if signed and value >> (bits - 1):
        value -= 1 << bits
    return value


def overflow_of(value: int, by: int, bits: int, signed: bool) -> int:
    """Whether `value` + `by` leaves a field: 1 at the top, -1 at the bottom, else 0.

    Valkey's sums are 64 bits wide and wrap: an absurdly low value counts as leaving a narrow field at the top.
    """
    if not signed:
        value &= 0xFFFFFFFFFFFFFFFF
        top = (1 << bits) - 1
        if value > top or (by > 0 and by > top - value):
            return 1
        return -1 if by < 0 and by < -value else 0
    top = (1 << (bits - 1)) - 1
    bottom = -top - 1
    room_above = _wrapped(top - value, 64, True)
    room_below = _wrapped(bottom - value, 64, True)
    if value > top or (bits != 64 and by > room_above) or (value >= 0 and by > 0 and by > room_above):
        return 1
    if value < bottom or (bits != 64 and by < room_below) or (value < 0 and by < 0 and by < room_below):
        return -1
    return 0


def _limit(where: int, bits: int, signed: bool) -> int:
    """The highest or the lowest value of a field."""
    if where > 0:
        return (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1
    return -(1 << (bits - 1)) if signed else 0


def _size_needed(operations: list[Operation]) -> i64:
    """How long the string must be for every write."""
    size: i64 = 0
    for one in operations:
        if one.kind != _GET:
            end: i64 = ((one.offset + one.bits - 1) >> 3) + 1
            if end > size:
                size = end
    return size


def _bitfield(e: Engine, s: Session, args: list[bytes], read_only: bool) -> None:
    operations = _parse(e, s, args)
    writes = False
    for one in operations:
        if one.kind != _GET:
            writes = True
    if not writes:
        found = read_string(e, s, e.slot, args[1])
        data = b"" if found is None else found
        s.reply.array(len(operations))
        for one in operations:
            s.reply.integer(read_field(data, one.offset, one.bits, one.signed))
        return
    if read_only:
        raise CommandError(b"ERR BITFIELD_RO only supports the GET subcommand")
    _write_fields(e, s, args[1], operations)


def _write_fields(e: Engine, s: Session, key: bytes, operations: list[Operation]) -> None:
    old = peek_string(s.store, e.slot, key)
    data = bytearray() if old is None else bytearray(old)
    missing: i64 = _size_needed(operations) - len(data)
    if missing > 0:
        data += bytes(missing)
    changes: i64 = 0
    s.reply.array(len(operations))
    for one in operations:
        done = _run(s, data, one)
        if done == _CHANGED or (done == _WRITTEN and missing > 0):
            changes += 1
    _keep(e, s, key, data, changes, missing > 0)


def _run(s: Session, data: bytearray, one: Operation) -> i64:
    """Carry one operation out and answer it; returns _UNTOUCHED, _WRITTEN or _CHANGED."""
    first: i64 = one.offset >> 3
    stop: i64 = ((one.offset + one.bits - 1) >> 3) + 1
    offset = int(one.offset & 7)
    bits = int(one.bits)
    place = bytes(data[first:stop])
    before = read_field(place, offset, bits, one.signed)
    if one.kind == _GET:
        s.reply.integer(before)
        return _UNTOUCHED
    base, by = (before, one.value) if one.kind == _INCRBY else (one.value, 0)
    where = overflow_of(base, by, bits, one.signed)
    if where and one.overflow == _FAIL:
        s.reply.null()
        return _UNTOUCHED
    if where and one.overflow == _SAT:
        after = _limit(where, bits, one.signed)
    else:
        after = _wrapped(base + by, bits, one.signed)
    s.reply.integer(after if one.kind == _INCRBY else before)
    if before == after:
        return _WRITTEN
    data[first:stop] = write_field(place, offset, bits, after)
    return _CHANGED


def _keep(e: Engine, s: Session, key: bytes, data: bytearray, changes: i64, grown: bool) -> None:
    if changes > 0:
        set_string(e, s, key, bytes(data), b"setbit", True)
        e.dirty += changes - 1
        return
    if grown:  # every write failed: Valkey has made room all the same, and says nothing of it
        announce_new(e, s.dbid, e.slot, key)
        s.store.put(e.slot, key, bytes(data))
        e.dirty += 1
    s.store.set_raw(e.slot, key)


def bitfield(e: Engine, s: Session, args: list[bytes]) -> None:
    """BITFIELD key [GET type offset | [OVERFLOW WRAP|SAT|FAIL] SET type offset value | INCRBY type offset by ...]."""
    _bitfield(e, s, args, False)


def bitfield_ro(e: Engine, s: Session, args: list[bytes]) -> None:
    """BITFIELD_RO key [GET type offset ...]."""
    _bitfield(e, s, args, True)


HANDLERS: dict[bytes, Handler] = {b"bitfield": bitfield, b"bitfield_ro": bitfield_ro}
