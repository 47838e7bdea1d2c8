"""Floating-point instructions, bit for bit against exact rational arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
from assembly import ARCHES, MASK, OLD, Case, check
from formats import (
    F16,
    F32,
    F64,
    Format,
    add,
    first_nan,
    fuse,
    maximum,
    median,
    minimum,
    multiply,
    subtract,
)

FORMATS = (F32, F64, F16)
FLUSH = "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 4, 4), 0\n"  # subnormals, in and out
NOT_IEEE = "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 9, 1), 0\n"
HALF = 0xFFFF


def of(name: str, count: int, f: Format, function: Callable[..., int], before: str = "") -> Case:
    """v_<name>_<format> of `count` operands is `function(f, *codes)`."""
    operands = ", ".join(x * (2 if f is F64 else 1) for x in "dabc"[: count + 1])
    mask = (1 << f.bits) - 1

    def expect(a: int, b: int, c: int) -> int:
        rest = OLD[0] & ~HALF if f is F16 and count == 3 else 0  # those keep the upper half
        return function(f, *(x & mask for x in (a, b, c)[:count])) | rest

    kind = f"f{f.bits}"
    return Case(f"{before}v_{name}_{kind} {operands}", expect, kind, wide=f is F64)


def swapped(f: Format, a: int, b: int) -> int:
    nan = first_nan(f, a, b)
    return subtract(f, b, a) if nan is None else nan


def flushing(function: Callable[..., int]) -> Callable[..., int]:
    return lambda f, *codes: f.flushed(function(f, *map(f.flushed, codes)))


def to_integer(to: Callable[[Fraction], int]) -> Callable[[Format, int], int]:
    def function(f: Format, a: int) -> int:
        if f.is_nan(a):
            return a | f.quiet_bit
        return a if f.is_infinite(a) else f.round(Fraction(to(f.value(a))), a & f.sign)

    return function


def fraction(f: Format, a: int) -> int:
    if f.is_nan(a) or f.is_infinite(a):
        return a | f.quiet_bit if f.is_nan(a) else f.nan
    below_one = (f.bias << f.mantissa) - 1
    return min(f.round(f.value(a) - math.floor(f.value(a))), below_one)


def exponent_of(f: Format, a: int) -> int:
    """e of m * 2**e with 0.5 <= m < 1; 0 for what has none."""
    if f.is_nan(a) or f.is_infinite(a) or not a & ~f.sign:
        return 0
    size = abs(f.value(a))
    power = size.numerator.bit_length() - size.denominator.bit_length()
    return power + (size >= Fraction(2) ** power)


def mantissa(f: Format, a: int) -> int:
    if f.is_nan(a):
        return a | f.quiet_bit
    if f.is_infinite(a):
        return a
    return f.round(f.value(a) / Fraction(2) ** exponent_of(f, a), a & f.sign)


def scale(f: Format, a: int, power: int) -> int:
    if f.is_nan(a) or f.is_infinite(a):
        return a | f.quiet_bit if f.is_nan(a) else a
    return f.round(f.value(a) * Fraction(2) ** power, a & f.sign)


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def clamped(f: Format, code: int) -> int:
    """To 0..1; -0 stays, and NaN becomes 0 as DX10_CLAMP asks."""
    if f.is_nan(code) or code & f.sign:
        return 0 if code != f.sign else code
    return min(code, f.bias << f.mantissa)


PAIRS = (("add", add), ("mul", multiply), ("min", minimum), ("max", maximum))
WHOLE = {"floor": math.floor, "ceil": math.ceil, "trunc": int, "rndne": round}
BASIC = [of(name, 2, f, function) for f in FORMATS for name, function in PAIRS]
BASIC += [of("sub", 2, f, subtract) for f in (F32, F16)]
BASIC += [of("subrev", 2, f, swapped) for f in (F32, F16)]
BASIC += [of("fma", 3, f, fuse) for f in FORMATS]
BASIC += [
    of(name, 3, f, function)
    for f in (F32, F16)
    for name, function in (("min3", minimum), ("max3", maximum), ("med3", median))
]
BASIC += [
    Case("v_mov_b32 d, c\nv_fmac_f32 d, a, b", lambda a, b, c: fuse(F32, a, b, c), "f32"),
    Case("v_fmaak_f32 d, a, b, 0x3f800001", lambda a, b: fuse(F32, a, b, 0x3F800001), "f32"),
    Case("v_fmamk_f32 d, a, 0xc0490fdb, b", lambda a, b: fuse(F32, a, 0xC0490FDB, b), "f32"),
    Case(
        "v_mov_b64 dd, cc\nv_fmac_f64 dd, aa, bb",
        lambda a, b, c: fuse(F64, a, b, c),
        "f64",
        wide=True,
    ),
    Case(
        "v_mul_legacy_f32 d, a, b",
        lambda a, b: (
            0 if not (a & b & 1 or (a << 1 & MASK and b << 1 & MASK)) else multiply(F32, a, b)
        ),
        "f32",
    ),
]
PARTS = [of(name, 1, f, to_integer(to)) for f in FORMATS for name, to in WHOLE.items()]
PARTS += [of("fract", 1, f, fraction) for f in FORMATS]
PARTS += [of("frexp_mant", 1, f, mantissa) for f in FORMATS]
PARTS += [
    Case("v_frexp_exp_i32_f32 d, a", lambda a: exponent_of(F32, a), "f32"),
    Case(
        "v_frexp_exp_i32_f64 d, aa\nv_mov_b32 dh, 0",
        lambda a: exponent_of(F64, a) & MASK,
        "f64",
        wide=True,
    ),
    Case("v_frexp_exp_i16_f16 d, a", lambda a: exponent_of(F16, a & HALF) & HALF, "f16"),
    Case(
        "v_bfe_i32 v12, b, 0, 9\nv_ldexp_f32 d, a, v12",
        lambda a, b: scale(F32, a, signed(b & 511, 9)),
        "f32",
    ),
    Case(
        "v_bfe_i32 v12, b, 0, 12\nv_ldexp_f64 dd, aa, v12",
        lambda a, b: scale(F64, a, signed(b & 4095, 12)),
        "f64",
        wide=True,
    ),
    Case(
        "v_bfe_i32 v12, b, 0, 6\nv_ldexp_f16 d, a, v12",
        lambda a, b: scale(F16, a & HALF, signed(b & 63, 6)),
        "f16",
    ),
]
MODES = [
    of(name, 2, f, flushing(function), FLUSH)
    for f in FORMATS
    for name, function in (("add", add), ("mul", multiply))
]
MODES += [of("fma", 3, f, flushing(fuse), FLUSH) for f in FORMATS]


def number_or_first(f: Format, a: int, b: int) -> int:
    """Without IEEE mode a signalling NaN loses like a quiet one."""
    if f.is_nan(a) or f.is_nan(b):
        return b if f.is_nan(a) else a
    return minimum(f, a, b)


MODES += [of("min", 2, f, number_or_first, NOT_IEEE) for f in (F32, F64)]


def minus(code: int) -> int:
    return code ^ F32.sign


MODIFIERS = [
    Case("v_add_f32 d, -|a|, b", lambda a, b: add(F32, a | F32.sign, b), "f32"),
    Case("v_mul_f32 d, |a|, -b", lambda a, b: multiply(F32, a & ~F32.sign, minus(b)), "f32"),
    Case("v_fma_f32 d, -a, b, |c|", lambda a, b, c: fuse(F32, minus(a), b, c & ~F32.sign), "f32"),
    Case("v_mul_f32 d, a, b clamp", lambda a, b: clamped(F32, multiply(F32, a, b)), "f32"),
    Case("v_add_f16 d, a, b clamp", lambda a, b: clamped(F16, add(F16, a & HALF, b & HALF)), "f16"),
    Case(
        "v_add_f64 dd, -aa, |bb|",
        lambda a, b: add(F64, a ^ F64.sign, b & ~F64.sign),
        "f64",
        wide=True,
    ),
]


def doubled(code: int) -> int:
    """omod: -0 is +0, and nothing small is left to be rounded."""
    code = F32.flushed(code)
    return 0 if code == F32.sign else multiply(F32, code, 0x40000000)


OMOD = "v_mul_f32 d, a, b mul:2"
MODIFIERS += [
    Case(OMOD, lambda a, b: multiply(F32, a, b), "f32"),  # ignored: subnormals and IEEE are on
    Case(FLUSH + OMOD, lambda a, b: flushing(multiply)(F32, a, b), "f32"),
    Case(
        NOT_IEEE + FLUSH + OMOD,
        lambda a, b: doubled(multiply(F32, F32.flushed(a), F32.flushed(b))),
        "f32",
    ),
]


def halves(function: Callable[..., int]) -> Callable[..., int]:
    """Both halves of packed fp16."""
    return lambda *words: (
        function(F16, *(w & HALF for w in words)) | function(F16, *(w >> 16 for w in words)) << 16
    )


def two(function: Callable[..., int]) -> Callable[..., int]:
    """Both fp32 numbers of pairs of registers."""
    return lambda *pairs: (
        function(F32, *(p & MASK for p in pairs)) | function(F32, *(p >> 32 for p in pairs)) << 32
    )


PK2, PK3 = lambda f: lambda a, b: f(a, b), lambda f: lambda a, b, c: f(a, b, c)
PACKED = [
    Case("v_pk_add_f16 d, a, b", PK2(halves(add)), "f16"),
    Case("v_pk_mul_f16 d, a, b", PK2(halves(multiply)), "f16"),
    Case("v_pk_min_f16 d, a, b", PK2(halves(minimum)), "f16"),
    Case("v_pk_max_f16 d, a, b", PK2(halves(maximum)), "f16"),
    Case("v_pk_fma_f16 d, a, b, c", PK3(halves(fuse)), "f16"),
    Case(
        "v_pk_add_f16 d, a, b op_sel:[1,0] op_sel_hi:[0,1] neg_lo:[0,1] neg_hi:[1,0]",
        lambda a, b: (
            add(F16, a >> 16, b & HALF ^ 0x8000) | add(F16, a & HALF ^ 0x8000, b >> 16) << 16
        ),
        "f16",
    ),
    Case("v_pk_add_f32 dd, aa, bb", PK2(two(add)), "f32x2", wide=True),
    Case("v_pk_mul_f32 dd, aa, bb", PK2(two(multiply)), "f32x2", wide=True),
    Case("v_pk_fma_f32 dd, aa, bb, cc", PK3(two(fuse)), "f32x2", wide=True),
    Case(
        "v_pk_mul_f32 dd, aa, bb op_sel:[1,0] op_sel_hi:[0,0] neg_lo:[1,0]",
        lambda a, b: (
            multiply(F32, minus(a >> 32), b & MASK) | multiply(F32, a & MASK, b & MASK) << 32
        ),
        "f32x2",
        wide=True,
    ),
    Case("v_pk_mov_b32 dd, aa, bb op_sel:[1,0]", lambda a, b: (a >> 32, b), "f32x2", wide=True),
    Case(
        "v_fma_mix_f32 d, a, b, -c op_sel:[1,0,0] op_sel_hi:[1,0,1]",
        lambda a, b, c: mixed(a >> 16, b, c & HALF ^ 0x8000),
        "f16",
    ),
    Case(
        "v_fma_mixhi_f16 d, a, b, c op_sel_hi:[1,0,0]",
        lambda a, b, c: OLD[0] & HALF | narrowed(fuse(F32, widened(a & HALF), b, c)) << 16,
        "f32",
    ),
]


def widened(half: int) -> int:
    if F16.is_nan(half) or F16.is_infinite(half):
        return (half & F16.sign) << 16 | F32.infinity | (half & 0x3FF) << 13
    return F32.round(F16.value(half), half & F16.sign)


def narrowed(code: int) -> int:
    if F32.is_nan(code) or F32.is_infinite(code):
        quiet = F16.quiet_bit if F32.is_nan(code) else 0
        return (code & F32.sign) >> 16 | F16.infinity | quiet | code >> 13 & 0x3FF
    return F16.round(F32.value(code), code & F32.sign)


def mixed(a: int, b: int, c: int) -> int:
    return fuse(F32, widened(a), b, widened(c))


GROUPS = {"basic": BASIC, "parts": PARTS, "modes": MODES, "modifiers": MODIFIERS, "packed": PACKED}


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("group", GROUPS)
def test_floats(group: str, arch: str) -> None:
    check(GROUPS[group], arch)
