"""Conversions, against exact arithmetic; fp8 in both flavours over every code."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from assembly import ARCHES, MASK, OLD, Case, check
from formats import BF16, F16, F32, F64, Format

HALF = 0xFFFF


def signed(value: int, bits: int = 32) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def change(a: int, source: Format, target: Format, *, to_zero: bool = False) -> int:
    """`a` in another format; a NaN keeps the upper bits of its payload and becomes quiet."""
    sign = target.sign if a & source.sign else 0
    if source.is_nan(a):
        payload = a & ((1 << source.mantissa) - 1)
        by = target.mantissa - source.mantissa
        return sign | target.nan | (payload << by if by >= 0 else payload >> -by)
    if source.is_infinite(a):
        return sign | target.infinity
    return target.round(source.value(a), sign, to_zero=to_zero)


def to_integer(f: Format, a: int, low: int, high: int, to: object = int) -> int:
    if f.is_nan(a):
        return 0
    if f.is_infinite(a):
        return low if a & f.sign else high
    return max(low, min(to(f.value(a)), high))  # type: ignore[operator]


def normalised(a: int, low: int, scale: int) -> int:
    if F32.is_nan(a):
        return 0
    value = F32.value(a) if not F32.is_infinite(a) else Fraction(-2 if a & F32.sign else 2)
    product = F32.value(F32.round(max(Fraction(low), min(value, Fraction(1))) * scale))
    return round(product) & HALF


U32, I32, I16 = (0, MASK), (-1 << 31, (1 << 31) - 1), (-1 << 15, (1 << 15) - 1)
NUMBERS = [
    Case("v_cvt_f32_u32 d, a", lambda a: F32.round(Fraction(a))),
    Case("v_cvt_f32_i32 d, a", lambda a: F32.round(Fraction(signed(a)))),
    Case("v_cvt_f64_u32 dd, a", lambda a: F64.round(Fraction(a & MASK)), "i64", wide=True),
    Case("v_cvt_f64_i32 dd, a", lambda a: F64.round(Fraction(signed(a))), "i64", wide=True),
    Case("v_cvt_u32_f32 d, a", lambda a: to_integer(F32, a, *U32), "f32"),
    Case("v_cvt_i32_f32 d, a", lambda a: to_integer(F32, a, *I32), "f32"),
    Case("v_cvt_flr_i32_f32 d, a", lambda a: to_integer(F32, a, *I32, math.floor), "f32"),
    Case(
        "v_cvt_rpi_i32_f32 d, a",
        lambda a: to_integer(F32, a, *I32, lambda v: math.floor(v + Fraction(1, 2))),
        "f32",
    ),
    Case("v_cvt_u32_f64 d, aa", lambda a: (to_integer(F64, a, *U32), OLD[1]), "f64"),
    Case("v_cvt_i32_f64 d, aa", lambda a: (to_integer(F64, a, *I32), OLD[1]), "f64"),
    Case("v_cvt_u16_f16 d, a", lambda a: to_integer(F16, a & HALF, 0, HALF), "f16"),
    Case("v_cvt_i16_f16 d, a", lambda a: to_integer(F16, a & HALF, *I16) & HALF, "f16"),
    Case("v_cvt_f16_u16 d, a", lambda a: F16.round(Fraction(a & HALF))),
    Case("v_cvt_f16_i16 d, a", lambda a: F16.round(Fraction(signed(a, 16)))),
    Case("v_cvt_off_f32_i4 d, a", lambda a: F32.round(Fraction(signed(a, 4), 16))),
    Case("v_cvt_pk_u16_u32 d, a, b", lambda a, b: min(a, HALF) | min(b, HALF) << 16),
    Case(
        "v_cvt_pk_i16_i32 d, a, b",
        lambda a, b: sum(
            (max(I16[0], min(signed(x), I16[1])) & HALF) << 16 * i for i, x in enumerate((a, b))
        ),
    ),
    Case(
        "v_cvt_pknorm_i16_f32 d, a, b",
        lambda a, b: normalised(a, -1, 32767) | normalised(b, -1, 32767) << 16,
        "f32",
    ),
    Case(
        "v_cvt_pknorm_u16_f32 d, a, b",
        lambda a, b: normalised(a, 0, 65535) | normalised(b, 0, 65535) << 16,
        "f32",
    ),
    Case(
        "v_cvt_pk_u8_f32 d, a, 2, b",
        lambda a, b: b & 0xFF00FFFF | to_integer(F32, a, 0, 255, round) << 16,
        "f32",
    ),
]
FORMATS = [
    Case("v_cvt_f32_f64 d, aa", lambda a: (change(a, F64, F32), OLD[1]), "f64"),
    Case("v_cvt_f64_f32 dd, a", lambda a: change(a & MASK, F32, F64), "f32x2", wide=True),
    Case("v_cvt_f16_f32 d, a", lambda a: change(a, F32, F16), "f32"),
    Case("v_cvt_f32_f16 d, a", lambda a: change(a & HALF, F16, F32), "f16"),
    Case(
        "v_cvt_pkrtz_f16_f32 d, a, b",
        lambda a, b: change(a, F32, F16, to_zero=True) | change(b, F32, F16, to_zero=True) << 16,
        "f32",
    ),
    Case(
        "v_cvt_pk_bf16_f32 d, a, b",
        lambda a, b: change(a, F32, BF16) | change(b, F32, BF16) << 16,
        "f32",
        arches=("gfx950",),
    ),
]
BYTES = (
    lambda a: F32.round(Fraction(a & 255)),
    lambda a: F32.round(Fraction(a >> 8 & 255)),
    lambda a: F32.round(Fraction(a >> 16 & 255)),
    lambda a: F32.round(Fraction(a >> 24)),
)
NUMBERS += [Case(f"v_cvt_f32_ubyte{i} d, a", byte) for i, byte in enumerate(BYTES)]


def fp8_values(mantissa: int, fnuz: bool) -> list[Fraction | float]:
    """Every code's number, from the formats' definition."""
    bias = (7 if mantissa == 3 else 15) + fnuz
    found: list[Fraction | float] = []
    for code in range(256):
        exponent, part = (code & 127) >> mantissa, code & ((1 << mantissa) - 1)
        size = Fraction(part | (1 << mantissa if exponent else 0), 1 << mantissa)
        value: Fraction | float = size * Fraction(2) ** (max(exponent, 1) - bias)
        top = exponent == (15 if mantissa == 3 else 31)
        if (fnuz and code == 0x80) or (not fnuz and mantissa == 3 and code & 127 == 127):
            value = math.nan
        elif not fnuz and mantissa == 2 and top:
            value = math.nan if part else math.inf
        found.append(-value if code & 128 else value)
    return found


class Fp8:
    """fp8 (3 bits of mantissa) or bf8 (2), with infinities or NaN where OCP and FNUZ have them."""

    def __init__(self, mantissa: int, fnuz: bool) -> None:
        self.fnuz = fnuz
        self.values = fp8_values(mantissa, fnuz)
        self.sizes = {c: v for c, v in enumerate(self.values[:128]) if math.isfinite(v)}
        self.nan = 0x80 if fnuz else 0x7F
        self.overflow = 0x7C if not fnuz and mantissa == 2 else self.nan

    def decode(self, code: int) -> int:
        value = self.values[code]
        if math.isnan(value):
            payload = (code & 3) << 21 if self.overflow == 0x7C else 0
            return F32.nan if self.fnuz else (code & 128) << 24 | F32.nan | payload
        if math.isinf(value):
            return F32.infinity | (code & 128) << 24
        return F32.round(Fraction(value), code & 128)

    def encode(self, a: int, saturate: bool = False) -> int:
        sign = a >> 24 & 128
        largest = max(self.sizes)
        if F32.is_nan(a):
            return self.nan | (0 if self.fnuz else sign)
        too_large = sign | largest if saturate else self.overflow | (0 if self.fnuz else sign)
        if F32.is_infinite(a):
            return too_large
        size = abs(F32.value(a))
        step = self.sizes[largest] - self.sizes[largest - 1]
        code = min(self.sizes, key=lambda c: (abs(self.sizes[c] - size), c & 1))
        if size >= self.sizes[largest] + step / 2 and not (
            size == self.sizes[largest] + step / 2 and not largest & 1
        ):
            return too_large
        return 0 if self.fnuz and code == 0 else sign | code


SATURATE = "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 23, 1), 1\n"


def fp8_cases(fnuz: bool) -> list[Case]:
    cases = []
    for name, f in (("fp8", Fp8(3, fnuz)), ("bf8", Fp8(2, fnuz))):

        def pair(a: int, b: int, saturate: bool = False, f: Fp8 = f) -> int:
            return f.encode(a, saturate) | f.encode(b, saturate) << 8

        def both(a: int, f: Fp8 = f) -> int:
            return f.decode(a & 255) | f.decode(a >> 8 & 255) << 32

        text = f"v_cvt_pk_{name}_f32 d, a, b"
        cases += [
            Case(text, lambda a, b, p=pair: OLD[0] & ~HALF | p(a, b), "f8"),
            Case(
                f"{text} op_sel:[0,0,1]", lambda a, b, p=pair: OLD[0] & HALF | p(a, b) << 16, "f8"
            ),
            Case(SATURATE + text, lambda a, b, p=pair: OLD[0] & ~HALF | p(a, b, True), "f8"),
            Case(f"v_cvt_f32_{name} d, a", lambda a, f=f: f.decode(a & 255)),
            Case(
                f"v_cvt_f32_{name}_sdwa d, a src0_sel:BYTE_2",
                lambda a, f=f: f.decode(a >> 16 & 255),
            ),
            Case(f"v_cvt_pk_f32_{name} dd, a", lambda a, p=both: p(a), wide=True),
            Case(
                f"v_cvt_pk_f32_{name}_sdwa dd, a src0_sel:WORD_1",
                lambda a, p=both: p(a >> 16),
                wide=True,
            ),
        ]
    return cases


FLAVOURS = {"gfx942": fp8_cases(True), "gfx950": fp8_cases(False)}


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("group", ["numbers", "formats", "fp8"])
def test_conversions(group: str, arch: str) -> None:
    groups = {"numbers": NUMBERS, "formats": FORMATS, "fp8": FLAVOURS[arch]}
    check(groups[group], arch)
