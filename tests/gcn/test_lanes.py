# ruff: noqa: E501
"""Moves between lanes: DPP, swizzles, permutes, lane reads and writes, AGPRs, EXEC."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from assembly import ARCHES, LANES, MASK, OLD, Case, check

FULL = " row_mask:0xf bank_mask:0xf"
# control -> the lane that each lane reads, None for none
DPP: dict[str, Callable[[int], int | None]] = {
    "quad_perm:[2,0,3,1]": lambda i: i & ~3 | (2, 0, 3, 1)[i & 3],
    "row_shl:3": lambda i: i + 3 if i % 16 < 13 else None,
    "row_shr:5": lambda i: i - 5 if i % 16 >= 5 else None,
    "row_ror:4": lambda i: i & ~15 | (i - 4) % 16,
    "wave_shl:1": lambda i: i + 1 if i < 63 else None,
    "wave_rol:1": lambda i: (i + 1) % 64,
    "wave_shr:1": lambda i: i - 1 if i else None,
    "wave_ror:1": lambda i: (i - 1) % 64,
    "row_mirror": lambda i: i ^ 15,
    "row_half_mirror": lambda i: i ^ 7,
    "row_bcast:15": lambda i: (i & ~15) - 1 if i >= 16 else None,
    "row_bcast:31": lambda i: 31 if i >= 32 else None,
    "row_newbcast:6": lambda i: i & ~15 | 6,
}
Rows = list[list[int]]


def moved(
    source: Callable[[int], int | None], *, rows: int = 15, banks: int = 15, zero: bool = False
) -> Callable[[Rows], list[int]]:
    """v_mov_b32_dpp d, a: lanes outside the masks, and without a source, keep what they had."""

    def expect(given: Rows) -> list[int]:
        out = []
        for i in range(LANES):
            of = source(i)
            masked = not (rows >> i // 16 & 1 and banks >> i // 4 % 4 & 1)
            missing = 0 if zero else OLD[0]
            out.append(OLD[0] if masked else missing if of is None else given[of][0])
        return out

    return expect


def lanes(source: Callable[[int], int | None], column: int = 0) -> Callable[[Rows], list[int]]:
    """Lane i's result is lane source(i)'s operand; None gives 0."""

    def expect(given: Rows) -> list[int]:
        places = [source(i) for i in range(LANES)]
        return [0 if of is None else given[of][column] for of in places]

    return expect


def moves(text: str, source: Callable[[int], int | None]) -> Case:
    return Case(text + "\ns_waitcnt lgkmcnt(0)", lanes(source), wave=True)


PERMUTED = [
    Case(f"v_mov_b32_dpp d, a {control}{FULL}", moved(source), wave=True)
    for control, source in DPP.items()
]
PERMUTED += [
    Case(f"v_mov_b32_dpp d, a {control}{FULL} bound_ctrl:0", moved(source, zero=True), wave=True)
    for control, source in DPP.items()
]
PERMUTED += [
    Case(
        f"v_mov_b32_dpp d, a {control} row_mask:0xa bank_mask:0x5",
        moved(source, rows=10, banks=5),
        wave=True,
    )
    for control, source in DPP.items()
]
PERMUTED += [
    Case(
        f"v_add_u32_dpp d, a, b row_ror:1{FULL}",
        lambda rows: [rows[i & ~15 | (i - 1) % 16][0] + rows[i][1] for i in range(LANES)],
        wave=True,
    ),
    Case(
        f"v_mov_b32 d, a\ns_nop 1\nv_add_u32_dpp d, d, d row_ror:1{FULL}",
        lambda rows: [rows[i & ~15 | (i - 1) % 16][0] + rows[i][0] for i in range(LANES)],
        wave=True,
    ),
    # lanes that are off are no source
    Case(
        f"s_mov_b64 exec, 0xf0f0\nv_mov_b32_dpp d, a row_shl:1{FULL}\ns_mov_b64 exec, -1",
        lambda rows: [
            rows[i + 1][0] if i < 16 and 0xF0F0 >> i & 0xF0F0 >> (i + 1) & 1 else OLD[0]
            for i in range(LANES)
        ],
        wave=True,
    ),
]
CROSSBAR = [
    moves("ds_swizzle_b32 d, a offset:swizzle(SWAP,8)", lambda i: i ^ 8),
    moves("ds_swizzle_b32 d, a offset:swizzle(REVERSE,16)", lambda i: i ^ 15),
    moves("ds_swizzle_b32 d, a offset:swizzle(BROADCAST,8,3)", lambda i: i & ~7 | 3),
    moves(
        "ds_swizzle_b32 d, a offset:swizzle(QUAD_PERM,3,1,0,2)",
        lambda i: i & ~3 | (3, 1, 0, 2)[i & 3],
    ),
    moves(
        'ds_swizzle_b32 d, a offset:swizzle(BITMASK_PERM,"01pip")',
        lambda i: i & ~31 | 8 | i & 5 | ~i & 2,
    ),
    moves("v_mul_u32_u24 v12, v0, 28\nds_bpermute_b32 d, v12, a", lambda i: i * 7 % 64),
    moves("v_lshlrev_b32 v12, 2, v0\nds_bpermute_b32 d, v12, a offset:8", lambda i: (i + 2) % 64),
    moves(
        "v_mul_u32_u24 v12, v0, 28\nds_permute_b32 d, v12, a",
        lambda i: next(j for j in range(64) if j * 7 % 64 == i),
    ),
    moves(
        "v_lshlrev_b32 v12, 3, v0\nds_permute_b32 d, v12, a",
        lambda i: None if i % 2 else 32 + i // 2,
    ),
    moves(
        "v_mul_u32_u24 v12, v0, 28\ns_mov_b64 exec, 0xff\nds_bpermute_b32 d, v12, a\n"
        "s_mov_b64 exec, -1\nv_cmp_gt_u32 vcc, 8, v0\ns_waitcnt lgkmcnt(0)\nv_cndmask_b32 d, 0, d, vcc",
        lambda i: i * 7 % 64 if i < 8 and i * 7 % 64 < 8 else None,
    ),
]
SCALARS = [
    Case("v_readfirstlane_b32 s8, a\nv_mov_b32 d, s8", lanes(lambda _: 0), wave=True),
    Case("v_readlane_b32 s8, a, 37\nv_mov_b32 d, s8", lanes(lambda _: 37), wave=True),
    Case(
        "s_mov_b32 s9, 75\nv_readlane_b32 s8, a, s9\nv_mov_b32 d, s8",
        lanes(lambda _: 11),
        wave=True,
    ),
    Case(
        "s_lshl_b64 exec, 1, 20\nv_readfirstlane_b32 s8, a\ns_mov_b64 exec, -1\nv_mov_b32 d, s8",
        lanes(lambda _: 20),
        wave=True,
    ),
    Case(
        "v_readlane_b32 s8, a, 5\nv_writelane_b32 d, s8, 9",
        lambda rows: [rows[5][0] if i == 9 else OLD[0] for i in range(LANES)],
        wave=True,
    ),
    Case("v_accvgpr_write_b32 a5, a\ns_nop 1\nv_accvgpr_read_b32 d, a5", lambda a: a),
    Case(
        "v_cmp_lt_u32 vcc, a, b\ns_and_saveexec_b64 s[8:9], vcc\nv_mov_b32 d, c\n"
        "s_xor_b64 exec, exec, s[8:9]\nv_mov_b32 dh, e\ns_mov_b64 exec, s[8:9]",
        lambda a, b, c, e: (c, OLD[1]) if a < b else (OLD[0], e),
    ),
]


def swap(group: int) -> Case:
    """The odd groups of the first register change places with the even ones of the second."""

    def expect(rows: Rows) -> list[tuple[int, int]]:
        return [
            (rows[i ^ group][1], rows[i][1]) if i & group else (rows[i][0], rows[i ^ group][0])
            for i in range(LANES)
        ]

    text = f"v_mov_b32 d, a\nv_mov_b32 dh, b\nv_permlane{group}_swap_b32 d, dh"
    return Case(text, expect, wave=True, arches=("gfx950",))


CROSSBAR += [swap(16), swap(32)]
GROUPS = {"dpp": PERMUTED, "crossbar": CROSSBAR, "scalars": SCALARS}


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("group", GROUPS)
def test_lanes(group: str, arch: str) -> None:
    check(GROUPS[group], arch, shared=256)


def test_a_wrong_expectation_is_reported() -> None:
    """The harness itself: one wrong lane is enough, and so is a register that should stay."""
    for expect in (lambda a, b: a + b + (a == 255), lambda a, b: (a + b & MASK, 0)):
        with pytest.raises(AssertionError, match="v_add_u32"):
            check([Case("v_add_u32 d, a, b", expect)], ARCHES[0])
