# ruff: noqa: E501
"""Loads, stores and atomics of all widths: shared, global, flat, buffer and scratch memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from assembly import ARCHES, LANES, MASK, OLD, Case, check

VM, LGKM = "\ns_waitcnt vmcnt(0)", "\ns_waitcnt lgkmcnt(0)"
ROW = "v_lshlrev_b32 v12, 4, v0\n"  # 16 bytes of shared memory a lane
IN = "v_lshl_or_b32 v1, s2, 6, v0\nv_lshlrev_b32 v20, 5, v1\n"  # the lane's 32 bytes of input
BLOCK = "s_lshl_b32 s8, s2, 11\ns_add_u32 s8, s4, s8\ns_addc_u32 s9, s5, 0\n"  # its input
OUT = "v_lshlrev_b32 v13, 3, v1\n"  # and its 8 bytes of output


def sx(x: int, bits: int) -> int:
    x &= (1 << bits) - 1
    return (x - (1 << bits) if x >> (bits - 1) else x) & MASK


def shared(text: str, expect: Callable[..., object], kind: str = "i32") -> Case:
    return Case(ROW + text.replace(";", LGKM + "\n") + LGKM, expect, kind)


def words(*values: int) -> tuple[int, int]:
    return values[0] & MASK, values[1] & MASK


SHARED = [
    shared("ds_write_b128 v12, v[4:7];ds_read2_b32 dd, v12 offset0:1 offset1:3", lambda a, b: words(a >> 32, b >> 32), "i64"),
    shared("ds_write_b96 v12, v[4:6];ds_read_b64 dd, v12 offset:4", lambda a, b: words(a >> 32, b), "i64"),
    shared("ds_write_b64 v12, aa;ds_read_b32 d, v12;ds_read_b32 dh, v12 offset:4", lambda a: words(a, a >> 32), "i64"),
    shared("ds_write2_b64 v12, aa, bb offset1:1;ds_read_b128 v[16:19], v12;v_xor_b32 d, v16, v18\nv_xor_b32 dh, v17, v19", lambda a, b: words(a ^ b, (a ^ b) >> 32), "i64"),
    shared("ds_write_b128 v12, v[4:7];ds_read_b96 v[16:18], v12;v_mov_b32 d, v17\nv_mov_b32 dh, v18", lambda a, b: words(a >> 32, b), "i64"),
    shared("ds_write2_b32 v12, a, b offset0:2 offset1:1;ds_read_b64 dd, v12 offset:4", lambda a, b: words(b, a)),
    shared("v_lshlrev_b32 v12, 2, v0\nds_write2st64_b32 v12, a, b offset0:0 offset1:2;ds_read2st64_b32 dd, v12 offset0:2 offset1:0", lambda a, b: words(b, a)),
    shared("ds_write_b32 v12, a;ds_read_i8 d, v12 offset:3;ds_read_u8 dh, v12 offset:2", lambda a: words(sx(a >> 24, 8), a >> 16 & 255)),
    shared("ds_write_b32 v12, a;ds_read_i16 d, v12 offset:2;ds_read_u16 dh, v12", lambda a: words(sx(a >> 16, 16), a & 0xFFFF)),
    shared("ds_write_b16 v12, a\nds_write_b16_d16_hi v12, b offset:2\nds_write_b8 v12, c offset:1;ds_read_b32 d, v12", lambda a, b, c: a & 0xFF | (c & 255) << 8 | b & 0xFFFF0000),
    shared("ds_write_b32 v12, a;ds_read_u16_d16_hi d, v12;ds_read_u8_d16 dh, v12 offset:1", lambda a: words(OLD[0] & 0xFFFF | a << 16, OLD[1] & 0xFFFF0000 | a >> 8 & 255)),
    shared("ds_write_b32 v12, a;ds_cmpst_rtn_b32 d, v12, a, b;ds_min_rtn_i32 dh, v12, c", lambda a, b: words(a, b)),
    shared("ds_write_b32 v12, a;ds_add_u32 v12, b;ds_max_u32 v12, c;ds_read_b32 d, v12", lambda a, b, c: max(a + b & MASK, c)),
    shared("ds_write_b64 v12, aa;ds_add_u64 v12, bb;ds_wrxchg_rtn_b64 dd, v12, cc", lambda a, b: words(a + b, a + b >> 32), "i64"),
    shared("ds_write_b32 v12, a;ds_and_b32 v12, b;ds_xor_b32 v12, c;ds_or_rtn_b32 d, v12, e;ds_read_b32 dh, v12", lambda a, b, c, e: words(a & b ^ c, a & b ^ c | e)),
]  # fmt: skip
GLOBAL = [
    Case(IN + "global_load_dwordx2 dd, v20, s[4:5] offset:8" + VM, lambda _, b: words(b, b >> 32), "i64"),
    Case(IN + "global_load_dwordx3 v[16:18], v20, s[4:5]" + VM + "\nv_mov_b32 d, v17\nv_mov_b32 dh, v18", lambda a, b: words(a >> 32, b), "i64"),
    Case(IN + "v_add_u32 v20, 0x1000, v20\nglobal_load_dword d, v20, s[4:5] offset:-4096" + VM, lambda a: a),
    Case(IN + "v_subrev_u32 v20, 4088, v20\ns_add_u32 s8, s4, 0\nv_ashrrev_i32 v21, 31, v20\nv_mov_b32 v17, s5\nv_add_co_u32 v16, vcc, s4, v20\nv_addc_co_u32 v17, vcc, v17, v21, vcc\nglobal_load_dword d, v[16:17], off offset:4088" + VM, lambda a: a),
    Case(IN + "global_load_short_d16_hi d, v20, s[4:5] offset:2\nglobal_load_sbyte dh, v20, s[4:5] offset:1" + VM, lambda a: words(OLD[0] & 0xFFFF | a & 0xFFFF0000, sx(a >> 8, 8))),
    Case(IN + "global_load_ubyte d, v20, s[4:5] offset:3\nglobal_load_sshort dh, v20, s[4:5]" + VM, lambda a: words(a >> 24, sx(a, 16))),
    Case(IN + "global_load_ushort d, v20, s[4:5] offset:2\nglobal_load_short_d16 dh, v20, s[4:5]" + VM, lambda a: words(a >> 16, OLD[1] & 0xFFFF0000 | a & 0xFFFF)),
    Case("v_mov_b32 v15, s5\nv_add_co_u32 v14, vcc, s4, v20\nv_addc_co_u32 v15, vcc, 0, v15, vcc\nflat_load_dwordx2 dd, v[14:15] offset:8" + VM + " lgkmcnt(0)", lambda _, b: words(b, b >> 32), "i64"),
    Case(ROW + "ds_write_b64 v12, aa" + LGKM + "\ns_mov_b64 s[8:9], src_shared_base\nv_mov_b32 v13, s9\nflat_load_dwordx2 dd, v[12:13]" + VM + " lgkmcnt(0)", lambda a: words(a, a >> 32), "i64"),
    Case(BLOCK + "s_and_b32 s9, s9, 0xffff\ns_movk_i32 s10, 0x200\ns_mov_b32 s11, 0x20000\nv_lshlrev_b32 v20, 5, v0\nbuffer_load_dwordx2 dd, v20, s[8:11], 0 offen offset:8" + VM,
         lambda rows: [words(r[1], r[1] >> 32) if i < 16 else (0, 0) for i, r in enumerate(rows)], "i64", wave=True),
    Case(BLOCK + "s_load_dwordx4 s[8:11], s[8:9], 0x10" + LGKM + "\nv_mov_b32 d, s8\nv_mov_b32 dh, s11", lambda rows: [words(rows[0][2], rows[0][3] >> 32)] * LANES, "i64", wave=True),
    Case("scratch_store_dwordx2 off, aa, off offset:8\nscratch_store_byte off, b, off" + VM + "\nscratch_load_dword dh, off, off offset:12\nscratch_load_sbyte d, off, off" + VM, lambda a, b: words(sx(b, 8), a >> 32), "i64"),
]  # fmt: skip
KEEP = IN + OUT + "global_store_dwordx2 v13, aa, s[6:7]" + VM + "\n"
BACK = VM + "\nglobal_load_dwordx2 dd, v13, s[6:7]" + VM
AFTER = "\nv_mov_b32 d, v16\nglobal_load_dword dh, v13, s[6:7]" + VM


def atomic(name: str, change: Callable[[int, int], int]) -> Case:
    """Returns what was there, and leaves change(there, operand)."""
    text = f"{KEEP}global_atomic_{name} v16, v13, b, s[6:7] sc0{VM}{AFTER}"
    return Case(text, lambda a, b: words(a, change(a & MASK, b & MASK)), "i64")


def s32(x: int) -> int:
    return x - (1 << 32) if x >> 31 else x


ATOMICS = [
    atomic("add", lambda a, b: a + b),
    atomic("sub", lambda a, b: a - b),
    atomic("umin", min),
    atomic("umax", max),
    atomic("smin", lambda a, b: min(a, b, key=s32)),
    atomic("smax", lambda a, b: max(a, b, key=s32)),
    atomic("and", lambda a, b: a & b),
    atomic("or", lambda a, b: a | b),
    atomic("xor", lambda a, b: a ^ b),
    atomic("swap", lambda _, b: b),
    atomic("inc", lambda a, b: 0 if a >= b else a + 1),
    atomic("dec", lambda a, b: b if a == 0 or a > b else a - 1),
    Case(
        KEEP + "v_mov_b32 v14, c\nv_mov_b32 v15, a\n"
        f"global_atomic_cmpswap v16, v13, v[14:15], s[6:7] sc0{VM}{AFTER}",
        lambda a, _, c: words(a, c),
        "i64",
    ),
    Case(
        KEEP + "v_mov_b32 v14, c\nv_not_b32 v15, a\n"
        f"global_atomic_cmpswap v16, v13, v[14:15], s[6:7] sc0{VM}{AFTER}",
        lambda a: words(a, a),
        "i64",
    ),
    Case(
        f"{KEEP}global_atomic_add_x2 v13, bb, s[6:7]{BACK}",
        lambda a, b: words(a + b, a + b >> 32),
        "i64",
    ),
]
GROUPS = {"shared": SHARED, "global": GLOBAL, "atomics": ATOMICS}


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("group", GROUPS)
def test_memory(group: str, arch: str) -> None:
    check(GROUPS[group], arch, shared=2048, scratch=16)
