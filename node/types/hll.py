"""HyperLogLog as Valkey keeps it in a string: 16384 registers of 6 bits, packed (dense) or as runs (sparse).

A string is a header of 16 bytes and the registers. Header: `HYLL`, the encoding (0 dense, 1 sparse), 3 zero bytes, the
last estimate as a little-endian 64-bit number whose highest bit says that it is out of date. Dense: 12288 bytes,
register i in the 6 bits from bit 6i on, lowest first. Sparse: operations that cover the registers in order,
`00nnnnnn` n+1 zeros, `01nnnnnn nnnnnnnn` n+1 zeros, `1vvvvvnn` n+1 times the value v+1 (at most 32).
An element's register is the low 14 bits of its MurmurHash64A (seed 0xadc83b19); its value one more than the number of
zero bits that end the other 50. The estimate is that of Ertl, "New cardinality estimation algorithms for HyperLogLog
sketches" (2017), by the functions sigma and tau.
"""

from math import inf, sqrt
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

REGISTERS: Final = 16384
_HEADER: Final = 16
DENSE_SIZE: Final = _HEADER + REGISTERS * 6 // 8
DENSE: Final = 0
SPARSE: Final = 1
_TOP: Final = 51  # the highest value that an element can give a register
_ALPHA: Final = 0.721347520444481703680  # 0.5 / ln 2
_LOW32: Final = 0xFFFFFFFF

NEW: Final = b"HYLL\x01" + bytes(11) + b"\x7f\xff"  # sparse, all registers 0, the estimate 0


class CorruptedError(ValueError):
    """The sparse registers are not 16384."""


# --- hashing
@final
@mypyc_attr(acyclic=True)
class Murmur:
    """MurmurHash64A of one element, as two halves of 32 bits: so no step leaves 63 bits, compiled or not."""

    high: i64
    low: i64

    def __init__(self, data: bytes, seed: i64) -> None:
        size: i64 = len(data)
        self.high = 0
        self.low = size
        self._multiply()
        self.low ^= seed & _LOW32
        at: i64 = 0
        while at + 8 <= size:
            high, low = self.high, self.low
            self.low = data[at] | (data[at + 1] << 8) | (data[at + 2] << 16) | (data[at + 3] << 24)
            self.high = data[at + 4] | (data[at + 5] << 8) | (data[at + 6] << 16) | (data[at + 7] << 24)
            self._multiply()
            self.low ^= self.high >> 15
            self._multiply()
            self.high ^= high
            self.low ^= low
            self._multiply()
            at += 8
        self._finish(data, at)

    def _finish(self, data: bytes, at: i64) -> None:
        shift: i64 = 0
        size: i64 = len(data)
        if at < size:
            while at < size:
                byte: i64 = data[at]
                if shift < 32:
                    self.low ^= byte << shift
                else:
                    self.high ^= byte << (shift - 32)
                shift += 8
                at += 1
            self._multiply()
        self.low ^= self.high >> 15
        self._multiply()
        self.low ^= self.high >> 15

    def _multiply(self) -> None:
        """Multiply by 0xc6a4a7935bd1e995 modulo 2**64, in products of 32 by 16 bits."""
        low: i64 = self.low
        high: i64 = self.high
        part: i64 = low * 0xE995
        carried: i64 = (part >> 16) + low * 0x5BD1
        crossed: i64 = low * 0xA793 + (((low * 0xC6A4) & 0xFFFF) << 16)
        crossed += high * 0xE995 + (((high * 0x5BD1) & 0xFFFF) << 16)
        self.low = ((carried & 0xFFFF) << 16) | (part & 0xFFFF)
        self.high = ((carried >> 16) + crossed) & _LOW32

    def value(self) -> int:
        """The hash as one number."""
        return (int(self.high) << 32) | int(self.low)


def place_of(element: bytes) -> i64:
    """The register of an element and its value there, as register * 64 + value."""
    hashed = Murmur(element, 0xADC83B19)
    rest: i64 = (hashed.low >> 14) | (hashed.high << 18) | (1 << 50)
    value: i64 = 1
    while not rest & 1:
        rest >>= 1
        value += 1
    return (hashed.low & (REGISTERS - 1)) * 64 + value


# --- the string
def is_valid(data: bytes) -> bool:
    """Whether a string is a HyperLogLog, as far as its header and its length tell."""
    if len(data) < _HEADER or not data.startswith(b"HYLL") or data[4] > SPARSE:
        return False
    return data[4] != DENSE or len(data) == DENSE_SIZE


def is_sparse(data: bytes) -> bool:
    """Whether the registers are runs."""
    return data[4] == SPARSE


def cached(data: bytes) -> i64:
    """The estimate in the header, -1 when it is out of date."""
    return -1 if data[15] & 128 else int.from_bytes(data[8:16], "little")


def with_estimate(data: bytes, estimate: i64) -> bytes:
    """The string with an estimate in the header."""
    return b"".join((data[:8], int(estimate).to_bytes(8, "little"), data[_HEADER:]))


def outdated(data: bytes) -> bytes:
    """The string with the estimate marked as out of date."""
    if data[15] & 128:
        return data
    return b"".join((data[:15], bytes((data[15] | 128,)), data[_HEADER:]))


def registers(data: bytes) -> bytearray:
    """The 16384 values, a byte each. Raises CorruptedError."""
    values = bytearray(REGISTERS)
    merge(values, data)
    return values


def merge(values: bytearray, data: bytes) -> None:
    """Raise each of the values to that of the same register of a HyperLogLog. Raises CorruptedError."""
    if data[4] == DENSE:
        _merge_dense(values, data)
    else:
        _merge_sparse(values, data)


def _merge_dense(values: bytearray, data: bytes) -> None:
    i: i64 = 0
    at: i64 = _HEADER
    while i < REGISTERS:
        word: i64 = data[at] | (data[at + 1] << 8) | (data[at + 2] << 16)
        j: i64 = 0
        while j < 4:
            value: i64 = word & 63
            if value > values[i]:
                values[i] = value
            word >>= 6
            i += 1
            j += 1
        at += 3


def _merge_sparse(values: bytearray, data: bytes) -> None:
    at: i64 = _HEADER
    size: i64 = len(data)
    i: i64 = 0
    while at < size:
        stop: i64 = i + run_length(data, at)
        if stop > REGISTERS:
            raise CorruptedError
        value: i64 = run_value(data, at)
        if value > 0:
            while i < stop:
                if value > values[i]:
                    values[i] = value
                i += 1
        i = stop
        at += run_size(data, at)
    if i != REGISTERS:
        raise CorruptedError


def pack(values: bytearray) -> bytes:
    """The dense registers, without the header."""
    packed = bytearray(DENSE_SIZE - _HEADER)
    i: i64 = 0
    at: i64 = 0
    while i < REGISTERS:
        word: i64 = values[i] | (values[i + 1] << 6) | (values[i + 2] << 12) | (values[i + 3] << 18)
        packed[at] = word & 255
        packed[at + 1] = (word >> 8) & 255
        packed[at + 2] = word >> 16
        i += 4
        at += 3
    return bytes(packed)


def to_dense(data: bytes) -> bytes:
    """The string with dense registers; its header stays. Raises CorruptedError."""
    if data[4] == DENSE:
        return data
    return b"".join((data[:4], b"\0", data[5:_HEADER], pack(registers(data))))


# --- runs
def run_size(data: bytes, at: i64) -> i64:
    """How many bytes the run at `at` takes."""
    return 2 if data[at] & 0xC0 == 0x40 else 1


def run_length(data: bytes, at: i64) -> i64:
    """How many registers the run at `at` covers."""
    first: i64 = data[at]
    if first & 0x80:
        return (first & 3) + 1
    if first & 0x40:
        low: i64 = data[at + 1] if at + 1 < len(data) else 0
        return ((first & 63) << 8) + low + 1
    return (first & 63) + 1


def run_value(data: bytes, at: i64) -> i64:
    """What the registers of the run at `at` hold."""
    first: i64 = data[at]
    return ((first >> 2) & 31) + 1 if first & 0x80 else 0


def _zeros(length: i64) -> bytes:
    if length <= 0:
        return b""
    if length <= 64:
        return bytes((length - 1,))
    return bytes((0x40 | ((length - 1) >> 8), (length - 1) & 255))


def _values(value: i64, length: i64) -> bytes:
    if length <= 0:
        return b""
    return bytes((0x80 | ((value - 1) << 2) | (length - 1),))


@final
@mypyc_attr(acyclic=True)
class Registers:
    """A HyperLogLog that is being changed: `data` while sparse, `dense` from the first change of a dense one on.

    `limit` is hll-sparse-max-bytes, header included: where a sparse one would grow beyond, it becomes dense.
    """

    data: bytes
    dense: bytearray | None
    limit: i64

    def __init__(self, data: bytes, limit: i64) -> None:
        self.data = data
        self.dense = None
        self.limit = limit

    def result(self) -> bytes:
        """The string as it is now."""
        dense = self.dense
        return self.data if dense is None else bytes(dense)

    def add(self, element: bytes) -> bool:
        """Count an element; whether a register has changed. Raises CorruptedError."""
        place = place_of(element)
        return self.put(place >> 6, place & 63)

    def put(self, index: i64, value: i64) -> bool:
        """Raise a register to a value; whether it was lower. Raises CorruptedError."""
        if self.dense is None and self.data[4] == SPARSE:
            return self._put_sparse(index, value)
        return self._put_dense(index, value)

    def _put_dense(self, index: i64, value: i64) -> bool:
        bit: i64 = index * 6
        at: i64 = _HEADER + (bit >> 3)
        shift: i64 = bit & 7
        dense = self.dense
        if dense is None:
            word: i64 = self.data[at]
            if shift > 2:
                word |= self.data[at + 1] << 8
        else:
            word = dense[at]
            if shift > 2:
                word |= dense[at + 1] << 8
        if (word >> shift) & 63 >= value:
            return False
        if dense is None:
            dense = bytearray(self.data)
            self.dense = dense
        word = (word & ~(63 << shift)) | (value << shift)
        dense[at] = word & 255
        if shift > 2:
            dense[at + 1] = word >> 8
        return True

    def _promote(self, index: i64, value: i64) -> bool:
        self.dense = bytearray(to_dense(self.data))
        return self._put_dense(index, value)

    def _put_sparse(self, index: i64, value: i64) -> bool:
        if value > 32:  # more than a run can hold
            return self._promote(index, value)
        data = self.data
        size: i64 = len(data)
        at: i64 = _HEADER
        before: i64 = _HEADER  # where the run before begins
        first: i64 = 0
        span: i64 = 0
        while at < size:
            span = run_length(data, at)
            if index < first + span:
                break
            before = at
            at += run_size(data, at)
            first += span
        if span == 0 or at >= size or at + run_size(data, at) > size:
            raise CorruptedError
        old = run_value(data, at)
        if old >= value:
            return False
        last: i64 = first + span - 1
        if old > 0:
            new = _values(old, index - first) + _values(value, 1) + _values(old, last - index)
        else:
            new = _zeros(index - first) + _values(value, 1) + _zeros(last - index)
        taken: i64 = run_size(data, at)
        grown: i64 = len(new) - taken
        if grown > 0 and size + grown > self.limit:
            return self._promote(index, value)
        self.data = _joined(b"".join((data[:at], new, data[at + taken :])), before)
        return True


def _joined(data: bytes, at: i64) -> bytes:
    """Join neighbouring runs of one value as far as Valkey does: it looks at five runs from the one before on."""
    left: i64 = 5
    while at < len(data) and left > 0:
        left -= 1
        if data[at] & 0x80 == 0:
            at += run_size(data, at)
            continue
        if at + 1 < len(data) and data[at + 1] & 0x80 and run_value(data, at) == run_value(data, at + 1):
            length: i64 = run_length(data, at) + run_length(data, at + 1)
            if length <= 4:
                data = b"".join((data[:at], _values(run_value(data, at), length), data[at + 2 :]))
                continue
        at += 1
    return data


# --- the estimate
def estimate(data: bytes) -> i64:
    """How many different elements were counted, about. Raises CorruptedError."""
    return estimate_of(registers(data))


def estimate_of(values: bytearray) -> i64:
    """As `estimate`, from values of a byte each."""
    frozen = bytes(values)
    total = float(REGISTERS) * _tau((REGISTERS - frozen.count(_TOP)) / REGISTERS)
    value: i64 = _TOP - 1
    while value >= 1:
        total = (total + frozen.count(value)) * 0.5
        value -= 1
    total += REGISTERS * _sigma(frozen.count(0) / REGISTERS)
    found = _ALPHA * REGISTERS * REGISTERS / total
    whole = int(found)
    return whole + 1 if found - whole >= 0.5 else whole


def _tau(x: float) -> float:
    if x == 0.0 or x == 1.0:
        return 0.0
    y = 1.0
    z = 1.0 - x
    before = -1.0
    while before != z:
        x = sqrt(x)
        before = z
        y *= 0.5
        z -= (1.0 - x) * (1.0 - x) * y
    return z / 3.0


def _sigma(x: float) -> float:
    if x == 1.0:
        return inf
    y = 1.0
    z = x
    before = -1.0
    while before != z:
        x *= x
        before = z
        z += x * y
        y += y
    return z
