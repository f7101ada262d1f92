"""The decimal digits that Valkey prints for a double: Grisu2, which one time in a thousand is not the shortest.

Python's `repr` always finds the shortest digits; replies and DUMP payloads have to agree with Valkey's in every byte,
so the digits are found its way. Source: F. Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with
Integers", 2010, section 5; powers of ten in steps of 10**8 from 10**-348, scaled products with exponents -60 to -32.
"""

import math
from typing import Final

_STEP: Final = 8
_FIRST: Final = -348
_LOWEST: Final = -60
_HIGHEST: Final = -32


def _power(k: int) -> tuple[int, int]:
    """10**k as 64 bits, rounded to nearest, and a binary exponent."""
    if k >= 0:
        size = (10**k).bit_length()
        scaled = 10**k << 64 if size <= 64 else 10**k * 2
        shift = scaled.bit_length() - 64
        rounded = (scaled + (1 << (shift - 1))) >> shift
        return rounded, shift - (64 if size <= 64 else 1)
    divisor = 10**-k
    shift = divisor.bit_length() + 63
    rounded = ((1 << (shift + 1)) + divisor) // (2 * divisor)
    while rounded.bit_length() > 64:
        shift -= 1
        rounded = ((1 << (shift + 1)) + divisor) // (2 * divisor)
    return rounded, -shift


_POWERS: Final[list[tuple[int, int]]] = [_power(_FIRST + i * _STEP) for i in range(87)]


def _scale_for(exponent: int) -> int:
    """The index of the power that brings a product with this exponent into range."""
    i = (int(-(exponent + 87) * 0.30102999566398114) - _FIRST) // _STEP
    while True:
        product = exponent + _POWERS[i][1] + 64
        if product < _LOWEST:
            i += 1
        elif product > _HIGHEST:
            i -= 1
        else:
            return i


def grisu_digits(value: float) -> tuple[int, int]:
    """Digits d and power p such that a positive finite `value` is printed as d * 10**p."""
    mantissa, exponent = math.frexp(value)
    exponent -= 53
    fraction = int(mantissa * 9007199254740992.0)
    subnormal = -1074 - exponent
    if subnormal > 0:
        fraction >>= subnormal
        exponent += subnormal
    lower_gap = 2 if fraction == 1 << 52 else 1
    shift = 64 - (2 * fraction + 1).bit_length()
    upper = (2 * fraction + 1) << shift
    upper_exponent = exponent - 1 - shift
    lower = ((fraction << lower_gap) - 1) << (exponent - lower_gap - upper_exponent)
    middle = fraction << (exponent - upper_exponent)
    i = _scale_for(upper_exponent)
    power, power_exponent = _POWERS[i]
    half = 1 << 63
    middle = (middle * power + half) >> 64
    upper = ((upper * power + half) >> 64) - 1
    lower = ((lower * power + half) >> 64) + 1
    point = -(upper_exponent + power_exponent + 64)
    return _generate(middle, upper, lower, point, -(_FIRST + i * _STEP))


def _generate(middle: int, upper: int, lower: int, point: int, power: int) -> tuple[int, int]:
    """Take digits off `upper` until what is left fits between the borders; `point` bits are behind the binary point."""
    from_middle = upper - middle
    delta = upper - lower
    one = 1 << point
    whole = upper >> point
    rest = upper & (one - 1)
    digits = 0
    unit = 10**9
    kappa = 10
    while kappa > 0:
        digit, whole = divmod(whole, unit)
        digits = digits * 10 + digit
        kappa -= 1
        left = (whole << point) + rest
        if left <= delta:
            return _rounded(digits, delta, left, unit << point, from_middle), power + kappa
        unit //= 10
    while True:
        rest *= 10
        delta *= 10
        from_middle *= 10
        kappa -= 1
        digits = digits * 10 + (rest >> point)
        rest &= one - 1
        if rest < delta:
            return _rounded(digits, delta, rest, one, from_middle), power + kappa


def _rounded(digits: int, delta: int, rest: int, unit: int, from_middle: int) -> int:
    """Step the last digit down while that comes closer to the true value."""
    while (
        rest < from_middle
        and delta - rest >= unit
        and (rest + unit < from_middle or from_middle - rest > rest + unit - from_middle)
    ):
        digits -= 1
        rest += unit
    return digits
