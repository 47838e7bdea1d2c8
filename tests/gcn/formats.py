"""Number formats in exact arithmetic, and operands that hit their corners."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Format:
    """A binary format with infinities and NaN as IEEE 754 has them."""

    bits: int
    mantissa: int

    @property
    def sign(self) -> int:
        return 1 << (self.bits - 1)

    @property
    def bias(self) -> int:
        return (1 << (self.bits - self.mantissa - 2)) - 1

    @property
    def infinity(self) -> int:
        return (2 * self.bias + 1) << self.mantissa

    @property
    def quiet_bit(self) -> int:
        return 1 << (self.mantissa - 1)

    @property
    def nan(self) -> int:
        return self.infinity | self.quiet_bit

    def is_nan(self, code: int) -> bool:
        return code & ~self.sign > self.infinity

    def is_infinite(self, code: int) -> bool:
        return code & ~self.sign == self.infinity

    def is_signalling(self, code: int) -> bool:
        return self.is_nan(code) and not code & self.quiet_bit

    def is_subnormal(self, code: int) -> bool:
        return 0 < code & ~self.sign < 1 << self.mantissa

    def flushed(self, code: int) -> int:
        return code & self.sign if self.is_subnormal(code) else code

    def value(self, code: int) -> Fraction:
        """The number of a finite code."""
        exponent = (code & ~self.sign) >> self.mantissa
        size = code & ((1 << self.mantissa) - 1) | (min(exponent, 1) << self.mantissa)
        power = max(exponent, 1) - self.bias - self.mantissa
        exact = Fraction(size << power) if power >= 0 else Fraction(size, 1 << -power)
        return -exact if code & self.sign else exact

    def round(self, exact: Fraction, sign_of_zero: int = 0, *, to_zero: bool = False) -> int:
        """The code nearest to `exact`, ties to even; too large is infinity."""
        if exact == 0:
            return self.sign if sign_of_zero else 0
        sign, size = (self.sign if exact < 0 else 0), abs(exact)
        power = size.numerator.bit_length() - size.denominator.bit_length()
        if size < Fraction(2) ** power:
            power -= 1
        power = max(power, 1 - self.bias) - self.mantissa
        scaled = size / Fraction(2) ** power
        count = int(scaled) if to_zero else round(scaled)
        if count < 1 << self.mantissa:
            return sign | count
        code = count + ((power + self.mantissa + self.bias - 1) << self.mantissa)
        return sign | min(code, self.infinity - to_zero)


F16, BF16, F32, F64 = Format(16, 10), Format(16, 7), Format(32, 23), Format(64, 52)


def first_nan(f: Format, *codes: int) -> int | None:
    """The result of arithmetic with a NaN: the first one, quiet."""
    return next((c | f.quiet_bit for c in codes if f.is_nan(c)), None)


def multiply(f: Format, a: int, b: int) -> int:
    if (nan := first_nan(f, a, b)) is not None:
        return nan
    sign = (a ^ b) & f.sign
    if f.is_infinite(a) or f.is_infinite(b):
        return f.nan if not (a & ~f.sign and b & ~f.sign) else sign | f.infinity
    return f.round(f.value(a) * f.value(b), sign)


def fuse(f: Format, a: int, b: int, c: int) -> int:
    """a * b + c, rounded once."""
    if (nan := first_nan(f, a, b, c)) is not None:
        return nan
    sign = (a ^ b) & f.sign
    if f.is_infinite(a) or f.is_infinite(b):
        invalid = not (a & ~f.sign and b & ~f.sign)
        if invalid or (f.is_infinite(c) and c & f.sign != sign):
            return f.nan
        return sign | f.infinity
    if f.is_infinite(c):
        return c
    product, rest = f.value(a) * f.value(b), f.value(c)
    both_zero = product == 0 and rest == 0
    return f.round(product + rest, sign & c if both_zero else 0)


def add(f: Format, a: int, b: int) -> int:
    return fuse(f, a, f.bias << f.mantissa, b)


def subtract(f: Format, a: int, b: int) -> int:
    if (nan := first_nan(f, a, b)) is not None:
        return nan
    return add(f, a, b ^ f.sign)


def order(f: Format, code: int) -> int:
    """A number's place among all numbers; -0 is below +0."""
    return -1 - (code & ~f.sign) if code & f.sign else code


def minimum(f: Format, *codes: int) -> int:
    return _extreme(f, codes, -1)


def maximum(f: Format, *codes: int) -> int:
    return _extreme(f, codes, 1)


def _extreme(f: Format, codes: tuple[int, ...], sign: int) -> int:
    """IEEE mode: a signalling NaN becomes the quiet result, a quiet one loses against a number."""
    result = codes[0]
    for code in codes[1:]:
        if f.is_signalling(result) or f.is_signalling(code):
            result = (result if f.is_signalling(result) else code) | f.quiet_bit
        elif f.is_nan(result) or (
            not f.is_nan(code) and sign * order(f, code) > sign * order(f, result)
        ):
            result = code
    return result


def median(f: Format, a: int, b: int, c: int) -> int:
    """The larger of what is left without the first operand that equals the largest."""
    if first_nan(f, a, b, c) is not None:
        return minimum(f, a, b, c)
    top = maximum(f, a, b, c)
    rest = [a, b, c]
    rest.remove(next(x for x in rest if x == top or not (x | top) & ~f.sign))  # zeros are equal
    return maximum(f, *rest)


# ---- operands

_CORNERS = (0, 1, 2, 7, 8, 15, 16, 31, 32, 33, 63, 64, 255, 256, 0x7FFF, 0x8000, 0xFFFF)


def is_wide(kind: str) -> bool:
    return kind in ("i64", "f64", "f32x2")


def draw(kind: str, given: random.Random) -> int:
    """64 bits: the operand in the low ones, and other operands of the kind above it."""
    if kind == "i64":
        return _integer(given, 64)
    if kind == "f64":
        return number(F64, given)
    if kind == "i32":
        return _integer(given, 32) | _integer(given, 32) << 32
    if kind == "f16":
        return sum(number(F16, given) << 16 * i for i in range(4))
    if kind == "f8":
        return _narrow(given) | _narrow(given) << 32
    return number(F32, given) | number(F32, given) << 32


def _integer(given: random.Random, bits: int) -> int:
    whole = given.getrandbits(bits)
    style = given.randrange(6)
    if style == 0:
        return given.choice(_CORNERS) & ((1 << bits) - 1)
    if style == 1:
        return -given.choice(_CORNERS) & ((1 << bits) - 1)
    if style == 2:
        return whole >> given.randrange(bits)
    if style == 3:
        return given.choice((1 << (bits - 1), (1 << (bits - 1)) - 1, 1 << given.randrange(bits)))
    return whole


def _narrow(given: random.Random) -> int:
    """fp32 around the range of fp8, often with few bits."""
    if given.randrange(8) == 0:
        return number(F32, given)
    fraction = given.getrandbits(23) & (-1 << given.choice((0, 17, 18, 19, 20)))
    exponent = F32.bias + given.randint(-19, 17)
    return given.getrandbits(1) << 31 | exponent << 23 | fraction


def number(f: Format, given: random.Random) -> int:
    """A code of `f`: near 1, anywhere, subnormal, zero, infinite or NaN; round bits more often."""
    sign = f.sign * given.randrange(2)
    fraction = given.getrandbits(f.mantissa)
    if given.randrange(3) == 0:
        fraction &= given.choice((0, 1, 7, -1 << (f.mantissa - 2), (1 << f.mantissa // 2) - 1))
    style = given.randrange(16)
    if style == 0:
        return sign | given.choice((0, 0, 1, f.infinity, f.infinity - 1, 1 << f.mantissa))
    if style == 1:
        return sign | f.infinity | fraction
    if style == 2:
        return sign | fraction
    spread = 3 if style < 10 else f.bias
    exponent = min(max(f.bias + given.randint(-spread, spread), 0), 2 * f.bias)
    return sign | exponent << f.mantissa | fraction
