"""BITFIELD: integers of any width up to 64 bits anywhere in a string, with a choice of what an overflow does."""

from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr

from node.commands.bits import bit_offset
from node.commands.reading import announce_new, integer, peek_string, read_string
from node.commands.strings_set import patch_string, set_string
from node.engine import Engine, Handler
from node.errors import SYNTAX, CommandError
from node.session import Session

_BAD_TYPE: Final = (
    b"ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
)

_LARGEST: Final = (1 << 62) - 1
_BYTES: Final[list[bytes]] = [bytes((byte,)) for byte in range(256)]

_GET: Final = 0
_SET: Final = 1
_INCRBY: Final = 2

_WRAP: Final = 0
_SAT: Final = 1
_FAIL: Final = 2
_OVERFLOWS: Final[dict[bytes, int]] = {b"wrap": _WRAP, b"sat": _SAT, b"fail": _FAIL}


@final
@mypyc_attr(acyclic=True)
class Operation:
    """One GET, SET or INCRBY."""

    kind: i64
    signed: bool
    bits: i64
    offset: i64
    value: i64
    overflow: i64

    def __init__(self, kind: i64, signed: bool, bits: i64, offset: i64, value: i64, overflow: i64) -> None:
        self.kind = kind
        self.signed = signed
        self.bits = bits
        self.offset = offset
        self.value = value
        self.overflow = overflow


def _field_type(arg: bytes) -> i64:
    """The width of `u8`, or of `i8` negated; raises CommandError."""
    size: i64 = len(arg)
    if 2 <= size <= 3:
        signed = arg[0] == 105  # i
        first: i64 = arg[1]
        bits: i64 = first - 48
        if (signed or arg[0] == 117) and 1 <= bits <= 9:
            if size == 2:
                return -bits if signed else bits
            last: i64 = arg[2]
            bits = bits * 10 + last - 48
            if 48 <= last <= 57 and bits <= 64 and (signed or bits < 64):
                return -bits if signed else bits
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
        made.append(Operation(kind, width < 0, bits, offset, value, overflow))
        i += 3 if kind == _GET else 4
    return made


def read_field(data: bytes, offset: i64, bits: i64, signed: bool) -> i64:
    """The field at a bit offset; what lies behind the end of the string is 0."""
    size: i64 = len(data)
    at: i64 = offset >> 3
    have: i64 = 8 - (offset & 7)  # bits of the first byte from the field's highest on
    value: i64 = 0
    if at < size:
        value = data[at]
        value &= 255 >> (8 - have)
    if signed and value >> (have - 1):
        value -= 256 >> (8 - have)
    if bits <= have:
        return value >> (have - bits)
    left: i64 = bits - have
    while left > 0:
        at += 1
        byte: i64 = 0
        if at < size:
            byte = data[at]
        if left < 8:
            return (value << left) | (byte >> (8 - left))
        value = (value << 8) | byte
        left -= 8
    return value


def write_field(data: bytes, offset: i64, bits: i64, value: i64) -> bytes:
    """The bytes, which are those that hold the field, with the field changed; `offset` is at most 7."""
    have: i64 = 8 - offset
    first: i64 = data[0]
    if bits <= have:
        shift: i64 = have - bits
        mask: i64 = (255 >> (8 - bits)) << shift
        return _BYTES[(first & ~mask) | ((value << shift) & mask)]
    out = BytesWriter()
    left: i64 = bits - have
    mask = 255 >> (8 - have)
    out.append((first & ~mask) | ((value >> left) & mask))
    while left >= 8:
        left -= 8
        out.append((value >> left) & 255)
    if left > 0:
        last: i64 = data[len(data) - 1]
        mask = 255 >> left
        out.append((last & mask) | ((value << (8 - left)) & 255))
    return out.getvalue()


def leaves(value: i64, by: i64, bits: i64, signed: bool) -> i64:
    """As `overflow_of`; in machine words while they are wide enough."""
    if bits < 64:
        top: i64 = _LARGEST >> (63 - bits)  # compiled, 1 << n would be a shift of 32 bits
        bottom: i64 = -top - 1
        if not signed:
            top = top * 2 + 1
            bottom = 0
        if bottom <= value <= top:
            if by >= 0:
                return 1 if by > top - value else 0
            return -1 if by < bottom - value else 0
    return overflow_of(int(value), int(by), int(bits), signed)


# Python integers from here on: compiled, a mixture with 64-bit ones would be cut to 64 bits.
def _wrapped(value: int, bits: int, signed: bool) -> int:
    value &= (1 << bits) - 1
    if signed and value >> (bits - 1):
        value -= 1 << bits
    return value


def overflow_of(value: int, by: int, bits: int, signed: bool) -> i64:
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
    if old is None:
        old = b""
    s.reply.array(len(operations))
    if len(operations) == 1:
        _write_one(e, s, key, old, operations[0])
        return
    data = bytearray(old)
    missing: i64 = _size_needed(operations) - len(data)
    if missing > 0:
        data += bytes(missing)
    changes: i64 = 0
    for one in operations:
        first: i64 = one.offset >> 3
        stop: i64 = ((one.offset + one.bits - 1) >> 3) + 1
        place = bytes(data[first:stop])
        patch = _run(s, place, one)
        if patch is not None and (missing > 0 or patch != place):
            changes += 1
            data[first:stop] = patch
    _keep(e, s, key, data, changes, missing > 0)


def _write_one(e: Engine, s: Session, key: bytes, old: bytes, one: Operation) -> None:
    """The usual case: no copy of the string but the new one."""
    first: i64 = one.offset >> 3
    stop: i64 = ((one.offset + one.bits - 1) >> 3) + 1
    missing: i64 = stop - len(old)
    place = old[first:stop]
    if missing > 0:
        place += bytes(stop - first - len(place))
    patch = _run(s, place, one)
    if patch is None:
        _keep(e, s, key, bytearray(old) + bytes(missing) if missing > 0 else bytearray(), 0, missing > 0)
    elif missing > 0 or patch != place:
        patch_string(e, s, key, first, patch, b"setbit")
    else:
        s.store.set_raw(e.slot, key)


def _run(s: Session, place: bytes, one: Operation) -> bytes | None:
    """Carry one operation out on the bytes that hold its field, and answer it; returns what these become, None when
    nothing is written.
    """
    offset: i64 = one.offset & 7
    bits = one.bits
    before = read_field(place, offset, bits, one.signed)
    if one.kind == _GET:
        s.reply.integer(before)
        return None
    base: i64 = before if one.kind == _INCRBY else one.value
    by: i64 = one.value if one.kind == _INCRBY else 0
    where = leaves(base, by, bits, one.signed)
    if where == 0:
        after: i64 = base + by
    elif one.overflow == _FAIL:
        s.reply.null()
        return None
    elif one.overflow == _SAT:
        after = _limit(int(where), int(bits), one.signed)
    else:
        after = _wrapped(int(base) + int(by), int(bits), one.signed)
    s.reply.integer(after if one.kind == _INCRBY else before)
    return place if after == before else write_field(place, offset, bits, after)


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
