"""Bitmaps: strings read and written bit by bit, bit 0 being the highest of the first byte. BITFIELD is in bitfield."""

from typing import Final

from librt.strings import BytesWriter, read_i64_le
from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands.reading import announce_new, integer, peek_string, read_string
from node.commands.strings_set import patch_string
from node.engine import NOTIFY_GENERIC, NOTIFY_NEW, NOTIFY_STRING, Engine, Handler
from node.errors import SYNTAX, CommandError
from node.numbers import I64_MAX, is_int, to_int
from node.session import Session

_BAD_OFFSET: Final = b"ERR bit offset is not an integer or out of range"
_BAD_BIT: Final = b"ERR bit is not an integer or out of range"

_CHUNK: Final = 65536  # bytes that are counted or combined at once: integers of this size stay in the cache
_GLANCE: Final = 4096  # bytes that are looked through at once for a bit
_INVERTED: Final = bytes(range(255, -1, -1))
_BYTES: Final[list[bytes]] = [bytes((byte,)) for byte in range(256)]
_PAIRS: Final = i64(0x5555555555555555)  # the lower half of every two bits; compiled, a literal from 2**62 on is slow
_FOURS: Final = 0x3333333333333333
_EIGHTS: Final = 0x0F0F0F0F0F0F0F0F
_WORDS: Final = 0x00FF00FF00FF00FF
_RUN: Final = 8 * 31  # bytes whose counts, up to 8 a byte, fit into the bytes of one word: 31 * 8 < 256

_AND: Final = 0
_OR: Final = 1
_XOR: Final = 2
_NOT: Final = 3
_OPERATIONS: Final[dict[bytes, int]] = {b"and": _AND, b"or": _OR, b"xor": _XOR, b"not": _NOT}


def bit_offset(e: Engine, s: Session, arg: bytes, bits: i64) -> i64:
    """A bit offset within the longest string; with `bits` > 0 `#n` means the n-th field of that width."""
    hashed = bits > 0 and arg[:1] == b"#"
    number = arg[1:] if hashed else arg
    if not is_int(number):
        raise CommandError(_BAD_OFFSET)
    offset = to_int(number)
    if hashed:
        if offset > I64_MAX // bits:
            raise CommandError(_BAD_OFFSET)
        offset *= bits
    if offset < 0 or (not s.primary_link and (offset >> 3) >= e.settings.max_bulk):
        raise CommandError(_BAD_OFFSET)
    return offset


def setbit(e: Engine, s: Session, args: list[bytes]) -> None:
    """SETBIT key offset value: the string grows as far as needed."""
    offset = bit_offset(e, s, args[2], 0)
    if args[3] != b"0" and args[3] != b"1":
        raise CommandError(_BAD_BIT)
    on: i64 = 1 if args[3] == b"1" else 0
    key = args[1]
    old = peek_string(s.store, e.slot, key)
    at: i64 = offset >> 3
    shift: i64 = 7 - (offset & 7)
    size: i64 = -1 if old is None else len(old)
    byte: i64 = 0
    if old is not None and at < size:
        byte = old[at]
    before: i64 = (byte >> shift) & 1
    if before != on or at >= size:
        byte = (byte & ~(1 << shift)) | (on << shift)
        old = None  # the string is changed in place where nobody holds it
        patch_string(e, s, key, at, _BYTES[byte], b"setbit")
    else:
        s.store.set_raw(e.slot, key)  # Valkey makes it a raw string before it looks at the bit
    s.reply.integer(before)


def getbit(e: Engine, s: Session, args: list[bytes]) -> None:
    """GETBIT key offset: 0 behind the end."""
    offset = bit_offset(e, s, args[2], 0)
    value = read_string(e, s, e.slot, args[1])
    at: i64 = offset >> 3
    if value is None or at >= len(value):
        s.reply.integer(0)
        return
    byte: i64 = value[at]
    s.reply.integer((byte >> (7 - (offset & 7))) & 1)


class BitRange:
    """The bits that BITCOUNT or BITPOS looks at: whole bytes `start` to `end` less some bits of the outer two."""

    start: i64
    end: i64
    open: bool  # no end was given
    in_bits: bool  # start and end count bits
    first_mask: i64  # bits of the first byte that count
    last_mask: i64  # bits of the last byte that count

    def __init__(self, args: list[bytes], at: i64) -> None:
        """Read `[start [end [BYTE|BIT]]]` from `at` on; raises CommandError."""
        number: i64 = len(args) - at
        if number > 3:
            raise CommandError(SYNTAX)
        self.start = integer(args[at]) if number > 0 else 0
        self.in_bits = False
        if number == 3:
            unit = args[at + 2].lower()
            if unit != b"bit" and unit != b"byte":
                raise CommandError(SYNTAX)
            self.in_bits = unit == b"bit"
        self.open = number < 2
        self.end = -1 if self.open else integer(args[at + 1])
        self.first_mask = 255
        self.last_mask = 255

    def settle(self, size: i64) -> bool:
        """Find the bytes in a string of so many; False when there are none."""
        total: i64 = size * 8 if self.in_bits else size
        start: i64 = self.start + total if self.start < 0 else self.start
        end: i64 = self.end + total if self.end < 0 else self.end
        if start < 0:
            start = 0
        if end < 0:
            end = 0
        if end >= total:
            end = total - 1
        if start > end:
            return False
        if self.in_bits:
            self.first_mask = 255 >> (start & 7)
            self.last_mask = (255 << (7 - (end & 7))) & 255
            start >>= 3
            end >>= 3
        self.start = start
        self.end = end
        return True


def bitcount(e: Engine, s: Session, args: list[bytes]) -> None:
    """BITCOUNT key [start [end [BYTE|BIT]]]: how many bits are set."""
    part = BitRange(args, 2)
    value = read_string(e, s, e.slot, args[1])
    if value is None or (part.start < 0 and part.end < 0 and part.start > part.end) or not part.settle(len(value)):
        s.reply.integer(0)
        return
    total = count_bits(value, part.start, part.end + 1)
    total -= _ones(value[part.start] & ~part.first_mask) + _ones(value[part.end] & ~part.last_mask)
    s.reply.integer(total)


def _ones(byte: i64) -> i64:
    return int(byte).bit_count()


def count_bits(value: bytes, start: i64, stop: i64) -> i64:
    """The bits set in the bytes start to stop."""
    total: i64 = 0
    while start + 8 <= stop:
        end: i64 = start + _RUN
        if end > stop:
            end = start + ((stop - start) & -8)
        total += _count_run(value, start, end)
        start = end
    while start < stop:
        total += _ones(value[start])
        start += 1
    return total


def _count_run(value: bytes, start: i64, stop: i64) -> i64:
    """The bits set in up to 31 words of 8 bytes: counted in all places of a word side by side, summed a byte."""
    sums: i64 = 0
    while start < stop:
        word = read_i64_le(value, start)
        word = (word & _PAIRS) + ((word >> 1) & _PAIRS)
        word = (word & _FOURS) + ((word >> 2) & _FOURS)
        sums += (word & _EIGHTS) + ((word >> 4) & _EIGHTS)
        start += 8
    sums = (sums & _WORDS) + ((sums >> 8) & _WORDS)
    return ((sums * 0x0001000100010001) >> 48) & 0xFFFF


def bitpos(e: Engine, s: Session, args: list[bytes]) -> None:
    """BITPOS key bit [start [end [BYTE|BIT]]]: the first bit that is so; behind the end of a string all are 0."""
    bit = integer(args[2])
    if bit != 0 and bit != 1:
        raise CommandError(b"ERR The bit argument must be 1 or 0.")
    part = BitRange(args, 3)
    value = read_string(e, s, e.slot, args[1])
    if value is None:
        s.reply.integer(-bit)
        return
    if not part.settle(len(value)):
        s.reply.integer(-1)
        return
    found = _find_bit(value, bit, part)
    if found < 0 and bit == 0 and part.open:
        found = (part.end + 1) * 8
    s.reply.integer(found)


def _first_bit(byte: i64) -> i64:
    """The place of the highest set bit, counted from the left."""
    place: i64 = 0
    while not byte & (128 >> place):
        place += 1
    return place


def _find_bit(value: bytes, bit: i64, part: BitRange) -> i64:
    """The place of the first such bit in the range, -1 when there is none."""
    flip: i64 = 0 if bit else 255
    at: i64 = part.start
    byte: i64 = (value[at] ^ flip) & part.first_mask
    if at == part.end:
        byte &= part.last_mask
    if byte:
        return at * 8 + _first_bit(byte)
    at = _skip(value, at + 1, part.end, b"\0" if bit else b"\xff")
    if at > part.end:
        return -1
    byte = value[at] ^ flip
    if at == part.end:
        byte &= part.last_mask
    return at * 8 + _first_bit(byte) if byte else -1


def _skip(value: bytes, at: i64, end: i64, blank: bytes) -> i64:
    """The first byte from `at` on that is not `blank`; `end`, or what is behind it, when there is none before."""
    while at < end:
        stop: i64 = at + _GLANCE
        if stop > end:
            stop = end
        rest = value[at:stop].lstrip(blank)
        if rest:
            return stop - len(rest)
        at = stop
    return at


def bitop(e: Engine, s: Session, args: list[bytes]) -> None:
    """BITOP AND|OR|XOR|NOT destkey key [key ...]: shorter strings count as if zero bytes followed."""
    operation: i64 = _OPERATIONS.get(args[1].lower(), -1)
    if operation < 0:
        raise CommandError(SYNTAX)
    if operation == _NOT and len(args) != 4:
        raise CommandError(b"ERR BITOP NOT must be called with a single source key.")
    sources: list[bytes] = []
    for key in args[3:]:
        value = read_string(e, s, key_slot(key), key)
        sources.append(b"" if value is None else value)
    result = sources[0].translate(_INVERTED) if operation == _NOT else _combined(operation, sources)
    _store_result(e, s, args[2], result)
    s.reply.integer(len(result))


def _combined(operation: i64, sources: list[bytes]) -> bytes:
    size: i64 = 0
    for source in sources:
        if len(source) > size:
            size = len(source)
    out = BytesWriter()
    at: i64 = 0
    while at < size:
        stop: i64 = at + _GLANCE
        if stop > size:
            stop = size
        total = int.from_bytes(sources[0][at:stop], "little")
        for source in sources[1:]:
            part = int.from_bytes(source[at:stop], "little")
            if operation == _AND:
                total &= part
            elif operation == _OR:
                total |= part
            else:
                total ^= part
        out.write(total.to_bytes(stop - at, "little"))
        at = stop
    return out.getvalue()


def _store_result(e: Engine, s: Session, key: bytes, result: bytes) -> None:
    slot = key_slot(key)
    if result:
        if e.notify_mask & NOTIFY_NEW:
            announce_new(e, s.dbid, slot, key)
        s.store.set(slot, key, result)
        s.store.set_raw(slot, key)
        e.changed(s, key, NOTIFY_STRING, b"set")
    elif s.store.discard(slot, key):
        e.changed(s, key, NOTIFY_GENERIC, b"del")


HANDLERS: dict[bytes, Handler] = {
    b"setbit": setbit,
    b"getbit": getbit,
    b"bitcount": bitcount,
    b"bitpos": bitpos,
    b"bitop": bitop,
}
