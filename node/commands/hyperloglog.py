"""HyperLogLog: counting different elements about, in 12 KB at most. The encoding is in node.types.hll."""

from typing import Final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands.reading import peek_string, read_string, shown
from node.commands.strings_set import set_string
from node.engine import Engine, Handler
from node.errors import CommandError
from node.numbers import format_int
from node.session import Session
from node.types import hll

_NOT_ONE: Final = b"WRONGTYPE Key is not a valid HyperLogLog string value."
_CORRUPTED: Final = b"INVALIDOBJ Corrupted HLL object detected"


def _checked(value: bytes) -> bytes:
    if not hll.is_valid(value):
        raise CommandError(_NOT_ONE)
    return value


def pfadd(e: Engine, s: Session, args: list[bytes]) -> None:
    """PFADD key [element ...]: 1 when the estimate may have changed."""
    key = args[1]
    old = peek_string(s.store, e.slot, key)
    changes: i64 = 1 if old is None else 0
    if old is not None:
        _checked(old)
        if hll.is_sparse(old):  # a dense one is too long to be anything else
            s.store.set_raw(e.slot, key)  # Valkey makes it a raw string before it looks at the registers
    values = hll.Registers(hll.NEW if old is None else old, e.settings.hll_sparse_max_bytes)
    try:
        i: i64 = 2
        while i < len(args):
            if values.add(args[i]):
                changes += 1
            i += 1
    except hll.CorruptedError:
        raise CommandError(_CORRUPTED) from None
    if changes > 0:
        set_string(e, s, key, hll.outdated(values.result()), b"pfadd", True)
        e.dirty += changes - 1
    s.reply.integer(1 if changes > 0 else 0)


def pfcount(e: Engine, s: Session, args: list[bytes]) -> None:
    """PFCOUNT key [key ...]: the estimate of one, which is kept in the value, or of the union of several."""
    try:
        if len(args) == 2:
            s.reply.integer(_count_one(e, s, args[1]))
        else:
            s.reply.integer(hll.estimate_of(_union(e, s, args[1:])))
    except hll.CorruptedError:
        raise CommandError(_CORRUPTED) from None


def _count_one(e: Engine, s: Session, key: bytes) -> i64:
    value = read_string(e, s, e.slot, key)
    if value is None:
        return 0
    found = hll.cached(_checked(value))
    if found < 0:
        found = hll.estimate(value)
        s.store.put(e.slot, key, hll.with_estimate(value, found))
        e.changed(s, key, 0, b"")  # the value has changed, though nobody is told by an event
    s.store.set_raw(e.slot, key)
    return found


def _union(e: Engine, s: Session, keys: list[bytes]) -> bytearray:
    values = bytearray(hll.REGISTERS)
    for key in keys:
        value = read_string(e, s, key_slot(key), key)
        if value is not None:
            hll.merge(values, _checked(value))
    return values


def pfmerge(e: Engine, s: Session, args: list[bytes]) -> None:
    """PFMERGE destkey [sourcekey ...]: the union of the sources and of what is at the destination."""
    try:
        _merge(e, s, args)
    except hll.CorruptedError:
        raise CommandError(_CORRUPTED) from None
    s.reply.ok()


def _merge(e: Engine, s: Session, args: list[bytes]) -> None:
    union = _union(e, s, args[1:])
    dense = False
    for key in args[1:]:
        value = peek_string(s.store, key_slot(key), key)
        if value is not None and not hll.is_sparse(value):
            dense = True
    key = args[1]
    slot = key_slot(key)
    e.slot = slot
    old = peek_string(s.store, slot, key)
    start = hll.NEW if old is None else old
    if dense:
        merged = hll.to_dense(start)[:16] + hll.pack(union)
    else:
        merged = _put_all(start, union, e.settings.hll_sparse_max_bytes)
    set_string(e, s, key, hll.outdated(merged), b"pfadd", True)


def _put_all(start: bytes, union: bytearray, limit: i64) -> bytes:
    values = hll.Registers(start, limit)
    i: i64 = 0
    while i < hll.REGISTERS:
        value: i64 = union[i]
        if value > 0:
            values.put(i, value)
        i += 1
    return values.result()


# --- looking inside
def pfdebug(e: Engine, s: Session, args: list[bytes]) -> None:
    """PFDEBUG GETREG|DECODE|ENCODING|TODENSE key."""
    word = args[1].lower()
    value = peek_string(s.store, e.slot, args[2])
    if value is None:
        raise CommandError(b"ERR The specified key does not exist")
    _checked(value)
    s.store.set_raw(e.slot, args[2])
    try:
        if word == b"getreg":
            _make_dense(e, s, args[2], value)
            _write_registers(s, bytes(hll.registers(value)))
        elif word == b"decode":
            _decode(s, value)
        elif word == b"encoding":
            s.reply.simple(b"sparse" if hll.is_sparse(value) else b"dense")
        elif word == b"todense":
            s.reply.integer(1 if _make_dense(e, s, args[2], value) else 0)
        else:
            raise CommandError(b"ERR Unknown PFDEBUG subcommand '%b'" % shown(args[1]))
    except hll.CorruptedError:
        raise CommandError(_CORRUPTED) from None


def _write_registers(s: Session, values: bytes) -> None:
    s.reply.array(hll.REGISTERS)
    i: i64 = 0
    while i < hll.REGISTERS:
        s.reply.integer(values[i])
        i += 1


def _make_dense(e: Engine, s: Session, key: bytes, value: bytes) -> bool:
    if not hll.is_sparse(value):
        return False
    s.store.put(e.slot, key, hll.to_dense(value))
    s.store.set_raw(e.slot, key)
    e.dirty += 1
    return True


def _decode(s: Session, value: bytes) -> None:
    if not hll.is_sparse(value):
        raise CommandError(b"ERR HLL encoding is not sparse")
    words: list[bytes] = []
    at: i64 = 16
    while at < len(value):
        length = format_int(hll.run_length(value, at))
        held = hll.run_value(value, at)
        if held > 0:
            words.append(b"v:%b,%b" % (format_int(held), length))
        else:
            words.append((b"Z:" if hll.run_size(value, at) == 2 else b"z:") + length)
        at += hll.run_size(value, at)
    s.reply.bulk(b" ".join(words))


def pfselftest(e: Engine, s: Session, args: list[bytes]) -> None:
    """PFSELFTEST: pack and unpack registers, and see that estimates are as near as they have to be."""
    values = bytearray(e.rng.randbytes(hll.REGISTERS)).translate(bytes(i & 63 for i in range(256)))
    if hll.registers(b"HYLL" + bytes(12) + hll.pack(values)) != values:
        raise CommandError(b"ERR TESTFAILED Register packing")
    _test_estimates(e)
    s.reply.ok()


def _test_estimates(e: Engine) -> None:
    """Count up to 20000 elements in both encodings: the standard error is 0.81 percent, six of them are refused."""
    seed = e.rng.randbytes(8)
    sparse = hll.Registers(hll.NEW, 3000)
    dense = hll.Registers(hll.to_dense(hll.NEW), 3000)
    number: i64 = 1
    checkpoint: i64 = 1
    while number <= 20000:
        element = seed + format_int(number)
        if sparse.add(element) != dense.add(element):
            raise CommandError(b"ERR TESTFAILED dense/sparse disagree")
        if number == checkpoint:
            error = abs(int(hll.estimate(dense.result())) - int(number))
            if error > int(number) * 0.0487 + 1.0:
                raise CommandError(b"ERR TESTFAILED Too big error. card:%d abserr:%d" % (number, error))
            checkpoint *= 10
        number += 1


HANDLERS: dict[bytes, Handler] = {
    b"pfadd": pfadd,
    b"pfcount": pfcount,
    b"pfmerge": pfmerge,
    b"pfdebug": pfdebug,
    b"pfselftest": pfselftest,
}
