# ruff: noqa: ARG005
"""Scalar instructions: results and SCC, against Python's integers."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from assembly import ARCHES, LANES, MASK, Case, check

M64 = (1 << 64) - 1
# the first lane's a, b, c, e in s[8:15]; the result in s[20:21], SCC in s22
_BEFORE = "".join(f"v_readfirstlane_b32 s{8 + i}, v{4 + i}\n" for i in range(8))
_BEFORE += "s_mov_b64 s[20:21], s[12:13]\ns_bitcmp1_b32 s14, 0\n"  # SCC: e's lowest bit
_AFTER = "\ns_cselect_b32 s22, 1, 0\nv_mov_b32 d, s20\nv_mov_b32 dh, s22"
_AFTER64 = "\ns_cselect_b32 s22, 1, 0\ns_xor_b32 s20, s20, s22\nv_mov_b32 d, s20\nv_mov_b32 dh, s21"


def s32(x: int) -> int:
    return sx(x, 32)


def sx(x: int, bits: int) -> int:
    x &= (1 << bits) - 1
    return x - (1 << bits) if bits and x >> (bits - 1) else x


Function = Callable[[int, int, int], tuple[int, int | bool | None]]


def case(text: str, function: Function) -> Case:
    """function(a, b, scc) gives the 32-bit result and the new SCC, None where it stays."""

    def expect(rows: list[list[int]]) -> list[tuple[int, int]]:
        a, b, _, e = rows[0]
        value, flag = function(a, b, e & 1)
        return [(value & MASK, int(e & 1 if flag is None else flag))] * LANES

    names = {"D": "s20", "A": "s8", "B": "s10"}
    return Case(_BEFORE + _named(text, names) + _AFTER, expect, wave=True)


def case64(text: str, function: Function) -> Case:
    """The same with 64 bits; SCC changes the lowest bit of the result."""

    def expect(rows: list[list[int]]) -> list[tuple[int, int]]:
        a, b, _, e = rows[0]
        value, flag = function(a, b, e & 1)
        low = value & MASK ^ int(e & 1 if flag is None else flag)
        return [(low, value >> 32 & MASK)] * LANES

    names = {"D": "s[20:21]", "A": "s[8:9]", "B": "s[10:11]", "b": "s10", "a": "s8"}
    return Case(_BEFORE + _named(text, names) + _AFTER64, expect, "i64", wave=True)


def _named(text: str, names: dict[str, str]) -> str:
    return re.sub(r"\b[DABab]\b", lambda m: names.get(m.group(), m.group()), text)


def plain(value: int) -> tuple[int, None]:
    return value, None


def nonzero(value: int, bits: int = 32) -> tuple[int, bool]:
    return value, value & ((1 << bits) - 1) != 0


def field(a: int, b: int, bits: int) -> int:
    wide = bits == 64
    first, width = b & (63 if wide else 31), b >> 16 & 0x7F
    return a >> first & ((1 << width) - 1)


def field_signed(a: int, b: int, bits: int) -> int:
    first, width = b & (bits - 1), b >> 16 & 0x7F
    return sx(sx(a, bits) >> first, min(width, bits))


def signs(a: int, bits: int) -> int:
    """Leading bits that equal the sign; -1 for none that differs."""
    size = a ^ ((1 << bits) - 1) if a >> (bits - 1) else a
    return bits - size.bit_length() if size else -1


def overflow(value: int) -> tuple[int, bool]:
    return value, value != s32(value)


ADD = [
    case("s_add_u32 D, A, B", lambda a, b, _: (a + b, a + b >> 32)),
    case("s_addc_u32 D, A, B", lambda a, b, c: (a + b + c, a + b + c >> 32)),
    case("s_sub_u32 D, A, B", lambda a, b, _: (a - b, a < b)),
    case("s_subb_u32 D, A, B", lambda a, b, c: (a - b - c, a < b + c)),
    case("s_add_i32 D, A, B", lambda a, b, _: overflow(s32(a) + s32(b))),
    case("s_sub_i32 D, A, B", lambda a, b, _: overflow(s32(a) - s32(b))),
    case("s_mul_i32 D, A, B", lambda a, b, _: plain(a * b)),
    case("s_mul_hi_u32 D, A, B", lambda a, b, _: plain(a * b >> 32)),
    case("s_mul_hi_i32 D, A, B", lambda a, b, _: plain(s32(a) * s32(b) >> 32)),
    case("s_absdiff_i32 D, A, B", lambda a, b, _: nonzero(abs(s32(a - b)))),
    case("s_abs_i32 D, A", lambda a, b, _: nonzero(abs(s32(a)))),
    case("s_min_i32 D, A, B", lambda a, b, _: (min(s32(a), s32(b)), s32(a) < s32(b))),
    case("s_max_i32 D, A, B", lambda a, b, _: (max(s32(a), s32(b)), s32(a) > s32(b))),
    case("s_min_u32 D, A, B", lambda a, b, _: (min(a, b), a < b)),
    case("s_max_u32 D, A, B", lambda a, b, _: (max(a, b), a > b)),
    case("s_movk_i32 D, 0x8123", lambda a, b, _: plain(sx(0x8123, 16))),
    case("s_sext_i32_i8 D, A", lambda a, b, _: plain(sx(a, 8))),
    case("s_sext_i32_i16 D, A", lambda a, b, _: plain(sx(a, 16))),
    case("s_cselect_b32 D, A, B", lambda a, b, c: plain(a if c else b)),
]
ADD += [
    case(f"s_lshl{n}_add_u32 D, A, B", lambda a, b, _, n=n: ((a << n) + b, (a << n) + b >> 32 != 0))
    for n in (1, 2, 3, 4)
]
BITS = [
    case("s_not_b32 D, A", lambda a, b, _: nonzero(~a)),
    case("s_lshl_b32 D, A, B", lambda a, b, _: nonzero(a << (b & 31))),
    case("s_lshr_b32 D, A, B", lambda a, b, _: nonzero(a >> (b & 31))),
    case("s_ashr_i32 D, A, B", lambda a, b, _: nonzero(s32(a) >> (b & 31))),
    case("s_bfm_b32 D, A, B", lambda a, b, _: plain(((1 << (a & 31)) - 1) << (b & 31))),
    case("s_bfe_u32 D, A, B", lambda a, b, _: nonzero(field(a, b, 32))),
    case("s_bfe_i32 D, A, B", lambda a, b, _: nonzero(field_signed(a, b, 32))),
    case("s_brev_b32 D, A", lambda a, b, _: plain(int(f"{a:032b}"[::-1], 2))),
    case("s_bcnt1_i32_b32 D, A", lambda a, b, _: nonzero(a.bit_count())),
    case("s_bcnt0_i32_b32 D, A", lambda a, b, _: nonzero(32 - a.bit_count())),
    case("s_ff1_i32_b32 D, A", lambda a, b, _: plain((a & -a).bit_length() - 1)),
    case("s_ff0_i32_b32 D, A", lambda a, b, _: plain((~a & a + 1 & MASK).bit_length() - 1)),
    case("s_flbit_i32_b32 D, A", lambda a, b, _: plain(32 - a.bit_length() if a else -1)),
    case("s_flbit_i32 D, A", lambda a, b, _: plain(signs(a, 32))),
    case("s_bitset1_b32 D, 5\ns_and_b32 D, D, 32", lambda a, b, _: (32, 1)),
    case("s_pack_lh_b32_b16 D, A, B", lambda a, b, _: plain(a & 0xFFFF | b & 0xFFFF0000)),
    case("s_pack_ll_b32_b16 D, A, B", lambda a, b, _: plain(a & 0xFFFF | b << 16)),
    case(
        "s_bitcmp1_b32 A, B\ns_cselect_b32 D, 3, 4",
        lambda a, b, _: (4 - (a >> (b & 31) & 1), a >> (b & 31) & 1),
    ),
    case(
        "s_bitcmp0_b32 A, B\ns_cselect_b32 D, 3, 4",
        lambda a, b, _: (3 + (a >> (b & 31) & 1), 1 - (a >> (b & 31) & 1)),
    ),
]
WIDE = [
    case64("s_lshl_b64 D, A, b", lambda a, b, _: nonzero(a << (b & 63), 64)),
    case64("s_lshr_b64 D, A, b", lambda a, b, _: nonzero(a >> (b & 63), 64)),
    case64("s_ashr_i64 D, A, b", lambda a, b, _: nonzero(sx(a, 64) >> (b & 63), 64)),
    case64("s_bfe_u64 D, A, b", lambda a, b, _: nonzero(field(a, b, 64), 64)),
    case64("s_bfe_i64 D, A, b", lambda a, b, _: nonzero(field_signed(a, b, 64), 64)),
    case64("s_bfm_b64 D, a, b", lambda a, b, _: plain(((1 << (a & 63)) - 1) << (b & 63))),
    case64("s_not_b64 D, A", lambda a, b, _: nonzero(~a, 64)),
    case64("s_brev_b64 D, A", lambda a, b, _: plain(int(f"{a:064b}"[::-1], 2))),
    case64("s_cselect_b64 D, A, B", lambda a, b, c: plain(a if c else b)),
    case64("s_mov_b64 D, A", lambda a, b, _: plain(a)),
    case64("s_bcnt1_i32_b64 s20, A\ns_mov_b32 s21, 0", lambda a, b, _: nonzero(a.bit_count())),
    case64(
        "s_ff1_i32_b64 s20, A\ns_ashr_i32 s21, s20, 31\ns_bitcmp1_b32 s14, 0",
        lambda a, b, _: plain((a & -a).bit_length() - 1),
    ),
    case64(
        "s_flbit_i32_b64 s20, A\ns_mov_b32 s21, 0",
        lambda a, b, _: plain(64 - a.bit_length() if a else MASK),
    ),
    case64("s_flbit_i32_i64 s20, A\ns_mov_b32 s21, 0", lambda a, b, _: plain(signs(a, 64) & MASK)),
    case64("s_cmp_eq_u64 A, B\ns_mov_b64 D, A", lambda a, b, _: (a, a == b)),
    case64("s_cmp_lg_u64 A, A\ns_mov_b64 D, A", lambda a, b, _: (a, 0)),
    case64(
        "s_bitreplicate_b64_b32 D, a",
        lambda a, b, _: plain(sum((a >> i & 1) * 3 << 2 * i for i in range(32))),
    ),
    case64(
        "s_quadmask_b64 D, A",
        lambda a, b, _: nonzero(sum(bool(a >> 4 * i & 15) << i for i in range(16)), 64),
    ),
    case64(
        "s_wqm_b64 D, A",
        lambda a, b, _: nonzero(sum(bool(a >> 4 * i & 15) * 15 << 4 * i for i in range(16)), 64),
    ),
]
LOGIC: dict[str, Callable[[int, int], int]] = {
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "andn2": lambda a, b: a & ~b,
    "orn2": lambda a, b: a | ~b,
    "nand": lambda a, b: ~(a & b),
    "nor": lambda a, b: ~(a | b),
    "xnor": lambda a, b: ~(a ^ b),
}
BITS += [
    case(f"s_{n}_b32 D, A, B", lambda a, b, _, f=f: nonzero(f(a, b))) for n, f in LOGIC.items()
]
WIDE += [
    case64(f"s_{n}_b64 D, A, B", lambda a, b, _, f=f: nonzero(f(a, b), 64))
    for n, f in LOGIC.items()
]
# the saved EXEC is all lanes; what was combined is read back before EXEC is restored
EXEC = [
    case64(
        f"s_{n}_saveexec_b64 s[24:25], A\ns_mov_b64 D, exec\ns_mov_b64 exec, s[24:25]",
        lambda a, b, _, f=f: nonzero(f(a, M64), 64),
    )
    for n, f in LOGIC.items()
]
ORDER: dict[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b,
    "lg": lambda a, b: a != b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
}
COMPARE = [
    case(f"s_cmp_{n}_u32 A, B\ns_mov_b32 D, 7", lambda a, b, _, f=f: (7, f(a, b)))
    for n, f in ORDER.items()
]
COMPARE += [
    case(f"s_cmp_{n}_i32 A, B\ns_mov_b32 D, 7", lambda a, b, _, f=f: (7, f(s32(a), s32(b))))
    for n, f in ORDER.items()
]
COMPARE += [
    case(f"s_cmpk_{n}_i32 A, 0xfff9\ns_mov_b32 D, 7", lambda a, b, _, f=f: (7, f(s32(a), -7)))
    for n, f in ORDER.items()
]
COMPARE += [
    case(f"s_cmpk_{n}_u32 A, 0xfff9\ns_mov_b32 D, 7", lambda a, b, _, f=f: (7, f(a, 0xFFF9)))
    for n, f in ORDER.items()
]
GROUPS = {"add": ADD, "bits": BITS, "wide": WIDE, "exec": EXEC, "compare": COMPARE}


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("group", GROUPS)
def test_scalars(group: str, arch: str) -> None:
    check(GROUPS[group], arch)
