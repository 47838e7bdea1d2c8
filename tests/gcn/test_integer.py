"""Integer and bit instructions of the vector unit, against Python's integers."""

from __future__ import annotations

import pytest
from assembly import ARCHES, MASK, OLD, Case, check

H = 0xFFFF


def sx(value: int, bits: int) -> int:
    """The low `bits` bits as a signed number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def s32(value: int) -> int:
    return sx(value, 32)


def clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def bytes_of(value: int) -> list[int]:
    return list(value.to_bytes(4, "little"))


def perm(a: int, b: int, codes: int) -> int:
    eight = bytes_of(b) + bytes_of(a)
    extra = {8: eight[1], 9: eight[3], 10: eight[5], 11: eight[7]}

    def one(code: int) -> int:
        if code < 8:
            return eight[code]
        if code in extra:
            return 255 if extra[code] & 128 else 0
        return 0 if code == 12 else 255

    return int.from_bytes(bytes(one(code) for code in bytes_of(codes)), "little")


def leading(value: int) -> int:
    return 32 - value.bit_length() if value else -1


BITS = [
    Case("v_and_b32 d, a, b", lambda a, b: a & b),
    Case("v_or_b32 d, a, b", lambda a, b: a | b),
    Case("v_xor_b32 d, a, b", lambda a, b: a ^ b),
    Case("v_xnor_b32 d, a, b", lambda a, b: ~(a ^ b)),
    Case("v_not_b32 d, a", lambda a: ~a),
    Case("v_lshlrev_b32 d, a, b", lambda a, b: b << (a & 31)),
    Case("v_lshrrev_b32 d, a, b", lambda a, b: b >> (a & 31)),
    Case("v_ashrrev_i32 d, a, b", lambda a, b: s32(b) >> (a & 31)),
    Case("v_lshlrev_b64 dd, a, bb", lambda a, b: b << (a & 63), "i64", wide=True),
    Case("v_lshrrev_b64 dd, a, bb", lambda a, b: b >> (a & 63), "i64", wide=True),
    Case("v_ashrrev_i64 dd, a, bb", lambda a, b: sx(b, 64) >> (a & 63), "i64", wide=True),
    Case("v_lshl_add_u32 d, a, b, c", lambda a, b, c: (a << (b & 31)) + c),
    Case("v_add_lshl_u32 d, a, b, c", lambda a, b, c: (a + b) << (c & 31)),
    Case("v_lshl_or_b32 d, a, b, c", lambda a, b, c: a << (b & 31) | c),
    Case("v_and_or_b32 d, a, b, c", lambda a, b, c: a & b | c),
    Case("v_or3_b32 d, a, b, c", lambda a, b, c: a | b | c),
    Case("v_xad_u32 d, a, b, c", lambda a, b, c: (a ^ b) + c),
    Case("v_lshl_add_u64 dd, aa, 3, cc", lambda a, _, c: (a << 3) + c, "i64", wide=True),
    Case("v_bfe_u32 d, a, b, c", lambda a, b, c: a >> (b & 31) & ((1 << (c & 31)) - 1)),
    Case("v_bfe_i32 d, a, 5, 9", lambda a: sx(a >> 5, 9)),
    Case("v_bfe_i32 d, a, 0, 0", lambda _: 0),
    Case("v_bfi_b32 d, a, b, c", lambda a, b, c: a & b | ~a & c),
    Case("v_bfm_b32 d, a, b", lambda a, b: ((1 << (a & 31)) - 1) << (b & 31)),
    Case("v_alignbit_b32 d, a, b, c", lambda a, b, c: (a << 32 | b) >> (c & 31)),
    Case("v_alignbyte_b32 d, a, b, c", lambda a, b, c: (a << 32 | b) >> 8 * (c & 3)),
    Case(
        "v_and_b32 v12, 0x0f0f0f0f, c\nv_perm_b32 d, a, b, v12",
        lambda a, b, c: perm(a, b, c & 0x0F0F0F0F),
    ),
    Case("v_perm_b32 d, a, b, c", perm),
    Case("v_bcnt_u32_b32 d, a, b", lambda a, b: a.bit_count() + b),
    Case("v_ffbh_u32 d, a", leading),
    Case("v_ffbh_i32 d, a", lambda a: leading(a ^ MASK if a >> 31 else a)),
    Case("v_ffbl_b32 d, a", lambda a: (a & -a).bit_length() - 1),
    Case("v_bfrev_b32 d, a", lambda a: int(f"{a:032b}"[::-1], 2)),
    Case("v_mov_b64 dd, aa", lambda a: a, "i64", wide=True),
    Case("v_swap_b32 a, b\nv_mov_b32 d, a\nv_mov_b32 dh, b", lambda a, b: (b, a)),
    Case(
        "v_bitop3_b32 d, a, b, c bitop3:0x6a",
        lambda a, b, c: sum(
            (0x6A >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1) & 1) << i
            for i in range(32)
        ),
        arches=("gfx950",),
    ),
]
ARITHMETIC = [
    Case("v_add_u32 d, a, b", lambda a, b: a + b),
    Case("v_sub_u32 d, a, b", lambda a, b: a - b),
    Case("v_subrev_u32 d, a, b", lambda a, b: b - a),
    Case("v_add_u32 d, a, b clamp", lambda a, b: min(a + b, MASK)),
    Case("v_sub_u32 d, a, b clamp", lambda a, b: max(a - b, 0)),
    Case("v_add_i32 d, a, b clamp", lambda a, b: clamp(s32(a) + s32(b), -1 << 31, (1 << 31) - 1)),
    Case("v_sub_i32 d, a, b clamp", lambda a, b: clamp(s32(a) - s32(b), -1 << 31, (1 << 31) - 1)),
    Case("v_add3_u32 d, a, b, c", lambda a, b, c: a + b + c),
    Case(
        "v_add_co_u32 d, vcc, a, b\nv_addc_co_u32 d, vcc, c, e, vcc",
        lambda a, b, c, e: c + e + (a + b >> 32),
    ),
    Case(
        "v_sub_co_u32 d, vcc, a, b\nv_subb_co_u32 d, vcc, c, e, vcc",
        lambda a, b, c, e: c - e - (a < b),
    ),
    Case(
        "v_subrev_co_u32 d, vcc, a, b\nv_subbrev_co_u32 d, vcc, c, e, vcc",
        lambda a, b, c, e: e - c - (b < a),
    ),
    Case(
        "v_add_co_u32 v12, s[8:9], a, b\nv_addc_co_u32 v13, s[10:11], c, e, s[8:9]\n"
        "v_cndmask_b32 d, 0, 1, s[10:11]",
        lambda a, b, c, e: c + e + (a + b >> 32) >> 32,
    ),
    Case("v_mul_lo_u32 d, a, b", lambda a, b: a * b),
    Case("v_mul_hi_u32 d, a, b", lambda a, b: a * b >> 32),
    Case("v_mul_hi_i32 d, a, b", lambda a, b: s32(a) * s32(b) >> 32),
    Case("v_mul_u32_u24 d, a, b", lambda a, b: (a & 0xFFFFFF) * (b & 0xFFFFFF)),
    Case("v_mul_i32_i24 d, a, b", lambda a, b: sx(a, 24) * sx(b, 24)),
    Case("v_mul_hi_u32_u24 d, a, b", lambda a, b: (a & 0xFFFFFF) * (b & 0xFFFFFF) >> 32),
    Case("v_mul_hi_i32_i24 d, a, b", lambda a, b: sx(a, 24) * sx(b, 24) >> 32),
    Case("v_mad_u32_u24 d, a, b, c", lambda a, b, c: (a & 0xFFFFFF) * (b & 0xFFFFFF) + c),
    Case("v_mad_i32_i24 d, a, b, c", lambda a, b, c: sx(a, 24) * sx(b, 24) + c),
    Case(
        "v_mad_u64_u32 dd, s[8:9], a, b, cc",
        lambda a, b, c: (a & MASK) * (b & MASK) + c,
        "i64",
        wide=True,
    ),
    Case(
        "v_mad_i64_i32 dd, s[8:9], a, b, cc", lambda a, b, c: s32(a) * s32(b) + c, "i64", wide=True
    ),
    Case(
        "v_mad_u64_u32 dd, s[8:9], a, b, cc\nv_cndmask_b32 d, 0, 1, s[8:9]\nv_mov_b32 dh, 0",
        lambda a, b, c: (a & MASK) * (b & MASK) + c >> 64,
        "i64",
        wide=True,
    ),
    Case("v_min_u32 d, a, b", lambda a, b: min(a, b)),
    Case("v_max_u32 d, a, b", lambda a, b: max(a, b)),
    Case("v_min_i32 d, a, b", lambda a, b: min(s32(a), s32(b))),
    Case("v_max_i32 d, a, b", lambda a, b: max(s32(a), s32(b))),
    Case("v_min3_u32 d, a, b, c", lambda a, b, c: min(a, b, c)),
    Case("v_max3_u32 d, a, b, c", lambda a, b, c: max(a, b, c)),
    Case("v_med3_u32 d, a, b, c", lambda a, b, c: sorted((a, b, c))[1]),
    Case("v_min3_i32 d, a, b, c", lambda a, b, c: min(map(s32, (a, b, c)))),
    Case("v_max3_i32 d, a, b, c", lambda a, b, c: max(map(s32, (a, b, c)))),
    Case("v_med3_i32 d, a, b, c", lambda a, b, c: sorted(map(s32, (a, b, c)))[1]),
    Case(
        "v_mbcnt_lo_u32_b32 d, a, b",
        lambda rows: [
            (r[0] & ((1 << min(i, 32)) - 1)).bit_count() + r[1] for i, r in enumerate(rows)
        ],
        wave=True,
    ),
    Case(
        "v_mbcnt_hi_u32_b32 d, a, b",
        lambda rows: [
            (r[0] & ((1 << max(i - 32, 0)) - 1)).bit_count() + r[1] for i, r in enumerate(rows)
        ],
        wave=True,
    ),
    Case("v_cmp_gt_u32 vcc, a, b\nv_cndmask_b32 d, 7, a, vcc", lambda a, b: a if a > b else 7),
]


def halves(low: int, high: int) -> int:
    return low & H | (high & H) << 16


def low_half(value: int) -> int:
    """A 16-bit result: the upper half of the register becomes 0."""
    return value & H


def sad(a: int, b: int, bits: int = 8) -> int:
    part = (1 << bits) - 1
    return sum(abs((a >> i & part) - (b >> i & part)) for i in range(0, 32, bits))


def dot(a: int, b: int, bits: int, signed: bool) -> int:
    part = (lambda x: sx(x, bits)) if signed else (lambda x: x & ((1 << bits) - 1))
    return sum(part(a >> i) * part(b >> i) for i in range(0, 32, bits))


SMALL = [
    Case("v_add_u16 d, a, b", lambda a, b: low_half(a + b)),
    Case("v_sub_u16 d, a, b", lambda a, b: low_half(a - b)),
    Case("v_sub_u16 d, a, b clamp", lambda a, b: max((a & H) - (b & H), 0)),
    Case("v_add_u16 d, a, b clamp", lambda a, b: min((a & H) + (b & H), H)),
    Case("v_mul_lo_u16 d, a, b", lambda a, b: low_half(a * b)),
    Case("v_lshlrev_b16 d, a, b", lambda a, b: low_half((b & H) << (a & 15))),
    Case("v_lshrrev_b16 d, a, b", lambda a, b: (b & H) >> (a & 15)),
    Case("v_ashrrev_i16 d, a, b", lambda a, b: low_half(sx(b, 16) >> (a & 15))),
    Case("v_min_i16 d, a, b", lambda a, b: low_half(min(sx(a, 16), sx(b, 16)))),
    Case("v_max_u16 d, a, b", lambda a, b: max(a & H, b & H)),
    Case(
        "v_mad_u16 d, a, b, c op_sel:[1,0,1,0]",
        lambda a, b, c: halves((a >> 16) * (b & H) + (c >> 16), OLD[0] >> 16),
    ),
    Case(
        "v_mad_u16 d, a, b, c op_sel:[0,1,0,1]",
        lambda a, b, c: halves(OLD[0], (a & H) * (b >> 16) + (c & H)),
    ),
    Case("v_mad_u32_u16 d, a, b, c", lambda a, b, c: (a & H) * (b & H) + c),
    Case("v_mad_i32_i16 d, a, b, c", lambda a, b, c: sx(a, 16) * sx(b, 16) + c),
    Case("v_pk_add_u16 d, a, b", lambda a, b: halves(a + b, (a >> 16) + (b >> 16))),
    Case(
        "v_pk_add_u16 d, a, b op_sel:[1,0] op_sel_hi:[0,1]",
        lambda a, b: halves((a >> 16) + b, a + (b >> 16)),
    ),
    Case(
        "v_pk_sub_i16 d, a, b clamp",
        lambda a, b: halves(
            *(clamp(sx(a >> i, 16) - sx(b >> i, 16), -0x8000, 0x7FFF) for i in (0, 16))
        ),
    ),
    Case("v_pk_mul_lo_u16 d, a, b", lambda a, b: halves(a * b, (a >> 16) * (b >> 16))),
    Case(
        "v_pk_mad_u16 d, a, b, c",
        lambda a, b, c: halves(a * b + c, (a >> 16) * (b >> 16) + (c >> 16)),
    ),
    Case(
        "v_pk_max_i16 d, a, b",
        lambda a, b: halves(max(sx(a, 16), sx(b, 16)), max(sx(a >> 16, 16), sx(b >> 16, 16))),
    ),
    Case("v_pk_min_u16 d, a, b", lambda a, b: halves(min(a & H, b & H), min(a >> 16, b >> 16))),
    Case(
        "v_pk_lshlrev_b16 d, a, b",
        lambda a, b: halves(b << (a & 15), (b >> 16) << (a >> 16 & 15)),
    ),
    Case(
        "v_pk_lshlrev_b16 d, 4, b op_sel_hi:[0,1]",
        lambda _, b: halves(b << 4, (b >> 16) << 4),
    ),
    Case(
        "v_pk_ashrrev_i16 d, a, b",
        lambda a, b: halves(sx(b, 16) >> (a & 15), sx(b >> 16, 16) >> (a >> 16 & 15)),
    ),
    Case("v_pack_b32_f16 d, a, b op_sel:[1,0]", lambda a, b: halves(a >> 16, b), "f16"),
    Case("v_sad_u8 d, a, b, c", lambda a, b, c: sad(a, b) + c),
    Case("v_sad_hi_u8 d, a, b, c", lambda a, b, c: (sad(a, b) << 16) + c),
    Case("v_sad_u16 d, a, b, c", lambda a, b, c: sad(a, b, 16) + c),
    Case("v_sad_u32 d, a, b, c", lambda a, b, c: abs(a - b) + c),
    Case("v_dot4_i32_i8 d, a, b, c", lambda a, b, c: dot(a, b, 8, True) + c),
    Case("v_dot4_u32_u8 d, a, b, c", lambda a, b, c: dot(a, b, 8, False) + c),
    Case("v_dot2_i32_i16 d, a, b, c", lambda a, b, c: dot(a, b, 16, True) + c),
    Case("v_dot8_i32_i4 d, a, b, c", lambda a, b, c: dot(a, b, 4, True) + c),
    Case("v_mov_b32 d, c\nv_dot4c_i32_i8 d, a, b", lambda a, b, c: dot(a, b, 8, True) + c),
]
SDWA = [
    Case(
        "v_add_u32_sdwa d, a, b dst_sel:BYTE_2 dst_unused:UNUSED_PRESERVE "
        "src0_sel:BYTE_1 src1_sel:WORD_1",
        lambda a, b: OLD[0] & 0xFF00FFFF | ((a >> 8 & 255) + (b >> 16) & 255) << 16,
    ),
    Case(
        "v_add_u32_sdwa d, sext(a), b dst_sel:DWORD dst_unused:UNUSED_PAD "
        "src0_sel:BYTE_3 src1_sel:WORD_0",
        lambda a, b: sx(a >> 24, 8) + (b & H),
    ),
    Case(
        "v_add_u32_sdwa d, a, b dst_sel:WORD_0 dst_unused:UNUSED_SEXT "
        "src0_sel:WORD_1 src1_sel:WORD_0",
        lambda a, b: sx((a >> 16) + b, 16),
    ),
    Case(
        "v_mov_b32_sdwa d, a dst_sel:BYTE_1 dst_unused:UNUSED_PAD src0_sel:BYTE_2",
        lambda a: (a >> 16 & 255) << 8,
    ),
    Case(
        "v_cmp_lt_u32_sdwa vcc, a, b src0_sel:WORD_1 src1_sel:BYTE_0\nv_cndmask_b32 d, 0, 1, vcc",
        lambda a, b: a >> 16 < b & 255,
    ),
]
GROUPS = {"bits": BITS, "arithmetic": ARITHMETIC, "small": SMALL, "sdwa": SDWA}


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("group", GROUPS)
def test_integers(group: str, arch: str) -> None:
    check(GROUPS[group], arch)
