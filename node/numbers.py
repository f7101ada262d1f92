"""Numbers as Valkey reads and writes them: strict integers, doubles, and the 80-bit long doubles of the FLOAT commands.

Facts: an integer is accepted only in the one form in which it would be printed (no sign `+`, no leading zeros, no
spaces, no `-0`), within 64 bits. A double is read as C's strtod reads decimals, without leading space. INCRBYFLOAT and
HINCRBYFLOAT compute in x87 long doubles (64 bits of mantissa, exponents to 16383), reproduced here with exact integers.
"""

import re
from typing import Final

from mypy_extensions import i64

from node.grisu import grisu_digits

I64_MAX: Final = 9223372036854775807
I64_MIN: Final = -9223372036854775808

_MAX_DIGITS: Final = b"9223372036854775807"
_MIN_DIGITS: Final = b"9223372036854775808"
_INF: Final = float("inf")
_INFINITE: Final[dict[bytes, float]] = {
    sign + name: -_INF if sign == b"-" else _INF for sign in (b"", b"+", b"-") for name in (b"inf", b"infinity")
}
_DECIMAL: Final = re.compile(rb"([+-]?)(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?")
_HEXADECIMAL: Final = re.compile(
    rb"([+-]?)0[xX](?=\.?[0-9a-fA-F])([0-9a-fA-F]*)(?:\.([0-9a-fA-F]*))?(?:[pP]([+-]?[0-9]+))?"
)
_SMALL: Final[list[bytes]] = [str(n).encode() for n in range(1024)]


def is_int(data: bytes) -> bool:
    """Whether the bytes are a 64-bit signed integer in its only accepted form."""
    n: i64 = len(data)
    if n == 0 or n > 20:
        return False
    i: i64 = 0
    if data[0] == 45:  # -
        i = 1
        if n == 1:
            return False
    first: i64 = data[i]
    if first == 48:  # a lone 0
        return n == 1
    digits: i64 = n - i
    while i < n:
        c: i64 = data[i]
        if c < 48 or c > 57:
            return False
        i += 1
    if digits < 19:
        return True
    if digits > 19:
        return False
    if data[0] == 45:
        return data[1:] <= _MIN_DIGITS
    return data <= _MAX_DIGITS


def to_int(data: bytes) -> i64:
    """The integer that the bytes are; only after `is_int` said so."""
    n: i64 = len(data)
    i: i64 = 0
    value: i64 = 0
    if data[0] == 45:
        i = 1
        while i < n:
            value = value * 10 - (data[i] - 48)  # counted downwards: the lowest integer has no positive twin
            i += 1
        return value
    while i < n:
        value = value * 10 + (data[i] - 48)
        i += 1
    return value


def format_int(value: i64) -> bytes:
    """An integer in decimal."""
    if 0 <= value < 1024:
        return _SMALL[value]
    return str(value).encode("ascii")


def add_overflows(a: i64, b: i64) -> bool:
    """Whether a + b leaves the 64 signed bits."""
    if b >= 0:
        return a > I64_MAX - b
    return a < I64_MIN - b


class NotANumber(ValueError):
    """The bytes are no number of the wanted kind."""


# --- doubles


def parse_double(data: bytes) -> float:
    """The double that the bytes are (`inf` and `infinity` too); raises NotANumber, also for NaN and out of range."""
    if is_int(data):
        return float(to_int(data))
    if not data or not _DECIMAL.fullmatch(data):
        infinite = _INFINITE.get(data.lower())
        if infinite is None:
            raise NotANumber
        return infinite
    value = float(data)
    if value == _INF or value == -_INF or (value == 0.0 and _nonzero(data)):
        raise NotANumber  # beyond the range of a double
    return value


def _nonzero(data: bytes) -> bool:
    for c in data:
        if 49 <= c <= 57:
            return True
        if c == 69 or c == 101:  # the exponent begins
            return False
    return False


def format_double(value: float) -> bytes:
    """A double as replies and small sorted sets hold it: Valkey's digits, which read back as the same value.

    Integers up to 2**62 in full; else plain notation while the zeros to add are few, and `d.ddde+n` beyond.
    """
    if value != 0.0 and -4611686018427387904.0 <= value <= 4611686018427387904.0:
        whole = i64(int(value))
        if float(whole) == value:
            return format_int(whole)
    return print_double(value)


def print_double(value: float) -> bytes:
    """The same without the exception for integers: 4000000000.0 is `4e+9`, as Valkey's digests have it."""
    if value == 0.0:
        return b"-0" if str(value).startswith("-") else b"0"
    if value == _INF:
        return b"inf"
    if value == -_INF:
        return b"-inf"
    if value != value:
        return b"nan"
    digits, scale = grisu_digits(abs(value))
    return _layout_digits("-" if value < 0.0 else "", str(digits), scale).encode("ascii")


def _layout_digits(sign: str, digits: str, scale: int) -> str:
    """Digits times 10**scale, laid out by Valkey's rules."""
    n = len(digits)
    power = scale + n - 1
    if scale >= 0 and power < n + 7:
        return sign + digits + "0" * scale
    if scale < 0 and (scale > -7 or abs(power) < 4):
        point = n + scale
        if point <= 0:
            return sign + "0." + "0" * -point + digits
        return sign + digits[:point] + "." + digits[point:]
    tail = "." + digits[1:] if n > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'-' if power < 0 else '+'}{abs(power)}"


# --- long doubles


class LongDouble:
    """An x87 extended double: mantissa * 2**exponent with at most 64 bits of mantissa, or an infinity."""

    mantissa: int
    exponent: int
    infinite: bool

    def __init__(self, mantissa: int, exponent: int, infinite: bool = False) -> None:
        self.mantissa = mantissa
        self.exponent = exponent
        self.infinite = infinite


def _rounded(mantissa: int, exponent: int) -> LongDouble:
    """The nearest long double, ties to even; beyond the range infinite."""
    size = abs(mantissa).bit_length()
    drop = max(size - 64, -16445 - exponent)
    if drop > 0:
        half = 1 << (drop - 1)
        rest = abs(mantissa) & ((1 << drop) - 1)
        kept = abs(mantissa) >> drop
        if rest > half or (rest == half and kept & 1):
            kept += 1
        mantissa = -kept if mantissa < 0 else kept
        exponent += drop
    if abs(mantissa).bit_length() + exponent > 16384:
        return LongDouble(-1 if mantissa < 0 else 1, 0, True)
    return LongDouble(mantissa, exponent)


def parse_long_double(data: bytes) -> LongDouble:
    """The long double that the bytes are (decimal, hexadecimal, infinite); raises NotANumber, if out of range too."""
    if len(data) >= 5120:
        raise NotANumber
    found = _DECIMAL.fullmatch(data)
    if found is None:
        return _parse_unusual(data)
    whole: bytes = found.group(2)
    fraction: bytes = found.group(3) or b""
    power = _bounded_power(found.group(4))
    digits = _many_digits(whole + fraction)
    if found.group(1) == b"-":
        digits = -digits
    if digits == 0:
        return LongDouble(0, 0)
    return _checked(_from_decimal(digits, power - len(fraction)))


def _many_digits(digits: bytes) -> int:
    """Up to 5120 digits as an integer, in two parts: Python refuses to read more than 4300 at once."""
    if len(digits) <= 4000:
        return int(digits)
    return int(digits[:-4000]) * 10**4000 + int(digits[-4000:])


def _bounded_power(text: bytes | None) -> int:
    if not text:
        return 0
    if len(text) > 8:  # an exponent that no digits can bring back into range
        return -99999999 if text[:1] == b"-" else 99999999
    return int(text)


def _from_decimal(digits: int, power: int) -> LongDouble:
    if power > 5000:
        return LongDouble(1, 0, True)
    if power >= 0:
        return _rounded(digits * 10**power, 0)
    if power < -11000:
        return LongDouble(0, 0)
    divisor = 10**-power
    shift = max(0, 70 + divisor.bit_length() - abs(digits).bit_length())
    quotient, rest = divmod(abs(digits) << shift, divisor)
    quotient = quotient * 2 + (1 if rest else 0)  # a sticky bit keeps the rounding exact
    return _rounded(-quotient if digits < 0 else quotient, -shift - 1)


def _checked(value: LongDouble) -> LongDouble:
    if value.infinite or value.mantissa == 0:
        raise NotANumber
    return value


def _parse_unusual(data: bytes) -> LongDouble:
    found = _HEXADECIMAL.fullmatch(data)
    if found is None:
        infinite = _INFINITE.get(data.lower())
        if infinite is None:
            raise NotANumber
        return LongDouble(1 if infinite > 0 else -1, 0, True)
    whole: bytes = found.group(2)
    fraction: bytes = found.group(3) or b""
    digits = int(whole + fraction, 16)
    if digits == 0:
        return LongDouble(0, 0)
    power = _bounded_power(found.group(4)) - 4 * len(fraction)
    if power > 20000 or power < -40000:
        raise NotANumber
    return _checked(_rounded(-digits if found.group(1) == b"-" else digits, power))


def add_long_doubles(a: LongDouble, b: LongDouble) -> LongDouble:
    """The rounded sum of two finite long doubles; infinite when it leaves the range."""
    low = min(a.exponent, b.exponent)
    total = (a.mantissa << (a.exponent - low)) + (b.mantissa << (b.exponent - low))
    return _rounded(total, low) if total else LongDouble(0, 0)


def format_long_double(value: LongDouble) -> bytes:
    """A finite long double with up to 17 decimals, trailing zeros dropped, never in exponent notation."""
    mantissa = abs(value.mantissa)
    sign = "-" if value.mantissa < 0 else ""
    if value.exponent >= 0:
        return _decimal_text(mantissa << value.exponent, sign)
    scaled = mantissa * 10**17
    shift = -value.exponent
    kept = scaled >> shift
    rest = scaled & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    if rest > half or (rest == half and kept & 1):
        kept += 1
    whole, fraction = divmod(kept, 10**17)
    tail = f"{fraction:017d}".rstrip("0")
    if tail:
        return f"{sign}{whole}.{tail}".encode("ascii")
    return _decimal_text(whole, sign)


def _decimal_text(whole: int, sign: str) -> bytes:
    if whole == 0:
        return b"0"
    if whole < 10**4000:
        return f"{sign}{whole}".encode("ascii")
    high, low = divmod(whole, 10**4000)  # Python refuses to print more than 4300 digits at once
    return f"{sign}{high}{low:04000d}".encode("ascii")


_DIGITS: Final[list[bytes]] = [b"%d" % n for n in range(10000)]
_PADDED: Final[list[bytes]] = [b"%04d" % n for n in range(10000)]


def decimal(n: i64) -> bytes:
    """An integer in decimal, from two tables where they reach: three times as fast as formatting."""
    if 0 <= n < 10000:
        return _DIGITS[n]
    if 0 <= n < 100000000:
        return _DIGITS[n // 10000] + _PADDED[n % 10000]
    return b"%d" % n


def short_number(text: bytes) -> i64:
    """The number that up to eight digits without leading zeros are, -1 for anything else."""
    size: i64 = len(text)
    if size == 0 or size > 8 or (text[0] == 48 and size > 1):
        return -1
    number: i64 = 0
    i: i64 = 0
    while i < size:
        digit: i64 = text[i] - 48
        if digit < 0 or digit > 9:
            return -1
        number = number * 10 + digit
        i += 1
    return number
